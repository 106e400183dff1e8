/* io_uring: the plain table, with submitted writes and syncs in flight.
 *
 * One system call submits a list, one waits. No kernel thread that polls (it would take a CPU that clients need), no
 * registered buffers (no gain was seen) and nothing that counts against memlock beyond the rings themselves.
 * Whoever frees the ring has reaped all: the kernel may still read the caller's bytes until then. */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

#include <leat.h>

#include "base/err.h"
#include "store/io.h"

struct uring {
    struct lt_io io;
    struct lt_io_table table;
    struct io_uring ring;
    unsigned depth, under_way;
    int broken; /* -errno: the ring refused what it has to take. What it may still hold is never handed to the kernel again */
};

static void prepare(struct io_uring_sqe *sqe, const struct lt_io_op *op)
{
    if (op->kind == LT_IO_SYNC)
        io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
    else
        io_uring_prep_write(sqe, op->fd, op->bytes, op->size, op->at);
    if (op->kind == LT_IO_WRITE && op->flags & LT_IO_DSYNC)
        sqe->rw_flags = RWF_DSYNC;
    if (op->flags & LT_IO_LINK)
        sqe->flags |= IOSQE_IO_LINK;
    sqe->user_data = op->token;
}

/* How many of the list fit now, without parting what is linked. */
static int fitting(const struct uring *uring, const struct lt_io_op *ops, int count)
{
    unsigned room = uring->depth - uring->under_way;
    int n = count < (int)room ? count : (int)room;
    while (n > 0 && n < count && ops[n - 1].flags & LT_IO_LINK)
        n--;
    return n;
}

static int uring_submit(struct lt_io *io, const struct lt_io_op *ops, int count)
{
    struct uring *uring = (struct uring *)io;
    int n = fitting(uring, ops, count);
    if (uring->broken < 0)
        return uring->broken;
    if (n == 0)
        return count == 0 ? 0 : -EAGAIN;
    for (int i = 0; i < n; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
        if (!sqe)
            return -EBUSY; /* not possible: there are as many as may be under way */
        prepare(sqe, &ops[i]);
    }
    uring->under_way += (unsigned)n;
    for (;;) {
        /* An entry that was prepared stays: what one call does not take, the next one does, or the wait in reap. */
        int taken = io_uring_submit(&uring->ring);
        if (taken >= 0 || taken == -EAGAIN || taken == -EBUSY)
            return n;
        if (taken != -EINTR)
            return uring->broken = taken;
    }
}

static int uring_reap(struct lt_io *io, struct lt_io_done *done, int max, int64_t timeout_ns)
{
    struct uring *uring = (struct uring *)io;
    struct io_uring_cqe *cqe;
    if (uring->under_way == 0 || max <= 0)
        return 0;
    if (uring->broken < 0)
        return uring->broken;
    if (io_uring_sq_ready(&uring->ring) > 0) {
        int taken = io_uring_submit(&uring->ring);
        if (taken < 0 && taken != -EAGAIN && taken != -EBUSY && taken != -EINTR)
            return uring->broken = taken;
        /* The kernel had no memory for one: whoever waits for that alone would wait for ever. */
        if (io_uring_sq_ready(&uring->ring) > 0 && (timeout_ns < 0 || timeout_ns > 1000000))
            timeout_ns = 1000000;
    }
    if (io_uring_cq_ready(&uring->ring) == 0 && timeout_ns != 0) {
        struct __kernel_timespec limit = { .tv_sec = timeout_ns / 1000000000,
                                           .tv_nsec = timeout_ns % 1000000000 };
        int error = io_uring_wait_cqes(&uring->ring, &cqe, 1, timeout_ns < 0 ? NULL : &limit, NULL);
        if (error < 0 && error != -ETIME && error != -EINTR && error != -EAGAIN)
            return error;
    }
    int n = 0;
    while (n < max && io_uring_peek_cqe(&uring->ring, &cqe) == 0) {
        done[n++] = (struct lt_io_done){ .token = cqe->user_data, .result = cqe->res };
        io_uring_cqe_seen(&uring->ring, cqe);
        uring->under_way--;
    }
    return n;
}

static void uring_free(struct lt_io *io)
{
    struct uring *uring = (struct uring *)io;
    io_uring_queue_exit(&uring->ring);
    free(uring);
}

/* Write is younger than io_uring itself; without it nothing here works. */
static int check_operations(struct io_uring *ring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    if (!probe)
        return -ENOSYS;
    int able = io_uring_opcode_supported(probe, IORING_OP_WRITE) &&
               io_uring_opcode_supported(probe, IORING_OP_FSYNC);
    io_uring_free_probe(probe);
    /* A wait with a timeout that takes no entry of ours. */
    return able && ring->features & IORING_FEAT_EXT_ARG ? 0 : -EOPNOTSUPP;
}

struct lt_io *lt_io_uring(unsigned depth, int *error)
{
    struct uring *uring = calloc(1, sizeof *uring);
    if (!uring) {
        *error = -ENOMEM;
        return NULL;
    }
    *error = io_uring_queue_init(depth, &uring->ring, 0);
    if (*error < 0) {
        free(uring);
        return NULL;
    }
    *error = check_operations(&uring->ring);
    if (*error < 0) {
        uring_free(&uring->io);
        return NULL;
    }
    uring->table = lt_io_plain_table;
    uring->table.name = "io_uring";
    uring->table.submit = uring_submit;
    uring->table.reap = uring_reap;
    uring->table.free = uring_free;
    uring->io.table = &uring->table;
    uring->depth = depth;
    return &uring->io;
}
