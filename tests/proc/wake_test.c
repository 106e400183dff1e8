/* No wake-up is lost.
 *
 * Goal: a record that is sent just as its reader goes to sleep wakes it; so does the room that is made just as a sender goes
 * to sleep.
 * Method: two processes throw a record to and fro and never spin, so that each send meets a reader at another step of its
 * way to sleep, hundreds of thousands of times, with pauses of random length before each throw. A wake-up that is lost
 * costs its sleeper two seconds (a sender a tenth of one), and no throw may take half of that.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

#include "base/atomic.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 512, ROUNDS = 100000 };

static void spin_for(uint64_t turns)
{
    for (uint64_t i = 0; i < turns; i++)
        lt_relax();
}

/* Waits for the other's number, throws it back. ARG 0: whom to read (and the other one is sent to), ARG 1: rounds. */
static double throw_to_and_fro(leat_bus *bus, uint32_t mine, uint32_t theirs, uint64_t rounds, bool starts)
{
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.spin_us = 0;
    options.reset = LEAT_EARLIEST;
    leat_consumer *consumer;
    CHECK_OK(leat_consumer_open(&consumer, bus, &options));
    CHECK_OK(leat_consumer_assign(consumer, (leat_partition[]){ { "t", mine } }, 1));
    leat_producer *producer = open_producer(bus, "t", NULL);
    double longest = 0;
    if (starts)
        CHECK_OK(traffic_send(producer, theirs, theirs, 0, 40, NULL));
    for (uint64_t round = 0; round < rounds; round++) {
        const leat_record *records;
        double start = now_s();
        CHECK_EQ(CHECK_OK(leat_consumer_poll(consumer, 10000, &records)), 1);
        double took = now_s() - start;
        longest = took > longest ? took : longest;
        if (took > 1 * test_slowdown())
            FAIL("round %" PRIu64 " took %.3f s: its wake-up was lost", round, took);
        CHECK_EQ(traffic_check(&records[0]).number, round);
        /* From nothing to about the time that the other one takes to fall asleep. */
        spin_for(test_random() % 400);
        if (!starts || round + 1 < rounds)
            CHECK_OK(traffic_send(producer, theirs, theirs, round + starts, 40, NULL));
    }
    CHECK_OK(leat_consumer_close(consumer));
    CHECK_OK(leat_producer_close(producer));
    return longest;
}

ROLE(partner)
{
    leat_bus *bus = role_open();
    say("ready");
    throw_to_and_fro(bus, 1, 0, (uint64_t)role_number(0), false);
    leat_close(bus);
}

static void play(uint64_t rounds, enum leat_level level)
{
    struct bus *bus = bus_start("--log-level", "warn");
    bus_topic(bus, "t", .partitions = 2, .on_full = LEAT_OVERWRITE, .level = level);
    leat_bus *handle = bus_open(bus);
    struct child *partner = bus_spawn(bus, partner, .args = { text("%" PRIu64, rounds) });
    child_expect(partner, "ready");
    double start = now_s();
    double longest = throw_to_and_fro(handle, 0, 1, rounds, true);
    printf("%" PRIu64 " rounds of two wake-ups in %.1f s, the longest wait %.1f ms\n", rounds,
           now_s() - start, longest * 1e3);
    child_end(partner);
    leat_close(handle);
    bus_stop(bus);
}

TEST_SLOW(record_that_meets_its_reader_on_the_way_to_sleep_wakes_it, 120)
{
    play(ROUNDS, LEAT_RING);
}

/* Three wake-ups a throw: the sender wakes leatd's persister, which wakes the reader. */
TEST_SLOW(acknowledgement_that_meets_its_reader_on_the_way_to_sleep_wakes_it, 120)
{
    play(ROUNDS / 20, LEAT_WRITTEN);
}

TEST_LONG(record_that_meets_its_reader_on_the_way_to_sleep_wakes_it_ten_million_times, 1200)
{
    play(10000000, LEAT_RING);
}

/* ---- room ---- */

/* Reads record by record, as a gate, pausing now and then, until it is told the number. ARG 0: how many. */
ROLE(slow_gate)
{
    leat_bus *bus = role_open();
    uint64_t count = (uint64_t)role_number(0), seen = 0;
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.gate = 1;
    options.spin_us = 0;
    options.max_poll_records = 64;
    leat_consumer *consumer = open_reader(bus, "t", &options);
    say("ready");
    while (seen < count) {
        const leat_record *records;
        int n = CHECK_OK(leat_consumer_poll(consumer, 5000, &records));
        CHECK(n > 0);
        for (int i = 0; i < n; i++)
            traffic_check(&records[i]);
        seen += (uint64_t)n;
        spin_for(test_random() % 2000);
    }
    leat_close(bus);
}

TEST_SLOW(room_that_comes_as_a_sender_goes_to_sleep_wakes_it, 120)
{
    enum { COUNT = 1000000 };
    struct bus *bus = bus_start("--log-level", "warn");
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    struct child *gate = bus_spawn(bus, slow_gate, .args = { text("%d", COUNT) });
    child_expect(gate, "ready");
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.spin_us = 0;
    leat_producer *producer = open_producer(handle, "t", &options);
    double longest = 0, start = now_s();
    int slow = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
        double before = now_s();
        CHECK_OK(traffic_send(producer, 0, 0, i, 40, NULL));
        double took = now_s() - before;
        longest = took > longest ? took : longest;
        slow += took > 0.09;
    }
    child_end(gate);
    printf("%d records in %.1f s, the longest send %.1f ms, %d sends at the sleep's bound\n", COUNT,
           now_s() - start, longest * 1e3, slow);
    CHECK(slow <= 2); /* the machine itself may stand still for a moment */
    leat_close(handle);
}
