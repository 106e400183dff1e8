/*
 * Throughput through the public API, lossless: consumers gate the topic, whose producers wait when it is
 * full. Every line of every record is read. Each producer numbers its records; per partition the numbers of
 * one producer have to rise (by one, where there is one partition), and in the end as many must have arrived
 * as were sent.
 *
 * One producer and one consumer spin, a CPU each. Where more processes than CPUs run, they sleep when they
 * have nothing to do: "block". "gather": a consumer with gather_us = 2, which lets a stream of single records run ahead
 * instead of chasing each one. The keyed cases send records of 64 keys in turn, 16 a call, so that a call
 * spreads over all partitions; 4 x 4 is to be compared with 1 x 1 of the same kind.
 */
#include "bench.h"

#include <leat.h>
#include <stdio.h>

#define BATCH_MAX 16
#define KEYS 64
#define PATIENCE_MS 5000
#define PRODUCERS 4
#define NUMBER_BITS 56 /* of word 0; above it stands the producer */

struct leat_throughput {
    struct bench_crew crew;
    const struct bench_case *self;
    char bus[128];
    double slice_s;
};

static const char topic_name[] = "stream";

_Noreturn static void fail(struct bench_crew *crew, int seat, leat_bus *bus, const char *what, int r)
{
    const char *why = leat_last_error(bus);
    bench_fail(crew, seat, "%s: %s", what, why[0] ? why : leat_strerror(r));
}

/* ---- producers: seats 0 .. producers-1 ----------------------------------------------------------------- */

struct sender {
    leat_producer *out;
    char keys[KEYS][8];
    leat_record records[BATCH_MAX];
    struct bench_source source;
};

static void sender_init(struct sender *sender, const struct bench_case *self, int seat)
{
    bench_source_init(&sender->source, self->size_bytes, (uint64_t)seat << NUMBER_BITS);
    for (int i = 0; i < KEYS; i++)
        snprintf(sender->keys[i], sizeof sender->keys[i], "key-%02d", i);
    for (int i = 0; i < BATCH_MAX; i++)
        sender->records[i] = (leat_record){ .value_size = self->size_bytes };
}

static inline void next_record(struct sender *sender, leat_record *record, bool keyed)
{
    if (keyed) {
        record->key = sender->keys[sender->source.next % KEYS];
        record->key_size = 6;
    }
    record->value = bench_source_next(&sender->source);
}

/* Sends a batch whole. To one partition a short answer is a prefix, and the rest is sent again; to several,
 * receipts would have to say which: there a short answer is a failure of the case. */
static int send_batch(struct sender *sender, const struct bench_case *self)
{
    for (uint32_t i = 0; i < self->batch; i++)
        next_record(sender, &sender->records[i], self->keyed);
    for (uint32_t sent = 0; sent < self->batch;) {
        int r = leat_producer_send_many(sender->out, sender->records + sent, self->batch - sent, NULL);
        if (r < 0)
            return r;
        if (r == 0 || (self->partitions > 1 && (uint32_t)r != self->batch))
            return LEAT_EFULL;
        sent += (uint32_t)r;
    }
    return 0;
}

static int send_one(struct sender *sender, const struct bench_case *self)
{
    next_record(sender, &sender->records[0], self->keyed);
    return leat_producer_send(sender->out, &sender->records[0], NULL);
}

static void produce(struct bench_crew *crew, int seat, void *arg)
{
    const struct leat_throughput *shared = arg;
    const struct bench_case *self = shared->self;
    static struct sender sender;
    leat_bus *bus;
    int r = leat_open(&bus, shared->bus);
    if (r < 0)
        fail(crew, seat, NULL, "leat_open", r);
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.exclusive = self->exclusive;
    options.full_timeout_ms = PATIENCE_MS;
    options.spin_us = self->block ? 0 : -1;
    if ((r = leat_producer_open(&sender.out, bus, topic_name, &options)) < 0)
        fail(crew, seat, bus, "leat_producer_open", r);
    sender_init(&sender, self, seat);
    uint64_t first = sender.source.next;
    bench_crew_meet(crew, seat);
    while (!lt_load_relaxed32(&crew->stop)) {
        r = self->batch > 1 ? send_batch(&sender, self) : send_one(&sender, self);
        if (r < 0)
            fail(crew, seat, bus, "send", r);
    }
    lt_store_release64(&crew->seats[seat].moved, sender.source.next - first);
    lt_store_release32(&crew->seats[seat].finished, 1);
    if ((r = leat_producer_close(sender.out)) < 0)
        fail(crew, seat, bus, "leat_producer_close", r);
    leat_close(bus);
}

/* ---- consumers: the seats behind ----------------------------------------------------------------------- */

struct sink {
    struct bench_crew *crew;
    const struct bench_case *self;
    int seat;
    leat_bus *bus;
    leat_consumer *in;
    uint64_t received;
    uint64_t next[PRODUCERS]; /* the lowest number of each producer that may come now */
};

static void take(struct sink *sink, const leat_record *record)
{
    if (record->value_size != sink->self->size_bytes)
        bench_fail(sink->crew, sink->seat, "a value of %zu bytes, sent %u", record->value_size,
                   sink->self->size_bytes);
    uint64_t word = bench_touch(record->value, sink->self->size_bytes);
    uint64_t producer = word >> NUMBER_BITS, count = word & ((1ull << NUMBER_BITS) - 1);
    if (producer >= sink->self->producers || count < sink->next[producer] ||
        (sink->self->partitions == 1 && count != sink->next[producer]))
        bench_fail(sink->crew, sink->seat, "offset %llu: record %llu of producer %llu where %llu was due",
                   (unsigned long long)record->offset, (unsigned long long)count,
                   (unsigned long long)producer,
                   (unsigned long long)(producer < PRODUCERS ? sink->next[producer] : 0));
    sink->next[producer] = count + 1;
    sink->received++;
}

/* Everything that was sent has arrived somewhere. */
static bool drained(const struct sink *sink)
{
    const struct bench_case *self = sink->self;
    uint64_t sent = 0, received = 0;
    for (uint32_t i = 0; i < self->producers; i++) {
        if (!lt_load_acquire32(&sink->crew->seats[i].finished))
            return false;
        sent += lt_load_acquire64(&sink->crew->seats[i].moved);
    }
    for (uint32_t i = 0; i < self->consumers; i++)
        received += lt_load_acquire64(&sink->crew->seats[self->producers + i].moved);
    return received == sent;
}

static void sink_open(struct sink *sink, const struct leat_throughput *shared)
{
    int r = leat_open(&sink->bus, shared->bus);
    if (r < 0)
        fail(sink->crew, sink->seat, NULL, "leat_open", r);
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.spin_us = sink->self->block ? 0 : -1;
    options.gather_us = sink->self->gather_us;
    options.gate = 1;
    const leat_record *none;
    uint32_t partition = (uint32_t)sink->seat - sink->self->producers;
    if ((r = leat_consumer_open(&sink->in, sink->bus, &options)) < 0 ||
        (r = leat_consumer_assign(sink->in, (leat_partition[]){ { topic_name, partition } }, 1)) < 0 ||
        (r = leat_consumer_seek(sink->in, topic_name, partition, LEAT_END)) < 0 ||
        (r = leat_consumer_poll(sink->in, 0, &none)) < 0)
        fail(sink->crew, sink->seat, sink->bus, "consumer", r);
}

/* The measured part of a stream; open while from != 0 and the seat has no count. */
struct stretch {
    uint64_t from, from_received;
};

static void stretch_end(struct stretch *stretch, struct sink *sink)
{
    struct bench_seat *mine = &sink->crew->seats[sink->seat];
    uint64_t now = bench_ticks();
    if (stretch->from == 0 || mine->counted != 0)
        return;
    mine->counted = sink->received - stretch->from_received;
    mine->records_per_s = (double)mine->counted / bench_ns(now - stretch->from) * 1e9;
    lt_store_release32(&sink->crew->stop, 1);
}

/* Silence is a failure only once the producers are done: before, they may be waiting for their CPU. */
static void check_silence(const struct sink *sink, uint64_t silent_ticks)
{
    for (uint32_t i = 0; i < sink->self->producers; i++)
        if (!lt_load_acquire32(&sink->crew->seats[i].finished))
            return;
    if (bench_ns(silent_ticks) > PATIENCE_MS * 1e6)
        bench_fail(sink->crew, sink->seat,
                   "nothing came for %d ms, %llu received, and not all that was sent is there", PATIENCE_MS,
                   (unsigned long long)sink->received);
}

static void consume(struct bench_crew *crew, int seat, void *arg)
{
    const struct leat_throughput *shared = arg;
    struct sink sink = { .crew = crew, .self = shared->self, .seat = seat };
    struct stretch stretch = { 0 };
    sink_open(&sink, shared);
    bench_crew_meet(crew, seat);
    struct bench_window window = bench_window_open(shared->slice_s);
    uint64_t last_progress = bench_ticks();
    while (!drained(&sink)) {
        const leat_record *records;
        int n = leat_consumer_poll(sink.in, 10, &records);
        if (n < 0)
            fail(crew, seat, sink.bus, "leat_consumer_poll", n);
        for (int i = 0; i < n; i++)
            take(&sink, &records[i]);
        lt_store_release64(&crew->seats[seat].moved, sink.received);
        uint64_t now = bench_ticks();
        if (n > 0)
            last_progress = now;
        else
            check_silence(&sink, now - last_progress);
        if (stretch.from == 0 && now >= window.warm_end)
            stretch = (struct stretch){ now, sink.received };
        else if (now >= window.end || lt_load_relaxed32(&crew->stop))
            stretch_end(&stretch, &sink);
    }
    stretch_end(&stretch, &sink);
    if (crew->seats[seat].counted == 0)
        bench_fail(crew, seat, "no record in the measured window");
    leat_consumer_close(sink.in);
    leat_close(sink.bus);
}

/* ---- rounds -------------------------------------------------------------------------------------------- */

#define LOG_BYTES (256ll << 20) /* a partition's, so that a run does not fill the disk */

/* Runs in a process of its own: the parent never opens the bus, for it forks. */
static void create_topic(struct bench_crew *crew, int seat, void *arg)
{
    const struct leat_throughput *shared = arg;
    leat_topic_options topic = LEAT_TOPIC_OPTIONS;
    topic.partitions = shared->self->partitions;
    topic.ring_size = BENCH_RING_BYTES;
    topic.on_full = LEAT_BLOCK;
    topic.no_log = !shared->self->logged;
    topic.retention_bytes = shared->self->logged ? LOG_BYTES : -1;
    leat_bus *bus;
    int r = leat_open(&bus, shared->bus);
    if (r < 0 || (r = leat_topic_create(bus, topic_name, &topic)) < 0)
        fail(crew, seat, bus, "create topic", r);
    leat_close(bus);
}

/* Producers from CPU 0 on, consumers from CPU 1 on, taking turns. */
static int leat_throughput_round(struct bench_case *self, double slice_s, struct bench_round *round,
                                 char *error, size_t error_size)
{
    static const struct bench_task prepare[] = { { 0, create_topic } };
    struct bench_task tasks[BENCH_MAX_SEATS];
    int count = 0;
    for (uint32_t i = 0; i < self->producers; i++)
        tasks[count++] = (struct bench_task){ (int)i % 2, produce };
    for (uint32_t i = 0; i < self->consumers; i++)
        tasks[count++] = (struct bench_task){ (int)(i + 1) % 2, consume };
    bool fresh = !self->bus;
    if (fresh && bench_bus_start(&self->bus, error, error_size) != 0)
        return -1;
    struct leat_throughput *shared = bench_shared_alloc(sizeof *shared);
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
        r = bench_crew_run(&shared->crew, tasks, count, shared, slice_s * 5 + 20, error, error_size);
    if (r == 0)
        bench_round_of_throughput(&shared->crew, round);
    bench_shared_free(shared, sizeof *shared);
    return r;
}

/* The cases of one size. `floor` and `against` are indices in this table. */
static const struct bench_case table[] = {
    { .name = "floor-single", .shape = "single", .batch = 1, .floor = -1, .against = -1 },
    { .name = "floor-batch", .shape = "batch", .batch = 16, .floor = -1, .against = -1 },
    { .name = "single", .shape = "single", .batch = 1, .floor = 0, .against = -1 },
    { .name = "batch", .shape = "batch", .batch = 16, .floor = 1, .against = -1 },
    { .name = "exclusive", .shape = "exclusive", .batch = 1, .floor = 0, .against = 2, .exclusive = true },
    { .name = "exclusive-batch",
      .shape = "exclusive-batch",
      .batch = 16,
      .floor = 1,
      .against = 3,
      .exclusive = true },
    { .name = "shared-2x1",
      .shape = "single",
      .batch = 1,
      .floor = 0,
      .against = 2,
      .block = true,
      .producers = 2 },
    { .name = "keyed-1x1",
      .shape = "batch",
      .batch = 16,
      .floor = 1,
      .against = -1,
      .block = true,
      .keyed = true },
    { .name = "keyed-4x4",
      .shape = "batch",
      .batch = 16,
      .floor = 1,
      .against = 7,
      .block = true,
      .keyed = true,
      .producers = PRODUCERS,
      .consumers = 4,
      .partitions = 4 },
    { .name = "single-gather", .shape = "single", .batch = 1, .floor = 0, .against = 2, .gather_us = 2 },
    { .name = "exclusive-gather",
      .shape = "exclusive",
      .batch = 1,
      .floor = 0,
      .against = 4,
      .exclusive = true,
      .gather_us = 2 },
    { .name = "batch-logged", .shape = "batch", .batch = 16, .floor = 1, .against = 3, .logged = true },
};

#define TABLE_COUNT ((int)(sizeof table / sizeof table[0]))
_Static_assert(TABLE_COUNT <= BENCH_MAX_CASES, "a group has room for the table");

static int run_group(uint32_t size_bytes, const struct bench_options *options)
{
    struct bench_case cases[TABLE_COUNT];
    memcpy(cases, table, sizeof cases);
    for (int i = 0; i < TABLE_COUNT; i++) {
        struct bench_case *self = &cases[i];
        self->measure = BENCH_THROUGHPUT;
        self->kind = self->floor < 0 ? BENCH_FLOOR : BENCH_LEAT;
        self->size_bytes = size_bytes;
        self->round = self->kind == BENCH_FLOOR ? bench_floor_throughput_round : leat_throughput_round;
        self->producers = self->producers ? self->producers : 1;
        self->consumers = self->consumers ? self->consumers : 1;
        self->partitions = self->partitions ? self->partitions : 1;
        snprintf(self->name, sizeof self->name, "throughput/%u/%s/%.32s", size_bytes,
                 self->block ? "block" : "spin", table[i].name);
    }
    return bench_group_run(cases, TABLE_COUNT, options);
}

/* Returns how many cases failed. */
int bench_throughput(const struct bench_options *options)
{
    static const uint32_t sizes[] = { 32, 64, 1024, BENCH_RECORD_BYTES };
    int failed = 0;
    bench_report_head(
        BENCH_THROUGHPUT,
        "Throughput, lossless. x floor: over the bare ring's rate; x other: shared and exclusive "
        "over single, 4x4 over 1x1.\nHigher is better.",
        options);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        failed += run_group(sizes[i], options);
    return failed;
}
