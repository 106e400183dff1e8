/* group_admin: groups as seen from outside. See admin.c: pages, and what arrives is checked like any input. */
#include "client/group_admin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/bus.h"
#include "client/link.h"
#include "client/topic.h"
#include "group/group.h"

#define ANSWER_MAX (LT_MSG_MAX - (uint32_t)sizeof(struct lt_msg))
#define ROWS_A_REQUEST 256u /* of a COMMIT */
#define TRIES 20            /* of a description, while the group changes */

static int no_memory(const char *what)
{
    return lt_fail(LEAT_ENOMEM, "memory for %s", what);
}

int lt_group_name_check(const char *group)
{
    if (group == NULL)
        return lt_fail(LEAT_EINVAL, "the group's name is NULL");
    size_t size = strlen(group);
    return size <= LT_GROUP_NAME_MAX && lt_topic_name_check(group, size) >= 0
               ? 0
               : lt_fail(LEAT_EINVAL,
                         "group \"%.60s\": a name of 1 to %u bytes of A-Z a-z 0-9 . _ -, not . or ..", group,
                         LT_GROUP_NAME_MAX);
}

static int check(leat_bus *bus, const char *group)
{
    int r = lt_bus_check(bus);
    return r < 0 ? r : lt_group_name_check(group);
}

static void put_name(char to[256], const char *name)
{
    memset(to, 0, 256);
    strcpy(to, name); /* which was checked */
}

/* A text of the wire, which may lack its 0. */
static char *text_of(const char *from, size_t size)
{
    return strndup(from, size);
}

static int call(leat_bus *bus, enum lt_msg_type type, const void *body, uint32_t body_size,
                unsigned char *answer, uint32_t *got)
{
    struct lt_request request = { .type = type,
                                  .body = body,
                                  .body_size = body_size,
                                  .answer = answer,
                                  .answer_size = answer != NULL ? ANSWER_MAX : 0 };
    int r = lt_link_call(&bus->link, &request);
    if (got != NULL)
        *got = request.got;
    return r;
}

const char *leat_assignor_name(enum leat_assignor assignor)
{
    return lt_group_assignor_name(assignor);
}

/* --- offsets --- */

static int offsets(leat_bus *bus, const char *group, unsigned char *buffer, lt_offsets_fn *take, void *user)
{
    struct lt_group_offsets body = { .from = 0 };
    const struct lt_group_offset_row *rows = (const void *)buffer;
    put_name(body.group, group);
    for (;;) {
        uint32_t got;
        int count = call(bus, LT_MSG_GROUP_OFFSETS, &body, sizeof body, buffer, &got);
        if (count <= 0)
            return count;
        if (got / sizeof *rows < (uint32_t)count)
            return lt_fail(LEAT_EPROTO, "group \"%s\": %d offsets in %u bytes", group, count, got);
        for (int i = 0; i < count; i++) {
            int r = take(&rows[i], user);
            if (r != 0)
                return r;
        }
        body.from = rows[count - 1].place + 1;
    }
}

int lt_group_offsets(leat_bus *bus, const char *group, lt_offsets_fn *take, void *user)
{
    unsigned char *buffer = malloc(ANSWER_MAX);
    int r = buffer != NULL ? offsets(bus, group, buffer, take, user) : no_memory("offsets");
    free(buffer);
    return r;
}

/* --- describe --- */

/* A description as it grows; serials[i] is member i's. */
struct description {
    leat_group_info *info;
    uint32_t *serials;
    uint32_t changes; /* of the group, when the first message was answered */
};

void leat_group_info_free(leat_group_info *info)
{
    if (info == NULL)
        return;
    for (int i = 0; i < info->member_count; i++) {
        free(info->members[i].member_id);
        free(info->members[i].client_id);
        free(info->members[i].instance_id);
        free(info->members[i].partitions);
    }
    for (int i = 0; i < info->partition_count; i++) {
        free((void *)(uintptr_t)info->partitions[i].topic);
        free(info->partitions[i].metadata);
    }
    free(info->group);
    free(info->members);
    free(info->partitions);
    free(info);
}

static const char *state_name(uint32_t state)
{
    static const char *const names[] = {
        [LEAT_GROUP_EMPTY] = "empty",
        [LEAT_GROUP_ASSIGNING] = "assigning",
        [LEAT_GROUP_RECONCILING] = "reconciling",
        [LEAT_GROUP_STABLE] = "stable",
    };
    return state < sizeof names / sizeof *names ? names[state] : "unknown";
}

static int take_head(leat_group_info *info, const struct lt_group_row *row)
{
    info->group = text_of(row->group, sizeof row->group);
    info->state = state_name(row->state);
    info->generation = row->generation;
    info->assignor = (enum leat_assignor)row->assignor;
    info->last_rebalance_us = row->last_rebalance_us;
    info->rebalances = row->rebalances;
    info->evictions = row->evictions;
    info->unowned_us = row->unowned_us;
    info->uid = row->uid;
    return info->group != NULL ? 0 : no_memory("a group's description");
}

static int take_member(struct description *d, const struct lt_group_member_row *row)
{
    leat_group_info *info = d->info;
    size_t count = (size_t)info->member_count + 1;
    leat_group_member_info *members = realloc(info->members, count * sizeof *members);
    if (members != NULL)
        info->members = members;
    uint32_t *serials = realloc(d->serials, count * sizeof *serials);
    if (serials != NULL)
        d->serials = serials;
    if (members == NULL || serials == NULL)
        return no_memory("a group's description");
    serials[count - 1] = row->serial;
    leat_group_member_info *member = &members[info->member_count++];
    *member = (leat_group_member_info){ .member_id = text_of(row->member_id, sizeof row->member_id),
                                        .client_id = text_of(row->client_id, sizeof row->client_id),
                                        .instance_id = text_of(row->instance_id, sizeof row->instance_id),
                                        .pid = row->pid };
    return member->member_id != NULL && member->client_id != NULL && member->instance_id != NULL
               ? 0
               : no_memory("a group's description");
}

static int take_members(struct description *d, leat_bus *bus, const char *group, unsigned char *buffer)
{
    struct lt_group_describe body = { .from = 0 };
    const struct lt_group_row *head = (const void *)buffer;
    const struct lt_group_member_row *rows = (const void *)(head + 1);
    put_name(body.group, group);
    for (;;) {
        uint32_t got;
        int r = 0, count = call(bus, LT_MSG_GROUP_DESCRIBE, &body, sizeof body, buffer, &got);
        if (count < 0)
            return count;
        if (got < sizeof *head || (got - sizeof *head) / sizeof *rows < (uint32_t)count)
            return lt_fail(LEAT_EPROTO, "group \"%s\": %d members in %u bytes", group, count, got);
        if (d->info->group == NULL) {
            r = take_head(d->info, head);
            d->changes = head->changes;
        }
        for (int i = 0; r >= 0 && i < count; i++)
            r = take_member(d, &rows[i]);
        if (r < 0 || count == 0)
            return r;
        body.from += (uint32_t)count;
    }
}

/* Sorted by member_id, and the serials with them. */
static void sort_members(struct description *d)
{
    leat_group_member_info *members = d->info->members;
    for (int i = 1; i < d->info->member_count; i++) {
        leat_group_member_info member = members[i];
        uint32_t serial = d->serials[i];
        int at = i;
        for (; at > 0 && strcmp(members[at - 1].member_id, member.member_id) > 0; at--) {
            members[at] = members[at - 1];
            d->serials[at] = d->serials[at - 1];
        }
        members[at] = member;
        d->serials[at] = serial;
    }
}

static int give_to_member(leat_group_member_info *member, const leat_group_partition_info *part)
{
    leat_partition *more = realloc(member->partitions,
                                   ((size_t)member->partition_count + 1) * sizeof *member->partitions);
    if (more == NULL)
        return no_memory("a group's description");
    member->partitions = more;
    more[member->partition_count++] = (leat_partition){ part->topic, part->partition };
    return 0;
}

static int64_t lag_of(const struct lt_group_offset_row *row)
{
    if (row->committed == LT_COMMIT_NONE)
        return -1;
    return row->log_end_offset > row->committed ? (int64_t)(row->log_end_offset - row->committed) : 0;
}

static int take_partition(const struct lt_group_offset_row *row, void *user)
{
    struct description *d = user;
    leat_group_info *info = d->info;
    size_t count = (size_t)info->partition_count + 1;
    if ((count & (count - 1)) == 0) { /* room for twice as many */
        leat_group_partition_info *more = realloc(info->partitions, count * 2 * sizeof *more);
        if (more == NULL)
            return no_memory("a group's description");
        info->partitions = more;
    }
    leat_group_partition_info *part = &info->partitions[info->partition_count++];
    size_t text_bytes = row->metadata_size < LT_METADATA_MAX ? row->metadata_size : LT_METADATA_MAX;
    *part = (leat_group_partition_info){
        .topic = text_of(row->topic, sizeof row->topic),
        .partition = row->partition,
        .current_offset = row->committed == LT_COMMIT_NONE ? -1 : (int64_t)row->committed,
        .log_start_offset = row->log_start_offset,
        .log_end_offset = row->log_end_offset,
        .lag = lag_of(row),
        .metadata = text_of(row->metadata, text_bytes),
        .unowned_us = row->unowned_us,
    };
    if (part->topic == NULL || part->metadata == NULL)
        return no_memory("a group's description");
    for (int i = 0; row->serial != 0 && i < info->member_count; i++) {
        if (d->serials[i] != row->serial)
            continue;
        part->member_id = info->members[i].member_id;
        part->client_id = info->members[i].client_id;
        part->pid = info->members[i].pid;
    }
    return 0;
}

static int by_topic(const void *a_void, const void *b_void)
{
    const leat_group_partition_info *a = a_void, *b = b_void;
    int order = strcmp(a->topic, b->topic);
    return order != 0 ? order : a->partition < b->partition ? -1 : a->partition > b->partition;
}

static int describe(struct description *d, leat_bus *bus, const char *group, unsigned char *buffer)
{
    leat_group_info *info = d->info;
    int r = take_members(d, bus, group, buffer);
    if (r < 0)
        return r;
    sort_members(d);
    r = lt_group_offsets(bus, group, take_partition, d);
    if (info->partition_count != 0)
        qsort(info->partitions, (size_t)info->partition_count, sizeof *info->partitions, by_topic);
    for (int i = 0; r >= 0 && i < info->partition_count; i++)
        for (int k = 0; r >= 0 && info->partitions[i].member_id != NULL && k < info->member_count; k++)
            if (info->members[k].member_id == info->partitions[i].member_id)
                r = give_to_member(&info->members[k], &info->partitions[i]);
    return r;
}

/* 1: what was told in several messages is of more than one moment. */
static int has_changed(const struct description *d, leat_bus *bus, const char *group, unsigned char *buffer)
{
    struct lt_group_describe body = { .from = UINT32_MAX };
    const struct lt_group_row *head = (const void *)buffer;
    uint32_t got;
    put_name(body.group, group);
    int r = call(bus, LT_MSG_GROUP_DESCRIBE, &body, sizeof body, buffer, &got);
    if (r < 0)
        return r;
    return got < sizeof *head || head->changes != d->changes;
}

/* Until nothing moves meanwhile; of a group that never stands still, the last try. */
static int describe_whole(struct description *d, leat_bus *bus, const char *group, unsigned char *buffer)
{
    int r = 1;
    for (int tries = 0; r > 0 && tries < TRIES; tries++) {
        leat_group_info_free(d->info);
        free(d->serials);
        *d = (struct description){ .info = calloc(1, sizeof *d->info) };
        r = d->info != NULL ? describe(d, bus, group, buffer) : no_memory("a group's description");
        if (r >= 0)
            r = has_changed(d, bus, group, buffer);
    }
    return r < 0 ? r : 0;
}

int leat_group_describe(leat_bus *bus, const char *group, leat_group_info **out)
{
    if (out == NULL)
        return lt_fail(LEAT_EINVAL, "leat_group_describe: no place for the answer");
    *out = NULL;
    int kept = errno;
    int r = check(bus, group);
    if (r < 0)
        return r;
    struct description d = { 0 };
    unsigned char *buffer = malloc(ANSWER_MAX);
    r = buffer != NULL ? describe_whole(&d, bus, group, buffer) : no_memory("a group's description");
    free(buffer);
    free(d.serials);
    if (r < 0)
        leat_group_info_free(d.info);
    else
        *out = d.info;
    errno = kept;
    return r < 0 ? r : 0;
}

/* --- list --- */

static int take_names(char ***names, int *count, const struct lt_group_row *rows, int told)
{
    char **more = realloc(*names, ((size_t)*count + (size_t)told + 1) * sizeof *more);
    if (more == NULL)
        return no_memory("names");
    *names = more;
    for (int i = 0; i < told; i++) {
        if (*count != 0 && strncmp(more[*count - 1], rows[i].group, sizeof rows[i].group) >= 0)
            return lt_fail(LEAT_EPROTO, "groups do not come in order");
        more[*count] = text_of(rows[i].group, sizeof rows[i].group - 1);
        if (more[*count] == NULL)
            return no_memory("names");
        ++*count;
    }
    return told;
}

static int list(leat_bus *bus, char ***names, int *count, unsigned char *buffer)
{
    struct lt_group_list body = { .after = "" };
    for (;;) {
        uint32_t got;
        int r = call(bus, LT_MSG_GROUP_LIST, &body, sizeof body, buffer, &got);
        if (r > 0 && got / sizeof(struct lt_group_row) < (uint32_t)r)
            r = lt_fail(LEAT_EPROTO, "%d groups in %u bytes", r, got);
        if (r > 0)
            r = take_names(names, count, (const void *)buffer, r);
        if (r <= 0)
            return r;
        put_name(body.after, (*names)[*count - 1]);
    }
}

int leat_group_list(leat_bus *bus, char ***out)
{
    if (out == NULL)
        return lt_fail(LEAT_EINVAL, "leat_group_list: no place for the names");
    *out = NULL;
    int kept = errno;
    int r = lt_bus_check(bus);
    if (r < 0)
        return r;
    char **names = calloc(1, sizeof *names);
    int count = 0;
    unsigned char *buffer = malloc(ANSWER_MAX);
    r = names != NULL && buffer != NULL ? list(bus, &names, &count, buffer) : no_memory("names");
    free(buffer);
    if (r < 0)
        leat_names_free(names, count);
    else
        *out = names;
    errno = kept;
    return r < 0 ? r : count;
}

/* --- reset and delete --- */

/* What an offset means now. */
static int resolve(leat_bus *bus, const leat_offset *offset, uint64_t *resolved)
{
    leat_topic_info *info;
    if (offset->offset >= 0) {
        *resolved = (uint64_t)offset->offset;
        return 0;
    }
    int r = leat_topic_describe(bus, offset->topic, &info);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < info->partition_count; i++)
        if (info->partitions[i].partition == offset->partition)
            *resolved = offset->offset == LEAT_BEGINNING ? info->partitions[i].log_start_offset
                                                         : info->partitions[i].log_end_offset;
    leat_topic_info_free(info);
    return 0;
}

static int reset_row(leat_bus *bus, const leat_offset *offset, struct lt_group_commit_row *row)
{
    struct lt_attached *topic;
    const char *text = offset->metadata != NULL ? offset->metadata : "";
    if (offset->offset < LEAT_END || strlen(text) > LT_METADATA_MAX)
        return lt_fail(LEAT_EINVAL, "%s: partition %u: offset %lld, metadata of %zu bytes",
                       offset->topic != NULL ? offset->topic : "(NULL)", offset->partition,
                       (long long)offset->offset, strlen(text));
    int r = lt_attached_open(bus, offset->topic, false, false, &topic);
    if (r < 0)
        return r;
    memset(row, 0, sizeof *row);
    row->topic_id = topic->topic_id;
    row->partition = offset->partition;
    row->metadata_size = (uint32_t)strlen(text);
    memcpy(row->metadata, text, row->metadata_size);
    r = offset->partition < topic->partition_count
            ? resolve(bus, offset, &row->offset)
            : lt_fail(LEAT_ENOPART, "%s: partition %u; there are %u", topic->name, offset->partition,
                      topic->partition_count);
    lt_attached_close(topic, false);
    return r;
}

static int reset(leat_bus *bus, const char *group, const leat_offset *offset, int count,
                 struct lt_group_commit *body)
{
    struct lt_group_commit_row *rows = (void *)(body + 1);
    int r = 0;
    put_name(body->group, group);
    for (int at = 0; r >= 0 && at < count; at += (int)body->count) {
        bool is_last = (uint32_t)(count - at) <= ROWS_A_REQUEST;
        body->count = is_last ? (uint32_t)(count - at) : ROWS_A_REQUEST;
        body->flags = is_last ? LT_COMMIT_SYNC : 0; /* it waits for all of them */
        for (uint32_t i = 0; r >= 0 && i < body->count; i++)
            r = reset_row(bus, &offset[at + (int)i], &rows[i]);
        if (r >= 0)
            r = call(bus, LT_MSG_GROUP_COMMIT, body, (uint32_t)(sizeof *body + body->count * sizeof rows[0]),
                     NULL, NULL);
    }
    return r;
}

int leat_group_reset(leat_bus *bus, const char *group, const leat_offset *offset, int count)
{
    int kept = errno;
    int r = check(bus, group);
    if (r >= 0 && (count < 0 || (offset == NULL && count != 0)))
        r = lt_fail(LEAT_EINVAL, "leat_group_reset: %d offsets", count);
    if (r < 0)
        return r;
    struct lt_group_commit *body = calloc(1, ANSWER_MAX);
    r = body != NULL ? reset(bus, group, offset, count, body) : no_memory("offsets");
    free(body);
    errno = kept;
    return r < 0 ? r : 0;
}

int leat_group_delete(leat_bus *bus, const char *group)
{
    struct lt_name body;
    int kept = errno;
    int r = check(bus, group);
    if (r >= 0) {
        put_name(body.name, group);
        r = call(bus, LT_MSG_GROUP_DELETE, &body, sizeof body, NULL, NULL);
    }
    errno = kept;
    return r < 0 ? r : 0;
}
