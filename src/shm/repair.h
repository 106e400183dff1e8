/* repair: what leatd does to claims whose owner is dead, or stood still for too long. Pure, like ring.
 *
 * Safe at any time, from any incarnation of the worker, while producers run: every step is a CAS from what was seen.
 */
#ifndef LT_SHM_REPAIR_H
#define LT_SHM_REPAIR_H

#include "shm/ring.h"

/* What is known of an owner. */
enum lt_owner_fate {
    LT_OWNER_ALIVE = 0, /* leave its claims alone */
    LT_OWNER_LEFT =
        1, /* its lease fired or it stood still: abort and help, but free nothing: it may still write */
    LT_OWNER_DEAD = 2, /* its pidfd fired, or it said goodbye: nothing of it can be written any more */
};

struct lt_repair_report {
    uint32_t aborted; /* claims taken back */
    uint32_t helped;  /* committed claims published on the owner's behalf */
    uint32_t gaps;    /* offsets published as gaps */
    uint32_t freed;   /* claims of the dead given back */
    uint32_t held;    /* claims that still wait for their owner's word or its pidfd */
    uint64_t tail;    /* first offset behind the scan */
};

/* Walks all claims from `from` (a head, usually the limit) to the tail. fate[owner] for owner < fate_count; others
 * count as dead. Publications were made when helped + gaps > 0: ring the readers' bells then. 0 or SEALED or CORRUPT. */
int lt_repair_scan(struct lt_ring *ring, uint64_t from, const uint8_t *fate, uint32_t fate_count,
                   struct lt_repair_report *report);
/* The same for the one claim whose head is `offset`. */
int lt_repair_claim(struct lt_ring *ring, uint64_t offset, enum lt_owner_fate fate,
                    struct lt_repair_report *report);
/* The first claim at or behind `from` that is not PUBLISHED and whose offsets are not all gaps: what blocks readers.
 * 0: found in *offset, *owner, *state. LT_RING_SEALED, or LT_RING_FULL when there is none (all is published). */
int lt_repair_blocker(const struct lt_ring *ring, uint64_t from, uint64_t *offset, uint32_t *owner,
                      enum lt_claim_state *state);

#endif
