/* still: store/io's table without anything that changes a file, so that the store's own recovery can be asked what it would do.
 * What it writes, syncs and removes succeeds and does not happen; what it makes it cannot make. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "dump.h"

struct still {
    struct lt_io io;
    struct lt_io_table table;
    bool past_cache;
};

static int still_open(struct lt_io *io, int dir, const char *name, int flags, unsigned mode)
{
    const struct still *still = (const struct still *)(void *)io;
    if (flags & O_CREAT)
        return -EROFS;
    flags = (flags & ~O_ACCMODE) | O_RDONLY;
    if (!still->past_cache)
        flags &= ~LT_IO_PAST_CACHE;
    return lt_io_plain_table.open(io, dir, name, flags, mode);
}

static int64_t still_write(struct lt_io *io, int fd, const void *bytes, size_t size, uint64_t at,
                           uint32_t flags)
{
    (void)io, (void)fd, (void)bytes, (void)at, (void)flags;
    return (int64_t)size;
}

static int still_sync(struct lt_io *io, int fd)
{
    (void)io, (void)fd;
    return 0;
}

static int still_allocate(struct lt_io *io, int fd, uint64_t size)
{
    (void)io, (void)fd, (void)size;
    return -EROFS;
}

static int still_rename(struct lt_io *io, int dir, const char *from, const char *to)
{
    (void)io, (void)dir, (void)from, (void)to;
    return -EROFS;
}

static int still_unlink(struct lt_io *io, int dir, const char *name)
{
    (void)io, (void)dir, (void)name;
    return 0;
}

static int still_mkdir(struct lt_io *io, int dir, const char *name, unsigned mode)
{
    (void)io, (void)dir, (void)name, (void)mode;
    return -EROFS;
}

static int still_submit(struct lt_io *io, const struct lt_io_op *ops, int count)
{
    (void)io, (void)ops, (void)count;
    return -EROFS;
}

static int still_reap(struct lt_io *io, struct lt_io_done *done, int max, int64_t timeout_ns)
{
    (void)io, (void)done, (void)max, (void)timeout_ns;
    return 0;
}

struct lt_io *still_start(bool past_cache)
{
    struct still *still = calloc(1, sizeof *still);
    if (!still)
        return NULL;
    still->table =
        lt_io_plain_table; /* of which open, close, read, list, stat, map, unmap and free are taken */
    still->table.name = "still";
    still->table.open = still_open;
    still->table.write = still_write;
    still->table.datasync = still_sync;
    still->table.sync = still_sync;
    still->table.allocate = still_allocate;
    still->table.rename = still_rename;
    still->table.unlink = still_unlink;
    still->table.mkdir = still_mkdir;
    still->table.submit = still_submit;
    still->table.reap = still_reap;
    still->io.table = &still->table;
    still->past_cache = past_cache;
    return &still->io;
}
