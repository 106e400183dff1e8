/* lease: the library's thread of a bus. It holds the robust futex by which leatd learns of this process's death, and minds
 * the socket.
 *
 * The futex lies in the mailbox and holds this thread's id | FUTEX_WAITERS. The thread's robust list has it as its only
 * entry, so the kernel marks and wakes it when the thread ends in whatever way, before the process's memory is torn
 * down (50-90 us after a kill -9, whatever the size). Handles are tied to no thread of the caller's.
 *
 * What a death leaves: the word with FUTEX_OWNER_DIED, which means *left*, never *free*: leatd frees only on the pidfd.
 */
#ifndef LT_CLIENT_LEASE_H
#define LT_CLIENT_LEASE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <leat.h>

struct lt_lease {
    pthread_t thread;
    int wake_fd; /* eventfd: stop, or look again */
    uint32_t stop;
    uint32_t held; /* futex: 1 once the lease is taken, 2 when it could not be */
    int error;
};

/* Starts the thread and waits until it holds the lease. 0 or LEAT_EIO, LEAT_ENOMEM. */
int lt_lease_start(leat_bus *bus);
/* Gives the lease back and ends the thread. */
void lt_lease_stop(leat_bus *bus);
/* Has the thread look at what it has to do. */
void lt_lease_nudge(leat_bus *bus);

#endif
