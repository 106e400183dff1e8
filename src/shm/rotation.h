/* rotation: leaving a ring that cannot be reclaimed, because a stopped process may still write or read there. Pure.
 *
 *   leatd                                                     what a death of the worker leaves
 *   1 allocate the next ring, have the keeper hold it         an orphan ring: dropped at adoption
 *   2 freeze the limit           [rotation.freeze]            frozen, no successor: the next worker goes on with 3
 *   3 seal the tail              [rotation.seal]              sealed, no successor: 3 finds the seal
 *   4 genesis of the next ring, base = the seal's offset
 *   5 publish it in the page     [rotation.publish]           done; who sleeps is woken by bounded waits or by 6
 *   6 wake producers and readers
 *
 * The seal takes no offset: the next ring begins with it. When no slot is left below the frozen limit, no seal is
 * needed: nobody can claim, and the base is limit + slots.
 * A ring that is held exclusively is claimed with plain stores, so one seal could be overwritten by a holder that
 * stood still inside a claim: there every free word up to the limit is sealed. At most one of them can be
 * overwritten, by a claim that the holder then refuses to commit (it reads `frozen` between claim and commit).
 * The words that are sealed lie where heads of the lap before lay, and a hint may still name those: so each seal says how
 * far behind the first one it lies. Which offset is the end is decided by the slot word of the seal: a holder that
 * went over it publishes a gap there, the freezer a seal, both by CAS. A seal that is published stays the end, for the
 * next worker, too.
 */
#ifndef LT_SHM_ROTATION_H
#define LT_SHM_ROTATION_H

#include "shm/ring.h"

/* Seals the tail; `exclusive` as above (the caller has frozen the gate and passed a membarrier first). Returns 0 and the
 * base offset and epoch of the next ring. Idempotent. Or CORRUPT. */
int lt_rotation_seal(struct lt_ring *ring, int exclusive, uint64_t *base_offset, uint32_t *epoch);

#endif
