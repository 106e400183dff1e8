/* assignment: see assignment.h. */
#include "client/assignment.h"

#include <stdlib.h>
#include <string.h>

#include "client/link.h"
#include "client/standby.h"

#define TAKE_TOGETHER 32u
#define PAGE_TRIES 1000 /* an assignment that changes while its pages come */

static int no_memory(const char *what)
{
    return lt_fail(LEAT_ENOMEM, "memory for %s", what);
}

/* --- callbacks --- */

static int room_for_parts(struct lt_member *m, uint32_t count)
{
    if (count <= m->parts_room)
        return 0;
    leat_partition *parts = realloc(m->parts, count * sizeof *parts);
    if (parts == NULL)
        return no_memory("a list of partitions");
    m->parts = parts;
    m->parts_room = count;
    return 0;
}

/* Calls back with the cursors of this fate that on_assigned was told of, or not. */
int lt_assignment_tell(leat_consumer *c, leat_partitions_fn *callback, enum lt_fate fate, bool told)
{
    struct lt_member *m = c->member;
    int count = 0;
    int r = room_for_parts(m, c->cursor_count);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < c->cursor_count; i++) {
        struct lt_cursor *cursor = c->cursors[i];
        if (cursor->fate != fate || cursor->told != told)
            continue;
        cursor->told = !told;
        m->parts[count++] = (leat_partition){ cursor->topic->name, cursor->partition };
    }
    if (count == 0 || callback == NULL)
        return 0;
    lt_consumer_call(c);
    callback(c, m->parts, count, c->options.user);
    lt_consumer_called(c);
    return 0;
}

static bool has_fate(const struct lt_cursor *cursor, uint32_t fate)
{
    return cursor->fate == fate;
}

void lt_assignment_doom(leat_consumer *c, enum lt_fate fate)
{
    for (uint32_t i = 0; i < c->cursor_count; i++)
        c->cursors[i]->fate = fate;
}

/* --- SYNC --- */

static int by_part(const void *a_void, const void *b_void)
{
    const struct lt_group_sync_row *a = a_void, *b = b_void;
    if (a->topic_id != b->topic_id)
        return a->topic_id < b->topic_id ? -1 : 1;
    return a->partition < b->partition ? -1 : a->partition > b->partition;
}

static int room_for_rows(struct lt_member *m, uint32_t count)
{
    if (count <= m->rows_room)
        return 0;
    struct lt_group_sync_row *rows = realloc(m->rows, count * sizeof *rows);
    if (rows == NULL)
        return no_memory("an assignment");
    m->rows = rows;
    m->rows_room = count;
    return 0;
}

/* One page of what leatd says we own. 1: there is more; 0: that was all. */
static int fetch_page(leat_consumer *c, uint32_t *version)
{
    struct lt_member *m = c->member;
    struct lt_group_sync body = { .member = lt_membership(c), .from = m->row_count };
    const struct lt_group_sync_answer *answer = (const void *)m->buffer;
    uint32_t got;
    int count = lt_member_ask(c, LT_MSG_GROUP_SYNC, &body, sizeof body, &got);
    if (count < 0)
        return count;
    if (got < sizeof *answer || (got - sizeof *answer) / sizeof answer->rows[0] < (uint32_t)count ||
        answer->total > LT_PARTITIONS_MAX)
        return lt_fail(LEAT_EPROTO, "group \"%s\": %d partitions from %u on in %u bytes", c->options.group,
                       count, body.from, got);
    if (m->row_count != 0 && answer->version != *version) {
        m->row_count = 0; /* another assignment by now */
        return 1;
    }
    *version = answer->version;
    m->generation = answer->generation;
    m->sync_flags = answer->flags;
    int r = room_for_rows(m, m->row_count + (uint32_t)count);
    if (r < 0)
        return r;
    memcpy(m->rows + m->row_count, answer->rows, (uint32_t)count * sizeof answer->rows[0]);
    m->row_count += (uint32_t)count;
    return m->row_count < answer->total;
}

/* What leatd has written down for us. false: it has to be asked. */
static bool read_news(leat_consumer *c, uint32_t *version)
{
    struct lt_member *m = c->member;
    struct lt_news_head head;
    /* [group.version] acquire: the news are at least as new. With newer ones the version is still to come, and is met then. */
    *version = lt_load_acquire32(&m->word->version);
    if (room_for_rows(m, LT_NEWS_ROWS) < 0 ||
        !lt_news_read(&c->handle.bus->coordinator->news[c->bell_number], &head, m->rows) ||
        head.serial != m->serial || (int32_t)(head.version - *version) < 0)
        return false;
    m->row_count = head.count;
    m->generation = head.generation;
    m->sync_flags = head.flags;
    return true;
}

static int fetch(leat_consumer *c, uint32_t *version)
{
    struct lt_member *m = c->member;
    lt_point("member.sync");
    int r = read_news(c, version) ? 0 : 1;
    if (r != 0)
        m->row_count = 0;
    for (int tries = 0; r > 0; tries++) {
        r = tries < PAGE_TRIES ? fetch_page(c, version)
                               : lt_fail(LEAT_EPROTO, "group \"%s\": an assignment that never stands still",
                                         c->options.group);
    }
    if (r == 0)
        qsort(m->rows, m->row_count, sizeof *m->rows, by_part);
    return r;
}

/* A flag of our own in a row: there is a cursor that goes on, or goes, under this row. */
#define ROW_HAS_CURSOR (1u << 31)

static struct lt_group_sync_row *find_row(const struct lt_member *m, const struct lt_cursor *cursor)
{
    struct lt_group_sync_row key = { .topic_id = cursor->topic->topic_id, .partition = cursor->partition };
    return m->row_count == 0 ? NULL : bsearch(&key, m->rows, m->row_count, sizeof key, by_part);
}

static enum lt_fate fate_of(const struct lt_member *m, const struct lt_cursor *cursor)
{
    struct lt_group_sync_row *row = find_row(m, cursor);
    if (row == NULL)
        return LT_FATE_REVOKED; /* its topic was deleted, say */
    if (row->grant != cursor->grant)
        return LT_FATE_LOST; /* it was taken from us, and given to us again */
    row->flags |= ROW_HAS_CURSOR;
    return (row->flags & LT_SYNC_RELEASE) != 0 ? LT_FATE_REVOKED : LT_FATE_STAYS;
}

/* --- letting go --- */

#define RELEASE_PARTS \
    ((LT_ANSWER_MAX - (uint32_t)sizeof(struct lt_group_release)) / (uint32_t)sizeof(struct lt_topic_part))

static int say_release(leat_consumer *c, struct lt_group_release *body)
{
    struct lt_request request = { .type = LT_MSG_GROUP_RELEASE,
                                  .body = body,
                                  .body_size = (uint32_t)(sizeof *body +
                                                          body->count * sizeof(struct lt_topic_part)) };
    int r = body->count == 0 ? 0 : lt_link_call(&c->handle.bus->link, &request);
    body->count = 0;
    return r < 0 ? r : 0;
}

static int release_part(leat_consumer *c, struct lt_group_release *body, uint32_t topic_id,
                        uint32_t partition)
{
    struct lt_topic_part *parts = (struct lt_topic_part *)(void *)(body + 1);
    parts[body->count++] = (struct lt_topic_part){ topic_id, partition };
    return body->count == RELEASE_PARTS ? say_release(c, body) : 0;
}

/* All cursors that are revoked, and what was asked back before it had one. */
static int release_parts(leat_consumer *c)
{
    struct lt_member *m = c->member;
    struct lt_group_release *body = (void *)m->buffer; /* whose answer is over */
    int r = 0;
    *body = (struct lt_group_release){ .member = lt_membership(c) };
    for (uint32_t i = 0; r >= 0 && i < c->cursor_count; i++)
        if (c->cursors[i]->fate == LT_FATE_REVOKED)
            r = release_part(c, body, c->cursors[i]->topic->topic_id, c->cursors[i]->partition);
    for (uint32_t i = 0; r >= 0 && i < m->row_count; i++)
        if ((m->rows[i].flags & (LT_SYNC_RELEASE | ROW_HAS_CURSOR)) == LT_SYNC_RELEASE)
            r = release_part(c, body, m->rows[i].topic_id, m->rows[i].partition);
    return r < 0 ? r : say_release(c, body);
}

static int let_go(leat_consumer *c)
{
    struct lt_member *m = c->member;
    uint32_t counts[3] = { 0 };
    int r = 0;
    for (uint32_t i = 0; i < c->cursor_count; i++) {
        c->cursors[i]->fate = fate_of(m, c->cursors[i]);
        counts[c->cursors[i]->fate]++;
    }
    for (uint32_t i = 0; i < m->row_count; i++)
        counts[LT_FATE_REVOKED] += (m->rows[i].flags & (LT_SYNC_RELEASE | ROW_HAS_CURSOR)) == LT_SYNC_RELEASE;
    if (counts[LT_FATE_LOST] != 0) {
        r = lt_assignment_tell(c, c->options.on_lost, LT_FATE_LOST, true);
        lt_consumer_shed(c, has_fate, LT_FATE_LOST);
    }
    if (r < 0 || counts[LT_FATE_REVOKED] == 0)
        return r;
    lt_commit_auto(c);
    r = lt_assignment_tell(c, c->options.on_revoked, LT_FATE_REVOKED, true);
    lt_point("member.revoke");
    if (r >= 0)
        r = release_parts(c);
    lt_point("member.release.after");
    if (r < 0)
        return r;
    uint32_t count = lt_consumer_part(c, has_fate, LT_FATE_REVOKED);
    for (uint32_t i = 0; i < count; i++)
        lt_standby_keep(c, c->cursors[c->cursor_count + i]);
    return 0;
}

/* --- taking --- */

static int name_of(leat_consumer *c, uint32_t topic_id, char name[256])
{
    struct lt_topic_name body = { .topic_id = topic_id };
    uint32_t got;
    int r = lt_member_ask(c, LT_MSG_TOPIC_NAME, &body, sizeof body, &got);
    if (r < 0)
        return r;
    if (got < sizeof(struct lt_name))
        return lt_fail(LEAT_EPROTO, "the name of topic %u has %u bytes", topic_id, got);
    memcpy(name, c->member->buffer, sizeof(struct lt_name));
    name[255] = 0;
    return 0;
}

/* LEAT_ENOTOPIC: deleted meanwhile, and maybe made anew. */
static int topic_of(leat_consumer *c, uint32_t topic_id, struct lt_attached **topic)
{
    char name[256];
    for (uint32_t i = c->topic_count; i-- != 0;) {
        *topic = c->topics[i];
        if ((*topic)->topic_id == topic_id)
            return 0;
    }
    int r = name_of(c, topic_id, name);
    if (r >= 0)
        r = lt_attached_open(c->handle.bus, name, false, false, topic);
    if (r < 0)
        return r;
    r = (*topic)->topic_id == topic_id ? lt_consumer_keep_topic(c, *topic)
                                       : lt_fail(LEAT_ENOTOPIC, "%s: topic %u was deleted", name, topic_id);
    if (r < 0)
        lt_attached_close(*topic, false);
    return r;
}

static int place(leat_consumer *c, struct lt_cursor *cursor, const struct lt_group_sync_row *row)
{
    int r = row->committed != LT_COMMIT_NONE
                ? lt_consumer_place(c, cursor, row->committed)
                : lt_consumer_start(c, cursor, (row->flags & LT_SYNC_FRESH) != 0);
    if (r < 0)
        return r;
    lt_point("member.assign");
    cursor->origin = cursor->position;
    /* [group.commit] Stored at once, so that the next owner does not reset again. Nowhere is LT_COMMIT_NONE too. */
    lt_member_start(cursor->entry, row->grant, cursor->position);
    return 0;
}

/* What is taken in one go: requests of one kind travel together, since what stays is not read meanwhile. */
struct taking {
    const struct lt_group_sync_row *rows[TAKE_TOGETHER];
    struct lt_cursor *cursors[TAKE_TOGETHER];
    bool open[TAKE_TOGETHER]; /* and listed */
    uint32_t count;
};

static int take_row(leat_consumer *c, const struct lt_group_sync_row *row, struct taking *taking)
{
    struct lt_attached *topic;
    int r = topic_of(c, row->topic_id, &topic);
    if (r < 0)
        return r == LEAT_ENOTOPIC ? 0 : r; /* leatd will say so with the next version */
    if (row->partition >= topic->partition_count)
        return lt_fail(LEAT_EPROTO, "%s: partition %u was assigned; there are %u", topic->name,
                       row->partition, topic->partition_count);
    struct lt_cursor *cursor = lt_standby_take(c, topic, row->partition);
    /* One that leatd does not know, or has not put on the list, because another worker has come since: asked for again. */
    taking->open[taking->count] = cursor != NULL && (row->flags & LT_SYNC_LISTED) != 0;
    if (cursor == NULL)
        r = lt_cursor_new(c, topic, row->partition, &cursor);
    if (r < 0)
        return r;
    cursor->grant = row->grant;
    cursor->lazy = true;
    taking->cursors[taking->count] = cursor;
    taking->rows[taking->count++] = row;
    return 0;
}

/* Those that leatd refuses, because their topic is gone, are left out. */
static int open_all(leat_consumer *c, struct taking *taking)
{
    struct lt_cursor *closed[TAKE_TOGETHER];
    int results[TAKE_TOGETHER], r = 0;
    uint32_t count = 0, at = 0, kept = 0;
    for (uint32_t i = 0; i < taking->count; i++)
        if (!taking->open[i])
            closed[count++] = taking->cursors[i];
    lt_cursors_open(c, closed, results, count);
    for (uint32_t i = 0; i < taking->count; i++) {
        if (!taking->open[i]) {
            if (results[at] < 0 && results[at] != LEAT_ENOTOPIC && results[at] != LEAT_EDELETED)
                r = results[at];
            taking->cursors[i] = closed[at++];
        }
        if (taking->cursors[i] == NULL)
            continue;
        taking->cursors[kept] = taking->cursors[i];
        taking->rows[kept++] = taking->rows[i];
    }
    taking->count = kept;
    return r;
}

static int take_all(leat_consumer *c, struct taking *taking)
{
    int r = open_all(c, taking);
    uint32_t placed = 0;
    lt_cursors_map(taking->cursors, taking->count);
    for (; placed < taking->count; placed++) {
        int failed = place(c, taking->cursors[placed], taking->rows[placed]);
        if (failed < 0) {
            r = failed;
            break;
        }
        lt_consumer_add(c, taking->cursors[placed]);
    }
    lt_cursors_close(c, taking->cursors + placed, taking->count - placed);
    taking->count = 0;
    return r;
}

static bool is_used(const leat_consumer *c, const struct lt_attached *topic)
{
    for (uint32_t i = 0; i < c->cursor_count; i++)
        if (c->cursors[i]->topic == topic)
            return true;
    return false;
}

/* Deleted topics are let go; the others stay attached, since what was released may come back. */
static void sweep_topics(leat_consumer *c)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->topic_count; i++) {
        struct lt_attached *topic = c->topics[i];
        if (lt_attached_deleted(topic) && !is_used(c, topic) && !lt_standby_uses(c, topic))
            lt_attached_close(topic, false);
        else
            c->topics[kept++] = topic;
    }
    c->topic_count = kept;
}

static int take(leat_consumer *c)
{
    struct lt_member *m = c->member;
    struct taking taking = { .count = 0 };
    int r = lt_consumer_room(c, c->cursor_count + m->row_count);
    for (uint32_t i = 0; r >= 0 && i < m->row_count; i++) {
        if ((m->rows[i].flags & (LT_SYNC_RELEASE | LT_SYNC_COMING | ROW_HAS_CURSOR)) == 0)
            r = take_row(c, &m->rows[i], &taking);
        if (r >= 0 && taking.count == TAKE_TOGETHER)
            r = take_all(c, &taking);
    }
    int taken = take_all(c, &taking); /* also when there is no more than that */
    r = r < 0 ? r : taken;
    sweep_topics(c);
    /* Those that came in before one failed are told of now: they are read by the next poll. */
    int told = lt_assignment_tell(c, c->options.on_assigned, LT_FATE_STAYS, false);
    return r < 0 ? r : told;
}

/* --- all of it --- */

/* What another is to let go of: to have it ready is done while that happens. */
static void expect(leat_consumer *c)
{
    struct lt_member *m = c->member;
    struct lt_standby wanted[TAKE_TOGETHER];
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->row_count && count < TAKE_TOGETHER; i++) {
        struct lt_attached *topic;
        if ((m->rows[i].flags & LT_SYNC_COMING) != 0 && topic_of(c, m->rows[i].topic_id, &topic) == 0 &&
            m->rows[i].partition < topic->partition_count)
            wanted[count++] = (struct lt_standby){ topic, m->rows[i].partition };
    }
    lt_standby_open(c, wanted, count);
}

int lt_assignment_sync(leat_consumer *c)
{
    struct lt_member *m = c->member;
    uint32_t version = 0;
    int r = fetch(c, &version);
    if (r >= 0)
        r = let_go(c);
    if (r >= 0)
        r = take(c);
    if (r < 0)
        return r;
    lt_standby_plan(c);
    if (lt_load_relaxed32(&m->word->version) == version) /* relaxed: else it is here, or has gone elsewhere */
        expect(c);
    m->version = version; /* as it was before leatd made the rows: what has come since is another one */
    if ((m->sync_flags & LT_SYNC_COMPUTE) == 0)
        return 0;
    r = lt_leader_compute(c);
    if (r < 0)
        lt_member_leave(c);
    return r;
}
