/* peer: see peer.h. */
#include "leatd/peer.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include <leat.h>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

static int read_groups(struct lt_peer *peer, int fd)
{
    socklen_t size = 0;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) != 0 && errno != ERANGE)
        return errno == ENODATA ? 0 : lt_fail_errno(errno, "SO_PEERGROUPS");
    if (size == 0)
        return 0;
    peer->groups = malloc(size);
    if (!peer->groups)
        return lt_fail(LEAT_ENOMEM, "no memory for %u group ids", (unsigned)(size / sizeof(gid_t)));
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, peer->groups, &size) != 0)
        return lt_fail_errno(errno, "SO_PEERGROUPS");
    peer->group_count = (uint32_t)(size / sizeof(gid_t));
    return 0;
}

/* SO_PEERPIDFD names the very process that connected. Before Linux 6.5 there is only its number, which could have been
 * given to another since: the window is connect(2) to hello, and what is at stake is whose death is watched. */
static int open_pidfd(int fd, int32_t pid)
{
    int pidfd = -1;
    socklen_t size = sizeof pidfd;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0)
        return pidfd;
    if (errno != ENOPROTOOPT || pid <= 0)
        return -1;
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

int lt_peer_read(struct lt_peer *peer, int socket_fd)
{
    struct ucred cred;
    socklen_t size = sizeof cred;
    memset(peer, 0, sizeof *peer);
    peer->pidfd = -1;
    if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) != 0)
        return lt_fail_errno(errno, "SO_PEERCRED");
    peer->pid = cred.pid;
    peer->uid = cred.uid;
    peer->gid = cred.gid;
    int r = read_groups(peer, socket_fd);
    if (r < 0) {
        lt_peer_free(peer);
        return r;
    }
    return 0;
}

int lt_peer_watch(struct lt_peer *peer, int socket_fd)
{
    if (peer->pidfd < 0)
        peer->pidfd = open_pidfd(socket_fd, peer->pid);
    return peer->pidfd >= 0
               ? 0
               : lt_fail(LEAT_EGONE, "process %d is gone, or cannot be watched from here", peer->pid);
}

int lt_peer_copy(struct lt_peer *to, const struct lt_peer *from)
{
    *to = *from;
    to->pidfd = -1;
    to->groups = NULL;
    if (from->group_count == 0)
        return 0;
    to->groups = malloc(from->group_count * sizeof *to->groups);
    if (!to->groups)
        return lt_fail(LEAT_ENOMEM, "no memory for %u group ids", from->group_count);
    memcpy(to->groups, from->groups, from->group_count * sizeof *to->groups);
    return 0;
}

void lt_peer_free(struct lt_peer *peer)
{
    free(peer->groups);
    peer->groups = NULL;
    peer->group_count = 0;
    if (peer->pidfd >= 0)
        close(peer->pidfd);
    peer->pidfd = -1;
}

bool lt_peer_in_group(const struct lt_peer *peer, uint32_t gid)
{
    if (peer->gid == gid)
        return true;
    for (uint32_t i = 0; i < peer->group_count; i++)
        if (peer->groups[i] == gid)
            return true;
    return false;
}

bool lt_peer_may(const struct lt_peer *peer, uint32_t uid, uint32_t gid, uint32_t mode, uint32_t want)
{
    if (peer->uid == 0)
        return true;
    uint32_t shift = peer->uid == uid ? 6 : lt_peer_in_group(peer, gid) ? 3 : 0;
    return (mode >> shift & want) == want;
}

bool lt_pidfd_fired(int pidfd)
{
    struct pollfd pfd = { .fd = pidfd, .events = POLLIN };
    return poll(&pfd, 1, 0) > 0;
}
