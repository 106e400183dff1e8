/* kept: what the worker knows of a ring, and reads back from it after a death. */
#include "test.h"

#include <string.h>

#include "arena.h"
#include "leat.h"
#include "leatd/kept.h"
#include "shm/reclaim.h"

enum { SLOTS = 64, UNITS = 64 };

/* A worker's view of the arena's ring; its gate is what the last worker left. */
static struct lt_kept_ring kept_of(const struct arena *arena)
{
    struct lt_kept_ring kept = { .base = arena->memory, .view = arena_view(arena) };
    lt_kept_begin(&kept, &arena->gate);
    return kept;
}

/* Claims of `units` each, published. */
static void send(struct arena *arena, uint32_t owner, uint32_t units, int times)
{
    struct lt_claim claim;
    for (int i = 0; i < times; i++) {
        CHECK_EQ(lt_ring_claim(&arena->ring, owner, 1, units, 1, &claim), 0);
        CHECK_EQ(lt_ring_commit(&arena->ring, &claim), 0);
    }
}

TEST(fresh_ring_has_nothing_in_it)
{
    struct arena *arena = arena_new(SLOTS, UNITS, 1000);
    struct lt_kept_ring kept = kept_of(arena);
    uint64_t tail, pos;
    uint32_t epoch;
    CHECK_EQ(lt_kept_tail(&kept, &tail, &pos, &epoch), 0);
    CHECK_EQ(tail, 1000);
    CHECK_EQ(pos, 0);
    CHECK_EQ(kept.limit_offset, 1000);
}

/* The limit's two words are stored one after the other. */
TEST(position_that_a_dying_worker_stored_without_its_offset_is_not_believed)
{
    struct arena *arena = arena_new(SLOTS, UNITS, 0);
    send(arena, 1, 3, 10);
    lt_reclaim_publish(&arena->gate, 4, 12);
    CHECK_EQ(kept_of(arena).limit_pos, 12);
    arena->gate.limit_pos = 24; /* of offset 8; then it died */
    struct lt_kept_ring kept = kept_of(arena);
    CHECK_EQ(kept.limit_offset, 4);
    CHECK_EQ(kept.limit_pos, 12);
}

TEST(limit_at_the_tail_has_the_tails_position)
{
    struct arena *arena = arena_new(SLOTS, UNITS, 0);
    send(arena, 1, 3, 10);
    lt_reclaim_publish(&arena->gate, 10, 30);
    CHECK_EQ(kept_of(arena).limit_pos, 30);
}

/* Positions in claims are 28 bits wide, in the gate 64. */
TEST(position_is_read_back_beyond_the_width_of_a_claims)
{
    struct arena *arena = arena_new(SLOTS, UNITS, 0);
    send(arena, 1, 3, 10);
    uint64_t high = (uint64_t)(LT_POS_MASK + 1ull) * 5;
    lt_reclaim_publish(&arena->gate, 4, high + 12);
    CHECK_EQ(kept_of(arena).limit_pos, high + 12);
    arena->gate.limit_pos = high + 24;
    CHECK_EQ(kept_of(arena).limit_pos, high + 12);
    struct lt_kept_ring kept = kept_of(arena);
    uint64_t tail, pos;
    uint32_t epoch;
    CHECK_EQ(lt_kept_tail(&kept, &tail, &pos, &epoch), 0);
    CHECK_EQ(pos, high + 30);
}

TEST(repair_finds_a_claim_of_the_dead_behind_all_that_is_over)
{
    struct arena *arena = arena_new(SLOTS, UNITS, 0);
    struct lt_kept_ring kept = kept_of(arena);
    struct lt_repair_report report;
    struct lt_claim claim;
    uint8_t fate[LT_CLIENTS_MAX] = { [2] = LT_OWNER_LEFT };
    send(arena, 1, 0, 20);
    CHECK_EQ(lt_kept_repair(&kept, fate, &report), 0);
    CHECK_EQ(kept.front, 20);
    CHECK_EQ(kept.settled, 20);
    CHECK_EQ(lt_ring_claim(&arena->ring, 2, 3, 0, 1, &claim), 0);
    send(arena, 1, 0, 1);
    CHECK_EQ(lt_kept_repair(&kept, fate, &report), 0);
    CHECK_EQ(report.aborted, 1);
    CHECK_EQ(report.gaps, 3);
    CHECK_EQ(report.held, 1);
    CHECK_EQ(kept.settled, 20); /* it may still write there */
    uint32_t counts[4] = { 0 };
    CHECK_EQ(lt_kept_count_held(&kept, counts, 4), 1);
    CHECK_EQ(counts[2], 1);
    fate[2] = LT_OWNER_DEAD;
    CHECK_EQ(lt_kept_repair(&kept, fate, &report), 0);
    CHECK_EQ(report.freed, 1);
    uint32_t owner;
    CHECK_EQ(lt_kept_settle(&kept, &owner), LT_STOP_TAIL);
    CHECK_EQ(kept.settled, 24);
    CHECK_EQ(lt_kept_count_held(&kept, counts, 4), 0);
}

/* The owner gave up, and died before its gaps were out: the claim is over, and readers still wait. */
TEST(gaps_that_are_owed_are_found_below_what_is_settled)
{
    struct arena *arena = arena_new(SLOTS, UNITS, 0);
    struct lt_kept_ring kept = kept_of(arena);
    struct lt_repair_report report;
    struct lt_claim claim;
    uint8_t fate[LT_CLIENTS_MAX] = { 0 };
    CHECK_EQ(lt_ring_claim(&arena->ring, 1, 2, 0, 1, &claim), 0);
    uint64_t *word = &lt_ring_claim_at(&arena->ring, lt_ring_rel(&arena->ring, claim.offset))->lo;
    uint64_t seen = claim.lo;
    CHECK(lt_cas64(word, &seen, lt_lo_with(claim.lo, LT_ACKED)));
    send(arena, 1, 0, 1);
    uint32_t owner;
    CHECK_EQ(lt_kept_settle(&kept, &owner), LT_STOP_TAIL);
    CHECK_EQ(kept.settled, 3);
    CHECK_EQ(lt_kept_repair(&kept, fate, &report), 0);
    CHECK_EQ(report.gaps, 2);
    CHECK_EQ(arena_kind(&arena->ring, 0), LT_KIND_GAP);
}

TEST(front_goes_on_from_where_it_was_and_with_the_limit)
{
    struct arena *arena = arena_new(SLOTS, UNITS, 0);
    struct lt_kept_ring kept = kept_of(arena);
    struct lt_claim claim;
    uint64_t offset;
    uint32_t owner;
    enum lt_claim_state state;
    send(arena, 1, 0, 5);
    CHECK_EQ(lt_kept_blocker(&kept, &offset, &owner, &state), LT_RING_FULL);
    CHECK_EQ(kept.front, 5);
    CHECK_EQ(lt_ring_claim(&arena->ring, 7, 1, 0, 1, &claim), 0);
    send(arena, 1, 0, 2);
    CHECK_EQ(lt_kept_blocker(&kept, &offset, &owner, &state), 0);
    CHECK_EQ(offset, 5);
    CHECK_EQ(owner, 7);
    CHECK_EQ(state, LT_BUSY);
    CHECK_EQ(lt_ring_commit(&arena->ring, &claim), 0);
    lt_reclaim_publish(&arena->gate, 8, 0);
    lt_kept_limit(&kept, 8, 0);
    CHECK_EQ(lt_kept_blocker(&kept, &offset, &owner, &state), LT_RING_FULL);
    CHECK_EQ(kept.front, 8);
}
