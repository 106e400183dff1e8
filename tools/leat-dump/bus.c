/* bus: rings of a running bus: this program is one more client, which attaches to read and maps nothing writable. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/topic.h"
#include "dump.h"

static int refuse(const char *what, int error)
{
    const char *text = leat_last_error(NULL);
    fprintf(stderr, "leat-dump: %s: %s\n", what, *text ? text : leat_strerror(error));
    if (error == LEAT_EGONE)
        fprintf(stderr, "leat-dump: a ring is memory and ends with its bus. What was logged is in files: "
                        "leat-dump DIR; memory of a process that still holds it: --ring-file\n");
    return DUMP_FAILED;
}

static const char *state_of(uint32_t state)
{
    static const char *const names[] = { "open", "full", "failed" };
    return state < 3 ? names[state] : "unknown";
}

static void print_partition(struct dump *dump, const struct lt_attached *topic, uint32_t number)
{
    const struct lt_partition *p = lt_attached_partition(topic, number);
    char reason[LT_REASON_MAX + 1] = "";
    uint64_t visible = lt_load_acquire64(&p->visible);
    memcpy(reason, p->reason, LT_REASON_MAX);
    out_begin(dump, "partition");
    out_uint(dump, "topic_id", topic->topic_id);
    out_uint(dump, "partition", number);
    out_text(dump, "state", state_of(lt_load_acquire32(&p->state)));
    if (*reason)
        out_text(dump, "reason", reason);
    out_uint(dump, "first_ring", lt_load_acquire32(&p->first_ring));
    out_uint(dump, "current_ring", lt_load_acquire32(&p->current_ring));
    out_int(dump, "visible", visible == UINT64_MAX ? -1 : (int64_t)visible);
    out_uint(dump, "written", lt_load_acquire64(&p->written));
    out_uint(dump, "durable", lt_load_acquire64(&p->durable));
    out_uint(dump, "log_start", lt_load_acquire64(&p->log_start));
    out_uint(dump, "log_bytes", lt_load_relaxed64(&p->log_bytes));
    out_uint(dump, "log_segments", lt_load_relaxed32(&p->log_segments));
    out_uint(dump, "log_open", lt_load_relaxed32(&p->log_open));
    out_end(dump);
}

/* 0, or an error but that of a ring that is gone meanwhile. */
static int dump_rings(struct dump *dump, struct lt_attached *topic, uint32_t number)
{
    const struct lt_partition *p = lt_attached_partition(topic, number);
    char name[320];
    dump->path = name;
    snprintf(name, sizeof name, "%s:%u", topic->name, number);
    print_partition(dump, topic, number);
    uint32_t first = lt_load_acquire32(&p->first_ring), last = lt_load_acquire32(&p->current_ring);
    for (uint32_t k = first; last - k < LT_RINGS; k++) {
        struct lt_mapped *mapped;
        int r = lt_attached_map(topic, number, k, LT_MAP_LAZY, &mapped);
        if (r == LEAT_EOFFSET)
            continue;
        if (r < 0)
            return r;
        snprintf(name, sizeof name, "%s:%u ring %u", topic->name, number, k);
        ring_dump(dump, &mapped->view, mapped->view.gate);
        lt_mapped_drop(mapped);
    }
    return 0;
}

static int dump_topic(struct dump *dump, struct lt_attached *topic, int64_t only)
{
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        int r = only < 0 || only == i ? dump_rings(dump, topic, i) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

/* TOPIC[:PARTITION], cut at the colon. -1: all; -2: no number. */
static int64_t cut_partition(char *what)
{
    char *colon = strchr(what, ':'), *end;
    if (!colon)
        return -1;
    *colon++ = 0;
    uint64_t number = strtoull(colon, &end, 10);
    return end == colon || *end || *colon == '-' || number >= LT_TOPIC_PARTITIONS_MAX ? -2 : (int64_t)number;
}

int bus_dump(struct dump *dump, const char *where, const char *what)
{
    char name[320];
    leat_bus *bus;
    struct lt_attached *topic;
    snprintf(name, sizeof name, "%s", what);
    int64_t only = cut_partition(name);
    if (only == -2) {
        fprintf(stderr, "leat-dump: --ring '%s': wants TOPIC or TOPIC:PARTITION\n", what);
        return DUMP_USAGE;
    }
    int r = leat_open(&bus, where);
    if (r < 0)
        return refuse(what, r);
    r = lt_attached_open(bus, name, false, false, &topic);
    if (r >= 0) {
        bool there = only < (int64_t)topic->partition_count;
        r = there ? dump_topic(dump, topic, only) : 0;
        if (!there)
            fprintf(stderr, "leat-dump: %s: has %u partitions\n", what, topic->partition_count);
        lt_attached_close(topic, false);
        leat_close(bus);
        return r < 0 ? refuse(what, r) : there ? 0 : DUMP_FAILED;
    }
    int status = refuse(what, r);
    leat_close(bus);
    return status;
}
