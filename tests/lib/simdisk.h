/* simdisk: a disk in memory behind store/io's table, with a page cache that a power loss empties.
 *
 * What a power loss may leave (simdisk_after_power_loss): of each file the bytes that were synced, and of the writes since
 * (under way or done) any subset, torn at sectors of 512 bytes; the same of its size; of each directory any subset of the
 * names made, renamed and removed since it was synced. One sector is never half old, half new, and never older again
 * than a sync that succeeded. A sync that *failed* leaves its sectors clean in the cache, whatever the disk has: a later
 * sync does not write them, and only a read past the cache shows it.
 *
 * Async operations end in random order, when reaped. A sync covers what was done when it was submitted, and no more.
 */
#ifndef SIMDISK_H
#define SIMDISK_H

#include <stdbool.h>
#include <stdint.h>

#include "store/io.h"

struct simdisk;

enum simdisk_fault { SIMDISK_SHORT = 1 }; /* beside errno values, which are > 1: half of what was asked */

struct simdisk *simdisk_new(uint64_t seed);
void simdisk_free(struct simdisk *disk);
struct lt_io *simdisk_io(struct simdisk *disk);
/* The descriptor of the root directory. */
int simdisk_root(struct simdisk *disk);

/* Another disk: what is found after the power went now. */
struct simdisk *simdisk_after_power_loss(const struct simdisk *disk, uint64_t seed);
/* What is under way is done or not, and nobody is told: the first half of a death, while its memory is still there. */
void simdisk_cut_short(struct simdisk *disk);
/* The process has ended: descriptors are closed, what was under way is done or not; the page cache stays. */
void simdisk_after_death(struct simdisk *disk);

/* Operations so far. Each call of the table is one, and each asynchronous one. */
uint64_t simdisk_operations(const struct simdisk *disk);
/* From operation `at` on (0-based) everything fails with EIO and does nothing: for stopping a recovery in the middle. */
void simdisk_stop_at(struct simdisk *disk, uint64_t at);
/* Operation `at` fails (errno, or SIMDISK_SHORT), or with `forever` all from there on. */
void simdisk_fail_at(struct simdisk *disk, uint64_t at, int error, bool forever);
bool simdisk_failed(const struct simdisk *disk); /* it came to that */
bool simdisk_stopped(const struct simdisk *disk);
/* Called at the end of each operation that changes something. */
void simdisk_watch(struct simdisk *disk, void (*after)(void *arg), void *arg);
int simdisk_open_count(const struct simdisk *disk); /* descriptors, beside the root */

/* Changes a byte of a file, in cache and on disk, as rot does. False: there is no such file or byte. */
bool simdisk_damage(struct simdisk *disk, const char *dir, const char *name, uint64_t at, unsigned char with);
/* The file's size, or -1. */
int64_t simdisk_size(struct simdisk *disk, const char *dir, const char *name);
/* All bytes from `from` on, in the cache and on the disk. */
bool simdisk_is_zero(struct simdisk *disk, const char *dir, const char *name, uint64_t from);
/* What there is, to stderr. */
void simdisk_print(struct simdisk *disk);

#endif
