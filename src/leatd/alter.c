/* alter: see alter.h. The file comes before the page: whoever is answered finds the settings after a restart, too. */
#include "leatd/group_log.h"
#include "leatd/alter.h"

#include <stdio.h>
#include <string.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/futex.h"
#include <leat.h>
#include "leatd/data.h"
#include "leatd/persister.h"
#include "leatd/plan.h"
#include "leatd/topics.h"

#define RESUME_NS (60000 * 1000000ll) /* for all of them */
#define LOOK_NS (100 * 1000000ll)
#define ALL_FIELDS \
    (LT_ALTER_RETENTION_BYTES | LT_ALTER_RETENTION_MS | LT_ALTER_ON_FULL | LT_ALTER_MODE | LT_ALTER_OWNER)

/* Under the lock. With a reference, which keeps its page; NULL with *error. */
static struct lt_topic *find(struct lt_worker *w, const struct lt_peer *peer, const char *name, int *error)
{
    *error = lt_topic_name_check(name, strlen(name));
    if (*error < 0)
        return NULL;
    struct lt_topic *topic = lt_topics_by_name(w, name);
    if (!topic) {
        *error = lt_fail(LEAT_ENOTOPIC, "no topic %s on this bus", name);
        return NULL;
    }
    if (peer->uid != 0 && peer->uid != topic->head->uid) {
        *error = lt_fail(LEAT_EPERM, "topic %s belongs to uid %u, not to uid %u", name, topic->head->uid,
                         peer->uid);
        return NULL;
    }
    topic->refs++;
    return topic;
}

/* --- alter --- */

static int merge(const struct lt_peer *peer, const struct lt_topic_alter *request,
                 struct lt_topic_head *settings)
{
    const struct lt_topic_create *to = &request->topic;
    if (request->fields & ~(uint32_t)ALL_FIELDS)
        return lt_fail(LEAT_EUNSUPPORTED, "topic %s: fields %#x; known are %#x", to->name, request->fields,
                       ALL_FIELDS);
    if (request->fields & (LT_ALTER_RETENTION_BYTES | LT_ALTER_RETENTION_MS) && settings->log_id == 0)
        return lt_fail(LEAT_EINVAL, "topic %s has no log, and so no retention but its ring's", to->name);
    if (request->fields & LT_ALTER_RETENTION_BYTES)
        settings->retention_bytes = (uint64_t)to->retention_bytes;
    if (request->fields & LT_ALTER_RETENTION_MS)
        settings->retention_ms = to->retention_ms;
    if (request->fields & LT_ALTER_ON_FULL)
        settings->on_full = to->on_full;
    if (request->fields & LT_ALTER_MODE)
        settings->mode = to->mode;
    if (settings->on_full > LEAT_ERROR)
        return lt_fail(LEAT_EINVAL, "topic %s: on-full %u; there are 0..%u", to->name, settings->on_full,
                       LEAT_ERROR);
    if (settings->mode > 0777)
        return lt_fail(LEAT_EINVAL, "topic %s: mode %04o; at most 0777", to->name, settings->mode);
    int r = lt_plan_check_retention(to->name, (int64_t)settings->retention_bytes, settings->retention_ms);
    if (r == 0 && request->fields & LT_ALTER_OWNER)
        r = lt_plan_owner(peer, to->owner, &settings->uid, &settings->gid);
    return r;
}

/* Relaxed: each word is looked at by itself, now or later. */
static void apply(struct lt_topic *topic, const struct lt_topic_head *settings)
{
    struct lt_topic_head *head = topic->head;
    lt_store_relaxed64(&head->retention_bytes, settings->retention_bytes);
    lt_store_relaxed64((uint64_t *)&head->retention_ms, (uint64_t)settings->retention_ms);
    lt_store_relaxed32(&head->on_full, settings->on_full);
    lt_store_relaxed32(&head->mode, settings->mode);
    lt_store_relaxed32(&head->uid, settings->uid);
    lt_store_relaxed32(&head->gid, settings->gid);
    topic->uid = settings->uid;
    topic->owner[0] = 0; /* looked up when somebody wants to know */
}

int lt_topics_alter(struct lt_worker *w, const struct lt_peer *peer, const struct lt_topic_alter *request)
{
    int r;
    lt_worker_lock(w);
    struct lt_topic *topic = find(w, peer, request->topic.name, &r);
    lt_worker_unlock(w);
    if (!topic)
        return r;
    struct lt_topic_head settings = *topic->head;
    r = merge(peer, request, &settings);
    if (r == 0 && settings.log_id != 0)
        r = lt_data_alter(w, topic, &settings);
    lt_worker_lock(w);
    if (r == 0) {
        apply(topic, &settings);
        lt_worker_say(w, LT_LOG_INFO, "topic %s altered by pid %d", topic->name, peer->pid);
    }
    lt_topics_unref(w, topic);
    lt_worker_unlock(w);
    if (r == 0 && settings.log_id != 0)
        lt_persister_wake(w);
    return r;
}

/* --- resume --- */

static bool is_wanted(const struct lt_part *part, const struct lt_topic_resume *request)
{
    return (request->partition == UINT32_MAX || request->partition == part->index) &&
           lt_load_acquire32(&part->page->state) == LT_PARTITION_FAILED; /* [log.state] */
}

/* Waits until the persister has tried. */
static void wait_for(struct lt_worker *w, const struct lt_partition *page, uint32_t seq, int64_t until_ns)
{
    /* [log.acked] acquire: state and reason are the new ones. */
    while (lt_load_acquire32(&page->acked_seq) == seq && lt_clock_mono_ns() < until_ns &&
           lt_load_relaxed32(&w->stopping) == 0)
        lt_futex_wait(&page->acked_seq, seq, LOOK_NS);
}

static int resume_one(struct lt_worker *w, struct lt_part *part, bool cut, int64_t until_ns)
{
    uint32_t seq = lt_load_acquire32(&part->page->acked_seq); /* [log.acked] */
    lt_worker_lock(w);
    int r = lt_persister_resume(w, part, cut);
    lt_worker_unlock(w);
    if (r < 0)
        return r;
    wait_for(w, part->page, seq, until_ns);
    if (lt_load_acquire32(&part->page->state) != LT_PARTITION_FAILED) /* [log.state] */
        return 0;
    return lt_fail(LEAT_EFAILED, "topic %s, partition %u: %s", part->topic->name, part->index,
                   part->page->reason);
}

static int resume_all(struct lt_worker *w, struct lt_topic *topic, const struct lt_topic_resume *request)
{
    char why[LT_MSG_TEXT];
    int64_t until_ns = lt_clock_mono_ns() + RESUME_NS;
    int resumed = 0, failed = 0;
    for (uint32_t p = 0; p < topic->partition_count; p++) {
        if (!is_wanted(&topic->parts[p], request))
            continue;
        int r = resume_one(w, &topic->parts[p], request->cut != 0, until_ns);
        if (r == 0) {
            resumed++;
        } else if (failed++ == 0) {
            snprintf(why, sizeof why, "%s", lt_fail_text());
        }
    }
    if (failed == 0)
        return resumed;
    return failed == 1 ? lt_fail(LEAT_EFAILED, "%s", why)
                       : lt_fail(LEAT_EFAILED, "%s (and %d more)", why, failed - 1);
}

int lt_topics_resume(struct lt_worker *w, const struct lt_peer *peer, const struct lt_topic_resume *request)
{
    int r;
    lt_worker_lock(w);
    struct lt_topic *topic = find(w, peer, request->name, &r);
    lt_worker_unlock(w);
    if (!topic)
        return r;
    if (topic->head->log_id == 0)
        r = lt_fail(LEAT_EINVAL, "topic %s has no log that could fail", topic->name);
    else if (request->partition != UINT32_MAX && request->partition >= topic->partition_count)
        r = lt_fail(LEAT_ENOPART, "topic %s has partitions 0..%u, not %u", topic->name,
                    topic->partition_count - 1, request->partition);
    else
        r = resume_all(w, topic, request);
    lt_worker_lock(w);
    if (r >= 0)
        lt_group_log_resume(w);
    lt_topics_unref(w, topic);
    lt_worker_unlock(w);
    return r;
}
