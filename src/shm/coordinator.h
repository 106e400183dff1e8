/* coordinator: what leatd tells every client. Read-only to clients; one writer: leatd's worker.
 *
 * Clients watch topics_seq (a load per poll; a subscription without a group looks for new partitions when it moves),
 * incarnation and, as members of a group, the words of their bell. The client table is here so that a new worker knows who there was, and that `leat status` can tell.
 */
#ifndef LT_SHM_COORDINATOR_H
#define LT_SHM_COORDINATOR_H

#include "shm/bell.h"
#include "shm/news.h"
#include "shm/region.h"
#include "shm/topic.h"

enum lt_client_state {
    LT_CLIENT_FREE = 0,
    LT_CLIENT_ALIVE = 1,
    LT_CLIENT_LEFT = 2, /* its lease fired; its pidfd has not */
    LT_CLIENT_DEAD = 3, /* pidfd fired; being cleared. The id is free once this is FREE */
};

struct lt_client_entry {
    uint32_t state; /* enum lt_client_state */
    int32_t pid;
    uint32_t uid, gid;
    uint64_t since_ms;
    uint64_t mailbox_bytes;
    char program[32];
    char client_id[96];
    uint32_t quarantined;
    uint32_t
        last_delete; /* number of this client's last request to delete a topic or a group: asked again, it is done */
    uint32_t reserved[6];
};

struct lt_bell_entry {
    uint32_t client;   /* 0: free */
    uint32_t consumer; /* the client's own number of that consumer: makes a repeated open the same open */
};

/* What a member of a group watches: one for each bell. */
struct lt_member_word {
    uint32_t version; /* [group.version] +1: something has changed for this member: see its news */
    uint32_t fence;   /* [group.fence] +1: this member was evicted; a commit that sees it does not count */
};

struct lt_coordinator {
    struct lt_region region;
    /* line 1 */
    uint64_t bus_id;      /* random; another bus is another id */
    uint64_t incarnation; /* starts of the worker */
    uint64_t topics_seq;  /* [topics.seq] +1 with each topic created or deleted */
    int32_t keeper_pid;
    int32_t worker_pid;
    uint64_t started_ms; /* of the bus */
    uint32_t ended;      /* the bus was stopped in good order */
    uint32_t stall_limit_ms;
    uint64_t next_topic_id;
    uint64_t next_group_page; /* number of the next group's page */
    uint32_t
        resting; /* [commit.resting] leatd looks at what members commit from time to time only: who commits rings its bell */
    uint32_t
        groups_restored; /* the groups of the last bus are there; until then a worker makes them, or what is missing of them */
    uint64_t reserved[7]; /* the table begins on a line */
    struct lt_bell_entry bells[LT_BELLS];
    struct lt_client_entry clients[LT_CLIENTS_MAX]; /* [0] is leatd itself */
    struct lt_member_word members[LT_BELLS];
    struct lt_news news[LT_BELLS]; /* written before `version` */
};

#endif
