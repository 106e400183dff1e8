/* recover: from what a death or a power loss left to a log that can be appended to. */
#include "store/recover.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <leat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

static int fail_io(const struct lt_store_dir *dir, const char *name, const char *what, int error)
{
    lt_fail_errno(-error, "%s/%s: %s", dir->path, name, what);
    return error == -ENOSPC || error == -EDQUOT ? LEAT_ENOSPC : LEAT_EIO;
}

int lt_segment_entries_reserve(struct lt_segment_entry **entries, uint32_t count, uint32_t *capacity)
{
    if (count < *capacity)
        return 0;
    uint32_t wanted = *capacity ? *capacity * 2 : 16;
    struct lt_segment_entry *more = realloc(*entries, wanted * sizeof more[0]);
    if (!more)
        return lt_fail(LEAT_ENOMEM, "no memory for a list of %u segments", wanted);
    *entries = more;
    *capacity = wanted;
    return 0;
}

/* ---- the directory ---- */

struct listing {
    struct lt_recovered *found;
    bool leftovers; /* names that end in .new */
    int error;
};

static void note_name(void *arg, const char *name)
{
    struct listing *listing = arg;
    struct lt_recovered *found = listing->found;
    uint64_t base;
    size_t size = strlen(name);
    if (size > 4 && strcmp(name + size - 4, ".new") == 0)
        listing->leftovers = true;
    if (!lt_segment_parse(name, "log", &base) || listing->error < 0)
        return;
    listing->error = lt_segment_entries_reserve(&found->segments, found->segment_count,
                                                &found->segment_capacity);
    if (listing->error == 0)
        found->segments[found->segment_count++] = (struct lt_segment_entry){ .base_offset = base };
}

static int by_base(const void *a, const void *b)
{
    uint64_t left = ((const struct lt_segment_entry *)a)->base_offset;
    uint64_t right = ((const struct lt_segment_entry *)b)->base_offset;
    return left < right ? -1 : left > right;
}

static int list_segments(const struct lt_store_dir *dir, struct lt_recovered *found, bool *leftovers)
{
    struct listing listing = { .found = found };
    /* Names that whoever died before gave, or whose sync failed, are in the cache and maybe nowhere else. */
    int error = lt_io_sync(dir->io, dir->fd);
    if (error < 0)
        return fail_io(dir, ".", "fsync", error);
    error = dir->io->table->list(dir->io, dir->fd, note_name, &listing);
    if (error < 0)
        return fail_io(dir, ".", "readdir", error);
    if (listing.error < 0)
        return listing.error;
    if (found->segment_count > 0)
        qsort(found->segments, found->segment_count, sizeof found->segments[0], by_base);
    *leftovers = listing.leftovers;
    return 0;
}

static int drop_name(const struct lt_store_dir *dir, const char *name)
{
    int error = lt_io_unlink(dir->io, dir->fd, name);
    return error < 0 && error != -ENOENT ? fail_io(dir, name, "unlink", error) : 0;
}

static int drop_segment(const struct lt_store_dir *dir, uint64_t base_offset)
{
    char name[LT_SEGMENT_NAME_SIZE];
    lt_segment_name(name, base_offset, "idx");
    int error = drop_name(dir, name);
    lt_segment_name(name, base_offset, "log");
    return error < 0 ? error : drop_name(dir, name);
}

/* What is unfinished has no name that counts. What lies below the start was trimmed: the word that says so is durable before
 * anything is unlinked. */
static int tidy(const struct lt_store_dir *dir, struct lt_recovered *found, bool leftovers)
{
    static const char *const names[] = { LT_SPARE_NAME, LT_OLD_NAME, LT_META_TEMPORARY, "index.new" };
    int error = 0;
    for (unsigned i = 0; leftovers && error == 0 && i < sizeof names / sizeof names[0]; i++)
        error = drop_name(dir, names[i]);
    uint32_t below = 0;
    while (error == 0 && below < found->segment_count &&
           found->segments[below].base_offset < found->meta.start_offset)
        error = drop_segment(dir, found->segments[below++].base_offset);
    found->segment_count -= below;
    if (below > 0)
        memmove(found->segments, found->segments + below, found->segment_count * sizeof found->segments[0]);
    return error;
}

/* ---- the walk ---- */

struct walk {
    const struct lt_store_dir *dir;
    const struct lt_recover_settings *settings;
    struct lt_recovered *found;
    struct lt_scan scan;
    struct lt_segment reading; /* past the cache */
    uint32_t at;               /* in the list */
};

static void close_fd(const struct lt_store_dir *dir, int *fd)
{
    if (*fd >= 0)
        lt_io_close(dir->io, *fd);
    *fd = -1;
}

/* Opens a segment twice: for writing, and for reading what is really on the disk. */
static int enter(struct walk *walk, uint32_t at)
{
    struct lt_recovered *found = walk->found;
    uint64_t base = found->segments[at].base_offset;
    close_fd(walk->dir, &found->active.fd);
    close_fd(walk->dir, &walk->reading.fd);
    walk->at = at;
    int error = lt_segment_open(walk->dir, base, O_RDWR, &found->active);
    if (error < 0)
        return error;
    char name[LT_SEGMENT_NAME_SIZE];
    lt_segment_name(name, base, "log");
    error = lt_io_datasync(walk->dir->io, found->active.fd);
    if (error < 0)
        return fail_io(walk->dir, name, "fdatasync", error);
    return lt_segment_open(walk->dir, base, O_RDONLY | LT_IO_PAST_CACHE, &walk->reading);
}

static int find_segment(const struct lt_recovered *found, uint64_t base)
{
    for (uint32_t i = 0; i < found->segment_count; i++)
        if (found->segments[i].base_offset == base)
            return (int)i;
    return -1;
}

/* Checks batches until there is no valid one. 0 or an error. */
static int walk_batches(struct walk *walk)
{
    const struct lt_batch_head *batch;
    struct lt_recovered *found = walk->found;
    for (;;) {
        int valid = lt_scan_next(&walk->scan, &batch);
        if (valid < 0)
            return valid;
        if (valid)
            continue;
        if (walk->at + 1 >= found->segment_count ||
            found->segments[walk->at + 1].base_offset != walk->scan.offset)
            return 0;
        int error = enter(walk, walk->at + 1);
        if (error < 0)
            return error;
        lt_scan_move(&walk->scan, &walk->reading, LT_STORE_PAGE, walk->scan.offset);
        walk->scan.timestamp_max = INT64_MIN;
    }
}

/* The highest durable offset that a whole batch in [from, from + 2 windows) claims. Of what lies in the first window all may
 * have been under way when it was written; the first batch that ends behind it was not written before the byte at `from` was
 * durable, and no batch is longer than a window. */
static int highest_claim(struct lt_scan *scan, uint64_t from, uint64_t window, uint64_t *claim)
{
    const struct lt_batch_head *batch;
    uint64_t size = scan->size_bytes, at;
    if (2 * window < size - from)
        scan->size_bytes = from + 2 * window;
    int valid;
    while ((valid = lt_scan_any(scan, from, &batch, &at)) > 0) {
        if (batch->generation <= scan->generation_max && batch->durable_offset > *claim)
            *claim = batch->durable_offset;
        from = at + batch->bytes;
    }
    scan->size_bytes = size;
    return valid;
}

static int look_behind(struct walk *walk, uint64_t *claim)
{
    struct lt_recovered *found = walk->found;
    struct lt_scan scan = walk->scan; /* the window is lent: whatever grows it gives it back */
    int error = highest_claim(&scan, scan.pos, found->meta.window_bytes, claim);
    walk->scan.window_size = 0;
    for (uint32_t i = walk->at + 1; error == 0 && i < found->segment_count; i++) {
        struct lt_segment later;
        error = lt_segment_open(walk->dir, found->segments[i].base_offset, O_RDONLY, &later);
        if (error == LEAT_EFAILED)
            error =
                0; /* torn itself: nothing is claimed in there that a whole batch does not say elsewhere */
        else if (error == 0) {
            lt_scan_move(&scan, &later, LT_STORE_PAGE, later.base_offset);
            error = highest_claim(&scan, LT_STORE_PAGE, found->meta.window_bytes, claim);
            lt_io_close(walk->dir->io, later.fd);
        }
    }
    walk->scan.window = scan.window;
    walk->scan.capacity = scan.capacity;
    return error;
}

/* ---- the end ---- */

/* Zeros over [pos, pos + window): on the disk, and in the cache, where a sync that failed may have left other bytes. */
static int clear_tail(struct walk *walk, bool damaged)
{
    struct lt_recovered *found = walk->found;
    uint64_t end = walk->scan.pos + found->meta.window_bytes, on_disk = 0, in_cache = 0;
    struct lt_scan scan = walk->scan;
    if (end > scan.size_bytes || damaged)
        end = scan.size_bytes;
    scan.size_bytes = end;
    int error = lt_scan_first_nonzero(&scan, scan.pos, &on_disk);
    if (error == 0) {
        scan.fd = found->active.fd;
        scan.window_size = 0;
        error = lt_scan_first_nonzero(&scan, scan.pos, &in_cache);
    }
    walk->scan.window_size = 0;
    if (error < 0 || (on_disk == end && in_cache == end))
        return error;
    char name[LT_SEGMENT_NAME_SIZE];
    lt_segment_name(name, scan.base_offset, "log");
    found->cut_bytes = end - scan.pos;
    error = lt_io_write_zeros(walk->dir->io, found->active.fd, end - scan.pos, scan.pos);
    if (error < 0)
        return fail_io(walk->dir, name, "write over the torn end", error);
    error = lt_io_datasync(walk->dir->io, found->active.fd);
    return error < 0 ? fail_io(walk->dir, name, "fdatasync", error) : 0;
}

static int drop_later(struct walk *walk)
{
    struct lt_recovered *found = walk->found;
    if (found->segment_count == walk->at + 1)
        return 0;
    /* The last first: as long as one is left, the log ends before it in the same way. */
    while (found->segment_count > walk->at + 1) {
        int error = drop_segment(walk->dir, found->segments[found->segment_count - 1].base_offset);
        if (error < 0)
            return error;
        found->segment_count--;
    }
    /* None may come back once others of later offsets are written. */
    int error = lt_io_sync(walk->dir->io, walk->dir->fd);
    return error < 0 ? fail_io(walk->dir, ".", "fsync", error) : 0;
}

static int judge(struct walk *walk)
{
    struct lt_recovered *found = walk->found;
    uint64_t claim = 0;
    if (found->meta.clean && walk->at + 1 == found->segment_count)
        return 0; /* nothing was under way */
    int error = look_behind(walk, &claim);
    if (error < 0)
        return error;
    if (claim > walk->scan.offset && !(walk->settings->how & LT_RECOVER_CUT)) {
        found->damaged = true;
        snprintf(found->why, sizeof found->why,
                 "%s/%020" PRIu64 ".log: no valid batch at %" PRIu64 " for offset %" PRIu64
                 " (%s), but up to offset %" PRIu64 " all was durable",
                 walk->dir->path, walk->scan.base_offset, walk->scan.pos, walk->scan.offset, walk->scan.why,
                 claim);
        return 0;
    }
    if (claim > found->meta.reserved_offset)
        found->meta.reserved_offset = claim;
    error = clear_tail(walk, claim > walk->scan.offset);
    return error < 0 ? error : drop_later(walk);
}

/* One write: what was found is the new checkpoint, of a new generation. */
static int settle(struct walk *walk)
{
    struct lt_recovered *found = walk->found;
    struct lt_meta_slot *meta = &found->meta;
    found->pos = walk->scan.pos;
    found->offset = walk->scan.offset;
    found->timestamp_max = walk->scan.timestamp_max;
    if (found->damaged) {
        found->segment_count = walk->at + 1; /* what lies behind stays on the disk, and is not shown */
        return 0;
    }
    meta->clean = 0;
    meta->generation++;
    meta->point_base = walk->scan.base_offset;
    meta->point_pos = found->pos;
    meta->point_offset = found->offset;
    meta->point_timestamp_max = found->timestamp_max;
    meta->window_bytes = walk->settings->window_bytes;
    if (meta->reserved_offset < found->offset)
        meta->reserved_offset = found->offset;
    return lt_meta_write(walk->dir, found->meta_fd, meta);
}

static int walk_from_point(struct walk *walk)
{
    struct lt_recovered *found = walk->found;
    const struct lt_meta_slot *meta = &found->meta;
    int at = find_segment(found, meta->point_base);
    if (at < 0)
        return lt_fail(LEAT_EFAILED, "%s: segment %020" PRIu64 ".log, where its checkpoint is, is missing",
                       walk->dir->path, meta->point_base);
    int error = enter(walk, (uint32_t)at);
    if (error == 0)
        error = lt_scan_open(&walk->scan, walk->dir, &walk->reading, meta->point_pos, meta->point_offset);
    if (error < 0)
        return error;
    walk->scan.generation_max = meta->generation;
    walk->scan.timestamp_max = meta->point_timestamp_max;
    error = walk_batches(walk);
    if (error == 0)
        error = judge(walk);
    if (error == 0)
        error = settle(walk);
    lt_scan_close(&walk->scan);
    return error;
}

/* ---- the beginning ---- */

/* meta first, then the first segment: a log without any has just been born. */
static int give_birth(const struct lt_store_dir *dir, struct lt_recovered *found,
                      const struct lt_recover_settings *settings)
{
    struct lt_segment first = { .base_offset = found->meta.point_base,
                                .size_bytes = settings->segment_bytes,
                                .previous_timestamp_max = INT64_MIN };
    first.fd = lt_segment_make_spare(dir, settings->segment_bytes, settings->zeros);
    if (first.fd < 0)
        return first.fd;
    int error = lt_segment_name_spare(dir, &first, found->meta.generation);
    lt_io_close(dir->io, first.fd);
    if (error == 0)
        error = lt_segment_entries_reserve(&found->segments, 0, &found->segment_capacity);
    if (error == 0)
        found->segments[found->segment_count++] = (struct lt_segment_entry){
            .base_offset = first.base_offset
        };
    return error;
}

static int create_meta(const struct lt_store_dir *dir, const struct lt_recover_settings *settings)
{
    struct lt_meta_slot meta = { .start_offset = settings->first_offset,
                                 .reserved_offset = settings->first_offset,
                                 .point_base = settings->first_offset,
                                 .point_pos = LT_STORE_PAGE,
                                 .point_offset = settings->first_offset,
                                 .point_timestamp_max = INT64_MIN,
                                 .window_bytes = settings->window_bytes };
    return lt_meta_create(dir, &meta);
}

static int open_meta(const struct lt_store_dir *dir, const struct lt_recover_settings *settings,
                     struct lt_recovered *found)
{
    bool absent;
    found->meta_fd = lt_meta_open(dir, &found->meta, &absent);
    if (found->meta_fd >= 0 || !absent)
        return found->meta_fd < 0 ? found->meta_fd : 0;
    if (found->segment_count > 0)
        return lt_fail(LEAT_EFAILED, "%s: %u segments, but no meta", dir->path, found->segment_count);
    if (!(settings->how & LT_RECOVER_CREATE))
        return 1;
    int error = create_meta(dir, settings);
    if (error < 0)
        return error;
    found->meta_fd = lt_meta_open(dir, &found->meta, &absent);
    return found->meta_fd < 0 ? found->meta_fd : 0;
}

static int recover(struct walk *walk)
{
    const struct lt_store_dir *dir = walk->dir;
    struct lt_recovered *found = walk->found;
    bool leftovers = false;
    int result = list_segments(dir, found, &leftovers);
    if (result == 0)
        result = open_meta(dir, walk->settings, found);
    if (result == 0)
        result = tidy(dir, found, leftovers);
    if (result == 0 && found->segment_count == 0 && found->meta.point_pos == LT_STORE_PAGE)
        result = give_birth(dir, found, walk->settings);
    return result == 0 ? walk_from_point(walk) : result;
}

int lt_recover(const struct lt_store_dir *dir, const struct lt_recover_settings *settings,
               struct lt_recovered *found)
{
    *found = (struct lt_recovered){ .meta_fd = -1, .active = { .fd = -1 } };
    struct walk walk = { .dir = dir, .settings = settings, .found = found, .reading = { .fd = -1 } };
    int result = recover(&walk);
    close_fd(dir, &walk.reading.fd);
    if (result != 0)
        lt_recovered_free(dir, found);
    return result;
}

void lt_recovered_free(const struct lt_store_dir *dir, struct lt_recovered *found)
{
    close_fd(dir, &found->meta_fd);
    close_fd(dir, &found->active.fd);
    free(found->segments);
    found->segments = NULL;
}
