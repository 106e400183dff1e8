/* traffic: see traffic.h. */
#include "traffic.h"
#include "bus.h"
#include "test.h"

#include <inttypes.h>
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

struct ledger {
    uint32_t producers;
    uint64_t numbers;
    uint64_t *counts;
    unsigned char *seen; /* producers x numbers */
};

struct ledger *ledger_new(uint32_t producers, uint64_t numbers)
{
    struct ledger *ledger = calloc(1, sizeof *ledger);
    CHECK(ledger);
    ledger->producers = producers;
    ledger->numbers = numbers;
    ledger->counts = calloc(producers, sizeof *ledger->counts);
    ledger->seen = calloc(producers, numbers);
    CHECK(ledger->counts && ledger->seen);
    return ledger;
}

void ledger_free(struct ledger *ledger)
{
    free(ledger->counts);
    free(ledger->seen);
    free(ledger);
}

void ledger_note(struct ledger *ledger, struct stamp stamp)
{
    if (stamp.producer >= ledger->producers || stamp.number >= ledger->numbers)
        FAIL("record %" PRIu64 " of producer %u: nobody sent that", stamp.number, stamp.producer);
    unsigned char *seen = &ledger->seen[stamp.producer * ledger->numbers + stamp.number];
    if (*seen)
        FAIL("record %" PRIu64 " of producer %u came twice", stamp.number, stamp.producer);
    *seen = 1;
    ledger->counts[stamp.producer]++;
}

bool ledger_has(const struct ledger *ledger, uint32_t producer, uint64_t number)
{
    CHECK(producer < ledger->producers && number < ledger->numbers);
    return ledger->seen[producer * ledger->numbers + number];
}

uint64_t ledger_count(const struct ledger *ledger, uint32_t producer)
{
    return ledger->counts[producer];
}

void ledger_all(const struct ledger *ledger, uint32_t producer, uint64_t below)
{
    for (uint64_t i = 0; i < below; i++)
        if (!ledger_has(ledger, producer, i))
            FAIL("record %" PRIu64 " of producer %u never came (%" PRIu64 " of %" PRIu64 " did)", i, producer,
                 ledger->counts[producer], below);
}

void traffic_read(leat_consumer *consumer, struct ledger *ledger, uint64_t count, double patience_s)
{
    enum { PARTITIONS = 64 };
    uint64_t next[PARTITIONS] = { 0 };
    const leat_record *records;
    for (uint64_t seen = 0; seen < count;) {
        int n = CHECK_OK(
            leat_consumer_poll(consumer, (int64_t)(patience_s * 1000) * test_slowdown(), &records));
        if (n == 0)
            FAIL("%" PRIu64 " of %" PRIu64 " records came, and then none for %.1f s", seen, count,
                 patience_s);
        for (int i = 0; i < n; i++) {
            const leat_record *record = &records[i];
            CHECK(record->partition < PARTITIONS);
            if (record->offset < next[record->partition])
                FAIL("partition %u: offset %" PRIu64 " behind %" PRIu64, record->partition, record->offset,
                     next[record->partition]);
            next[record->partition] = record->offset + 1;
            ledger_note(ledger, traffic_check(record));
        }
        seen += (uint64_t)n;
    }
}
