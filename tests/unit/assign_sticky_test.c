/* Sticky and cooperative sticky. Expectations under "as in" are those of Kafka's AbstractStickyAssignorTest; where Kafka's order of
 * equals is not part of the behaviour (KIP-54 leaves it open), counts and moves are looked at instead of names. */
#include "assigning.h"
#include "test.h"

#include <leat.h>
#include <stdio.h>

/* ---- from nothing ---- */

TEST(first_assignment_deals_partitions_out) /* as in testTwoConsumersTwoTopicsSixPartitions */
{
    struct assigning *a = assigning_of("topic1:3 topic2:3");
    assigning_member(a, "c1", "topic1 topic2");
    assigning_member(a, "c2", "topic1 topic2");
    CHECK_STR(assigned(a, LEAT_STICKY), "c1: topic1-0 topic1-2 topic2-1 | c2: topic1-1 topic2-0 topic2-2");
}

TEST(topics_with_few_subscribers_are_dealt_first) /* as in testMultipleConsumersMixedTopicSubscriptions */
{
    struct assigning *a = assigning_of("topic1:3 topic2:2");
    assigning_member(a, "c1", "topic1");
    assigning_member(a, "c2", "topic1 topic2");
    assigning_member(a, "c3", "topic1");
    CHECK_STR(assigned(a, LEAT_STICKY), "c1: topic1-0 topic1-2 | c2: topic2-0 topic2-1 | c3: topic1-1");
}

TEST(
    counts_are_even_where_round_robin_is_poor) /* KIP-54's example; as in testPoorRoundRobinAssignmentScenario */
{
    struct assigning *a = assigning_of("topic1:2 topic2:1 topic3:2 topic4:1 topic5:2");
    assigning_member(a, "c1", "topic1 topic2 topic3 topic4 topic5");
    assigning_member(a, "c2", "topic1 topic3 topic5");
    assigning_member(a, "c3", "topic1 topic3 topic5");
    assigning_member(a, "c4", "topic1 topic2 topic3 topic4 topic5");
    assigned(a, LEAT_STICKY);
    assigned_check(a);
    CHECK_EQ(assigned_count(a, "c1"), 2);
    CHECK_EQ(assigned_count(a, "c2"), 2);
    CHECK_EQ(assigned_count(a, "c3"), 2);
    CHECK_EQ(assigned_count(a, "c4"), 2);
}

/* ---- equal subscriptions ---- */

TEST(who_has_as_much_as_others_may_get_one_more) /* as in testConsumerOwningMinQuotaExpectedMaxQuota */
{
    struct assigning *a = assigning_of("topic1:2 topic2:3");
    assigning_member(a, "c1", "topic1 topic2");
    assigning_member(a, "c2", "topic1 topic2");
    assigning_owns(a, "c1", 1, "topic1-0 topic2-1");
    assigning_owns(a, "c2", 1, "topic1-1 topic2-2");
    CHECK_STR(assigned(a, LEAT_STICKY), "c1: topic1-0 topic2-0 topic2-1 | c2: topic1-1 topic2-2");
}

TEST(
    one_of_two_full_members_gives_one_to_a_new_one) /* as in testMaxQuotaConsumerMoreThanNumExpectedMaxCapacityMembers */
{
    struct assigning *a = assigning_of("topic1:2 topic2:2");
    assigning_member(a, "c1", "topic1 topic2");
    assigning_member(a, "c2", "topic1 topic2");
    assigning_member(a, "c3", "topic1 topic2");
    assigning_owns(a, "c1", 1, "topic1-0 topic2-0");
    assigning_owns(a, "c2", 1, "topic1-1 topic2-1");
    assigned(a, LEAT_STICKY);
    assigned_check(a);
    CHECK_EQ(assigned_moved(a), 1);
    CHECK_EQ(assigned_count(a, "c3"), 1);
}

TEST(members_below_the_average_keep_all_and_get_more) /* as in testAllConsumersAreUnderMinQuota */
{
    struct assigning *a = assigning_of("topic1:2 topic2:3");
    assigning_member(a, "c1", "topic1 topic2");
    assigning_member(a, "c2", "topic1 topic2");
    assigning_member(a, "c3", "topic1 topic2");
    assigning_owns(a, "c1", 1, "topic1-0");
    assigning_owns(a, "c2", 1, "topic1-1");
    assigned(a, LEAT_STICKY);
    assigned_check(a);
    CHECK_EQ(assigned_moved(a), 0);
    CHECK_EQ(assigned_count(a, "c3"), 1);
}

TEST(
    a_full_group_takes_a_new_partition_without_moves) /* as in testAllConsumersReachExpectedQuotaAndAreConsideredFilled */
{
    struct assigning *a = assigning_of("t:4");
    assigning_member(a, "c1", "t");
    assigning_member(a, "c2", "t");
    assigning_member(a, "c3", "t");
    assigning_owns(a, "c1", 1, "t-0 t-1");
    assigning_owns(a, "c2", 1, "t-2");
    CHECK_STR(assigned(a, LEAT_STICKY), "c1: t-0 t-1 | c2: t-2 | c3: t-3");
}

TEST(
    a_joining_member_gets_the_highest_and_a_leaving_one_is_inherited) /* as in testAddRemoveConsumerOneTopic */
{
    struct assigning *a = assigning_of("t:3");
    assigning_member(a, "c1", "t");
    CHECK_STR(assigned(a, LEAT_STICKY), "c1: t-0 t-1 t-2");
    assigning_settle(a, 1);
    assigning_member(a, "c2", "t");
    CHECK_STR(assigned(a, LEAT_STICKY), "c1: t-0 t-1 | c2: t-2");
    assigning_settle(a, 2);
    assigning_leave(a, "c1");
    CHECK_STR(assigned(a, LEAT_STICKY), "c2: t-0 t-1 t-2");
}

TEST(topics_stay_mixed_when_members_come_and_go) /* as in testTopicBalanceAfterReassignment (KAFKA-13037) */
{
    struct assigning *a = assigning_of("topic1:12 topic2:12");
    assigning_member(a, "c1", "topic1 topic2");
    assigned(a, LEAT_STICKY);
    assigning_settle(a, 1);
    assigning_member(a, "c2", "topic1 topic2");
    assigned(a, LEAT_STICKY);
    CHECK_EQ(assigned_of_topic(a, "c1", "topic1"), 6);
    CHECK_EQ(assigned_of_topic(a, "c2", "topic2"), 6);
    assigning_settle(a, 2);
    assigning_member(a, "c3", "topic1 topic2");
    assigning_member(a, "c4", "topic1 topic2");
    assigned(a, LEAT_STICKY);
    static const char *const ids[] = { "c1", "c2", "c3", "c4" };
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(assigned_of_topic(a, ids[i], "topic1"), 3);
        CHECK_EQ(assigned_of_topic(a, ids[i], "topic2"), 3);
    }
    assigning_settle(a, 3);
    assigning_leave(a, "c1");
    assigning_leave(a, "c2");
    assigned(a, LEAT_STICKY);
    CHECK_EQ(assigned_of_topic(a, "c3", "topic1"), 6);
    CHECK_EQ(assigned_of_topic(a, "c4", "topic2"), 6);
}

TEST(
    a_leaving_member_moves_nobody_else) /* as in testStickiness, testSameSubscriptions; KIP-54's first example */
{
    struct assigning *a = assigning_of("t1:1 t2:2 t3:3 t4:4 t5:5");
    char id[16];
    for (int i = 1; i <= 8; i++) {
        snprintf(id, sizeof id, "c%d", i);
        assigning_member(a, id, "t1 t2 t3 t4 t5");
    }
    assigned(a, LEAT_STICKY);
    assigning_settle(a, 1);
    assigning_leave(a, "c5");
    assigned(a, LEAT_STICKY);
    assigned_check(a);
    CHECK_EQ(assigned_moved(a), 0);
}

TEST(a_topic_comes_and_another_goes_and_what_stays_stays) /* as in testAddRemoveTopicTwoConsumers */
{
    struct assigning *a = assigning_of("t:3 t2:3");
    assigning_member(a, "c1", "t");
    assigning_member(a, "c2", "t");
    assigned(a, LEAT_STICKY);
    assigning_settle(a, 1);
    assigning_subscribe(a, "c1", "t t2");
    assigning_subscribe(a, "c2", "t t2");
    assigned(a, LEAT_STICKY);
    assigned_check(a);
    CHECK_EQ(assigned_moved(a), 0);
    CHECK_EQ(assigned_count(a, "c1"), 3);
    assigning_settle(a, 2);
    assigning_drop_topic(a, "t");
    assigned(a, LEAT_STICKY);
    assigned_check(a);
    CHECK_EQ(assigned_moved(a), 0);
}

TEST(claims_on_what_is_gone_count_for_nothing) /* as in testOnlyAssignsPartitionsFromSubscribedTopics,
                                                  testAssignmentUpdatedForDeletedTopic */
{
    struct assigning *a = assigning_of("t:2 other:2");
    assigning_member(a, "c1", "t");
    assigning_owns(a, "c1", 1, "t-0 t-1 t-2 t-99 other-0 other-1 gone-0");
    CHECK_STR(assigned(a, LEAT_STICKY), "c1: t-0 t-1");
    CHECK_STR(assigned(a, LEAT_COOPERATIVE_STICKY), "c1: t-0 t-1");
}

/* ---- differing subscriptions ---- */

TEST(a_partition_goes_down_a_chain_of_members) /* as in testMoveExistingAssignments */
{
    struct assigning *a = assigning_of("topic1:1 topic2:1 topic3:1 topic4:1 topic5:1 topic6:1");
    assigning_member(a, "c1", "topic1 topic2");
    assigning_member(a, "c2", "topic1 topic2 topic3 topic4");
    assigning_member(a, "c3", "topic2 topic3 topic4 topic5 topic6");
    assigning_owns(a, "c1", 1, "topic1-0");
    assigning_owns(a, "c2", 1, "topic2-0 topic3-0");
    assigning_owns(a, "c3", 1, "topic4-0 topic5-0 topic6-0");
    assigned(a, LEAT_STICKY);
    assigned_check(a);
    CHECK_EQ(assigned_moved(a), 0);
    assigning_owns(a, "c1", 1, "");
    assigning_owns(a, "c2", 1, "topic1-0 topic2-0 topic3-0 topic4-0");
    assigning_owns(a, "c3", 1, "topic5-0 topic6-0");
    assigned(a, LEAT_STICKY);
    assigned_check(a);
    CHECK_EQ(assigned_count(a, "c1"), 2);
    CHECK_EQ(assigned_moved(a), 2);
}

TEST(topics_nobody_else_reads_stay_and_the_rest_makes_up_for_them) /* as in testNewSubscription */
{
    struct assigning *a = assigning_of("t1:1 t2:1 t3:1 t4:1");
    assigning_member(a, "c0", "");
    assigning_member(a, "c1", "t1");
    assigning_member(a, "c2", "t2 t3 t4");
    assigned(a, LEAT_STICKY);
    assigning_settle(a, 1);
    assigning_subscribe(a, "c0", "t1");
    assigned(a, LEAT_STICKY);
    assigned_check(a);
    CHECK_EQ(assigned_moved(a), 0);
    assigning_subscribe(a, "c0", "t1 t2 t3");
    assigned(a, LEAT_STICKY);
    assigned_check(a);
    CHECK_EQ(assigned_moved(a), 1);
}

TEST(who_leaves_a_staircase_of_subscriptions_moves_little) /* as in testReassignmentAfterOneConsumerLeaves */
{
    struct assigning *a = assigning_of("");
    char word[24], subscription[200] = "";
    for (uint32_t i = 1; i < 20; i++) {
        snprintf(word, sizeof word, "t%02u", i);
        assigning_topic(a, word, i);
    }
    size_t end = 0;
    for (uint32_t i = 1; i < 20; i++) {
        end += (size_t)snprintf(subscription + end, sizeof subscription - end, "%st%02u", i > 1 ? " " : "",
                                i);
        snprintf(word, sizeof word, "c%02u", i);
        assigning_member(a, word, subscription);
    }
    assigned(a, LEAT_STICKY);
    assigned_check(a);
    assigning_settle(a, 1);
    assigning_leave(a, "c10");
    assigned(a, LEAT_STICKY);
    assigned_check(a);
    CHECK_EQ(assigned_moved(a), 0);
}

TEST(who_has_far_too_many_gives_to_who_has_far_too_few)
{
    /* And not to b, which would have to pass it on to c. */
    struct assigning *a = assigning_of("ab:4 bc:4 ca:4");
    assigning_member(a, "a", "ab ca");
    assigning_member(a, "b", "ab bc");
    assigning_member(a, "c", "bc ca");
    assigning_owns(a, "a", 1, "ab-0 ab-1 ab-2 ab-3 ca-0 ca-1 ca-2 ca-3");
    assigning_owns(a, "b", 1, "bc-0 bc-1 bc-2 bc-3");
    assigned(a, LEAT_STICKY);
    assigned_check(a);
    CHECK_EQ(assigned_moved(a), 4);
}

TEST(what_is_new_is_passed_on_before_what_was_there)
{
    /* t1 has fewer subscribers and is filled first: c1 and c2 get one each, and then one of them has to make up for c3. */
    struct assigning *a = assigning_of("t0:2 t1:3");
    assigning_member(a, "c1", "t0 t1");
    assigning_member(a, "c2", "t0 t1");
    assigning_member(a, "c3", "t0");
    assigning_owns(a, "c1", 1, "t1-1");
    assigning_owns(a, "c2", 1, "t0-0 t0-1");
    assigned(a, LEAT_STICKY);
    assigned_check(a);
    CHECK_EQ(assigned_moved(a), 1);
}

TEST(moves_that_go_round_are_taken_back) /* what isSticky() asks of an assignment in Kafka's tests */
{
    /* Levelling set by set gives c5's t2-0 to c1, and later c1's t1-1 to c5: both could as well have stayed. */
    struct assigning *a = assigning_of("t0:1 t1:3 t2:1 t3:6");
    assigning_member(a, "c1", "t0 t1 t2 t3");
    assigning_member(a, "c2", "t2 t3");
    assigning_member(a, "c3", "t0");
    assigning_member(a, "c4", "t2 t3");
    assigning_member(a, "c5", "t1 t2");
    assigning_owns(a, "c1", 1, "t1-1 t3-0 t3-1 t3-3 t3-4");
    assigning_owns(a, "c4", 1, "t3-2");
    assigning_owns(a, "c5", 1, "t1-2 t2-0");
    assigned(a, LEAT_STICKY);
    assigned_check(a);
    CHECK_EQ(assigned_moved(a), 2);
    CHECK_EQ(assigned_of_topic(a, "c5", "t2"), 1);
    CHECK_EQ(assigned_of_topic(a, "c1", "t1"), 1);
}

/* ---- claims ---- */

TEST(
    of_claims_of_different_generations_the_highest_wins) /* as in testEnsurePartitionsAssignedToHighestGeneration,
                                                      testOwnedPartitionsAreInvalidatedForConsumerWithStaleGeneration */
{
    struct assigning *a = assigning_of("t:3 t2:3 t3:3");
    assigning_member(a, "c1", "t t2 t3");
    assigning_member(a, "c2", "t t2 t3");
    assigning_member(a, "c3", "t t2 t3");
    assigning_owns(a, "c1", 10, "t-0 t2-0 t3-0");
    assigning_owns(a, "c2", 9, "t-1 t2-1 t3-1");
    assigning_owns(a, "c3", 8, "t2-1 t3-0 t3-2");
    static const char wanted[] = "c1: t-0 t2-0 t3-0 | c2: t-1 t2-1 t3-1 | c3: t-2 t2-2 t3-2";
    CHECK_STR(assigned(a, LEAT_STICKY), wanted);
    CHECK_STR(assigned(a, LEAT_COOPERATIVE_STICKY), wanted);
}

TEST(
    a_claim_without_generation_is_older_than_any) /* as in testOwnedPartitionsAreInvalidatedForConsumerWithNoGeneration */
{
    struct assigning *a = assigning_of("t:3 t2:3");
    assigning_member(a, "c1", "t t2");
    assigning_member(a, "c2", "t t2");
    assigning_owns(a, "c1", 10, "t-0 t-2 t2-1");
    assigning_owns(a, "c2", -1, "t-0 t-2 t2-1");
    CHECK_STR(assigned(a, LEAT_STICKY), "c1: t-0 t-2 t2-1 | c2: t-1 t2-0 t2-2");
    CHECK_STR(assigned(a, LEAT_COOPERATIVE_STICKY), "c1: t-0 t-2 t2-1 | c2: t-1 t2-0 t2-2");
}

TEST(an_old_claim_that_nobody_contests_stands) /* as in testNoReassignmentOnCurrentMembers */
{
    struct assigning *a = assigning_of("t:3 t1:3 t2:3 t3:3");
    assigning_member(a, "c1", "t t2 t3 t1");
    assigning_member(a, "c2", "t t2 t3 t1");
    assigning_member(a, "c3", "t t2 t3 t1");
    assigning_member(a, "c4", "t t2 t3 t1");
    assigning_owns(a, "c2", 9, "t-0 t2-0 t1-0");
    assigning_owns(a, "c3", 8, "t3-2 t2-2 t1-1");
    assigning_owns(a, "c4", 7, "t3-1 t-1 t-2");
    static const char wanted[] =
        "c1: t1-2 t2-1 t3-0 | c2: t-0 t1-0 t2-0 | c3: t1-1 t2-2 t3-2 | c4: t-1 t-2 t3-1";
    CHECK_STR(assigned(a, LEAT_STICKY), wanted);
    CHECK_STR(assigned(a, LEAT_COOPERATIVE_STICKY), wanted);
}

TEST(claims_of_one_generation_void_each_other) /* as in
                      testPartitionsTransferringOwnershipIncludeThePartitionClaimedByMultipleConsumersInSameGeneration */
{
    struct assigning *a = assigning_of("t:3");
    assigning_member(a, "c1", "t");
    assigning_member(a, "c2", "t");
    assigning_member(a, "c3", "t");
    assigning_owns(a, "c1", 5, "t-0 t-1");
    assigning_owns(a, "c2", 5, "t-0 t-2");
    CHECK_STR(assigned(a, LEAT_STICKY), "c1: t-1 | c2: t-2 | c3: t-0");
    CHECK_STR(assigned(a, LEAT_COOPERATIVE_STICKY), "c1: t-1 | c2: t-2 | c3:");
}

TEST(
    three_claims_in_any_order_of_generations) /* as in testSubscriptionNotEqualAndAssignSamePartitionWith3Generation */
{
    static const int orders[6][3] = { { 1, 2, 3 }, { 1, 3, 2 }, { 2, 1, 3 },
                                      { 2, 3, 1 }, { 3, 1, 2 }, { 3, 2, 1 } };
    for (int i = 0; i < 6; i++) {
        struct assigning *a = assigning_of("t:6 t1:1");
        assigning_member(a, "c1", "t");
        assigning_member(a, "c2", "t");
        assigning_member(a, "c3", "t");
        assigning_member(a, "c4", "t1");
        assigning_owns(a, "c1", orders[i][0], "t-0 t-2");
        assigning_owns(a, "c2", orders[i][1], "t-1 t-2 t-3");
        assigning_owns(a, "c3", orders[i][2], "t-2 t-4 t-5");
        assigning_owns(a, "c4", 2, "t1-0");
        assigned(a, LEAT_STICKY);
        assigned_check(a);
        CHECK_EQ(assigned_count(a, "c1"), 2);
        CHECK_EQ(assigned_count(a, "c2"), 2);
        CHECK_EQ(assigned_count(a, "c3"), 2);
    }
}

TEST(two_that_dispute_and_an_older_one_leave_it_to_nobody)
{
    struct assigning *a = assigning_of("t:3");
    assigning_member(a, "c1", "t");
    assigning_member(a, "c2", "t");
    assigning_member(a, "c3", "t");
    assigning_owns(a, "c1", 5, "t-0 t-1");
    assigning_owns(a, "c2", 5, "t-0 t-2");
    assigning_owns(a, "c3", 4, "t-0");
    CHECK_STR(assigned(a, LEAT_COOPERATIVE_STICKY), "c1: t-1 | c2: t-2 | c3:");
}

/* ---- cooperative ---- */

TEST(what_moves_is_nobodys_for_one_round) /* KIP-429's example of two rebalances */
{
    struct assigning *a = assigning_of("t:3");
    assigning_member(a, "c1", "t");
    assigning_member(a, "c2", "t");
    assigning_owns(a, "c1", 1, "t-0 t-1");
    assigning_owns(a, "c2", 1, "t-2");
    assigning_member(a, "c3", "t");
    CHECK_STR(assigned(a, LEAT_COOPERATIVE_STICKY), "c1: t-0 | c2: t-2 | c3:");
    assigning_settle(a, 2);
    CHECK_STR(assigned(a, LEAT_COOPERATIVE_STICKY), "c1: t-0 | c2: t-2 | c3: t-1");
    assigning_settle(a, 3);
    CHECK_STR(assigned(a, LEAT_COOPERATIVE_STICKY), "c1: t-0 | c2: t-2 | c3: t-1");
}

TEST(a_leaving_members_partitions_need_no_second_round)
{
    struct assigning *a = assigning_of("t:4");
    assigning_member(a, "c2", "t");
    assigning_owns(a, "c2", 1, "t-2 t-3");
    CHECK_STR(assigned(a, LEAT_COOPERATIVE_STICKY), "c2: t-0 t-1 t-2 t-3");
}

TEST(who_no_longer_subscribes_has_to_release_first)
{
    struct assigning *a = assigning_of("t:1 t2:1");
    assigning_member(a, "c1", "t2");
    assigning_member(a, "c2", "t");
    assigning_owns(a, "c1", 3, "t-0");
    CHECK_STR(assigned(a, LEAT_STICKY), "c1: t2-0 | c2: t-0");
    CHECK_STR(assigned(a, LEAT_COOPERATIVE_STICKY), "c1: t2-0 | c2:");
}

TEST(a_round_towards_any_target_holds_back_what_others_own)
{
    struct assigning *a = assigning_of("t:4");
    assigning_member(a, "c1", "t");
    assigning_member(a, "c2", "t");
    CHECK_STR(assigned(a, LEAT_RANGE), "c1: t-0 t-1 | c2: t-2 t-3");
    assigning_owns(a, "c1", 1, "t-1 t-2");
    assigning_owns(a, "c2", 1, "t-3");
    size_t size = lt_assign_scratch_bytes(LEAT_CUSTOM, &a->input);
    _Alignas(16) char scratch[4096];
    CHECK(size <= sizeof scratch);
    CHECK_EQ(lt_assign_round(&a->input, &a->output, scratch, size), 0);
    CHECK_EQ(assigned_count(a, "c1"), 2);
    CHECK_EQ(assigned_count(a, "c2"), 1);
    CHECK_EQ(a->output.parts[2].partition, 3);
}
