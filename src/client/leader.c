/* leader: the elected member of a group with LEAT_CUSTOM: VIEW, options.assign, PROPOSE. See member.h.
 *
 * Members and their topics come from VIEW, names and numbers of partitions from the topics, owners from OFFSETS. leatd checks what is
 * proposed against what it knows itself, so that a view that is out of date costs a round and nothing else: the round's number is
 * another one by then.
 */
#include <stdlib.h>
#include <string.h>

#include "client/group_admin.h"
#include "client/link.h"
#include "client/member.h"

struct subject {
    uint32_t serial;
    uint32_t *ids; /* topics */
    uint32_t id_count;
};

struct topic {
    uint32_t id;
    uint32_t partitions;
    char *name;
};

/* What VIEW said, and the same in the words of leat.h. */
struct view {
    uint64_t round;
    uint32_t member_count;
    struct subject *subjects;
    leat_assign_member *members;
    uint32_t topic_count;
    struct topic *topics; /* by name */
    uint32_t part_count;
    leat_partition *parts;
    uint32_t *part_ids; /* topics */
    int *previous;
    int *owner;
};

static int no_memory(void)
{
    return lt_fail(LEAT_ENOMEM, "memory for a custom assignment");
}

static void free_view(struct view *v)
{
    for (uint32_t i = 0; i < v->member_count; i++) {
        free(v->subjects[i].ids);
        free((void *)(uintptr_t)v->members[i].member_id);
        free((void *)(uintptr_t)v->members[i].instance_id);
        free((void *)(uintptr_t)v->members[i].topics);
    }
    for (uint32_t i = 0; i < v->topic_count; i++)
        free(v->topics[i].name);
    free(v->subjects);
    free(v->members);
    free(v->topics);
    free(v->parts);
    free(v->part_ids);
    free(v->previous);
    free(v->owner);
}

/* --- members --- */

static int take_member(struct view *v, const struct lt_group_view_row *row, const uint32_t *ids)
{
    size_t count = v->member_count + 1u;
    struct subject *subjects = realloc(v->subjects, count * sizeof *subjects);
    if (subjects != NULL)
        v->subjects = subjects;
    leat_assign_member *members = realloc(v->members, count * sizeof *members);
    if (members != NULL)
        v->members = members;
    uint32_t *copy = malloc((row->topic_count + 1u) * sizeof *copy);
    if (subjects == NULL || members == NULL || copy == NULL) {
        free(copy);
        return no_memory();
    }
    memcpy(copy, ids, row->topic_count * sizeof *ids);
    v->subjects[v->member_count] = (struct subject){ .serial = row->serial,
                                                     .ids = copy,
                                                     .id_count = row->topic_count };
    leat_assign_member *member = &v->members[v->member_count++];
    *member = (leat_assign_member){ .member_id = strndup(row->member_id, sizeof row->member_id),
                                    .instance_id = strndup(row->instance_id, sizeof row->instance_id) };
    return member->member_id != NULL && member->instance_id != NULL ? 0 : no_memory();
}

static int take_page(struct view *v, const unsigned char *at, uint32_t size, int rows)
{
    for (int i = 0; i < rows; i++) {
        const struct lt_group_view_row *row = (const void *)at;
        uint64_t ids_bytes = size < sizeof *row ? 0 : (uint64_t)row->topic_count * sizeof(uint32_t);
        if (size < sizeof *row || size - sizeof *row < ids_bytes)
            return lt_fail(LEAT_EPROTO, "member %d of a view is cut off", i);
        int r = take_member(v, row, (const uint32_t *)(const void *)(row + 1));
        if (r < 0)
            return r;
        at += sizeof *row + ids_bytes;
        size -= (uint32_t)(sizeof *row + ids_bytes);
    }
    return 0;
}

static int fetch_members(leat_consumer *c, struct view *v)
{
    struct lt_group_view body = { .member = lt_membership(c) };
    const struct lt_group_view_answer *answer = (const void *)c->member->buffer;
    for (;;) {
        uint32_t got;
        int rows = lt_member_ask(c, LT_MSG_GROUP_VIEW, &body, sizeof body, &got);
        if (rows < 0)
            return rows;
        if (got < sizeof *answer)
            return lt_fail(LEAT_EPROTO, "a view of %u bytes", got);
        if (body.from != 0 && answer->round != v->round)
            return LEAT_EFENCED; /* out of date: the version has moved too */
        v->round = answer->round;
        int r = take_page(v, (const unsigned char *)(answer + 1), got - (uint32_t)sizeof *answer, rows);
        body.from += (uint32_t)rows;
        if (r < 0 || rows == 0 || body.from >= answer->total)
            return r;
    }
}

/* --- topics --- */

static bool has_topic(const struct view *v, uint32_t id)
{
    for (uint32_t i = 0; i < v->topic_count; i++)
        if (v->topics[i].id == id)
            return true;
    return false;
}

/* A topic that was deleted meanwhile has no partitions. */
static int fetch_topic(leat_consumer *c, uint32_t id, struct topic *topic)
{
    struct lt_topic_name body = { .topic_id = id };
    leat_topic_info *info;
    char name[256];
    uint32_t got;
    int r = lt_member_ask(c, LT_MSG_TOPIC_NAME, &body, sizeof body, &got);
    if (r >= 0 && got < sizeof(struct lt_name))
        r = lt_fail(LEAT_EPROTO, "the name of topic %u has %u bytes", id, got);
    if (r < 0)
        return r;
    memcpy(name, c->member->buffer, sizeof name);
    name[sizeof name - 1] = 0;
    r = leat_topic_describe(c->handle.bus, name, &info);
    if (r < 0)
        return r;
    *topic = (struct topic){ .id = id, .partitions = info->partition_count, .name = strdup(name) };
    leat_topic_info_free(info);
    return topic->name != NULL ? 0 : no_memory();
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct topic *)a)->name, ((const struct topic *)b)->name);
}

static int fetch_topics(leat_consumer *c, struct view *v)
{
    for (uint32_t i = 0; i < v->member_count; i++) {
        for (uint32_t k = 0; k < v->subjects[i].id_count; k++) {
            uint32_t id = v->subjects[i].ids[k];
            if (has_topic(v, id))
                continue;
            struct topic *topics = realloc(v->topics, (v->topic_count + 1u) * sizeof *topics);
            if (topics == NULL)
                return no_memory();
            v->topics = topics;
            int r = fetch_topic(c, id, &topics[v->topic_count]);
            if (r == LEAT_ENOTOPIC)
                continue;
            if (r < 0)
                return r;
            v->topic_count++;
        }
    }
    if (v->topic_count != 0)
        qsort(v->topics, v->topic_count, sizeof *v->topics, by_name);
    return 0;
}

/* --- the view --- */

static int name_topics(struct view *v, uint32_t member)
{
    const struct subject *subject = &v->subjects[member];
    const char **names = calloc(subject->id_count + 1u, sizeof *names);
    if (names == NULL)
        return no_memory();
    v->members[member].topics = names;
    for (uint32_t i = 0; i < v->topic_count; i++) /* in order of names */
        for (uint32_t k = 0; k < subject->id_count; k++)
            if (subject->ids[k] == v->topics[i].id) {
                names[v->members[member].topic_count++] = v->topics[i].name;
                break;
            }
    return 0;
}

static int list_parts(struct view *v)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < v->topic_count; i++)
        total += v->topics[i].partitions;
    v->parts = calloc(total + 1, sizeof *v->parts);
    v->part_ids = calloc(total + 1, sizeof *v->part_ids);
    v->previous = calloc(total + 1, sizeof *v->previous);
    v->owner = calloc(total + 1, sizeof *v->owner);
    if (v->parts == NULL || v->part_ids == NULL || v->previous == NULL || v->owner == NULL)
        return no_memory();
    for (uint32_t i = 0; i < v->topic_count; i++) {
        for (uint32_t k = 0; k < v->topics[i].partitions; k++) {
            v->part_ids[v->part_count] = v->topics[i].id;
            v->previous[v->part_count] = v->owner[v->part_count] = -1;
            v->parts[v->part_count++] = (leat_partition){ v->topics[i].name, k };
        }
    }
    return 0;
}

static int take_owner(const struct lt_group_offset_row *row, void *user)
{
    struct view *v = user;
    int member = -1;
    for (uint32_t i = 0; row->serial != 0 && i < v->member_count; i++)
        if (v->subjects[i].serial == row->serial)
            member = (int)i;
    for (uint32_t i = 0; member >= 0 && i < v->part_count; i++)
        if (v->part_ids[i] == row->topic_id && v->parts[i].partition == row->partition)
            v->previous[i] = member;
    return 0;
}

static int make_view(leat_consumer *c, struct view *v)
{
    int r = fetch_members(c, v);
    r = r < 0 ? r : fetch_topics(c, v);
    r = r < 0 ? r : list_parts(v);
    for (uint32_t i = 0; r >= 0 && i < v->member_count; i++)
        r = name_topics(v, i);
    return r < 0 ? r : lt_group_offsets(c->handle.bus, c->options.group, take_owner, v);
}

/* --- proposing --- */

static int compute(leat_consumer *c, struct view *v)
{
    leat_assign_view view = { .members = v->members,
                              .member_count = (int)v->member_count,
                              .parts = v->parts,
                              .part_count = (int)v->part_count,
                              .previous = v->previous };
    int r = c->options.assign(&view, v->owner, c->options.user);
    lt_point("member.compute");
    for (uint32_t i = 0; r >= 0 && i < v->part_count; i++)
        if (v->owner[i] < 0 || (uint32_t)v->owner[i] >= v->member_count)
            r = lt_fail(LEAT_EINVAL, "the assignor gave %s, partition %u, to member %d of %u",
                        v->parts[i].topic, v->parts[i].partition, v->owner[i], v->member_count);
    return r;
}

#define PROPOSE_ROWS                                               \
    ((LT_ANSWER_MAX - (uint32_t)sizeof(struct lt_group_propose)) / \
     (uint32_t)sizeof(struct lt_group_propose_row))

static int propose(leat_consumer *c, const struct view *v)
{
    struct lt_group_propose *body = (void *)c->member->buffer;
    struct lt_group_propose_row *rows = (void *)(body + 1);
    uint32_t at = 0;
    int r;
    do {
        uint32_t left = v->part_count - at;
        *body = (struct lt_group_propose){ .member = lt_membership(c),
                                           .round = v->round,
                                           .count = left < PROPOSE_ROWS ? left : PROPOSE_ROWS };
        body->last = body->count == left;
        for (uint32_t i = 0; i < body->count; i++, at++)
            rows[i] = (struct lt_group_propose_row){ .serial = v->subjects[v->owner[at]].serial,
                                                     .topic_id = v->part_ids[at],
                                                     .partition = v->parts[at].partition };
        struct lt_request request = { .type = LT_MSG_GROUP_PROPOSE,
                                      .body = body,
                                      .body_size = (uint32_t)(sizeof *body + body->count * sizeof rows[0]) };
        r = lt_link_call(&c->handle.bus->link, &request);
    } while (r >= 0 && at < v->part_count);
    return r;
}

int lt_leader_compute(leat_consumer *c)
{
    struct view v = { .round = 0 };
    int r = make_view(c, &v);
    if (r >= 0)
        r = compute(c, &v);
    if (r >= 0)
        r = propose(c, &v);
    free_view(&v);
    /* Another round by now, or no member any more: the words of our bell say which, and have moved. */
    return r == LEAT_EFENCED || r > 0 ? 0 : r;
}
