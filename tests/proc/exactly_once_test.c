/* Four producers, four readers, a million records.
 *
 * Goal: each reader sees each record exactly once, whole, and in the order in which its producer sent it: over all of a
 * producer's records of a partition, and so of a key.
 * Method: nine processes. Producers send numbered records under 64 keys each to four partitions; the readers are gates, so
 * nothing is overwritten; every byte is checked, and each reader keeps a ledger of all numbers of all producers.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PRODUCERS = 4, READERS = 4, PARTITIONS = 4, KEYS = 64, BATCH_MAX = 32 };

/* How a producer sends: one by one, in place, or in batches. */
enum { ONE, IN_PLACE, MANY, MIXED };

struct key {
    uint32_t producer;
    uint32_t key;
};

static struct key key_of(uint32_t producer, uint64_t number)
{
    return (struct key){ producer, (uint32_t)(number * 2654435761u >> 7) % KEYS };
}

static void send_one(leat_producer *producer, uint32_t who, uint64_t number, size_t size)
{
    unsigned char value[TRAFFIC_MAX];
    struct key key = key_of(who, number);
    traffic_fill(value, size, who, number);
    leat_record record = { .key = &key, .key_size = sizeof key, .value = value, .value_size = size };
    CHECK_OK(leat_producer_send(producer, &record, NULL));
}

static void send_in_place(leat_producer *producer, uint32_t who, uint64_t number, size_t size)
{
    struct key key = key_of(who, number);
    leat_claim claim;
    int r;
    do { /* taken back when this process stood still for long; then nothing of it was visible */
        CHECK_OK(leat_producer_claim(producer, &key, sizeof key, size, &claim));
        traffic_fill(claim.value, size, who, number);
    } while ((r = leat_claim_commit(&claim, NULL)) == LEAT_EABORTED);
    CHECK_OK(r);
}

static uint64_t send_batch(leat_producer *producer, uint32_t who, uint64_t number, uint64_t count)
{
    static unsigned char values[BATCH_MAX][TRAFFIC_MAX];
    struct key keys[BATCH_MAX];
    leat_record records[BATCH_MAX];
    uint64_t size = test_random() % BATCH_MAX + 1;
    size = size < count - number ? size : count - number;
    for (uint64_t i = 0; i < size; i++) {
        keys[i] = key_of(who, number + i);
        size_t bytes = traffic_size(number + i);
        traffic_fill(values[i], bytes, who, number + i);
        records[i] = (leat_record){
            .key = &keys[i], .key_size = sizeof keys[i], .value = values[i], .value_size = bytes
        };
    }
    CHECK_EQ(CHECK_OK(leat_producer_send_many(producer, records, size, NULL)), size);
    return size;
}

/* ARG 0: who, ARG 1: how many, ARG 2: how. */
ROLE(sender)
{
    leat_bus *bus = role_open();
    uint32_t who = (uint32_t)role_number(0);
    uint64_t count = (uint64_t)role_number(1);
    int64_t how = role_number(2);
    leat_producer *producer = open_producer(bus, "t", NULL);
    say("ready");
    hear("go");
    for (uint64_t number = 0; number < count;) {
        int64_t now = how == MIXED ? (int64_t)(test_random() % MIXED) : how;
        if (now == MANY) {
            number += send_batch(producer, who, number, count);
            continue;
        }
        if (now == ONE)
            send_one(producer, who, number, traffic_size(number));
        else
            send_in_place(producer, who, number, traffic_size(number));
        number++;
    }
    CHECK_OK(leat_producer_close(producer));
    leat_close(bus);
}

/* ARG 0: how many of each producer. */
ROLE(reader)
{
    leat_bus *bus = role_open();
    uint64_t count = (uint64_t)role_number(0), seen = 0;
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.gate = 1;
    leat_consumer *consumer = open_reader(bus, "t", &options);
    struct ledger *ledger = ledger_new(PRODUCERS, count);
    ledger_in_order(ledger);
    uint32_t place[PRODUCERS][KEYS]; /* the partition of each key: always the same */
    memset(place, 0xff, sizeof place);
    say("ready");
    while (seen < PRODUCERS * count) {
        const leat_record *records;
        int n = CHECK_OK(leat_consumer_poll(consumer, 20000, &records));
        if (n == 0)
            FAIL("%" PRIu64 " of %" PRIu64 " records came, and then none for 20 s", seen, PRODUCERS * count);
        for (int i = 0; i < n; i++) {
            struct stamp stamp = ledger_note(ledger, &records[i]);
            struct key key = key_of(stamp.producer, stamp.number);
            CHECK_EQ(records[i].key_size, sizeof key);
            CHECK_MEM(records[i].key, &key, sizeof key);
            uint32_t *partition = &place[key.producer][key.key];
            if (*partition == UINT32_MAX)
                *partition = records[i].partition;
            CHECK_EQ(records[i].partition, *partition);
        }
        seen += (uint64_t)n;
    }
    for (uint32_t who = 0; who < PRODUCERS; who++)
        ledger_all(ledger, who, count);
    const leat_record *records;
    CHECK_EQ(leat_consumer_poll(consumer, 0, &records), 0);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        CHECK_EQ(leat_consumer_missed(consumer, "t", p), 0);
        CHECK_EQ(leat_consumer_lag(consumer, "t", p), 0);
    }
    CHECK_OK(leat_consumer_close(consumer));
    leat_close(bus);
}

static void run(uint64_t total, uint64_t ring_size, int how)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = PARTITIONS, .ring_size = ring_size);
    struct child *readers[READERS], *senders[PRODUCERS];
    const char *each = text("%" PRIu64, total / PRODUCERS);
    for (int i = 0; i < READERS; i++) {
        readers[i] = bus_spawn(bus, reader, .args = { each });
        child_expect(readers[i], "ready");
    }
    for (int i = 0; i < PRODUCERS; i++) {
        senders[i] = bus_spawn(bus, sender, .args = { text("%d", i), each, text("%d", how) });
        child_expect(senders[i], "ready");
    }
    double start = now_s();
    for (int i = 0; i < PRODUCERS; i++)
        child_tell(senders[i], "go");
    /* Their ends are waited for without a limit but the test's own: how long a million takes is the machine's affair. */
    for (int i = 0; i < PRODUCERS; i++)
        child_end_in(senders[i], 120);
    for (int i = 0; i < READERS; i++)
        child_end_in(readers[i], 120);
    printf("%" PRIu64 " records to each of %d readers in %.1f s\n", total, READERS, now_s() - start);
    CHECK_EQ(bus_counter(bus, "records", NULL, -1, -1), total);
    bus_stop(bus);
}

TEST_SLOW(million_records_of_four_producers_reach_four_readers_once_and_in_order, 150)
{
    run(1000000, 4 << 20, MIXED);
}

TEST_SLOW(small_rings_make_producers_wait_and_lose_nothing, 150)
{
    run(200000, 64 << 10, MIXED);
}

TEST_LONG(million_single_records_reach_four_readers_through_small_rings, 600)
{
    run(1000000, 64 << 10, ONE);
}

TEST_LONG(million_records_in_place_reach_four_readers, 600)
{
    run(1000000, 1 << 20, IN_PLACE);
}

TEST_LONG(twenty_million_records_in_batches_reach_four_readers, 1200)
{
    run(20000000, 4 << 20, MANY);
}
