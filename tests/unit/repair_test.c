/* repair, placed by hand: what each state becomes by each owner's fate; and reclaim, which must stop where repair holds. */
#include <string.h>

#include "arena.h"
#include "shm/reclaim.h"
#include "shm/repair.h"
#include "test.h"

enum { ALIVE_1, OWNER_A = 5, OWNER_B = 6, OWNERS = 8 };

static struct lt_repair_report scan(struct arena *a, enum lt_owner_fate fate_a)
{
    uint8_t fate[OWNERS] = { 0 };
    struct lt_repair_report report = { 0 };
    fate[OWNER_A] = (uint8_t)fate_a;
    CHECK_EQ(lt_repair_scan(&a->ring, a->gate.limit_offset, fate, OWNERS, &report), 0);
    return report;
}

TEST(claim_of_a_dead_owner_becomes_a_gap_at_once)
{
    struct arena *a = arena_new(8, 16, 0);
    struct lt_claim claim;
    CHECK_EQ(arena_claim(&a->ring, OWNER_A, 2, 1, &claim), 0);
    CHECK_EQ(arena_send(&a->ring, OWNER_B, 1, 9), 0);
    struct lt_repair_report report = scan(a, LT_OWNER_LEFT);
    CHECK_EQ(report.aborted, 1);
    CHECK_EQ(report.gaps, 2);
    CHECK_EQ(report.held, 1);
    CHECK_EQ(report.freed, 0);
    CHECK_EQ(report.tail, 3);
    CHECK_EQ(arena_kind(&a->ring, 0), LT_KIND_GAP);
    CHECK_EQ(arena_kind(&a->ring, 1), LT_KIND_GAP);
    CHECK_EQ(arena_value(&a->ring, 2), 9);
    CHECK_EQ(arena_state(&a->ring, 0), LT_ABORTED);
    report = scan(a, LT_OWNER_DEAD);
    CHECK_EQ(report.freed, 1);
    CHECK_EQ(arena_state(&a->ring, 0), LT_ACKED);
}

TEST(claim_of_a_living_owner_is_left_alone)
{
    struct arena *a = arena_new(8, 16, 0);
    struct lt_claim claim;
    CHECK_EQ(arena_claim(&a->ring, OWNER_B, 1, 1, &claim), 0);
    struct lt_repair_report report = scan(a, LT_OWNER_DEAD);
    CHECK_EQ(report.aborted + report.helped + report.gaps + report.freed, 0);
    CHECK_EQ(lt_ring_commit(&a->ring, &claim), 0);
    CHECK_EQ(arena_value(&a->ring, 0), 1);
}

TEST(owner_beyond_the_table_counts_as_dead)
{
    struct arena *a = arena_new(8, 16, 0);
    struct lt_claim claim;
    CHECK_EQ(arena_claim(&a->ring, 4000, 1, 1, &claim), 0);
    CHECK_EQ(scan(a, LT_OWNER_ALIVE).freed, 1);
}

TEST(committed_batch_is_published_for_its_owner_whatever_part_it_had_published)
{
    for (int published = 0; published <= 4; published++) {
        struct arena *a = arena_new(8, 16, 0);
        struct lt_claim claim;
        CHECK_EQ(arena_claim(&a->ring, OWNER_A, 4, 50, &claim), 0);
        lt_ring_claim_at(&a->ring, 8)->lo = lt_lo_with(claim.lo, LT_COMMITTED);
        for (int i = 0; i < published; i++)
            lt_ring_slot_at(&a->ring, 11 - (uint64_t)i)->word = lt_slot_word(1, LT_KIND_RECORD);
        struct lt_repair_report report = scan(a, LT_OWNER_LEFT);
        CHECK_EQ(report.helped, published < 4);
        CHECK_EQ(report.held, 1); /* it may still be storing */
        for (uint64_t i = 0; i < 4; i++)
            CHECK_EQ(arena_value(&a->ring, i), 50 + i);
        CHECK_EQ(arena_state(&a->ring, 0), LT_COMMITTED);
        CHECK_EQ(scan(a, LT_OWNER_DEAD).freed, 1);
        CHECK_EQ(arena_state(&a->ring, 0), LT_PUBLISHED);
    }
}

TEST(aborted_claim_without_gaps_is_finished_by_the_next_worker)
{
    struct arena *a = arena_new(8, 16, 0);
    struct lt_claim claim;
    CHECK_EQ(arena_claim(&a->ring, OWNER_B, 3, 1, &claim), 0);
    lt_ring_claim_at(&a->ring, 8)->lo = lt_lo_with(claim.lo, LT_ABORTED); /* and then the worker died */
    CHECK_EQ(scan(a, LT_OWNER_ALIVE).gaps, 3);
    CHECK_EQ(arena_kind(&a->ring, 2), LT_KIND_GAP);
}

TEST(given_up_claim_without_gaps_gets_them)
{
    struct arena *a = arena_new(8, 16, 0);
    struct lt_claim claim;
    CHECK_EQ(arena_claim(&a->ring, OWNER_B, 2, 1, &claim), 0);
    lt_ring_claim_at(&a->ring, 8)->lo = lt_lo_with(claim.lo, LT_ACKED);
    CHECK_EQ(scan(a, LT_OWNER_ALIVE).gaps, 2);
}

TEST(repair_twice_is_repair_once)
{
    struct arena *a = arena_new(16, 16, 0);
    struct lt_claim claim;
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(arena_claim(&a->ring, OWNER_A, 1 + (uint32_t)i, 1, &claim), 0);
        if (i % 2)
            lt_ring_claim_at(&a->ring, lt_ring_rel(&a->ring, claim.offset))->lo = lt_lo_with(claim.lo,
                                                                                             LT_COMMITTED);
    }
    scan(a, LT_OWNER_DEAD);
    struct lt_repair_report again = scan(a, LT_OWNER_DEAD);
    CHECK_EQ(again.aborted + again.helped + again.gaps + again.freed + again.held, 0);
    CHECK_EQ(again.tail, 10);
}

TEST(blocker_is_the_first_claim_that_readers_cannot_step_over)
{
    struct arena *a = arena_new(8, 16, 0);
    struct lt_claim claim;
    uint64_t offset;
    uint32_t owner;
    enum lt_claim_state state;
    CHECK_EQ(arena_send(&a->ring, OWNER_B, 2, 1), 0);
    CHECK_EQ(lt_repair_blocker(&a->ring, 0, &offset, &owner, &state), LT_RING_FULL);
    CHECK_EQ(arena_claim(&a->ring, OWNER_A, 2, 1, &claim), 0);
    CHECK_EQ(arena_send(&a->ring, OWNER_B, 1, 1), 0);
    CHECK_EQ(lt_repair_blocker(&a->ring, 0, &offset, &owner, &state), 0);
    CHECK_EQ(offset, 2);
    CHECK_EQ(owner, OWNER_A);
    CHECK_EQ(state, LT_BUSY);
    struct lt_repair_report report = { 0 };
    CHECK_EQ(lt_repair_claim(&a->ring, offset, LT_OWNER_LEFT, &report), 0);
    CHECK_EQ(lt_repair_blocker(&a->ring, 0, &offset, &owner, &state), LT_RING_FULL);
}

TEST(limit_stops_at_a_claim_that_is_still_written)
{
    struct arena *a = arena_new(8, 16, 0);
    struct lt_claim claim;
    CHECK_EQ(arena_send(&a->ring, OWNER_B, 2, 1), 0);
    CHECK_EQ(arena_claim(&a->ring, OWNER_A, 1, 1, &claim), 0);
    CHECK_EQ(arena_send(&a->ring, OWNER_B, 2, 1), 0);
    struct lt_reclaim reclaim = { 0 };
    lt_reclaim_scan(&a->ring, &reclaim, 5, 0, UINT64_MAX);
    CHECK_EQ(reclaim.offset, 2);
    CHECK_EQ(reclaim.stop, LT_STOP_BUSY);
    CHECK_EQ(reclaim.stop_owner, OWNER_A);
}

TEST(limit_stops_at_memory_that_an_aborted_owner_may_still_write)
{
    struct arena *a = arena_new(8, 16, 0);
    struct lt_claim claim;
    CHECK_EQ(arena_claim(&a->ring, OWNER_A, 1, 1, &claim), 0);
    CHECK_EQ(arena_send(&a->ring, OWNER_B, 1, 1), 0);
    scan(a, LT_OWNER_LEFT);
    struct lt_reclaim reclaim = { 0 };
    lt_reclaim_scan(&a->ring, &reclaim, 2, 0, UINT64_MAX);
    CHECK_EQ(reclaim.offset, 0);
    CHECK_EQ(reclaim.stop, LT_STOP_HELD);
    CHECK_EQ(lt_ring_commit(&a->ring, &claim), LT_RING_TAKEN); /* the owner's word */
    lt_reclaim_scan(&a->ring, &reclaim, 2, 0, UINT64_MAX);
    CHECK_EQ(reclaim.offset, 2);
}

TEST(limit_stops_at_a_helped_claim_until_its_owner_has_stored)
{
    struct arena *a = arena_new(8, 16, 0);
    struct lt_claim claim;
    CHECK_EQ(arena_claim(&a->ring, OWNER_A, 1, 1, &claim), 0);
    lt_ring_claim_at(&a->ring, 8)->lo = lt_lo_with(claim.lo, LT_COMMITTED);
    scan(a, LT_OWNER_LEFT);
    CHECK_EQ(arena_kind(&a->ring, 0), LT_KIND_RECORD);
    struct lt_reclaim reclaim = { 0 };
    lt_reclaim_scan(&a->ring, &reclaim, 1, 0, UINT64_MAX);
    CHECK_EQ(reclaim.stop, LT_STOP_HELD);
    CHECK_EQ(reclaim.offset, 0);
}

TEST(limit_moves_by_whole_batches_and_never_past_what_is_kept)
{
    struct arena *a = arena_new(16, 16, 0);
    CHECK_EQ(arena_send(&a->ring, 1, 4, 0), 0);
    CHECK_EQ(arena_send(&a->ring, 1, 4, 4), 0);
    struct lt_reclaim reclaim = { 0 };
    lt_reclaim_scan(&a->ring, &reclaim, 1, 0, UINT64_MAX);
    CHECK_EQ(reclaim.offset, 4);
    CHECK_EQ(reclaim.stop, LT_STOP_DONE);
    reclaim = (struct lt_reclaim){ 0 };
    lt_reclaim_scan(&a->ring, &reclaim, 8, 0, 6);
    CHECK_EQ(reclaim.offset, 4);
    CHECK_EQ(reclaim.stop, LT_STOP_KEEP);
    reclaim = (struct lt_reclaim){ 0 };
    lt_reclaim_cut(&a->ring, &reclaim, 7); /* a pin inside the second batch */
    CHECK_EQ(reclaim.offset, 4);
    reclaim = (struct lt_reclaim){ 0 };
    lt_reclaim_scan(&a->ring, &reclaim, 100, 0, UINT64_MAX);
    CHECK_EQ(reclaim.offset, 8);
    CHECK_EQ(reclaim.stop, LT_STOP_TAIL);
}

TEST(limit_counts_payload_too)
{
    struct arena *a = arena_new(16, 64, 0);
    struct lt_claim claim;
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(lt_ring_claim(&a->ring, 1, 1, 10, 1, &claim), 0);
        CHECK_EQ(lt_ring_commit(&a->ring, &claim), 0);
    }
    struct lt_reclaim reclaim = { 0 };
    lt_reclaim_scan(&a->ring, &reclaim, 0, 15, UINT64_MAX);
    CHECK_EQ(reclaim.offset, 2);
    CHECK_EQ(reclaim.pos, 20);
}

TEST(noise_in_the_claims_is_corruption_and_nothing_worse)
{
    struct arena *a = arena_new(8, 16, 0);
    uint8_t fate[OWNERS] = { 0 };
    for (int round = 0; round < 20000; round++) {
        for (uint64_t i = 0; i < 8; i++) {
            lt_ring_claim_at(&a->ring, i)->lo = test_random() >> (test_random() % 40);
            lt_ring_claim_at(&a->ring, i)->hi = test_random();
            lt_ring_slot_at(&a->ring, i)->word = test_random() >> (test_random() % 40);
        }
        struct lt_repair_report report = { 0 };
        int r = lt_repair_scan(&a->ring, 0, fate, OWNERS, &report);
        CHECK(r == 0 || r == LT_RING_SEALED || r == LT_RING_CORRUPT);
        struct lt_reclaim reclaim = { 0 };
        lt_reclaim_scan(&a->ring, &reclaim, 100, 100, UINT64_MAX);
        CHECK(reclaim.offset <= 16);
    }
}
