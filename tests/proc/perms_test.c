/* Users: who may read, write, delete, and what a read-only descriptor is worth.
 *
 * Goal: a topic's owner, group and mode decide who produces and who consumes, as a file's do; nobody can write what is given
 * to him for reading, touch another's topic, or take a bus away from its owner.
 * Method: leatd runs as root; clients are processes of this program that become `nobody`. Skipped without root.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

#include "shm/mailbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOBODY = 65534, OTHER = 54321 };

#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#define F_SEAL_WRITE 8
#endif

/* A bus of root's that everybody can reach. */
static struct bus *open_to_all(void)
{
    if (geteuid() != 0)
        SKIP("only root can become somebody else");
    CHECK_EQ(chmod(test_dir(), 0755), 0);
    struct bus *bus = bus_start();
    struct stat st;
    CHECK_EQ(stat(bus->path, &st), 0);
    printf("%s has mode %o\n", bus->path, st.st_mode & 07777u);
    return bus;
}

static struct child *spawn_nobody(struct bus *bus, const char *role, const char *a, const char *b)
{
    /* What the child shares with the test has to be there for it, too. */
    board();
    CHECK_EQ(chmod(text("%s/board", test_dir()), 0666), 0);
    return bus_spawn_as(bus, role, (struct spawn){ .uid = NOBODY, .gid = NOBODY, .args = { a, b } });
}

/* ---- modes ---- */

/* Tries everything with topic ARG 0 and says what was allowed: "r", "w", "d" or "-" each. */
ROLE(visitor)
{
    CHECK_EQ(geteuid(), role_number(1));
    leat_bus *bus = role_open();
    const char *topic = role_arg(0);
    leat_producer *producer;
    leat_consumer *consumer;
    int w = leat_producer_open(&producer, bus, topic, NULL);
    CHECK(w == 0 || w == LEAT_EPERM);
    if (w == LEAT_EPERM)
        CHECK(strstr(leat_last_error(bus), topic));
    if (w == 0)
        CHECK_OK(traffic_send(producer, 0, 0, 0, 40, NULL));
    CHECK_OK(leat_consumer_open(&consumer, bus, NULL));
    int r = leat_consumer_subscribe(consumer, (const char *[]){ topic }, 1);
    CHECK(r == 0 || r == LEAT_EPERM);
    int r2 = leat_consumer_assign(consumer, (leat_partition[]){ { topic, 0 } }, 1);
    CHECK_EQ(r2, r);
    int d = leat_topic_delete(bus, topic);
    CHECK(d == 0 || d == LEAT_EPERM);
    say("%c%c%c", r == 0 ? 'r' : '-', w == 0 ? 'w' : '-', d == 0 ? 'd' : '-');
    leat_close(bus);
}

TEST(mode_and_owner_of_a_topic_decide_who_produces_and_consumes)
{
    struct bus *bus = open_to_all();
    static const struct {
        const char *owner;
        uint32_t mode;
        const char *nobody_may;
    } cases[] = {
        { NULL, 0660, "---" },      { NULL, 0664, "r--" },        { NULL, 0662, "-w-" },
        { NULL, 0666, "rw-" },      { NULL, 0000, "---" },        { "0:65534", 0640, "r--" },
        { "0:65534", 0620, "-w-" }, { "0:65534", 0606, "---" }, /* as for files, the first that fits counts */
        { "65534:0", 0600, "rwd" }, { "65534", 0400, "r-d" },     { "65534", 0066, "--d" },
        { "nobody", 0600, "rwd" },  { "0:nogroup", 0660, "rw-" },
    };
    leat_bus *handle = bus_open(bus);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        leat_topic_options options = LEAT_TOPIC_OPTIONS;
        options.ring_size = 64 << 10;
        options.mode = cases[i].mode;
        options.owner = cases[i].owner;
        CHECK_OK(leat_topic_create(handle, "t", &options));
        struct child *visitor = spawn_nobody(bus, "visitor", "t", text("%d", NOBODY));
        const char *may = child_hear(visitor);
        if (strcmp(may, cases[i].nobody_may) != 0)
            FAIL("owner %s, mode %04o: nobody may %s, wanted %s", cases[i].owner ? cases[i].owner : "root",
                 cases[i].mode, may, cases[i].nobody_may);
        child_end(visitor);
        int r = leat_topic_delete(handle, "t");
        CHECK_EQ(r, may[2] == 'd' ? LEAT_ENOTOPIC : 0);
    }
    leat_close(handle);
}

ROLE(owner)
{
    leat_bus *bus = role_open();
    leat_topic_options options = LEAT_TOPIC_OPTIONS;
    options.ring_size = 64 << 10;
    options.mode = 0600;
    CHECK_OK(leat_topic_create(bus, "mine", &options));
    leat_topic_info *info = bus_describe(bus, "mine");
    CHECK_EQ(info->uid, NOBODY);
    CHECK_EQ(info->gid, NOBODY);
    leat_topic_info_free(info);
    options.owner = "root";
    CHECK_EQ(leat_topic_create(bus, "gift", &options), LEAT_EPERM);
    options.owner = "nobody";
    CHECK_OK(leat_topic_create(bus, "own", &options));
    options.if_not_exists = 1;
    say("created");
    hear("end");
    leat_close(bus);
}

TEST(topic_belongs_to_who_creates_it_and_only_root_gives_away)
{
    struct bus *bus = open_to_all();
    struct child *owner = spawn_nobody(bus, "owner", NULL, NULL);
    child_expect(owner, "created");
    struct child *other = bus_spawn_as(
        bus, "visitor", (struct spawn){ .uid = OTHER, .gid = OTHER, .args = { "mine", text("%d", OTHER) } });
    child_expect(other, "---");
    child_end(other);
    struct child *root = bus_spawn(bus, visitor, .args = { "mine", "0" });
    child_expect(root, "rwd"); /* as with files */
    child_end(root);
    child_tell(owner, "end");
    child_end(owner);
}

/* ---- descriptors ---- */

static void cannot_be_written(int fd, size_t bytes, const char *what)
{
    printf("%s\n", what);
    CHECK_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    CHECK(mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    CHECK_EQ(errno, EACCES);
    void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED);
    CHECK(mprotect(map, bytes, PROT_READ | PROT_WRITE) < 0);
    CHECK_EQ(errno, EACCES);
    CHECK_EQ(munmap(map, bytes), 0);
    CHECK(write(fd, "x", 1) < 0);
    CHECK(pwrite(fd, "x", 1, 0) < 0);
    CHECK(ftruncate(fd, 0) < 0);
    CHECK(fallocate(fd, 0x03 /* punch a hole, keep the size */, 0, 4096) < 0);
    static const int flags[] = { O_RDWR, O_WRONLY, O_RDWR | O_TRUNC };
    for (int i = 0; i < 3; i++) {
        CHECK(open(text("/proc/self/fd/%d", fd), flags[i] | O_CLOEXEC) < 0);
        CHECK_EQ(errno, EACCES);
    }
    CHECK(fchmod(fd, 0666) < 0);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0);
}

static void cannot_be_resized(int fd)
{
    CHECK(ftruncate(fd, 0) < 0);
    CHECK(ftruncate(fd, 1 << 30) < 0);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0);
    CHECK(execveat(fd, "", (char *[]){ NULL }, (char *[]){ NULL }, AT_EMPTY_PATH) < 0);
}

ROLE(snoop)
{
    static struct answer answer;
    int fd = control_connect(getenv("LEAT_BUS"));
    CHECK(fd >= 0);
    CHECK_EQ(control_hello(fd, true, &answer), 0);
    CHECK_EQ(answer.fd_count, 3);
    cannot_be_written(answer.fds[0], answer.hello.coordinator_bytes, "coordinator");
    cannot_be_resized(answer.fds[1]);
    cannot_be_resized(answer.fds[2]);
    control_close_fds(&answer);

    struct lt_topic_attach attach = { .name = "t" };
    CHECK_EQ(control_ask(fd, LT_MSG_TOPIC_ATTACH, &attach, sizeof attach, &answer), 0);
    CHECK_EQ(answer.fd_count, 1);
    uint32_t id = answer.topic_attach.topic_id;
    cannot_be_written(answer.fds[0], answer.topic_attach.page_bytes, "topic page");
    control_close_fds(&answer);
    struct lt_ring_attach ring = { .topic_id = id };
    CHECK_EQ(control_ask(fd, LT_MSG_RING_ATTACH, &ring, sizeof ring, &answer), 0);
    CHECK_EQ(answer.fd_count, 1);
    cannot_be_written(answer.fds[0], answer.ring_attach.bytes, "ring");
    control_close_fds(&answer);

    /* Without having attached to produce, and having been refused that. */
    ring.write = 1;
    CHECK_EQ(control_ask(fd, LT_MSG_RING_ATTACH, &ring, sizeof ring, &answer), LEAT_EPERM);
    attach.write = 1;
    CHECK_EQ(control_ask(fd, LT_MSG_TOPIC_ATTACH, &attach, sizeof attach, &answer), LEAT_EPERM);
    CHECK_EQ(control_ask(fd, LT_MSG_RING_ATTACH, &ring, sizeof ring, &answer), LEAT_EPERM);

    /* A topic that may only be written: neither its ring for reading, nor a reader. */
    memset(&attach, 0, sizeof attach);
    strcpy(attach.name, "secret");
    CHECK_EQ(control_ask(fd, LT_MSG_TOPIC_ATTACH, &attach, sizeof attach, &answer), LEAT_EPERM);
    for (uint32_t other = 0; other < 10; other++) {
        ring = (struct lt_ring_attach){ .topic_id = other };
        int r = control_ask(fd, LT_MSG_RING_ATTACH, &ring, sizeof ring, &answer);
        control_close_fds(&answer);
        CHECK(other == id ? r == 0 : r == LEAT_EPERM || r == LEAT_ENOTOPIC);
    }
    close(fd);
    say("nothing to be had");
}

TEST(what_is_given_for_reading_cannot_be_written_by_any_means)
{
    struct bus *bus = open_to_all();
    bus_topic(bus, "t", .mode = 0664);
    bus_topic(bus, "secret", .mode = 0660);
    struct child *snoop = spawn_nobody(bus, "snoop", NULL, NULL);
    child_expect(snoop, "nothing to be had");
    child_end(snoop);
}

/* ---- the bus itself ---- */

ROLE(vandal)
{
    const char *path = getenv("LEAT_BUS");
    static const char *const files[] = { "control", "counters", "lock" };
    pid_t keeper = (pid_t)role_number(0), worker = (pid_t)role_number(1);
    for (int i = 0; i < 3; i++) {
        CHECK(unlink(text("%s/%s", path, files[i])) < 0);
        CHECK(rename(text("%s/%s", path, files[i]), text("%s/gone", path)) < 0);
    }
    CHECK(open(text("%s/counters", path), O_RDWR | O_CLOEXEC) < 0);
    CHECK(truncate(text("%s/counters", path), 0) < 0);
    CHECK(open(text("%s/mine", path), O_RDWR | O_CREAT | O_CLOEXEC, 0600) < 0);
    CHECK(rmdir(path) < 0);
    CHECK(rename(path, text("%s.gone", path)) < 0);
    CHECK(kill(keeper, SIGKILL) < 0 && errno == EPERM);
    CHECK(kill(worker, SIGKILL) < 0 && errno == EPERM);
    const char *const argv[] = { test_program("LEAT_TEST_LEATD"), "--bus", path, NULL };
    const char *output;
    int status = run_program(argv, &output);
    CHECK(status != 0);
    /* And what is for everybody. */
    leat_counter *counters;
    CHECK_OK(leat_counters_read(path, &counters));
    leat_counters_free(counters);
    say("nothing broken");
}

TEST(bus_of_another_user_cannot_be_taken_away_or_spoiled)
{
    struct bus *bus = open_to_all();
    bus_topic(bus, "t");
    struct lt_status_answer status = bus_status(bus);
    struct child *vandal = spawn_nobody(bus, "vandal", text("%d", status.keeper_pid),
                                        text("%d", status.worker_pid));
    child_expect(vandal, "nothing broken");
    child_end(vandal);
    CHECK_EQ(bus_status(bus).incarnation, 1);
    bus_stop(bus);
}

ROLE(stranger)
{
    leat_bus *bus = NULL;
    int r = leat_open(&bus, NULL);
    CHECK(bus == NULL);
    say("%d", r);
}

TEST(bus_with_a_private_socket_is_closed_to_others)
{
    if (geteuid() != 0)
        SKIP("only root can become somebody else");
    CHECK_EQ(chmod(test_dir(), 0755), 0);
    struct bus *bus = bus_start("--socket-mode", "0600");
    struct child *stranger = spawn_nobody(bus, "stranger", NULL, NULL);
    child_expect(stranger, text("%d", LEAT_EPERM));
    child_end(stranger);
}

/* One user's share of a bus has an end. */
ROLE(greedy)
{
    enum { SHARE = 4 };
    leat_bus *buses[SHARE + 1];
    for (int i = 0; i < SHARE; i++)
        CHECK_OK(leat_open(&buses[i], NULL));
    CHECK_EQ(leat_open(&buses[SHARE], NULL), LEAT_ELIMIT);
    CHECK(strstr(leat_last_error(NULL), "per-uid"));
    leat_topic_options options = LEAT_TOPIC_OPTIONS;
    options.ring_size = 64 << 10;
    int topics = 0, r;
    while ((r = leat_topic_create(buses[0], text("t%d", topics), &options)) == 0)
        CHECK(++topics < 100);
    CHECK_EQ(r, LEAT_ELIMIT);
    CHECK(strstr(leat_last_error(buses[0]), "per-uid"));
    CHECK_EQ(topics, 5);
    say("has its share");
    hear("end");
    for (int i = 0; i < SHARE; i++)
        leat_close(buses[i]);
}

TEST(one_user_cannot_lock_the_others_out)
{
    if (geteuid() != 0)
        SKIP("only root can become somebody else");
    CHECK_EQ(chmod(test_dir(), 0755), 0);
    struct bus *bus = bus_start("--max-clients-per-uid", "4", "--max-topics-per-uid", "5");
    struct child *greedy = spawn_nobody(bus, "greedy", NULL, NULL);
    child_expect(greedy, "has its share");
    struct child *other = bus_spawn_as(bus, "greedy", (struct spawn){ .uid = OTHER, .gid = OTHER });
    child_exit(other, 1); /* its topics have the names of the first one's: that is as with files */
    leat_bus *handle = bus_open(bus);
    bus_topic(bus, "mine");
    leat_close(handle);
    child_tell(greedy, "end");
    child_end(greedy);
}

/* Committed offsets are shared memory, too. */
ROLE(committer)
{
    leat_bus *bus = role_open();
    leat_offset offset = { .topic = "t", .offset = 0 };
    int groups = 0, r;
    while ((r = leat_group_reset(bus, text("g%d", groups), &offset, 1)) == 0)
        CHECK(++groups < 400);
    CHECK_EQ(r, LEAT_ELIMIT);
    CHECK(strstr(leat_last_error(bus), "max-memory-per-uid"));
    leat_close(bus);
}

TEST(groups_of_a_user_count_as_its_memory)
{
    if (geteuid() != 0)
        SKIP("only root can become somebody else");
    CHECK_EQ(chmod(test_dir(), 0755), 0);
    struct bus *bus = bus_start("--max-memory-per-uid", "1M");
    bus_topic(bus, "t", .mode = 0666);
    child_end(spawn_nobody(bus, "committer", NULL, NULL));
}

/* ---- a producer and a consumer of different users ---- */

ROLE(writer)
{
    leat_bus *bus = role_open();
    leat_producer *producer = open_producer(bus, "t", NULL);
    say("ready");
    for (uint64_t i = 0; i < 5000; i++)
        CHECK_OK(traffic_send(producer, 0, 0, i, traffic_size(i), NULL));
    leat_close(bus);
}

TEST(users_that_may_share_a_topic)
{
    struct bus *bus = open_to_all();
    bus_topic(bus, "t", .mode = 0662);
    leat_bus *handle = bus_open(bus);
    struct ledger *ledger = ledger_new(1, 5000);
    struct watcher *watcher = watcher_start(handle, "t", ledger, true);
    struct child *writer = spawn_nobody(bus, "writer", NULL, NULL);
    child_expect(writer, "ready");
    child_end(writer);
    WAIT_UNTIL(ledger_count(ledger, 0) == 5000, 5);
    watcher_stop(watcher);
    leat_close(handle);
}
