/* Levels above ring when something dies or a disk fails between a publication and its acknowledgement.
 *
 * Goal: whoever waits goes on waiting over a death of the worker and hears of nothing; each record is told once, in order, and read once; a
 * partition that fails tells all that was not acknowledged, refuses everything, and harms no other one.
 * Method: leatd dies at each named step of its persister, under a sender that waits for each record; disks fail by LEAT_IO_FAIL
 * (store/io_fail.c).
 */
#include "bus.h"
#include "test.h"
#include "told.h"
#include "traffic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PARTITIONS = 2, EACH = 40 };

/* ---- the worker dies at a step of its persister ---- */

static void die_at(const char *point, int pass, enum leat_level level)
{
    const char *kill = bus_kill_at(point, pass);
    struct bus *bus = bus_start_fault(kill, "--max-start-pause", "1", "--log-level", "error");
    bus_topic(bus, "t", .partitions = PARTITIONS, .level = level);
    leat_bus *handle = bus_open(bus);
    struct told told = { { 0 }, 0, 0, 0 };
    leat_producer *producer = told_open(handle, &told);
    struct ledger *ledger = ledger_new(PARTITIONS, EACH);
    ledger_in_order(ledger);
    leat_consumer *reader = open_reader(handle, "t", NULL);
    for (uint64_t i = 0; i < EACH; i++)
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            leat_receipt receipt;
            CHECK_OK(traffic_send(producer, p, p, i, traffic_size(i), &receipt));
            if (i % 4 == 3)
                continue; /* now and then some together */
            CHECK_OK(leat_producer_wait(producer, &receipt, 30000));
        }
    CHECK_OK(leat_producer_flush(producer, 30000));
    CHECK(bus_died_at(bus, kill));
    CHECK_EQ(told.count, PARTITIONS * EACH);
    CHECK_EQ(told.failed, 0);
    traffic_read(reader, ledger, PARTITIONS * EACH, 10);
    const leat_record *records;
    CHECK_EQ(CHECK_OK(leat_consumer_poll(reader, 0, &records)), 0);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        ledger_all(ledger, p, EACH);
    CHECK_EQ(ledger_missed_count(ledger), 0);
    CHECK_OK(leat_consumer_close(reader));
    CHECK_OK(leat_producer_close(producer));
    leat_close(handle);
    bus_stop(bus);
}

static void die_at_each(enum leat_level level)
{
    static const char *const points[] = { "log.append", "log.reserve", "log.tell", "log.tell.after" };
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
        die_at(points[i], strcmp(points[i], "log.reserve") == 0 ? 1 : 5, level);
}

TEST(worker_that_dies_before_or_behind_an_acknowledgement_costs_no_sender_an_error)
{
    die_at_each(LEAT_WRITTEN);
}

TEST(worker_that_dies_before_or_behind_a_durable_acknowledgement_costs_no_sender_an_error)
{
    die_at_each(LEAT_DURABLE);
}

/* ---- a sender dies as it waits ---- */

ROLE(victim)
{
    leat_bus *bus = role_open();
    leat_producer *producer = open_producer(bus, "t", NULL);
    for (uint64_t i = 0;; i++) {
        leat_receipt receipt;
        CHECK_OK(traffic_send(producer, 0, 1, i, 40, &receipt));
        board_set(0, i + 1);
        CHECK_OK(leat_producer_wait(producer, &receipt, 30000));
    }
}

TEST(sender_killed_as_it_waits_for_an_acknowledgement_leaves_its_record)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .level = LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    struct child *child = bus_spawn(bus, victim, .kill = bus_kill_at("produce.ack", 3));
    child_killed(child, SIGKILL);
    uint64_t sent = board_get(0);
    leat_producer *producer = open_producer(handle, "t", NULL);
    CHECK_OK(traffic_send(producer, 0, 0, 0, 40, NULL));
    CHECK_OK(leat_producer_flush(producer, 20000));
    struct ledger *ledger = ledger_new(2, sent + 1);
    leat_consumer *reader = open_reader(handle, "t", NULL);
    traffic_read(reader, ledger, sent + 1, 10);
    ledger_all(ledger, 1, sent);
    CHECK_OK(leat_consumer_close(reader));
    CHECK_OK(leat_producer_close(producer));
    leat_close(handle);
    bus_stop(bus);
}

/* ---- disks ---- */

static const char *fail_file(void)
{
    return text("%s/fail", test_dir());
}

static struct bus *start_failing(void)
{
    setenv("LEAT_IO_FAIL", fail_file(), 1);
    return bus_start_fault(NULL, "--log-level", "error");
}

static void fail(const char *op, int error, const char *part)
{
    FILE *file = fopen(text("%s.new", fail_file()), "w");
    CHECK(file != NULL);
    fprintf(file, "%s %d %s\n", op, error, part);
    CHECK_EQ(fclose(file), 0);
    CHECK_EQ(rename(text("%s.new", fail_file()), fail_file()), 0);
}

static void check_refused(leat_bus *handle, int r, int error, const char *why)
{
    CHECK_EQ(r, error);
    if (!strstr(leat_last_error(handle), why) || !strstr(leat_last_error(handle), "t: partition 0: "))
        FAIL("\"%s\" does not say partition 0 and \"%s\"", leat_last_error(handle), why);
}

/* send, send_many and claim, of partition 0. */
static int first_partition(const char *topic, const void *key, size_t key_size, uint32_t partitions,
                           void *user)
{
    (void)topic, (void)key, (void)key_size, (void)partitions, (void)user;
    return 0;
}

static void all_refused(leat_bus *handle, int error, const char *why)
{
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    leat_record records[2] = { { .value = "a", .value_size = 1 }, { .value = "b", .value_size = 1 } };
    leat_claim claim;
    options.partitioner = LEAT_CALLBACK;
    options.partition_of = first_partition;
    leat_producer *producer = open_producer(handle, "t", &options);
    check_refused(handle, leat_producer_send(producer, &records[0], NULL), error, why);
    check_refused(handle, leat_producer_send_many(producer, records, 2, NULL), error, why);
    check_refused(handle, leat_producer_claim(producer, NULL, 0, 8, &claim), error, why);
    CHECK_OK(leat_producer_close(producer));
}

TEST(partition_that_fails_tells_what_it_has_not_acknowledged)
{
    struct bus *bus = start_failing();
    bus_topic(bus, "t", .partitions = PARTITIONS, .level = LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    struct told told = { { 0 }, 0, 0, 0 };
    leat_producer *producer = told_open(handle, &told);
    uint64_t sent = 0, taken = 0;
    for (; sent < 20; sent++)
        CHECK_OK(traffic_send(producer, sent % PARTITIONS, 0, sent, 200, NULL));
    CHECK_OK(leat_producer_flush(producer, 20000));
    CHECK_EQ(told.count, 20);
    fail("write", EIO, "topics/t/0/");
    for (; taken < 5 && traffic_send(producer, 0, 0, sent, 200, NULL) == 0; taken++)
        sent++;
    CHECK(taken >= 1);
    CHECK_OK(traffic_send(producer, 1, 0, sent++, 200, NULL));
    CHECK_EQ(leat_producer_flush(producer, 20000), LEAT_EIO);
    CHECK_EQ(told.count, sent);
    CHECK_EQ(told.failed, taken);
    CHECK_EQ(told.error, LEAT_EIO);
    all_refused(handle, LEAT_EIO, strerror(EIO));
    CHECK_EQ(unlink(fail_file()), 0);
    CHECK_EQ(CHECK_OK(leat_topic_resume(handle, "t", 0, 0)), 1);
    CHECK_OK(traffic_send(producer, 0, 0, sent++, 200, NULL));
    CHECK_OK(leat_producer_flush(producer, 20000));
    CHECK_EQ(told.count, sent);
    CHECK_EQ(told.failed, taken);
    CHECK_OK(leat_producer_close(producer));
    leat_close(handle);
    bus_stop(bus);
}

TEST(who_waits_while_the_disk_is_full_is_told_when_it_has_room)
{
    struct bus *bus = start_failing();
    bus_topic(bus, "t", .partitions = PARTITIONS, .level = LEAT_WRITTEN, .segment_bytes = 64 << 10,
              .ring_size = 1 << 20);
    leat_bus *handle = bus_open(bus);
    struct told told = { { 0 }, 0, 0, 0 };
    leat_producer *producer = told_open(handle, &told);
    fail("allocate", ENOSPC, "topics/t/0/");
    uint64_t sent = 0;
    int r;
    while ((r = traffic_send(producer, 0, 0, sent, 1000, NULL)) == 0) {
        CHECK(++sent < 100000);
        if (sent % 64 == 0) /* so that it is known before the ring is full */
            leat_producer_flush(producer, 20);
    }
    CHECK_EQ(r, LEAT_ENOSPC);
    all_refused(handle, LEAT_ENOSPC, strerror(ENOSPC));
    CHECK_EQ(told.failed, 0);
    CHECK_EQ(unlink(fail_file()), 0);
    CHECK_OK(leat_producer_flush(producer, 30000));
    CHECK_EQ(told.count, sent);
    CHECK_EQ(told.failed, 0);
    WAIT_UNTIL((r = traffic_send(producer, 0, 0, sent, 1000, NULL)) == 0 || r != LEAT_ENOSPC, 20);
    CHECK_EQ(r, 0);
    CHECK_OK(leat_producer_close(producer));
    CHECK_EQ(told.count, sent + 1);
    leat_close(handle);
    bus_stop(bus);
}
