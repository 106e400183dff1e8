/* told: what a producer's on_delivered was told: each record once, in order, up to TOLD_PARTITIONS partitions. */
#ifndef TESTS_TOLD_H
#define TESTS_TOLD_H

#include "leat.h"

#include <stdint.h>

enum { TOLD_PARTITIONS = 4 };

struct told {
    uint64_t next[TOLD_PARTITIONS]; /* the offset that comes next, at the earliest */
    uint64_t count, failed;
    int error;
};

/* A producer of topic t that tells it. */
leat_producer *told_open(leat_bus *handle, struct told *told);

#endif
