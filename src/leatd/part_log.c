/* part_log: see part_log.h.
 *
 * Points, with what a death there leaves (the next persister opens the log and goes on copying at its end):
 *   log.open         nothing
 *   log.append       records in the ring only
 *   log.reserve      records written and not acknowledged
 *   log.tell         the same; whoever waits goes on waiting, the next persister tells it
 *   log.tell.after   acknowledged; whoever sleeps looks again after its bound
 */
#include "leatd/part_log.h"

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
#include "leatd/topics.h"
#include "leatd/warden.h"

#define MS_NS 1000000ll
#define GATHER_NS (5 * MS_NS)  /* level ring: between two looks while there is something */
#define SYNC_NS (500 * MS_NS)  /* what is written and not durable is synced then */
#define TRIM_NS (5000 * MS_NS) /* between two looks at the age of segments */
#define RETRY_NS (250 * MS_NS) /* full: between two tries */
#define BATCHES_A_STEP 4u
#define SMALL_BYTES \
    (64u << 10) /* a batch below is followed by the next one when it is done: its records are gathered */
#define FREE_STAGES_MAX 32u

/* --- staging --- */

static struct lt_stage *take_stage(struct lt_stages *stages, size_t bytes)
{
    struct lt_stage *stage = stages->free;
    if (bytes <= LT_STAGE_BYTES && stage) {
        stages->free = stage->next;
        stages->free_count--;
        return stage;
    }
    size_t capacity = bytes < LT_STAGE_BYTES ? LT_STAGE_BYTES : (bytes + 4095) & ~(size_t)4095;
    stage = malloc(sizeof *stage);
    if (!stage)
        return NULL;
    stage->capacity = capacity;
    stage->bytes = aligned_alloc(4096, capacity);
    if (stage->bytes)
        return stage;
    free(stage);
    return NULL;
}

static void give_stage(struct lt_stages *stages, struct lt_stage *stage)
{
    if (!stage)
        return;
    if (stage->capacity == LT_STAGE_BYTES && stages->free_count < FREE_STAGES_MAX) {
        stage->next = stages->free;
        stages->free = stage;
        stages->free_count++;
        return;
    }
    free(stage->bytes);
    free(stage);
}

/* --- the ring --- */

static void leave_ring(struct lt_part_log *l)
{
    if (l->ring_base)
        lt_region_unmap(l->ring_base, l->ring_bytes, l->ring_twice);
    l->ring_base = NULL;
}

/* The number of the ring that has the offset, or the first one behind it. */
static uint32_t ring_of(const struct lt_partition *page, uint64_t offset)
{
    uint32_t ring = lt_load_acquire32(&page->current_ring); /* [rotation.publish] */
    uint32_t first = lt_load_acquire32(&page->first_ring);
    while (ring != first && page->gate[ring % LT_RINGS].base_offset > offset)
        ring--;
    return ring;
}

/* Nothing of a ring that has not been copied whole is dropped, so its descriptor is there. */
static int enter_ring(struct lt_part_log *l, uint32_t number)
{
    struct lt_ring_gate *gate = lt_partition_gate(l->part->page, number);
    uint64_t size = l->part->topic->head->ring_size;
    int fd = lt_keep_fd(&l->w->keep, LT_KEEP_RING, gate->ring_id);
    int64_t bytes = fd < 0 ? -1 : lt_region_checked_size(fd);
    leave_ring(l);
    if (bytes < (int64_t)lt_ring_bytes(size))
        return lt_fail(LEAT_EPROTO, "topic %s, partition %u: ring %u has %lld bytes", l->part->topic->name,
                       l->part->index, number, (long long)bytes);
    l->ring_bytes = (uint64_t)bytes;
    l->ring_twice = size;
    int r = lt_region_map(fd, l->ring_bytes, 0, 0, l->ring_bytes - size, size, &l->ring_base);
    if (r < 0) {
        l->ring_base = NULL;
        return lt_fail_errno(-r, "topic %s, partition %u: map ring %u", l->part->topic->name, l->part->index,
                             number);
    }
    lt_ring_view(&l->ring, l->ring_base, size, gate->base_offset, gate);
    l->ring_number = number;
    return 0;
}

/* Goes to the ring that has `copied`. false: it is over, and the next one is not there yet; or cannot be mapped now. */
static bool be_in_ring(struct lt_part_log *l)
{
    if (l->ring_base && lt_load_acquire64(&l->ring.gate->end_offset) > l->copied)
        return true;
    uint32_t number = ring_of(l->part->page, l->copied);
    if (l->ring_base && number == l->ring_number)
        return false;
    return enter_ring(l, number) == 0;
}

/* Then nothing new is begun, so that what is under way comes to an end, however fast records come. */
static bool is_commanded(const struct lt_part_log *l)
{
    return lt_load_relaxed32(&l->command) != 0; /* relaxed: whoever stored it wakes us, and we look again */
}

bool lt_part_log_ready(const struct lt_part_log *l)
{
    const struct lt_slot *slot;
    if (l->stage || l->shown == LT_PLOG_FAILED || !l->log || !l->ring_base || is_commanded(l))
        return false;
    enum lt_slot_kind kind = lt_ring_peek(&l->ring, l->copied, &slot);
    if (kind != LT_KIND_NONE && kind != LT_KIND_SEAL)
        return true;
    return lt_load_acquire64(&l->ring.gate->end_offset) <= l->copied &&
           l->ring_number != lt_load_acquire32(&l->part->page->current_ring);
}

bool lt_part_log_blocked(const struct lt_part_log *l)
{
    if (!l->ring_base || !l->log || l->shown == LT_PLOG_FAILED)
        return false;
    /* [ring.hint] relaxed: anyone may write it; a lie costs the warden a look. */
    return lt_load_relaxed64(&lt_ring_words(&l->ring)->hint) >= lt_ring_rel(&l->ring, l->copied);
}

/* --- filling --- */

/* One published slot into the batch. 1: it is full; 0. */
static int add_record(struct lt_part_log *l, const struct lt_slot *slot, uint64_t *size_bytes)
{
    struct lt_store_record record = {
        .offset = l->copied,
        .stamp = lt_load_relaxed64(&slot->stamp), /* relaxed, one load each: [ring.see] has ordered them */
        .key_size = lt_load_relaxed32(&slot->key_size),
        .value_size = lt_load_relaxed32(&slot->value_size),
        .headers_size = lt_load_relaxed32(&slot->headers_size),
        .kind = LT_RECORD_DATA,
    };
    uint32_t pos = lt_load_relaxed32(&slot->pos);
    uint64_t payload = lt_store_payload(record.key_size, record.value_size, record.headers_size);
    if (payload > (pos == LT_POS_INLINE ? LT_INLINE_MAX : lt_ring_record_max(&l->ring))) {
        if (l->damaged++ == 0)
            lt_worker_log(l->w, LT_LOG_ERROR,
                          "topic %s, partition %u: offset %" PRIu64 " of %" PRIu64
                          " bytes makes no sense: a producer damaged it; it is a gap in the log",
                          l->part->topic->name, l->part->index, l->copied, payload);
        return 0; /* a gap */
    }
    record.bytes = pos == LT_POS_INLINE ? slot->data : lt_ring_payload_at(&l->ring, pos);
    *size_bytes = lt_batch_bytes_of(payload);
    return lt_batch_add(&l->batch, &record);
}

/* What is published from `copied` on, up to a batch. Whether there is one now. */
static bool fill(struct lt_part_log *l, struct lt_stages *stages)
{
    uint64_t size = 0;
    const struct lt_slot *slot;
    if (!be_in_ring(l) || lt_ring_peek(&l->ring, l->copied, &slot) == LT_KIND_NONE)
        return false;
    l->stage = take_stage(stages, LT_STAGE_BYTES);
    if (!l->stage)
        return false; /* no memory: the next round tries again */
    lt_batch_start(&l->batch, l->stage->bytes, l->stage->capacity, l->copied);
    for (;;) {
        enum lt_slot_kind kind = lt_ring_peek(&l->ring, l->copied, &slot);
        if (kind == LT_KIND_NONE || kind == LT_KIND_SEAL)
            break;
        if (kind == LT_KIND_RECORD && add_record(l, slot, &size) != 0) {
            if (l->batch.record_count != 0 || size <= l->stage->capacity)
                break;
            /* It alone is more than a stage. */
            give_stage(stages, l->stage);
            l->stage = take_stage(stages, size);
            if (!l->stage)
                return false;
            uint64_t first = l->batch.first_offset;
            lt_batch_start(&l->batch, l->stage->bytes, l->stage->capacity, first);
            continue;
        }
        l->copied++;
        if (l->copied - l->batch.first_offset >= l->ring.slot_count)
            break; /* a ring has no more: who publishes gaps in front of us for ever does not hold up the others */
    }
    lt_batch_skip_to(&l->batch, l->copied);
    if (!lt_batch_is_empty(&l->batch))
        return true;
    give_stage(stages, l->stage);
    l->stage = NULL;
    return false;
}

/* --- appending --- */

static bool has_room(const struct lt_part_log *l, const struct lt_ops *ops)
{
    return l->flight_count < LT_FLIGHTS - 1 && ops->count < ops->room;
}

static void take_off(struct lt_part_log *l, struct lt_ops *ops, const struct lt_io_op *op,
                     struct lt_stage *stage)
{
    ops->ops[ops->count++] = *op;
    l->flights[l->flight_count].token = op->token;
    l->flights[l->flight_count].is_sync = op->kind == LT_IO_SYNC;
    l->sync_count += op->kind == LT_IO_SYNC;
    l->flights[l->flight_count++].stage = stage;
}

static void want_sync(struct lt_part_log *l, struct lt_ops *ops)
{
    struct lt_io_op op;
    if (l->flight_count < LT_FLIGHTS && ops->count < ops->room && lt_plog_sync(l->log, &op) == 0)
        take_off(l, ops, &op, NULL);
}

static void want_spare(struct lt_part_log *l, int64_t now_ns)
{
    bool zeros;
    uint64_t bytes = lt_plog_wants_spare(l->log, &zeros);
    if (bytes != 0 && now_ns >= l->spare_ns)
        lt_persister_ask_spare(l, bytes, zeros);
}

/* The helper has made it, or could not. */
static void take_spare(struct lt_part_log *l, int64_t now_ns)
{
    /* [log.spare] acquire: descriptor and text are there. */
    if (lt_load_acquire32((const uint32_t *)&l->spare_state) != LT_SPARE_MADE)
        return;
    l->spare_state = LT_SPARE_NONE;
    if (l->spare_fd == LEAT_ELIMIT || l->spare_fd == LEAT_ENOMEM) {
        /* The process's descriptors or memory, and not the disk's doing: later. */
        lt_worker_log(l->w, LT_LOG_WARN, "topic %s, partition %u: no next segment yet: %s",
                      l->part->topic->name, l->part->index, l->spare_text);
        l->spare_ns = now_ns + RETRY_NS;
        l->spare_fd = -1;
        return;
    }
    if (l->spare_fd < 0)
        lt_fail(l->spare_fd, "%s", l->spare_text);
    if (lt_plog_give_spare(l->log, l->spare_fd, l->spare_bytes) < 0)
        l->spare_ns = now_ns + RETRY_NS;
    l->spare_fd = -1;
}

/* A gap for what rings do not have any more, then batches. Whether anything was appended. */
static bool append_all(struct lt_part_log *l, struct lt_stages *stages, struct lt_ops *ops)
{
    struct lt_io_op op;
    bool moved = false;
    l->step_bytes = l->step_offsets = 0;
    if (lt_plog_end(l->log) < l->copied && !l->stage && has_room(l, ops)) {
        pthread_mutex_lock(&l->lock);
        int r = lt_plog_skip(l->log, l->copied, &op);
        if (r == LT_PLOG_SYNC)
            want_sync(l, ops);
        pthread_mutex_unlock(&l->lock);
        if (r != 0)
            return false;
        take_off(l, ops, &op, NULL);
        moved = true;
    }
    for (uint32_t i = 0; i < BATCHES_A_STEP && has_room(l, ops); i++) {
        /* What comes meanwhile goes together. A sync that nobody waits for is not waited for either. */
        if (l->flight_count > (l->flushes ? 0 : l->sync_count) && l->last_bytes < SMALL_BYTES)
            break;
        if (!l->stage && !fill(l, stages))
            break;
        lt_point("log.append");
        pthread_mutex_lock(&l->lock);
        int r = lt_plog_append(l->log, &l->batch, &op);
        if (r == LT_PLOG_SYNC)
            want_sync(l, ops);
        pthread_mutex_unlock(&l->lock);
        if (r != 0)
            break;
        l->last_bytes = op.size;
        l->step_bytes += op.size;
        l->step_offsets += l->batch.end_offset - l->batch.first_offset;
        take_off(l, ops, &op, l->stage);
        l->stage = NULL;
        moved = true;
    }
    return moved;
}

static void trim(struct lt_part_log *l, int64_t now_ns)
{
    const struct lt_topic_head *head = l->part->topic->head;
    /* relaxed: settings that change live; the next look sees them. */
    uint64_t bytes = lt_load_relaxed64(&head->retention_bytes);
    int64_t ms = (int64_t)lt_load_relaxed64((const uint64_t *)&head->retention_ms);
    l->trim_ns = now_ns + TRIM_NS;
    if (bytes != UINT64_MAX || ms >= 0)
        lt_plog_trim(l->log, bytes, ms >= 0 ? lt_clock_real_ms() - ms : INT64_MIN);
}

/* How long records are gathered, at level ring: so long that an eighth of the ring comes together, as things go, and 5 ms at most. */
static int64_t gather_ns(const struct lt_part_log *l)
{
    uint64_t size = l->part->topic->head->ring_size;
    uint64_t share = l->step_offsets * LT_SLOT_SIZE > l->step_bytes ? l->step_offsets * LT_SLOT_SIZE
                                                                    : l->step_bytes;
    if (share == 0)
        return 0;
    return share <= size / 8 ? GATHER_NS : (int64_t)((uint64_t)GATHER_NS * (size / 8) / share);
}

static void later(int64_t at_ns, int64_t *next_ns)
{
    if (at_ns != 0 && at_ns < *next_ns)
        *next_ns = at_ns;
}

bool lt_part_log_step(struct lt_part_log *l, struct lt_stages *stages, struct lt_ops *ops, int64_t now_ns,
                      int64_t *next_ns)
{
    if (!l->log || l->shown == LT_PLOG_FAILED || is_commanded(l)) {
        l->look_ns = 0; /* it does not come round: those at level ring are not to wait for that */
        return false;
    }
    if (l->look_ns > now_ns && lt_part_log_gathers(l)) {
        later(l->look_ns, next_ns);
        return false;
    }
    lt_store_relaxed32(&l->pressed, 0); /* relaxed: looked at from here on */
    pthread_mutex_lock(&l->lock);
    take_spare(l, now_ns);
    pthread_mutex_unlock(&l->lock);
    bool moved = append_all(l, stages, ops);
    pthread_mutex_lock(&l->lock);
    want_spare(l, now_ns);
    bool is_open = lt_plog_state(l->log) != LT_PLOG_FAILED;
    uint32_t segments = lt_plog_segments(l->log);
    if (is_open && lt_plog_durable(l->log) < lt_plog_written(l->log)) {
        if (l->flushes)
            want_sync(l, ops); /* one at a time: what comes meanwhile is in the next one */
        else if (l->sync_ns == 0)
            l->sync_ns = now_ns + SYNC_NS;
        else if (now_ns >= l->sync_ns) {
            want_sync(l, ops);
            l->sync_ns = now_ns + SYNC_NS;
        }
    } else {
        l->sync_ns = 0;
    }
    if (is_open && (segments != l->segments || now_ns >= l->trim_ns))
        trim(l, now_ns);
    bool differs = lt_plog_state(l->log) != l->shown || lt_plog_segments(l->log) != l->segments ||
                   lt_plog_start(l->log) != l->part->page->log_start;
    pthread_mutex_unlock(&l->lock);
    if (differs)
        lt_part_log_tell(l);
    l->look_ns = !l->waits && moved ? now_ns + gather_ns(l) : 0;
    later(l->look_ns, next_ns);
    later(l->sync_ns, next_ns);
    if (l->part->topic->head->retention_ms >= 0 && l->segments > 1)
        later(l->trim_ns, next_ns);
    if (l->shown == LT_PLOG_FULL || l->stage)
        later(l->spare_ns > now_ns ? l->spare_ns : now_ns + RETRY_NS, next_ns);
    return moved;
}

void lt_part_log_completed(struct lt_part_log *l, struct lt_stages *stages, struct lt_ops *ops,
                           const struct lt_io_done *done)
{
    struct lt_io_op again;
    pthread_mutex_lock(&l->lock);
    int r = lt_plog_completed(l->log, done->token, done->result, &again);
    pthread_mutex_unlock(&l->lock);
    if (r == 1) {
        ops->ops[ops->count++] = again;
        return;
    }
    for (uint32_t i = 0; i < l->flight_count; i++) {
        if (l->flights[i].token != done->token)
            continue;
        give_stage(stages, l->flights[i].stage);
        l->sync_count -= l->flights[i].is_sync;
        l->flights[i] = l->flights[--l->flight_count];
        return;
    }
}

/* --- telling --- */

static void say_state(struct lt_part_log *l, enum lt_plog_state state, int error, const char *reason)
{
    struct lt_partition *page = l->part->page;
    static const uint32_t states[] = { [LT_PLOG_OPEN] = LT_PARTITION_OPEN,
                                       [LT_PLOG_FULL] = LT_PARTITION_FULL,
                                       [LT_PLOG_FAILED] = LT_PARTITION_FAILED };
    if (!l->is_held)
        lt_worker_lock(l->w); /* room_seq is written under it */
    page->error = error;
    snprintf(page->reason, sizeof page->reason, "%s", reason);
    /* [log.state] release: error and reason come first. */
    lt_store_release32(&page->state, states[state]);
    lt_part_wake_room(page);
    if (state == LT_PLOG_OPEN)
        lt_worker_say(l->w, LT_LOG_INFO, "topic %s, partition %u: its log is open again",
                      l->part->topic->name, l->part->index);
    else
        lt_worker_say(l->w, LT_LOG_ERROR, "topic %s, partition %u: %s: %s", l->part->topic->name,
                      l->part->index, state == LT_PLOG_FULL ? "full" : "failed", reason);
    if (!l->is_held)
        lt_worker_unlock(l->w);
    l->shown = state;
}

static uint64_t later_offset(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

void lt_part_log_tell(struct lt_part_log *l)
{
    struct lt_partition *page = l->part->page;
    char reason[LT_REASON_MAX];
    pthread_mutex_lock(&l->lock);
    uint64_t written = lt_plog_written(l->log), durable = lt_plog_durable(l->log);
    uint64_t acked = l->part->topic->head->level == LEAT_DURABLE ? durable : written;
    uint64_t reserve = written + (LT_RINGS + 1ull) * l->part->topic->head->ring_size / LT_SLOT_SIZE;
    lt_point("log.reserve");
    if (lt_plog_state(l->log) != LT_PLOG_FAILED)
        lt_plog_reserve(l->log, reserve); /* fails: so does the log, below */
    enum lt_plog_state state = lt_plog_state(l->log);
    int error = lt_plog_error(l->log);
    snprintf(reason, sizeof reason, "%s", lt_plog_reason(l->log));
    uint64_t start = lt_plog_start(l->log);
    uint32_t segments = lt_plog_segments(l->log);
    uint64_t bytes = segments != l->segments ? lt_plog_bytes(l->log) : page->log_bytes;
    pthread_mutex_unlock(&l->lock);

    /* At level durable nobody waits for `written`, which moves several times between two flushes: nobody is woken for it. */
    bool told = durable > page->durable || (written > page->written && !l->flushes);
    bool moved = written > page->written || durable > page->durable;
    l->segments = segments;
    page->log_segments = segments; /* these two are for people */
    lt_store_relaxed64(&page->log_bytes, bytes);
    lt_store_release64(&page->log_start, start);
    lt_point("log.tell");
    if (moved && state != LT_PLOG_FAILED) {
        /* [log.written] [log.durable] release: the bytes are in the file. Only upwards: what was acknowledged stays so. */
        lt_store_release64(&page->written, later_offset(written, page->written));
        lt_store_release64(&page->durable, later_offset(durable, page->durable));
        /* [log.visible] release: what was published before is seen by whoever sees this. */
        if (page->visible != UINT64_MAX)
            lt_store_release64(&page->visible, later_offset(acked, page->visible));
        /* [log.free] release: it was copied before. Then a look whether the warden waits for that, as readers do. */
        lt_store_release64(&l->free_below, later_offset(acked, l->free_below));
        lt_fence_light();
        if (lt_load_relaxed32(&page->starving) != 0)
            lt_warden_knock(l->w, l->part);
    }
    if (state != l->shown)
        say_state(l, state, error, reason);
    else if (!told)
        return;
    /* [log.acked] release: whoever sees the number sees the words and the state. */
    lt_store_release32(&page->acked_seq, page->acked_seq + 1);
    lt_futex_wake(&page->acked_seq);
    lt_partition_ring_acked(page, l->w->bells);
    lt_point("log.tell.after");
}

/* --- open and close --- */

/* The oldest offset that rings still have. */
static uint64_t oldest_of(const struct lt_partition *page)
{
    const struct lt_ring_gate *gate = &page->gate[page->first_ring % LT_RINGS];
    return later_offset(gate->base_offset, gate->limit_offset);
}

void lt_part_log_begin(struct lt_part_log *l, struct lt_plog *log)
{
    struct lt_partition *page = l->part->page;
    pthread_mutex_lock(&l->lock);
    l->log = log;
    l->opened = true;
    uint64_t end = lt_plog_end(log);
    bool failed = lt_plog_state(log) == LT_PLOG_FAILED;
    pthread_mutex_unlock(&l->lock);
    /* What lies between `end` and the oldest is in no ring any more: a gap says so. And `end` can be below what was acknowledged, after
     * a cut: then nothing from there on is given away any more. The lock: a pass of reclaim is before that, and moves the oldest, or behind. */
    if (!l->is_held)
        lt_worker_lock(l->w);
    l->copied = later_offset(end, oldest_of(page));
    if (!failed)
        lt_store_release64(&l->free_below, l->copied); /* [log.free] */
    if (!l->is_held)
        lt_worker_unlock(l->w);
    if (!failed && end < page->written)
        lt_worker_log(l->w, LT_LOG_ERROR,
                      "topic %s, partition %u: its log ends at offset %" PRIu64 ", and %" PRIu64
                      " was acknowledged: the disk lost what lies between",
                      l->part->topic->name, l->part->index, end, page->written);
    l->segments = 0;
    lt_part_log_tell(l);
    /* [log.open] release: log_start comes first. */
    lt_store_release32(&page->log_open, 1);
}

void lt_part_log_open(struct lt_part_log *l, unsigned how)
{
    struct lt_opening opening = { .part = l->part };
    opening.error = lt_data_open_log(l->w, l->part, how, &opening.log);
    if (opening.error < 0)
        snprintf(opening.why, sizeof opening.why, "%s", lt_fail_text());
    lt_part_log_opened(l, &opening);
}

void lt_part_log_opened(struct lt_part_log *l, const struct lt_opening *opening)
{
    lt_point("log.open");
    l->opened = true;
    if (opening->log) {
        lt_plog_set_tag(opening->log, l->tag);
        lt_part_log_begin(l, opening->log);
    } else {
        say_state(l, LT_PLOG_FAILED, opening->error, opening->why);
    }
    /* [log.acked] Whatever came of it, who waits for that looks. */
    lt_store_release32(&l->part->page->acked_seq, l->part->page->acked_seq + 1);
    lt_futex_wake(&l->part->page->acked_seq);
}

void lt_part_log_close(struct lt_part_log *l, uint64_t next)
{
    pthread_mutex_lock(&l->lock);
    struct lt_plog *log = l->log;
    l->log = NULL;
    if (log) {
        int dir_fd = lt_plog_dir(log).fd;
        if (next == UINT64_MAX)
            lt_plog_abandon(log);
        else if (lt_plog_close(log, next) < 0)
            lt_worker_log(l->w, LT_LOG_WARN, "topic %s, partition %u: %s", l->part->topic->name,
                          l->part->index, lt_fail_text());
        close(dir_fd);
    }
    pthread_mutex_unlock(&l->lock);
    lt_store_release32(&l->part->page->log_open, 0);
}

void lt_part_log_drop_batch(struct lt_part_log *l)
{
    if (l->stage)
        free(l->stage->bytes);
    free(l->stage);
    l->stage = NULL;
}

void lt_part_log_free(struct lt_part_log *l)
{
    if (!l)
        return;
    if (l->log) /* the persister never ran */
        lt_part_log_close(l, UINT64_MAX);
    leave_ring(l);
    lt_part_log_drop_batch(l);
    pthread_mutex_destroy(&l->lock);
    free(l);
}
