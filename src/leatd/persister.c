/* persister: see persister.h and part_log.h.
 *
 *   turn    every partition is looked at; what there is is copied and appended
 *   submit  all of it at once
 *   reap    something has ended: pages and waiters are told (lt_part_log_tell)
 *   sleep   both bells armed, membarrier, one more look (shm/bell.h); partitions at level ring that had something are not waited for
 *           by bell but come round by themselves, so that their producers have nobody to wake
 *
 * A second thread makes the files of segments to come: that takes as long as the disk takes to be filled with zeros.
 */
#include "leatd/persister.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <leat.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/futex.h"
#include "leatd/data.h"
#include "leatd/kept.h"
#include "leatd/maker.h"
#include "leatd/part_log.h"
#include "leatd/topics.h"
#include "leatd/warden.h"
#include "shm/rotation.h"
#include "store/io_fail.h"

#define MS_NS 1000000ll
#define DEPTH 128u
#define CLOSERS 16u
#define OPS 64u
#define ALONE_BYTES (64u << 10)
#define BOUND_NS (2000 * MS_NS) /* what a lie in a bell costs */
#define DEAF_NS MS_NS           /* at most so long the thread waits for an operation and hears nobody */
#define DRAIN_NS (10000 * MS_NS)

struct lt_persister {
    struct lt_worker *w;
    struct lt_io *io;
    pthread_t thread, spare_thread;
    bool runs;
    uint32_t end; /* [persister.end] */

    /* under the worker's lock */
    struct lt_part_log **added;
    uint32_t added_count, added_room;

    /* the thread's */
    struct lt_part_log **logs; /* by tag; NULL: free */
    uint32_t log_count;        /* the highest tag + 1 */
    uint32_t log_room;
    struct lt_stages stages;
    struct lt_io_op op_room[OPS + DEPTH]; /* all that is under way may have to go on */
    struct lt_ops ops;
    uint32_t under_way;
    uint32_t news; /* [persister.news] commands, added partitions, spares */

    /* the helper's */
    pthread_mutex_t spare_lock;
    pthread_cond_t spare_more;
    struct lt_part_log *spares;
    bool spare_end;
};

static void wake(struct lt_persister *p)
{
    /* [persister.news] release: what is new was stored before. */
    lt_store_release32(&p->news, 1);
    lt_membarrier();
    lt_bell_rescue(&p->w->bells->bells[LT_BELL_PERSISTER]);
}

void lt_persister_wake(struct lt_worker *w)
{
    if (w->persister)
        wake(w->persister);
}

struct lt_io *lt_persister_io(struct lt_worker *w)
{
    return w->persister ? w->persister->io : NULL;
}

uint64_t lt_persister_free_below(const struct lt_part *part)
{
    /* [log.free] acquire: what lies below was copied before. */
    return part->log ? lt_load_acquire64(&part->log->free_below) : UINT64_MAX;
}

void lt_persister_press(struct lt_part *part)
{
    if (!part->log || lt_load_relaxed32(&part->log->pressed) != 0)
        return;
    lt_store_relaxed32(&part->log->pressed, 1); /* relaxed: the wake behind it has a fence */
    wake(part->log->w->persister);
}

/* --- the helper: segments to come --- */

void lt_persister_ask_spare(struct lt_part_log *l, uint64_t bytes, bool zeros)
{
    struct lt_persister *p = l->w->persister;
    pthread_mutex_lock(&p->spare_lock);
    if (l->spare_state == LT_SPARE_NONE) {
        l->spare_state = LT_SPARE_ASKED;
        l->spare_bytes = bytes;
        l->spare_zeros = zeros;
        struct lt_part_log **last = &p->spares;
        while (*last)
            last = &(*last)->spare_next;
        l->spare_next = NULL;
        *last = l;
        pthread_cond_signal(&p->spare_more);
    }
    pthread_mutex_unlock(&p->spare_lock);
}

static void *make_spares(void *argument)
{
    struct lt_persister *p = argument;
    struct lt_io *io = lt_io_failing(lt_io_plain(1));
    pthread_mutex_lock(&p->spare_lock);
    for (;;) {
        while (!p->spares && !p->spare_end)
            pthread_cond_wait(&p->spare_more, &p->spare_lock);
        struct lt_part_log *l = p->spares;
        if (p->spare_end)
            break; /* nobody rolls any more */
        p->spares = l->spare_next;
        pthread_mutex_unlock(&p->spare_lock);
        struct lt_store_dir dir = lt_plog_dir(l->log); /* not closed while one is asked for */
        dir.io = io;
        int fd = io ? lt_segment_make_spare(&dir, l->spare_bytes, l->spare_zeros) : LEAT_ENOMEM;
        pthread_mutex_lock(&p->spare_lock);
        l->spare_fd = fd;
        if (fd < 0)
            snprintf(l->spare_text, sizeof l->spare_text, "%s", lt_fail_text());
        /* [log.spare] release: descriptor and text come first. */
        lt_store_release32((uint32_t *)&l->spare_state, LT_SPARE_MADE);
        wake(p);
    }
    pthread_mutex_unlock(&p->spare_lock);
    if (io)
        lt_io_free(io);
    return NULL;
}

/* --- partitions come and go --- */

int lt_persister_add(struct lt_worker *w, struct lt_part *part, struct lt_plog *log)
{
    struct lt_persister *p = w->persister;
    if (p->added_count == p->added_room) {
        uint32_t room = p->added_room ? p->added_room * 2 : 64;
        struct lt_part_log **added = realloc(p->added, room * sizeof(struct lt_part_log *));
        if (!added)
            return lt_fail(LEAT_ENOMEM, "no memory for the logs of %u partitions", room);
        p->added = added;
        p->added_room = room;
    }
    struct lt_part_log *l = calloc(1, sizeof *l);
    if (!l)
        return lt_fail(LEAT_ENOMEM, "topic %s, partition %u: no memory for its log", part->topic->name,
                       part->index);
    pthread_mutex_init(&l->lock, NULL);
    l->w = w;
    l->part = part;
    l->waits = part->topic->head->level != LEAT_RING;
    l->flushes = part->topic->head->level == LEAT_DURABLE;
    l->spare_fd = -1;
    l->until = UINT64_MAX;
    /* What an earlier worker has acknowledged is in the file. */
    l->free_below = part->topic->head->level == LEAT_DURABLE ? part->page->durable : part->page->written;
    l->shown = part->page->state == LT_PARTITION_FAILED ? LT_PLOG_FAILED
               : part->page->state == LT_PARTITION_FULL ? LT_PLOG_FULL
                                                        : LT_PLOG_OPEN;
    part->log = l;
    part->topic->refs++;
    p->added[p->added_count++] = l;
    lt_partition_bell_set(part->page, l->waits ? LT_BELL_PERSISTER : LT_BELL_GATHER, 1);
    l->is_held = true;
    if (log)
        lt_part_log_begin(l, log);
    l->is_held = false;
    if (!log)
        lt_store_release32(&part->page->log_open, 0);
    wake(p);
    return 0;
}

static void command(struct lt_part_log *l, uint32_t bits)
{
    /* [log.command] release. One writer at a time, under the worker's lock; the persister takes them by exchange. */
    lt_store_release32(&l->command, lt_load_relaxed32(&l->command) | bits);
    wake(l->w->persister);
}

void lt_persister_remove(struct lt_worker *w, struct lt_topic *topic)
{
    (void)w;
    for (uint32_t i = 0; i < topic->partition_count; i++)
        if (topic->parts[i].log)
            command(topic->parts[i].log, LT_LOG_GONE);
}

int lt_persister_resume(struct lt_worker *w, struct lt_part *part, bool cut)
{
    (void)w;
    if (!part->log)
        return lt_fail(LEAT_EINVAL, "topic %s has no log", part->topic->name);
    if (part->page->state != LT_PARTITION_FAILED)
        return lt_fail(LEAT_EINVAL, "topic %s, partition %u has not failed", part->topic->name, part->index);
    command(part->log, LT_LOG_RESUME | (cut ? LT_LOG_CUT : 0));
    return 0;
}

void lt_persister_release(struct lt_part *part)
{
    lt_part_log_free(part->log);
    part->log = NULL;
}

static uint32_t free_tag(const struct lt_persister *p)
{
    for (uint32_t tag = 0; tag < p->log_count; tag++)
        if (!p->logs[tag])
            return tag;
    return p->log_count;
}

static bool make_room(struct lt_persister *p, uint32_t count)
{
    if (count <= p->log_room)
        return true;
    struct lt_part_log **logs = realloc(p->logs, 2 * count * sizeof(struct lt_part_log *));
    if (!logs)
        return false;
    p->logs = logs;
    p->log_room = 2 * count;
    return true;
}

/* Those that were added. A tag is the upper half of tokens, and a log has it from its opening on. */
static void take_added(struct lt_persister *p)
{
    lt_worker_lock(p->w);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->added_count; i++) {
        struct lt_part_log *l = p->added[i];
        uint32_t tag = free_tag(p);
        if (!make_room(p, tag + 1)) {
            p->added[kept++] = l; /* the next news try again */
            continue;
        }
        if (tag == p->log_count)
            p->log_count++;
        p->logs[tag] = l;
        l->tag = tag;
        if (l->log)
            lt_plog_set_tag(l->log, tag);
    }
    p->added_count = kept;
    lt_worker_unlock(p->w);
}

/* What another worker has left: all of it side by side, for until it is open nothing of it is acknowledged. */
static void open_all(struct lt_persister *p)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->log_count; i++)
        count += p->logs[i] && !p->logs[i]->opened;
    struct lt_opening *openings = count != 0 ? calloc(count, sizeof *openings) : NULL;
    struct lt_part_log **logs = count != 0 ? calloc(count, sizeof(struct lt_part_log *)) : NULL;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->log_count; i++) {
        struct lt_part_log *l = p->logs[i];
        if (!l || l->opened)
            continue;
        if (!openings || !logs) { /* then one by one */
            lt_part_log_open(l, 0);
            continue;
        }
        openings[n].part = l->part;
        logs[n++] = l;
    }
    if (n != 0)
        lt_data_open_logs(p->w, openings, n);
    for (uint32_t i = 0; i < n; i++)
        lt_part_log_opened(logs[i], &openings[i]);
    free(openings);
    free(logs);
}

static bool is_still(const struct lt_part_log *l)
{
    return l->flight_count == 0 &&
           lt_load_acquire32((const uint32_t *)&l->spare_state) != LT_SPARE_ASKED; /* [log.spare] */
}

static void drop_spare(struct lt_part_log *l)
{
    if (l->spare_state == LT_SPARE_MADE && l->spare_fd >= 0)
        close(l->spare_fd);
    l->spare_state = LT_SPARE_NONE;
    l->spare_fd = -1;
}

static void let_go(struct lt_persister *p, struct lt_part_log *l)
{
    struct lt_topic *topic = l->part->topic;
    drop_spare(l);
    lt_part_log_close(l, UINT64_MAX);
    p->logs[l->tag] = NULL;
    lt_worker_lock(p->w);
    lt_topics_unref(p->w, topic);
    lt_worker_unlock(p->w);
}

/* Opened anew. What is not in the log is copied once more. */
static void resume(struct lt_part_log *l, bool cut)
{
    drop_spare(l);
    lt_part_log_close(l, UINT64_MAX);
    lt_part_log_drop_batch(l);
    lt_part_log_open(l, cut ? LT_RECOVER_CUT : 0);
}

static void obey(struct lt_persister *p, struct lt_part_log *l)
{
    uint32_t bits = lt_load_acquire32(&l->command); /* [log.command] */
    if (bits == 0 || !is_still(l))
        return;
    bits = lt_exchange32(&l->command, 0);
    if (bits & LT_LOG_GONE)
        let_go(p, l);
    else if (l->shown == LT_PLOG_FAILED)
        resume(l, (bits & LT_LOG_CUT) != 0);
}

/* --- a round --- */

static struct lt_part_log *log_of(const struct lt_persister *p, uint64_t token)
{
    uint32_t tag = (uint32_t)(token >> 32);
    return tag < p->log_count ? p->logs[tag] : NULL;
}

/* Nothing can be submitted any more: what is left fails, and with it the logs. */
static void refuse(struct lt_persister *p, uint32_t from, int error)
{
    uint32_t count = p->ops.count;
    p->ops.count = 0; /* a log that has failed wants nothing done again */
    for (uint32_t i = from; i < count; i++) {
        struct lt_io_done done = { .token = p->op_room[i].token, .result = error };
        struct lt_part_log *l = log_of(p, done.token);
        if (!l)
            continue;
        lt_part_log_completed(l, &p->stages, &p->ops, &done);
        lt_part_log_tell(l);
    }
    p->ops.count = 0;
}

static void submit(struct lt_persister *p)
{
    uint32_t done = 0;
    while (done < p->ops.count) {
        int n = lt_io_submit(p->io, p->ops.ops + done, (int)(p->ops.count - done));
        if (n == -EAGAIN || n == -EBUSY || n == 0)
            break; /* as many are under way as may be; the rest comes behind the next reap */
        if (n < 0) {
            refuse(p, done, n);
            return;
        }
        done += (uint32_t)n;
        p->under_way += (uint32_t)n;
    }
    p->ops.count -= done;
    memmove(p->ops.ops, p->ops.ops + done, p->ops.count * sizeof p->ops.ops[0]);
}

/* What is under way will never be heard of; the kernel may still read it. */
static void give_up(struct lt_persister *p, int error)
{
    lt_worker_log(p->w, LT_LOG_ERROR, "io_uring is broken: %s; every log that has something under way fails",
                  strerror(-error));
    for (uint32_t i = 0; i < p->log_count; i++) {
        struct lt_part_log *l = p->logs[i];
        while (l && l->flight_count != 0) {
            struct lt_io_done done = { .token = l->flights[0].token, .result = error };
            l->flights[0].stage = NULL;
            lt_part_log_completed(l, &p->stages, &p->ops, &done);
            lt_part_log_tell(l);
        }
    }
    p->under_way = p->ops.count = 0;
}

/* One small flush and nothing else under way: this thread does it. io_uring has a thread of its own wait for the disk, and
 * waking that one, and being woken by it, takes as long as half of the write. */
static bool run_alone(struct lt_persister *p)
{
    const struct lt_io_op *op = p->ops.ops;
    if (p->under_way != 0 || p->ops.count != 1 || !(op->flags & LT_IO_DSYNC) || op->size > ALONE_BYTES)
        return false;
    struct lt_io_done done = { .token = op->token, .result = lt_io_now(p->io, op) };
    struct lt_part_log *l = log_of(p, done.token);
    p->ops.count = 0;
    lt_part_log_completed(l, &p->stages, &p->ops, &done);
    lt_part_log_tell(l);
    return true;
}

/* Waits for something to end. Whether anything did. */
static bool reap(struct lt_persister *p, int64_t timeout_ns)
{
    struct lt_io_done done[OPS];
    int n = lt_io_reap(p->io, done, OPS, timeout_ns);
    if (n < 0)
        give_up(p, n);
    for (int i = 0; i < n; i++) {
        p->under_way--;
        struct lt_part_log *l = log_of(p, done[i].token);
        if (l)
            lt_part_log_completed(l, &p->stages, &p->ops, &done[i]);
    }
    for (int i = 0; i < n; i++) {
        struct lt_part_log *l = log_of(p, done[i].token);
        if (l)
            lt_part_log_tell(l); /* a second time it finds nothing new */
    }
    return n > 0;
}

/* Every partition once. Whether anything was appended; *next_ns: when to come again at the latest. */
static bool look_at_all(struct lt_persister *p, int64_t *next_ns)
{
    bool moved = false;
    int64_t now_ns = lt_clock_mono_ns();
    *next_ns = INT64_MAX;
    for (uint32_t i = 0; i < p->log_count; i++) {
        struct lt_part_log *l = p->logs[i];
        if (!l)
            continue;
        obey(p, l);
        l = p->logs[i];
        if (!l)
            continue;
        moved |= lt_part_log_step(l, &p->stages, &p->ops, now_ns, next_ns);
        if (p->ops.count + LT_FLIGHTS >= OPS)
            submit(p);
    }
    if (!run_alone(p))
        submit(p);
    return moved;
}

/* --- sleeping --- */

static bool is_gathering(const struct lt_persister *p)
{
    for (uint32_t i = 0; i < p->log_count; i++)
        if (p->logs[i] && lt_part_log_gathers(p->logs[i]))
            return true;
    return false;
}

static bool has_business(struct lt_persister *p)
{
    /* [persister.news] */
    if (lt_load_acquire32(&p->news) != 0 || lt_load_acquire32(&p->end) != 0)
        return true;
    for (uint32_t i = 0; i < p->log_count; i++)
        if (p->logs[i] && !lt_part_log_gathers(p->logs[i]) && lt_part_log_ready(p->logs[i]))
            return true;
    return false;
}

/* Claims that nobody publishes: the warden sees to them. */
static void knock_on_holes(struct lt_persister *p)
{
    for (uint32_t i = 0; i < p->log_count; i++)
        if (p->logs[i] && lt_part_log_blocked(p->logs[i]))
            lt_warden_knock(p->w, p->logs[i]->part);
}

static void rest(struct lt_persister *p, int64_t next_ns)
{
    struct lt_bells *bells = p->w->bells;
    struct lt_bell *each = &bells->bells[LT_BELL_PERSISTER], *gather = &bells->bells[LT_BELL_GATHER];
    const uint32_t *words[2] = { &each->word, &gather->word };
    uint32_t armed[2];
    int count = is_gathering(p) ? 1 : 2;
    armed[0] = lt_bell_arm(each);
    if (count == 2)
        armed[1] = lt_bell_arm(gather);
    lt_membarrier();
    int64_t pause_ns = next_ns == INT64_MAX ? BOUND_NS : next_ns - lt_clock_mono_ns();
    if (pause_ns > BOUND_NS)
        pause_ns = BOUND_NS;
    if (pause_ns > 0 && !has_business(p)) {
        knock_on_holes(p);
        if (lt_futex_wait_many(words, armed, count, pause_ns) == -ENOSYS)
            lt_futex_wait(words[0], armed[0], pause_ns < 5 * MS_NS ? pause_ns : 5 * MS_NS);
    }
    lt_bell_disarm(each, armed[0]);
    if (count == 2)
        lt_bell_disarm(gather, armed[1]);
}

/* --- the end --- */

/* What hangs between claim and publication is decided. The warden has gone, and the persister does not pass a hole, in whichever ring. */
static void fill_holes(struct lt_part *part)
{
    for (uint32_t ring = part->page->first_ring;; ring++) {
        struct lt_kept_ring *kept = lt_part_ring(part, ring);
        struct lt_repair_report report = { 0 };
        uint64_t offset;
        uint32_t owner;
        enum lt_claim_state state;
        for (uint32_t i = 0;
             kept->base && i < kept->view.slot_count && lt_kept_blocker(kept, &offset, &owner, &state) == 0;
             i++)
            lt_repair_claim(&kept->view, offset, LT_OWNER_LEFT, &report);
        if (ring == part->page->current_ring)
            return;
    }
}

/* Nobody claims in a partition any more: its ring is sealed. Where it ends. */
static uint64_t seal(struct lt_part *part)
{
    struct lt_kept_ring *kept = lt_part_ring(part, part->page->current_ring);
    struct lt_ring_gate *gate = lt_partition_gate(part->page, part->page->current_ring);
    uint64_t end;
    uint32_t epoch;
    /* [rotation.freeze] */
    lt_store_release32(&gate->frozen, 1);
    lt_membarrier();
    if (lt_rotation_seal(&kept->view, part->topic->head->exclusive_client != 0, &end, &epoch) != 0)
        end = kept->limit_offset + 2 * kept->view.slot_count;
    fill_holes(part);
    return end;
}

static void seal_all(struct lt_persister *p)
{
    lt_worker_lock(p->w);
    for (uint32_t i = 0; i < p->log_count; i++)
        if (p->logs[i])
            p->logs[i]->until = seal(p->logs[i]->part);
    lt_worker_unlock(p->w);
}

static bool is_drained(const struct lt_persister *p)
{
    for (uint32_t i = 0; i < p->log_count; i++) {
        const struct lt_part_log *l = p->logs[i];
        if (l && l->log && l->shown == LT_PLOG_OPEN && (l->copied < l->until || l->stage || l->flight_count))
            return false;
    }
    return p->under_way == 0;
}

static void drain(struct lt_persister *p)
{
    int64_t until_ns = lt_clock_mono_ns() + DRAIN_NS, next_ns;
    while (!is_drained(p) && lt_clock_mono_ns() < until_ns) {
        for (uint32_t i = 0; i < p->log_count; i++)
            if (p->logs[i])
                p->logs[i]->look_ns = 0;
        look_at_all(p, &next_ns);
        if (p->under_way > 0)
            reap(p, MS_NS);
        else
            lt_futex_wait(&p->news, lt_load_relaxed32(&p->news), MS_NS); /* a spare, or the disk's space */
    }
    while (p->under_way > 0)
        reap(p, -1);
}

static void *run(void *argument)
{
    struct lt_persister *p = argument;
    int64_t next_ns;
    while (!lt_load_acquire32(&p->end)) {
        if (lt_exchange32(&p->news, 0) != 0) {
            take_added(p);
            open_all(p);
        }
        bool moved = look_at_all(p, &next_ns);
        if (p->under_way > 0) {
            int64_t now_ns = lt_clock_mono_ns();
            /* No bell is heard in there: others may have something meanwhile. */
            if (next_ns > now_ns + DEAF_NS)
                next_ns = now_ns + DEAF_NS;
            reap(p, next_ns > now_ns ? next_ns - now_ns : 0);
        } else if (!moved && p->ops.count == 0) {
            rest(p, next_ns);
        }
    }
    take_added(p);
    seal_all(p);
    drain(p);
    return NULL;
}

/* --- start and stop --- */

int lt_persister_init(struct lt_worker *w)
{
    struct lt_persister *p = calloc(1, sizeof *p);
    if (!p)
        return lt_fail(LEAT_ENOMEM, "no memory for a persister");
    p->w = w;
    p->ops = (struct lt_ops){ .ops = p->op_room, .room = OPS };
    pthread_mutex_init(&p->spare_lock, NULL);
    pthread_cond_init(&p->spare_more, NULL);
    p->io = lt_io_start(DEPTH);
    w->persister = p;
    if (p->io)
        return 0;
    lt_persister_free(w);
    return lt_fail(LEAT_ENOMEM, "no memory for file operations");
}

static void end_helper(struct lt_persister *p)
{
    pthread_mutex_lock(&p->spare_lock);
    p->spare_end = true;
    pthread_cond_signal(&p->spare_more);
    pthread_mutex_unlock(&p->spare_lock);
    pthread_join(p->spare_thread, NULL);
}

int lt_persister_start(struct lt_worker *w)
{
    struct lt_persister *p = w->persister;
    if (!p)
        return 0;
    lt_store_relaxed32(&p->news, 1); /* relaxed: the thread is made behind it */
    int r = lt_worker_thread(&p->spare_thread, make_spares, p);
    if (r < 0)
        return r;
    r = lt_worker_thread(&p->thread, run, p);
    p->runs = r == 0;
    if (r < 0)
        end_helper(p);
    return r;
}

struct closer {
    struct lt_persister *p;
    uint32_t first;
    pthread_t thread;
    bool runs;
};

static void *close_some(void *argument)
{
    const struct closer *closer = argument;
    for (uint32_t i = closer->first; i < closer->p->log_count; i += CLOSERS) {
        struct lt_part_log *l = closer->p->logs[i];
        if (!l)
            continue;
        drop_spare(l);
        lt_part_log_close(l, l->until);
    }
    return NULL;
}

/* Side by side: each waits for a sync or two, and the keeper has not got patience for thousands one after the other. */
static void close_all(struct lt_persister *p)
{
    struct closer closers[CLOSERS];
    for (uint32_t i = 0; i < CLOSERS; i++) {
        closers[i] = (struct closer){ .p = p, .first = i };
        closers[i].runs = i > 0 && i < p->log_count &&
                          lt_worker_thread(&closers[i].thread, close_some, &closers[i]) == 0;
    }
    for (uint32_t i = 0; i < CLOSERS; i++) {
        if (closers[i].runs)
            pthread_join(closers[i].thread, NULL);
        else
            close_some(&closers[i]);
    }
}

void lt_persister_stop(struct lt_worker *w)
{
    struct lt_persister *p = w->persister;
    if (!p || !p->runs)
        return;
    lt_store_release32(&p->end, 1);
    wake(p);
    pthread_join(p->thread, NULL);
    end_helper(p);
    close_all(p);
    lt_worker_lock(w);
    for (uint32_t i = 0; i < p->log_count; i++) {
        struct lt_part_log *l = p->logs[i];
        p->logs[i] = NULL;
        if (l)
            lt_topics_unref(w, l->part->topic);
    }
    lt_worker_unlock(w);
}

void lt_persister_free(struct lt_worker *w)
{
    struct lt_persister *p = w->persister;
    if (!p)
        return;
    while (p->stages.free) {
        struct lt_stage *stage = p->stages.free;
        p->stages.free = stage->next;
        free(stage->bytes);
        free(stage);
    }
    if (p->io)
        lt_io_free(p->io);
    pthread_cond_destroy(&p->spare_more);
    pthread_mutex_destroy(&p->spare_lock);
    free(p->logs);
    free(p->added);
    free(p);
    w->persister = NULL;
}

/* --- requests --- */

static int attach_in(struct lt_part_log *l, const struct lt_segment_attach *request,
                     struct lt_segment_attach_answer *answer, int *fd)
{
    struct lt_plog_place place;
    char name[LT_SEGMENT_NAME_SIZE];
    if (!l->log)
        return lt_fail(LEAT_EBUSY_HANDLE, "topic %s, partition %u: its log is not open", l->part->topic->name,
                       l->part->index);
    int r = request->by_time ? lt_plog_find_time(l->log, request->timestamp_ms, &place)
                             : lt_plog_find(l->log, request->offset, &place);
    if (r == LT_PLOG_NOTHING)
        return lt_fail(LEAT_EOFFSET, "topic %s, partition %u: the log ends at offset %" PRIu64,
                       l->part->topic->name, l->part->index, lt_plog_written(l->log));
    if (r < 0)
        return r;
    struct lt_store_dir dir = lt_plog_dir(l->log);
    if (!request->by_time)
        lt_plog_lend(l->log, place.base_offset);
    lt_segment_name(name, place.base_offset, "log");
    int file = lt_io_open(dir.io, dir.fd, name, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return lt_fail_errno(-file, "%s/%s: open", dir.path, name);
    struct lt_io_stat stat;
    r = lt_io_stat(dir.io, file, &stat);
    if (r < 0) {
        close(file);
        return lt_fail_errno(-r, "%s/%s: stat", dir.path, name);
    }
    *answer = (struct lt_segment_attach_answer){ .log_id = l->part->topic->head->log_id,
                                                 .base_offset = place.base_offset,
                                                 .size_bytes = stat.size,
                                                 .pos = place.pos,
                                                 .first_offset = place.offset };
    if (request->by_time)
        close(file);
    else
        *fd = file;
    return 0;
}

int lt_persister_attach_segment(struct lt_part *part, const struct lt_segment_attach *request,
                                struct lt_segment_attach_answer *answer, int *fd)
{
    struct lt_part_log *l = part->log;
    if (!l)
        return lt_fail(LEAT_EOFFSET, "topic %s has no log", part->topic->name);
    pthread_mutex_lock(&l->lock);
    int r = attach_in(l, request, answer, fd);
    pthread_mutex_unlock(&l->lock);
    return r;
}
