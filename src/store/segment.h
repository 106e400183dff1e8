/* segment: one file of a log: made whole, reading as zeros, then named, then filled with batches; and the scan that
 * walks its batches, believing nothing that it has not checked.
 *
 * A segment is made in two steps. The *spare* (slow: space is taken, so that a full disk shows here, before
 * anything is promised) has no offset yet. *Naming* it (quick) writes its head, renames it, and syncs the directory, in that
 * order: a file that bears a segment's name is a whole one.
 */
#ifndef LT_STORE_SEGMENT_H
#define LT_STORE_SEGMENT_H

#include <stdbool.h>

#include "store/batch.h"
#include "store/io.h"

#define LT_SEGMENT_NAME_SIZE 32
#define LT_SPARE_NAME "spare.new"
#define LT_OLD_NAME "old.new" /* a segment that was trimmed: the next spare, when it has the size */

/* A partition's directory. */
struct lt_store_dir {
    struct lt_io *io;
    int fd;
    struct lt_log_id id;
    const char *path; /* for messages only */
};

struct lt_segment {
    uint64_t base_offset;
    uint64_t size_bytes;
    int64_t previous_timestamp_max;
    int fd;
};

void lt_segment_name(char name[LT_SEGMENT_NAME_SIZE], uint64_t base_offset, const char *ending);
/* Whether it is the name of a segment or of its index (`ending`), and whose. */
bool lt_segment_parse(const char *name, const char *ending, uint64_t *base_offset);

/* A new spare: its descriptor, or LEAT_ENOSPC (full: nothing is left of it; try again when there is room), or another error.
 * zeros: they are written, not only promised by the file system (see fill_spare). Touches only LT_SPARE_NAME and LT_OLD_NAME; what
 * an old one holds are batches of other offsets, which are invalid in the new one. */
int lt_segment_make_spare(const struct lt_store_dir *dir, uint64_t size_bytes, bool zeros);
/* Gives the spare its head and its name. segment->fd is the spare's. 0, LEAT_ENOSPC (it is a spare still), or an error: then
 * nobody knows what is on the disk. */
int lt_segment_name_spare(const struct lt_store_dir *dir, const struct lt_segment *segment,
                          uint64_t generation);
/* Opens by name, checks the head. 0; LEAT_EVERSION (newer than this program), LEAT_EFAILED (damaged), LEAT_EIO. */
int lt_segment_open(const struct lt_store_dir *dir, uint64_t base_offset, int flags,
                    struct lt_segment *segment);
/* The head of a file of that name and size. 0, LEAT_EVERSION or LEAT_EFAILED. */
int lt_segment_check(const struct lt_store_dir *dir, const char *name, const struct lt_segment_head *head,
                     uint64_t base_offset, uint64_t size);

/* --- scan --- */

/* Walks the batches of a file through a window of its own. All but `generation_max` is the scan's. */
struct lt_scan {
    const struct lt_store_dir *dir;
    int fd;
    uint64_t base_offset, size_bytes;
    uint64_t pos, offset;    /* where the next batch is expected, and with which first offset */
    uint64_t generation;     /* of the last one */
    uint64_t generation_max; /* none is above */
    int64_t timestamp_max;   /* of all before pos */
    const char *why;         /* why there is no batch at pos */
    unsigned char *window;   /* page aligned, so that direct reads work */
    size_t capacity;
    uint64_t window_at, window_size;
};

int lt_scan_open(struct lt_scan *scan, const struct lt_store_dir *dir, const struct lt_segment *segment,
                 uint64_t pos, uint64_t offset);
void lt_scan_close(struct lt_scan *scan);
/* Goes on in another file; the window's memory stays. */
void lt_scan_move(struct lt_scan *scan, const struct lt_segment *segment, uint64_t pos, uint64_t offset);
/* 1 and the batch (valid until the next call), the scan being behind it; 0: none that is valid and in order, see `why`;
 * LEAT_EIO, LEAT_ENOMEM. */
int lt_scan_next(struct lt_scan *scan, const struct lt_batch_head **batch);
/* Goes on from `from` for whole batches wherever they lie, whatever their offsets: 1, 0 (none up to the end), or an error.
 * *at is where. For judging what lies behind a bad one. */
int lt_scan_any(struct lt_scan *scan, uint64_t from, const struct lt_batch_head **batch, uint64_t *at);
/* Where the first byte at or above `from` is that is not zero; size_bytes when there is none. Or an error. */
int lt_scan_first_nonzero(struct lt_scan *scan, uint64_t from, uint64_t *at);

#endif
