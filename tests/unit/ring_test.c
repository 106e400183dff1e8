/* The ring's states, placed by hand: claim, commit, publish, abort, exclusive claims, hints that lie. */
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "shm/rotation.h"
#include "test.h"

TEST(first_record_of_a_fresh_ring_has_the_base_offset)
{
    struct arena *a = arena_new(8, 16, 1000);
    struct lt_claim claim;
    CHECK_EQ(arena_claim(&a->ring, 7, 1, 42, &claim), 0);
    CHECK_EQ(claim.offset, 1000);
    CHECK_EQ(claim.epoch, 1);
    CHECK_EQ(arena_kind(&a->ring, 1000), LT_KIND_NONE);
    CHECK_EQ(lt_ring_commit(&a->ring, &claim), 0);
    CHECK_EQ(arena_value(&a->ring, 1000), 42);
    CHECK_EQ(arena_state(&a->ring, 1000), LT_PUBLISHED);
}

TEST(zeroed_memory_publishes_nothing)
{
    struct arena *a = arena_new(8, 16, 0);
    for (uint64_t offset = 0; offset < 8; offset++)
        CHECK_EQ(arena_kind(&a->ring, offset), LT_KIND_NONE);
    uint64_t tail, pos;
    uint32_t epoch;
    CHECK_EQ(lt_ring_find_tail(&a->ring, &tail, &pos, &epoch), 0);
    CHECK_EQ(tail, 0);
    CHECK_EQ(pos, 0);
}

TEST(offsets_are_dense_over_many_laps)
{
    struct arena *a = arena_new(4, 16, 0);
    for (uint64_t i = 0; i < 1000; i++) {
        if (i >= 4)
            arena_reclaim(a, i - 3);
        CHECK_EQ(arena_send(&a->ring, 1, 1, i), 0);
        CHECK_EQ(arena_value(&a->ring, i), i);
    }
}

TEST(full_ring_refuses_a_claim_until_the_limit_moves)
{
    struct arena *a = arena_new(4, 16, 0);
    for (uint64_t i = 0; i < 4; i++)
        CHECK_EQ(arena_send(&a->ring, 1, 1, i), 0);
    CHECK_EQ(arena_send(&a->ring, 1, 1, 4), LT_RING_FULL);
    arena_reclaim(a, 1);
    CHECK_EQ(arena_send(&a->ring, 1, 1, 4), 0);
    CHECK_EQ(arena_send(&a->ring, 1, 1, 5), LT_RING_FULL);
}

TEST(payload_runs_out_before_slots_do)
{
    struct arena *a = arena_new(8, 16, 0);
    struct lt_claim claim;
    CHECK_EQ(lt_ring_claim(&a->ring, 1, 1, 10, 1, &claim), 0);
    CHECK_EQ(claim.pos, 0);
    CHECK_EQ(lt_ring_commit(&a->ring, &claim), 0);
    CHECK_EQ(lt_ring_claim(&a->ring, 1, 1, 7, 1, &claim), LT_RING_FULL);
    CHECK_EQ(lt_ring_claim(&a->ring, 1, 1, 6, 1, &claim), 0);
    CHECK_EQ(claim.pos, 10);
}

TEST(payload_position_wraps_in_the_claim_word_without_losing_room)
{
    struct arena *a = arena_new(8, 16, 0);
    uint64_t start = (uint64_t)LT_POS_MASK - 9; /* ten units before the 28 bits end */
    struct lt_pair *genesis = lt_ring_claim_at(&a->ring, 7);
    genesis->hi = lt_hi(start, 0, 1);
    a->gate.limit_pos = start;
    a->ring.cached_limit_pos = start;
    for (uint64_t i = 0; i < 64; i++) {
        struct lt_claim claim;
        CHECK_EQ(lt_ring_claim(&a->ring, 1, 1, 8, 1, &claim), 0);
        CHECK_EQ(claim.pos, (start + 8 * i) & LT_POS_MASK);
        CHECK_EQ(lt_ring_commit(&a->ring, &claim), 0);
        if (i >= 1)
            arena_reclaim(a, i);
    }
}

TEST(batch_takes_one_claim_word_and_is_visible_from_its_head)
{
    struct arena *a = arena_new(8, 16, 0);
    struct lt_claim claim;
    CHECK_EQ(arena_claim(&a->ring, 3, 3, 70, &claim), 0);
    CHECK_EQ(arena_state(&a->ring, 0), LT_BUSY);
    CHECK_EQ(arena_state(&a->ring, 1), LT_FREE); /* inner words stay as they were */
    CHECK_EQ(lt_ring_commit(&a->ring, &claim), 0);
    for (uint64_t i = 0; i < 3; i++)
        CHECK_EQ(arena_value(&a->ring, i), 70 + i);
    CHECK_EQ(arena_send(&a->ring, 3, 1, 99), 0);
    CHECK_EQ(arena_value(&a->ring, 3), 99);
}

TEST(batch_that_wraps_around_the_end_of_the_ring_keeps_its_laps)
{
    struct arena *a = arena_new(8, 16, 0);
    CHECK_EQ(arena_send(&a->ring, 1, 6, 0), 0);
    arena_reclaim(a, 6);
    CHECK_EQ(arena_send(&a->ring, 1, 5, 100), 0); /* offsets 6..10 */
    for (uint64_t i = 0; i < 5; i++)
        CHECK_EQ(arena_value(&a->ring, 6 + i), 100 + i);
    CHECK_EQ(arena_send(&a->ring, 1, 1, 7), 0);
    CHECK_EQ(arena_value(&a->ring, 11), 7);
}

TEST(word_left_inside_an_old_batch_is_free_for_a_later_lap)
{
    struct arena *a = arena_new(4, 16, 0);
    CHECK_EQ(arena_send(&a->ring, 1, 1, 0), 0);
    CHECK_EQ(arena_send(&a->ring, 1, 3, 1), 0); /* inner words 2 and 3 were never written */
    arena_reclaim(a, 4);
    for (uint64_t i = 4; i < 8; i++)
        CHECK_EQ(arena_send(&a->ring, 1, 1, i), 0);
    arena_reclaim(a, 8);
    for (uint64_t i = 8; i < 12; i++)
        CHECK_EQ(arena_send(&a->ring, 1, 1, i), 0);
    CHECK_EQ(arena_value(&a->ring, 11), 11);
}

TEST(any_hint_whatsoever_finds_the_same_tail)
{
    struct arena *a = arena_new(8, 16, 500);
    for (uint64_t i = 0; i < 45; i++) {
        arena_reclaim(a, 500 + i);
        CHECK_EQ(arena_send(&a->ring, 1, 1, i), 0);
    }
    CHECK_EQ(arena_send(&a->ring, 1, 3, 45), 0); /* 45..47: inner words are old */
    uint64_t lies[] = { 0,  1,  7,  8,  45,  51,         52,         53,
                        54, 55, 56, 57, 100, 1ull << 40, UINT64_MAX, UINT64_MAX - 5 };
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        uint64_t tail, pos;
        uint32_t epoch;
        lt_ring_words(&a->ring)->hint = lies[i];
        CHECK_EQ(lt_ring_find_tail(&a->ring, &tail, &pos, &epoch), 0);
        CHECK_EQ(tail, 548);
    }
    for (int i = 0; i < 1000; i++) {
        uint64_t tail, pos;
        uint32_t epoch;
        lt_ring_words(&a->ring)->hint = test_random();
        CHECK_EQ(lt_ring_find_tail(&a->ring, &tail, &pos, &epoch), 0);
        CHECK_EQ(tail, 548);
    }
}

TEST(claims_full_of_noise_end_the_search_and_never_leave_the_ring)
{
    struct arena *a = arena_new(8, 16, 0);
    for (int round = 0; round < 20000; round++) {
        for (uint64_t i = 0; i < 8; i++) {
            struct lt_pair *word = lt_ring_claim_at(&a->ring, i);
            word->lo = test_random() & (round % 2 ? ~0ull : ~0ull >> (test_random() % 60));
            word->hi = test_random();
        }
        lt_ring_words(&a->ring)->hint = test_random() % (round % 3 ? 32 : UINT64_MAX);
        uint64_t tail, pos;
        uint32_t epoch;
        int r = lt_ring_find_tail(&a->ring, &tail, &pos, &epoch);
        CHECK(r == 0 || r == LT_RING_SEALED || r == LT_RING_CORRUPT);
    }
}

TEST(claim_inherits_the_epoch_and_refuses_one_above_the_callers_map)
{
    struct arena *a = arena_new(8, 16, 0);
    struct lt_claim claim;
    lt_ring_claim_at(&a->ring, 7)->hi = lt_hi(0, 0, 5);
    CHECK_EQ(lt_ring_claim(&a->ring, 1, 1, 0, 4, &claim), LT_RING_STALE);
    CHECK_EQ(lt_ring_claim(&a->ring, 1, 1, 0, 5, &claim), 0);
    CHECK_EQ(claim.epoch, 5);
}

TEST(commit_of_an_aborted_claim_is_refused_and_acknowledged)
{
    struct arena *a = arena_new(8, 16, 0);
    struct lt_claim claim;
    CHECK_EQ(arena_claim(&a->ring, 2, 1, 1, &claim), 0);
    lt_ring_claim_at(&a->ring, 8)->lo = lt_lo_with(claim.lo, LT_ABORTED);
    CHECK_EQ(lt_ring_commit(&a->ring, &claim), LT_RING_TAKEN);
    CHECK_EQ(arena_state(&a->ring, 0), LT_ACKED);
    CHECK_EQ(arena_kind(&a->ring, 0), LT_KIND_NONE); /* the gap is repair's to publish */
}

TEST(commit_after_the_slot_was_given_out_again_touches_nothing)
{
    struct arena *a = arena_new(4, 16, 0);
    struct lt_claim late;
    CHECK_EQ(arena_claim(&a->ring, 2, 1, 666, &late), 0);
    lt_ring_claim_at(&a->ring, 4)->lo = lt_lo_with(late.lo, LT_ACKED); /* leatd took the owner for dead */
    for (uint64_t i = 1; i < 4; i++)
        CHECK_EQ(arena_send(&a->ring, 1, 1, i), 0);
    arena_reclaim(a, 4);
    CHECK_EQ(arena_send(&a->ring, 1, 1, 4), 0); /* the same words, next lap */
    struct lt_pair before = *lt_ring_claim_at(&a->ring, 8);
    CHECK_EQ(lt_ring_commit(&a->ring, &late), LT_RING_TAKEN);
    CHECK_EQ(lt_ring_claim_at(&a->ring, 8)->lo, before.lo);
    CHECK_EQ(arena_value(&a->ring, 4), 4);
}

TEST(given_up_claim_becomes_gaps)
{
    struct arena *a = arena_new(8, 16, 0);
    struct lt_claim claim;
    CHECK_EQ(arena_claim(&a->ring, 2, 3, 1, &claim), 0);
    CHECK_EQ(lt_ring_abort(&a->ring, &claim), 0);
    for (uint64_t i = 0; i < 3; i++)
        CHECK_EQ(arena_kind(&a->ring, i), LT_KIND_GAP);
    CHECK_EQ(arena_send(&a->ring, 2, 1, 5), 0);
    CHECK_EQ(arena_value(&a->ring, 3), 5);
    arena_reclaim(a, 4);
    CHECK_EQ(a->gate.limit_offset, 4);
}

TEST(exclusive_claims_look_like_any_other_to_readers_and_to_the_next_producer)
{
    struct arena *a = arena_new(8, 16, 0);
    struct lt_ring_tail tail;
    struct lt_claim claim;
    CHECK_EQ(arena_send(&a->ring, 1, 2, 0), 0);
    CHECK_EQ(lt_ring_tail(&a->ring, &tail), 0);
    CHECK_EQ(tail.next, 2);
    for (uint64_t i = 2; i < 30; i++) {
        arena_reclaim(a, i - 1);
        CHECK_EQ(lt_ring_claim_exclusive(&a->ring, &tail, 4, 1, 0, 1, &claim), 0);
        CHECK_EQ(claim.offset, i);
        arena_write(&a->ring, &claim, i);
        CHECK_EQ(lt_ring_commit(&a->ring, &claim), 0);
        CHECK_EQ(arena_value(&a->ring, i), i);
    }
    arena_reclaim(a, 29);
    CHECK_EQ(arena_send(&a->ring, 1, 1, 30), 0);
    CHECK_EQ(arena_value(&a->ring, 30), 30);
}

TEST(exclusive_claim_that_was_half_stored_is_no_claim)
{
    struct arena *a = arena_new(4, 16, 0);
    CHECK_EQ(arena_send(&a->ring, 1, 1, 0), 0);
    lt_ring_claim_at(&a->ring, 5)->hi = lt_hi(12345, 99, 1); /* died between the two stores */
    CHECK_EQ(arena_send(&a->ring, 1, 1, 1), 0);
    CHECK_EQ(arena_value(&a->ring, 1), 1);
}

/* A holder that read the gate before it froze, and stores its claim now: what lt_ring_claim_exclusive does up to its look at
 * `frozen`, and then finds. */
static void late_claim(struct arena *a, uint64_t offset, uint32_t owner, uint32_t count)
{
    uint64_t rel = lt_ring_rel(&a->ring, offset);
    struct lt_pair *word = lt_ring_claim_at(&a->ring, rel);
    word->hi = lt_hi(0, 0, 1);
    word->lo = lt_lo(rel >> a->ring.slot_shift, LT_BUSY, owner, count);
}

static void give_back_late_claim(struct arena *a, uint64_t offset)
{
    uint64_t rel = lt_ring_rel(&a->ring, offset);
    struct lt_pair *word = lt_ring_claim_at(&a->ring, rel);
    uint64_t *slot = &lt_ring_slot_at(&a->ring, rel)->word;
    word->lo = lt_lo_with(word->lo, LT_ACKED);
    if (lt_word_lap(*slot) < rel >> a->ring.slot_shift)
        *slot = lt_slot_word(rel >> a->ring.slot_shift, LT_KIND_GAP);
}

TEST(exclusive_claim_in_a_frozen_ring_is_refused_each_time)
{
    struct arena *a = arena_new(8, 16, 0);
    struct lt_ring_tail tail;
    struct lt_claim claim;
    CHECK_EQ(lt_ring_tail(&a->ring, &tail), 0);
    a->gate.frozen = 1;
    CHECK_EQ(lt_ring_claim_exclusive(&a->ring, &tail, 4, 2, 0, 1, &claim), LT_RING_SEALED);
    CHECK_EQ(lt_ring_claim_exclusive(&a->ring, &tail, 4, 2, 0, 1, &claim), LT_RING_SEALED);
    CHECK_EQ(arena_state(&a->ring, 0), LT_FREE);
}

TEST(seal_takes_no_offset_and_refuses_further_claims)
{
    struct arena *a = arena_new(8, 16, 100);
    uint64_t base;
    uint32_t epoch;
    struct lt_claim claim;
    CHECK_EQ(arena_send(&a->ring, 1, 3, 0), 0);
    a->gate.frozen = 1;
    CHECK_EQ(lt_rotation_seal(&a->ring, 0, &base, &epoch), 0);
    CHECK_EQ(base, 103);
    CHECK_EQ(epoch, 1);
    CHECK_EQ(arena_kind(&a->ring, 103), LT_KIND_SEAL);
    CHECK_EQ(lt_ring_claim(&a->ring, 1, 1, 0, 1, &claim), LT_RING_SEALED);
    CHECK_EQ(lt_rotation_seal(&a->ring, 0, &base, &epoch), 0); /* a worker that starts again */
    CHECK_EQ(base, 103);
}

TEST(seal_of_a_ring_without_a_free_slot_is_its_limit_plus_slots)
{
    struct arena *a = arena_new(4, 16, 0);
    uint64_t base;
    uint32_t epoch;
    CHECK_EQ(arena_send(&a->ring, 1, 4, 0), 0);
    a->gate.frozen = 1;
    CHECK_EQ(lt_rotation_seal(&a->ring, 0, &base, &epoch), 0);
    CHECK_EQ(base, 4);
    CHECK_EQ(arena_kind(&a->ring, 3), LT_KIND_RECORD);
}

TEST(claim_made_before_the_seal_can_still_be_committed)
{
    struct arena *a = arena_new(8, 16, 0);
    struct lt_claim claim;
    uint64_t base;
    uint32_t epoch;
    CHECK_EQ(arena_claim(&a->ring, 1, 2, 9, &claim), 0);
    a->gate.frozen = 1;
    CHECK_EQ(lt_rotation_seal(&a->ring, 0, &base, &epoch), 0);
    CHECK_EQ(base, 2);
    CHECK_EQ(lt_ring_commit(&a->ring, &claim), 0);
    CHECK_EQ(arena_value(&a->ring, 1), 10);
}

TEST(seal_overwritten_by_a_late_exclusive_claim_is_backed_by_the_next_one)
{
    struct arena *a = arena_new(8, 16, 0);
    struct lt_ring_tail tail;
    struct lt_claim claim;
    uint64_t base;
    uint32_t epoch;
    CHECK_EQ(arena_send(&a->ring, 4, 2, 0), 0);
    CHECK_EQ(lt_ring_tail(&a->ring, &tail), 0);
    a->gate.frozen = 1;
    CHECK_EQ(lt_rotation_seal(&a->ring, 1, &base, &epoch), 0);
    CHECK_EQ(base, 2);
    /* The holder stood still between its look at the limit and its stores; now it goes on. */
    late_claim(a, 2, 4, 1);
    give_back_late_claim(a, 2);
    CHECK_EQ(lt_ring_claim(&a->ring, 1, 1, 0, 1, &claim), LT_RING_SEALED);
    CHECK_EQ(arena_kind(&a->ring, 2), LT_KIND_SEAL);
}

TEST(exclusive_seal_is_found_from_any_hint)
{
    struct arena *a = arena_new(8, 16, 0);
    uint64_t base, tail, pos;
    uint32_t epoch;
    CHECK_EQ(arena_send(&a->ring, 4, 2, 0), 0);
    a->gate.frozen = 1;
    CHECK_EQ(lt_rotation_seal(&a->ring, 1, &base, &epoch), 0);
    CHECK_EQ(base, 2);
    /* The words of offsets 2 to 7 are all sealed; those lay a lap back where a hint may still point. */
    for (uint64_t hint = 0; hint < 24; hint++) {
        lt_ring_words(&a->ring)->hint = hint;
        CHECK_EQ(lt_ring_find_tail(&a->ring, &tail, &pos, &epoch), LT_RING_SEALED);
        CHECK_EQ(tail, 2);
        CHECK_EQ(lt_rotation_seal(&a->ring, 1, &base, &epoch), 0);
        CHECK_EQ(base, 2);
    }
}

TEST(seal_that_readers_know_of_stays_the_end_when_a_late_claim_goes_over_it)
{
    for (uint32_t count = 1; count <= 6; count += 5) { /* one word, and all that are left */
        struct arena *a = arena_new(8, 16, 0);
        uint64_t base;
        uint32_t epoch;
        CHECK_EQ(arena_send(&a->ring, 4, 2, 0), 0);
        a->gate.frozen = 1;
        CHECK_EQ(lt_rotation_seal(&a->ring, 1, &base, &epoch), 0);
        CHECK_EQ(base, 2);
        late_claim(a, 2, 4, count);
        CHECK_EQ(lt_rotation_seal(&a->ring, 1, &base, &epoch), 0); /* the next worker */
        CHECK_EQ(base, 2);
        give_back_late_claim(a, 2);
        CHECK_EQ(lt_rotation_seal(&a->ring, 1, &base, &epoch), 0);
        CHECK_EQ(base, 2);
    }
}

TEST(seal_whose_word_a_late_claim_took_before_readers_knew_comes_behind_it)
{
    struct arena *a = arena_new(8, 16, 0);
    uint64_t base;
    uint32_t epoch;
    CHECK_EQ(arena_send(&a->ring, 4, 2, 0), 0);
    a->gate.frozen = 1;
    CHECK_EQ(lt_rotation_seal(&a->ring, 1, &base, &epoch), 0);
    lt_ring_slot_at(&a->ring, lt_ring_rel(&a->ring, 2))->word = 0; /* the worker died before it said so */
    late_claim(a, 2, 4, 2);
    give_back_late_claim(a, 2);
    CHECK_EQ(lt_rotation_seal(&a->ring, 1, &base, &epoch), 0);
    CHECK_EQ(base, 4);
    CHECK_EQ(arena_kind(&a->ring, 2), LT_KIND_GAP);
    CHECK_EQ(arena_kind(&a->ring, 4), LT_KIND_SEAL);
}

TEST(a_record_is_at_most_a_quarter_of_the_ring)
{
    struct arena *a = arena_new(512, 1024, 0);
    CHECK_EQ(lt_ring_record_max(&a->ring), 16384);
    CHECK_EQ(a->ring.count_max, 128);
    CHECK_EQ(lt_ring_bytes(LT_RING_SIZE_MIN), 4096 + 8192 + 65536 + 65536);
}
