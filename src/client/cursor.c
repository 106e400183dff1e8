/* cursor: see cursor.h. Everything here may attach a ring, which is a request to leatd; what polls do often is in poll.c.
 *
 * What leatd stores for a rotation, and the order in which it is read here: gate of the new ring, then [rotation.publish]
 * current_ring; first_ring moves up before a gate is used again. So a gate that was read is that ring's when first_ring has
 * not passed the ring's number afterwards.
 */
#include "client/cursor.h"

#include <stdlib.h>
#include <string.h>

#include "client/consumer.h"
#include "client/member.h"
#include "shm/wire.h"

/* --- the entry in the mailbox --- */

static void give_entry(leat_bus *bus, struct lt_cursor *cursor)
{
    lt_store_release64(&cursor->entry->ident, 0);
    pthread_mutex_lock(&bus->mutex);
    lt_bus_entry_give(bus, cursor->entry_number);
    pthread_mutex_unlock(&bus->mutex);
}

#define TOGETHER 32u

/* Requests about the entries of these cursors, TOGETHER at most. */
struct asking {
    struct lt_reader_open bodies[TOGETHER];
    struct lt_request requests[TOGETHER];
};

static void make_requests(struct asking *asking, enum lt_msg_type type, struct lt_cursor *const *cursors,
                          uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct lt_request *request = &asking->requests[i];
        struct lt_reader_open *body = &asking->bodies[i];
        *body = (struct lt_reader_open){ .entry = cursors[i]->entry_number, .member = cursors[i]->lazy };
        *request = (struct lt_request){ .type = type, .body = body, .body_size = sizeof *body };
        request->remember = type == LT_MSG_READER_OPEN;
        if (type == LT_MSG_READER_CLOSE) { /* the bodies are as long, and begin alike */
            request->forget = LT_MSG_READER_OPEN;
            request->forget_body = body;
            request->forget_size = sizeof *body;
        }
    }
}

static void ask(leat_bus *bus, enum lt_msg_type type, struct lt_cursor *const *cursors, int *results,
                uint32_t count)
{
    struct asking asking;
    make_requests(&asking, type, cursors, count);
    lt_link_call_all(&bus->link, asking.requests, results, count);
}

int lt_cursor_new(leat_consumer *c, struct lt_attached *topic, uint32_t partition, struct lt_cursor **out)
{
    leat_bus *bus = c->handle.bus;
    pthread_mutex_lock(&bus->mutex);
    int entry = lt_bus_entry_take(bus);
    pthread_mutex_unlock(&bus->mutex);
    if (entry < 0)
        return entry;
    struct lt_cursor *cursor = aligned_alloc(64, (sizeof *cursor + 63) & ~(size_t)63);
    if (cursor == NULL) {
        pthread_mutex_lock(&bus->mutex);
        lt_bus_entry_give(bus, (uint32_t)entry);
        pthread_mutex_unlock(&bus->mutex);
        return lt_fail(LEAT_ENOMEM, "%s: %zu bytes", topic->name, sizeof *cursor);
    }
    memset(cursor, 0, sizeof *cursor);
    cursor->topic = topic;
    cursor->partition = partition;
    cursor->part = lt_attached_partition(topic, partition);
    cursor->global = topic->head->first_global + partition;
    cursor->entry_number = (uint32_t)entry;
    cursor->entry = &bus->mailbox->readers[entry];
    lt_store_relaxed64(&cursor->entry->pin, LT_PIN_NONE);
    /* A gate keeps everything until the position is known: nothing is overwritten between the two. */
    lt_store_relaxed64(&cursor->entry->keep, c->gate ? 0 : LT_PIN_NONE);
    lt_store_relaxed64(&cursor->entry->position, 0);
    /* What another partition's member committed in this entry is none of this one's. */
    lt_store_relaxed64(&cursor->entry->committed, LT_COMMIT_NONE);
    cursor->stored = LT_COMMIT_NONE;
    if (c->member != NULL)
        c->member->slow |= lt_is_slow(topic);
    /* [reader.ident] release: pin, keep and committed come before. leatd, or the next worker, loads it with acquire. */
    lt_store_release64(&cursor->entry->ident, LT_READER_IDENT(topic->topic_id, partition, c->bell_number));
    *out = cursor;
    return 0;
}

static void end_entry(struct lt_cursor *cursor)
{
    lt_cursor_unpin(cursor);
    lt_store_release64(&cursor->entry->keep, LT_PIN_NONE);
    /* What counts of it was read with the release, the leave or the eviction; by now the partition may be ours again, and
     * others' commits lie in between. */
    lt_store_release64(&cursor->entry->committed, LT_COMMIT_NONE);
}

static void free_cursor(leat_consumer *c, struct lt_cursor *cursor)
{
    give_entry(c->handle.bus, cursor);
    lt_cursor_forget(cursor);
    lt_catchup_free(cursor->log);
    if (cursor->mapped != NULL)
        lt_mapped_drop(cursor->mapped);
    free(cursor->stored_metadata);
    free(cursor);
}

/* Readers are opened (`opening`) and the current rings mapped where there is none, TOGETHER at most, in one go. */
static void open_and_map(leat_bus *bus, struct lt_cursor **cursors, int *results, uint32_t count,
                         bool opening)
{
    struct lt_ring_wanted rings[TOGETHER];
    struct lt_cursor *wants[TOGETHER];
    struct asking asking;
    uint32_t n = 0;
    if (opening)
        make_requests(&asking, LT_MSG_READER_OPEN, cursors, count);
    for (uint32_t i = 0; i < count; i++) {
        if (cursors[i]->mapped != NULL || !cursors[i]->lazy)
            continue;
        rings[n] = (struct lt_ring_wanted){ .topic = cursors[i]->topic,
                                            .partition = cursors[i]->partition,
                                            .ring = lt_load_acquire32(&cursors[i]->part->current_ring) };
        wants[n++] = cursors[i];
    }
    if (n != 0)
        lt_attached_map_all(rings, n, asking.requests, results, opening ? count : 0);
    else if (opening)
        lt_link_call_all(&bus->link, asking.requests, results, count);
    for (uint32_t i = 0; i < n; i++) {
        if (rings[i].mapped == NULL)
            continue;
        wants[i]->mapped = rings[i].mapped;
        wants[i]->ring = rings[i].mapped->view;
    }
}

void lt_cursors_open(leat_consumer *c, struct lt_cursor **cursors, int *results, uint32_t count)
{
    for (uint32_t at = 0, some; at < count; at += some) {
        some = count - at < TOGETHER ? count - at : TOGETHER;
        open_and_map(c->handle.bus, cursors + at, results + at, some, true);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (results[i] >= 0)
            continue;
        free_cursor(c, cursors[i]);
        cursors[i] = NULL;
    }
}

int lt_cursor_open(leat_consumer *c, struct lt_attached *topic, uint32_t partition, struct lt_cursor **out)
{
    int r = lt_cursor_new(c, topic, partition, out);
    if (r == 0)
        lt_cursors_open(c, out, &r, 1);
    return r < 0 ? r : 0;
}

void lt_cursor_rest(struct lt_cursor *cursor)
{
    struct lt_cursor rested = { .topic = cursor->topic,
                                .partition = cursor->partition,
                                .part = cursor->part,
                                .global = cursor->global,
                                .entry_number = cursor->entry_number,
                                .entry = cursor->entry,
                                .lazy = cursor->lazy,
                                .stored = LT_COMMIT_NONE };
    end_entry(cursor);
    lt_cursor_forget(cursor);
    if (cursor->mapped != NULL && cursor->mapped->ring == lt_load_relaxed32(&cursor->part->current_ring)) {
        rested.mapped = cursor->mapped;
        rested.ring = cursor->mapped->view;
    } else if (cursor->mapped != NULL) {
        lt_mapped_drop(cursor->mapped);
    }
    lt_catchup_free(cursor->log);
    free(cursor->stored_metadata);
    *cursor = rested;
}

void lt_cursors_close(leat_consumer *c, struct lt_cursor **cursors, uint32_t count)
{
    int results[TOGETHER]; /* a bus that is gone reads no mailbox */
    for (uint32_t i = 0; i < count; i++)
        end_entry(cursors[i]);
    for (uint32_t at = 0, some; at < count; at += some) {
        some = count - at < TOGETHER ? count - at : TOGETHER;
        ask(c->handle.bus, LT_MSG_READER_CLOSE, cursors + at, results, some);
    }
    for (uint32_t i = 0; i < count; i++)
        free_cursor(c, cursors[i]);
}

void lt_cursor_close(leat_consumer *c, struct lt_cursor *cursor)
{
    lt_cursors_close(c, &cursor, 1);
}

void lt_cursors_map(struct lt_cursor **cursors, uint32_t count)
{
    for (uint32_t at = 0, some; at < count; at += some) {
        some = count - at < TOGETHER ? count - at : TOGETHER;
        open_and_map(cursors[at]->topic->bus, cursors + at, NULL, some, false);
    }
}

void lt_cursor_forget(struct lt_cursor *cursor)
{
    for (uint32_t i = 0; i < cursor->left_count; i++)
        lt_mapped_drop(cursor->left[i]);
    cursor->left_count = 0;
}

/* --- which ring --- */

/* The number of the ring that holds `offset`; the oldest one for an offset below it. */
static uint32_t ring_of(struct lt_partition *part, uint64_t offset)
{
    for (;;) {
        uint32_t first = lt_load_acquire32(&part->first_ring);
        uint32_t ring = lt_load_acquire32(&part->current_ring); /* [rotation.publish] */
        while (ring != first && lt_load_acquire64(&lt_partition_gate(part, ring)->base_offset) > offset)
            ring--;
        if (lt_load_acquire32(&part->first_ring) == first)
            return ring;
    }
}

/* Of what the rings have, the first at or behind `offset`. */
static uint64_t ring_first_from(const struct lt_cursor *cursor, uint64_t offset)
{
    struct lt_partition *part = cursor->part;
    for (;;) {
        uint32_t first = lt_load_acquire32(&part->first_ring);
        uint32_t current = lt_load_acquire32(&part->current_ring);
        uint64_t begin = offset;
        for (uint32_t ring = first;; ring++) {
            const struct lt_ring_gate *gate = lt_partition_gate(part, ring);
            uint64_t base = lt_load_acquire64(&gate->base_offset);
            uint64_t announced = lt_load_acquire64(&gate->announced);
            begin = offset > base ? offset : base;
            if (begin < announced)
                begin = announced;
            if (ring == current || begin < lt_load_acquire64(&gate->end_offset))
                break;
        }
        if (lt_load_acquire32(&part->first_ring) == first)
            return begin;
    }
}

/* Whether the log has it. What the rings have no more is below `written` by the time they say so: asked after them. */
static bool is_in_log(const struct lt_cursor *cursor, uint64_t offset)
{
    return cursor->topic->head->log_id != 0 && offset >= lt_load_acquire64(&cursor->part->log_start) &&
           offset < lt_catchup_bound(cursor->part);
}

static bool has_failed(const struct lt_cursor *cursor)
{
    return lt_load_acquire32(&cursor->part->state) == LT_PARTITION_FAILED; /* [log.state] */
}

uint64_t lt_cursor_first_from(const struct lt_cursor *cursor, uint64_t offset)
{
    uint64_t first = ring_first_from(cursor, offset);
    if (first == offset || cursor->topic->head->log_id == 0)
        return first;
    uint64_t start = lt_load_acquire64(&cursor->part->log_start);
    if (start < offset)
        start = offset;
    return start < first && (is_in_log(cursor, start) || has_failed(cursor)) ? start : first;
}

bool lt_cursor_is_gap(const struct lt_cursor *cursor, uint64_t offset)
{
    return cursor->topic->head->log_id != 0 && ring_first_from(cursor, offset) > offset &&
           offset >= lt_load_acquire64(&cursor->part->written) && /* [log.written] */
           !has_failed(cursor);
}

int lt_cursor_failure(const struct lt_cursor *cursor)
{
    uint64_t offset = cursor->position;
    char reason[LT_REASON_MAX];
    uint32_t state;
    if (LT_LIKELY(!has_failed(cursor)) || cursor->topic->head->log_id == 0 ||
        ring_first_from(cursor, offset) <= offset || offset < lt_load_acquire64(&cursor->part->log_start) ||
        offset < lt_catchup_bound(cursor->part))
        return 0;
    int error = lt_partition_refusal(cursor->part, &state, reason);
    return state != LT_PARTITION_FAILED
               ? 0
               : lt_fail(error, "%s: partition %u: offset %llu: %s", cursor->topic->name, cursor->partition,
                         (unsigned long long)offset, reason);
}

/* The margin is a quarter of what the rings have of the log: then nobody is overtaken at the next reclaim, and goes to and fro. */
bool lt_cursor_is_caught_up(const struct lt_cursor *cursor)
{
    uint64_t first = ring_first_from(cursor, 0), written = lt_load_relaxed64(&cursor->part->written);
    return first <= cursor->position && ring_first_from(cursor, cursor->position) == cursor->position &&
           (written < first || cursor->position - first >= (written - first) / 4);
}

uint64_t lt_cursor_beginning(const struct lt_cursor *cursor)
{
    return lt_cursor_first_from(cursor, 0);
}

static int damaged(const struct lt_cursor *cursor)
{
    return lt_fail(LEAT_EPROTO, "%s: partition %u: the ring's words are damaged", cursor->topic->name,
                   cursor->partition);
}

/* Maps a ring by offset; again when it was dropped between the look at the page and the answer. */
static int map_ring_of(struct lt_cursor *cursor, uint64_t offset, struct lt_mapped **mapped)
{
    for (;;) {
        uint32_t ring = ring_of(cursor->part, offset);
        lt_point("consume.move");
        int r = lt_attached_map(cursor->topic, cursor->partition, ring,
                                cursor->lazy ? LT_MAP_LAZY : LT_MAP_READ, mapped);
        if (r != LEAT_EOFFSET || ring == ring_of(cursor->part, offset))
            return r;
    }
}

int lt_cursor_end(struct lt_cursor *cursor, uint64_t *offset)
{
    uint64_t visible = lt_cursor_visible(cursor);
    int r = lt_cursor_tail(cursor, offset);
    if (*offset > visible)
        *offset = visible;
    return r;
}

int lt_cursor_tail(struct lt_cursor *cursor, uint64_t *offset)
{
    uint64_t pos;
    uint32_t epoch;
    if (cursor->mapped != NULL && cursor->mapped->ring == lt_load_acquire32(&cursor->part->current_ring))
        return lt_ring_find_tail(&cursor->ring, offset, &pos, &epoch) == LT_RING_CORRUPT ? damaged(cursor)
                                                                                         : 0;
    struct lt_mapped *mapped;
    int r = map_ring_of(cursor, UINT64_MAX, &mapped);
    if (r < 0)
        return r;
    r = lt_ring_find_tail(&mapped->view, offset, &pos, &epoch) == LT_RING_CORRUPT ? damaged(cursor) : 0;
    if (cursor->mapped == NULL) { /* a new one: most begin here, and to map it again is another request */
        cursor->mapped = mapped;
        cursor->ring = mapped->view;
    } else {
        lt_mapped_drop(mapped);
    }
    return r;
}

/* What a cursor in the log looks at instead of the ring: something is there. */
static const struct lt_slot log_slot;

static int go_to_log(struct lt_cursor *cursor, uint64_t offset)
{
    if (cursor->log == NULL && (cursor->log = lt_catchup_new(cursor->topic, cursor->partition)) == NULL)
        return LEAT_ENOMEM;
    lt_catchup_place(cursor->log, offset);
    cursor->in_log = true;
    cursor->slot = &log_slot;
    cursor->want = 0;
    cursor->position = offset;
    cursor->beyond = false;
    lt_store_relaxed64(&cursor->entry->position, offset);
    /* A ring that was left behind is memory; the current one will be wanted again. */
    if (cursor->mapped != NULL && cursor->left_count < LT_RINGS &&
        cursor->mapped->ring != lt_load_acquire32(&cursor->part->current_ring)) {
        cursor->left[cursor->left_count++] = cursor->mapped;
        cursor->mapped = NULL;
    }
    return 0;
}

static void leave_log(struct lt_cursor *cursor)
{
    lt_catchup_free(cursor->log);
    cursor->log = NULL;
    cursor->in_log = false;
}

int lt_cursor_go(struct lt_cursor *cursor, uint64_t offset)
{
    if (ring_first_from(cursor, offset) > offset && is_in_log(cursor, offset))
        return go_to_log(cursor, offset);
    if (cursor->mapped == NULL || cursor->mapped->ring != ring_of(cursor->part, offset)) {
        struct lt_mapped *mapped;
        if (cursor->left_count == LT_RINGS)
            return 1;
        int r = map_ring_of(cursor, offset, &mapped);
        if (r < 0)
            return r;
        if (cursor->mapped != NULL)
            cursor->left[cursor->left_count++] = cursor->mapped;
        cursor->mapped = mapped;
        cursor->ring = mapped->view;
    }
    if (LT_UNLIKELY(cursor->in_log))
        leave_log(cursor);
    lt_cursor_place(cursor, offset);
    cursor->beyond = false;
    lt_store_relaxed64(&cursor->entry->position, offset); /* relaxed: for `leat status` */
    return 0;
}

void lt_cursor_skip_gaps(struct lt_cursor *cursor)
{
    const struct lt_slot *slot;
    uint64_t visible = lt_cursor_visible(cursor);
    if (cursor->in_log) /* what is known of the log's is behind us already */
        return;
    while (cursor->position < visible && lt_ring_peek(&cursor->ring, cursor->position, &slot) == LT_KIND_GAP)
        lt_cursor_place(cursor, cursor->position + 1);
}

/* --- times --- */

enum scan { SCAN_HERE, SCAN_OVER, SCAN_OVERTAKEN };

/* Walks one ring from *offset on. HERE: *offset is the answer (a record of that time, or where nothing can be read yet);
 * OVER: it is where the next ring begins; OVERTAKEN: what was seen there may be a later lap's. */
static enum scan scan_ring(const struct lt_ring *ring, uint64_t visible, int64_t timestamp_ms,
                           uint64_t *offset)
{
    for (;; ++*offset) {
        const struct lt_slot *slot;
        if (*offset >= lt_load_acquire64(&ring->gate->end_offset))
            return SCAN_OVER;
        if (*offset >= visible)
            return SCAN_HERE;
        enum lt_slot_kind kind = lt_ring_peek(ring, *offset, &slot);
        /* acquire: before the look at `announced`, which is stored before anybody writes here for the next lap. */
        if (kind == LT_KIND_GAP || (kind == LT_KIND_RECORD && (int64_t)(lt_load_acquire64(&slot->stamp) &
                                                                        ((1ull << 48) - 1)) < timestamp_ms))
            continue;
        /* [reclaim.announce] */
        return lt_load_acquire64(&ring->gate->announced) > *offset ? SCAN_OVERTAKEN : SCAN_HERE;
    }
}

/* Timestamps are the senders', so they need not grow: the first one is found by looking at each. Nothing is pinned: the
 * one pin of the entry is that of the views, and a lower one would not hold them (leatd asks for pins in one ring at a
 * time). Only words are read, from memory that stays mapped, and what was overwritten meanwhile is noticed. */
static int find_time_in_rings(struct lt_cursor *cursor, int64_t timestamp_ms, uint64_t *offset)
{
    *offset = ring_first_from(cursor, *offset);
    for (;;) {
        struct lt_mapped *mapped;
        uint32_t ring = ring_of(cursor->part, *offset);
        int r = map_ring_of(cursor, *offset, &mapped);
        if (r < 0)
            return r;
        enum scan scan = scan_ring(&mapped->view, lt_cursor_visible(cursor), timestamp_ms, offset);
        lt_mapped_drop(mapped);
        if (scan == SCAN_HERE)
            return 0;
        if (scan == SCAN_OVERTAKEN)
            *offset = ring_first_from(cursor, *offset);
        else if (ring_of(cursor->part, *offset) == ring)
            return 0; /* sealed, and the next ring is not there yet */
    }
}

/* With a reader of its own: where this cursor reads stays as it is. */
static int find_time_in_log(struct lt_cursor *cursor, int64_t timestamp_ms, uint64_t bound, uint64_t *offset)
{
    struct lt_catchup *log = lt_catchup_new(cursor->topic, cursor->partition);
    if (log == NULL)
        return LEAT_ENOMEM;
    int r = lt_catchup_find_time(log, timestamp_ms, bound, offset);
    lt_catchup_free(log);
    return r;
}

int lt_cursor_find_time(struct lt_cursor *cursor, int64_t timestamp_ms, uint64_t *offset)
{
    /* What is not below the bound is in the rings as long as it is not below a later one. */
    uint64_t bound = lt_catchup_bound(cursor->part);
    *offset = lt_cursor_beginning(cursor);
    if (ring_first_from(cursor, 0) != *offset) {
        int r = find_time_in_log(cursor, timestamp_ms, bound, offset);
        if (r <= 0)
            return r;
        *offset = bound;
    }
    return find_time_in_rings(cursor, timestamp_ms, offset);
}
