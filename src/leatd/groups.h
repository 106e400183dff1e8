/* groups: the coordinator of consumer groups: what src/group says is to be done, done to pages, mailboxes and bells.
 *
 *   groups.c          the table, pages, what the machine's hooks do, deaths, time, adoption
 *   group_topics.c    subscriptions: names to topics to parts
 *   group_news.c      what members are told
 *   group_requests.c  what members and others ask
 *
 * A member is a consumer, known by its bell; index m is its place in machine.members, in agents and, as a seat, in the page. A part is
 * a partition that the group knows; index p is its place in machine.parts and in the page.
 */
#ifndef LT_LEATD_GROUPS_H
#define LT_LEATD_GROUPS_H

#include <limits.h>

#include "group/group.h"
#include "leatd/worker.h"
#include "shm/grouppage.h"
#include "store/format.h"

/* What leatd knows of a member besides its seat. */
struct lt_agent {
    uint32_t client, bell; /* of a static member that is away: 0 */
    uint32_t serial;       /* 0: no member */
    uint64_t polls;
    bool gates;
    bool to_tell; /* behind this step */
    uint32_t news_rows;
    int64_t polled_ns; /* when the count was last seen to move */
    int64_t max_poll_interval_ns, session_timeout_ns;
    char id[128];
    char client_id[96], instance_id[96];
    char *names; /* the subscription as it was said: '=' or '~', a name, 0 */
    uint32_t names_bytes;
    uint32_t *topics; /* ids of those that exist and may be read */
    uint32_t topic_count;
};

/* What the file of committed offsets has of a group (group_log.c). */
struct lt_filed_place {
    uint64_t log_id;    /* of its topic; 0: no log */
    uint64_t committed; /* as it was put; LT_COMMIT_NONE: there is nothing */
    bool slow;          /* its topic's level is above ring: commits wait for the disk */
    bool text;          /* the text with it is another */
    bool is_listed;
};
struct lt_filed {
    struct lt_filed_place *places; /* [part_room] */
    uint32_t log_count, slow_count;
    struct lt_kept_group *next; /* listed: has to be looked at */
    bool is_listed, all;        /* all: every place */
    uint32_t *listed;           /* else these */
    uint32_t listed_count, listed_room;
    bool has_head;
    struct lt_offsets_group head; /* as it was put */
};

struct lt_kept_group {
    struct lt_kept_group *next;
    struct lt_worker *w;
    char name[256];
    void *page;
    uint64_t page_bytes, number;
    struct lt_group_head *head;
    struct lt_group machine;
    uint32_t free_from;            /* places below are taken */
    struct lt_agent *agents;       /* [head->member_room] */
    struct lt_group_topic *topics; /* what somebody subscribes to */
    void *room[2];                 /* for plans */
    size_t room_bytes[2];
    uint32_t
        changes; /* of members, owners, state: a description of several messages is of one moment if it stood still */
    uint64_t proposed_round; /* of the proposal that has begun to come */
    uint32_t *proposed;      /* [proposed_room] by part; targets once all of it is there */
    uint32_t proposed_room;
    struct lt_filed filed;
    bool has_news;                 /* for some agent */
    enum lt_group_why settled_why; /* to be said when they are told; LT_WHY_NONE: nothing */
    int64_t settled_ns;
    int64_t now_ns;      /* of the event that is being taken */
    int64_t deadline_ns; /* look again then; 0: never */
};

static inline struct lt_group_seat *lt_seat(struct lt_kept_group *g, uint32_t m)
{
    return lt_group_seat(g->page, m);
}
static inline struct lt_group_place *lt_place_of(struct lt_kept_group *g, uint32_t p)
{
    return lt_group_place(g->page, g->head->member_room, p);
}

/* All under the lock. */
int lt_groups_adopt(struct lt_worker *w);
/* All of this client's members are over: before its readers are closed. */
void lt_groups_client_gone(struct lt_worker *w, const struct lt_client *client);
/* A consumer is closed that did not leave. */
void lt_groups_bell_gone(struct lt_worker *w, uint32_t bell);
/* A member closes its reader of a partition: what it committed there is read for the last time. */
void lt_groups_reader_gone(struct lt_worker *w, uint32_t bell, uint32_t topic_id, uint32_t partition);
/* Whether the member with this bell owns it. */
bool lt_groups_owns(struct lt_worker *w, uint32_t bell, uint32_t topic_id, uint32_t partition);
/* Topics were created or deleted. */
void lt_groups_topics(struct lt_worker *w);
/* From here on the groups with gates want this partition; LT_PIN_NONE: nobody does. */
uint64_t lt_groups_keep(const struct lt_part *part);
/* What is due; sets w->groups_at_ns, when to come again (0: never). */
void lt_groups_tick(struct lt_worker *w, int64_t now_ns);
void lt_groups_free(struct lt_worker *w);
/* Shared memory of a user's groups. */
uint64_t lt_groups_memory_of(struct lt_worker *w, uint32_t uid);

/* --- among the three files --- */

/* NULL, or the group by that name. */
struct lt_kept_group *lt_groups_find(struct lt_worker *w, const char *name);
/* Makes it, owned by the peer. NULL with a message; *r says which error. */
struct lt_kept_group *lt_groups_make(struct lt_worker *w, const struct lt_peer *peer, const char *name,
                                     int *r);
/* As the file of committed offsets has it, with room for so many places. Limits are those of another day. */
struct lt_kept_group *lt_groups_make_again(struct lt_worker *w, const char *name,
                                           const struct lt_offsets_group *head, uint32_t places, int *r);
void lt_groups_drop(struct lt_worker *w, struct lt_kept_group *g);
/* Room for one more seat, or for so many more places: may move the page. 0 or an error with a message. */
int lt_groups_room(struct lt_kept_group *g, uint32_t seats, uint32_t places);
/* The member with this bell; *m is its index. */
struct lt_kept_group *lt_groups_of_bell(struct lt_worker *w, uint32_t bell, uint32_t *m);
/* Takes a seat for a consumer, whose agent is filled in from `join`. */
void lt_groups_sit_down(struct lt_kept_group *g, uint32_t m, const struct lt_client *client,
                        const struct lt_group_join *join, uint32_t serial);
/* Lets the machine take its next step, and plans when to look again. */
void lt_groups_settle(struct lt_kept_group *g);
/* Whether the bell of this member is on the list of the partition. */
bool lt_groups_is_listed(struct lt_kept_group *g, uint32_t p, uint32_t m);
/* What its owner has committed by now, or the page's. */
uint64_t lt_groups_committed(struct lt_kept_group *g, uint32_t p);
/* The place of a partition, or LT_NOBODY. */
uint32_t lt_groups_place(struct lt_kept_group *g, uint32_t topic_id, uint32_t partition);
/* A new place, for which there is room; LT_NOBODY: no memory, with a message. */
uint32_t lt_groups_add_place(struct lt_kept_group *g, uint32_t topic_id, uint32_t partition, bool fresh);
/* The partition is not the group's any more: its topic is gone. */
void lt_groups_drop_place(struct lt_kept_group *g, uint32_t p);

/* group_news.c: tells those whose agents say so; none any more for a member that is gone. */
void lt_groups_tell(struct lt_kept_group *g);
void lt_groups_no_news(struct lt_kept_group *g, uint32_t m);
/* Whether a part is among what a member is told of, and as what. */
bool lt_groups_concerns(const struct lt_kept_group *g, uint32_t p, uint32_t m);
struct lt_group_sync_row lt_groups_row(struct lt_kept_group *g, uint32_t p, uint32_t m);

/* group_topics.c: sets the agent's subscription. `peer` may read them; LEAT_EPERM for one that it may not and asked for by name. */
int lt_groups_subscribe(struct lt_kept_group *g, uint32_t m, const struct lt_peer *peer, const char *names,
                        uint32_t bytes, bool *changed);
/* LEAT_ENOTOPIC: one of those that are asked for by name is not there. */
int lt_groups_check_topics(struct lt_worker *w, const char *names, uint32_t bytes);
/* Topics and parts of the machine, from all subscriptions. 0 or an error; *changed: they are others. */
int lt_groups_refresh(struct lt_kept_group *g, bool *changed);

/* group_requests.c: one request each; the answer's body in out, its size in *size. Result LT_GROUPS_LATER: lt_control_answer will. */
#define LT_GROUPS_LATER INT_MAX
typedef int lt_group_request_fn(struct lt_worker *w, struct lt_conn *conn, const void *body,
                                uint32_t body_bytes, void *out, uint32_t room, uint32_t *size);
lt_group_request_fn lt_groups_join, lt_groups_leave, lt_groups_sync, lt_groups_release, lt_groups_commit,
    lt_groups_offsets, lt_groups_list, lt_groups_describe, lt_groups_delete, lt_groups_view,
    lt_groups_propose, lt_groups_topic_name;

#endif
