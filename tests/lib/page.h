/* page: a topic's page, rings and bells in private memory, and handles on them, for tests that place leatd's words by hand.
 *
 * Nobody serves: rings do not rotate and nothing is reclaimed. */
#ifndef TESTS_PAGE_H
#define TESTS_PAGE_H

#include "arena.h"
#include "client/bus.h"
#include "client/consumer.h"
#include "client/producer.h"

enum { PAGE_PARTITIONS = 4, PAGE_SLOTS = 64, PAGE_BASE = 1000 };

struct page {
    leat_bus bus;
    struct lt_coordinator *coordinator;
    struct lt_bells *bells;
    struct lt_mailbox *mailbox;
    struct lt_attached topic;
    struct lt_topic_head *head;
    struct lt_partition *parts[PAGE_PARTITIONS];
    struct lt_mapped mapped[PAGE_PARTITIONS];
};

/* A logged topic "t" at this level, nothing acknowledged. Offsets begin at PAGE_BASE. */
struct page *page_new(enum leat_level level);
/* A producer of it; options may be NULL. Fails the test when lt_ack_open refuses; see page_try_producer. */
leat_producer *page_producer(struct page *page, const leat_producer_options *options);
int page_try_producer(struct page *page, const leat_producer_options *options, leat_producer **p);
/* A consumer of partition 0 from its first offset on. Its bell is 5, listed as leatd would. */
leat_consumer *page_consumer(struct page *page, uint32_t max_poll_records);
/* Somebody else sends `count` records to a partition. */
void page_send(struct page *page, uint32_t partition, uint32_t count);

/* As leatd's persister: everything below is acknowledged at these levels. */
void page_acknowledge(struct page *page, uint32_t partition, uint64_t written, uint64_t durable);
/* And its state; reason may be NULL. */
void page_state(struct page *page, uint32_t partition, enum lt_partition_state state, int error,
                const char *reason);

#endif
