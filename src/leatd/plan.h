/* plan: what a topic that is to be made is to be, and whether it may be. */
#ifndef LT_LEATD_PLAN_H
#define LT_LEATD_PLAN_H

#include "leatd/worker.h"

struct lt_topicfile;

struct lt_plan {
    char name[256];
    uint32_t partitions, on_full, partitioner, mode, level;
    uint32_t log; /* 1: it has one */
    uint64_t ring_size;
    uint64_t segment_bytes, retention_bytes;
    int64_t retention_ms;
    uint64_t page_bytes, ring_bytes, memory_bytes;
    uint64_t created_ms;
    uint64_t log_id;     /* 0 without a log */
    const uint16_t *map; /* of a topic that is restored; NULL: the first one */
    uint32_t map_epoch;
    uint32_t uid, gid;
    uint64_t token; /* of the request; 0: none */
};

/* From a request: takes the configuration's values where it says none (see struct lt_topic_create). 0 or an error with a message. */
int lt_plan_make(struct lt_worker *w, const struct lt_peer *peer, const struct lt_topic_create *request,
                 struct lt_plan *plan);
/* From a topic's settings on the disk, which have been checked. plan->map points into them. */
void lt_plan_restore(const struct lt_topicfile *file, struct lt_plan *plan);
/* Under the lock: the limits of the bus and of its user. 0 or LEAT_ELIMIT. */
int lt_plan_check_limits(struct lt_worker *w, const struct lt_plan *plan);
/* Whether the machine has the memory. 0 or LEAT_ENOMEM. */
int lt_plan_check_memory(const struct lt_plan *plan);
int lt_plan_check_retention(const char *name, int64_t bytes, int64_t ms);
/* The owner that a peer may give to a topic. 0 or LEAT_EINVAL, LEAT_EPERM. */
int lt_plan_owner(const struct lt_peer *peer, const char *owner, uint32_t *uid, uint32_t *gid);

#endif
