/* bus: the directory a bus lives in: made if need be, locked, with the control socket in it.
 *
 *   BUS/lock      flock(2)ed by whoever serves the bus: the lock is the descriptor's, which keeper and worker share
 *   BUS/control   the socket
 *   BUS/counters  see shm/counters.h
 *
 * A death leaves lock file, socket and counters; the lock itself goes with the last descriptor, and the next leatd
 * takes the names over.
 *
 * Who may connect: a directory that leatd makes has mode 0755 for root and 0700 for others; one that exists keeps its
 * mode. The socket has socket-mode (0666), so the directory decides.
 */
#ifndef LT_LEATD_BUS_H
#define LT_LEATD_BUS_H

#include <stdint.h>

struct lt_bus {
    int lock_fd;
    int listen_fd;
};

/* 0, or LEAT_EINUSE (another leatd serves it), LEAT_EPERM (somebody else's directory), LEAT_EIO ... with a message. */
int lt_bus_open(struct lt_bus *bus, const char *path, uint32_t socket_mode);
/* The bus has ended in good order: takes the socket away. */
void lt_bus_remove(const char *path);

#endif
