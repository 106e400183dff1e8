/* index: where in a segment an offset or a time is. */
#include "store/index.h"

#include <errno.h>
#include <fcntl.h>
#include <leat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/err.h"

#define TEMPORARY "index.new"

static uint32_t step_of(const struct lt_index *index)
{
    return index->step ? index->step : LT_INDEX_STEP;
}

int lt_index_reserve(struct lt_index *index, uint64_t size_bytes)
{
    uint64_t capacity = size_bytes / step_of(index) + 1;
    if (capacity <= index->capacity)
        return 0;
    struct lt_index_entry *entries = realloc(index->entries, capacity * sizeof entries[0]);
    if (!entries)
        return lt_fail(LEAT_ENOMEM, "no memory for an index of %llu entries", (unsigned long long)capacity);
    index->entries = entries;
    index->capacity = (uint32_t)capacity;
    return 0;
}

void lt_index_free(struct lt_index *index)
{
    free(index->entries);
    *index = (struct lt_index){ 0 };
}

void lt_index_reset(struct lt_index *index, uint64_t base_offset)
{
    index->base_offset = index->end_offset = base_offset;
    index->end_pos = LT_STORE_PAGE;
    index->timestamp_max = INT64_MIN;
    index->complete = true;
    index->count = 0;
}

void lt_index_note(struct lt_index *index, const struct lt_batch_head *batch, uint64_t pos)
{
    uint64_t last = index->count > 0 ? index->entries[index->count - 1].pos : LT_STORE_PAGE;
    if (pos - last >= step_of(index) && index->count < index->capacity)
        index->entries[index->count++] = (struct lt_index_entry){ .offset = batch->first_offset,
                                                                  .pos = pos,
                                                                  .timestamp_max = index->timestamp_max };
    if (batch->record_count > 0 && batch->timestamp_max > index->timestamp_max)
        index->timestamp_max = batch->timestamp_max;
    index->end_offset = batch->end_offset;
    index->end_pos = pos + batch->bytes;
}

const struct lt_index_entry *lt_index_by_offset(const struct lt_index *index, uint64_t offset)
{
    uint32_t low = 0, high = index->count; /* entries below low are at or below the offset */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (index->entries[middle].offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? &index->entries[low - 1] : NULL;
}

const struct lt_index_entry *lt_index_by_time(const struct lt_index *index, int64_t timestamp_ms)
{
    uint32_t low = 0, high = index->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (index->entries[middle].timestamp_max < timestamp_ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? &index->entries[low - 1] : NULL;
}

/* ---- the file ---- */

uint64_t lt_index_hash(const struct lt_index_head *head, const struct lt_index_entry *entries)
{
    uint64_t seed = XXH3_64bits(head, offsetof(struct lt_index_head, hash));
    return XXH3_64bits_withSeed(entries, head->entry_count * sizeof entries[0], seed);
}

static int write_file(struct lt_io *io, int fd, const struct lt_index_head *head,
                      const struct lt_index_entry *entries)
{
    int error = lt_io_write_all(io, fd, head, sizeof *head, 0, 0);
    if (error == 0 && head->entry_count > 0)
        error = lt_io_write_all(io, fd, entries, head->entry_count * sizeof entries[0], sizeof *head, 0);
    return error;
}

int lt_index_write(const struct lt_store_dir *dir, const struct lt_index *index)
{
    struct lt_io *io = dir->io;
    char name[LT_SEGMENT_NAME_SIZE];
    lt_segment_name(name, index->base_offset, "idx");
    struct lt_index_head head = { .magic = LT_INDEX_MAGIC,
                                  .version = LT_STORE_VERSION,
                                  .entry_count = index->count,
                                  .fingerprint = lt_store_fingerprint(),
                                  .topic = dir->id.topic,
                                  .partition = dir->id.partition,
                                  .base_offset = index->base_offset,
                                  .end_offset = index->end_offset,
                                  .end_pos = index->end_pos,
                                  .timestamp_max = index->timestamp_max };
    head.hash = lt_index_hash(&head, index->entries);
    lt_io_unlink(io, dir->fd, TEMPORARY);
    int fd = lt_io_open(io, dir->fd, TEMPORARY, O_RDWR | O_CREAT | O_EXCL);
    if (fd < 0)
        return fd;
    int error = write_file(io, fd, &head, index->entries);
    lt_io_close(io, fd);
    if (error == 0)
        error = lt_io_rename(io, dir->fd, TEMPORARY, name);
    if (error < 0)
        lt_io_unlink(io, dir->fd, TEMPORARY);
    return error;
}

static bool is_ours(const struct lt_store_dir *dir, const struct lt_index_head *head, uint64_t base_offset)
{
    return head->magic == LT_INDEX_MAGIC && head->version == LT_STORE_VERSION &&
           head->fingerprint == lt_store_fingerprint() && head->topic == dir->id.topic &&
           head->partition == dir->id.partition && head->base_offset == base_offset;
}

static bool read_file(const struct lt_store_dir *dir, int fd, uint64_t base_offset, struct lt_index *index)
{
    struct lt_index_head head;
    if (lt_io_read_all(dir->io, fd, &head, sizeof head, 0) != sizeof head ||
        !is_ours(dir, &head, base_offset) || head.entry_count > index->capacity)
        return false;
    int64_t size = (int64_t)(head.entry_count * sizeof index->entries[0]);
    if (lt_io_read_all(dir->io, fd, index->entries, (size_t)size, sizeof head) != size ||
        head.hash != lt_index_hash(&head, index->entries))
        return false;
    index->base_offset = base_offset;
    index->end_offset = head.end_offset;
    index->end_pos = head.end_pos;
    index->timestamp_max = head.timestamp_max;
    index->complete = true;
    index->count = head.entry_count;
    return true;
}

int lt_index_read(const struct lt_store_dir *dir, uint64_t base_offset, uint64_t size_bytes,
                  struct lt_index *index)
{
    char name[LT_SEGMENT_NAME_SIZE];
    lt_segment_name(name, base_offset, "idx");
    lt_index_reset(index, base_offset);
    if (lt_index_reserve(index, size_bytes) < 0)
        return 0;
    int fd = lt_io_open(dir->io, dir->fd, name, O_RDONLY);
    if (fd < 0)
        return 0;
    bool good = read_file(dir, fd, base_offset, index);
    lt_io_close(dir->io, fd);
    if (!good)
        lt_index_reset(index, base_offset);
    return good;
}

int lt_index_make(const struct lt_store_dir *dir, const struct lt_segment *segment, uint64_t end,
                  struct lt_index *index)
{
    struct lt_scan scan;
    const struct lt_batch_head *batch;
    lt_index_reset(index, segment->base_offset);
    int error = lt_index_reserve(index, segment->size_bytes);
    if (error == 0)
        error = lt_scan_open(&scan, dir, segment, LT_STORE_PAGE, segment->base_offset);
    if (error < 0)
        return error;
    int found = 1;
    while (scan.offset < end) {
        uint64_t pos = scan.pos;
        found = lt_scan_next(&scan, &batch);
        if (found <= 0)
            break;
        lt_index_note(index, batch, pos);
    }
    lt_scan_close(&scan);
    return found < 0 ? found : 0;
}
