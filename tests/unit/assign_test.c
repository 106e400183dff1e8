/* Range, round robin, and what surrounds assignors. Expectations under "as in" are those of Kafka's unit tests of that name. */
#include "assigning.h"
#include "test.h"

#include <leat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const enum leat_assignor all_kinds[] = { LEAT_RANGE, LEAT_ROUNDROBIN, LEAT_STICKY,
                                                LEAT_COOPERATIVE_STICKY, LEAT_FAILOVER };
enum { ALL_KINDS = sizeof all_kinds / sizeof all_kinds[0] };

/* ---- what every assignor does ---- */

TEST(
    without_a_topic_a_member_gets_nothing) /* as in testOneConsumerNoTopic, testOneConsumerNonexistentTopic */
{
    for (int i = 0; i < ALL_KINDS; i++) {
        struct assigning *a = assigning_of("t:0 unread:2");
        assigning_member(a, "c1", "t nosuch");
        CHECK_STR(assigned(a, all_kinds[i]), "c1:");
    }
}

TEST(without_members_there_is_no_assignment)
{
    for (int i = 0; i < ALL_KINDS; i++)
        CHECK_STR(assigned(assigning_of("t:2"), all_kinds[i]), "");
}

TEST(
    the_only_member_gets_all_that_it_subscribes_to_by_topic_and_number) /* as in testOneConsumerMultipleTopics,
                                                                            testOnlyAssignsPartitionsFromSubscribedTopics */
{
    for (int i = 0; i < ALL_KINDS; i++) {
        struct assigning *a = assigning_of("t2:2 other:3 t1:11");
        assigning_member(a, "c1", "t2 t1 t2");
        CHECK_STR(assigned(a, all_kinds[i]),
                  "c1: t1-0 t1-1 t1-2 t1-3 t1-4 t1-5 t1-6 t1-7 t1-8 t1-9 t1-10 t2-0 t2-1");
    }
}

TEST(more_members_than_partitions_leave_some_idle) /* as in testTwoConsumersOneTopicOnePartition */
{
    for (int i = 0; i < ALL_KINDS; i++) {
        struct assigning *a = assigning_of("t:1");
        assigning_member(a, "c1", "t");
        assigning_member(a, "c2", "t");
        CHECK_STR(assigned(a, all_kinds[i]), "c1: t-0 | c2:");
    }
}

TEST(the_order_of_the_input_does_not_matter)
{
    for (int i = 0; i < ALL_KINDS - 1; i++) { /* failover asks who was first */
        struct assigning *a = assigning_of("t1:4 t2:3 t3:2"), *b = assigning_of("t3:2 t1:4 t2:3");
        assigning_member(a, "c1", "t1 t2");
        assigning_member(a, "c2", "t2 t3");
        assigning_static(a, "c3", "i3", "t1 t2 t3");
        assigning_static(b, "c3", "i3", "t3 t2 t1");
        assigning_member(b, "c2", "t3 t2");
        assigning_member(b, "c1", "t2 t1");
        char forward[300], line[300];
        snprintf(forward, sizeof forward, "%s", assigned(a, all_kinds[i]));
        char *rest = assigning_keep(strdup(assigned(b, all_kinds[i]))), *c3 = strsep(&rest, "|"),
             *c2 = strsep(&rest, "|");
        c3[strlen(c3) - 1] = 0;
        snprintf(line, sizeof line, "%s |%s| %s", rest + 1, c2, c3);
        CHECK_STR(line, forward);
    }
}

/* ---- range ---- */

TEST(
    range_gives_neighbours_and_the_first_get_one_more) /* as in RangeAssignorTest.testTwoConsumersTwoTopicsSixPartitions */
{
    struct assigning *a = assigning_of("topic1:3 topic2:3");
    assigning_member(a, "consumer1", "topic1 topic2");
    assigning_member(a, "consumer2", "topic1 topic2");
    CHECK_STR(assigned(a, LEAT_RANGE),
              "consumer1: topic1-0 topic1-1 topic2-0 topic2-1 | consumer2: topic1-2 topic2-2");
}

TEST(
    range_shares_each_topic_among_its_own_subscribers) /* as in RangeAssignorTest.testMultipleConsumersMixedTopics */
{
    struct assigning *a = assigning_of("topic1:3 topic2:2");
    assigning_member(a, "consumer1", "topic1");
    assigning_member(a, "consumer2", "topic1 topic2");
    assigning_member(a, "consumer3", "topic1");
    CHECK_STR(assigned(a, LEAT_RANGE),
              "consumer1: topic1-0 | consumer2: topic1-1 topic2-0 topic2-1 | consumer3: topic1-2");
}

TEST(range_orders_static_members_by_instance_before_dynamic_ones) /* as in RangeAssignorTest.testTwoStatic...,
                                                                     testOneStaticConsumerAndOneDynamic... */
{
    struct assigning *a = assigning_of("topic1:3 topic2:3");
    assigning_static(a, "consumer-b", "instance1", "topic1 topic2");
    assigning_static(a, "consumer-a", "instance2", "topic1 topic2");
    CHECK_STR(assigned(a, LEAT_RANGE),
              "consumer-b: topic1-0 topic1-1 topic2-0 topic2-1 | consumer-a: topic1-2 topic2-2");
    a = assigning_of("topic1:3 topic2:3");
    assigning_member(a, "consumer-a", "topic1 topic2");
    assigning_static(a, "consumer-b", "instance1", "topic1 topic2");
    CHECK_STR(assigned(a, LEAT_RANGE),
              "consumer-a: topic1-2 topic2-2 | consumer-b: topic1-0 topic1-1 topic2-0 topic2-1");
}

TEST(range_keeps_static_members_places_when_a_dynamic_one_is_replaced) /* as in
                                                      RangeAssignorTest.testStaticMemberRangeAssignmentPersistent */
{
    struct assigning *a = assigning_of("topic1:5 topic2:4");
    assigning_static(a, "consumer1", "instance1", "topic1 topic2");
    assigning_static(a, "consumer2", "instance2", "topic1 topic2");
    assigning_static(a, "consumer3", "instance3", "topic1 topic2");
    assigning_member(a, "consumer4", "topic1 topic2");
    CHECK_STR(assigned(a, LEAT_RANGE),
              "consumer1: topic1-0 topic1-1 topic2-0 | consumer2: topic1-2 topic2-1 | "
              "consumer3: topic1-3 topic2-2 | consumer4: topic1-4 topic2-3");
    assigning_leave(a, "consumer4");
    assigning_member(a, "consumer0", "topic1 topic2");
    CHECK_STR(assigned(a, LEAT_RANGE),
              "consumer1: topic1-0 topic1-1 topic2-0 | consumer2: topic1-2 topic2-1 | "
              "consumer3: topic1-3 topic2-2 | consumer0: topic1-4 topic2-3");
}

TEST(range_gives_a_member_the_same_numbers_of_topics_that_are_alike) /* as in
                                            RangeAssignorTest.testCoPartitionedAssignmentWithSameSubscription */
{
    struct assigning *a = assigning_of("t1:6 t2:6 t3:2 t4:2");
    assigning_member(a, "c1", "t1 t2 t3 t4");
    assigning_member(a, "c2", "t1 t2 t3 t4");
    assigning_member(a, "c3", "t1 t2 t3 t4");
    CHECK_STR(
        assigned(a, LEAT_RANGE),
        "c1: t1-0 t1-1 t2-0 t2-1 t3-0 t4-0 | c2: t1-2 t1-3 t2-2 t2-3 t3-1 t4-1 | c3: t1-4 t1-5 t2-4 t2-5");
}

TEST(members_are_ordered_as_java_orders_strings)
{
    /* U+1F600 is D83D DE00 in UTF-16, before U+FB01, though F0 9F 98 80 is behind EF AC 81 in UTF-8. */
    struct assigning *a = assigning_of("t:3");
    assigning_member(a, "\xef\xac\x81", "t");
    assigning_member(a, "\xf0\x9f\x98\x80", "t");
    assigning_member(a, "c10", "t");
    assigning_member(a, "c2", "t");
    CHECK_STR(assigned(a, LEAT_RANGE), "\xef\xac\x81: | \xf0\x9f\x98\x80: t-2 | c10: t-0 | c2: t-1");
}

/* ---- round robin ---- */

TEST(
    round_robin_goes_on_from_topic_to_topic) /* as in RoundRobinAssignorTest.testTwoDynamicConsumersTwoTopicsSixPartitions,
                                                 and the same with static ones */
{
    struct assigning *a = assigning_of("topic1:3 topic2:3");
    assigning_member(a, "consumer1", "topic1 topic2");
    assigning_member(a, "consumer2", "topic1 topic2");
    CHECK_STR(assigned(a, LEAT_ROUNDROBIN),
              "consumer1: topic1-0 topic1-2 topic2-1 | consumer2: topic1-1 topic2-0 topic2-2");
    a = assigning_of("topic1:3 topic2:3");
    assigning_static(a, "consumer-b", "instance1", "topic1 topic2");
    assigning_member(a, "consumer-a", "topic1 topic2");
    CHECK_STR(assigned(a, LEAT_ROUNDROBIN),
              "consumer-b: topic1-0 topic1-2 topic2-1 | consumer-a: topic1-1 topic2-0 topic2-2");
}

TEST(
    round_robin_passes_over_who_does_not_subscribe) /* as in RoundRobinAssignorTest.testMultipleConsumersMixedTopics */
{
    struct assigning *a = assigning_of("topic1:3 topic2:2");
    assigning_member(a, "consumer1", "topic1");
    assigning_member(a, "consumer2", "topic1 topic2");
    assigning_member(a, "consumer3", "topic1");
    CHECK_STR(assigned(a, LEAT_ROUNDROBIN),
              "consumer1: topic1-0 | consumer2: topic1-1 topic2-0 topic2-1 | consumer3: topic1-2");
}

TEST(round_robin_keeps_places_by_instance_whatever_the_member_id) /* as in
                          RoundRobinAssignorTest.testStaticMemberRoundRobinAssignmentPersistentAfterMemberIdChanges */
{
    const char *const ids[2][3] = { { "consumer1", "consumer2", "consumer3" },
                                    { "consumer6", "consumer4", "consumer5" } };
    for (int i = 0; i < 2; i++) {
        struct assigning *a = assigning_of("topic1:5 topic2:5");
        assigning_static(a, ids[i][0], "instance1", "topic1 topic2");
        assigning_static(a, ids[i][1], "instance2", "topic1 topic2");
        assigning_static(a, ids[i][2], "instance3", "topic1 topic2");
        char wanted[300];
        snprintf(
            wanted, sizeof wanted,
            "%s: topic1-0 topic1-3 topic2-1 topic2-4 | %s: topic1-1 topic1-4 topic2-2 | %s: topic1-2 topic2-0 "
            "topic2-3",
            ids[i][0], ids[i][1], ids[i][2]);
        CHECK_STR(assigned(a, LEAT_ROUNDROBIN), wanted);
    }
}

TEST(round_robin_of_static_and_dynamic_members) /* as in
                                                   RoundRobinAssignorTest.testStaticMemberRoundRobinAssignmentPersistent */
{
    struct assigning *a = assigning_of("topic1:3 topic2:3");
    assigning_static(a, "consumer1", "instance1", "topic1 topic2");
    assigning_static(a, "consumer2", "instance2", "topic1 topic2");
    assigning_static(a, "consumer3", "instance3", "topic1 topic2");
    assigning_member(a, "consumer0", "topic1 topic2");
    CHECK_STR(assigned(a, LEAT_ROUNDROBIN),
              "consumer1: topic1-0 topic2-1 | consumer2: topic1-1 topic2-2 | consumer3: topic1-2 | "
              "consumer0: topic2-0");
}

/* ---- failover ---- */

TEST(failover_gives_all_to_who_joined_first)
{
    struct assigning *a = assigning_of("t1:2 t2:1");
    assigning_member(a, "late", "t2");
    assigning_member(a, "b", "t1");
    assigning_member(a, "a", "t1 t2");
    CHECK_STR(assigned(a, LEAT_FAILOVER), "late: t2-0 | b: t1-0 t1-1 | a:");
    assigning_leave(a, "b");
    CHECK_STR(assigned(a, LEAT_FAILOVER), "late: t2-0 | a: t1-0 t1-1");
}

/* ---- the check of somebody else's assignment ---- */

static int check(struct assigning *a, bool whole)
{
    size_t size = lt_assign_scratch_bytes(LEAT_CUSTOM, &a->input);
    void *scratch = malloc(size);
    int r = lt_assign_check(&a->input, &a->output, whole, scratch, size);
    free(scratch);
    return r;
}

static struct assigning *proposal(void)
{
    struct assigning *a = assigning_of("t1:2 t2:1 t3:1");
    assigning_member(a, "c1", "t1");
    assigning_member(a, "c2", "t1 t2");
    CHECK_STR(assigned(a, LEAT_RANGE), "c1: t1-0 | c2: t1-1 t2-0");
    return a;
}

TEST(a_proposal_has_each_partition_of_a_subscribed_topic_once)
{
    struct assigning *a = proposal();
    CHECK_EQ(check(a, true), 0);
    a->output.parts[2].topic = 0;
    CHECK_EQ(check(a, true), LEAT_EINVAL);
    CHECK_STR(leat_last_error(NULL), "member c2 gets t1-0, which member c1 has");
    a = proposal();
    a->output.first[2]--;
    CHECK_EQ(check(a, false), 0);
    CHECK_EQ(check(a, true), LEAT_EINVAL);
    CHECK_STR(leat_last_error(NULL), "no member gets t2-0");
}

TEST(a_proposal_gives_only_what_exists_and_is_subscribed_to)
{
    struct assigning *a = proposal();
    a->output.parts[0] = (struct lt_assign_part){ 1, 0 };
    CHECK_EQ(check(a, true), LEAT_EINVAL);
    CHECK_STR(leat_last_error(NULL), "member c1 gets t2-0 and does not subscribe to it");
    a->output.parts[0] = (struct lt_assign_part){ 2, 0 };
    CHECK_EQ(check(a, true), LEAT_EINVAL);
    CHECK_STR(leat_last_error(NULL), "member c1 gets t3-0 and does not subscribe to it");
    a->output.parts[0] = (struct lt_assign_part){ 0, 2 };
    CHECK_EQ(check(a, true), LEAT_EINVAL);
    CHECK_STR(leat_last_error(NULL), "member c1 gets t1-2, of 2 partitions");
    a->output.parts[0] = (struct lt_assign_part){ 3, 0 };
    CHECK_EQ(check(a, true), LEAT_EINVAL);
    CHECK_STR(leat_last_error(NULL), "member c1 gets topic 3 of 3");
    a->output.first[1] = 4;
    CHECK_EQ(check(a, true), LEAT_EINVAL);
}

/* ---- limits ---- */

TEST(nonsense_is_refused_with_its_values)
{
    struct assigning *a = assigning_of("t1:2");
    struct lt_assign_output output = output_for(&a->input);
    assigning_member(a, "c1", "t1");
    ((uint32_t *)a->members[0].topics)[0] = 7;
    CHECK_EQ(assign_once(LEAT_RANGE, &a->input, &output), LEAT_EINVAL);
    CHECK_STR(leat_last_error(NULL), "member c1 subscribes to topic 7 of 1");
    ((uint32_t *)a->members[0].topics)[0] = 0;
    CHECK_EQ(assign_once(LEAT_CUSTOM, &a->input, &output), LEAT_EINVAL);
    CHECK_EQ(lt_assign(LEAT_RANGE, &a->input, &output, &output, 8), LEAT_EINVAL);
    a->topics[0].partitions = UINT32_MAX;
    CHECK_EQ(lt_assign_scratch_bytes(LEAT_RANGE, &a->input), 0);
    CHECK_EQ(assign_once(LEAT_RANGE, &a->input, &output), LEAT_ELIMIT);
}
