/* Readers behind the ring.
 *
 * Goal: a consumer reads all that the log has, wherever it begins or falls behind, in order, byte for byte, with the same calls as from
 * the ring, and goes from the one into the other unnoticed; it holds up no producer; what retention has removed it is told.
 * Method: rings of 512 records and segments of 64 KiB, so that a second's records are many of both.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SLOTS = 512, LAP = SLOTS, STOP = 0, SENT = 1, NUMBERS_MAX = 1 << 20 };

#define bus_with_logs(...) bus_start("--log", "yes", ##__VA_ARGS__)
#define PATIENT "--stall-limit", "60000" /* no claim is taken back: offsets are numbers */

static void logged_topic(struct bus *bus, enum leat_level level)
{
    bus_topic(bus, "t", .level = level, .segment_bytes = 64 << 10);
}

/* Sends numbers from ARG 0 on, ARG 1 of them, or with 0 until the board says STOP; how many there are by now it writes there. */
ROLE(sender)
{
    leat_bus *bus = role_open();
    leat_producer *producer = open_producer(bus, "t", NULL);
    uint64_t number = (uint64_t)role_number(0), count = (uint64_t)role_number(1), end = number + count;
    for (; count != 0 ? number < end : board_get(STOP) == 0 && number < NUMBERS_MAX - 1; number++) {
        CHECK_OK(traffic_send(producer, 0, 0, number, traffic_size(number), NULL));
        board_set(SENT, number + 1);
        if (count == 0 && number % 64 == 0)
            usleep(500); /* a rate that a checking reader can follow */
    }
    CHECK_OK(leat_producer_flush(producer, 30000));
    CHECK_OK(leat_producer_close(producer));
    leat_close(bus);
}

static void send_some(struct bus *bus, uint64_t from, uint64_t count)
{
    child_end_in(bus_spawn(bus, sender, .args = { text("%" PRIu64, from), text("%" PRIu64, count) }), 60);
}

static leat_consumer *open_at(leat_bus *bus, int64_t offset, uint32_t max)
{
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.max_poll_records = max;
    leat_consumer *consumer = open_reader(bus, "t", &options);
    CHECK_OK(leat_consumer_seek(consumer, "t", 0, offset));
    return consumer;
}

/* Reads records `from` to `to`, each number at its own offset. */
static void read_numbers(leat_consumer *consumer, uint64_t from, uint64_t to)
{
    const leat_record *records;
    while (from < to) {
        int n = CHECK_OK(leat_consumer_poll(consumer, 20000, &records));
        if (n == 0)
            FAIL("at %" PRIu64 " of %" PRIu64 " nothing came for 20 s", from, to);
        for (int i = 0; i < n && from < to; i++, from++) {
            CHECK_EQ(traffic_check(&records[i]).number, from);
            CHECK_EQ(records[i].offset, from);
        }
    }
}

static void read_all_while_it_is_sent(enum leat_level level)
{
    struct bus *bus = bus_with_logs("--stall-limit", "20");
    logged_topic(bus, level);
    send_some(bus, 0, 12 * LAP);
    struct child *more = bus_spawn(bus, sender, .args = { text("%d", 12 * LAP), "0" });
    leat_bus *handle = bus_open(bus);
    struct ledger *ledger = ledger_new(1, NUMBERS_MAX);
    leat_consumer *consumer = open_at(handle, LEAT_BEGINNING, 500);
    CHECK_EQ(leat_consumer_beginning_offset(consumer, "t", 0), 0);
    traffic_read(consumer, ledger, 12 * LAP, 20);
    for (int round = 0; round < 4; round++) {
        /* Into the ring: near the end; then it rests until it is out of the ring again, half of the time with views that have to
         * stay: the topic goes on in another ring then. */
        uint64_t seen = ledger_count(ledger, 0);
        traffic_read(consumer, ledger, board_get(SENT) - seen, 20);
        if (round % 2 == 0)
            CHECK_OK(leat_consumer_seek(consumer, "t", 0, leat_consumer_position(consumer, "t", 0)));
        seen = board_get(SENT);
        WAIT_UNTIL(board_get(SENT) > seen + 3 * LAP, 30);
    }
    board_set(STOP, 1);
    child_end_in(more, 60);
    traffic_read(consumer, ledger, board_get(SENT) - ledger_count(ledger, 0), 20);
    ledger_all(ledger, 0, board_get(SENT));
    ledger_in_order(ledger);
    const leat_record *records;
    CHECK_EQ(leat_consumer_poll(consumer, 0, &records), 0);
    CHECK_EQ(leat_consumer_lag(consumer, "t", 0), 0);
    CHECK_EQ(leat_consumer_missed(consumer, "t", 0), 0);
    CHECK_OK(leat_consumer_close(consumer));
    leat_close(handle);
    bus_stop(bus);
}

TEST(late_reader_comes_from_the_log_into_the_ring_and_falls_out_again)
{
    read_all_while_it_is_sent(LEAT_RING);
}

TEST(so_it_does_at_level_written)
{
    read_all_while_it_is_sent(LEAT_WRITTEN);
}

TEST(so_it_does_at_level_durable)
{
    read_all_while_it_is_sent(LEAT_DURABLE);
}

/* Each holds views of where it is; twenty laps of the ring go by. */
TEST(readers_of_old_records_hold_up_no_producer_and_keep_their_views)
{
    enum { READERS = 8, HELD = 20 };
    struct bus *bus = bus_with_logs(PATIENT);
    leat_consumer *readers[READERS];
    const leat_record *records[READERS];
    int counts[READERS];
    logged_topic(bus, LEAT_RING);
    send_some(bus, 0, READERS * LAP);
    leat_bus *handle = bus_open(bus);
    for (int i = 0; i < READERS; i++) {
        readers[i] = open_at(handle, i * LAP, HELD);
        counts[i] = CHECK_OK(leat_consumer_poll(readers[i], 20000, &records[i]));
        CHECK(counts[i] > 0);
    }
    int64_t rotated = bus_counter(bus, "rotations", "t", 0, -1);
    send_some(bus, READERS * LAP, 20 * LAP);
    CHECK(bus_counter(bus, "rotations", "t", 0, -1) - rotated <= 1); /* one may have been in the ring */
    for (int i = 0; i < READERS; i++) {
        for (int k = 0; k < counts[i]; k++)
            CHECK_EQ(traffic_check(&records[i][k]).number, (uint64_t)i * LAP + (uint64_t)k);
        read_numbers(readers[i], (uint64_t)i * LAP + (uint64_t)counts[i], (READERS + 20) * LAP);
        CHECK_EQ(leat_consumer_missed(readers[i], "t", 0), 0);
        CHECK_OK(leat_consumer_close(readers[i]));
    }
    leat_close(handle);
    bus_stop(bus);
}

TEST(seeks_reach_every_offset_of_the_log)
{
    enum { ALL = 16 * LAP };
    struct bus *bus = bus_with_logs(PATIENT);
    logged_topic(bus, LEAT_RING);
    send_some(bus, 0, ALL);
    leat_bus *handle = bus_open(bus);
    leat_consumer *consumer = open_at(handle, 0, 10);
    for (int i = 0; i < 200; i++) {
        uint64_t to = test_random() % ALL;
        CHECK_OK(leat_consumer_seek(consumer, "t", 0, (int64_t)to));
        CHECK_EQ(leat_consumer_position(consumer, "t", 0), (int64_t)to);
        CHECK_EQ(leat_consumer_lag(consumer, "t", 0), (int64_t)(ALL - to));
        read_numbers(consumer, to, to + 5 < ALL ? to + 5 : ALL);
    }
    CHECK_OK(leat_consumer_seek(consumer, "t", 0, LEAT_END));
    CHECK_EQ(leat_consumer_position(consumer, "t", 0), ALL);
    CHECK_OK(leat_consumer_close(consumer));
    leat_close(handle);
    bus_stop(bus);
}

TEST(times_are_found_in_the_log_and_in_the_ring)
{
    enum { ALL = 8 * LAP };
    struct bus *bus = bus_with_logs(PATIENT);
    logged_topic(bus, LEAT_RING);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    for (uint64_t number = 0; number < ALL; number++) {
        unsigned char value[200];
        traffic_fill(value, sizeof value, 0, number);
        leat_record record = { .value = value,
                               .value_size = sizeof value,
                               .timestamp_ms = 1000000 + (int64_t)number * 10 };
        CHECK_OK(leat_producer_send(producer, &record, NULL));
    }
    leat_consumer *consumer = open_at(handle, LEAT_END, 10);
    for (int i = 0; i < 100; i++) {
        uint64_t wanted = test_random() % ALL;
        int64_t time_ms = 1000000 + (int64_t)wanted * 10 - (int64_t)(test_random() % 10);
        CHECK_EQ(leat_consumer_offset_for_time(consumer, "t", 0, time_ms), (int64_t)wanted);
        CHECK_OK(leat_consumer_seek_time(consumer, "t", 0, time_ms));
        read_numbers(consumer, wanted, wanted + 3 < ALL ? wanted + 3 : ALL);
    }
    CHECK_EQ(leat_consumer_offset_for_time(consumer, "t", 0, (int64_t)1 << 47), ALL);
    CHECK_EQ(leat_consumer_offset_for_time(consumer, "t", 0, 0), 0);
    CHECK_OK(leat_consumer_close(consumer));
    CHECK_OK(leat_producer_close(producer));
    leat_close(handle);
    bus_stop(bus);
}

static void note_missed(leat_consumer *consumer, const leat_partition *partition, uint64_t from_offset,
                        uint64_t count, void *user)
{
    (void)consumer;
    ledger_missed(user, partition->partition, from_offset, count);
}

/* The reader's segment is removed while it has views of it; it reads that to its end, and then is told. */
TEST(what_retention_removes_under_a_reader_is_told_and_its_views_stay)
{
    enum { FIRST = 8 * LAP, ALL = 60 * LAP };
    struct bus *bus = bus_with_logs(PATIENT);
    bus_topic(bus, "t", .segment_bytes = 64 << 10, .retention_bytes = 512 << 10);
    send_some(bus, 0, FIRST);
    leat_bus *handle = bus_open(bus);
    struct ledger *ledger = ledger_new(1, NUMBERS_MAX);
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.max_poll_records = 50;
    options.on_missed = note_missed;
    options.user = ledger;
    leat_consumer *consumer = open_reader(handle, "t", &options);
    const leat_record *records;
    CHECK_OK(leat_consumer_seek(consumer, "t", 0, 0)); /* some of the first may have gone by now, too */
    int n = CHECK_OK(leat_consumer_poll(consumer, 20000, &records));
    CHECK(n > 0);
    uint64_t begun = records[0].offset; /* some is removed already, maybe */
    send_some(bus, FIRST, ALL - FIRST);
    WAIT_UNTIL(leat_consumer_beginning_offset(consumer, "t", 0) > FIRST, 20);
    for (int i = 0; i < n; i++)
        ledger_note(ledger, &records[i]);
    while (begun + ledger_count(ledger, 0) + ledger_missed_count(ledger) < ALL) {
        n = CHECK_OK(leat_consumer_poll(consumer, 20000, &records));
        CHECK(n > 0);
        for (int i = 0; i < n; i++)
            ledger_note(ledger, &records[i]);
    }
    CHECK(ledger_missed_count(ledger) > 0);
    CHECK_EQ(leat_consumer_missed(consumer, "t", 0), (int64_t)ledger_missed_count(ledger));
    CHECK_OK(leat_consumer_close(consumer));

    consumer = open_at(handle, 5, 10);
    CHECK(CHECK_OK(leat_consumer_poll(consumer, 20000, &records)) > 0);
    CHECK_EQ((int64_t)records[0].offset, leat_consumer_beginning_offset(consumer, "t", 0));
    CHECK_EQ(leat_consumer_missed(consumer, "t", 0), (int64_t)records[0].offset - 5);
    CHECK_OK(leat_consumer_close(consumer));

    options = (leat_consumer_options)LEAT_CONSUMER_OPTIONS;
    options.reset = LEAT_RESET_ERROR;
    CHECK_OK(leat_consumer_open(&consumer, handle, &options));
    CHECK_OK(leat_consumer_assign(consumer, (leat_partition[]){ { "t", 0 } }, 1));
    CHECK_OK(leat_consumer_seek(consumer, "t", 0, 5));
    CHECK_EQ(leat_consumer_poll(consumer, 0, &records), LEAT_EOFFSET);
    CHECK_OK(leat_consumer_close(consumer));
    leat_close(handle);
    bus_stop(bus);
}

TEST_SLOW(worker_that_dies_during_a_replay_is_not_noticed, 120)
{
    struct bus *bus = bus_with_logs(PATIENT, "--max-start-pause", "1");
    logged_topic(bus, LEAT_WRITTEN);
    send_some(bus, 0, 30 * LAP);
    struct child *more = bus_spawn(bus, sender, .args = { text("%d", 30 * LAP), "0" });
    leat_bus *handle = bus_open(bus);
    struct ledger *ledger = ledger_new(1, NUMBERS_MAX);
    leat_consumer *consumer = open_at(handle, LEAT_BEGINNING, 100);
    for (int round = 0; round < 8; round++) {
        bus_wait_worker(bus, bus_kill_worker(bus) -
                                 (uint64_t)(round % 2)); /* with some, it is not even waited for */
        traffic_read(consumer, ledger, 3 * LAP, 30);
    }
    board_set(STOP, 1);
    child_end_in(more, 60);
    traffic_read(consumer, ledger, board_get(SENT) - ledger_count(ledger, 0), 30);
    ledger_all(ledger, 0, board_get(SENT));
    ledger_in_order(ledger);
    CHECK_EQ(leat_consumer_missed(consumer, "t", 0), 0);
    CHECK_OK(leat_consumer_close(consumer));
    leat_close(handle);
    bus_stop(bus);
}

static void odd_record(uint64_t number, leat_record *record, leat_header headers[2], unsigned char *value)
{
    static const size_t sizes[] = { 0, 1, 95, 96, 97, 1000, 4096, 65536, 300000, 1 << 20 };
    size_t size = sizes[number % 10];
    for (size_t i = 0; i < size; i++)
        value[i] = (unsigned char)(number * 7 + i * 13);
    headers[0] = (leat_header){
        .name = "trace", .name_size = 5, .value = &value[size], .value_size = number % 40
    };
    headers[1] = (leat_header){ .name = "none", .name_size = 4 };
    memset(&value[size], (int)number, 40);
    *record = (leat_record){ .value = number % 4 == 3 ? NULL : value,
                             .value_size = number % 4 == 3 ? 0 : size,
                             .key = number % 3 == 0 ? NULL : "key of eleven",
                             .key_size = number % 3 == 0 ? 0 : number % 12,
                             .headers = headers,
                             .header_count = number % 3,
                             .timestamp_ms = 5000 + (int64_t)number };
}

TEST_SLOW(records_of_all_sizes_come_back_as_they_were, 120)
{
    enum { ALL = 300 };
    static unsigned char value[(1 << 20) + 64];
    struct bus *bus = bus_with_logs(PATIENT);
    bus_topic(bus, "t", .ring_size = 8 << 20, .segment_bytes = 4 << 20);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_record wanted;
    leat_header headers[2];
    for (uint64_t number = 0; number < ALL; number++) {
        odd_record(number, &wanted, headers, value);
        CHECK_OK(leat_producer_send_to(producer, 0, &wanted, NULL));
    }
    leat_consumer *consumer = open_at(handle, LEAT_BEGINNING, 7);
    const leat_record *records;
    for (uint64_t number = 0; number < ALL;) {
        int n = CHECK_OK(leat_consumer_poll(consumer, 20000, &records));
        CHECK(n > 0);
        for (int i = 0; i < n; i++, number++) {
            const leat_record *got = &records[i];
            odd_record(number, &wanted, headers, value);
            CHECK_EQ(got->offset, number);
            CHECK_EQ(got->value == NULL, wanted.value == NULL);
            CHECK_EQ(got->value_size, wanted.value_size);
            CHECK(got->value_size == 0 || memcmp(got->value, wanted.value, got->value_size) == 0);
            CHECK_EQ(got->key == NULL, wanted.key == NULL);
            CHECK_EQ(got->key_size, wanted.key_size);
            CHECK(got->key_size == 0 || memcmp(got->key, wanted.key, got->key_size) == 0);
            CHECK_EQ(got->timestamp_ms, wanted.timestamp_ms);
            CHECK_EQ(got->header_count, wanted.header_count);
            for (size_t h = 0; h < got->header_count; h++) {
                CHECK_EQ(got->headers[h].name_size, headers[h].name_size);
                CHECK_MEM(got->headers[h].name, headers[h].name, headers[h].name_size);
                CHECK_EQ(got->headers[h].value == NULL, headers[h].value == NULL);
                CHECK_EQ(got->headers[h].value_size, headers[h].value_size);
                CHECK(headers[h].value == NULL ||
                      memcmp(got->headers[h].value, headers[h].value, headers[h].value_size) == 0);
            }
        }
    }
    CHECK_OK(leat_consumer_close(consumer));
    CHECK_OK(leat_producer_close(producer));
    leat_close(handle);
    bus_stop(bus);
}

static leat_consumer *join(leat_bus *bus)
{
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    leat_consumer *member;
    options.group = "g";
    options.reset = LEAT_EARLIEST;
    options.auto_commit_ms = 0;
    options.max_poll_records = 100;
    CHECK_OK(leat_consumer_open(&member, bus, &options));
    CHECK_OK(leat_consumer_subscribe(member, (const char *[]){ "t" }, 1));
    return member;
}

TEST(group_goes_on_at_its_commit_though_the_ring_has_it_no_more)
{
    struct bus *bus = bus_with_logs(PATIENT);
    logged_topic(bus, LEAT_RING);
    send_some(bus, 0, 10 * LAP);
    leat_bus *handle = bus_open(bus);
    leat_consumer *member = join(handle);
    read_numbers(member, 0, 700);
    CHECK_OK(
        leat_consumer_commit_offsets(member, &(leat_offset){ .topic = "t", .offset = 650 }, 1, LEAT_SYNC));
    CHECK_OK(leat_consumer_rewind(member));
    read_numbers(member, 650, 800);
    CHECK_OK(leat_consumer_close(member));
    member = join(handle);
    read_numbers(member, 650, 10 * LAP);
    CHECK_OK(leat_consumer_commit(member, LEAT_SYNC));
    CHECK_EQ(leat_consumer_committed(member, "t", 0), 10 * LAP);
    CHECK_OK(leat_consumer_close(member));
    leat_close(handle);
    bus_stop(bus);
}

/* The rings of the second life begin where the log of the first ended. */
TEST(log_of_an_earlier_life_is_read_into_the_new_ring)
{
    struct bus *bus = bus_with_logs(PATIENT);
    const char *path = text("%s", bus->path);
    logged_topic(bus, LEAT_WRITTEN);
    send_some(bus, 0, 5 * LAP);
    bus_stop(bus);
    bus = bus_start_in(path, (const char *const[]){ "--log", "yes", PATIENT, NULL });
    leat_bus *handle = bus_open(bus);
    leat_consumer *consumer = open_at(handle, LEAT_BEGINNING, 100);
    read_numbers(consumer, 0, 5 * LAP);
    const leat_record *records;
    CHECK_EQ(leat_consumer_poll(consumer, 0, &records), 0);
    CHECK_EQ(leat_consumer_lag(consumer, "t", 0), 0);
    send_some(bus, 5 * LAP, 100);
    read_numbers(consumer, 5 * LAP, 5 * LAP + 100);
    CHECK_OK(leat_consumer_seek(consumer, "t", 0, 5 * LAP - 20));
    read_numbers(consumer, 5 * LAP - 20, 5 * LAP + 100);
    CHECK_EQ(leat_consumer_missed(consumer, "t", 0), 0);
    CHECK_OK(leat_consumer_close(consumer));
    leat_close(handle);
    bus_stop(bus);
}

TEST(descriptor_is_readable_as_long_as_the_log_has_something)
{
    struct bus *bus = bus_with_logs(PATIENT);
    logged_topic(bus, LEAT_RING);
    send_some(bus, 0, 6 * LAP);
    leat_bus *handle = bus_open(bus);
    leat_consumer *consumer = open_at(handle, LEAT_BEGINNING, 64);
    struct pollfd ready = { .fd = CHECK_OK(leat_consumer_fd(consumer)), .events = POLLIN };
    const leat_record *records;
    for (uint64_t next = 0; next < 6 * LAP;) {
        CHECK_EQ(poll(&ready, 1, 20000), 1);
        int n = CHECK_OK(leat_consumer_poll(consumer, 0, &records));
        for (int i = 0; i < n; i++)
            CHECK_EQ(records[i].offset, next++);
    }
    CHECK_EQ(leat_consumer_poll(consumer, 0, &records), 0);
    CHECK_EQ(poll(&ready, 1, 0), 0);
    CHECK_OK(leat_consumer_close(consumer));
    leat_close(handle);
    bus_stop(bus);
}

/* A byte in the middle of the second partition's log is turned over. */
TEST(damage_in_one_partition_keeps_nobody_from_the_others)
{
    enum { ALL = 4 * LAP };
    struct bus *bus = bus_with_logs(PATIENT);
    bus_topic(bus, "t", .partitions = 2, .segment_bytes = 1 << 20);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    for (uint64_t number = 0; number < 2 * ALL; number++)
        CHECK_OK(traffic_send(producer, number % 2, 0, number, 60, NULL));
    const char *path = text("%s/data/topics/t/1/00000000000000000000.log", bus->path);
    int fd = open(path, O_RDWR);
    unsigned char byte;
    CHECK_EQ(pread(fd, &byte, 1, 4096 + 128), 1);
    byte ^= 1;
    CHECK_EQ(pwrite(fd, &byte, 1, 4096 + 128), 1);
    close(fd);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    const leat_record *records;
    int failed = 0;
    for (uint64_t seen = 0; seen < ALL;) {
        int n = leat_consumer_poll(consumer, 20000, &records);
        if (n == LEAT_EFAILED) {
            CHECK(strstr(leat_last_error(handle),
                         "t: partition 1: segment 00000000000000000000.log at 4096") != NULL);
            failed++;
            continue;
        }
        for (int i = 0; i < CHECK_OK(n); i++)
            CHECK_EQ(records[i].partition, 0);
        seen += (uint64_t)n;
    }
    while (failed == 0)
        failed = leat_consumer_poll(consumer, 20000, &records) == LEAT_EFAILED;
    CHECK_OK(leat_consumer_seek(consumer, "t", 1, LEAT_END));
    CHECK_EQ(leat_consumer_poll(consumer, 0, &records), 0);
    CHECK_OK(leat_consumer_close(consumer));
    CHECK_OK(leat_producer_close(producer));
    leat_close(handle);
    bus_stop(bus);
}
