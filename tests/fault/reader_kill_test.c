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
#include <string.h>

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

/* Stands still with a claim. */
ROLE(blocker)
{
    leat_bus *bus = role_open();
    leat_producer *producer = open_producer(bus, "t", NULL);
    leat_claim claim;
    CHECK_OK(leat_producer_claim(producer, NULL, 0, 100, &claim));
    say("claimed");
    hear_any();
}

/* Dies at a point of poll, with others at work and one rotation on its way. */
static void kill_reader_at(const char *point, int pass, bool gate)
{
    printf("at %s:%d, %s\n", point, pass, gate ? "a gate" : "no gate");
    fflush(stdout);
    struct bus *bus = bus_start("--stall-limit", "20", "--log-level", "error");
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    struct ledger *ledger = ledger_new(1, 1 << 20);
    struct watcher *watcher = watcher_start(handle, "t", ledger, true);
    leat_producer *producer = open_producer(handle, "t", NULL);
    struct child *reader = bus_spawn(bus, runner, .kill = bus_kill_at(point, pass),
                                     .args = { gate ? "1" : "0", "0" });
    struct child *blocker = bus_spawn(bus, blocker);
    child_expect(blocker, "claimed");
    child_stop(blocker);
    uint64_t number = 0;
    for (double until = now_s() + 10; child_lives(reader);) {
        number = send_steadily(producer, number, 10);
        if (now_s() > until)
            FAIL("the reader lives after 10 s and %" PRIu64 " records", number);
        bus_pause(); /* so that it comes to sleep now and then */
    }
    child_killed(reader, SIGKILL);
    child_kill(blocker);
    double start = now_s();
    number = send_steadily(producer, number, 4 * SLOTS);
    CHECK(now_s() - start < 2);
    WAIT_UNTIL(ledger_count(ledger, 0) == number, 2);
    ledger_all(ledger, 0, number);
    CHECK_EQ(ledger_missed_count(ledger), 0);
    expect_one_ring_and_readers(handle, 1);
    watcher_stop(watcher);
    leat_close(handle);
    ledger_free(ledger);
    bus_stop(bus);
}

static const char *const points[] = { "consume.pin", "consume.view", "consume.unpin", "consume.sleep",
                                      "consume.move" };

TEST(readers_killed_at_each_step_of_a_poll_hold_up_nobody)
{
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        for (int gate = 0; gate < 2; gate++) {
            bool moves = i == 4; /* once when it opens, once when the ring is left */
            kill_reader_at(points[i], 1, gate);
            kill_reader_at(points[i], moves ? 2 : 2 + (int)(test_random() % 8), gate);
        }
}

TEST(every_point_of_a_poll_is_in_the_table)
{
    static const char *const files[] = { "poll.c", "cursor.c", "cursor.h", "consumer.c", "fdbridge.c" };
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        const char *path = text("%s/src/client/%s", test_program("LEAT_TEST_ROOT"), files[f]);
        FILE *source = fopen(path, "r");
        char line[512], name[64];
        if (!source)
            FAIL("cannot read %s", path);
        while (fgets(line, sizeof line, source)) {
            const char *at = strstr(line, "lt_point(\"");
            if (!at || sscanf(at, "lt_point(\"%63[^\"]", name) != 1)
                continue;
            bool found = false;
            for (size_t i = 0; i < sizeof points / sizeof *points; i++)
                found |= strcmp(points[i], name) == 0;
            if (!found)
                FAIL("%s has the point %s, and no reader was killed there", path, name);
        }
        fclose(source);
    }
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
