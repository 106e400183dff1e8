/* fold: see fold.h.
 *
 * A client's number in the file is a copy of its mailbox's; the bus's total (client -1) grows by the difference. So a worker that
 * dies between the two loses that difference from the total, and a client that lies can spoil totals, not others' numbers.
 */
#include "leatd/fold.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include "leatd/groups.h"
#include "leatd/kept.h"
#include "leatd/topics.h"

#define CAPACITY 32768u
#define NONE (-1)

static const char *const client_names[LT_CLIENT_COUNTER_NAMES] = {
    [LT_COUNT_SENT_RECORDS] = "records",
    [LT_COUNT_SENT_BYTES] = "bytes",
    [LT_COUNT_RECEIVED_RECORDS] = "records_received",
    [LT_COUNT_RECEIVED_BYTES] = "bytes_received",
    [LT_COUNT_ABORTED] = "aborted",
    [LT_COUNT_WAKES] = "wakes",
    [LT_COUNT_WAITS] = "waits",
    [LT_COUNT_FULL_WAITS] = "full_waits",
    [LT_COUNT_MISSED] = "missed",
    [LT_COUNT_MOVED] = "moved",
};

static const char *const part_names[LT_PART_COUNTERS] = {
    [LT_PART_OFFSETS] = "offsets", [LT_PART_BYTES] = "payload_bytes", [LT_PART_ABORTED] = "aborted",
    [LT_PART_HELPED] = "helped",   [LT_PART_RECLAIMS] = "reclaims",   [LT_PART_ROTATIONS] = "rotations",
};

int lt_fold_open(struct lt_worker *w)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", w->config.path, LT_COUNTERS_FILE);
    int r = lt_counters_create(&w->counters, path, w->coordinator->bus_id, CAPACITY);
    if (r < 0)
        return lt_fail_errno(-r, "counters %s", path);
    w->have_counters = true;
    return 0;
}

void lt_fold_close(struct lt_worker *w)
{
    if (w->have_counters)
        lt_counters_close(&w->counters);
    w->have_counters = false;
}

static struct lt_counter *client_counter(struct lt_worker *w, const char *name, int32_t client)
{
    return lt_counters_get(&w->counters, name, "", 0, NONE, client);
}

static struct lt_counter *part_counter(struct lt_worker *w, struct lt_part *part, uint32_t i)
{
    struct lt_counter **counter = &part->counters[i];
    if (!*counter)
        *counter = lt_counters_get(&w->counters, part_names[i], part->topic->name, part->topic->id,
                                   (int32_t)part->index, NONE);
    return *counter;
}

/* What this worker counted, on top of what is there. */
static void add_part(struct lt_worker *w, struct lt_part *part, uint32_t i)
{
    struct lt_counter *counter = part->counted[i] != 0 ? part_counter(w, part, i) : NULL;
    if (!counter)
        return;
    lt_counter_add(counter, (int64_t)part->counted[i]);
    part->counted[i] = 0;
}

/* Positions start anew in each ring, so bytes are counted by how far the position moved since the last fold. */
static void count_bytes(struct lt_worker *w, struct lt_part *part, uint64_t ring_id, uint64_t pos)
{
    bool is_first = part->folded_ring == 0;
    uint64_t from = part->folded_ring == ring_id ? part->folded_pos : 0;
    part->folded_ring = ring_id;
    part->folded_pos = pos;
    if (pos == 0)
        return;
    struct lt_counter *counter = part_counter(w, part, LT_PART_BYTES);
    if (is_first && counter && counter->value != 0)
        return; /* adopted: the last worker has counted most of it */
    part->counted[LT_PART_BYTES] += (pos - from) * LT_UNIT;
}

static void fold_part(struct lt_worker *w, struct lt_part *part)
{
    struct lt_kept_ring *kept = lt_part_ring(part, part->page->current_ring);
    uint64_t tail, pos;
    uint32_t epoch;
    if (kept->base && lt_kept_tail(kept, &tail, &pos, &epoch) != LT_RING_CORRUPT) {
        struct lt_counter *offsets = tail != 0 ? part_counter(w, part, LT_PART_OFFSETS) : NULL;
        if (offsets)
            lt_counter_set(offsets, (int64_t)tail);
        count_bytes(w, part, kept->id, pos);
    }
    for (uint32_t i = LT_PART_BYTES; i < LT_PART_COUNTERS; i++)
        add_part(w, part, i);
}

/* Whether the client counted anything since. */
static bool fold_client(struct lt_worker *w, struct lt_client *client)
{
    bool moved = false;
    for (uint32_t i = 0; i < LT_CLIENT_COUNTER_NAMES; i++) {
        /* relaxed: a number that is being counted on; one load. */
        uint64_t value = lt_load_relaxed64(&client->mailbox->counters[i]);
        if (value == client->counted[i])
            continue;
        moved |=
            i !=
            LT_COUNT_WAITS; /* who only waits is idle: its bounded sleeps are no reason to look more often */
        if (!client->counters[i]) {
            client->counters[i] = client_counter(w, client_names[i], (int32_t)client->id);
            /* Adopted: the last worker had folded that much. */
            if (client->counters[i])
                client->counted[i] = (uint64_t)client->counters[i]->value;
        }
        struct lt_counter *total = client_counter(w, client_names[i], NONE);
        if (total)
            lt_counter_add(total, (int64_t)(value - client->counted[i]));
        if (client->counters[i])
            lt_counter_set(client->counters[i], (int64_t)value);
        client->counted[i] = value;
    }
    return moved;
}

/* In the place of a topic's: counters are told apart by a number and a name. */
static uint32_t group_number(const struct lt_kept_group *g)
{
    return 1u << 31 | (uint32_t)g->head->id;
}

static void fold_group(struct lt_worker *w, const struct lt_kept_group *g)
{
    const struct {
        const char *name;
        uint64_t value;
    } counted[] = { { "group_rebalances", g->head->rebalances },
                    { "group_evictions", g->head->evictions },
                    { "group_unowned_us", g->head->unowned_us } };
    for (size_t i = 0; i < sizeof counted / sizeof *counted; i++) {
        struct lt_counter *counter = counted[i].value == 0
                                         ? NULL
                                         : lt_counters_get(&w->counters, counted[i].name, g->name,
                                                           group_number(g), NONE, NONE);
        if (counter)
            lt_counter_set(counter, (int64_t)counted[i].value);
    }
}

void lt_fold_forget_group(struct lt_worker *w, const struct lt_kept_group *g)
{
    if (w->have_counters)
        lt_counters_free_topic(&w->counters, group_number(g));
}

bool lt_fold(struct lt_worker *w, bool all)
{
    bool moved = false;
    if (!w->have_counters)
        return false;
    for (uint32_t c = 1; c < LT_CLIENTS_MAX; c++)
        if (w->clients[c])
            moved |= fold_client(w, w->clients[c]);
    if (!moved && !all)
        return false;
    for (struct lt_topic *topic = lt_topics_next(w, NULL); topic; topic = lt_topics_next(w, topic))
        for (uint32_t p = 0; p < topic->partition_count; p++)
            fold_part(w, &topic->parts[p]);
    for (const struct lt_kept_group *g = w->groups; g; g = g->next)
        fold_group(w, g);
    lt_store_relaxed64(&w->counters.head->folded_ms, (uint64_t)lt_clock_real_ms());
    return moved;
}

void lt_fold_client(struct lt_worker *w, struct lt_client *client)
{
    if (w->have_counters)
        fold_client(w, client);
}

void lt_fold_forget_client(struct lt_worker *w, uint32_t id)
{
    if (!w->have_counters)
        return;
    lt_counters_free_client(&w->counters, (int32_t)id);
    if (w->clients[id])
        memset(w->clients[id]->counters, 0, sizeof w->clients[id]->counters);
}

void lt_fold_forget_topic(struct lt_worker *w, struct lt_topic *topic)
{
    if (!w->have_counters)
        return;
    lt_counters_free_topic(&w->counters, topic->id);
    for (uint32_t p = 0; p < topic->partition_count; p++)
        memset(topic->parts[p].counters, 0, sizeof topic->parts[p].counters);
}
