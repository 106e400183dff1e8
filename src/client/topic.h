/* topic: a topic as this process is attached to it: its page, and the rings of it that are mapped.
 *
 * One struct lt_attached for each topic of a bus, shared by all handles; one struct lt_mapped for each (partition, ring,
 * writable), shared too: a consumer's mapping is read-only, also when the process produces to the same ring. Both are
 * counted references, under the bus's mutex. A ring that was rotated away stays mapped as long as somebody here has
 * views or claims in it; its memory is never used for anything else.
 */
#ifndef LT_CLIENT_TOPIC_H
#define LT_CLIENT_TOPIC_H

#include <stdbool.h>
#include <stdint.h>

#include <leat.h>

#include "base/atomic.h"
#include "shm/ring.h"
#include "shm/topic.h"

/* LAZY is READ for who is in a hurry: pages come as they are touched, some at a time. To map them all takes milliseconds. */
enum lt_map_how { LT_MAP_READ, LT_MAP_LAZY, LT_MAP_WRITE };

struct lt_request;

struct lt_mapped {
    struct lt_mapped *next; /* of the same partition */
    struct lt_attached *topic;
    uint32_t partition;
    uint32_t ring; /* its number */
    bool write;
    uint32_t references;
    uint64_t bytes, twice_bytes;
    struct lt_ring view; /* copied by each user: the limit in it is a cache of the user's */
};

struct lt_attached {
    struct lt_attached *next;
    leat_bus *bus;
    char name[256];
    uint32_t topic_id;
    uint32_t partition_count;
    void *page;
    uint64_t page_bytes;
    const struct lt_topic_head *head; /* in the page */
    uint32_t writers, readers;        /* handles */
    bool exclusive;                   /* one of ours holds it */
    uint64_t ring_size;
    uint64_t record_max;
    struct lt_mapped **mapped; /* [partition_count] */
};

/* Attaches, or takes another reference.
 * Errors: LEAT_ENOTOPIC, LEAT_EPERM, LEAT_EEXCLUSIVE, LEAT_ELIMIT, LEAT_ENOMEM, LEAT_EGONE. */
int lt_attached_open(leat_bus *bus, const char *name, bool write, bool exclusive, struct lt_attached **topic);
/* To read. Another request may travel with the one that this takes: its result goes to *result, which is left alone when this
 * takes none, or has failed before. */
int lt_attached_open_with(leat_bus *bus, const char *name, struct lt_request *other, int *result,
                          struct lt_attached **topic);
void lt_attached_close(struct lt_attached *topic, bool write);

/* The ring of that number. 0, LEAT_EOFFSET (that ring is gone: look at the page again), or an error. */
int lt_attached_map(struct lt_attached *topic, uint32_t partition, uint32_t ring, enum lt_map_how how,
                    struct lt_mapped **mapped);
/* Rings of one bus's topics, LAZY, asked for together, up to 32, behind other requests that travel with them. NULL: not this way;
 * alone it may go, or say why. */
struct lt_ring_wanted {
    struct lt_attached *topic;
    uint32_t partition, ring;
    struct lt_mapped *mapped; /* out: with a reference */
};
void lt_attached_map_all(struct lt_ring_wanted *wanted, uint32_t count, const struct lt_request *others,
                         int *other_results, uint32_t other_count);
/* One more reference. */
void lt_mapped_keep(struct lt_mapped *mapped);
void lt_mapped_drop(struct lt_mapped *mapped);

static inline bool lt_attached_deleted(const struct lt_attached *topic)
{
    /* [topic.state] relaxed: a fact about the future of this topic; nothing else is read because of it. */
    return lt_load_relaxed32(&topic->head->state) != LT_TOPIC_OPEN;
}

/* What its topic's level says takes longer than a store. */
static inline bool lt_is_slow(const struct lt_attached *topic)
{
    return topic->head->level != LEAT_RING;
}

static inline struct lt_partition *lt_attached_partition(const struct lt_attached *topic, uint32_t partition)
{
    return lt_topic_partition(topic->page, partition);
}

#endif
