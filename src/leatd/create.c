/* create: making topics: reserved under the lock, their memory taken without it, published at once when all is there.
 *
 * Points, with what a death there leaves:
 *   topic.create           nothing
 *   topic.create.page      nothing (a memfd of the worker's own)
 *   topic.create.ring      a page in state NEW with the keeper, and rings that no open page names: dropped at adoption
 *   topic.create.open      the same, all of them
 *   topic.create.after     the topic; the client, which has no answer, asks again and is recognised by its token
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include <leat.h>
#include "leatd/groups.h"
#include "leatd/maker.h"
#include "leatd/persister.h"
#include "leatd/topics.h"

#define DEFAULT UINT32_MAX
#define SPARE_DESCRIPTORS 64u
#define PAGE 4096ull

struct plan {
    const char *name;
    uint32_t partitions, on_full, partitioner, mode, log;
    uint64_t ring_size;
    uint64_t page_bytes, ring_bytes, memory_bytes;
    uint32_t uid, gid;
    uint64_t token;
};

/* --- who owns it --- */

static bool read_id(const char *text, uint32_t *id)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != 0 || value >= UINT32_MAX)
        return false;
    *id = (uint32_t)value;
    return true;
}

static int find_user(const char *name, uint32_t *uid, uint32_t *gid)
{
    char buffer[16384];
    struct passwd pw, *found = NULL;
    if (read_id(name, uid)) {
        if (getpwuid_r(*uid, &pw, buffer, sizeof buffer, &found) == 0 && found)
            *gid = pw.pw_gid;
        return 0;
    }
    if (getpwnam_r(name, &pw, buffer, sizeof buffer, &found) != 0 || !found)
        return lt_fail(LEAT_EINVAL, "owner: no user %s", name);
    *uid = pw.pw_uid;
    *gid = pw.pw_gid;
    return 0;
}

static int find_group(const char *name, uint32_t *gid)
{
    char buffer[16384];
    struct group gr, *found = NULL;
    if (read_id(name, gid))
        return 0;
    if (getgrnam_r(name, &gr, buffer, sizeof buffer, &found) != 0 || !found)
        return lt_fail(LEAT_EINVAL, "owner: no group %s", name);
    *gid = gr.gr_gid;
    return 0;
}

int lt_topics_owner(const struct lt_peer *peer, const char *owner, uint32_t *uid, uint32_t *gid)
{
    char user[128];
    *uid = peer->uid;
    *gid = peer->gid;
    if (!*owner)
        return 0;
    snprintf(user, sizeof user, "%s", owner);
    char *group = strchr(user, ':');
    if (group)
        *group++ = 0;
    uint32_t primary = peer->gid;
    int r = *user ? find_user(user, uid, &primary) : 0;
    if (r == 0 && *user && *uid != peer->uid)
        *gid = primary;
    if (r == 0 && group && *group)
        r = find_group(group, gid);
    if (r < 0 || peer->uid == 0)
        return r;
    if (*uid != peer->uid)
        return lt_fail(LEAT_EPERM, "owner %s: only root gives a topic away; this is uid %u", owner,
                       peer->uid);
    if (!lt_peer_in_group(peer, *gid))
        return lt_fail(LEAT_EPERM, "owner %s: uid %u is not in group %u", owner, peer->uid, *gid);
    return 0;
}

/* --- what is wanted --- */

static void fill_plan(const struct lt_config *config, const struct lt_topic_create *request,
                      struct plan *plan)
{
    bool any = request->partitioner == DEFAULT || request->partitioner == LEAT_PARTITIONER_TOPIC;
    plan->name = request->name;
    plan->partitions = request->partitions ? request->partitions : config->partitions;
    plan->on_full = request->on_full == DEFAULT ? config->on_full : request->on_full;
    plan->partitioner = any ? config->partitioner : request->partitioner;
    plan->mode = request->mode == DEFAULT ? config->mode : request->mode;
    plan->ring_size = request->ring_size ? request->ring_size : config->ring_size;
    plan->log = 0;
}

static int check_plan(const struct lt_topic_create *request, const struct plan *plan)
{
    if (plan->partitions > LT_TOPIC_PARTITIONS_MAX)
        return lt_fail(LEAT_EINVAL, "topic %s: %u partitions; a topic has 1..%u", plan->name,
                       plan->partitions, LT_TOPIC_PARTITIONS_MAX);
    if (plan->ring_size < LT_RING_SIZE_MIN || plan->ring_size > LT_RING_SIZE_MAX)
        return lt_fail(LEAT_EINVAL, "topic %s: a ring of %llu bytes; a ring has %llu..%llu", plan->name,
                       (unsigned long long)plan->ring_size, (unsigned long long)LT_RING_SIZE_MIN,
                       (unsigned long long)LT_RING_SIZE_MAX);
    if (plan->on_full > LEAT_ERROR)
        return lt_fail(LEAT_EINVAL, "topic %s: on-full %u; there are 0..%u", plan->name, plan->on_full,
                       LEAT_ERROR);
    if (plan->partitioner != LEAT_XXH3 && plan->partitioner != LEAT_MURMUR2)
        return lt_fail(LEAT_EINVAL, "topic %s: partitioner %u; a topic's is xxh3 (%u) or murmur2 (%u)",
                       plan->name, plan->partitioner, LEAT_XXH3, LEAT_MURMUR2);
    if (plan->mode > 0777)
        return lt_fail(LEAT_EINVAL, "topic %s: mode %04o; at most 0777", plan->name, plan->mode);
    if (request->level > LEAT_DURABLE)
        return lt_fail(LEAT_EINVAL, "topic %s: level %u; there are 0..%u", plan->name, request->level,
                       LEAT_DURABLE);
    if (request->level != LEAT_RING)
        return lt_fail(LEAT_EUNSUPPORTED,
                       "topic %s: level %s: this build keeps topics in memory only (level ring)", plan->name,
                       request->level == LEAT_DURABLE ? "durable" : "written");
    return 0;
}

static int make_plan(struct lt_worker *w, const struct lt_peer *peer, const struct lt_topic_create *request,
                     struct plan *plan)
{
    int r = lt_topic_name_check(request->name, strlen(request->name));
    if (r < 0)
        return r;
    fill_plan(&w->config, request, plan);
    r = check_plan(request, plan);
    if (r < 0)
        return r;
    uint64_t rounded = LT_RING_SIZE_MIN;
    while (rounded < plan->ring_size)
        rounded *= 2;
    plan->ring_size = rounded;
    plan->page_bytes = (lt_topic_bytes(plan->partitions) + PAGE - 1) & ~(PAGE - 1);
    plan->ring_bytes = (lt_ring_bytes(plan->ring_size) + PAGE - 1) & ~(PAGE - 1);
    plan->memory_bytes = plan->page_bytes + plan->partitions * plan->ring_bytes;
    return lt_topics_owner(peer, request->owner, &plan->uid, &plan->gid);
}

/* --- limits --- */

static int over(const char *limit, const char *name, uint64_t wanted, uint64_t used, uint64_t most)
{
    return lt_fail(LEAT_ELIMIT, "topic %s wants %llu, %llu of %llu are in use: %s", name,
                   (unsigned long long)wanted, (unsigned long long)used, (unsigned long long)most, limit);
}

uint64_t lt_topics_memory_of(struct lt_worker *w, uint32_t uid)
{
    uint64_t memory = lt_groups_memory_of(w, uid);
    for (uint32_t chain = 0; chain < LT_TOPIC_CHAINS; chain++) /* those that are being made, too */
        for (const struct lt_topic *topic = w->by_id[chain]; topic; topic = topic->next_by_id)
            memory += topic->uid == uid ? topic->memory_bytes : 0;
    for (uint32_t c = 1; c < LT_CLIENTS_MAX; c++)
        if (w->clients[c] && w->clients[c]->uid == uid)
            memory += w->clients[c]->mailbox_bytes;
    return memory;
}

/* What one user has. */
static int check_share(struct lt_worker *w, const struct plan *plan)
{
    const struct lt_config *config = &w->config;
    uint64_t memory = lt_topics_memory_of(w, plan->uid);
    uint32_t topics = 0, partitions = 0;
    for (uint32_t chain = 0; chain < LT_TOPIC_CHAINS; chain++) { /* those that are being made, too */
        for (const struct lt_topic *topic = w->by_id[chain]; topic; topic = topic->next_by_id) {
            if (topic->uid != plan->uid)
                continue;
            topics++;
            partitions += topic->partition_count;
        }
    }
    if (topics + 1 > config->max_topics_per_uid)
        return over("max-topics-per-uid", plan->name, 1, topics, config->max_topics_per_uid);
    if (partitions + plan->partitions > config->max_partitions_per_uid)
        return over("max-partitions-per-uid", plan->name, plan->partitions, partitions,
                    config->max_partitions_per_uid);
    if (memory + plan->memory_bytes > config->max_memory_per_uid)
        return over("max-memory-per-uid", plan->name, plan->memory_bytes, memory, config->max_memory_per_uid);
    return 0;
}

static int check_limits(struct lt_worker *w, const struct plan *plan)
{
    const struct lt_config *config = &w->config;
    if (w->topic_count + 1 > config->max_topics)
        return over("max-topics", plan->name, 1, w->topic_count, config->max_topics);
    if (w->partition_count + plan->partitions > config->max_partitions)
        return over("max-partitions", plan->name, plan->partitions, w->partition_count,
                    config->max_partitions);
    if (w->memory_bytes + plan->memory_bytes > config->max_memory)
        return over("max-memory", plan->name, plan->memory_bytes, w->memory_bytes, config->max_memory);
    /* The worker's: it has those of the keeper and the connections. */
    uint64_t descriptors = lt_keep_count(&w->keep) + w->conn_count + SPARE_DESCRIPTORS;
    if (descriptors + plan->partitions + 1 > w->descriptor_limit)
        return over("descriptors (RLIMIT_NOFILE)", plan->name, plan->partitions + 1, descriptors,
                    w->descriptor_limit);
    return plan->uid == 0 || plan->uid == geteuid() ? 0 : check_share(w, plan);
}

static int check_memory(const struct plan *plan)
{
    uint64_t available = lt_memory_available();
    /* Some is left to others: the last page would be paid for by whoever the kernel then kills. */
    available -= available / 16;
    if (plan->memory_bytes > available)
        return lt_fail(LEAT_ENOMEM, "topic %s wants %llu bytes of memory; %llu can be had", plan->name,
                       (unsigned long long)plan->memory_bytes, (unsigned long long)available);
    return 0;
}

/* --- the steps --- */

/* The first run of numbers that is free. */
static int find_globals(struct lt_worker *w, const struct plan *plan, uint32_t *first)
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

/* 1: it is there already, and that is what was asked for. */
static int reserve(struct lt_worker *w, const struct lt_topic_create *request, const struct plan *plan,
                   struct lt_topic **made)
{
    struct lt_topic *topic = lt_topics_by_name_any(w, plan->name);
    uint32_t first = 0;
    if (topic && plan->token != 0 && topic->head && topic->head->created_by == plan->token)
        return 1; /* asked before a reconnect, done, not answered */
    if (topic && request->if_not_exists)
        return 1;
    if (topic)
        return lt_fail(LEAT_EEXIST, "topic %s exists (id %u, %u partitions)", plan->name, topic->id,
                       topic->partition_count);
    int r = check_limits(w, plan);
    if (r == 0)
        r = find_globals(w, plan, &first);
    if (r < 0)
        return r;
    uint32_t id = (uint32_t)w->coordinator->next_topic_id;
    topic = lt_topics_new(plan->name, id, plan->partitions, first);
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

static void fill_page(struct lt_topic *topic, const struct plan *plan)
{
    struct lt_topic_head *head = lt_topic_head(topic->page);
    snprintf(head->name, sizeof head->name, "%s", plan->name);
    head->topic_id = topic->id;
    head->state = LT_TOPIC_NEW;
    head->partition_count = plan->partitions;
    head->first_global = topic->first_global;
    head->ring_size = plan->ring_size;
    head->level = LEAT_RING;
    head->on_full = plan->on_full;
    head->partitioner = plan->partitioner;
    head->log = plan->log;
    head->uid = plan->uid;
    head->gid = plan->gid;
    head->mode = plan->mode;
    head->created_by = plan->token;
    head->created_ms = (uint64_t)lt_clock_real_ms();
    head->next_ring_id = plan->partitions;
    lt_topic_map_init(topic->page, plan->partitions);
    for (uint32_t p = 0; p < plan->partitions; p++) {
        topic->parts[p].page = lt_topic_partition(topic->page, p);
        topic->parts[p].page->visible = UINT64_MAX;
    }
    topic->head = head;
    lt_region_init(topic->page, LT_REGION_TOPIC, topic->page_bytes, topic->id, 0);
}

static int make_page(struct lt_worker *w, struct lt_topic *topic, const struct plan *plan)
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

static int make_rings(struct lt_worker *w, struct lt_topic *topic)
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
        lt_topics_gate_init(gate, ring_id, 0);
        lt_ring_view(&kept->view, kept->base, topic->head->ring_size, 0, gate);
        lt_ring_genesis(&kept->view, topic->head->map_epoch);
    }
    return 0;
}

int lt_topics_create(struct lt_worker *w, const struct lt_peer *peer, uint64_t token,
                     const struct lt_topic_create *request)
{
    struct plan plan = { .token = token };
    struct lt_topic *topic = NULL;
    int r = make_plan(w, peer, request, &plan);
    if (r < 0)
        return r;
    lt_point("topic.create");
    lt_worker_lock(w);
    r = reserve(w, request, &plan, &topic);
    lt_worker_unlock(w);
    if (r != 0)
        return r < 0 ? r : 0;

    r = check_memory(&plan);
    if (r == 0)
        r = make_page(w, topic, &plan);
    if (r == 0)
        r = make_rings(w, topic);
    if (r == 0)
        lt_topics_name_owner(topic);

    lt_worker_lock(w);
    topic->making = false;
    if (r < 0) {
        char why[LT_MSG_TEXT];
        snprintf(why, sizeof why, "%s", lt_fail_text());
        lt_topics_forget(w, topic);
        lt_worker_unlock(w);
        lt_topics_release(w, topic);
        return lt_fail(r, "%s", why);
    }
    lt_point("topic.create.open");
    /* [topic.open] release: whoever sees OPEN sees map, gates and settings. */
    lt_store_release32(&topic->head->state, LT_TOPIC_OPEN);
    lt_topics_moved(w);
    lt_point("topic.create.after");
    lt_worker_unlock(w);
    lt_worker_log(
        w, LT_LOG_INFO, "topic %s created by pid %d: %u partitions, %llu bytes of memory, %u descriptors",
        plan.name, peer->pid, plan.partitions, (unsigned long long)plan.memory_bytes, plan.partitions + 1);
    return 0;
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
