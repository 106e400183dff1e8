/* plog_inside: struct lt_plog, for the files plog*.c only. */
#ifndef LT_STORE_PLOG_INSIDE_H
#define LT_STORE_PLOG_INSIDE_H

#include "store/plog.h"

/* A place between two batches. */
struct lt_plog_point {
    uint64_t base_offset; /* the segment */
    uint64_t pos;
    uint64_t offset;       /* of the batch behind it */
    int64_t timestamp_max; /* of the segment's records before it */
    uint64_t total;        /* bytes of all batches before it, since the log was opened */
};

/* A batch under way. */
struct lt_plog_entry {
    int fd;
    uint32_t number; /* the lower half of its token */
    uint32_t bytes, done;
    uint32_t tries;
    bool durable; /* done means durable */
    bool complete;
    const unsigned char *from;
    uint64_t pos, first_offset;
    struct lt_plog_point end;
};

/* A segment that is over, open until all of it is durable. */
struct lt_plog_rolled {
    int fd;
    struct lt_plog_point end;
};

struct lt_plog {
    struct lt_store_dir dir;
    struct lt_plog_settings settings;
    char *path;
    enum lt_plog_state state;
    int error;
    char reason[LT_PLOG_TEXT];

    struct lt_meta_slot meta; /* as last written */
    int meta_fd;
    struct lt_segment_entry *segments; /* ascending; the last is the active one */
    uint32_t segment_count, segment_capacity;
    struct lt_segment active;
    struct lt_plog_rolled rolled[LT_PLOG_ROLLED];
    uint32_t rolled_count;
    int spare_fd;
    uint64_t spare_bytes;
    bool has_old;       /* there may be an LT_OLD_NAME, since the last spare */
    uint64_t big_bytes; /* a batch that waits for a spare of its size */

    struct lt_plog_point end, written, durable;
    uint64_t entered_total; /* end.total when the active segment, or the log, was entered */
    uint64_t flushes;       /* since then: times that durable has moved */
    uint64_t next_offset;
    uint64_t cut_bytes;
    int sync_fd; /* of the sync under way, or -1 */
    struct lt_plog_point sync_point;

    struct lt_index index; /* of the active segment; when not complete, from index_from on */
    uint64_t index_from;
    struct lt_index sealed; /* of the one that was last asked for */

    unsigned char gap[128] __attribute__((aligned(64)));
    uint32_t entry_head, entry_count, next_number;
    struct lt_plog_entry entries[]; /* a ring of settings.depth */
};

/* Makes it FAILED, with the text of the last lt_fail as the reason; returns the error. */
int lt_plog_fail(struct lt_plog *log, int error);

#endif
