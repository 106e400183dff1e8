/* create: making topics: reserved under the lock, their memory and files taken without it, published at once when all is there.
 *
 * Points, with what a death there leaves (data.c has those of the files):
 *   topic.create           nothing
 *   topic.create.page      nothing (a memfd of the worker's own)
 *   topic.create.ring      a page in state NEW with the keeper, and rings that no open page names: dropped at adoption
 *   topic.create.open      the same, all of them; a topic with a log has its directory, which goes with the page
 *   topic.create.after     the topic; the client, which has no answer, asks again and is recognised by its token
 */
#include "leatd/create.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/err.h"
#include <leat.h>
#include "leatd/data.h"
#include "leatd/kept.h"
#include "leatd/maker.h"
#include "leatd/persister.h"
#include "leatd/topics.h"

/* --- the steps --- */

/* The first run of numbers that is free. */
static int find_globals(struct lt_worker *w, const struct lt_plan *plan, uint32_t *first)
{
    uint32_t run = 0;
    for (uint32_t g = 0; g < LT_PARTITIONS_MAX; g++) {
        run = w->globals[g] ? 0 : run + 1;
        if (run == plan->partitions) {
            *first = g + 1 - run;
            return 0;
        }
    }
    return lt_fail(LEAT_ELIMIT, "topic %s: no %u partition numbers of the bus's %u in a row are free",
                   plan->name, plan->partitions, LT_PARTITIONS_MAX);
}

struct lt_topic *lt_topics_new(const char *name, uint32_t id, uint32_t partitions, uint32_t first_global)
{
    struct lt_topic *topic = calloc(1, sizeof *topic);
    struct lt_part *parts = calloc(partitions, sizeof *parts);
    if (!topic || !parts) {
        free(topic);
        free(parts);
        return NULL;
    }
    topic->parts = parts;
    topic->id = id;
    topic->partition_count = partitions;
    topic->first_global = first_global;
    snprintf(topic->name, sizeof topic->name, "%s", name);
    for (uint32_t p = 0; p < partitions; p++) {
        parts[p].topic = topic;
        parts[p].index = p;
    }
    return topic;
}

/* Its place in the tables, not to be found yet. Under the lock. */
static int enter(struct lt_worker *w, const struct lt_plan *plan, struct lt_topic **made)
{
    uint32_t first = 0;
    int r = find_globals(w, plan, &first);
    if (r < 0)
        return r;
    uint32_t id = (uint32_t)w->coordinator->next_topic_id;
    struct lt_topic *topic = lt_topics_new(plan->name, id, plan->partitions, first);
    if (!topic)
        return lt_fail(LEAT_ENOMEM, "no memory for %u partitions", plan->partitions);
    lt_store_relaxed64(&w->coordinator->next_topic_id,
                       id + 1ull); /* relaxed: the next worker reads it, when we are dead */
    topic->making = true;
    topic->uid = plan->uid;
    topic->memory_bytes = plan->memory_bytes;
    topic->descriptors = plan->partitions + 1;
    r = lt_topics_enter(w, topic);
    if (r == 0)
        *made = topic;
    return r;
}

/* 1: it is there already, and that is what was asked for. */
static int reserve(struct lt_worker *w, const struct lt_topic_create *request, const struct lt_plan *plan,
                   struct lt_topic **made)
{
    const struct lt_topic *topic = lt_topics_by_name_any(w, plan->name);
    if (topic && plan->token != 0 && topic->head && topic->head->created_by == plan->token)
        return 1; /* asked before a reconnect, done, not answered */
    if (topic && request->if_not_exists)
        return 1;
    if (topic)
        return lt_fail(LEAT_EEXIST, "topic %s exists (id %u, %u partitions)", plan->name, topic->id,
                       topic->partition_count);
    int r = lt_plan_check_limits(w, plan);
    return r == 0 ? enter(w, plan, made) : r;
}

static void fill_page(struct lt_topic *topic, const struct lt_plan *plan)
{
    struct lt_topic_head *head = lt_topic_head(topic->page);
    snprintf(head->name, sizeof head->name, "%s", plan->name);
    head->topic_id = topic->id;
    head->state = LT_TOPIC_NEW;
    head->partition_count = plan->partitions;
    head->first_global = topic->first_global;
    head->ring_size = plan->ring_size;
    head->level = plan->level;
    head->on_full = plan->on_full;
    head->partitioner = plan->partitioner;
    head->log = plan->log;
    head->uid = plan->uid;
    head->gid = plan->gid;
    head->mode = plan->mode;
    head->map_epoch = plan->map_epoch;
    head->created_by = plan->token;
    head->created_ms = plan->created_ms;
    head->next_ring_id = plan->partitions;
    head->log_id = plan->log_id;
    head->retention_bytes = plan->retention_bytes;
    head->retention_ms = plan->retention_ms;
    head->segment_bytes = plan->segment_bytes;
    if (plan->map)
        memcpy(lt_topic_map(topic->page), plan->map, LT_BUCKETS * sizeof *plan->map);
    else
        lt_topic_map_init(topic->page, plan->partitions);
    for (uint32_t p = 0; p < plan->partitions; p++) {
        topic->parts[p].page = lt_topic_partition(topic->page, p);
        topic->parts[p].page->visible = plan->level == LEAT_RING ? UINT64_MAX : 0;
    }
    topic->head = head;
    lt_region_init(topic->page, LT_REGION_TOPIC, topic->page_bytes, topic->id, 0);
}

static int make_page(struct lt_worker *w, struct lt_topic *topic, const struct lt_plan *plan)
{
    struct lt_keep_note note = { .topic_id = topic->id, .bytes = plan->page_bytes };
    uint64_t bytes;
    int fd = lt_region_create("leat-topic", plan->page_bytes, &bytes);
    if (fd < 0)
        return lt_fail_errno(-fd, "topic %s: a page of %llu bytes", plan->name,
                             (unsigned long long)plan->page_bytes);
    int r = lt_region_map(fd, bytes, 1, 0, 0, 0, &topic->page);
    if (r < 0) {
        close(fd);
        return lt_fail_errno(-r, "topic %s: map a page of %llu bytes", plan->name, (unsigned long long)bytes);
    }
    topic->page_bytes = bytes;
    fill_page(topic, plan);
    lt_point("topic.create.page");
    r = lt_keep_store(&w->keep, LT_KEEP_TOPIC, topic->id, &note, fd);
    if (r < 0)
        close(fd);
    return r;
}

int lt_topics_make_ring(struct lt_worker *w, const struct lt_topic *topic, uint32_t partition, uint32_t ring,
                        uint64_t ring_id, struct lt_kept_ring *kept)
{
    struct lt_keep_note note = { .topic_id = topic->id, .partition = partition, .ring = ring };
    uint64_t bytes = lt_ring_bytes(topic->head->ring_size);
    memset(kept, 0, sizeof *kept);
    int fd = lt_region_create("leat-ring", bytes, &kept->bytes);
    if (fd < 0)
        return lt_fail_errno(-fd, "topic %s, partition %u: a ring of %llu bytes", topic->name, partition,
                             (unsigned long long)bytes);
    /* Mapped once: the worker reads claims and slots, never payload. */
    int r = lt_region_map(fd, kept->bytes, 1, 0, 0, 0, &kept->base);
    if (r < 0) {
        close(fd);
        return lt_fail_errno(-r, "topic %s, partition %u: map a ring of %llu bytes", topic->name, partition,
                             (unsigned long long)kept->bytes);
    }
    kept->id = ring_id;
    lt_region_init(kept->base, LT_REGION_RING, kept->bytes, ring_id, (uint64_t)topic->id << 32 | partition);
    note.bytes = kept->bytes;
    r = lt_keep_store(&w->keep, LT_KEEP_RING, ring_id, &note, fd);
    if (r < 0) {
        close(fd);
        lt_region_unmap(kept->base, kept->bytes, 0);
        kept->base = NULL;
    }
    return r;
}

void lt_topics_gate_init(struct lt_ring_gate *gate, uint64_t ring_id, uint64_t base_offset)
{
    memset(gate, 0, sizeof *gate);
    gate->announced = base_offset;
    gate->ring_id = ring_id;
    gate->base_offset = base_offset;
    gate->end_offset = UINT64_MAX;
    gate->limit_offset = base_offset;
    gate->limit_pos = 0;
}

static int make_rings(struct lt_worker *w, struct lt_topic *topic, const uint64_t *bases)
{
    for (uint32_t p = 0; p < topic->partition_count; p++) {
        struct lt_part *part = &topic->parts[p];
        struct lt_kept_ring *kept = lt_part_ring(part, 0);
        struct lt_ring_gate *gate = lt_partition_gate(part->page, 0);
        uint64_t ring_id = lt_topic_ring_id(topic, p);
        lt_point("topic.create.ring");
        int r = lt_topics_make_ring(w, topic, p, 0, ring_id, kept);
        if (r < 0)
            return r;
        uint64_t base_offset = bases ? bases[p] : 0;
        lt_topics_gate_init(gate, ring_id, base_offset);
        lt_ring_view(&kept->view, kept->base, topic->head->ring_size, base_offset, gate);
        lt_ring_genesis(&kept->view, topic->head->map_epoch);
        lt_kept_view(kept, topic->head->ring_size, gate);
    }
    return 0;
}

/* What the page says of a log before anybody sees it: also where it has failed, so that the persister finds nothing new. */
static void tell_log(struct lt_part *part, const struct lt_opening *opening)
{
    struct lt_partition *page = part->page;
    int error = opening->error;
    const char *why = opening->why;
    if (opening->log) {
        page->written = lt_plog_written(opening->log);
        page->durable = lt_plog_durable(opening->log);
        page->log_start = lt_plog_start(opening->log);
        if (page->visible != UINT64_MAX)
            page->visible = part->topic->head->level == LEAT_DURABLE ? page->durable : page->written;
        error = lt_plog_error(opening->log);
        why = lt_plog_reason(opening->log);
    }
    if (error == 0)
        return;
    page->error = error;
    snprintf(page->reason, sizeof page->reason, "%s", why);
    page->state = LT_PARTITION_FAILED;
}

/* Under the lock: its logs to the persister, which takes them out of `openings`; then it is open. */
static int open_topic(struct lt_worker *w, struct lt_topic *topic, struct lt_opening *openings)
{
    for (uint32_t p = 0; openings && p < topic->partition_count; p++) {
        int r = lt_persister_add(w, &topic->parts[p], openings[p].log);
        if (r < 0)
            return r;
        openings[p].log = NULL;
    }
    topic->making = false;
    lt_point("topic.create.open");
    /* [topic.open] release: whoever sees OPEN sees map, gates and settings. */
    lt_store_release32(&topic->head->state, LT_TOPIC_OPEN);
    return 0;
}

/* Nothing is left of it, but for what the persister has to let go of first. */
static void undo(struct lt_worker *w, struct lt_topic *topic, struct lt_opening *openings)
{
    char why[LT_MSG_TEXT];
    snprintf(why, sizeof why, "%s", lt_fail_text());
    lt_data_close_logs(openings, openings ? topic->partition_count : 0);
    if (openings && lt_data_delete(w, topic) < 0)
        lt_worker_log(w, LT_LOG_ERROR, "topic %s could not be made (%s), nor its directory removed: %s",
                      topic->name, why, lt_fail_text());
    lt_worker_lock(w);
    lt_topics_forget(w, topic);
    lt_persister_remove(w, topic);
    bool is_held = topic->refs != 0;
    topic->gone = true;
    lt_worker_unlock(w);
    if (!is_held) {
        if (openings)
            lt_data_remove(w, topic->head->log_id);
        lt_topics_release(w, topic);
    }
    lt_fail(LEAT_EFAILED, "%s", why);
}

static int make(struct lt_worker *w, struct lt_topic *topic, const struct lt_plan *plan,
                struct lt_opening **openings)
{
    int r = lt_plan_check_memory(plan);
    if (r == 0)
        r = make_page(w, topic, plan);
    if (r == 0)
        r = make_rings(w, topic, NULL);
    if (r == 0 && plan->log)
        r = lt_data_create(w, topic, openings);
    for (uint32_t p = 0; r == 0 && plan->log && p < topic->partition_count; p++)
        tell_log(&topic->parts[p], &(*openings)[p]);
    if (r == 0)
        lt_topics_name_owner(topic);
    return r;
}

int lt_topics_create(struct lt_worker *w, const struct lt_peer *peer, uint64_t token,
                     const struct lt_topic_create *request)
{
    struct lt_plan plan = { .token = token };
    struct lt_topic *topic = NULL;
    struct lt_opening *openings = NULL;
    int r = lt_plan_make(w, peer, request, &plan);
    if (r < 0)
        return r;
    lt_point("topic.create");
    lt_worker_lock(w);
    r = reserve(w, request, &plan, &topic);
    lt_worker_unlock(w);
    if (r != 0)
        return r < 0 ? r : 0;

    r = make(w, topic, &plan, &openings);
    lt_worker_lock(w);
    if (r == 0)
        r = open_topic(w, topic, openings);
    if (r == 0) {
        lt_topics_moved(w);
        lt_point("topic.create.after");
    }
    lt_worker_unlock(w);
    if (r < 0)
        undo(w, topic, openings);
    free(openings);
    if (r < 0)
        return r;
    lt_worker_log(w, LT_LOG_INFO,
                  "topic %s created by pid %d: %u partitions, %llu bytes of memory, %u descriptors%s",
                  plan.name, peer->pid, plan.partitions, (unsigned long long)plan.memory_bytes,
                  plan.partitions + 1, plan.log ? ", logged" : "");
    return 0;
}

/* --- a fresh bus: see restore.c. Under the lock, before anybody is served --- */

int lt_topics_begin(struct lt_worker *w, const struct lt_plan *plan, struct lt_topic **topic)
{
    int r = lt_plan_check_memory(plan);
    if (r == 0)
        r = enter(w, plan, topic);
    if (r < 0)
        return r;
    r = make_page(w, *topic, plan);
    if (r < 0)
        lt_topics_give_up(w, *topic);
    return r;
}

void lt_topics_give_up(struct lt_worker *w, struct lt_topic *topic)
{
    char why[LT_MSG_TEXT];
    snprintf(why, sizeof why, "%s", lt_fail_text());
    lt_topics_forget(w, topic);
    lt_topics_release(w, topic);
    lt_fail(LEAT_EFAILED, "%s", why);
}

int lt_topics_complete(struct lt_worker *w, struct lt_topic *topic, struct lt_opening *openings)
{
    uint64_t *bases = calloc(topic->partition_count, sizeof *bases);
    if (!bases)
        return lt_fail(LEAT_ENOMEM, "topic %s: no memory for %u offsets", topic->name,
                       topic->partition_count);
    for (uint32_t p = 0; p < topic->partition_count; p++) {
        bases[p] = openings[p].next;
        tell_log(&topic->parts[p], &openings[p]);
    }
    int r = make_rings(w, topic, bases);
    free(bases);
    return r < 0 ? r : open_topic(w, topic, openings);
}

/* --- the other way --- */

void lt_topics_drop_ring(struct lt_worker *w, struct lt_part *part, uint32_t ring)
{
    struct lt_kept_ring *kept = lt_part_ring(part, ring);
    if (!kept->base)
        return;
    part->topic->memory_bytes -= kept->bytes;
    part->topic->descriptors--;
    w->memory_bytes -= kept->bytes;
    struct lt_job *job = calloc(1, sizeof *job);
    if (job) {
        job->kind = LT_JOB_DROP_RING;
        job->drop_base = kept->base;
        job->drop_bytes = kept->bytes;
        job->drop_ring_id = kept->id;
        job->peer.pidfd = -1;
        lt_maker_add(w, job);
    } else { /* then here, with everybody waiting */
        lt_region_unmap(kept->base, kept->bytes, 0);
        lt_keep_drop(&w->keep, LT_KEEP_RING, kept->id);
    }
    memset(kept, 0, sizeof *kept);
}

void lt_topics_release(struct lt_worker *w, struct lt_topic *topic)
{
    for (uint32_t p = 0; p < topic->partition_count; p++) {
        struct lt_part *part = &topic->parts[p];
        for (uint32_t r = 0; r < LT_RINGS; r++) {
            if (!part->rings[r].base)
                continue;
            lt_region_unmap(part->rings[r].base, part->rings[r].bytes, 0);
            lt_keep_drop(&w->keep, LT_KEEP_RING, part->rings[r].id);
        }
        lt_persister_release(part);
        free(part->readers);
        free(part->groups);
    }
    /* Last, so that a death on the way leaves a page that says what to drop. */
    if (topic->page) {
        lt_region_unmap(topic->page, topic->page_bytes, 0);
        lt_keep_drop(&w->keep, LT_KEEP_TOPIC, topic->id);
    }
    free(topic->parts);
    free(topic);
}
