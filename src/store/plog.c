/* plog: one partition's log: appending and acknowledging. Finding, reading and trimming: plog_read.c. */
#include <errno.h>
#include <inttypes.h>
#include <leat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "store/plog_inside.h"

#define SYNC_TOKEN UINT32_MAX
#define TRIES 16

/* ---- state ---- */

/* Nothing is acknowledged any more, whatever is still under way. The first reason stays. */
int lt_plog_fail(struct lt_plog *log, int error)
{
    if (log->state != LT_PLOG_FAILED) {
        log->state = LT_PLOG_FAILED;
        log->error = error == LEAT_EFAILED ? LEAT_EFAILED : LEAT_EIO;
        snprintf(log->reason, sizeof log->reason, "%s", lt_fail_text());
    }
    return log->error;
}

static int refuse(const struct lt_plog *log)
{
    return lt_fail(log->error, "%s", log->reason);
}

void lt_plog_set_tag(struct lt_plog *log, uint32_t tag)
{
    log->settings.tag = tag;
}

enum lt_plog_state lt_plog_state(const struct lt_plog *log)
{
    return log->state;
}

int lt_plog_error(const struct lt_plog *log)
{
    return log->state == LT_PLOG_OPEN ? 0 : log->error;
}

const char *lt_plog_reason(const struct lt_plog *log)
{
    return log->state == LT_PLOG_OPEN ? "" : log->reason;
}

uint64_t lt_plog_start(const struct lt_plog *log)
{
    return log->meta.start_offset;
}

uint64_t lt_plog_end(const struct lt_plog *log)
{
    return log->end.offset;
}

uint64_t lt_plog_written(const struct lt_plog *log)
{
    return log->written.offset;
}

uint64_t lt_plog_durable(const struct lt_plog *log)
{
    return log->durable.offset;
}

uint64_t lt_plog_acked(const struct lt_plog *log)
{
    return log->settings.level == LT_PLOG_DURABLE ? log->durable.offset : log->written.offset;
}

uint64_t lt_plog_next(const struct lt_plog *log)
{
    return log->next_offset;
}

uint32_t lt_plog_under_way(const struct lt_plog *log)
{
    return log->entry_count + (log->sync_fd >= 0);
}

uint64_t lt_plog_cut_bytes(const struct lt_plog *log)
{
    return log->cut_bytes;
}

uint32_t lt_plog_segments(const struct lt_plog *log)
{
    return log->segment_count;
}

struct lt_store_dir lt_plog_dir(const struct lt_plog *log)
{
    return log->dir;
}

/* ---- open, close ---- */

/* Whole pages; one for the head and one for batches at least. */
static uint64_t segment_size(uint64_t bytes)
{
    bytes = (bytes + LT_STORE_PAGE - 1) / LT_STORE_PAGE * LT_STORE_PAGE;
    return bytes < 2 * LT_STORE_PAGE ? 2 * LT_STORE_PAGE : bytes;
}

static void take_defaults(struct lt_plog_settings *settings)
{
    if (settings->segment_bytes == 0)
        settings->segment_bytes = LT_PLOG_SEGMENT_BYTES;
    if (settings->first_bytes == 0)
        settings->first_bytes = LT_PLOG_FIRST_BYTES;
    settings->segment_bytes = segment_size(settings->segment_bytes);
    settings->first_bytes = segment_size(settings->first_bytes);
    if (settings->first_bytes > settings->segment_bytes)
        settings->first_bytes = settings->segment_bytes;
    if (settings->reserve_step == 0)
        settings->reserve_step = 1u << 20;
    if (settings->window_bytes == 0)
        settings->window_bytes = LT_PLOG_WINDOW_BYTES;
    if (settings->depth == 0)
        settings->depth = 64;
}

static void take_recovered(struct lt_plog *log, struct lt_recovered *found)
{
    log->meta = found->meta;
    log->meta_fd = found->meta_fd;
    log->segments = found->segments;
    log->segment_count = found->segment_count;
    log->segment_capacity = found->segment_capacity;
    log->active = found->active;
    log->cut_bytes = found->cut_bytes;
    log->end = (struct lt_plog_point){ .base_offset = found->active.base_offset,
                                       .pos = found->pos,
                                       .offset = found->offset,
                                       .timestamp_max = found->timestamp_max };
    log->written = log->durable = log->end;
    log->next_offset = found->offset > found->meta.reserved_offset ? found->offset
                                                                   : found->meta.reserved_offset;
    lt_index_reset(&log->index, found->active.base_offset);
    /* What lies before the checkpoint was not looked at. */
    log->index.complete = found->pos == LT_STORE_PAGE;
    log->index_from = found->offset;
    log->index.timestamp_max = found->timestamp_max;
    if (found->damaged) {
        lt_fail(LEAT_EFAILED, "%s", found->why);
        lt_plog_fail(log, LEAT_EFAILED);
    }
}

static struct lt_plog *allocate(struct lt_io *io, int dir_fd, const char *path,
                                const struct lt_plog_settings *settings)
{
    struct lt_plog_settings with = *settings;
    take_defaults(&with);
    struct lt_plog *log;
    size_t size = sizeof *log + with.depth * sizeof log->entries[0];
    size = (size + LT_BATCH_ALIGN - 1) / LT_BATCH_ALIGN * LT_BATCH_ALIGN;
    log = aligned_alloc(LT_BATCH_ALIGN, size); /* as the gap in it wants it */
    if (!log) {
        lt_fail(LEAT_ENOMEM, "%s: no memory for a log", path);
        return NULL;
    }
    memset(log, 0, size);
    log->settings = with;
    log->active.fd = log->spare_fd = log->sync_fd = log->meta_fd = -1;
    log->index.step = log->sealed.step = with.index_step;
    log->path = strdup(path);
    log->dir = (struct lt_store_dir){ .io = io, .fd = dir_fd, .id = with.id, .path = log->path };
    if (log->path)
        return log;
    lt_plog_abandon(log);
    lt_fail(LEAT_ENOMEM, "%s: no memory for a log", path);
    return NULL;
}

int lt_plog_open(struct lt_io *io, int dir_fd, const char *path, const struct lt_plog_settings *settings,
                 unsigned how, struct lt_plog **log)
{
    struct lt_recovered found;
    *log = allocate(io, dir_fd, path, settings);
    if (!*log)
        return LEAT_ENOMEM;
    struct lt_recover_settings with = { .first_offset = settings->first_offset,
                                        .segment_bytes = (*log)->settings.first_bytes,
                                        .zeros = settings->level == LT_PLOG_DURABLE,
                                        .window_bytes = (*log)->settings.window_bytes,
                                        .how = how };
    int result = lt_recover(&(*log)->dir, &with, &found);
    if (result == 0) {
        take_recovered(*log, &found);
        result = lt_index_reserve(&(*log)->index, (*log)->active.size_bytes);
    }
    if (result == 0)
        return 0;
    lt_plog_abandon(*log);
    *log = NULL;
    return result;
}

static void close_fd(struct lt_plog *log, int *fd)
{
    if (*fd >= 0)
        lt_io_close(log->dir.io, *fd);
    *fd = -1;
}

void lt_plog_abandon(struct lt_plog *log)
{
    if (!log)
        return;
    for (uint32_t i = 0; i < log->rolled_count; i++)
        close_fd(log, &log->rolled[i].fd);
    close_fd(log, &log->active.fd);
    close_fd(log, &log->spare_fd);
    close_fd(log, &log->meta_fd);
    lt_index_free(&log->index);
    lt_index_free(&log->sealed);
    free(log->segments);
    free(log->path);
    free(log);
}

static int sync_now(struct lt_plog *log)
{
    struct lt_io_op op, again;
    while (log->durable.offset < log->end.offset) {
        int result = lt_plog_sync(log, &op);
        if (result == LT_PLOG_NOTHING)
            break;
        if (result != 0)
            return result < 0 ? result : lt_fail(LEAT_EINUSE, "%s: something is under way", log->path);
        int error = lt_io_datasync(log->dir.io, op.fd);
        error = lt_plog_completed(log, op.token, error, &again);
        if (error < 0)
            return error;
    }
    return 0;
}

int lt_plog_close(struct lt_plog *log, uint64_t next_offset)
{
    int error;
    if (log->state == LT_PLOG_FAILED)
        error = refuse(log);
    else if (log->entry_count > 0 || log->sync_fd >= 0)
        error = lt_fail(LEAT_EINUSE, "%s: %u operations are under way", log->path, lt_plog_under_way(log));
    else
        error = sync_now(log);
    if (error == 0) {
        log->meta.clean = 1;
        log->meta.reserved_offset = next_offset > log->end.offset ? next_offset : log->end.offset;
        error = lt_plog_checkpoint(log);
    }
    lt_plog_abandon(log);
    return error;
}

/* ---- meta ---- */

static int write_meta(struct lt_plog *log)
{
    int error = lt_meta_write(&log->dir, log->meta_fd, &log->meta);
    return error < 0 ? lt_plog_fail(log, error) : 0;
}

int lt_plog_checkpoint(struct lt_plog *log)
{
    if (log->state == LT_PLOG_FAILED)
        return refuse(log);
    log->meta.point_base = log->durable.base_offset;
    log->meta.point_pos = log->durable.pos;
    log->meta.point_offset = log->durable.offset;
    log->meta.point_timestamp_max = log->durable.timestamp_max;
    return write_meta(log);
}

int lt_plog_reserve(struct lt_plog *log, uint64_t upto)
{
    if (log->state == LT_PLOG_FAILED)
        return refuse(log);
    if (upto <= log->meta.reserved_offset)
        return 0;
    log->meta.reserved_offset = upto + log->settings.reserve_step;
    return lt_plog_checkpoint(log);
}

/* Room for `bytes` more that are not durable. Recovery looks no further than the window, so it grows before anything lies
 * outside of it; slowly, so that a partition with little to do is looked at for little time. */
static int widen(struct lt_plog *log, uint64_t bytes)
{
    uint64_t wanted = log->end.total + bytes - log->durable.total;
    uint64_t window = log->meta.window_bytes;
    if (wanted <= window)
        return 0;
    while (window < wanted)
        window *= 2;
    if (window > log->settings.segment_bytes && log->end.total > log->durable.total)
        return log->entry_count > 0 || log->sync_fd >= 0 ? LT_PLOG_BUSY : LT_PLOG_SYNC;
    log->meta.window_bytes = window;
    return lt_plog_checkpoint(log);
}

/* ---- segments ---- */

/* Twice the active one, as far as segments may grow; or what the batch needs. */
static uint64_t spare_bytes_for(const struct lt_plog *log, uint64_t batch_bytes)
{
    uint64_t wanted = 2 * log->active.size_bytes, needed = segment_size(batch_bytes + LT_STORE_PAGE);
    if (wanted > log->settings.segment_bytes)
        wanted = log->settings.segment_bytes;
    return needed > wanted ? needed : wanted;
}

/* Few large flushes: then zeros would cost more than they save. */
static bool is_bulk(const struct lt_plog *log)
{
    uint64_t bytes = log->end.total - log->entered_total;
    return log->settings.level != LT_PLOG_DURABLE || bytes >= (log->flushes + 1) * LT_PLOG_BULK_BYTES;
}

uint64_t lt_plog_wants_spare(const struct lt_plog *log, bool *zeros)
{
    *zeros = !is_bulk(log);
    bool soon = log->big_bytes > 0 || log->end.pos > log->active.size_bytes / 2;
    if (log->state == LT_PLOG_FAILED || log->spare_fd >= 0 || !soon)
        return 0;
    return spare_bytes_for(log, log->big_bytes);
}

int lt_plog_give_spare(struct lt_plog *log, int fd, uint64_t bytes)
{
    if (fd == LEAT_ENOSPC && log->state != LT_PLOG_FAILED) {
        log->state = LT_PLOG_FULL;
        log->error = LEAT_ENOSPC;
        snprintf(log->reason, sizeof log->reason, "%s", lt_fail_text());
        return LEAT_ENOSPC;
    }
    if (fd < 0)
        return lt_plog_fail(log, fd);
    close_fd(log, &log->spare_fd);
    log->spare_fd = fd;
    log->spare_bytes = bytes;
    log->has_old = false;
    if (log->state == LT_PLOG_FULL)
        log->state = LT_PLOG_OPEN;
    return log->state == LT_PLOG_FAILED ? refuse(log) : 0;
}

int lt_plog_prepare(struct lt_plog *log)
{
    if (log->state == LT_PLOG_FAILED)
        return refuse(log);
    bool zeros;
    uint64_t bytes = lt_plog_wants_spare(log, &zeros);
    if (bytes == 0) {
        log->state =
            LT_PLOG_OPEN; /* it was its name that the disk had no room for: the next append tries again */
        return 0;
    }
    return lt_plog_give_spare(log, lt_segment_make_spare(&log->dir, bytes, zeros), bytes);
}

/* The index is a hint that can be had from the log: what becomes of this file is nobody's concern. */
static void leave_index(struct lt_plog *log)
{
    if (log->index.complete)
        lt_index_write(&log->dir, &log->index);
}

static void enter_spare(struct lt_plog *log, const struct lt_segment *segment)
{
    log->rolled[log->rolled_count++] = (struct lt_plog_rolled){ .fd = log->active.fd, .end = log->end };
    log->segments[log->segment_count - 1].timestamp_max = log->end.timestamp_max;
    log->segments[log->segment_count - 1].size_bytes = log->active.size_bytes;
    log->segments[log->segment_count - 1].known = true;
    log->segments[log->segment_count++] = (struct lt_segment_entry){ .base_offset = segment->base_offset,
                                                                     .own = true };
    log->active = *segment;
    log->spare_fd = -1;
    log->big_bytes = 0;
    log->end.base_offset = segment->base_offset;
    log->end.pos = LT_STORE_PAGE;
    log->end.timestamp_max = INT64_MIN;
    log->entered_total = log->end.total;
    log->flushes = 0;
}

static void close_rolled(struct lt_plog *log)
{
    uint32_t over = 0;
    while (over < log->rolled_count && log->durable.offset >= log->rolled[over].end.offset &&
           log->sync_fd != log->rolled[over].fd)
        close_fd(log, &log->rolled[over++].fd);
    log->rolled_count -= over;
    memmove(log->rolled, log->rolled + over, log->rolled_count * sizeof log->rolled[0]);
}

static int roll(struct lt_plog *log, uint64_t batch_bytes)
{
    if (log->spare_fd < 0 || log->spare_bytes < batch_bytes + LT_STORE_PAGE) {
        log->big_bytes = batch_bytes;
        close_fd(log, &log->spare_fd); /* too small: whoever makes the next one does so under the same name */
        return LT_PLOG_NO_ROOM;
    }
    close_rolled(log);
    if (log->rolled_count == LT_PLOG_ROLLED)
        return log->sync_fd >= 0 || log->entry_count > 0 ? LT_PLOG_BUSY : LT_PLOG_SYNC;
    struct lt_segment segment = { .base_offset = log->end.offset,
                                  .size_bytes = log->spare_bytes,
                                  .previous_timestamp_max = log->end.timestamp_max,
                                  .fd = log->spare_fd };
    int error = lt_segment_entries_reserve(&log->segments, log->segment_count, &log->segment_capacity);
    if (error == 0)
        error = lt_index_reserve(&log->index, log->spare_bytes);
    if (error < 0)
        return error;
    error = lt_segment_name_spare(&log->dir, &segment, log->meta.generation);
    if (error == LEAT_ENOSPC)
        return lt_plog_give_spare(log, LEAT_ENOSPC, 0);
    if (error < 0)
        return lt_plog_fail(log, error);
    if (log->state == LT_PLOG_FULL) /* it was the name that there was no room for */
        log->state = LT_PLOG_OPEN;
    leave_index(log);
    enter_spare(log, &segment);
    lt_index_reset(&log->index, segment.base_offset);
    return lt_plog_checkpoint(log);
}

/* ---- append ---- */

static struct lt_plog_entry *entry_at(struct lt_plog *log, uint32_t i)
{
    return &log->entries[(log->entry_head + i) % log->settings.depth];
}

static uint64_t token_of(const struct lt_plog *log, uint32_t number)
{
    return (uint64_t)log->settings.tag << 32 | number;
}

static void put_op(struct lt_plog *log, const struct lt_plog_entry *entry, struct lt_io_op *op)
{
    *op = (struct lt_io_op){ .kind = LT_IO_WRITE,
                             .fd = entry->fd,
                             .flags = entry->durable ? LT_IO_DSYNC : 0,
                             .size = entry->bytes - entry->done,
                             .bytes = entry->from + entry->done,
                             .at = entry->pos + entry->done,
                             .token = token_of(log, entry->number) };
}

static void enqueue(struct lt_plog *log, struct lt_batch *batch, uint32_t bytes, struct lt_io_op *op)
{
    struct lt_plog_entry *entry = entry_at(log, log->entry_count++);
    const struct lt_batch_head *head = (const struct lt_batch_head *)(const void *)batch->bytes;
    bool alone = log->durable.offset == log->end.offset;
    lt_index_note(&log->index, head, log->end.pos);
    *entry = (struct lt_plog_entry){ .fd = log->active.fd,
                                     .bytes = bytes,
                                     .from = batch->bytes,
                                     .pos = log->end.pos,
                                     .first_offset = log->end.offset,
                                     .durable = alone && log->settings.level == LT_PLOG_DURABLE,
                                     .number = log->next_number };
    log->next_number = log->next_number + 1 == SYNC_TOKEN ? 0 : log->next_number + 1;
    log->end.pos += bytes;
    log->end.total += bytes;
    log->end.offset = batch->end_offset;
    if (batch->record_count > 0 && batch->timestamp_max > log->end.timestamp_max)
        log->end.timestamp_max = batch->timestamp_max;
    entry->end = log->end;
    put_op(log, entry, op);
}

int lt_plog_append(struct lt_plog *log, struct lt_batch *batch, struct lt_io_op *op)
{
    if (log->state == LT_PLOG_FAILED)
        return refuse(log);
    uint64_t bytes = (batch->size + LT_BATCH_ALIGN - 1) / LT_BATCH_ALIGN * LT_BATCH_ALIGN;
    if (batch->first_offset != log->end.offset || lt_batch_is_empty(batch))
        return lt_fail(LEAT_EINVAL,
                       "%s: a batch of [%" PRIu64 ", %" PRIu64 ") where the log ends at %" PRIu64, log->path,
                       batch->first_offset, batch->end_offset, log->end.offset);
    if (log->entry_count == log->settings.depth)
        return LT_PLOG_BUSY;
    int result = lt_plog_reserve(log, batch->end_offset);
    if (result == 0)
        result = widen(log, bytes);
    if (result == 0 && log->end.pos + bytes > log->active.size_bytes)
        result = roll(log, bytes);
    if (result != 0)
        return result;
    struct lt_batch_place place = { .id = log->dir.id,
                                    .base_offset = log->active.base_offset,
                                    .pos = log->end.pos };
    enqueue(log, batch, lt_batch_seal(batch, &place, log->meta.generation, log->durable.offset), op);
    return 0;
}

int lt_plog_skip(struct lt_plog *log, uint64_t offset, struct lt_io_op *op)
{
    struct lt_batch batch;
    if (offset <= log->end.offset)
        return LT_PLOG_NOTHING;
    for (uint32_t i = 0; i < log->entry_count; i++)
        if (entry_at(log, i)->from == log->gap)
            return LT_PLOG_BUSY; /* one is under way, and there is memory for one */
    lt_batch_start(&batch, log->gap, sizeof log->gap, log->end.offset);
    lt_batch_skip_to(&batch, offset);
    batch.flags |= LT_BATCH_LOST;
    return lt_plog_append(log, &batch, op);
}

/* ---- completion ---- */

/* Of the oldest segment that has something to be synced, as far as all batches before are done. */
int lt_plog_sync(struct lt_plog *log, struct lt_io_op *op)
{
    if (log->state == LT_PLOG_FAILED)
        return refuse(log);
    if (log->sync_fd >= 0)
        return LT_PLOG_BUSY;
    if (log->durable.offset >= log->written.offset)
        return LT_PLOG_NOTHING;
    close_rolled(log);
    log->sync_fd = log->active.fd;
    log->sync_point = log->written;
    if (log->rolled_count > 0) {
        log->sync_fd = log->rolled[0].fd;
        if (log->written.offset >= log->rolled[0].end.offset)
            log->sync_point = log->rolled[0].end;
    }
    *op = (struct lt_io_op){ .kind = LT_IO_SYNC, .fd = log->sync_fd, .token = token_of(log, SYNC_TOKEN) };
    return 0;
}

static void set_durable(struct lt_plog *log, const struct lt_plog_point *point)
{
    log->durable = *point;
    log->flushes++;
}

static void advance(struct lt_plog *log)
{
    while (log->entry_count > 0 && entry_at(log, 0)->complete) {
        const struct lt_plog_entry *entry = entry_at(log, 0);
        log->written = entry->end;
        if (entry->durable && log->durable.offset == entry->first_offset)
            set_durable(log, &entry->end);
        log->entry_head = (log->entry_head + 1) % log->settings.depth;
        log->entry_count--;
    }
    close_rolled(log);
}

static int complete_sync(struct lt_plog *log, int64_t result)
{
    if (log->sync_fd < 0)
        return lt_fail(LEAT_EINVAL, "%s: no sync is under way", log->path);
    log->sync_fd = -1;
    if (log->state == LT_PLOG_FAILED)
        return log->error;
    if (result < 0) {
        lt_fail_errno((int)-result, "%s: fdatasync", log->path);
        return lt_plog_fail(log, LEAT_EIO);
    }
    if (log->sync_point.offset > log->durable.offset)
        set_durable(log, &log->sync_point);
    close_rolled(log);
    return 0;
}

/* A write that stopped short goes on; one that was interrupted is done again. Nothing of it was promised, and what it
 * wrote it writes again: unlike a sync, it may be repeated. */
static bool go_on(struct lt_plog_entry *entry, int64_t result)
{
    bool interrupted = result == -EINTR || result == -EAGAIN || result == 0;
    if (result > 0) {
        entry->done += (uint32_t)result;
        entry->tries = 0;
        return true;
    }
    return interrupted && ++entry->tries < TRIES;
}

static int fail_write(struct lt_plog *log, const struct lt_plog_entry *entry, int64_t result)
{
    int error = result < 0 ? (int)-result : EIO;
    lt_fail_errno(error, "%s: write of %u bytes at %" PRIu64 " of the segment of offset %" PRIu64, log->path,
                  entry->bytes, entry->pos, entry->first_offset);
    return lt_plog_fail(log, LEAT_EIO);
}

int lt_plog_completed(struct lt_plog *log, uint64_t token, int64_t result, struct lt_io_op *again)
{
    uint32_t number = (uint32_t)token;
    if (number == SYNC_TOKEN)
        return complete_sync(log, result);
    struct lt_plog_entry *entry = NULL;
    for (uint32_t i = 0; i < log->entry_count && !entry; i++)
        if (entry_at(log, i)->number == number)
            entry = entry_at(log, i);
    if (!entry || entry->complete)
        return lt_fail(LEAT_EINVAL, "%s: no operation %u is under way", log->path, number);
    bool whole = result == entry->bytes - entry->done;
    if (!whole && log->state != LT_PLOG_FAILED && result < entry->bytes && go_on(entry, result)) {
        put_op(log, entry, again);
        return 1;
    }
    if (!whole && log->state != LT_PLOG_FAILED)
        fail_write(log, entry, result);
    entry->complete = true;
    if (log->state != LT_PLOG_FAILED) {
        advance(log);
        return 0;
    }
    /* Only its memory is given back. */
    while (log->entry_count > 0 && entry_at(log, 0)->complete) {
        log->entry_head = (log->entry_head + 1) % log->settings.depth;
        log->entry_count--;
    }
    return log->error;
}
