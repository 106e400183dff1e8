/* cursor: where a consumer is in one partition: the ring it reads, or the log, the position, and its entry in the mailbox, by
 * which leatd knows what is being read (pin) and what is wanted still (keep).
 *
 * Offsets go through rings first_ring..current_ring of the page: ring k holds [base_offset, end_offset). A cursor whose
 * ring was rotated away reads it to its end and goes on in the next one. When leatd drops a retired ring, its gate is used
 * again for a later one, whose numbers are all above: to a cursor that looks like an overrun, and is treated as one.
 *
 * What the rings have no more is in the log, if the topic has one: [log_start, written) of the page. A cursor whose position is
 * there, and below the rings, reads the log (in_log); it pins nothing then.
 */
#ifndef LT_CLIENT_CURSOR_H
#define LT_CLIENT_CURSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "client/catchup.h"
#include "client/topic.h"
#include "shm/mailbox.h"
#include "shm/pin.h"
#include "shm/ring.h"

#define LT_NOWHERE UINT64_MAX /* a position that somebody has to seek first */

struct lt_cursor {
    /* read by every look */
    const struct lt_slot *slot; /* the position's */
    uint64_t want;              /* the published word of a record there */
    uint64_t position;
    bool paused;
    bool beyond; /* sought behind the end: the next poll applies the reset policy */
    bool in_log; /* the position is read from `log`; `slot` then is one that always has something */
    struct lt_ring ring;
    struct lt_mapped *mapped;
    struct lt_partition *part; /* in the page */
    struct lt_reader *entry;   /* in the mailbox */
    struct lt_attached *topic;
    struct lt_catchup *log; /* NULL: never needed so far */
    uint32_t partition;
    uint32_t global;
    uint32_t entry_number;
    uint64_t handed; /* everything below was handed out, sought past or lost; [handed, position) are gaps */
    uint64_t missed;
    /* with a group */
    uint64_t origin; /* where it began */
    uint64_t stored; /* with manual_store: what the next commit takes, or LT_COMMIT_NONE */
    char *stored_metadata;
    uint32_t grant; /* which one leatd gave: wire.h */
    uint32_t fate;  /* while an assignment changes: member.c */
    bool told;      /* on_assigned had it */
    bool lazy;      /* a member's, opened as such: others wait for what it takes over */
    bool noted;     /* the committed offset has a text with it */
    /* rings that the last poll has left, and may have views into */
    struct lt_mapped *left[LT_RINGS];
    uint32_t left_count;
};

/* Takes a mailbox entry and has leatd look at it; the cursor has no position yet. */
int lt_cursor_open(leat_consumer *c, struct lt_attached *topic, uint32_t partition,
                   struct lt_cursor **cursor);
void lt_cursor_close(leat_consumer *c, struct lt_cursor *cursor);
/* The same in two steps, the second for many together: an entry; leatd's look at it. One that is refused is freed, and NULL. */
int lt_cursor_new(leat_consumer *c, struct lt_attached *topic, uint32_t partition, struct lt_cursor **cursor);
void lt_cursors_open(leat_consumer *c, struct lt_cursor **cursors, int *results, uint32_t count);
void lt_cursors_close(leat_consumer *c, struct lt_cursor **cursors, uint32_t count);
/* It has no position any more; its entry stays open, the current ring mapped: standby.h. Its views are over. */
void lt_cursor_rest(struct lt_cursor *cursor);
/* The current rings of members' cursors, where most begin; opening maps them too. What fails here is met again, and said, when a cursor is placed. */
void lt_cursors_map(struct lt_cursor **cursors, uint32_t count);

/* The first offset that can be read, in the log or in a ring. Only loads from the page. */
uint64_t lt_cursor_beginning(const struct lt_cursor *cursor);
/* The same at or behind `offset`: where a reader that fell behind there goes on, which is never backwards. */
uint64_t lt_cursor_first_from(const struct lt_cursor *cursor, uint64_t offset);
/* The rings have no such offset, and the log ends below it: it was given out in an earlier life of the rings, or never, and
 * holds nothing. */
bool lt_cursor_is_gap(const struct lt_cursor *cursor, uint64_t offset);
/* The position is in no ring, and in no part of the log that can be read, because the log has failed: what becomes of it is an
 * operator's to decide, and nothing is skipped before. 0, or the partition's error. */
int lt_cursor_failure(const struct lt_cursor *cursor);
/* The ring has the position, and a margin below it. */
bool lt_cursor_is_caught_up(const struct lt_cursor *cursor);
/* The offset that the next record gets. 0 or an error. */
int lt_cursor_tail(struct lt_cursor *cursor, uint64_t *offset);
/* Behind the last one that can be read: the tail, or where what is acknowledged ends. */
int lt_cursor_end(struct lt_cursor *cursor, uint64_t *offset);
/* The first record stamped at or after the time, or the end. */
int lt_cursor_find_time(struct lt_cursor *cursor, int64_t timestamp_ms, uint64_t *offset);

/* Goes to an offset between beginning and end, in whatever ring it is, or in the log. Views of the log's are over. 0 or an error;
 * or 1: too many rings were left since the last poll: their views come first. */
int lt_cursor_go(struct lt_cursor *cursor, uint64_t offset);
/* Lets go of the rings that were left. */
void lt_cursor_forget(struct lt_cursor *cursor);
/* Over visible gaps, without a pin: only words are looked at. */
void lt_cursor_skip_gaps(struct lt_cursor *cursor);

/* Offsets below may be read, once they are published; UINT64_MAX: all. */
static inline uint64_t lt_cursor_visible(const struct lt_cursor *cursor)
{
    /* [log.visible] acquire: leatd saw the slots below it published. It rings the bells in acked_bells behind its store, so that
     * who arms his bell and then looks here sleeps over nothing. */
    return lt_load_acquire64(&cursor->part->visible);
}

static inline void lt_cursor_place(struct lt_cursor *cursor, uint64_t offset)
{
    uint64_t rel = lt_ring_rel(&cursor->ring, offset);
    cursor->position = offset;
    cursor->slot = lt_ring_slot_at(&cursor->ring, rel);
    cursor->want = lt_slot_word(rel >> cursor->ring.slot_shift, LT_KIND_RECORD);
}

static inline void lt_cursor_unpin(struct lt_cursor *cursor)
{
    lt_point("consume.unpin");
    lt_pin_drop(cursor->entry);
}

#endif
