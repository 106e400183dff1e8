/* The public interface, promise by promise, as leat.h makes them.
 *
 * Goal: what leat.h says is so, for a program that knows nothing but leat.h.
 * Method: each test has a bus of its own (a real leatd) and is its only client, or one of two; it sends, polls and
 * looks. Where a promise is about threads, the test has threads. Other processes come in the other files.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 512, RING = 64 << 10 };

static leat_record record_of(const char *key, const char *value)
{
    return (leat_record){
        .key = key, .key_size = key ? strlen(key) : 0, .value = value, .value_size = value ? strlen(value) : 0
    };
}

/* One poll that is to give this many records, at once or within five seconds. */
static const leat_record *poll_for(leat_consumer *consumer, int count)
{
    const leat_record *records = NULL;
    int n = CHECK_OK(leat_consumer_poll(consumer, 5000, &records));
    CHECK_EQ(n, count);
    return records;
}

static void poll_nothing(leat_consumer *consumer)
{
    const leat_record *records;
    CHECK_EQ(leat_consumer_poll(consumer, 0, &records), 0);
}

static void check_value(const leat_record *record, const char *value)
{
    if (!value) {
        CHECK(record->value == NULL);
        CHECK_EQ(record->value_size, 0);
        return;
    }
    CHECK(record->value != NULL);
    CHECK_EQ(record->value_size, strlen(value));
    CHECK_MEM(record->value, value, strlen(value));
}

static void send_text(leat_producer *producer, uint32_t partition, const char *value)
{
    leat_record record = record_of(NULL, value);
    CHECK_OK(leat_producer_send_to(producer, partition, &record, NULL));
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- errors ---- */

TEST(strerror_knows_every_code_and_never_gives_null)
{
    for (int code = -60; code <= 5; code++) {
        const char *words = leat_strerror(code);
        CHECK(words && *words);
    }
    for (int a = LEAT_ENOGROUP; a <= LEAT_EINVAL; a++)
        for (int b = a + 1; b <= LEAT_EINVAL; b++)
            CHECK(strcmp(leat_strerror(a), leat_strerror(b)) != 0);
}

TEST(last_error_has_the_values_and_is_a_threads_own)
{
    struct bus *bus = bus_start();
    leat_bus *handle = bus_open(bus);
    leat_topic_info *info = (leat_topic_info *)1;
    CHECK_EQ(leat_topic_describe(handle, "no.such-topic", &info), LEAT_ENOTOPIC);
    CHECK(strstr(leat_last_error(handle), "no.such-topic"));
    CHECK(strstr(leat_last_error(NULL), "no.such-topic"));
    leat_close(handle);
}

static void *ask_last_error(void *unused)
{
    (void)unused;
    return strdup(leat_last_error(NULL)); /* the text itself ends with the thread */
}

TEST(thread_that_failed_at_nothing_has_no_last_error)
{
    leat_bus *handle;
    CHECK(leat_open(&handle, "/no/such/directory") < 0);
    CHECK(handle == NULL);
    CHECK(*leat_last_error(NULL));
    pthread_t thread;
    void *said;
    CHECK_EQ(pthread_create(&thread, NULL, ask_last_error, NULL), 0);
    pthread_join(thread, &said);
    CHECK_STR((const char *)said, "");
}

TEST(calls_leave_errno_alone_when_they_succeed)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    errno = 4711;
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    send_text(producer, 0, "x");
    poll_for(consumer, 1);
    const leat_record *records;
    CHECK_EQ(leat_consumer_poll(consumer, 5, &records), 0);
    leat_consumer_close(consumer);
    leat_producer_close(producer);
    leat_close(handle);
    CHECK_EQ(errno, 4711);
}

/* ---- the bus ---- */

TEST(nobody_answers_where_no_bus_is)
{
    leat_bus *handle = (leat_bus *)1;
    CHECK_EQ(leat_open(&handle, text("%s/nothing", test_dir())), LEAT_EGONE);
    CHECK(handle == NULL);
    CHECK(strstr(leat_last_error(NULL), "nothing"));
}

TEST(name_that_makes_no_sense_is_refused)
{
    leat_bus *handle;
    char long_name[102];
    memset(long_name, 'n', 101);
    long_name[101] = 0;
    CHECK_EQ(leat_open(&handle, "a/b"), LEAT_EINVAL);
    CHECK_EQ(leat_open(&handle, long_name), LEAT_EINVAL);
    CHECK_EQ(leat_open(NULL, "a"), LEAT_EINVAL);
    long_name[100] = 0;
    CHECK_EQ(leat_open(&handle, long_name), LEAT_EGONE);
}

TEST(locate_says_where_a_name_lives)
{
    char out[1024];
    CHECK_EQ(setenv("XDG_RUNTIME_DIR", "/x", 1), 0);
    int size = CHECK_OK(leat_bus_locate("orders", out, sizeof out));
    CHECK_EQ(size, strlen(out));
    CHECK_STR(out, getuid() == 0 ? "/run/leat/orders" : "/x/leat/orders");
    CHECK_OK(leat_bus_locate("/some/where", out, sizeof out));
    CHECK_STR(out, "/some/where");
    CHECK_EQ(setenv("LEAT_BUS", "/else/where", 1), 0);
    CHECK_OK(leat_bus_locate(NULL, out, sizeof out));
    CHECK_STR(out, "/else/where");
    CHECK_EQ(unsetenv("LEAT_BUS"), 0);
    CHECK_OK(leat_bus_locate(NULL, out, sizeof out));
    CHECK(strstr(out, "/leat/default"));
    CHECK_EQ(leat_bus_locate("orders", out, 5), LEAT_EINVAL);
    CHECK_EQ(leat_bus_locate("a/b", out, sizeof out), LEAT_EINVAL);
}

TEST(bus_knows_its_path)
{
    struct bus *bus = bus_start();
    leat_bus *handle = bus_open(bus);
    CHECK_STR(leat_bus_path(handle), bus->path);
    leat_close(handle);
}

TEST(closing_null_is_fine)
{
    leat_close(NULL);
    CHECK_EQ(leat_producer_close(NULL), 0);
    CHECK_EQ(leat_consumer_close(NULL), 0);
    leat_topic_info_free(NULL);
    leat_status_free(NULL);
    leat_names_free(NULL, 0);
    leat_counters_free(NULL);
}

TEST(closing_the_bus_closes_what_was_opened_from_it)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_bus *watching = bus_open(bus);
    leat_producer_options exclusive = LEAT_PRODUCER_OPTIONS;
    exclusive.exclusive = 1;
    open_producer(handle, "t", &exclusive);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    CHECK(CHECK_OK(leat_consumer_fd(consumer)) >= 0);
    leat_topic_info *info = bus_describe(watching, "t");
    CHECK_EQ(info->producers, 1);
    CHECK_EQ(info->partitions[0].readers, 1);
    leat_topic_info_free(info);
    leat_close(handle);
    info = bus_describe(watching, "t");
    CHECK_EQ(info->producers, 0);
    CHECK_EQ(info->partitions[0].readers, 0);
    leat_topic_info_free(info);
    leat_close(watching);
}

TEST(handles_close_in_any_order)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    for (int order = 0; order < 6; order++) {
        leat_bus *handle = bus_open(bus);
        leat_producer *producer = open_producer(handle, "t", NULL);
        leat_consumer *a = open_reader(handle, "t", NULL), *b = open_reader(handle, "t", NULL);
        send_text(producer, 0, "x");
        const leat_record *records;
        CHECK_OK(leat_consumer_poll(a, 0, &records));
        if (order % 2)
            CHECK_OK(leat_producer_close(producer));
        CHECK_OK(leat_consumer_close(order % 3 == 1 ? b : a));
        CHECK_OK(leat_consumer_poll(order % 3 == 1 ? a : b, 0, &records));
        if (order % 3 == 2)
            CHECK_OK(leat_consumer_close(b));
        leat_close(handle);
    }
}

TEST(one_program_can_open_a_bus_many_times)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    enum { HANDLES = 20 };
    leat_bus *handles[HANDLES];
    for (int i = 0; i < HANDLES; i++)
        handles[i] = bus_open(bus);
    for (int i = 0; i < HANDLES; i++) {
        leat_producer *producer = open_producer(handles[i], "t", NULL);
        send_text(producer, 0, "x");
    }
    leat_consumer *consumer = open_reader(handles[0], "t", NULL);
    poll_for(consumer, HANDLES);
    for (int i = 0; i < HANDLES; i++)
        leat_close(handles[i]);
}

/* ---- topics ---- */

TEST(topic_is_described_as_it_was_created)
{
    struct bus *bus = bus_start();
    leat_bus *handle = bus_open(bus);
    leat_topic_options options = LEAT_TOPIC_OPTIONS;
    options.partitions = 3;
    options.ring_size = 100 << 10; /* rounded up */
    options.on_full = LEAT_ERROR;
    options.partitioner = LEAT_MURMUR2;
    options.mode = 0640;
    CHECK_OK(leat_topic_create(handle, "orders.v1_x-2", &options));
    leat_topic_info *info = bus_describe(handle, "orders.v1_x-2");
    CHECK_STR(info->topic, "orders.v1_x-2");
    CHECK_EQ(info->partition_count, 3);
    CHECK_EQ(info->level, LEAT_RING);
    CHECK_EQ(info->log, 1);
    CHECK_EQ(info->on_full, LEAT_ERROR);
    CHECK_EQ(info->partitioner, LEAT_MURMUR2);
    CHECK_EQ(info->ring_bytes, 128 << 10);
    CHECK_EQ(info->ring_slots, 1024);
    CHECK_EQ(info->record_max, 32 << 10);
    CHECK_EQ(info->mode, 0640);
    CHECK_EQ(info->uid, getuid());
    CHECK_EQ(info->gid, getgid());
    CHECK(info->owner && strchr(info->owner, ':'));
    CHECK_EQ(info->descriptors, 4);
    CHECK(info->memory_bytes >= 3 * (2 * (128 << 10) + 1024 * 16));
    CHECK(info->memory_bytes <= 3 * (3 * (128 << 10)));
    CHECK_EQ(info->producers, 0);
    for (uint32_t i = 0; i < 3; i++) {
        CHECK_EQ(info->partitions[i].partition, i);
        CHECK_STR(info->partitions[i].state, "open");
        CHECK_EQ(info->partitions[i].log_start_offset, 0);
        CHECK_EQ(info->partitions[i].log_end_offset, 0);
        CHECK_EQ(info->partitions[i].acked_offset, 0);
        CHECK_EQ(info->partitions[i].rings, 1);
        CHECK_EQ(info->partitions[i].readers, 0);
        CHECK_EQ(info->partitions[i].bytes_on_disk, 256 << 10); /* a log begins small */
        CHECK_EQ(info->partitions[i].segments, 1);
    }
    leat_topic_info_free(info);
    leat_close(handle);
}

TEST(topic_info_follows_producers_readers_and_offsets)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    for (int i = 0; i < 5; i++)
        send_text(producer, 1, "x");
    leat_topic_info *info = bus_describe(handle, "t");
    CHECK_EQ(info->producers, 1);
    CHECK_EQ(info->partitions[0].log_end_offset, 0);
    CHECK_EQ(info->partitions[1].log_end_offset, 5);
    CHECK_EQ(info->partitions[1].acked_offset, 5);
    CHECK_EQ(info->partitions[0].readers, 1);
    CHECK_EQ(info->partitions[1].readers, 1);
    leat_topic_info_free(info);
    leat_consumer_close(consumer);
    leat_producer_close(producer);
    info = bus_describe(handle, "t");
    CHECK_EQ(info->producers, 0);
    CHECK_EQ(info->partitions[1].readers, 0);
    leat_topic_info_free(info);
    leat_close(handle);
}

TEST(default_topic_has_one_partition_of_4_mib)
{
    struct bus *bus = bus_start();
    leat_bus *handle = bus_open(bus);
    CHECK_OK(leat_topic_create(handle, "t", NULL));
    leat_topic_info *info = bus_describe(handle, "t");
    CHECK_EQ(info->partition_count, 1);
    CHECK_EQ(info->ring_bytes, 4 << 20);
    CHECK_EQ(info->mode, 0660);
    leat_topic_info_free(info);
    leat_close(handle);
}

TEST(topic_that_exists_is_not_created_again)
{
    struct bus *bus = bus_start();
    leat_bus *handle = bus_open(bus);
    leat_topic_options options = LEAT_TOPIC_OPTIONS;
    options.ring_size = RING;
    CHECK_OK(leat_topic_create(handle, "t", &options));
    CHECK_EQ(leat_topic_create(handle, "t", &options), LEAT_EEXIST);
    options.if_not_exists = 1;
    CHECK_OK(leat_topic_create(handle, "t", &options));
    leat_close(handle);
}

TEST(topic_options_that_make_no_sense_are_refused)
{
    struct bus *bus = bus_start();
    leat_bus *handle = bus_open(bus);
    const leat_topic_options good = LEAT_TOPIC_OPTIONS;
    leat_topic_options o;
    char name[260];
    memset(name, 'n', sizeof name);
    name[250] = 0;
    o = good, o.ring_size = RING;
    CHECK_EQ(leat_topic_create(handle, "", &o), LEAT_EINVAL);
    CHECK_EQ(leat_topic_create(handle, ".", &o), LEAT_EINVAL);
    CHECK_EQ(leat_topic_create(handle, "..", &o), LEAT_EINVAL);
    CHECK_EQ(leat_topic_create(handle, "a/b", &o), LEAT_EINVAL);
    CHECK_EQ(leat_topic_create(handle, "a b", &o), LEAT_EINVAL);
    CHECK_EQ(leat_topic_create(handle, "\xc3\xa9", &o), LEAT_EINVAL);
    CHECK_EQ(leat_topic_create(handle, NULL, &o), LEAT_EINVAL);
    CHECK_EQ(leat_topic_create(handle, name, &o), LEAT_EINVAL);
    name[249] = 0;
    CHECK_OK(leat_topic_create(handle, name, &o));
    o.partitions = 0;
    CHECK_EQ(leat_topic_create(handle, "t", &o), LEAT_EINVAL);
    o.partitions = 4097;
    CHECK_EQ(leat_topic_create(handle, "t", &o), LEAT_EINVAL);
    o = good, o.ring_size = (64 << 10) - 1;
    CHECK_EQ(leat_topic_create(handle, "t", &o), LEAT_EINVAL);
    o = good, o.ring_size = (1u << 30) + 1;
    CHECK_EQ(leat_topic_create(handle, "t", &o), LEAT_EINVAL);
    o = good, o.partitioner = LEAT_CALLBACK;
    CHECK_EQ(leat_topic_create(handle, "t", &o), LEAT_EINVAL);
    o = good, o.mode = 01000;
    CHECK_EQ(leat_topic_create(handle, "t", &o), LEAT_EINVAL);
    o = good, o.on_full = (enum leat_on_full)7;
    CHECK_EQ(leat_topic_create(handle, "t", &o), LEAT_EINVAL);
    o = good, o.owner = "no such user, surely";
    CHECK(leat_topic_create(handle, "t", &o) < 0);
    o = good, o.level = (enum leat_level)3;
    CHECK_EQ(leat_topic_create(handle, "t", &o), LEAT_EINVAL);
    o = good, o.level = LEAT_WRITTEN, o.no_log = 1;
    CHECK_EQ(leat_topic_create(handle, "t", &o), LEAT_EINVAL);
    o = good, o.segment_bytes = (64 << 10) - 1;
    CHECK_EQ(leat_topic_create(handle, "t", &o), LEAT_EINVAL);
    o = good, o.segment_bytes = (1u << 30) + 1;
    CHECK_EQ(leat_topic_create(handle, "t", &o), LEAT_EINVAL);
    o = good, o.retention_bytes = -2;
    CHECK_EQ(leat_topic_create(handle, "t", &o), LEAT_EINVAL);
    o = good, o.retention_ms = -2;
    CHECK_EQ(leat_topic_create(handle, "t", &o), LEAT_EINVAL);
    char **names;
    CHECK_EQ(leat_topic_list(handle, &names), 1);
    CHECK_STR(names[0], name);
    leat_names_free(names, 1);
    leat_close(handle);
}

TEST(topics_are_listed_sorted_however_many)
{
    enum { TOPICS = 400 };
    struct bus *bus = bus_start("--log-level", "warn");
    leat_bus *handle = bus_open(bus);
    leat_topic_options options = LEAT_TOPIC_OPTIONS;
    options.ring_size = RING;
    char **names;
    CHECK_EQ(leat_topic_list(handle, &names), 0);
    leat_names_free(names, 0);
    for (int i = 0; i < TOPICS; i++)
        /* 200 bytes each: more than one message holds */
        CHECK_OK(leat_topic_create(handle, text("%03d%0197d", i * 7 % TOPICS, i), &options));
    int count = CHECK_OK(leat_topic_list(handle, &names));
    CHECK_EQ(count, TOPICS);
    for (int i = 0; i < count; i++) {
        CHECK_EQ(strlen(names[i]), 200);
        CHECK_EQ(strtol(text("%.3s", names[i]), NULL, 10), i);
    }
    leat_names_free(names, count);
    leat_close(handle);
}

TEST(name_of_a_deleted_topic_can_be_used_again)
{
    struct bus *bus = bus_start();
    leat_bus *handle = bus_open(bus);
    CHECK_EQ(leat_topic_delete(handle, "t"), LEAT_ENOTOPIC);
    uint64_t memory = bus_status(bus).memory_bytes;
    for (int i = 0; i < 10; i++) {
        bus_topic(bus, "t", .partitions = 1 + (uint32_t)i % 3);
        leat_producer *producer = open_producer(handle, "t", NULL);
        leat_consumer *consumer = open_reader(handle, "t", NULL);
        send_text(producer, 0, "new");
        const leat_record *record = poll_for(consumer, 1);
        CHECK_EQ(record->offset, 0);
        leat_consumer_close(consumer);
        leat_producer_close(producer);
        CHECK_OK(leat_topic_delete(handle, "t"));
    }
    CHECK_EQ(bus_status(bus).memory_bytes, memory);
    leat_close(handle);
}

TEST(handles_of_a_deleted_topic_say_so_and_views_hold_until_then)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_bus *admin = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    send_text(producer, 0, "held");
    const leat_record *record = poll_for(consumer, 1);
    CHECK_OK(leat_topic_delete(admin, "t"));
    check_value(record, "held");
    leat_record more = record_of(NULL, "more");
    CHECK_EQ(leat_producer_send(producer, &more, NULL), LEAT_EDELETED);
    CHECK_EQ(leat_producer_send_many(producer, &more, 1, NULL), LEAT_EDELETED);
    leat_claim claim;
    CHECK_EQ(leat_producer_claim(producer, NULL, 0, 10, &claim), LEAT_EDELETED);
    check_value(record, "held");
    const leat_record *records;
    CHECK_EQ(leat_consumer_poll(consumer, 1000, &records), LEAT_EDELETED);
    leat_producer *another;
    CHECK_EQ(leat_producer_open(&another, handle, "t", NULL), LEAT_ENOTOPIC);
    CHECK(another == NULL);
    bus_topic(bus, "t");
    CHECK_EQ(leat_producer_send(producer, &more, NULL), LEAT_EDELETED); /* not that one */
    leat_consumer_close(consumer);
    leat_producer_close(producer);
    leat_close(handle);
    leat_close(admin);
}

static void *poll_until_error(void *consumer)
{
    const leat_record *records;
    intptr_t n;
    while ((n = leat_consumer_poll(consumer, -1, &records)) >= 0)
        ;
    return (void *)n;
}

TEST(sleeping_poll_is_woken_by_the_deletion_of_its_topic)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, poll_until_error, consumer), 0);
    bus_pause(); /* most likely it sleeps by now; if not, the result is the same */
    double start = now_s();
    CHECK_OK(leat_topic_delete(handle, "t"));
    void *result;
    pthread_join(thread, &result);
    CHECK_EQ((intptr_t)result, LEAT_EDELETED);
    CHECK(now_s() - start < 1);
    leat_close(handle);
}

static void *send_until_error(void *producer)
{
    leat_record record = { .value = "x", .value_size = 1 };
    intptr_t r;
    while ((r = leat_producer_send(producer, &record, NULL)) == 0)
        ;
    return (void *)r;
}

TEST(send_that_waits_for_room_is_woken_by_the_deletion_of_its_topic)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus), *admin = bus_open(bus);
    leat_consumer_options gate = LEAT_CONSUMER_OPTIONS;
    gate.gate = 1;
    leat_consumer *slow = open_reader(admin, "t", &gate);
    poll_nothing(slow);
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.full_timeout_ms = -1;
    leat_producer *producer = open_producer(handle, "t", &options);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, send_until_error, producer), 0);
    WAIT_UNTIL(bus_counter(bus, "full_waits", NULL, -1, -1) > 0, 5);
    double start = now_s();
    CHECK_OK(leat_topic_delete(admin, "t"));
    void *result;
    pthread_join(thread, &result);
    CHECK_EQ((intptr_t)result, LEAT_EDELETED);
    CHECK(now_s() - start < 1);
    leat_close(handle);
    leat_close(admin);
}

/* ---- sending ---- */

TEST(receipt_names_partition_and_offset)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 3);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    CHECK_EQ(leat_producer_partitions(producer), 3);
    leat_record record = record_of("key", "value");
    leat_receipt receipt, next;
    CHECK_EQ(leat_producer_send(producer, &record, &receipt), 0);
    CHECK(receipt.partition < 3);
    CHECK_EQ(receipt.offset, 0);
    CHECK_EQ(leat_producer_send(producer, &record, &next), 0);
    CHECK_EQ(next.partition, receipt.partition);
    CHECK_EQ(next.offset, 1);
    CHECK_EQ(leat_producer_send_to(producer, 2, &record, &next), 0);
    CHECK_EQ(next.partition, 2);
    CHECK_EQ(leat_producer_send(producer, &record, NULL), 0);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    const leat_record *records = poll_for(consumer, 4);
    for (int i = 0; i < 4; i++) {
        CHECK_STR(records[i].topic, "t");
        CHECK_EQ(records[i].key_size, 3);
        CHECK_MEM(records[i].key, "key", 3);
        check_value(&records[i], "value");
        CHECK(records[i].headers == NULL || records[i].header_count == 0);
    }
    leat_close(handle);
}

TEST(null_and_empty_keys_and_values_stay_apart)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    const char *const kinds[] = { NULL, "", "some" };
    for (int k = 0; k < 3; k++)
        for (int v = 0; v < 3; v++) {
            leat_record record = record_of(kinds[k], kinds[v]);
            CHECK_OK(leat_producer_send(producer, &record, NULL));
        }
    const leat_record *records = poll_for(consumer, 9);
    for (int i = 0; i < 9; i++) {
        const char *key = kinds[i / 3];
        CHECK_EQ(records[i].key == NULL, key == NULL);
        CHECK_EQ(records[i].key_size, key ? strlen(key) : 0);
        check_value(&records[i], kinds[i % 3]);
    }
    leat_close(handle);
}

TEST(headers_arrive_in_order_with_null_and_empty_values)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    const leat_header headers[] = {
        { "trace", 5, "abc", 3 }, { "empty", 5, "", 0 },
        { "null", 4, NULL, 0 },   { "trace", 5, "\0\xff", 2 }, /* names may come twice, values are bytes */
        { "", 0, "no name", 7 },
    };
    char big[2000];
    memset(big, 'b', sizeof big);
    leat_record small = record_of("k", "v"), large = small, no_value = record_of(NULL, NULL);
    small.headers = large.headers = no_value.headers = headers;
    small.header_count = large.header_count = no_value.header_count = 5;
    large.value = big;
    large.value_size = sizeof big;
    CHECK_OK(leat_producer_send(producer, &small, NULL));
    CHECK_OK(leat_producer_send(producer, &large, NULL));
    CHECK_OK(leat_producer_send(producer, &no_value, NULL));
    const leat_record *records = poll_for(consumer, 3);
    check_value(&records[0], "v");
    CHECK_EQ(records[1].value_size, sizeof big);
    CHECK_MEM(records[1].value, big, sizeof big);
    CHECK(records[2].value == NULL && records[2].key == NULL);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(records[i].header_count, 5);
        for (int h = 0; h < 5; h++) {
            const leat_header *got = &records[i].headers[h];
            CHECK_EQ(got->name_size, headers[h].name_size);
            CHECK_MEM(got->name, headers[h].name, headers[h].name_size);
            CHECK_EQ(got->value == NULL, headers[h].value == NULL);
            CHECK_EQ(got->value_size, headers[h].value_size);
            if (got->value)
                CHECK_MEM(got->value, headers[h].value, headers[h].value_size);
        }
    }
    leat_close(handle);
}

TEST(timestamp_is_the_senders_or_now)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    const int64_t given[] = { 1, 1234567890123, 4102444800000 };
    leat_record record = record_of(NULL, "v");
    for (int i = 0; i < 3; i++) {
        record.timestamp_ms = given[i];
        CHECK_OK(leat_producer_send(producer, &record, NULL));
    }
    record.timestamp_ms = 0;
    int64_t before = now_ms();
    CHECK_OK(leat_producer_send(producer, &record, NULL));
    int64_t after = now_ms();
    const leat_record *records = poll_for(consumer, 4);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(records[i].timestamp_ms, given[i]);
    /* A coarse clock may be a tick behind. */
    CHECK(records[3].timestamp_ms >= before - 10 && records[3].timestamp_ms <= after);
    leat_close(handle);
}

TEST(records_of_every_size_up_to_the_limit_arrive_whole)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    unsigned char bytes[RING / 4];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 31 + i / 256);
    for (size_t size = 0; size <= sizeof bytes; size += size < 300 ? 1 : 997) {
        size_t key_size = size % 7 <= size ? size % 7 : 0;
        leat_record record = {
            .key = bytes, .key_size = key_size, .value = bytes, .value_size = size - key_size
        };
        CHECK_OK(leat_producer_send(producer, &record, NULL));
        const leat_record *got = poll_for(consumer, 1);
        CHECK_EQ(got->value_size, size - key_size);
        CHECK_EQ(got->key_size, key_size);
        CHECK_MEM(got->value, bytes, size - key_size);
        CHECK_MEM(got->key, bytes, key_size);
    }
    leat_close(handle);
}

TEST(record_above_a_quarter_of_the_ring_is_refused_and_the_limit_named)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    static char bytes[RING / 4 + 1];
    leat_record record = { .value = bytes, .value_size = RING / 4 };
    CHECK_OK(leat_producer_send(producer, &record, NULL));
    record.value_size++;
    CHECK_EQ(leat_producer_send(producer, &record, NULL), LEAT_ETOOBIG);
    CHECK(strstr(leat_last_error(handle), "16384"));
    CHECK(strstr(leat_last_error(handle), "16385"));
    record.value_size--;
    record.key = "k";
    record.key_size = 1;
    CHECK_EQ(leat_producer_send(producer, &record, NULL), LEAT_ETOOBIG);
    leat_claim claim;
    CHECK_EQ(leat_producer_claim(producer, NULL, 0, RING / 4 + 1, &claim), LEAT_ETOOBIG);
    CHECK_EQ(leat_producer_claim(producer, NULL, 0, 1u << 31, &claim), LEAT_ETOOBIG);
    CHECK(leat_producer_claim(producer, NULL, 0, SIZE_MAX, &claim) < 0);
    CHECK_EQ(leat_producer_send_many(producer, &record, 1, NULL), LEAT_ETOOBIG);
    CHECK_OK(leat_producer_send(producer, &(leat_record){ .value = "x", .value_size = 1 }, NULL));
    leat_close(handle);
}

TEST(sends_that_make_no_sense_are_refused)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_record record = record_of(NULL, "v");
    CHECK_EQ(leat_producer_send_to(producer, 2, &record, NULL), LEAT_ENOPART);
    CHECK(strstr(leat_last_error(handle), "2"));
    CHECK_EQ(leat_producer_send_to(producer, UINT32_MAX, &record, NULL), LEAT_ENOPART);
    CHECK_EQ(leat_producer_send(NULL, &record, NULL), LEAT_EINVAL);
    CHECK_EQ(leat_producer_send(producer, NULL, NULL), LEAT_EINVAL);
    CHECK_EQ(leat_producer_send_many(producer, NULL, 3, NULL), LEAT_EINVAL);
    CHECK_EQ(leat_producer_send_many(producer, NULL, 0, NULL), 0);
    leat_producer *other;
    CHECK_EQ(leat_producer_open(&other, handle, "nothing", NULL), LEAT_ENOTOPIC);
    CHECK(other == NULL);
    CHECK_EQ(leat_producer_open(&other, handle, NULL, NULL), LEAT_EINVAL);
    leat_producer_options callback = LEAT_PRODUCER_OPTIONS;
    callback.partitioner = LEAT_CALLBACK;
    CHECK_EQ(leat_producer_open(&other, handle, "t", &callback), LEAT_EINVAL);
    leat_close(handle);
}

/* ---- partitioners ---- */

TEST(same_key_goes_to_the_same_partition_and_keys_spread)
{
    enum { KEYS = 1000, PARTITIONS = 8 };
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = PARTITIONS, .on_full = LEAT_OVERWRITE);
    leat_bus *handle = bus_open(bus);
    leat_producer *a = open_producer(handle, "t", NULL), *b = open_producer(handle, "t", NULL);
    int counts[PARTITIONS] = { 0 };
    for (int i = 0; i < KEYS; i++) {
        leat_record record = record_of(text("key-%d", i), "v");
        leat_receipt x, y;
        CHECK_OK(leat_producer_send(a, &record, &x));
        CHECK_OK(leat_producer_send(b, &record, &y));
        CHECK_EQ(x.partition, y.partition);
        counts[x.partition]++;
    }
    for (int i = 0; i < PARTITIONS; i++)
        CHECK(counts[i] > KEYS / PARTITIONS / 2 && counts[i] < KEYS / PARTITIONS * 2);
    leat_close(handle);
}

/* xxh3_64(key) mod 4096 mod partitions, by the reference implementation's values. */
TEST(xxh3_keys_go_where_the_map_says)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 7);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_record empty = { .key = "", .key_size = 0, .value = "v", .value_size = 1 };
    leat_receipt receipt;
    CHECK_OK(leat_producer_send(producer, &empty, &receipt));
    CHECK_EQ(receipt.partition, 0x2d06800538d394c2 % 4096 % 7); /* XXH3_64bits("", 0) */
    leat_close(handle);
}

TEST(keyless_records_go_round_robin)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 3);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    int counts[3] = { 0 };
    uint32_t last = UINT32_MAX;
    for (int i = 0; i < 30; i++) {
        leat_receipt receipt;
        CHECK_OK(leat_producer_send(producer, &(leat_record){ .value = "v", .value_size = 1 }, &receipt));
        CHECK(receipt.partition != last);
        last = receipt.partition;
        counts[receipt.partition]++;
    }
    for (int i = 0; i < 3; i++)
        CHECK_EQ(counts[i], 10);
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.partitioner = LEAT_ROUND_ROBIN;
    leat_producer *keyed = open_producer(handle, "t", &options);
    leat_record record = record_of("always the same", "v");
    bool seen[3] = { false };
    for (int i = 0; i < 3; i++) {
        leat_receipt receipt;
        CHECK_OK(leat_producer_send(keyed, &record, &receipt));
        seen[receipt.partition] = true;
    }
    CHECK(seen[0] && seen[1] && seen[2]);
    leat_close(handle);
}

/* The vectors of Kafka's own UtilsTest.testMurmur2, through (hash & 0x7fffffff) % partitions as its producer does. */
static const struct {
    const char *key;
    int32_t hash;
} murmur2_vectors[] = {
    { "21", -973932308 },
    { "foobar", -790332482 },
    { "a-little-bit-long-string", -985981536 },
    { "a-little-bit-longer-string", -1486304829 },
    { "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971 },
    { "abc", 479470107 },
};

TEST(murmur2_puts_keys_where_kafka_puts_them)
{
    struct bus *bus = bus_start();
    leat_bus *handle = bus_open(bus);
    const uint32_t partition_counts[] = { 1, 2, 3, 6, 12, 100 };
    for (int t = 0; t < 6; t++) {
        const char *topic = text("t%d", t);
        bool by_topic = t % 2; /* the topic says so, or the producer does */
        bus_topic(bus, topic, .partitions = partition_counts[t],
                  .partitioner = by_topic ? LEAT_MURMUR2 : LEAT_XXH3);
        leat_producer_options options = LEAT_PRODUCER_OPTIONS;
        options.partitioner = by_topic ? LEAT_PARTITIONER_TOPIC : LEAT_MURMUR2;
        leat_producer *producer = open_producer(handle, topic, &options);
        for (size_t i = 0; i < sizeof murmur2_vectors / sizeof *murmur2_vectors; i++) {
            leat_record record = record_of(murmur2_vectors[i].key, "v");
            leat_receipt receipt;
            CHECK_OK(leat_producer_send(producer, &record, &receipt));
            CHECK_EQ(receipt.partition,
                     ((uint32_t)murmur2_vectors[i].hash & 0x7fffffff) % partition_counts[t]);
        }
    }
    leat_close(handle);
}

static int by_first_byte(const char *topic, const void *key, size_t key_size, uint32_t partitions, void *user)
{
    CHECK_STR(topic, "t");
    CHECK_EQ(partitions, 4);
    ++*(int *)user;
    if (!key)
        return LEAT_EINVAL;
    return key_size > 0 ? *(const char *)key - '0' : 0;
}

TEST(callback_chooses_the_partition_or_refuses)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 4);
    leat_bus *handle = bus_open(bus);
    int calls = 0;
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.partitioner = LEAT_CALLBACK;
    options.partition_of = by_first_byte;
    options.user = &calls;
    leat_producer *producer = open_producer(handle, "t", &options);
    leat_receipt receipt;
    leat_record record = record_of("3", "v");
    CHECK_OK(leat_producer_send(producer, &record, &receipt));
    CHECK_EQ(receipt.partition, 3);
    record = record_of("7", "v");
    CHECK_EQ(leat_producer_send(producer, &record, &receipt), LEAT_ENOPART);
    record = record_of(NULL, "v");
    CHECK_EQ(leat_producer_send(producer, &record, &receipt), LEAT_EINVAL);
    leat_claim claim;
    CHECK_OK(leat_producer_claim(producer, "1", 1, 10, &claim));
    CHECK_EQ(claim.partition, 1);
    CHECK_OK(leat_claim_abort(&claim));
    CHECK_EQ(calls, 4);
    CHECK_OK(leat_producer_send_to(producer, 2, &record, &receipt));
    CHECK_EQ(calls, 4);
    leat_close(handle);
}

/* ---- many at once ---- */

TEST(batch_takes_consecutive_offsets_in_array_order)
{
    enum { COUNT = 300 };
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    leat_record records[COUNT];
    leat_receipt receipts[COUNT];
    for (int i = 0; i < COUNT; i++)
        records[i] = record_of(NULL, text("%d %0*d", i, i % 90, i));
    CHECK_EQ(leat_producer_send_many(producer, records, COUNT, receipts), COUNT);
    const leat_record *got = poll_for(consumer, COUNT);
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(receipts[i].partition, 0);
        CHECK_EQ(receipts[i].offset, i);
        CHECK_EQ(got[i].offset, i);
        check_value(&got[i], records[i].value);
    }
    CHECK_EQ(leat_producer_send_many(producer, records, 10, NULL), 10);
    poll_for(consumer, 10);
    leat_close(handle);
}

TEST(batch_over_partitions_keeps_array_order_in_each)
{
    enum { COUNT = 1000 };
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 4);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.max_poll_records = COUNT;
    leat_consumer *consumer = open_reader(handle, "t", &options);
    leat_record records[COUNT];
    leat_receipt receipts[COUNT];
    for (int i = 0; i < COUNT; i++)
        records[i] = record_of(text("key-%d", i % 37), text("%d", i));
    CHECK_EQ(leat_producer_send_many(producer, records, COUNT, receipts), COUNT);
    uint64_t next[4] = { 0 };
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(receipts[i].offset, next[receipts[i].partition]++);
    for (int seen = 0, n; seen < COUNT; seen += n) {
        const leat_record *got;
        n = CHECK_OK(leat_consumer_poll(consumer, 1000, &got));
        CHECK(n > 0);
        for (int i = 0; i < n; i++) {
            int number = (int)strtol(text("%.*s", (int)got[i].value_size, (const char *)got[i].value), NULL,
                                     10);
            CHECK_EQ(receipts[number].partition, got[i].partition);
            CHECK_EQ(receipts[number].offset, got[i].offset);
        }
    }
    leat_close(handle);
}

TEST(batch_larger_than_the_ring_is_sent_in_pieces_while_a_reader_follows)
{
    enum { COUNT = 20000 };
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    struct ledger *ledger = ledger_new(1, COUNT);
    struct watcher *watcher = watcher_start(handle, "t", ledger, true);
    leat_record *records = calloc(COUNT, sizeof *records);
    CHECK(records);
    for (uint64_t i = 0; i < COUNT; i++) {
        size_t size = traffic_size(i);
        void *value = malloc(size);
        CHECK(value);
        traffic_fill(value, size, 0, i);
        records[i] = (leat_record){ .value = value, .value_size = size };
    }
    CHECK_EQ(leat_producer_send_many(producer, records, COUNT, NULL), COUNT);
    WAIT_UNTIL(ledger_count(ledger, 0) == COUNT, 5);
    ledger_all(ledger, 0, COUNT);
    watcher_stop(watcher);
    leat_close(handle);
}

TEST(batch_that_finds_no_room_says_how_much_was_accepted)
{
    enum { COUNT = 2 * SLOTS };
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .on_full = LEAT_ERROR);
    leat_bus *handle = bus_open(bus);
    leat_consumer_options gate = LEAT_CONSUMER_OPTIONS;
    gate.gate = 1;
    gate.max_poll_records = COUNT;
    leat_consumer *consumer = open_reader(handle, "t", &gate);
    poll_nothing(consumer);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_record records[COUNT];
    leat_receipt receipts[COUNT];
    for (int i = 0; i < COUNT; i++)
        records[i] = record_of(NULL, "v");
    int accepted = CHECK_OK(leat_producer_send_many(producer, records, COUNT, receipts));
    CHECK(accepted >= SLOTS / 2 && accepted <= SLOTS);
    for (int i = 0; i < COUNT; i++) {
        if (i < accepted)
            CHECK_EQ(receipts[i].offset, i);
        else
            CHECK_EQ(receipts[i].offset, UINT64_MAX);
    }
    int more = leat_producer_send_many(producer, records + accepted, COUNT / 2, NULL);
    CHECK_EQ(more < 0 ? more : LEAT_EFULL, LEAT_EFULL);
    CHECK_EQ(leat_consumer_end_offset(consumer, "t", 0), accepted + (more > 0 ? more : 0));
    poll_for(consumer, accepted + (more > 0 ? more : 0));
    leat_close(handle);
}

/* ---- in place ---- */

TEST(claim_is_written_in_place_and_seen_once_committed)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    const size_t sizes[] = { 1, 50, 90, 96, 97, 200, 4096, RING / 4 - 3 };
    for (uint64_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        leat_claim claim;
        leat_receipt receipt;
        CHECK_OK(leat_producer_claim(producer, "key", 3, sizes[i], &claim));
        CHECK_EQ(claim.value_size, sizes[i]);
        CHECK_EQ(claim.offset, i);
        CHECK_EQ(claim.partition, 0);
        CHECK_EQ((uintptr_t)claim.value % (sizes[i] + 3 > 96 ? 64 : 8), 0);
        memset(claim.value, (int)('a' + i), sizes[i]);
        poll_nothing(consumer);
        claim.timestamp_ms = 1000 + (int64_t)i;
        CHECK_OK(leat_claim_commit(&claim, &receipt));
        CHECK_EQ(receipt.offset, i);
        const leat_record *record = poll_for(consumer, 1);
        CHECK_EQ(record->value_size, sizes[i]);
        CHECK_EQ(record->key_size, 3);
        CHECK_MEM(record->key, "key", 3);
        CHECK_EQ(record->timestamp_ms, 1000 + (int64_t)i);
        for (size_t b = 0; b < sizes[i]; b++)
            CHECK_EQ(((const unsigned char *)record->value)[b], 'a' + (int)i);
    }
    leat_close(handle);
}

TEST(claim_can_be_shortened_before_its_commit_but_not_grown)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    const struct {
        size_t claimed, used;
    } cases[] = { { 80, 10 }, { 80, 0 }, { 1000, 999 }, { 1000, 10 }, { 1000, 0 }, { 5000, 64 } };
    leat_claim claim;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_OK(leat_producer_claim(producer, "a key", 5, cases[i].claimed, &claim));
        memset(claim.value, 'v', cases[i].claimed);
        claim.value_size = cases[i].used;
        CHECK_OK(leat_claim_commit(&claim, NULL));
        const leat_record *record = poll_for(consumer, 1);
        CHECK_EQ(record->value_size, cases[i].used);
        CHECK(record->value != NULL);
        CHECK_EQ(record->key_size, 5);
        CHECK_MEM(record->key, "a key", 5);
        for (size_t b = 0; b < cases[i].used; b++)
            CHECK_EQ(((const unsigned char *)record->value)[b], 'v');
    }
    CHECK_OK(leat_producer_claim(producer, NULL, 0, 100, &claim));
    claim.value_size = 101;
    CHECK_EQ(leat_claim_commit(&claim, NULL), LEAT_EINVAL);
    CHECK_EQ(leat_claim_commit(&claim, NULL), LEAT_EINVAL); /* it is over, whatever was returned */
    poll_nothing(consumer);
    CHECK_OK(leat_producer_claim(producer, NULL, 0, 100, &claim));
    memset(claim.value, 'x', 100);
    CHECK_OK(leat_claim_commit(&claim, NULL));
    CHECK(poll_for(consumer, 1)->key == NULL);
    leat_close(handle);
}

TEST(aborted_claim_is_a_gap_that_readers_step_over)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    leat_claim first, second;
    CHECK_OK(leat_producer_claim(producer, NULL, 0, 10, &first));
    CHECK_OK(leat_producer_claim(producer, NULL, 0, 500, &second));
    send_text(producer, 0, "behind");
    poll_nothing(consumer);
    CHECK_OK(leat_claim_abort(&second));
    CHECK_OK(leat_claim_abort(&first));
    CHECK_EQ(leat_claim_abort(&first), LEAT_EINVAL);
    const leat_record *record = poll_for(consumer, 1);
    CHECK_EQ(record->offset, 2);
    check_value(record, "behind");
    /* Drained means position == end, also behind a gap. */
    CHECK_OK(leat_producer_claim(producer, NULL, 0, 10, &first));
    CHECK_OK(leat_claim_abort(&first));
    poll_nothing(consumer);
    CHECK_EQ(leat_consumer_position(consumer, "t", 0), 4);
    CHECK_EQ(leat_consumer_end_offset(consumer, "t", 0), 4);
    CHECK_EQ(leat_consumer_lag(consumer, "t", 0), 0);
    leat_close(handle);
}

TEST(sixty_four_claims_can_be_open_and_end_in_any_order)
{
    enum { OPEN = 64 };
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    leat_claim claims[OPEN], more;
    for (int i = 0; i < OPEN; i++) {
        CHECK_OK(leat_producer_claim(producer, NULL, 0, 16, &claims[i]));
        traffic_fill(claims[i].value, 16, 0, (uint64_t)i);
    }
    CHECK_EQ(leat_producer_claim(producer, NULL, 0, 16, &more), LEAT_ELIMIT);
    for (int i = OPEN - 1; i >= 0; i--)
        CHECK_OK(leat_claim_commit(&claims[i], NULL));
    struct ledger *ledger = ledger_new(1, OPEN);
    traffic_read(consumer, ledger, OPEN, 1);
    CHECK_OK(leat_producer_claim(producer, NULL, 0, 16, &more));
    CHECK_OK(leat_claim_abort(&more));
    leat_close(handle);
}

TEST(closing_a_producer_aborts_its_open_claims)
{
    struct bus *bus = bus_start("--stall-limit", "60000");
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL), *other = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    leat_claim claim;
    CHECK_OK(leat_producer_claim(producer, NULL, 0, 16, &claim));
    send_text(other, 0, "behind");
    CHECK_OK(leat_producer_close(producer));
    check_value(poll_for(consumer, 1), "behind");
    leat_close(handle);
}

TEST(claim_held_for_too_long_while_somebody_waits_is_taken_back)
{
    struct bus *bus = bus_start("--stall-limit", "50");
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL), *other = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    leat_claim claim;
    CHECK_OK(leat_producer_claim(producer, NULL, 0, 300, &claim));
    send_text(other, 0, "behind");
    double start = now_s();
    check_value(poll_for(consumer, 1), "behind");
    double took = now_s() - start;
    printf("taken back after %.0f ms\n", took * 1e3);
    CHECK(took > 0.04 && took < 1.5 * test_slowdown());
    memset(claim.value, 'x', 300);
    CHECK_EQ(leat_claim_commit(&claim, NULL), LEAT_EABORTED);
    CHECK_OK(leat_producer_claim(producer, NULL, 0, 300, &claim));
    memset(claim.value, 'y', 300);
    CHECK_OK(leat_claim_commit(&claim, NULL));
    CHECK_EQ(*(const unsigned char *)poll_for(consumer, 1)->value, 'y');
    leat_close(handle);
}

TEST(claim_that_nobody_waits_for_may_be_held)
{
    struct bus *bus = bus_start("--stall-limit", "10");
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_claim claim;
    CHECK_OK(leat_producer_claim(producer, NULL, 0, 300, &claim));
    /* leatd answers a hundred requests meanwhile, each a chance to take it back. */
    for (double until = now_s() + 0.2; now_s() < until;)
        bus_status(bus);
    CHECK_OK(leat_claim_commit(&claim, NULL));
    leat_close(handle);
}

/* ---- acknowledgement ---- */

TEST(wait_and_flush_return_at_once_at_the_level_ring)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_record record = record_of("k", "v");
    leat_receipt receipt;
    CHECK_OK(leat_producer_send(producer, &record, &receipt));
    CHECK_OK(leat_producer_wait(producer, &receipt, 0));
    CHECK_OK(leat_producer_wait(producer, &receipt, -1));
    CHECK_OK(leat_producer_flush(producer, 0));
    leat_receipt never = { receipt.partition, receipt.offset + 1 };
    CHECK_EQ(leat_producer_wait(producer, &never, 0), LEAT_EINVAL);
    never.partition = 2;
    CHECK_EQ(leat_producer_wait(producer, &never, 0), LEAT_EINVAL);
    CHECK_EQ(leat_producer_wait(producer, NULL, 0), LEAT_EINVAL);
    leat_close(handle);
}

struct delivered {
    leat_producer *producer;
    uint64_t next[2];
    int count;
};

static void on_delivered(const leat_receipt *receipt, int error, void *user)
{
    struct delivered *d = user;
    CHECK_EQ(error, 0);
    CHECK_EQ(receipt->offset, d->next[receipt->partition]);
    d->next[receipt->partition]++;
    d->count++;
    leat_record record = { .value = "x", .value_size = 1 };
    CHECK_EQ(leat_producer_send(d->producer, &record, NULL), LEAT_EBUSY_HANDLE);
    CHECK_EQ(leat_producer_flush(d->producer, 0), LEAT_EBUSY_HANDLE);
}

TEST(on_delivered_is_called_in_order_and_must_not_call_back_in)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2);
    leat_bus *handle = bus_open(bus);
    struct delivered delivered = { 0 };
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.on_delivered = on_delivered;
    options.user = &delivered;
    delivered.producer = open_producer(handle, "t", &options);
    leat_record records[20];
    for (int i = 0; i < 20; i++)
        records[i] = record_of(text("%d", i), "v");
    CHECK_OK(leat_producer_send(delivered.producer, &records[0], NULL));
    CHECK_OK(leat_producer_send_to(delivered.producer, 1, &records[0], NULL));
    CHECK_EQ(leat_producer_send_many(delivered.producer, records, 20, NULL), 20);
    leat_claim claim;
    CHECK_OK(leat_producer_claim(delivered.producer, "k", 1, 10, &claim));
    CHECK_OK(leat_claim_commit(&claim, NULL));
    CHECK_OK(leat_producer_flush(delivered.producer, 1000));
    CHECK_EQ(delivered.count, 23);
    CHECK_OK(leat_producer_close(delivered.producer));
    CHECK_EQ(delivered.count, 23);
    leat_close(handle);
}

/* ---- exclusive ---- */

TEST(exclusive_producer_is_alone_and_hands_the_topic_back)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2);
    leat_bus *handle = bus_open(bus), *elsewhere = bus_open(bus);
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.exclusive = 1;
    leat_producer *other = open_producer(elsewhere, "t", NULL), *mine;
    CHECK_EQ(leat_producer_open(&mine, handle, "t", &options), LEAT_EEXCLUSIVE);
    CHECK(mine == NULL);
    send_text(other, 0, "first");
    leat_producer_close(other);
    mine = open_producer(handle, "t", &options);
    CHECK_EQ(leat_producer_open(&other, elsewhere, "t", NULL), LEAT_EEXCLUSIVE);
    CHECK_EQ(leat_producer_open(&other, elsewhere, "t", &options), LEAT_EEXCLUSIVE);
    CHECK_EQ(leat_producer_open(&other, handle, "t", NULL), LEAT_EEXCLUSIVE);
    struct ledger *ledger = ledger_new(1, 10 * SLOTS);
    leat_consumer *consumer = open_reader(elsewhere, "t", NULL);
    check_value(poll_for(consumer, 1), "first");
    leat_consumer_close(consumer);
    leat_consumer_options at_end = LEAT_CONSUMER_OPTIONS;
    CHECK_OK(leat_consumer_open(&consumer, elsewhere, &at_end));
    CHECK_OK(leat_consumer_assign(consumer, (leat_partition[]){ { "t", 1 } }, 1));
    for (uint64_t i = 0; i < 10 * SLOTS; i++) {
        CHECK_OK(traffic_send(mine, 1, 0, i, traffic_size(i), NULL));
        if (i % 100 == 99)
            traffic_read(consumer, ledger, 100, 1);
    }
    CHECK_OK(leat_producer_close(mine));
    other = open_producer(elsewhere, "t", NULL);
    send_text(other, 0, "after");
    leat_close(handle);
    leat_close(elsewhere);
}

/* ---- on full ---- */

static leat_consumer *gate_at(leat_bus *handle, const char *topic)
{
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.gate = 1;
    options.max_poll_records = 4 * SLOTS;
    leat_consumer *consumer = open_reader(handle, topic, &options);
    poll_nothing(consumer);
    return consumer;
}

static int fill(leat_producer *producer, int *result)
{
    leat_record record = record_of(NULL, "v");
    int sent = 0;
    while ((*result = leat_producer_send(producer, &record, NULL)) == 0)
        CHECK(++sent < 100 * SLOTS);
    return sent;
}

TEST(blocking_topic_waits_for_a_gate_reader_as_long_as_was_asked)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .on_full = LEAT_BLOCK);
    leat_bus *handle = bus_open(bus);
    leat_consumer *consumer = gate_at(handle, "t");
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.full_timeout_ms = 300;
    leat_producer *producer = open_producer(handle, "t", &options);
    int r;
    int sent = fill(producer, &r);
    CHECK_EQ(r, LEAT_EFULL);
    CHECK(sent >= SLOTS / 2 && sent <= SLOTS);
    leat_record record = record_of(NULL, "v");
    double start = now_s();
    CHECK_EQ(leat_producer_send(producer, &record, NULL), LEAT_EFULL);
    double took = now_s() - start;
    CHECK(took >= 0.29 && took < 0.6 * test_slowdown());
    /* What was handed out is kept until the next poll. */
    poll_for(consumer, sent);
    CHECK_EQ(leat_producer_send(producer, &record, NULL), LEAT_EFULL);
    poll_nothing(consumer);
    start = now_s();
    CHECK_OK(leat_producer_send(producer, &record, NULL));
    CHECK(now_s() - start < 0.2 * test_slowdown());
    leat_close(handle);
}

TEST(blocked_sender_goes_on_as_soon_as_the_gate_reader_has)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_consumer *consumer = gate_at(handle, "t");
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.full_timeout_ms = 0;
    leat_producer *impatient = open_producer(handle, "t", &options);
    int r;
    int sent = fill(impatient, &r);
    options.full_timeout_ms = -1;
    leat_producer *patient = open_producer(handle, "t", &options);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, send_until_error, patient), 0);
    for (int i = 0; i < 20; i++) {
        const leat_record *records;
        CHECK(CHECK_OK(leat_consumer_poll(consumer, 1000, &records)) > 0);
    }
    CHECK(leat_consumer_position(consumer, "t", 0) > sent);
    CHECK_EQ(leat_consumer_missed(consumer, "t", 0), 0);
    CHECK_OK(leat_topic_delete(handle, "t"));
    pthread_join(thread, NULL);
    leat_close(handle);
}

TEST(topic_with_on_full_error_says_so_at_once)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .on_full = LEAT_ERROR);
    leat_bus *handle = bus_open(bus);
    leat_consumer *consumer = gate_at(handle, "t");
    leat_producer *producer = open_producer(handle, "t", NULL);
    int r;
    int sent = fill(producer, &r);
    CHECK_EQ(r, LEAT_EFULL);
    CHECK(sent >= SLOTS / 2);
    leat_record record = record_of(NULL, "v");
    double start = now_s();
    for (int i = 0; i < 100; i++)
        CHECK_EQ(leat_producer_send(producer, &record, NULL), LEAT_EFULL);
    CHECK(now_s() - start < 1.0 * test_slowdown());
    poll_for(consumer, sent);
    poll_nothing(consumer);
    WAIT_UNTIL(leat_producer_send(producer, &record, NULL) == 0, 1);
    leat_close(handle);
}

TEST(topic_with_on_full_overwrite_never_waits_for_a_gate)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .on_full = LEAT_OVERWRITE);
    leat_bus *handle = bus_open(bus);
    leat_consumer *consumer = gate_at(handle, "t");
    leat_producer *producer = open_producer(handle, "t", NULL);
    for (uint64_t i = 0; i < 10 * SLOTS; i++)
        CHECK_OK(traffic_send(producer, 0, 0, i, 40, NULL));
    const leat_record *records;
    int n = CHECK_OK(leat_consumer_poll(consumer, 1000, &records));
    CHECK(n > 0);
    CHECK(records[0].offset > 0);
    CHECK_EQ(leat_consumer_missed(consumer, "t", 0), records[0].offset);
    leat_close(handle);
}

TEST(blocking_topic_without_gates_overwrites)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *idle = open_reader(handle, "t", NULL); /* is no gate */
    poll_nothing(idle);
    double start = now_s();
    for (uint64_t i = 0; i < 20 * SLOTS; i++)
        CHECK_OK(traffic_send(producer, 0, 0, i, traffic_size(i), NULL));
    CHECK(now_s() - start < 5 * test_slowdown());
    leat_close(handle);
}

struct missed {
    uint64_t next; /* the offset that comes next, as a record or as missed */
    uint64_t first, count;
    int calls;
    leat_consumer *consumer;
};

static void note_missed(leat_consumer *consumer, const leat_partition *partition, uint64_t from_offset,
                        uint64_t count, void *user)
{
    struct missed *missed = user;
    CHECK(consumer == missed->consumer);
    CHECK_STR(partition->topic, "t");
    CHECK_EQ(partition->partition, 0);
    CHECK_EQ(from_offset, missed->next);
    CHECK(count > 0);
    if (missed->calls++ == 0)
        missed->first = from_offset;
    missed->next += count;
    missed->count += count;
}

TEST(reader_that_fell_behind_learns_how_many_it_missed)
{
    enum { SENT = 5000 };
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .on_full = LEAT_OVERWRITE);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    struct missed missed = { 0 };
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.on_missed = note_missed;
    options.user = &missed;
    options.max_poll_records = 50;
    leat_consumer *consumer = missed.consumer = open_reader(handle, "t", &options);
    for (uint64_t i = 0; i < 100; i++)
        CHECK_OK(traffic_send(producer, 0, 0, i, 40, NULL));
    poll_for(consumer, 50);
    missed.next = 50;
    /* Lets the views go, so that nothing is in the producer's way. */
    CHECK_OK(leat_consumer_seek(consumer, "t", 0, 50));
    for (uint64_t i = 100; i < SENT; i++)
        CHECK_OK(traffic_send(producer, 0, 0, i, 40, NULL));
    uint64_t seen = 50;
    while (missed.next < SENT) {
        const leat_record *records;
        int n = CHECK_OK(leat_consumer_poll(consumer, 1000, &records));
        CHECK(n > 0);
        for (int i = 0; i < n; i++) {
            /* The misses of this poll lie before its records: each offset comes once, one way or the other. */
            CHECK(records[i].offset == missed.next);
            missed.next++;
            CHECK_EQ(traffic_check(&records[i]).number, records[i].offset);
        }
        seen += (uint64_t)n;
    }
    CHECK(missed.calls >= 1);
    CHECK_EQ(missed.first, 50);
    CHECK(missed.count >= SENT - 100 - SLOTS);
    CHECK_EQ(seen + missed.count, SENT);
    CHECK_EQ(leat_consumer_missed(consumer, "t", 0), missed.count);
    CHECK_EQ(leat_consumer_position(consumer, "t", 0), SENT);
    leat_close(handle);
}

TEST(reader_with_reset_latest_goes_on_at_the_end)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .on_full = LEAT_OVERWRITE);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer;
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    CHECK_OK(leat_consumer_open(&consumer, handle, &options));
    CHECK_OK(leat_consumer_assign(consumer, (leat_partition[]){ { "t", 0 } }, 1));
    CHECK_OK(leat_consumer_seek(consumer, "t", 0, LEAT_BEGINNING));
    for (int i = 0; i < 4 * SLOTS; i++)
        send_text(producer, 0, "x");
    poll_nothing(consumer);
    CHECK_EQ(leat_consumer_position(consumer, "t", 0), 4 * SLOTS);
    CHECK_EQ(leat_consumer_missed(consumer, "t", 0), 4 * SLOTS);
    send_text(producer, 0, "fresh");
    const leat_record *record = poll_for(consumer, 1);
    CHECK_EQ(record->offset, 4 * SLOTS);
    leat_close(handle);
}

TEST(reader_with_reset_error_is_told_and_seeks)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .on_full = LEAT_OVERWRITE);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer;
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.reset = LEAT_RESET_ERROR;
    CHECK_OK(leat_consumer_open(&consumer, handle, &options));
    CHECK_OK(leat_consumer_assign(consumer, (leat_partition[]){ { "t", 0 } }, 1));
    CHECK_OK(leat_consumer_seek(consumer, "t", 0, 0));
    for (int i = 0; i < 4 * SLOTS; i++)
        send_text(producer, 0, "x");
    const leat_record *records;
    CHECK_EQ(leat_consumer_poll(consumer, 0, &records), LEAT_EOFFSET);
    CHECK_EQ(leat_consumer_poll(consumer, 0, &records), LEAT_EOFFSET);
    CHECK_OK(leat_consumer_seek(consumer, "t", 0, LEAT_BEGINNING));
    CHECK(CHECK_OK(leat_consumer_poll(consumer, 1000, &records)) > 0);
    leat_close(handle);
}

/* ---- positions ---- */

TEST(consumer_without_a_position_starts_as_reset_says)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    for (int i = 0; i < 3; i++)
        send_text(producer, 0, "old");
    leat_consumer *latest, *earliest;
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    CHECK_EQ(options.reset, LEAT_LATEST);
    CHECK_OK(leat_consumer_open(&latest, handle, NULL));
    CHECK_OK(leat_consumer_subscribe(latest, (const char *[]){ "t" }, 1));
    options.reset = LEAT_EARLIEST;
    CHECK_OK(leat_consumer_open(&earliest, handle, &options));
    CHECK_OK(leat_consumer_subscribe(earliest, (const char *[]){ "t" }, 1));
    poll_nothing(latest);
    poll_for(earliest, 3);
    send_text(producer, 0, "new");
    CHECK_EQ(poll_for(latest, 1)->offset, 3);
    CHECK_EQ(poll_for(earliest, 1)->offset, 3);
    leat_close(handle);
}

TEST(latest_means_the_end_at_the_time_of_subscribe)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer;
    CHECK_OK(leat_consumer_open(&consumer, handle, NULL));
    CHECK_OK(leat_consumer_subscribe(consumer, (const char *[]){ "t" }, 1));
    send_text(producer, 0, "sent before the first poll");
    CHECK_EQ(poll_for(consumer, 1)->offset, 0);
    leat_close(handle);
}

TEST(seek_goes_to_the_beginning_the_end_and_any_offset)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    for (int i = 0; i < 10; i++)
        send_text(producer, 1, text("%d", i));
    poll_for(consumer, 10);
    CHECK_EQ(leat_consumer_position(consumer, "t", 1), 10);
    CHECK_EQ(leat_consumer_position(consumer, "t", 0), 0);
    CHECK_OK(leat_consumer_seek(consumer, "t", 1, LEAT_BEGINNING));
    CHECK_EQ(leat_consumer_position(consumer, "t", 1), 0);
    CHECK_EQ(leat_consumer_lag(consumer, "t", 1), 10);
    poll_for(consumer, 10);
    CHECK_OK(leat_consumer_seek(consumer, "t", 1, 7));
    const leat_record *record = poll_for(consumer, 3);
    CHECK_EQ(record->offset, 7);
    check_value(record, "7");
    CHECK_OK(leat_consumer_seek(consumer, "t", 1, LEAT_BEGINNING));
    CHECK_OK(leat_consumer_seek(consumer, "t", 1, LEAT_END));
    CHECK_EQ(leat_consumer_position(consumer, "t", 1), 10);
    poll_nothing(consumer);
    CHECK_EQ(leat_consumer_beginning_offset(consumer, "t", 1), 0);
    CHECK_EQ(leat_consumer_end_offset(consumer, "t", 1), 10);
    CHECK_EQ(leat_consumer_seek(consumer, "t", 2, 0), LEAT_ENOPART);
    CHECK_EQ(leat_consumer_seek(consumer, "u", 0, 0), LEAT_ENOPART);
    CHECK_EQ(leat_consumer_seek(consumer, "t", 0, -3), LEAT_EINVAL);
    CHECK_EQ(leat_consumer_position(consumer, "t", 5), LEAT_ENOPART);
    CHECK_EQ(leat_consumer_end_offset(consumer, "nope", 0), LEAT_ENOPART);
    leat_close(handle);
}

TEST(offset_above_the_end_is_handled_as_reset_says)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    for (int i = 0; i < 5; i++)
        send_text(producer, 0, "x");
    leat_consumer *consumer;
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.reset = LEAT_RESET_ERROR;
    CHECK_OK(leat_consumer_open(&consumer, handle, &options));
    CHECK_OK(leat_consumer_assign(consumer, (leat_partition[]){ { "t", 0 } }, 1));
    const leat_record *records;
    int r = leat_consumer_seek(consumer, "t", 0, 100);
    if (r == 0)
        r = leat_consumer_poll(consumer, 0, &records);
    CHECK_EQ(r, LEAT_EOFFSET);
    leat_close(handle);
}

TEST(seek_time_goes_to_the_first_record_at_or_after_it)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    for (int i = 0; i < 100; i++) {
        leat_record record = record_of(NULL, "x");
        record.timestamp_ms = 1000 + i / 2 * 10; /* pairs */
        CHECK_OK(leat_producer_send(producer, &record, NULL));
    }
    CHECK_EQ(leat_consumer_offset_for_time(consumer, "t", 0, 1), 0);
    CHECK_EQ(leat_consumer_offset_for_time(consumer, "t", 0, 1000), 0);
    CHECK_EQ(leat_consumer_offset_for_time(consumer, "t", 0, 1001), 2);
    CHECK_EQ(leat_consumer_offset_for_time(consumer, "t", 0, 1250), 50);
    CHECK_EQ(leat_consumer_offset_for_time(consumer, "t", 0, 1490), 98);
    CHECK_EQ(leat_consumer_offset_for_time(consumer, "t", 0, 1491), 100);
    CHECK_OK(leat_consumer_seek_time(consumer, "t", 0, 1455));
    CHECK_EQ(leat_consumer_position(consumer, "t", 0), 92);
    const leat_record *record = poll_for(consumer, 8);
    CHECK_EQ(record->timestamp_ms, 1460);
    CHECK_OK(leat_consumer_seek_time(consumer, "t", 0, 99999));
    CHECK_EQ(leat_consumer_position(consumer, "t", 0), 100);
    CHECK_EQ(leat_consumer_seek_time(consumer, "t", 1, 0), LEAT_ENOPART);
    leat_close(handle);
}

TEST(paused_partition_is_left_out_until_it_is_resumed)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    CHECK_OK(leat_consumer_pause(consumer, "t", 0));
    CHECK_OK(leat_consumer_pause(consumer, "t", 0));
    send_text(producer, 0, "paused");
    send_text(producer, 1, "runs");
    check_value(poll_for(consumer, 1), "runs");
    poll_nothing(consumer);
    CHECK_EQ(leat_consumer_position(consumer, "t", 0), 0);
    CHECK_EQ(leat_consumer_lag(consumer, "t", 0), 1);
    CHECK_OK(leat_consumer_resume(consumer, "t", 0));
    check_value(poll_for(consumer, 1), "paused");
    CHECK_EQ(leat_consumer_pause(consumer, "t", 2), LEAT_ENOPART);
    CHECK_EQ(leat_consumer_resume(consumer, "t", 2), LEAT_ENOPART);
    leat_close(handle);
}

/* ---- assignment ---- */

TEST(assignment_is_what_was_assigned_or_subscribed_last)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "a", .partitions = 3);
    bus_topic(bus, "b", .partitions = 2);
    leat_bus *handle = bus_open(bus);
    leat_consumer *consumer;
    const leat_partition *parts;
    CHECK_OK(leat_consumer_open(&consumer, handle, NULL));
    CHECK_EQ(leat_consumer_assignment(consumer, &parts), 0);
    CHECK_OK(leat_consumer_subscribe(consumer, (const char *[]){ "a", "b" }, 2));
    CHECK_EQ(leat_consumer_assignment(consumer, &parts), 5);
    CHECK_OK(leat_consumer_assign(consumer, (leat_partition[]){ { "b", 1 }, { "a", 2 } }, 2));
    CHECK_EQ(leat_consumer_assignment(consumer, &parts), 2);
    for (int i = 0; i < 2; i++)
        CHECK((strcmp(parts[i].topic, "a") == 0 && parts[i].partition == 2) ||
              (strcmp(parts[i].topic, "b") == 0 && parts[i].partition == 1));
    CHECK_EQ(leat_consumer_assign(consumer, (leat_partition[]){ { "b", 2 } }, 1), LEAT_ENOPART);
    CHECK_EQ(leat_consumer_assign(consumer, (leat_partition[]){ { "c", 0 } }, 1), LEAT_ENOTOPIC);
    CHECK_EQ(leat_consumer_subscribe(consumer, (const char *[]){ "c" }, 1), LEAT_ENOTOPIC);
    CHECK_OK(leat_consumer_assign(consumer, NULL, 0));
    CHECK_EQ(leat_consumer_assignment(consumer, &parts), 0);
    leat_topic_info *info = bus_describe(handle, "a");
    CHECK_EQ(info->partitions[2].readers, 0);
    leat_topic_info_free(info);
    leat_close(handle);
}

TEST(assigned_partitions_are_read_and_no_others)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 3);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.reset = LEAT_EARLIEST;
    leat_consumer *consumer;
    CHECK_OK(leat_consumer_open(&consumer, handle, &options));
    CHECK_OK(leat_consumer_assign(consumer, (leat_partition[]){ { "t", 0 }, { "t", 2 } }, 2));
    for (uint32_t p = 0; p < 3; p++)
        send_text(producer, p, "x");
    const leat_record *records = poll_for(consumer, 2);
    CHECK(records[0].partition != 1 && records[1].partition != 1);
    CHECK_EQ(leat_consumer_seek(consumer, "t", 1, 0), LEAT_ENOPART);
    leat_close(handle);
}

TEST(partitions_take_turns)
{
    enum { PARTITIONS = 4, EACH = 100 };
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = PARTITIONS);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.max_poll_records = 40;
    leat_consumer *consumer = open_reader(handle, "t", &options);
    for (int i = 0; i < EACH; i++)
        for (uint32_t p = 0; p < PARTITIONS; p++)
            send_text(producer, p, "x");
    /* With room for 40 records a poll, nobody waits for more than a round of polls. */
    int polls_without[PARTITIONS] = { 0 };
    for (int seen = 0; seen < EACH * PARTITIONS / 2;) {
        const leat_record *records;
        bool here[PARTITIONS] = { false };
        int n = CHECK_OK(leat_consumer_poll(consumer, 0, &records));
        CHECK(n > 0 && n <= 40);
        for (int i = 0; i < n; i++)
            here[records[i].partition] = true;
        for (int p = 0; p < PARTITIONS; p++) {
            polls_without[p] = here[p] ? 0 : polls_without[p] + 1;
            CHECK(polls_without[p] < PARTITIONS);
        }
        seen += n;
    }
    leat_close(handle);
}

TEST(consumers_of_a_topic_each_read_all_of_it)
{
    enum { CONSUMERS = 5 };
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumers[CONSUMERS];
    for (int i = 0; i < CONSUMERS; i++)
        consumers[i] = open_reader(handle, "t", NULL);
    for (int i = 0; i < 20; i++)
        send_text(producer, 0, "x");
    for (int i = 0; i < CONSUMERS; i++)
        poll_for(consumers[i], 20);
    leat_close(handle);
}

/* ---- polling ---- */

TEST(poll_waits_as_long_as_was_asked)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    const leat_record *records;
    const int64_t waits_ms[] = { 0, 1, 50, 300 };
    for (int i = 0; i < 4; i++) {
        double start = now_s();
        CHECK_EQ(leat_consumer_poll(consumer, waits_ms[i], &records), 0);
        double took = now_s() - start;
        CHECK(took >= (double)waits_ms[i] / 1e3 - 0.002);
        CHECK(took < (double)waits_ms[i] / 1e3 + 0.2 * test_slowdown());
    }
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.spin_us = -1;
    leat_consumer *spinner = open_reader(handle, "t", &options);
    double start = now_s();
    CHECK_EQ(leat_consumer_poll(spinner, 50, &records), 0);
    CHECK(now_s() - start >= 0.048);
    leat_close(handle);
}

static void *send_one(void *producer)
{
    bus_pause(); /* so that the poll sleeps; when it does not yet, the result is the same */
    send_text(producer, 0, "wake");
    return NULL;
}

TEST(sleeping_poll_is_woken_by_a_send)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    double worst = 0;
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        const leat_record *records;
        CHECK_EQ(pthread_create(&thread, NULL, send_one, producer), 0);
        double start = now_s();
        CHECK_EQ(CHECK_OK(leat_consumer_poll(consumer, -1, &records)), 1);
        worst = now_s() - start > worst ? now_s() - start : worst;
        pthread_join(thread, NULL);
    }
    printf("the longest of 100 waits: %.1f ms\n", worst * 1e3);
    CHECK(worst < 1); /* a lost wake-up would take two seconds */
    leat_close(handle);
}

TEST(wakeup_ends_the_current_or_the_next_poll_once)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    const leat_record *records;
    leat_consumer_wakeup(consumer);
    leat_consumer_wakeup(consumer);
    CHECK_EQ(leat_consumer_poll(consumer, -1, &records), LEAT_EWAKEUP);
    CHECK_EQ(leat_consumer_poll(consumer, 0, &records), 0);
    send_text(producer, 0, "x");
    poll_for(consumer, 1);
    leat_close(handle);
}

static leat_consumer *signalled;

static void wake_consumer(int sig)
{
    (void)sig;
    leat_consumer_wakeup(signalled);
}

TEST(wakeup_may_be_called_from_a_signal_handler)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    signalled = open_reader(handle, "t", NULL);
    struct sigaction action = { .sa_handler = wake_consumer };
    CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
    struct timespec soon = { .tv_nsec = 20 * 1000 * 1000 };
    timer_t timer;
    struct itimerspec once = { .it_value = soon };
    CHECK_EQ(timer_create(CLOCK_MONOTONIC, NULL, &timer), 0);
    for (int i = 0; i < 10; i++) {
        const leat_record *records;
        CHECK_EQ(timer_settime(timer, 0, &once, NULL), 0);
        double start = now_s();
        CHECK_EQ(leat_consumer_poll(signalled, -1, &records), LEAT_EWAKEUP);
        CHECK(now_s() - start < 1);
    }
    leat_close(handle);
}

static void *wake_it(void *consumer)
{
    leat_consumer_wakeup(consumer);
    return NULL;
}

TEST(wakeup_may_be_called_from_another_thread)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        const leat_record *records;
        CHECK_EQ(pthread_create(&thread, NULL, wake_it, consumer), 0);
        CHECK_EQ(leat_consumer_poll(consumer, -1, &records), LEAT_EWAKEUP);
        pthread_join(thread, NULL);
    }
    leat_close(handle);
}

/* ---- the descriptor ---- */

static bool is_readable(int epoll, int timeout_ms)
{
    struct epoll_event event;
    int n = epoll_wait(epoll, &event, 1, timeout_ms);
    CHECK(n >= 0);
    return n == 1;
}

TEST(descriptor_is_readable_when_poll_has_something_to_say)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    int fd = CHECK_OK(leat_consumer_fd(consumer));
    CHECK_EQ(leat_consumer_fd(consumer), fd);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN };
    CHECK_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);
    const leat_record *records;
    while (leat_consumer_poll(consumer, 0, &records) > 0)
        ;
    CHECK(!is_readable(epoll, 20));
    for (int i = 0; i < 50; i++) {
        send_text(producer, (uint32_t)i % 2, "x");
        if (i % 3 == 0)
            send_text(producer, (uint32_t)i % 2, "y");
        CHECK(is_readable(epoll, 5000));
        int seen = 0, n;
        while ((n = CHECK_OK(leat_consumer_poll(consumer, 0, &records))) > 0)
            seen += n;
        CHECK_EQ(seen, i % 3 == 0 ? 2 : 1);
        CHECK(!is_readable(epoll, 0));
    }
    leat_consumer_wakeup(consumer);
    CHECK(is_readable(epoll, 5000));
    CHECK_EQ(leat_consumer_poll(consumer, 0, &records), LEAT_EWAKEUP);
    CHECK_EQ(leat_consumer_poll(consumer, 0, &records), 0);
    CHECK(!is_readable(epoll, 20));
    CHECK_OK(leat_topic_delete(handle, "t"));
    CHECK(is_readable(epoll, 5000));
    CHECK_EQ(leat_consumer_poll(consumer, 0, &records), LEAT_EDELETED);
    leat_consumer_close(consumer);
    leat_close(handle);
}

/* ---- views ---- */

TEST(views_stay_unchanged_while_producers_lap_the_ring)
{
    enum { HELD = 100 };
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .on_full = LEAT_OVERWRITE);
    leat_bus *handle = bus_open(bus), *elsewhere = bus_open(bus);
    leat_producer *producer = open_producer(elsewhere, "t", NULL);
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.max_poll_records = HELD;
    leat_consumer *consumer = open_reader(handle, "t", &options);
    uint64_t number = 0;
    for (; number < 2 * HELD; number++)
        CHECK_OK(traffic_send(producer, 0, 0, number, number % 2 ? 40 : 250, NULL));
    const leat_record *records = poll_for(consumer, HELD);
    for (int lap = 0; lap < 5; lap++) {
        for (int i = 0; i < SLOTS; i++, number++)
            CHECK_OK(traffic_send(producer, 0, 0, number, 40, NULL));
        for (int i = 0; i < HELD; i++) {
            struct stamp stamp = traffic_check(&records[i]);
            CHECK_EQ(stamp.number, i);
            CHECK_EQ(records[i].offset, i);
        }
    }
    leat_close(handle);
    leat_close(elsewhere);
}

TEST(writing_to_a_view_is_a_segmentation_fault)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    struct child *writer = bus_spawn(bus, view_writer);
    child_expect(writer, "about to");
    child_killed(writer, SIGSEGV);
    leat_bus *handle = bus_open(bus);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    check_value(poll_for(consumer, 1), "read-only");
    leat_close(handle);
}

ROLE(view_writer)
{
    leat_bus *bus = role_open();
    leat_producer *producer = open_producer(bus, "t", NULL);
    leat_consumer *consumer = open_reader(bus, "t", NULL);
    send_text(producer, 0, "read-only");
    const leat_record *record = poll_for(consumer, 1);
    say("about to");
    *(volatile char *)(uintptr_t)record->value = 'X';
}

/* ---- threads ---- */

struct busy {
    leat_consumer *consumer;
    int result;
};

static void *poll_long(void *argument)
{
    struct busy *busy = argument;
    const leat_record *records;
    busy->result = leat_consumer_poll(busy->consumer, -1, &records);
    return NULL;
}

TEST(second_thread_in_a_consumer_is_noticed)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    struct busy busy = { .consumer = open_reader(handle, "t", NULL) };
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, poll_long, &busy), 0);
    const leat_record *records;
    int r;
    WAIT_UNTIL((r = leat_consumer_poll(busy.consumer, 0, &records)) != 0, 5);
    CHECK_EQ(r, LEAT_EBUSY_HANDLE);
    leat_consumer_wakeup(busy.consumer);
    pthread_join(thread, NULL);
    CHECK_EQ(busy.result, LEAT_EWAKEUP);
    CHECK_EQ(leat_consumer_poll(busy.consumer, 0, &records), 0);
    leat_close(handle);
}

enum { THREADS = 8, EACH = 5000 };

struct crew {
    leat_bus *bus;
    uint32_t who;
};

static void *open_send_close(void *argument)
{
    struct crew *crew = argument;
    leat_producer *producer = open_producer(crew->bus, "t", NULL);
    for (uint64_t i = 0; i < EACH; i++)
        CHECK_OK(traffic_send(producer, (uint32_t)i % 2, crew->who, i, 40, NULL));
    CHECK_OK(leat_producer_close(producer));
    leat_topic_info *info = bus_describe(crew->bus, "t");
    leat_topic_info_free(info);
    return NULL;
}

TEST(threads_of_one_bus_open_send_and_ask_side_by_side)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2);
    leat_bus *handle = bus_open(bus);
    struct ledger *ledger = ledger_new(THREADS, EACH);
    ledger_in_order(ledger);
    struct watcher *watcher = watcher_start(handle, "t", ledger, true);
    pthread_t threads[THREADS];
    struct crew crews[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        crews[i] = (struct crew){ handle, i };
        CHECK_EQ(pthread_create(&threads[i], NULL, open_send_close, &crews[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < THREADS; i++) {
        WAIT_UNTIL(ledger_count(ledger, i) == EACH, 5);
        ledger_all(ledger, i, EACH);
    }
    watcher_stop(watcher);
    leat_close(handle);
}

TEST(producer_goes_from_thread_to_thread)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    for (int i = 0; i < 10; i++) {
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, NULL, send_one, producer), 0);
        pthread_join(thread, NULL);
    }
    poll_for(consumer, 10);
    leat_close(handle);
}

/* ---- options of later and earlier versions ---- */

TEST(options_of_an_earlier_version_are_taken_as_far_as_they_go)
{
    struct bus *bus = bus_start();
    leat_bus *handle = bus_open(bus);
    leat_topic_options options = LEAT_TOPIC_OPTIONS;
    options.partitions = 2;
    options.ring_size = RING;
    options.mode = 0600;
    options.size = offsetof(leat_topic_options, mode); /* a caller that does not know of modes */
    CHECK_OK(leat_topic_create(handle, "t", &options));
    leat_topic_info *info = bus_describe(handle, "t");
    CHECK_EQ(info->partition_count, 2);
    CHECK_EQ(info->mode, 0660);
    leat_topic_info_free(info);
    options.size = 0;
    CHECK_EQ(leat_topic_create(handle, "u", &options), LEAT_EINVAL);
    leat_close(handle);
}

/* ---- status ---- */

TEST(status_shows_the_bus_and_its_clients)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.client_id = "the one that reads";
    leat_consumer *consumer = open_reader(handle, "t", &options);
    leat_status_info *info;
    CHECK_OK(leat_status(handle, &info));
    CHECK_STR(info->bus, bus->path);
    CHECK_EQ(info->pid, bus->keeper);
    CHECK(info->worker_pid > 1 && info->worker_pid != info->pid);
    CHECK_EQ(info->incarnation, 1);
    CHECK(info->uptime_s >= 0 && info->uptime_s < 60);
    CHECK_EQ(info->topics, 1);
    CHECK_EQ(info->groups, 0);
    CHECK_EQ(info->clients, 1);
    CHECK(info->memory_bytes > 2 * 2 * RING);
    CHECK_EQ(info->client[0].pid, getpid());
    CHECK_EQ(info->client[0].uid, getuid());
    CHECK_EQ(info->client[0].producers, 1);
    CHECK_EQ(info->client[0].consumers, 1);
    CHECK_EQ(info->client[0].readers, 2);
    CHECK_EQ(info->client[0].quarantined, 0);
    CHECK_STR(info->client[0].state, "alive");
    CHECK(*info->client[0].program);
    CHECK(info->client[0].id > 0);
    leat_status_free(info);
    leat_consumer_close(consumer);
    leat_producer_close(producer);
    CHECK_OK(leat_status(handle, &info));
    CHECK_EQ(info->client[0].producers, 0);
    CHECK_EQ(info->client[0].consumers, 0);
    CHECK_EQ(info->client[0].readers, 0);
    leat_status_free(info);
    leat_close(handle);
}
