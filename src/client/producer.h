/* producer: a handle that sends to one topic, and what its files share.
 *
 *   producer.c   open, close, options; moving between rings; waiting for room
 *   send.c       send, send_to, send_many
 *   claim.c      records written in place
 *   ack.c        what is acknowledged: wait, flush, on_delivered; refusal (ack.h)
 *
 * A producer holds a view of each partition that it has sent to (struct lt_out): the ring of the moment, the limit as last
 * read, and, when it holds the topic exclusively, the tail. All of it is private; what is shared is in the ring.
 *
 * What a death leaves: BUSY claims (repair aborts them, nothing was visible) or COMMITTED ones (repair publishes them).
 * Points at which a fault build can die here, besides those of the ring:
 *   produce.write      claimed, nothing written            produce.write.half   batch: half of the records are written
 *   produce.bell       published, no bell rung yet         produce.bell.after   all done
 *   produce.batch      send_many: between two claims       produce.claim        in place: claimed, the value is the caller's
 *   produce.move       about to attach the next ring       produce.wait         about to wait for room
 *   produce.ack        about to sleep until more is acknowledged
 */
#ifndef LT_CLIENT_PRODUCER_H
#define LT_CLIENT_PRODUCER_H

#include <stdbool.h>
#include <stdint.h>

#include <leat.h>

#include "base/atomic.h"
#include "client/ack.h"
#include "client/bus.h"
#include "client/topic.h"
#include "shm/ring.h"
#include "shm/topic.h"

#define LT_OPEN_CLAIMS 64
#define LT_MANY_WINDOW 4096u /* records that send_many sorts by partition at a time */

/* A partition as one producer sees it. */
struct lt_out {
    struct lt_ring ring;
    struct lt_ring_tail tail;  /* exclusive only */
    struct lt_mapped *mapped;  /* NULL: not attached yet */
    struct lt_partition *part; /* in the page, read-only */
    uint64_t sent_end;         /* behind the last record that this producer sent; 0: none */
    const uint64_t *acked;     /* above level ring: written or durable, in the page */
    uint32_t global;
    bool sealed;                          /* exclusive: this ring was sealed when we came */
    uint64_t slots_high, units_high;      /* three quarters: ask for room from there on */
    uint64_t knocked_offset, knocked_pos; /* the limit for which leatd was asked already */
    uint64_t refused_offset, refused_pos; /* on_full error: the limit for which leatd had its chance */
    int64_t refused_ns;                   /* and when it was last asked again */
};

struct lt_open_claim {
    struct lt_claim claim;
    struct lt_mapped *mapped; /* the producer's reference, or the claims' once that has moved on */
    uint64_t cookie;
    uint32_t partition;
    uint32_t key_size; /* or LT_NULL_SIZE */
    uint64_t value_size;
    bool is_inline;
};

struct leat_producer {
    struct lt_handle handle;
    /* read by every send */
    struct lt_attached *topic;
    struct lt_out *outs;
    const uint16_t *map; /* bucket -> partition, in the page */
    struct lt_bells *bells;
    uint32_t owner;
    uint32_t partition_count;
    uint32_t partitioner;
    uint32_t epoch_max;
    uint32_t next; /* round robin */
    bool exclusive;
    bool refuses; /* on_full error */
    uint64_t record_max;
    leat_delivered_fn *on_delivered;
    void *user;
    struct lt_acks acks;
    leat_producer_options options;
    /* claims in place */
    struct lt_open_claim claims[LT_OPEN_CLAIMS];
    uint64_t open_claims; /* bit i: claims[i] is taken */
    uint64_t cookie;
    /* send_many: lists of a window's records by partition */
    uint32_t *many_next;              /* [LT_MANY_WINDOW] */
    uint32_t *many_first, *many_last; /* [partition_count] */
    uint32_t *many_touched;           /* [partition_count] */
};

#define LT_NOBODY UINT32_MAX

/* Attaches the ring that is claimed in now. 0 or an error. */
int lt_out_attach(leat_producer *p, struct lt_out *out);
/* The claim's slow path: attaches, moves, asks leatd, waits. 0 and a claim, or a negative error. */
int lt_out_claim_slow(leat_producer *p, struct lt_out *out, uint32_t count, uint32_t units,
                      struct lt_claim *claim);
/* Three quarters are in use, by the limit as last read: reads it again, and asks for room once for each limit. */
void lt_out_press(leat_producer *p, struct lt_out *out, const struct lt_claim *claim);
/* Why a record cannot be sent: LEAT_EINVAL or LEAT_ETOOBIG. */
int lt_producer_refuse_record(const leat_producer *p, uint64_t total);
/* The topic is deleted or the bus is gone, or 0. */
int lt_producer_check(const leat_producer *p);
/* The key's partition by a callback. */
int lt_producer_ask_partition(leat_producer *p, const void *key, size_t key_size, uint32_t *partition);
void lt_claims_abort_all(leat_producer *p);
/* Whether a claim in place is open in that ring: then the reference to the ring is the claims'. */
bool lt_claims_hold(const leat_producer *p, const struct lt_mapped *mapped);

/* One try. A condition of the ring, or LT_RING_SEALED for a partition that is not attached yet. */
static inline int lt_out_claim_try(leat_producer *p, struct lt_out *out, uint32_t count, uint32_t units,
                                   struct lt_claim *claim)
{
    if (LT_UNLIKELY(p->exclusive))
        return out->sealed ? LT_RING_SEALED
                           : lt_ring_claim_exclusive(&out->ring, &out->tail, p->owner, count, units,
                                                     p->epoch_max, claim);
    return lt_ring_claim(&out->ring, p->owner, count, units, p->epoch_max, claim);
}

static inline int lt_out_claim(leat_producer *p, struct lt_out *out, uint32_t count, uint32_t units,
                               struct lt_claim *claim)
{
    /* [log.state] relaxed: a partition that fails just now takes this record still, as if it had come before. */
    if (LT_LIKELY(out->mapped != NULL) &&
        LT_LIKELY(lt_load_relaxed32(&out->part->state) == LT_PARTITION_OPEN) &&
        LT_LIKELY(lt_out_claim_try(p, out, count, units, claim) == 0))
        return 0;
    return lt_out_claim_slow(p, out, count, units, claim);
}

/* Behind a commit: bells, the ask for room, counters. */
static inline void lt_out_published(leat_producer *p, struct lt_out *out, const struct lt_claim *claim,
                                    uint64_t bytes)
{
    lt_point("produce.bell");
    out->sent_end = claim->offset + claim->count;
    /* [bell.look] The store-load order is the waiter's to make (bell.h). Nobody listens at all: one load. */
    lt_fence_light();
    if (lt_load_relaxed64(&out->part->bell_summary) != 0) {
        uint32_t woken = lt_partition_ring_bells(out->part, p->bells);
        if (LT_UNLIKELY(woken != 0))
            lt_count(&p->handle, LT_COUNT_WAKES, woken);
    }
    if (LT_UNLIKELY(lt_ring_used_slots(&out->ring, claim) > out->slots_high) ||
        LT_UNLIKELY(lt_ring_used_units(&out->ring, claim) > out->units_high))
        lt_out_press(p, out, claim);
    lt_count(&p->handle, LT_COUNT_SENT_RECORDS, claim->count);
    lt_count(&p->handle, LT_COUNT_SENT_BYTES, bytes);
    lt_point("produce.bell.after");
}

/* The key's partition by xxh3 and the map, or by murmur2. */
uint32_t lt_producer_place(const leat_producer *p, const void *key, size_t key_size);

/* 0 and a partition below partition_count, or what the callback said. */
static inline int lt_producer_choose(leat_producer *p, const void *key, size_t key_size, uint32_t *partition)
{
    if (LT_UNLIKELY(p->partitioner == LEAT_CALLBACK))
        return lt_producer_ask_partition(p, key, key_size, partition);
    if (p->partition_count == 1) {
        *partition = 0;
    } else if (key == NULL || p->partitioner == LEAT_ROUND_ROBIN) {
        *partition = p->next;
        p->next = p->next + 1 == p->partition_count ? 0 : p->next + 1;
    } else {
        *partition = lt_producer_place(p, key, key_size);
    }
    return 0;
}

#endif
