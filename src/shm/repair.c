/* repair: aborts, helps and frees the claims of owners that are gone. See repair.h; states in ring.h. */
#include "shm/repair.h"

/* Publishes gaps for all offsets of a claim that was aborted or given up. By CAS from an older lap: the owner may be doing
 * the same, and a later lap must never be hit. */
static uint32_t publish_all(struct lt_ring *ring, uint64_t rel, uint32_t count, enum lt_slot_kind kind)
{
    uint32_t published = 0;
    for (uint32_t i = count; i-- > 0;) {
        uint64_t at = rel + i;
        uint64_t lap = at >> ring->slot_shift;
        uint64_t *word = &lt_ring_slot_at(ring, at)->word;
        uint64_t old = lt_load_acquire64(word);
        if (lt_word_lap(old) >= lap)
            continue;
        lt_point(kind == LT_KIND_GAP ? "repair.gap" : "repair.help");
        if (lt_cas64(word, &old, lt_slot_word(lap, kind)))
            published++;
    }
    return published;
}

static void repair_one(struct lt_ring *ring, uint64_t rel, uint64_t lo, enum lt_owner_fate fate,
                       struct lt_repair_report *report)
{
    uint64_t *word = &lt_ring_claim_at(ring, rel)->lo;
    uint32_t count = lt_lo_count(lo);

    if (lt_lo_state(lo) == LT_BUSY && fate != LT_OWNER_ALIVE) {
        uint64_t seen = lo;
        lt_point("repair.abort");
        /* [repair.abort] count, pos, length and epoch stay. Loses only to the owner's own commit, abort: then go on from that. */
        if (lt_cas64(word, &seen, lt_lo_with(lo, LT_ABORTED))) {
            report->aborted++;
            lo = lt_lo_with(lo, LT_ABORTED);
        } else {
            lo = seen;
        }
        lt_point("repair.abort.after");
    }

    /* Whoever aborted it may have died before the gaps: they are owed for every aborted claim, whatever the owner's fate. */
    if (lt_lo_state(lo) == LT_ABORTED || lt_lo_state(lo) == LT_ACKED)
        report->gaps += publish_all(ring, rel, count, LT_KIND_GAP);

    if (lt_lo_state(lo) == LT_COMMITTED && fate != LT_OWNER_ALIVE &&
        publish_all(ring, rel, count, LT_KIND_RECORD) > 0)
        report->helped++;

    if (fate == LT_OWNER_DEAD) {
        uint64_t seen = lo;
        lt_point("repair.free");
        /* [repair.free] only once nothing of the owner can be written any more. */
        if (lt_lo_state(lo) == LT_ABORTED && lt_cas64(word, &seen, lt_lo_with(lo, LT_ACKED)))
            report->freed++;
        else if (lt_lo_state(lo) == LT_COMMITTED && lt_cas64(word, &seen, lt_lo_with(lo, LT_PUBLISHED)))
            report->freed++;
    } else if (lt_lo_state(lo) == LT_ABORTED || (lt_lo_state(lo) == LT_COMMITTED && fate == LT_OWNER_LEFT)) {
        report->held++;
    }
}

/* Reads the head at rel: 0, SEALED, FULL (free: the tail) or CORRUPT. */
static int read_head(const struct lt_ring *ring, uint64_t rel, uint64_t *lo)
{
    *lo = lt_load_acquire64(&lt_ring_claim_at(ring, rel)->lo);
    if (lt_lo_lap(*lo) < rel >> ring->slot_shift)
        return LT_RING_FULL;
    if (lt_lo_lap(*lo) > rel >> ring->slot_shift || lt_lo_state(*lo) == LT_FREE)
        return LT_RING_CORRUPT; /* leatd alone moves the limit, so nothing at or above it is overwritten */
    if (lt_lo_state(*lo) == LT_SEAL)
        return LT_RING_SEALED;
    if (lt_lo_count(*lo) == 0 || lt_lo_count(*lo) > ring->slot_count)
        return LT_RING_CORRUPT;
    return 0;
}

int lt_repair_claim(struct lt_ring *ring, uint64_t offset, enum lt_owner_fate fate,
                    struct lt_repair_report *report)
{
    uint64_t rel = lt_ring_rel(ring, offset);
    uint64_t lo;
    int r = read_head(ring, rel, &lo);
    if (r == 0)
        repair_one(ring, rel, lo, fate, report);
    return r;
}

int lt_repair_scan(struct lt_ring *ring, uint64_t from, const uint8_t *fate, uint32_t fate_count,
                   struct lt_repair_report *report)
{
    uint64_t rel = lt_ring_rel(ring, from);
    /* A ring has slot_count offsets above its limit: more would be somebody's damage. */
    uint64_t end = rel + ring->slot_count;
    int r = 0;
    uint64_t lo;
    while (rel < end && (r = read_head(ring, rel, &lo)) == 0) {
        uint32_t owner = lt_lo_owner(lo);
        repair_one(ring, rel, lo, owner < fate_count ? (enum lt_owner_fate)fate[owner] : LT_OWNER_DEAD,
                   report);
        rel += lt_lo_count(lo);
    }
    report->tail = lt_ring_offset(ring, rel);
    return r == LT_RING_FULL ? 0 : r;
}

/* Are all slots of the claim published? Then readers can step over it, whatever its state. */
static bool all_published(const struct lt_ring *ring, uint64_t rel, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = rel + i;
        if (lt_word_lap(lt_load_acquire64(&lt_ring_slot_at(ring, at)->word)) < at >> ring->slot_shift)
            return false;
    }
    return true;
}

int lt_repair_blocker(const struct lt_ring *ring, uint64_t from, uint64_t *offset, uint32_t *owner,
                      enum lt_claim_state *state)
{
    uint64_t rel = lt_ring_rel(ring, from);
    uint64_t end = rel + ring->slot_count;
    uint64_t lo;
    while (rel < end) {
        int r = read_head(ring, rel, &lo);
        if (r != 0)
            return r;
        if (lt_lo_state(lo) != LT_PUBLISHED && !all_published(ring, rel, lt_lo_count(lo))) {
            *offset = lt_ring_offset(ring, rel);
            *owner = lt_lo_owner(lo);
            *state = lt_lo_state(lo);
            return 0;
        }
        rel += lt_lo_count(lo);
    }
    return LT_RING_FULL;
}
