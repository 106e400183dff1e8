/* Large numbers, and what happens at their end.
 *
 * Goal: 500 partitions on a topic and 256 clients at once work; a limit of the bus is refused with numbers, and a
 * refusal takes nothing.
 * Method: a bus at its real sizes; processes for clients; /proc/PID/fd for descriptors; leatd's own word for memory.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int descriptors_of(pid_t pid)
{
    DIR *directory = opendir(text("/proc/%d/fd", (int)pid));
    CHECK(directory);
    int count = -3; /* ".", ".." and, for ourselves, the directory */
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* ---- partitions ---- */

enum { MANY = 500 };

TEST(five_hundred_partitions_on_a_topic_work_end_to_end)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = MANY);
    leat_bus *handle = bus_open(bus);
    int before = descriptors_of(getpid());
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    const leat_partition *parts;
    CHECK_EQ(leat_producer_partitions(producer), MANY);
    CHECK_EQ(leat_consumer_assignment(consumer, &parts), MANY);

    /* Keys reach all of them, and each key stays where it is. */
    struct ledger *ledger = ledger_new(1, 20 * MANY);
    unsigned char value[64];
    bool reached[MANY] = { false };
    int reached_count = 0;
    for (uint64_t i = 0; i < 20 * MANY; i++) {
        uint64_t key = i;
        leat_receipt receipt;
        traffic_fill(value, sizeof value, 0, i);
        leat_record record = {
            .key = &key, .key_size = sizeof key, .value = value, .value_size = sizeof value
        };
        CHECK_OK(leat_producer_send(producer, &record, &receipt));
        CHECK(receipt.partition < MANY);
        reached_count += !reached[receipt.partition];
        reached[receipt.partition] = true;
    }
    CHECK_EQ(reached_count, MANY);
    uint64_t seen = 0;
    while (seen < 20 * MANY) {
        const leat_record *records;
        int n = CHECK_OK(leat_consumer_poll(consumer, 2000, &records));
        CHECK(n > 0);
        for (int i = 0; i < n; i++)
            CHECK_EQ(traffic_check(&records[i]).producer, 0);
        seen += (uint64_t)n;
    }
    for (uint32_t p = 0; p < MANY; p++) {
        CHECK_OK(traffic_send(producer, p, 0, p, 40, NULL));
        const leat_record *records;
        CHECK_EQ(CHECK_OK(leat_consumer_poll(consumer, 2000, &records)), 1);
        CHECK_EQ(records[0].partition, p);
        CHECK_EQ(leat_consumer_lag(consumer, "t", p), 0);
    }
    int extra = descriptors_of(getpid()) - before;
    printf("%d more descriptors for %d partitions, written and read\n", extra, MANY);
    CHECK(extra <= 4);

    leat_topic_info *info = bus_describe(handle, "t");
    CHECK_EQ(info->partition_count, MANY);
    CHECK_EQ(info->descriptors, MANY + 1);
    uint64_t end = 0;
    for (uint32_t p = 0; p < MANY; p++) {
        CHECK_EQ(info->partitions[p].partition, p);
        CHECK_EQ(info->partitions[p].readers, 1);
        end += info->partitions[p].log_end_offset;
    }
    CHECK_EQ(end, 21 * MANY);
    leat_topic_info_free(info);
    leat_close(handle);
    ledger_free(ledger);
    bus_stop(bus);
}

TEST(five_hundred_partitions_survive_the_worker)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = MANY);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    for (uint32_t p = 0; p < MANY; p++)
        CHECK_OK(traffic_send(producer, p, 0, p, 40, NULL));
    double start = now_s();
    bus_wait_worker(bus, bus_kill_worker(bus));
    printf("the next worker has taken %d partitions over after %.3f s\n", MANY, now_s() - start);
    for (uint32_t p = 0; p < MANY; p++)
        CHECK_OK(traffic_send(producer, p, 0, MANY + p, 40, NULL));
    int seen = 0;
    while (seen < 2 * MANY) {
        const leat_record *records;
        int n = CHECK_OK(leat_consumer_poll(consumer, 2000, &records));
        CHECK(n > 0);
        seen += n;
    }
    CHECK_OK(leat_topic_delete(handle, "t"));
    leat_close(handle);
    bus_stop(bus);
}

/* ---- clients ---- */

enum { CLIENTS = 256 };

ROLE(member)
{
    leat_bus *bus = role_open();
    uint64_t who = (uint64_t)role_number(0);
    leat_producer *producer = open_producer(bus, "t", NULL);
    leat_consumer *consumer = open_reader(bus, "t", NULL);
    say("ready");
    hear("send");
    CHECK_OK(traffic_send(producer, (uint32_t)who % 4, 0, who, 40, NULL));
    struct ledger *ledger = ledger_new(1, CLIENTS);
    traffic_read(consumer, ledger, CLIENTS, 20);
    ledger_all(ledger, 0, CLIENTS);
    say("all seen");
    hear("end");
    leat_close(bus);
}

TEST(256_clients_at_once_send_to_and_read_from_one_another)
{
    struct bus *bus = bus_start("--log-level", "warn");
    bus_topic(bus, "t", .partitions = 4);
    static struct child *members[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        members[i] = bus_spawn(bus, member, .args = { text("%d", i) });
    for (int i = 0; i < CLIENTS; i++)
        child_expect(members[i], "ready");
    CHECK_EQ(bus_status(bus).clients, CLIENTS);
    leat_bus *handle = bus_open(bus);
    leat_status_info *info;
    CHECK_OK(leat_status(handle, &info));
    CHECK_EQ(info->clients, CLIENTS + 1);
    for (uint32_t i = 0; i < info->clients; i++)
        CHECK_STR(info->client[i].state, "alive");
    leat_status_free(info);
    for (int i = 0; i < CLIENTS; i++)
        child_tell(members[i], "send");
    for (int i = 0; i < CLIENTS; i++)
        child_expect(members[i], "all seen");
    /* A third leaves in good order, a third is killed at once, and the worker dies amid that. */
    for (int i = 0; i < CLIENTS; i += 3)
        child_tell(members[i], "end");
    for (int i = 1; i < CLIENTS; i += 3)
        CHECK_EQ(kill(members[i]->pid, SIGKILL), 0);
    bus_wait_worker(bus, bus_kill_worker(bus));
    for (int i = 0; i < CLIENTS; i++)
        if (i % 3 == 0)
            child_end(members[i]);
        else if (i % 3 == 1)
            child_killed(members[i], SIGKILL);
    WAIT_UNTIL(bus_status(bus).clients == CLIENTS / 3 + 1, 5);
    for (int i = 2; i < CLIENTS; i += 3) {
        child_tell(members[i], "end");
        child_end(members[i]);
    }
    WAIT_UNTIL(bus_status(bus).clients == 1, 5);
    leat_close(handle);
    bus_stop(bus);
}

/* ---- memory ---- */

static int create(leat_bus *bus, const char *topic, uint32_t partitions, uint64_t ring_size)
{
    leat_topic_options options = LEAT_TOPIC_OPTIONS;
    options.partitions = partitions;
    options.ring_size = ring_size;
    return leat_topic_create(bus, topic, &options);
}

TEST(memory_limit_is_refused_with_numbers_and_takes_nothing)
{
    struct bus *bus = bus_start("--max-memory", "16MiB");
    leat_bus *handle = bus_open(bus);
    CHECK_OK(create(handle, "a", 4, 1 << 20));
    uint64_t before = bus_status(bus).memory_bytes;
    int worker_fds = descriptors_of(bus_status(bus).worker_pid);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(create(handle, "b", 8, 1 << 20), LEAT_ELIMIT);
        CHECK(strstr(leat_last_error(handle), "max-memory"));
        CHECK(strstr(leat_last_error(handle), text("%d", 16 << 20)));
        CHECK(strstr(leat_last_error(handle), text("%" PRIu64, before)));
    }
    CHECK_EQ(bus_status(bus).memory_bytes, before);
    int now = descriptors_of(bus_status(bus).worker_pid);
    CHECK(now <= worker_fds + 1); /* a connection of bus_status may still be closing */
    CHECK_OK(create(handle, "b", 1, 1 << 20));
    CHECK_OK(leat_topic_delete(handle, "b"));
    CHECK_EQ(bus_status(bus).memory_bytes, before);
    CHECK_EQ(create(handle, "c", 1, 1 << 30), LEAT_ELIMIT);
    leat_close(handle);
}

TEST(more_memory_than_the_machine_has_is_refused_before_it_is_taken)
{
    struct bus *bus = bus_start("--max-memory", "1024TiB");
    leat_bus *handle = bus_open(bus);
    uint64_t before = bus_status(bus).memory_bytes;
    int r = create(handle, "huge", 4096, 1 << 30);
    CHECK(r == LEAT_ENOMEM || r == LEAT_ELIMIT);
    printf("%s\n", leat_last_error(handle));
    CHECK_EQ(bus_status(bus).memory_bytes, before);
    CHECK_OK(create(handle, "small", 1, 64 << 10));
    leat_close(handle);
}

TEST(limits_of_topics_and_partitions_are_refused_with_numbers)
{
    struct bus *bus = bus_start("--max-topics", "3", "--max-partitions", "10");
    leat_bus *handle = bus_open(bus);
    CHECK_OK(create(handle, "a", 4, 64 << 10));
    uint64_t before = bus_status(bus).memory_bytes;
    CHECK_EQ(create(handle, "b", 7, 64 << 10), LEAT_ELIMIT);
    CHECK(strstr(leat_last_error(handle), "max-partitions"));
    CHECK(strstr(leat_last_error(handle), "10"));
    CHECK_EQ(bus_status(bus).memory_bytes, before);
    CHECK_OK(create(handle, "b", 6, 64 << 10));
    CHECK_OK(leat_topic_delete(handle, "b"));
    CHECK_OK(create(handle, "b", 1, 64 << 10));
    CHECK_OK(create(handle, "c", 1, 64 << 10));
    CHECK_EQ(create(handle, "d", 1, 64 << 10), LEAT_ELIMIT);
    CHECK(strstr(leat_last_error(handle), "max-topics"));
    CHECK(strstr(leat_last_error(handle), "3"));
    leat_close(handle);
}

TEST(topics_that_come_and_go_leave_neither_memory_nor_descriptors)
{
    struct bus *bus = bus_start("--log-level", "warn");
    leat_bus *handle = bus_open(bus);
    uint64_t memory = 0;
    int worker_fds = 0, keeper_fds = 0;
    for (int i = 0; i < 100; i++) {
        CHECK_OK(create(handle, "t", 4, 64 << 10));
        leat_producer *producer = open_producer(handle, "t", NULL);
        leat_consumer *consumer = open_reader(handle, "t", NULL);
        CHECK_OK(traffic_send(producer, 1, 0, 0, 40, NULL));
        const leat_record *records;
        CHECK_EQ(leat_consumer_poll(consumer, 1000, &records), 1);
        if (i % 2) {
            CHECK_OK(leat_consumer_close(consumer));
            CHECK_OK(leat_producer_close(producer));
            CHECK_OK(leat_topic_delete(handle, "t"));
        } else {
            CHECK_OK(leat_topic_delete(handle, "t"));
            leat_consumer_close(consumer);
            leat_producer_close(producer);
        }
        struct lt_status_answer status = bus_status(bus);
        if (i == 10) {
            memory = status.memory_bytes;
            worker_fds = descriptors_of(status.worker_pid);
            keeper_fds = descriptors_of(status.keeper_pid);
        }
    }
    /* Memory is given back behind the answer. */
    WAIT_UNTIL(bus_status(bus).memory_bytes == memory, 2);
    WAIT_UNTIL(descriptors_of(bus_status(bus).worker_pid) <= worker_fds + 1, 2);
    WAIT_UNTIL(descriptors_of(bus_status(bus).keeper_pid) <= keeper_fds + 1, 2);
    int mine = descriptors_of(getpid());
    CHECK(mine < 20);
    leat_close(handle);
}

TEST(partitions_that_one_client_reads_have_a_limit_that_is_named)
{
    struct bus *bus = bus_start("--log-level", "warn");
    leat_bus *handle = bus_open(bus);
    CHECK_OK(create(handle, "t", 1000, 64 << 10));
    leat_consumer *consumers[5];
    for (int i = 0; i < 4; i++)
        consumers[i] = open_reader(handle, "t", NULL);
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    CHECK_OK(leat_consumer_open(&consumers[4], handle, &options));
    CHECK_EQ(leat_consumer_subscribe(consumers[4], (const char *[]){ "t" }, 1), LEAT_ELIMIT);
    CHECK(strstr(leat_last_error(handle), "4096"));
    CHECK_OK(leat_consumer_close(consumers[0]));
    CHECK_OK(leat_consumer_subscribe(consumers[4], (const char *[]){ "t" }, 1));
    leat_producer *producer = open_producer(handle, "t", NULL);
    CHECK_OK(traffic_send(producer, 999, 0, 0, 40, NULL));
    const leat_record *records;
    for (int i = 1; i < 5; i++)
        CHECK_EQ(leat_consumer_poll(consumers[i], 2000, &records), 1);
    leat_close(handle);
}
