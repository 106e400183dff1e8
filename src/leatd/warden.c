/* warden: see warden.h and src/README.md, "leatd on a knock".
 *
 * A turn takes all knocks and all that is due, and looks at each partition in two halves with one membarrier between
 * them for all (shm/reclaim.h): stalls, scans and announcements before it, pins and publications after. Rotations follow
 * (rotate.c), outside of the lock where they take memory.
 *
 * It sleeps until somebody knocks, until a watched partition is due, and, while there are clients, until the next fold of
 * their counters, which comes after 1 s and less and less often while nothing moves. That pause also bounds what a lie
 * in leatd's bell can cost: the word is every client's to write.
 *
 * Points: reclaim.announce, reclaim.publish (shm/reclaim.c), warden.stall, ring.drop, ring.drop.after. What a death there
 * leaves is in shm/reclaim.h; at ring.drop.after the page has forgotten a ring that the keeper still has: an orphan.
 */
#include "leatd/warden.h"

#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/futex.h"
#include <leat.h>
#include "leatd/fold.h"
#include "leatd/group_log.h"
#include "leatd/groups.h"
#include "leatd/kept.h"
#include "leatd/persister.h"
#include "leatd/readers.h"
#include "leatd/rotate.h"
#include "leatd/topics.h"

#define MS_NS 1000000ll
#define BLOCKED_PAUSE_NS \
    (2 * MS_NS) /* between looks at a partition whose room is blocked by somebody who may just be slow */
#define FOLD_FIRST_NS (1000 * MS_NS)
#define FOLD_LONGEST_NS (8000 * MS_NS)
#define REPAIRS_A_LOOK 4096u

/* One partition in one turn. */
struct look {
    struct lt_part *part;
    struct lt_reclaim target;
    bool reclaim; /* publish up to target, as far as the pins allow */
    bool drop;    /* the oldest retired ring is over, if no pin holds it */
    bool rotate;
    bool again; /* starving was raised: once more, behind a membarrier */
};

/* --- who is looked at --- */

void lt_warden_knock(struct lt_worker *w, const struct lt_part *part)
{
    lt_bells_knock(w->bells, lt_part_global(part));
}

void lt_warden_wake(struct lt_worker *w)
{
    w->fold_pause_ns = FOLD_FIRST_NS;
    w->fold_at_ns = 0;
    lt_bell_rescue(&w->bells->leatd);
}

static bool grow(void **array, uint32_t *room, uint32_t count, size_t size)
{
    if (count < *room)
        return true;
    uint32_t more = *room ? *room * 2 : 64;
    void *bigger = realloc(*array, more * size);
    if (!bigger)
        return false; /* then it is looked at when somebody knocks again */
    *array = bigger;
    *room = more;
    return true;
}

/* Looked at again at that time, or earlier. */
static void watch(struct lt_worker *w, struct lt_part *part, int64_t at_ns)
{
    if (part->deadline_ns != 0) {
        if (at_ns < part->deadline_ns)
            part->deadline_ns = at_ns;
        return;
    }
    if (!grow((void **)&w->watched, &w->watched_room, w->watched_count, sizeof(struct lt_part *)))
        return;
    part->deadline_ns = at_ns;
    w->watched[w->watched_count++] = part;
}

static void unwatch(struct lt_worker *w, uint32_t i)
{
    w->watched[i]->deadline_ns = 0;
    w->watched[i] = w->watched[--w->watched_count];
}

void lt_warden_forget(struct lt_worker *w, struct lt_topic *topic)
{
    for (uint32_t i = 0; i < w->watched_count;)
        if (w->watched[i]->topic == topic)
            unwatch(w, i);
        else
            i++;
}

static void add_look(struct lt_worker *w, struct lt_part *part)
{
    if (part->looked_at || !grow((void **)&w->looks, &w->look_room, w->look_count, sizeof *w->looks))
        return;
    part->looked_at = true;
    w->looks[w->look_count++] = (struct look){ .part = part };
}

static void take_knock(void *user, uint32_t global)
{
    struct lt_worker *w = user;
    struct lt_part *part = w->globals[global];
    if (part && !part->topic->making)
        add_look(w, part);
}

static void take_due(struct lt_worker *w, int64_t now_ns)
{
    for (uint32_t i = 0; i < w->watched_count;) {
        if (w->watched[i]->deadline_ns <= now_ns) {
            add_look(w, w->watched[i]);
            unwatch(w, i);
        } else {
            i++;
        }
    }
}

/* --- stalls --- */

static void say_corrupt(struct lt_worker *w, struct lt_part *part)
{
    if (!part->corrupt_said)
        lt_worker_log(w, LT_LOG_ERROR,
                      "topic %s, partition %u: its claims make no sense: a producer damaged them",
                      part->topic->name, part->index);
    part->corrupt_said = true;
}

static void count_report(struct lt_part *part, const struct lt_repair_report *report)
{
    part->counted[LT_PART_ABORTED] += report->aborted;
    part->counted[LT_PART_HELPED] += report->helped;
    part->held |= report->held != 0;
}

/* What has to be done about a claim that readers wait for. ALIVE: wait; its time is noted. */
static enum lt_owner_fate judge(struct lt_worker *w, struct lt_part *part, struct lt_kept_ring *kept,
                                uint64_t offset, uint32_t owner, int64_t now_ns)
{
    struct lt_stall *stall = &kept->stall;
    int64_t limit_ns = w->config.stall_limit_ms * MS_NS;
    uint64_t pos;
    uint32_t epoch;
    enum lt_owner_fate fate = owner < LT_CLIENTS_MAX ? (enum lt_owner_fate)w->fate[owner] : LT_OWNER_DEAD;
    if (fate != LT_OWNER_ALIVE)
        return fate;
    /* What else was there when the first was seen has stood as long, and readers have waited behind that too. */
    if (stall->since_ns != 0 && (offset == stall->offset || (stall->taken && offset < stall->tail))) {
        if (now_ns - stall->since_ns >= limit_ns) {
            stall->taken = true;
            return LT_OWNER_LEFT;
        }
    } else {
        *stall = (struct lt_stall){ .offset = offset, .since_ns = now_ns };
        if (lt_kept_tail(kept, &stall->tail, &pos, &epoch) == LT_RING_CORRUPT)
            stall->tail = offset + 1;
    }
    watch(w, part, stall->since_ns + limit_ns);
    return LT_OWNER_ALIVE;
}

static void look_at_stalls(struct lt_worker *w, struct lt_part *part, struct lt_kept_ring *kept,
                           int64_t now_ns)
{
    uint64_t offset;
    uint32_t owner, published = 0;
    enum lt_claim_state state;
    for (uint32_t i = 0; i < REPAIRS_A_LOOK; i++) {
        struct lt_repair_report report = { 0 };
        int r = lt_kept_blocker(kept, &offset, &owner, &state);
        if (r == LT_RING_CORRUPT)
            say_corrupt(w, part);
        if (r != 0) {
            kept->stall.since_ns = 0;
            break;
        }
        enum lt_owner_fate fate = judge(w, part, kept, offset, owner, now_ns);
        /* An aborted claim whose gaps are not out yet is nobody's to wait for, whatever its owner's fate. */
        if (fate == LT_OWNER_ALIVE && state != LT_ABORTED && state != LT_ACKED)
            break;
        lt_point("warden.stall");
        lt_repair_claim(&kept->view, offset, fate, &report);
        if (report.aborted != 0 && fate == LT_OWNER_LEFT && w->fate[owner] == LT_OWNER_ALIVE)
            lt_worker_log(
                w, LT_LOG_WARN,
                "topic %s, partition %u: client %u stood still inside a claim; offset %llu is a gap",
                part->topic->name, part->index, owner, (unsigned long long)offset);
        count_report(part, &report);
        published += report.gaps + report.helped;
    }
    if (published != 0)
        lt_partition_ring_bells(part->page, w->bells);
}

/* --- room --- */

bool lt_warden_room(const struct lt_kept_ring *kept, struct lt_room *room)
{
    uint64_t tail, pos;
    uint32_t epoch;
    memset(room, 0, sizeof *room);
    if (lt_kept_tail(kept, &tail, &pos, &epoch) != 0)
        return false;
    const struct lt_ring *view = &kept->view;
    room->tail = tail;
    room->pos = pos;
    uint64_t free_slots = view->slot_count - (tail - kept->limit_offset);
    uint64_t free_units = view->payload_units - (pos - kept->limit_pos);
    if (free_slots > view->slot_count || free_units > view->payload_units)
        return false; /* damaged: more is in use than there is */
    room->is_short = free_slots < view->slot_count / 4 || free_units < view->payload_units / 4;
    room->is_tight = free_slots < view->slot_count / 8 || free_units < view->payload_units / 8;
    return true;
}

/* Who may be overtaken and who not: never the log, which reads without pins. */
static uint64_t keep_of(struct lt_worker *w, const struct lt_part *part)
{
    uint64_t logged = lt_persister_free_below(part);
    uint64_t keep = part->topic->head->on_full == LEAT_OVERWRITE ? LT_PIN_NONE : lt_readers_keep(w, part);
    return keep < logged ? keep : logged;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static void announce(struct lt_ring_gate *gate, uint64_t offset)
{
    if (offset > gate->announced)
        lt_reclaim_announce(gate, offset);
}

/* The first half: how far could it go, were it not for the pins? */
static void look_for_room(struct lt_worker *w, struct look *look)
{
    struct lt_part *part = look->part;
    struct lt_partition *page = part->page;
    struct lt_kept_ring *kept = lt_part_ring(part, page->current_ring);
    struct lt_ring_gate *gate = lt_partition_gate(page, page->current_ring);
    struct lt_room room;
    if (gate->frozen) {
        look->rotate = true; /* one that could not be finished */
        return;
    }
    if (!lt_warden_room(kept, &room)) {
        say_corrupt(w, part);
        return;
    }
    if (!room.is_short) {
        part->blocked_ns = 0;
        if (page->starving)
            lt_store_release32(&page->starving, 0);
        return;
    }
    look->target = (struct lt_reclaim){ .offset = kept->limit_offset, .pos = kept->limit_pos };
    lt_reclaim_scan(&kept->view, &look->target, less(room.tail, kept->view.slot_count / 2),
                    less(room.pos, kept->view.payload_units / 2), keep_of(w, part));
    look->reclaim = true;
    announce(gate, look->target.offset);
}

/* Whether the claim that is in the way is known to be a stopped process's, and not one of somebody who is just slow. */
static bool is_quarantined(struct lt_worker *w, const struct lt_kept_ring *kept,
                           const struct lt_reclaim *target)
{
    uint64_t lo = lt_load_acquire64(
        &lt_ring_claim_at(&kept->view, lt_ring_rel(&kept->view, target->stop_offset))->lo);
    uint32_t owner = lt_lo_owner(lo);
    return lt_lo_state(lo) == LT_ABORTED || (owner < LT_CLIENTS_MAX && w->fate[owner] == LT_OWNER_LEFT);
}

/* Room is still short: who is in the way, and what about it? */
static void look_at_obstacle(struct lt_worker *w, struct look *look, bool moved, bool cut, bool is_tight,
                             int64_t now_ns)
{
    struct lt_part *part = look->part;
    struct lt_partition *page = part->page;
    if (moved || part->blocked_ns == 0)
        part->blocked_ns = now_ns;
    bool has_waited = now_ns - part->blocked_ns >= w->config.stall_limit_ms * MS_NS;
    if (!cut && look->target.stop == LT_STOP_KEEP) {
        lt_persister_press(part); /* it may be what is in the way */
        if (!page->starving) {
            /* [room.starving] release; whoever lowers its keep looks at it behind that store. */
            lt_store_release32(&page->starving, 1);
            look->again = true;
        }
        return;
    }
    if (!cut && look->target.stop != LT_STOP_HELD && look->target.stop != LT_STOP_BUSY)
        return;
    bool held = !cut && look->target.stop == LT_STOP_HELD;
    if ((cut || held) &&
        (has_waited ||
         (held && is_tight && is_quarantined(w, lt_part_ring(part, page->current_ring), &look->target))))
        look->rotate = true;
    else if (!has_waited)
        watch(w, part, now_ns + BLOCKED_PAUSE_NS);
}

/* The second half, behind the membarrier. */
static void publish_room(struct lt_worker *w, struct look *look, int64_t now_ns)
{
    struct lt_part *part = look->part;
    struct lt_partition *page = part->page;
    struct lt_kept_ring *kept = lt_part_ring(part, page->current_ring);
    struct lt_ring_gate *gate = lt_partition_gate(page, page->current_ring);
    struct lt_reclaim target = look->target;
    struct lt_room room;
    uint64_t pin = lt_readers_pin(w, part, kept->limit_offset);
    bool cut = pin < target.offset, moved = false;
    if (cut) {
        target = (struct lt_reclaim){ .offset = kept->limit_offset, .pos = kept->limit_pos };
        lt_reclaim_cut(&kept->view, &target, pin);
    }
    if (target.offset > kept->limit_offset) {
        /* A gate that a dying worker left has a pos of a later offset already; limits only grow. */
        lt_reclaim_publish(gate, target.offset, target.pos > gate->limit_pos ? target.pos : gate->limit_pos);
        lt_kept_limit(kept, target.offset, target.pos);
        lt_part_wake_room(page);
        part->counted[LT_PART_RECLAIMS]++;
        moved = true;
    }
    if (lt_warden_room(kept, &room) && room.is_short)
        look_at_obstacle(w, look, moved, cut, room.is_tight, now_ns);
    else
        part->blocked_ns = 0;
}

/* --- retired rings --- */

/* The first half: is the oldest one over? */
static void look_at_retired(struct lt_worker *w, struct look *look)
{
    struct lt_part *part = look->part;
    struct lt_partition *page = part->page;
    if (page->first_ring == page->current_ring)
        return;
    struct lt_kept_ring *oldest = lt_part_ring(part, page->first_ring);
    struct lt_ring_gate *gate = lt_partition_gate(page, page->first_ring);
    struct lt_kept_ring *current = lt_part_ring(part, page->current_ring);
    uint32_t owner;
    if (!oldest->base || lt_kept_settle(oldest, &owner) != LT_STOP_TAIL)
        return;
    bool is_over = current->limit_offset > current->view.base_offset &&
                   lt_persister_free_below(part) >= gate->end_offset;
    bool is_short = page->current_ring - page->first_ring >= LT_RINGS_RETIRED;
    if (!is_over && !(is_short && keep_of(w, part) >= gate->end_offset))
        return;
    announce(gate, gate->end_offset);
    look->drop = true;
}

static void drop_retired(struct lt_worker *w, struct look *look)
{
    struct lt_part *part = look->part;
    struct lt_partition *page = part->page;
    struct lt_ring_gate *gate = lt_partition_gate(page, page->first_ring);
    uint32_t ring = page->first_ring;
    if (lt_readers_pin(w, part, gate->limit_offset) < gate->end_offset)
        return;
    lt_point("ring.drop");
    /* [ring.drop] the page first: a ring that it does not name is an orphan, and dropped by whoever finds it. */
    lt_store_release32(&page->first_ring, ring + 1);
    lt_point("ring.drop.after");
    lt_topics_drop_ring(w, part, ring);
    lt_warden_knock(w, part); /* the next one may be over too */
}

/* --- a turn --- */

static void first_half(struct lt_worker *w, struct look *look, int64_t now_ns)
{
    struct lt_partition *page = look->part->page;
    for (uint32_t ring = page->first_ring;; ring++) {
        struct lt_kept_ring *kept = lt_part_ring(look->part, ring);
        if (kept->base)
            look_at_stalls(w, look->part, kept, now_ns);
        if (ring == page->current_ring)
            break;
    }
    look_for_room(w, look);
    look_at_retired(w, look);
}

/* Returns whether there was anything to do. */
static bool turn(struct lt_worker *w)
{
    bool fenced = false, again = false;
    lt_worker_lock(w);
    int64_t now_ns = lt_clock_mono_ns();
    w->look_count = 0;
    take_due(w, now_ns);
    lt_bells_take(w->bells, take_knock, w);
    uint32_t count = w->look_count;
    for (uint32_t i = 0; i < count; i++) {
        first_half(w, &w->looks[i], now_ns);
        fenced |= w->looks[i].reclaim || w->looks[i].drop;
    }
    if (fenced)
        lt_membarrier();
    for (uint32_t i = 0; i < count; i++) {
        struct look *look = &w->looks[i];
        if (look->reclaim)
            publish_room(w, look, now_ns);
        if (look->drop)
            drop_retired(w, look);
        look->part->looked_at = false;
        again |= look->again;
    }
    if (again)
        lt_membarrier();
    for (uint32_t i = 0; i < count; i++) {
        if (w->looks[i].again)
            lt_warden_knock(w, w->looks[i].part);
        if (w->looks[i].rotate)
            w->looks[i].part->topic->refs++; /* through the unlocked part below */
    }
    lt_worker_unlock(w);

    for (uint32_t i = 0; i < count; i++)
        if (w->looks[i].rotate)
            lt_rotate(w, w->looks[i].part);
    return count != 0;
}

/* Whether anything has moved since the last time. While nothing does, members ring for what they commit, so that the next look may be
 * far away. */
static bool fold(struct lt_worker *w)
{
    uint32_t *resting = &w->coordinator->resting;
    bool moved = lt_fold(w, false);
    moved |= lt_group_log_tick(w);
    if (moved || !w->group_log || *resting)
        return moved;
    /* [commit.resting] A member stores its commit, passes a compiler barrier and loads this word: it sees it and rings, or its
     * commit was drained by the membarrier and is seen here. */
    lt_store_release32(resting, 1);
    lt_membarrier();
    if (!lt_group_log_tick(w))
        return false;
    lt_store_release32(resting, 0);
    return true;
}

/* Somebody has rung, for whatever reason. */
static void rest_no_more(struct lt_worker *w, int64_t now_ns)
{
    if (!w->coordinator->resting)
        return;
    lt_store_release32(&w->coordinator->resting, 0);
    w->fold_pause_ns = FOLD_FIRST_NS;
    if (w->fold_at_ns > now_ns + FOLD_FIRST_NS)
        w->fold_at_ns = now_ns + FOLD_FIRST_NS;
}

/* Folds if it is time. How long to sleep, in ns; -1: until somebody knocks. */
static int64_t fold_and_plan(struct lt_worker *w, bool rung)
{
    int64_t now_ns = lt_clock_mono_ns(), until_ns = INT64_MAX;
    lt_worker_lock(w);
    if (rung)
        rest_no_more(w, now_ns);
    if (w->client_count != 0) {
        if (w->fold_at_ns == 0) {
            w->fold_at_ns = now_ns + w->fold_pause_ns;
        } else if (now_ns >= w->fold_at_ns) {
            w->fold_pause_ns = fold(w) ? FOLD_FIRST_NS : w->fold_pause_ns * 2;
            if (w->fold_pause_ns > FOLD_LONGEST_NS)
                w->fold_pause_ns = FOLD_LONGEST_NS;
            w->fold_at_ns = now_ns + w->fold_pause_ns;
        }
        until_ns = w->fold_at_ns;
    }
    if (w->groups_at_ns != 0 && now_ns >= w->groups_at_ns)
        lt_groups_tick(w, now_ns);
    if (w->groups_at_ns != 0 && w->groups_at_ns < until_ns)
        until_ns = w->groups_at_ns;
    for (uint32_t i = 0; i < w->watched_count; i++)
        if (w->watched[i]->deadline_ns < until_ns)
            until_ns = w->watched[i]->deadline_ns;
    lt_worker_unlock(w);
    return until_ns == INT64_MAX ? -1 : until_ns <= now_ns ? 0 : until_ns - now_ns;
}

static void *run(void *argument)
{
    struct lt_worker *w = argument;
    struct lt_bell *bell = &w->bells->leatd;
    bool rung = true;
    while (!lt_load_acquire32(&w->warden_end)) {
        while (turn(w))
            ;
        uint32_t armed = lt_bell_arm(bell);
        lt_membarrier();
        int64_t pause_ns = fold_and_plan(w, rung);
        rung = turn(w);
        if (!rung && pause_ns != 0 && !lt_load_acquire32(&w->warden_end))
            rung = lt_bell_wait(bell, armed, pause_ns);
        lt_bell_disarm(bell, armed);
    }
    return NULL;
}

int lt_warden_start(struct lt_worker *w)
{
    w->fold_pause_ns = FOLD_FIRST_NS;
    lt_store_release32(&w->coordinator->resting, 0);
    return lt_worker_thread(&w->warden_thread, run, w);
}

void lt_warden_stop(struct lt_worker *w)
{
    lt_store_release32(&w->warden_end, 1);
    lt_membarrier();
    lt_bell_rescue(&w->bells->leatd);
    pthread_join(w->warden_thread, NULL);
    free(w->looks);
    free(w->watched);
}
