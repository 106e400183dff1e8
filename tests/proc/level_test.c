/* Levels above ring: what is acknowledged when, who sees it, and who waits for it.
 *
 * Goal: a record is visible once it is acknowledged at its topic's level and not before; wait, flush and on_delivered follow that, and a
 * worker that stands still or dies only makes them wait.
 * Method: the worker, whose persister acknowledges, is stopped where nothing is to be acknowledged; clients send and read all the same.
 */
#include "bus.h"
#include "cli.h"
#include "test.h"
#include "told.h"
#include "traffic.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* ---- a worker that stands still ---- */

static bool is_stopped(const char *task)
{
    char line[512] = "";
    FILE *file = fopen(text("%s/stat", task), "r");
    if (file == NULL)
        return true; /* a thread that has ended */
    const char *read = fgets(line, sizeof line, file);
    fclose(file);
    const char *end = strrchr(line, ')');
    return read == NULL || (end != NULL && end[2] == 'T');
}

/* Every thread of it stands still. */
static bool all_stopped(pid_t pid)
{
    const char *folder = text("/proc/%d/task", (int)pid);
    DIR *tasks = opendir(folder);
    bool all = true;
    CHECK(tasks != NULL);
    for (struct dirent *task; (task = readdir(tasks)) != NULL;)
        all = all && (task->d_name[0] == '.' || is_stopped(text("%s/%s", folder, task->d_name)));
    closedir(tasks);
    return all;
}

static void stop_worker(const struct bus *bus, pid_t *worker)
{
    *worker = bus_status(bus).worker_pid;
    CHECK_EQ(kill(*worker, SIGSTOP), 0);
    WAIT_UNTIL(all_stopped(*worker), 10);
}

static void continue_worker(pid_t worker)
{
    CHECK_EQ(kill(worker, SIGCONT), 0);
}

static int poll_for(leat_consumer *consumer, int64_t timeout_ms)
{
    const leat_record *records;
    return CHECK_OK(leat_consumer_poll(consumer, timeout_ms, &records));
}

static leat_receipt send_one(leat_producer *producer, uint64_t number)
{
    leat_receipt receipt;
    CHECK_OK(traffic_send(producer, 0, 0, number, 40, &receipt));
    return receipt;
}

/* Everything that a first time costs a request, so that later calls do without the worker. */
static void warm_up(leat_producer *producer, leat_consumer *consumer)
{
    leat_receipt receipt = send_one(producer, 0);
    CHECK_OK(leat_producer_wait(producer, &receipt, 10000));
    CHECK_EQ(poll_for(consumer, 10000), 1);
    CHECK_EQ(poll_for(consumer, 0), 0);
}

static void visible_when_acknowledged(enum leat_level level)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .level = level);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    leat_receipt receipt;
    pid_t worker;
    warm_up(producer, consumer);
    uint64_t end = (uint64_t)CHECK_OK(leat_consumer_end_offset(consumer, "t", 0));

    stop_worker(bus, &worker);
    for (uint64_t i = 0; i < 3; i++)
        receipt = send_one(producer, 1 + i);
    CHECK_EQ(leat_producer_wait(producer, &receipt, 20), LEAT_ETIMEOUT);
    CHECK_EQ(leat_producer_flush(producer, 20), LEAT_ETIMEOUT);
    CHECK_EQ(poll_for(consumer, 20), 0);
    CHECK_EQ(leat_consumer_end_offset(consumer, "t", 0), (int64_t)end);
    CHECK_EQ(leat_consumer_lag(consumer, "t", 0), 0);

    continue_worker(worker);
    CHECK_OK(leat_producer_wait(producer, &receipt, 10000));
    CHECK_OK(leat_producer_flush(producer, 10000));
    CHECK_EQ(poll_for(consumer, 0), 3); /* visible before it is told to who waits */
    CHECK_EQ(leat_consumer_end_offset(consumer, "t", 0), (int64_t)end + 3);
    CHECK_OK(leat_consumer_close(consumer));
    CHECK_OK(leat_producer_close(producer));
    leat_close(handle);
    bus_stop(bus);
}

TEST(nothing_is_visible_before_it_is_written)
{
    visible_when_acknowledged(LEAT_WRITTEN);
}

TEST(nothing_is_visible_before_it_is_durable)
{
    visible_when_acknowledged(LEAT_DURABLE);
}

TEST(producer_waits_for_more_than_its_topic_and_readers_do_not)
{
    struct bus *bus = bus_start("--log", "yes");
    bus_topic(bus, "t", .level = LEAT_RING, .segment_bytes = 1 << 20);
    leat_bus *handle = bus_open(bus);
    for (int level = LEAT_WRITTEN; level <= LEAT_DURABLE; level++) {
        leat_producer_options options = LEAT_PRODUCER_OPTIONS;
        options.level = (enum leat_level)level;
        leat_producer *producer = open_producer(handle, "t", &options);
        leat_consumer_options latest = LEAT_CONSUMER_OPTIONS;
        leat_consumer *consumer;
        pid_t worker;
        latest.reset = LEAT_LATEST;
        CHECK_OK(leat_consumer_open(&consumer, handle, &latest));
        CHECK_OK(leat_consumer_subscribe(consumer, (const char *[]){ "t" }, 1));
        warm_up(producer, consumer);
        stop_worker(bus, &worker);
        leat_receipt receipt = send_one(producer, 1);
        CHECK_EQ(poll_for(consumer, 10000), 1);
        CHECK_EQ(leat_producer_wait(producer, &receipt, 20), LEAT_ETIMEOUT);
        continue_worker(worker);
        CHECK_OK(leat_producer_wait(producer, &receipt, 10000));
        CHECK_OK(leat_consumer_close(consumer));
        CHECK_OK(leat_producer_close(producer));
    }
    leat_close(handle);
    bus_stop(bus);
}

TEST(level_of_a_producer_needs_a_log)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .no_log = 1);
    leat_bus *handle = bus_open(bus);
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    leat_producer *producer;
    options.level = LEAT_WRITTEN;
    CHECK_EQ(leat_producer_open(&producer, handle, "t", &options), LEAT_EINVAL);
    CHECK_STR(leat_last_error(handle), "t: level \"written\" needs a log, and this topic has none");
    leat_close(handle);
    bus_stop(bus);
}

/* ---- on_delivered ---- */

enum { PARTITIONS = 4, MANY = 3000 };

TEST(each_delivery_is_told_once_and_in_order_when_it_is_acknowledged)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = PARTITIONS, .level = LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    struct told told = { { 0 }, 0, 0, 0 };
    leat_producer *producer = told_open(handle, &told), *other = open_producer(handle, "t", NULL);
    pid_t worker;
    uint64_t sent = 0;
    while (sent < MANY) {
        uint32_t partition = (uint32_t)(test_random() % PARTITIONS);
        if (test_random() % 8 == 0) /* so that offsets are not all its own */
            CHECK_OK(traffic_send(other, partition, 1, sent, traffic_size(sent), NULL));
        CHECK_OK(traffic_send(producer, partition, 0, sent, traffic_size(sent), NULL));
        sent++;
        CHECK(told.count <= sent);
    }
    CHECK_OK(leat_producer_flush(producer, 30000));
    CHECK_EQ(told.count, MANY);

    stop_worker(bus, &worker);
    for (int i = 0; i < 10; i++)
        CHECK_OK(traffic_send(producer, 0, 0, sent++, 40, NULL));
    CHECK_EQ(leat_producer_flush(producer, 10), LEAT_ETIMEOUT);
    CHECK_EQ(told.count, MANY);
    continue_worker(worker);
    CHECK_OK(leat_producer_close(producer));
    CHECK_EQ(told.count, MANY + 10);
    CHECK_EQ(told.failed, 0);
    CHECK_OK(leat_producer_close(other));
    leat_close(handle);
    bus_stop(bus);
}

TEST(bus_that_ends_ends_every_delivery)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .level = LEAT_WRITTEN);
    leat_bus *handle = bus_open(bus);
    struct told told = { { 0 }, 0, 0, 0 };
    leat_producer *producer = told_open(handle, &told);
    pid_t worker;
    leat_receipt receipt = send_one(producer, 0);
    CHECK_OK(leat_producer_wait(producer, &receipt, 10000));
    stop_worker(bus, &worker);
    for (uint64_t i = 1; i < 4; i++)
        receipt = send_one(producer, i);
    CHECK_EQ(told.count, 1);
    CHECK_EQ(kill(bus->keeper, SIGKILL), 0); /* first: the worker that stands still does not replace it */
    CHECK_EQ(kill(worker, SIGKILL), 0);
    CHECK_EQ(leat_producer_wait(producer, &receipt, 20000), LEAT_EGONE);
    CHECK_EQ(told.count, 4);
    CHECK_EQ(told.failed, 3);
    CHECK_EQ(told.error, LEAT_EGONE);
    leat_producer_close(producer);
    CHECK_EQ(told.count, 4);
    leat_close(handle);
}

TEST(deleted_topic_ends_its_waits)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .level = LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    struct told told = { { 0 }, 0, 0, 0 };
    leat_producer *producer = told_open(handle, &told);
    CHECK_OK(leat_producer_flush(producer, 0));
    send_one(producer, 0);
    CHECK_OK(leat_producer_flush(producer, 10000));
    CHECK_OK(leat_topic_delete(handle, "t"));
    CHECK_EQ(traffic_send(producer, 0, 0, 1, 40, NULL), LEAT_EDELETED);
    CHECK_EQ(told.count, 1);
    leat_producer_close(producer);
    leat_close(handle);
    bus_stop(bus);
}

/* ---- deaths ---- */

ROLE(waiter)
{
    leat_bus *bus = role_open();
    leat_producer *producer = open_producer(bus, "t", NULL);
    send_one(producer, 0);
    CHECK_OK(leat_producer_flush(producer, 10000));
    say("ready");
    hear("send");
    leat_receipt receipt = send_one(producer, 1);
    say("sent");
    CHECK_OK(leat_producer_wait(producer, &receipt, 50000));
    say("acknowledged");
    CHECK_OK(leat_producer_close(producer));
    leat_close(bus);
}

static void killed_under_a_waiter(enum leat_level level)
{
    struct bus *bus = bus_start("--max-start-pause", "1");
    bus_topic(bus, "t", .level = level);
    leat_bus *handle = bus_open(bus);
    leat_consumer *reader = open_reader(handle, "t", NULL);
    struct child *waiter = bus_spawn(bus, waiter);
    pid_t worker;
    child_expect(waiter, "ready");
    CHECK_EQ(poll_for(reader, 10000), 1);
    stop_worker(bus, &worker);
    child_tell(waiter, "send");
    child_expect(waiter, "sent");
    CHECK(!child_talks(waiter, 150));
    CHECK_EQ(poll_for(reader, 0), 0);
    CHECK_EQ(kill(worker, SIGKILL), 0);
    child_expect(waiter, "acknowledged");
    CHECK_EQ(poll_for(reader, 0), 1);
    child_end(waiter);
    CHECK_OK(leat_consumer_close(reader));
    leat_close(handle);
    bus_stop(bus);
}

TEST(sender_that_waits_goes_on_with_the_next_worker)
{
    killed_under_a_waiter(LEAT_WRITTEN);
    killed_under_a_waiter(LEAT_DURABLE);
}

/* The worker is killed again and again while one sends, waits for each and never hears of it; a group member reads and commits. */
TEST(worker_killed_under_load_costs_no_sender_an_error)
{
    enum { KILLS = 5, EACH = 150 };
    struct bus *bus = bus_start("--max-start-pause", "1", "--log-level", "error");
    bus_topic(bus, "t", .level = LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    struct told told = { { 0 }, 0, 0, 0 };
    leat_producer *producer = told_open(handle, &told);
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    leat_consumer *member;
    options.group = "g";
    options.reset = LEAT_EARLIEST;
    CHECK_OK(leat_consumer_open(&member, handle, &options));
    CHECK_OK(leat_consumer_subscribe(member, (const char *[]){ "t" }, 1));
    struct ledger *ledger = ledger_new(1, KILLS * EACH);
    uint64_t sent = 0;
    for (int kills = 0; kills < KILLS; kills++) {
        for (int i = 0; i < EACH; i++) {
            leat_receipt receipt;
            if (i == EACH / 2)
                bus_kill_worker(bus);
            CHECK_OK(traffic_send(producer, 0, 0, sent, traffic_size(sent), &receipt));
            sent++;
            CHECK_OK(leat_producer_wait(producer, &receipt, 30000));
            CHECK_EQ(told.count, sent);
        }
        traffic_read(member, ledger, EACH, 20);
        CHECK_OK(leat_consumer_commit(member, LEAT_SYNC));
    }
    ledger_all(ledger, 0, sent);
    CHECK_EQ(told.failed, 0);
    CHECK_OK(leat_consumer_close(member));
    CHECK_OK(leat_producer_close(producer));
    leat_close(handle);
    bus_stop(bus);
}

/* ---- claims in the way, and gaps ---- */

TEST(record_behind_a_claim_that_is_held_for_long_is_acknowledged_all_the_same)
{
    struct bus *bus = bus_start("--stall-limit", "50");
    bus_topic(bus, "t", .level = LEAT_WRITTEN);
    leat_bus *handle = bus_open(bus);
    leat_producer *holder = open_producer(handle, "t", NULL), *producer = open_producer(handle, "t", NULL);
    leat_claim claim;
    CHECK_OK(leat_producer_claim(holder, NULL, 0, 40, &claim));
    leat_receipt receipt = send_one(producer, 0);
    CHECK_OK(leat_producer_wait(producer, &receipt, 20000));
    CHECK_EQ(leat_claim_commit(&claim, NULL), LEAT_EABORTED);
    CHECK_OK(leat_producer_close(holder));
    CHECK_OK(leat_producer_close(producer));
    leat_close(handle);
    bus_stop(bus);
}

TEST(own_open_claims_are_no_obstacle_to_close)
{
    struct bus *bus = bus_start("--stall-limit", "60000");
    bus_topic(bus, "t", .level = LEAT_WRITTEN);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_claim claim;
    CHECK_OK(leat_producer_claim(producer, NULL, 0, 40, &claim));
    send_one(producer, 0);
    CHECK_EQ(leat_producer_flush(producer, 50), LEAT_ETIMEOUT);
    CHECK_OK(leat_producer_close(producer));
    leat_close(handle);
    bus_stop(bus);
}

static int64_t group_lag(leat_bus *handle)
{
    leat_group_info *info;
    CHECK_OK(leat_group_describe(handle, "g", &info));
    int64_t lag = info->partition_count == 1 ? info->partitions[0].lag : -2;
    leat_group_info_free(info);
    return lag;
}

TEST(group_is_drained_when_gaps_at_the_end_are_acknowledged)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .level = LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    leat_consumer *member;
    const leat_record *records;
    leat_claim claim;
    options.group = "g";
    options.reset = LEAT_EARLIEST;
    CHECK_OK(leat_consumer_open(&member, handle, &options));
    CHECK_OK(leat_consumer_subscribe(member, (const char *[]){ "t" }, 1));
    send_one(producer, 0);
    WAIT_UNTIL(CHECK_OK(leat_consumer_poll(member, 100, &records)) == 1, 10);
    CHECK_OK(leat_consumer_commit(member, LEAT_SYNC));
    for (int i = 0; i < 5; i++) {
        CHECK_OK(leat_producer_claim(producer, NULL, 0, 40, &claim));
        CHECK_OK(leat_claim_abort(&claim));
    }
    /* Records come and go; what is left are gaps. */
    WAIT_UNTIL(CHECK_OK(leat_consumer_poll(member, 1, &records)) == 0 &&
                   leat_consumer_end_offset(member, "t", 0) == 6 && leat_consumer_lag(member, "t", 0) == 0 &&
                   group_lag(handle) == 0,
               10);
    CHECK_EQ(leat_consumer_committed(member, "t", 0), 6);
    CHECK_OK(leat_consumer_close(member));
    CHECK_OK(leat_producer_close(producer));
    leat_close(handle);
    bus_stop(bus);
}

/* ---- the command ---- */

TEST(produce_waits_for_the_level_that_it_is_told)
{
    struct bus *bus = bus_start("--log", "yes");
    bus_topic(bus, "t", .level = LEAT_RING, .segment_bytes = 1 << 20);
    bus_topic(bus, "d", .level = LEAT_DURABLE);
    bus_topic(bus, "none", .no_log = 1);
    struct said said = leat(bus, "a\nb\n", "produce", "t", "--level", "durable", "-f", "%o\\n");
    CHECK_STR(said.out, "0\n1\n");
    CHECK_EQ(said.exit, 0);
    CHECK_EQ(leat(bus, "a\n", "produce", "d").exit, 0);
    said = leat(bus, NULL, "consume", "d", "-o", "beginning", "-e");
    CHECK_STR(said.out, "a\n");
    CHECK_EQ(leat(bus, "a\n", "produce", "none", "--level", "written").exit, 1);
    bus_stop(bus);
}
