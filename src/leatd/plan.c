/* plan: see plan.h. */
#include "leatd/plan.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include <leat.h>
#include "leatd/data.h"
#include "leatd/groups.h"
#include "leatd/topics.h"
#include "store/topicfile.h"

#define DEFAULT UINT32_MAX
#define SPARE_DESCRIPTORS 64u
#define PAGE 4096ull

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

int lt_plan_owner(const struct lt_peer *peer, const char *owner, uint32_t *uid, uint32_t *gid)
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
                      struct lt_plan *plan)
{
    bool any = request->partitioner == DEFAULT || request->partitioner == LEAT_PARTITIONER_TOPIC;
    int64_t bytes = request->retention_bytes, ms = request->retention_ms;
    snprintf(plan->name, sizeof plan->name, "%s", request->name);
    plan->partitions = request->partitions ? request->partitions : config->partitions;
    plan->on_full = request->on_full == DEFAULT ? config->on_full : request->on_full;
    plan->partitioner = any ? config->partitioner : request->partitioner;
    plan->mode = request->mode == DEFAULT ? config->mode : request->mode;
    plan->ring_size = request->ring_size ? request->ring_size : config->ring_size;
    plan->level = request->level == DEFAULT ? config->level : request->level;
    plan->segment_bytes = request->segment_bytes ? request->segment_bytes : config->segment_bytes;
    plan->retention_bytes = bytes == INT64_MIN ? config->retention_bytes : (uint64_t)bytes;
    plan->retention_ms = ms == INT64_MIN ? config->retention_ms : ms;
}

/* Whether it has a log: as it says; else above level ring always, and at that level as the configuration says, where there is a
 * place for it. */
static int choose_log(struct lt_worker *w, const struct lt_topic_create *request, struct lt_plan *plan)
{
    static const char *const levels[] = { "ring", "written", "durable" };
    bool unsaid = request->no_log == DEFAULT;
    if (request->no_log == 1 && plan->level != LEAT_RING && request->level == DEFAULT)
        plan->level = LEAT_RING; /* the configuration's level is for topics with a log */
    if (request->no_log == 1 && plan->level != LEAT_RING)
        return lt_fail(LEAT_EINVAL, "topic %s: level %s without a log: only level ring goes without",
                       plan->name, levels[plan->level]);
    if (request->no_log == 1 && (request->retention_bytes >= 0 || request->retention_ms >= 0))
        return lt_fail(LEAT_EINVAL, "topic %s: retention without a log: its ring keeps what fits",
                       plan->name);
    plan->log = plan->level != LEAT_RING || (unsaid ? w->config.log && w->data : request->no_log == 0);
    if (plan->log && !w->data)
        return lt_fail(LEAT_EUNSUPPORTED,
                       "topic %s: this bus has no data directory, so there is no place for a log",
                       plan->name);
    return 0;
}

static int check_values(const struct lt_topic_create *request, const struct lt_plan *plan)
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
    if (plan->level > LEAT_DURABLE)
        return lt_fail(LEAT_EINVAL, "topic %s: level %u; there are 0..%u", plan->name, plan->level,
                       LEAT_DURABLE);
    if (request->no_log > 1 && request->no_log != DEFAULT)
        return lt_fail(LEAT_EINVAL, "topic %s: no_log %u; there are 0 and 1", plan->name, request->no_log);
    if (plan->segment_bytes < LT_SEGMENT_BYTES_MIN || plan->segment_bytes > LT_SEGMENT_BYTES_MAX)
        return lt_fail(LEAT_EINVAL, "topic %s: segments of %llu bytes; a segment has %llu..%llu", plan->name,
                       (unsigned long long)plan->segment_bytes, (unsigned long long)LT_SEGMENT_BYTES_MIN,
                       (unsigned long long)LT_SEGMENT_BYTES_MAX);
    return lt_plan_check_retention(plan->name, (int64_t)plan->retention_bytes, plan->retention_ms);
}

int lt_plan_check_retention(const char *name, int64_t bytes, int64_t ms)
{
    if (bytes < -1)
        return lt_fail(LEAT_EINVAL, "topic %s: retention of %lld bytes; -1: no limit", name,
                       (long long)bytes);
    if (ms < -1)
        return lt_fail(LEAT_EINVAL, "topic %s: retention of %lld ms; -1: no limit", name, (long long)ms);
    return 0;
}

static void measure(struct lt_plan *plan)
{
    plan->page_bytes = (lt_topic_bytes(plan->partitions) + PAGE - 1) & ~(PAGE - 1);
    plan->ring_bytes = (lt_ring_bytes(plan->ring_size) + PAGE - 1) & ~(PAGE - 1);
    plan->memory_bytes = plan->page_bytes + plan->partitions * plan->ring_bytes;
}

static uint64_t new_log_id(void)
{
    uint64_t id = 0;
    if (getrandom(&id, sizeof id, 0) != sizeof id)
        id = (uint64_t)lt_clock_mono_ns() << 16 ^ (uint64_t)getpid();
    return id != 0 ? id : 1;
}

int lt_plan_make(struct lt_worker *w, const struct lt_peer *peer, const struct lt_topic_create *request,
                 struct lt_plan *plan)
{
    int r = lt_topic_name_check(request->name, strlen(request->name));
    if (r < 0)
        return r;
    fill_plan(&w->config, request, plan);
    r = check_values(request, plan);
    if (r == 0)
        r = choose_log(w, request, plan);
    if (r < 0)
        return r;
    uint64_t rounded = LT_RING_SIZE_MIN;
    while (rounded < plan->ring_size)
        rounded *= 2;
    plan->ring_size = rounded;
    plan->created_ms = (uint64_t)lt_clock_real_ms();
    plan->log_id = plan->log ? new_log_id() : 0;
    measure(plan);
    return lt_plan_owner(peer, request->owner, &plan->uid, &plan->gid);
}

void lt_plan_restore(const struct lt_topicfile *file, struct lt_plan *plan)
{
    *plan = (struct lt_plan){ .partitions = file->partition_count,
                              .on_full = file->on_full,
                              .partitioner = file->partitioner,
                              .mode = file->mode,
                              .level = file->level,
                              .log = 1,
                              .ring_size = file->ring_size,
                              .segment_bytes = file->segment_bytes,
                              .retention_bytes = file->retention_bytes,
                              .retention_ms = file->retention_ms,
                              .created_ms = file->created_ms,
                              .log_id = file->log_id,
                              .map = file->map,
                              .map_epoch = file->map_epoch,
                              .uid = file->uid,
                              .gid = file->gid };
    memcpy(plan->name, file->name, sizeof plan->name);
    measure(plan);
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
static int check_share(struct lt_worker *w, const struct lt_plan *plan)
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

/* Of the worker's own: its logs. */
static uint64_t log_descriptors(struct lt_worker *w)
{
    uint64_t count = 0;
    for (struct lt_topic *topic = lt_topics_next(w, NULL); topic; topic = lt_topics_next(w, topic))
        count += topic->head->log_id ? LT_DATA_DESCRIPTORS * (uint64_t)topic->partition_count : 0;
    return count;
}

int lt_plan_check_limits(struct lt_worker *w, const struct lt_plan *plan)
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
    uint64_t descriptors = lt_keep_count(&w->keep) + w->conn_count + SPARE_DESCRIPTORS + log_descriptors(w);
    uint64_t wanted = 1 + (1 + (plan->log ? LT_DATA_DESCRIPTORS : 0)) * (uint64_t)plan->partitions;
    if (descriptors + wanted > w->descriptor_limit)
        return over("descriptors (RLIMIT_NOFILE)", plan->name, wanted, descriptors, w->descriptor_limit);
    return plan->uid == 0 || plan->uid == geteuid() ? 0 : check_share(w, plan);
}

int lt_plan_check_memory(const struct lt_plan *plan)
{
    uint64_t available = lt_memory_available();
    /* Some is left to others: the last page would be paid for by whoever the kernel then kills. */
    available -= available / 16;
    if (plan->memory_bytes > available)
        return lt_fail(LEAT_ENOMEM, "topic %s wants %llu bytes of memory; %llu can be had", plan->name,
                       (unsigned long long)plan->memory_bytes, (unsigned long long)available);
    return 0;
}
