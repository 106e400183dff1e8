/* commit: see commit.h. */
#include "client/commit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/group_admin.h"
#include "client/link.h"
#include "client/member.h"

#define ROWS_A_REQUEST 256u /* of a COMMIT: some 57 KiB */

static int no_memory(const char *what)
{
    return lt_fail(LEAT_ENOMEM, "memory for %s", what);
}

/* --- what was committed, for on_commit --- */

struct lt_report {
    struct lt_report *next;
    int error;
    int count;
    leat_offset offsets[]; /* and their texts behind them */
};

static char *put(char **at, const char *text)
{
    size_t size = strlen(text) + 1;
    char *to = memcpy(*at, text, size);
    *at += size;
    return to;
}

static int add_report(leat_consumer *c, const struct lt_intent *intents, uint32_t count, int error)
{
    struct lt_member *m = c->member;
    size_t text_bytes = 0;
    for (uint32_t i = 0; i < count; i++)
        text_bytes += strlen(intents[i].cursor->topic->name) + 1 +
                      (intents[i].metadata != NULL ? strlen(intents[i].metadata) + 1 : 0);
    struct lt_report *report = malloc(sizeof *report + count * sizeof report->offsets[0] + text_bytes);
    if (report == NULL)
        return no_memory("a report of a commit");
    char *text = (char *)(report->offsets + count);
    for (uint32_t i = 0; i < count; i++) {
        const struct lt_intent *intent = &intents[i];
        report->offsets[i] = (leat_offset){ .topic = put(&text, intent->cursor->topic->name),
                                            .partition = intent->cursor->partition,
                                            .offset = (int64_t)intent->offset,
                                            .metadata = intent->metadata != NULL
                                                            ? put(&text, intent->metadata)
                                                            : NULL };
    }
    report->next = NULL;
    report->error = error;
    report->count = (int)count;
    *m->reports_end = report;
    m->reports_end = &report->next;
    return 0;
}

void lt_commit_report(leat_consumer *c)
{
    struct lt_member *m = c->member;
    struct lt_report *report = m->reports;
    if (c->calling) /* inside of another callback */
        return;
    m->reports = NULL; /* what the callbacks commit is told of by a later call */
    m->reports_end = &m->reports;
    while (report != NULL) {
        struct lt_report *next = report->next;
        lt_consumer_call(c);
        c->options.on_commit(c, report->offsets, report->count, report->error, c->options.user);
        lt_consumer_called(c);
        free(report);
        report = next;
    }
}

void lt_commit_forget(leat_consumer *c)
{
    struct lt_member *m = c->member;
    while (m->reports != NULL) {
        struct lt_report *next = m->reports->next;
        free(m->reports);
        m->reports = next;
    }
}

/* --- what is to be committed --- */

static int room_for_intents(struct lt_member *m, uint32_t count)
{
    if (count <= m->intents_room)
        return 0;
    struct lt_intent *intents = realloc(m->intents, count * sizeof *intents);
    if (intents == NULL)
        return no_memory("a commit");
    m->intents = intents;
    m->intents_room = count;
    return 0;
}

/* All that was handed out is below this offset: then so are the gaps behind it. */
static inline uint64_t over_gaps(struct lt_cursor *cursor, uint64_t offset)
{
    if (cursor->beyond || offset < cursor->handed || offset > cursor->position)
        return offset;
    lt_cursor_skip_gaps(cursor);
    return cursor->position;
}

/* Of all that is assigned. How many. */
static int intend_all(leat_consumer *c)
{
    struct lt_member *m = c->member;
    bool manual = c->options.manual_store != 0;
    int count = 0;
    if (room_for_intents(m, c->cursor_count) < 0)
        return LEAT_ENOMEM;
    for (uint32_t i = 0; i < c->cursor_count; i++) {
        struct lt_cursor *cursor = c->cursors[i];
        uint64_t offset = manual ? cursor->stored : cursor->position;
        if (offset == LT_COMMIT_NONE) /* or nowhere */
            continue;
        m->intents[count++] = (struct lt_intent){ cursor, over_gaps(cursor, offset),
                                                  manual ? cursor->stored_metadata : NULL };
    }
    return count;
}

/* One that the caller names. */
static int intend(leat_consumer *c, const leat_offset *offset, struct lt_intent *intent)
{
    struct lt_member *m = c->member;
    const char *topic = offset->topic, *text = offset->metadata;
    if (topic == NULL || offset->offset < 0)
        return lt_fail(LEAT_EINVAL, "%s: partition %u: offset %lld", topic != NULL ? topic : "(NULL)",
                       offset->partition, (long long)offset->offset);
    if (text != NULL && strlen(text) > LT_METADATA_MAX)
        return lt_fail(LEAT_EINVAL, "%s: partition %u: metadata of %zu bytes: at most %u", topic,
                       offset->partition, strlen(text), LT_METADATA_MAX);
    struct lt_cursor *cursor = lt_consumer_find(c, topic, offset->partition);
    if (cursor == NULL && m->joined && lt_subscription_has(&m->subscription, topic))
        return lt_fail(LEAT_EFENCED, "%s: partition %u is not this member's (any more)", topic,
                       offset->partition);
    if (cursor == NULL)
        return LEAT_ENOPART;
    *intent = (struct lt_intent){ cursor, over_gaps(cursor, (uint64_t)offset->offset),
                                  text != NULL && *text != 0 ? text : NULL };
    return 0;
}

/* --- committing --- */

static int evicted(const leat_consumer *c)
{
    return lt_fail(LEAT_EFENCED, "group \"%s\": this member was evicted", c->options.group);
}

static void fill_row(struct lt_group_commit_row *row, const struct lt_intent *intent)
{
    memset(row, 0, sizeof *row);
    row->topic_id = intent->cursor->topic->topic_id;
    row->partition = intent->cursor->partition;
    row->offset = intent->offset;
    if (intent->metadata != NULL) {
        row->metadata_size = (uint32_t)strlen(intent->metadata);
        memcpy(row->metadata, intent->metadata, row->metadata_size);
    }
}

static int say_commit(leat_consumer *c, struct lt_group_commit *body)
{
    uint32_t size = (uint32_t)(sizeof *body + body->count * sizeof(struct lt_group_commit_row));
    struct lt_request request = { .type = LT_MSG_GROUP_COMMIT, .body = body, .body_size = size };
    int r = body->count == 0 ? 0 : lt_link_call(&c->handle.bus->link, &request);
    body->count = 0;
    return r < 0 ? r : 0;
}

/* Of a member only what leatd cannot see, or has to make durable. */
static bool is_asked_for(const leat_consumer *c, const struct lt_intent *intent, bool waits)
{
    return !c->member->joined || intent->metadata != NULL || (waits && lt_is_slow(intent->cursor->topic));
}

/* By requests, together as long as they fit into one. The last one waits for all: what is put later is on the disk later. */
static int commit_by_request(leat_consumer *c, const struct lt_intent *intents, uint32_t count, bool waits)
{
    struct lt_member *m = c->member;
    struct lt_group_commit *body = (void *)m->buffer;
    struct lt_group_commit_row *rows = (void *)(body + 1);
    int r = 0;
    memset(body, 0, sizeof *body);
    strcpy(body->group, c->options.group); /* lt_member_check has seen that it fits */
    if (m->joined)
        body->member = lt_membership(c);
    for (uint32_t i = 0; r >= 0 && i < count; i++) {
        if (!is_asked_for(c, &intents[i], waits))
            continue;
        if (body->count == ROWS_A_REQUEST)
            r = say_commit(c, body);
        fill_row(&rows[body->count++], &intents[i]);
    }
    body->flags = waits ? LT_COMMIT_SYNC : 0;
    return r < 0 ? r : say_commit(c, body);
}

void lt_commit_tell_starving(leat_consumer *c, const struct lt_cursor *cursor)
{
    lt_fence_light();
    if (lt_load_relaxed32(&cursor->part->starving) != 0)
        lt_bells_knock(c->handle.bus->bells, cursor->global);
}

/* Into the mailbox: see commit.h. */
static inline void store_commit(leat_consumer *c, struct lt_cursor *cursor, uint64_t offset, bool noted)
{
    lt_point("commit.store");
    lt_member_store(cursor->entry, offset); /* [group.commit] */
    cursor->noted = noted;
    if (LT_UNLIKELY(c->gate))
        lt_commit_tell_starving(c, cursor);
}

/* Behind the stores: whether they count. */
static inline int look_at_fence(const leat_consumer *c)
{
    const leat_bus *bus = c->handle.bus;
    lt_point("commit.fence");
    lt_fence_light();
    /* [commit.resting] relaxed: a reason to ring. leatd stores it, passes a membarrier and looks at what is committed. */
    if (LT_UNLIKELY(lt_load_relaxed32(&bus->coordinator->resting) != 0))
        lt_bell_ring(&bus->bells->leatd);
    return LT_LIKELY(lt_member_holds(c->member->word, c->member->fence)) ? 0 : evicted(c); /* [group.fence] */
}

static int commit_by_store(leat_consumer *c, const struct lt_intent *intents, uint32_t count, bool waits)
{
    bool noted = false;
    for (uint32_t i = 0; i < count; i++) {
        noted |= intents[i].metadata != NULL;
        store_commit(c, intents[i].cursor, intents[i].offset, intents[i].metadata != NULL);
    }
    int r = look_at_fence(c);
    if (LT_UNLIKELY(noted || (waits && c->member->slow)) && r == 0)
        r = commit_by_request(c, intents, count, waits);
    return r;
}

/* All that was handed out, as most commits are: the same without a list of it. */
static int commit_handed(leat_consumer *c)
{
    for (uint32_t i = 0; i < c->cursor_count; i++) {
        struct lt_cursor *cursor = c->cursors[i];
        if (LT_LIKELY(cursor->position != LT_NOWHERE))
            store_commit(c, cursor, over_gaps(cursor, cursor->position), false);
    }
    return look_at_fence(c);
}

/* For somebody who is no member leatd's word is what counts; the entry is where rewind looks. */
static int commit_from_outside(leat_consumer *c, const struct lt_intent *intents, uint32_t count, bool waits)
{
    int r = commit_by_request(c, intents, count, waits);
    for (uint32_t i = 0; r >= 0 && i < count; i++)
        lt_member_store(intents[i].cursor->entry, intents[i].offset);
    return r;
}

static void forget_stored(struct lt_cursor *cursor)
{
    cursor->stored = LT_COMMIT_NONE;
    free(cursor->stored_metadata);
    cursor->stored_metadata = NULL;
}

/* LEAT_SYNC waits for the disk where a topic's level is above LEAT_RING. */
static int commit_intents(leat_consumer *c, uint32_t count, enum leat_commit_mode mode)
{
    struct lt_member *m = c->member;
    bool waits = mode == LEAT_SYNC;
    if (LT_UNLIKELY(lt_bus_gone(c->handle.bus)))
        return lt_fail(LEAT_EGONE, "%s: the bus has ended", c->handle.bus->path);
    int r = LT_LIKELY(m->joined) ? commit_by_store(c, m->intents, count, waits)
            : m->evicted         ? evicted(c)
                                 : commit_from_outside(c, m->intents, count, waits);
    if (mode == LEAT_ASYNC && c->options.on_commit != NULL && count != 0) {
        int told = add_report(c, m->intents, count, r);
        r = r < 0 ? r : told;
    }
    return r;
}

static int commit_all(leat_consumer *c, enum leat_commit_mode mode)
{
    if (LT_LIKELY(c->member->joined && c->options.manual_store == 0) && !lt_bus_gone(c->handle.bus) &&
        (mode == LEAT_SYNC ? !c->member->slow : c->options.on_commit == NULL))
        return commit_handed(c);
    int count = intend_all(c);
    int r = count < 0 ? count : commit_intents(c, (uint32_t)count, mode);
    if (LT_UNLIKELY(c->options.manual_store != 0))
        for (uint32_t i = 0; r >= 0 && i < c->cursor_count; i++)
            forget_stored(c->cursors[i]);
    return r;
}

int lt_commit_auto(leat_consumer *c)
{
    struct lt_member *m = c->member;
    int kept = errno, changed = 0;
    m->dirty = false;
    if (c->options.auto_commit_ms == 0 || c->cursor_count == 0)
        return 0;
    m->due_ms = lt_clock_mono_coarse_ms() + c->options.auto_commit_ms;
    int count = intend_all(c);
    for (int i = 0; i < count; i++) {
        struct lt_intent intent = m->intents[i];
        if (intent.metadata != NULL || intent.offset != lt_load_relaxed64(&intent.cursor->entry->committed))
            m->intents[changed++] = intent;
    }
    int r = changed == 0 ? 0 : commit_intents(c, (uint32_t)changed, LEAT_ASYNC);
    if (c->options.manual_store != 0)
        for (uint32_t i = 0; r >= 0 && i < c->cursor_count; i++)
            forget_stored(c->cursors[i]);
    errno = kept;
    return count < 0 ? count : r;
}

/* --- the calls --- */

static inline int enter(leat_consumer *c, const char *call, bool args_are_right)
{
    if (c == NULL || !args_are_right)
        return lt_fail(LEAT_EINVAL, "%s: an argument makes no sense", call);
    int r = lt_consumer_enter(c);
    if (r < 0)
        return r;
    if (c->member == NULL) {
        lt_consumer_leave(c);
        return lt_fail(LEAT_EINVAL, "%s: the consumer has no group", call);
    }
    return 0;
}

/* For the calls that commit: reports of earlier ones come first. */
static inline int enter_commit(leat_consumer *c, const char *call, bool args_are_right,
                               enum leat_commit_mode mode)
{
    int r = enter(c, call, args_are_right && (unsigned)mode <= LEAT_ASYNC);
    if (r == 0 && LT_UNLIKELY(c->member->reports != NULL))
        lt_commit_report(c);
    return r;
}

int leat_consumer_commit(leat_consumer *c, enum leat_commit_mode mode)
{
    int r = enter_commit(c, "leat_consumer_commit", true, mode);
    if (r < 0)
        return r;
    r = commit_all(c, mode);
    lt_consumer_leave(c);
    return r;
}

static int commit_offsets(leat_consumer *c, const leat_offset *offsets, int count, enum leat_commit_mode mode)
{
    struct lt_member *m = c->member;
    if (m->evicted)
        return evicted(c);
    int r = room_for_intents(m, (uint32_t)count);
    for (int i = 0; r >= 0 && i < count; i++)
        r = intend(c, &offsets[i], &m->intents[i]);
    return r < 0 ? r : commit_intents(c, (uint32_t)count, mode);
}

int leat_consumer_commit_record(leat_consumer *c, const leat_record *record, enum leat_commit_mode mode)
{
    int r = enter_commit(c, "leat_consumer_commit_record", record != NULL, mode);
    if (r < 0)
        return r;
    leat_offset offset = { .topic = record->topic,
                           .partition = record->partition,
                           .offset = (int64_t)(record->offset + 1) };
    r = commit_offsets(c, &offset, 1, mode);
    lt_consumer_leave(c);
    return r;
}

int leat_consumer_commit_offsets(leat_consumer *c, const leat_offset *offsets, int count,
                                 enum leat_commit_mode mode)
{
    int r = enter_commit(c, "leat_consumer_commit_offsets", count >= 0 && (offsets != NULL || count == 0),
                         mode);
    if (r < 0)
        return r;
    int kept = errno;
    r = commit_offsets(c, offsets, count, mode);
    lt_consumer_leave(c);
    errno = kept;
    return r;
}

/* --- storing --- */

static int store_intent(struct lt_intent *intent)
{
    char *text = NULL;
    if (intent->metadata != NULL && (text = strdup(intent->metadata)) == NULL)
        return no_memory("metadata");
    forget_stored(intent->cursor);
    intent->cursor->stored = intent->offset;
    intent->cursor->stored_metadata = text;
    return 0;
}

static int store(leat_consumer *c, const leat_offset *offsets, int count)
{
    struct lt_member *m = c->member;
    if (c->options.manual_store == 0)
        return lt_fail(LEAT_EINVAL, "leat_consumer_store: without manual_store commits take what was handed "
                                    "out");
    if (m->evicted)
        return evicted(c);
    int r = room_for_intents(m, (uint32_t)count);
    for (int i = 0; r >= 0 && i < count; i++)
        r = intend(c, &offsets[i], &m->intents[i]);
    for (int i = 0; r >= 0 && i < count; i++)
        r = store_intent(&m->intents[i]);
    m->dirty |= c->options.auto_commit_ms > 0;
    return r;
}

int leat_consumer_store(leat_consumer *c, const leat_offset *offsets, int count)
{
    int r = enter(c, "leat_consumer_store", count >= 0 && (offsets != NULL || count == 0));
    if (r < 0)
        return r;
    r = store(c, offsets, count);
    lt_consumer_leave(c);
    return r;
}

/* --- what is committed --- */

struct wanted {
    const struct lt_cursor *cursor;
    uint64_t committed;
    char text[LT_METADATA_MAX + 1];
};

static int take_wanted(const struct lt_group_offset_row *row, void *user)
{
    struct wanted *wanted = user;
    if (row->topic_id != wanted->cursor->topic->topic_id || row->partition != wanted->cursor->partition)
        return 0;
    uint32_t size = row->metadata_size < LT_METADATA_MAX ? row->metadata_size : LT_METADATA_MAX;
    wanted->committed = row->committed;
    memcpy(wanted->text, row->metadata, size);
    return 1;
}

/* leatd's word. A group that nobody has committed to yet is none, and that is no error. */
static int ask_committed(leat_consumer *c, struct wanted *wanted)
{
    wanted->committed = LT_COMMIT_NONE;
    int r = lt_group_offsets(c->handle.bus, c->options.group, take_wanted, wanted);
    return r == LEAT_ENOGROUP || r > 0 ? 0 : r;
}

static int64_t committed(leat_consumer *c, const char *topic, uint32_t partition)
{
    struct wanted wanted = { .cursor = lt_consumer_find(c, topic, partition) };
    if (wanted.cursor == NULL)
        return LEAT_ENOPART;
    int r = 0;
    if (c->member->joined)
        wanted.committed = lt_load_relaxed64(&wanted.cursor->entry->committed);
    else
        r = ask_committed(c, &wanted);
    if (r >= 0 && wanted.committed == LT_COMMIT_NONE)
        r = lt_fail(LEAT_EOFFSET, "%s: partition %u: nothing is committed", topic, partition);
    return r < 0 ? r : (int64_t)wanted.committed;
}

int64_t leat_consumer_committed(leat_consumer *c, const char *topic, uint32_t partition)
{
    int r = enter(c, "leat_consumer_committed", true);
    if (r < 0)
        return r;
    int kept = errno;
    int64_t offset = committed(c, topic, partition);
    lt_consumer_leave(c);
    errno = kept;
    return offset;
}

static int metadata(leat_consumer *c, const char *topic, uint32_t partition, char *out, size_t out_size)
{
    struct wanted wanted = { .cursor = lt_consumer_find(c, topic, partition) };
    out[0] = 0;
    if (wanted.cursor == NULL)
        return LEAT_ENOPART;
    int r = ask_committed(c, &wanted);
    size_t size = strlen(wanted.text);
    if (r < 0)
        return r;
    if (size >= out_size)
        return lt_fail(LEAT_EINVAL, "%s: partition %u: metadata of %zu bytes; there is room for %zu", topic,
                       partition, size, out_size - 1);
    memcpy(out, wanted.text, size + 1);
    return (int)size;
}

int leat_consumer_committed_metadata(leat_consumer *c, const char *topic, uint32_t partition, char *out,
                                     size_t out_size)
{
    int r = enter(c, "leat_consumer_committed_metadata", out != NULL && out_size != 0);
    if (r < 0)
        return r;
    int kept = errno;
    r = metadata(c, topic, partition, out, out_size);
    lt_consumer_leave(c);
    errno = kept;
    return r;
}

/* --- going to it --- */

static int rewind_cursor(leat_consumer *c, struct lt_cursor *cursor)
{
    uint64_t offset = lt_load_relaxed64(&cursor->entry->committed);
    if (offset == LT_COMMIT_NONE)
        offset = cursor->origin; /* nothing yet: where it began */
    forget_stored(cursor);
    return offset == LT_NOWHERE ? lt_consumer_place_nowhere(c, cursor) : lt_consumer_place(c, cursor, offset);
}

int leat_consumer_rewind(leat_consumer *c)
{
    int r = enter(c, "leat_consumer_rewind", true);
    if (r < 0)
        return r;
    int kept = errno;
    lt_consumer_release(c);
    for (uint32_t i = 0; r >= 0 && i < c->cursor_count; i++)
        r = rewind_cursor(c, c->cursors[i]);
    lt_consumer_leave(c);
    errno = kept;
    return r < 0 ? r : 0;
}

static struct lt_cursor *cursor_of(const leat_consumer *c, const struct lt_group_offset_row *row)
{
    for (uint32_t i = 0; i < c->cursor_count; i++)
        if (c->cursors[i]->partition == row->partition && c->cursors[i]->topic->topic_id == row->topic_id)
            return c->cursors[i];
    return NULL;
}

static int start_there(const struct lt_group_offset_row *row, void *user)
{
    leat_consumer *c = user;
    struct lt_cursor *cursor = cursor_of(c, row);
    if (cursor == NULL || row->committed == LT_COMMIT_NONE)
        return 0;
    lt_member_store(cursor->entry, row->committed);
    cursor->origin = row->committed;
    return lt_consumer_place(c, cursor, row->committed);
}

int lt_commit_fetch(leat_consumer *c)
{
    int r = lt_group_offsets(c->handle.bus, c->options.group, start_there, c);
    if (r == LEAT_ENOGROUP)
        r = 0;
    if (c->reset != LEAT_RESET_ERROR)
        return r;
    for (uint32_t i = 0; r >= 0 && i < c->cursor_count; i++) {
        if (lt_load_relaxed64(&c->cursors[i]->entry->committed) != LT_COMMIT_NONE)
            continue;
        c->cursors[i]->origin = LT_NOWHERE;
        r = lt_consumer_place_nowhere(c, c->cursors[i]);
    }
    return r;
}
