/* group_requests: what members ask of their group, and others of groups. Bodies are input: sizes are checked here, before anything
 * is done; texts are ended; a member is believed only to be the consumer whose bell it has on its own connection.
 *
 * Every request means the same when it is said again, because the last worker may have done it and not answered.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include "leatd/group_log.h"
#include "leatd/groups.h"
#include "leatd/topics.h"

#define NS_PER_MS 1000000ll
#define MS_MAX (365ll * 24 * 3600 * 1000) /* longest time that a member may ask for */

/* --- checks --- */

static int check_group_name(const char name[256])
{
    if (!memchr(name, 0, 256))
        return lt_fail(LEAT_EINVAL, "a group's name of more than %u bytes", LT_GROUP_NAME_MAX);
    return lt_topic_name_check(name, strlen(name)) < 0
               ? lt_fail(LEAT_EINVAL, "group \"%s\": a name has 1 to %u bytes of [A-Za-z0-9._-]", name,
                         LT_GROUP_NAME_MAX)
               : 0;
}

static int check_size(uint32_t got, size_t wanted)
{
    return got == wanted ? 0 : lt_fail(LEAT_EPROTO, "a body of %u bytes; wanted %zu", got, wanted);
}

static int check_ms(const char *what, int64_t ms, int64_t least)
{
    return ms >= least && ms <= MS_MAX ? 0
                                       : lt_fail(LEAT_EINVAL, "%s %lld ms: %lld to %lld", what, (long long)ms,
                                                 (long long)least, (long long)MS_MAX);
}

/* The group by that name, if this peer may use it. */
static int find(struct lt_worker *w, const struct lt_peer *peer, const char *name, struct lt_kept_group **g)
{
    *g = lt_groups_find(w, name);
    if (!*g)
        return lt_fail(LEAT_ENOGROUP, "no group %s on this bus", name);
    if (peer->uid != 0 && peer->uid != (*g)->head->uid)
        return lt_fail(LEAT_EPERM, "group %s belongs to uid %u, not to uid %u", name, (*g)->head->uid,
                       peer->uid);
    return 0;
}

/* The member that says it is one. */
static int find_member(struct lt_worker *w, const struct lt_conn *conn, const struct lt_membership *said,
                       struct lt_kept_group **g, uint32_t *m)
{
    *g = lt_groups_of_bell(w, said->bell, m);
    if (!*g || !conn->client || (*g)->agents[*m].client != conn->client->id ||
        (*g)->agents[*m].serial != said->serial)
        return lt_fail(LEAT_EFENCED, "bell %u, serial %u: no member (any more)", said->bell, said->serial);
    (*g)->now_ns = lt_clock_mono_ns();
    return 0;
}

/* --- join and leave --- */

static int check_join(struct lt_worker *w, const struct lt_conn *conn, struct lt_group_join *join,
                      uint32_t bytes)
{
    int r = check_group_name(join->group);
    if (r < 0)
        return r;
    join->instance_id[sizeof join->instance_id - 1] = 0;
    join->client_id[sizeof join->client_id - 1] = 0;
    if (bytes - sizeof *join != join->topic_bytes)
        return lt_fail(LEAT_EPROTO, "a subscription of %zu bytes; %u were announced", bytes - sizeof *join,
                       join->topic_bytes);
    if (join->bell >= LT_BELLS || w->coordinator->bells[join->bell].client != conn->client->id)
        return lt_fail(LEAT_EINVAL, "bell %u is not client %u's", join->bell, conn->client->id);
    if (join->assignor >= LEAT_ASSIGNORS)
        return lt_fail(LEAT_EINVAL, "assignor %u; there are %d", join->assignor, LEAT_ASSIGNORS);
    if ((r = check_ms("max_poll_interval_ms", join->max_poll_interval_ms, 1)) < 0 ||
        (r = check_ms("rebalance_timeout_ms", join->rebalance_timeout_ms, 1)) < 0 ||
        (r = check_ms("session_timeout_ms", join->session_timeout_ms, 1)) < 0)
        return r;
    return check_ms("join_delay_ms", join->join_delay_ms, 0);
}

/* What a member says of itself each time it joins. */
static void take_settings(struct lt_kept_group *g, uint32_t m, const struct lt_group_join *join)
{
    struct lt_agent *agent = &g->agents[m];
    agent->gates = (join->flags & LT_JOIN_GATE) != 0;
    agent->max_poll_interval_ns = join->max_poll_interval_ms * NS_PER_MS;
    agent->session_timeout_ns = join->session_timeout_ms * NS_PER_MS;
    g->machine.members[m].rebalance_timeout_ns = join->rebalance_timeout_ms * NS_PER_MS;
    g->machine.members[m].named = true;
    lt_seat(g, m)->gates = agent->gates;
    lt_seat(g, m)->session_timeout_ms = (uint64_t)join->session_timeout_ms;
}

/* It is one already: by the serial that it says, or because its first JOIN was not answered. */
static int join_again(struct lt_kept_group *g, uint32_t m, const struct lt_peer *peer,
                      const struct lt_group_join *join, const char *names)
{
    bool changed, was_named = g->machine.members[m].named;
    int r = lt_groups_subscribe(g, m, peer, names, join->topic_bytes, &changed);
    if (r < 0)
        return r;
    take_settings(g, m, join);
    bool refreshed = false;
    if (changed || !was_named)
        r = lt_groups_refresh(g, &refreshed);
    /* What was adopted for it is what it owned; the plan that waits for it is still to come. */
    bool awaited = !was_named && g->machine.adopting;
    if (r == 0 && (changed || refreshed) && !awaited)
        lt_group_changed(&g->machine, LT_WHY_SUBSCRIPTION, g->now_ns);
    lt_groups_settle(g);
    return r;
}

/* Whether the others in the group will have it. `instance`: the seat of its own that it comes back to, or LT_NOBODY. */
static int check_company(const struct lt_kept_group *g, const struct lt_group_join *join, uint32_t instance)
{
    uint32_t others = g->machine.member_count - (instance != LT_NOBODY);
    if (others == 0)
        return 0;
    if (g->head->assignor != join->assignor)
        return lt_fail(LEAT_EINVAL, "group %s: its members use %s, not %s", g->name,
                       lt_group_assignor_name((enum leat_assignor)g->head->assignor),
                       lt_group_assignor_name((enum leat_assignor)join->assignor));
    if (g->head->alone || (join->flags & LT_JOIN_ALONE))
        return lt_fail(LEAT_EEXCLUSIVE, "group %s: a member %s, and there is one", g->name,
                       g->head->alone ? "is alone" : "wants to be alone");
    return 0;
}

static uint32_t find_instance(const struct lt_kept_group *g, const char *instance_id)
{
    for (uint32_t m = 0; instance_id[0] && m < g->machine.member_room; m++)
        if (g->machine.members[m].used && strcmp(g->agents[m].instance_id, instance_id) == 0)
            return m;
    return LT_NOBODY;
}

/* Who is the only one says how the group is run. */
static void set_rules(struct lt_kept_group *g, const struct lt_group_join *join)
{
    g->head->assignor = join->assignor;
    g->machine.assignor = (enum leat_assignor)join->assignor;
    g->head->alone = (join->flags & LT_JOIN_ALONE) != 0;
}

static int come_back(struct lt_kept_group *g, uint32_t m, struct lt_conn *conn,
                     const struct lt_group_join *join, const char *names)
{
    if (!g->machine.members[m].away)
        return lt_fail(LEAT_EEXIST, "group %s: instance %s is member %s, which is here", g->name,
                       join->instance_id, g->agents[m].id);
    bool changed, refreshed = false;
    int r = lt_groups_subscribe(g, m, &conn->peer, names, join->topic_bytes, &changed);
    if (r < 0)
        return r;
    lt_groups_sit_down(g, m, conn->client, join, g->agents[m].serial);
    take_settings(g, m, join);
    if (g->machine.member_count == 1)
        set_rules(g, join);
    lt_group_back(&g->machine, m);
    r = lt_groups_refresh(g, &refreshed);
    if (r == 0 && (changed || refreshed))
        lt_group_changed(&g->machine, LT_WHY_SUBSCRIPTION, g->now_ns);
    lt_groups_settle(g);
    return r;
}

static int sit_down(struct lt_kept_group *g, struct lt_conn *conn, const struct lt_group_join *join,
                    const char *names, uint32_t *seat)
{
    bool changed;
    uint32_t m = 0;
    int r = lt_groups_room(g, 1, 0);
    if (r < 0)
        return r;
    while (g->machine.members[m].used)
        m++;
    r = lt_groups_subscribe(g, m, &conn->peer, names, join->topic_bytes, &changed);
    if (r < 0)
        return r;
    if (g->machine.member_count == 0)
        set_rules(g, join);
    lt_groups_sit_down(g, m, conn->client, join, ++g->head->next_serial);
    take_settings(g, m, join);
    lt_group_join(&g->machine, m, join->join_delay_ms * NS_PER_MS, g->now_ns);
    r = lt_groups_refresh(g, &changed);
    if (r < 0)
        lt_group_leave(&g->machine, m, g->now_ns);
    lt_groups_settle(g);
    *seat = m;
    return r;
}

static int join_group(struct lt_worker *w, struct lt_conn *conn, const struct lt_group_join *join,
                      const char *names, struct lt_kept_group **group, uint32_t *m)
{
    struct lt_kept_group *g = lt_groups_of_bell(w, join->bell, m);
    int r;
    if (g && strcmp(g->name, join->group) != 0)
        return lt_fail(LEAT_EINVAL, "bell %u is a member of group %s", join->bell, g->name);
    *group = g;
    if (g) {
        g->now_ns = lt_clock_mono_ns();
        if (join->serial != 0 && join->serial != g->agents[*m].serial)
            return lt_fail(LEAT_EFENCED, "group %s: bell %u is member %u, not %u", g->name, join->bell,
                           g->agents[*m].serial, join->serial);
        return join_again(g, *m, &conn->peer, join, names);
    }
    if (join->serial != 0)
        return lt_fail(LEAT_EFENCED, "group %s: member %u was evicted", join->group, join->serial);
    r = find(w, &conn->peer, join->group, &g);
    bool made = r == LEAT_ENOGROUP;
    if (made)
        g = lt_groups_make(w, &conn->peer, join->group, &r);
    else if (r < 0)
        return r;
    if (!g)
        return r;
    *group = g;
    g->now_ns = lt_clock_mono_ns();
    uint32_t instance = find_instance(g, join->instance_id);
    r = check_company(g, join, instance);
    if (r == 0 && instance != LT_NOBODY) {
        *m = instance;
        r = come_back(g, instance, conn, join, names);
    } else if (r == 0) {
        r = sit_down(g, conn, join, names, m);
    }
    if (r < 0 && made)
        lt_groups_drop(w, g); /* who is refused leaves no group behind */
    return r;
}

int lt_groups_join(struct lt_worker *w, struct lt_conn *conn, const void *body, uint32_t body_bytes,
                   void *out, uint32_t out_room, uint32_t *size)
{
    struct lt_group_join join;
    struct lt_group_join_answer *reply = out;
    struct lt_kept_group *g = NULL;
    uint32_t m = 0;
    (void)out_room;
    memcpy(&join, body, sizeof join);
    int r = check_join(w, conn, &join, body_bytes);
    if (r == 0 && (join.flags & LT_JOIN_MUST_EXIST))
        r = lt_groups_check_topics(w, (const char *)body + sizeof join, join.topic_bytes);
    if (r < 0)
        return r;
    if (join.client_id[0] == 0)
        snprintf(join.client_id, sizeof join.client_id, "%s",
                 w->coordinator->clients[conn->client->id].client_id);
    r = join_group(w, conn, &join, (const char *)body + sizeof join, &g, &m);
    if (r < 0)
        return r;
    memset(reply, 0, sizeof *reply);
    reply->generation = g->machine.generation;
    reply->serial = g->agents[m].serial;
    reply->fence = lt_seat(g, m)->fence;
    snprintf(reply->member_id, sizeof reply->member_id, "%s", g->agents[m].id);
    *size = sizeof *reply;
    return 0;
}

int lt_groups_leave(struct lt_worker *w, struct lt_conn *conn, const void *body, uint32_t body_bytes,
                    void *out, uint32_t out_room, uint32_t *size)
{
    const struct lt_group_leave *leave = body;
    struct lt_kept_group *g;
    uint32_t m;
    (void)out, (void)out_room, (void)size;
    int r = check_size(body_bytes, sizeof *leave);
    if (r < 0)
        return r;
    if (find_member(w, conn, &leave->member, &g, &m) < 0) /* it has left before a reconnect, or was evicted */
        return lt_group_log_wait(w, conn, NULL);
    if (leave->keep && g->agents[m].instance_id[0] != 0) {
        lt_groups_bell_gone(w, leave->member.bell);
    } else {
        lt_group_leave(&g->machine, m, g->now_ns);
        lt_groups_settle(g);
    }
    return lt_group_log_is_slow(g) ? lt_group_log_wait(w, conn, NULL) : 0;
}

/* --- sync and release --- */

int lt_groups_sync(struct lt_worker *w, struct lt_conn *conn, const void *body, uint32_t body_bytes,
                   void *out, uint32_t out_room, uint32_t *size)
{
    const struct lt_group_sync *sync = body;
    struct lt_group_sync_answer *reply = out;
    struct lt_kept_group *g;
    uint32_t m;
    int r = check_size(body_bytes, sizeof *sync);
    if (r == 0)
        r = find_member(w, conn, &sync->member, &g, &m);
    if (r < 0)
        return r;
    const struct lt_group *machine = &g->machine;
    uint32_t rows = 0, room = (out_room - (uint32_t)sizeof *reply) / (uint32_t)sizeof *reply->rows;
    *reply = (struct lt_group_sync_answer){ .generation = machine->generation,
                                            .version = w->coordinator->members[sync->member.bell].version,
                                            .state = machine->state,
                                            .flags = machine->leader == m ? LT_SYNC_COMPUTE : 0 };
    for (uint32_t p = 0; p < machine->part_room; p++)
        if (lt_groups_concerns(g, p, m) && reply->total++ >= sync->from && rows != room)
            reply->rows[rows++] = lt_groups_row(g, p, m);
    *size = (uint32_t)(sizeof *reply + rows * sizeof *reply->rows);
    return (int)rows;
}

int lt_groups_release(struct lt_worker *w, struct lt_conn *conn, const void *body, uint32_t body_bytes,
                      void *out, uint32_t out_room, uint32_t *size)
{
    const struct lt_group_release *release = body;
    struct lt_kept_group *g;
    uint32_t m;
    (void)out, (void)out_room, (void)size;
    const struct lt_topic_part *parts = (const void *)(release + 1);
    if (release->count > LT_MSG_MAX / sizeof *parts)
        return lt_fail(LEAT_EPROTO, "%u partitions in one message", release->count);
    int r = check_size(body_bytes, sizeof *release + release->count * sizeof *parts);
    if (r == 0)
        r = find_member(w, conn, &release->member, &g, &m);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < release->count; i++) {
        uint32_t p = lt_groups_place(g, parts[i].topic_id, parts[i].partition);
        if (p != LT_NOBODY)
            lt_group_release(&g->machine, m, p, g->now_ns);
    }
    lt_groups_settle(g);
    return 0;
}

/* --- offsets --- */

static int check_row(struct lt_worker *w, const struct lt_peer *peer, const struct lt_group_commit_row *row)
{
    const struct lt_topic *topic = lt_topics_by_id(w, row->topic_id);
    if (!topic)
        return lt_fail(LEAT_ENOTOPIC, "no topic with id %u on this bus", row->topic_id);
    if (row->partition >= topic->partition_count)
        return lt_fail(LEAT_ENOPART, "topic %s has partitions 0..%u, not %u", topic->name,
                       topic->partition_count - 1, row->partition);
    if (row->metadata_size > LT_METADATA_MAX)
        return lt_fail(LEAT_EINVAL, "metadata of %u bytes; at most %u", row->metadata_size, LT_METADATA_MAX);
    if (row->offset != LT_COMMIT_NONE && row->offset > INT64_MAX)
        return lt_fail(LEAT_EINVAL, "topic %s, partition %u: offset %llu", topic->name, row->partition,
                       (unsigned long long)row->offset);
    if (!lt_peer_may(peer, topic->head->uid, topic->head->gid, topic->head->mode, 4))
        return lt_fail(LEAT_EPERM, "topic %s: uid %u may not consume", topic->name, peer->uid);
    return 0;
}

static void set_metadata(struct lt_kept_group *g, uint32_t p, const struct lt_group_commit_row *row)
{
    struct lt_group_place *place = lt_place_of(g, p);
    bool is_new = place->metadata_offset != row->offset || place->metadata_size != row->metadata_size ||
                  memcmp(place->metadata, row->metadata, row->metadata_size) != 0;
    place->metadata_size = 0;
    memcpy(place->metadata, row->metadata, row->metadata_size);
    place->metadata_offset = row->offset;
    place->metadata_size = row->metadata_size;
    lt_group_log_look(g, p, is_new);
}

static int commit_of_member(struct lt_worker *w, struct lt_conn *conn, const struct lt_group_commit *commit,
                            const struct lt_group_commit_row *rows)
{
    struct lt_kept_group *g;
    uint32_t m;
    int r = find_member(w, conn, &commit->member, &g, &m);
    for (uint32_t i = 0; r == 0 && i < commit->count; i++) {
        uint32_t p = lt_groups_place(g, rows[i].topic_id, rows[i].partition);
        if (p == LT_NOBODY || g->machine.parts[p].owner != m)
            r = lt_fail(LEAT_EFENCED, "group %s: member %s does not own topic %u, partition %u", g->name,
                        g->agents[m].id, rows[i].topic_id, rows[i].partition);
        else
            set_metadata(g, p, &rows[i]);
    }
    bool waits = r == 0 && (commit->flags & LT_COMMIT_SYNC) && lt_group_log_is_slow(g);
    return waits ? lt_group_log_wait(w, conn, &commit->member) : r;
}

static int commit_of_others(struct lt_worker *w, struct lt_conn *conn, const struct lt_group_commit *commit,
                            const struct lt_group_commit_row *rows)
{
    struct lt_kept_group *g;
    int r = find(w, &conn->peer, commit->group, &g);
    if (r == LEAT_ENOGROUP && !(commit->flags & LT_COMMIT_MUST_EXIST))
        g = lt_groups_make(w, &conn->peer, commit->group, &r);
    else if (r < 0)
        return r;
    if (!g)
        return r;
    if (g->machine.member_count != 0)
        return lt_fail(LEAT_EINUSE, "group %s has members: %u", g->name, g->machine.member_count);
    r = lt_groups_room(g, 0, commit->count);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < commit->count; i++) {
        uint32_t p = lt_groups_place(g, rows[i].topic_id, rows[i].partition);
        if (p == LT_NOBODY)
            p = lt_groups_add_place(g, rows[i].topic_id, rows[i].partition, false);
        if (p == LT_NOBODY)
            return LEAT_ENOMEM;
        set_metadata(g, p, &rows[i]);
        lt_store_relaxed64(&lt_place_of(g, p)->committed, rows[i].offset);
    }
    g->head->empty_since_ms = (uint64_t)lt_clock_real_ms();
    bool waits = (commit->flags & LT_COMMIT_SYNC) && lt_group_log_is_slow(g);
    return waits ? lt_group_log_wait_outside(w, conn) : 0;
}

int lt_groups_commit(struct lt_worker *w, struct lt_conn *conn, const void *body, uint32_t body_bytes,
                     void *out, uint32_t out_room, uint32_t *size)
{
    const struct lt_group_commit *commit = body;
    const struct lt_group_commit_row *rows = (const void *)(commit + 1);
    (void)out, (void)out_room, (void)size;
    if (commit->count > LT_MSG_MAX / sizeof *rows)
        return lt_fail(LEAT_EPROTO, "%u partitions in one message", commit->count);
    int r = check_size(body_bytes, sizeof *commit + commit->count * sizeof *rows);
    if (r == 0)
        r = check_group_name(commit->group);
    for (uint32_t i = 0; r == 0 && i < commit->count; i++) /* all or none */
        r = check_row(w, &conn->peer, &rows[i]);
    if (r < 0)
        return r;
    return commit->member.serial != 0 ? commit_of_member(w, conn, commit, rows)
                                      : commit_of_others(w, conn, commit, rows);
}

static void fill_offset_row(struct lt_kept_group *g, uint32_t p, struct lt_group_offset_row *row)
{
    const struct lt_group_part *part = &g->machine.parts[p];
    const struct lt_group_place *place = lt_place_of(g, p);
    struct lt_topic *topic = lt_topics_by_id(g->w, part->topic_id);
    memset(row, 0, sizeof *row);
    row->topic_id = part->topic_id;
    row->partition = part->partition;
    row->serial = part->owner != LT_NOBODY ? g->agents[part->owner].serial : 0;
    row->committed = lt_groups_committed(g, p);
    row->place = p;
    row->unowned_us = place->unowned_us;
    if (place->metadata_offset == row->committed) {
        row->metadata_size = place->metadata_size;
        memcpy(row->metadata, place->metadata, place->metadata_size);
    }
    if (topic && part->partition < topic->partition_count) {
        snprintf(row->topic, sizeof row->topic, "%s", topic->name);
        lt_topics_bounds(&topic->parts[part->partition], &row->log_start_offset, &row->log_end_offset);
    }
}

int lt_groups_offsets(struct lt_worker *w, struct lt_conn *conn, const void *body, uint32_t body_bytes,
                      void *out, uint32_t out_room, uint32_t *size)
{
    const struct lt_group_offsets *request = body;
    struct lt_group_offset_row *rows = out;
    struct lt_kept_group *g;
    int count = 0;
    int r = check_size(body_bytes, sizeof *request);
    if (r == 0)
        r = check_group_name(request->group);
    if (r == 0)
        r = find(w, &conn->peer, request->group, &g);
    /* By place, not by number: a topic that is deleted between two messages moves none of the others. */
    for (uint32_t p = request->from; r == 0 && p < g->machine.part_room; p++) {
        if (g->machine.parts[p].topic_id == 0)
            continue;
        if ((count + 1) * sizeof *rows > out_room)
            break;
        fill_offset_row(g, p, &rows[count++]);
    }
    *size = (uint32_t)count * (uint32_t)sizeof *rows;
    return r < 0 ? r : count;
}

/* --- for people --- */

static uint32_t count_parts(const struct lt_kept_group *g)
{
    uint32_t count = 0;
    for (uint32_t p = 0; p < g->machine.part_room; p++)
        count += g->machine.parts[p].topic_id != 0;
    return count;
}

static void fill_group_row(const struct lt_kept_group *g, struct lt_group_row *row)
{
    memset(row, 0, sizeof *row);
    memcpy(row->group, g->name, sizeof row->group);
    row->state = g->machine.state;
    row->assignor = g->head->assignor;
    row->generation = g->machine.generation;
    row->members = g->machine.member_count;
    row->parts = count_parts(g);
    row->uid = g->head->uid;
    row->changes = g->changes;
    row->last_rebalance_us = g->head->last_rebalance_us;
    row->rebalances = g->head->rebalances;
    row->evictions = g->head->evictions;
    row->unowned_us = g->head->unowned_us;
}

static int compare_groups(const void *a, const void *b)
{
    return strcmp((*(struct lt_kept_group *const *)a)->name, (*(struct lt_kept_group *const *)b)->name);
}

int lt_groups_list(struct lt_worker *w, struct lt_conn *conn, const void *body, uint32_t body_bytes,
                   void *out, uint32_t out_room, uint32_t *size)
{
    const struct lt_group_list *request = body;
    struct lt_group_row *rows = out;
    uint32_t count = 0, listed = 0;
    (void)conn;
    int r = check_size(body_bytes, sizeof *request);
    if (r < 0)
        return r;
    if (!memchr(request->after, 0, sizeof request->after))
        return lt_fail(LEAT_EPROTO, "a name without an end");
    struct lt_kept_group **all = malloc((w->group_count + 1) * sizeof(struct lt_kept_group *));
    if (!all)
        return lt_fail(LEAT_ENOMEM, "no memory to sort %u names", w->group_count);
    for (struct lt_kept_group *g = w->groups; g; g = g->next)
        if (strcmp(g->name, request->after) > 0)
            all[count++] = g;
    qsort(all, count, sizeof *all, compare_groups);
    while (listed < count && (listed + 1) * sizeof *rows <= out_room) {
        fill_group_row(all[listed], &rows[listed]);
        listed++;
    }
    free(all);
    *size = listed * (uint32_t)sizeof *rows;
    return (int)listed;
}

static void fill_member_row(struct lt_kept_group *g, uint32_t m, struct lt_group_member_row *row)
{
    const struct lt_agent *agent = &g->agents[m];
    const struct lt_client *client = agent->client != 0 ? g->w->clients[agent->client] : NULL;
    memset(row, 0, sizeof *row);
    row->serial = agent->serial;
    row->pid = client ? client->pid : 0;
    row->client = agent->client;
    row->owned = g->machine.members[m].owned;
    memcpy(row->member_id, agent->id, sizeof row->member_id);
    memcpy(row->client_id, agent->client_id, sizeof row->client_id);
    memcpy(row->instance_id, agent->instance_id, sizeof row->instance_id);
}

int lt_groups_describe(struct lt_worker *w, struct lt_conn *conn, const void *body, uint32_t body_bytes,
                       void *out, uint32_t out_room, uint32_t *size)
{
    const struct lt_group_describe *request = body;
    struct lt_group_row *head = out;
    struct lt_group_member_row *rows = (void *)(head + 1);
    struct lt_kept_group *g;
    uint32_t seen = 0, count = 0;
    int r = check_size(body_bytes, sizeof *request);
    if (r == 0)
        r = check_group_name(request->group);
    if (r == 0)
        r = find(w, &conn->peer, request->group, &g);
    if (r < 0)
        return r;
    fill_group_row(g, head);
    for (uint32_t m = 0; m < g->machine.member_room; m++) {
        if (!g->machine.members[m].used || seen++ < request->from)
            continue;
        if (sizeof *head + (count + 1) * sizeof *rows > out_room)
            break;
        fill_member_row(g, m, &rows[count++]);
    }
    *size = (uint32_t)(sizeof *head + count * sizeof *rows);
    return (int)count;
}

int lt_groups_delete(struct lt_worker *w, struct lt_conn *conn, const void *body, uint32_t body_bytes,
                     void *out, uint32_t out_room, uint32_t *size)
{
    const struct lt_msg *head = (const struct lt_msg *)(const void *)w->buffer;
    const struct lt_name *request = body;
    struct lt_client_entry *entry = conn->client ? &w->coordinator->clients[conn->client->id] : NULL;
    struct lt_kept_group *g;
    (void)out, (void)out_room, (void)size;
    int r = check_size(body_bytes, sizeof *request);
    if (r == 0)
        r = check_group_name(request->name);
    if (r == 0)
        r = find(w, &conn->peer, request->name, &g);
    if (r == LEAT_ENOGROUP && entry && entry->last_delete == head->number)
        return lt_group_log_wait(w, conn, NULL); /* the last worker has done it, and not answered */
    if (r < 0)
        return r;
    if (g->machine.member_count != 0)
        return lt_fail(LEAT_EINUSE, "group %s has members: %u", g->name, g->machine.member_count);
    lt_worker_log(w, LT_LOG_INFO, "group %s deleted by pid %d", g->name, conn->peer.pid);
    if (entry)
        lt_store_relaxed32(&entry->last_delete, head->number); /* for the next worker */
    bool waits = g->filed.log_count != 0;
    lt_groups_drop(w, g);
    return waits ? lt_group_log_wait(w, conn, NULL) : 0;
}

int lt_groups_topic_name(struct lt_worker *w, struct lt_conn *conn, const void *body, uint32_t body_bytes,
                         void *out, uint32_t out_room, uint32_t *size)
{
    const struct lt_topic_name *request = body;
    struct lt_name *reply = out;
    (void)conn, (void)out_room;
    int r = check_size(body_bytes, sizeof *request);
    if (r < 0)
        return r;
    const struct lt_topic *topic = lt_topics_by_id(w, request->topic_id);
    if (!topic)
        return lt_fail(LEAT_ENOTOPIC, "no topic with id %u on this bus", request->topic_id);
    memset(reply, 0, sizeof *reply);
    snprintf(reply->name, sizeof reply->name, "%s", topic->name);
    *size = sizeof *reply;
    return 0;
}

/* --- a leader's own assignment --- */

int lt_groups_view(struct lt_worker *w, struct lt_conn *conn, const void *body, uint32_t body_bytes,
                   void *out, uint32_t out_room, uint32_t *size)
{
    const struct lt_group_view *request = body;
    struct lt_group_view_answer *reply = out;
    struct lt_kept_group *g;
    uint32_t me, seen = 0;
    int rows = 0;
    int r = check_size(body_bytes, sizeof *request);
    if (r == 0)
        r = find_member(w, conn, &request->member, &g, &me);
    if (r < 0)
        return r;
    if (g->machine.leader != me)
        return lt_fail(LEAT_EFENCED, "group %s: member %s is not asked to assign", g->name, g->agents[me].id);
    *reply = (struct lt_group_view_answer){ .round = g->machine.round, .total = g->machine.member_count };
    *size = sizeof *reply;
    for (uint32_t m = 0; m < g->machine.member_room; m++) {
        const struct lt_agent *agent = &g->agents[m];
        if (!g->machine.members[m].used || seen++ < request->from)
            continue;
        uint32_t bytes = (uint32_t)(sizeof(struct lt_group_view_row) + agent->topic_count * sizeof(uint32_t));
        if (*size + bytes > out_room)
            break;
        struct lt_group_view_row *row = (void *)((char *)out + *size);
        memset(row, 0, sizeof *row);
        row->serial = agent->serial;
        row->topic_count = agent->topic_count;
        memcpy(row->member_id, agent->id, sizeof row->member_id);
        memcpy(row->instance_id, agent->instance_id, sizeof row->instance_id);
        if (agent->topic_count != 0)
            memcpy(row + 1, agent->topics, agent->topic_count * sizeof(uint32_t));
        *size += bytes;
        rows++;
    }
    return rows;
}

static uint32_t member_of(const struct lt_kept_group *g, uint32_t serial)
{
    for (uint32_t m = 0; m < g->machine.member_room; m++)
        if (g->machine.members[m].used && g->agents[m].serial == serial)
            return m;
    return LT_NOBODY;
}

/* What comes in several messages is nobody's target before the last one. */
static int begin_proposal(struct lt_kept_group *g, uint64_t round)
{
    uint32_t room = g->machine.part_room;
    uint32_t *proposed = realloc(g->proposed, room * sizeof *proposed);
    if (!proposed)
        return lt_fail(LEAT_ENOMEM, "no memory for an assignment of %u partitions", room);
    for (uint32_t p = 0; p < room; p++)
        proposed[p] = LT_NOBODY;
    g->proposed = proposed;
    g->proposed_room = room;
    g->proposed_round = round;
    return 0;
}

static int take_proposed_row(struct lt_kept_group *g, const struct lt_group_propose_row *row)
{
    uint32_t p = lt_groups_place(g, row->topic_id, row->partition);
    uint32_t m = member_of(g, row->serial);
    if (p == LT_NOBODY || p >= g->proposed_room || m == LT_NOBODY)
        return lt_fail(LEAT_EINVAL, "group %s: topic %u, partition %u to member %u: no such %s", g->name,
                       row->topic_id, row->partition, row->serial, m == LT_NOBODY ? "member" : "partition");
    if (g->proposed[p] != LT_NOBODY && g->proposed[p] != m)
        return lt_fail(LEAT_EINVAL, "group %s: topic %u, partition %u is given to two members", g->name,
                       row->topic_id, row->partition);
    g->proposed[p] = m;
    return 0;
}

/* All of it, or with `refused` nothing, which is refused. */
static int end_proposal(struct lt_kept_group *g, uint32_t m, uint64_t round, bool refused)
{
    struct lt_group *machine = &g->machine;
    for (uint32_t p = 0; p < machine->part_room; p++)
        machine->parts[p].target = refused || p >= g->proposed_room ? LT_NOBODY : g->proposed[p];
    return lt_group_proposed(machine, m, round, g->now_ns);
}

int lt_groups_propose(struct lt_worker *w, struct lt_conn *conn, const void *body, uint32_t body_bytes,
                      void *out, uint32_t out_room, uint32_t *size)
{
    const struct lt_group_propose *request = body;
    const struct lt_group_propose_row *rows = (const void *)(request + 1);
    struct lt_kept_group *g;
    uint32_t me;
    (void)out, (void)out_room, (void)size;
    if (request->count > LT_MSG_MAX / sizeof *rows)
        return lt_fail(LEAT_EPROTO, "%u partitions in one message", request->count);
    int r = check_size(body_bytes, sizeof *request + request->count * sizeof *rows);
    if (r == 0)
        r = find_member(w, conn, &request->member, &g, &me);
    if (r < 0)
        return r;
    struct lt_group *machine = &g->machine;
    if (machine->leader != me || machine->round != request->round)
        return lt_fail(LEAT_EFENCED, "group %s: round %llu is over", g->name,
                       (unsigned long long)request->round);
    if (g->proposed_round != request->round) /* its first message */
        r = begin_proposal(g, request->round);
    for (uint32_t i = 0; r == 0 && i < request->count; i++)
        r = take_proposed_row(g, &rows[i]);
    if (r < 0) {
        char why[LT_MSG_TEXT];
        snprintf(why, sizeof why, "%s", lt_fail_text());
        end_proposal(g, me, request->round, true);
        r = lt_fail(r, "%s", why);
    } else if (request->last) {
        r = end_proposal(g, me, request->round, false);
    }
    lt_groups_settle(g);
    return r;
}
