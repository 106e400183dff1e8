/* peer: who is at the other end of a control connection, as the kernel says it, and what that user may do. */
#ifndef LT_LEATD_PEER_H
#define LT_LEATD_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct lt_peer {
    int32_t pid;
    uint32_t uid, gid;
    gid_t *groups; /* supplementary */
    uint32_t group_count;
    int pidfd; /* -1 until lt_peer_watch */
};

/* As of connect(2). 0, or an error with a message. */
int lt_peer_read(struct lt_peer *peer, int socket_fd);
/* A pidfd of the process that connected. 0, or LEAT_EGONE: it is gone, or cannot be seen from here. */
int lt_peer_watch(struct lt_peer *peer, int socket_fd);
int lt_peer_copy(struct lt_peer *to, const struct lt_peer *from); /* without the pidfd */
void lt_peer_free(struct lt_peer *peer);

bool lt_peer_in_group(const struct lt_peer *peer, uint32_t gid);
/* As for a file: the owner's bits, else the group's, else the others'; root may all. want: bits 4 (r: consume), 2 (w: produce). */
bool lt_peer_may(const struct lt_peer *peer, uint32_t uid, uint32_t gid, uint32_t mode, uint32_t want);
/* Whether the process is alive, by its pidfd. */
bool lt_pidfd_fired(int pidfd);

#endif
