/* ring: claims, slots and payload of one partition, and the protocol on them (DESIGN 3).
 *
 * A ring is one memfd, mapped whole by producers (read-write), leatd (read-write) and consumers (read-only):
 *
 *   at            what                      written by                         read by
 *   0             struct lt_region          leatd, once                        all, at attach
 *   64            struct lt_ring_words      producers (a hint)                 all
 *   claims_at     16 B x slots              owner of a claim; leatd's repair   producers, leatd, end-offset readers
 *   slots_at      128 B x slots             owner of a claim; leatd's repair   consumers, repair
 *   payload_at    payload_size              owner of a claim                   consumers
 *   + payload     the same bytes again      (second mapping: a record never wraps)
 *
 * Numbers. An offset o of this ring has rel = o - base_offset + slot_count, index = rel mod slot_count, lap = rel /
 * slot_count. So the first record has lap 1, and zeroed memory (lap 0) is free. The word at rel slot_count - 1
 * (lap 0, PUBLISHED, count 1) is written by leatd before the ring is handed out: the predecessor of
 * the first claim, from which that inherits pos and epoch.
 *
 * Claim word. lo: lap 36 | state 3 | owner 13 | count 12;  hi: pos/64 mod 2^28 | length/64 20 | epoch 16.
 *
 *   FREE --claim--> BUSY --commit--> COMMITTED --published--> PUBLISHED
 *                    |                    `--(owner dead: repair publishes)--> PUBLISHED
 *                    |--repair--> ABORTED --owner's last write | its pidfd--> ACKED
 *                    `--owner gives up-----------------------------------------> ACKED
 *   FREE --rotation--> SEAL
 *
 * What always holds
 *  - Only the first word of a claim (its head) is ever written; the words of a batch's inner offsets stay old. A word
 *    whose lap is the offset's own and whose state is not FREE is a head; "free" is a lap older than that, compared exactly.
 *  - heads are contiguous: head + count is the next head or the tail. pos and epoch follow along.
 *  - From BUSY on, count, pos, length and epoch of a word never change.
 *  - Until PUBLISHED or ACKED (or the owner's pidfd) the owner may still write its slots and its payload, so the limit
 *    does not pass the claim, and nothing of it is given out again.
 *  - A slot's published word goes from an older lap to this lap once; an owner's store after repair's publication stores
 *    the same value again.
 *
 * What a death leaves: BUSY (repair aborts it: nothing was visible), COMMITTED (repair publishes it: all that the
 * published words need is in the slots before the commit), or PUBLISHED/ACKED (nothing to do).
 *
 * No clock, no system call, no allocation in here. Nothing shared holds an address: struct lt_ring is a process's own view.
 */
#ifndef LT_SHM_RING_H
#define LT_SHM_RING_H

#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"

#define LT_LINE 64u
#define LT_UNIT 64u /* payload is given out in units of this many bytes */
#define LT_SLOT_SIZE 128u
#define LT_INLINE_MAX 96u
#define LT_COUNT_MAX 4095u
#define LT_OWNER_MAX 8191u /* owner 0 is leatd itself */
#define LT_NULL_SIZE UINT32_MAX
#define LT_POS_INLINE UINT32_MAX
#define LT_POS_MASK ((1u << 28) - 1)
#define LT_LENGTH_MAX ((1u << 20) - 1) /* units */
#define LT_LAP_MAX ((1ull << 36) - 1)
#define LT_RING_SIZE_MIN (64ull << 10)
#define LT_RING_SIZE_MAX (1ull << 30)

enum lt_claim_state {
    LT_FREE = 0,
    LT_BUSY = 1,
    LT_COMMITTED = 2,
    LT_PUBLISHED = 3,
    LT_ABORTED = 4,
    LT_ACKED = 5,
    LT_SEAL = 6,
};

/* Positive conditions of the calls below. */
enum lt_ring_condition {
    LT_RING_FULL = 1,    /* the claim does not fit below the limit */
    LT_RING_SEALED = 2,  /* the ring was rotated away: go to the next one */
    LT_RING_STALE = 3,   /* the predecessor's epoch is above the caller's map: read the map again */
    LT_RING_WORN = 4,    /* the laps of this ring are used up: it must be rotated */
    LT_RING_TAKEN = 5,   /* repair took the claim back; the caller's writes are over and acknowledged */
    LT_RING_CORRUPT = 6, /* the words make no sense: a producer of this topic damaged them */
};

enum lt_slot_kind {
    LT_KIND_NONE = 0,
    LT_KIND_RECORD = 1,
    LT_KIND_GAP = 2,
    LT_KIND_SEAL = 3,
};

/* A published record. word: lap 36 | kind 4 | 0; it is stored last. A record whose key, value and headers fit into
 * LT_INLINE_MAX bytes lies in `data`, any other in the payload at pos * LT_UNIT. Order of bytes: value, key, headers. */
struct lt_slot {
    uint64_t word;
    uint64_t stamp; /* epoch 16 | timestamp_ms 48 */
    uint32_t key_size;
    uint32_t value_size;
    uint32_t headers_size;
    uint32_t pos; /* units, mod 2^28, or LT_POS_INLINE */
    unsigned char data[LT_INLINE_MAX];
};

/* Words of the ring that producers write: on a line of their own. */
struct lt_ring_words {
    uint64_t hint; /* rel of the last known head. Anyone may write anything here; it is checked before use */
    uint64_t reserved[7];
};

/* What leatd grants of one ring; lies in the topic's page, read-only to clients, one writer: leatd.
 * Both limits only grow. Each is by itself a lower bound of what may be overwritten, so they need not be read together. */
struct lt_ring_gate {
    /* line 0: read by consumers at every poll that finds something */
    uint64_t announced; /* [reclaim.announce] offsets below may be overwritten soon or now */
    uint64_t ring_id;
    uint64_t base_offset;
    uint32_t frozen; /* rotation froze the limit; it never moves again */
    uint32_t reserved0;
    uint64_t end_offset; /* once rotated: the successor's base; UINT64_MAX before */
    uint64_t reserved1[3];
    /* line 1: read by producers that run out of room */
    uint64_t limit_offset; /* [reclaim.publish] offsets below are free */
    uint64_t limit_pos;    /* units; payload below is free */
    uint64_t reserved2[6];
};

/* A process's view of a ring. Filled by lt_ring_view. */
struct lt_ring {
    unsigned char *base;
    const struct lt_ring_gate *gate;
    uint64_t claims_at, slots_at, payload_at; /* displacements from base */
    uint64_t slot_count;                      /* a power of two */
    uint64_t slot_mask;
    uint32_t slot_shift;
    uint32_t count_max;    /* records of one claim */
    uint64_t payload_size; /* bytes, a power of two */
    uint64_t payload_units;
    uint64_t base_offset;
    uint64_t cached_limit_offset; /* producers: the gate as last read */
    uint64_t cached_limit_pos;
};

struct lt_claim {
    uint64_t offset; /* of its first record */
    uint64_t pos;    /* units, mod 2^28 */
    uint32_t count;
    uint32_t units;
    uint32_t epoch;
    uint64_t lo; /* the BUSY word as it was stored */
};

/* The tail as an exclusive producer knows it; nobody else claims meanwhile. */
struct lt_ring_tail {
    uint64_t next;     /* offset of the next claim */
    uint64_t next_pos; /* units */
    uint32_t epoch;
};

/* --- numbers --- */

static inline uint64_t lt_ring_rel(const struct lt_ring *ring, uint64_t offset)
{
    return offset - ring->base_offset + ring->slot_count;
}

static inline uint64_t lt_ring_offset(const struct lt_ring *ring, uint64_t rel)
{
    return rel - ring->slot_count + ring->base_offset;
}

static inline uint64_t lt_lo(uint64_t lap, enum lt_claim_state state, uint32_t owner, uint32_t count)
{
    return lap << 28 | (uint64_t)state << 25 | (uint64_t)owner << 12 | count;
}

static inline uint64_t lt_lo_lap(uint64_t lo)
{
    return lo >> 28;
}
static inline enum lt_claim_state lt_lo_state(uint64_t lo)
{
    return (enum lt_claim_state)(lo >> 25 & 7);
}
static inline uint32_t lt_lo_owner(uint64_t lo)
{
    return (uint32_t)(lo >> 12) & LT_OWNER_MAX;
}
static inline uint32_t lt_lo_count(uint64_t lo)
{
    return (uint32_t)lo & LT_COUNT_MAX;
}
static inline uint64_t lt_lo_with(uint64_t lo, enum lt_claim_state state)
{
    return (lo & ~(7ull << 25)) | (uint64_t)state << 25;
}

/* A seal's owner and count say how many words behind the first seal it lies (see shm/rotation.h). */
static inline uint64_t lt_lo_seal(uint64_t lap, uint64_t behind)
{
    return lt_lo(lap, LT_SEAL, 0, 0) | (behind & 0x1ffffff);
}
static inline uint64_t lt_seal_behind(uint64_t lo)
{
    return lo & 0x1ffffff;
}

static inline uint64_t lt_hi(uint64_t pos, uint32_t units, uint32_t epoch)
{
    return (pos & LT_POS_MASK) << 36 | (uint64_t)units << 16 | (epoch & 0xffff);
}

static inline uint32_t lt_hi_pos(uint64_t hi)
{
    return (uint32_t)(hi >> 36);
}
static inline uint32_t lt_hi_units(uint64_t hi)
{
    return (uint32_t)(hi >> 16) & LT_LENGTH_MAX;
}
static inline uint32_t lt_hi_epoch(uint64_t hi)
{
    return (uint32_t)hi & 0xffff;
}

static inline uint64_t lt_slot_word(uint64_t lap, enum lt_slot_kind kind)
{
    return lap << 28 | (uint64_t)kind << 24;
}
static inline uint64_t lt_word_lap(uint64_t word)
{
    return word >> 28;
}
static inline enum lt_slot_kind lt_word_kind(uint64_t word)
{
    return (enum lt_slot_kind)(word >> 24 & 15);
}

static inline struct lt_pair *lt_ring_claim_at(const struct lt_ring *ring, uint64_t rel)
{
    return (struct lt_pair *)(void *)(ring->base + ring->claims_at) + (rel & ring->slot_mask);
}

static inline struct lt_slot *lt_ring_slot_at(const struct lt_ring *ring, uint64_t rel)
{
    return (struct lt_slot *)(void *)(ring->base + ring->slots_at) + (rel & ring->slot_mask);
}

static inline unsigned char *lt_ring_payload_at(const struct lt_ring *ring, uint64_t pos)
{
    return ring->base + ring->payload_at + ((pos & (ring->payload_units - 1)) * LT_UNIT);
}

static inline struct lt_ring_words *lt_ring_words(const struct lt_ring *ring)
{
    return (struct lt_ring_words *)(void *)(ring->base + LT_LINE);
}

/* Units of payload that a record of `size` bytes takes; 0 when it fits into its slot. */
static inline uint32_t lt_record_units(uint64_t size)
{
    return size <= LT_INLINE_MAX ? 0 : (uint32_t)((size + LT_UNIT - 1) / LT_UNIT);
}

/* --- geometry --- */

/* Bytes of the memfd of a ring with this payload; slots are payload_size / LT_SLOT_SIZE. */
uint64_t lt_ring_bytes(uint64_t payload_size);
/* Fills a view. `base` is where the memfd is mapped, the payload's second mapping right behind it. */
void lt_ring_view(struct lt_ring *ring, void *base, uint64_t payload_size, uint64_t base_offset,
                  const struct lt_ring_gate *gate);
/* A view with an odd geometry, for tests and models: slots a power of two, payload units too. */
void lt_ring_view_small(struct lt_ring *ring, void *base, uint64_t slots, uint64_t payload_units,
                        uint64_t base_offset, const struct lt_ring_gate *gate);
/* leatd, before the ring is handed out: the word that the first claim inherits from. */
void lt_ring_genesis(struct lt_ring *ring, uint32_t epoch);
/* Largest record, and largest claim, in bytes: a quarter of the ring. */
uint64_t lt_ring_record_max(const struct lt_ring *ring);

/* --- producers --- */

/* One CAS. `units` and `count` of the whole claim; epoch_max: the epoch of the caller's map.
 * 0 or FULL, SEALED, STALE, WORN, CORRUPT. Dead before the CAS: nothing happened; after it: everything is known. */
int lt_ring_claim(struct lt_ring *ring, uint32_t owner, uint32_t count, uint32_t units, uint32_t epoch_max,
                  struct lt_claim *claim);
/* Where a new exclusive holder starts, or a holder after it has moved to a new ring. 0, SEALED, CORRUPT. */
int lt_ring_tail(struct lt_ring *ring, struct lt_ring_tail *tail);
/* Plain stores instead of the CAS; the caller holds the partition exclusively. */
int lt_ring_claim_exclusive(struct lt_ring *ring, struct lt_ring_tail *tail, uint32_t owner, uint32_t count,
                            uint32_t units, uint32_t epoch_max, struct lt_claim *claim);
/* Slots and units in use up to and with this claim, by the limit as last read: when to ask for reclaim. */
static inline uint64_t lt_ring_used_slots(const struct lt_ring *ring, const struct lt_claim *claim)
{
    return claim->offset + claim->count - ring->cached_limit_offset;
}
static inline uint64_t lt_ring_used_units(const struct lt_ring *ring, const struct lt_claim *claim)
{
    return (claim->pos + claim->units - ring->cached_limit_pos) & LT_POS_MASK;
}
/* The slot of record i of a claim, to be filled (all but its word). */
static inline struct lt_slot *lt_ring_slot(const struct lt_ring *ring, const struct lt_claim *claim,
                                           uint32_t i)
{
    return lt_ring_slot_at(ring, lt_ring_rel(ring, claim->offset) + i);
}
/* BUSY -> COMMITTED, then publish. 0, or TAKEN: repair was faster, nothing is visible, and the claim's memory is given back. */
int lt_ring_commit(struct lt_ring *ring, const struct lt_claim *claim);
/* Gives a claim up: its offsets become gaps. 0 or TAKEN (repair was faster; the same result). */
int lt_ring_abort(struct lt_ring *ring, const struct lt_claim *claim);

/* --- everybody --- */

struct lt_ring_end {
    uint64_t tail; /* as lt_ring_find_tail says it */
    uint64_t pos;
    uint64_t
        last; /* the last head before the tail; the tail itself when that is a seal which was not walked to */
    uint32_t epoch;
};
int lt_ring_find_end(const struct lt_ring *ring, struct lt_ring_end *end);
/* The tail: the offset that the next record gets, and the payload position behind the last one. From the hint, or by a
 * scan of all claims when the hint lies. Only loads. 0 or SEALED (then the tail is the seal's offset) or CORRUPT. */
int lt_ring_find_tail(const struct lt_ring *ring, uint64_t *offset, uint64_t *pos, uint32_t *epoch);

/* --- consumers --- */

/* What is published at this offset: LT_KIND_NONE when nothing is yet (or the offset was overwritten: check
 * gate->announced). Acquire: the slot's other fields and the payload may be read while the offset is pinned. */
static inline enum lt_slot_kind lt_ring_peek(const struct lt_ring *ring, uint64_t offset,
                                             const struct lt_slot **slot)
{
    uint64_t rel = lt_ring_rel(ring, offset);
    const struct lt_slot *s = lt_ring_slot_at(ring, rel);
    /* [ring.see] acquire: whoever sees the published word sees slot and payload. Pairs with [ring.publish]. */
    uint64_t word = lt_load_acquire64(&s->word);
    *slot = s;
    return lt_word_lap(word) == rel >> ring->slot_shift ? lt_word_kind(word) : LT_KIND_NONE;
}

#endif
