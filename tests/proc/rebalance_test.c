/* Groups that grow, shrink, die, hang and come back, while records flow.
 *
 * Goal: at any instant a partition has one owner in a group; committed offsets only grow; no record is skipped; records come twice only
 * after a crash, and only above the last commit. Method: members are processes of their own whose checker meets
 * on the board (tests/lib/fleet.h), a feeder sends all the while, and at the end everything is read and committed.
 */
#include "fleet.h"
#include "test.h"

#include <inttypes.h>
#include <string.h>

enum { RATE = 3000 };

static const leat_group_partition_info *part_of(const leat_group_info *info, uint32_t partition)
{
    for (int i = 0; i < info->partition_count; i++)
        if (info->partitions[i].partition == partition)
            return &info->partitions[i];
    FAIL("the group does not know partition %u", partition);
}

/* Until so many more records came to this member. */
static void reads(int index, uint64_t more)
{
    uint64_t from = fleet_records(index);
    WAIT_UNTIL(fleet_records(index) >= from + more, 30);
}

static void grow_and_shrink(enum leat_assignor assignor, bool automatic)
{
    struct bus *bus = fleet_bus();
    struct child *members[5];
    fleet_topic(bus, "t", 3);
    fleet_feed(bus, "t", RATE, 0);
    int sizes[] = { 1, 3, 5 };
    int count = 0;
    for (int step = 0; step < 3; step++) {
        for (; count < sizes[step]; count++)
            members[count] = fleet_join(bus, count, .assignor = assignor, .auto_commit = automatic);
        leat_group_info *info = fleet_settled(bus, "g", sizes[step]);
        int idle = 0;
        for (int i = 0; i < info->member_count; i++)
            idle += info->members[i].partition_count == 0;
        CHECK_EQ(idle, sizes[step] > 3 ? sizes[step] - 3 : 0);
        leat_group_info_free(info);
        bus_pause();
    }
    while (count > 1) {
        count--;
        fleet_leave(members[count], count);
        leat_group_info_free(fleet_settled(bus, "g", count));
    }
    reads(0, 10);
    fleet_dry();
    fleet_finish(bus, "g", "t", 0);
    CHECK_EQ(fleet_twice(), 0);
    fleet_leave(members[0], 0);
    bus_stop(bus);
}

TEST(group_grows_from_one_to_three_to_five_and_back_with_range)
{
    grow_and_shrink(LEAT_RANGE, false);
}

TEST(group_grows_and_shrinks_with_round_robin)
{
    grow_and_shrink(LEAT_ROUNDROBIN, false);
}

TEST(group_grows_and_shrinks_with_sticky)
{
    grow_and_shrink(LEAT_STICKY, false);
}

TEST(group_grows_and_shrinks_with_cooperative_sticky)
{
    grow_and_shrink(LEAT_COOPERATIVE_STICKY, false);
}

TEST(group_grows_and_shrinks_with_automatic_commits)
{
    grow_and_shrink(LEAT_COOPERATIVE_STICKY, true);
}

TEST(group_grows_and_shrinks_with_an_assignor_of_its_own)
{
    grow_and_shrink(LEAT_CUSTOM, false);
}

TEST(cooperative_member_is_not_asked_for_what_does_not_move)
{
    struct bus *bus = fleet_bus();
    fleet_topic(bus, "t", 4);
    fleet_feed(bus, "t", RATE, 0);
    struct child *a = fleet_join(bus, 0, .assignor = LEAT_COOPERATIVE_STICKY);
    leat_group_info_free(fleet_settled(bus, "g", 1));
    struct child *b = fleet_join(bus, 1, .assignor = LEAT_COOPERATIVE_STICKY);
    leat_group_info_free(fleet_settled(bus, "g", 2));
    CHECK_EQ(fleet_revoked(0), 2);
    reads(1, 10);
    CHECK_EQ(fleet_assigned(1), 2);
    fleet_leave(b, 1);
    leat_group_info_free(fleet_settled(bus, "g", 1));
    reads(0, 10);
    CHECK_EQ(fleet_revoked(0), 2);
    fleet_dry();
    fleet_finish(bus, "g", "t", 0);
    CHECK_EQ(fleet_twice(), 0);
    fleet_leave(a, 0);
    bus_stop(bus);
}

TEST(static_members_that_are_restarted_one_by_one_keep_their_partitions)
{
    struct bus *bus = fleet_bus();
    struct child *members[3];
    static const char *const names[] = { "i0", "i1", "i2" };
    fleet_topic(bus, "t", 3);
    fleet_feed(bus, "t", RATE, 0);
    for (int i = 0; i < 3; i++)
        members[i] = fleet_join(bus, i, .assignor = LEAT_COOPERATIVE_STICKY, .instance_id = names[i],
                                .session_timeout_ms = 30000);
    leat_group_info *before = fleet_settled(bus, "g", 3);
    uint64_t generation = before->generation;
    for (int i = 0; i < 3; i++) {
        if (i == 1)
            fleet_kill(members[i], i); /* a crash is a restart, too */
        else
            fleet_leave(members[i], i);
        members[i] = fleet_join(bus, i, .assignor = LEAT_COOPERATIVE_STICKY, .instance_id = names[i],
                                .session_timeout_ms = 30000);
        reads(i, 10);
        leat_group_info *after = fleet_settled(bus, "g", 3);
        CHECK_EQ(after->generation, generation);
        for (uint32_t p = 0; p < 3; p++)
            CHECK_STR(part_of(after, p)->member_id, part_of(before, p)->member_id);
        for (int k = 0; k < 3; k++)
            CHECK_EQ(fleet_revoked(k), 0);
        leat_group_info_free(after);
    }
    leat_group_info_free(before);
    fleet_dry();
    fleet_finish(bus, "g", "t", 0);
    bus_stop(bus);
}

TEST(killed_member_is_inherited_from_without_waiting_for_anything)
{
    struct bus *bus = fleet_bus();
    fleet_topic(bus, "t", 3);
    fleet_feed(bus, "t", RATE, 0);
    struct child *members[3];
    for (int i = 0; i < 3; i++)
        members[i] = fleet_join(bus, i, .assignor = LEAT_COOPERATIVE_STICKY, .commit_every = 3);
    leat_group_info_free(fleet_settled(bus, "g", 3));
    for (int i = 0; i < 3; i++)
        reads(i, 10);
    fleet_kill(members[2], 2);
    leat_group_info *info = fleet_settled(bus, "g", 2);
    for (uint32_t p = 0; p < 3; p++)
        CHECK(part_of(info, p)->unowned_us < 1000000u * (unsigned)test_slowdown());
    CHECK_EQ(info->evictions, 1);
    leat_group_info_free(info);
    reads(0, 10);
    reads(1, 10);
    fleet_kill(members[1], 1);
    leat_group_info_free(fleet_settled(bus, "g", 1));
    fleet_dry();
    fleet_finish(bus, "g", "t", 0);
    bus_stop(bus);
}

TEST(stopped_member_is_evicted_after_its_poll_interval_and_told_when_it_returns)
{
    struct bus *bus = fleet_bus();
    fleet_topic(bus, "t", 2);
    fleet_feed(bus, "t", RATE, 0);
    fleet_join(bus, 0, .assignor = LEAT_COOPERATIVE_STICKY);
    struct child *slow = fleet_join(bus, 1, .assignor = LEAT_COOPERATIVE_STICKY,
                                    .max_poll_interval_ms = 300 * test_slowdown());
    leat_group_info_free(fleet_settled(bus, "g", 2));
    reads(0, 10);
    reads(1, 10);
    fleet_doom(1);
    child_stop(slow);
    leat_group_info_free(fleet_settled(bus, "g", 1));
    reads(0, 20);
    child_continue(slow);
    child_end_in(slow, 30);
    CHECK(fleet_fenced(1) > 0);
    CHECK_EQ(fleet_lost(1), 1);
    fleet_dry();
    fleet_finish(bus, "g", "t", 0);
    bus_stop(bus);
}

TEST(stopped_member_that_wants_to_joins_again_by_itself)
{
    struct bus *bus = fleet_bus();
    fleet_topic(bus, "t", 2);
    fleet_feed(bus, "t", RATE, 0);
    fleet_join(bus, 0, .assignor = LEAT_COOPERATIVE_STICKY);
    struct child *slow = fleet_join(bus, 1, .assignor = LEAT_COOPERATIVE_STICKY,
                                    .max_poll_interval_ms = 300 * test_slowdown(), .rejoin = true);
    leat_group_info_free(fleet_settled(bus, "g", 2));
    reads(1, 10);
    fleet_doom(1);
    child_stop(slow);
    leat_group_info_free(fleet_settled(bus, "g", 1));
    child_continue(slow);
    leat_group_info_free(fleet_settled(bus, "g", 2));
    WAIT_UNTIL(fleet_assigned(1) >= 2, 30);
    fleet_dry();
    WAIT_UNTIL(fleet_lost(1) == 1, 30);
    bus_stop(bus);
}

TEST(slow_member_that_polls_is_never_evicted)
{
    struct bus *bus = fleet_bus();
    fleet_topic(bus, "t", 2);
    struct child *idle = fleet_join(bus, 0, .max_poll_interval_ms = 100 * test_slowdown());
    leat_group_info_free(fleet_settled(bus, "g", 1));
    double end = now_s() + 1.0;
    while (now_s() < end) {
        leat_group_info *info = fleet_describe(bus, "g");
        CHECK_EQ(info->member_count, 1);
        CHECK_EQ(info->evictions, 0);
        leat_group_info_free(info);
        bus_pause();
    }
    fleet_leave(idle, 0);
    bus_stop(bus);
}

TEST(member_that_releases_slowly_holds_up_only_what_it_has)
{
    struct bus *bus = fleet_bus();
    fleet_topic(bus, "t", 4);
    fleet_feed(bus, "t", RATE, 0);
    struct child *a = fleet_join(bus, 0, .assignor = LEAT_COOPERATIVE_STICKY, .slow_release_ms = 500);
    leat_group_info_free(fleet_settled(bus, "g", 1));
    struct child *b = fleet_join(bus, 1, .assignor = LEAT_COOPERATIVE_STICKY);
    WAIT_UNTIL(fleet_assigned(1) == 2, 30); /* it waits for the release, and gets it */
    leat_group_info_free(fleet_settled(bus, "g", 2));
    CHECK_EQ(fleet_revoked(0), 2);
    fleet_dry();
    fleet_finish(bus, "g", "t", 0);
    CHECK_EQ(fleet_twice(), 0);
    fleet_leave(a, 0);
    fleet_leave(b, 1);
    bus_stop(bus);
}

TEST(member_that_does_not_release_in_time_is_evicted)
{
    struct bus *bus = fleet_bus();
    fleet_topic(bus, "t", 4);
    fleet_feed(bus, "t", RATE, 0);
    struct child *a = fleet_join(bus, 0, .assignor = LEAT_COOPERATIVE_STICKY,
                                 .slow_release_ms = 3000 * test_slowdown(),
                                 .rebalance_timeout_ms = 200 * test_slowdown());
    leat_group_info_free(fleet_settled(bus, "g", 1));
    reads(0, 10);
    fleet_doom(0);
    struct child *b = fleet_join(bus, 1, .assignor = LEAT_COOPERATIVE_STICKY);
    leat_group_info *info = fleet_settled(bus, "g", 1);
    CHECK_EQ(info->evictions, 1);
    CHECK_EQ(info->members[0].partition_count, 4);
    leat_group_info_free(info);
    child_end_in(a, 30);
    CHECK(fleet_fenced(0) > 0);
    fleet_dry();
    fleet_finish(bus, "g", "t", 0);
    fleet_leave(b, 1);
    bus_stop(bus);
}

TEST(fifty_members_that_start_together_are_assigned_once_with_a_join_delay)
{
    enum { MEMBERS = 50 };
    struct bus *bus = fleet_bus();
    fleet_topic(bus, "t", 16);
    int delay_ms = 5000 * test_slowdown();
    struct child *members[MEMBERS];
    for (int i = 0; i < MEMBERS; i++)
        members[i] = fleet_join(bus, i, .assignor = LEAT_COOPERATIVE_STICKY, .join_delay_ms = delay_ms);
    leat_group_info *info = fleet_settled(bus, "g", MEMBERS);
    CHECK_EQ(info->rebalances, 1);
    CHECK_EQ(info->generation, 1);
    for (int i = 0; i < MEMBERS; i++)
        CHECK(info->members[i].partition_count <= 1);
    leat_group_info_free(info);
    fleet_feed(bus, "t", 0, 5000);
    fleet_dry();
    fleet_finish(bus, "g", "t", 0);
    for (int i = 0; i < MEMBERS; i++)
        fleet_leave(members[i], i);
    leat_group_info_free(fleet_settled(bus, "g", 0));
    CHECK_EQ(fleet_twice(), 0);
    bus_stop(bus);
}

TEST(topic_that_comes_under_a_pattern_is_read_from_its_first_record)
{
    struct bus *bus = fleet_bus();
    fleet_topic(bus, "t1", 2);
    struct child *a = fleet_join(bus, 0, .topics = "^t[12]$", .assignor = LEAT_COOPERATIVE_STICKY);
    leat_group_info *info = fleet_settled(bus, "g", 1);
    CHECK_EQ(info->members[0].partition_count, 2);
    leat_group_info_free(info);
    fleet_topic(bus, "t3", 1);
    fleet_topic(bus, "t2", 2);
    WAIT_UNTIL(fleet_assigned(0) == 4, 10);
    fleet_leave(a, 0);
    bus_stop(bus);
}

TEST(leader_that_dies_inside_its_assignor_is_replaced)
{
    struct bus *bus = fleet_bus();
    fleet_topic(bus, "t", 3);
    struct child *a = fleet_join(bus, 0, .assignor = LEAT_CUSTOM, .die_in_assign = true);
    child_killed(a, SIGKILL);
    leat_group_info_free(fleet_settled(bus, "g", 0));
    struct child *b = fleet_join(bus, 1, .assignor = LEAT_CUSTOM);
    leat_group_info_free(fleet_settled(bus, "g", 1));
    fleet_feed(bus, "t", RATE, 0);
    reads(1, 10);
    fleet_kill(b, 1);
    fleet_join(bus, 2, .assignor = LEAT_CUSTOM);
    leat_group_info_free(fleet_settled(bus, "g", 1));
    fleet_dry();
    fleet_finish(bus, "g", "t", 0);
    bus_stop(bus);
}

TEST(worker_that_is_killed_again_and_again_moves_nothing_and_loses_no_commit)
{
    struct bus *bus = fleet_bus();
    fleet_topic(bus, "t", 3);
    fleet_feed(bus, "t", RATE, 0);
    struct child *members[3];
    for (int i = 0; i < 3; i++)
        members[i] = fleet_join(bus, i, .assignor = LEAT_COOPERATIVE_STICKY);
    leat_group_info_free(fleet_settled(bus, "g", 3));
    uint64_t revoked = fleet_revoked(0) + fleet_revoked(1) + fleet_revoked(2);
    for (int round = 0; round < (test_long() ? 100 : 10); round++) {
        bus_wait_worker(bus, bus_kill_worker(bus));
        leat_group_info_free(fleet_settled(bus, "g", 3));
        for (int i = 0; i < 3; i++)
            reads(i, 5);
    }
    CHECK_EQ(fleet_revoked(0) + fleet_revoked(1) + fleet_revoked(2), revoked);
    fleet_dry();
    fleet_finish(bus, "g", "t", 0);
    CHECK_EQ(fleet_twice(), 0);
    for (int i = 0; i < 3; i++)
        fleet_leave(members[i], i);
    bus_stop(bus);
}

static int64_t group_counter(const struct bus *bus, const char *name, const char *group)
{
    leat_counter *counters;
    int64_t value = 0;
    int count = CHECK_OK(leat_counters_read(bus->path, &counters));
    for (int i = 0; i < count; i++)
        if (strcmp(counters[i].name, name) == 0 && strcmp(counters[i].topic, group) == 0)
            value = counters[i].value;
    leat_counters_free(counters);
    return value;
}

TEST(rebalances_evictions_and_time_without_owner_are_counted)
{
    struct bus *bus = fleet_bus();
    fleet_topic(bus, "t", 2);
    struct child *a = fleet_join(bus, 0, .assignor = LEAT_COOPERATIVE_STICKY);
    struct child *b = fleet_join(bus, 1, .assignor = LEAT_COOPERATIVE_STICKY);
    leat_group_info_free(fleet_settled(bus, "g", 2));
    fleet_kill(b, 1);
    leat_group_info *info = fleet_settled(bus, "g", 1);
    CHECK_EQ(info->evictions, 1);
    CHECK_EQ(info->rebalances, 3);
    CHECK(info->unowned_us > 0);
    bus_counter(bus, "records", NULL, -1, -1); /* has leatd fold */
    CHECK_EQ(group_counter(bus, "group_evictions", "g"), 1);
    CHECK_EQ(group_counter(bus, "group_rebalances", "g"), 3);
    CHECK_EQ(group_counter(bus, "group_unowned_us", "g"), (int64_t)info->unowned_us);
    leat_group_info_free(info);
    fleet_leave(a, 0);
    bus_stop(bus);
}

TEST(group_without_members_is_forgotten_after_its_retention)
{
    struct bus *bus = fleet_bus("--group-retention", "200");
    fleet_topic(bus, "t", 1);
    struct child *a = fleet_join(bus, 0);
    leat_group_info_free(fleet_settled(bus, "g", 1));
    double end = now_s() + 0.5;
    while (now_s() < end) { /* members keep it, however long */
        leat_group_info_free(fleet_describe(bus, "g"));
        bus_pause();
    }
    fleet_leave(a, 0);
    leat_bus *eyes = bus_open(bus);
    leat_group_info *info;
    int r;
    WAIT_UNTIL((r = leat_group_describe(eyes, "g", &info)) == LEAT_ENOGROUP ||
                   (r == 0 && (leat_group_info_free(info), 0)),
               10);
    leat_close(eyes);
    bus_stop(bus);
}

TEST_SLOW(members_that_come_and_go_by_chance_share_everything_exactly_once, 120)
{
    enum { SEATS = 6 };
    static const enum leat_assignor assignors[] = { LEAT_RANGE, LEAT_ROUNDROBIN, LEAT_STICKY,
                                                    LEAT_COOPERATIVE_STICKY };
    struct bus *bus = fleet_bus();
    enum leat_assignor assignor = assignors[test_random() % 4];
    struct child *members[SEATS] = { NULL };
    fleet_topic(bus, "t", 8);
    fleet_feed(bus, "t", RATE, 0);
    members[0] = fleet_join(bus, 0, .assignor = assignor);
    double end = now_s() + (test_long() ? 60 : 8);
    while (now_s() < end) {
        int i = 1 + (int)(test_random() % (SEATS - 1));
        if (members[i] == NULL) {
            members[i] = fleet_join(bus, i, .assignor = assignor);
        } else if (test_random() % 3 == 0) {
            fleet_kill(members[i], i);
            members[i] = NULL;
        } else {
            fleet_leave(members[i], i);
            members[i] = NULL;
        }
        if (test_random() % 4 == 0)
            bus_wait_worker(bus, bus_kill_worker(bus));
    }
    fleet_dry();
    fleet_finish(bus, "g", "t", 0);
    for (int i = 0; i < SEATS; i++)
        if (members[i] != NULL)
            fleet_leave(members[i], i);
    bus_stop(bus);
}

TEST_SLOW(four_producers_two_groups_of_four_and_a_million_records, 240)
{
    enum { PRODUCERS = 4, MEMBERS = 4 };
    struct bus *bus = fleet_bus();
    uint64_t each = 250000 / (uint64_t)test_slowdown();
    fleet_topic(bus, "t", 4);
    for (int i = 0; i < 2 * MEMBERS; i++)
        fleet_join(bus, i, .group = i < MEMBERS ? "g" : "h", .number = i >= MEMBERS,
                   .assignor = LEAT_COOPERATIVE_STICKY, .batch = 500);
    leat_group_info_free(fleet_settled(bus, "g", MEMBERS));
    leat_group_info_free(fleet_settled(bus, "h", MEMBERS));
    for (int i = 0; i < PRODUCERS; i++)
        fleet_feed(bus, "t", 0, each);
    WAIT_UNTIL(fleet_fed() == PRODUCERS, 200);
    CHECK_EQ(fleet_dry(), PRODUCERS * each);
    fleet_finish(bus, "g", "t", 0);
    fleet_finish(bus, "h", "t", 1);
    uint64_t records[2] = { 0 };
    for (int i = 0; i < 2 * MEMBERS; i++)
        records[i >= MEMBERS] += fleet_records(i);
    CHECK_EQ(records[0], PRODUCERS * each);
    CHECK_EQ(records[1], PRODUCERS * each);
    CHECK_EQ(fleet_twice(), 0);
    bus_stop(bus);
}
