/* standby: see standby.h. */
#include "client/standby.h"

#include <stdlib.h>

#define LT_STANDBYS 64u /* of a member, in the long run */
#define STANDBYS_MAX \
    1024u             /* and for a while, of what it has let go of: who assigns eagerly often gives it back */
#define WHILE_MS 2000 /* that is */
#define PAUSE_MS 2    /* after a change, before the idle moments are used: more changes may come */
#define LOOKS_A_STEP 256u /* partitions looked at in one */
#define NS_PER_MS 1000000ll
#define OPEN_TOGETHER 32u

static bool is_stale(const struct lt_cursor *cursor)
{
    /* [rotation.publish] relaxed: a hint, by which memory is let go of sooner. */
    return cursor->mapped != NULL && cursor->mapped->ring != lt_load_relaxed32(&cursor->part->current_ring);
}

static int make_room(struct lt_member *m)
{
    if (m->standby_count < m->standbys_room)
        return 0;
    uint32_t room = m->standbys_room == 0 ? 16 : m->standbys_room * 2;
    struct lt_cursor **standbys = realloc(m->standbys, room * sizeof(struct lt_cursor *));
    if (standbys == NULL)
        return lt_fail(LEAT_ENOMEM, "%u standbys", room);
    m->standbys = standbys;
    m->standbys_room = room;
    return 0;
}

static uint32_t find(const struct lt_member *m, const struct lt_attached *topic, uint32_t partition)
{
    uint32_t i = 0;
    while (i < m->standby_count && (m->standbys[i]->partition != partition || m->standbys[i]->topic != topic))
        i++;
    return i;
}

struct lt_cursor *lt_standby_take(leat_consumer *c, const struct lt_attached *topic, uint32_t partition)
{
    struct lt_member *m = c->member;
    uint32_t i = find(m, topic, partition);
    if (i == m->standby_count)
        return NULL;
    struct lt_cursor *cursor = m->standbys[i];
    m->standbys[i] = m->standbys[--m->standby_count];
    /* As of a new one: a gate keeps everything until the position is known. */
    lt_store_release64(&cursor->entry->keep, c->gate ? 0 : LT_PIN_NONE); /* [reader.keep] */
    return cursor;
}

void lt_standby_keep(leat_consumer *c, struct lt_cursor *cursor)
{
    struct lt_member *m = c->member;
    if (m->standby_count >= STANDBYS_MAX || !cursor->lazy || lt_attached_deleted(cursor->topic) ||
        make_room(m) < 0) {
        lt_cursor_close(c, cursor);
        return;
    }
    lt_cursor_rest(cursor);
    m->standbys[m->standby_count++] = cursor;
}

/* --- getting ready --- */

/* Entries are the process's: what a member may need leaves half of them to what it needs. */
static bool is_scarce(const struct lt_cursor *cursor)
{
    return cursor->entry_number >= LT_READERS_MAX / 2;
}

static void open_some(leat_consumer *c, const struct lt_standby *wanted, uint32_t count)
{
    struct lt_member *m = c->member;
    struct lt_cursor *cursors[OPEN_TOGETHER];
    int results[OPEN_TOGETHER];
    uint32_t n = 0, opened = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (find(m, wanted[i].topic, wanted[i].partition) != m->standby_count)
            continue;
        if (lt_cursor_new(c, wanted[i].topic, wanted[i].partition, &cursors[n]) < 0)
            break;
        cursors[n]->lazy = true;
        lt_store_relaxed64(&cursors[n]->entry->keep, LT_PIN_NONE); /* it is not open yet */
        n++;
    }
    lt_cursors_open(c, cursors, results, n);
    for (uint32_t i = 0; i < n; i++)
        if (cursors[i] != NULL)
            cursors[opened++] = cursors[i];
    lt_point("standby.open");
    for (uint32_t i = 0; i < opened; i++) {
        if (is_scarce(cursors[i]) || make_room(m) < 0)
            lt_cursor_close(c, cursors[i]);
        else
            m->standbys[m->standby_count++] = cursors[i];
    }
}

void lt_standby_open(leat_consumer *c, const struct lt_standby *wanted, uint32_t count)
{
    for (uint32_t at = 0, some; at < count; at += some) {
        some = count - at < OPEN_TOGETHER ? count - at : OPEN_TOGETHER;
        open_some(c, wanted + at, some);
    }
}

static void close_if(leat_consumer *c, bool (*goes)(const struct lt_cursor *cursor, uint32_t at))
{
    struct lt_member *m = c->member;
    uint32_t stay = 0, count = m->standby_count;
    for (uint32_t i = 0; i < count; i++) {
        struct lt_cursor *cursor = m->standbys[i];
        if (goes(cursor, i))
            continue;
        m->standbys[i] = m->standbys[stay];
        m->standbys[stay++] = cursor;
    }
    m->standby_count = stay;
    lt_cursors_close(c, m->standbys + stay, count - stay);
}

static bool is_deleted(const struct lt_cursor *cursor, uint32_t at)
{
    (void)at;
    return lt_attached_deleted(cursor->topic);
}

static bool is_too_many(const struct lt_cursor *cursor, uint32_t at)
{
    (void)cursor;
    return at >= LT_STANDBYS;
}

static bool is_any(const struct lt_cursor *cursor, uint32_t at)
{
    (void)cursor, (void)at;
    return true;
}

void lt_standby_drop_all(leat_consumer *c)
{
    c->member->preparing = false;
    close_if(c, is_any);
}

void lt_standby_freshen(leat_consumer *c)
{
    struct lt_member *m = c->member;
    bool deleted = false;
    for (uint32_t i = 0; i < m->standby_count; i++) {
        deleted |= lt_attached_deleted(m->standbys[i]->topic);
        if (!is_stale(m->standbys[i]))
            continue;
        lt_mapped_drop(m->standbys[i]->mapped);
        m->standbys[i]->mapped = NULL;
        m->preparing = true;
    }
    if (deleted)
        close_if(c, is_deleted);
}

bool lt_standby_uses(const leat_consumer *c, const struct lt_attached *topic)
{
    const struct lt_member *m = c->member;
    for (uint32_t i = 0; i < m->standby_count; i++)
        if (m->standbys[i]->topic == topic)
            return true;
    return false;
}

/* --- idle moments --- */

void lt_standby_plan(leat_consumer *c)
{
    struct lt_member *m = c->member;
    int64_t now_ms = lt_clock_mono_coarse_ms();
    m->preparing = m->joined;
    m->prepare_at_ms = now_ms + PAUSE_MS;
    m->trim_at_ms = now_ms + WHILE_MS;
    m->prepare_topic = m->prepare_partition = 0;
}

static bool is_read(const leat_consumer *c, const struct lt_attached *topic, uint32_t partition)
{
    for (uint32_t i = 0; i < c->cursor_count; i++)
        if (c->cursors[i]->partition == partition && c->cursors[i]->topic == topic)
            return true;
    return false;
}

enum found { FOUND, NOT_YET, NOTHING };

/* The next partition that is neither read nor a standby. */
static enum found find_missing(leat_consumer *c, struct lt_standby *missing)
{
    struct lt_member *m = c->member;
    for (uint32_t looks = 0; m->prepare_topic < c->topic_count; looks++) {
        struct lt_attached *topic = c->topics[m->prepare_topic];
        if (m->prepare_partition >= topic->partition_count || lt_attached_deleted(topic)) {
            m->prepare_topic++;
            m->prepare_partition = 0;
            continue;
        }
        if (looks == LOOKS_A_STEP)
            return NOT_YET;
        *missing = (struct lt_standby){ topic, m->prepare_partition++ };
        if (!is_read(c, topic, missing->partition) && find(m, topic, missing->partition) == m->standby_count)
            return FOUND;
    }
    return NOTHING;
}

static bool map_one(struct lt_member *m)
{
    for (uint32_t i = 0; i < m->standby_count; i++)
        if (m->standbys[i]->mapped == NULL) {
            lt_cursors_map(&m->standbys[i], 1);
            return m->standbys[i]->mapped != NULL; /* else it has to wait for a better time */
        }
    return false;
}

void lt_standby_step(leat_consumer *c)
{
    struct lt_member *m = c->member;
    struct lt_standby missing;
    int64_t now_ms = lt_clock_mono_coarse_ms();
    if (now_ms < m->prepare_at_ms)
        return;
    if (m->standby_count > LT_STANDBYS && now_ms >= m->trim_at_ms)
        close_if(c, is_too_many);
    if (map_one(m))
        return;
    enum found found = m->standby_count >= LT_STANDBYS ? NOTHING : find_missing(c, &missing);
    if (found == FOUND) {
        uint32_t before = m->standby_count;
        open_some(c, &missing, 1);
        if (m->standby_count == before) /* refused, or scarce: not now */
            found = NOTHING;
    }
    if (found == NOTHING) {
        m->preparing = m->standby_count > LT_STANDBYS;
        m->prepare_at_ms = m->trim_at_ms;
    }
}
