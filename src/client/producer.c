/* producer: opening, the ring of the moment, and waiting for room. See producer.h.
 *
 * A claim that does not succeed at once ends up in lt_out_claim_slow:
 *
 *   not attached | SEALED | FULL, WORN and the page names another ring   attach the current ring, try there
 *   STALE                                                                read the map's epoch again
 *   FULL, WORN; SEALED before the successor is named                     knock, spin, sleep on room_seq
 *   the partition is not OPEN                                            its error, whatever on_full says
 *   CORRUPT                                                              LEAT_EPROTO: a producer of this topic wrote nonsense
 *
 * [room.seq] room_seq is loaded before the try that fails; leatd stores limit or successor, then room_seq + 1, then wakes. So
 * the futex wait returns at once when the try came too early. Every sleep is bounded: a worker may have died between.
 */
#include "client/producer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/futex.h"
#include "client/partitioner.h"
#include "client/record.h"

#define NS_PER_MS 1000000ll
#define SLEEP_NS (100 * NS_PER_MS) /* one futex wait, and the time between two knocks */
#define CHANCE_NS (5 * NS_PER_MS)  /* leatd's, to make room before a topic with on_full error refuses */
#define FLUSH_AT_CLOSE_MS 10000

/* --- checks --- */

int lt_producer_check(const leat_producer *p)
{
    if (lt_attached_deleted(p->topic))
        return lt_fail(LEAT_EDELETED, "%s: the topic was deleted", p->topic->name);
    if (lt_bus_gone(p->handle.bus))
        return lt_fail(LEAT_EGONE, "%s: the bus %s has ended", p->topic->name, p->handle.bus->path);
    return 0;
}

int lt_producer_refuse_record(const leat_producer *p, uint64_t total)
{
    if (total == LT_RECORD_SENSELESS)
        return lt_fail(LEAT_EINVAL, "%s: a size without a pointer, or a header without a name",
                       p->topic->name);
    if (total == LT_RECORD_HUGE)
        return lt_fail(LEAT_ETOOBIG, "%s: a record above 4 GiB; the limit is %llu, a quarter of the ring",
                       p->topic->name, (unsigned long long)p->record_max);
    return lt_fail(LEAT_ETOOBIG, "%s: a record of %llu bytes; the limit is %llu, a quarter of the ring",
                   p->topic->name, (unsigned long long)total, (unsigned long long)p->record_max);
}

/* --- partitions --- */

uint32_t lt_producer_place(const leat_producer *p, const void *key, size_t key_size)
{
    if (p->partitioner == LEAT_MURMUR2)
        return lt_partitioner_kafka(key, key_size, p->partition_count);
    return p->map[lt_partitioner_bucket(key, key_size)];
}

int lt_producer_ask_partition(leat_producer *p, const void *key, size_t key_size, uint32_t *partition)
{
    int r = p->options.partition_of(p->topic->name, key, key_size, p->partition_count, p->user);
    if (r < 0)
        return lt_fail(r, "%s: partition_of returned %d", p->topic->name, r);
    if ((uint32_t)r >= p->partition_count)
        return lt_fail(LEAT_ENOPART, "%s: partition_of returned %d; there are %u partitions", p->topic->name,
                       r, p->partition_count);
    *partition = (uint32_t)r;
    return 0;
}

static uint32_t partition_of(const leat_producer *p, const struct lt_out *out)
{
    return (uint32_t)(out - p->outs);
}

/* --- rings --- */

/* Attaches the ring that is claimed in now; the one before is let go (claims in place hold it themselves). */
int lt_out_attach(leat_producer *p, struct lt_out *out)
{
    for (;;) {
        struct lt_mapped *mapped;
        /* [rotation.publish] acquire: the gate of the ring that is named here was filled before. */
        uint32_t number = lt_load_acquire32(&out->part->current_ring);
        lt_point("produce.move");
        int r = lt_attached_map(p->topic, partition_of(p, out), number, LT_MAP_WRITE, &mapped);
        if (r == LEAT_EOFFSET && number != lt_load_acquire32(&out->part->current_ring))
            continue; /* rotated once more meanwhile */
        if (r < 0)
            return r;
        if (out->mapped != NULL) {
            if (!lt_claims_hold(p, out->mapped))
                lt_mapped_drop(out->mapped);
            lt_count(&p->handle, LT_COUNT_MOVED, 1);
        }
        out->mapped = mapped;
        out->ring = mapped->view;
        out->ring.cached_limit_offset = lt_load_acquire64(&out->ring.gate->limit_offset);
        out->ring.cached_limit_pos = lt_load_acquire64(&out->ring.gate->limit_pos);
        out->slots_high = out->ring.slot_count - out->ring.slot_count / 4;
        out->units_high = out->ring.payload_units - out->ring.payload_units / 4;
        out->knocked_offset = out->refused_offset = UINT64_MAX;
        out->sealed = false;
        if (p->exclusive) {
            r = lt_ring_tail(&out->ring, &out->tail);
            if (r == LT_RING_CORRUPT)
                return lt_fail(LEAT_EPROTO, "%s: partition %u: the ring's words are damaged", p->topic->name,
                               partition_of(p, out));
            out->sealed = r == LT_RING_SEALED;
        }
        return 0;
    }
}

static void knock(leat_producer *p, struct lt_out *out)
{
    out->knocked_offset = out->ring.cached_limit_offset;
    out->knocked_pos = out->ring.cached_limit_pos;
    lt_bells_knock(p->bells, out->global);
}

void lt_out_press(leat_producer *p, struct lt_out *out, const struct lt_claim *claim)
{
    out->ring.cached_limit_offset = lt_load_acquire64(&out->ring.gate->limit_offset); /* [reclaim.limit] */
    out->ring.cached_limit_pos = lt_load_acquire64(&out->ring.gate->limit_pos);
    if (lt_ring_used_slots(&out->ring, claim) <= out->slots_high &&
        lt_ring_used_units(&out->ring, claim) <= out->units_high)
        return;
    if (out->knocked_offset != out->ring.cached_limit_offset ||
        out->knocked_pos != out->ring.cached_limit_pos)
        knock(p, out);
}

/* --- waiting for room --- */

/* A send that waits. Times are 0 until the first wait: a move to the next ring is none. */
struct wait {
    int64_t since_ns;
    int64_t deadline_ns; /* INT64_MAX: none */
    int64_t knocked_ns;
};

static void start_wait(leat_producer *p, struct wait *wait)
{
    wait->since_ns = lt_clock_mono_ns();
    wait->deadline_ns = p->options.full_timeout_ms < 0 ||
                                p->options.full_timeout_ms > INT64_MAX / NS_PER_MS / 2
                            ? INT64_MAX
                            : wait->since_ns + p->options.full_timeout_ms * NS_PER_MS;
    lt_count(&p->handle, LT_COUNT_FULL_WAITS, 1);
    lt_point("produce.wait");
}

static int no_room(leat_producer *p, struct lt_out *out, int condition, int64_t waited_ns)
{
    return lt_fail(LEAT_EFULL, "%s: partition %u: %s of %llu bytes for %lld ms", p->topic->name,
                   partition_of(p, out),
                   condition == LT_RING_FULL ? "no room in the ring" : "no successor to the sealed ring",
                   (unsigned long long)out->ring.payload_size, (long long)(waited_ns / NS_PER_MS));
}

/* Until room_seq is no longer `seq`, at most until `until_ns`. */
static void wait_for_room(leat_producer *p, const struct lt_out *out, uint32_t seq, int64_t now_ns,
                          int64_t until_ns)
{
    int64_t spin_us = p->options.spin_us;
    int64_t spin_until_ns = spin_us < 0 || spin_us > SLEEP_NS / 1000 ? until_ns : now_ns + spin_us * 1000;
    if (spin_until_ns > until_ns)
        spin_until_ns = until_ns;
    do {
        for (int i = 0; i < 16; i++) {
            if (lt_load_acquire32(&out->part->room_seq) != seq)
                return;
            lt_relax();
        }
        now_ns = lt_clock_mono_ns();
    } while (now_ns < spin_until_ns);
    if (spin_us >= 0 && now_ns < until_ns) {
        int kept = errno;
        lt_futex_wait(&out->part->room_seq, seq, until_ns - now_ns);
        errno = kept;
    }
}

/* One round of waiting: 0: try again; or LEAT_EFULL. */
static int wait_a_round(leat_producer *p, struct lt_out *out, uint32_t seq, int condition, struct wait *wait)
{
    /* The failed try has read the limit; leatd had its chance at this very one already. */
    bool refuses = p->refuses && condition == LT_RING_FULL;
    if (refuses && out->refused_offset == out->ring.cached_limit_offset &&
        out->refused_pos == out->ring.cached_limit_pos) {
        /* What was in the way may go without a word to leatd, which does not watch it for ever. */
        int64_t asked_ns = lt_clock_mono_ns();
        if (asked_ns - out->refused_ns >= SLEEP_NS) {
            out->refused_ns = asked_ns;
            knock(p, out);
        }
        return no_room(p, out, condition, 0);
    }
    if (wait->since_ns == 0)
        start_wait(p, wait);
    int64_t now_ns = lt_clock_mono_ns();
    if (wait->knocked_ns == 0 || now_ns - wait->knocked_ns >= SLEEP_NS) {
        wait->knocked_ns = now_ns;
        knock(p, out);
    }
    int64_t deadline_ns = wait->deadline_ns;
    if (refuses && deadline_ns > wait->since_ns + CHANCE_NS)
        deadline_ns = wait->since_ns + CHANCE_NS;
    if (now_ns >= deadline_ns) {
        out->refused_offset = out->ring.cached_limit_offset;
        out->refused_pos = out->ring.cached_limit_pos;
        return no_room(p, out, condition, now_ns - wait->since_ns);
    }
    wait_for_room(p, out, seq, now_ns, deadline_ns - now_ns < SLEEP_NS ? deadline_ns : now_ns + SLEEP_NS);
    return 0;
}

int lt_out_claim_slow(leat_producer *p, struct lt_out *out, uint32_t count, uint32_t units,
                      struct lt_claim *claim)
{
    struct wait wait = { 0 };
    for (;;) {
        int r = lt_producer_check(p);
        if (r == 0 && lt_load_relaxed32(&out->part->state) != LT_PARTITION_OPEN)
            r = lt_ack_refusal(p, out);
        if (r < 0)
            return r;
        uint32_t seq = lt_load_acquire32(&out->part->room_seq);
        if (out->mapped == NULL || out->mapped->ring != lt_load_acquire32(&out->part->current_ring)) {
            r = lt_out_attach(p, out);
            if (r < 0)
                return r;
        }
        r = lt_out_claim_try(p, out, count, units, claim);
        if (r == 0)
            return 0;
        if (r == LT_RING_CORRUPT)
            return lt_fail(LEAT_EPROTO, "%s: partition %u: the ring's words are damaged", p->topic->name,
                           partition_of(p, out));
        if (r == LT_RING_STALE) {
            uint32_t epoch = lt_load_acquire32(&p->topic->head->map_epoch);
            if (epoch != p->epoch_max) {
                p->epoch_max = epoch;
                continue;
            }
        }
        if (out->mapped->ring != lt_load_acquire32(&out->part->current_ring))
            continue;
        r = wait_a_round(p, out, seq, r, &wait);
        if (r < 0)
            return r;
    }
}

/* --- open and close --- */

static int check_options(const struct lt_attached *topic, leat_producer_options *options)
{
    if (options->partitioner == LEAT_PARTITIONER_TOPIC)
        options->partitioner = (enum leat_partitioner)topic->head->partitioner;
    if (options->partitioner < LEAT_XXH3 || options->partitioner > LEAT_CALLBACK)
        return lt_fail(LEAT_EINVAL, "partitioner %d", (int)options->partitioner);
    if (options->partitioner == LEAT_CALLBACK && options->partition_of == NULL)
        return lt_fail(LEAT_EINVAL, "partitioner LEAT_CALLBACK, and partition_of is NULL");
    return 0;
}

static void free_producer(leat_producer *p)
{
    lt_ack_free(p);
    free(p->outs);
    free(p->many_next);
    free(p->many_first);
    free(p->many_last);
    free(p->many_touched);
    free(p);
}

static int make_arrays(leat_producer *p)
{
    uint32_t partitions = p->partition_count;
    p->outs = aligned_alloc(64, (partitions * sizeof *p->outs + 63) & ~(size_t)63);
    p->many_next = malloc(LT_MANY_WINDOW * sizeof *p->many_next);
    p->many_first = malloc(partitions * sizeof *p->many_first);
    p->many_last = malloc(partitions * sizeof *p->many_last);
    p->many_touched = malloc(partitions * sizeof *p->many_touched);
    if (p->outs == NULL || p->many_next == NULL || p->many_first == NULL || p->many_last == NULL ||
        p->many_touched == NULL)
        return lt_fail(LEAT_ENOMEM, "%s: a producer for %u partitions", p->topic->name, partitions);
    memset(p->outs, 0, partitions * sizeof *p->outs);
    for (uint32_t i = 0; i < partitions; i++) {
        p->outs[i].part = lt_attached_partition(p->topic, i);
        p->outs[i].global = p->topic->head->first_global + i;
        p->many_first[i] = LT_NOBODY;
    }
    return 0;
}

static int open_producer(leat_producer *p, leat_bus *bus, const char *name)
{
    int r = lt_attached_open(bus, name, true, p->options.exclusive != 0, &p->topic);
    if (r < 0)
        return r;
    p->handle.bus = bus;
    p->bells = bus->bells;
    p->owner = bus->client;
    p->partition_count = p->topic->partition_count;
    p->record_max = p->topic->record_max;
    p->map = lt_topic_map(p->topic->page);
    p->epoch_max = lt_load_acquire32(&p->topic->head->map_epoch);
    p->exclusive = p->options.exclusive != 0;
    p->refuses = p->topic->head->on_full == LEAT_ERROR;
    r = check_options(p->topic, &p->options);
    if (r >= 0)
        r = make_arrays(p);
    if (r >= 0)
        r = lt_ack_open(p);
    /* The first partition now, so that the first send of a small topic is like the next one. */
    for (uint32_t i = 0; r >= 0 && i < p->partition_count && i < 16; i++)
        r = lt_out_attach(p, &p->outs[i]);
    if (r < 0) {
        for (uint32_t i = 0; p->outs != NULL && i < p->partition_count; i++)
            if (p->outs[i].mapped != NULL)
                lt_mapped_drop(p->outs[i].mapped);
        lt_attached_close(p->topic, true);
        return r;
    }
    p->partitioner = p->options.partitioner;
    p->on_delivered = p->options.on_delivered;
    p->user = p->options.user;
    return 0;
}

int leat_producer_open(leat_producer **out, leat_bus *bus, const char *topic,
                       const leat_producer_options *options)
{
    static const leat_producer_options defaults = LEAT_PRODUCER_OPTIONS;
    if (out == NULL)
        return lt_fail(LEAT_EINVAL, "leat_producer_open: no place for the producer");
    *out = NULL;
    int kept = errno;
    int r = lt_bus_check(bus);
    if (r < 0)
        return r;
    leat_producer *p = aligned_alloc(64, (sizeof *p + 63) & ~(size_t)63);
    if (p == NULL)
        return lt_fail(LEAT_ENOMEM, "%zu bytes for a producer", sizeof *p);
    memset(p, 0, sizeof *p);
    p->options = defaults;
    r = lt_options_take(&p->options, sizeof p->options, options);
    if (r >= 0)
        r = open_producer(p, bus, topic);
    errno = kept;
    if (r < 0) {
        free_producer(p);
        return r;
    }
    lt_handle_add(&p->handle, bus, LT_HANDLE_PRODUCER);
    *out = p;
    return 0;
}

int leat_producer_partitions(leat_producer *p)
{
    if (p == NULL)
        return lt_fail(LEAT_EINVAL, "the producer is NULL");
    if (p->handle.generation != lt_load_relaxed32(&lt_fork_generation))
        return lt_handle_refuse(&p->handle);
    return (int)p->partition_count;
}

int leat_producer_close(leat_producer *p)
{
    if (p == NULL)
        return 0;
    int kept = errno;
    int r = lt_handle_enter(&p->handle);
    if (r < 0)
        return r;
    lt_claims_abort_all(p); /* first: nothing behind an open claim is acknowledged */
    r = lt_ack_flush(p, FLUSH_AT_CLOSE_MS);
    lt_ack_end(p, r < 0 ? r : LEAT_ETIMEOUT);
    lt_handle_remove(&p->handle);
    for (uint32_t i = 0; i < p->partition_count; i++)
        if (p->outs[i].mapped != NULL)
            lt_mapped_drop(p->outs[i].mapped);
    lt_attached_close(p->topic, true);
    free_producer(p);
    errno = kept;
    return r;
}
