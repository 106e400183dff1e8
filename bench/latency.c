/*
 * Latency through the public API: a record goes out on topic "ping", the other process polls it, reads every
 * line of it and sends one of the same size on "pong". Same work as the floor's, same stamps, half a round
 * trip is one way.
 *
 * Spinning consumers never sleep (spin_us -1); blocking ones sleep at once (0).
 */
#include "bench.h"

#include <leat.h>
#include <stdio.h>

#define STOP UINT64_MAX
#define PATIENCE_MS 5000

struct leat_latency {
    struct bench_crew crew;
    const struct bench_case *self;
    char bus[128];
    double slice_s;
};

/* One process's two handles. */
struct end {
    struct bench_crew *crew;
    int seat;
    uint32_t size_bytes;
    bool in_place;
    leat_bus *bus;
    leat_producer *out;
    leat_consumer *in;
    struct bench_source source;
};

_Noreturn static void fail(struct end *end, const char *what, int r)
{
    const char *why = leat_last_error(end->bus);
    bench_fail(end->crew, end->seat, "%s: %s", what, why[0] ? why : leat_strerror(r));
}

static void end_open(struct end *end, const struct leat_latency *shared, const char *out, const char *in)
{
    const struct bench_case *self = shared->self;
    int r = leat_open(&end->bus, shared->bus);
    if (r < 0)
        fail(end, "leat_open", r);
    leat_producer_options producer = LEAT_PRODUCER_OPTIONS;
    producer.exclusive = self->exclusive;
    if ((r = leat_producer_open(&end->out, end->bus, out, &producer)) < 0)
        fail(end, "leat_producer_open", r);
    leat_consumer_options consumer = LEAT_CONSUMER_OPTIONS;
    consumer.spin_us = self->block ? 0 : -1;
    if ((r = leat_consumer_open(&end->in, end->bus, &consumer)) < 0)
        fail(end, "leat_consumer_open", r);
    /* The topics hold what earlier rounds sent: start behind it, and have that settled before anybody
     * sends. */
    const leat_record *none;
    if ((r = leat_consumer_assign(end->in, (leat_partition[]){ { in, 0 } }, 1)) < 0 ||
        (r = leat_consumer_seek(end->in, in, 0, LEAT_END)) < 0 ||
        (r = leat_consumer_poll(end->in, 0, &none)) < 0)
        fail(end, "start at the end", r);
    end->size_bytes = self->size_bytes;
    end->in_place = self->in_place;
    bench_source_init(&end->source, self->size_bytes, 1);
}

static void end_close(struct end *end)
{
    int r = leat_producer_close(end->out);
    if (r < 0)
        fail(end, "leat_producer_close", r);
    leat_consumer_close(end->in);
    leat_close(end->bus);
}

static inline void put(struct end *end, const unsigned char *value)
{
    leat_record record = { .value = value, .value_size = end->size_bytes };
    int r = leat_producer_send(end->out, &record, NULL);
    if (r < 0)
        fail(end, "leat_producer_send", r);
}

/* The value is written once, where it will be read: a fill, as of somebody who computes it there. */
static inline void put_in_place(struct end *end, uint64_t number)
{
    leat_claim claim;
    int r = leat_producer_claim(end->out, NULL, 0, end->size_bytes, &claim);
    if (r < 0)
        fail(end, "leat_producer_claim", r);
    memset(claim.value, (int)(number & 0xff), end->size_bytes);
    memcpy(claim.value, &number, sizeof number);
    if ((r = leat_claim_commit(&claim, NULL)) < 0)
        fail(end, "leat_claim_commit", r);
}

static inline void put_number(struct end *end, uint64_t number)
{
    if (end->in_place)
        put_in_place(end, number);
    else
        put(end, bench_source_next(&end->source));
}

static void put_stop(struct end *end)
{
    uint64_t stop = STOP;
    memcpy(end->source.bytes, &stop, sizeof stop);
    put(end, end->source.bytes);
}

static inline uint64_t get(struct end *end)
{
    const leat_record *records;
    int n = leat_consumer_poll(end->in, PATIENCE_MS, &records);
    if (n < 0)
        fail(end, "leat_consumer_poll", n);
    if (n != 1)
        bench_fail(end->crew, end->seat, "poll gave %d records within %d ms, 1 is under way", n, PATIENCE_MS);
    if (records[0].value_size != end->size_bytes)
        bench_fail(end->crew, end->seat, "a value of %zu bytes, sent %u", records[0].value_size,
                   end->size_bytes);
    return bench_touch(records[0].value, end->size_bytes);
}

static void ask(struct bench_crew *crew, int seat, void *arg)
{
    const struct leat_latency *shared = arg;
    static struct end end;
    end.crew = crew;
    end.seat = seat;
    end_open(&end, shared, "ping", "pong");
    bench_crew_meet(crew, seat);
    struct bench_window window = bench_window_open(shared->slice_s);
    uint64_t to = 0;
    for (uint64_t number = 1; to < window.end; number++) {
        uint64_t from = bench_ticks();
        put_number(&end, number);
        uint64_t answer = get(&end);
        to = bench_ticks_after();
        if (answer != number)
            bench_fail(crew, seat, "sent %llu, got %llu back", (unsigned long long)number,
                       (unsigned long long)answer);
        if (to >= window.warm_end)
            bench_hist_add(&crew->seats[seat].hist, to - from);
    }
    put_stop(&end);
    end_close(&end);
}

static void answer(struct bench_crew *crew, int seat, void *arg)
{
    const struct leat_latency *shared = arg;
    static struct end end;
    end.crew = crew;
    end.seat = seat;
    end_open(&end, shared, "pong", "ping");
    bench_crew_meet(crew, seat);
    for (uint64_t number; (number = get(&end)) != STOP;)
        put_number(&end, number);
    end_close(&end);
}

/* Runs in a process of its own: the parent never opens the bus, for it forks. */
static void create_topics(struct bench_crew *crew, int seat, void *arg)
{
    const struct leat_latency *shared = arg;
    static struct end end;
    end.crew = crew;
    end.seat = seat;
    leat_topic_options topic = LEAT_TOPIC_OPTIONS;
    topic.no_log = 1; /* the ring's own figures; `durable` has the log's */
    topic.ring_size = BENCH_RING_BYTES;
    int r = leat_open(&end.bus, shared->bus);
    if (r < 0 || (r = leat_topic_create(end.bus, "ping", &topic)) < 0 ||
        (r = leat_topic_create(end.bus, "pong", &topic)) < 0)
        fail(&end, "create topics", r);
    leat_close(end.bus);
}

static int leat_latency_round(struct bench_case *self, double slice_s, struct bench_round *round, char *error,
                              size_t error_size)
{
    static const struct bench_task prepare[] = { { 0, create_topics } };
    static const struct bench_task tasks[] = { { 0, ask }, { 1, answer } };
    bool fresh = !self->bus;
    if (fresh && bench_bus_start(&self->bus, error, error_size) != 0)
        return -1;
    struct leat_latency *shared = bench_shared_alloc(sizeof *shared);
    if (!shared)
        return -1;
    shared->self = self; /* forked children have it at the same address */
    shared->slice_s = slice_s;
    snprintf(shared->bus, sizeof shared->bus, "%s", bench_bus_path(self->bus));
    int r = 0;
    if (fresh) {
        r = bench_crew_run(&shared->crew, prepare, 1, shared, 20, error, error_size);
        memset(&shared->crew, 0, sizeof shared->crew);
    }
    if (r == 0)
        r = bench_crew_run(&shared->crew, tasks, 2, shared, slice_s * 3 + 20, error, error_size);
    if (r == 0)
        bench_round_of_latency(&shared->crew, round);
    bench_shared_free(shared, sizeof *shared);
    return r;
}

static const struct bench_case base = {
    .measure = BENCH_LATENCY, .batch = 1, .producers = 1, .consumers = 1, .partitions = 1, .against = -1
};

static void name(struct bench_case *self)
{
    snprintf(self->name, sizeof self->name, "latency/%u/%s/%s", self->size_bytes,
             self->block ? "block" : "spin", self->kind == BENCH_FLOOR ? "floor" : self->shape);
}

static int run_group(uint32_t size_bytes, bool block, const struct bench_options *options)
{
    struct bench_case cases[4] = { base, base, base, base };
    static const char *const shapes[] = { "single", "single", "in-place", "exclusive" };
    for (int i = 0; i < 4; i++) {
        cases[i].size_bytes = size_bytes;
        cases[i].block = block;
        cases[i].kind = i == 0 ? BENCH_FLOOR : BENCH_LEAT;
        cases[i].floor = i == 0 ? -1 : 0;
        cases[i].round = i == 0 ? bench_floor_latency_round : leat_latency_round;
        cases[i].shape = shapes[i];
        cases[i].in_place = i == 2;
        cases[i].exclusive = i == 3;
        name(&cases[i]);
    }
    return bench_group_run(cases, 4, options);
}

/* Returns how many cases failed. */
int bench_latency(const struct bench_options *options)
{
    static const uint32_t sizes[] = { 32, 64, 1024, BENCH_RECORD_BYTES };
    int failed = 0;
    bench_report_head(BENCH_LATENCY,
                      "Latency, one way (half of a timed round trip). x floor: p50 and p99 over the floor's, "
                      "lower is better.",
                      options);
    for (int block = 0; block < 2; block++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            failed += run_group(sizes[i], block, options);
    return failed;
}
