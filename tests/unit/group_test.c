/* The group machine against a world of its own: a page that outlives the worker, mailboxes that members write, fences.
 *
 * The first part places a group and looks at one rule each. The second lets a group live through random events (joins, leaves,
 * deaths, static members that go and come back, slow ones, topics that come and go, a worker that dies at any hook) and
 * checks after each step what always holds, and after a while without events that everything is where it should be.
 */
#include "group/group.h"
#include "test.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S 1000000000ll

enum { SEATS = 8, TOPICS = 3, PARTS_A_TOPIC = 6, PARTS = TOPICS * PARTS_A_TOPIC };

/* What outlives the worker, and what members do without it. */
struct world {
    struct lt_group g;
    struct lt_group_member members[SEATS];
    struct lt_group_part parts[PARTS];
    struct lt_group_topic topics[TOPICS];
    uint32_t subscriptions[SEATS][TOPICS];
    char names[SEATS][16];
    void *room[2];
    /* the page */
    bool seat_taken[SEATS];
    bool seat_away[SEATS];
    bool seat_fenced[SEATS]; /* the fence moved, and the seat is still there */
    bool owned_by_page[PARTS];
    uint32_t page_owner[PARTS];
    uint64_t page_committed[PARTS];
    uint64_t page_generation;
    /* mailboxes: what the owner has committed last, and whether its member may still commit */
    uint64_t mailbox[SEATS][PARTS];
    bool fenced[SEATS];
    uint64_t reported[PARTS]; /* the highest offset that a commit was reported for: no heir may start below */
    uint32_t told[SEATS];
    uint32_t grants, settles, evictions;
    enum lt_group_why last_why;
    int64_t unowned_ns;
    /* the worker's death */
    int die_in; /* hooks until then; 0: it lives */
    jmp_buf death;
    bool granted_in_sweep;
};

static struct world w;

static void maybe_die(void)
{
    if (w.die_in > 0 && --w.die_in == 0)
        longjmp(w.death, 1);
}

static void on_fence(void *user, uint32_t m)
{
    (void)user;
    maybe_die();
    w.fenced[m] = w.seat_fenced[m] = true;
    maybe_die();
}

static void on_save(void *user, uint32_t p, uint32_t m)
{
    (void)user;
    CHECK(w.owned_by_page[p]);
    CHECK_EQ(w.page_owner[p], m);
    maybe_die();
    if (w.mailbox[m][p] != UINT64_MAX)
        w.page_committed[p] = w.mailbox[m][p];
}

static void on_take(void *user, uint32_t p)
{
    (void)user;
    maybe_die();
    uint32_t m = w.page_owner[p];
    CHECK(w.owned_by_page[p]);
    /* Whoever could still commit has had its last word read. */
    CHECK(w.mailbox[m][p] == UINT64_MAX || w.page_committed[p] == w.mailbox[m][p] || w.seat_away[m]);
    w.owned_by_page[p] = false;
    maybe_die();
}

static void on_grant(void *user, uint32_t p, uint32_t m, int64_t unowned_ns)
{
    (void)user;
    maybe_die();
    CHECK(!w.owned_by_page[p]);
    CHECK(w.seat_taken[m]);
    CHECK(lt_group_subscribes(&w.g, m, w.parts[p].topic_id));
    /* What was reported as committed is where the heir starts. */
    CHECK_EQ(w.page_committed[p], w.reported[p]);
    w.owned_by_page[p] = true;
    w.page_owner[p] = m;
    w.mailbox[m][p] = UINT64_MAX;
    w.unowned_ns = unowned_ns;
    w.grants++;
    maybe_die();
}

static void on_gone(void *user, uint32_t m, enum lt_group_why why)
{
    (void)user;
    maybe_die();
    for (uint32_t p = 0; p < PARTS; p++)
        CHECK(!w.owned_by_page[p] || w.page_owner[p] != m);
    w.seat_taken[m] = w.seat_away[m] = w.seat_fenced[m] = false;
    w.last_why = why;
    w.evictions += why != LT_WHY_LEAVE;
}

static void on_generation(void *user, uint64_t generation)
{
    (void)user;
    maybe_die();
    CHECK(generation > w.page_generation);
    w.page_generation = generation;
}

static void on_tell(void *user, uint32_t m)
{
    (void)user;
    maybe_die();
    w.told[m]++;
}

static void *on_room(void *user, int which, size_t bytes)
{
    (void)user;
    free(w.room[which]);
    w.room[which] = malloc(bytes + 1);
    return w.room[which];
}

static void on_settled(void *user, enum lt_group_why why, int64_t took_ns)
{
    (void)user;
    CHECK(took_ns >= 0);
    w.last_why = why;
    w.settles++;
}

static const struct lt_group_hooks hooks = { .fence = on_fence,
                                             .save = on_save,
                                             .take = on_take,
                                             .grant = on_grant,
                                             .gone = on_gone,
                                             .generation = on_generation,
                                             .tell = on_tell,
                                             .room = on_room,
                                             .settled = on_settled };

/* ---- placing a group ---- */

static const char *const topic_names[TOPICS] = { "a", "b", "c" };

static void bind_arrays(enum leat_assignor assignor)
{
    lt_group_init(&w.g, &hooks, &w, assignor);
    w.g.members = w.members;
    w.g.member_room = SEATS;
    w.g.parts = w.parts;
    w.g.part_room = PARTS;
    w.g.topics = w.topics;
}

static void world(enum leat_assignor assignor, uint32_t partitions)
{
    memset(&w, 0, sizeof w);
    bind_arrays(assignor);
    w.g.topic_count = 1;
    w.topics[0] = (struct lt_group_topic){ 1, partitions, topic_names[0] };
    for (uint32_t p = 0; p < PARTS; p++)
        w.parts[p] = (struct lt_group_part){ .owner = LT_NOBODY, .target = LT_NOBODY };
    for (uint32_t p = 0; p < partitions; p++)
        w.parts[p] = (struct lt_group_part){ 1, p, LT_NOBODY, LT_NOBODY, false, 0 };
}

static void describe(uint32_t m, bool is_static)
{
    struct lt_group_member *member = &w.members[m];
    memset(member, 0, sizeof *member);
    snprintf(w.names[m], sizeof w.names[m], "m%u", m);
    member->id = w.names[m];
    member->instance_id = is_static ? w.names[m] : NULL;
    member->topics = w.subscriptions[m];
    member->named = true;
    member->rebalance_timeout_ns = 10 * S;
}

static void join(uint32_t m, int64_t now_ns)
{
    describe(m, false);
    w.subscriptions[m][0] = 1;
    w.members[m].topic_count = 1;
    w.seat_taken[m] = true;
    w.fenced[m] = false;
    lt_group_join(&w.g, m, 0, now_ns);
    lt_group_step(&w.g, now_ns);
}

/* The member does what it was asked to. */
static void comply(uint32_t m, int64_t now_ns)
{
    for (uint32_t p = 0; p < PARTS; p++)
        if (w.parts[p].topic_id != 0 && w.parts[p].owner == m && w.parts[p].release)
            lt_group_release(&w.g, m, p, now_ns);
    lt_group_step(&w.g, now_ns);
}

static uint32_t owned(uint32_t m)
{
    uint32_t count = 0;
    for (uint32_t p = 0; p < PARTS; p++)
        count += w.parts[p].topic_id != 0 && w.parts[p].owner == m;
    CHECK_EQ(count, w.members[m].owned);
    return count;
}

TEST(first_member_gets_everything_at_once)
{
    world(LEAT_RANGE, 3);
    CHECK_EQ(w.g.state, LEAT_GROUP_EMPTY);
    join(0, 1 * S);
    CHECK_EQ(owned(0), 3);
    CHECK_EQ(w.g.state, LEAT_GROUP_STABLE);
    CHECK_EQ(w.told[0], 1);
    CHECK_EQ(w.g.generation, 1);
}

TEST(partition_is_granted_only_when_its_owner_has_released_it)
{
    world(LEAT_COOPERATIVE_STICKY, 4);
    join(0, 1 * S);
    join(1, 2 * S);
    CHECK_EQ(owned(0), 4);
    CHECK_EQ(owned(1), 0);
    CHECK_EQ(w.g.state, LEAT_GROUP_RECONCILING);
    comply(0, 3 * S);
    CHECK_EQ(owned(0), 2);
    CHECK_EQ(owned(1), 2);
    CHECK_EQ(w.g.state, LEAT_GROUP_STABLE);
}

TEST(cooperative_member_keeps_what_does_not_move)
{
    world(LEAT_COOPERATIVE_STICKY, 4);
    join(0, 1 * S);
    join(1, 2 * S);
    uint32_t asked = 0;
    for (uint32_t p = 0; p < 4; p++)
        asked += w.parts[p].release;
    CHECK_EQ(asked, 2);
}

TEST(eager_members_release_everything_before_anything_is_granted)
{
    world(LEAT_RANGE, 4);
    join(0, 1 * S);
    join(1, 2 * S);
    for (uint32_t p = 0; p < 4; p++)
        CHECK(w.parts[p].release);
    uint32_t grants = w.grants;
    for (uint32_t p = 0; p < 3; p++) {
        lt_group_release(&w.g, 0, p, 3 * S);
        lt_group_step(&w.g, 3 * S);
        CHECK_EQ(w.grants, grants);
    }
    lt_group_release(&w.g, 0, 3, 4 * S);
    lt_group_step(&w.g, 4 * S);
    CHECK_EQ(owned(0), 2);
    CHECK_EQ(owned(1), 2);
}

TEST(eager_group_is_left_alone_when_nothing_moves)
{
    world(LEAT_RANGE, 2);
    join(0, 1 * S);
    join(1, 2 * S);
    comply(0, 2 * S);
    uint32_t grants = w.grants;
    join(2, 3 * S); /* two partitions, three members */
    CHECK_EQ(w.grants, grants);
    CHECK_EQ(w.g.state, LEAT_GROUP_STABLE);
    CHECK_EQ(owned(2), 0);
}

TEST(dead_members_partitions_go_to_the_others_with_what_it_committed)
{
    world(LEAT_COOPERATIVE_STICKY, 2);
    join(0, 1 * S);
    join(1, 2 * S);
    comply(0, 2 * S);
    uint32_t p = w.parts[0].owner == 1 ? 0 : 1;
    w.mailbox[1][p] = w.reported[p] = 77;
    lt_group_evict(&w.g, 1, LT_WHY_DIED, 3 * S);
    lt_group_step(&w.g, 3 * S + 500);
    CHECK(w.fenced[1]);
    CHECK_EQ(owned(0), 2);
    CHECK_EQ(w.page_committed[p], 77);
    CHECK_EQ(w.unowned_ns, 500);
    CHECK_EQ(w.g.state, LEAT_GROUP_STABLE);
}

TEST(member_that_does_not_release_is_evicted_after_its_rebalance_timeout)
{
    world(LEAT_COOPERATIVE_STICKY, 2);
    join(0, 1 * S);
    describe(1, false);
    w.subscriptions[1][0] = 1;
    w.members[1].topic_count = 1;
    w.seat_taken[1] = true;
    lt_group_join(&w.g, 1, 0, 2 * S);
    int64_t deadline_ns = lt_group_step(&w.g, 2 * S);
    CHECK_EQ(deadline_ns, 12 * S);
    lt_group_step(&w.g, 12 * S - 1);
    CHECK_EQ(owned(0), 2);
    CHECK_EQ(lt_group_step(&w.g, 12 * S), 0);
    CHECK_EQ(owned(1), 2);
    CHECK(w.fenced[0]);
    CHECK_EQ(w.last_why, LT_WHY_SLOW);
}

TEST(deadline_is_forgotten_when_everything_is_released)
{
    world(LEAT_COOPERATIVE_STICKY, 2);
    join(0, 1 * S);
    join(1, 2 * S);
    comply(0, 3 * S);
    CHECK_EQ(lt_group_step(&w.g, 100 * S), 0);
    CHECK_EQ(owned(0), 1);
}

TEST(starting_fleet_is_assigned_once_after_the_join_delay)
{
    world(LEAT_RANGE, 4);
    for (uint32_t m = 0; m < 4; m++) {
        describe(m, false);
        w.subscriptions[m][0] = 1;
        w.members[m].topic_count = 1;
        w.seat_taken[m] = true;
        lt_group_join(&w.g, m, 3 * S, (1 + m) * S / 2);
        CHECK_EQ(lt_group_step(&w.g, (1 + m) * S / 2), S / 2 + 3 * S);
        CHECK_EQ(w.g.state, LEAT_GROUP_ASSIGNING);
    }
    CHECK_EQ(w.grants, 0);
    lt_group_step(&w.g, S / 2 + 3 * S);
    for (uint32_t m = 0; m < 4; m++)
        CHECK_EQ(owned(m), 1);
    CHECK_EQ(w.g.generation, 1);
    CHECK_EQ(w.settles, 1);
}

TEST(static_member_that_comes_back_finds_its_partitions)
{
    world(LEAT_COOPERATIVE_STICKY, 4);
    join(0, 1 * S);
    join(1, 2 * S);
    w.members[1].instance_id = w.names[1];
    comply(0, 2 * S);
    uint32_t p = w.parts[0].owner == 1 ? 0 : w.parts[1].owner == 1 ? 1 : 2;
    w.mailbox[1][p] = w.reported[p] = 5;
    uint32_t grants = w.grants;
    w.seat_away[1] = true;
    lt_group_away(&w.g, 1, 40 * S);
    CHECK_EQ(lt_group_step(&w.g, 3 * S), 40 * S);
    CHECK_EQ(w.page_committed[p], 5);
    CHECK_EQ(owned(1), 2);
    w.seat_away[1] = w.fenced[1] = w.seat_fenced[1] = false;
    lt_group_back(&w.g, 1);
    uint32_t told = w.told[1];
    CHECK_EQ(lt_group_step(&w.g, 30 * S), 0);
    CHECK_EQ(w.told[1], told + 1);
    CHECK_EQ(w.grants, grants);
}

TEST(static_member_that_stays_away_is_evicted_after_the_session_timeout)
{
    world(LEAT_COOPERATIVE_STICKY, 4);
    join(0, 1 * S);
    join(1, 2 * S);
    comply(0, 2 * S);
    w.seat_away[1] = true;
    lt_group_away(&w.g, 1, 40 * S);
    lt_group_step(&w.g, 3 * S);
    lt_group_step(&w.g, 40 * S);
    CHECK_EQ(owned(0), 4);
    CHECK_EQ(w.last_why, LT_WHY_AWAY_TOO_LONG);
}

TEST(failover_gives_everything_to_the_oldest_and_its_heir_keeps_it)
{
    world(LEAT_FAILOVER, 3);
    join(0, 1 * S);
    join(1, 2 * S);
    join(2, 3 * S);
    CHECK_EQ(owned(0), 3);
    lt_group_evict(&w.g, 0, LT_WHY_DIED, 4 * S);
    lt_group_step(&w.g, 4 * S);
    CHECK_EQ(owned(1), 3);
    join(0, 5 * S);
    CHECK_EQ(owned(1), 3);
    CHECK_EQ(w.g.state, LEAT_GROUP_STABLE);
}

TEST(leader_is_asked_and_its_assignment_is_followed)
{
    world(LEAT_CUSTOM, 3);
    join(0, 1 * S);
    CHECK_EQ(w.g.state, LEAT_GROUP_ASSIGNING);
    CHECK_EQ(w.g.leader, 0);
    for (uint32_t p = 0; p < 3; p++)
        w.parts[p].target = 0;
    CHECK_EQ(lt_group_proposed(&w.g, 0, w.g.round, 1 * S), 0);
    lt_group_step(&w.g, 1 * S);
    CHECK_EQ(owned(0), 3);
    CHECK_EQ(w.g.leader, LT_NOBODY);
}

TEST(leader_that_dies_is_replaced_by_another)
{
    world(LEAT_CUSTOM, 3);
    join(0, 1 * S);
    join(1, 2 * S);
    CHECK_EQ(w.g.leader, 0);
    uint64_t round = w.g.round;
    lt_group_evict(&w.g, 0, LT_WHY_DIED, 3 * S);
    lt_group_step(&w.g, 3 * S);
    CHECK_EQ(w.g.leader, 1);
    CHECK(w.g.round > round);
    for (uint32_t p = 0; p < 3; p++)
        w.parts[p].target = 1;
    CHECK_EQ(lt_group_proposed(&w.g, 1, round, 3 * S), LEAT_EFENCED);
    CHECK_EQ(lt_group_proposed(&w.g, 1, w.g.round, 3 * S), 0);
    lt_group_step(&w.g, 3 * S);
    CHECK_EQ(owned(1), 3);
}

TEST(leader_that_does_not_answer_is_evicted)
{
    world(LEAT_CUSTOM, 1);
    join(0, 1 * S);
    join(1, 2 * S);
    lt_group_step(&w.g, 12 * S);
    CHECK_EQ(w.g.leader, 1);
    CHECK(w.fenced[0]);
}

TEST(wrong_assignment_is_refused_and_another_member_is_asked)
{
    world(LEAT_CUSTOM, 3);
    join(0, 1 * S);
    join(1, 2 * S);
    w.parts[0].target = w.parts[1].target = 0;
    w.parts[2].target = LT_NOBODY;
    CHECK_EQ(lt_group_proposed(&w.g, 0, w.g.round, 3 * S), LEAT_EINVAL);
    lt_group_step(&w.g, 3 * S);
    CHECK_EQ(w.g.leader, 1);
    w.parts[2].target = 7;
    w.parts[0].target = w.parts[1].target = 1;
    CHECK_EQ(lt_group_proposed(&w.g, 1, w.g.round, 3 * S), LEAT_EINVAL);
}

TEST(topic_that_comes_is_shared_out_and_one_that_goes_is_dropped)
{
    world(LEAT_COOPERATIVE_STICKY, 2);
    join(0, 1 * S);
    w.subscriptions[0][1] = 2;
    w.members[0].topic_count = 2;
    w.topics[1] = (struct lt_group_topic){ 2, 2, topic_names[1] };
    w.g.topic_count = 2;
    w.parts[2] = (struct lt_group_part){ 2, 0, LT_NOBODY, LT_NOBODY, false, 0 };
    w.parts[3] = (struct lt_group_part){ 2, 1, LT_NOBODY, LT_NOBODY, false, 0 };
    lt_group_changed(&w.g, LT_WHY_TOPICS, 2 * S);
    lt_group_step(&w.g, 2 * S);
    CHECK_EQ(owned(0), 4);
    uint32_t told = w.told[0];
    lt_group_drop_part(&w.g, 0);
    lt_group_drop_part(&w.g, 1);
    w.owned_by_page[0] = w.owned_by_page[1] = false;
    w.topics[0] = w.topics[1];
    w.g.topic_count = 1;
    lt_group_changed(&w.g, LT_WHY_TOPICS, 3 * S);
    lt_group_step(&w.g, 3 * S);
    CHECK_EQ(owned(0), 2);
    CHECK_EQ(w.told[0], told + 1);
}

TEST(new_worker_waits_for_the_members_it_has_not_heard_of)
{
    world(LEAT_COOPERATIVE_STICKY, 4);
    join(0, 1 * S);
    join(1, 2 * S);
    comply(0, 2 * S);
    uint32_t grants = w.grants;
    w.members[0].named = w.members[1].named = false;
    lt_group_adopt(&w.g, 4 * S, 3 * S);
    CHECK_EQ(lt_group_step(&w.g, 3 * S), 4 * S);
    CHECK_EQ(w.g.state, LEAT_GROUP_ASSIGNING);
    w.members[0].named = true;
    lt_group_step(&w.g, 3 * S + 1);
    CHECK_EQ(w.g.state, LEAT_GROUP_ASSIGNING);
    w.members[1].named = true;
    lt_group_step(&w.g, 3 * S + 2);
    CHECK_EQ(w.g.state, LEAT_GROUP_STABLE);
    CHECK_EQ(w.grants, grants);
}

TEST(join_delay_counts_in_a_group_that_was_empty_when_a_new_worker_came)
{
    world(LEAT_RANGE, 4);
    lt_group_adopt(&w.g, 1 * S, 1);
    lt_group_step(&w.g, 1);
    for (uint32_t m = 0; m < 2; m++) {
        describe(m, false);
        w.subscriptions[m][0] = 1;
        w.members[m].topic_count = 1;
        w.seat_taken[m] = true;
        lt_group_join(&w.g, m, 3 * S, (5 + m) * S);
        CHECK_EQ(lt_group_step(&w.g, (5 + m) * S), 8 * S);
    }
    CHECK_EQ(w.grants, 0);
    lt_group_step(&w.g, 8 * S);
    CHECK_EQ(owned(0), 2);
    CHECK_EQ(owned(1), 2);
}

TEST(elder_is_the_elder_for_a_new_worker_too)
{
    world(LEAT_FAILOVER, 3);
    join(0, 1 * S);
    join(1, 2 * S);
    lt_group_leave(&w.g, 0, 3 * S);
    lt_group_step(&w.g, 3 * S);
    join(0, 4 * S); /* the same seat, and the younger one */
    CHECK_EQ(owned(1), 3);
    uint32_t grants = w.grants;
    lt_group_adopt(&w.g, 6 * S, 5 * S);
    lt_group_step(&w.g, 5 * S);
    CHECK_EQ(owned(1), 3);
    CHECK_EQ(w.grants, grants);
    CHECK_EQ(w.g.state, LEAT_GROUP_STABLE);
}

TEST(static_member_that_goes_while_it_was_asked_to_release_holds_nobody_up)
{
    world(LEAT_RANGE, 4);
    join(0, 1 * S);
    join(1, 2 * S);
    w.members[0].instance_id = w.names[0];
    comply(0, 2 * S);
    join(2, 3 * S);
    w.seat_away[0] = true;
    lt_group_away(&w.g, 0, 40 * S);
    lt_group_step(&w.g, 4 * S);
    comply(1, 5 * S);
    CHECK_EQ(owned(0) + owned(1) + owned(2), 4);
    CHECK_EQ(w.g.state, LEAT_GROUP_STABLE);
}

/* ---- a long life ---- */

static uint64_t state_of_chance;

static uint32_t below(uint32_t end)
{
    state_of_chance += 0x9e3779b97f4a7c15; /* splitmix64 */
    uint64_t z = state_of_chance;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (uint32_t)(((z ^ (z >> 31)) >> 32) * end >> 32);
}

static void subscribe_by_chance(uint32_t m)
{
    uint32_t n = 0;
    for (uint32_t t = 0; t < TOPICS; t++)
        if (below(3) != 0)
            w.subscriptions[m][n++] = t + 1;
    w.members[m].topic_count = n;
}

/* The topics that exist are bits; parts follow. */
static void set_topics(uint32_t bits)
{
    w.g.topic_count = 0;
    for (uint32_t t = 0; t < TOPICS; t++) {
        bool exists = bits >> t & 1;
        for (uint32_t k = 0; k < PARTS_A_TOPIC; k++) {
            uint32_t p = t * PARTS_A_TOPIC + k;
            if (exists && w.parts[p].topic_id == 0) {
                w.parts[p] = (struct lt_group_part){ t + 1, k, LT_NOBODY, LT_NOBODY, false, 0 };
                w.page_committed[p] = w.reported[p] = 0;
            } else if (!exists && w.parts[p].topic_id != 0) {
                lt_group_drop_part(&w.g, p);
                w.owned_by_page[p] = false;
            }
        }
        if (exists)
            w.topics[w.g.topic_count++] = (struct lt_group_topic){ t + 1, PARTS_A_TOPIC, topic_names[t] };
    }
}

/* A member commits: as the library does, and is told that it counts only when it is not fenced afterwards. */
static void commit(uint32_t m)
{
    for (uint32_t p = 0; p < PARTS; p++) {
        if (w.parts[p].topic_id == 0 || !w.owned_by_page[p] || w.page_owner[p] != m || w.seat_away[m] ||
            below(2))
            continue;
        if (w.fenced[m]) {
            w.mailbox[m][p] = 1; /* too late: nobody may read it */
            continue;
        }
        w.mailbox[m][p] = w.reported[p] + below(10);
        w.reported[p] = w.mailbox[m][p];
    }
}

static void one_event(int64_t now_ns)
{
    uint32_t m = below(SEATS);
    struct lt_group_member *member = &w.members[m];
    if (!member->used) {
        if (below(3) != 0)
            return;
        describe(m, below(3) == 0);
        subscribe_by_chance(m);
        w.seat_taken[m] = true;
        w.fenced[m] = false;
        for (uint32_t p = 0; p < PARTS; p++)
            w.mailbox[m][p] = UINT64_MAX;
        lt_group_join(&w.g, m, below(4) == 0 ? S : 0, now_ns);
        return;
    }
    if (member->away) {
        if (below(2) == 0) {
            w.seat_away[m] = w.fenced[m] = w.seat_fenced[m] = false;
            for (uint32_t p = 0; p < PARTS; p++)
                w.mailbox[m][p] = UINT64_MAX;
            lt_group_back(&w.g, m);
        }
        return;
    }
    commit(m);
    switch (below(12)) {
    case 0:
        lt_group_leave(&w.g, m, now_ns);
        break;
    case 1:
        if (member->instance_id) {
            lt_group_away(&w.g, m, now_ns + 5 * S);
            w.seat_away[m] = true;
        } else {
            lt_group_evict(&w.g, m, below(2) ? LT_WHY_DIED : LT_WHY_HUNG, now_ns);
        }
        break;
    case 2:
        subscribe_by_chance(m);
        lt_group_changed(&w.g, LT_WHY_SUBSCRIPTION, now_ns);
        break;
    case 3:
        set_topics(below(1u << TOPICS));
        lt_group_changed(&w.g, LT_WHY_TOPICS, now_ns);
        break;
    case 4:
        break; /* it does nothing, however long */
    default:
        for (uint32_t p = 0; p < PARTS; p++)
            if (w.parts[p].topic_id != 0 && w.parts[p].owner == m && w.parts[p].release)
                lt_group_release(&w.g, m, p, now_ns);
    }
}

static void look_at_all(void)
{
    uint32_t members = 0;
    for (uint32_t m = 0; m < SEATS; m++) {
        CHECK_EQ(w.members[m].used, w.seat_taken[m]);
        members += w.members[m].used;
        if (w.members[m].used)
            owned(m);
    }
    CHECK_EQ(members, w.g.member_count);
    for (uint32_t p = 0; p < PARTS; p++) {
        const struct lt_group_part *part = &w.parts[p];
        CHECK_EQ(part->topic_id != 0 && part->owner != LT_NOBODY, w.owned_by_page[p]);
        if (w.owned_by_page[p])
            CHECK_EQ(part->owner, w.page_owner[p]);
    }
}

/* The next worker: what it has is the page. */
static void restart(enum leat_assignor assignor, int64_t now_ns)
{
    uint32_t topics = w.g.topic_count;
    bind_arrays(assignor);
    w.g.topic_count = topics;
    w.g.generation = w.page_generation;
    for (uint32_t m = 0; m < SEATS; m++) {
        bool unfinished = w.seat_taken[m] && w.seat_fenced[m] && !w.seat_away[m];
        w.members[m].used = w.seat_taken[m] && !unfinished;
        w.members[m].away = w.seat_away[m];
        w.members[m].named = below(2) != 0;
        if (!unfinished)
            continue;
        for (uint32_t p = 0; p < PARTS; p++)
            if (w.owned_by_page[p] && w.page_owner[p] == m) {
                if (w.mailbox[m][p] != UINT64_MAX)
                    w.page_committed[p] = w.mailbox[m][p];
                w.owned_by_page[p] = false;
            }
        w.seat_taken[m] = w.seat_fenced[m] = false;
        memset(&w.members[m], 0, sizeof w.members[m]);
    }
    for (uint32_t p = 0; p < PARTS; p++) {
        w.parts[p].owner = w.owned_by_page[p] ? w.page_owner[p] : LT_NOBODY;
        if (w.parts[p].owner != LT_NOBODY && !w.members[w.parts[p].owner].used) {
            w.parts[p].owner = LT_NOBODY; /* its member's seat was left before */
            w.owned_by_page[p] = false;
        }
    }
    lt_group_adopt(&w.g, now_ns + S, now_ns);
}

/* Nothing more happens but that members do as they are told. */
static void come_to_rest(int64_t *now_ns)
{
    for (int i = 0; i < 50; i++) {
        *now_ns += S / 2;
        for (uint32_t m = 0; m < SEATS; m++) {
            w.members[m].named = true;
            if (w.members[m].used && !w.members[m].away)
                comply(m, *now_ns);
        }
        lt_group_step(&w.g, *now_ns);
    }
    look_at_all();
    CHECK(w.g.state == (w.g.member_count ? LEAT_GROUP_STABLE : LEAT_GROUP_EMPTY));
    for (uint32_t p = 0; p < PARTS; p++) {
        bool wanted = false;
        for (uint32_t m = 0; w.parts[p].topic_id != 0 && m < SEATS; m++)
            wanted |= w.members[m].used && lt_group_subscribes(&w.g, m, w.parts[p].topic_id);
        CHECK_EQ(wanted, w.parts[p].topic_id != 0 && w.parts[p].owner != LT_NOBODY);
    }
}

static void live(enum leat_assignor assignor, int rounds)
{
    int64_t now_ns = S;
    world(assignor, 0);
    set_topics(3);
    for (int i = 0; i < rounds; i++) {
        now_ns += 1 + below(1u << 30);
        w.die_in = below(5) == 0 ? 1 + (int)below(30) : 0;
        if (setjmp(w.death) == 0) {
            one_event(now_ns);
            lt_group_step(&w.g, now_ns);
            w.die_in = 0;
        } else {
            restart(assignor, now_ns);
            lt_group_step(&w.g, now_ns);
        }
        look_at_all();
        if (below(40) == 0)
            come_to_rest(&now_ns);
    }
    come_to_rest(&now_ns);
    free(w.room[0]);
    free(w.room[1]);
}

TEST_SLOW(group_that_lives_through_anything_has_one_owner_a_partition_and_loses_no_commit, 300)
{
    static const enum leat_assignor kinds[] = { LEAT_RANGE, LEAT_ROUNDROBIN, LEAT_STICKY,
                                                LEAT_COOPERATIVE_STICKY, LEAT_FAILOVER };
    int rounds = test_long() ? 400000 : 40000 / test_slowdown();
    state_of_chance = test_random();
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        live(kinds[k], rounds);
}
