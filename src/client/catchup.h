/* catchup: a partition's log, read where the ring is over: one segment at a time, mapped, batch by batch.
 *
 *     lt_catchup_place(log, offset)
 *     lt_catchup_batch(log, offset, bound)     a checked batch is at hand, or the segment that has the offset has to be
 *                                              asked for (lt_catchup_ask), or nothing lies below the bound
 *     lt_catchup_next(log, offset, &record)    records of it, as views; gaps and markers are stepped over
 *
 * leatd says where an offset is and gives the segment's descriptor: one request a segment. From there on only memory is
 * read. The file is leatd's and has one writer: a batch below `written` never changes again, and a segment that was given
 * to a reader is never cut or used for another, only unlinked; so views stay what they are as long as the segment is mapped.
 * What producers had put into a record is in there as it was: nothing of it is believed before lt_batch_check.
 *
 * A page that cannot be read is an error here, and not a signal: pages are made present before they are touched (secure).
 *
 * What a death leaves: nothing; nothing here is shared.
 */
#ifndef LT_CLIENT_CATCHUP_H
#define LT_CLIENT_CATCHUP_H

#include <stdbool.h>
#include <stdint.h>

#include "client/topic.h"
#include "shm/wire.h"
#include "store/batch.h"

/* Positive conditions. */
enum lt_catchup_condition {
    LT_CATCHUP_END = 1,       /* nothing at or behind the offset lies below the bound */
    LT_CATCHUP_ELSEWHERE = 2, /* not in what is mapped: ask */
    LT_CATCHUP_LATER = 3,     /* leatd has just started: come again */
    LT_CATCHUP_GONE = 4,      /* below the log's start */
};

#define LT_CATCHUP_RETRY_MS 10

struct lt_catchup {
    const struct lt_attached *topic;
    uint32_t partition;
    /* the segment */
    const unsigned char *base; /* NULL: none */
    uint64_t size_bytes;
    uint64_t base_offset;
    uint64_t secured_from, secured; /* pages in between can be touched */
    int fd;                         /* -1 unless pages are secured by reading */
    bool ours;                      /* the file's owner is this process's */
    /* the next batch: where, and its first offset */
    bool placed; /* false: not known */
    bool asked;  /* leatd has just said so: when it is not there, that is damage */
    uint64_t pos, next;
    /* the batch of the moment; NULL: none */
    const struct lt_batch_head *batch;
    uint32_t at; /* of the next record in it */
    /* after LATER */
    bool waits;
    uint32_t acked_seq;
    int64_t retry_ms;
};

/* Tests set it: do as on a kernel that cannot make pages present for us (before 5.14). */
extern bool lt_catchup_reads;

/* One of no segment, or NULL with lt_fail. */
struct lt_catchup *lt_catchup_new(const struct lt_attached *topic, uint32_t partition);
void lt_catchup_free(struct lt_catchup *log);
/* Lets go of the segment: no views are out. */
void lt_catchup_drop(struct lt_catchup *log);

/* Offsets below are in the log and may be seen. */
uint64_t lt_catchup_bound(const struct lt_partition *part);

/* On from that offset, backwards or forwards. */
void lt_catchup_place(struct lt_catchup *log, uint64_t offset);
/* A batch that ends behind `offset`: 0, END, ELSEWHERE; LEAT_EIO, LEAT_EFAILED (damaged), with their place. */
int lt_catchup_batch(struct lt_catchup *log, uint64_t offset, uint64_t bound);
/* The next record of the batch at or behind `offset` that readers see: 1, or 0 behind the last. lt_catchup_take steps over
 * it: without, it comes again. */
static inline int lt_catchup_next(struct lt_catchup *log, uint64_t offset, struct lt_store_record *record,
                                  uint32_t *at)
{
    *at = log->at;
    while (lt_batch_next(log->batch, at, record)) {
        if (record->offset >= offset && record->kind == LT_RECORD_DATA)
            return 1;
        log->at = *at;
    }
    return 0;
}
static inline void lt_catchup_take(struct lt_catchup *log, uint32_t at)
{
    log->at = at;
}

/* Asks leatd for the segment and maps it. No views are out. 0, LATER, GONE, or an error. log->next is what was found: above the
 * offset there is nothing in between. */
int lt_catchup_ask(struct lt_catchup *log, uint64_t offset);
/* After LATER: it is not time to ask again. */
bool lt_catchup_waits(struct lt_catchup *log);
/* The same in two: what leatd answered. The descriptor is taken over. */
int lt_catchup_map(struct lt_catchup *log, int fd, const struct lt_segment_attach_answer *answer);

/* The first record of that time or later at or behind the log's start and below `bound`: 0 and its offset; END: there is none. Waits for
 * a leatd that is starting. */
int lt_catchup_find_time(struct lt_catchup *log, int64_t timestamp_ms, uint64_t bound, uint64_t *offset);

#endif
