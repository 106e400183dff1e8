/* maker: a thread for what takes long and must not keep the control thread from its clients: the memory and the files of
 * topics, taken and given back, and the looking up of owners' names. */
#ifndef LT_LEATD_MAKER_H
#define LT_LEATD_MAKER_H

#include "leatd/worker.h"

enum lt_job_kind {
    LT_JOB_CREATE, /* the request */
    LT_JOB_DELETE, /* request.name: a topic with a log */
    LT_JOB_ALTER,  /* alter */
    LT_JOB_RESUME, /* resume */
    LT_JOB_SEGMENT, /* part, whose topic is held; segment, then place and fd: it may have to look far into a file */
    LT_JOB_RELEASE,   /* the topic: unmaps, drops, frees, and removes its files */
    LT_JOB_DROP_RING, /* drop_... */
    LT_JOB_SWEEP,     /* what the last bus left half done in the data directory */
};

struct lt_job {
    struct lt_job *next;
    enum lt_job_kind kind;
    struct lt_topic *release;
    void *drop_base;
    uint64_t drop_bytes, drop_ring_id;
    uint32_t conn_index, conn_generation;
    struct lt_msg head; /* of the request, for its answer */
    struct lt_topic_create request;
    struct lt_topic_alter alter;
    struct lt_topic_resume resume;
    struct lt_part *part;
    struct lt_segment_attach segment;
    struct lt_segment_attach_answer place;
    int fd;                        /* of SEGMENT; -1: none */
    struct lt_topic_attach attach; /* name not "": a create on first use; attach when it is done */
    struct lt_peer peer;
    uint64_t token;
    int result;
    char text[LT_MSG_TEXT];
};

int lt_maker_start(struct lt_worker *w);
void lt_maker_stop(struct lt_worker *w);
/* After that: what has come up since is done here. */
void lt_maker_drain(struct lt_worker *w);
/* Takes the job; a client's comes back through lt_maker_done. */
void lt_maker_add(struct lt_worker *w, struct lt_job *job);
/* The next finished one, or NULL. w->wake_fd tells when there is one. */
struct lt_job *lt_maker_done(struct lt_worker *w);
void lt_job_free(struct lt_job *job);

#endif
