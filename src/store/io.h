/* io: every file operation of the log goes through one table, so that tests can record, fail, tear and replay them.
 *
 * Two real ones: lt_io_plain (system calls) and lt_io_uring (the same, and writes in flight through io_uring).
 * tests/lib/simdisk.h is a disk in memory. Calls return >= 0 or -errno, as system calls do; who calls says
 * what it was about (lt_fail). An lt_io belongs to one thread at a time.
 */
#ifndef LT_STORE_IO_H
#define LT_STORE_IO_H

#include <stddef.h>
#include <stdint.h>

/* Flags of `open`, beside those of open(2): what is read comes from the disk, not from pages that only say what was once
 * written; offsets, sizes and memory are multiples of LT_STORE_PAGE. Where files have no O_DIRECT (tmpfs) it drops the pages
 * instead, as far as it can. */
#define LT_IO_PAST_CACHE 0x40000000

/* Flags of a write. */
#define LT_IO_DSYNC 1u /* done means on the disk, sizes included: RWF_DSYNC */
#define LT_IO_LINK 2u  /* asynchronous: the next one of the list starts only when this was done whole */

enum lt_io_kind { LT_IO_WRITE = 1, LT_IO_SYNC = 2 /* fdatasync: what was *done* before it was submitted */ };

/* A write or a sync under way. `bytes` stay as they are until it is done. */
struct lt_io_op {
    enum lt_io_kind kind;
    int fd;
    uint32_t flags;
    uint32_t size;
    const void *bytes;
    uint64_t at;
    uint64_t token; /* the caller's */
};

struct lt_io_done {
    uint64_t token;
    int64_t result; /* bytes written, 0 for a sync, or -errno */
};

struct lt_io_stat {
    uint64_t size;
    uint64_t inode;
};

struct lt_io;

struct lt_io_table {
    const char *name;
    int (*open)(struct lt_io *io, int dir, const char *name, int flags, unsigned mode);
    int (*close)(struct lt_io *io, int fd);
    int64_t (*read)(struct lt_io *io, int fd, void *bytes, size_t size, uint64_t at);
    int64_t (*write)(struct lt_io *io, int fd, const void *bytes, size_t size, uint64_t at, uint32_t flags);
    int (*datasync)(struct lt_io *io, int fd);
    int (*sync)(struct lt_io *io, int fd); /* files and directories */
    int (*allocate)(struct lt_io *io, int fd, uint64_t size);
    int (*rename)(struct lt_io *io, int dir, const char *from, const char *to);
    int (*unlink)(struct lt_io *io, int dir, const char *name);
    int (*mkdir)(struct lt_io *io, int dir, const char *name, unsigned mode);
    /* Names in no order, without . and .. */
    int (*list)(struct lt_io *io, int dir, void (*each)(void *arg, const char *name), void *arg);
    int (*stat)(struct lt_io *io, int fd, struct lt_io_stat *stat);
    int (*map)(struct lt_io *io, int fd, size_t size, const void **base); /* read-only, shared */
    int (*unmap)(struct lt_io *io, const void *base, size_t size);
    /* Starts what it can: how many of the list (the first ones, linked ones together), or -errno when none. */
    int (*submit)(struct lt_io *io, const struct lt_io_op *ops, int count);
    /* Waits at most timeout_ns (-1: for ever) for one at least when any is under way, then takes what there is; how many. */
    int (*reap)(struct lt_io *io, struct lt_io_done *done, int max, int64_t timeout_ns);
    void (*free)(struct lt_io *io);
};

struct lt_io {
    const struct lt_io_table *table;
};

/* The best this machine allows: io_uring, or plain writes with one line that says why. depth: operations under way at once.
 * NULL with lt_fail. */
struct lt_io *lt_io_start(unsigned depth);
struct lt_io *lt_io_plain(unsigned depth);
/* NULL and *error (-errno) where io_uring is missing, forbidden, or lacks what the log needs. */
struct lt_io *lt_io_uring(unsigned depth, int *error);
void lt_io_free(struct lt_io *io);

/* The synchronous half of the table, as system calls; io_uring's table has them, too. */
extern const struct lt_io_table lt_io_plain_table;

/* All of it, where a single call may do less: retries EINTR and goes on behind a short write. 0 or -errno (EIO: it stands
 * still). What has LT_IO_DSYNC is done again whole for the range that was not, so the promise holds for all of it. */
int lt_io_write_all(struct lt_io *io, int fd, const void *bytes, size_t size, uint64_t at, uint32_t flags);
/* Up to `size` bytes, fewer only at the end of the file. Bytes read or -errno. */
int64_t lt_io_read_all(struct lt_io *io, int fd, void *bytes, size_t size, uint64_t at);
/* `size` bytes of zeros at `at`. */
int lt_io_write_zeros(struct lt_io *io, int fd, uint64_t size, uint64_t at);

static inline int lt_io_open(struct lt_io *io, int dir, const char *name, int flags)
{
    return io->table->open(io, dir, name, flags, 0600);
}
static inline int lt_io_close(struct lt_io *io, int fd)
{
    return io->table->close(io, fd);
}
static inline int lt_io_datasync(struct lt_io *io, int fd)
{
    return io->table->datasync(io, fd);
}
static inline int lt_io_sync(struct lt_io *io, int fd)
{
    return io->table->sync(io, fd);
}
static inline int lt_io_rename(struct lt_io *io, int dir, const char *from, const char *to)
{
    return io->table->rename(io, dir, from, to);
}
static inline int lt_io_unlink(struct lt_io *io, int dir, const char *name)
{
    return io->table->unlink(io, dir, name);
}
static inline int lt_io_stat(struct lt_io *io, int fd, struct lt_io_stat *stat)
{
    return io->table->stat(io, fd, stat);
}
static inline int lt_io_submit(struct lt_io *io, const struct lt_io_op *ops, int count)
{
    return io->table->submit(io, ops, count);
}
/* One operation, done when this returns: what reap would have said of it. */
static inline int64_t lt_io_now(struct lt_io *io, const struct lt_io_op *op)
{
    if (op->kind == LT_IO_SYNC)
        return io->table->datasync(io, op->fd);
    return io->table->write(io, op->fd, op->bytes, op->size, op->at, op->flags);
}
static inline int lt_io_reap(struct lt_io *io, struct lt_io_done *done, int max, int64_t timeout_ns)
{
    return io->table->reap(io, done, max, timeout_ns);
}

#endif
