/* partition: the directory of one log: each of its files, whether they fit together, and what a recovery would do with them. The
 * last is asked of the store's own recovery, over files that stand still. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "dump.h"
#include "store/recover.h"
#include "tree.h"

/* What is known of one of its segments. */
struct part_segment {
    uint64_t base_offset;
    bool has_index;
    struct dump_segment found;
};

struct partition {
    struct dump *dump;
    const char *path;
    int fd;
    struct lt_log_id id;
    bool known; /* id counts */
    bool has_meta, meta_whole;
    struct lt_meta_slot meta;
    struct part_segment *segments; /* ascending */
    uint32_t count, capacity;
};

/* ---- its names ---- */

static int by_base(const void *a, const void *b)
{
    uint64_t left = ((const struct part_segment *)a)->base_offset;
    uint64_t right = ((const struct part_segment *)b)->base_offset;
    return left < right ? -1 : left > right;
}

static bool add_segment(struct partition *part, uint64_t base)
{
    if (part->count == part->capacity) {
        uint32_t capacity = part->capacity ? part->capacity * 2 : 16;
        struct part_segment *more = realloc(part->segments, capacity * sizeof more[0]);
        if (!more) {
            dump_say(part->dump, DUMP_UNREAD, "no memory for a list of %u segments", capacity);
            return false;
        }
        part->segments = more;
        part->capacity = capacity;
    }
    part->segments[part->count++] = (struct part_segment){ .base_offset = base };
    return true;
}

static struct part_segment *find_segment(struct partition *part, uint64_t base)
{
    for (uint32_t i = 0; i < part->count; i++)
        if (part->segments[i].base_offset == base)
            return &part->segments[i];
    return NULL;
}

static void note_other(struct partition *part, const char *name)
{
    size_t size = strlen(name);
    bool unfinished = size > 4 && strcmp(name + size - 4, ".new") == 0;
    out_begin(part->dump, unfinished ? "unfinished" : "other");
    out_text(part->dump, "name", name);
    out_end(part->dump);
}

static void take_names(struct partition *part, const struct tree_names *names)
{
    uint64_t base;
    for (size_t i = 0; i < names->count; i++)
        if (lt_segment_parse(names->names[i], "log", &base) && !add_segment(part, base))
            return;
    if (part->count > 0)
        qsort(part->segments, part->count, sizeof part->segments[0], by_base);
    for (size_t i = 0; i < names->count; i++) {
        struct part_segment *segment = lt_segment_parse(names->names[i], "idx", &base)
                                           ? find_segment(part, base)
                                           : NULL;
        if (segment)
            segment->has_index = true;
        else if (strcmp(names->names[i], LT_META_NAME) == 0)
            part->has_meta = true;
        else if (!lt_segment_parse(names->names[i], "log", &base))
            note_other(part, names->names[i]);
    }
}

/* ---- its files ---- */

static bool open_in(struct partition *part, const char *name, struct dump_file *file, char **path)
{
    *file = (struct dump_file){ .fd = -1, .dir.id = part->id, .known = part->known };
    *path = tree_join(part->dump, part->path, name);
    if (!*path)
        return false;
    part->dump->path = *path;
    return file_open(part->dump, part->path, part->fd, name, file);
}

static void close_in(struct partition *part, struct dump_file *file, char *path)
{
    file_close(part->dump, file);
    free(path);
    part->dump->path = part->path;
}

static void look_at_meta(struct partition *part)
{
    struct dump_file file;
    char *path;
    if (open_in(part, LT_META_NAME, &file, &path) && meta_dump(part->dump, &file, &part->meta)) {
        meta_judge(part->dump, &part->meta);
        part->meta_whole = true;
        part->id = (struct lt_log_id){ part->meta.topic, part->meta.partition };
        part->known = true;
    }
    close_in(part, &file, path);
}

/* What is compared while a segment's batches go by. */
struct fit {
    const struct lt_meta_slot *point; /* its checkpoint lies in here; or NULL */
    bool point_found;
    struct dump_index index;
    uint32_t next;
    uint64_t misfit; /* the first entry that names no batch, + 1 */
};

static void pass_batch(void *arg, const struct lt_batch_head *batch, uint64_t pos, int64_t timestamp_max)
{
    struct fit *fit = arg;
    const struct lt_index_entry *entry = fit->index.entries + fit->next;
    if (fit->point && fit->point->point_pos == pos)
        fit->point_found = fit->point->point_offset == batch->first_offset &&
                           fit->point->point_timestamp_max == timestamp_max;
    if (!fit->index.entries || fit->misfit || fit->next == fit->index.head.entry_count || entry->pos > pos)
        return;
    fit->next++;
    if (entry->pos != pos || entry->offset != batch->first_offset || entry->timestamp_max != timestamp_max)
        fit->misfit = fit->next;
}

/* Said of the index; the segment is whole, and `last` is the one that is written. */
static void judge_index(struct partition *part, const struct fit *fit, const struct dump_segment *segment,
                        bool last)
{
    const struct lt_index_head *head = &fit->index.head;
    /* An end that was torn takes with it what an index of then knew; only the log is put right at once. */
    enum dump_verdict verdict = last ? DUMP_TORN : DUMP_DAMAGED;
    uint64_t misfit = fit->misfit ? fit->misfit : fit->next < head->entry_count ? fit->next + 1ull : 0;
    if (misfit)
        dump_say(part->dump, verdict,
                 "entry %" PRIu64 ", offset %" PRIu64 " at byte %" PRIu64
                 ", is not the log's; it is made again when it is needed",
                 misfit - 1, fit->index.entries[misfit - 1].offset, fit->index.entries[misfit - 1].pos);
    else if (head->end_offset != segment->end_offset || head->end_pos != segment->end_pos ||
             head->timestamp_max != segment->timestamp_max)
        dump_say(part->dump, verdict,
                 "ends at offset %" PRIu64 ", byte %" PRIu64 "; its segment at %" PRIu64 ", %" PRIu64
                 "; it is made again when it is needed",
                 head->end_offset, head->end_pos, segment->end_offset, segment->end_pos);
    else
        dump_say(part->dump, DUMP_OK, "%u entries, all of them batches", head->entry_count);
}

static void load_index(struct partition *part, const struct part_segment *segment, struct dump_index *index)
{
    char name[LT_SEGMENT_NAME_SIZE];
    struct dump_file file;
    char *path;
    *index = (struct dump_index){ 0 };
    if (!segment->has_index)
        return;
    lt_segment_name(name, segment->base_offset, "idx");
    if (open_in(part, name, &file, &path))
        index_dump(part->dump, &file, index);
    close_in(part, &file, path);
}

/* Where a checkpoint lies nothing before it may be anything but whole and in its order. */
static void judge_point(struct partition *part, const struct fit *fit, const struct dump_segment *segment)
{
    const struct lt_meta_slot *meta = fit->point;
    bool at_end = segment->end_pos == meta->point_pos && segment->end_offset == meta->point_offset &&
                  segment->timestamp_max == meta->point_timestamp_max;
    if (fit->point_found || at_end)
        return;
    if (segment->end_pos < meta->point_pos)
        dump_say(part->dump, DUMP_DAMAGED,
                 "no valid batch at %" PRIu64 " for offset %" PRIu64
                 " (%s), before the checkpoint at %" PRIu64,
                 segment->end_pos, segment->end_offset, segment->why, meta->point_pos);
    else
        dump_say(part->dump, DUMP_DAMAGED,
                 "the checkpoint, offset %" PRIu64 " at byte %" PRIu64 ", is not where a batch begins",
                 meta->point_offset, meta->point_pos);
}

static bool holds_point(const struct partition *part, const struct part_segment *segment)
{
    return part->meta_whole && segment->base_offset == part->meta.point_base;
}

/* Said of a segment by the one behind it and by the checkpoint. */
static void judge_segment(struct partition *part, uint32_t i, const struct fit *fit)
{
    const struct dump_segment *found = &part->segments[i].found;
    const struct part_segment *next = i + 1 < part->count ? &part->segments[i + 1] : NULL;
    bool before_point = part->meta_whole && part->segments[i].base_offset < part->meta.point_base;
    if (part->meta_whole && part->segments[i].base_offset < part->meta.start_offset)
        dump_say(part->dump, DUMP_TORN,
                 "lies below the log's start, %" PRIu64 ", and is removed at the next start",
                 part->meta.start_offset);
    else if (before_point && next && found->end_offset != next->base_offset)
        dump_say(part->dump, DUMP_DAMAGED,
                 "ends at offset %" PRIu64 ", byte %" PRIu64 " (%s), and the next one begins at %" PRIu64,
                 found->end_offset, found->end_pos, found->why, next->base_offset);
    else
        segment_judge(part->dump, found);
    if (fit->point)
        judge_point(part, fit, found);
}

static void look_at_segment(struct partition *part, uint32_t i)
{
    struct part_segment *segment = &part->segments[i];
    struct fit fit = { .point = holds_point(part, segment) ? &part->meta : NULL };
    struct dump_watch watch = { .batch = pass_batch, .arg = &fit };
    char name[LT_SEGMENT_NAME_SIZE];
    struct dump_file file;
    char *path;
    load_index(part, segment, &fit.index);
    lt_segment_name(name, segment->base_offset, "log");
    if (open_in(part, name, &file, &path))
        segment_dump(part->dump, &file, &watch, &segment->found);
    if (segment->found.whole) {
        part->id = (struct lt_log_id){ segment->found.head.topic, segment->found.head.partition };
        part->known = true;
        judge_segment(part, i, &fit);
        if (i > 0 && part->segments[i - 1].found.whole &&
            part->segments[i - 1].found.end_offset == segment->base_offset &&
            part->segments[i - 1].found.timestamp_max != segment->found.head.previous_timestamp_max)
            dump_say(part->dump, DUMP_DAMAGED,
                     "says that the latest record before it is of %" PRId64 " ms, which is of %" PRId64,
                     segment->found.head.previous_timestamp_max, part->segments[i - 1].found.timestamp_max);
    }
    close_in(part, &file, path);
    if (fit.index.entries && segment->found.whole) {
        lt_segment_name(name, segment->base_offset, "idx");
        char *index_path = tree_join(part->dump, part->path, name);
        if (index_path) {
            part->dump->path = index_path;
            judge_index(part, &fit, &segment->found, i + 1 == part->count);
        }
        free(index_path);
        part->dump->path = part->path;
    }
    free(fit.index.entries);
}

/* ---- together ---- */

static struct lt_store_dir dir_of(const struct partition *part)
{
    return (struct lt_store_dir){ .io = part->dump->io, .fd = part->fd, .id = part->id, .path = part->path };
}

/* Of a log that grows meanwhile meta may have been read too early: read it again before anything is said. */
static uint64_t reserved_now(const struct partition *part)
{
    struct lt_store_dir dir = dir_of(part);
    struct lt_meta_slot meta;
    bool absent;
    int fd = lt_meta_open(&dir, &meta, &absent);
    if (fd < 0)
        return part->meta.reserved_offset;
    lt_io_close(part->dump->io, fd);
    return meta.reserved_offset;
}

static bool judge_words(struct partition *part)
{
    const struct lt_meta_slot *meta = &part->meta;
    const struct dump_segment *last = part->count > 0 ? &part->segments[part->count - 1].found : NULL;
    unsigned before = part->dump->count[DUMP_DAMAGED];
    if (part->count > 0 && part->segments[0].base_offset > meta->start_offset)
        dump_say(part->dump, DUMP_DAMAGED, "starts at %" PRIu64 ", but its first segment is that at %" PRIu64,
                 meta->start_offset, part->segments[0].base_offset);
    if (last && last->whole && last->end_offset > meta->reserved_offset &&
        last->end_offset > reserved_now(part))
        dump_say(part->dump, DUMP_DAMAGED,
                 "ends at offset %" PRIu64 ", but only those below %" PRIu64 " were reserved",
                 last->end_offset, meta->reserved_offset);
    if (last && last->whole && last->generation > meta->generation)
        dump_say(part->dump, DUMP_DAMAGED, "has batches of generation %" PRIu64 ", and is at %" PRIu64,
                 last->generation, meta->generation);
    if (meta->clean && last && last->whole &&
        (last->end_offset != meta->point_offset || last->end_pos != meta->point_pos))
        dump_say(part->dump, DUMP_DAMAGED, "was closed in order at offset %" PRIu64 ", and ends at %" PRIu64,
                 meta->point_offset, last->end_offset);
    return part->dump->count[DUMP_DAMAGED] == before;
}

/* What the next start would find, and do. `fits`: nothing was said against it so far. */
static void judge_start(struct partition *part, bool fits)
{
    struct lt_store_dir dir = dir_of(part);
    struct lt_recover_settings settings = { 0 };
    struct lt_recovered found;
    int r = lt_recover(&dir, &settings, &found);
    if (r != 0) {
        dump_say(part->dump, dump_verdict_of(r), "a start would fail: %s", dump_why(part->dump));
        return;
    }
    uint32_t kept = 0;
    while (kept < part->count && part->segments[kept].base_offset <= found.active.base_offset)
        kept++;
    if (found.damaged)
        dump_say(part->dump, DUMP_DAMAGED, "a start would refuse to write: %s", found.why);
    else if (found.cut_bytes > 0 || kept < part->count)
        dump_say(part->dump, DUMP_TORN,
                 "a start would go on at offset %" PRIu64 ", write zeros over %" PRIu64
                 " bytes from byte %" PRIu64 " of segment %" PRIu64 ", and remove %u segments",
                 found.offset, found.cut_bytes, found.pos, found.active.base_offset, part->count - kept);
    else if (fits)
        dump_say(part->dump, DUMP_OK, "%u segments, offsets %" PRIu64 "..%" PRIu64 ", %s", part->count,
                 part->meta.start_offset, found.offset,
                 part->meta.clean ? "closed in order" : "open or not closed in order, nothing is torn");
    lt_recovered_free(&dir, &found);
}

static void judge(struct partition *part)
{
    if (!part->has_meta)
        dump_say(part->dump, DUMP_DAMAGED, "%u segments, but no meta", part->count);
    if (!part->meta_whole)
        return; /* said */
    bool fits = judge_words(part);
    if (part->count == 0 && part->meta.point_pos == LT_STORE_PAGE)
        dump_say(part->dump, DUMP_OK, "a log that was born and has no segment yet");
    else
        judge_start(part, fits);
}

void partition_dump(struct dump *dump, const char *path, int fd, const struct tree_names *names,
                    const struct tree_expect *expect)
{
    struct partition part = { .dump = dump, .path = path, .fd = fd };
    dump->path = path;
    take_names(&part, names);
    if (part.has_meta)
        look_at_meta(&part);
    if (part.meta_whole && expect &&
        ((expect->topic_known && part.id.topic != expect->topic) ||
         (expect->partition_known && part.id.partition != expect->partition)))
        dump_say(dump, DUMP_DAMAGED,
                 "is the log of topic %016" PRIx64 " partition %u, and lies where %016" PRIx64 ", %u belongs",
                 part.id.topic, part.id.partition, expect->topic_known ? expect->topic : part.id.topic,
                 expect->partition_known ? expect->partition : part.id.partition);
    for (uint32_t i = 0; i < part.count; i++)
        look_at_segment(&part, i);
    judge(&part);
    free(part.segments);
}
