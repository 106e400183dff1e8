/* group_log: see group_log.h.
 *
 * Points: group_log.put (a round begins), group_log.written (what it put is on the disk, and nobody was told), group_log.restored (groups are back,
 * and the next worker does not know that they are).
 */
#include "leatd/group_log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include <leat.h>
#include "leatd/control.h"
#include "leatd/data.h"
#include "leatd/topics.h"
#include "store/io_fail.h"
#include "store/offsets.h"

#define NS_PER_MS 1000000ll
#define NS_PER_S 1000000000ll
#define GATHER_NS (100 * NS_PER_MS) /* a group that changes goes on changing */
#define RETRY_NS (1000 * NS_PER_MS) /* when there was no room */
#define AHEAD 64u /* generations and serials that may be given out before the group's entry is put again */

/* Who is answered when all that was listed before is on the disk. */
struct waiter {
    struct waiter *next;
    uint32_t conn_index, conn_generation;
    struct lt_msg head; /* of the request, for its answer */
    struct lt_membership member;
    bool is_member;   /* has to be one still */
    bool in_any_case; /* it is done, whatever becomes of the disk */
};

struct forgotten {
    struct forgotten *next;
    uint64_t log_id;
    uint32_t partition;
    char group[];
};

struct lt_group_log {
    struct lt_worker *w;
    pthread_t thread;
    bool has_thread;
    pthread_cond_t more; /* with the worker's lock */
    /* the thread's alone, while it runs */
    struct lt_io *io;
    struct lt_offsets *offsets; /* NULL: not open (yet) */
    char path[LT_PLACE_MAX + 16];
    /* under the lock */
    struct waiter *waiters, **waiters_end;
    struct forgotten *forgotten, **forgotten_end;
    struct lt_kept_group *listed;
    int64_t due_ns; /* a round then; 0: no need */
    bool resume, end;
    int error; /* why nothing is written; 0: nothing is wrong */
    char reason[LT_MSG_TEXT];
};

/* --- what has to be looked at --- */

static void plan(struct lt_group_log *log, int64_t at_ns)
{
    if (log->due_ns != 0 && log->due_ns <= at_ns)
        return;
    log->due_ns = at_ns;
    log->w->group_log_kick = true;
}

static void list_group(struct lt_kept_group *g)
{
    struct lt_group_log *log = g->w->group_log;
    if (g->filed.is_listed)
        return;
    g->filed.is_listed = true;
    g->filed.next = log->listed;
    log->listed = g;
}

static void unlist_group(struct lt_kept_group *g)
{
    struct lt_kept_group **at = &g->w->group_log->listed;
    if (!g->filed.is_listed)
        return;
    while (*at != g)
        at = &(*at)->filed.next;
    *at = g->filed.next;
    g->filed.is_listed = false;
}

/* One place only. Without memory for that, all of them. */
static void list_place(struct lt_kept_group *g, uint32_t p)
{
    struct lt_filed *filed = &g->filed;
    list_group(g);
    if (filed->all || filed->places[p].is_listed)
        return;
    if (filed->listed_count == filed->listed_room) {
        uint32_t room = filed->listed_room ? filed->listed_room * 2 : 16;
        uint32_t *listed = realloc(filed->listed, room * sizeof *listed);
        if (!listed) {
            filed->all = true;
            return;
        }
        filed->listed = listed;
        filed->listed_room = room;
    }
    filed->listed[filed->listed_count++] = p;
    filed->places[p].is_listed = true;
}

void lt_group_log_look(struct lt_kept_group *g, uint32_t p, bool text)
{
    struct lt_filed_place *place = &g->filed.places[p];
    if (!g->w->group_log || place->log_id == 0)
        return;
    place->text |= text;
    list_place(g, p);
    plan(g->w->group_log, lt_clock_mono_ns() + GATHER_NS);
}

void lt_group_log_changed(struct lt_kept_group *g)
{
    if (!g->w->group_log || (g->filed.log_count == 0 && !g->filed.has_head))
        return;
    g->filed.all = true;
    list_group(g);
    plan(g->w->group_log, lt_clock_mono_ns() + GATHER_NS);
}

int lt_group_log_fit(struct lt_kept_group *g, uint32_t places)
{
    struct lt_filed_place *more = realloc(g->filed.places, places * sizeof *more);
    if (!more)
        return LEAT_ENOMEM;
    g->filed.places = more;
    for (uint32_t p = g->machine.part_room; p < places; p++)
        more[p] = (struct lt_filed_place){ .committed = LT_COMMIT_NONE };
    return 0;
}

void lt_group_log_place(struct lt_kept_group *g, uint32_t p)
{
    const struct lt_topic *topic = lt_topics_by_id(g->w, g->machine.parts[p].topic_id);
    struct lt_filed_place *place = &g->filed.places[p];
    bool was_listed = place->is_listed; /* of what was here before; it stands in the list */
    *place = (struct lt_filed_place){ .committed = LT_COMMIT_NONE, .is_listed = was_listed };
    if (!topic || topic->head->log_id == 0)
        return;
    place->log_id = topic->head->log_id;
    place->slow = topic->head->level != LEAT_RING;
    g->filed.log_count++;
    g->filed.slow_count += place->slow;
}

void lt_group_log_forget(struct lt_worker *w, const char *group, uint64_t log_id, uint32_t partition)
{
    struct lt_group_log *log = w->group_log;
    size_t size = strlen(group) + 1;
    struct forgotten *forgotten = malloc(sizeof *forgotten + size);
    if (!forgotten)
        return; /* the next worker finds that nobody has it */
    forgotten->next = NULL;
    forgotten->log_id = log_id;
    forgotten->partition = partition;
    memcpy(forgotten->group, group, size);
    *log->forgotten_end = forgotten;
    log->forgotten_end = &forgotten->next;
    plan(log, lt_clock_mono_ns() + GATHER_NS);
}

void lt_group_log_unplace(struct lt_kept_group *g, uint32_t p)
{
    struct lt_filed_place *place = &g->filed.places[p];
    if (place->log_id == 0)
        return;
    if (g->w->group_log && place->committed != LT_COMMIT_NONE)
        lt_group_log_forget(g->w, g->name, place->log_id, g->machine.parts[p].partition);
    g->filed.log_count--;
    g->filed.slow_count -= place->slow;
    *place = (struct lt_filed_place){ .committed = LT_COMMIT_NONE, .is_listed = place->is_listed };
}

void lt_group_log_drop(struct lt_kept_group *g)
{
    if (!g->w->group_log)
        return;
    for (uint32_t p = 0; p < g->machine.part_room; p++)
        lt_group_log_unplace(g, p);
    if (g->filed.has_head)
        lt_group_log_forget(g->w, g->name, 0, LT_OFFSETS_GROUP_PART);
}

void lt_group_log_free(struct lt_kept_group *g)
{
    if (g->w->group_log)
        unlist_group(g);
    free(g->filed.places);
    free(g->filed.listed);
}

/* --- a round: under the lock --- */

static int put(struct lt_group_log *log, const char *group, uint64_t log_id, uint32_t partition,
               int64_t offset, const void *text, uint32_t size)
{
    struct lt_offsets_key key = { .group = group, .topic = log_id, .partition = partition };
    int64_t r = lt_offsets_put(log->offsets, &key, offset, text, size);
    return r < 0 ? (int)r : 0;
}

static int put_forgotten(struct lt_group_log *log)
{
    while (log->forgotten) {
        struct forgotten *first = log->forgotten;
        int r = put(log, first->group, first->log_id, first->partition, LT_OFFSETS_FORGOTTEN, NULL, 0);
        if (r < 0)
            return r;
        log->forgotten = first->next;
        free(first);
    }
    log->forgotten_end = &log->forgotten;
    return 0;
}

static int put_place(struct lt_group_log *log, struct lt_kept_group *g, uint32_t p)
{
    struct lt_filed_place *filed = &g->filed.places[p];
    const struct lt_group_place *place = lt_place_of(g, p);
    if (filed->log_id == 0)
        return 0;
    uint64_t committed = lt_groups_committed(g, p);
    if (committed == filed->committed && !filed->text)
        return 0;
    int64_t offset = committed == LT_COMMIT_NONE ? LT_OFFSETS_FORGOTTEN : (int64_t)committed;
    bool has_text = place->metadata_offset == committed && committed != LT_COMMIT_NONE;
    int r = put(log, g->name, filed->log_id, g->machine.parts[p].partition, offset, place->metadata,
                has_text ? place->metadata_size : 0);
    if (r < 0)
        return r;
    filed->committed = committed;
    filed->text = false;
    return 0;
}

/* What the file says is reached before it is put again, so that a generation that was seen is not seen twice. */
static uint64_t ahead(uint64_t filed, uint64_t now, bool exactly)
{
    return exactly ? now : now + AHEAD / 4 < filed ? filed : now + AHEAD;
}

static int put_head(struct lt_group_log *log, struct lt_kept_group *g)
{
    struct lt_offsets_group *filed = &g->filed.head;
    struct lt_offsets_group head = {
        .uid = g->head->uid,
        .gid = g->head->gid,
        .assignor = g->head->assignor,
        .serial = (uint32_t)ahead(filed->serial, g->head->next_serial, log->end),
        .generation = ahead(filed->generation, g->machine.generation, log->end),
        .created_ms = g->head->created_ms,
        .empty_since_ms = g->machine.member_count == 0 ? g->head->empty_since_ms : 0,
    };
    if (g->filed.has_head && memcmp(&head, filed, sizeof head) == 0)
        return 0;
    int r = put(log, g->name, 0, LT_OFFSETS_GROUP_PART, 0, &head, sizeof head);
    if (r < 0)
        return r;
    *filed = head;
    g->filed.has_head = true;
    return 0;
}

static int put_group(struct lt_group_log *log, struct lt_kept_group *g)
{
    struct lt_filed *filed = &g->filed;
    int r = put_head(log, g); /* in front: entries without it would be nobody's */
    for (uint32_t p = 0; r == 0 && filed->all && p < g->machine.part_room; p++)
        r = put_place(log, g, p);
    for (uint32_t i = 0; r == 0 && !filed->all && i < filed->listed_count; i++)
        r = put_place(log, g, filed->listed[i]);
    if (r < 0)
        return r;
    while (filed->listed_count != 0)
        filed->places[filed->listed[--filed->listed_count]].is_listed = false;
    filed->all = false;
    return 0;
}

static int put_all(struct lt_group_log *log)
{
    int r = put_forgotten(log);
    while (r == 0 && log->listed) {
        struct lt_kept_group *g = log->listed;
        r = put_group(log, g);
        if (r == 0)
            unlist_group(g);
    }
    return r;
}

static bool is_member_still(struct lt_worker *w, const struct waiter *waiter)
{
    uint32_t m;
    const struct lt_kept_group *g = lt_groups_of_bell(w, waiter->member.bell, &m);
    return g && g->agents[m].serial == waiter->member.serial;
}

/* Evicted meanwhile: its partitions may be another's, who may have committed less, and it is that which is on the disk. */
static int judge(struct lt_worker *w, const struct waiter *waiter, int error, const char *reason)
{
    if (waiter->is_member && !is_member_still(w, waiter))
        return lt_fail(LEAT_EFENCED, "bell %u, serial %u: no member any more", waiter->member.bell,
                       waiter->member.serial);
    return error < 0 && !waiter->in_any_case ? lt_fail(error, "%s", reason) : 0;
}

static void answer_all(struct lt_worker *w, struct waiter *waiters, int error, const char *reason)
{
    while (waiters) {
        struct waiter *waiter = waiters;
        waiters = waiter->next;
        int result = judge(w, waiter, error, reason);
        lt_control_answer(w, waiter->conn_index, waiter->conn_generation, &waiter->head, result);
        free(waiter);
    }
}

/* Said once, not with each try. */
static void note(struct lt_group_log *log, int error)
{
    if (error < 0)
        snprintf(log->reason, sizeof log->reason, "%s", lt_fail_text());
    if (error < 0 && error != log->error)
        lt_worker_say(log->w, LT_LOG_ERROR, "committed offsets are not written: %s", log->reason);
    else if (error == 0 && log->error != 0)
        lt_worker_say(log->w, LT_LOG_INFO, "committed offsets are written again");
    log->error = error;
}

/* With the lock, which it lets go for the time of the write. */
static void round_of(struct lt_group_log *log)
{
    struct lt_worker *w = log->w;
    struct waiter *waiters = log->waiters;
    log->waiters = NULL;
    log->waiters_end = &log->waiters;
    log->due_ns = 0;
    bool is_open = log->offsets && !lt_offsets_failed(log->offsets);
    if (!is_open) { /* until somebody says RESUME */
        answer_all(w, waiters, log->error, log->reason);
        return;
    }
    lt_point("group_log.put");
    int r = put_all(log);
    lt_worker_unlock(w);
    if (r == 0)
        r = lt_offsets_flush(log->offsets);
    lt_point("group_log.written");
    lt_worker_lock(w);
    note(log, r);
    answer_all(w, waiters, r, log->reason);
    if (r < 0 && !lt_offsets_failed(log->offsets)) /* no room, or no memory: what was put is kept */
        log->due_ns = lt_clock_mono_ns() + RETRY_NS;
}

/* --- opening --- */

static int open_file(struct lt_group_log *log)
{
    return lt_offsets_open(log->io, lt_data_groups_fd(log->w), log->path, 0, 0, 0, &log->offsets);
}

/* With the lock, which it lets go for the time of that. */
static void open_again(struct lt_group_log *log)
{
    struct lt_worker *w = log->w;
    log->resume = false;
    lt_worker_unlock(w);
    lt_offsets_close(log->offsets);
    log->offsets = NULL;
    int r = open_file(log);
    lt_worker_lock(w);
    if (r == 0)
        r = lt_group_compare(w, log->offsets);
    note(log, r);
    if (r < 0) {
        lt_offsets_close(log->offsets);
        log->offsets = NULL;
    }
    plan(log, lt_clock_mono_ns());
}

static void wait_for_more(struct lt_group_log *log)
{
    struct lt_worker *w = log->w;
    if (w->said_bytes != 0) {
        lt_worker_unlock(w); /* which says it */
        lt_worker_lock(w);
    } else if (log->due_ns == 0) {
        pthread_cond_wait(&log->more, &w->lock);
    } else {
        struct timespec until = { .tv_sec = log->due_ns / NS_PER_S, .tv_nsec = log->due_ns % NS_PER_S };
        pthread_cond_timedwait(&log->more, &w->lock, &until);
    }
}

static void *run(void *argument)
{
    struct lt_group_log *log = argument;
    struct lt_worker *w = log->w;
    lt_worker_lock(w);
    while (!log->end) {
        if (log->resume) {
            open_again(log);
        } else if (log->waiters || (log->due_ns != 0 && log->due_ns <= lt_clock_mono_ns())) {
            round_of(log);
        } else {
            w->group_log_kick = false;
            wait_for_more(log);
        }
    }
    if (log->resume) /* it has not come to that yet: nothing was written, and somebody may wait */
        open_again(log);
    for (struct lt_kept_group *g = w->groups; g; g = g->next) /* as it is now, and exactly */
        if (g->filed.log_count != 0 || g->filed.has_head) {
            g->filed.all = true;
            list_group(g);
        }
    round_of(log);
    lt_worker_unlock(w);
    return NULL;
}

void lt_group_log_kick(struct lt_worker *w)
{
    pthread_cond_signal(&w->group_log->more);
}

/* --- waiting --- */

static int wait_as(struct lt_worker *w, struct lt_conn *conn, struct waiter waiter)
{
    struct lt_group_log *log = w->group_log;
    struct waiter *one = log ? malloc(sizeof *one) : NULL;
    if (!log)
        return 0;
    if (!one)
        return waiter.in_any_case ? 0 : lt_fail(LEAT_ENOMEM, "no memory for a request");
    *one = waiter;
    one->next = NULL;
    one->conn_index = conn->index;
    one->conn_generation = conn->generation;
    memcpy(&one->head, w->buffer, sizeof one->head);
    *log->waiters_end = one;
    log->waiters_end = &one->next;
    w->group_log_kick = true;
    return LT_GROUPS_LATER;
}

int lt_group_log_wait(struct lt_worker *w, struct lt_conn *conn, const struct lt_membership *member)
{
    struct waiter waiter = { .in_any_case = member == NULL };
    if (member) {
        waiter.is_member = true;
        waiter.member = *member;
    }
    return wait_as(w, conn, waiter);
}

int lt_group_log_wait_outside(struct lt_worker *w, struct lt_conn *conn)
{
    return wait_as(w, conn, (struct waiter){ .is_member = false });
}

/* --- what members have committed --- */

static bool has_moved(struct lt_kept_group *g)
{
    for (uint32_t p = 0; p < g->machine.part_room; p++) {
        const struct lt_filed_place *place = &g->filed.places[p];
        if (place->log_id != 0 && (place->text || lt_groups_committed(g, p) != place->committed))
            return true;
    }
    return false;
}

bool lt_group_log_tick(struct lt_worker *w)
{
    struct lt_group_log *log = w->group_log;
    bool moved = false;
    if (!log || log->error != 0)
        return false;
    for (struct lt_kept_group *g = w->groups; g; g = g->next) {
        if (g->filed.log_count == 0 || g->machine.member_count == 0 || !has_moved(g))
            continue;
        g->filed.all = true;
        list_group(g);
        moved = true;
    }
    if (moved)
        plan(log, lt_clock_mono_ns());
    return moved;
}

void lt_group_log_resume(struct lt_worker *w)
{
    struct lt_group_log *log = w->group_log;
    if (!log || log->error == 0)
        return;
    log->resume = true;
    w->group_log_kick = true;
}

/* --- start and end --- */

static void free_log(struct lt_group_log *log)
{
    while (log->forgotten) {
        struct forgotten *next = log->forgotten->next;
        free(log->forgotten);
        log->forgotten = next;
    }
    lt_offsets_close(log->offsets);
    lt_io_free(log->io);
    pthread_cond_destroy(&log->more);
    free(log);
}

/* Of a fresh bus the groups have to be there before anybody is served; of one that goes on they are, and the file can wait. */
static int begin(struct lt_group_log *log)
{
    struct lt_worker *w = log->w;
    log->io = lt_io_failing(lt_io_plain(1));
    if (!log->io)
        return LEAT_ENOMEM;
    if (w->coordinator->groups_restored) {
        log->resume = true;
    } else {
        int r = open_file(log);
        if (r == LEAT_EFAILED) {
            snprintf(log->reason, sizeof log->reason, "%s", lt_fail_text());
            lt_fail(r, "%s; who moves the file away begins without committed offsets", log->reason);
        }
        if (r < 0)
            return r;
        lt_worker_lock(w);
        r = lt_group_restore(w, log->offsets);
        lt_worker_unlock(w);
        if (r < 0)
            return r;
        lt_point("group_log.restored");
        lt_store_release32(&w->coordinator->groups_restored, 1);
    }
    int r = lt_worker_thread(&log->thread, run, log);
    log->has_thread = r == 0;
    return r;
}

int lt_group_log_start(struct lt_worker *w)
{
    if (lt_data_groups_fd(w) < 0)
        return 0;
    struct lt_group_log *log = calloc(1, sizeof *log);
    if (!log)
        return lt_fail(LEAT_ENOMEM, "no memory for committed offsets");
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&log->more, &attributes);
    pthread_condattr_destroy(&attributes);
    log->w = w;
    log->waiters_end = &log->waiters;
    log->forgotten_end = &log->forgotten;
    snprintf(log->path, sizeof log->path, "%s/groups", w->config.data);
    w->group_log = log;
    return begin(log);
}

void lt_group_log_stop(struct lt_worker *w)
{
    struct lt_group_log *log = w->group_log;
    if (!log)
        return;
    if (log->has_thread) {
        lt_worker_lock(w);
        log->end = true;
        w->group_log_kick = true;
        lt_worker_unlock(w);
        pthread_join(log->thread, NULL);
    }
    for (struct lt_kept_group *g = w->groups; g; g = g->next)
        unlist_group(g);
    w->group_log = NULL;
    free_log(log);
}
