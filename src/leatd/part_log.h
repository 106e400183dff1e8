/* part_log: one partition on its way to its log: what is published is copied into staging, appended, and what came of that is told
 * to those who wait. Everything here but the words named below is the persister's thread's.
 *
 *   ring, [copied, ...)  --fill-->  stage  --append-->  flight  --completed-->  page: written, durable, visible
 *
 * The ring is mapped once more here, read-only, so that neither its retirement nor the worker's lock matters while it is
 * copied. Nothing in it is believed: producers can write there at any time. What is copied is what is written, whatever it says;
 * sizes are loaded once and checked, and a slot that makes no sense becomes a gap.
 */
#ifndef LT_LEATD_PART_LOG_H
#define LT_LEATD_PART_LOG_H

#include <pthread.h>

#include "base/atomic.h"
#include "leatd/persister.h"

#define LT_FLIGHTS 8u /* of one partition, syncs and gaps included */
#define LT_STAGE_BYTES (1u << 20)

/* Memory of one batch. */
struct lt_stage {
    struct lt_stage *next;
    unsigned char *bytes;
    size_t capacity;
};

struct lt_stages {
    struct lt_stage *free; /* those of LT_STAGE_BYTES */
    uint32_t free_count;
};

enum lt_log_command {
    LT_LOG_RESUME = 1,
    LT_LOG_CUT = 2,  /* with RESUME */
    LT_LOG_GONE = 4, /* the topic was deleted */
};

enum lt_spare_state { LT_SPARE_NONE = 0, LT_SPARE_ASKED = 1, LT_SPARE_MADE = 2 };

struct lt_part_log {
    struct lt_worker *w;
    struct lt_part *part; /* its topic is held by a reference */
    uint32_t tag;         /* upper half of its tokens */
    bool waits;           /* level above ring: every record counts */
    bool flushes;         /* level durable */
    bool opened;          /* it was tried */
    uint32_t command;    /* [log.command] stored by anybody under the worker's lock, taken by the persister */
    uint32_t pressed;    /* [log.press] the warden wants room that only the log can give: no gathering now */
    uint64_t free_below; /* [log.free] stored by the persister, loaded by the warden */
    bool is_held;        /* the caller of lt_persister_add holds the worker's lock */

    pthread_mutex_t lock; /* over `log`: lt_persister_attach_segment looks for places in it */
    struct lt_plog *log;  /* NULL: not open */

    /* copying */
    struct lt_ring ring;
    void *ring_base;
    uint64_t ring_bytes, ring_twice;
    uint32_t ring_number;
    uint64_t copied;        /* offsets below are in the log, in the batch, or lost */
    uint64_t until;         /* the ring was sealed there for good; UINT64_MAX */
    struct lt_stage *stage; /* the batch that is filled and not appended */
    struct lt_batch batch;
    uint64_t damaged; /* slots that made no sense; the first is logged */

    struct {
        uint64_t token;
        struct lt_stage *stage; /* NULL: a gap or a sync */
        bool is_sync;
    } flights[LT_FLIGHTS];
    uint32_t flight_count, sync_count; /* syncs are among them */
    uint32_t last_bytes;               /* of the batch appended last */
    uint64_t step_bytes, step_offsets; /* of the last step */

    /* what the page says */
    uint32_t segments;
    enum lt_plog_state shown;

    /* when to do what; 0: not */
    int64_t look_ns; /* level ring: records are gathered until then */
    int64_t sync_ns, trim_ns, spare_ns;

    /* the next segment, under the persister's spare_lock */
    enum lt_spare_state spare_state;
    uint64_t spare_bytes;
    bool spare_zeros;
    int spare_fd; /* or LEAT_E... */
    char spare_text[256];
    struct lt_part_log *spare_next;
};

/* Operations that are to be submitted. */
struct lt_ops {
    struct lt_io_op *ops;
    uint32_t count, room;
};

/* Opens the log, or opens it anew. What is wrong stands in the page. */
void lt_part_log_open(struct lt_part_log *l, unsigned how);
/* The same with what lt_data_open_logs has found. */
struct lt_opening;
void lt_part_log_opened(struct lt_part_log *l, const struct lt_opening *opening);
/* With a log: words and state of the page. Before the topic opens, or in the persister's thread. */
void lt_part_log_begin(struct lt_part_log *l, struct lt_plog *log);
/* With nothing under way. next: where it goes on after a start, or UINT64_MAX: as a death leaves it. */
void lt_part_log_close(struct lt_part_log *l, uint64_t next);
/* One look: copies and appends what there is, as far as ops have room. Whether anything was done; *next_ns: when to come again. */
bool lt_part_log_step(struct lt_part_log *l, struct lt_stages *stages, struct lt_ops *ops, int64_t now_ns,
                      int64_t *next_ns);
/* Whether a step would find records. */
bool lt_part_log_ready(const struct lt_part_log *l);
/* When it is looked at again without being woken for it. */
static inline bool lt_part_log_gathers(const struct lt_part_log *l)
{
    return l->look_ns != 0 && lt_load_relaxed32(&l->pressed) == 0;
}
/* Somebody claims behind what is copied, and does not publish. */
bool lt_part_log_blocked(const struct lt_part_log *l);
/* An operation has ended. */
void lt_part_log_completed(struct lt_part_log *l, struct lt_stages *stages, struct lt_ops *ops,
                           const struct lt_io_done *done);
/* After operations have ended: tells the page and those who wait. */
void lt_part_log_tell(struct lt_part_log *l);
/* What was copied and not appended is copied again. */
void lt_part_log_drop_batch(struct lt_part_log *l);
void lt_part_log_free(struct lt_part_log *l);

/* persister.c: the next segment is wanted; the helper makes it, and sets spare_state. */
void lt_persister_ask_spare(struct lt_part_log *l, uint64_t bytes, bool zeros);

#endif
