/* ack: what is acknowledged of what a producer sent: wait, flush, on_delivered; and why a partition takes nothing.
 *
 * A partition's page says how far its log has come, in two words that only grow: all below `written` is with the kernel,
 * all below `durable` on the disk. Which of them counts is the topic's level, or the producer's own where that is higher. leatd's
 * persister stores them, then adds 1 to acked_seq and wakes [log.acked].
 *
 *   wait, flush    spin for spin_us, then sleep on acked_seq, 100 ms at a time: a worker that died costs a look
 *   on_delivered   above level ring what was sent stands in a queue of its partition, as ranges of offsets, until it is
 *                  acknowledged, or the partition has failed; calls on the handle take it from there
 *   refusal        a partition that is not OPEN takes no claim: error and reason are the page's
 *
 * What a death leaves: a client's, nothing: all of this is private. The worker's: words that stand still until the next one has
 * opened the log; whoever waits goes on waiting.
 */
#ifndef LT_CLIENT_ACK_H
#define LT_CLIENT_ACK_H

#include <stdbool.h>
#include <stdint.h>

#include <leat.h>

struct lt_out;

struct lt_sent {
    uint64_t first, count; /* offsets, one behind the other */
};

/* Of one partition: ranges[head..head + count), by offset. There is always room for one more behind them. */
struct lt_unacked {
    struct lt_sent *ranges;
    uint32_t head, count, room;
    bool waits; /* in `waiting` */
};

struct lt_acks {
    enum leat_level level;      /* what wait and flush wait for */
    struct lt_unacked *unacked; /* [partition_count], with on_delivered above level ring; else NULL */
    uint32_t *waiting;          /* partitions that have something in there */
    uint32_t waiting_count;
    uint32_t turn; /* who of them is looked at first */
};

/* options.level and the topic's: 0 or LEAT_EINVAL, LEAT_ENOMEM. The producer's partitions are made. */
int lt_ack_open(leat_producer *p);
void lt_ack_free(leat_producer *p);
/* Behind a publication, with on_delivered: calls it at once at level ring; else notes what was sent, and tells. */
void lt_ack_sent(leat_producer *p, uint32_t partition, uint64_t first, uint32_t count);
/* Calls on_delivered for what has been acknowledged since, or has failed, of some partitions. Leaves the thread's last error. */
void lt_ack_tell(leat_producer *p);
/* Everything sent has reached its level: 0 or an error. The handle is entered. */
int lt_ack_flush(leat_producer *p, int64_t timeout_ms);
/* The end: whatever is not acknowledged ends with this error. */
void lt_ack_end(leat_producer *p, int error);
/* Why this partition takes nothing: an error with a message; 0: it does after all. */
int lt_ack_refusal(const leat_producer *p, const struct lt_out *out);

#endif
