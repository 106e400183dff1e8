/* assign: range, round robin, and what all assignors have around them. See assign.h. */
#include "group/assign.h"
#include "base/err.h"
#include "group/roster.h"
#include "group/sticky.h"

/* ---- range and round robin ---- */

/* As RangeAssignor: topics do not know of one another, so of two topics with equally many partitions and the same subscribers each
 * member gets the same numbers. */
static void range(struct lt_roster *roster)
{
    for (uint32_t topic = 0; topic < roster->input->topic_count; topic++) {
        uint32_t set = roster->set_of[topic], subscribers = lt_roster_subscriber_count(roster, set);
        uint32_t partitions = roster->input->topics[topic].partitions, number = 0;
        for (uint32_t i = 0; i < subscribers && number < partitions; i++) {
            uint32_t share = partitions / subscribers + (i < partitions % subscribers);
            for (uint32_t end = number + share; number < end; number++)
                roster->owner[roster->base[topic] + number] = roster->subscribers[roster->set_at[set] + i];
        }
    }
}

/* The first subscriber whose turn is at `rank` or later; the first of all when there is none. */
static uint32_t next_in_turn(const uint32_t *ranks, uint32_t count, uint32_t rank)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (ranks[middle] < rank)
            low = middle + 1;
        else
            high = middle;
    }
    return ranks[low < count ? low : 0];
}

/* As RoundRobinAssignor: one circle of all members for all topics; who does not subscribe loses the turn. */
static void round_robin(struct lt_roster *roster)
{
    uint32_t turn = 0;
    for (uint32_t i = 0; i < roster->input->topic_count; i++) {
        uint32_t topic = roster->by_name[i], set = roster->set_of[topic];
        uint32_t subscribers = lt_roster_subscriber_count(roster, set);
        for (uint32_t number = 0; subscribers && number < roster->input->topics[topic].partitions; number++) {
            uint32_t rank = next_in_turn(roster->subscribers + roster->set_at[set], subscribers, turn);
            roster->owner[roster->base[topic] + number] = rank;
            turn = rank + 1;
        }
    }
}

/* ---- failover ---- */

/* All of a set's topics go to that subscriber who stands first in the input: who joined first. */
static void failover(struct lt_roster *roster)
{
    for (uint32_t topic = 0; topic < roster->input->topic_count; topic++) {
        uint32_t set = roster->set_of[topic], oldest = LT_NOBODY;
        for (uint32_t i = roster->set_at[set]; i < roster->set_at[set + 1]; i++)
            if (oldest == LT_NOBODY || roster->members[roster->subscribers[i]] < roster->members[oldest])
                oldest = roster->subscribers[i];
        for (uint32_t number = 0; number < roster->input->topics[topic].partitions; number++)
            roster->owner[roster->base[topic] + number] = oldest;
    }
}

/* ---- around them ---- */

/* KIP-429: who still owns a partition has to release it before another gets it. A disputed one has several such
 * owners. Who was outdone by a claim of a later generation has lost it already and needs no waiting for. */
static void hold_back(struct lt_roster *roster, const uint32_t *claim)
{
    for (uint32_t p = 0; p < roster->partition_count; p++)
        if (claim[p] != LT_NOBODY && claim[p] != roster->owner[p])
            roster->owner[p] = LT_NOBODY;
}

struct desk {
    struct lt_roster roster;
    struct lt_scratch scratch;
    uint32_t *claim;
    int64_t *generation;
};

static void place(struct desk *desk, const struct lt_assign_input *input)
{
    lt_roster_place(&desk->roster, input, &desk->scratch);
    desk->claim = lt_scratch_take(&desk->scratch, desk->roster.partition_count, sizeof *desk->claim);
    desk->generation = lt_scratch_take(&desk->scratch, desk->roster.partition_count,
                                       sizeof *desk->generation);
}

static bool is_sticky(enum leat_assignor kind)
{
    return kind == LEAT_STICKY || kind == LEAT_COOPERATIVE_STICKY;
}

size_t lt_assign_scratch_bytes(enum leat_assignor kind, const struct lt_assign_input *input)
{
    struct desk desk = { 0 };
    if (lt_roster_partitions(input) > LT_ASSIGN_PARTITIONS_MAX)
        return 0;
    place(&desk, input);
    if (is_sticky(kind))
        lt_sticky_place(&desk.roster, &desk.scratch);
    return desk.scratch.used;
}

/* `kind` says how much scratch there has to be. */
static int sit_down(struct desk *desk, enum leat_assignor kind, const struct lt_assign_input *input,
                    void *scratch, size_t scratch_bytes)
{
    uint64_t partitions = lt_roster_partitions(input);
    if (partitions > LT_ASSIGN_PARTITIONS_MAX)
        return lt_fail(LEAT_ELIMIT, "%llu partitions of %u topics: %d are the most",
                       (unsigned long long)partitions, input->topic_count, LT_ASSIGN_PARTITIONS_MAX);
    size_t wanted = lt_assign_scratch_bytes(kind, input);
    if (!scratch || scratch_bytes < wanted)
        return lt_fail(LEAT_EINVAL, "scratch of %zu bytes, wanted %zu", scratch_bytes, wanted);
    *desk = (struct desk){ .scratch = { .at = scratch, .size = scratch_bytes } };
    place(desk, input);
    return lt_roster_make(&desk->roster);
}

int lt_assign(enum leat_assignor kind, const struct lt_assign_input *input, struct lt_assign_output *output,
              void *scratch, size_t scratch_bytes)
{
    struct desk desk;
    int r = sit_down(&desk, kind, input, scratch, scratch_bytes);
    if (r < 0)
        return r;
    switch (kind) {
    case LEAT_RANGE:
        range(&desk.roster);
        break;
    case LEAT_ROUNDROBIN:
        round_robin(&desk.roster);
        break;
    case LEAT_FAILOVER:
        failover(&desk.roster);
        break;
    case LEAT_STICKY:
    case LEAT_COOPERATIVE_STICKY:
        lt_roster_claims(&desk.roster, desk.claim, desk.generation);
        lt_sticky_assign(&desk.roster, desk.claim, &desk.scratch);
        if (kind == LEAT_COOPERATIVE_STICKY)
            hold_back(&desk.roster, desk.claim);
        break;
    default:
        return lt_fail(LEAT_EINVAL, "assignor %d computes nothing here", (int)kind);
    }
    lt_roster_write(&desk.roster, output);
    return 0;
}

int lt_assign_round(const struct lt_assign_input *input, struct lt_assign_output *target, void *scratch,
                    size_t scratch_bytes)
{
    struct desk desk;
    int r = sit_down(&desk, LEAT_CUSTOM, input, scratch, scratch_bytes);
    if (r < 0)
        return r;
    lt_roster_read(&desk.roster, target);
    lt_roster_claims(&desk.roster, desk.claim, desk.generation);
    hold_back(&desk.roster, desk.claim);
    lt_roster_write(&desk.roster, target);
    return 0;
}

/* ---- check ---- */

static int check_part(struct lt_roster *roster, uint32_t m, struct lt_assign_part part)
{
    const struct lt_assign_input *input = roster->input;
    const char *id = input->members[m].id;
    if (part.topic >= input->topic_count)
        return lt_fail(LEAT_EINVAL, "member %s gets topic %u of %u", id, part.topic, input->topic_count);
    const struct lt_assign_topic *topic = &input->topics[part.topic];
    if (part.partition >= topic->partitions)
        return lt_fail(LEAT_EINVAL, "member %s gets %s-%u, of %u partitions", id, topic->name, part.partition,
                       topic->partitions);
    uint32_t set = roster->set_of[part.topic], subscribers = lt_roster_subscriber_count(roster, set);
    const uint32_t *ranks = roster->subscribers + roster->set_at[set];
    if (!subscribers || next_in_turn(ranks, subscribers, roster->rank[m]) != roster->rank[m])
        return lt_fail(LEAT_EINVAL, "member %s gets %s-%u and does not subscribe to it", id, topic->name,
                       part.partition);
    uint32_t *owner = &roster->owner[roster->base[part.topic] + part.partition];
    if (*owner != LT_NOBODY)
        return lt_fail(LEAT_EINVAL, "member %s gets %s-%u, which member %s has", id, topic->name,
                       part.partition, input->members[roster->members[*owner]].id);
    *owner = roster->rank[m];
    return 0;
}

static int check_whole(const struct lt_roster *roster)
{
    const struct lt_assign_input *input = roster->input;
    for (uint32_t t = 0; t < input->topic_count; t++)
        for (uint32_t number = 0; number < input->topics[t].partitions; number++)
            if (roster->owner[roster->base[t] + number] == LT_NOBODY &&
                lt_roster_subscriber_count(roster, roster->set_of[t]))
                return lt_fail(LEAT_EINVAL, "no member gets %s-%u", input->topics[t].name, number);
    return 0;
}

int lt_assign_check(const struct lt_assign_input *input, const struct lt_assign_output *output, bool whole,
                    void *scratch, size_t scratch_bytes)
{
    struct desk desk;
    int r = sit_down(&desk, LEAT_CUSTOM, input, scratch, scratch_bytes);
    for (uint32_t m = 0; r >= 0 && m < input->member_count; m++) {
        if (output->first[m] > output->first[m + 1] ||
            output->first[m + 1] - output->first[m] > desk.roster.partition_count)
            return lt_fail(LEAT_EINVAL, "member %s gets partitions %u to %u of %u", input->members[m].id,
                           output->first[m], output->first[m + 1], desk.roster.partition_count);
        for (uint32_t i = output->first[m]; r >= 0 && i < output->first[m + 1]; i++)
            r = check_part(&desk.roster, m, output->parts[i]);
    }
    return r >= 0 && whole ? check_whole(&desk.roster) : r;
}
