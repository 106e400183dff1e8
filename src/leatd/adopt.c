/* adopt: see adopt.h and src/README.md, "The worker is killed".
 *
 * Everything here is a pure function of what regions and notes say, and writes nothing that the next worker could not find half
 * done: so a worker that dies while it adopts leaves what it found.
 *
 * Points: adopt.fresh, adopt.start, adopt.topics, adopt.clients, adopt.readers, adopt.repair, adopt.done.
 */
#include "leatd/adopt.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include <leat.h>
#include "leatd/clients.h"
#include "leatd/data.h"
#include "leatd/groups.h"
#include "leatd/kept.h"
#include "leatd/leases.h"
#include "leatd/persister.h"
#include "leatd/readers.h"
#include "leatd/rotate.h"
#include "leatd/topics.h"
#include "leatd/warden.h"

/* --- keys --- */

/* Keys that are to be dropped, collected first: dropping changes the table that is walked. */
struct keys {
    struct lt_keep_pair *pairs;
    uint32_t count;
};

static int copy_keys(struct lt_worker *w, uint32_t kind, struct keys *keys)
{
    const struct lt_keep_table *table = &w->keep.table;
    keys->count = 0;
    keys->pairs = malloc((table->count + 1) * sizeof *keys->pairs);
    if (!keys->pairs)
        return lt_fail(LEAT_ENOMEM, "no memory for %u keys", table->count);
    for (uint32_t i = 0; i < table->count; i++)
        if (table->pairs[i].kind == kind)
            keys->pairs[keys->count++] = table->pairs[i];
    return 0;
}

static int drop_all(struct lt_worker *w, uint32_t kind)
{
    struct keys keys;
    int r = copy_keys(w, kind, &keys);
    for (uint32_t i = 0; r == 0 && i < keys.count; i++)
        lt_keep_drop(&w->keep, kind, keys.pairs[i].id);
    free(keys.pairs);
    return r;
}

/* --- a fresh bus --- */

static int make_region(struct lt_worker *w, const char *name, enum lt_keep_kind kind,
                       enum lt_region_kind region, uint64_t *size, void **base, int *fd)
{
    struct lt_keep_note note = { 0 };
    uint64_t bytes;
    *fd = lt_region_create(name, *size, &bytes);
    if (*fd < 0)
        return lt_fail_errno(-*fd, "%s: a region of %llu bytes", name, (unsigned long long)*size);
    int r = lt_region_map(*fd, bytes, 1, 0, 0, 0, base);
    if (r < 0) {
        close(*fd);
        return lt_fail_errno(-r, "%s: map %llu bytes", name, (unsigned long long)bytes);
    }
    lt_region_init(*base, region, bytes, 0, 0);
    note.bytes = bytes;
    *size = bytes;
    w->memory_bytes += bytes;
    /* Only now, so that a stored one is whole. */
    r = kind == LT_KEEP_COORDINATOR ? 0 : lt_keep_store(&w->keep, (uint32_t)kind, 0, &note, *fd);
    if (r < 0)
        close(*fd);
    return r;
}

/* The coordinator is stored last: with it, the bus exists. */
static int make_bus(struct lt_worker *w)
{
    void *base;
    struct lt_keep_note note = { 0 };
    w->bells_bytes = sizeof(struct lt_bells);
    w->coordinator_bytes = sizeof(struct lt_coordinator);
    int r = make_region(w, "leat-bells", LT_KEEP_BELLS, LT_REGION_BELLS, &w->bells_bytes, &base,
                        &w->bells_fd);
    if (r < 0)
        return r;
    w->bells = base;
    r = make_region(w, "leat-coordinator", LT_KEEP_COORDINATOR, LT_REGION_COORDINATOR, &w->coordinator_bytes,
                    &base, &w->coordinator_fd);
    if (r < 0)
        return r;
    struct lt_coordinator *coordinator = w->coordinator = base;
    if (getrandom(&coordinator->bus_id, sizeof coordinator->bus_id, 0) != sizeof coordinator->bus_id)
        coordinator->bus_id = (uint64_t)lt_clock_mono_ns() << 16 ^ (uint64_t)getpid();
    coordinator->started_ms = (uint64_t)lt_clock_real_ms();
    coordinator->next_topic_id = 1;
    /* Of a worker that died before the bus was there. */
    r = drop_all(w, LT_KEEP_TOPIC);
    if (r == 0)
        r = drop_all(w, LT_KEEP_RING);
    if (r == 0)
        r = lt_data_restore(w);
    if (r < 0)
        return r;
    note.bytes = w->coordinator_bytes;
    lt_point("adopt.fresh");
    return lt_keep_store(&w->keep, LT_KEEP_COORDINATOR, 0, &note, w->coordinator_fd);
}

/* --- regions of an older worker --- */

static int take_region(struct lt_worker *w, enum lt_keep_kind kind, uint64_t least, uint64_t *size,
                       void **base, int *fd)
{
    *fd = lt_keep_fd(&w->keep, (uint32_t)kind, 0);
    int64_t bytes = *fd < 0 ? -1 : lt_region_checked_size(*fd);
    if (bytes < (int64_t)least)
        return lt_fail(LEAT_EPROTO, "the keeper's region %d has %lld bytes; wanted %llu", (int)kind,
                       (long long)bytes, (unsigned long long)least);
    int r = lt_region_map(*fd, (uint64_t)bytes, 1, 0, 0, 0, base);
    if (r < 0)
        return lt_fail_errno(-r, "map the keeper's region %d", (int)kind);
    *size = (uint64_t)bytes;
    w->memory_bytes += (uint64_t)bytes;
    return 0;
}

static int take_bus(struct lt_worker *w)
{
    void *base;
    int r = take_region(w, LT_KEEP_BELLS, sizeof(struct lt_bells), &w->bells_bytes, &base, &w->bells_fd);
    if (r < 0)
        return r;
    w->bells = base;
    r = take_region(w, LT_KEEP_COORDINATOR, sizeof(struct lt_coordinator), &w->coordinator_bytes, &base,
                    &w->coordinator_fd);
    if (r < 0)
        return r;
    w->coordinator = base;
    return lt_region_check(base, LT_REGION_COORDINATOR, w->coordinator_bytes, 0);
}

/* --- topics --- */

static int take_ring(struct lt_worker *w, struct lt_part *part, uint32_t ring)
{
    const struct lt_ring_gate *gate = lt_partition_gate(part->page, ring);
    struct lt_kept_ring *kept = lt_part_ring(part, ring);
    int fd = lt_keep_fd(&w->keep, LT_KEEP_RING, gate->ring_id);
    int64_t bytes = fd < 0 ? -1 : lt_region_checked_size(fd);
    /* Its head is its producers' to write: the key, and the size, which is sealed, say what it is. */
    if (bytes < (int64_t)lt_ring_bytes(part->topic->head->ring_size))
        return lt_fail(LEAT_EPROTO, "topic %s, partition %u: the keeper's ring %u has %lld bytes",
                       part->topic->name, part->index, ring, (long long)bytes);
    kept->bytes = (uint64_t)bytes;
    kept->id = gate->ring_id;
    int r = lt_region_map(fd, kept->bytes, 1, 0, 0, 0, &kept->base);
    if (r < 0)
        return lt_fail_errno(-r, "topic %s, partition %u: map ring %u", part->topic->name, part->index, ring);
    lt_kept_view(kept, part->topic->head->ring_size, gate);
    part->topic->memory_bytes += kept->bytes;
    part->topic->descriptors++;
    return 0;
}

static int take_rings(struct lt_worker *w, struct lt_topic *topic)
{
    for (uint32_t p = 0; p < topic->partition_count; p++) {
        struct lt_part *part = &topic->parts[p];
        part->page = lt_topic_partition(topic->page, p);
        lt_rotate_adopt(part);
        for (uint32_t ring = part->page->first_ring;; ring++) {
            int r = take_ring(w, part, ring);
            if (r < 0)
                return r;
            if (ring == part->page->current_ring)
                break;
        }
    }
    return 0;
}

/* Clients that detached may have rings mapped still, and only the last worker knew who: all who live count. */
static void guess_writers(struct lt_worker *w, struct lt_topic *topic)
{
    for (uint32_t i = 0; i < LT_WRITER_WORDS; i++)
        topic->wrote[i] = topic->head->writers[i];
    for (uint32_t c = 1; c < LT_CLIENTS_MAX; c++)
        if (w->coordinator->clients[c].state != LT_CLIENT_FREE)
            topic->wrote[c / 64] |= 1ull << c % 64;
}

static void drop_topic(struct lt_worker *w, uint64_t id)
{
    lt_keep_drop(&w->keep, LT_KEEP_TOPIC, id); /* its rings are orphans now */
}

static int take_topic(struct lt_worker *w, const struct lt_keep_pair *pair)
{
    void *page;
    int64_t bytes = lt_region_checked_size(pair->fd);
    if (bytes < (int64_t)lt_topic_bytes(1) || lt_region_map(pair->fd, (uint64_t)bytes, 1, 0, 0, 0, &page) < 0)
        return lt_fail(LEAT_EPROTO, "topic %llu: its page of %lld bytes cannot be mapped",
                       (unsigned long long)pair->id, (long long)bytes);
    struct lt_topic_head *head = lt_topic_head(page);
    struct lt_topic *topic = NULL;
    bool half_deleted = head->log_id != 0 && lt_data_is_deleted(w, head->log_id);
    if (head->state == LT_TOPIC_NEW)
        lt_data_undo(w, head);
    if (head->state == LT_TOPIC_OPEN && !half_deleted)
        topic = lt_topics_new(head->name, head->topic_id, head->partition_count, head->first_global);
    if (!topic) { /* NEW: its client asks again. DELETED, or on the disk: its memory is owed */
        bool open = head->state == LT_TOPIC_OPEN && !half_deleted;
        if (half_deleted) /* [topic.deleted] its clients have the page, and lt_topics_moved has them look */
            lt_store_release32(&head->state, LT_TOPIC_DELETED);
        lt_region_unmap(page, (uint64_t)bytes, 0);
        if (!open)
            drop_topic(w, pair->id);
        return open ? lt_fail(LEAT_ENOMEM, "no memory for topic %llu", (unsigned long long)pair->id) : 0;
    }
    topic->page = page;
    topic->page_bytes = topic->memory_bytes = (uint64_t)bytes;
    topic->descriptors = 1;
    topic->head = head;
    topic->uid = head->uid;
    guess_writers(w, topic);
    int r = take_rings(w, topic);
    if (r == 0)
        r = lt_topics_enter(w, topic);
    for (uint32_t p = 0; r == 0 && head->log_id != 0 && p < topic->partition_count; p++)
        r = lt_persister_add(w, &topic->parts[p], NULL); /* opens it */
    return r;
}

static bool is_named(struct lt_worker *w, const struct lt_keep_pair *ring)
{
    struct lt_topic *topic = lt_topics_by_id(w, ring->note.topic_id);
    if (!topic || ring->note.partition >= topic->partition_count)
        return false;
    const struct lt_kept_ring *kept = lt_part_ring(&topic->parts[ring->note.partition], ring->note.ring);
    return kept->base && kept->id == ring->id;
}

static int take_topics(struct lt_worker *w)
{
    struct keys keys;
    int r = copy_keys(w, LT_KEEP_TOPIC, &keys);
    for (uint32_t i = 0; r == 0 && i < keys.count; i++)
        r = take_topic(w, &keys.pairs[i]);
    free(keys.pairs);
    if (r < 0 || (r = copy_keys(w, LT_KEEP_RING, &keys)) < 0)
        return r;
    for (uint32_t i = 0; i < keys.count; i++)
        if (!is_named(w, &keys.pairs[i]))
            lt_keep_drop(&w->keep, LT_KEEP_RING, keys.pairs[i].id);
    free(keys.pairs);
    return 0;
}

/* --- clients --- */

static void drop_client(struct lt_worker *w, uint32_t id)
{
    lt_keep_drop(&w->keep, LT_KEEP_PIDFD, id);
    lt_keep_drop(&w->keep, LT_KEEP_MAILBOX, id);
}

static void take_clients(struct lt_worker *w)
{
    for (uint32_t id = 1; id < LT_CLIENTS_MAX; id++) {
        uint32_t state = w->coordinator->clients[id].state;
        w->fate[id] = LT_OWNER_DEAD;
        if (state == LT_CLIENT_FREE) {
            drop_client(w, id); /* an orphan, if there is one */
        } else if (state != LT_CLIENT_DEAD && lt_clients_adopt(w, id) < 0) {
            /* Cannot be watched, so cannot be served. It lives, perhaps: then nothing of it may be freed, and its id stays. */
            lt_worker_log(w, LT_LOG_ERROR, "client %u: %s", id, lt_fail_text());
            w->fate[id] = LT_OWNER_LEFT;
        }
        if (id > w->last_client_id && state != LT_CLIENT_FREE)
            w->last_client_id = id;
    }
    w->fate[0] = LT_OWNER_DEAD;
}

static void repair_all(struct lt_worker *w)
{
    for (struct lt_topic *topic = lt_topics_next(w, NULL); topic; topic = lt_topics_next(w, topic))
        for (uint32_t p = 0; p < topic->partition_count; p++) {
            /* Everybody is woken: what the last worker published, it may not have rung for. */
            lt_clients_repair_part(w, &topic->parts[p], true);
        }
}

static int take_all(struct lt_worker *w)
{
    int r = take_bus(w);
    if (r < 0)
        return r;
    lt_point("adopt.start");
    r = take_topics(w);
    if (r < 0)
        return r;
    lt_point("adopt.topics");
    take_clients(w);
    lt_point("adopt.clients");
    for (uint32_t id = 1; id < LT_CLIENTS_MAX; id++)
        if (w->clients[id])
            lt_readers_adopt(w, w->clients[id]);
    r = lt_groups_adopt(w);
    if (r < 0)
        return r;
    lt_point("adopt.groups");
    for (uint32_t id = 1; id < LT_CLIENTS_MAX; id++)
        if (w->coordinator->clients[id].state == LT_CLIENT_DEAD)
            lt_clients_clean(w, id);
    lt_readers_adopt_done(w);
    lt_point("adopt.readers");
    repair_all(w);
    lt_point("adopt.repair");
    for (uint32_t id = 1; id < LT_CLIENTS_MAX; id++)
        if (w->clients[id] && w->fate[id] == LT_OWNER_ALIVE)
            lt_leases_add(w, w->clients[id]);
    lt_topics_moved(w);
    return 0;
}

int lt_adopt(struct lt_worker *w)
{
    bool is_fresh = lt_keep_fd(&w->keep, LT_KEEP_COORDINATOR, 0) < 0;
    int r = is_fresh ? make_bus(w) : take_all(w);
    if (r < 0)
        return r;
    struct lt_coordinator *coordinator = w->coordinator;
    for (uint32_t id = 0; is_fresh && id < LT_CLIENTS_MAX; id++)
        w->fate[id] = LT_OWNER_DEAD; /* nobody is nobody's claim's owner */
    coordinator->keeper_pid = w->keep.alone ? getpid() : w->keep.keeper_pid;
    coordinator->worker_pid = getpid();
    coordinator->stall_limit_ms = w->config.stall_limit_ms;
    /* [adopt.incarnation] release: regions are in order again. */
    lt_store_release64(&coordinator->incarnation, coordinator->incarnation + 1);
    lt_point("adopt.done");
    if (!is_fresh)
        lt_worker_log(w, LT_LOG_INFO, "incarnation %llu took over %u topics, %u partitions, %u clients",
                      (unsigned long long)coordinator->incarnation, w->topic_count, w->partition_count,
                      w->client_count);
    return 0;
}
