/* io: which table, and the loops around calls that may do less than asked. */
#include "store/io.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "store/io_fail.h"

#define TRIES 16 /* interruptions in a row without a byte: somebody is not interrupting but refusing */

struct lt_io *lt_io_start(unsigned depth)
{
    int error = 0;
    struct lt_io *io = lt_io_uring(depth, &error);
    if (io)
        return lt_io_failing(io);
    lt_log(LT_LOG_WARN, "log: io_uring cannot be used (%s, errno %d): plain writes instead", strerror(-error),
           -error);
    return lt_io_failing(lt_io_plain(depth));
}

void lt_io_free(struct lt_io *io)
{
    if (io)
        io->table->free(io);
}

int lt_io_write_all(struct lt_io *io, int fd, const void *bytes, size_t size, uint64_t at, uint32_t flags)
{
    const unsigned char *from = bytes;
    int tries = 0;
    while (size > 0) {
        int64_t n = io->table->write(io, fd, from, size, at, flags);
        if (n <= 0 && (n == 0 || n == -EINTR || n == -EAGAIN)) {
            if (++tries == TRIES)
                return n == 0 ? -EIO : (int)n;
            continue;
        }
        if (n < 0)
            return (int)n;
        if ((uint64_t)n > size)
            return -EIO;
        tries = 0;
        from += n;
        at += (uint64_t)n;
        size -= (size_t)n;
    }
    return 0;
}

int64_t lt_io_read_all(struct lt_io *io, int fd, void *bytes, size_t size, uint64_t at)
{
    unsigned char *to = bytes;
    size_t got = 0;
    int tries = 0;
    while (got < size) {
        int64_t n = io->table->read(io, fd, to + got, size - got, at + got);
        if (n == -EINTR && ++tries < TRIES)
            continue;
        if (n < 0)
            return n;
        if (n == 0)
            break;
        tries = 0;
        got += (size_t)n;
    }
    return (int64_t)got;
}

int lt_io_write_zeros(struct lt_io *io, int fd, uint64_t size, uint64_t at)
{
    static const unsigned char zeros[256 << 10];
    while (size > 0) {
        size_t part = size < sizeof zeros ? (size_t)size : sizeof zeros;
        int error = lt_io_write_all(io, fd, zeros, part, at, 0);
        if (error < 0)
            return error;
        at += part;
        size -= part;
    }
    return 0;
}
