/* ack: see ack.h. */
#include "client/ack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/futex.h"
#include "client/producer.h"

#define NS_PER_MS 1000000ll
#define SLEEP_NS (100 * NS_PER_MS) /* one step of a wait */
#define LOOKS 16u                  /* partitions that a call looks at for on_delivered */
#define RANGES_AT_FIRST 8u

/* --- refusal --- */

int lt_ack_refusal(const leat_producer *p, const struct lt_out *out)
{
    char reason[LT_REASON_MAX];
    uint32_t state;
    int error = lt_partition_refusal(out->part, &state, reason);
    return error == 0
               ? 0
               : lt_fail(error, "%s: partition %u: %s", p->topic->name, (uint32_t)(out - p->outs), reason);
}

/* A failed partition acknowledges nothing any more. */
static int failure(const leat_producer *p, const struct lt_out *out)
{
    char reason[LT_REASON_MAX];
    uint32_t state;
    int error = lt_partition_refusal(out->part, &state, reason);
    return error == 0 || state != LT_PARTITION_FAILED
               ? 0
               : lt_fail(error, "%s: partition %u: %s", p->topic->name, (uint32_t)(out - p->outs), reason);
}

/* --- waiting --- */

/* Until acked_seq is no longer `seq`: spins until spin_until_ns, then sleeps, a step at most: what is over is seen between two. */
static void wait_a_step(leat_producer *p, const struct lt_out *out, uint32_t seq, int64_t spin_until_ns,
                        int64_t deadline_ns)
{
    int64_t now_ns = lt_clock_mono_ns();
    int64_t until_ns = deadline_ns - now_ns < SLEEP_NS ? deadline_ns : now_ns + SLEEP_NS;
    while (now_ns < spin_until_ns && now_ns < until_ns) {
        for (int i = 0; i < 16; i++) {
            if (lt_load_acquire32(&out->part->acked_seq) != seq)
                return;
            lt_relax();
        }
        now_ns = lt_clock_mono_ns();
    }
    bool is_over = now_ns >= until_ns;
    if (!is_over) {
        lt_point("produce.ack");
        is_over = lt_futex_wait(&out->part->acked_seq, seq, until_ns - now_ns) == -ETIMEDOUT;
    }
    /* A claim of somebody who stands still may be in the way of ours: leatd watches it from a knock on. */
    if (is_over)
        lt_bells_knock(p->bells, out->global);
}

/* Until everything below `end` is acknowledged. 0 or an error. */
static int wait_for(leat_producer *p, const struct lt_out *out, uint64_t end, int64_t deadline_ns)
{
    int64_t spin_us = p->options.spin_us, spin_until_ns = 0;
    for (;;) {
        /* [log.acked] acquire: the words are at least as new as the number that the sleep is about. */
        uint32_t seq = lt_load_acquire32(&out->part->acked_seq);
        /* [log.state] before the words: a log that has failed had stored what it acknowledged. */
        uint32_t state = lt_load_acquire32(&out->part->state);
        uint64_t acked = lt_load_acquire64(out->acked); /* [log.written] [log.durable] */
        if (acked >= end)
            return 0;
        int r = state == LT_PARTITION_FAILED ? failure(p, out) : 0;
        if (r == 0)
            r = lt_producer_check(p);
        if (r < 0)
            return r;
        int64_t now_ns = lt_clock_mono_ns();
        if (now_ns >= deadline_ns)
            return lt_fail(LEAT_ETIMEOUT, "%s: partition %u: acknowledged below %llu, not yet below %llu",
                           p->topic->name, (uint32_t)(out - p->outs), (unsigned long long)acked,
                           (unsigned long long)end);
        if (spin_until_ns == 0)
            spin_until_ns = spin_us < 0 || spin_us > INT64_MAX / 2000 ? INT64_MAX : now_ns + spin_us * 1000;
        int kept = errno;
        wait_a_step(p, out, seq, spin_until_ns, deadline_ns);
        errno = kept;
    }
}

static int64_t deadline_of(int64_t timeout_ms)
{
    return timeout_ms < 0 || timeout_ms > INT64_MAX / NS_PER_MS / 2
               ? INT64_MAX
               : lt_clock_mono_ns() + timeout_ms * NS_PER_MS;
}

/* --- on_delivered --- */

/* Calls back for what stands below `below`. */
static void give(leat_producer *p, uint32_t partition, uint64_t below, int error)
{
    struct lt_unacked *unacked = &p->acks.unacked[partition];
    while (unacked->count != 0) {
        struct lt_sent *range = &unacked->ranges[unacked->head];
        if (range->first >= below)
            return;
        leat_receipt receipt = { .partition = partition, .offset = range->first++ };
        if (--range->count == 0) {
            unacked->head++;
            unacked->count--;
        }
        p->on_delivered(&receipt, error, p->user);
    }
    unacked->head = 0;
}

static void tell_of(leat_producer *p, uint32_t partition)
{
    const struct lt_out *out = &p->outs[partition];
    uint32_t state = lt_load_acquire32(&out->part->state); /* as in wait_for */
    int error = lt_attached_deleted(p->topic) ? LEAT_EDELETED : lt_bus_gone(p->handle.bus) ? LEAT_EGONE : 0;
    give(p, partition, lt_load_acquire64(out->acked), 0);
    if (LT_UNLIKELY(state == LT_PARTITION_FAILED)) {
        char reason[LT_REASON_MAX];
        int failed = lt_partition_refusal(out->part, &state, reason);
        error = state == LT_PARTITION_FAILED ? failed : error;
    }
    if (LT_UNLIKELY(error != 0))
        give(p, partition, UINT64_MAX, error);
}

static void tell(leat_producer *p, uint32_t looks)
{
    struct lt_acks *acks = &p->acks;
    if (looks > acks->waiting_count)
        looks = acks->waiting_count;
    for (; looks != 0; looks--) {
        if (acks->turn >= acks->waiting_count)
            acks->turn = 0;
        uint32_t partition = acks->waiting[acks->turn];
        tell_of(p, partition);
        if (acks->unacked[partition].count != 0) {
            acks->turn++;
            continue;
        }
        acks->unacked[partition].waits = false;
        acks->waiting[acks->turn] = acks->waiting[--acks->waiting_count];
    }
}

void lt_ack_tell(leat_producer *p)
{
    tell(p, LOOKS);
}

void lt_ack_end(leat_producer *p, int error)
{
    for (uint32_t i = 0; i < p->acks.waiting_count; i++)
        give(p, p->acks.waiting[i], UINT64_MAX, error);
    p->acks.waiting_count = 0;
}

/* For one more range behind those that are there. */
static bool make_room(struct lt_unacked *unacked)
{
    if (unacked->head + unacked->count < unacked->room)
        return true;
    if (unacked->head != 0) {
        memmove(unacked->ranges, unacked->ranges + unacked->head, unacked->count * sizeof *unacked->ranges);
        unacked->head = 0;
        return true;
    }
    uint32_t room = unacked->room != 0 ? unacked->room * 2 : RANGES_AT_FIRST;
    struct lt_sent *ranges = realloc(unacked->ranges, room * sizeof *ranges);
    if (ranges == NULL)
        return false;
    unacked->ranges = ranges;
    unacked->room = room;
    return true;
}

static void note(leat_producer *p, uint32_t partition, uint64_t first, uint32_t count)
{
    struct lt_unacked *unacked = &p->acks.unacked[partition];
    struct lt_sent *begin = unacked->ranges + unacked->head, *end = begin + unacked->count, *at = end;
    if (!unacked->waits)
        p->acks.waiting[p->acks.waiting_count++] = partition;
    unacked->waits = true;
    /* Claims in place are committed in any order. */
    while (at != begin && at[-1].first > first)
        at--;
    if (at != begin && at[-1].first + at[-1].count == first) {
        at[-1].count += count;
        return;
    }
    memmove(at + 1, at, (size_t)(end - at) * sizeof *at);
    *at = (struct lt_sent){ first, count };
    unacked->count++;
    /* The record is sent, so nothing may fail any more: without memory it waits for what was sent before. */
    while (!make_room(unacked)) {
        uint32_t seq = lt_load_acquire32(&p->outs[partition].part->acked_seq);
        tell_of(p, partition);
        if (unacked->head == 0 && unacked->count != 0)
            wait_a_step(p, &p->outs[partition], seq, 0, INT64_MAX);
    }
}

void lt_ack_sent(leat_producer *p, uint32_t partition, uint64_t first, uint32_t count)
{
    if (p->acks.unacked != NULL) {
        note(p, partition, first, count);
        lt_ack_tell(p);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        leat_receipt receipt = { .partition = partition, .offset = first + i };
        p->on_delivered(&receipt, 0, p->user);
    }
}

/* --- open, and the calls --- */

int lt_ack_open(leat_producer *p)
{
    struct lt_acks *acks = &p->acks;
    enum leat_level topics = (enum leat_level)p->topic->head->level, asked = p->options.level;
    if ((unsigned)asked > LEAT_DURABLE)
        return lt_fail(LEAT_EINVAL, "level %d", (int)asked);
    acks->level = asked > topics ? asked : topics;
    if (acks->level == LEAT_RING)
        return 0;
    if (!p->topic->head->log)
        return lt_fail(LEAT_EINVAL, "%s: level \"%s\" needs a log, and this topic has none", p->topic->name,
                       acks->level == LEAT_WRITTEN ? "written" : "durable");
    for (uint32_t i = 0; i < p->partition_count; i++)
        p->outs[i].acked = acks->level == LEAT_WRITTEN ? &p->outs[i].part->written
                                                       : &p->outs[i].part->durable;
    if (p->options.on_delivered == NULL)
        return 0;
    acks->unacked = calloc(p->partition_count, sizeof *acks->unacked);
    acks->waiting = calloc(p->partition_count, sizeof *acks->waiting);
    bool done = acks->unacked != NULL && acks->waiting != NULL;
    for (uint32_t i = 0; done && i < p->partition_count; i++)
        done = make_room(&acks->unacked[i]);
    return done ? 0
                : lt_fail(LEAT_ENOMEM, "%s: on_delivered of %u partitions", p->topic->name,
                          p->partition_count);
}

void lt_ack_free(leat_producer *p)
{
    for (uint32_t i = 0; p->acks.unacked != NULL && i < p->partition_count; i++)
        free(p->acks.unacked[i].ranges);
    free(p->acks.unacked);
    free(p->acks.waiting);
}

int lt_ack_flush(leat_producer *p, int64_t timeout_ms)
{
    int r = 0;
    if (p->acks.level == LEAT_RING) /* nothing is outstanding between two calls */
        return 0;
    int64_t deadline_ns = deadline_of(timeout_ms);
    for (uint32_t i = 0; i < p->partition_count && r != LEAT_EDELETED && r != LEAT_EGONE; i++) {
        struct lt_out *out = &p->outs[i];
        int error = out->sent_end == 0 ? 0 : wait_for(p, out, out->sent_end, deadline_ns);
        r = r == 0 ? error : r;
        tell(p, LOOKS);
    }
    tell(p, UINT32_MAX);
    return r;
}

/* Whether the offset was given out, as far as anybody can know. */
static int check_receipt(const leat_producer *p, const leat_receipt *receipt)
{
    uint64_t end, pos;
    uint32_t epoch;
    if (receipt->partition >= p->partition_count || p->outs[receipt->partition].mapped == NULL ||
        receipt->offset == UINT64_MAX)
        return lt_fail(LEAT_EINVAL, "%s: nothing was sent to partition %u offset %llu", p->topic->name,
                       receipt->partition, (unsigned long long)receipt->offset);
    const struct lt_out *out = &p->outs[receipt->partition];
    /* Another producer's may be of a ring that this one has not come to: that is waited for. [rotation.publish] */
    if (out->mapped->ring != lt_load_acquire32(&out->part->current_ring))
        return 0;
    if (receipt->offset >= out->sent_end && lt_ring_find_tail(&out->ring, &end, &pos, &epoch) == 0 &&
        receipt->offset >= end)
        return lt_fail(LEAT_EINVAL, "%s: partition %u: offset %llu was not given out; the next is %llu",
                       p->topic->name, receipt->partition, (unsigned long long)receipt->offset,
                       (unsigned long long)end);
    return 0;
}

int leat_producer_wait(leat_producer *p, const leat_receipt *receipt, int64_t timeout_ms)
{
    if (p == NULL || receipt == NULL)
        return lt_fail(LEAT_EINVAL, "leat_producer_wait: NULL");
    int r = lt_handle_enter(&p->handle);
    if (r < 0)
        return r;
    r = check_receipt(p, receipt);
    /* At the level "ring" a record is acknowledged once it is committed, which is before its receipt was given. */
    if (r == 0 && p->acks.level != LEAT_RING) {
        r = wait_for(p, &p->outs[receipt->partition], receipt->offset + 1, deadline_of(timeout_ms));
        tell(p, UINT32_MAX);
    }
    lt_handle_leave(&p->handle);
    return r;
}

int leat_producer_flush(leat_producer *p, int64_t timeout_ms)
{
    if (p == NULL)
        return lt_fail(LEAT_EINVAL, "the producer is NULL");
    int r = lt_handle_enter(&p->handle);
    if (r < 0)
        return r;
    r = lt_ack_flush(p, timeout_ms);
    lt_handle_leave(&p->handle);
    return r;
}
