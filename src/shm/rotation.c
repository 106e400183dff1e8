/* rotation: seals a ring's tail. See rotation.h for the steps around it. */
#include "shm/rotation.h"

/* Seals one free word, `behind` words behind the first one. true when the word now is a seal of that lap. */
static bool seal_word(struct lt_ring *ring, uint64_t rel, uint64_t behind, uint64_t pos, uint32_t epoch)
{
    struct lt_pair *word = lt_ring_claim_at(ring, rel);
    uint64_t lap = rel >> ring->slot_shift;
    struct lt_pair old = { lt_load_acquire64(&word->lo), lt_load_acquire64(&word->hi) };
    if (lt_lo_lap(old.lo) >= lap)
        return lt_lo_lap(old.lo) == lap && lt_lo_state(old.lo) == LT_SEAL;
    struct lt_pair seal = { lt_lo_seal(lap, behind), lt_hi(pos, 0, epoch) };
    lt_point("rotation.seal");
    /* [rotation.seal] a claim like any other: it loses to a producer that claims first, and then seals behind that. */
    return lt_cas_pair(word, old, seal);
}

/* Tells readers: whoever waits at this offset goes on in the next ring. false: a claim went over the seal (exclusive
 * holders only), and its owner published a gap before us. */
static bool publish_seal(struct lt_ring *ring, uint64_t rel)
{
    uint64_t lap = rel >> ring->slot_shift;
    uint64_t *word = &lt_ring_slot_at(ring, rel)->word;
    uint64_t old = lt_load_acquire64(word);
    lt_point("rotation.seal.publish");
    if (lt_word_lap(old) < lap && lt_cas64(word, &old, lt_slot_word(lap, LT_KIND_SEAL)))
        return true;
    return lt_word_lap(old) == lap && lt_word_kind(old) == LT_KIND_SEAL;
}

static bool is_published_seal(const struct lt_ring *ring, uint64_t rel)
{
    uint64_t word = lt_load_acquire64(&lt_ring_slot_at(ring, rel)->word);
    return lt_word_lap(word) == rel >> ring->slot_shift && lt_word_kind(word) == LT_KIND_SEAL;
}

int lt_rotation_seal(struct lt_ring *ring, int exclusive, uint64_t *base_offset, uint32_t *epoch)
{
    /* The limit is frozen, so these are the last offsets that anybody can ever claim here. */
    uint64_t limit = lt_load_acquire64(&ring->gate->limit_offset) + ring->slot_count;
    /* Each turn that fails has seen one more claim; more turns than slots are somebody's damage. */
    for (uint64_t turns = 0; turns <= 2 * ring->slot_count; turns++) {
        struct lt_ring_end end;
        int r = lt_ring_find_end(ring, &end);
        if (r == LT_RING_CORRUPT)
            return r;
        if (end.tail > limit)
            return LT_RING_CORRUPT;
        *epoch = end.epoch;
        /* A worker before us told readers of its seal, and a claim went over that since: a void one. */
        if (is_published_seal(ring, lt_ring_rel(ring, end.last))) {
            *base_offset = end.last;
            return 0;
        }
        *base_offset = end.tail;
        if (end.tail == limit)
            return 0; /* no slot left: nobody can claim, no seal is needed */
        uint64_t rel = lt_ring_rel(ring, end.tail);
        if (r != LT_RING_SEALED && !seal_word(ring, rel, 0, end.pos, end.epoch))
            continue;
        if (exclusive)
            for (uint64_t at = rel + 1; at < lt_ring_rel(ring, limit); at++)
                seal_word(ring, at, at - rel, end.pos, end.epoch);
        if (publish_seal(ring, rel))
            return 0;
    }
    return LT_RING_CORRUPT;
}
