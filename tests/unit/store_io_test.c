/* io: the two real engines on a real directory, and the whole log on each. */
#include "store/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "store/plog.h"
#include "test.h"

static struct lt_io *engine(int which)
{
    int error = 0;
    struct lt_io *io = which == 0 ? lt_io_plain(16) : lt_io_uring(16, &error);
    if (!io)
        SKIP("no io_uring here: errno %d", -error);
    return io;
}

static int directory(void)
{
    int fd = open(test_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

static void write_and_reap(struct lt_io *io)
{
    static unsigned char bytes[16][512];
    struct lt_io_op ops[16];
    struct lt_io_done done[16];
    int dir = directory(), fd = lt_io_open(io, dir, "file", O_RDWR | O_CREAT | O_EXCL);
    bool seen[16] = { false };
    CHECK(fd >= 0);
    for (int i = 0; i < 16; i++) {
        memset(bytes[i], i + 1, sizeof bytes[i]);
        ops[i] = (struct lt_io_op){ .kind = i == 15 ? LT_IO_SYNC : LT_IO_WRITE,
                                    .fd = fd,
                                    .flags = i == 3    ? LT_IO_DSYNC
                                             : i == 14 ? LT_IO_LINK
                                                       : 0,
                                    .size = sizeof bytes[i],
                                    .bytes = bytes[i],
                                    .at = (uint64_t)i * sizeof bytes[i],
                                    .token = 1000 + (uint64_t)i };
    }
    CHECK_EQ(lt_io_reap(io, done, 16, -1), 0); /* nothing is under way: no wait */
    CHECK_EQ(lt_io_submit(io, ops, 16), 16);
    CHECK_EQ(lt_io_submit(io, ops, 1), -EAGAIN);
    for (int left = 16; left > 0;) {
        int n = lt_io_reap(io, done, 16, 1000000000);
        CHECK(n > 0);
        for (int i = 0; i < n; i++) {
            uint64_t which = done[i].token - 1000;
            CHECK(which < 16 && !seen[which]);
            seen[which] = true;
            CHECK_EQ(done[i].result, which == 15 ? 0 : 512);
        }
        left -= n;
    }
    for (int i = 0; i < 15; i++) {
        unsigned char back[512];
        CHECK_EQ(lt_io_read_all(io, fd, back, sizeof back, (uint64_t)i * 512), 512);
        CHECK_MEM(back, bytes[i], 512);
    }
    CHECK_EQ(lt_io_close(io, fd), 0);
    close(dir);
}

static void fails_with_the_descriptor(struct lt_io *io)
{
    struct lt_io_op op = { .kind = LT_IO_WRITE, .fd = 999, .size = 1, .bytes = "x" };
    struct lt_io_done done;
    CHECK_EQ(lt_io_submit(io, &op, 1), 1);
    CHECK_EQ(lt_io_reap(io, &done, 1, -1), 1);
    CHECK_EQ(done.result, -EBADF);
}

/* Records in, out again after a close and after a death, with rolls in between. */
static void keep_a_log(struct lt_io *io)
{
    static unsigned char stage[64 << 10] __attribute__((aligned(64))), value[1000];
    struct lt_plog_settings settings = { .id = { 1, 1 },
                                         .segment_bytes = 64 << 10,
                                         .level = LT_PLOG_DURABLE };
    struct lt_plog *log;
    int dir = directory();
    if (lt_plog_open(io, dir, test_dir(), &settings, LT_RECOVER_CREATE, &log) != 0)
        FAIL("open: %s", lt_fail_text());
    for (uint64_t offset = 0; offset < 300; offset++) {
        struct lt_batch batch;
        struct lt_io_op op;
        struct lt_io_done done;
        memset(value, (int)offset, sizeof value);
        struct lt_store_record record = { .offset = offset,
                                          .key_size = LT_STORE_NULL,
                                          .value_size = sizeof value,
                                          .kind = LT_RECORD_DATA,
                                          .bytes = value };
        CHECK_EQ(lt_plog_prepare(log), 0);
        lt_batch_start(&batch, stage, sizeof stage, offset);
        CHECK_EQ(lt_batch_add(&batch, &record), 0);
        CHECK_EQ(lt_plog_append(log, &batch, &op), 0);
        CHECK_EQ(lt_io_submit(io, &op, 1), 1);
        CHECK_EQ(lt_io_reap(io, &done, 1, -1), 1);
        CHECK_EQ(lt_plog_completed(log, done.token, done.result, &op), 0);
        CHECK_EQ(lt_plog_acked(log), offset + 1);
        if (offset % 100 == 99) {
            lt_plog_abandon(log);
            CHECK_EQ(lt_plog_open(io, dir, test_dir(), &settings, 0, &log), 0);
            CHECK_EQ(lt_plog_end(log), offset + 1);
            CHECK_EQ(lt_plog_state(log), LT_PLOG_OPEN);
        }
    }
    for (uint64_t offset = 0; offset < 300; offset += 37) {
        struct lt_plog_place place;
        struct lt_plog_cursor cursor;
        struct lt_store_record record = { 0 };
        uint32_t at = 0;
        CHECK_EQ(lt_plog_find(log, offset, &place), 0);
        lt_plog_cursor_start(&cursor, &place);
        CHECK_EQ(lt_plog_read(log, &cursor, stage, sizeof stage), 0);
        CHECK_EQ(lt_batch_next(stage, &at, &record), 1);
        CHECK_EQ(record.offset, offset);
        CHECK_EQ(((const unsigned char *)record.bytes)[999], offset & 0xff);
        lt_plog_cursor_end(log, &cursor);
    }
    CHECK_EQ(lt_plog_close(log, 300), 0);
    close(dir);
}

TEST(plain_writes_and_tells)
{
    struct lt_io *io = engine(0);
    write_and_reap(io);
    fails_with_the_descriptor(io);
    lt_io_free(io);
}

TEST(uring_writes_and_tells)
{
    struct lt_io *io = engine(1);
    write_and_reap(io);
    fails_with_the_descriptor(io);
    lt_io_free(io);
}

TEST(log_lives_on_plain_writes)
{
    struct lt_io *io = engine(0);
    keep_a_log(io);
    lt_io_free(io);
}

TEST(log_lives_on_io_uring)
{
    struct lt_io *io = engine(1);
    keep_a_log(io);
    lt_io_free(io);
}

TEST(reap_returns_when_its_time_is_over)
{
    struct lt_io *io = engine(1);
    struct lt_io_done done;
    int dir = directory(), fd = lt_io_open(io, dir, "file", O_RDWR | O_CREAT);
    struct lt_io_op op = { .kind = LT_IO_SYNC, .fd = fd };
    CHECK_EQ(lt_io_submit(io, &op, 1), 1);
    while (lt_io_reap(io, &done, 1, 1) == 0)
        continue;
    CHECK_EQ(lt_io_reap(io, &done, 1, -1), 0);
    lt_io_free(io);
}

/* As in a container that allows no io_uring: the kernel says EPERM. */
static void forbid_io_uring(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof filter / sizeof filter[0], .filter = filter };
    CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

TEST(plain_writes_take_over_where_io_uring_is_forbidden)
{
    forbid_io_uring();
    struct lt_io *io = lt_io_start(16);
    CHECK(io != NULL);
    CHECK_STR(io->table->name, "plain");
    keep_a_log(io);
    lt_io_free(io);
}
