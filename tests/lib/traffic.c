/* traffic: see traffic.h. */
#include "traffic.h"
#include "bus.h"
#include "test.h"

#include "base/atomic.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* One multiplication for eight bytes: a million records of a debug build want it cheap. */
static uint64_t pattern(uint32_t producer, uint64_t number, size_t word)
{
    return (number * 1021 + producer * UINT64_C(0x9e3779b9) + word + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

void traffic_fill(void *value, size_t size, uint32_t producer, uint64_t number)
{
    struct stamp stamp = { .number = number, .producer = producer, .size = (uint32_t)size };
    unsigned char *bytes = value;
    CHECK(size >= sizeof stamp);
    memcpy(bytes, &stamp, sizeof stamp);
    for (size_t at = sizeof stamp; at < size; at += 8) {
        uint64_t bits = pattern(producer, number, at);
        memcpy(bytes + at, &bits, size - at < 8 ? size - at : 8);
    }
}

struct stamp traffic_check(const leat_record *record)
{
    struct stamp stamp;
    if (!record->value || record->value_size < sizeof stamp)
        FAIL("%s-%u @%" PRIu64 ": a value of %zu bytes", record->topic, record->partition, record->offset,
             record->value_size);
    memcpy(&stamp, record->value, sizeof stamp);
    if (stamp.size != record->value_size)
        FAIL("%s-%u @%" PRIu64 ": a value of %zu bytes says that it has %u", record->topic, record->partition,
             record->offset, record->value_size, stamp.size);
    const unsigned char *bytes = record->value;
    for (size_t at = sizeof stamp; at < stamp.size; at += 8) {
        uint64_t wanted = pattern(stamp.producer, stamp.number, at);
        if (memcmp(bytes + at, &wanted, stamp.size - at < 8 ? stamp.size - at : 8) != 0)
            FAIL("%s-%u @%" PRIu64 ": record %" PRIu64 " of producer %u is damaged at byte %zu of %u",
                 record->topic, record->partition, record->offset, stamp.number, stamp.producer, at,
                 stamp.size);
    }
    return stamp;
}

size_t traffic_size(uint64_t number)
{
    if (number % 64 == 63)
        return TRAFFIC_MAX - number % 1000;
    if (number % 8 == 7)
        return 100 + number % 300;
    return sizeof(struct stamp) + number % 72;
}

int traffic_send(leat_producer *producer, uint32_t partition, uint32_t who, uint64_t number, size_t size,
                 leat_receipt *receipt)
{
    unsigned char value[TRAFFIC_MAX];
    CHECK(size <= sizeof value);
    traffic_fill(value, size, who, number);
    leat_record record = { .value = value, .value_size = size };
    return leat_producer_send_to(producer, partition, &record, receipt);
}

enum { PARTITIONS_MAX = 64 };

struct ledger {
    uint32_t producers;
    uint64_t numbers;
    uint64_t *counts;    /* of each producer */
    unsigned char *seen; /* bits, producers x numbers */
    bool ordered;
    uint64_t *last; /* producers x PARTITIONS_MAX: the last number + 1 */
    uint64_t next_offset[PARTITIONS_MAX];
    uint64_t missed;
};

struct ledger *ledger_new(uint32_t producers, uint64_t numbers)
{
    struct ledger *ledger = calloc(1, sizeof *ledger);
    CHECK(ledger);
    ledger->producers = producers;
    ledger->numbers = (numbers + 7) & ~UINT64_C(7);
    ledger->counts = calloc(producers, sizeof *ledger->counts);
    ledger->seen = calloc(producers, ledger->numbers / 8);
    ledger->last = calloc((size_t)producers * PARTITIONS_MAX, sizeof *ledger->last);
    CHECK(ledger->counts && ledger->seen && ledger->last);
    return ledger;
}

void ledger_free(struct ledger *ledger)
{
    free(ledger->counts);
    free(ledger->seen);
    free(ledger->last);
    free(ledger);
}

void ledger_in_order(struct ledger *ledger)
{
    ledger->ordered = true;
}

static void take_offset(struct ledger *ledger, uint32_t partition, uint64_t from, uint64_t count)
{
    CHECK(partition < PARTITIONS_MAX);
    if (from < ledger->next_offset[partition])
        FAIL("partition %u: offset %" PRIu64 " comes behind %" PRIu64, partition, from,
             ledger->next_offset[partition] - 1);
    ledger->next_offset[partition] = from + count;
}

struct stamp ledger_note(struct ledger *ledger, const leat_record *record)
{
    struct stamp stamp = traffic_check(record);
    if (stamp.producer >= ledger->producers || stamp.number >= ledger->numbers)
        FAIL("record %" PRIu64 " of producer %u: nobody sent that", stamp.number, stamp.producer);
    take_offset(ledger, record->partition, record->offset, 1);
    uint64_t bit = stamp.producer * ledger->numbers + stamp.number;
    if (ledger->seen[bit / 8] & 1 << bit % 8)
        FAIL("record %" PRIu64 " of producer %u came twice, now as offset %" PRIu64, stamp.number,
             stamp.producer, record->offset);
    ledger->seen[bit / 8] |= (unsigned char)(1 << bit % 8);
    uint64_t *last = &ledger->last[stamp.producer * PARTITIONS_MAX + record->partition];
    if (ledger->ordered && stamp.number < *last)
        FAIL("partition %u: record %" PRIu64 " of producer %u comes behind %" PRIu64, record->partition,
             stamp.number, stamp.producer, *last - 1);
    *last = stamp.number + 1;
    lt_fetch_add64(&ledger->counts[stamp.producer], 1);
    return stamp;
}

void ledger_missed(struct ledger *ledger, uint32_t partition, uint64_t from_offset, uint64_t count)
{
    take_offset(ledger, partition, from_offset, count);
    lt_fetch_add64(&ledger->missed, count);
}

bool ledger_has(const struct ledger *ledger, uint32_t producer, uint64_t number)
{
    CHECK(producer < ledger->producers && number < ledger->numbers);
    uint64_t bit = producer * ledger->numbers + number;
    return ledger->seen[bit / 8] & 1 << bit % 8;
}

uint64_t ledger_count(const struct ledger *ledger, uint32_t producer)
{
    return lt_load_acquire64(&ledger->counts[producer]);
}

uint64_t ledger_missed_count(const struct ledger *ledger)
{
    return lt_load_acquire64(&ledger->missed);
}

void ledger_all(const struct ledger *ledger, uint32_t producer, uint64_t below)
{
    for (uint64_t i = 0; i < below; i++)
        if (!ledger_has(ledger, producer, i))
            FAIL("record %" PRIu64 " of producer %u never came (%" PRIu64 " of %" PRIu64 " did)", i, producer,
                 ledger_count(ledger, producer), below);
}

void traffic_read(leat_consumer *consumer, struct ledger *ledger, uint64_t count, double patience_s)
{
    const leat_record *records;
    for (uint64_t seen = 0; seen < count;) {
        int n = CHECK_OK(
            leat_consumer_poll(consumer, (int64_t)(patience_s * 1000) * test_slowdown(), &records));
        if (n == 0)
            FAIL("%" PRIu64 " of %" PRIu64 " records came, and then none for %.1f s", seen, count,
                 patience_s);
        for (int i = 0; i < n; i++)
            ledger_note(ledger, &records[i]);
        seen += (uint64_t)n;
    }
}

/* ---- the watcher ---- */

struct watcher {
    pthread_t thread;
    leat_consumer *consumer;
    struct ledger *ledger;
};

static void on_missed(leat_consumer *consumer, const leat_partition *partition, uint64_t from_offset,
                      uint64_t count, void *user)
{
    (void)consumer;
    ledger_missed(user, partition->partition, from_offset, count);
}

static void *watch(void *argument)
{
    const struct watcher *watcher = argument;
    const leat_record *records;
    for (;;) {
        int n = leat_consumer_poll(watcher->consumer, -1, &records);
        if (n == LEAT_EWAKEUP)
            return NULL;
        CHECK_OK(n);
        for (int i = 0; i < n; i++)
            ledger_note(watcher->ledger, &records[i]);
    }
}

struct watcher *watcher_start(leat_bus *bus, const char *topic, struct ledger *ledger, bool gate)
{
    struct watcher *watcher = calloc(1, sizeof *watcher);
    CHECK(watcher);
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.gate = gate;
    options.on_missed = on_missed;
    options.user = ledger;
    watcher->ledger = ledger;
    watcher->consumer = open_reader(bus, topic, &options);
    CHECK_EQ(pthread_create(&watcher->thread, NULL, watch, watcher), 0);
    return watcher;
}

void watcher_stop(struct watcher *watcher)
{
    leat_consumer_wakeup(watcher->consumer);
    CHECK_EQ(pthread_join(watcher->thread, NULL), 0);
    CHECK_OK(leat_consumer_close(watcher->consumer));
    free(watcher);
}
