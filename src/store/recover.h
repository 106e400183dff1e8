/* recover: from what a death or a power loss left to a log that can be appended to. Every step may be the last one that is
 * done: the next recovery starts over and comes to the same end.
 *
 *  1. what has no name yet (spare, temporary files) and what was trimmed is removed;
 *  2. from the checkpoint on, batches are checked one after the other, past the page cache, which after a failed sync shows
 *     bytes that the disk does not have. What is only in the cache is made durable first: a worker that died had not lost it;
 *  3. at the first that is not valid: does a whole batch behind it say that more than that was durable? Then this is damage: the
 *     log is readable up to there and FAILED, nothing is changed, and an operator decides (LT_RECOVER_CUT). If not, it is the torn
 *     end of what nobody was told is durable: it is overwritten with zeros, later segments are removed;
 *  4. the end becomes the checkpoint, and the generation grows, in one write.
 * Behind the first bad byte no more than `window_bytes` are looked at: further away nothing was ever written.
 */
#ifndef LT_STORE_RECOVER_H
#define LT_STORE_RECOVER_H

#include "store/meta.h"

#define LT_RECOVER_CREATE 1u /* a directory that is empty becomes a log */
#define LT_RECOVER_CUT \
    2u /* an operator's word: damage is cut off like a torn end; the offsets are not used again */

struct lt_recover_settings {
    uint64_t first_offset;  /* of a log that is created */
    uint64_t segment_bytes; /* the same: of its first segment */
    bool zeros;             /* the same: as lt_segment_make_spare */
    uint64_t window_bytes;  /* of the new generation, to begin with */
    unsigned how;
};

/* A segment of the list: what is known of it. */
struct lt_segment_entry {
    uint64_t base_offset;
    uint64_t size_bytes;   /* 0: not known yet */
    int64_t timestamp_max; /* meaningful when known */
    bool known;
    bool own; /* made in this life, and lent to nobody: nobody else has it mapped */
};

struct lt_recovered {
    struct lt_meta_slot meta;
    int meta_fd;
    struct lt_segment_entry *segments; /* ascending; malloc */
    uint32_t segment_count, segment_capacity;
    struct lt_segment active; /* open for writing */
    uint64_t pos, offset;     /* the end */
    int64_t timestamp_max;    /* of the active segment's records */
    uint64_t cut_bytes;       /* of the torn end, as far as it was not zero */
    bool damaged;             /* see why; nothing was changed, and `active` is only to be read */
    char why[256];
};

/* 0; 1: there is no log here and CREATE was not asked; or LEAT_EIO, LEAT_ENOSPC, LEAT_EVERSION, LEAT_EFAILED (not even
 * readable), LEAT_ENOMEM. */
int lt_recover(const struct lt_store_dir *dir, const struct lt_recover_settings *settings,
               struct lt_recovered *found);
void lt_recovered_free(const struct lt_store_dir *dir, struct lt_recovered *found);
/* Room for one more in the list. */
int lt_segment_entries_reserve(struct lt_segment_entry **entries, uint32_t count, uint32_t *capacity);

#endif
