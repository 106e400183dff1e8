/* The control socket, by hand: what no library would send.
 *
 * Goal: whatever comes over a connection, leatd answers it with a clear error or ends that connection; it lives, serves the
 * others, and nothing of it stays.
 * Method: raw messages over BUS/control (tests/lib/control.h): cut off, oversized, nonsense, of another build, out of turn,
 * half-way in, ten thousand random ones; then limits and names by the library. Each test ends with a
 * record sent and read by an ordinary client.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

#include "shm/mailbox.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct answer answer;

static int connect_raw(const struct bus *bus)
{
    int fd = control_connect(bus->path);
    CHECK(fd >= 0);
    return fd;
}

/* A client's connection. */
static int connect_client(const struct bus *bus)
{
    int fd = connect_raw(bus);
    CHECK_EQ(control_hello(fd, true, &answer), 0);
    control_close_fds(&answer);
    return fd;
}

static int connect_control(const struct bus *bus)
{
    int fd = connect_raw(bus);
    CHECK_EQ(control_hello(fd, false, &answer), 0);
    CHECK_EQ(answer.fd_count, 0);
    CHECK_EQ(answer.hello.client, 0);
    return fd;
}

/* An ordinary client can do all that it wants, and the worker is the first one still. */
static void still_serves(struct bus *bus)
{
    static int times;
    const char *topic = text("serves-%d", times++);
    bus_topic(bus, topic);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, topic, NULL);
    leat_consumer *consumer = open_reader(handle, topic, NULL);
    struct ledger *ledger = ledger_new(1, 10);
    for (uint64_t i = 0; i < 10; i++)
        CHECK_OK(traffic_send(producer, 0, 0, i, 40, NULL));
    traffic_read(consumer, ledger, 10, 1);
    CHECK_OK(leat_topic_delete(handle, topic));
    leat_close(handle);
    CHECK_EQ(bus_status(bus).incarnation, 1);
    ledger_free(ledger);
}

static void expect_error(int fd, int result, const char *words)
{
    if (!control_receive(fd, &answer))
        FAIL("the connection was closed, wanted an answer with \"%s\"", words);
    CHECK_EQ(answer.head.result, result);
    if (!strstr(answer.error.text, words))
        FAIL("leatd says \"%s\", wanted \"%s\"", answer.error.text, words);
}

static void expect_closed(int fd)
{
    if (control_receive(fd, &answer))
        FAIL("an answer with result %d came, wanted the end", answer.head.result);
    close(fd);
}

static struct lt_msg head_of(uint16_t type, uint32_t size)
{
    return (struct lt_msg){ .magic = LT_MSG_MAGIC, .type = type, .size = size, .number = 7 };
}

/* ---- messages ---- */

TEST(message_without_a_whole_head_ends_the_connection)
{
    struct bus *bus = bus_start();
    struct lt_msg head = head_of(LT_MSG_STATUS, sizeof head);
    for (size_t size = 1; size < sizeof head; size++) {
        int fd = connect_control(bus);
        CHECK_EQ(control_send_raw(fd, &head, size), size);
        expect_closed(fd);
    }
    int fd = connect_raw(bus);
    CHECK_EQ(control_send_raw(fd, "x", 1), 1);
    expect_closed(fd);
    still_serves(bus);
}

TEST(message_that_makes_no_sense_is_refused_and_the_connection_goes_on)
{
    struct bus *bus = bus_start();
    int fd = connect_control(bus);
    struct lt_msg head = head_of(LT_MSG_STATUS, sizeof head);
    head.magic = 0x12345678;
    control_send_raw(fd, &head, sizeof head);
    expect_error(fd, LEAT_EPROTO, "magic");
    CHECK_EQ(answer.head.number, 7);
    head = head_of(LT_MSG_STATUS, sizeof head + 1);
    control_send_raw(fd, &head, sizeof head);
    expect_error(fd, LEAT_EPROTO, "25 bytes, 24 came");
    head = head_of(LT_MSG_STATUS, 0);
    control_send_raw(fd, &head, sizeof head);
    expect_error(fd, LEAT_EPROTO, "0 bytes, 24 came");
    for (uint32_t type = 0; type < 0xfff0; type += type < 40 ? 1 : 4093) {
        if (type >= LT_MSG_HELLO && type <= LT_MSG_TOPIC_ALTER)
            continue;
        head = head_of((uint16_t)type, sizeof head);
        control_send_raw(fd, &head, sizeof head);
        expect_error(fd, LEAT_EPROTO, text("type %u", type));
    }
    head = head_of(LT_MSG_STATUS, sizeof head);
    head.flags = 1; /* an answer */
    control_send_raw(fd, &head, sizeof head);
    expect_error(fd, LEAT_EPROTO, "no request");
    CHECK_EQ(control_ask(fd, LT_MSG_STATUS, NULL, 0, &answer), 0);
    close(fd);
    still_serves(bus);
}

TEST(body_of_the_wrong_size_is_refused)
{
    struct bus *bus = bus_start();
    static unsigned char body[LT_MSG_MAX];
    int fd = connect_client(bus);
    for (int kind = LT_MSG_BYE + 1; kind <= LT_MSG_GROUP_PROPOSE; kind++) {
        uint16_t type = (uint16_t)kind;
        if (type == LT_MSG_GROUP_JOIN) { /* of any size, and without a name */
            CHECK_EQ(control_ask(fd, type, body, sizeof body - sizeof(struct lt_msg), &answer), LEAT_EINVAL);
            CHECK_EQ(control_ask(fd, type, body, 1, &answer), LEAT_EPROTO);
            continue;
        }
        CHECK_EQ(control_ask(fd, type, body, sizeof body - sizeof(struct lt_msg), &answer), LEAT_EPROTO);
        CHECK(strstr(answer.error.text, "wanted"));
        CHECK_EQ(control_ask(fd, type, body, 1, &answer), LEAT_EPROTO);
    }
    CHECK_EQ(control_ask(fd, LT_MSG_HELLO, body, 1, &answer), LEAT_EPROTO);
    CHECK_EQ(control_ask(fd, LT_MSG_STATUS, NULL, 0, &answer), 0);
    close(fd);
    still_serves(bus);
}

TEST(oversized_message_is_refused)
{
    struct bus *bus = bus_start();
    int fd = connect_control(bus);
    size_t size = LT_MSG_MAX + 1;
    char *big = calloc(1, 4 * size);
    CHECK(big);
    int room = 8 << 20;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    for (size_t s = size; s <= 2 * size; s += size - 1) {
        struct lt_msg head = head_of(LT_MSG_STATUS, (uint32_t)s);
        memcpy(big, &head, sizeof head);
        CHECK_EQ(control_send_raw(fd, big, s), s);
        expect_error(fd, LEAT_EPROTO, "at most");
    }
    CHECK_EQ(control_ask(fd, LT_MSG_STATUS, NULL, 0, &answer), 0);
    close(fd);
    free(big);
    still_serves(bus);
}

TEST(another_build_is_refused_and_both_are_named)
{
    struct bus *bus = bus_start();
    struct lt_hello hello = control_hello_body(true);
    hello.fingerprint ^= 0xdeadbeef;
    int fd = connect_raw(bus);
    CHECK_EQ(control_ask(fd, LT_MSG_HELLO, &hello, sizeof hello, &answer), LEAT_EVERSION);
    CHECK(strstr(answer.error.text, text("%016" PRIx64, hello.fingerprint)));
    CHECK(strstr(answer.error.text, text("%016" PRIx64, lt_fingerprint())));
    CHECK_EQ(answer.fd_count, 0);
    hello = control_hello_body(true);
    hello.layout_version++;
    CHECK_EQ(control_ask(fd, LT_MSG_HELLO, &hello, sizeof hello, &answer), LEAT_EVERSION);
    CHECK(strstr(answer.error.text, text("layout %u", hello.layout_version)));
    CHECK(strstr(answer.error.text, text("layout %u", LT_LAYOUT_VERSION)));
    /* A later build's hello may be longer. */
    struct {
        struct lt_hello hello;
        char more[100];
    } longer = { .hello = hello };
    CHECK_EQ(control_ask(fd, LT_MSG_HELLO, &longer, sizeof longer, &answer), LEAT_EVERSION);
    /* The same connection may say it right after all. */
    CHECK_EQ(control_hello(fd, false, &answer), 0);
    close(fd);
    still_serves(bus);
}

TEST(requests_come_after_hello_and_hello_comes_once)
{
    struct bus *bus = bus_start();
    int fd = connect_raw(bus);
    CHECK_EQ(control_ask(fd, LT_MSG_STATUS, NULL, 0, &answer), LEAT_EPROTO);
    CHECK(strstr(answer.error.text, "before hello"));
    CHECK_EQ(control_hello(fd, true, &answer), 0);
    control_close_fds(&answer);
    CHECK_EQ(control_hello(fd, true, &answer), LEAT_EPROTO);
    CHECK_EQ(control_hello(fd, false, &answer), LEAT_EPROTO);
    close(fd);
    still_serves(bus);
}

TEST(connection_without_a_mailbox_has_no_clients_rights)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    int fd = connect_control(bus);
    struct lt_topic_attach attach = { .name = "t" };
    struct lt_ring_attach ring = { .topic_id = 1 };
    struct lt_reader_open reader = { 0 };
    struct lt_consumer_open consumer = { .consumer = 1, .bell = UINT32_MAX };
    CHECK_EQ(control_ask(fd, LT_MSG_TOPIC_ATTACH, &attach, sizeof attach, &answer), LEAT_EPROTO);
    CHECK_EQ(control_ask(fd, LT_MSG_RING_ATTACH, &ring, sizeof ring, &answer), LEAT_EPROTO);
    CHECK_EQ(control_ask(fd, LT_MSG_READER_OPEN, &reader, sizeof reader, &answer), LEAT_EPROTO);
    CHECK_EQ(control_ask(fd, LT_MSG_CONSUMER_OPEN, &consumer, sizeof consumer, &answer), LEAT_EPROTO);
    CHECK_EQ(answer.fd_count, 0);
    close(fd);
    still_serves(bus);
}

/* ---- forgeries ---- */

TEST(nobody_resumes_as_another_process)
{
    struct bus *bus = bus_start();
    struct child *victim = bus_spawn(bus, sitter);
    int64_t id = child_number(victim, "id");
    struct lt_hello hello = control_hello_body(true);
    int fd = connect_raw(bus);
    CHECK_EQ(control_hello(fd, false, &answer), 0);
    uint64_t bus_id = answer.hello.bus_id;
    close(fd);
    hello.bus_id = bus_id;
    for (int64_t c = 1; c < 1100; c++) {
        hello.client = c == 1099 ? UINT32_MAX : (uint32_t)c;
        fd = connect_raw(bus);
        CHECK_EQ(control_ask(fd, LT_MSG_HELLO, &hello, sizeof hello, &answer), LEAT_EGONE);
        CHECK_EQ(answer.fd_count, 0);
        close(fd);
    }
    hello.client = (uint32_t)id;
    hello.bus_id++;
    fd = connect_raw(bus);
    CHECK_EQ(control_ask(fd, LT_MSG_HELLO, &hello, sizeof hello, &answer), LEAT_EGONE);
    close(fd);
    child_tell(victim, "end");
    child_end(victim);
    still_serves(bus);
}

ROLE(sitter)
{
    leat_bus *bus = role_open();
    leat_status_info *info;
    CHECK_OK(leat_status(bus, &info));
    for (uint32_t i = 0; i < info->clients; i++)
        if (info->client[i].pid == getpid())
            say("id %u", info->client[i].id);
    hear("end");
    CHECK_OK(leat_status(bus, &info));
    leat_close(bus);
}

TEST(requests_with_numbers_out_of_range_are_refused)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2);
    int fd = connect_client(bus);
    struct lt_topic_attach attach = { .name = "t" };
    CHECK_EQ(control_ask(fd, LT_MSG_TOPIC_ATTACH, &attach, sizeof attach, &answer), 0);
    uint32_t id = answer.topic_attach.topic_id;
    control_close_fds(&answer);
    struct lt_ring_attach ring = { .topic_id = id, .partition = 2 };
    CHECK_EQ(control_ask(fd, LT_MSG_RING_ATTACH, &ring, sizeof ring, &answer), LEAT_ENOPART);
    CHECK(strstr(answer.error.text, "not 2"));
    ring.partition = UINT32_MAX;
    CHECK_EQ(control_ask(fd, LT_MSG_RING_ATTACH, &ring, sizeof ring, &answer), LEAT_ENOPART);
    ring = (struct lt_ring_attach){ .topic_id = id + 17 };
    CHECK_EQ(control_ask(fd, LT_MSG_RING_ATTACH, &ring, sizeof ring, &answer), LEAT_ENOTOPIC);
    ring = (struct lt_ring_attach){ .topic_id = id, .ring = 1 };
    CHECK_EQ(control_ask(fd, LT_MSG_RING_ATTACH, &ring, sizeof ring, &answer), LEAT_EOFFSET);
    ring.ring = UINT32_MAX;
    CHECK_EQ(control_ask(fd, LT_MSG_RING_ATTACH, &ring, sizeof ring, &answer), LEAT_EOFFSET);
    ring = (struct lt_ring_attach){ .topic_id = id, .write = 1 }; /* attached to consume */
    CHECK_EQ(control_ask(fd, LT_MSG_RING_ATTACH, &ring, sizeof ring, &answer), LEAT_EPERM);
    CHECK_EQ(answer.fd_count, 0);
    struct lt_reader_open reader = { .entry = LT_READERS_MAX };
    CHECK_EQ(control_ask(fd, LT_MSG_READER_OPEN, &reader, sizeof reader, &answer), LEAT_EINVAL);
    reader.entry = UINT32_MAX;
    CHECK_EQ(control_ask(fd, LT_MSG_READER_OPEN, &reader, sizeof reader, &answer), LEAT_EINVAL);
    CHECK(control_ask(fd, LT_MSG_READER_CLOSE, &reader, sizeof reader, &answer) <= 0);
    reader.entry = 0; /* the mailbox says nothing about it */
    CHECK_EQ(control_ask(fd, LT_MSG_READER_OPEN, &reader, sizeof reader, &answer), LEAT_EINVAL);
    struct lt_consumer_open consumer = { .consumer = 0, .bell = UINT32_MAX };
    CHECK_EQ(control_ask(fd, LT_MSG_CONSUMER_OPEN, &consumer, sizeof consumer, &answer), LEAT_EINVAL);
    consumer = (struct lt_consumer_open){ .consumer = 1, .bell = 5 };
    CHECK_EQ(control_ask(fd, LT_MSG_CONSUMER_OPEN, &consumer, sizeof consumer, &answer), LEAT_EINVAL);
    struct lt_consumer_close done = { .bell = LT_BELLS };
    CHECK_EQ(control_ask(fd, LT_MSG_CONSUMER_CLOSE, &done, sizeof done, &answer), LEAT_EINVAL);
    struct lt_topic_describe describe = { .name = "t", .from_partition = UINT32_MAX };
    CHECK(control_ask(fd, LT_MSG_TOPIC_DESCRIBE, &describe, sizeof describe, &answer) <= 0);
    struct lt_clients clients = { .from = UINT32_MAX };
    CHECK_EQ(control_ask(fd, LT_MSG_CLIENTS, &clients, sizeof clients, &answer), 0);
    close(fd);
    still_serves(bus);
}

TEST(mailbox_that_lies_harms_nobody)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    int fd = connect_raw(bus);
    CHECK_EQ(control_hello(fd, true, &answer), 0);
    CHECK_EQ(answer.fd_count, 3);
    uint64_t bytes = answer.hello.mailbox_bytes;
    struct lt_mailbox *mailbox = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, answer.fds[2], 0);
    CHECK(mailbox != MAP_FAILED);
    struct lt_bells *bells = mmap(NULL, answer.hello.bells_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                                  answer.fds[1], 0);
    CHECK(bells != MAP_FAILED);
    control_close_fds(&answer);
    struct lt_consumer_open consumer = { .consumer = 1, .bell = UINT32_MAX };
    CHECK_EQ(control_ask(fd, LT_MSG_CONSUMER_OPEN, &consumer, sizeof consumer, &answer), 0);
    uint32_t bell = answer.consumer.bell;
    struct lt_topic_attach attach = { .name = "t" };
    CHECK_EQ(control_ask(fd, LT_MSG_TOPIC_ATTACH, &attach, sizeof attach, &answer), 0);
    uint32_t topic = answer.topic_attach.topic_id;
    control_close_fds(&answer);

    /* A reader of its own, then entries that name what is not there, or is somebody else's. */
    mailbox->readers[0].ident = LT_READER_IDENT(topic, 0, bell);
    struct lt_reader_open reader = { .entry = 0 };
    CHECK_EQ(control_ask(fd, LT_MSG_READER_OPEN, &reader, sizeof reader, &answer), 0);
    const uint64_t lies[] = { LT_READER_IDENT(topic + 1, 0, bell),
                              LT_READER_IDENT(topic, 1, bell),
                              LT_READER_IDENT(topic, 0, bell + 1),
                              LT_READER_IDENT(topic, 0, 0xfff),
                              UINT64_MAX,
                              1 };
    for (uint32_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        mailbox->readers[1 + i].ident = lies[i];
        reader.entry = 1 + i;
        CHECK(control_ask(fd, LT_MSG_READER_OPEN, &reader, sizeof reader, &answer) < 0);
    }
    /* Then nonsense all over the pages that a client can write, while the topic is in use: a wrong pin only
     * holds up this topic, until its client is gone. */
    uint64_t *words = (uint64_t *)(void *)((char *)mailbox + 64);
    for (size_t i = 0; i < (bytes - 64) / 8; i++)
        words[i] = test_random();
    uint64_t *more = (uint64_t *)(void *)((char *)bells + 64);
    for (size_t i = 0; i < 4096; i++)
        more[i] = test_random();
    leat_bus *handle = bus_open(bus);
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.full_timeout_ms = 2000;
    leat_producer *producer = open_producer(handle, "t", &options);
    int r = 0;
    for (uint64_t i = 0; i < 2000 && r == 0; i++)
        r = traffic_send(producer, 0, 0, i, 40, NULL);
    CHECK(r == 0 || r == LEAT_EFULL);
    close(fd);
    leat_close(handle);
    CHECK(bus_status(bus).clients <= 1);
    still_serves(bus);
}

/* A client that gave up waiting for the answer to its close takes the entry for free. */
TEST(reader_entry_that_is_opened_as_something_else_was_closed_before)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2);
    int fd = connect_raw(bus);
    CHECK_EQ(control_hello(fd, true, &answer), 0);
    uint64_t bytes = answer.hello.mailbox_bytes;
    struct lt_mailbox *mailbox = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, answer.fds[2], 0);
    CHECK(mailbox != MAP_FAILED);
    control_close_fds(&answer);
    struct lt_consumer_open consumer = { .consumer = 1, .bell = UINT32_MAX };
    CHECK_EQ(control_ask(fd, LT_MSG_CONSUMER_OPEN, &consumer, sizeof consumer, &answer), 0);
    uint32_t bell = answer.consumer.bell;
    struct lt_topic_attach attach = { .name = "t" };
    CHECK_EQ(control_ask(fd, LT_MSG_TOPIC_ATTACH, &attach, sizeof attach, &answer), 0);
    uint32_t topic = answer.topic_attach.topic_id;
    control_close_fds(&answer);

    struct lt_reader_open reader = { .entry = 0 };
    struct lt_topic_describe describe = { .name = "t" };
    for (uint32_t partition = 0; partition < 2; partition++) {
        mailbox->readers[0].ident = LT_READER_IDENT(topic, partition, bell);
        CHECK_EQ(control_ask(fd, LT_MSG_READER_OPEN, &reader, sizeof reader, &answer), 0);
        CHECK_EQ(control_ask(fd, LT_MSG_TOPIC_DESCRIBE, &describe, sizeof describe, &answer), 2);
        CHECK_EQ(answer.describe.rows[partition].readers, 1);
        CHECK_EQ(answer.describe.rows[1 - partition].readers, 0);
    }
    /* What is refused takes nothing. */
    mailbox->readers[0].ident = LT_READER_IDENT(topic, 2, bell);
    CHECK_EQ(control_ask(fd, LT_MSG_READER_OPEN, &reader, sizeof reader, &answer), LEAT_ENOPART);
    CHECK_EQ(control_ask(fd, LT_MSG_TOPIC_DESCRIBE, &describe, sizeof describe, &answer), 2);
    CHECK_EQ(answer.describe.rows[1].readers, 1);
    close(fd);
    still_serves(bus);
}

/* ---- fuzz ---- */

/* Bodies that are nearly right: names that exist, small numbers, and random bytes here and there. */
static size_t make_body(uint16_t type, unsigned char *body)
{
    static const size_t sizes[] = {
        [LT_MSG_HELLO] = sizeof(struct lt_hello),
        [LT_MSG_BYE] = 0,
        [LT_MSG_TOPIC_CREATE] = sizeof(struct lt_topic_create),
        [LT_MSG_TOPIC_DELETE] = sizeof(struct lt_name),
        [LT_MSG_TOPIC_LIST] = sizeof(struct lt_name),
        [LT_MSG_TOPIC_DESCRIBE] = sizeof(struct lt_topic_describe),
        [LT_MSG_TOPIC_ATTACH] = sizeof(struct lt_topic_attach),
        [LT_MSG_TOPIC_DETACH] = sizeof(struct lt_topic_detach),
        [LT_MSG_RING_ATTACH] = sizeof(struct lt_ring_attach),
        [LT_MSG_CONSUMER_OPEN] = sizeof(struct lt_consumer_open),
        [LT_MSG_CONSUMER_CLOSE] = sizeof(struct lt_consumer_close),
        [LT_MSG_READER_OPEN] = sizeof(struct lt_reader_open),
        [LT_MSG_READER_CLOSE] = sizeof(struct lt_reader_close),
        [LT_MSG_STATUS] = 0,
        [LT_MSG_CLIENTS] = sizeof(struct lt_clients),
        [LT_MSG_FOLD] = 0,
        [LT_MSG_TOPIC_NAME] = sizeof(struct lt_topic_name),
        [LT_MSG_GROUP_JOIN] = sizeof(struct lt_group_join),
        [LT_MSG_GROUP_LEAVE] = sizeof(struct lt_group_leave),
        [LT_MSG_GROUP_SYNC] = sizeof(struct lt_group_sync),
        [LT_MSG_GROUP_RELEASE] = sizeof(struct lt_group_release),
        [LT_MSG_GROUP_COMMIT] = sizeof(struct lt_group_commit),
        [LT_MSG_GROUP_OFFSETS] = sizeof(struct lt_group_offsets),
        [LT_MSG_GROUP_LIST] = sizeof(struct lt_group_list),
        [LT_MSG_GROUP_DESCRIBE] = sizeof(struct lt_group_describe),
        [LT_MSG_GROUP_DELETE] = sizeof(struct lt_name),
        [LT_MSG_GROUP_VIEW] = sizeof(struct lt_group_view),
        [LT_MSG_GROUP_PROPOSE] = sizeof(struct lt_group_propose),
        [LT_MSG_SEGMENT_ATTACH] = sizeof(struct lt_segment_attach),
        [LT_MSG_TOPIC_RESUME] = sizeof(struct lt_topic_resume),
        [LT_MSG_TOPIC_ALTER] = sizeof(struct lt_topic_alter),
    };
    size_t size = type < sizeof sizes / sizeof *sizes ? sizes[type] : test_random() % 600;
    memset(body, 0, LT_MSG_MAX);
    uint64_t way = test_random() % 4;
    for (size_t i = 0; i < size && way > 0; i += way == 1 ? 1 : 4) {
        if (way == 1)
            body[i] = (unsigned char)test_random();
        else if (i + 4 <= size)
            body[i] = test_random() % 3 ? (unsigned char)(test_random() % 4) : (unsigned char)test_random();
    }
    if (type >= LT_MSG_TOPIC_CREATE && type <= LT_MSG_TOPIC_ATTACH && test_random() % 3) {
        memset(body, 0, 256);
        body[0] = (unsigned char)('a' + test_random() % 6);
    }
    if (type == LT_MSG_TOPIC_CREATE && test_random() % 2) {
        struct lt_topic_create create = { .partitions = 1 + (uint32_t)test_random() % 8,
                                          .ring_size = 1ull << (10 + test_random() % 10),
                                          .level = (uint32_t)test_random() % 3,
                                          .no_log = (uint32_t)test_random() % 2,
                                          .retention_bytes = (int64_t)(test_random() % 3) - 1,
                                          .mode = 0660 };
        create.name[0] = (char)('a' + test_random() % 6);
        memcpy(body, &create, sizeof create);
    }
    if (type == LT_MSG_TOPIC_RESUME && test_random() % 3) {
        memset(body, 0, 256);
        body[0] = (unsigned char)('a' + test_random() % 6);
    }
    if (type == LT_MSG_TOPIC_ALTER && test_random() % 3) {
        struct lt_topic_alter alter = { .fields = (uint32_t)test_random() % 32,
                                        .topic = { .on_full = (uint32_t)test_random() % 4,
                                                   .retention_ms = (int64_t)(test_random() % 4) - 2,
                                                   .retention_bytes = (int64_t)(test_random() % 4) - 2,
                                                   .mode = 0660 } };
        alter.topic.name[0] = (char)('a' + test_random() % 6);
        memcpy(body, &alter, sizeof alter);
    }
    if (type >= LT_MSG_GROUP_COMMIT && type <= LT_MSG_GROUP_DELETE && test_random() % 3) {
        memset(body, 0, 256);
        body[0] = (unsigned char)('a' + test_random() % 6);
    }
    if (type == LT_MSG_GROUP_JOIN && test_random() % 2) {
        static const char names[] = "=a\0~b\0~c";
        struct lt_group_join join = { .bell = (uint32_t)test_random() % 4,
                                      .serial = (uint32_t)test_random() % 3,
                                      .assignor = (uint32_t)test_random() % 4,
                                      .max_poll_interval_ms = 1 + (int64_t)(test_random() % 1000),
                                      .rebalance_timeout_ms = 1 + (int64_t)(test_random() % 100),
                                      .session_timeout_ms = 1000,
                                      .topic_bytes = sizeof names };
        join.group[0] = (char)('a' + test_random() % 6);
        memcpy(body, &join, sizeof join);
        memcpy(body + sizeof join, names, sizeof names);
        size = sizeof join + sizeof names;
    }
    if (type == LT_MSG_HELLO && test_random() % 2) {
        struct lt_hello hello = control_hello_body(test_random() % 2);
        memcpy(body, &hello, sizeof hello);
    }
    if (test_random() % 16 == 0)
        size = test_random() % 2000;
    return size;
}

TEST(ten_thousand_random_messages_are_answered_or_end_their_connection)
{
    enum { MESSAGES = 10000 };
    static unsigned char message[LT_MSG_MAX];
    struct bus *bus = bus_start("--log-level", "error", "--max-memory", "256MiB");
    int fd = -1, answers[2] = { 0 }, ends = 0;
    for (int i = 0; i < MESSAGES; i++) {
        if (fd < 0)
            fd = test_random() % 2 ? connect_client(bus) : connect_raw(bus);
        uint16_t type = (uint16_t)(test_random() % (LT_MSG_GROUP_PROPOSE + 3));
        unsigned char *body = message + sizeof(struct lt_msg);
        static unsigned char scratch[LT_MSG_MAX];
        size_t size = sizeof(struct lt_msg) + make_body(type, scratch);
        memcpy(body, scratch, size - sizeof(struct lt_msg));
        struct lt_msg head = head_of(type, (uint32_t)size);
        if (test_random() % 32 == 0)
            ((unsigned char *)&head)[test_random() % sizeof head] = (unsigned char)test_random();
        memcpy(message, &head, sizeof head);
        if (test_random() % 64 == 0)
            size = test_random() % sizeof head + 1;
        if (test_random() % 16 == 0) {
            int passed = open("/dev/null", O_RDONLY | O_CLOEXEC);
            control_send_fd(fd, message, size, passed);
            close(passed);
        } else {
            control_send_raw(fd, message, size);
        }
        bool is_over = !control_receive(fd, &answer);
        if (is_over)
            ends++;
        else
            answers[answer.head.result < 0]++;
        control_close_fds(&answer);
        if (is_over || test_random() % 50 == 0) {
            close(fd);
            fd = -1;
        }
    }
    printf("%d answers, %d errors, %d ends\n", answers[0], answers[1], ends);
    CHECK(answers[0] > 500 && answers[1] > 500);
    close(fd);
    still_serves(bus);
    leat_bus *handle = bus_open(bus);
    char **names;
    int count = CHECK_OK(leat_topic_list(handle, &names));
    for (int i = 0; i < count; i++)
        CHECK_OK(leat_topic_delete(handle, names[i]));
    leat_names_free(names, count);
    leat_close(handle);
    bus_stop(bus);
}

TEST(random_bytes_are_answered_or_end_their_connection)
{
    static unsigned char message[4096];
    struct bus *bus = bus_start("--log-level", "error");
    for (int i = 0; i < 2000; i++) {
        int fd = connect_raw(bus);
        size_t size = test_random() % sizeof message + 1;
        for (size_t at = 0; at < size; at++)
            message[at] = (unsigned char)test_random();
        control_send_raw(fd, message, size);
        if (control_receive(fd, &answer))
            CHECK(answer.head.result < 0);
        close(fd);
    }
    still_serves(bus);
}

/* ---- connections ---- */

TEST(client_that_never_reads_its_answers_is_disconnected_and_holds_up_nobody)
{
    struct bus *bus = bus_start();
    int fd = connect_control(bus);
    CHECK_EQ(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    struct lt_msg head = head_of(LT_MSG_STATUS, sizeof head);
    bool ended = false;
    for (double until = now_s() + 20; !ended && now_s() < until;) {
        if (control_send_raw(fd, &head, sizeof head) >= 0)
            continue;
        if (errno == EAGAIN)
            bus_status(bus); /* the others are served meanwhile */
        else
            ended = errno == EPIPE || errno == ECONNRESET;
    }
    CHECK(ended);
    close(fd);
    still_serves(bus);
}

TEST(descriptors_that_come_along_are_closed)
{
    struct bus *bus = bus_start();
    int fd = connect_control(bus);
    struct lt_msg head = head_of(LT_MSG_STATUS, sizeof head);
    int ends[2];
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    for (int i = 0; i < 100; i++) {
        control_send_fd(fd, &head, sizeof head, ends[1]);
        CHECK(control_receive(fd, &answer));
        CHECK_EQ(answer.head.result, 0);
    }
    close(ends[1]);
    /* Whoever held the other end would keep this from coming to its end. */
    struct pollfd hung_up = { .fd = ends[0], .events = POLLIN };
    CHECK_EQ(poll(&hung_up, 1, 5000), 1);
    CHECK(hung_up.revents & POLLHUP);
    close(fd);
    still_serves(bus);
}

TEST(hundreds_of_idle_connections_leave_room_for_clients)
{
    enum { IDLE = 300 };
    struct bus *bus = bus_start("--max-clients", "8");
    int fds[IDLE], open = 0;
    for (int i = 0; i < IDLE; i++) {
        fds[i] = control_connect(bus->path);
        open += fds[i] >= 0;
    }
    printf("%d of %d connections stand\n", open, IDLE);
    for (int i = 0; i < IDLE; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    still_serves(bus);
}

TEST(requests_without_waiting_for_answers_are_answered_in_order)
{
    struct bus *bus = bus_start();
    int fd = connect_control(bus);
    struct lt_topic_create create = { .partitions = 1,
                                      .ring_size = 64 << 10,
                                      .mode = 0660,
                                      .no_log = 1,
                                      .retention_bytes = -1,
                                      .retention_ms = -1 };
    struct lt_topic_describe describe = { 0 };
    uint32_t numbers[30];
    for (uint32_t i = 0; i < 30; i += 3) {
        snprintf(create.name, sizeof create.name, "t%u", i);
        snprintf(describe.name, sizeof describe.name, "t%u", i);
        numbers[i] = control_send(fd, LT_MSG_TOPIC_CREATE, &create, sizeof create);
        numbers[i + 1] = control_send(fd, LT_MSG_TOPIC_DESCRIBE, &describe, sizeof describe);
        numbers[i + 2] = control_send(fd, LT_MSG_TOPIC_DELETE, &create.name, sizeof(struct lt_name));
    }
    for (int i = 0; i < 30; i++) {
        CHECK(control_receive(fd, &answer));
        CHECK_EQ(answer.head.number, numbers[i]);
        CHECK(answer.head.result >= 0);
    }
    close(fd);
    still_serves(bus);
}

TEST(connection_that_ends_while_its_topic_is_made_harms_nobody)
{
    struct bus *bus = bus_start();
    struct lt_topic_create create = { .partitions = 16,
                                      .ring_size = 1 << 20,
                                      .mode = 0660,
                                      .no_log = 1,
                                      .retention_bytes = -1,
                                      .retention_ms = -1 };
    for (int i = 0; i < 20; i++) {
        int fd = connect_control(bus);
        snprintf(create.name, sizeof create.name, "t%d", i % 2);
        control_send(fd, LT_MSG_TOPIC_CREATE, &create, sizeof create);
        close(fd);
        leat_bus *handle = bus_open(bus);
        int r = leat_topic_delete(handle, create.name);
        CHECK(r == 0 || r == LEAT_ENOTOPIC);
        leat_close(handle);
    }
    still_serves(bus);
}

/* ---- limits and names, as users meet them ---- */

TEST(full_client_table_is_said_with_numbers_and_leaves_room_when_one_goes)
{
    enum { CLIENTS = 8 };
    struct bus *bus = bus_start("--max-clients", "8");
    leat_bus *handles[CLIENTS], *more = (leat_bus *)1;
    for (int i = 0; i < CLIENTS; i++)
        handles[i] = bus_open(bus);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(leat_open(&more, bus->path), LEAT_ELIMIT);
        CHECK(more == NULL);
        CHECK(strstr(leat_last_error(NULL), "8 of 8"));
        CHECK(strstr(leat_last_error(NULL), "max-clients"));
    }
    CHECK_EQ(bus_status(bus).clients, CLIENTS); /* who only asks is no client */
    leat_close(handles[3]);
    handles[3] = bus_open(bus);
    for (int i = 0; i < CLIENTS; i++)
        leat_close(handles[i]);
    still_serves(bus);
}

TEST(names_that_cannot_be_are_refused_with_a_clear_error)
{
    struct bus *bus = bus_start();
    leat_bus *handle = bus_open(bus);
    char long_name[501];
    memset(long_name, 'x', 500);
    long_name[500] = 0;
    const char *const names[] = { "a/b",  "/",  "../../etc/passwd", "", ".", "..", long_name, "a b",
                                  "a\nb", "a:b" };
    leat_topic_info *info;
    leat_producer *producer;
    leat_consumer *consumer;
    CHECK_OK(leat_consumer_open(&consumer, handle, NULL));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        CHECK_EQ(leat_topic_create(handle, names[i], NULL), LEAT_EINVAL);
        CHECK(*leat_last_error(handle));
        int r = leat_topic_describe(handle, names[i], &info);
        CHECK(r == LEAT_EINVAL || r == LEAT_ENOTOPIC);
        r = leat_topic_delete(handle, names[i]);
        CHECK(r == LEAT_EINVAL || r == LEAT_ENOTOPIC);
        r = leat_producer_open(&producer, handle, names[i], NULL);
        CHECK(r == LEAT_EINVAL || r == LEAT_ENOTOPIC);
        r = leat_consumer_subscribe(consumer, &names[i], 1);
        CHECK(r == LEAT_EINVAL || r == LEAT_ENOTOPIC);
    }
    leat_close(handle);
    /* The same without the library's own look: 256 bytes without an end, and bytes that are no name. */
    int fd = connect_control(bus);
    struct lt_topic_create create = { .partitions = 1 };
    memset(create.name, 'x', sizeof create.name);
    CHECK_EQ(control_ask(fd, LT_MSG_TOPIC_CREATE, &create, sizeof create, &answer), LEAT_EINVAL);
    struct lt_topic_describe describe = { 0 };
    memset(describe.name, 'x', sizeof describe.name);
    CHECK_EQ(control_ask(fd, LT_MSG_TOPIC_DESCRIBE, &describe, sizeof describe, &answer), LEAT_EINVAL);
    struct lt_name name;
    memset(&name, 'x', sizeof name);
    CHECK_EQ(control_ask(fd, LT_MSG_TOPIC_DELETE, &name, sizeof name, &answer), LEAT_EINVAL);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        memset(&create, 0, sizeof create);
        create.partitions = 1;
        memcpy(create.name, names[i], strlen(names[i]) < 255 ? strlen(names[i]) : 255);
        CHECK_EQ(control_ask(fd, LT_MSG_TOPIC_CREATE, &create, sizeof create, &answer), LEAT_EINVAL);
    }
    memset(&create, 0, sizeof create);
    strcpy(create.name, "t");
    memset(create.owner, 'o', sizeof create.owner);
    CHECK(control_ask(fd, LT_MSG_TOPIC_CREATE, &create, sizeof create, &answer) < 0);
    close(fd);
    still_serves(bus);
}

TEST(topics_and_partitions_that_are_not_there_are_named)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "orders", .partitions = 3);
    leat_bus *handle = bus_open(bus);
    leat_topic_info *info;
    leat_producer *producer;
    leat_consumer *consumer;
    CHECK_EQ(leat_topic_describe(handle, "order", &info), LEAT_ENOTOPIC);
    CHECK(strstr(leat_last_error(handle), "order"));
    CHECK_EQ(leat_producer_open(&producer, handle, "order", NULL), LEAT_ENOTOPIC);
    CHECK(strstr(leat_last_error(handle), "order"));
    CHECK_OK(leat_consumer_open(&consumer, handle, NULL));
    CHECK_EQ(leat_consumer_assign(consumer, (leat_partition[]){ { "orders", 3 } }, 1), LEAT_ENOPART);
    CHECK(strstr(leat_last_error(handle), "3"));
    producer = open_producer(handle, "orders", NULL);
    CHECK_EQ(leat_producer_send_to(producer, 3, &(leat_record){ .value = "x", .value_size = 1 }, NULL),
             LEAT_ENOPART);
    leat_close(handle);
    still_serves(bus);
}

TEST(second_leatd_on_a_bus_is_refused_and_the_first_does_not_mind)
{
    struct bus *bus = bus_start();
    const char *const argv[] = { test_program("LEAT_TEST_LEATD"), "--bus", bus->path, NULL };
    const char *output;
    for (int i = 0; i < 3; i++) {
        int status = run_program(argv, &output);
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), 1);
        CHECK(strstr(output, bus->path));
        CHECK(!strstr(output, "ready"));
    }
    printf("%s", output);
    still_serves(bus);
    CHECK_EQ(bus_status(bus).keeper_pid, bus->keeper);
}

TEST(leatd_takes_over_a_directory_that_a_killed_one_left)
{
    struct bus *bus = bus_start();
    bus_kill_both(bus);
    struct stat st;
    CHECK_EQ(stat(text("%s/control", bus->path), &st), 0);
    leat_bus *handle;
    CHECK_EQ(leat_open(&handle, bus->path), LEAT_EGONE);
    struct bus *next = bus_start_in(bus->path, NULL);
    still_serves(next);
    bus_stop(next);
    CHECK_EQ(leat_open(&handle, bus->path), LEAT_EGONE);
}

TEST(leatd_that_cannot_have_its_directory_says_why)
{
    const char *file = text("%s/file", test_dir());
    int fd = open(file, O_WRONLY | O_CREAT, 0600);
    CHECK(fd >= 0);
    close(fd);
    const char *const paths[] = { file, text("%s/file/bus", test_dir()), "a/b", "/proc/nothing/bus" };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        const char *const argv[] = { test_program("LEAT_TEST_LEATD"), "--bus", paths[i], NULL };
        const char *output;
        int status = run_program(argv, &output);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) > 0 && WEXITSTATUS(status) < 3);
        CHECK(strstr(output, "leatd"));
        printf("%s", output);
    }
}

/* ---- a leader's assignment in several messages ---- */

static struct lt_membership join_raw(int fd, const char *group, const char *topic, uint32_t assignor)
{
    struct lt_consumer_open consumer = { .consumer = 1, .bell = UINT32_MAX };
    CHECK_EQ(control_ask(fd, LT_MSG_CONSUMER_OPEN, &consumer, sizeof consumer, &answer), 0);
    struct {
        struct lt_group_join join;
        char names[16];
    } body = { .join = { .bell = answer.consumer.bell,
                         .assignor = assignor,
                         .max_poll_interval_ms = 60000,
                         .rebalance_timeout_ms = 60000,
                         .session_timeout_ms = 1 } };
    snprintf(body.join.group, sizeof body.join.group, "%s", group);
    body.join.topic_bytes = (uint32_t)snprintf(body.names, sizeof body.names, "=%s", topic) + 1;
    CHECK_EQ(control_ask(fd, LT_MSG_GROUP_JOIN, &body, sizeof body.join + body.join.topic_bytes, &answer), 0);
    struct lt_group_join_answer joined;
    memcpy(&joined, answer.bytes, sizeof joined);
    return (struct lt_membership){ .bell = body.join.bell, .serial = joined.serial };
}

/* How many rows it is told, and how many of them it shall release. */
static int sync_raw(int fd, struct lt_membership member, int *released)
{
    struct lt_group_sync body = { .member = member };
    int rows = control_ask(fd, LT_MSG_GROUP_SYNC, &body, sizeof body, &answer);
    const struct lt_group_sync_answer *reply = (const void *)answer.bytes;
    *released = 0;
    for (int i = 0; i < rows; i++)
        *released += (reply->rows[i].flags & LT_SYNC_RELEASE) != 0;
    return rows;
}

static int propose_raw(int fd, struct lt_membership leader, uint32_t topic, uint32_t partition,
                       uint32_t serial, bool last)
{
    struct lt_group_view view = { .member = leader };
    struct {
        struct lt_group_propose head;
        struct lt_group_propose_row row;
    } body = { .head = { .member = leader, .count = 1, .last = last },
               .row = { .serial = serial, .topic_id = topic, .partition = partition } };
    CHECK(control_ask(fd, LT_MSG_GROUP_VIEW, &view, sizeof view, &answer) >= 0);
    struct lt_group_view_answer round;
    memcpy(&round, answer.bytes, sizeof round);
    body.head.round = round.round;
    return control_ask(fd, LT_MSG_GROUP_PROPOSE, &body, sizeof body, &answer);
}

TEST(assignment_that_has_not_come_whole_moves_nothing)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2);
    int leader_fd = connect_client(bus), other_fd = connect_client(bus), released;
    struct lt_topic_attach attach = { .name = "t" };
    CHECK_EQ(control_ask(leader_fd, LT_MSG_TOPIC_ATTACH, &attach, sizeof attach, &answer), 0);
    uint32_t topic = answer.topic_attach.topic_id;
    control_close_fds(&answer);

    struct lt_membership leader = join_raw(leader_fd, "g", "t", LEAT_CUSTOM);
    CHECK_EQ(propose_raw(leader_fd, leader, topic, 0, leader.serial, false), 0);
    CHECK_EQ(sync_raw(leader_fd, leader, &released), 0);
    CHECK_EQ(propose_raw(leader_fd, leader, topic, 1, leader.serial, true), 0);
    CHECK_EQ(sync_raw(leader_fd, leader, &released), 2);

    struct lt_membership other = join_raw(other_fd, "g", "t", LEAT_CUSTOM);
    CHECK_EQ(propose_raw(leader_fd, leader, topic, 0, other.serial, false), 0);
    CHECK_EQ(sync_raw(leader_fd, leader, &released), 2);
    CHECK_EQ(released, 0);
    CHECK_EQ(propose_raw(leader_fd, leader, topic, 1, leader.serial, true), 0);
    CHECK_EQ(sync_raw(leader_fd, leader, &released), 2);
    CHECK_EQ(released, 1);
    close(leader_fd);
    close(other_fd);
}

TEST(join_that_is_refused_leaves_no_group_behind)
{
    struct bus *bus = bus_start();
    int fd = connect_client(bus);
    struct lt_consumer_open consumer = { .consumer = 1, .bell = UINT32_MAX };
    CHECK_EQ(control_ask(fd, LT_MSG_CONSUMER_OPEN, &consumer, sizeof consumer, &answer), 0);
    struct {
        struct lt_group_join join;
        char names[8];
    } body = { .join = { .group = "g",
                         .bell = answer.consumer.bell,
                         .max_poll_interval_ms = 60000,
                         .rebalance_timeout_ms = 60000,
                         .session_timeout_ms = 1,
                         .topic_bytes = sizeof "=a/b" },
               .names = "=a/b" };
    CHECK_EQ(control_ask(fd, LT_MSG_GROUP_JOIN, &body, sizeof body.join + sizeof "=a/b", &answer),
             LEAT_EINVAL);
    struct lt_group_describe describe = { .group = "g" };
    CHECK_EQ(control_ask(fd, LT_MSG_GROUP_DESCRIBE, &describe, sizeof describe, &answer), LEAT_ENOGROUP);
    close(fd);
}
