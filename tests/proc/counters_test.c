/* Counters: labelled numbers in a file, which outlive leatd.
 *
 * Goal: after a known run the numbers are the right ones, by topic, partition and client; they can be read with nothing
 * but the file, also when leatd was killed, and a worker's death loses none.
 * Method: send, read, abort, fill and stop known amounts, then look at the file with leat_counters_read.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOTS = 512, SENT = 300, VALUE = 40 };

/* The id of this process's n-th handle that is open. */
static int my_id(leat_bus *bus, int n)
{
    leat_status_info *info;
    int id = -1;
    CHECK_OK(leat_status(bus, &info));
    for (uint32_t i = 0; i < info->clients && id < 0; i++)
        if (info->client[i].pid == getpid() && n-- == 1)
            id = (int)info->client[i].id;
    leat_status_free(info);
    CHECK(id > 0);
    return id;
}

static void send_and_read(leat_producer *producer, leat_consumer *consumer, uint64_t from)
{
    for (uint64_t i = from; i < from + SENT; i++)
        CHECK_OK(traffic_send(producer, (uint32_t)i % 3 == 0, 0, i, VALUE, NULL));
    for (int seen = 0; seen < SENT;) {
        const leat_record *records;
        int n = CHECK_OK(leat_consumer_poll(consumer, 1000, &records));
        CHECK(n > 0);
        seen += n;
    }
}

TEST(records_and_bytes_are_counted_by_client_and_by_partition)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    send_and_read(producer, consumer, 0);
    int me = my_id(handle, 1);
    leat_consumer_close(consumer); /* its own numbers are folded in at the latest now */
    leat_producer_close(producer);
    CHECK_EQ(bus_counter(bus, "records", NULL, -1, me), SENT);
    CHECK_EQ(bus_counter(bus, "bytes", NULL, -1, me), SENT * VALUE);
    CHECK_EQ(bus_counter(bus, "records_received", NULL, -1, me), SENT);
    CHECK_EQ(bus_counter(bus, "bytes_received", NULL, -1, me), SENT * VALUE);
    CHECK_EQ(bus_counter(bus, "offsets", "t", 1, -1), SENT / 3);
    CHECK_EQ(bus_counter(bus, "offsets", "t", 0, -1), SENT - SENT / 3);
    CHECK_EQ(bus_counter(bus, "missed", NULL, -1, me), 0);
    /* A client that has left is counted in the bus's total and nowhere else. */
    leat_close(handle);
    CHECK_EQ(bus_counter(bus, "records", NULL, -1, me), 0);
    CHECK_EQ(bus_counter(bus, "records", NULL, -1, -1), SENT);
    CHECK_EQ(bus_counter(bus, "records_received", NULL, -1, -1), SENT);
    bus_stop(bus);
}

TEST(counters_can_be_read_when_leatd_was_killed)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    send_and_read(producer, consumer, 0);
    leat_consumer_close(consumer);
    leat_producer_close(producer);
    CHECK_EQ(bus_counter(bus, "records", NULL, -1, -1), SENT);
    bus_kill_both(bus);
    leat_counter *counters;
    int count = CHECK_OK(leat_counters_read(bus->path, &counters));
    CHECK(count > 5);
    int64_t records = 0;
    for (int i = 0; i < count; i++) {
        CHECK(counters[i].name && *counters[i].name);
        CHECK(counters[i].topic);
        CHECK(counters[i].partition >= -1 && counters[i].client >= -1);
        if (strcmp(counters[i].name, "records") == 0 && counters[i].client == -1)
            records += counters[i].value;
    }
    CHECK_EQ(records, SENT);
    leat_counters_free(counters);
    CHECK_EQ(bus_counter(bus, "offsets", "t", -1, -1), SENT);
    leat_close(handle);
    CHECK_EQ(bus_counter(bus, "offsets", "t", -1, -1), SENT);
}

TEST(death_of_the_worker_loses_and_repeats_no_count)
{
    struct bus *bus = bus_start("--max-start-pause", "1");
    bus_topic(bus, "t", .partitions = 2);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    for (uint64_t i = 0; i < 10; i++) {
        send_and_read(producer, consumer, i * SENT);
        if (i % 2)
            bus_counter(bus, "records", NULL, -1, -1); /* folds */
        bus_wait_worker(bus, bus_kill_worker(bus));
    }
    leat_consumer_close(consumer);
    leat_producer_close(producer);
    CHECK_EQ(bus_counter(bus, "records", NULL, -1, my_id(handle, 1)), 10 * SENT);
    CHECK_EQ(bus_counter(bus, "records", NULL, -1, -1), 10 * SENT);
    CHECK_EQ(bus_counter(bus, "offsets", "t", -1, -1), 10 * SENT);
    leat_close(handle);
    CHECK_EQ(bus_counter(bus, "records_received", NULL, -1, -1), 10 * SENT);
}

TEST(aborts_waits_wakes_and_full_rings_are_counted)
{
    struct bus *bus = bus_start("--stall-limit", "20");
    bus_topic(bus, "t", .on_full = LEAT_BLOCK);
    leat_bus *handle = bus_open(bus), *elsewhere = bus_open(bus);
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.full_timeout_ms = 0;
    leat_producer *producer = open_producer(handle, "t", &options);
    leat_consumer_options gate = LEAT_CONSUMER_OPTIONS;
    gate.gate = 1;
    leat_consumer *consumer = open_reader(elsewhere, "t", &gate);
    const leat_record *records;
    int me = my_id(handle, 1);

    leat_claim claim;
    for (int i = 0; i < 3; i++) {
        CHECK_OK(leat_producer_claim(producer, NULL, 0, 100, &claim));
        CHECK_OK(leat_claim_abort(&claim));
    }
    CHECK_EQ(bus_counter(bus, "aborted", NULL, -1, me), 3);
    CHECK_EQ(leat_consumer_poll(consumer, 1, &records), 0);
    CHECK(bus_counter(bus, "waits", NULL, -1, -1) >= 1);

    /* One more, taken back by leatd because somebody waits behind it. */
    CHECK_OK(leat_producer_claim(producer, NULL, 0, 100, &claim));
    leat_producer *other = open_producer(elsewhere, "t", NULL);
    CHECK_OK(traffic_send(other, 0, 0, 0, VALUE, NULL));
    CHECK_EQ(leat_consumer_poll(consumer, 5000, &records), 1);
    CHECK_EQ(leat_claim_commit(&claim, NULL), LEAT_EABORTED);
    CHECK_EQ(bus_counter(bus, "aborted", "t", 0, -1), 1);
    CHECK_EQ(bus_counter(bus, "full_waits", NULL, -1, me), 0);
    uint64_t number = 0;
    while (traffic_send(producer, 0, 0, number, VALUE, NULL) == 0)
        CHECK(++number < 10 * SLOTS);
    leat_producer_close(producer); /* with it its own numbers are in */
    CHECK(bus_counter(bus, "full_waits", NULL, -1, me) >= 1);
    leat_close(handle);
    leat_close(elsewhere);
}

ROLE(sleeper)
{
    leat_bus *bus = role_open();
    leat_consumer *consumer = open_reader(bus, "t", NULL);
    const leat_record *records;
    say("ready");
    for (int i = 0; i < 5; i++) {
        CHECK(CHECK_OK(leat_consumer_poll(consumer, -1, &records)) > 0);
        say("woken");
    }
    leat_close(bus);
}

TEST(wakes_are_counted_by_who_wakes)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    struct child *sleeper = bus_spawn(bus, sleeper);
    child_expect(sleeper, "ready");
    for (int i = 0; i < 5; i++) {
        /* It sleeps in a futex; /proc says so. */
        char state;
        do {
            FILE *file = fopen(text("/proc/%d/stat", (int)sleeper->pid), "r");
            CHECK(file && fscanf(file, "%*d (%*[^)]) %c", &state) == 1);
            fclose(file);
            bus_pause();
        } while (state != 'S');
        CHECK_OK(traffic_send(producer, 0, 0, (uint64_t)i, VALUE, NULL));
        child_expect(sleeper, "woken");
    }
    child_end(sleeper);
    int64_t wakes = bus_counter(bus, "wakes", NULL, -1, my_id(handle, 1));
    CHECK(wakes >= 4 && wakes <= 5); /* S may be the last sleep of its start */
    leat_close(handle);
}

TEST(rotations_and_misses_are_counted)
{
    struct bus *bus = bus_start("--stall-limit", "20");
    bus_topic(bus, "t", .on_full = LEAT_OVERWRITE);
    leat_bus *handle = bus_open(bus), *elsewhere = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(elsewhere, "t", NULL);
    const leat_record *records;
    CHECK_OK(traffic_send(producer, 0, 0, 0, VALUE, NULL));
    CHECK_EQ(leat_consumer_poll(consumer, 1000, &records), 1);
    CHECK_EQ(bus_counter(bus, "rotations", "t", 0, -1), 0);
    for (uint64_t i = 1; i < 3 * SLOTS; i++) /* the views are in the way: another ring it is */
        CHECK_OK(traffic_send(producer, 0, 0, i, VALUE, NULL));
    CHECK_EQ(bus_counter(bus, "rotations", "t", 0, -1), 1);
    CHECK(bus_counter(bus, "reclaims", "t", 0, -1) >= 1);
    traffic_check(&records[0]);
    CHECK_OK(leat_consumer_poll(consumer, 1000, &records));
    while (CHECK_OK(leat_consumer_poll(consumer, 0, &records)) > 0)
        ;
    int64_t missed = leat_consumer_missed(consumer, "t", 0);
    CHECK(missed > 0);
    CHECK_EQ(leat_consumer_position(consumer, "t", 0), 3 * SLOTS);
    leat_consumer_close(consumer);
    CHECK_EQ(bus_counter(bus, "missed", NULL, -1, my_id(elsewhere, 2)), missed);
    CHECK_EQ(bus_counter(bus, "records_received", NULL, -1, -1), 3 * SLOTS - missed);
    leat_close(handle);
    leat_close(elsewhere);
}

TEST(counters_of_a_deleted_topic_go_with_it)
{
    struct bus *bus = bus_start("--log-level", "warn");
    leat_bus *handle = bus_open(bus);
    leat_counter *counters;
    int first = 0;
    for (int i = 0; i < 200; i++) {
        const char *topic = text("topic-%d", i);
        bus_topic(bus, topic, .partitions = 4);
        leat_producer *producer = open_producer(handle, topic, NULL);
        for (uint32_t p = 0; p < 4; p++)
            CHECK_OK(traffic_send(producer, p, 0, p, VALUE, NULL));
        CHECK_EQ(bus_counter(bus, "offsets", topic, -1, -1), 4);
        leat_producer_close(producer);
        CHECK_OK(leat_topic_delete(handle, topic));
        CHECK_EQ(bus_counter(bus, "offsets", topic, -1, -1), 0);
        int count = CHECK_OK(leat_counters_read(bus->path, &counters));
        leat_counters_free(counters);
        if (i == 10)
            first = count;
    }
    int count = CHECK_OK(leat_counters_read(bus->path, &counters));
    leat_counters_free(counters);
    CHECK_EQ(count, first);
    leat_close(handle);
}

TEST(counters_that_are_not_there_or_damaged_are_said_so)
{
    leat_counter *counters = (leat_counter *)1;
    CHECK_EQ(leat_counters_read(text("%s/nothing", test_dir()), &counters), LEAT_EGONE);
    CHECK(counters == NULL);
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    bus_stop(bus);
    const char *path = text("%s/fake", test_dir());
    CHECK_EQ(mkdir(path, 0700), 0);
    for (int way = 0; way < 4; way++) {
        int fd = open(text("%s/counters", path), O_RDWR | O_CREAT | O_TRUNC, 0600);
        static char bytes[1 << 16];
        CHECK(fd >= 0);
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (char)(way == 1 ? 0 : test_random());
        if (way > 1) { /* the right magic, and nonsense behind it */
            uint64_t magic = 0x6c656174636e7472;
            uint32_t version = way == 2 ? 1 : (uint32_t)test_random() | 0x100;
            memcpy(bytes, &magic, sizeof magic);
            memcpy(bytes + 8, &version, sizeof version);
        }
        CHECK_EQ(write(fd, bytes, way == 0 ? 100 : sizeof bytes), way == 0 ? 100 : (ssize_t)sizeof bytes);
        close(fd);
        int r = leat_counters_read(path, &counters);
        printf("%d: %d %s\n", way, r, leat_last_error(NULL));
        if (r >= 0)
            leat_counters_free(counters);
        else
            CHECK(r == LEAT_EPROTO || r == LEAT_EVERSION);
        CHECK(way == 2 || r < 0);
    }
}

/* ---- clients, as `leat status --clients` shows them ---- */

TEST(status_shows_what_each_client_holds)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 3);
    struct child *sleeper = bus_spawn(bus, sleeper);
    child_expect(sleeper, "ready");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    const char *const argv[] = {
        test_program("LEAT_TEST_LEAT"), "--bus", bus->path, "--json", "status", "--clients", NULL
    };
    const char *output;
    int status = run_program(argv, &output);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    printf("%s\n", output);
    CHECK(strstr(output, text("%d", (int)sleeper->pid)));
    CHECK(strstr(output, text("%d", (int)getpid())));
    leat_status_info *info;
    CHECK_OK(leat_status(handle, &info));
    CHECK_EQ(info->clients, 2);
    for (uint32_t i = 0; i < 2; i++) {
        const leat_client_info *client = &info->client[i];
        bool mine = client->pid == getpid();
        CHECK(mine || client->pid == sleeper->pid);
        CHECK_EQ(client->producers, mine);
        CHECK_EQ(client->consumers, !mine);
        CHECK_EQ(client->readers, mine ? 0 : 3);
        CHECK_STR(client->state, "alive");
    }
    leat_status_free(info);
    (void)producer;
    child_kill(sleeper);
    leat_close(handle);
}
