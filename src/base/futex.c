/* futex: see futex.h. Raw system calls: glibc has no wrappers, and what the headers may lack is said here. */
#include "base/futex.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"

#define NS_PER_S 1000000000

/* Of Linux 5.16; the same number everywhere. */
#define WAITV_CALL 449
#define WAITV_U32 2u /* FUTEX_32, and without FUTEX_PRIVATE_FLAG */

struct waitv {
    uint64_t value;
    uint64_t address;
    uint32_t flags;
    uint32_t reserved;
};

static struct timespec timespec_of(int64_t ns)
{
    return (struct timespec){ .tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S };
}

int lt_futex_wait(const uint32_t *word, uint32_t value, int64_t timeout_ns)
{
    struct timespec timeout = timespec_of(timeout_ns < 0 ? 0 : timeout_ns);
    if (syscall(SYS_futex, word, FUTEX_WAIT, value, timeout_ns < 0 ? NULL : &timeout, NULL, 0) == 0)
        return 0;
    return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

int lt_futex_wake(uint32_t *word)
{
    long woken = syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    return woken < 0 ? 0 : (int)woken;
}

/* The first word that is not what was said, or -1. */
static int find_changed(const uint32_t *const *words, const uint32_t *values, int count)
{
    for (int i = 0; i < count; i++)
        if (lt_load_acquire32(words[i]) != values[i])
            return i;
    return -1;
}

int lt_futex_wait_many(const uint32_t *const *words, const uint32_t *values, int count, int64_t timeout_ns)
{
    struct waitv waits[LT_FUTEX_MANY];
    if (count < 1 || count > LT_FUTEX_MANY)
        return -EINVAL;
    for (int i = 0; i < count; i++)
        waits[i] = (struct waitv){ .value = values[i], .address = (uintptr_t)words[i], .flags = WAITV_U32 };

    /* An end, not a length: the wait goes on after signals, and after words that changed and changed back. */
    struct timespec until = timespec_of(timeout_ns < 0 ? 0 : lt_clock_mono_ns() + timeout_ns);
    for (;;) {
        long woken = syscall(WAITV_CALL, waits, (unsigned)count, 0u, timeout_ns < 0 ? NULL : &until,
                             CLOCK_MONOTONIC);
        if (woken >= 0)
            return (int)woken;
        if (errno == EAGAIN) {
            int changed = find_changed(words, values, count);
            if (changed >= 0)
                return changed;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
}

static int membarrier(int command)
{
    return syscall(SYS_membarrier, command, 0, 0) < 0 ? -errno : 0;
}

int lt_membarrier_register(void)
{
    return membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
}

void lt_membarrier(void)
{
    /* Where registering worked this works; GLOBAL is slow (a grace period) and takes everybody, registered or not. */
    if (membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) != 0)
        membarrier(MEMBARRIER_CMD_GLOBAL);
}
