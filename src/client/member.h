/* member: a consumer as a member of its group: joining, leaving, and its turn in each poll.
 *
 *   subscribe    JOIN; with the serial of its answer it stands, and is said again to each new worker
 *   each poll    polls + 1; the words of our bell: nothing new -> on
 *     version    SYNC says what we own. What is to go: commit (auto), on_revoked, RELEASE. What is new: open, place, store
 *                the place as committed, on_assigned (assignment.h). Until the version stands still
 *     fence      evicted: on_lost, close; join again, or LEAT_EFENCED until somebody subscribes
 *     topics     patterns are looked at anew; when they find others, JOIN
 *   close        commit (auto), on_revoked, LEAVE, close
 *
 * The turn is taken at the start of a poll, or while it waits: no views are out then.
 *
 * What a death leaves: the `committed` words in the mailbox, which leatd reads when the lease fires.
 *
 * Points at which a fault build can die here: member.join (about to JOIN), member.stand (joined; no new worker would hear of it), member.sync (about to SYNC), member.revoke (on_revoked has
 * run, nothing is released), member.release.after (released, the cursors are still there), member.assign (a new partition is
 * placed, its place not stored as committed), member.compute (the leader's callback has run, nothing is proposed), member.leave
 * (about to LEAVE).
 */
#ifndef LT_CLIENT_MEMBER_H
#define LT_CLIENT_MEMBER_H

#include <stdbool.h>
#include <stdint.h>

#include <leat.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "client/bus.h"
#include "client/commit.h"
#include "client/consumer.h"
#include "client/subscription.h"
#include "shm/coordinator.h"
#include "shm/mailbox.h"
#include "shm/member.h"

#define TIDY_POLLS 4096u
#define LT_ANSWER_MAX (LT_MSG_MAX - (uint32_t)sizeof(struct lt_msg))

struct lt_member {
    /* read by every poll */
    const struct lt_member_word *word; /* our bell's; `nobody` as long as we are no member */
    struct lt_member_box *box;
    uint32_t version, fence; /* the word as we have dealt with it */
    bool expand;             /* topics came or went, and there are patterns */
    bool evicted;            /* and nobody has subscribed since */
    bool joined;
    bool slow;      /* among the partitions that it had are some whose level is above LEAT_RING */
    bool preparing; /* standbys */
    bool dirty;     /* something was handed out (or stored) since the last automatic commit */
    int64_t due_ms; /* of that */
    struct lt_report *reports;
    /* the rest */
    struct lt_report **reports_end;
    struct lt_member_word nobody;
    struct lt_subscription subscription;
    struct lt_group_join *standing; /* the JOIN that is said again to each new worker; NULL: none */
    uint32_t standing_size;
    uint32_t serial;
    uint64_t generation;
    char member_id[128];
    /* what the last SYNC said */
    struct lt_group_sync_row *rows; /* by topic and partition */
    uint32_t row_count, rows_room;
    uint32_t sync_flags;
    /* standby.h */
    struct lt_cursor **standbys;
    uint32_t standby_count, standbys_room;
    uint32_t prepare_topic, prepare_partition; /* which is looked at next */
    int64_t prepare_at_ms, trim_at_ms;
    /* for one call at a time */
    leat_partition *parts;
    uint32_t parts_room;
    struct lt_intent *intents;
    uint32_t intents_room;
    unsigned char *buffer; /* LT_ANSWER_MAX */
};

/* --- by consumer.c --- */

/* The options of a group. 0 or LEAT_EINVAL. */
int lt_member_check(const leat_consumer_options *options);
/* The consumer has a bell. */
int lt_member_make(leat_consumer *c);
void lt_member_free(leat_consumer *c);
int lt_member_subscribe(leat_consumer *c, const char *const *names, int count);
/* Nothing is assigned afterwards. */
int lt_member_leave(leat_consumer *c);
/* The same at the end: a static member only goes away. Tells on_commit what is left to tell. */
void lt_member_close(leat_consumer *c);

/* --- by poll.c --- */

/* Deals with all news. 0, or what poll has to return. */
int lt_member_turn(leat_consumer *c);

/* A poll has slept, and nobody rang: what was handed out before is committed if it is time, and standbys are got ready. */
void lt_member_idle(leat_consumer *c);
/* A poll that does not sleep has found nothing, or has been called many times: the latter half of that. */
void lt_member_spare(leat_consumer *c);
void lt_member_tidy(leat_consumer *c);
/* How long a poll may sleep at most: until that time, and so that leatd sees it poll. */
int64_t lt_member_nap_ns(const leat_consumer *c);

/* A hang is a count that stands still. Relaxed: leatd only compares it with what it was; one writer, but for the bridge's thread,
 * which counts while nobody polls. */
static inline void lt_member_beat(struct lt_member *m)
{
    lt_store_relaxed64(&m->box->polls, lt_load_relaxed64(&m->box->polls) + 1); /* [group.polls] */
}

static inline bool lt_member_has_news(const struct lt_member *m)
{
    /* [group.version] acquire: what SYNC is answered is at least as new. [group.fence] acquire, as a commit's. */
    uint32_t version = lt_load_acquire32(&m->word->version);
    uint32_t fence = lt_load_acquire32(&m->word->fence);
    return ((version ^ m->version) | (fence ^ m->fence) | m->expand | m->evicted) != 0;
}

/* What has to be done before poll can wait (on): room for headers, news of the group. */
static inline bool lt_consumer_has_business(const leat_consumer *c)
{
    return c->headers_wanted != 0 || (c->member != NULL && lt_member_has_news(c->member));
}

/* A poll begins; the views of the last one are over. */
static inline int lt_member_begin(leat_consumer *c)
{
    struct lt_member *m = c->member;
    if (LT_UNLIKELY(m->standby_count != 0) && (lt_load_relaxed64(&m->box->polls) & (TIDY_POLLS - 1)) == 0)
        lt_member_tidy(c);
    lt_member_beat(m);
    /* A gate's at once: producers may wait for it, and this poll may sleep. */
    if (m->dirty && (c->gate || lt_clock_mono_coarse_ms() >= m->due_ms))
        lt_commit_auto(c);
    if (LT_UNLIKELY(m->reports != NULL))
        lt_commit_report(c);
    return LT_UNLIKELY(lt_member_has_news(m)) ? lt_member_turn(c) : 0;
}

/* A poll has found records. */
static inline void lt_member_handed(leat_consumer *c)
{
    c->member->dirty = c->options.auto_commit_ms > 0 && !c->options.manual_store;
}

/* --- by consumer.c and poll.c --- */

/* The position has gone over gaps: when all below them is committed, so are they. */
static inline void lt_commit_follow(leat_consumer *c, struct lt_cursor *cursor)
{
    uint64_t committed = lt_load_relaxed64(&cursor->entry->committed);
    if (committed < cursor->handed || committed >= cursor->position || cursor->beyond || cursor->noted ||
        !c->member->joined)
        return;
    lt_member_store(cursor->entry, cursor->position); /* [group.commit] */
    if (c->gate)
        lt_commit_tell_starving(c, cursor);
}

/* --- by the other files of groups --- */

/* One request about this membership, answered into m->buffer: result, and *got bytes. */
int lt_member_ask(leat_consumer *c, enum lt_msg_type type, const void *body, uint32_t size, uint32_t *got);
static inline struct lt_membership lt_membership(const leat_consumer *c)
{
    return (struct lt_membership){ .bell = c->bell_number, .serial = c->member->serial };
}

/* leader.c: computes the assignment of a group with LEAT_CUSTOM, and proposes it. 0: done, or out of date; or an error after which this
 * member shall leave. */
int lt_leader_compute(leat_consumer *c);

#endif
