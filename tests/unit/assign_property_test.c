/* What holds of every assignment, whatever the group looks like.
 *
 * Goal: each partition of a subscribed topic is owned once and by a subscriber; counts are as even as can be; as little moves
 * as can; the same again changes nothing; no partition is taken and given in one cooperative round. Method: a small group lives
 * through random events, and after each of them every assignor is asked and looked at with brute force. A failure
 * prints the seed, the round and the input.
 */
#include "assigning.h"
#include "test.h"

#include <leat.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TOPICS = 5, MEMBERS = 7, NUMBERS = 7, PARTS = TOPICS * NUMBERS, NOBODY = -1 };

/* ---- a group that things happen to ---- */

struct group {
    bool equal;                  /* all subscribe to the same */
    uint32_t partitions[TOPICS]; /* 0: there is no such topic yet */
    bool present[MEMBERS];
    bool is_static[MEMBERS];
    uint32_t subscription[MEMBERS]; /* a bit a topic */
    int64_t generation[MEMBERS];
    struct lt_assign_part owned[MEMBERS][PARTS];
    uint32_t owned_count[MEMBERS];
};

/* The group as an assignor sees it; who is not present is left out. */
struct view {
    struct lt_assign_topic topics[TOPICS];
    struct lt_assign_member members[MEMBERS];
    uint32_t lists[MEMBERS][TOPICS];
    int who[MEMBERS]; /* [index into members] */
    struct lt_assign_input input;
};

struct result {
    struct lt_assign_part parts[PARTS];
    uint32_t first[MEMBERS + 1];
    struct lt_assign_output output;
    int owner[TOPICS][NUMBERS]; /* index into members, or NOBODY */
};

static uint64_t state, the_round;
static struct view the_view;

static uint32_t below(uint32_t end)
{
    state += 0x9e3779b97f4a7c15; /* splitmix64 */
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (uint32_t)(((z ^ (z >> 31)) >> 32) * end >> 32);
}

static void describe(FILE *out)
{
    const struct lt_assign_input *input = &the_view.input;
    for (uint32_t t = 0; t < input->topic_count; t++)
        fprintf(out, " %s:%u", input->topics[t].name, input->topics[t].partitions);
    for (uint32_t m = 0; m < input->member_count; m++) {
        const struct lt_assign_member *member = &input->members[m];
        fprintf(out, "\n  %s (%s) reads", member->id, member->instance_id ? member->instance_id : "dynamic");
        for (uint32_t i = 0; i < member->topic_count; i++)
            fprintf(out, " %s", input->topics[member->topics[i]].name);
        fprintf(out, "; at %" PRId64 " has", member->generation);
        for (uint32_t i = 0; i < member->owned_count; i++)
            fprintf(out, " %s-%u", input->topics[member->owned[i].topic].name, member->owned[i].partition);
    }
}

#define HOLDS(expr, ...)                                      \
    do {                                                      \
        if (!(expr)) {                                        \
            fprintf(stderr, "round %" PRIu64 ":", the_round); \
            describe(stderr);                                 \
            fputc('\n', stderr);                              \
            FAIL(__VA_ARGS__);                                \
        }                                                     \
    } while (0)

static void view_of(struct view *view, const struct group *group)
{
    static const char *const topics[] = { "t0", "t1", "t-1", "t10", "a" };
    static const char *const ids[] = { "m0", "m1", "m10", "m2", "b", "c", "a" };
    static const char *const instances[] = { "i3", "i0", "i10", "i2", "z", "y", "x" };
    view->input = (struct lt_assign_input){ .topics = view->topics,
                                            .topic_count = TOPICS,
                                            .members = view->members };
    for (int t = 0; t < TOPICS; t++)
        view->topics[t] = (struct lt_assign_topic){ topics[t], group->partitions[t] };
    for (int m = 0; m < MEMBERS; m++) {
        if (!group->present[m])
            continue;
        uint32_t index = view->input.member_count++;
        struct lt_assign_member *member = &view->members[index];
        *member = (struct lt_assign_member){ .id = ids[m],
                                             .instance_id = group->is_static[m] ? instances[m] : NULL,
                                             .topics = view->lists[index],
                                             .owned = group->owned[m],
                                             .owned_count = group->owned_count[m],
                                             .generation = group->generation[m] };
        for (uint32_t t = 0; t < TOPICS; t++)
            if (group->subscription[m] >> t & 1)
                view->lists[index][member->topic_count++] = t;
        view->who[index] = m;
    }
}

static void change_subscriptions(struct group *group)
{
    uint32_t all = below(1u << TOPICS), only = below(MEMBERS);
    for (uint32_t m = 0; m < MEMBERS; m++) {
        if (group->equal)
            group->subscription[m] = all;
        else if (m == only)
            group->subscription[m] = below(1u << TOPICS);
    }
}

/* Somebody says that it owns things, of now or of earlier. */
static void claim_at_random(struct group *group)
{
    uint32_t m = below(MEMBERS), t = below(TOPICS);
    group->generation[m] -= below(2);
    if (group->owned_count[m] < PARTS)
        group->owned[m][group->owned_count[m]++] = (struct lt_assign_part){ t, below(NUMBERS) };
}

static void happen(struct group *group)
{
    uint32_t m = below(MEMBERS), t = below(TOPICS);
    switch (below(10)) {
    case 0:
    case 1:
    case 2:
    case 3:
        group->present[m] = !group->present[m];
        group->is_static[m] = below(3) == 0;
        group->owned_count[m] = 0;
        break;
    case 4:
    case 5:
        if (group->partitions[t] < NUMBERS)
            group->partitions[t] += 1 + below(NUMBERS - group->partitions[t]);
        break;
    case 6:
        group->partitions[t] = below(3);
        break;
    case 7:
        change_subscriptions(group);
        break;
    case 8:
        claim_at_random(group);
        break;
    default:
        break; /* nothing: the same again */
    }
}

/* Everybody has what it was given. */
static void settle(struct group *group, const struct view *view, const struct result *result,
                   int64_t generation)
{
    for (uint32_t i = 0; i < view->input.member_count; i++) {
        int m = view->who[i];
        group->owned_count[m] = result->first[i + 1] - result->first[i];
        memcpy(group->owned[m], result->parts + result->first[i],
               group->owned_count[m] * sizeof group->owned[m][0]);
        group->generation[m] = generation;
    }
}

/* ---- asking, and looking ---- */

static bool subscribes(const struct view *view, uint32_t m, uint32_t topic)
{
    for (uint32_t i = 0; i < view->members[m].topic_count; i++)
        if (view->members[m].topics[i] == topic)
            return true;
    return false;
}

static bool is_read(const struct view *view, uint32_t topic)
{
    for (uint32_t m = 0; m < view->input.member_count; m++)
        if (subscribes(view, m, topic))
            return true;
    return false;
}

static uint32_t count_of(const struct result *result, uint32_t m)
{
    return result->first[m + 1] - result->first[m];
}

/* Asks, and looks that nothing is given twice, or to who does not subscribe; with `whole` that nothing is left over. */
static void ask(struct result *result, enum leat_assignor kind, const struct view *view, bool whole)
{
    static _Alignas(16) char scratch[1 << 14];
    size_t size = lt_assign_scratch_bytes(kind, &view->input);
    HOLDS(size <= sizeof scratch, "scratch of %zu", size);
    result->output = (struct lt_assign_output){ result->parts, result->first };
    HOLDS(lt_assign(kind, &view->input, &result->output, scratch, size) == 0, "assignor %d fails", kind);
    for (int t = 0; t < TOPICS; t++)
        for (int p = 0; p < NUMBERS; p++)
            result->owner[t][p] = NOBODY;
    for (uint32_t m = 0; m < view->input.member_count; m++)
        for (uint32_t i = result->first[m]; i < result->first[m + 1]; i++) {
            struct lt_assign_part part = result->parts[i];
            HOLDS(part.topic < TOPICS && part.partition < view->topics[part.topic].partitions,
                  "assignor %d gives %u-%u", kind, part.topic, part.partition);
            HOLDS(subscribes(view, m, part.topic), "assignor %d gives %u-%u to member %u", kind, part.topic,
                  part.partition, m);
            HOLDS(result->owner[part.topic][part.partition] == NOBODY, "assignor %d gives %u-%u twice", kind,
                  part.topic, part.partition);
            result->owner[part.topic][part.partition] = (int)m;
        }
    for (uint32_t t = 0; whole && t < TOPICS; t++)
        for (uint32_t p = 0; p < view->topics[t].partitions; p++)
            HOLDS(result->owner[t][p] != NOBODY || !is_read(view, t), "assignor %d leaves %u-%u over", kind,
                  t, p);
}

/* Who owned each partition: the only claimant of the highest generation; *disputed where there are several. */
static void owners_before(const struct view *view, int owner[TOPICS][NUMBERS], bool disputed[TOPICS][NUMBERS])
{
    int64_t best[TOPICS][NUMBERS];
    for (uint32_t t = 0; t < TOPICS; t++)
        for (uint32_t p = 0; p < NUMBERS; p++)
            owner[t][p] = NOBODY, disputed[t][p] = false, best[t][p] = INT64_MIN;
    for (uint32_t m = 0; m < view->input.member_count; m++)
        for (uint32_t i = 0; i < view->members[m].owned_count; i++) {
            struct lt_assign_part part = view->members[m].owned[i];
            if (part.partition >= view->topics[part.topic].partitions)
                continue;
            int *who = &owner[part.topic][part.partition];
            int64_t *high = &best[part.topic][part.partition];
            bool *several = &disputed[part.topic][part.partition];
            if (view->members[m].generation == *high && *who != (int)m) {
                *several = true;
            } else if (view->members[m].generation > *high) {
                *high = view->members[m].generation;
                *who = (int)m;
                *several = false;
            }
        }
}

static void looks_balanced(const struct view *view, const struct result *result, bool equal)
{
    for (uint32_t m = 0; m < view->input.member_count; m++)
        for (uint32_t n = 0; n < view->input.member_count; n++) {
            if (count_of(result, m) <= count_of(result, n) + 1)
                continue;
            HOLDS(!equal, "%u and %u partitions", count_of(result, m), count_of(result, n));
            for (uint32_t i = result->first[m]; i < result->first[m + 1]; i++)
                HOLDS(!subscribes(view, n, result->parts[i].topic),
                      "%u-%u of member %u should be member %u's", result->parts[i].topic,
                      result->parts[i].partition, m, n);
        }
}

static int compare_counts(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x < y) - (x > y);
}

/* With equal subscriptions: who has most keeps most. Of n members with p partitions p % n may have one more than p / n. */
static void looks_sticky(const struct view *view, const struct result *result)
{
    int before[TOPICS][NUMBERS];
    bool disputed[TOPICS][NUMBERS];
    uint32_t had[MEMBERS] = { 0 }, total = 0, kept = 0, best = 0, members = view->input.member_count;
    owners_before(view, before, disputed);
    for (uint32_t t = 0; t < TOPICS; t++)
        for (uint32_t p = 0; p < view->topics[t].partitions; p++) {
            total += is_read(view, t);
            if (before[t][p] == NOBODY || disputed[t][p] || !subscribes(view, (uint32_t)before[t][p], t))
                continue;
            had[before[t][p]]++;
            kept += result->owner[t][p] == before[t][p];
        }
    qsort(had, members, sizeof had[0], compare_counts);
    for (uint32_t i = 0; i < members; i++) {
        uint32_t quota = total / members + (i < total % members);
        best += had[i] < quota ? had[i] : quota;
    }
    HOLDS(kept == best, "%u partitions stay where %u could", kept, best);
}

/* With any subscriptions: nothing moves in vain. Nothing moves to who has more than its owner before; moves form no ring (those could stay);
 * and who lost something got nothing new that could have gone to the taker in its stead. */
static void looks_needed(const struct view *view, const struct result *result)
{
    int before[TOPICS][NUMBERS];
    bool disputed[TOPICS][NUMBERS], leads[MEMBERS][MEMBERS] = { 0 };
    owners_before(view, before, disputed);
    for (uint32_t t = 0; t < TOPICS; t++)
        for (uint32_t p = 0; p < view->topics[t].partitions; p++) {
            int from = before[t][p], to = result->owner[t][p];
            if (from == NOBODY || disputed[t][p] || from == to || !subscribes(view, (uint32_t)from, t))
                continue;
            leads[from][to] = true;
            HOLDS(count_of(result, (uint32_t)to) <= count_of(result, (uint32_t)from),
                  "%u-%u moves from %u partitions to %u", t, p, count_of(result, (uint32_t)from),
                  count_of(result, (uint32_t)to));
        }
    for (int via = 0; via < MEMBERS; via++) /* Warshall */
        for (int from = 0; from < MEMBERS; from++)
            for (int to = 0; to < MEMBERS; to++)
                leads[from][to] |= leads[from][via] && leads[via][to];
    for (int m = 0; m < MEMBERS; m++)
        HOLDS(!leads[m][m], "moves go round from member %d to member %d", m, m);
}

/* ---- references, as plain as they can be ---- */

static int compare_members(const struct view *view, uint32_t a, uint32_t b)
{
    const struct lt_assign_member *x = &view->members[a], *y = &view->members[b];
    if (x->instance_id && y->instance_id)
        return strcmp(x->instance_id, y->instance_id);
    if (x->instance_id || y->instance_id)
        return x->instance_id ? -1 : 1;
    return strcmp(x->id, y->id);
}

static void sort_names(const struct view *view, uint32_t *topics, uint32_t *members)
{
    for (uint32_t t = 0; t < TOPICS; t++) {
        uint32_t at = t;
        for (; at > 0 && strcmp(view->topics[topics[at - 1]].name, view->topics[t].name) > 0; at--)
            topics[at] = topics[at - 1];
        topics[at] = t;
    }
    for (uint32_t m = 0; m < view->input.member_count; m++) {
        uint32_t at = m;
        for (; at > 0 && compare_members(view, members[at - 1], m) > 0; at--)
            members[at] = members[at - 1];
        members[at] = m;
    }
}

static void looks_like_round_robin(const struct view *view, const struct result *result)
{
    uint32_t topics[TOPICS], members[MEMBERS], turn = 0;
    sort_names(view, topics, members);
    for (int i = 0; i < TOPICS; i++)
        for (uint32_t p = 0; is_read(view, topics[i]) && p < view->topics[topics[i]].partitions; p++) {
            while (!subscribes(view, members[turn], topics[i]))
                turn = (turn + 1) % view->input.member_count;
            HOLDS(result->owner[topics[i]][p] == (int)members[turn], "round robin: %u-%u", topics[i], p);
            turn = (turn + 1) % view->input.member_count;
        }
}

static void looks_like_range(const struct view *view, const struct result *result)
{
    uint32_t topics[TOPICS], members[MEMBERS];
    sort_names(view, topics, members);
    for (uint32_t t = 0; t < TOPICS; t++) {
        uint32_t readers[MEMBERS], count = 0, partitions = view->topics[t].partitions;
        for (uint32_t m = 0; m < view->input.member_count; m++)
            if (subscribes(view, members[m], t))
                readers[count++] = members[m];
        for (uint32_t i = 0, p = 0; i < count; i++)
            for (uint32_t end = p + partitions / count + (i < partitions % count); p < end; p++)
                HOLDS(result->owner[t][p] == (int)readers[i], "range: %u-%u", t, p);
    }
}

/* ---- properties ---- */

/* Rounds until nothing changes any more, each of which takes or gives a partition but never both. Returns how many. */
static int cooperate(struct group *group, struct result *result)
{
    struct result last;
    for (int rounds = 0;; rounds++) {
        int before[TOPICS][NUMBERS];
        bool disputed[TOPICS][NUMBERS];
        view_of(&the_view, group);
        ask(result, LEAT_COOPERATIVE_STICKY, &the_view, false);
        owners_before(&the_view, before, disputed);
        for (int t = 0; t < TOPICS; t++)
            for (int p = 0; p < NUMBERS; p++)
                HOLDS(result->owner[t][p] == NOBODY || before[t][p] == NOBODY ||
                          (result->owner[t][p] == before[t][p] && !disputed[t][p]),
                      "%d-%d goes from member %d to %d in one round", t, p, before[t][p],
                      result->owner[t][p]);
        if (rounds && memcmp(last.owner, result->owner, sizeof last.owner) == 0)
            return rounds;
        HOLDS(rounds < 6, "%d cooperative rounds and no end", rounds);
        last = *result;
        settle(group, &the_view, result, 1000000 + rounds);
    }
}

static void live(struct group *group, int64_t generation)
{
    static struct result result, again;
    happen(group);
    view_of(&the_view, group);
    ask(&result, LEAT_RANGE, &the_view, true);
    looks_like_range(&the_view, &result);
    ask(&result, LEAT_ROUNDROBIN, &the_view, true);
    looks_like_round_robin(&the_view, &result);

    struct group cooperating = *group;
    ask(&result, LEAT_STICKY, &the_view, true);
    looks_balanced(&the_view, &result, group->equal);
    if (group->equal && the_view.input.member_count)
        looks_sticky(&the_view, &result);
    looks_needed(&the_view, &result);
    settle(group, &the_view, &result, generation);

    int rounds = cooperate(&cooperating, &again);
    HOLDS(rounds <= (group->equal ? 2 : 4), "%d cooperative rounds", rounds);
    looks_balanced(&the_view, &again, group->equal);
    ask(&again, LEAT_COOPERATIVE_STICKY, &the_view, true);

    view_of(&the_view, group);
    ask(&again, LEAT_STICKY, &the_view, true);
    HOLDS(memcmp(again.owner, result.owner, sizeof again.owner) == 0, "the same again is not the same");
    if (below(2)) { /* now and then a group that came to be otherwise */
        *group = cooperating;
        for (int m = 0; m < MEMBERS; m++)
            group->generation[m] = generation;
    }
}

static void live_long(bool equal, uint64_t rounds)
{
    struct group group = { .equal = equal };
    state = test_random();
    change_subscriptions(&group);
    if (test_slowdown() > 1)
        rounds /= 10;
    for (the_round = 0; the_round < rounds; the_round++)
        live(&group, (int64_t)the_round + 2);
}

TEST(equal_subscriptions_give_even_counts_and_the_fewest_moves)
{
    live_long(true, test_long() ? 1000000 : 50000);
}

TEST(differing_subscriptions_give_counts_that_no_single_move_improves)
{
    live_long(false, test_long() ? 1000000 : 50000);
}

/* ---- scale ---- */

enum { MANY_MEMBERS = 2000, MANY_PARTITIONS = 100000 };

/* 2,000 members, topics of `each` partitions, every member subscribes to a share of them. */
static struct lt_assign_input many(uint32_t each, uint32_t percent)
{
    uint32_t topics = MANY_PARTITIONS / each;
    struct lt_assign_topic *t = assigning_keep(calloc(topics, sizeof *t));
    struct lt_assign_member *m = assigning_keep(calloc(MANY_MEMBERS, sizeof *m));
    state = test_random();
    for (uint32_t i = 0; i < topics; i++) {
        char *name = assigning_keep(malloc(16));
        snprintf(name, 16, "topic-%u", i);
        t[i] = (struct lt_assign_topic){ name, each };
    }
    for (uint32_t i = 0; i < MANY_MEMBERS; i++) {
        char *id = assigning_keep(malloc(16));
        uint32_t *list = assigning_keep(calloc(topics, sizeof *list)), count = 0;
        snprintf(id, 16, "member-%u", i);
        for (uint32_t k = 0; k < topics; k++)
            if (percent == 100 || below(100) < percent)
                list[count++] = k;
        m[i] = (struct lt_assign_member){ .id = id, .topics = list, .topic_count = count, .generation = -1 };
    }
    return (struct lt_assign_input){ t, topics, MANY_MEMBERS, m };
}

static double timed(enum leat_assignor kind, struct lt_assign_input *input, struct lt_assign_output *output)
{
    struct timespec begin, end;
    *output = output_for(input);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    CHECK_EQ(assign_once(kind, input, output), 0);
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
}

static void own_it(struct lt_assign_input *input, const struct lt_assign_output *output)
{
    struct lt_assign_member *members = (struct lt_assign_member *)input->members;
    for (uint32_t m = 0; m < input->member_count; m++) {
        members[m].owned = output->parts + output->first[m];
        members[m].owned_count = output->first[m + 1] - output->first[m];
        members[m].generation = 1;
    }
}

/* The last tenth of the members leaves, and the others' partitions are the first members' alone: much to move. */
static void tilt(struct lt_assign_input *input, struct lt_assign_output *output)
{
    own_it(input, output);
    input->member_count = MANY_MEMBERS * 9 / 10;
    struct lt_assign_member *members = (struct lt_assign_member *)input->members;
    uint32_t half = output->first[input->member_count / 2];
    members[0].owned = output->parts;
    members[0].owned_count = half;
    for (uint32_t m = 1; m < input->member_count / 2; m++)
        members[m].owned_count = 0;
}

static void scale(const char *what, uint32_t each, uint32_t percent)
{
    static const enum leat_assignor kinds[] = { LEAT_RANGE, LEAT_ROUNDROBIN, LEAT_STICKY,
                                                LEAT_COOPERATIVE_STICKY };
    struct lt_assign_input input = many(each, percent);
    struct lt_assign_output first, output;
    double seconds[7], sum = 0;
    for (int i = 0; i < 4; i++)
        seconds[i] = timed(kinds[i], &input, &output);
    seconds[4] = timed(LEAT_STICKY, &input, &first);
    own_it(&input, &first);
    seconds[5] = timed(LEAT_STICKY, &input, &output);
    CHECK_MEM(output.parts, first.parts, MANY_PARTITIONS * sizeof *first.parts);
    tilt(&input, &first);
    seconds[6] = timed(LEAT_STICKY, &input, &output);
    for (int i = 0; i < 7; i++)
        sum += seconds[i];
    printf(
        "%s: range %.3f s, round robin %.3f s, sticky %.3f s, cooperative %.3f s; sticky again %.3f s, tilted "
        "%.3f s\n",
        what, seconds[0], seconds[1], seconds[2], seconds[3], seconds[5], seconds[6]);
    CHECK(sum < 20.0 * test_slowdown());
}

TEST(two_thousand_members_share_a_hundred_thousand_partitions_in_seconds)
{
    scale("1 topic", MANY_PARTITIONS, 100);
    scale("1,000 topics for all", 100, 100);
    scale("1,000 topics, half for each", 100, 50);
    scale("10,000 topics, a hundredth for each", 10, 1);
}
