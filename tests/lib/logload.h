/* logload: a random workload on logs over a simulated disk, a model of what they must and may hold, and the check of what a
 * recovery finds against it.
 *
 * Two partitions, one acknowledging at `durable`, one at `written`, both of tiny segments, so that they roll and are trimmed all
 * the time; batches under way side by side; gaps; clean closes, deaths, group offsets. All of it follows from the seed.
 */
#ifndef LOGLOAD_H
#define LOGLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "simdisk.h"
#include "store/plog.h"

#define LOGLOAD_LOGS 2
#define LOGLOAD_OFFSETS 4096
#define LOGLOAD_TEXT 400

struct logload;

/* A new one on an empty disk. */
struct logload *logload_new(uint64_t seed);
void logload_free(struct logload *load);
struct simdisk *logload_disk(struct logload *load);
/* One random step; a fault of the disk ends as it may (a FAILED log is opened again). False: it cannot go on: why() says what
 * was wrong with what the log did, "" when only the disk refused. */
bool logload_step(struct logload *load);
const char *logload_why(const struct logload *load);

/* Power is lost now, recovery runs (and is stopped in its middle and run again, as the seed says), and what it finds is
 * compared. NULL, or what is wrong: begins with "lost" or "invented". */
const char *logload_check_power_loss(struct logload *load, uint64_t seed);
/* The same after the death of the process on this very disk: ends the workload. */
const char *logload_check_death(struct logload *load);

#endif
