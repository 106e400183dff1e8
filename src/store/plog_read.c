/* plog_read: where what is in a partition's log, reading it, and removing its oldest segments. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <leat.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "store/plog_inside.h"

/* ---- the list of segments ---- */

/* The last segment that begins at or below the offset. */
static uint32_t segment_of(const struct lt_plog *log, uint64_t offset)
{
    uint32_t low = 0, high = log->segment_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (log->segments[middle].base_offset <= offset)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Its size is in its own head, the times of its records in that of the next. Asked for when needed: a start reads none. */
static int know(struct lt_plog *log, uint32_t i)
{
    struct lt_segment_entry *entry = &log->segments[i];
    struct lt_segment segment;
    if (i + 1 == log->segment_count) {
        entry->size_bytes = log->active.size_bytes;
        entry->timestamp_max = log->end.timestamp_max; /* grows: not remembered as known */
        return 0;
    }
    for (uint32_t j = i; !entry->known && j < i + 2; j++) {
        int error = lt_segment_open(&log->dir, log->segments[j].base_offset, O_RDONLY, &segment);
        if (error < 0)
            return error;
        lt_io_close(log->dir.io, segment.fd);
        if (j == i)
            entry->size_bytes = segment.size_bytes;
        else
            entry->timestamp_max = segment.previous_timestamp_max;
    }
    entry->known = true;
    return 0;
}

uint64_t lt_plog_bytes(struct lt_plog *log)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < log->segment_count; i++)
        bytes += know(log, i) == 0 ? log->segments[i].size_bytes : 0;
    return bytes;
}

/* ---- find ---- */

/* What was before the checkpoint at the start joins what was noted since. */
static int complete_active(struct lt_plog *log)
{
    struct lt_index *index = &log->index, *before = &log->sealed;
    int error = lt_index_make(&log->dir, &log->active, log->index_from, before);
    if (error < 0)
        return error;
    if (before->end_offset != log->index_from)
        return lt_fail(LEAT_EFAILED, "%s/%020" PRIu64 ".log: damaged at %" PRIu64 ", before offset %" PRIu64,
                       log->path, log->active.base_offset, before->end_pos, log->index_from);
    uint32_t room = index->capacity - index->count, taken = before->count < room ? before->count : room;
    memmove(index->entries + taken, index->entries, index->count * sizeof index->entries[0]);
    memcpy(index->entries, before->entries, taken * sizeof index->entries[0]);
    index->count += taken;
    index->complete = true;
    lt_index_reset(before, UINT64_MAX); /* of no segment */
    return 0;
}

/* The index of a segment, from its file or made anew. */
static int index_of(struct lt_plog *log, uint32_t at, const struct lt_segment *segment, bool anew,
                    struct lt_index **index)
{
    if (at + 1 == log->segment_count) {
        *index = &log->index;
        return log->index.complete ? 0 : complete_active(log);
    }
    *index = &log->sealed;
    if (!anew && log->sealed.capacity > 0 && log->sealed.complete &&
        log->sealed.base_offset == segment->base_offset)
        return 0;
    if (!anew && lt_index_read(&log->dir, segment->base_offset, segment->size_bytes, &log->sealed))
        return 0;
    int error = lt_index_make(&log->dir, segment, log->segments[at + 1].base_offset, &log->sealed);
    if (error == 0 && log->sealed.end_offset == log->segments[at + 1].base_offset)
        lt_index_write(&log->dir, &log->sealed); /* for the next one who asks; if not, it is made again */
    return error;
}

/* What is looked for: an offset, or a time. */
struct wanted {
    bool by_time;
    uint64_t offset;
    int64_t timestamp_ms;
};

static bool is_it(const struct wanted *wanted, const struct lt_batch_head *batch)
{
    if (wanted->by_time)
        return batch->record_count > 0 && batch->timestamp_max >= wanted->timestamp_ms;
    return batch->end_offset > wanted->offset;
}

/* 1 and the place; 0: the entry was wrong, or there is damage; NOTHING: not in this segment; or an error. */
static int walk_from(struct lt_plog *log, const struct lt_segment *segment,
                     const struct lt_index_entry *entry, uint64_t end, const struct wanted *wanted,
                     struct lt_plog_place *place)
{
    struct lt_scan scan;
    const struct lt_batch_head *batch;
    uint64_t pos = entry ? entry->pos : LT_STORE_PAGE;
    uint64_t offset = entry ? entry->offset : segment->base_offset;
    if (pos < LT_STORE_PAGE || pos >= segment->size_bytes || pos % LT_BATCH_ALIGN != 0)
        return 0;
    int found = lt_scan_open(&scan, &log->dir, segment, pos, offset);
    if (found < 0)
        return found;
    for (;;) {
        *place = (struct lt_plog_place){ .base_offset = segment->base_offset,
                                         .pos = scan.pos,
                                         .offset = scan.offset };
        if (scan.offset >= end) {
            found = LT_PLOG_NOTHING;
            break;
        }
        found = lt_scan_next(&scan, &batch);
        if (found <= 0 || is_it(wanted, batch))
            break;
    }
    if (found == 0)
        lt_fail(LEAT_EFAILED, "%s/%020" PRIu64 ".log: damaged at %" PRIu64 ", offset %" PRIu64 ": %s",
                log->path, segment->base_offset, scan.pos, scan.offset, scan.why);
    lt_scan_close(&scan);
    return found;
}

static int find_in(struct lt_plog *log, uint32_t at, const struct wanted *wanted, struct lt_plog_place *place)
{
    struct lt_segment segment;
    bool last = at + 1 == log->segment_count;
    uint64_t end = last ? log->written.offset : log->segments[at + 1].base_offset;
    if (end > log->written.offset)
        end = log->written.offset;
    int result = lt_segment_open(&log->dir, log->segments[at].base_offset, O_RDONLY, &segment);
    for (int try = 0; result == 0 && try < 2; try++) {
        struct lt_index *index;
        const struct lt_index_entry *entry = NULL;
        result = index_of(log, at, &segment, try == 1, &index);
        if (result < 0)
            break;
        entry = wanted->by_time ? lt_index_by_time(index, wanted->timestamp_ms)
                                : lt_index_by_offset(index, wanted->offset);
        /* An entry is where to look first, and no more: what is there says whether it was right. */
        result = walk_from(log, &segment, entry, end, wanted, place);
    }
    if (segment.fd >= 0)
        lt_io_close(log->dir.io, segment.fd);
    return result == 0 ? LEAT_EFAILED : result == 1 ? 0 : result;
}

int lt_plog_find(struct lt_plog *log, uint64_t offset, struct lt_plog_place *place)
{
    struct wanted wanted = { .offset = offset };
    if (offset < log->meta.start_offset)
        return lt_fail(LEAT_EOFFSET, "%s: offset %" PRIu64 " is below the start, %" PRIu64, log->path, offset,
                       log->meta.start_offset);
    if (offset >= log->written.offset)
        return LT_PLOG_NOTHING;
    uint32_t at = segment_of(log, offset);
    /* Who reads on from segment to segment asks for this, each time: nothing has to be looked for. */
    if (log->segments[at].base_offset == offset) {
        *place = (struct lt_plog_place){ .base_offset = offset, .pos = LT_STORE_PAGE, .offset = offset };
        return 0;
    }
    return find_in(log, at, &wanted, place);
}

int lt_plog_find_time(struct lt_plog *log, int64_t timestamp_ms, struct lt_plog_place *place)
{
    struct wanted wanted = { .by_time = true, .timestamp_ms = timestamp_ms };
    for (uint32_t i = 0; i < log->segment_count; i++) {
        int result = know(log, i);
        if (result < 0)
            return result;
        if (log->segments[i].timestamp_max < timestamp_ms)
            continue;
        result = find_in(log, i, &wanted, place);
        if (result != LT_PLOG_NOTHING)
            return result;
    }
    return LT_PLOG_NOTHING;
}

/* ---- read ---- */

void lt_plog_cursor_start(struct lt_plog_cursor *cursor, const struct lt_plog_place *place)
{
    *cursor = (struct lt_plog_cursor){ .place = *place, .segment = { .fd = -1 } };
}

void lt_plog_cursor_end(struct lt_plog *log, struct lt_plog_cursor *cursor)
{
    if (cursor->segment.fd >= 0)
        lt_io_close(log->dir.io, cursor->segment.fd);
    cursor->segment.fd = -1;
}

/* Opens the segment that holds the cursor's offset: the one it was in may be over, or trimmed. */
static int enter(struct lt_plog *log, struct lt_plog_cursor *cursor)
{
    uint64_t base = log->segments[segment_of(log, cursor->place.offset)].base_offset;
    if (cursor->segment.fd >= 0 && cursor->segment.base_offset == base)
        return 0;
    lt_plog_cursor_end(log, cursor);
    if (cursor->place.base_offset != base) {
        cursor->place.base_offset = base;
        cursor->place.pos = LT_STORE_PAGE;
    }
    return lt_segment_open(&log->dir, base, O_RDONLY, &cursor->segment);
}

static int damaged(const struct lt_plog *log, const struct lt_plog_cursor *cursor, const char *why)
{
    return lt_fail(LEAT_EFAILED, "%s/%020" PRIu64 ".log: damaged at %" PRIu64 ", offset %" PRIu64 ": %s",
                   log->path, cursor->place.base_offset, cursor->place.pos, cursor->place.offset, why);
}

static int fetch(struct lt_plog *log, const struct lt_plog_cursor *cursor, unsigned char *bytes, size_t from,
                 size_t size)
{
    int64_t n = lt_io_read_all(log->dir.io, cursor->segment.fd, bytes + from, size - from,
                               cursor->place.pos + from);
    if (n < 0) {
        lt_fail_errno((int)-n, "%s/%020" PRIu64 ".log: read at %" PRIu64, log->path,
                      cursor->place.base_offset, cursor->place.pos);
        return LEAT_EIO;
    }
    return (size_t)n == size - from ? 0 : damaged(log, cursor, "the file ends");
}

int lt_plog_read(struct lt_plog *log, struct lt_plog_cursor *cursor, void *bytes, size_t capacity)
{
    struct lt_batch_head *head = bytes;
    if (cursor->place.offset >= log->written.offset)
        return LT_PLOG_NOTHING;
    if (cursor->place.offset < log->meta.start_offset)
        return lt_fail(LEAT_EOFFSET, "%s: offset %" PRIu64 " is below the start, %" PRIu64, log->path,
                       cursor->place.offset, log->meta.start_offset);
    cursor->need_bytes = sizeof *head;
    if (capacity < sizeof *head)
        return LT_PLOG_TOO_BIG;
    int error = enter(log, cursor);
    if (error == 0)
        error = fetch(log, cursor, bytes, 0, sizeof *head);
    if (error < 0)
        return error;
    uint32_t size = lt_batch_peek(head);
    if (size == 0 || size > cursor->segment.size_bytes - cursor->place.pos)
        return damaged(log, cursor, "no batch's head");
    cursor->need_bytes = size;
    if (size > capacity)
        return LT_PLOG_TOO_BIG;
    error = fetch(log, cursor, bytes, sizeof *head, size);
    if (error < 0)
        return error;
    struct lt_batch_place place = { .id = log->dir.id,
                                    .base_offset = cursor->place.base_offset,
                                    .pos = cursor->place.pos };
    const char *why = lt_batch_check(bytes, size, &place);
    if (!why && head->first_offset != cursor->place.offset)
        why = "a batch of other offsets is there";
    if (why)
        return damaged(log, cursor, why);
    cursor->place.pos += size;
    cursor->place.offset = head->end_offset;
    return 0;
}

/* ---- trim ---- */

/* Nothing that is not durable as a whole, and not where the checkpoint will be. */
static int count_trimmable(struct lt_plog *log, uint64_t keep_bytes, int64_t keep_after_ms, uint32_t *count)
{
    uint64_t left = lt_plog_bytes(log);
    for (*count = 0; *count + 1 < log->segment_count; ++*count) {
        int error = know(log, *count);
        if (error < 0)
            return error;
        const struct lt_segment_entry *entry = &log->segments[*count];
        bool too_much = keep_bytes != UINT64_MAX && left - entry->size_bytes >= keep_bytes;
        if (log->segments[*count + 1].base_offset > log->durable.base_offset ||
            (!too_much && entry->timestamp_max >= keep_after_ms))
            break;
        left -= entry->size_bytes;
    }
    return 0;
}

void lt_plog_lend(struct lt_plog *log, uint64_t base_offset)
{
    log->segments[segment_of(log, base_offset)].own = false;
}

/* One whose size the next spare has goes on as that: no space is given back and taken again, and who writes into it changes no
 * metadata. One at a time waits for it. */
static bool keep_as_old(struct lt_plog *log, const struct lt_segment_entry *entry, const char *name)
{
    if (!entry->own || log->has_old || entry->size_bytes != log->settings.segment_bytes ||
        lt_io_rename(log->dir.io, log->dir.fd, name, LT_OLD_NAME) < 0)
        return false;
    log->has_old = true;
    return true;
}

static int drop(struct lt_plog *log, const struct lt_segment_entry *entry)
{
    char name[LT_SEGMENT_NAME_SIZE];
    lt_segment_name(name, entry->base_offset, "idx");
    lt_io_unlink(log->dir.io, log->dir.fd, name);
    lt_segment_name(name, entry->base_offset, "log");
    if (keep_as_old(log, entry, name))
        return 0;
    int error = lt_io_unlink(log->dir.io, log->dir.fd, name);
    return error < 0 && error != -ENOENT ? lt_fail_errno(-error, "%s/%s: unlink", log->path, name) : 0;
}

int lt_plog_trim(struct lt_plog *log, uint64_t keep_bytes, int64_t keep_after_ms)
{
    uint32_t count;
    if (log->state == LT_PLOG_FAILED)
        return lt_fail(log->error, "%s", log->reason);
    int error = count_trimmable(log, keep_bytes, keep_after_ms, &count);
    if (error < 0 || count == 0)
        return error;
    /* First the word that they are gone, durable; then they go. The other way round a power loss in between would leave a
     * log whose start is missing. */
    log->meta.start_offset = log->segments[count].base_offset;
    error = lt_plog_checkpoint(log);
    if (error < 0)
        return error;
    for (uint32_t i = 0; i < count; i++) {
        int result = drop(log, &log->segments[i]);
        error = error < 0 ? error : result;
    }
    log->segment_count -= count;
    memmove(log->segments, log->segments + count, log->segment_count * sizeof log->segments[0]);
    return error < 0 ? error : (int)count;
}
