/* group_restore: the file of committed offsets and the groups, brought together. See group_log.h.
 *
 * At the start of a bus the file says what groups there are (restore). A worker that dies on the way leaves some of them; the next one makes those that
 * are missing, since nobody has been served. Later the groups say what has to be in the file (compare).
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include <leat.h>
#include "leatd/data.h"
#include "leatd/group_log.h"
#include "leatd/topics.h"
#include "store/offsets.h"

/* An entry of the file. */
struct row {
    char *group;
    uint64_t log_id;
    uint32_t partition;
    struct lt_offsets_value value;
};

struct rows {
    struct row *row;
    size_t count, room;
    bool no_memory;
};

struct logged {
    uint64_t log_id;
    uint32_t topic_id;
};

struct index {
    struct logged *topics; /* by log_id */
    size_t topic_count;
    size_t
        name_count; /* of topics in the data directory. More than those: some are there and cannot be served now */
    struct lt_kept_group **groups; /* by name */
    size_t group_count;
};

/* --- the file's entries --- */

static void take_row(void *arg, const struct lt_offsets_key *key, const struct lt_offsets_value *value)
{
    struct rows *rows = arg;
    if (rows->count == rows->room) {
        size_t room = rows->room ? rows->room * 2 : 256;
        struct row *more = realloc(rows->row, room * sizeof *more);
        rows->no_memory |= !more;
        if (!more)
            return;
        rows->row = more;
        rows->room = room;
    }
    char *group = strdup(key->group);
    rows->no_memory |= !group;
    if (group)
        rows->row[rows->count++] = (struct row){
            .group = group, .log_id = key->topic, .partition = key->partition, .value = *value
        };
}

/* By group, its own entry first: no log has id 0. */
static int by_key(const void *a_void, const void *b_void)
{
    const struct row *a = a_void, *b = b_void;
    int order = strcmp(a->group, b->group);
    if (order != 0)
        return order;
    if (a->log_id != b->log_id)
        return a->log_id < b->log_id ? -1 : 1;
    return a->partition < b->partition ? -1 : a->partition > b->partition;
}

static void free_rows(struct rows *rows)
{
    for (size_t i = 0; i < rows->count; i++)
        free(rows->row[i].group);
    free(rows->row);
}

static int read_rows(struct lt_offsets *offsets, struct rows *rows)
{
    lt_offsets_each(offsets, take_row, rows);
    if (rows->no_memory)
        return lt_fail(LEAT_ENOMEM, "no memory for %llu committed offsets",
                       (unsigned long long)lt_offsets_count(offsets));
    if (rows->count != 0)
        qsort(rows->row, rows->count, sizeof *rows->row, by_key);
    return 0;
}

static bool is_head(const struct row *row)
{
    return row->log_id == 0 && row->partition == LT_OFFSETS_GROUP_PART;
}

/* --- what there is --- */

static int by_log(const void *a_void, const void *b_void)
{
    const struct logged *a = a_void, *b = b_void;
    return a->log_id < b->log_id ? -1 : a->log_id > b->log_id;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct lt_kept_group *const *)a)->name, (*(struct lt_kept_group *const *)b)->name);
}

static void free_index(struct index *index)
{
    free(index->topics);
    free(index->groups);
}

static void count_name(void *arg, const char *name)
{
    size_t *count = arg;
    (void)name;
    ++*count;
}

static int make_index(struct lt_worker *w, struct index *index)
{
    index->topics = malloc((w->topic_count + 1) * sizeof *index->topics);
    index->groups = malloc((w->group_count + 1) * sizeof(struct lt_kept_group *));
    if (!index->topics || !index->groups)
        return lt_fail(LEAT_ENOMEM, "no memory for a list of %u topics", w->topic_count);
    for (struct lt_topic *topic = lt_topics_next(w, NULL); topic; topic = lt_topics_next(w, topic))
        if (topic->head->log_id != 0 && index->topic_count < w->topic_count)
            index->topics[index->topic_count++] = (struct logged){ topic->head->log_id, topic->id };
    for (struct lt_kept_group *g = w->groups; g; g = g->next)
        index->groups[index->group_count++] = g;
    int r = lt_data_list(w, count_name, &index->name_count);
    if (r < 0)
        return r;
    qsort(index->topics, index->topic_count, sizeof *index->topics, by_log);
    qsort(index->groups, index->group_count, sizeof *index->groups, by_name);
    return 0;
}

/* 0: no topic on this bus. */
static uint32_t topic_of(const struct index *index, uint64_t log_id)
{
    const struct logged key = { .log_id = log_id };
    const struct logged *found = bsearch(&key, index->topics, index->topic_count, sizeof key, by_log);
    return found ? found->topic_id : 0;
}

/* Nothing can be said of an entry whose log nobody knows, while one of those that nobody knows may come back. */
static void forget_log(struct lt_worker *w, const struct index *index, const struct row *row)
{
    if (topic_of(index, row->log_id) != 0 || index->name_count <= index->topic_count)
        lt_group_log_forget(w, row->group, row->log_id, row->partition);
}

static int by_its_name(const void *name, const void *group)
{
    return strcmp(name, (*(struct lt_kept_group *const *)group)->name);
}

static struct lt_kept_group *group_of(const struct index *index, const char *name)
{
    struct lt_kept_group **found = bsearch(name, index->groups, index->group_count,
                                           sizeof(struct lt_kept_group *), by_its_name);
    return found ? *found : NULL;
}

/* --- the file's say --- */

static void take_text(struct lt_group_place *place, const struct lt_offsets_value *value)
{
    if (value->metadata_size == 0 || value->metadata_size > LT_METADATA_MAX)
        return;
    memcpy(place->metadata, value->metadata, value->metadata_size);
    place->metadata_offset = (uint64_t)value->offset;
    place->metadata_size = value->metadata_size;
}

static int restore_place(struct lt_kept_group *g, const struct index *index, const struct row *row)
{
    uint32_t topic_id = topic_of(index, row->log_id);
    const struct lt_topic *topic = lt_topics_by_id(g->w, topic_id);
    if (!topic || row->partition >= topic->partition_count) {
        forget_log(g->w, index, row);
        return 0;
    }
    uint32_t p = lt_groups_place(g, topic_id, row->partition);
    if (p == LT_NOBODY)
        p = lt_groups_add_place(g, topic_id, row->partition, false);
    if (p == LT_NOBODY)
        return LEAT_ENOMEM;
    struct lt_group_place *place = lt_place_of(g, p);
    take_text(place, &row->value);
    place->committed = g->filed.places[p].committed = (uint64_t)row->value.offset;
    return 0;
}

/* The group's own entry is put in front of its first: without it these are what a deleted group has left. */
static bool has_head(const struct row *row, struct lt_offsets_group *head)
{
    if (!is_head(row) || row->value.metadata_size != sizeof *head ||
        lt_topic_name_check(row->group, strlen(row->group)) < 0 || strlen(row->group) > LT_GROUP_NAME_MAX)
        return false;
    memcpy(head, row->value.metadata, sizeof *head);
    return true;
}

/* rows[0..count) are all of one group. */
static int restore_group(struct lt_worker *w, const struct index *index, const struct row *rows, size_t count)
{
    struct lt_offsets_group head;
    int r = 0;
    for (size_t i = 0; !has_head(rows, &head) && i < count; i++)
        lt_group_log_forget(w, rows[i].group, rows[i].log_id, rows[i].partition);
    if (!has_head(rows, &head))
        return 0;
    struct lt_kept_group *g = group_of(index, rows->group);
    if (g)
        r = lt_groups_room(g, 0, (uint32_t)count);
    else
        g = lt_groups_make_again(w, rows->group, &head, (uint32_t)count, &r);
    if (r < 0)
        return r;
    g->filed.has_head = true;
    g->filed.head = head;
    for (size_t i = 1; r == 0 && i < count; i++)
        r = restore_place(g, index, &rows[i]);
    if (r == 0)
        lt_groups_settle(g);
    return r;
}

int lt_group_restore(struct lt_worker *w, struct lt_offsets *offsets)
{
    struct rows rows = { 0 };
    struct index index = { 0 };
    int64_t begin_ns = lt_clock_mono_ns();
    int r = read_rows(offsets, &rows);
    if (r == 0)
        r = make_index(w, &index);
    for (size_t from = 0, to; r == 0 && from < rows.count; from = to) {
        for (to = from + 1; to < rows.count && strcmp(rows.row[from].group, rows.row[to].group) == 0; to++)
            ;
        r = restore_group(w, &index, &rows.row[from], to - from);
    }
    if (r == 0 && rows.count != 0)
        lt_worker_say(w, LT_LOG_INFO, "%u groups are back, with %zu entries, in %lld us", w->group_count,
                      rows.count, (long long)(lt_clock_mono_ns() - begin_ns) / 1000);
    free_rows(&rows);
    free_index(&index);
    return r;
}

/* --- the groups' say --- */

/* What the file has of a group, as far as that can be seen: the rest is put again. */
static void compare_row(struct lt_worker *w, const struct index *index, const struct row *row)
{
    struct lt_kept_group *g = group_of(index, row->group);
    uint32_t p = LT_NOBODY;
    if (g && is_head(row)) {
        g->filed.has_head = true;
        if (row->value.metadata_size == sizeof g->filed.head)
            memcpy(&g->filed.head, row->value.metadata, sizeof g->filed.head);
        return;
    }
    if (g)
        p = lt_groups_place(g, topic_of(index, row->log_id), row->partition);
    if (p == LT_NOBODY && g)
        forget_log(w, index, row);
    else if (p == LT_NOBODY)
        lt_group_log_forget(w, row->group, row->log_id, row->partition);
    if (p == LT_NOBODY)
        return;
    const struct lt_group_place *place = lt_place_of(g, p);
    uint64_t offset = (uint64_t)row->value.offset;
    uint32_t text_size = place->metadata_offset == offset ? place->metadata_size : 0;
    g->filed.places[p].committed = offset;
    g->filed.places[p].text = text_size != row->value.metadata_size ||
                              memcmp(place->metadata, row->value.metadata, text_size) != 0;
}

int lt_group_compare(struct lt_worker *w, struct lt_offsets *offsets)
{
    struct rows rows = { 0 };
    struct index index = { 0 };
    int r = read_rows(offsets, &rows);
    if (r == 0)
        r = make_index(w, &index);
    for (struct lt_kept_group *g = w->groups; r == 0 && g; g = g->next) {
        g->filed.has_head = false;
        memset(&g->filed.head, 0, sizeof g->filed.head);
        for (uint32_t p = 0; p < g->machine.part_room; p++)
            g->filed.places[p].committed = LT_COMMIT_NONE;
    }
    for (size_t i = 0; r == 0 && i < rows.count; i++)
        compare_row(w, &index, &rows.row[i]);
    for (struct lt_kept_group *g = w->groups; r == 0 && g; g = g->next)
        lt_group_log_changed(g);
    free_rows(&rows);
    free_index(&index);
    return r;
}
