/* arena: a ring in private memory, of any geometry, for tests that place its states by hand. */
#ifndef TESTS_ARENA_H
#define TESTS_ARENA_H

#include "shm/ring.h"

struct arena {
    struct lt_ring_gate gate;
    struct lt_ring ring; /* a producer's view */
    void *memory;
    struct arena *next;
};

/* slots and units are powers of two. Lives until the test ends. */
struct arena *arena_new(uint64_t slots, uint64_t units, uint64_t base_offset);
/* One more view of the same memory: another process's. */
struct lt_ring arena_view(const struct arena *arena);

/* Claims `count` inline records and writes `value` + i into each. Returns the condition of the claim. */
int arena_claim(struct lt_ring *ring, uint32_t owner, uint32_t count, uint64_t value, struct lt_claim *claim);
/* The same, and commits. */
int arena_send(struct lt_ring *ring, uint32_t owner, uint32_t count, uint64_t value);
void arena_write(struct lt_ring *ring, const struct lt_claim *claim, uint64_t value);
/* The value of a published record; fails the test when there is none. */
uint64_t arena_value(const struct lt_ring *ring, uint64_t offset);
enum lt_slot_kind arena_kind(const struct lt_ring *ring, uint64_t offset);
enum lt_claim_state arena_state(const struct lt_ring *ring, uint64_t offset);
/* Reclaims up to offset, as leatd would with no reader around. */
void arena_reclaim(struct arena *arena, uint64_t offset);

#endif
