/* bell: one futex word {seq 31, waiters 1} that somebody sleeps on. Also leatd's own bell and the knocks on its door.
 *
 *   waiter                                    waker (after it made something visible)
 *   1 arm: CAS waiters on  [bell.arm]         1 publish (store)        [ring.publish]
 *   2 membarrier()                            2 compiler barrier
 *   3 look again                              3 load the bell          [bell.look]
 *   4 FUTEX_WAIT on the armed value           4 if waiters: CAS seq+1, waiters off; FUTEX_WAKE all
 *     (bounded: a lie costs one bound)
 *
 * No wake is lost: if the waker's load (3) came before the waiter's arming became visible, then its publication (1) was
 * drained by the waiter's membarrier (2) and the look (3) sees it. A full fence in the waker would do as well and costs
 * every send 16 ns; the membarrier costs only those who are about to sleep.
 * One waiter CASes its own flag; a waker clears it only together with a new seq, so the waiter's FUTEX_WAIT
 * on the old value returns at once.
 *
 * Region: line 0 struct lt_region; line 1 leatd's bell; line 2.. knock summary; then knocks; then one line a bell.
 * Writable by every client: whatever is read here is only ever a reason to look.
 */
#ifndef LT_SHM_BELL_H
#define LT_SHM_BELL_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/region.h"

#define LT_BELLS 1024u /* consumers of a bus, and two of leatd's */
/* leatd's persister sleeps on both; no consumer has a bell from LT_BELL_GATHER on. */
#define LT_BELL_PERSISTER \
    (LT_BELLS - 1u)                    /* in the lists of partitions above level ring: every record counts */
#define LT_BELL_GATHER (LT_BELLS - 2u) /* in those at level ring: not armed while it comes round by itself */
#define LT_PARTITIONS_MAX 65536u       /* partitions of a bus */
#define LT_KNOCK_WORDS (LT_PARTITIONS_MAX / 64)

struct lt_bell {
    uint32_t word;
    uint32_t reserved[15];
};

struct lt_bells {
    struct lt_region region;
    struct lt_bell leatd;                        /* leatd's worker sleeps here */
    uint64_t knock_summary[LT_KNOCK_WORDS / 64]; /* bit w: knocks[w] is not 0 */
    uint64_t reserved[8 - LT_KNOCK_WORDS / 64 % 8];
    uint64_t knocks[LT_KNOCK_WORDS]; /* bit g % 64 of word g / 64: look at partition g of the bus */
    struct lt_bell bells[LT_BELLS];
};

/* Bits 1..31 seq, bit 0 waiters. */
#define LT_BELL_WAITERS 1u

/* Step 1; the value to wait on. The caller then does lt_membarrier() and looks again. */
uint32_t lt_bell_arm(struct lt_bell *bell);
/* Found something after all: takes the flag off, unless a waker already did. */
void lt_bell_disarm(struct lt_bell *bell, uint32_t armed);
/* Step 4: sleeps until rung, or timeout. true: rung (or the word changed). */
bool lt_bell_wait(struct lt_bell *bell, uint32_t armed, int64_t timeout_ns);
/* Steps 2-4 of a waker. Returns whether somebody was woken. */
bool lt_bell_ring(struct lt_bell *bell);
/* leatd, after a death: the dead may have changed the word and not come to its wake. Rings, and wakes whatever the flag says. */
void lt_bell_rescue(struct lt_bell *bell);

/* Asks leatd to look at partition `global` (its number on the bus) and wakes it. Any client, any time. */
void lt_bells_knock(struct lt_bells *bells, uint32_t global);
/* leatd: takes all knocks; calls back for each. */
void lt_bells_take(struct lt_bells *bells, void (*look)(void *user, uint32_t global), void *user);

#endif
