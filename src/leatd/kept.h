/* kept: the worker's view of one ring, and how far it has been looked at, so that claims which are over are walked once
 * and not at every death. All under the worker's lock. */
#ifndef LT_LEATD_KEPT_H
#define LT_LEATD_KEPT_H

#include "leatd/worker.h"

/* Fills the view of a ring that is mapped, with its gate's limits as one pair. */
void lt_kept_view(struct lt_kept_ring *kept, uint64_t payload_size, const struct lt_ring_gate *gate);
/* The second half of that: with a view. */
void lt_kept_begin(struct lt_kept_ring *kept, const struct lt_ring_gate *gate);
/* The offset of the next record: 0, SEALED or CORRUPT. *pos in units, 64 bit. */
int lt_kept_tail(const struct lt_kept_ring *kept, uint64_t *tail, uint64_t *pos, uint32_t *epoch);
/* The first claim that readers wait for. 0, LT_RING_FULL: none below the tail as it was at the call; SEALED: none at all; CORRUPT. */
int lt_kept_blocker(struct lt_kept_ring *kept, uint64_t *offset, uint32_t *owner, enum lt_claim_state *state);
/* Why not all claims are over: LT_STOP_TAIL when they are. *owner as lt_reclaim_scan says it. */
enum lt_reclaim_stop lt_kept_settle(struct lt_kept_ring *kept, uint32_t *owner);
/* lt_repair_scan over all that is not both published and settled. */
int lt_kept_repair(struct lt_kept_ring *kept, const uint8_t *fate, struct lt_repair_report *report);
/* The limit has moved. */
void lt_kept_limit(struct lt_kept_ring *kept, uint64_t offset, uint64_t pos);
/* Adds to counts[owner] the claims that were taken back from their owners and not given back. How many. */
uint32_t lt_kept_count_held(const struct lt_kept_ring *kept, uint32_t *counts, uint32_t owners);

#endif
