/* restore: topics of a bus that begins anew, from its data directory.
 *
 * Nothing is written but recovered logs, so a death on the way leaves what was found: the bus does not exist yet (adopt.c stores the
 * coordinator last), and the next worker begins here again.
 *
 * Points: restore.topic (some pages), restore.logs (all pages, logs open), restore.done.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include <leat.h>
#include "leatd/create.h"
#include "leatd/topics.h"
#include "store/topicfile.h"

struct restoring {
    char (*names)[256];
    uint32_t name_count, name_room;
    bool no_memory;
    struct lt_topic **topics; /* NULL ends it */
    uint32_t topic_count, part_count;
    struct lt_opening *openings; /* of all topics, one after the other */
};

static void note_name(void *arg, const char *name)
{
    struct restoring *all = arg;
    if (strlen(name) > LT_TOPIC_NAME_MAX)
        return; /* no topic's */
    if (all->name_count == all->name_room) {
        uint32_t room = all->name_room ? all->name_room * 2 : 64;
        void *names = realloc(all->names, room * sizeof *all->names);
        if (!names) {
            all->no_memory = true;
            return;
        }
        all->names = names;
        all->name_room = room;
    }
    snprintf(all->names[all->name_count++], sizeof *all->names, "%s", name);
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool has_log(const struct restoring *all, uint64_t log_id)
{
    for (struct lt_topic **topic = all->topics; *topic; topic++)
        if ((*topic)->head->log_id == log_id)
            return true;
    return false;
}

static int begin(struct lt_worker *w, struct restoring *all, const char *name, struct lt_topicfile *file)
{
    struct lt_plan plan;
    struct lt_topic *topic = NULL;
    int r = lt_data_read(w, name, file);
    if (r < 0)
        return r;
    if (has_log(all, file->log_id))
        return lt_fail(LEAT_EFAILED, "its log id, %016" PRIx64 ", is another topic's: it is a copy",
                       file->log_id);
    lt_plan_restore(file, &plan);
    r = lt_topics_begin(w, &plan, &topic);
    if (r < 0 || !topic)
        return r;
    lt_point("restore.topic");
    all->part_count += topic->partition_count;
    all->topics[all->topic_count++] = topic;
    return 0;
}

static int begin_all(struct lt_worker *w, struct restoring *all)
{
    struct lt_topicfile *file = malloc(sizeof *file);
    all->topics = calloc(all->name_count + 1, sizeof(struct lt_topic *));
    if (!file || !all->topics || all->no_memory) {
        free(file);
        return lt_fail(LEAT_ENOMEM, "no memory for %u topics", all->name_count);
    }
    qsort(all->names, all->name_count, sizeof *all->names, compare);
    for (uint32_t i = 0; i < all->name_count; i++) {
        if (begin(w, all, all->names[i], file) < 0)
            lt_worker_log(w, LT_LOG_ERROR, "topic %s is not served: %s", all->names[i], lt_fail_text());
    }
    free(file);
    return 0;
}

static int open_all(struct lt_worker *w, struct restoring *all)
{
    uint32_t at = 0;
    all->openings = calloc(all->part_count + 1, sizeof *all->openings);
    if (!all->openings)
        return lt_fail(LEAT_ENOMEM, "no memory for the logs of %u partitions", all->part_count);
    for (struct lt_topic **topic = all->topics; *topic; topic++)
        for (uint32_t p = 0; p < (*topic)->partition_count; p++)
            all->openings[at++].part = &(*topic)->parts[p];
    lt_data_open_logs(w, all->openings, all->part_count);
    return 0;
}

static void say_failures(struct lt_worker *w, const struct lt_topic *topic)
{
    for (uint32_t p = 0; p < topic->partition_count; p++)
        if (topic->parts[p].page->state == LT_PARTITION_FAILED)
            lt_worker_log(w, LT_LOG_ERROR, "topic %s, partition %u: failed: %s", topic->name, p,
                          topic->parts[p].page->reason);
}

static int complete_all(struct lt_worker *w, struct restoring *all)
{
    uint32_t at = 0;
    for (struct lt_topic **next = all->topics; *next; next++) {
        struct lt_topic *topic = *next;
        uint32_t count = topic->partition_count;
        int r = lt_topics_complete(w, topic, &all->openings[at]);
        if (r == 0) {
            say_failures(w, topic);
        } else if (topic->refs != 0) {
            return r; /* no memory, with half of its logs handed over: not the moment to begin */
        } else {
            lt_data_close_logs(&all->openings[at], count);
            lt_worker_log(w, LT_LOG_ERROR, "topic %s is not served: %s", topic->name, lt_fail_text());
            lt_topics_give_up(w, topic);
        }
        at += count;
    }
    return 0;
}

int lt_data_restore(struct lt_worker *w)
{
    struct restoring all = { 0 };
    if (!w->data)
        return 0;
    int64_t start_ns = lt_clock_mono_ns();
    int r = lt_data_list(w, note_name, &all);
    if (r == 0)
        r = begin_all(w, &all);
    if (r == 0)
        r = open_all(w, &all);
    lt_point("restore.logs");
    if (r == 0)
        r = complete_all(w, &all);
    if (r == 0 && all.name_count > 0)
        lt_worker_log(w, LT_LOG_INFO, "%u topics of %u in the data directory, %u partitions, in %lld ms",
                      w->topic_count, all.name_count, w->partition_count,
                      (long long)((lt_clock_mono_ns() - start_ns) / 1000000));
    free(all.names);
    free(all.topics);
    free(all.openings);
    lt_point("restore.done");
    return r;
}
