/* reclaim: how far the limit may go. Pure; leatd does the membarrier and reads the pins between the two halves.
 *
 *   leatd                                            consumer
 *   1 target = lt_reclaim_scan()                     1 pin = offset               (store, own mailbox)
 *   2 announced = target   [reclaim.announce]        2 compiler barrier
 *   3 membarrier()                                   3 announced <= offset?       (load)  else unpin: overrun
 *   4 read every pin                                 4 read in place
 *   5 limit = min(target, pins) [reclaim.publish]    5 pin = none                 (release store)
 *
 * Either the consumer's store (1) is drained by the membarrier and leatd sees the pin, or the consumer's load (3)
 * comes after the membarrier and sees the announcement. A worker that dies between 2 and 5 leaves an announcement
 * above the limit: readers below it fall behind, nothing is overwritten; the next worker goes on from there.
 */
#ifndef LT_SHM_RECLAIM_H
#define LT_SHM_RECLAIM_H

#include "shm/ring.h"

/* Why a scan stopped before `want`. */
enum lt_reclaim_stop {
    LT_STOP_DONE = 0, /* it did not */
    LT_STOP_TAIL = 1, /* nothing more is claimed */
    LT_STOP_BUSY = 2, /* a claim that its owner still works on */
    LT_STOP_HELD = 3, /* ABORTED, or COMMITTED and helped: its owner may still write there */
    LT_STOP_KEEP = 4, /* somebody wants the records kept */
    LT_STOP_CORRUPT = 5,
};

struct lt_reclaim {
    uint64_t offset; /* in: the limit; out: the target. Always a head, or the tail */
    uint64_t pos;    /* units, 64 bit */
    enum lt_reclaim_stop stop;
    uint64_t stop_offset;
    uint32_t stop_owner;
};

/* Moves *reclaim forward, claim by claim, while offset < up_to_offset or pos < up_to_pos, and never past keep. */
void lt_reclaim_scan(const struct lt_ring *ring, struct lt_reclaim *reclaim, uint64_t up_to_offset,
                     uint64_t up_to_pos, uint64_t keep);
/* The position of the claim head at or below `offset`, walking from *reclaim (the old limit): for min(target, pins). */
void lt_reclaim_cut(const struct lt_ring *ring, struct lt_reclaim *reclaim, uint64_t offset);

/* [reclaim.announce], [reclaim.publish]; leatd is the one writer of the gate. */
void lt_reclaim_announce(struct lt_ring_gate *gate, uint64_t offset);
void lt_reclaim_publish(struct lt_ring_gate *gate, uint64_t offset, uint64_t pos);

#endif
