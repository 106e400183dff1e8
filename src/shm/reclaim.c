/* reclaim: walks claims to find how far the limit may go. See reclaim.h. */
#include "shm/reclaim.h"

/* One head at offset: its count and units. false: *stop says why there is none that may be passed. */
static bool passable(const struct lt_ring *ring, uint64_t offset, uint32_t *count, uint32_t *units,
                     enum lt_reclaim_stop *stop, uint32_t *owner)
{
    uint64_t rel = lt_ring_rel(ring, offset);
    const struct lt_pair *word = lt_ring_claim_at(ring, rel);
    /* acquire: pairs with [ring.done] and [ring.ack]: the owner's writes are over. */
    uint64_t lo = lt_load_acquire64(&word->lo);
    if (lt_lo_lap(lo) < rel >> ring->slot_shift || lt_lo_state(lo) == LT_SEAL) {
        *stop = LT_STOP_TAIL;
        return false;
    }
    uint64_t hi = lt_load_relaxed64(&word->hi); /* fixed since the claim, which lo's lap shows to be there */
    *count = lt_lo_count(lo);
    *units = lt_hi_units(hi);
    *owner = lt_lo_owner(lo);
    if (lt_lo_lap(lo) > rel >> ring->slot_shift || *count == 0 || *count > ring->slot_count ||
        *units > ring->payload_units) {
        *stop = LT_STOP_CORRUPT;
        return false;
    }
    switch (lt_lo_state(lo)) {
    case LT_PUBLISHED:
    case LT_ACKED:
        return true;
    case LT_BUSY:
        *stop = LT_STOP_BUSY;
        return false;
    case LT_COMMITTED:
    case LT_ABORTED:
        *stop = LT_STOP_HELD;
        return false;
    default:
        *stop = LT_STOP_CORRUPT;
        return false;
    }
}

void lt_reclaim_scan(const struct lt_ring *ring, struct lt_reclaim *reclaim, uint64_t up_to_offset,
                     uint64_t up_to_pos, uint64_t keep)
{
    uint64_t start = reclaim->offset;
    reclaim->stop = LT_STOP_DONE;
    while (reclaim->offset < up_to_offset || reclaim->pos < up_to_pos) {
        uint32_t count, units;
        if (reclaim->offset - start >= ring->slot_count) {
            reclaim->stop = LT_STOP_TAIL;
            break;
        }
        if (!passable(ring, reclaim->offset, &count, &units, &reclaim->stop, &reclaim->stop_owner))
            break;
        if (reclaim->offset + count > keep) {
            reclaim->stop = LT_STOP_KEEP;
            break;
        }
        reclaim->offset += count;
        reclaim->pos += units;
    }
    reclaim->stop_offset = reclaim->offset;
}

void lt_reclaim_cut(const struct lt_ring *ring, struct lt_reclaim *reclaim, uint64_t offset)
{
    uint64_t end = reclaim->offset + ring->slot_count;
    while (reclaim->offset < offset && reclaim->offset < end) {
        uint32_t count, units, owner;
        enum lt_reclaim_stop stop;
        if (!passable(ring, reclaim->offset, &count, &units, &stop, &owner) ||
            reclaim->offset + count > offset)
            break;
        reclaim->offset += count;
        reclaim->pos += units;
    }
}

void lt_reclaim_announce(struct lt_ring_gate *gate, uint64_t offset)
{
    lt_point("reclaim.announce");
    /* [reclaim.announce] release, then the caller's membarrier, then the pins. Pairs with the reader's pin and re-check. */
    lt_store_release64(&gate->announced, offset);
    lt_point("reclaim.announce.after");
}

void lt_reclaim_publish(struct lt_ring_gate *gate, uint64_t offset, uint64_t pos)
{
    lt_point("reclaim.publish");
    /* [reclaim.publish] release: the pins were read before. Pairs with [reclaim.limit]. */
    lt_store_release64(&gate->limit_pos, pos);
    lt_store_release64(&gate->limit_offset, offset);
    lt_point("reclaim.publish.after");
}
