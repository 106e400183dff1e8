/* group_topics: from what members ask for to topics that exist and may be read, and from those to the group's parts. */
#include "leatd/groups.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include "leatd/topics.h"

static bool may_read(const struct lt_peer *peer, const struct lt_topic *topic)
{
    return lt_peer_may(peer, topic->head->uid, topic->head->gid, topic->head->mode, 4);
}

static int compare_ids(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Ids of the names that exist. With `strict`, one that was asked for by name and may not be read is an error. */
static int resolve(struct lt_worker *w, const struct lt_peer *peer, const char *names, uint32_t bytes,
                   bool strict, uint32_t **ids, uint32_t *count)
{
    uint32_t room = 1;
    for (uint32_t i = 0; i < bytes; i++)
        room += names[i] == 0;
    *ids = malloc(room * sizeof **ids);
    *count = 0;
    if (!*ids)
        return lt_fail(LEAT_ENOMEM, "no memory for %u topics", room);
    for (const char *at = names; at < names + bytes; at += strlen(at) + 1) {
        struct lt_topic *topic = lt_topics_by_name(w, at + 1);
        if (topic && may_read(peer, topic)) {
            (*ids)[(*count)++] = topic->id;
        } else if (topic && strict && at[0] == '=') {
            free(*ids);
            return lt_fail(LEAT_EPERM, "topic %s: uid %u may not consume", at + 1, peer->uid);
        }
    }
    qsort(*ids, *count, sizeof **ids, compare_ids);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < *count; i++)
        if (i == 0 || (*ids)[i] != (*ids)[i - 1])
            (*ids)[kept++] = (*ids)[i];
    *count = kept;
    return 0;
}

/* Takes ids. Whether they are others than before. */
static bool set_topics(struct lt_kept_group *g, uint32_t m, uint32_t *ids, uint32_t count)
{
    struct lt_agent *agent = &g->agents[m];
    bool same = agent->topic_count == count &&
                (count == 0 || memcmp(agent->topics, ids, count * sizeof *ids) == 0);
    free(agent->topics);
    agent->topics = ids;
    agent->topic_count = count;
    g->machine.members[m].topics = ids;
    g->machine.members[m].topic_count = count;
    return !same;
}

static int check_names(const char *names, uint32_t bytes)
{
    if (bytes != 0 && names[bytes - 1] != 0)
        return lt_fail(LEAT_EPROTO, "a subscription of %u bytes does not end with 0", bytes);
    for (const char *at = names; at < names + bytes; at += strlen(at) + 1) {
        if (at[0] != '=' && at[0] != '~')
            return lt_fail(LEAT_EPROTO, "a subscription begins with \"%.20s\"", at);
        int r = lt_topic_name_check(at + 1, strlen(at + 1));
        if (r < 0)
            return r;
    }
    return 0;
}

int lt_groups_check_topics(struct lt_worker *w, const char *names, uint32_t bytes)
{
    int r = check_names(names, bytes);
    for (const char *at = names; r == 0 && at < names + bytes; at += strlen(at) + 1)
        if (at[0] == '=' && !lt_topics_by_name(w, at + 1))
            r = lt_fail(LEAT_ENOTOPIC, "no topic %s on this bus", at + 1);
    return r;
}

int lt_groups_subscribe(struct lt_kept_group *g, uint32_t m, const struct lt_peer *peer, const char *names,
                        uint32_t bytes, bool *changed)
{
    struct lt_agent *agent = &g->agents[m];
    uint32_t *ids = NULL, count = 0;
    int r = check_names(names, bytes);
    if (r == 0)
        r = resolve(g->w, peer, names, bytes, true, &ids, &count);
    if (r < 0)
        return r;
    char *copy = malloc(bytes + 1);
    if (!copy) {
        free(ids);
        return lt_fail(LEAT_ENOMEM, "no memory for a subscription of %u bytes", bytes);
    }
    memcpy(copy, names, bytes);
    copy[bytes] = 0;
    free(agent->names);
    agent->names = copy;
    agent->names_bytes = bytes;
    *changed = set_topics(g, m, ids, count);
    return 0;
}

/* Topics come and go; whose connection is away keeps those that are left, and says JOIN when it is back. */
static bool resolve_again(struct lt_kept_group *g, uint32_t m)
{
    struct lt_agent *agent = &g->agents[m];
    const struct lt_client *client = g->w->clients[agent->client];
    const struct lt_peer *peer = agent->client != 0 && client && client->conn ? &client->conn->peer : NULL;
    uint32_t *ids, count;
    if (peer && agent->names) {
        if (resolve(g->w, peer, agent->names, agent->names_bytes, false, &ids, &count) == 0)
            return set_topics(g, m, ids, count);
        return false;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < agent->topic_count; i++)
        if (lt_topics_by_id(g->w, agent->topics[i]))
            agent->topics[kept++] = agent->topics[i];
    bool changed = kept != agent->topic_count;
    agent->topic_count = g->machine.members[m].topic_count = kept;
    return changed;
}

/* The union of all subscriptions, into a fresh array; NULL: no memory. */
static struct lt_group_topic *collect(struct lt_kept_group *g, uint32_t *count)
{
    uint32_t total = 0, n = 0;
    for (uint32_t m = 0; m < g->machine.member_room; m++)
        total += g->machine.members[m].used ? g->agents[m].topic_count : 0;
    uint32_t *ids = malloc((total + 1) * sizeof *ids);
    struct lt_group_topic *topics = malloc((total + 1) * sizeof *topics);
    *count = 0;
    if (!ids || !topics) {
        free(ids);
        free(topics);
        return NULL;
    }
    for (uint32_t m = 0; m < g->machine.member_room; m++)
        for (uint32_t i = 0; g->machine.members[m].used && i < g->agents[m].topic_count; i++)
            ids[n++] = g->agents[m].topics[i];
    qsort(ids, n, sizeof *ids, compare_ids);
    for (uint32_t i = 0; i < n; i++) {
        const struct lt_topic *topic = i > 0 && ids[i] == ids[i - 1] ? NULL : lt_topics_by_id(g->w, ids[i]);
        if (topic)
            topics[(*count)++] = (struct lt_group_topic){ .id = topic->id,
                                                          .partitions = topic->partition_count,
                                                          .name = topic->name };
    }
    free(ids);
    return topics;
}

/* Parts of topics that are gone. */
static bool drop_parts(struct lt_kept_group *g)
{
    bool dropped = false;
    for (uint32_t p = 0; p < g->machine.part_room; p++) {
        if (g->machine.parts[p].topic_id == 0 || lt_topics_by_id(g->w, g->machine.parts[p].topic_id))
            continue;
        lt_groups_drop_place(g, p);
        dropped = true;
    }
    return dropped;
}

/* Its first records are of interest, whatever the reset policy says. The ids are this bus's, the times those of all before it. */
static bool is_younger(const struct lt_topic *topic, const struct lt_kept_group *g)
{
    return topic->id >= g->head->first_topic || topic->head->created_ms > g->head->created_ms;
}

/* Those of a topic that the group does not know yet. */
static int add_parts(struct lt_kept_group *g, const struct lt_group_topic *topic, bool *added)
{
    uint32_t missing = 0;
    for (uint32_t k = 0; k < topic->partitions; k++)
        missing += lt_groups_place(g, topic->id, k) == LT_NOBODY;
    bool fresh = missing != 0 && is_younger(lt_topics_by_id(g->w, topic->id), g);
    int r = missing != 0 ? lt_groups_room(g, 0, missing) : 0;
    for (uint32_t k = 0; r == 0 && missing != 0 && k < topic->partitions; k++) {
        if (lt_groups_place(g, topic->id, k) != LT_NOBODY)
            continue;
        if (lt_groups_add_place(g, topic->id, k, fresh) == LT_NOBODY)
            r = LEAT_ENOMEM;
        *added = true;
    }
    return r;
}

int lt_groups_refresh(struct lt_kept_group *g, bool *changed)
{
    uint32_t count;
    int r = 0;
    *changed = drop_parts(g);
    for (uint32_t m = 0; m < g->machine.member_room; m++)
        if (g->machine.members[m].used)
            *changed |= resolve_again(g, m);
    struct lt_group_topic *topics = collect(g, &count);
    if (!topics)
        return lt_fail(LEAT_ENOMEM, "group %s: no memory for its topics", g->name);
    free(g->topics);
    g->topics = topics;
    g->machine.topics = topics;
    g->machine.topic_count = count;
    for (uint32_t t = 0; r == 0 && t < count; t++)
        r = add_parts(g, &topics[t], changed);
    return r;
}

void lt_groups_topics(struct lt_worker *w)
{
    for (struct lt_kept_group *g = w->groups; g; g = g->next) {
        bool changed;
        g->now_ns = lt_clock_mono_ns();
        int r = lt_groups_refresh(g, &changed);
        if (r < 0)
            lt_worker_log(w, LT_LOG_ERROR, "group %s: %s", g->name, lt_fail_text());
        if (changed && g->machine.member_count != 0)
            lt_group_changed(&g->machine, LT_WHY_TOPICS, g->now_ns);
        lt_groups_settle(g);
    }
}
