/* traffic: records that carry who sent them, which one they are and a pattern over all of their bytes, and ledgers of
 * who has seen what.
 *
 * A value begins with a stamp; the bytes behind it follow from producer and number. So a torn, mixed-up or
 * overwritten view is noticed wherever it is.
 */
#ifndef TESTS_TRAFFIC_H
#define TESTS_TRAFFIC_H

#include "leat.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stamp {
    uint64_t number;
    uint32_t producer;
    uint32_t size; /* of the whole value */
};

/* value has room for size >= sizeof(struct stamp). */
void traffic_fill(void *value, size_t size, uint32_t producer, uint64_t number);
/* Fails the test when a byte is not as traffic_fill left it. */
struct stamp traffic_check(const leat_record *record);
/* A mix: mostly within a slot, some in payload, now and then 3 KiB. At most TRAFFIC_MAX. */
size_t traffic_size(uint64_t number);
enum { TRAFFIC_MAX = 3072 };

/* Fills a buffer of its own and sends it without a key to this partition. */
int traffic_send(leat_producer *producer, uint32_t partition, uint32_t who, uint64_t number, size_t size,
                 leat_receipt *receipt);

/* Which numbers of which producer were seen, and that offsets only grow. One reader notes; anybody may ask how many. */
struct ledger;
struct ledger *ledger_new(uint32_t producers, uint64_t numbers);
/* Checks the record and notes it. Fails when it was seen before, and when its offset is not above the last one of its
 * partition. */
struct stamp ledger_note(struct ledger *ledger, const leat_record *record);
/* Offsets that were overwritten unread, as on_missed tells: they must be the very next ones. */
void ledger_missed(struct ledger *ledger, uint32_t partition, uint64_t from_offset, uint64_t count);
bool ledger_has(const struct ledger *ledger, uint32_t producer, uint64_t number);
/* How many of a producer were seen. */
uint64_t ledger_count(const struct ledger *ledger, uint32_t producer);
uint64_t ledger_missed_count(const struct ledger *ledger);
/* Fails unless all of [0, below) of this producer were seen. */
void ledger_all(const struct ledger *ledger, uint32_t producer, uint64_t below);
/* Fails when the numbers of a producer have not come in the order in which they were sent, within each partition. */
void ledger_in_order(struct ledger *ledger);
void ledger_free(struct ledger *ledger);

/* Polls until `count` records were noted, waiting at most so many seconds for the next. */
void traffic_read(leat_consumer *consumer, struct ledger *ledger, uint64_t count, double patience_s);

/* A consumer in a thread of its own, which sleeps in poll as long as nothing comes: a wake-up that was lost shows. */
struct watcher;
struct watcher *watcher_start(leat_bus *bus, const char *topic, struct ledger *ledger, bool gate);
void watcher_stop(struct watcher *watcher);

#endif
