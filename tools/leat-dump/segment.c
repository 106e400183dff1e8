/* segment: a segment's head and all of its batches. The store's own scan walks and checks; what it stops at is stepped over, so that
 * what lies behind is seen, too. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "dump.h"

static void print_head(struct dump *dump, const struct lt_segment_head *head)
{
    out_begin(dump, "segment");
    out_uint(dump, "version", head->version);
    out_hex(dump, "fingerprint", head->fingerprint);
    out_hex(dump, "topic", head->topic);
    out_uint(dump, "partition", head->partition);
    out_uint(dump, "base_offset", head->base_offset);
    out_uint(dump, "size_bytes", head->size_bytes);
    out_uint(dump, "generation", head->generation);
    out_time(dump, "previous_timestamp_max", head->previous_timestamp_max);
    out_end(dump);
}

static const char *flags_of(const struct lt_batch_head *batch)
{
    static const char *const names[] = { "-", "gap", "lost", "gap,lost" };
    return batch->flags < 4 ? names[batch->flags] : "unknown";
}

static void print_batch(struct dump *dump, const struct lt_batch_head *batch, uint64_t pos)
{
    struct lt_store_record record;
    uint32_t at = 0;
    out_begin(dump, "batch");
    out_uint(dump, "pos", pos);
    out_uint(dump, "bytes", batch->bytes);
    out_uint(dump, "first_offset", batch->first_offset);
    out_uint(dump, "end_offset", batch->end_offset);
    out_uint(dump, "records", batch->record_count);
    out_uint(dump, "durable_offset", batch->durable_offset);
    out_uint(dump, "generation", batch->generation);
    out_time(dump, "timestamp_min", batch->record_count > 0 ? batch->timestamp_min : INT64_MIN);
    out_time(dump, "timestamp_max", batch->record_count > 0 ? batch->timestamp_max : INT64_MIN);
    out_text(dump, "flags", flags_of(batch));
    out_end(dump);
    if (out_wants(dump, batch->first_offset, batch->end_offset))
        while (lt_batch_next(batch, &at, &record))
            out_record(dump, &record);
}

static void print_hole(struct dump *dump, uint64_t pos, uint64_t end, const char *why)
{
    out_begin(dump, "hole");
    out_uint(dump, "pos", pos);
    out_uint(dump, "end_pos", end);
    out_text(dump, "why", why);
    out_end(dump);
}

static void note_batch(struct dump_segment *segment, const struct lt_batch_head *batch)
{
    segment->batches++;
    segment->records += batch->record_count;
    segment->gaps += batch->record_count == 0;
    if (batch->generation > segment->generation)
        segment->generation = batch->generation;
}

/* The batches in order. 0, or an error of reading. */
static int walk(struct dump *dump, struct lt_scan *scan, const struct dump_watch *watch,
                struct dump_segment *segment)
{
    const struct lt_batch_head *batch;
    int found;
    for (;;) {
        uint64_t pos = scan->pos;
        int64_t timestamp_max = scan->timestamp_max;
        found = lt_scan_next(scan, &batch);
        if (found <= 0)
            break;
        if (watch)
            watch->batch(watch->arg, batch, pos, timestamp_max);
        note_batch(segment, batch);
        print_batch(dump, batch, pos);
    }
    segment->end_offset = scan->offset;
    segment->end_pos = scan->pos;
    segment->timestamp_max = scan->timestamp_max;
    segment->why = scan->why;
    return found;
}

/* Whole batches behind the first that is not: each is in order with none, or only with those before it. */
static int walk_behind(struct dump *dump, struct lt_scan *scan, struct dump_segment *segment)
{
    const struct lt_batch_head *batch;
    uint64_t pos = segment->end_pos, at;
    int found;
    while ((found = lt_scan_any(scan, pos, &batch, &at)) > 0) {
        bool apart = at != pos || segment->behind == 0;
        if (apart)
            print_hole(dump, pos, at, segment->behind == 0 ? segment->why : "no batch's head");
        segment->behind++;
        if (batch->durable_offset > segment->claim)
            segment->claim = batch->durable_offset;
        print_batch(dump, batch, at);
        pos = at + batch->bytes;
    }
    if (found == 0)
        found = lt_scan_first_nonzero(scan, pos, &segment->nonzero);
    if (found == 0 && segment->behind > 0)
        segment->nonzero = segment->end_pos;
    return found;
}

/* Its name says where it begins, unless it is a copy under another one. */
static uint64_t base_of(const struct dump_file *file, const struct lt_segment_head *head)
{
    uint64_t base;
    return lt_segment_parse(file->name, "log", &base) ? base : head->base_offset;
}

static bool check_head(struct dump *dump, struct dump_file *file, struct dump_segment *segment)
{
    if (!file_read(dump, file, &segment->head, sizeof segment->head, 0))
        return false;
    if (!file->known)
        file->dir.id = (struct lt_log_id){ segment->head.topic, segment->head.partition };
    int error = lt_segment_check(&file->dir, file->name, &segment->head, base_of(file, &segment->head),
                                 file->size);
    if (error == 0)
        return true;
    if (segment->head.magic == LT_SEGMENT_MAGIC)
        print_head(dump, &segment->head);
    dump_say(dump, dump_verdict_of(error), "%s", dump_why(dump));
    return false;
}

void segment_dump(struct dump *dump, struct dump_file *file, const struct dump_watch *watch,
                  struct dump_segment *segment)
{
    struct lt_scan scan;
    *segment = (struct dump_segment){ .timestamp_max = INT64_MIN };
    if (!check_head(dump, file, segment))
        return;
    struct lt_segment opened = { .base_offset = segment->head.base_offset,
                                 .size_bytes = segment->head.size_bytes,
                                 .fd = file->fd };
    print_head(dump, &segment->head);
    int error = lt_scan_open(&scan, &file->dir, &opened, LT_STORE_PAGE, opened.base_offset);
    if (error == 0) {
        error = walk(dump, &scan, watch, segment);
        if (error == 0)
            error = walk_behind(dump, &scan, segment);
        lt_scan_close(&scan);
    }
    segment->whole = error == 0;
    if (error < 0)
        dump_say(dump, DUMP_UNREAD, "%s", dump_why(dump));
}

void segment_judge(struct dump *dump, const struct dump_segment *segment)
{
    uint64_t base = segment->head.base_offset, end = segment->end_offset;
    if (segment->claim > end)
        dump_say(dump, DUMP_DAMAGED,
                 "no valid batch at %" PRIu64 " for offset %" PRIu64 " (%s), but up to offset %" PRIu64
                 " all was durable",
                 segment->end_pos, end, segment->why, segment->claim);
    else if (segment->nonzero < segment->head.size_bytes && !(segment->head.flags & LT_SEGMENT_AGAIN))
        dump_say(dump, DUMP_TORN,
                 "segment %" PRIu64 "..%" PRIu64 ", %" PRIu64 " batches, %" PRIu64 " records; at %" PRIu64
                 " is no valid batch (%s), and behind it nothing that says it was durable",
                 base, end, segment->batches, segment->records, segment->end_pos, segment->why);
    else
        dump_say(dump, DUMP_OK,
                 "segment %" PRIu64 "..%" PRIu64 ", %" PRIu64 " batches, %" PRIu64
                 " records, to byte %" PRIu64 " of %" PRIu64,
                 base, end, segment->batches, segment->records, segment->end_pos, segment->head.size_bytes);
}
