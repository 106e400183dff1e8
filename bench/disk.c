/*
 * What the disk under a directory can do, without leat: one flushed write after the other, as many as it takes side by side, and
 * files read from the page cache. All of it in files that were filled with zeros before, so that a write changes no metadata.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/err.h"
#include "store/io.h"

#define FILE_BYTES (512ull << 20)
#define DEPTH 32
#define READ_BYTES (256u << 10)

/* Zeros and synced; negative with a line in error. */
static int make_file(const char *directory, uint64_t size_bytes, char *error, size_t error_size)
{
    char path[256];
    snprintf(path, sizeof path, "%s/raw", directory);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : 0;
    struct lt_io *io = lt_io_plain(1);
    if (r == 0 && !io)
        r = -ENOMEM;
    if (r == 0)
        r = lt_io_write_zeros(io, fd, size_bytes, 0);
    if (r == 0)
        r = lt_io_sync(io, fd);
    unlink(path); /* the descriptor keeps it */
    if (io)
        lt_io_free(io);
    if (r == 0)
        return fd;
    snprintf(error, error_size, "%s: %s", path, strerror(-r));
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Buffered pwritev2 with RWF_DSYNC, end to end as a log is written. */
int bench_disk_write_round(const char *directory, uint32_t size_bytes, double slice_s,
                           struct bench_round *round, char *error, size_t error_size)
{
    static struct bench_hist hist;
    static unsigned char bytes[BENCH_RECORD_BYTES];
    const uint64_t file_bytes = 16 << 20;
    int fd = make_file(directory, file_bytes, error, error_size);
    if (fd < 0)
        return -1;
    struct iovec part = { .iov_base = bytes, .iov_len = size_bytes };
    struct bench_window window = bench_window_open(slice_s);
    uint64_t at = 0, to = 0;
    memset(&hist, 0, sizeof hist);
    memset(bytes, 0x5a, sizeof bytes);
    while (to < window.end) {
        at = at + size_bytes > file_bytes ? 0 : at;
        uint64_t from = bench_ticks();
        if (pwritev2(fd, &part, 1, (off_t)at, RWF_DSYNC) != (ssize_t)size_bytes) {
            snprintf(error, error_size, "pwritev2 with RWF_DSYNC: %s", strerror(errno));
            close(fd);
            return -1;
        }
        to = bench_ticks_after();
        at += size_bytes;
        if (to >= window.warm_end)
            bench_hist_add(&hist, to - from);
    }
    close(fd);
    round->n = hist.n;
    round->p50_ns = bench_ns(1) * bench_hist_at(&hist, 0.5);
    round->p99_ns = bench_ns(1) * bench_hist_at(&hist, 0.99);
    return 0;
}

/* Keeps DEPTH flushed writes of `block` under way. Bytes a second, or a line in error. */
static double write_side_by_side(struct lt_io *io, int fd, uint32_t block, const void *bytes, double slice_s,
                                 char *error, size_t error_size)
{
    struct bench_window window = bench_window_open(slice_s);
    struct lt_io_done done[DEPTH];
    uint64_t at = 0, from = 0, counted = 0, now = 0;
    int under_way = 0;
    while (now < window.end || under_way > 0) {
        for (; under_way < DEPTH && now < window.end; under_way++, at = (at + block) % FILE_BYTES) {
            struct lt_io_op op = {
                .kind = LT_IO_WRITE, .fd = fd, .flags = LT_IO_DSYNC, .size = block, .bytes = bytes, .at = at
            };
            if (lt_io_submit(io, &op, 1) != 1)
                break;
        }
        int n = lt_io_reap(io, done, DEPTH, -1);
        now = bench_ticks();
        for (int i = 0; i < n; i++)
            if (done[i].result != (int64_t)block) {
                snprintf(error, error_size, "a write of %u bytes gave %lld", block,
                         (long long)done[i].result);
                return 0;
            }
        under_way -= n;
        if (from != 0 && now < window.end)
            counted += (uint64_t)n * block;
        else if (from == 0 && now >= window.warm_end)
            from = now;
    }
    return (double)counted / bench_ns(window.end - from) * 1e9;
}

int bench_disk_bandwidth(const char *directory, uint32_t block, double slice_s, double *bytes_per_s,
                         char *error, size_t error_size)
{
    int why = 0;
    void *bytes = aligned_alloc(4096, block);
    struct lt_io *io = lt_io_uring(DEPTH, &why);
    int fd = make_file(directory, FILE_BYTES, error, error_size);
    *bytes_per_s = 0;
    if (!io)
        snprintf(error, error_size, "io_uring: %s", strerror(-why));
    if (io && fd >= 0 && bytes) {
        memset(bytes, 0x5a, block);
        *bytes_per_s = write_side_by_side(io, fd, block, bytes, slice_s, error, error_size);
    }
    if (fd >= 0)
        close(fd);
    if (io)
        lt_io_free(io);
    free(bytes);
    return *bytes_per_s > 0 ? 0 : -1;
}

/* Plain read() of a file, with a buffer that stays in the cache, every line of which is looked at as a reader of records does. */
int bench_disk_read(const char *path, uint64_t *bytes)
{
    static unsigned char buffer[READ_BYTES];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = -1;
    while (fd >= 0 && (n = read(fd, buffer, sizeof buffer)) > 0)
        *bytes += (uint64_t)n, bench_touch(buffer, (size_t)n);
    if (fd >= 0)
        close(fd);
    return n < 0 ? -errno : 0;
}
