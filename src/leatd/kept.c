/* kept: see kept.h. */
#include "leatd/kept.h"

#include "base/atomic.h"

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* [reclaim.publish] stores pos, then offset; a worker that died in between left a pos that belongs to a later offset. The
 * claim at the limit, which nothing has overwritten, says its own pos mod 2^28: the true one is that, at or below the gate's. */
static uint64_t pos_of_limit(const struct lt_kept_ring *kept, uint64_t gate_pos)
{
    const struct lt_ring *view = &kept->view;
    uint64_t rel = lt_ring_rel(view, kept->limit_offset);
    const struct lt_pair *word = lt_ring_claim_at(view, rel);
    uint64_t lo = lt_load_acquire64(&word->lo), pos;
    if (lt_lo_lap(lo) == rel >> view->slot_shift && lt_lo_state(lo) != LT_FREE) {
        pos = lt_hi_pos(lt_load_relaxed64(&word->hi));
    } else { /* the limit is the tail */
        uint64_t tail;
        uint32_t epoch;
        if (lt_ring_find_tail(view, &tail, &pos, &epoch) == LT_RING_CORRUPT || tail != kept->limit_offset)
            return gate_pos;
    }
    return gate_pos - ((gate_pos - pos) & LT_POS_MASK);
}

void lt_kept_view(struct lt_kept_ring *kept, uint64_t payload_size, const struct lt_ring_gate *gate)
{
    lt_ring_view(&kept->view, kept->base, payload_size, gate->base_offset, gate);
    lt_kept_begin(kept, gate);
}

void lt_kept_begin(struct lt_kept_ring *kept, const struct lt_ring_gate *gate)
{
    kept->limit_offset = gate->limit_offset;
    kept->limit_pos = pos_of_limit(kept, gate->limit_pos);
    kept->front = kept->settled = kept->limit_offset;
}

int lt_kept_tail(const struct lt_kept_ring *kept, uint64_t *tail, uint64_t *pos, uint32_t *epoch)
{
    uint64_t units;
    int r = lt_ring_find_tail(&kept->view, tail, &units, epoch);
    if (r != LT_RING_CORRUPT)
        *pos = kept->limit_pos + ((units - kept->limit_pos) & LT_POS_MASK);
    return r;
}

int lt_kept_blocker(struct lt_kept_ring *kept, uint64_t *offset, uint32_t *owner, enum lt_claim_state *state)
{
    uint64_t tail, pos;
    uint32_t epoch;
    /* The tail first: what is then found to have no hole includes all below it. */
    int r = lt_ring_find_tail(&kept->view, &tail, &pos, &epoch);
    if (r == LT_RING_CORRUPT)
        return r;
    kept->front = later(kept->front, kept->limit_offset);
    r = lt_repair_blocker(&kept->view, kept->front, offset, owner, state);
    if (r == 0)
        kept->front = *offset;
    else if (r != LT_RING_CORRUPT)
        kept->front = later(kept->front, tail);
    return r;
}

enum lt_reclaim_stop lt_kept_settle(struct lt_kept_ring *kept, uint32_t *owner)
{
    struct lt_reclaim walk = { .offset = later(kept->settled, kept->limit_offset) };
    /* pos is not kept: only the offset is wanted. */
    lt_reclaim_scan(&kept->view, &walk, UINT64_MAX, UINT64_MAX, UINT64_MAX);
    kept->settled = walk.offset;
    *owner = walk.stop_owner;
    return walk.stop;
}

int lt_kept_repair(struct lt_kept_ring *kept, const uint8_t *fate, struct lt_repair_report *report)
{
    uint64_t offset;
    uint32_t owner;
    enum lt_claim_state state;
    *report = (struct lt_repair_report){ 0 };
    if (lt_kept_blocker(kept, &offset, &owner, &state) == LT_RING_CORRUPT)
        return LT_RING_CORRUPT;
    lt_kept_settle(kept, &owner);
    uint64_t from = kept->front < kept->settled ? kept->front : kept->settled;
    return lt_repair_scan(&kept->view, from, fate, LT_CLIENTS_MAX, report);
}

void lt_kept_limit(struct lt_kept_ring *kept, uint64_t offset, uint64_t pos)
{
    kept->limit_offset = offset;
    kept->limit_pos = pos;
}

uint32_t lt_kept_count_held(const struct lt_kept_ring *kept, uint32_t *counts, uint32_t owners)
{
    const struct lt_ring *view = &kept->view;
    uint64_t rel = lt_ring_rel(view, later(kept->settled, kept->limit_offset));
    uint64_t end = rel + view->slot_count;
    uint32_t held = 0;
    while (rel < end) {
        uint64_t lo = lt_load_acquire64(&lt_ring_claim_at(view, rel)->lo);
        if (lt_lo_lap(lo) != rel >> view->slot_shift || lt_lo_state(lo) == LT_SEAL || lt_lo_count(lo) == 0)
            break;
        if (lt_lo_state(lo) == LT_ABORTED) {
            held++;
            if (lt_lo_owner(lo) < owners)
                counts[lt_lo_owner(lo)]++;
        }
        rel += lt_lo_count(lo);
    }
    return held;
}
