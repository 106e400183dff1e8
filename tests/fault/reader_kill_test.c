/* Readers that are killed with -9.
 *
 * Goal: a reader may die at any moment, holding views and keeping records as it likes: producers go on at once, what it held
 * is free, and its place on the bus is given to the next one.
 * Method: readers are processes that poll and then wait with their views in hand, or run and are killed at random
 * moments. Producers send several rings' worth afterwards; leatd's stall limit is a minute, so nothing comes of it.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

#include <inttypes.h>
#include <stdio.h>

enum { SLOTS = 512 };

/* Holds what its first poll gave it, for ever. ARG 0: gate. */
ROLE(holder)
{
    leat_bus *bus = role_open();
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.gate = role_number(0) != 0;
    leat_consumer *consumer = open_reader(bus, "t", &options);
    const leat_record *records;
    int n = CHECK_OK(leat_consumer_poll(consumer, 5000, &records));
    CHECK(n > 0);
    traffic_check(&records[n - 1]);
    say("holds %d", n);
    hear_any();
}

/* Reads on and on. ARG 0: gate, ARG 1: the board's word that counts. */
ROLE(runner)
{
    leat_bus *bus = role_open();
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.gate = role_number(0) != 0;
    uint32_t word = (uint32_t)role_number(1);
    leat_consumer *consumer = open_reader(bus, "t", &options);
    const leat_record *records;
    for (;;) {
        int n = CHECK_OK(leat_consumer_poll(consumer, -1, &records));
        for (int i = 0; i < n; i++)
            traffic_check(&records[i]);
        board_add(word, (uint64_t)n);
    }
}

static uint64_t send_steadily(leat_producer *producer, uint64_t from, uint64_t count)
{
    for (uint64_t i = from; i < from + count; i++)
        CHECK_OK(traffic_send(producer, 0, 0, i, traffic_size(i), NULL));
    return from + count;
}

static void expect_one_ring_and_readers(leat_bus *bus, uint32_t readers)
{
    leat_topic_info *info = bus_describe(bus, "t");
    CHECK_EQ(info->partitions[0].rings, 1);
    CHECK_EQ(info->partitions[0].readers, readers);
    leat_topic_info_free(info);
}

static void kill_a_holder(bool gate)
{
    struct bus *bus = bus_start("--stall-limit", "60000");
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.full_timeout_ms = 2000;
    leat_producer *producer = open_producer(handle, "t", &options);
    uint64_t number = send_steadily(producer, 0, 50);
    struct child *holder = bus_spawn(bus, holder, .args = { gate ? "1" : "0" });
    CHECK_EQ(child_number(holder, "holds"), 50);

    /* In the way for the time being: the ring fills up. */
    options.full_timeout_ms = 0;
    leat_producer *impatient = open_producer(handle, "t", &options);
    int r;
    while ((r = traffic_send(impatient, 0, 0, number, 40, NULL)) == 0)
        number++;
    CHECK_EQ(r, LEAT_EFULL);
    CHECK(number >= 50 + SLOTS / 4 && number <= 2 * SLOTS);

    child_kill(holder);
    double start = now_s();
    number = send_steadily(producer, number, 1);
    printf("room %.1f ms after the death\n", (now_s() - start) * 1e3);
    CHECK(now_s() - start < 1);
    number = send_steadily(producer, number, 4 * SLOTS);
    expect_one_ring_and_readers(handle, 0);

    /* And somebody new reads on from what there is. */
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    int64_t begin = leat_consumer_beginning_offset(consumer, "t", 0);
    CHECK_EQ(leat_consumer_end_offset(consumer, "t", 0), number);
    struct ledger *ledger = ledger_new(1, number);
    traffic_read(consumer, ledger, number - (uint64_t)begin, 1);
    expect_one_ring_and_readers(handle, 1);
    leat_close(handle);
    bus_stop(bus);
}

TEST(killed_reader_frees_the_views_that_it_held)
{
    kill_a_holder(false);
}

TEST(killed_gate_reader_frees_the_records_that_it_kept)
{
    kill_a_holder(true);
}

TEST(sender_that_waits_for_a_reader_is_woken_by_its_death)
{
    struct bus *bus = bus_start("--stall-limit", "60000");
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.full_timeout_ms = 0;
    leat_producer *impatient = open_producer(handle, "t", &options);
    uint64_t number = send_steadily(impatient, 0, 50);
    struct child *reader = bus_spawn(bus, holder, .args = { "1" });
    child_number(reader, "holds");
    while (traffic_send(impatient, 0, 0, number, 40, NULL) == 0)
        number++;
    leat_producer *patient = open_producer(handle, "t", NULL);
    CHECK_EQ(kill(reader->pid, SIGKILL), 0); /* it may die before or while we wait */
    double start = now_s();
    CHECK_OK(traffic_send(patient, 0, 0, number, 40, NULL));
    CHECK(now_s() - start < 1);
    child_killed(reader, SIGKILL);
    leat_close(handle);
}

TEST(readers_killed_at_random_moments_stop_no_producer)
{
    enum { KILLS = 60, AT_ONCE = 3 };
    struct bus *bus = bus_start("--stall-limit", "60000", "--log-level", "warn");
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.full_timeout_ms = 5000;
    leat_producer *producer = open_producer(handle, "t", &options);
    struct child *readers[AT_ONCE] = { 0 };
    uint64_t number = 0;
    for (uint32_t i = 0; i < KILLS; i++) {
        struct child **reader = &readers[i % AT_ONCE];
        if (*reader) {
            child_kill(*reader);
        }
        *reader = bus_spawn(bus, runner, .args = { i % 2 ? "1" : "0", text("%u", i) });
        uint64_t moment = 1 + test_random() % (2 * SLOTS);
        double until = now_s() + 10;
        while (board_get(i) < moment) {
            number = send_steadily(producer, number, 1 + test_random() % 50);
            CHECK(now_s() < until);
        }
    }
    for (int i = 0; i < AT_ONCE; i++)
        child_kill(readers[i]);
    number = send_steadily(producer, number, 4 * SLOTS);
    expect_one_ring_and_readers(handle, 0);
    printf("%" PRIu64 " records were sent past %d deaths\n", number, KILLS);
    bus_stop(bus);
}
