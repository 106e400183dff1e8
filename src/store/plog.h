/* plog: one partition's log: what is appended, what of it is acknowledged, where what is.
 *
 * One thread at a time. The log never waits for a batch: `append` says what is to be written where, the caller submits that
 * with others' (lt_io_submit), and tells the log what came of it. Batches may be under way side by side and end in any order;
 * `written` and `durable` move only over an unbroken run of batches that are done.
 *
 *     lt_batch_start / lt_batch_add ...           records are copied into staging
 *     lt_plog_append(log, &batch, &op)            0: submit op; the staging is the log's until it is completed
 *     lt_io_submit(io, &op, 1) ... lt_io_reap
 *     lt_plog_completed(log, token, result, &op)  0, or 1: submit op once more (a short write)
 *     lt_plog_acked(log)                          offsets below are acknowledged at the log's level
 *
 * What always holds
 *  - start <= durable <= written <= end <= reserved; each only grows. Whatever fails, durable and written stand still from
 *    then on: FAILED is left only by closing and opening again, which reads what the disk really has.
 *  - Whoever gives out offsets has reserved them first (lt_plog_reserve). After a loss `next` is at or above all that were
 *    given out, and the log goes on there by way of a gap (lt_plog_skip).
 *  - A segment is ready before it is needed: whoever sees lt_plog_wants_spare gets one, or the log is FULL, of which senders
 *    are told while there still is room for what was promised.
 *
 *  - At level `durable` a batch alone is one write with RWF_DSYNC. What comes while others are not durable yet is only written,
 *    and lt_plog_sync flushes all of it: group commit, at whatever size the disk's speed makes of it.
 *
 * What a death leaves: see recover.h. No clock, no allocation but in open, roll (its list of segments) and find.
 */
#ifndef LT_STORE_PLOG_H
#define LT_STORE_PLOG_H

#include "store/index.h"
#include "store/recover.h"

#define LT_PLOG_SEGMENT_BYTES (16ull << 20)
#define LT_PLOG_FIRST_BYTES (256ull << 10)
#define LT_PLOG_WINDOW_BYTES (256ull << 10)
#define LT_PLOG_BULK_BYTES \
    (256ull << 10) /* a flush: what a second write of them costs is more than metadata */
#define LT_PLOG_TEXT 256
#define LT_PLOG_ROLLED 8 /* segments that are over and not durable yet */

enum lt_plog_level { LT_PLOG_WRITTEN = 1, LT_PLOG_DURABLE = 2 };

enum lt_plog_state {
    LT_PLOG_OPEN = 0,
    LT_PLOG_FULL = 1,   /* no room for the next segment: LEAT_ENOSPC to senders; prepare again */
    LT_PLOG_FAILED = 2, /* LEAT_EIO or LEAT_EFAILED to senders; open again with recovery */
};

/* Positive conditions. */
enum lt_plog_condition {
    LT_PLOG_BUSY = 1,    /* as much is under way as may be: reap first */
    LT_PLOG_SYNC = 2,    /* too much is written and not durable: lt_plog_sync first */
    LT_PLOG_NO_ROOM = 3, /* the next segment is not there: lt_plog_prepare */
    LT_PLOG_NOTHING = 4, /* nothing to do; or nothing there yet */
    LT_PLOG_TOO_BIG = 5, /* the caller's memory is too small for the batch: its size is in the cursor */
};

struct lt_plog_settings {
    struct lt_log_id id;
    uint64_t first_offset;  /* of a log that is created */
    uint64_t segment_bytes; /* 0: LT_PLOG_SEGMENT_BYTES; rounded up to pages */
    uint64_t
        first_bytes; /* of a log's first segment; each next is twice as large, up to segment_bytes. 0: 256 KiB */
    uint64_t reserve_step; /* offsets reserved at once; 0: 2^20 */
    uint64_t
        window_bytes; /* not durable at once, to begin with (it grows): what recovery looks at; 0: 256 KiB */
    uint32_t index_step; /* bytes of log an entry of the index; 0: 16 KiB */
    enum lt_plog_level level;
    uint32_t depth; /* batches under way; 0: 64 */
    uint32_t tag;   /* the upper half of its tokens: whose they are */
};

/* Where a batch begins. */
struct lt_plog_place {
    uint64_t base_offset; /* its segment */
    uint64_t pos;
    uint64_t offset; /* its first */
};

struct lt_plog_cursor {
    struct lt_plog_place place; /* the next batch */
    struct lt_segment segment;  /* fd -1: not open */
    uint64_t need_bytes;
};

struct lt_plog;

/* Recovers and opens; `how` as in recover.h. 0, or 1 (no log here), or an error. A damaged log is opened too, FAILED: it can be
 * read up to where it is damaged. `path` is copied, dir->io and the directory's descriptor stay the caller's. */
int lt_plog_open(struct lt_io *io, int dir_fd, const char *path, const struct lt_plog_settings *settings,
                 unsigned how, struct lt_plog **log);
/* Closes, with nothing under way. next_offset: the first offset that was never given out; the next start goes on there without a
 * scan. A log that is FAILED, or of which something is not durable and cannot be made so, is closed as a death leaves it, and the
 * error is returned. */
int lt_plog_close(struct lt_plog *log, uint64_t next_offset);
/* As a death leaves it. */
void lt_plog_abandon(struct lt_plog *log);

/* Of the tokens of all operations to come; with nothing under way. */
void lt_plog_set_tag(struct lt_plog *log, uint32_t tag);

enum lt_plog_state lt_plog_state(const struct lt_plog *log);
int lt_plog_error(
    const struct lt_plog *log); /* FAILED: LEAT_EIO or LEAT_EFAILED; FULL: LEAT_ENOSPC; else 0 */
const char *lt_plog_reason(const struct lt_plog *log); /* path, step, errno */
uint64_t lt_plog_start(const struct lt_plog *log);
uint64_t lt_plog_end(const struct lt_plog *log); /* what is appended next begins here */
uint64_t lt_plog_written(const struct lt_plog *log);
uint64_t lt_plog_durable(const struct lt_plog *log);
uint64_t lt_plog_acked(const struct lt_plog *log);
uint64_t lt_plog_next(
    const struct lt_plog *log); /* after open: offsets below may have been given out in an earlier life */
uint32_t lt_plog_under_way(const struct lt_plog *log);
uint64_t lt_plog_cut_bytes(const struct lt_plog *log); /* that recovery wrote over */

/* Offsets below `upto` may be given out from now on: quick unless it is a step further. 0 or an error. */
int lt_plog_reserve(struct lt_plog *log, uint64_t upto);

/* batch->first_offset is lt_plog_end. 0 and *op; BUSY, SYNC, NO_ROOM; LEAT_EFAILED/EIO, LEAT_ETOOBIG. A roll happens in here
 * and waits for the disk (some 0.3 ms a segment). */
int lt_plog_append(struct lt_plog *log, struct lt_batch *batch, struct lt_io_op *op);
/* Appends a gap up to `offset`: those below were given out and are lost. As append; NOTHING when the end is there already. */
int lt_plog_skip(struct lt_plog *log, uint64_t offset, struct lt_io_op *op);
/* A sync of what is written and not durable: 0 and *op; NOTHING; BUSY (one is under way). At level `durable` at once, and again
 * whenever one has ended: only a batch that found all before it durable is so by itself. */
int lt_plog_sync(struct lt_plog *log, struct lt_io_op *op);
/* What came of an op. 0; 1: submit *again; or the error that made the log FAILED. */
int lt_plog_completed(struct lt_plog *log, uint64_t token, int64_t result, struct lt_io_op *again);
/* Says that all up to the durable offset needs no look at the next start. Some 0.1 ms; for when little happens. */
int lt_plog_checkpoint(struct lt_plog *log);

/* Bytes of the spare that is wanted, and how it is made; or 0: not before half of the segment is used, so that a partition which is idle has none. */
uint64_t lt_plog_wants_spare(const struct lt_plog *log, bool *zeros);
/* Makes it: 0, LEAT_ENOSPC (FULL), or an error (FAILED). */
int lt_plog_prepare(struct lt_plog *log);
/* The same in two halves, so that a helper thread does the slow one, with an lt_io of its own:
 *     fd = lt_segment_make_spare(lt_plog_dir(log), bytes, zeros);   lt_plog_give_spare(log, fd, bytes) */
struct lt_store_dir lt_plog_dir(const struct lt_plog *log);
int lt_plog_give_spare(struct lt_plog *log, int fd, uint64_t bytes);

/* The batch that holds the offset, or the next one after a gap. 0; NOTHING (at or above written); LEAT_EOFFSET (below start);
 * LEAT_EIO, LEAT_EFAILED. */
int lt_plog_find(struct lt_plog *log, uint64_t offset, struct lt_plog_place *place);
/* The first batch with a record of that time or later. 0, NOTHING, or an error. */
int lt_plog_find_time(struct lt_plog *log, int64_t timestamp_ms, struct lt_plog_place *place);

/* Reads and checks the batch at the cursor, and moves it. 0; NOTHING; TOO_BIG; LEAT_EIO; LEAT_EFAILED: it is damaged. */
void lt_plog_cursor_start(struct lt_plog_cursor *cursor, const struct lt_plog_place *place);
int lt_plog_read(struct lt_plog *log, struct lt_plog_cursor *cursor, void *bytes, size_t capacity);
void lt_plog_cursor_end(struct lt_plog *log, struct lt_plog_cursor *cursor);

/* Somebody else gets a descriptor of the segment of `base_offset`: it is never recycled. */
void lt_plog_lend(struct lt_plog *log, uint64_t base_offset);
/* Removes whole segments from the start (one that nobody else has seen may become the next spare) while keep_bytes are left in what stays (UINT64_MAX: no matter), or all records of the
 * first are older than keep_after_ms (INT64_MIN: no matter); never the last. How many, or an error: then the log is FAILED, or
 * (an unlink failed) some files stay until the next start. */
int lt_plog_trim(struct lt_plog *log, uint64_t keep_bytes, int64_t keep_after_ms);
uint64_t lt_plog_bytes(struct lt_plog *log); /* of all its segments' files */
uint32_t lt_plog_segments(const struct lt_plog *log);

#endif
