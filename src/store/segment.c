/* segment: one file of a log. */
#include "store/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <leat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/err.h"

#define WINDOW_SIZE (1u << 20)

/* ---- names ---- */

void lt_segment_name(char name[LT_SEGMENT_NAME_SIZE], uint64_t base_offset, const char *ending)
{
    snprintf(name, LT_SEGMENT_NAME_SIZE, "%020" PRIu64 ".%s", base_offset, ending);
}

bool lt_segment_parse(const char *name, const char *ending, uint64_t *base_offset)
{
    char again[LT_SEGMENT_NAME_SIZE];
    *base_offset = strtoull(name, NULL, 10);
    lt_segment_name(again, *base_offset, ending);
    return strcmp(name, again) == 0;
}

/* ---- making ---- */

static bool is_full(int error)
{
    return error == -ENOSPC || error == -EDQUOT;
}

static int fail_io(const struct lt_store_dir *dir, const char *name, const char *what, int error)
{
    lt_fail_errno(-error, "%s/%s: %s", dir->path, name, what);
    return is_full(error) ? LEAT_ENOSPC : LEAT_EIO;
}

/* Space that is only allocated reads as zeros, but the first sync behind each write into it has metadata to write as well: some
 * 0.1 ms. Zeros that are written cost the bandwidth a second time instead, which small batches do not mind. */
static int fill_spare(const struct lt_store_dir *dir, int fd, uint64_t size_bytes, bool zeros)
{
    struct lt_io *io = dir->io;
    int error = io->table->allocate(io, fd, size_bytes);
    if (error < 0 && error != -EOPNOTSUPP && error != -EINTR)
        return fail_io(dir, LT_SPARE_NAME, "fallocate", error);
    /* The head is written when the log waits for its name. */
    error = lt_io_write_zeros(io, fd, zeros || error < 0 ? size_bytes : LT_STORE_PAGE, 0);
    if (error < 0)
        return fail_io(dir, LT_SPARE_NAME, "write", error);
    error = lt_io_sync(io, fd);
    if (error < 0)
        return fail_io(dir, LT_SPARE_NAME, "fsync", error);
    return 0;
}

/* The old one as the spare: its space is taken, and was written before. Its descriptor, or -1: there is none that fits. */
static int reuse_old(const struct lt_store_dir *dir, uint64_t size_bytes)
{
    struct lt_io *io = dir->io;
    struct lt_io_stat stat;
    if (lt_io_rename(io, dir->fd, LT_OLD_NAME, LT_SPARE_NAME) < 0)
        return -1;
    int fd = lt_io_open(io, dir->fd, LT_SPARE_NAME, O_RDWR);
    if (fd >= 0 && lt_io_stat(io, fd, &stat) == 0 && stat.size == size_bytes)
        return fd;
    if (fd >= 0)
        lt_io_close(io, fd);
    lt_io_unlink(io, dir->fd, LT_SPARE_NAME);
    return -1;
}

int lt_segment_make_spare(const struct lt_store_dir *dir, uint64_t size_bytes, bool zeros)
{
    struct lt_io *io = dir->io;
    int error = lt_io_unlink(io, dir->fd, LT_SPARE_NAME);
    if (error < 0 && error != -ENOENT)
        return fail_io(dir, LT_SPARE_NAME, "unlink", error);
    int fd = reuse_old(dir, size_bytes);
    if (fd >= 0)
        return fd;
    fd = lt_io_open(io, dir->fd, LT_SPARE_NAME, O_RDWR | O_CREAT | O_EXCL);
    if (fd < 0)
        return fail_io(dir, LT_SPARE_NAME, "create", fd);
    error = fill_spare(dir, fd, size_bytes, zeros);
    if (error == 0)
        return fd;
    lt_io_close(io, fd);
    lt_io_unlink(io, dir->fd, LT_SPARE_NAME); /* gives back what it took of a full disk */
    return error;
}

static uint64_t head_hash(const struct lt_segment_head *head)
{
    return XXH3_64bits(head, offsetof(struct lt_segment_head, hash));
}

/* Whether the spare has been a segment before. */
static bool is_again(const struct lt_store_dir *dir, int fd)
{
    uint64_t magic = 0;
    return lt_io_read_all(dir->io, fd, &magic, sizeof magic, 0) == sizeof magic && magic == LT_SEGMENT_MAGIC;
}

static int write_head(const struct lt_store_dir *dir, const struct lt_segment *segment, uint64_t generation)
{
    struct lt_segment_head head = { .magic = LT_SEGMENT_MAGIC,
                                    .version = LT_STORE_VERSION,
                                    .head_bytes = LT_STORE_PAGE,
                                    .fingerprint = lt_store_fingerprint(),
                                    .topic = dir->id.topic,
                                    .partition = dir->id.partition,
                                    .flags = is_again(dir, segment->fd) ? LT_SEGMENT_AGAIN : 0,
                                    .base_offset = segment->base_offset,
                                    .size_bytes = segment->size_bytes,
                                    .generation = generation,
                                    .previous_timestamp_max = segment->previous_timestamp_max };
    head.hash = head_hash(&head);
    return lt_io_write_all(dir->io, segment->fd, &head, sizeof head, 0, LT_IO_DSYNC);
}

int lt_segment_name_spare(const struct lt_store_dir *dir, const struct lt_segment *segment,
                          uint64_t generation)
{
    char name[LT_SEGMENT_NAME_SIZE];
    lt_segment_name(name, segment->base_offset, "log");
    int error = write_head(dir, segment, generation);
    if (error < 0) {
        fail_io(dir, LT_SPARE_NAME, "write of the head", error);
        return LEAT_EIO;
    }
    error = lt_io_rename(dir->io, dir->fd, LT_SPARE_NAME, name);
    if (error < 0)
        return fail_io(dir, name, "rename to it", error);
    error = lt_io_sync(dir->io, dir->fd);
    if (error < 0) {
        fail_io(dir, name, "fsync of its directory", error);
        return LEAT_EIO;
    }
    return 0;
}

/* ---- opening ---- */

int lt_segment_check(const struct lt_store_dir *dir, const char *name, const struct lt_segment_head *head,
                     uint64_t base_offset, uint64_t size)
{
    if (head->magic != LT_SEGMENT_MAGIC)
        return lt_fail(LEAT_EFAILED, "%s/%s: not a segment: magic %016" PRIx64, dir->path, name, head->magic);
    if (head->version > LT_STORE_VERSION)
        return lt_fail(LEAT_EVERSION, "%s/%s: written in format %u, this program knows up to %u", dir->path,
                       name, head->version, LT_STORE_VERSION);
    if (head->hash != head_hash(head))
        return lt_fail(LEAT_EFAILED, "%s/%s: the head's checksum differs", dir->path, name);
    if (head->version != LT_STORE_VERSION || head->fingerprint != lt_store_fingerprint())
        return lt_fail(
            LEAT_EVERSION, "%s/%s: format %u with fingerprint %016" PRIx64 ", expected %u with %016" PRIx64,
            dir->path, name, head->version, head->fingerprint, LT_STORE_VERSION, lt_store_fingerprint());
    if (head->topic != dir->id.topic || head->partition != dir->id.partition ||
        head->base_offset != base_offset)
        return lt_fail(LEAT_EFAILED,
                       "%s/%s: belongs to topic %" PRIu64 " partition %u offset %" PRIu64
                       ", expected %" PRIu64 ", %u, %" PRIu64,
                       dir->path, name, head->topic, head->partition, head->base_offset, dir->id.topic,
                       dir->id.partition, base_offset);
    if (head->size_bytes > size || head->head_bytes != LT_STORE_PAGE || head->size_bytes < LT_STORE_PAGE)
        return lt_fail(LEAT_EFAILED, "%s/%s: %" PRIu64 " bytes, its head says %" PRIu64, dir->path, name,
                       size, head->size_bytes);
    return 0;
}

static int read_head(const struct lt_store_dir *dir, const char *name, uint64_t base_offset,
                     struct lt_segment *segment)
{
    struct lt_io *io = dir->io;
    struct lt_io_stat stat;
    int error = lt_io_stat(io, segment->fd, &stat);
    if (error < 0)
        return fail_io(dir, name, "fstat", error);
    /* A whole page: the descriptor may be one for direct reads. */
    unsigned char *page = aligned_alloc(LT_STORE_PAGE, LT_STORE_PAGE);
    if (!page)
        return lt_fail(LEAT_ENOMEM, "%s/%s: no memory for a page", dir->path, name);
    memset(page, 0, LT_STORE_PAGE);
    int64_t n = lt_io_read_all(io, segment->fd, page, LT_STORE_PAGE, 0);
    const struct lt_segment_head *head = (const struct lt_segment_head *)(void *)page;
    error = n < 0 ? fail_io(dir, name, "read", (int)n)
                  : lt_segment_check(dir, name, head, base_offset, stat.size);
    segment->base_offset = base_offset;
    segment->size_bytes = head->size_bytes;
    segment->previous_timestamp_max = head->previous_timestamp_max;
    free(page);
    return error;
}

int lt_segment_open(const struct lt_store_dir *dir, uint64_t base_offset, int flags,
                    struct lt_segment *segment)
{
    char name[LT_SEGMENT_NAME_SIZE];
    lt_segment_name(name, base_offset, "log");
    segment->fd = lt_io_open(dir->io, dir->fd, name, flags);
    if (segment->fd == -ENOENT)
        return lt_fail(LEAT_EFAILED, "%s/%s: it is missing", dir->path, name);
    if (segment->fd < 0)
        return fail_io(dir, name, "open", segment->fd);
    int error = read_head(dir, name, base_offset, segment);
    if (error < 0) {
        lt_io_close(dir->io, segment->fd);
        segment->fd = -1;
    }
    return error;
}

/* ---- scan ---- */

int lt_scan_open(struct lt_scan *scan, const struct lt_store_dir *dir, const struct lt_segment *segment,
                 uint64_t pos, uint64_t offset)
{
    size_t capacity = segment->size_bytes < WINDOW_SIZE ? (size_t)segment->size_bytes : WINDOW_SIZE;
    capacity = (capacity + LT_STORE_PAGE - 1) / LT_STORE_PAGE * LT_STORE_PAGE;
    *scan = (struct lt_scan){
        .dir = dir, .capacity = capacity, .generation_max = UINT64_MAX, .timestamp_max = INT64_MIN
    };
    scan->window = aligned_alloc(LT_STORE_PAGE, capacity);
    if (!scan->window)
        return lt_fail(LEAT_ENOMEM, "%s: no memory for a window of %zu bytes", dir->path, capacity);
    lt_scan_move(scan, segment, pos, offset);
    return 0;
}

void lt_scan_move(struct lt_scan *scan, const struct lt_segment *segment, uint64_t pos, uint64_t offset)
{
    scan->fd = segment->fd;
    scan->base_offset = segment->base_offset;
    scan->size_bytes = segment->size_bytes;
    scan->pos = pos;
    scan->offset = offset;
    scan->window_at = scan->window_size = 0;
}

void lt_scan_close(struct lt_scan *scan)
{
    free(scan->window);
    scan->window = NULL;
}

static int grow_window(struct lt_scan *scan, uint64_t size)
{
    unsigned char *window = aligned_alloc(LT_STORE_PAGE, size);
    if (!window)
        return lt_fail(LEAT_ENOMEM, "%s: no memory for a batch of %" PRIu64 " bytes", scan->dir->path, size);
    free(scan->window);
    scan->window = window;
    scan->capacity = size;
    scan->window_size = 0;
    return 0;
}

/* Makes [pos, pos + size) lie in the window, as far as the file goes. What of it lies there: *available, maybe more than
 * asked. */
static int load(struct lt_scan *scan, uint64_t pos, uint64_t size, uint64_t *available)
{
    if (pos + size > scan->size_bytes)
        size = scan->size_bytes - pos;
    if (pos < scan->window_at || pos + size > scan->window_at + scan->window_size) {
        uint64_t from = pos / LT_STORE_PAGE * LT_STORE_PAGE;
        uint64_t need = (pos + size - from + LT_STORE_PAGE - 1) / LT_STORE_PAGE * LT_STORE_PAGE;
        int error = need > scan->capacity ? grow_window(scan, need) : 0;
        if (error < 0)
            return error;
        uint64_t want = scan->size_bytes - from < scan->capacity ? scan->size_bytes - from : scan->capacity;
        want = (want + LT_STORE_PAGE - 1) / LT_STORE_PAGE * LT_STORE_PAGE;
        scan->window_size = 0;
        int64_t n = lt_io_read_all(scan->dir->io, scan->fd, scan->window, want, from);
        char name[LT_SEGMENT_NAME_SIZE];
        lt_segment_name(name, scan->base_offset, "log");
        if (n < 0)
            return fail_io(scan->dir, name, "read", (int)n);
        if ((uint64_t)n < pos + size - from)
            return lt_fail(LEAT_EIO, "%s/%s: ends at %" PRIu64 ", expected %" PRIu64 " bytes",
                           scan->dir->path, name, from + (uint64_t)n, scan->size_bytes);
        scan->window_at = from;
        scan->window_size = (uint64_t)n;
    }
    *available = scan->window_at + scan->window_size - pos;
    return 0;
}

static const unsigned char *at_pos(const struct lt_scan *scan, uint64_t pos)
{
    return scan->window + (pos - scan->window_at);
}

/* 1 and the whole batch at pos, or 0 and why. */
static int look(struct lt_scan *scan, uint64_t pos, const struct lt_batch_head **batch)
{
    uint64_t available;
    scan->why = "the segment is full";
    if (pos + sizeof **batch > scan->size_bytes)
        return 0;
    int error = load(scan, pos, sizeof **batch, &available);
    if (error < 0)
        return error;
    uint32_t bytes = lt_batch_peek((const void *)at_pos(scan, pos));
    if (bytes > available && bytes <= scan->size_bytes - pos) {
        error = load(scan, pos, bytes, &available);
        if (error < 0)
            return error;
    }
    struct lt_batch_place place = { .id = scan->dir->id, .base_offset = scan->base_offset, .pos = pos };
    *batch = (const void *)at_pos(scan, pos);
    scan->why = lt_batch_check(*batch, available, &place);
    return scan->why ? 0 : 1;
}

int lt_scan_next(struct lt_scan *scan, const struct lt_batch_head **batch)
{
    int found = look(scan, scan->pos, batch);
    if (found <= 0)
        return found;
    const struct lt_batch_head *head = *batch;
    if (head->first_offset != scan->offset)
        scan->why = "a batch of other offsets is there";
    else if (head->generation < scan->generation || head->generation > scan->generation_max)
        scan->why = "a batch of another generation is there";
    if (scan->why)
        return 0;
    scan->pos += head->bytes;
    scan->offset = head->end_offset;
    scan->generation = head->generation;
    if (head->record_count > 0 && head->timestamp_max > scan->timestamp_max)
        scan->timestamp_max = head->timestamp_max;
    return 1;
}

int lt_scan_any(struct lt_scan *scan, uint64_t from, const struct lt_batch_head **batch, uint64_t *at)
{
    for (uint64_t pos = from; pos + sizeof **batch <= scan->size_bytes; pos += LT_BATCH_ALIGN) {
        uint64_t available;
        uint32_t magic;
        int error = load(scan, pos, sizeof **batch, &available);
        if (error < 0)
            return error;
        memcpy(&magic, at_pos(scan, pos), sizeof magic);
        if (magic != LT_BATCH_MAGIC)
            continue;
        int found = look(scan, pos, batch);
        if (found != 0) {
            *at = pos;
            return found;
        }
    }
    return 0;
}

int lt_scan_first_nonzero(struct lt_scan *scan, uint64_t from, uint64_t *at)
{
    for (uint64_t pos = from; pos < scan->size_bytes;) {
        uint64_t available;
        int error = load(scan, pos, 1, &available);
        if (error < 0)
            return error;
        const unsigned char *bytes = at_pos(scan, pos);
        for (uint64_t i = 0; i < available; i++)
            if (bytes[i] != 0) {
                *at = pos + i;
                return 0;
            }
        pos += available;
    }
    *at = scan->size_bytes;
    return 0;
}
