/* topics: the tables of topics and what clients ask of them. Making them is create.c.
 *
 * What a topic is stands in its page; struct lt_topic is the worker's own view of it.
 *
 * Points, with what a death there leaves:
 *   topic.attach        exclusive_client may be set without the writer bit: the repeated request finds its own hold
 *   topic.detach        the same
 *   topic.delete        the page says OPEN: nothing has happened
 *   topic.delete.after  the page says DELETED: the next worker gives its memory back
 */
#include "leatd/topics.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/err.h"
#include "base/futex.h"
#include <leat.h>
#include "leatd/data.h"
#include "leatd/fold.h"
#include "leatd/groups.h"
#include "leatd/maker.h"
#include "leatd/persister.h"
#include "leatd/readers.h"
#include "leatd/warden.h"
#include "shm/reclaim.h"

/* --- tables --- */

static uint32_t hash_name(const char *name)
{
    uint32_t hash = 2166136261u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash % LT_TOPIC_CHAINS;
}

struct lt_topic *lt_topics_by_name_any(struct lt_worker *w, const char *name)
{
    struct lt_topic *topic = w->by_name[hash_name(name)];
    while (topic && strcmp(topic->name, name) != 0)
        topic = topic->next_by_name;
    return topic;
}

struct lt_topic *lt_topics_by_name(struct lt_worker *w, const char *name)
{
    struct lt_topic *topic = lt_topics_by_name_any(w, name);
    return topic && !topic->making ? topic : NULL;
}

struct lt_topic *lt_topics_by_id(struct lt_worker *w, uint32_t id)
{
    struct lt_topic *topic = w->by_id[id % LT_TOPIC_CHAINS];
    while (topic && topic->id != id)
        topic = topic->next_by_id;
    return topic && !topic->making ? topic : NULL;
}

struct lt_topic *lt_topics_next(struct lt_worker *w, const struct lt_topic *topic)
{
    uint32_t chain = topic ? topic->id % LT_TOPIC_CHAINS + 1 : 0;
    struct lt_topic *next = topic ? topic->next_by_id : NULL;
    for (;;) {
        while (next && next->making)
            next = next->next_by_id;
        if (next || chain == LT_TOPIC_CHAINS)
            return next;
        next = w->by_id[chain++];
    }
}

int lt_topics_enter(struct lt_worker *w, struct lt_topic *topic)
{
    for (uint32_t p = 0; p < topic->partition_count; p++)
        if (w->globals[topic->first_global + p])
            return lt_fail(LEAT_EPROTO, "topic %s: partition %u of the bus is taken", topic->name,
                           topic->first_global + p);
    for (uint32_t p = 0; p < topic->partition_count; p++)
        w->globals[topic->first_global + p] = &topic->parts[p];
    uint32_t chain = hash_name(topic->name);
    topic->next_by_name = w->by_name[chain];
    w->by_name[chain] = topic;
    topic->next_by_id = w->by_id[topic->id % LT_TOPIC_CHAINS];
    w->by_id[topic->id % LT_TOPIC_CHAINS] = topic;
    w->topic_count++;
    w->partition_count += topic->partition_count;
    w->memory_bytes += topic->memory_bytes;
    return 0;
}

void lt_topics_forget(struct lt_worker *w, struct lt_topic *topic)
{
    struct lt_topic **link = &w->by_name[hash_name(topic->name)];
    while (*link != topic)
        link = &(*link)->next_by_name;
    *link = topic->next_by_name;
    link = &w->by_id[topic->id % LT_TOPIC_CHAINS];
    while (*link != topic)
        link = &(*link)->next_by_id;
    *link = topic->next_by_id;
    for (uint32_t p = 0; p < topic->partition_count; p++)
        w->globals[topic->first_global + p] = NULL;
    w->topic_count--;
    w->partition_count -= topic->partition_count;
    w->memory_bytes -= topic->memory_bytes;
}

/* --- waking --- */

void lt_part_wake_room(struct lt_partition *page)
{
    /* [room.seq] release: whoever sees the new number sees the limit, the ring or the state that it stands for. */
    lt_store_release32(&page->room_seq, lt_load_relaxed32(&page->room_seq) + 1);
    lt_futex_wake(&page->room_seq);
}

void lt_topics_moved(struct lt_worker *w)
{
    uint64_t *seq = &w->coordinator->topics_seq;
    /* [topics.seq] release: whoever sees the number sees the page's state. */
    lt_store_release64(seq, lt_load_relaxed64(seq) + 1);
    lt_groups_topics(w);
    for (uint32_t b = 0; b < LT_BELLS; b++)
        if (lt_load_relaxed32(&w->coordinator->bells[b].client) != 0)
            lt_bell_ring(&w->bells->bells[b]);
}

/* --- attach and detach --- */

static struct lt_topic *find(struct lt_worker *w, const char *name, int *error)
{
    struct lt_topic *topic = NULL;
    *error = lt_topic_name_check(name, strlen(name));
    if (*error == 0 && !(topic = lt_topics_by_name(w, name)))
        *error = lt_fail(LEAT_ENOTOPIC, "no topic %s on this bus", name);
    return topic;
}

static int check_permission(const struct lt_topic *topic, const struct lt_peer *peer, uint32_t want)
{
    const struct lt_topic_head *head = topic->head;
    if (lt_peer_may(peer, head->uid, head->gid, head->mode, want))
        return 0;
    return lt_fail(LEAT_EPERM, "topic %s belongs to %u:%u with mode %04o; uid %u may not %s", topic->name,
                   head->uid, head->gid, head->mode, peer->uid, want & 2 ? "produce" : "consume");
}

static int refuse_exclusive(struct lt_worker *w, const struct lt_topic *topic, uint32_t client,
                            const char *what)
{
    return lt_fail(LEAT_EEXCLUSIVE, "topic %s: client %u (pid %d) %s", topic->name, client,
                   client < LT_CLIENTS_MAX ? w->coordinator->clients[client].pid : 0, what);
}

/* Nobody else attached, and no claim of anybody else that is not over. */
static int check_alone(struct lt_worker *w, struct lt_topic *topic, uint32_t client)
{
    for (uint32_t c = 1; c < LT_CLIENTS_MAX; c++)
        if (lt_topic_writes(topic, c))
            return refuse_exclusive(
                w, topic, c, c == client ? "is this one, which produces there already" : "produces there");
    for (uint32_t p = 0; p < topic->partition_count; p++) {
        struct lt_part *part = &topic->parts[p];
        struct lt_kept_ring *kept = lt_part_ring(part, part->page->current_ring);
        struct lt_reclaim walk = { .offset = kept->limit_offset, .pos = kept->limit_pos };
        lt_reclaim_scan(&kept->view, &walk, UINT64_MAX, UINT64_MAX, UINT64_MAX);
        if (walk.stop == LT_STOP_CORRUPT)
            return lt_fail(LEAT_EPROTO, "topic %s, partition %u: damaged at offset %llu", topic->name, p,
                           (unsigned long long)walk.stop_offset);
        if (walk.stop != LT_STOP_TAIL && walk.stop_owner != client)
            return refuse_exclusive(w, topic, walk.stop_owner, "still holds a claim there");
    }
    return 0;
}

static int attach_writer(struct lt_worker *w, struct lt_topic *topic, uint32_t client, bool exclusive)
{
    struct lt_topic_head *head = topic->head;
    if (head->exclusive_client != 0 && head->exclusive_client != client)
        return refuse_exclusive(w, topic, head->exclusive_client, "holds it exclusively");
    if (head->exclusive_client == client && !exclusive)
        return refuse_exclusive(w, topic, client, "is this one, which holds it exclusively");
    if (exclusive && head->exclusive_client == 0) {
        int r = check_alone(w, topic, client);
        if (r < 0)
            return r;
        lt_store_release32(&head->exclusive_client, client);
    }
    lt_point("topic.attach");
    lt_store_release64(&head->writers[client / 64], head->writers[client / 64] | 1ull << client % 64);
    topic->wrote[client / 64] |= 1ull << client % 64;
    return 0;
}

int lt_topics_attach(struct lt_worker *w, struct lt_conn *conn, const struct lt_topic_attach *request,
                     struct lt_topic_attach_answer *answer, int *fd)
{
    int r;
    struct lt_topic *topic = find(w, request->name, &r);
    if (topic)
        r = check_permission(topic, &conn->peer, request->write ? 2 : 4);
    if (r == 0 && request->write)
        r = attach_writer(w, topic, conn->client->id, request->exclusive != 0);
    if (r < 0)
        return r;
    *fd = lt_region_reopen_readonly(lt_keep_fd(&w->keep, LT_KEEP_TOPIC, topic->id));
    if (*fd < 0)
        return lt_fail_errno(-*fd, "a read-only descriptor of topic %s", topic->name);
    answer->page_bytes = topic->page_bytes;
    answer->topic_id = topic->id;
    return 0;
}

int lt_topics_detach(struct lt_worker *w, struct lt_conn *conn, const struct lt_topic_detach *request)
{
    struct lt_topic *topic = lt_topics_by_id(w, request->topic_id);
    uint32_t client = conn->client->id;
    if (!topic || !request->write)
        return 0; /* deleted meanwhile; and of those that consume nothing is written down */
    struct lt_topic_head *head = topic->head;
    if (head->exclusive_client == client)
        lt_store_release32(&head->exclusive_client, 0);
    lt_point("topic.detach");
    lt_store_release64(&head->writers[client / 64], head->writers[client / 64] & ~(1ull << client % 64));
    return 0;
}

int lt_topics_attach_ring(struct lt_worker *w, struct lt_conn *conn, const struct lt_ring_attach *request,
                          struct lt_ring_attach_answer *answer, int *fd)
{
    struct lt_topic *topic = lt_topics_by_id(w, request->topic_id);
    int r;
    if (!topic)
        return lt_fail(LEAT_ENOTOPIC, "no topic with id %u on this bus", request->topic_id);
    if (request->partition >= topic->partition_count)
        return lt_fail(LEAT_ENOPART, "topic %s has partitions 0..%u, not %u", topic->name,
                       topic->partition_count - 1, request->partition);
    if (request->write && !lt_topic_writes(topic, conn->client->id))
        return lt_fail(LEAT_EPERM, "topic %s: client %u is not attached to produce", topic->name,
                       conn->client->id);
    if (!request->write && (r = check_permission(topic, &conn->peer, 4)) < 0)
        return r;
    struct lt_part *part = &topic->parts[request->partition];
    struct lt_partition *page = part->page;
    /* Differences, so that numbers may wrap. */
    if (request->ring - page->first_ring > page->current_ring - page->first_ring)
        return lt_fail(LEAT_EOFFSET, "topic %s, partition %u: ring %u is gone; there are %u..%u", topic->name,
                       request->partition, request->ring, page->first_ring, page->current_ring);
    struct lt_kept_ring *kept = lt_part_ring(part, request->ring);
    int kept_fd = lt_keep_fd(&w->keep, LT_KEEP_RING, kept->id);
    *fd = request->write ? fcntl(kept_fd, F_DUPFD_CLOEXEC, 0) : lt_region_reopen_readonly(kept_fd);
    if (*fd < 0)
        return lt_fail_errno(request->write ? errno : -*fd, "a descriptor of topic %s, partition %u",
                             topic->name, request->partition);
    answer->bytes = kept->bytes;
    answer->ring_id = kept->id;
    answer->base_offset = kept->view.base_offset;
    return 0;
}

int lt_topics_find_part(struct lt_worker *w, struct lt_conn *conn, uint32_t topic_id, uint32_t partition,
                        struct lt_part **part)
{
    struct lt_topic *topic = lt_topics_by_id(w, topic_id);
    if (!topic)
        return lt_fail(LEAT_ENOTOPIC, "no topic with id %u on this bus", topic_id);
    if (partition >= topic->partition_count)
        return lt_fail(LEAT_ENOPART, "topic %s has partitions 0..%u, not %u", topic->name,
                       topic->partition_count - 1, partition);
    *part = &topic->parts[partition];
    return check_permission(topic, &conn->peer, 4);
}

/* --- delete --- */

void lt_topics_delete(struct lt_worker *w, struct lt_topic *topic)
{
    lt_point("topic.delete");
    /* [topic.deleted] release. Clients look after topics_seq, or a wake-up, has told them to. */
    lt_store_release32(&topic->head->state, LT_TOPIC_DELETED);
    lt_point("topic.delete.after");
    lt_topics_forget(w, topic);
    lt_topics_moved(w);
    for (uint32_t p = 0; p < topic->partition_count; p++) {
        lt_part_wake_room(topic->parts[p].page);
        lt_partition_ring_bells(topic->parts[p].page, w->bells);
    }
    lt_readers_forget_topic(w, topic);
    lt_persister_remove(w, topic);
    lt_warden_forget(w, topic);
    lt_fold_forget_topic(w, topic);
    topic->gone = true;
    topic->refs++;
    lt_topics_unref(w, topic);
}

void lt_topics_unref(struct lt_worker *w, struct lt_topic *topic)
{
    if (--topic->refs != 0 || !topic->gone)
        return;
    struct lt_job *job = calloc(1, sizeof *job);
    if (!job) { /* then its memory goes with the worker: the next one finds it deleted */
        lt_worker_log(w, LT_LOG_ERROR, "topic %s: no memory to give it back", topic->name);
        return;
    }
    job->kind = LT_JOB_RELEASE;
    job->release = topic;
    job->peer.pidfd = -1;
    lt_maker_add(w, job);
}

/* A topic that is gone was deleted by this very request, when that was asked before a reconnect. */
static bool is_asked_again(struct lt_worker *w, const struct lt_conn *conn, uint32_t number)
{
    return conn->client && w->coordinator->clients[conn->client->id].last_delete == number;
}

int lt_topics_remove(struct lt_worker *w, struct lt_conn *conn, uint32_t number, const char *name)
{
    int r;
    struct lt_topic *topic = find(w, name, &r);
    if (!topic)
        return r == LEAT_ENOTOPIC && is_asked_again(w, conn, number) ? 0 : r;
    if (conn->peer.uid != 0 && conn->peer.uid != topic->head->uid)
        return lt_fail(LEAT_EPERM, "topic %s belongs to uid %u, not to uid %u", name, topic->head->uid,
                       conn->peer.uid);
    if (conn->client)
        lt_store_relaxed32(&w->coordinator->clients[conn->client->id].last_delete,
                           number); /* for the next worker */
    if (topic->head->log_id != 0)
        return LT_TOPICS_LATER;
    lt_worker_log(w, LT_LOG_INFO, "topic %s deleted by pid %d", name, conn->peer.pid);
    lt_topics_delete(w, topic);
    return 0;
}

int lt_topics_remove_logged(struct lt_worker *w, const struct lt_peer *peer, const char *name)
{
    lt_worker_lock(w);
    struct lt_topic *topic = lt_topics_by_name(w, name);
    if (topic)
        topic->refs++;
    lt_worker_unlock(w);
    if (!topic) /* two have asked at once, and the other one was first */
        return lt_fail(LEAT_ENOTOPIC, "no topic %s on this bus", name);
    int r = lt_data_delete(w, topic);
    lt_worker_lock(w);
    if (r == 0) {
        lt_worker_say(w, LT_LOG_INFO, "topic %s deleted by pid %d", name, peer->pid);
        lt_topics_delete(w, topic);
    }
    lt_topics_unref(w, topic);
    lt_worker_unlock(w);
    return r;
}

/* --- describe and list --- */

void lt_topics_name_owner(struct lt_topic *topic)
{
    char user[56], group[56], buffer[4096];
    struct passwd pw, *found_pw = NULL;
    struct group gr, *found_gr = NULL;
    snprintf(user, sizeof user, "%u", topic->head->uid);
    snprintf(group, sizeof group, "%u", topic->head->gid);
    if (getpwuid_r(topic->head->uid, &pw, buffer, sizeof buffer, &found_pw) == 0 && found_pw)
        snprintf(user, sizeof user, "%s", pw.pw_name);
    if (getgrgid_r(topic->head->gid, &gr, buffer, sizeof buffer, &found_gr) == 0 && found_gr)
        snprintf(group, sizeof group, "%s", gr.gr_name);
    snprintf(topic->owner, sizeof topic->owner, "%s:%s", user, group);
}

/* Everything below is published: in the oldest ring that has a hole, else to the tail. */
static uint64_t find_front(struct lt_part *part, uint64_t tail)
{
    const struct lt_partition *page = part->page;
    for (uint32_t ring = page->first_ring;; ring++) {
        struct lt_kept_ring *kept = lt_part_ring(part, ring);
        uint64_t from = kept->front > kept->limit_offset ? kept->front : kept->limit_offset, offset;
        uint32_t owner;
        enum lt_claim_state state;
        if (kept->base && lt_repair_blocker(&kept->view, from, &offset, &owner, &state) == 0)
            return offset < tail ? offset : tail;
        if (ring == page->current_ring)
            return tail;
    }
}

static void fill_row(struct lt_part *part, struct lt_partition_row *row)
{
    struct lt_partition *page = part->page;
    struct lt_kept_ring *kept = lt_part_ring(part, page->current_ring);
    uint64_t pos;
    uint32_t epoch;
    memset(row, 0, sizeof *row);
    row->partition = part->index;
    row->state = page->state;
    row->rings = page->current_ring - page->first_ring + 1;
    row->readers = part->reader_count;
    if (lt_ring_find_tail(&kept->view, &row->log_end_offset, &pos, &epoch) == LT_RING_CORRUPT)
        row->log_end_offset = kept->front;
    row->acked_offset = find_front(part, row->log_end_offset);
    uint32_t level = part->topic->head->level;
    if (level != LEAT_RING)
        row->acked_offset = lt_load_acquire64(level == LEAT_DURABLE ? &page->durable : &page->written);
    if (part->topic->head->log_id != 0) {
        row->log_start_offset = lt_load_acquire64(&page->log_start);
        row->bytes_on_disk = lt_load_relaxed64(&page->log_bytes); /* these two are for people */
        row->segments = lt_load_relaxed32(&page->log_segments);
        if (row->state != LT_PARTITION_OPEN)
            memcpy(row->reason, page->reason, sizeof row->reason);
        return;
    }
    for (uint32_t ring = page->first_ring;; ring++) {
        const struct lt_ring_gate *gate = lt_partition_gate(page, ring);
        row->log_start_offset = gate->announced > gate->base_offset ? gate->announced : gate->base_offset;
        if (ring == page->current_ring || row->log_start_offset < gate->end_offset)
            return;
    }
}

void lt_topics_bounds(struct lt_part *part, uint64_t *start, uint64_t *end)
{
    struct lt_partition_row row;
    uint64_t visible = lt_load_acquire64(&part->page->visible);
    fill_row(part, &row);
    *start = row.log_start_offset;
    *end = row.log_end_offset < visible ? row.log_end_offset : visible;
}

static uint32_t count_writers(const struct lt_topic *topic)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < LT_WRITER_WORDS; i++)
        count += (uint32_t)__builtin_popcountll(topic->head->writers[i]);
    return count;
}

int lt_topics_describe(struct lt_worker *w, const struct lt_topic_describe *request,
                       struct lt_topic_describe_answer *answer, uint32_t size, uint32_t *used)
{
    int r;
    struct lt_topic *topic = find(w, request->name, &r);
    if (!topic)
        return r;
    const struct lt_topic_head *head = topic->head;
    memset(answer, 0, sizeof *answer);
    memcpy(answer->topic.name, head->name, sizeof answer->topic.name);
    answer->topic.partitions = topic->partition_count;
    answer->topic.level = head->level;
    answer->topic.on_full = head->on_full;
    answer->topic.partitioner = head->partitioner;
    answer->topic.mode = head->mode;
    answer->topic.no_log = !head->log;
    answer->topic.segment_bytes = head->segment_bytes;
    answer->topic.retention_bytes = (int64_t)head->retention_bytes;
    answer->topic.retention_ms = head->retention_ms;
    answer->topic.ring_size = head->ring_size;
    answer->uid = head->uid;
    answer->gid = head->gid;
    answer->map_epoch = head->map_epoch;
    answer->descriptors = topic->descriptors;
    answer->producers = count_writers(topic);
    answer->log = head->log;
    if (!topic->owner[0])
        lt_topics_name_owner(topic); /* once after each start of a worker */
    memcpy(answer->owner, topic->owner, sizeof answer->owner);
    memcpy(answer->topic.owner, topic->owner, sizeof answer->topic.owner);
    answer->memory_bytes = topic->memory_bytes;
    const struct lt_ring *view = &lt_part_ring(&topic->parts[0], topic->parts[0].page->current_ring)->view;
    answer->ring_slots = view->slot_count;
    answer->record_max = lt_ring_record_max(view);

    int rows = 0;
    *used = sizeof *answer;
    for (uint32_t p = request->from_partition; p < topic->partition_count; p++) {
        if (*used + sizeof *answer->rows > size)
            break;
        fill_row(&topic->parts[p], &answer->rows[rows++]);
        *used += sizeof *answer->rows;
    }
    return rows;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int lt_topics_list(struct lt_worker *w, const char *after, char *names, uint32_t size, uint32_t *used)
{
    uint32_t count = 0;
    int listed = 0;
    *used = 0;
    const char **all = malloc((w->topic_count + 1) * sizeof *all);
    if (!all)
        return lt_fail(LEAT_ENOMEM, "no memory to sort %u names", w->topic_count);
    for (struct lt_topic *topic = lt_topics_next(w, NULL); topic; topic = lt_topics_next(w, topic))
        if (strcmp(topic->name, after) > 0)
            all[count++] = topic->name;
    qsort(all, count, sizeof *all, compare_names);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t length = (uint32_t)strlen(all[i]) + 1;
        if (*used + length > size)
            break;
        memcpy(names + *used, all[i], length);
        *used += length;
        listed++;
    }
    free(all);
    return listed;
}
