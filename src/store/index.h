/* index: where in a segment an offset or a time is, to within `step` bytes. A hint that is checked: whoever follows it
 * looks at the batch that is there, and has it made again from the log when that is not the right one. */
#ifndef LT_STORE_INDEX_H
#define LT_STORE_INDEX_H

#include "store/segment.h"

#define LT_INDEX_STEP (16u << 10)

struct lt_index {
    uint32_t step; /* bytes between entries; 0: LT_INDEX_STEP */
    uint64_t base_offset;
    uint64_t end_offset, end_pos; /* of what it knows of */
    int64_t timestamp_max;
    bool complete; /* it knows of all batches from the segment's first to end_pos */
    uint32_t count, capacity;
    struct lt_index_entry *entries;
};

/* Room for a segment of that size. 0 or LEAT_ENOMEM. */
int lt_index_reserve(struct lt_index *index, uint64_t size_bytes);
void lt_index_free(struct lt_index *index);
void lt_index_reset(struct lt_index *index, uint64_t base_offset);
/* The next batch, which begins at pos. */
void lt_index_note(struct lt_index *index, const struct lt_batch_head *batch, uint64_t pos);
/* The last entry at or below the offset, or whose batches up to it are all older than the time: where to begin to look. NULL:
 * at the segment's first batch. */
const struct lt_index_entry *lt_index_by_offset(const struct lt_index *index, uint64_t offset);
const struct lt_index_entry *lt_index_by_time(const struct lt_index *index, int64_t timestamp_ms);

/* Not synced: one that is lost or torn is made again. 0 or an error, which nobody needs to mind. */
int lt_index_write(const struct lt_store_dir *dir, const struct lt_index *index);
/* 1, or 0: absent, of another format, damaged, or of another segment. */
int lt_index_read(const struct lt_store_dir *dir, uint64_t base_offset, uint64_t size_bytes,
                  struct lt_index *index);
/* What the head's `hash` has to be. */
uint64_t lt_index_hash(const struct lt_index_head *head, const struct lt_index_entry *entries);
/* From the log, up to the first batch that is not valid or the offset `end`. */
int lt_index_make(const struct lt_store_dir *dir, const struct lt_segment *segment, uint64_t end,
                  struct lt_index *index);

#endif
