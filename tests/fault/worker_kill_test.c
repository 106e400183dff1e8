/* leatd's worker and keeper, killed with -9.
 *
 * Goal: the worker may die at any moment, under any load: clients keep their data path, find the next worker by themselves, and
 * lose nothing, and it is back at once. So may the keeper. When both die the bus has ended, and everybody is told.
 * Method: producers and gate readers are processes that check each byte and go on throughout; the test kills, waits until
 * the next worker answers, and lets the load go on for a while before the next kill. Deaths at each named step of leatd are in
 * leatd_kill_test.c.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum { PRODUCERS = 4, READERS = 4, PARTITIONS = 4, NUMBERS_MAX = 40 << 20 };

/* Board words. */
enum { STOP = 0, SENT = 100, SEEN = 200 };

/* Sends numbered records, partition after partition, until the board says stop. */
ROLE(pump)
{
    leat_bus *bus = role_open();
    uint32_t who = (uint32_t)role_number(0);
    leat_producer *producer = open_producer(bus, "t", NULL);
    say("ready");
    uint64_t number = 0;
    while (board_get(STOP) == 0 && number < NUMBERS_MAX) {
        CHECK_OK(
            traffic_send(producer, (uint32_t)(number % PARTITIONS), who, number, traffic_size(number), NULL));
        board_set(SENT + who, ++number);
    }
    say("sent %" PRIu64, number);
    hear("close");
    CHECK_OK(leat_producer_close(producer));
    leat_close(bus);
}

/* Reads everything with a gate, until all that was sent is there. */
ROLE(sink)
{
    leat_bus *bus = role_open();
    uint32_t who = (uint32_t)role_number(0);
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.gate = 1;
    leat_consumer *consumer = open_reader(bus, "t", &options);
    struct ledger *ledger = ledger_new(PRODUCERS, NUMBERS_MAX);
    ledger_in_order(ledger);
    say("ready");
    const leat_record *records;
    uint64_t seen = 0;
    while (!heard()) {
        int n = CHECK_OK(leat_consumer_poll(consumer, 50, &records));
        for (int i = 0; i < n; i++)
            ledger_note(ledger, &records[i]);
        board_set(SEEN + who, seen += (uint64_t)n);
    }
    uint64_t total = strtoull(hear_any(), NULL, 10);
    traffic_read(consumer, ledger, total - seen, 10);
    for (uint32_t p = 0; p < PRODUCERS; p++)
        ledger_all(ledger, p, board_get(SENT + p));
    for (uint32_t p = 0; p < PARTITIONS; p++)
        CHECK_EQ(leat_consumer_missed(consumer, "t", p), 0);
    say("complete");
    hear("close");
    CHECK_OK(leat_consumer_close(consumer));
    leat_close(bus);
}

struct load {
    struct child *pumps[PRODUCERS];
    struct child *sinks[READERS];
};

static struct load load_start(struct bus *bus)
{
    struct load load;
    for (int i = 0; i < READERS; i++) {
        load.sinks[i] = bus_spawn(bus, sink, .args = { text("%d", i) });
        child_expect(load.sinks[i], "ready");
    }
    for (int i = 0; i < PRODUCERS; i++) {
        load.pumps[i] = bus_spawn(bus, pump, .args = { text("%d", i) });
        child_expect(load.pumps[i], "ready");
    }
    return load;
}

static uint64_t sum_of(uint32_t from, uint32_t count)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += board_get(from + i);
    return sum;
}

/* Each producer and each reader has come further by so many records. */
static void load_goes_on(uint64_t records)
{
    uint64_t goals[PRODUCERS + READERS];
    for (uint32_t i = 0; i < PRODUCERS; i++)
        goals[i] = board_get(SENT + i) + records;
    for (uint32_t i = 0; i < READERS; i++)
        goals[PRODUCERS + i] = board_get(SEEN + i) + records;
    for (uint32_t i = 0; i < PRODUCERS; i++)
        WAIT_UNTIL(board_get(SENT + i) >= goals[i], 10);
    for (uint32_t i = 0; i < READERS; i++)
        WAIT_UNTIL(board_get(SEEN + i) >= goals[PRODUCERS + i], 10);
}

static void load_is_complete(struct load *load)
{
    board_set(STOP, 1);
    for (int i = 0; i < PRODUCERS; i++)
        child_number(load->pumps[i], "sent");
    for (int i = 0; i < READERS; i++)
        child_tell(load->sinks[i], "%" PRIu64, sum_of(SENT, PRODUCERS));
    for (int i = 0; i < READERS; i++)
        child_expect(load->sinks[i], "complete");
}

static void load_end(struct load *load)
{
    for (int i = 0; i < PRODUCERS; i++) {
        child_tell(load->pumps[i], "close");
        child_end(load->pumps[i]);
    }
    for (int i = 0; i < READERS; i++) {
        child_tell(load->sinks[i], "close");
        child_end(load->sinks[i]);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void kill_worker_under_load(int kills, double between_s)
{
    struct bus *bus = bus_start("--max-start-pause", "1", "--log-level", "warn");
    bus_topic(bus, "t", .partitions = PARTITIONS, .ring_size = 256 << 10);
    struct load load = load_start(bus);
    load_goes_on(1000);
    double *back_s = calloc((size_t)kills, sizeof *back_s);
    CHECK(back_s);
    uint64_t before = bus_status(bus).incarnation;
    for (int i = 0; i < kills; i++) {
        uint64_t killed = bus_kill_worker(bus);
        double start = now_s();
        struct lt_status_answer status = bus_wait_worker(bus, killed);
        back_s[i] = now_s() - start;
        if (back_s[i] > 2 * test_slowdown())
            FAIL("kill %d: the next worker answers after %.3f s", i, back_s[i]);
        CHECK_EQ(status.topics, 1);
        double until = now_s() + between_s;
        do
            load_goes_on(500);
        while (now_s() < until);
    }
    CHECK_EQ(bus_status(bus).incarnation, before + (uint64_t)kills);
    load_is_complete(&load);
    /* Nobody was restarted, and each is still the client that it was. */
    struct lt_status_answer status = bus_status(bus);
    CHECK_EQ(status.clients, PRODUCERS + READERS);
    load_end(&load);
    qsort(back_s, (size_t)kills, sizeof *back_s, by_value);
    printf("%" PRIu64
           " records to each of %d readers; a worker answers %.1f ms after the kill of the last one "
           "(median of %d; p90 %.1f, max %.1f ms)\n",
           sum_of(SENT, PRODUCERS), READERS, back_s[kills / 2] * 1e3, kills, back_s[kills * 9 / 10] * 1e3,
           back_s[kills - 1] * 1e3);
    bus_stop(bus);
}

TEST_SLOW(worker_killed_100_times_under_load_loses_nothing, 150)
{
    kill_worker_under_load(100, 0.02);
}

TEST_LONG(worker_killed_1000_times_under_load_loses_nothing, 1200)
{
    kill_worker_under_load(1000, 0.02);
}

TEST(keeper_killed_under_load_is_replaced_by_the_worker)
{
    struct bus *bus = bus_start("--max-start-pause", "1", "--log-level", "warn");
    bus_topic(bus, "t", .partitions = PARTITIONS, .ring_size = 256 << 10);
    struct load load = load_start(bus);
    load_goes_on(1000);
    for (int i = 0; i < 10; i++) {
        pid_t keeper = bus_kill_keeper(bus);
        bus_wait_keeper(bus, keeper);
        load_goes_on(500);
        /* The new one does its work: it brings a worker back with all that there is. */
        uint64_t killed = bus_kill_worker(bus);
        CHECK_EQ(bus_wait_worker(bus, killed).topics, 1);
        load_goes_on(500);
    }
    load_is_complete(&load);
    load_end(&load);
    bus_stop(bus);
}

/* Closes when it is told to, and lives on. */
ROLE(leaver)
{
    leat_bus *bus = role_open();
    leat_producer *producer = open_producer(bus, "t", NULL);
    CHECK_OK(traffic_send(producer, 0, 0, (uint64_t)role_number(0), 40, NULL));
    CHECK_OK(leat_producer_close(producer)); /* so that nothing but the goodbye is left to say */
    say("ready");
    hear("close");
    leat_close(bus);
    say("closed");
    hear_any();
}

TEST(goodbye_that_a_dying_worker_did_not_hear_is_said_to_the_next)
{
    struct bus *bus = bus_start("--max-start-pause", "1");
    bus_topic(bus, "t");
    for (int i = 0; i < 10; i++) {
        struct child *leaver = bus_spawn(bus, leaver, .args = { text("%d", i) });
        child_expect(leaver, "ready");
        struct lt_status_answer status = bus_status(bus);
        CHECK_EQ(status.clients, 1);
        CHECK_EQ(kill(status.worker_pid, SIGSTOP), 0);
        child_tell(leaver, "close"); /* its goodbye is on the way, or not yet */
        if (i % 2)
            bus_pause();
        CHECK_EQ(kill(status.worker_pid, SIGKILL), 0);
        child_expect(leaver, "closed");
        CHECK_EQ(bus_wait_worker(bus, status.incarnation).clients, 0);
        child_kill(leaver);
    }
    bus_stop(bus);
}

/* ---- both ---- */

/* Waits in poll for what never comes. */
ROLE(poller)
{
    leat_bus *bus = role_open();
    leat_consumer *consumer = open_reader(bus, role_arg(0), NULL);
    const leat_record *records;
    say("ready");
    CHECK_EQ(leat_consumer_poll(consumer, -1, &records), LEAT_EGONE);
    leat_topic_info *info;
    CHECK_EQ(leat_topic_describe(bus, role_arg(0), &info), LEAT_EGONE);
    CHECK_EQ(leat_consumer_poll(consumer, 1000, &records), LEAT_EGONE);
    leat_consumer_close(consumer);
    leat_close(bus);
}

/* The same in a loop of its own. */
ROLE(looper)
{
    leat_bus *bus = role_open();
    leat_consumer *consumer = open_reader(bus, role_arg(0), NULL);
    const leat_record *records;
    struct epoll_event event = { .events = EPOLLIN };
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    CHECK_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, CHECK_OK(leat_consumer_fd(consumer)), &event), 0);
    while (CHECK_OK(leat_consumer_poll(consumer, 0, &records)) > 0) {}
    say("ready");
    int n;
    do
        CHECK_EQ(epoll_wait(epoll, &event, 1, 20000), 1);
    while ((n = leat_consumer_poll(consumer, 0, &records)) == 0);
    CHECK_EQ(n, LEAT_EGONE);
    leat_close(bus);
}

/* Waits for room that never comes. */
ROLE(waiter)
{
    leat_bus *bus = role_open();
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.full_timeout_ms = -1;
    leat_producer *producer = open_producer(bus, "t", &options);
    int r;
    uint64_t number = 0;
    say("ready");
    while ((r = traffic_send(producer, 0, 0, number, 40, NULL)) == 0)
        board_set(SENT, ++number);
    CHECK_EQ(r, LEAT_EGONE);
    leat_producer_close(producer);
    leat_close(bus);
}

TEST(death_of_keeper_and_worker_ends_the_bus_for_everybody)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_consumer_options gate = LEAT_CONSUMER_OPTIONS;
    gate.gate = 1;
    leat_consumer *slow = open_reader(handle, "t", &gate);
    const leat_record *records;
    CHECK_EQ(leat_consumer_poll(slow, 0, &records), 0);
    struct child *waiter = bus_spawn(bus, waiter);
    child_expect(waiter, "ready");
    WAIT_UNTIL(board_get(SENT) >= 384, 5);
    bus_topic(bus, "quiet");
    struct child *poller = bus_spawn(bus, poller, .args = { "quiet" });
    child_expect(poller, "ready");
    struct child *looper = bus_spawn(bus, looper, .args = { "quiet" });
    child_expect(looper, "ready");
    double start = now_s();
    bus_kill_both(bus);
    child_end(looper);
    child_end(poller);
    child_end(waiter);
    printf("everybody knows after %.3f s\n", now_s() - start);
    CHECK(now_s() - start < 10);
    leat_status_info *info;
    CHECK_EQ(leat_status(handle, &info), LEAT_EGONE);
    leat_bus *again;
    CHECK_EQ(leat_open(&again, bus->path), LEAT_EGONE);
    leat_close(handle);
}

TEST(bus_that_was_stopped_in_good_order_ends_for_everybody)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    struct child *poller = bus_spawn(bus, poller, .args = { "t" });
    child_expect(poller, "ready");
    bus_stop(bus);
    child_end(poller);
}

TEST(another_leatd_starts_where_both_have_died)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    bus_kill_both(bus);
    const char *const argv[] = { test_program("LEAT_TEST_LEAT"), "--bus", bus->path, "status", NULL };
    const char *output;
    int status = run_program(argv, &output);
    CHECK(status != 0);
    struct bus *next = bus_start_in(bus->path, NULL);
    CHECK_EQ(bus_status(next).topics, 0);
    bus_topic(next, "t");
    bus_stop(next);
}
