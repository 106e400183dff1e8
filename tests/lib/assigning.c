/* assigning: see assigning.h. */
#include "assigning.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *have(void *memory)
{
    if (!memory)
        FAIL("no memory");
    return memory;
}

/* Remembered, so that a leak checker sees that somebody still knows of it. */
void *assigning_keep(void *memory)
{
    static void **kept;
    static size_t count, room;
    if (count == room) {
        room = room ? 2 * room : 64;
        kept = have(
            realloc(kept, room * sizeof *kept)); /* NOLINT(bugprone-suspicious-realloc-usage): or it fails */
    }
    return kept[count++] = have(memory);
}

int assign_once(enum leat_assignor kind, const struct lt_assign_input *input, struct lt_assign_output *output)
{
    size_t size = lt_assign_scratch_bytes(kind, input);
    void *scratch = have(malloc(size ? size : 1));
    memset(scratch, 0xa5, size);
    int r = lt_assign(kind, input, output, scratch, size);
    free(scratch);
    return r;
}

struct lt_assign_output output_for(const struct lt_assign_input *input)
{
    size_t partitions = 1;
    for (uint32_t t = 0; t < input->topic_count; t++)
        partitions += input->topics[t].partitions;
    struct lt_assign_output output;
    output.parts = assigning_keep(calloc(partitions, sizeof *output.parts));
    output.first = assigning_keep(calloc(input->member_count + 1, sizeof *output.first));
    return output;
}

/* ---- making an input ---- */

struct assigning *assigning_of(const char *topics)
{
    struct assigning *a = assigning_keep(calloc(1, sizeof *a));
    a->input.topics = a->topics;
    a->input.members = a->members;
    char *text = assigning_keep(strdup(topics)), *rest = text;
    for (char *word; (word = strsep(&rest, " "));) {
        char *colon = strchr(word, ':');
        if (!colon)
            continue;
        *colon = 0;
        assigning_topic(a, word, (uint32_t)strtoul(colon + 1, NULL, 10));
    }
    return a;
}

void assigning_topic(struct assigning *a, const char *name, uint32_t partitions)
{
    CHECK(a->input.topic_count < ASSIGNING_TOPICS);
    a->topics[a->input.topic_count++] = (struct lt_assign_topic){ .name = assigning_keep(strdup(name)),
                                                                  .partitions = partitions };
}

/* Its index stays, without partitions, so that those of others do. */
void assigning_drop_topic(struct assigning *a, const char *name)
{
    for (uint32_t t = 0; t < a->input.topic_count; t++)
        if (strcmp(a->topics[t].name, name) == 0)
            a->topics[t].partitions = 0;
}

static struct lt_assign_member *member_of(const struct assigning *a, const char *id)
{
    for (uint32_t m = 0; m < a->input.member_count; m++)
        if (strcmp(a->members[m].id, id) == 0)
            return (struct lt_assign_member *)&a->members[m];
    FAIL("no member %s", id);
    abort();
}

static bool find_topic(const struct assigning *a, const char *name, size_t size, uint32_t *topic)
{
    for (*topic = 0; *topic < a->input.topic_count; ++*topic)
        if (strlen(a->topics[*topic].name) == size && memcmp(a->topics[*topic].name, name, size) == 0)
            return true;
    return false;
}

void assigning_subscribe(struct assigning *a, const char *id, const char *subscription)
{
    struct lt_assign_member *member = member_of(a, id);
    uint32_t *topics = assigning_keep(calloc(strlen(subscription) + 1, sizeof *topics));
    char *text = assigning_keep(strdup(subscription)), *rest = text;
    member->topics = topics;
    member->topic_count = 0;
    for (char *word; (word = strsep(&rest, " "));)
        if (find_topic(a, word, strlen(word), &topics[member->topic_count]))
            member->topic_count++;
}

void assigning_static(struct assigning *a, const char *id, const char *instance_id, const char *subscription)
{
    CHECK(a->input.member_count < ASSIGNING_MEMBERS);
    a->members[a->input.member_count++] = (struct lt_assign_member){ .id = assigning_keep(strdup(id)),
                                                                     .instance_id = instance_id,
                                                                     .generation = -1 };
    assigning_subscribe(a, id, subscription);
}

void assigning_member(struct assigning *a, const char *id, const char *subscription)
{
    assigning_static(a, id, NULL, subscription);
}

void assigning_leave(struct assigning *a, const char *id)
{
    struct lt_assign_member *member = member_of(a, id), *end = a->members + a->input.member_count;
    memmove(member, member + 1, (size_t)((char *)end - (char *)(member + 1)));
    a->input.member_count--;
}

void assigning_owns(struct assigning *a, const char *id, int64_t generation, const char *parts)
{
    struct lt_assign_member *member = member_of(a, id);
    struct lt_assign_part *owned = assigning_keep(calloc(strlen(parts) + 1, sizeof *owned));
    char *text = assigning_keep(strdup(parts)), *rest = text;
    member->generation = generation;
    member->owned = owned;
    member->owned_count = 0;
    for (char *word; (word = strsep(&rest, " "));) {
        char *dash = strrchr(word, '-');
        uint32_t topic;
        if (dash && find_topic(a, word, (size_t)(dash - word), &topic))
            owned[member->owned_count++] = (struct lt_assign_part){ topic,
                                                                    (uint32_t)strtoul(dash + 1, NULL, 10) };
    }
}

void assigning_settle(struct assigning *a, int64_t generation)
{
    for (uint32_t m = 0; m < a->input.member_count; m++) {
        a->members[m].owned = a->output.parts + a->output.first[m];
        a->members[m].owned_count = a->output.first[m + 1] - a->output.first[m];
        a->members[m].generation = generation;
    }
}

/* ---- looking at what came out ---- */

const char *assigned(struct assigning *a, enum leat_assignor kind)
{
    char *text = NULL;
    size_t size = 0;
    a->output = output_for(&a->input);
    int r = assign_once(kind, &a->input, &a->output);
    if (r < 0)
        FAIL("lt_assign: %d", r);
    FILE *out = have(open_memstream(&text, &size));
    for (uint32_t m = 0; m < a->input.member_count; m++) {
        fprintf(out, "%s%s:", m ? " | " : "", a->members[m].id);
        for (uint32_t i = a->output.first[m]; i < a->output.first[m + 1]; i++)
            fprintf(out, " %s-%u", a->topics[a->output.parts[i].topic].name, a->output.parts[i].partition);
    }
    fclose(out);
    return assigning_keep(text);
}

uint32_t assigned_count(const struct assigning *a, const char *id)
{
    uint32_t m = (uint32_t)(member_of(a, id) - a->members);
    return a->output.first[m + 1] - a->output.first[m];
}

uint32_t assigned_of_topic(const struct assigning *a, const char *id, const char *topic)
{
    uint32_t m = (uint32_t)(member_of(a, id) - a->members), count = 0;
    for (uint32_t i = a->output.first[m]; i < a->output.first[m + 1]; i++)
        count += strcmp(a->topics[a->output.parts[i].topic].name, topic) == 0;
    return count;
}

static uint32_t owner_of(const struct assigning *a, struct lt_assign_part part)
{
    for (uint32_t m = 0; m < a->input.member_count; m++)
        for (uint32_t i = a->output.first[m]; i < a->output.first[m + 1]; i++)
            if (a->output.parts[i].topic == part.topic && a->output.parts[i].partition == part.partition)
                return m;
    return UINT32_MAX;
}

uint32_t assigned_moved(const struct assigning *a)
{
    uint32_t moved = 0;
    for (uint32_t m = 0; m < a->input.member_count; m++)
        for (uint32_t i = 0; i < a->members[m].owned_count; i++) {
            uint32_t owner = owner_of(a, a->members[m].owned[i]);
            moved += owner != m && owner != UINT32_MAX;
        }
    return moved;
}

static bool subscribes(const struct lt_assign_member *member, uint32_t topic)
{
    for (uint32_t i = 0; i < member->topic_count; i++)
        if (member->topics[i] == topic)
            return true;
    return false;
}

void assigned_check(const struct assigning *a)
{
    const struct lt_assign_input *input = &a->input;
    size_t size = lt_assign_scratch_bytes(LEAT_CUSTOM, input);
    void *scratch = have(malloc(size ? size : 1));
    if (lt_assign_check(input, &a->output, true, scratch, size) < 0)
        FAIL("the assignment fails its own check");
    free(scratch);
    for (uint32_t m = 0; m < input->member_count; m++)
        for (uint32_t i = a->output.first[m]; i < a->output.first[m + 1]; i++)
            for (uint32_t n = 0; n < input->member_count; n++)
                if (subscribes(&a->members[n], a->output.parts[i].topic) &&
                    a->output.first[m + 1] - a->output.first[m] >
                        a->output.first[n + 1] - a->output.first[n] + 1)
                    FAIL("%s has %u partitions, %s has %u and could take %s-%u", a->members[m].id,
                         a->output.first[m + 1] - a->output.first[m], a->members[n].id,
                         a->output.first[n + 1] - a->output.first[n],
                         a->topics[a->output.parts[i].topic].name, a->output.parts[i].partition);
}
