/* group: what has to happen next in a consumer group. Pure: events and the time come in, what is to be done goes out through
 * the hooks, all memory is the caller's.
 *
 *   the caller             sets members[], parts[] and topics[], says an event, then lt_group_step()
 *   lt_group_step          computes targets when something has changed (`dirty`), then reconciles:
 *                          an owner that is not the target is asked to release; a part without owner is granted to its target
 *
 *        EMPTY --join--> ASSIGNING (join delay, leader) --plan--> RECONCILING --all owners are targets--> STABLE
 *
 * One rule, two views. Cooperative assignors release what moves. Eager ones release everything (`sweep`) and grant nothing until
 * all of it is released; a plan that moves nothing sweeps nothing.
 *
 * What always holds: a part has one owner at most; `grant` is called only for a part without an owner, `take` came between two
 * owners, and before the `take` of somebody who did not release by itself came its `fence`. What only grows: generation, round.
 *
 * Times are the caller's ns of one clock; 0 in a deadline means none.
 */
#ifndef LT_GROUP_GROUP_H
#define LT_GROUP_GROUP_H

#include <leat.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LT_NOBODY UINT32_MAX

enum lt_group_why {
    LT_WHY_NONE = 0,
    LT_WHY_JOIN,
    LT_WHY_LEAVE,
    LT_WHY_DIED,          /* lease or pidfd fired */
    LT_WHY_HUNG,          /* no poll for max_poll_interval */
    LT_WHY_SLOW,          /* did not release in the rebalance timeout */
    LT_WHY_AWAY_TOO_LONG, /* a static member, for the session timeout */
    LT_WHY_SUBSCRIPTION,  /* a member's */
    LT_WHY_TOPICS,        /* created or deleted */
    LT_WHY_ADOPTED,       /* a new worker goes on */
    LT_WHY_COUNT,
};
const char *lt_group_why(enum lt_group_why why);
/* "range" ...; NULL for another number. */
const char *lt_group_assignor_name(enum leat_assignor assignor);

struct lt_group_topic {
    uint32_t id;
    uint32_t partitions;
    const char *name;
};

struct lt_group_member {
    bool used;
    /* the caller's, set before lt_group_join */
    const char *id;
    const char *instance_id; /* NULL: dynamic */
    const uint32_t *topics;  /* ids; those that are not in group.topics do not exist */
    uint32_t topic_count;
    bool named; /* has said what it subscribes to; false: adopted, and not heard of yet */
    int64_t rebalance_timeout_ns;
    /* the machine's */
    bool away;       /* static, and gone for a while: keeps what it owns */
    bool tell;       /* something has changed for it */
    uint64_t joined; /* order of joining; the caller's before lt_group_adopt, and growing */
    uint32_t owned;
    int64_t release_by_ns;
    int64_t away_until_ns;
};

struct lt_group_part {
    uint32_t topic_id; /* 0: this entry is free */
    uint32_t partition;
    uint32_t owner, target; /* members' indices, or LT_NOBODY */
    bool release;           /* its owner has been asked to let go */
    int64_t unowned_since_ns;
};

/* What is to be done, in this order. Each may be done twice after a death of the caller, and means the same then. */
struct lt_group_hooks {
    /* From here on its commits do not count: [group.fence], membarrier. */
    void (*fence)(void *user, uint32_t member);
    /* Read what its owner has committed; for good, before the next. */
    void (*save)(void *user, uint32_t part, uint32_t owner);
    /* Nobody owns it. */
    void (*take)(void *user, uint32_t part);
    /* This member owns it. unowned_ns: since it was taken; -1: nobody ever had it. */
    void (*grant)(void *user, uint32_t part, uint32_t member, int64_t unowned_ns);
    /* The member has left or was evicted; members[member] is free when this returns. */
    void (*gone)(void *user, uint32_t member, enum lt_group_why why);
    /* A new generation has begun. */
    void (*generation)(void *user, uint64_t generation);
    /* The member shall ask what has changed. Comes after all of the above. */
    void (*tell)(void *user, uint32_t member);
    /* Memory for a plan, aligned as malloc does, until the step returns; `which` is 0 or 1. NULL: none. */
    void *(*room)(void *user, int which, size_t bytes);
    /* Everything is where it should be. */
    void (*settled)(void *user, enum lt_group_why why, int64_t took_ns);
};

struct lt_group {
    const struct lt_group_hooks *hooks;
    void *user;
    enum leat_assignor assignor;
    /* the caller's memory; rooms may grow between calls */
    struct lt_group_member *members;
    uint32_t member_room;
    struct lt_group_part *parts;
    uint32_t part_room;
    const struct lt_group_topic *topics;
    uint32_t topic_count;
    /* the machine's */
    uint32_t member_count;
    enum leat_group_state state;
    uint64_t generation;
    uint64_t joins;
    bool dirty, sweep, adopting;
    enum lt_group_why why; /* of the rebalance that is under way, or will be */
    int64_t started_ns;    /* of it; 0: none */
    int64_t hold_until_ns; /* no plan before: the join delay, or members that a new worker waits for */
    uint32_t leader;       /* with LEAT_CUSTOM: who is asked; LT_NOBODY: nobody */
    uint64_t round;        /* of asking */
    int64_t leader_by_ns;
    uint32_t passed_over; /* a leader whose proposal was refused: not asked again first */
};

/* Sets hooks, user, assignor and an empty group; arrays are set by the caller. */
void lt_group_init(struct lt_group *g, const struct lt_group_hooks *hooks, void *user,
                   enum leat_assignor assignor);

/* --- events. Each is followed by lt_group_step. --- */

/* members[m] is filled in by the caller. The first of an empty group waits delay_ns for others. */
void lt_group_join(struct lt_group *g, uint32_t m, int64_t delay_ns, int64_t now_ns);
/* Its subscription, or the set of topics, is another. */
void lt_group_changed(struct lt_group *g, enum lt_group_why why, int64_t now_ns);
/* The owner lets go of a part. Of one that it does not own: nothing. */
void lt_group_release(struct lt_group *g, uint32_t m, uint32_t part, int64_t now_ns);
/* By itself; what it owned is saved. */
void lt_group_leave(struct lt_group *g, uint32_t m, int64_t now_ns);
void lt_group_evict(struct lt_group *g, uint32_t m, enum lt_group_why why, int64_t now_ns);
/* A static member went; until then its partitions are its own. */
void lt_group_away(struct lt_group *g, uint32_t m, int64_t until_ns);
void lt_group_back(struct lt_group *g, uint32_t m);
/* A new worker: parts say who owns what; members that are not `named` are waited for until then. */
void lt_group_adopt(struct lt_group *g, int64_t until_ns, int64_t now_ns);
/* The leader has set parts[].target of every part (LT_NOBODY where nobody subscribes). 0; LEAT_EFENCED: not asked, or another round by now;
 * LEAT_EINVAL with a message: then it, or another, is asked again. */
int lt_group_proposed(struct lt_group *g, uint32_t m, uint64_t round, int64_t now_ns);
/* A part is gone with its topic: before the caller frees the entry. */
void lt_group_drop_part(struct lt_group *g, uint32_t part);

/* --- */

/* Evicts who is late, plans, reconciles. Returns when to call again, or 0. */
int64_t lt_group_step(struct lt_group *g, int64_t now_ns);

bool lt_group_subscribes(const struct lt_group *g, uint32_t m, uint32_t topic_id);

#endif
