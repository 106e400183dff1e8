/* lease: see lease.h. The thread sleeps in poll() on the socket's hang-up and on its eventfd; nothing else wakes it, but for
 * once a second while several handles of the bus count apart; less and less often while they count nothing. */
#include "client/lease.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/err.h"
#include "base/futex.h"
#include "client/bus.h"

#define STACK_BYTES (256u << 10)
#define FOLD_FIRST_MS 1000
#define FOLD_LONGEST_MS 8000
#define RETRY_MS 500

/* What the kernel walks when the thread ends: one entry, which lies on the thread's stack; the futex is found by its
 * distance from the entry. */
struct robust {
    struct robust_list_head head;
    struct robust_list entry;
};

static bool take_lease(struct robust *robust, uint32_t *word)
{
    robust->entry.next = &robust->head.list;
    robust->head.list.next = &robust->entry;
    robust->head.futex_offset = (char *)word - (char *)&robust->entry;
    robust->head.list_op_pending = NULL;
    if (syscall(SYS_set_robust_list, &robust->head, sizeof robust->head) != 0)
        return false;
    /* [lease.hold] release: whoever sees the lease held sees a list that lets it go. The kernel stores FUTEX_OWNER_DIED and
     * wakes one waiter, since FUTEX_WAITERS says that there is one. */
    lt_store_release32(word, (uint32_t)syscall(SYS_gettid) | FUTEX_WAITERS);
    return true;
}

/* leatd has been told BYE (or the bus is gone): the word is nobody's now. */
static void give_lease(struct robust *robust, uint32_t *word)
{
    robust->head.list.next = &robust->head.list;
    lt_store_release32(word, 0);
}

static void drain(int fd)
{
    uint64_t count;
    while (read(fd, &count, sizeof count) > 0) {}
}

static void mind_the_bus(leat_bus *bus)
{
    struct lt_lease *lease = &bus->lease;
    bool down = false, fold = false, ended = false, moved;
    int fold_ms = FOLD_FIRST_MS;

    while (lt_load_acquire32(&lease->stop) == 0) {
        if (!ended && lt_bus_gone(bus)) { /* a request of the caller's, or ours below, found it out */
            lt_bus_end(bus);
            ended = true;
        }
        struct pollfd fds[2] = { { .fd = lease->wake_fd, .events = POLLIN },
                                 { .fd = bus->link.fd, .events = POLLRDHUP } };
        bool watch = !down && !ended;
        int timeout_ms = ended ? -1 : down ? RETRY_MS : fold ? fold_ms : -1;
        if (poll(fds, watch ? 2 : 1, timeout_ms) < 0)
            continue;
        if (fds[0].revents != 0)
            drain(lease->wake_fd);
        if (lt_load_acquire32(&lease->stop) != 0)
            break;
        fold = lt_bus_fold(bus, &moved);
        fold_ms = moved ? FOLD_FIRST_MS : fold_ms * 2 < FOLD_LONGEST_MS ? fold_ms * 2 : FOLD_LONGEST_MS;
        if (!ended && (down || (watch && fds[1].revents != 0)))
            down = lt_link_mend(&bus->link) < 0;
    }
}

static void *run(void *argument)
{
    leat_bus *bus = argument;
    struct lt_lease *lease = &bus->lease;
    struct robust robust;

    prctl(PR_SET_NAME, "leat");
    bool held = take_lease(&robust, &bus->mailbox->lease);
    lease->error = held ? 0 : errno;
    lt_store_release32(&lease->held, held ? 1 : 2);
    lt_futex_wake(&lease->held);
    if (held) {
        mind_the_bus(bus);
        give_lease(&robust, &bus->mailbox->lease);
    }
    return NULL;
}

int lt_lease_start(leat_bus *bus)
{
    struct lt_lease *lease = &bus->lease;
    pthread_attr_t attr;
    sigset_t all, old;

    lease->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (lease->wake_fd < 0)
        return lt_fail_errno(errno, "eventfd");
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    /* The thread inherits the mask: the caller's signals are the caller's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&lease->thread, &attr, run, bus);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (r != 0) {
        close(lease->wake_fd);
        lease->wake_fd = -1;
        return lt_fail_errno(r, "starting the library's thread");
    }
    while (lt_load_acquire32(&lease->held) == 0)
        lt_futex_wait(&lease->held, 0, -1);
    if (lease->held == 1)
        return 0;
    pthread_join(lease->thread, NULL);
    close(lease->wake_fd);
    lease->wake_fd = -1;
    return lt_fail_errno(lease->error, "set_robust_list");
}

void lt_lease_nudge(leat_bus *bus)
{
    uint64_t one = 1;
    ssize_t r = write(bus->lease.wake_fd, &one, sizeof one);
    (void)r; /* full means that a nudge is under way already */
}

void lt_lease_stop(leat_bus *bus)
{
    lt_store_release32(&bus->lease.stop, 1);
    lt_lease_nudge(bus);
    pthread_join(bus->lease.thread, NULL);
    close(bus->lease.wake_fd);
}
