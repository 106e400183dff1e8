/* io_plain: the table as system calls. What is submitted is done before submit returns; reap only tells. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <leat.h>

#include "base/err.h"
#include "store/io.h"

struct plain {
    struct lt_io io;
    unsigned depth, head, count; /* of done, a ring */
    struct lt_io_done done[];
};

static int result_of(int64_t result)
{
    return result < 0 ? -errno : (int)result;
}

static int plain_open(struct lt_io *io, int dir, const char *name, int flags, unsigned mode)
{
    (void)io;
    bool past_cache = flags & LT_IO_PAST_CACHE;
    flags = (flags & ~LT_IO_PAST_CACHE) | O_CLOEXEC;
    int fd = openat(dir, name, past_cache ? flags | O_DIRECT : flags, mode);
    if (fd < 0 && past_cache && errno == EINVAL) {
        fd = openat(dir, name, flags, mode);
        if (fd >= 0)
            posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    }
    return result_of(fd);
}

static int plain_close(struct lt_io *io, int fd)
{
    (void)io;
    return result_of(close(fd));
}

static int64_t plain_read(struct lt_io *io, int fd, void *bytes, size_t size, uint64_t at)
{
    (void)io;
    int64_t n = pread(fd, bytes, size, (off_t)at);
    return n < 0 ? -errno : n;
}

static int64_t plain_write(struct lt_io *io, int fd, const void *bytes, size_t size, uint64_t at,
                           uint32_t flags)
{
    (void)io;
    struct iovec part = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = size };
    int64_t n = pwritev2(fd, &part, 1, (off_t)at, flags & LT_IO_DSYNC ? RWF_DSYNC : 0);
    if (n < 0 && errno == EOPNOTSUPP && flags & LT_IO_DSYNC) {
        n = pwrite(fd, bytes, size, (off_t)at);
        if (n >= 0 && fdatasync(fd) < 0)
            return -errno;
    }
    return n < 0 ? -errno : n;
}

static int plain_datasync(struct lt_io *io, int fd)
{
    (void)io;
    return result_of(fdatasync(fd));
}

static int plain_sync(struct lt_io *io, int fd)
{
    (void)io;
    return result_of(fsync(fd));
}

static int plain_allocate(struct lt_io *io, int fd, uint64_t size)
{
    (void)io;
    return result_of(fallocate(fd, 0, 0, (off_t)size));
}

static int plain_rename(struct lt_io *io, int dir, const char *from, const char *to)
{
    (void)io;
    return result_of(renameat(dir, from, dir, to));
}

static int plain_unlink(struct lt_io *io, int dir, const char *name)
{
    (void)io;
    return result_of(unlinkat(dir, name, 0));
}

static int plain_mkdir(struct lt_io *io, int dir, const char *name, unsigned mode)
{
    (void)io;
    return result_of(mkdirat(dir, name, mode));
}

static int plain_list(struct lt_io *io, int dir, void (*each)(void *arg, const char *name), void *arg)
{
    (void)io;
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    DIR *stream = fdopendir(fd);
    if (!stream) {
        int error = -errno;
        close(fd);
        return error;
    }
    struct dirent *entry;
    while (errno = 0, (entry = readdir(stream)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            each(arg, entry->d_name);
    int error = -errno;
    closedir(stream);
    return error;
}

static int plain_stat(struct lt_io *io, int fd, struct lt_io_stat *stat)
{
    (void)io;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    *stat = (struct lt_io_stat){ .size = (uint64_t)st.st_size, .inode = st.st_ino };
    return 0;
}

static int plain_map(struct lt_io *io, int fd, size_t size, const void **base)
{
    (void)io;
    void *at = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return -errno;
    *base = at;
    return 0;
}

static int plain_unmap(struct lt_io *io, const void *base, size_t size)
{
    (void)io;
    return result_of(munmap((void *)(uintptr_t)base, size));
}

static int64_t run(struct lt_io *io, const struct lt_io_op *op)
{
    if (op->kind == LT_IO_SYNC)
        return plain_datasync(io, op->fd);
    return plain_write(io, op->fd, op->bytes, op->size, op->at, op->flags);
}

static int plain_submit(struct lt_io *io, const struct lt_io_op *ops, int count)
{
    struct plain *plain = (struct plain *)io;
    bool broken = false;
    int taken = 0;
    for (; taken < count && plain->count < plain->depth; taken++) {
        const struct lt_io_op *op = &ops[taken];
        int64_t result = broken ? -ECANCELED : run(io, op);
        broken = op->flags & LT_IO_LINK &&
                 (broken || result < 0 || (op->kind == LT_IO_WRITE && result != op->size));
        plain->done[(plain->head + plain->count++) % plain->depth] = (struct lt_io_done){ .token = op->token,
                                                                                          .result = result };
    }
    return taken > 0 || count == 0 ? taken : -EAGAIN;
}

static int plain_reap(struct lt_io *io, struct lt_io_done *done, int max, int64_t timeout_ns)
{
    (void)timeout_ns;
    struct plain *plain = (struct plain *)io;
    int n = 0;
    for (; n < max && plain->count > 0; n++) {
        done[n] = plain->done[plain->head];
        plain->head = (plain->head + 1) % plain->depth;
        plain->count--;
    }
    return n;
}

static void plain_free(struct lt_io *io)
{
    free(io);
}

const struct lt_io_table lt_io_plain_table = {
    .name = "plain",
    .open = plain_open,
    .close = plain_close,
    .read = plain_read,
    .write = plain_write,
    .datasync = plain_datasync,
    .sync = plain_sync,
    .allocate = plain_allocate,
    .rename = plain_rename,
    .unlink = plain_unlink,
    .mkdir = plain_mkdir,
    .list = plain_list,
    .stat = plain_stat,
    .map = plain_map,
    .unmap = plain_unmap,
    .submit = plain_submit,
    .reap = plain_reap,
    .free = plain_free,
};

struct lt_io *lt_io_plain(unsigned depth)
{
    struct plain *plain = calloc(1, sizeof *plain + depth * sizeof plain->done[0]);
    if (!plain) {
        lt_fail(LEAT_ENOMEM, "log: no memory for %u operations", depth);
        return NULL;
    }
    plain->io.table = &lt_io_plain_table;
    plain->depth = depth;
    return &plain->io;
}
