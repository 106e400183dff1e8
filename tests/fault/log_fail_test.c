/* Disks that fail, fill up, or may not be asked the modern way, under a bus that works.
 *
 * Goal: an error stops its partition and nothing else, says where and why, and acknowledges nothing that is not there; an operator's word, or
 * space, makes it go on with nothing lost that was acknowledged.
 * Method: leatd with fault points and LEAT_IO_FAIL (store/io_fail.c), which names a file; what is in it fails, from the moment at which the
 * test writes it to the moment at which it removes it.
 */
#include "base/atomic.h"
#include "bus.h"
#include "client/bus.h"
#include "test.h"
#include "traffic.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *fail_file(void)
{
    return text("%s/fail", test_dir());
}

/* fail("write %d topics/t/0/", EIO): from now on. */
static void fail(const char *op, int error, const char *part)
{
    FILE *file = fopen(text("%s.new", fail_file()), "w");
    CHECK(file);
    fprintf(file, "%s %d %s\n", op, error, part);
    CHECK_EQ(fclose(file), 0);
    CHECK_EQ(rename(text("%s.new", fail_file()), fail_file()), 0);
}

static void fail_no_more(void)
{
    CHECK_EQ(unlink(fail_file()), 0);
}

static struct bus *start(void)
{
    setenv("LEAT_IO_FAIL", fail_file(), 1);
    return bus_start_fault(NULL, "--log-level", "error");
}

static void make_topic(const struct bus *bus, enum leat_level level)
{
    bus_topic(bus, "t", .partitions = 2, .level = level, .segment_bytes = 64 << 10, .retention_bytes = -1,
              .retention_ms = -1);
}

/* Sends and waits: what wait said. */
static int send(leat_producer *producer, uint32_t partition, uint64_t number, int wait_ms)
{
    leat_receipt receipt;
    int r = traffic_send(producer, partition, partition, number, 200, &receipt);
    return r < 0 ? r : leat_producer_wait(producer, &receipt, wait_ms);
}

static bool state_is(leat_bus *bus, uint32_t partition, const char *state)
{
    leat_topic_info *info = bus_describe(bus, "t");
    bool is = strcmp(info->partitions[partition].state, state) == 0;
    leat_topic_info_free(info);
    return is;
}

static void has_reason(leat_bus *bus, uint32_t partition, const char *a, const char *b)
{
    leat_topic_info *info = bus_describe(bus, "t");
    const char *reason = info->partitions[partition].reason;
    if (!reason || !strstr(reason, a) || !strstr(reason, b))
        FAIL("the reason \"%s\" does not say \"%s\" and \"%s\"", reason ? reason : "", a, b);
    leat_topic_info_free(info);
}

/* All of [0, below) of both senders, from the first record on. */
static void read_back(leat_bus *bus, const uint64_t below[2])
{
    struct ledger *ledger = ledger_new(2, 1 << 12);
    ledger_in_order(ledger);
    leat_consumer *reader = open_reader(bus, "t", NULL);
    traffic_read(reader, ledger, below[0] + below[1], 10);
    ledger_all(ledger, 0, below[0]);
    ledger_all(ledger, 1, below[1]);
    CHECK_EQ(ledger_missed_count(ledger), 0);
    ledger_free(ledger);
    CHECK_OK(leat_consumer_close(reader));
}

/* An error of one partition's file: acknowledged before, refused during, and the same again after `resume`. */
static void error_and_resume(const char *op, enum leat_level level)
{
    struct bus *bus = start();
    make_topic(bus, level);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    for (uint64_t i = 0; i < 10; i++) {
        CHECK_OK(send(producer, 0, i, 10000));
        CHECK_OK(send(producer, 1, i, 10000));
    }
    fail(op, EIO, "topics/t/0/");
    /* The one under way is in the ring, visible to nobody, and not acknowledged. */
    CHECK_EQ(send(producer, 0, 10, 10000), LEAT_EIO);
    CHECK(strstr(leat_last_error(handle), "topics/t/0"));
    WAIT_UNTIL(state_is(handle, 0, "failed"), 5);
    has_reason(handle, 0, "topics/t/0", strerror(EIO));
    CHECK_EQ(traffic_send(producer, 0, 0, 11, 200, NULL), LEAT_EIO);
    for (uint64_t i = 10; i < 300; i++)
        CHECK_OK(send(producer, 1, i, 10000));
    CHECK(state_is(handle, 1, "open"));

    /* While the disk still fails, resuming does not help, and does no harm. */
    leat_topic_resume(handle, "t", 0, 0);
    WAIT_UNTIL(state_is(handle, 0, "failed"), 5);
    fail_no_more();
    WAIT_UNTIL(leat_topic_resume(handle, "t", 0, 0) >= 0 || state_is(handle, 0, "open"), 10);
    WAIT_UNTIL(state_is(handle, 0, "open"), 10);
    for (uint64_t i = 11; i < 20; i++)
        CHECK_OK(send(producer, 0, i, 10000));
    read_back(handle, (uint64_t[]){ 20, 300 });
    CHECK_OK(leat_producer_close(producer));
    leat_close(handle);
    bus_stop(bus);
}

TEST(write_error_stops_its_partition_until_an_operator_resumes_it)
{
    error_and_resume("write", LEAT_DURABLE);
}

TEST(write_error_at_level_written_stops_its_partition)
{
    error_and_resume("write", LEAT_WRITTEN);
}

/* At level ring the persister comes round by itself while there is something, and sleeps on bells when there is not. */
TEST(partition_that_failed_at_level_ring_makes_no_other_wait)
{
    struct bus *bus = start();
    make_topic(bus, LEAT_RING);
    leat_bus *handle = bus_open(bus);
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.level = LEAT_WRITTEN;
    leat_producer *producer = open_producer(handle, "t", &options);
    CHECK_OK(send(producer, 0, 0, 10000));
    fail("write", EIO, "topics/t/0/");
    CHECK_EQ(send(producer, 0, 1, 10000), LEAT_EIO);
    /* Were it still waiting to come round for the one that failed, it would not listen for the others. */
    const uint32_t *gather = &handle->bells->bells[LT_BELL_GATHER].word;
    for (uint64_t i = 0; i < 20; i++) {
        WAIT_UNTIL(lt_load_acquire32(gather) & LT_BELL_WAITERS, 10);
        CHECK_OK(send(producer, 1, i, 10000));
    }
    CHECK_EQ(leat_producer_close(producer), LEAT_EIO);
    leat_close(handle);
    bus_stop(bus);
}

/* A write that does half of its work is no error: it goes on. */
TEST(short_writes_go_on)
{
    struct bus *bus = start();
    make_topic(bus, LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    fail("write", 0, "topics/t/0/");
    for (uint64_t i = 0; i < 50; i++)
        CHECK_OK(send(producer, 0, i, 10000));
    fail_no_more();
    CHECK(state_is(handle, 0, "open"));
    read_back(handle, (uint64_t[]){ 50, 0 });
    CHECK_OK(leat_producer_close(producer));
    leat_close(handle);
    bus_stop(bus);
}

/* A full disk shows before anything is promised, refuses at once even where on_full says block, and is over by itself. */
TEST(full_disk_refuses_at_once_and_goes_on_by_itself)
{
    struct bus *bus = start();
    make_topic(bus, LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.full_timeout_ms = 60000;
    leat_producer *producer = open_producer(handle, "t", &options);
    fail("allocate", ENOSPC, "topics/t/0/");
    uint64_t sent = 0;
    int r = 0;
    /* 64 KiB of segment: half of it is filled, then the next one is wanted. */
    while (sent < 1000 && (r = send(producer, 0, sent, 10000)) == 0)
        sent++;
    CHECK_EQ(r, LEAT_ENOSPC);
    WAIT_UNTIL(state_is(handle, 0, "full"), 5);
    has_reason(handle, 0, "topics/t/0", strerror(ENOSPC));
    double before = now_s();
    CHECK_EQ(traffic_send(producer, 0, 0, sent, 200, NULL), LEAT_ENOSPC);
    CHECK(now_s() - before < 30);
    CHECK_OK(send(producer, 1, 0, 10000));
    fail_no_more();
    WAIT_UNTIL(state_is(handle, 0, "open"), 10);
    for (uint64_t i = 0; i < 1000; i++)
        CHECK_OK(send(producer, 0, sent + i, 10000));
    read_back(handle, (uint64_t[]){ sent + 1000, 1 });
    CHECK_OK(leat_producer_close(producer));
    leat_close(handle);
    bus_stop(bus);
}

/* The worker dies while a partition is failed: the next one opens it by itself, with what the disk has. */
TEST(failed_partition_is_open_again_with_the_next_worker)
{
    struct bus *bus = start();
    make_topic(bus, LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    for (uint64_t i = 0; i < 10; i++)
        CHECK_OK(send(producer, 0, i, 10000));
    fail("write", EIO, "topics/t/0/");
    CHECK_EQ(send(producer, 0, 10, 10000), LEAT_EIO);
    fail_no_more();
    uint64_t killed = bus_kill_worker(bus);
    bus_wait_worker(bus, killed);
    WAIT_UNTIL(state_is(handle, 0, "open"), 10);
    CHECK_OK(send(producer, 0, 11, 10000));
    read_back(handle, (uint64_t[]){ 12, 0 });
    CHECK_OK(leat_producer_close(producer));
    leat_close(handle);
    bus_stop(bus);
}

/* --- where io_uring may not be used --- */

static void forbid_io_uring(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof filter / sizeof filter[0], .filter = filter };
    CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void durable_round(struct bus *bus)
{
    make_topic(bus, LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    for (uint64_t i = 0; i < 500; i++)
        CHECK_OK(traffic_send(producer, (uint32_t)i % 2, (uint32_t)i % 2, i / 2, 200, NULL));
    CHECK_OK(leat_producer_flush(producer, 20000));
    read_back(handle, (uint64_t[]){ 250, 250 });
    CHECK_OK(leat_producer_close(producer));
    leat_close(handle);
}

TEST(without_io_uring_the_log_is_written_by_plain_writes)
{
    forbid_io_uring();
    struct bus *bus = bus_start();
    durable_round(bus);
    bus_stop(bus);
}

/* An ordinary user, with the 8 MiB of locked memory that one usually has. */
ROLE(ordinary)
{
    CHECK_EQ(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ 8 << 20, 8 << 20 }), 0);
    struct bus *bus = bus_start_in(role_arg(0), (const char *const[]){ NULL });
    durable_round(bus);
    bus_stop(bus);
    say("done");
}

TEST(ordinary_user_with_8_mib_of_memlock_has_durable_topics)
{
    if (geteuid() != 0)
        SKIP("only root becomes somebody else");
    const char *directory = text("%s/ordinary", test_dir()), *copy = text("%s/leatd", test_dir()), *output;
    /* Where the project lies, others may not look. */
    CHECK_EQ(
        run_program((const char *const[]){ "/bin/cp", test_program("LEAT_TEST_LEATD"), copy, NULL }, &output),
        0);
    CHECK_EQ(chmod(copy, 0755), 0);
    setenv("LEAT_TEST_LEATD", copy, 1);
    CHECK_EQ(chmod(test_dir(), 0777), 0);
    struct bus nothing = { .path = "" };
    struct child *child = bus_spawn(&nothing, ordinary, .uid = 65534, .gid = 65534, .no_bus = true,
                                    .args = { directory });
    child_expect(child, "done");
    child_end(child);
}
