#include "arena.h"

#include <stdlib.h>
#include <string.h>

#include "shm/reclaim.h"
#include "test.h"

/* A test's arenas go with its process; the list keeps them reachable for a leak checker. */
static struct arena *all;

struct arena *arena_new(uint64_t slots, uint64_t units, uint64_t base_offset)
{
    struct arena *arena = aligned_alloc(64, (sizeof(*arena) + 63) & ~(size_t)63);
    CHECK(arena != NULL);
    memset(arena, 0, sizeof(*arena));
    size_t bytes = 4096 + ((slots * 16 + 4095) & ~(size_t)4095) + slots * LT_SLOT_SIZE + 2 * units * LT_UNIT;
    bytes = (bytes + 4095) & ~(size_t)4095;
    arena->memory = aligned_alloc(4096, bytes);
    CHECK(arena->memory != NULL);
    memset(arena->memory, 0, bytes);
    arena->gate.base_offset = base_offset;
    arena->gate.announced = base_offset;
    arena->gate.limit_offset = base_offset;
    arena->gate.end_offset = UINT64_MAX;
    lt_ring_view_small(&arena->ring, arena->memory, slots, units, base_offset, &arena->gate);
    lt_ring_genesis(&arena->ring, 1);
    arena->next = all;
    all = arena;
    return arena;
}

struct lt_ring arena_view(const struct arena *arena)
{
    return arena->ring;
}

void arena_write(struct lt_ring *ring, const struct lt_claim *claim, uint64_t value)
{
    for (uint32_t i = 0; i < claim->count; i++) {
        struct lt_slot *slot = lt_ring_slot(ring, claim, i);
        uint64_t v = value + i;
        slot->stamp = (uint64_t)claim->epoch << 48;
        slot->key_size = LT_NULL_SIZE;
        slot->value_size = sizeof(v);
        slot->headers_size = 0;
        slot->pos = LT_POS_INLINE;
        lt_shared_copy(slot->data, &v, sizeof(v));
    }
}

int arena_claim(struct lt_ring *ring, uint32_t owner, uint32_t count, uint64_t value, struct lt_claim *claim)
{
    int r = lt_ring_claim(ring, owner, count, 0, 1, claim);
    if (r == 0)
        arena_write(ring, claim, value);
    return r;
}

int arena_send(struct lt_ring *ring, uint32_t owner, uint32_t count, uint64_t value)
{
    struct lt_claim claim;
    int r = arena_claim(ring, owner, count, value, &claim);
    return r != 0 ? r : lt_ring_commit(ring, &claim);
}

uint64_t arena_value(const struct lt_ring *ring, uint64_t offset)
{
    const struct lt_slot *slot;
    uint64_t value;
    CHECK_EQ(lt_ring_peek(ring, offset, &slot), LT_KIND_RECORD);
    CHECK_EQ(slot->value_size, sizeof(value));
    lt_shared_copy(&value, slot->data, sizeof(value));
    return value;
}

enum lt_slot_kind arena_kind(const struct lt_ring *ring, uint64_t offset)
{
    const struct lt_slot *slot;
    return lt_ring_peek(ring, offset, &slot);
}

enum lt_claim_state arena_state(const struct lt_ring *ring, uint64_t offset)
{
    uint64_t rel = lt_ring_rel(ring, offset);
    uint64_t lo = lt_load_acquire64(&lt_ring_claim_at(ring, rel)->lo);
    return lt_lo_lap(lo) == rel >> ring->slot_shift ? lt_lo_state(lo) : LT_FREE;
}

void arena_reclaim(struct arena *arena, uint64_t offset)
{
    struct lt_reclaim reclaim = { .offset = arena->gate.limit_offset, .pos = arena->gate.limit_pos };
    lt_reclaim_scan(&arena->ring, &reclaim, offset, 0, UINT64_MAX);
    lt_reclaim_announce(&arena->gate, reclaim.offset);
    lt_reclaim_publish(&arena->gate, reclaim.offset, reclaim.pos);
}
