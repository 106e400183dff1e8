/* io_fail: file operations that fail when a test says so (builds with LT_KILL_POINTS only).
 *
 *   LEAT_IO_FAIL=FILE   each line of FILE, as it is at that moment: OP ERRNO PART
 *
 * OP: open, read, write, sync, allocate, rename, unlink, or any. ERRNO: a number; 0: a write does only half. PART: only files whose
 * path contains it. A FILE that is not there fails nothing, so a test makes and removes it as it likes.
 */
#include "store/io.h"

#ifdef LT_KILL_POINTS

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/io_fail.h"

#define DONE 256u

struct fail {
    struct lt_io io;
    struct lt_io_table table;
    struct lt_io *inner;
    struct lt_io_done done[DONE]; /* of operations that were not let through */
    uint32_t count;
};

static struct lt_io *inner_of(struct lt_io *io)
{
    return ((struct fail *)io)->inner;
}

/* 0: let through; -errno; 1: half of it. */
static int asked(const char *op, const char *path)
{
    char line_op[16], part[256];
    int error, found = 0;
    FILE *file = fopen(getenv("LEAT_IO_FAIL"), "re");
    if (!file)
        return 0;
    while (found == 0 && fscanf(file, "%15s %d %255s", line_op, &error, part) == 3)
        if ((strcmp(line_op, op) == 0 || strcmp(line_op, "any") == 0) && strstr(path, part))
            found = error == 0 ? 1 : -error;
    fclose(file);
    return found;
}

static int asked_fd(const char *op, int fd, const char *name)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 300);
    size = size < 0 ? 0 : size;
    snprintf(path + size, 300, "/%s", name);
    return asked(op, path);
}

static int fail_open(struct lt_io *io, int dir, const char *name, int flags, unsigned mode)
{
    int r = asked_fd("open", dir, name);
    return r < 0 ? r : inner_of(io)->table->open(inner_of(io), dir, name, flags, mode);
}

static int fail_close(struct lt_io *io, int fd)
{
    return inner_of(io)->table->close(inner_of(io), fd);
}

static int64_t fail_read(struct lt_io *io, int fd, void *bytes, size_t size, uint64_t at)
{
    int r = asked_fd("read", fd, "");
    return r < 0 ? r : inner_of(io)->table->read(inner_of(io), fd, bytes, size, at);
}

static int64_t fail_write(struct lt_io *io, int fd, const void *bytes, size_t size, uint64_t at,
                          uint32_t flags)
{
    int r = asked_fd("write", fd, "");
    return r < 0 ? r
                 : inner_of(io)->table->write(inner_of(io), fd, bytes, r == 1 ? (size + 1) / 2 : size, at,
                                              flags);
}

static int fail_datasync(struct lt_io *io, int fd)
{
    int r = asked_fd("sync", fd, "");
    return r < 0 ? r : inner_of(io)->table->datasync(inner_of(io), fd);
}

static int fail_sync(struct lt_io *io, int fd)
{
    int r = asked_fd("sync", fd, "");
    return r < 0 ? r : inner_of(io)->table->sync(inner_of(io), fd);
}

static int fail_allocate(struct lt_io *io, int fd, uint64_t size)
{
    int r = asked_fd("allocate", fd, "");
    return r < 0 ? r : inner_of(io)->table->allocate(inner_of(io), fd, size);
}

static int fail_rename(struct lt_io *io, int dir, const char *from, const char *to)
{
    int r = asked_fd("rename", dir, to);
    return r < 0 ? r : inner_of(io)->table->rename(inner_of(io), dir, from, to);
}

static int fail_unlink(struct lt_io *io, int dir, const char *name)
{
    int r = asked_fd("unlink", dir, name);
    return r < 0 ? r : inner_of(io)->table->unlink(inner_of(io), dir, name);
}

static int fail_mkdir(struct lt_io *io, int dir, const char *name, unsigned mode)
{
    return inner_of(io)->table->mkdir(inner_of(io), dir, name, mode);
}

static int fail_list(struct lt_io *io, int dir, void (*each)(void *arg, const char *name), void *arg)
{
    return inner_of(io)->table->list(inner_of(io), dir, each, arg);
}

static int fail_stat(struct lt_io *io, int fd, struct lt_io_stat *stat)
{
    return inner_of(io)->table->stat(inner_of(io), fd, stat);
}

static int fail_map(struct lt_io *io, int fd, size_t size, const void **base)
{
    return inner_of(io)->table->map(inner_of(io), fd, size, base);
}

static int fail_unmap(struct lt_io *io, const void *base, size_t size)
{
    return inner_of(io)->table->unmap(inner_of(io), base, size);
}

/* One after the other: what is linked is no longer, which whoever tests failures can do without. */
static int fail_submit(struct lt_io *io, const struct lt_io_op *ops, int count)
{
    struct fail *fail = (struct fail *)io;
    for (int i = 0; i < count; i++) {
        struct lt_io_op op = ops[i];
        int r = asked_fd(op.kind == LT_IO_SYNC ? "sync" : "write", op.fd, "");
        if (r < 0 && fail->count < DONE) {
            fail->done[fail->count++] = (struct lt_io_done){ .token = op.token, .result = r };
            continue;
        }
        if (r == 1 && op.kind == LT_IO_WRITE)
            op.size = (op.size + 1) / 2;
        r = fail->inner->table->submit(fail->inner, &op, 1);
        if (r <= 0)
            return i > 0 ? i : r;
    }
    return count;
}

static int fail_reap(struct lt_io *io, struct lt_io_done *done, int max, int64_t timeout_ns)
{
    struct fail *fail = (struct fail *)io;
    int n = 0;
    while (n < max && fail->count > 0)
        done[n++] = fail->done[--fail->count];
    int more = fail->inner->table->reap(fail->inner, done + n, max - n, n > 0 ? 0 : timeout_ns);
    return more < 0 && n == 0 ? more : n + (more > 0 ? more : 0);
}

static void fail_free(struct lt_io *io)
{
    lt_io_free(inner_of(io));
    free(io);
}

struct lt_io *lt_io_failing(struct lt_io *inner)
{
    struct fail *fail = inner && getenv("LEAT_IO_FAIL") ? calloc(1, sizeof *fail) : NULL;
    if (!fail)
        return inner;
    fail->table = (struct lt_io_table){
        .name = inner->table->name,
        .open = fail_open,
        .close = fail_close,
        .read = fail_read,
        .write = fail_write,
        .datasync = fail_datasync,
        .sync = fail_sync,
        .allocate = fail_allocate,
        .rename = fail_rename,
        .unlink = fail_unlink,
        .mkdir = fail_mkdir,
        .list = fail_list,
        .stat = fail_stat,
        .map = fail_map,
        .unmap = fail_unmap,
        .submit = fail_submit,
        .reap = fail_reap,
        .free = fail_free,
    };
    fail->io.table = &fail->table;
    fail->inner = inner;
    return &fail->io;
}

#endif
