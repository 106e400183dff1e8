#include "told.h"

#include "bus.h"
#include "test.h"

static void delivered(const leat_receipt *receipt, int error, void *user)
{
    struct told *told = user;
    CHECK(receipt->partition < TOLD_PARTITIONS);
    CHECK(receipt->offset >= told->next[receipt->partition]);
    told->next[receipt->partition] = receipt->offset + 1;
    told->count++;
    told->failed += error != 0;
    told->error = error != 0 ? error : told->error;
}

leat_producer *told_open(leat_bus *handle, struct told *told)
{
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.on_delivered = delivered;
    options.user = told;
    return open_producer(handle, "t", &options);
}
