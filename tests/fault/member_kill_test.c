/* Members of a group that die or stop at each step of taking, committing and giving up partitions.
 *
 * Goal: whoever is next misses no record, sees again only what no commit that was reported covers, and does not wait; a commit that comes
 * too late is refused.
 * Method: a victim reads and commits both partitions of a topic, then shares them with the test's own member, which joins, then
 * leaves. Somewhere on that way it meets its point. The test's member ends with both partitions and has read what nobody has
 * committed. Words on the board: which records were seen by the victim, and how far its commits were reported to reach.
 */
#include "bus.h"
#include "test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTITIONS = 2, EACH = 40, PATIENCE_S = 20 };
/* The board: seen by the victim, partition by partition; then its reported commits; then what it has. */
enum { SEEN = 0, REPORTED = PARTITIONS * EACH, OWNED = REPORTED + PARTITIONS };

static const leat_partition both[PARTITIONS] = { { "t", 0 }, { "t", 1 } };

static leat_consumer_options options_of(void)
{
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.group = "g";
    options.assignor = LEAT_COOPERATIVE_STICKY;
    options.reset = LEAT_EARLIEST;
    options.auto_commit_ms = 0;
    options.spin_us = 0;
    options.max_poll_records = 3;
    options.max_poll_interval_ms = 400;
    options.rebalance_timeout_ms = 300;
    options.rejoin = 1;
    return options;
}

/* ---- the victim ---- */

/* What is committed is reported once the commit has returned 0. */
static void commit_and_report(leat_consumer *consumer)
{
    const leat_partition *parts;
    int64_t positions[PARTITIONS] = { -1, -1 };
    int count = leat_consumer_assignment(consumer, &parts);
    for (int i = 0; i < count; i++)
        positions[parts[i].partition] = leat_consumer_position(consumer, parts[i].topic, parts[i].partition);
    int r = leat_consumer_commit(consumer, LEAT_SYNC);
    if (r != LEAT_EFENCED)
        CHECK_OK(r);
    for (uint32_t p = 0; r == 0 && p < PARTITIONS; p++)
        if (positions[p] > (int64_t)board_get(REPORTED + p))
            board_set(REPORTED + p, (uint64_t)positions[p]);
}

static void give(leat_consumer *consumer, const leat_partition *partitions, int count, void *user)
{
    (void)user, (void)partitions;
    commit_and_report(consumer);
    board_add(OWNED, (uint64_t)-count);
}

static void lose(leat_consumer *consumer, const leat_partition *partitions, int count, void *user)
{
    (void)user, (void)partitions;
    CHECK_EQ(leat_consumer_commit(consumer, LEAT_SYNC), LEAT_EFENCED);
    board_add(OWNED, (uint64_t)-count);
}

static void get(leat_consumer *consumer, const leat_partition *partitions, int count, void *user)
{
    (void)consumer, (void)user, (void)partitions;
    board_add(OWNED, (uint64_t)count);
}

ROLE(victim)
{
    leat_bus *bus = role_open();
    leat_consumer_options options = options_of();
    options.on_assigned = get;
    options.on_revoked = give;
    options.on_lost = lose;
    leat_consumer *consumer;
    const leat_record *records;
    CHECK_OK(leat_consumer_open(&consumer, bus, &options));
    CHECK_OK(leat_consumer_subscribe(consumer, (const char *[]){ "t" }, 1));
    while (!heard()) {
        int n = CHECK_OK(leat_consumer_poll(consumer, 10, &records));
        for (int i = 0; i < n; i++)
            board_set(SEEN + records[i].partition * EACH + (uint32_t)records[i].offset, 1);
        commit_and_report(consumer);
    }
    CHECK_OK(leat_consumer_close(consumer));
    leat_close(bus);
}

/* ---- the heir ---- */

struct heir {
    leat_consumer *consumer;
    bool seen[PARTITIONS][EACH];
    uint64_t began[PARTITIONS]; /* its first offset since it was assigned */
};

/* Nothing that was reported as committed before comes again. */
static void begin(leat_consumer *consumer, const leat_partition *partitions, int count, void *user)
{
    (void)user;
    for (int i = 0; i < count; i++) {
        uint32_t p = partitions[i].partition;
        int64_t at = leat_consumer_committed(consumer, "t", p);
        if (at < (int64_t)board_get(REPORTED + p))
            FAIL("partition %u begins at %" PRId64 ", %" PRIu64 " was committed", p, at,
                 board_get(REPORTED + p));
    }
}

static void heir_poll(struct heir *heir)
{
    const leat_record *records;
    int n = CHECK_OK(leat_consumer_poll(heir->consumer, 1, &records));
    for (int i = 0; i < n; i++)
        heir->seen[records[i].partition][records[i].offset] = true;
    CHECK_OK(leat_consumer_commit(heir->consumer, LEAT_SYNC));
}

static bool heir_has_all(const struct heir *heir)
{
    const leat_partition *parts;
    if (leat_consumer_assignment(heir->consumer, &parts) != PARTITIONS)
        return false;
    for (uint32_t p = 0; p < PARTITIONS; p++)
        if (leat_consumer_position(heir->consumer, "t", p) != EACH)
            return false;
    return true;
}

static void send_half(leat_producer *producer)
{
    for (uint32_t i = 0; i < EACH; i++) {
        leat_record record = { .value = "x", .value_size = 1 };
        CHECK_OK(leat_producer_send_to(producer, both[i % PARTITIONS].partition, &record, NULL));
    }
}

/* Through the whole life of the victim, until it is dead or stopped, or has ended. */
static void play(const char *kill, bool stops)
{
    printf("%s\n", kill);
    fflush(stdout);
    memset(board(), 0, 256 * sizeof(uint64_t));
    struct bus *bus = bus_start("--log-level", "error");
    bus_topic(bus, "t", .partitions = PARTITIONS);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    struct heir heir = { 0 };
    leat_consumer_options options = options_of();
    options.on_assigned = begin;
    options.max_poll_interval_ms = 300000;
    CHECK_OK(leat_consumer_open(&heir.consumer, handle, &options));
    send_half(producer);

    struct child *victim = bus_spawn(bus, victim, .kill = kill);
    /* Until it has both, or never will. */
    for (double until = now_s() + 1; now_s() < until && board_get(OWNED) < PARTITIONS && child_lives(victim);)
        bus_pause();
    CHECK_OK(leat_consumer_subscribe(heir.consumer, (const char *[]){ "t" }, 1));
    send_half(producer);
    for (double until = now_s() + 1; now_s() < until && child_lives(victim) && board_get(OWNED) == 2;)
        heir_poll(&heir);
    for (int i = 0; i < 20; i++)
        heir_poll(&heir);
    if (child_lives(victim))
        child_tell(victim, "end");
    WAIT_UNTIL((heir_poll(&heir), heir_has_all(&heir)), PATIENCE_S);
    if (stops) {
        child_wait_stopped(victim);
        child_continue(victim);
        child_end(victim);
        WAIT_UNTIL((heir_poll(&heir), heir_has_all(&heir)), PATIENCE_S);
    } else {
        child_killed(victim, SIGKILL);
    }
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        for (uint32_t i = 0; i < EACH; i++)
            if (!heir.seen[p][i] && board_get(SEEN + p * EACH + i) == 0)
                FAIL("nobody has seen partition %u, offset %u", p, i);
        CHECK_EQ(leat_consumer_committed(heir.consumer, "t", p), EACH);
    }
    leat_close(handle);
    bus_stop(bus);
}

/* The passes of a point that this life has for certain. */
static const struct {
    const char *point;
    int passes;
} points[] = {
    /* 0: a test of its own */
    { "member.join", 1 },  { "member.sync", 2 },   { "member.assign", 2 },        { "commit.store", 9 },
    { "commit.fence", 9 }, { "member.revoke", 2 }, { "member.release.after", 1 }, { "member.leave", 1 },
    { "member.stand", 1 }, { "standby.open", 0 },  { "member.compute", 0 },
};

TEST_SLOW(members_killed_at_each_step_lose_nothing, 240)
{
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        for (int pass = 1; pass <= points[i].passes; pass += pass < 2 ? 1 : 3)
            play(bus_kill_at(points[i].point, pass), false);
}

TEST_SLOW(members_stopped_at_each_step_commit_nothing_too_late, 240)
{
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        for (int pass = 1; pass <= points[i].passes; pass += pass < 2 ? 1 : 3)
            play(bus_stop_at(points[i].point, pass), true);
}

/* ---- a partition that comes back too early ---- */

ROLE(releaser)
{
    leat_bus *bus = role_open();
    leat_consumer_options options = options_of();
    options.max_poll_interval_ms = 300000;
    leat_consumer *consumer;
    const leat_record *records;
    CHECK_OK(leat_consumer_open(&consumer, bus, &options));
    CHECK_OK(leat_consumer_subscribe(consumer, (const char *[]){ "t" }, 1));
    for (;;) {
        CHECK_OK(leat_consumer_poll(consumer, 10, &records));
        commit_and_report(consumer);
    }
}

/* It has let go of a partition, and its entry in the mailbox is there still, when the partition is its own again: what it committed before
 * must not be taken for what it has committed since. Found by the explorer. */
TEST(member_that_dies_with_a_partition_it_has_just_released_and_got_back_takes_no_commit_back)
{
    memset(board(), 0, 256 * sizeof(uint64_t));
    struct bus *bus = bus_start("--log-level", "error");
    bus_topic(bus, "t", .partitions = PARTITIONS);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    struct heir heir = { 0 };
    leat_consumer_options options = options_of();
    options.max_poll_interval_ms = 300000;
    options.on_assigned = begin;
    const leat_partition *parts;
    send_half(producer);
    struct child *releaser = bus_spawn(bus, releaser, .kill = bus_stop_at("member.release.after", 1));
    WAIT_UNTIL(board_get(REPORTED) == EACH / 2 && board_get(REPORTED + 1) == EACH / 2, PATIENCE_S);

    CHECK_OK(leat_consumer_open(&heir.consumer, handle, &options));
    CHECK_OK(leat_consumer_subscribe(heir.consumer, (const char *[]){ "t" }, 1));
    WAIT_UNTIL((heir_poll(&heir), leat_consumer_assignment(heir.consumer, &parts) == 1), PATIENCE_S);
    child_wait_stopped(releaser);
    uint32_t p = parts[0].partition;
    send_half(producer);
    WAIT_UNTIL((heir_poll(&heir), leat_consumer_position(heir.consumer, "t", p) == EACH), PATIENCE_S);
    board_set(REPORTED + p, EACH);
    CHECK_OK(leat_consumer_close(heir.consumer)); /* the stopped one owns both */

    child_kill(releaser);
    CHECK_OK(leat_consumer_open(&heir.consumer, handle, &options));
    CHECK_OK(leat_consumer_subscribe(heir.consumer, (const char *[]){ "t" }, 1));
    WAIT_UNTIL((heir_poll(&heir), heir_has_all(&heir)), PATIENCE_S);
    leat_close(handle);
}

/* It has opened readers of what another member is still to let go of. */
TEST(member_that_dies_while_it_gets_ready_for_what_is_coming_leaves_all_to_the_others)
{
    memset(board(), 0, 256 * sizeof(uint64_t));
    struct bus *bus = bus_start("--log-level", "error");
    bus_topic(bus, "t", .partitions = PARTITIONS);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    struct heir heir = { 0 };
    leat_consumer_options options = options_of();
    options.max_poll_interval_ms = 300000;
    options.on_assigned = begin;
    const leat_partition *parts;
    send_half(producer);
    CHECK_OK(leat_consumer_open(&heir.consumer, handle, &options));
    CHECK_OK(leat_consumer_subscribe(heir.consumer, (const char *[]){ "t" }, 1));
    WAIT_UNTIL((heir_poll(&heir), leat_consumer_assignment(heir.consumer, &parts) == PARTITIONS), PATIENCE_S);
    /* The heir does not poll, so what comes is the releaser's as soon as it does. */
    struct child *releaser = bus_spawn(bus, releaser, .kill = bus_kill_at("standby.open", 1));
    child_killed(releaser, SIGKILL);
    send_half(producer);
    WAIT_UNTIL((heir_poll(&heir), heir_has_all(&heir)), PATIENCE_S);
    leat_close(handle);
}

static int deal_to_first(const leat_assign_view *view, int *owner, void *user)
{
    (void)user;
    for (int i = 0; i < view->part_count; i++)
        owner[i] = 0;
    return 0;
}

ROLE(leader)
{
    leat_bus *bus = role_open();
    leat_consumer_options options = options_of();
    options.assignor = LEAT_CUSTOM;
    options.assign = deal_to_first;
    leat_consumer *consumer;
    const leat_record *records;
    CHECK_OK(leat_consumer_open(&consumer, bus, &options));
    CHECK_OK(leat_consumer_subscribe(consumer, (const char *[]){ "t" }, 1));
    for (;;)
        CHECK_OK(leat_consumer_poll(consumer, -1, &records));
}

TEST(leader_killed_behind_its_assignor_is_followed_by_another)
{
    struct bus *bus = bus_start("--log-level", "error");
    bus_topic(bus, "t", .partitions = PARTITIONS);
    leat_bus *handle = bus_open(bus);
    struct heir heir = { 0 };
    leat_consumer_options options = options_of();
    options.assignor = LEAT_CUSTOM;
    options.assign = deal_to_first;
    options.join_delay_ms = 100;
    CHECK_OK(leat_consumer_open(&heir.consumer, handle, &options));
    struct child *leader = bus_spawn(bus, leader, .kill = bus_kill_at("member.compute", 1));
    child_killed(leader, SIGKILL);
    CHECK_OK(leat_consumer_subscribe(heir.consumer, (const char *[]){ "t" }, 1));
    const leat_partition *parts;
    WAIT_UNTIL((heir_poll(&heir), leat_consumer_assignment(heir.consumer, &parts) == PARTITIONS), PATIENCE_S);
    leat_close(handle);
}

TEST(every_point_of_a_member_is_in_the_table)
{
    static const char *const files[] = { "member.c",  "member.h", "assignment.c",
                                         "standby.c", "commit.c", "leader.c" };
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        const char *path = text("%s/src/client/%s", test_program("LEAT_TEST_ROOT"), files[f]);
        FILE *source = fopen(path, "r");
        char line[512], name[64];
        if (!source)
            FAIL("cannot read %s", path);
        while (fgets(line, sizeof line, source)) {
            const char *at = strstr(line, "lt_point(\"");
            if (!at || sscanf(at, "lt_point(\"%63[^\"]", name) != 1)
                continue;
            bool found = false;
            for (size_t i = 0; i < sizeof points / sizeof *points; i++)
                found |= strcmp(points[i].point, name) == 0;
            if (!found)
                FAIL("%s has the point %s, and no member was killed there", path, name);
        }
        fclose(source);
    }
}
