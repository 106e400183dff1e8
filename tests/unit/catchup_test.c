/* Reading the log: segments that src/store itself wrote, on a real disk, through mappings, and a leatd of a few lines that says
 * where what is. The same bytes come as the same records, whatever lies between them; what is damaged or cannot be read is an
 * error and no signal. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "client/consumer.h"
#include "client/record.h"
#include "shm/wire.h"
#include "store/plog.h"
#include "test.h"

#define TOPIC_ID 7u
#define LOG_ID 99u
#define PARTITION 3u
#define SEGMENT_BYTES (32u << 10)
#define MAX 64u

/* --- a log --- */

static struct lt_io *io;
static struct lt_plog *plog;
static int dir;
static pthread_mutex_t plog_mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned char staging[4 << 20] __attribute__((aligned(64)));

static void open_log(void)
{
    struct lt_plog_settings settings = { .id = { .topic = LOG_ID, .partition = PARTITION },
                                         .segment_bytes = SEGMENT_BYTES,
                                         .index_step = 4096,
                                         .level = LT_PLOG_WRITTEN };
    io = lt_io_plain(16);
    CHECK(io != NULL);
    dir = open(test_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(dir >= 0);
    int r = lt_plog_open(io, dir, test_dir(), &settings, LT_RECOVER_CREATE, &plog);
    if (r != 0)
        FAIL("open: %d: %s", r, lt_fail_text());
}

/* Of one record everything follows from its offset. Every 7th is a marker, every 5th offset a gap. */
static bool is_gap(uint64_t offset)
{
    return offset % 5 == 4;
}
static bool is_marker(uint64_t offset)
{
    return offset % 7 == 6;
}
static bool is_seen(uint64_t offset)
{
    return !is_gap(offset) && !is_marker(offset);
}
static uint32_t value_size(uint64_t offset)
{
    return offset % 11 == 3 ? LT_STORE_NULL : offset % 13 == 0 ? 0 : (uint32_t)(offset * 37 % 900);
}
static uint32_t key_size(uint64_t offset)
{
    return offset % 3 == 0 ? LT_STORE_NULL : (uint32_t)(offset % 20);
}
static uint32_t headers_size(uint64_t offset)
{
    return offset % 4 == 1 ? 2 * LT_HEADER_FIXED + 5 : 0;
}
static unsigned char byte_of(uint64_t offset, uint64_t i)
{
    return (unsigned char)(offset * 131 + i);
}
static int64_t time_of(uint64_t offset)
{
    return 1000 + (int64_t)offset * 10;
}

static void put_record(struct lt_batch *batch, uint64_t offset)
{
    static unsigned char bytes[1024];
    struct lt_store_record record = { .offset = offset,
                                      .stamp = (uint64_t)time_of(offset) | 5ull << 48,
                                      .key_size = key_size(offset),
                                      .value_size = value_size(offset),
                                      .headers_size = headers_size(offset),
                                      .kind = is_marker(offset) ? LT_RECORD_MARKER : LT_RECORD_DATA,
                                      .bytes = bytes };
    uint64_t n = lt_store_payload(record.key_size, record.value_size, 0);
    for (uint64_t i = 0; i < n; i++)
        bytes[i] = byte_of(offset, i);
    if (record.headers_size != 0)
        lt_record_headers_write(
            bytes + n,
            (leat_header[]){ { .name = "abc", .name_size = 3, .value = "xy", .value_size = 2 },
                             { .name = "", .name_size = 0 } },
            2);
    CHECK_EQ(lt_batch_add(batch, &record), 0);
}

static void write_batch(struct lt_batch *batch)
{
    struct lt_io_op op, again;
    struct lt_io_done done;
    pthread_mutex_lock(&plog_mutex);
    int r;
    do
        CHECK_EQ(lt_plog_prepare(plog), 0);
    while ((r = lt_plog_append(plog, batch, &op)) == LT_PLOG_NO_ROOM);
    CHECK_EQ(r, 0);
    CHECK_EQ(lt_io_submit(io, &op, 1), 1);
    CHECK_EQ(lt_io_reap(io, &done, 1, -1), 1);
    CHECK_EQ(lt_plog_completed(plog, done.token, done.result, &again), 0);
    while (lt_plog_sync(plog, &op) == 0) { /* so that segments roll without end */
        CHECK_EQ(lt_io_submit(io, &op, 1), 1);
        CHECK_EQ(lt_io_reap(io, &done, 1, -1), 1);
        CHECK_EQ(lt_plog_completed(plog, done.token, done.result, &again), 0);
    }
    pthread_mutex_unlock(&plog_mutex);
}

/* Offsets up to `end`, `each` a batch. */
static void fill(uint64_t end, uint64_t each)
{
    while (lt_plog_end(plog) < end) {
        struct lt_batch batch;
        uint64_t first = lt_plog_end(plog), last = first + each < end ? first + each : end;
        lt_batch_start(&batch, staging, sizeof staging, first);
        for (uint64_t offset = first; offset < last; offset++)
            if (!is_gap(offset))
                put_record(&batch, offset);
        lt_batch_skip_to(&batch, last);
        write_batch(&batch);
    }
}

/* --- a leatd --- */

static int leatd_fd;
static int requests;
static int refuse; /* this error instead of an answer, once */

static void answer(const struct lt_msg *head, int result, const void *body, size_t size, int fd)
{
    struct lt_msg back = *head;
    char control[CMSG_SPACE(sizeof fd)];
    struct iovec parts[2] = { { &back, sizeof back }, { (void *)(uintptr_t)body, size } };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
    back.flags = 1;
    back.result = result;
    back.size = (uint32_t)(sizeof back + size);
    if (fd >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        *c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                               .cmsg_type = SCM_RIGHTS,
                               .cmsg_len = CMSG_LEN(sizeof fd) };
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    CHECK(sendmsg(leatd_fd, &message, 0) > 0);
    if (fd >= 0)
        close(fd);
}

static void *serve(void *unused)
{
    unsigned char bytes[1024];
    while (recv(leatd_fd, bytes, sizeof bytes, 0) > 0) {
        const struct lt_msg *head = (const void *)bytes;
        const struct lt_segment_attach *body = (const void *)(head + 1);
        struct lt_segment_attach_answer found;
        struct lt_msg_error error = { "" };
        struct lt_plog_place place;
        char name[LT_SEGMENT_NAME_SIZE];
        pthread_mutex_lock(&plog_mutex);
        requests++;
        int r = refuse;
        refuse = 0;
        if (r == 0)
            r = body->by_time ? lt_plog_find_time(plog, body->timestamp_ms, &place)
                              : lt_plog_find(plog, body->offset, &place);
        if (r == 0) {
            lt_segment_name(name, place.base_offset, "log");
            int fd = body->by_time ? -1 : openat(dir, name, O_RDONLY | O_CLOEXEC);
            int size_fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
            off_t size = lseek(size_fd, 0, SEEK_END);
            close(size_fd);
            found = (struct lt_segment_attach_answer){ .log_id = LOG_ID,
                                                       .base_offset = place.base_offset,
                                                       .size_bytes = (uint64_t)size,
                                                       .pos = place.pos,
                                                       .first_offset = place.offset };
            answer(head, 0, &found, sizeof found, fd);
        } else {
            answer(head, r > 0 ? LEAT_EOFFSET : r, &error, sizeof error, -1);
        }
        pthread_mutex_unlock(&plog_mutex);
    }
    (void)unused;
    return NULL;
}

/* --- a consumer of that one partition, without a bus --- */

static struct leat_bus bus;
static struct lt_attached topic;
static struct lt_cursor cursor;
static struct lt_reader entry;
static leat_consumer consumer;
static uint64_t mailbox_counters[LT_CLIENT_COUNTERS];
static struct lt_partition *part;
static uint64_t missed_from;

static void start_leatd(void)
{
    int pair[2];
    pthread_t thread;
    CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    leatd_fd = pair[1];
    pthread_mutex_init(&bus.link.mutex, NULL);
    bus.link.fd = pair[0];
    bus.link.up = true;
    bus.link.gone = &bus.gone;
    bus.link.client = 1;
    bus.link.buffer = malloc(LT_MSG_MAX);
    CHECK_EQ(pthread_create(&thread, NULL, serve, NULL), 0);
    CHECK_EQ(pthread_detach(thread), 0);
}

/* A page whose ring begins at `base`, with all before it in the log. */
static void start_consumer(uint64_t base)
{
    static leat_record records[MAX];
    void *page = calloc(1, lt_topic_bytes(PARTITION + 1));
    CHECK(page != NULL);
    topic = (struct lt_attached){
        .bus = &bus, .topic_id = TOPIC_ID, .page = page, .head = lt_topic_head(page)
    };
    snprintf(topic.name, sizeof topic.name, "orders");
    lt_topic_head(page)->log_id = LOG_ID;
    lt_topic_head(page)->state = LT_TOPIC_OPEN;
    part = lt_attached_partition(&topic, PARTITION);
    part->visible = UINT64_MAX;
    part->gate[0] = (struct lt_ring_gate){ .announced = base, .base_offset = base, .end_offset = UINT64_MAX };
    part->log_open = 1;
    cursor = (struct lt_cursor){ .topic = &topic, .partition = PARTITION, .part = part, .entry = &entry };
    consumer.handle.bus = &bus;
    consumer.handle.counts.mailbox = mailbox_counters;
    consumer.records = records;
    consumer.max = MAX;
    missed_from = 0;
}

static void start(uint64_t end, uint64_t each)
{
    open_log();
    fill(end, each);
    start_leatd();
    start_consumer(1u << 30);
    part->written = lt_plog_written(plog);
}

static void check_record(const leat_record *record)
{
    uint64_t offset = record->offset;
    CHECK(is_seen(offset));
    CHECK_EQ(record->partition, PARTITION);
    CHECK_STR(record->topic, "orders");
    CHECK_EQ(record->timestamp_ms, time_of(offset));
    CHECK_EQ(record->value == NULL, value_size(offset) == LT_STORE_NULL);
    CHECK_EQ(record->key == NULL, key_size(offset) == LT_STORE_NULL);
    CHECK_EQ(record->value_size, record->value == NULL ? 0 : value_size(offset));
    CHECK_EQ(record->key_size, record->key == NULL ? 0 : key_size(offset));
    for (size_t i = 0; i < record->value_size; i++)
        CHECK_EQ(((const unsigned char *)record->value)[i], byte_of(offset, i));
    for (size_t i = 0; i < record->key_size; i++)
        CHECK_EQ(((const unsigned char *)record->key)[i], byte_of(offset, record->value_size + i));
    CHECK_EQ(record->header_count, headers_size(offset) != 0 ? 2 : 0);
    if (record->header_count != 0) {
        CHECK_MEM(record->headers[0].name, "abc", 3);
        CHECK_MEM(record->headers[0].value, "xy", 2);
        CHECK(record->headers[1].value == NULL);
    }
}

/* One poll. What lt_replay says; *n: how many. */
static int poll_once(uint32_t *n)
{
    int r;
    *n = 0;
    do {
        consumer.headers_used = 0;
        if (consumer.headers_wanted != 0) { /* as poll does between two looks */
            consumer.headers = realloc(consumer.headers, consumer.headers_wanted * sizeof *consumer.headers);
            consumer.headers_room = consumer.headers_wanted;
            consumer.headers_wanted = 0;
        }
        r = lt_replay(&consumer, &cursor, n);
    } while (*n == 0 && consumer.headers_wanted != 0);
    return r;
}

/* Everything from `from` to the log's end, and the result of the poll that found no more. */
static int read_on(uint64_t from, uint64_t end)
{
    for (;;) {
        uint32_t n;
        int r = poll_once(&n);
        if (n == 0 && r != 0) {
            while (from < end && !is_seen(from))
                from++;
            if (r == LT_REPLAY_RING)
                CHECK_EQ(from, end);
            return r;
        }
        CHECK_EQ(r, 0);
        for (uint32_t i = 0; i < n; i++, from++) {
            while (!is_seen(from))
                from++;
            CHECK_EQ(consumer.records[i].offset, from);
            check_record(&consumer.records[i]);
        }
        CHECK(cursor.position >= cursor.handed);
        CHECK(n == 0 || cursor.handed == from);
    }
}

static void go(uint64_t offset)
{
    CHECK_EQ(lt_cursor_go(&cursor, offset), 0);
    CHECK(cursor.in_log);
}

static uint64_t count_segments(void)
{
    uint64_t count = 0, offset = 0, base = UINT64_MAX;
    for (struct lt_plog_place place; lt_plog_find(plog, offset, &place) == 0; offset++) {
        count += place.base_offset != base;
        base = place.base_offset;
    }
    return count;
}

TEST(backlog_of_many_segments_comes_in_order_and_whole)
{
    start(2000, 9);
    go(0);
    CHECK_EQ(read_on(0, 2000), LT_REPLAY_RING);
    CHECK(count_segments() > 5);
    CHECK_EQ((uint64_t)requests, count_segments()); /* one a segment */
    CHECK_EQ(cursor.position, 2000);
    CHECK_EQ(cursor.missed, 0);
}

TEST(any_offset_is_a_place_to_begin)
{
    start(700, 16);
    for (uint64_t from = 0; from < 700; from += 1 + test_random() % 9) {
        go(from);
        CHECK_EQ(read_on(from, 700), LT_REPLAY_RING);
    }
}

TEST(seeks_to_and_fro_inside_a_batch_and_across_segments)
{
    start(1200, 50);
    for (int i = 0; i < 300; i++) {
        uint64_t from = test_random() % 1200;
        uint32_t n;
        go(from);
        CHECK_EQ(poll_once(&n), n != 0 ? 0 : LT_REPLAY_RING);
        while (from < 1200 && !is_seen(from))
            from++;
        CHECK_EQ(n != 0, from < 1200);
        if (n != 0)
            CHECK_EQ(consumer.records[0].offset, from);
    }
}

TEST(position_is_behind_the_gaps_and_markers_that_follow)
{
    start(60, 60);
    consumer.max = 1;
    go(0);
    for (uint64_t offset = 0; offset < 60; offset++) {
        uint32_t n;
        if (!is_seen(offset))
            continue;
        CHECK_EQ(poll_once(&n), 0);
        CHECK_EQ(n, 1);
        CHECK_EQ(cursor.handed, offset + 1);
        uint64_t next = offset + 1;
        while (next < 60 && !is_seen(next))
            next++;
        CHECK_EQ(cursor.position, next);
    }
}

TEST(gap_of_a_lost_ring_is_stepped_over)
{
    struct lt_io_op op, again;
    struct lt_io_done done;
    start(20, 20);
    CHECK_EQ(lt_plog_skip(plog, 100000, &op), 0);
    CHECK_EQ(lt_io_submit(io, &op, 1), 1);
    CHECK_EQ(lt_io_reap(io, &done, 1, -1), 1);
    CHECK_EQ(lt_plog_completed(plog, done.token, done.result, &again), 0);
    fill(100020, 10);
    part->written = 100020;
    go(10);
    uint64_t last = 0;
    for (uint32_t n; poll_once(&n) == 0;) {
        for (uint32_t i = 0; i < n; i++) {
            check_record(&consumer.records[i]);
            CHECK(consumer.records[i].offset > last);
            last = consumer.records[i].offset;
        }
    }
    CHECK(last > 100000);
    CHECK_EQ(cursor.position, 100020);
    CHECK_EQ(cursor.missed, 0);
}

TEST(what_is_being_written_is_not_looked_at)
{
    start(100, 10);
    part->written = 50;
    go(0);
    CHECK_EQ(read_on(0, 50), LT_REPLAY_RING);
    part->written = 80;
    CHECK_EQ(read_on(50, 80), LT_REPLAY_RING);
    part->visible = 90;
    part->written = 100;
    CHECK_EQ(read_on(80, 90), LT_REPLAY_RING);
}

TEST(torn_tail_above_written_is_nobodys_business)
{
    char name[LT_SEGMENT_NAME_SIZE];
    struct lt_plog_place place;
    start(100, 10);
    CHECK_EQ(lt_plog_find(plog, 90, &place), 0);
    lt_segment_name(name, place.base_offset, "log");
    int fd = openat(dir, name, O_WRONLY);
    CHECK_EQ(pwrite(fd, "garbage", 7, (off_t)place.pos + 100), 7);
    close(fd);
    part->written = 90;
    go(0);
    CHECK_EQ(read_on(0, 90), LT_REPLAY_RING);
    part->written = 100;
    CHECK_EQ(read_on(90, 100), LEAT_EFAILED);
    CHECK(strstr(lt_fail_text(), "orders: partition 3: segment") != NULL);
    CHECK(strstr(lt_fail_text(), "checksum") != NULL);
    CHECK_EQ(cursor.position, 90);
    CHECK_EQ(read_on(90, 100), LEAT_EFAILED); /* and again: nobody steps over damage by himself */
}

TEST(head_that_is_gone_is_damage_and_not_the_end)
{
    static const char zeros[4096];
    char name[LT_SEGMENT_NAME_SIZE];
    struct lt_plog_place place;
    start(100, 10);
    CHECK_EQ(lt_plog_find(plog, 40, &place), 0);
    lt_segment_name(name, place.base_offset, "log");
    int fd = openat(dir, name, O_WRONLY);
    CHECK_EQ(pwrite(fd, zeros, 64, (off_t)place.pos), 64);
    close(fd);
    go(0);
    CHECK_EQ(read_on(0, 40), LEAT_EFAILED);
    CHECK_EQ(cursor.position, 40);
}

static void cut_under_the_reader(bool by_reading)
{
    char name[LT_SEGMENT_NAME_SIZE];
    uint32_t n;
    start(10, 10);
    /* One segment of several stretches. */
    for (int i = 0; i < 6; i++) {
        static unsigned char value[700 << 10];
        struct lt_batch batch;
        struct lt_store_record record = { .offset = lt_plog_end(plog),
                                          .stamp = 1,
                                          .key_size = LT_STORE_NULL,
                                          .value_size = sizeof value,
                                          .kind = LT_RECORD_DATA,
                                          .bytes = value };
        lt_batch_start(&batch, staging, sizeof staging, record.offset);
        CHECK_EQ(lt_batch_add(&batch, &record), 0);
        write_batch(&batch);
    }
    part->written = lt_plog_written(plog);
    lt_catchup_reads = by_reading;
    struct lt_plog_place place;
    CHECK_EQ(lt_plog_find(plog, 12, &place), 0);
    consumer.max = 1;
    go(12);
    CHECK_EQ(poll_once(&n), 0);
    CHECK_EQ(n, 1);
    CHECK_EQ(consumer.records[0].value_size, 700 << 10);
    lt_segment_name(name, place.base_offset, "log");
    int fd = openat(dir, name, O_WRONLY);
    CHECK_EQ(ftruncate(fd, (off_t)place.pos + 4096), 0);
    close(fd);
    for (int i = 0; i < 3; i++) {
        cursor.log->secured = cursor.log->secured_from = 0; /* they may have been made present before */
        cursor.log->batch = NULL;
        cursor.log->pos = place.pos;
        cursor.log->next = cursor.position = 12;
        CHECK_EQ(poll_once(&n), LEAT_EIO);
        CHECK_EQ(n, 0);
        CHECK(strstr(lt_fail_text(), "cannot be read") != NULL);
    }
}

TEST(pages_that_cannot_be_read_are_an_error_and_no_signal)
{
    cut_under_the_reader(false);
}

TEST(so_they_are_on_a_kernel_that_cannot_populate)
{
    cut_under_the_reader(true);
}

TEST(large_records_come_whole)
{
    static unsigned char value[1 << 20];
    struct lt_batch batch;
    uint32_t n;
    start(3, 3);
    for (size_t i = 0; i < sizeof value; i++)
        value[i] = (unsigned char)(i * 2654435761u >> 13);
    for (int i = 0; i < 5; i++) {
        struct lt_store_record record = { .offset = lt_plog_end(plog),
                                          .stamp = 1,
                                          .key_size = 4,
                                          .value_size = sizeof value - 4,
                                          .kind = LT_RECORD_DATA,
                                          .bytes = value };
        lt_batch_start(&batch, staging, sizeof staging, record.offset);
        CHECK_EQ(lt_batch_add(&batch, &record), 0);
        write_batch(&batch);
    }
    part->written = lt_plog_written(plog);
    go(3);
    for (uint32_t got = 0; got < 5; got += n) {
        CHECK_EQ(poll_once(&n), 0);
        CHECK(n != 0);
        for (uint32_t i = 0; i < n; i++)
            CHECK_MEM(consumer.records[i].value, value, sizeof value - 4);
    }
}

TEST(views_stay_until_the_next_poll_though_the_segment_is_over)
{
    start(2000, 9);
    go(0);
    for (uint64_t seen = 0; seen < 500;) {
        uint32_t n;
        int before = requests;
        CHECK_EQ(poll_once(&n), 0);
        CHECK(n != 0);
        CHECK(requests - before <= 1); /* a poll does not go on into the next one */
        for (uint32_t i = 0; i < n; i++)
            check_record(&consumer.records[i]);
        seen += n;
    }
}

TEST(segment_that_was_trimmed_is_read_to_its_end)
{
    uint32_t n;
    start(2000, 9);
    go(0);
    CHECK_EQ(poll_once(&n), 0);
    CHECK(n != 0);
    uint64_t next = cursor.position;
    pthread_mutex_lock(&plog_mutex);
    CHECK(lt_plog_checkpoint(plog) == 0 && lt_plog_trim(plog, 1, INT64_MIN) > 3);
    pthread_mutex_unlock(&plog_mutex);
    part->log_start = lt_plog_start(plog);
    CHECK(part->log_start > next);
    CHECK_EQ(read_on(next, 2000), LT_REPLAY_LOST);
    CHECK(cursor.position > next);
    CHECK_EQ(lt_cursor_first_from(&cursor, cursor.position), part->log_start);
    CHECK_EQ(lt_cursor_beginning(&cursor), part->log_start);
    go(part->log_start);
    CHECK_EQ(read_on(part->log_start, 2000), LT_REPLAY_RING);
}

TEST(leatd_that_has_just_started_is_asked_again_later)
{
    uint32_t n;
    start(100, 10);
    part->log_open = 0;
    go(0);
    CHECK_EQ(poll_once(&n), 0);
    CHECK(consumer.retry);
    for (int i = 0; i < 1000; i++)
        poll_once(&n);
    CHECK_EQ(requests, 0);
    part->log_open = 1;
    part->acked_seq++; /* what tells of it */
    refuse = LEAT_EBUSY_HANDLE;
    CHECK_EQ(poll_once(&n), 0);
    CHECK_EQ(n, 0);
    CHECK_EQ(requests, 1);
    CHECK_EQ(poll_once(&n), 0);
    CHECK(requests <= 2);
    while (n == 0) {
        usleep(1000); /* nothing tells now: some ms, then again */
        CHECK_EQ(poll_once(&n), 0);
    }
    CHECK_EQ(consumer.records[0].offset, 0);
    part->log_open = 0;
    part->error = LEAT_EFAILED;
    snprintf(part->reason, sizeof part->reason, "no disk");
    part->state = LT_PARTITION_FAILED;
    go(50);
    cursor.log->placed = false;
    cursor.log->batch = NULL;
    CHECK_EQ(poll_once(&n), LEAT_EFAILED);
    CHECK(strstr(lt_fail_text(), "no disk") != NULL);
}

TEST(reader_goes_back_to_the_ring_when_that_has_it_with_a_margin)
{
    start(1000, 10);
    part->gate[0].announced = 600; /* the ring has 600 .. 1000, and more */
    part->gate[0].base_offset = 0;
    go(300);
    uint32_t n = 0;
    int r = 0;
    while (r == 0) {
        r = poll_once(&n);
        for (uint32_t i = 0; i < n; i++)
            check_record(&consumer.records[i]);
    }
    CHECK_EQ(r, LT_REPLAY_RING);
    CHECK(cursor.position >= 700);
    CHECK(cursor.position < 700 + 2 * MAX);
}

TEST(times_are_found_in_the_log)
{
    struct lt_catchup *log;
    start(1500, 9);
    log = lt_catchup_new(&topic, PARTITION);
    for (int i = 0; i < 100; i++) {
        uint64_t wanted = test_random() % 1500, found;
        int64_t time_ms = time_of(wanted) - (int64_t)(test_random() % 10);
        while (wanted < 1500 && !is_seen(wanted))
            wanted++;
        int r = lt_catchup_find_time(log, time_ms, 1500, &found);
        CHECK_EQ(r, wanted < 1500 ? 0 : LT_CATCHUP_END);
        if (r == 0)
            CHECK_EQ(found, wanted);
    }
    uint64_t found;
    CHECK_EQ(lt_catchup_find_time(log, INT64_MAX, 1500, &found), LT_CATCHUP_END);
    CHECK_EQ(lt_catchup_find_time(log, time_of(1200), 1000, &found), LT_CATCHUP_END);
    lt_catchup_free(log);
}

TEST(offsets_that_nobody_ever_filled_are_a_gap)
{
    start(100, 10);
    part->gate[0].announced = part->gate[0].base_offset = 5000;
    CHECK(lt_cursor_is_gap(&cursor, 100));
    CHECK(lt_cursor_is_gap(&cursor, 4999));
    CHECK(!lt_cursor_is_gap(&cursor, 99));
    CHECK(!lt_cursor_is_gap(&cursor, 5000));
    CHECK_EQ(lt_cursor_first_from(&cursor, 99), 99);
    CHECK_EQ(lt_cursor_first_from(&cursor, 100), 5000);
    CHECK_EQ(lt_cursor_beginning(&cursor), 0);
    part->state = LT_PARTITION_FAILED;
    CHECK(!lt_cursor_is_gap(&cursor, 100));
}

TEST(answers_that_make_no_sense_are_refused)
{
    struct lt_segment_attach_answer good = {
        .log_id = LOG_ID, .base_offset = 0, .size_bytes = 8192, .pos = 4096, .first_offset = 0
    };
    start(10, 10);
    struct lt_catchup *log = lt_catchup_new(&topic, PARTITION);
    for (int i = 0; i < 7; i++) {
        struct lt_segment_attach_answer bad = good;
        int fd = openat(dir, "00000000000000000000.log", O_RDONLY);
        bad.log_id += i == 0;
        bad.pos = i == 1 ? 8192 : i == 2 ? 4097 : i == 3 ? 0 : bad.pos;
        bad.size_bytes = i == 4 ? UINT64_MAX : i == 5 ? 1ull << 30 : bad.size_bytes;
        bad.first_offset = 5;
        bad.base_offset = i == 6 ? 6 : 0;
        CHECK_EQ(lt_catchup_map(log, fd, &bad), i == 5 ? LEAT_EIO : LEAT_EPROTO);
        CHECK(log->base == NULL);
    }
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    CHECK_EQ(lt_catchup_map(log, fds[0], &good), LEAT_EIO);
    lt_catchup_free(log);
}
