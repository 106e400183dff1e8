/* plan: what an assignor would do, without a bus and without a group. Puts leat.h's names into assign.h's indices, and the answer back. */
#include "base/err.h"
#include "group/assign.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct plan {
    const leat_plan_topic *asked;
    struct lt_assign_topic *topics;
    uint32_t *by_name; /* topics */
    struct lt_assign_member *members;
    uint32_t *subscribed;         /* of all members, one after the other */
    struct lt_assign_part *owned; /* likewise */
    struct lt_assign_input input;
    struct lt_assign_output output;
    void *scratch;
};

static void drop(struct plan *plan)
{
    free(plan->topics);
    free(plan->by_name);
    free(plan->members);
    free(plan->subscribed);
    free(plan->owned);
    free(plan->output.parts);
    free(plan->output.first);
    free(plan->scratch);
}

/* ---- topics ---- */

static int compare_topics(const void *a, const void *b, void *topics)
{
    const leat_plan_topic *asked = topics;
    return strcmp(asked[*(const uint32_t *)a].topic, asked[*(const uint32_t *)b].topic);
}

static int read_topics(struct plan *plan)
{
    uint64_t partitions = 0;
    for (uint32_t t = 0; t < plan->input.topic_count; t++) {
        if (!plan->asked[t].topic)
            return lt_fail(LEAT_EINVAL, "topic %" PRIu32 " has no name", t);
        plan->topics[t] = (struct lt_assign_topic){ plan->asked[t].topic, plan->asked[t].partitions };
        plan->by_name[t] = t;
        partitions += plan->asked[t].partitions;
    }
    if (partitions > LT_ASSIGN_PARTITIONS_MAX)
        return lt_fail(LEAT_ELIMIT, "%" PRIu64 " partitions in all: at most %d", partitions,
                       LT_ASSIGN_PARTITIONS_MAX);
    qsort_r(plan->by_name, plan->input.topic_count, sizeof *plan->by_name, compare_topics,
            (void *)plan->asked);
    for (uint32_t i = 1; i < plan->input.topic_count; i++)
        if (compare_topics(&plan->by_name[i - 1], &plan->by_name[i], (void *)plan->asked) == 0)
            return lt_fail(LEAT_EINVAL, "topic %s is there twice", plan->asked[plan->by_name[i]].topic);
    return 0;
}

static bool find_topic(const struct plan *plan, const char *name, uint32_t *topic)
{
    uint32_t low = 0, high = plan->input.topic_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        int order = strcmp(name, plan->asked[plan->by_name[middle]].topic);
        if (order == 0) {
            *topic = plan->by_name[middle];
            return true;
        }
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}

/* ---- members ---- */

static int read_members(struct plan *plan, const leat_plan_member *members)
{
    uint32_t *topic = plan->subscribed;
    struct lt_assign_part *part = plan->owned;
    for (uint32_t m = 0; m < plan->input.member_count; m++) {
        const leat_plan_member *asked = &members[m];
        struct lt_assign_member *member = &plan->members[m];
        if (!asked->member_id)
            return lt_fail(LEAT_EINVAL, "member %" PRIu32 " has no id", m);
        *member = (struct lt_assign_member){ .id = asked->member_id,
                                             .instance_id = asked->instance_id,
                                             .topics = topic,
                                             .owned = part,
                                             .generation = asked->generation };
        for (int i = 0; i < asked->topic_count; i++)
            if (find_topic(plan, asked->topics[i], topic))
                topic++, member->topic_count++;
        for (int i = 0; i < asked->owned_count; i++) {
            if (!find_topic(plan, asked->owned[i].topic, &part->topic))
                continue;
            part->partition = asked->owned[i].partition;
            part++, member->owned_count++;
        }
    }
    return 0;
}

/* One block for all members, which the first of them carries. */
static int answer(const struct plan *plan, leat_plan_member *members)
{
    if (!plan->input.member_count)
        return 0;
    uint32_t count = plan->output.first[plan->input.member_count];
    leat_partition *parts = malloc((count + 1) * sizeof *parts);
    if (!parts)
        return lt_fail(LEAT_ENOMEM, "%" PRIu32 " partitions", count);
    for (uint32_t i = 0; i < count; i++)
        parts[i] = (leat_partition){ plan->asked[plan->output.parts[i].topic].topic,
                                     plan->output.parts[i].partition };
    for (uint32_t m = 0; m < plan->input.member_count; m++) {
        members[m].parts = parts + plan->output.first[m];
        members[m].part_count = (int)(plan->output.first[m + 1] - plan->output.first[m]);
    }
    return 0;
}

/* ---- all of it ---- */

/* One more of each than asked for: none is no lack of memory. */
static int make_room(struct plan *plan, const leat_plan_member *members)
{
    size_t topics = plan->input.topic_count, subscribed = 0, owned = 0;
    for (uint32_t m = 0; m < plan->input.member_count; m++) {
        if (members[m].topic_count < 0 || members[m].owned_count < 0)
            return lt_fail(LEAT_EINVAL, "member %" PRIu32 ": %d topics, %d partitions owned", m,
                           members[m].topic_count, members[m].owned_count);
        subscribed += (size_t)members[m].topic_count;
        owned += (size_t)members[m].owned_count;
    }
    plan->topics = calloc(topics + 1, sizeof *plan->topics);
    plan->by_name = calloc(topics + 1, sizeof *plan->by_name);
    plan->members = calloc((size_t)plan->input.member_count + 1, sizeof *plan->members);
    plan->subscribed = calloc(subscribed + 1, sizeof *plan->subscribed);
    plan->owned = calloc(owned + 1, sizeof *plan->owned);
    plan->input.topics = plan->topics;
    plan->input.members = plan->members;
    if (plan->topics && plan->by_name && plan->members && plan->subscribed && plan->owned)
        return 0;
    return lt_fail(LEAT_ENOMEM, "%zu topics, %" PRIu32 " members", topics, plan->input.member_count);
}

static int compute(struct plan *plan, enum leat_assignor assignor)
{
    size_t partitions = 0, scratch_bytes = lt_assign_scratch_bytes(assignor, &plan->input);
    for (uint32_t t = 0; t < plan->input.topic_count; t++)
        partitions += plan->topics[t].partitions;
    plan->output.parts = calloc(partitions + 1, sizeof *plan->output.parts);
    plan->output.first = calloc((size_t)plan->input.member_count + 1, sizeof *plan->output.first);
    plan->scratch = malloc(scratch_bytes + 1);
    if (!plan->output.parts || !plan->output.first || !plan->scratch)
        return lt_fail(LEAT_ENOMEM, "%zu partitions, and %zu bytes to think", partitions, scratch_bytes);
    return lt_assign(assignor, &plan->input, &plan->output, plan->scratch, scratch_bytes);
}

int leat_group_plan(enum leat_assignor assignor, const leat_plan_topic *topics, int topic_count,
                    leat_plan_member *members, int member_count)
{
    for (int m = 0; members && m < member_count; m++)
        members[m].parts = NULL, members[m].part_count = 0;
    if (topic_count < 0 || member_count < 0 || (topic_count && !topics) || (member_count && !members))
        return lt_fail(LEAT_EINVAL, "%d topics, %d members", topic_count, member_count);
    struct plan plan = { .asked = topics,
                         .input = { .topic_count = (uint32_t)topic_count,
                                    .member_count = (uint32_t)member_count } };
    int r = make_room(&plan, members);
    if (r >= 0)
        r = read_topics(&plan);
    if (r >= 0 && members)
        r = read_members(&plan, members);
    if (r >= 0)
        r = compute(&plan, assignor);
    if (r >= 0 && members)
        r = answer(&plan, members);
    drop(&plan);
    return r < 0 ? r : 0;
}

void leat_group_plan_free(leat_plan_member *members, int member_count)
{
    if (members && member_count > 0)
        free(members[0].parts);
    for (int m = 0; members && m < member_count; m++)
        members[m].parts = NULL, members[m].part_count = 0;
}
