/* ring: claim, commit, publish. See ring.h for the memory, the states and what a death leaves. */
#include "shm/ring.h"

/* A claim's word as found: both halves belong to the same lap. */
struct head {
    uint64_t lo;
    uint64_t hi;
};

/* lo, hi, lo again: hi only changes together with lo's lap (one CAS16; an exclusive holder stores hi first, then lo with
 * release), so equal laps around the load of hi mean that the halves belong together. A state change in between is fine.
 * Acquire: [ring.claim] what the claim's owner did before, and for a seal what leatd did before. */
static struct head load_head(const struct lt_ring *ring, uint64_t rel)
{
    const struct lt_pair *word = lt_ring_claim_at(ring, rel);
    struct head head;
    uint64_t lap;
    head.lo = lt_load_acquire64(&word->lo);
    do {
        lap = lt_lo_lap(head.lo);
        head.hi = lt_load_acquire64(&word->hi);
        head.lo = lt_load_acquire64(&word->lo);
    } while (lt_lo_lap(head.lo) != lap);
    return head;
}

/* A worker that dies while it seals, and a holder that went over the first seal before: two steps back. */
#define SEALS_BACK_MAX 4

/* How far a scan for the newest head has come. */
static int newest_head(const struct lt_ring *ring, uint64_t *rel, struct head *head)
{
    bool found = false;
    for (uint64_t i = 0; i < ring->slot_count; i++) {
        struct head h = load_head(ring, i);
        if (lt_lo_state(h.lo) == LT_FREE)
            continue;
        uint64_t at = lt_lo_lap(h.lo) << ring->slot_shift | i;
        if (!found || at > *rel) {
            found = true;
            *rel = at;
            *head = h;
        }
    }
    return found ? 0 : LT_RING_CORRUPT;
}

/* The end of what is claimed, as find_last saw it. */
struct last {
    uint64_t rel;     /* of the last head; of the seal when SEALED */
    struct head head; /* its word */
    uint64_t next;    /* rel of the first free offset */
    struct head free; /* its old word, to be expected by a CAS */
    uint64_t before;  /* SEALED: the head before the seal, if the walk came by it, else rel */
};

/* Finds the last head and the word behind it. 0, SEALED (then `next` and `free` say nothing) or CORRUPT.
 * The hint is a word that anyone may write: it is used only when it names a head. */
static int find_last(const struct lt_ring *ring, struct last *last)
{
    /* [ring.hint] relaxed: only a guess; whatever it names is checked against the claim word itself. */
    uint64_t at = lt_load_relaxed64(&lt_ring_words(ring)->hint);
    struct head h = load_head(ring, at);
    if (lt_lo_state(h.lo) == LT_FREE || lt_lo_lap(h.lo) < at >> ring->slot_shift ||
        at >> ring->slot_shift > LT_LAP_MAX) {
        int r = newest_head(ring, &at, &h);
        if (r != 0)
            return r;
    }
    bool walked = false; /* from the head before it; else by a jump */
    uint64_t before = 0;
    int back = 0;
    /* A walk that visits more heads than there are slots, and is still not at the end, only means that others claim
     * faster than this loop walks; each turn sees newer words, so it ends when they pause or run out of room. */
    for (;;) {
        /* A newer lap than expected names a valid head all the same: jump to it. */
        at = lt_lo_lap(h.lo) << ring->slot_shift | (at & ring->slot_mask);
        if (lt_lo_state(h.lo) == LT_SEAL) {
            uint64_t behind = lt_seal_behind(h.lo);
            if (behind != 0 && !walked) {
                /* One of many seals: the first of them is the tail, or a claim that went over it leads there. */
                if (behind > at || ++back > SEALS_BACK_MAX)
                    return LT_RING_CORRUPT;
                at -= behind;
                h = load_head(ring, at);
                if (lt_lo_state(h.lo) == LT_FREE || lt_lo_lap(h.lo) != at >> ring->slot_shift)
                    return LT_RING_CORRUPT;
                continue;
            }
            *last = (struct last){ .rel = at, .head = h, .before = walked ? before : at };
            return LT_RING_SEALED;
        }
        uint32_t count = lt_lo_count(h.lo);
        if (count == 0 || count > ring->slot_count)
            return LT_RING_CORRUPT;
        uint64_t next = at + count;
        struct head n = load_head(ring, next);
        if (lt_lo_lap(n.lo) < next >> ring->slot_shift) {
            *last = (struct last){ .rel = at, .head = h, .next = next, .free = n };
            return 0;
        }
        if (lt_lo_state(n.lo) == LT_FREE)
            return LT_RING_CORRUPT; /* a lap, but no state: nobody writes that */
        walked = lt_lo_lap(n.lo) == next >> ring->slot_shift;
        before = at;
        at = next;
        h = n;
    }
}

static bool fits(const struct lt_ring *ring, uint64_t offset, uint32_t count, uint64_t pos, uint32_t units)
{
    return offset + count - ring->cached_limit_offset <= ring->slot_count &&
           ((pos + units - ring->cached_limit_pos) & LT_POS_MASK) <= ring->payload_units;
}

/* The limit is checked before the claim: a claim above it would write what readers still hold. */
static bool fits_below_limit(struct lt_ring *ring, uint64_t offset, uint32_t count, uint64_t pos,
                             uint32_t units)
{
    if (fits(ring, offset, count, pos, units))
        return true;
    /* [reclaim.limit] acquire: whoever sees the limit may overwrite what lies below: the pins were read before it was
     * published. Pairs with [reclaim.publish]. */
    ring->cached_limit_offset = lt_load_acquire64(&ring->gate->limit_offset);
    ring->cached_limit_pos = lt_load_acquire64(&ring->gate->limit_pos);
    return fits(ring, offset, count, pos, units);
}

/* Is a limit above what we take for the tail? Then others have claimed on since we looked: look again, the ring need not
 * be full. Each limit is asked by itself: they are read one after the other. */
static bool overtaken(const struct lt_ring *ring, uint64_t offset, uint64_t pos)
{
    uint64_t ahead = (ring->cached_limit_pos - pos) & LT_POS_MASK;
    return ring->cached_limit_offset > offset || (ahead != 0 && ahead <= LT_POS_MASK / 2);
}

int lt_ring_claim(struct lt_ring *ring, uint32_t owner, uint32_t count, uint32_t units, uint32_t epoch_max,
                  struct lt_claim *claim)
{
    uint64_t stale = UINT64_MAX;
    for (;;) {
        struct last last;
        int r = find_last(ring, &last);
        if (r != 0)
            return r;

        /* pos and epoch are the very predecessor's: tested on the word whose pos the claim uses. */
        uint32_t epoch = lt_hi_epoch(last.head.hi);
        if (epoch > epoch_max)
            return LT_RING_STALE;
        uint64_t pos = lt_hi_pos(last.head.hi) + lt_hi_units(last.head.hi);
        uint64_t offset = lt_ring_offset(ring, last.next);
        if (!fits_below_limit(ring, offset, count, pos, units)) {
            if (!overtaken(ring, offset, pos))
                return LT_RING_FULL;
            /* Whoever has acquired a limit sees the claims below it: the same tail again is no tail. */
            if (offset == stale)
                return LT_RING_CORRUPT;
            stale = offset;
            continue;
        }
        uint64_t lap = last.next >> ring->slot_shift;
        if (lap >= LT_LAP_MAX)
            return LT_RING_WORN;

        struct lt_pair expected = { last.free.lo, last.free.hi };
        struct lt_pair busy = { lt_lo(lap, LT_BUSY, owner, count), lt_hi(pos, units, epoch) };
        lt_point("ring.claim");
        /* [ring.claim] one CAS from the exact old word. Killed before it: nothing happened. Killed after it: owner, count
         * and bytes are known to repair. Lost to another claimer: look again. */
        if (!lt_cas_pair(lt_ring_claim_at(ring, last.next), expected, busy))
            continue;
        lt_point("ring.claim.after");
        /* [ring.hint] relaxed: a late store may take it back a little; finders walk from there. */
        lt_store_relaxed64(&lt_ring_words(ring)->hint, last.next);

        claim->offset = offset;
        claim->pos = pos & LT_POS_MASK;
        claim->count = count;
        claim->units = units;
        claim->epoch = epoch;
        claim->lo = busy.lo;
        return 0;
    }
}

/* The gaps of a claim whose memory is given back already, so these must be CASes: from an older lap only. */
static void publish_gaps(struct lt_ring *ring, uint64_t rel, uint32_t count)
{
    for (uint32_t i = count; i-- > 0;) {
        uint64_t at = rel + i;
        uint64_t lap = at >> ring->slot_shift;
        uint64_t *word = &lt_ring_slot_at(ring, at)->word;
        uint64_t old = lt_load_relaxed64(word);
        if (lt_word_lap(old) < lap)
            lt_cas64(word, &old, lt_slot_word(lap, LT_KIND_GAP));
    }
}

int lt_ring_tail(struct lt_ring *ring, struct lt_ring_tail *tail)
{
    return lt_ring_find_tail(ring, &tail->next, &tail->next_pos, &tail->epoch);
}

int lt_ring_claim_exclusive(struct lt_ring *ring, struct lt_ring_tail *tail, uint32_t owner, uint32_t count,
                            uint32_t units, uint32_t epoch_max, struct lt_claim *claim)
{
    if (tail->epoch > epoch_max)
        return LT_RING_STALE;
    if (!fits_below_limit(ring, tail->next, count, tail->next_pos, units))
        return LT_RING_FULL;
    uint64_t rel = lt_ring_rel(ring, tail->next);
    uint64_t lap = rel >> ring->slot_shift;
    if (lap >= LT_LAP_MAX)
        return LT_RING_WORN;

    /* Who was refused once, and comes again: his tail is the offset of that claim still. relaxed: he saw the freeze then. */
    if (lt_load_relaxed32(&ring->gate->frozen) != 0)
        return LT_RING_SEALED;
    struct lt_pair *word = lt_ring_claim_at(ring, rel);
    uint64_t lo = lt_lo(lap, LT_BUSY, owner, count);
    lt_point("ring.exclusive");
    /* relaxed: a half-written claim is no claim, since lo still has an older lap; its hi is compared exactly by whoever claims
     * here next. */
    lt_store_relaxed64(&word->hi, lt_hi(tail->next_pos, units, tail->epoch));
    lt_point("ring.exclusive.half");
    /* [ring.claim] release: hi first, then lo. Pairs with load_head. */
    lt_store_release64(&word->lo, lo);
    lt_point("ring.exclusive.after");
    /* [rotation.freeze] Claim, then look: the freezer stores `frozen`, then passes a membarrier, then scans. Either its scan
     * sees this claim, or this load sees the freeze. */
    lt_fence_light();
    if (lt_load_acquire32(&ring->gate->frozen) != 0) {
        /* Nothing was written under the claim, so it can be given back at once. */
        uint64_t seen = lo;
        lt_cas64(&word->lo, &seen, lt_lo_with(lo, LT_ACKED));
        if (lt_lo_state(seen) == LT_ABORTED)
            lt_cas64(&word->lo, &seen, lt_lo_with(lo, LT_ACKED));
        /* The seal lies behind the claim, or the claim's store went over the seal. The slot's word decides which: the
         * freezer, too, publishes its seal by CAS, and when it finds our gap there it looks for the tail again. */
        lt_point("ring.exclusive.gap");
        publish_gaps(ring, rel, count);
        return LT_RING_SEALED;
    }
    lt_store_relaxed64(&lt_ring_words(ring)->hint, rel);

    claim->offset = tail->next;
    claim->pos = tail->next_pos & LT_POS_MASK;
    claim->count = count;
    claim->units = units;
    claim->epoch = tail->epoch;
    claim->lo = lo;
    tail->next += count;
    tail->next_pos = (tail->next_pos + units) & LT_POS_MASK;
    return 0;
}

/* The owner's last word on a claim that repair took back: from here on its memory may be given out again. */
static void acknowledge_loss(struct lt_pair *word, uint64_t busy)
{
    uint64_t aborted = lt_lo_with(busy, LT_ABORTED);
    lt_point("ring.ack");
    /* [ring.ack] release: every write under the claim is over. Pairs with the acquire in lt_reclaim_scan. A failure means that
     * leatd took this process for dead and freed it: nothing is left to say. */
    lt_cas64(&word->lo, &aborted, lt_lo_with(busy, LT_ACKED));
}

int lt_ring_commit(struct lt_ring *ring, const struct lt_claim *claim)
{
    uint64_t rel = lt_ring_rel(ring, claim->offset);
    struct lt_pair *word = lt_ring_claim_at(ring, rel);
    uint64_t seen = claim->lo;

    lt_point("ring.commit");
    /* [ring.commit] CAS, release: whoever sees COMMITTED sees slots and payload, so that repair can publish in our place. An
     * aborted claim can never be published later. Pairs with the acquire loads of repair. */
    if (!lt_cas64(&word->lo, &seen, lt_lo_with(claim->lo, LT_COMMITTED))) {
        acknowledge_loss(word, claim->lo);
        return LT_RING_TAKEN;
    }
    lt_point("ring.commit.after");

    /* [ring.publish] release, each: whoever sees the word sees slot and payload. Inner slots last to first, the head last: a
     * reader that goes by the head sees the whole batch. Pairs with [ring.see]. Plain stores are safe: the limit does not
     * pass this claim before [ring.done]. */
    for (uint32_t i = claim->count; i-- > 0;) {
        uint64_t at = rel + i;
        if (i == 0)
            lt_point("ring.publish");
        else
            lt_point("ring.publish.inner");
        lt_store_release64(&lt_ring_slot_at(ring, at)->word,
                           lt_slot_word(at >> ring->slot_shift, LT_KIND_RECORD));
    }
    lt_point("ring.done");
    /* [ring.done] release: every store into slots and payload is over. Pairs with the acquire in lt_reclaim_scan. */
    lt_store_release64(&word->lo, lt_lo_with(claim->lo, LT_PUBLISHED));
    lt_point("ring.done.after");
    return 0;
}

int lt_ring_abort(struct lt_ring *ring, const struct lt_claim *claim)
{
    uint64_t rel = lt_ring_rel(ring, claim->offset);
    struct lt_pair *word = lt_ring_claim_at(ring, rel);
    uint64_t seen = claim->lo;

    lt_point("ring.abort");
    if (!lt_cas64(&word->lo, &seen, lt_lo_with(claim->lo, LT_ACKED))) {
        acknowledge_loss(word, claim->lo);
        return LT_RING_TAKEN;
    }
    lt_point("ring.abort.after");
    publish_gaps(ring, rel, claim->count); /* should we die here, repair does it */
    return 0;
}

int lt_ring_find_end(const struct lt_ring *ring, struct lt_ring_end *end)
{
    struct last last = { 0 };
    int r = find_last(ring, &last);
    if (r == LT_RING_CORRUPT)
        return r;
    end->tail = lt_ring_offset(ring, r == LT_RING_SEALED ? last.rel : last.next);
    end->last = lt_ring_offset(ring, r == LT_RING_SEALED ? last.before : last.rel);
    end->pos = (lt_hi_pos(last.head.hi) + lt_hi_units(last.head.hi)) & LT_POS_MASK;
    end->epoch = lt_hi_epoch(last.head.hi);
    return r;
}

int lt_ring_find_tail(const struct lt_ring *ring, uint64_t *offset, uint64_t *pos, uint32_t *epoch)
{
    struct lt_ring_end end;
    int r = lt_ring_find_end(ring, &end);
    if (r == LT_RING_CORRUPT)
        return r;
    *offset = end.tail;
    *pos = end.pos;
    *epoch = end.epoch;
    return r;
}

/* --- geometry --- */

static uint64_t pages(uint64_t bytes)
{
    return (bytes + 4095) & ~(uint64_t)4095;
}

static uint64_t slots_of(uint64_t payload_size)
{
    return payload_size / LT_SLOT_SIZE;
}

static uint64_t claims_bytes(uint64_t slots)
{
    return pages(slots * sizeof(struct lt_pair));
}

uint64_t lt_ring_bytes(uint64_t payload_size)
{
    uint64_t slots = slots_of(payload_size);
    return 4096 + claims_bytes(slots) + slots * LT_SLOT_SIZE + payload_size;
}

void lt_ring_view_small(struct lt_ring *ring, void *base, uint64_t slots, uint64_t payload_units,
                        uint64_t base_offset, const struct lt_ring_gate *gate)
{
    uint64_t quarter = slots / 4;
    ring->base = base;
    ring->gate = gate;
    ring->claims_at = 4096;
    ring->slots_at = 4096 + claims_bytes(slots);
    ring->payload_at = ring->slots_at + slots * LT_SLOT_SIZE;
    ring->slot_count = slots;
    ring->slot_mask = slots - 1;
    ring->slot_shift = (uint32_t)__builtin_ctzll(slots);
    ring->count_max = (uint32_t)(quarter > LT_COUNT_MAX ? LT_COUNT_MAX : quarter > 0 ? quarter : 1);
    ring->payload_size = payload_units * LT_UNIT;
    ring->payload_units = payload_units;
    ring->base_offset = base_offset;
    ring->cached_limit_offset = lt_load_acquire64(&gate->limit_offset);
    ring->cached_limit_pos = lt_load_acquire64(&gate->limit_pos);
}

void lt_ring_view(struct lt_ring *ring, void *base, uint64_t payload_size, uint64_t base_offset,
                  const struct lt_ring_gate *gate)
{
    lt_ring_view_small(ring, base, slots_of(payload_size), payload_size / LT_UNIT, base_offset, gate);
}

void lt_ring_genesis(struct lt_ring *ring, uint32_t epoch)
{
    uint64_t rel = ring->slot_count - 1;
    struct lt_pair *word = lt_ring_claim_at(ring, rel);
    lt_store_relaxed64(&word->hi, lt_hi(0, 0, epoch));
    lt_store_release64(&word->lo, lt_lo(0, LT_PUBLISHED, 0, 1));
    lt_store_relaxed64(&lt_ring_words(ring)->hint, rel);
}

uint64_t lt_ring_record_max(const struct lt_ring *ring)
{
    uint64_t quarter = ring->payload_size / 4;
    uint64_t longest = (uint64_t)LT_LENGTH_MAX * LT_UNIT;
    return quarter < longest ? quarter : longest;
}
