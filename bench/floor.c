/*
 * The floors: the least that two processes must do to move these bytes on this machine, with nothing beside
 * it.
 *
 * Latency: one record ping-pongs through two fixed lanes. Up to 56 bytes ride in the line of the sequence
 * word; 64 bytes take the next line; larger ones are copied in and every line of them is read. Blocking is
 * the same with a futex on the sequence word. Both sides check every sequence number.
 *
 * Throughput: a ring with one producer and one consumer, sequence numbers as head and tail, published after
 * each record or after 16; the consumer takes all there is in a gulp and reads every line. Nothing is lost,
 * and that is checked.
 */
#include "bench.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define INLINE static inline __attribute__((always_inline))

/* ---- latency ------------------------------------------------------------------------------------------- */

#define LANE_STOP UINT32_MAX

/* One direction. Written by its sender only:
 *   0    sequence, stored last; the futex word of the blocking floor
 *   8    payload of up to 56 bytes
 *   64   payload of more
 * Sequences go 1, 2, 3 ...; LANE_STOP ends the round. A sender overwrites its lane only after the answer
 * came, so the reader is always done with it. */
struct lane {
    _Alignas(128) uint32_t seq;
    uint32_t unused;
    unsigned char small[BENCH_LINE - 8];
    unsigned char large[BENCH_RECORD_BYTES];
};

struct floor_latency {
    struct bench_crew crew;
    struct lane ping, pong;
    uint32_t size_bytes;
    bool block;
    double slice_s;
};

static inline unsigned char *lane_payload(struct lane *lane, size_t size)
{
    return size <= sizeof lane->small ? lane->small : lane->large;
}

static inline void lane_put(struct lane *lane, const unsigned char *record, size_t size, uint32_t seq,
                            bool block)
{
    memcpy(lane_payload(lane, size), record, size);
    /* [lane.put] release: whoever sees seq sees the payload. Pairs with [lane.see]. */
    lt_store_release32(&lane->seq, seq);
    if (block)
        syscall(SYS_futex, &lane->seq, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Waits for the sequence after `last`; returns it. A wake between load and wait is not lost: FUTEX_WAIT
 * looks again. */
static inline uint32_t lane_get(struct lane *lane, size_t size, uint32_t last, bool block, bool *ok)
{
    uint32_t seq;
    /* [lane.see] */
    while ((seq = lt_load_acquire32(&lane->seq)) == last) {
        if (block)
            syscall(SYS_futex, &lane->seq, FUTEX_WAIT, last, NULL, NULL, 0);
        else if (size > sizeof lane->small && size <= BENCH_LINE)
            __builtin_prefetch(
                lane->large); /* both lines travel at once: 245 ns instead of 315 across complexes */
    }
    *ok = seq == LANE_STOP || bench_touch(lane_payload(lane, size), size) == seq;
    return seq;
}

INLINE void ask_loop(struct floor_latency *shared, int seat, size_t size, bool block)
{
    static struct bench_source source;
    struct bench_hist *hist = &shared->crew.seats[seat].hist;
    bench_source_init(&source, size, 1);
    struct bench_window window = bench_window_open(shared->slice_s);
    uint64_t to = 0;
    for (uint32_t seq = 1; to < window.end; seq++) {
        bool ok;
        uint64_t from = bench_ticks();
        lane_put(&shared->ping, bench_source_next(&source), size, seq, block);
        uint32_t answer = lane_get(&shared->pong, size, seq - 1, block, &ok);
        to = bench_ticks_after();
        if (answer != seq || !ok)
            bench_fail(&shared->crew, seat, "floor: sent %u, got %u back", seq, answer);
        if (to >= window.warm_end)
            bench_hist_add(hist, to - from);
    }
    lane_put(&shared->ping, source.bytes, size, LANE_STOP, block);
}

INLINE void answer_loop(struct floor_latency *shared, int seat, size_t size, bool block)
{
    static struct bench_source source;
    bench_source_init(&source, size, 1);
    for (uint32_t last = 0;;) {
        bool ok;
        uint32_t seq = lane_get(&shared->ping, size, last, block, &ok);
        if (seq == LANE_STOP)
            return;
        if (seq != last + 1 || !ok)
            bench_fail(&shared->crew, seat, "floor: after %u came %u", last, seq);
        lane_put(&shared->pong, bench_source_next(&source), size, seq, block);
        last = seq;
    }
}

/* The sizes as constants, so that a small copy is a few stores: a floor must not pay for a call. */
#define BY_SIZE(loop, size, ...)     \
    do {                             \
        switch (size) {              \
        case 32:                     \
            loop(__VA_ARGS__, 32);   \
            break;                   \
        case 64:                     \
            loop(__VA_ARGS__, 64);   \
            break;                   \
        case 1024:                   \
            loop(__VA_ARGS__, 1024); \
            break;                   \
        default:                     \
            loop(__VA_ARGS__, size); \
            break;                   \
        }                            \
    } while (0)

#define ASK_SPIN(shared, seat, size) ask_loop(shared, seat, size, false)
#define ANSWER_SPIN(shared, seat, size) answer_loop(shared, seat, size, false)

static void ask(struct bench_crew *crew, int seat, void *arg)
{
    struct floor_latency *shared = arg;
    bench_prefault(shared, sizeof *shared);
    bench_crew_meet(crew, seat);
    if (shared->block)
        ask_loop(shared, seat, shared->size_bytes, true);
    else
        BY_SIZE(ASK_SPIN, shared->size_bytes, shared, seat);
}

static void answer(struct bench_crew *crew, int seat, void *arg)
{
    struct floor_latency *shared = arg;
    bench_prefault(shared, sizeof *shared);
    bench_crew_meet(crew, seat);
    if (shared->block)
        answer_loop(shared, seat, shared->size_bytes, true);
    else
        BY_SIZE(ANSWER_SPIN, shared->size_bytes, shared, seat);
}

int bench_floor_latency_round(struct bench_case *self, double slice_s, struct bench_round *round, char *error,
                              size_t error_size)
{
    struct floor_latency *shared = bench_shared_alloc(sizeof *shared);
    if (!shared || self->size_bytes > BENCH_RECORD_BYTES) {
        bench_shared_free(shared, sizeof *shared);
        snprintf(error, error_size, "floor: no shared memory for %u bytes", self->size_bytes);
        return -1;
    }
    shared->size_bytes = self->size_bytes;
    shared->block = self->block;
    shared->slice_s = slice_s;
    const struct bench_task tasks[] = { { 0, ask }, { 1, answer } };
    int r = bench_crew_run(&shared->crew, tasks, 2, shared, slice_s * 3 + 10, error, error_size);
    if (r == 0)
        bench_round_of_latency(&shared->crew, round);
    bench_shared_free(shared, sizeof *shared);
    return r;
}

/* ---- throughput ---------------------------------------------------------------------------------------- */

/* A consumer that finds only a few records waits a little, some 2 us, and so reads lines that the producer
 * is done with. One that asks at once gets every line while it is still being written: across complexes 15
 * million records of 64 bytes a second singly in place of 60, and 55 in place of 100 in batches. */
#define GULP_MIN 64
#define GULP_PAUSES 80

/* Each index on a line pair of its own: the prefetcher fetches lines in pairs. Records lie back to back. */
struct floor_throughput {
    struct bench_crew crew;
    _Alignas(128) uint64_t head; /* records published; the producer's */
    _Alignas(128) uint64_t tail; /* records consumed; the consumer's */
    _Alignas(128) uint32_t size_bytes;
    uint32_t batch;
    double slice_s;
    _Alignas(4096) unsigned char ring[BENCH_RING_BYTES];
};

INLINE void produce_loop(struct floor_throughput *shared, int seat, uint32_t batch, size_t size)
{
    static struct bench_source source;
    const uint64_t records = BENCH_RING_BYTES / size;
    uint64_t head = 0, room_until = records;
    bench_source_init(&source, size, 0);
    while (!lt_load_relaxed32(&shared->crew.stop)) {
        /* [floor.room] acquire: the consumer has read what is overwritten now. Pairs with
         * [floor.consumed]. */
        while (head + batch > room_until)
            room_until = lt_load_acquire64(&shared->tail) + records;
        for (uint32_t i = 0; i < batch; i++, head++) {
            memcpy(shared->ring + (head & (records - 1)) * size, bench_source_next(&source), size);
        }
        /* [floor.publish] release: whoever sees head sees the records. Pairs with [floor.see]. */
        lt_store_release64(&shared->head, head);
    }
    lt_store_release64(&shared->crew.seats[seat].moved, head);
    lt_store_release32(&shared->crew.seats[seat].finished, 1);
}

INLINE void consume_loop(struct floor_throughput *shared, int seat, size_t size)
{
    const uint64_t records = BENCH_RING_BYTES / size, gulp = records / 8;
    struct bench_seat *mine = &shared->crew.seats[seat], *producer = &shared->crew.seats[0];
    struct bench_window window = bench_window_open(shared->slice_s);
    uint64_t tail = 0, from_tail = 0, from = 0;
    for (;;) {
        /* [floor.see] */
        uint64_t until = lt_load_acquire64(&shared->head);
        if (until == tail && lt_load_acquire32(&producer->finished) &&
            lt_load_acquire64(&producer->moved) == tail)
            break;
        bool few = until - tail < GULP_MIN;
        if (until - tail > gulp)
            until = tail + gulp;
        for (; tail < until; tail++) {
            uint64_t first = bench_touch(shared->ring + (tail & (records - 1)) * size, size);
            if (first != tail)
                bench_fail(&shared->crew, seat, "floor: record %llu carries %llu", (unsigned long long)tail,
                           (unsigned long long)first);
        }
        /* [floor.consumed] release: our reads are done before the producer overwrites. Pairs with
         * [floor.room]. */
        lt_store_release64(&shared->tail, tail);
        for (int i = 0; few && i < GULP_PAUSES; i++)
            lt_relax();
        uint64_t now = bench_ticks();
        if (from == 0 && now >= window.warm_end) {
            from = now;
            from_tail = tail;
        } else if (from != 0 && now >= window.end && mine->counted == 0) {
            mine->counted = tail - from_tail;
            mine->records_per_s = (double)mine->counted / bench_ns(now - from) * 1e9;
            lt_store_release32(&shared->crew.stop, 1);
        }
    }
}

static void produce(struct bench_crew *crew, int seat, void *arg)
{
    struct floor_throughput *shared = arg;
    bench_prefault(shared, sizeof *shared);
    bench_crew_meet(crew, seat);
    BY_SIZE(produce_loop, shared->size_bytes, shared, seat, shared->batch);
}

static void consume(struct bench_crew *crew, int seat, void *arg)
{
    struct floor_throughput *shared = arg;
    bench_prefault(shared, sizeof *shared);
    bench_crew_meet(crew, seat);
    BY_SIZE(consume_loop, shared->size_bytes, shared, seat);
}

int bench_floor_throughput_round(struct bench_case *self, double slice_s, struct bench_round *round,
                                 char *error, size_t error_size)
{
    struct floor_throughput *shared = bench_shared_alloc(sizeof *shared);
    if (!shared || self->size_bytes > BENCH_RECORD_BYTES) {
        bench_shared_free(shared, sizeof *shared);
        snprintf(error, error_size, "floor: no shared memory for %u bytes", self->size_bytes);
        return -1;
    }
    shared->size_bytes = self->size_bytes;
    shared->batch = self->batch;
    shared->slice_s = slice_s;
    const struct bench_task tasks[] = { { 0, produce }, { 1, consume } };
    int r = bench_crew_run(&shared->crew, tasks, 2, shared, slice_s * 3 + 10, error, error_size);
    if (r == 0)
        bench_round_of_throughput(&shared->crew, round);
    bench_shared_free(shared, sizeof *shared);
    return r;
}
