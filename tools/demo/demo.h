/* What all processes of the demo have in common. Each is an execution of its own of this one program; they know leat
 * only by leat.h, as any program does, and find the bus by $LEAT_BUS.
 */
#ifndef DEMO_H
#define DEMO_H

#include <leat.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEMO_TOPIC "orders"
#define DEMO_GROUP "order-processors"  /* stores orders; its members come, go and die */
#define DEMO_COUNTERS "order-counters" /* counts the same orders, and notices nothing of that */

enum { PARTITIONS = 3, CUSTOMERS = 100, WORKERS = 5 };
enum { ALL_PARTITIONS = (1 << PARTITIONS) - 1 };

/* CLOCK_MONOTONIC: one clock for all processes. */
int64_t now_ns(void);
void sleep_until(int64_t ns);

/* Says what a call of the library said. */
void complain(const char *who, leat_bus *bus, int error);

/* These partitions as a set of bits. */
unsigned partition_set(const leat_partition *partitions, int count);

/* SIGTERM means: come to an end. From here on it makes this consumer's poll return LEAT_EWAKEUP. */
void wake_at_sigterm(leat_consumer *consumer);

#endif
