/* poll: finding records, handing out views, sleeping until there are some. See consumer.h.
 *
 *   begin   views are over; a member takes its turn when there is news of its group (member.h)
 *   look    every partition in turn: is something published at the position?   one load each, two when there is nothing
 *   gulp    pin, check `announced`, then walk slots while their words carry the lap, below `visible`
 *   wait    look again for spin_us; then arm the bell, membarrier, look, sleep (bell.h says why no wake is lost)
 *
 * A pin stays until the next call that ends the views. Nothing read from a ring is believed: sizes are loaded once and
 * checked against slot and payload; a slot that makes no sense is stepped over like a gap, and counted as missed.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/futex.h"
#include "client/commit.h"
#include "client/consumer.h"
#include "client/member.h"
#include "client/record.h"

#define NS_PER_MS 1000000ll
#define NS_PER_US 1000ll
#define LOOKS_A_CLOCK 64         /* partitions looked at between two looks at the clock while spinning */
#define HOLE_NS (10 * NS_PER_MS) /* a poll that never sleeps asks about holes this often */
#define GATHER_BELOW 64          /* records of a poll that make the next one wait for more, with gather_us */
#define TURNS 8                  /* turns of a member that a poll takes without looking at the time */
#define HOLE_POLLS 1024          /* and polls that do not wait, after so many in a row */

/* --- the end of views --- */

static void release(const leat_consumer *c, struct lt_cursor *cursor)
{
    lt_cursor_unpin(cursor);
    if (LT_UNLIKELY(cursor->left_count != 0))
        lt_cursor_forget(cursor);
    if (!c->gate)
        return;
    /* [reader.keep] release: what was handed out is done with. Then a look whether leatd waits for that; it stores
     * `starving`, passes a membarrier and looks at the keeps again, so one of us sees the other. */
    lt_store_release64(&cursor->entry->keep, cursor->position);
    lt_fence_light();
    if (lt_load_relaxed32(&cursor->part->starving) != 0)
        lt_bells_knock(c->handle.bus->bells, cursor->global);
}

void lt_consumer_release(leat_consumer *c)
{
    for (uint32_t i = 0; i < c->touched_count; i++)
        release(c, c->touched[i]);
    c->touched_count = 0;
    c->headers_used = 0;
}

/* --- overruns --- */

static void miss(leat_consumer *c, struct lt_cursor *cursor, uint64_t from, uint64_t count)
{
    leat_partition partition = { cursor->topic->name, cursor->partition };
    cursor->missed += count;
    lt_count(&c->handle, LT_COUNT_MISSED, count);
    if (c->options.on_missed != NULL)
        c->options.on_missed(c, &partition, from, count, c->options.user);
}

/* The position was overwritten, or will be any moment (or was never there): on in the log; if that does not have it, as the reset
 * policy says. 0, 1 (rings to be let go first) or LEAT_EOFFSET. */
static int reset_cursor(leat_consumer *c, struct lt_cursor *cursor)
{
    uint64_t from = cursor->position;
    int failed = cursor->beyond ? 0 : lt_cursor_failure(cursor);
    if (failed < 0)
        return failed;
    bool beyond = cursor->beyond, gap = !beyond && lt_cursor_is_gap(cursor, from);
    /* Forwards: an older ring that somebody holds may still be there, and this reader is past it. */
    uint64_t to = beyond ? lt_cursor_beginning(cursor) : lt_cursor_first_from(cursor, from);
    if (from == LT_NOWHERE)
        return lt_fail(LEAT_EOFFSET, "%s: partition %u: no committed offset to start at", cursor->topic->name,
                       cursor->partition);
    if (!beyond && to == from)
        return lt_cursor_go(cursor, from);
    if (c->reset == LEAT_RESET_ERROR && !gap)
        return lt_fail(LEAT_EOFFSET, "%s: partition %u: offset %llu is %s; the first is %llu",
                       cursor->topic->name, cursor->partition, (unsigned long long)from,
                       beyond ? "behind the end" : "overwritten", (unsigned long long)to);
    if (c->reset == LEAT_LATEST && !gap) {
        int r = lt_cursor_end(cursor, &to);
        if (r < 0)
            return r;
    }
    int r = lt_cursor_go(cursor, to);
    if (r == 0)
        cursor->handed = to;
    if (r == 0 && !beyond && !gap && to > from)
        miss(c, cursor, from, to - from);
    return r;
}

/* --- views --- */

int lt_consumer_read_headers(leat_consumer *c, const unsigned char *block, uint32_t size, leat_record *record)
{
    int count = lt_record_headers_read(block, size, c->headers + c->headers_used,
                                       c->headers_room - c->headers_used);
    if (count == -2) {
        c->headers_wanted = c->headers_room < 64 ? 64 : c->headers_room * 2;
        return 1;
    }
    if (count < 0)
        return -1;
    record->headers = c->headers + c->headers_used;
    record->header_count = (size_t)count;
    c->headers_used += (uint32_t)count;
    return 0;
}

/* Between two polls nobody points into the array. */
static int make_room_for_headers(leat_consumer *c)
{
    leat_header *headers = realloc(c->headers, c->headers_wanted * sizeof *headers);
    if (headers == NULL)
        return lt_fail(LEAT_ENOMEM, "%u headers", c->headers_wanted);
    c->headers = headers;
    c->headers_room = c->headers_wanted;
    c->headers_wanted = 0;
    return 0;
}

static inline uint32_t bytes_of(uint32_t size)
{
    return size == LT_NULL_SIZE ? 0 : size;
}

/* Fills *record from a published slot. Its size in bytes; -1: damaged; -2: its headers want room. */
static inline int64_t view(leat_consumer *c, const struct lt_ring *ring, uint64_t size_max,
                           const struct lt_slot *slot, leat_record *record)
{
    /* relaxed, one load each: [ring.see] has ordered them; a hostile producer may change them at any time. */
    uint32_t key_size = lt_load_relaxed32(&slot->key_size);
    uint32_t value_size = lt_load_relaxed32(&slot->value_size);
    uint32_t headers_size = lt_load_relaxed32(&slot->headers_size);
    uint32_t pos = lt_load_relaxed32(&slot->pos);
    uint64_t stamp = lt_load_relaxed64(&slot->stamp);
    uint64_t value_bytes = bytes_of(value_size), key_bytes = bytes_of(key_size);
    uint64_t total = value_bytes + key_bytes + headers_size;
    /* Wherever pos points, what begins there ends inside the payload or its second mapping: size_max is a quarter of it. */
    const unsigned char *at = pos == LT_POS_INLINE ? slot->data : lt_ring_payload_at(ring, pos);

    if (LT_UNLIKELY(total > (pos == LT_POS_INLINE ? LT_INLINE_MAX : size_max)))
        return -1;
    record->value = value_size == LT_NULL_SIZE ? NULL : at;
    record->value_size = value_bytes;
    record->key = key_size == LT_NULL_SIZE ? NULL : at + value_bytes;
    record->key_size = key_bytes;
    record->headers = NULL;
    record->header_count = 0;
    record->timestamp_ms = (int64_t)(stamp & LT_STAMP_MASK);
    if (LT_UNLIKELY(headers_size != 0)) {
        int r = lt_consumer_read_headers(c, at + value_bytes + key_bytes, headers_size, record);
        if (r != 0)
            return r < 0 ? -1 : -2;
    }
    return (int64_t)total;
}

/* Why a walk ended. EMPTY: nothing more is published, or visible. */
enum walk_end { WALK_EMPTY, WALK_FULL, WALK_SEAL, WALK_HEADERS };

/* Where a walk has to look up: at the end of the slots, or where what is visible ends. */
static inline const struct lt_slot *stretch(const struct lt_slot *slot, const struct lt_slot *slots_end,
                                            uint64_t left)
{
    return left < (uint64_t)(slots_end - slot) ? slot + left : slots_end;
}

/* Walks the cursor's ring from the position on, filling records[*n..]. The position is pinned. */
static enum walk_end walk(leat_consumer *c, struct lt_cursor *cursor, uint32_t *n)
{
    const struct lt_ring *ring = &cursor->ring;
    const struct lt_slot *slots = lt_ring_slot_at(ring, 0), *slots_end = slots + ring->slot_count;
    const struct lt_slot *slot = cursor->slot;
    uint64_t want = cursor->want, offset = cursor->position, size_max = cursor->topic->record_max;
    uint64_t visible = lt_cursor_visible(cursor);
    const struct lt_slot *stop;
    const char *topic = cursor->topic->name;
    uint32_t partition = cursor->partition;
    leat_record *record = c->records + *n, *end = c->records + c->max;
    uint64_t bytes = 0, damaged = 0;
    enum walk_end why = WALK_FULL;

    if (LT_UNLIKELY(visible <= offset))
        return WALK_EMPTY;
    stop = stretch(slot, slots_end, visible - offset);
    while (record < end) {
        /* [ring.see] acquire: whoever sees the published word sees slot and payload. Pairs with [ring.publish]. */
        uint64_t word = lt_load_acquire64(&slot->word);
        if (LT_LIKELY(word == want)) {
            int64_t size = view(c, ring, size_max, slot, record);
            if (LT_LIKELY(size >= 0)) {
                record->topic = topic;
                record->partition = partition;
                record->offset = offset;
                record++;
                bytes += (uint64_t)size;
            } else if (size == -1) {
                damaged++;
            } else {
                why = WALK_HEADERS;
                break;
            }
        } else if (lt_word_lap(word) != lt_word_lap(want)) {
            why = WALK_EMPTY;
            break;
        } else if (lt_word_kind(word) == LT_KIND_SEAL) {
            why = WALK_SEAL;
            break;
        } else if (lt_word_kind(word) != LT_KIND_GAP) {
            damaged++;
        }
        offset++;
        if (LT_UNLIKELY(++slot == stop)) {
            if (slot == slots_end) {
                slot = slots;
                want += 1ull << 28; /* the next lap */
            }
            if (offset == visible) {
                why = WALK_EMPTY;
                break;
            }
            stop = stretch(slot, slots_end, visible - offset);
        }
    }

    cursor->slot = slot;
    cursor->want = want;
    cursor->position = offset;
    lt_store_relaxed64(&cursor->entry->position, offset);
    uint32_t count = (uint32_t)(record - c->records) - *n;
    if (count != 0) {
        cursor->handed = record[-1].offset + 1;
        lt_count(&c->handle, LT_COUNT_RECEIVED_RECORDS, count);
        lt_count(&c->handle, LT_COUNT_RECEIVED_BYTES, bytes);
        *n += count;
    }
    if (LT_UNLIKELY(damaged != 0)) {
        cursor->missed += damaged;
        lt_count(&c->handle, LT_COUNT_MISSED, damaged);
    }
    return why;
}

/* Whether this ring is over at the position, and there is a next one. */
static bool is_over(const struct lt_cursor *cursor, bool sealed)
{
    return (sealed || lt_load_acquire64(&cursor->ring.gate->end_offset) <= cursor->position) &&
           cursor->mapped->ring != lt_load_acquire32(&cursor->part->current_ring);
}

/* A cursor in the log. 1: on elsewhere; 0: that is all for now; or an error. */
static int replay(leat_consumer *c, struct lt_cursor *cursor, uint32_t *n)
{
    lt_cursor_unpin(cursor); /* the ring's, which was left just now */
    int r = lt_replay(c, cursor, n);
    if (r == LT_REPLAY_RING)
        r = lt_cursor_go(cursor, cursor->position);
    else if (r == LT_REPLAY_LOST)
        r = reset_cursor(c, cursor);
    else
        return r;
    return r == 0 ? 1 : r < 0 ? r : 0;
}

/* Takes what there is in one partition. 0 or an error; *n grows. */
static int gulp(leat_consumer *c, struct lt_cursor *cursor, uint32_t *n)
{
    uint32_t before = *n;
    int r = 0;
    c->touched[c->touched_count++] = cursor;
    for (;;) {
        if (LT_UNLIKELY(cursor->beyond)) {
            r = reset_cursor(c, cursor);
            if (r != 0)
                break;
        }
        if (LT_UNLIKELY(cursor->in_log)) {
            r = replay(c, cursor, n);
            if (r <= 0)
                break;
            continue;
        }
        lt_pin_store(cursor->entry, cursor->position);
        lt_point("consume.pin");
        /* [reclaim.announce] acquire. Either leatd sees the pin, or we see its announcement: then we are too late. */
        if (LT_UNLIKELY(lt_load_acquire64(&cursor->ring.gate->announced) > cursor->position)) {
            r = reset_cursor(c, cursor);
            if (r != 0)
                break;
            continue;
        }
        enum walk_end why = walk(c, cursor, n);
        if (LT_LIKELY(why == WALK_FULL) || why == WALK_HEADERS || !is_over(cursor, why == WALK_SEAL))
            break;
        if (*n != before)
            break; /* the pin holds this ring's views, and none of the next ring's: that is the next poll's */
        uint64_t at = cursor->position;
        r = lt_cursor_go(cursor, at);
        if (r != 0)
            break;
        lt_count(&c->handle, LT_COUNT_MOVED, 1);
    }
    if (*n == before) { /* no views: nothing has to stay where it is */
        c->touched_count--;
        release(c, cursor);
        if (LT_UNLIKELY(c->member != NULL))
            lt_commit_follow(c, cursor);
    }
    return r < 0 ? r : 0;
}

/* --- looking --- */

static inline bool is_ready(const struct lt_cursor *cursor)
{
    uint64_t word = lt_load_acquire64(&cursor->slot->word);
    if (cursor->paused)
        return false;
    if (lt_word_lap(word) == lt_word_lap(cursor->want) &&
        LT_LIKELY(lt_cursor_visible(cursor) > cursor->position))
        return true;
    if (LT_UNLIKELY(cursor->in_log))
        return true; /* to the ring, maybe */
    const struct lt_ring_gate *gate = cursor->ring.gate;
    return lt_load_relaxed64(&gate->announced) > cursor->position ||
           lt_load_relaxed64(&gate->end_offset) <= cursor->position || cursor->beyond;
}

/* A topic was created or deleted on this bus. */
static void check_topics(leat_consumer *c, uint64_t seq)
{
    c->topics_seq = seq;
    if (c->member != NULL && c->member->joined) {
        /* A topic that is gone is leatd's to take from us, by a new version. */
        c->member->expand = c->member->subscription.pattern_count != 0;
        return;
    }
    for (uint32_t i = 0; i < c->topic_count; i++)
        if (lt_attached_deleted(c->topics[i]))
            c->deleted = true;
}

static int say_deleted(const leat_consumer *c)
{
    for (uint32_t i = 0; i < c->topic_count; i++)
        if (lt_attached_deleted(c->topics[i]))
            return lt_fail(LEAT_EDELETED, "%s: the topic was deleted", c->topics[i]->name);
    return 0;
}

int lt_consumer_look(leat_consumer *c)
{
    uint32_t n = 0, at = c->turn;
    int r = 0;
    c->retry = false;
    if (LT_UNLIKELY(lt_load_relaxed32(&c->wake) != 0) && lt_exchange32(&c->wake, 0) != 0)
        return lt_fail(LEAT_EWAKEUP, "woken up");
    /* [topics.seq] acquire: a page's state is at least as new as the number. */
    uint64_t seq = lt_load_acquire64(&c->handle.bus->coordinator->topics_seq);
    if (LT_UNLIKELY(seq != c->topics_seq))
        check_topics(c, seq);
    if (LT_UNLIKELY(c->deleted))
        return say_deleted(c);
    for (uint32_t i = 0; i < c->cursor_count && n < c->max; i++) {
        struct lt_cursor *cursor = c->cursors[at];
        if (++at == c->cursor_count)
            at = 0;
        if (!is_ready(cursor))
            continue;
        r = gulp(c, cursor, &n);
        if (LT_UNLIKELY(r < 0) &&
            lt_attached_deleted(cursor->topic)) /* just now; a member is told by a version */
            r = c->member != NULL && c->member->joined ? 0 : say_deleted(c);
        if (LT_UNLIKELY(r < 0))
            break;
        if (LT_UNLIKELY(c->headers_wanted != 0))
            break;
    }
    if (r < 0 && n == 0) {
        c->turn = at; /* a partition that has failed keeps nothing of the others back */
        return r;
    }
    if (n != 0) {
        c->turn = at; /* who comes behind the last one served begins the next poll */
        if (LT_UNLIKELY(c->member != NULL))
            lt_member_handed(c);
        lt_point("consume.view");
    }
    return (int)n; /* an error behind records is met again by the next poll */
}

void lt_consumer_knock(leat_consumer *c)
{
    for (uint32_t i = 0; i < c->cursor_count; i++) {
        struct lt_cursor *cursor = c->cursors[i];
        if (cursor->paused || cursor->beyond || cursor->in_log)
            continue;
        /* Published, and not visible yet: that is no hole, and leatd knows of it. */
        if (lt_word_lap(lt_load_acquire64(&cursor->slot->word)) == lt_word_lap(cursor->want))
            continue;
        /* [ring.hint] relaxed: anyone may write it; a lie costs leatd a look. */
        uint64_t hint = lt_load_relaxed64(&lt_ring_words(&cursor->ring)->hint);
        if (hint >= lt_ring_rel(&cursor->ring, cursor->position))
            lt_bells_knock(c->handle.bus->bells, cursor->global);
    }
}

/* --- waiting --- */

static inline void beat(const leat_consumer *c)
{
    if (c->member != NULL)
        lt_member_beat(c->member);
}

/* Nothing to read: what may be wanted later is got ready. */
static inline void spare(leat_consumer *c)
{
    if (c->member != NULL && c->member->preparing)
        lt_member_spare(c);
}

static int look_or_gone(leat_consumer *c)
{
    int n = lt_consumer_look(c);
    if (n == 0 && LT_UNLIKELY(lt_bus_gone(c->handle.bus)))
        return lt_fail(LEAT_EGONE, "%s: the bus has ended", c->handle.bus->path);
    return n;
}

/* Looks until something is there, or until_ns. */
static int spin(leat_consumer *c, int64_t until_ns, int64_t *now_ns)
{
    int64_t knock_ns = *now_ns + HOLE_NS;
    do {
        for (uint32_t i = 0; i < LOOKS_A_CLOCK; i += c->cursor_count + 1) {
            int n = look_or_gone(c);
            if (n != 0 || lt_consumer_has_business(c))
                return n;
        }
        *now_ns = lt_clock_mono_ns();
        beat(c);
        spare(c);
        if (*now_ns >= knock_ns) {
            knock_ns = *now_ns + HOLE_NS;
            lt_consumer_knock(c);
        }
    } while (*now_ns < until_ns);
    return 0;
}

static int64_t nap_ns(const leat_consumer *c, int64_t left_ns)
{
    int64_t longest_ns = c->member != NULL ? lt_member_nap_ns(c) : c->sleep_ns;
    if (LT_UNLIKELY(c->retry) && longest_ns > LT_CATCHUP_RETRY_MS * NS_PER_MS)
        longest_ns = LT_CATCHUP_RETRY_MS * NS_PER_MS;
    return left_ns < longest_ns ? left_ns : longest_ns;
}

static int sleep_for_records(leat_consumer *c, int64_t until_ns, int64_t now_ns)
{
    while (now_ns < until_ns) {
        uint32_t armed = lt_bell_arm(c->bell); /* [bell.arm] */
        lt_membarrier();
        int n = look_or_gone(c);
        if (n == 0 && !lt_consumer_has_business(c)) {
            lt_consumer_knock(c);
            lt_count(&c->handle, LT_COUNT_WAITS, 1);
            lt_point("consume.sleep");
            bool rung = lt_bell_wait(c->bell, armed, nap_ns(c, until_ns - now_ns));
            beat(c);
            if (!rung && c->member != NULL)
                lt_member_idle(c);
            n = look_or_gone(c);
        }
        if (c->bridge == NULL) /* whose thread may be waiting on the same flag */
            lt_bell_disarm(c->bell, armed);
        if (n != 0 || lt_consumer_has_business(c))
            return n;
        now_ns = lt_clock_mono_ns();
    }
    return 0;
}

static int wait_for_records(leat_consumer *c, int64_t until_ns)
{
    int64_t spin_us = c->options.spin_us;
    int64_t now_ns = lt_clock_mono_ns();
    int64_t spin_until_ns = until_ns;
    if (spin_us >= 0 && spin_us < (until_ns - now_ns) / NS_PER_US)
        spin_until_ns = now_ns + spin_us * NS_PER_US;
    int n = 0;
    if (spin_us != 0)
        n = spin(c, spin_until_ns, &now_ns);
    if (n != 0 || lt_consumer_has_business(c) || spin_us < 0)
        return n;
    int kept = errno;
    n = sleep_for_records(c, until_ns, now_ns);
    errno = kept;
    return n;
}

/* What keeps poll from waiting, and what can be read after it. Nothing points into the headers' array, and no views are out. */
static int do_business(leat_consumer *c)
{
    int n = 0;
    /* News that come faster than they are dealt with are the next round's, or the next poll's. */
    for (int turns = 0; n == 0 && lt_consumer_has_business(c) && (c->headers_wanted != 0 || turns < TURNS);
         turns++) {
        n = c->headers_wanted != 0 ? make_room_for_headers(c) : lt_member_turn(c);
        if (n == 0)
            n = lt_consumer_look(c);
    }
    return n;
}

static int64_t deadline_ns(int64_t timeout_ms)
{
    return timeout_ms < 0 || timeout_ms > INT64_MAX / NS_PER_MS / 2
               ? INT64_MAX
               : lt_clock_mono_ns() + timeout_ms * NS_PER_MS;
}

static int poll_empty(leat_consumer *c, int64_t timeout_ms)
{
    int n = LT_UNLIKELY(lt_consumer_has_business(c)) ? do_business(c) : 0;
    if (n == 0 && timeout_ms != 0) {
        int64_t until_ns = deadline_ns(timeout_ms);
        c->empty_polls = 0;
        do {
            n = wait_for_records(c, until_ns);
            if (n == 0)
                n = do_business(c);
        } while (n == 0 && lt_clock_mono_ns() < until_ns);
    } else if (n == 0 && ++c->empty_polls % HOLE_POLLS == 0) {
        lt_consumer_knock(c);
    }
    if (n == 0)
        spare(c);
    if (n == 0 && c->bridge != NULL)
        n = lt_bridge_rest(c);
    if (n == 0 && lt_bus_gone(c->handle.bus))
        n = lt_fail(LEAT_EGONE, "%s: the bus has ended", c->handle.bus->path);
    return n;
}

/* Stays away from the ring for a while. A line that is read while its producer is about to write it travels twice a
 * record; left alone, whole pages of them are written in the producer's own cache first. */
static void gather(const leat_consumer *c)
{
    int64_t until_ns = lt_clock_mono_ns() + c->options.gather_us * NS_PER_US;
    while (lt_load_relaxed32(&c->wake) == 0 && lt_clock_mono_ns() < until_ns)
        for (int i = 0; i < 8; i++)
            lt_relax();
}

int leat_consumer_poll(leat_consumer *c, int64_t timeout_ms, const leat_record **records)
{
    if (LT_UNLIKELY(c == NULL || records == NULL))
        return lt_fail(LEAT_EINVAL, "leat_consumer_poll: NULL");
    int r = lt_handle_enter(&c->handle);
    if (LT_UNLIKELY(r < 0))
        return r;
    lt_consumer_release(c);
    int n = LT_UNLIKELY(c->member != NULL) ? lt_member_begin(c) : 0;
    if (LT_UNLIKELY(c->options.gather_us > 0) && c->last != 0 && c->last < GATHER_BELOW)
        gather(c);
    if (LT_LIKELY(n == 0)) {
        n = lt_consumer_look(c);
        if (n == 0)
            n = poll_empty(c, timeout_ms);
    }
    c->last = n > 0 ? (uint32_t)n : 0;
    *records = c->records;
    lt_handle_leave(&c->handle);
    return n;
}
