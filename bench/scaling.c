/*
 * What members add: 3 or 6 partitions, each record takes 1 ms of work (--work-us), by one member or by as many
 * as there are partitions. The work is sleep, as of somebody who waits for a disk or for another machine: two CPUs
 * have no room for six that compute. The floor is that sleep alone, in as many processes.
 *
 * Records lie there when the members come. The clock runs when each has its share; what was handed out
 * before is dropped. Each record is committed by itself.
 */
#include "bench.h"

#include <leat.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <time.h>

#define POLL_RECORDS 16
#define BACKLOG 8192 /* records of a partition */
#define SEND_BATCH 256
#define PATIENCE_S 20

static const char topic_name[] = "jobs";

struct scaling {
    struct bench_crew crew;
    const struct bench_case *self;
    char bus[128];
    char group[64]; /* another one each round: from the first record on */
    double slice_s;
    uint32_t work_us;
    _Alignas(128) uint32_t settled; /* members that have their share */
};

static uint32_t work_us; /* of the options: rounds get none */

_Noreturn static void fail(struct bench_crew *crew, int seat, leat_bus *bus, const char *what, int r)
{
    const char *why = leat_last_error(bus);
    bench_fail(crew, seat, "%s: %s", what, why[0] ? why : leat_strerror(r));
}

static void work(const struct scaling *shared)
{
    struct timespec nap = { .tv_sec = shared->work_us / 1000000,
                            .tv_nsec = (long)(shared->work_us % 1000000) * 1000 };
    nanosleep(&nap, NULL);
}

/* ---- the clock ----------------------------------------------------------------------------------------- */

struct meter {
    struct bench_window window;
    uint64_t from, done, from_done;
};

/* Counts one record. False: the window is over, and counted. */
static bool count(struct meter *meter, struct bench_seat *mine)
{
    uint64_t now = bench_ticks();
    meter->done++;
    if (meter->from == 0 && now >= meter->window.warm_end) {
        meter->from = now;
        meter->from_done = meter->done;
    }
    if (now < meter->window.end || meter->from == 0)
        return true;
    mine->counted = meter->done - meter->from_done;
    mine->records_per_s = (double)mine->counted / bench_ns(now - meter->from) * 1e9;
    return false;
}

static void sleep_alone(struct bench_crew *crew, int seat, void *arg)
{
    const struct scaling *shared = arg;
    prctl(PR_SET_TIMERSLACK, 1);
    bench_crew_meet(crew, seat);
    struct meter meter = { .window = bench_window_open(shared->slice_s) };
    do
        work(shared);
    while (count(&meter, &crew->seats[seat]));
}

/* ---- members ------------------------------------------------------------------------------------------- */

/* Until everybody has a share: polls, and throws away; then back to the first records. */
static void settle(struct scaling *shared, int seat, leat_bus *bus, leat_consumer *in)
{
    uint32_t members = shared->self->consumers;
    uint64_t until = bench_ticks() + bench_ticks_of(PATIENCE_S);
    const leat_partition *mine;
    bool said = false;
    int r = 0, count = 0;
    while (lt_load_acquire32(&shared->settled) < members) {
        const leat_record *records;
        r = leat_consumer_poll(in, 1, &records);
        count = leat_consumer_assignment(in, &mine);
        if (r < 0 || count < 0)
            fail(&shared->crew, seat, bus, "leat_consumer_poll", r < 0 ? r : count);
        if (!said && count == (int)(shared->self->partitions / members)) {
            said = true;
            lt_fetch_add32(&shared->settled, 1);
        }
        if (bench_ticks() > until)
            bench_fail(&shared->crew, seat, "after %d s this member has %d partitions", PATIENCE_S, count);
    }
    for (int i = 0; r >= 0 && i < count; i++)
        r = leat_consumer_seek(in, mine[i].topic, mine[i].partition, LEAT_BEGINNING);
    if (r < 0)
        fail(&shared->crew, seat, bus, "leat_consumer_seek", r);
}

static void consume(struct bench_crew *crew, int seat, void *arg)
{
    struct scaling *shared = arg;
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.group = shared->group;
    options.reset = LEAT_EARLIEST;
    options.assignor = LEAT_COOPERATIVE_STICKY;
    options.max_poll_records = POLL_RECORDS;
    options.auto_commit_ms = 0;
    leat_consumer *in;
    leat_bus *bus;
    int r = leat_open(&bus, shared->bus);
    if (r < 0 || (r = leat_consumer_open(&in, bus, &options)) < 0 ||
        (r = leat_consumer_subscribe(in, (const char *[]){ topic_name }, 1)) < 0)
        fail(crew, seat, bus, "join", r);
    prctl(PR_SET_TIMERSLACK, 1);
    bench_crew_meet(crew, seat);
    settle(shared, seat, bus, in);
    struct meter meter = { .window = bench_window_open(shared->slice_s) };
    for (bool more = true; more;) {
        const leat_record *records;
        int n = leat_consumer_poll(in, 1000, &records);
        if (n <= 0)
            bench_fail(crew, seat, "poll gave %d where a backlog is", n);
        for (int i = 0; i < n && more; i++) {
            work(shared);
            if ((r = leat_consumer_commit_record(in, &records[i], LEAT_ASYNC)) < 0)
                fail(crew, seat, bus, "leat_consumer_commit_record", r);
            more = count(&meter, &crew->seats[seat]);
        }
    }
    /* Who leaves gives its partitions to others: not before they have counted. */
    lt_fetch_add32(&shared->settled, 1);
    while (lt_load_acquire32(&shared->settled) < 2 * shared->self->consumers)
        nanosleep(&(struct timespec){ .tv_nsec = 200 * 1000 }, NULL);
    leat_consumer_close(in);
    leat_close(bus);
}

/* ---- rounds -------------------------------------------------------------------------------------------- */

static void fill(struct bench_crew *crew, int seat, void *arg)
{
    const struct scaling *shared = arg;
    leat_topic_options topic = LEAT_TOPIC_OPTIONS;
    static leat_record records[SEND_BATCH];
    leat_producer *out;
    leat_bus *bus;
    topic.no_log = 1; /* the ring's own figures; `durable` has the log's */
    topic.partitions = shared->self->partitions;
    topic.ring_size = BENCH_RING_BYTES;
    int r = leat_open(&bus, shared->bus);
    if (r < 0 || (r = leat_topic_create(bus, topic_name, &topic)) < 0 ||
        (r = leat_producer_open(&out, bus, topic_name, NULL)) < 0)
        fail(crew, seat, bus, "create topic", r);
    for (int i = 0; i < SEND_BATCH; i++)
        records[i] = (leat_record){ .value = "work", .value_size = 4 };
    for (uint32_t p = 0; p < topic.partitions; p++)
        for (int sent = 0; sent < BACKLOG; sent++)
            if ((r = leat_producer_send_to(out, p, &records[sent % SEND_BATCH], NULL)) < 0)
                fail(crew, seat, bus, "leat_producer_send_to", r);
    leat_producer_close(out);
    leat_close(bus);
}

static int run(struct scaling *shared, void (*role)(struct bench_crew *, int, void *),
               struct bench_round *round, char *error, size_t error_size)
{
    struct bench_task tasks[BENCH_MAX_SEATS];
    int members = (int)shared->self->consumers;
    for (int i = 0; i < members; i++)
        tasks[i] = (struct bench_task){ i % 2, role };
    int r = bench_crew_run(&shared->crew, tasks, members, shared, shared->slice_s * 5 + 30, error,
                           error_size);
    if (r == 0)
        bench_round_of_throughput(&shared->crew, round);
    return r;
}

static int floor_round(struct bench_case *self, double slice_s, struct bench_round *round, char *error,
                       size_t error_size)
{
    struct scaling *shared = bench_shared_alloc(sizeof *shared);
    if (!shared)
        return -1;
    shared->self = self;
    shared->slice_s = slice_s;
    shared->work_us = work_us;
    int r = run(shared, sleep_alone, round, error, error_size);
    bench_shared_free(shared, sizeof *shared);
    return r;
}

static int leat_round(struct bench_case *self, double slice_s, struct bench_round *round, char *error,
                      size_t error_size)
{
    static const struct bench_task prepare[] = { { 0, fill } };
    static uint32_t number;
    bool fresh = !self->bus;
    if (fresh && bench_bus_start(&self->bus, error, error_size) != 0)
        return -1;
    struct scaling *shared = bench_shared_alloc(sizeof *shared);
    if (!shared)
        return -1;
    shared->self = self;
    shared->slice_s = slice_s;
    shared->work_us = work_us;
    snprintf(shared->bus, sizeof shared->bus, "%s", bench_bus_path(self->bus));
    snprintf(shared->group, sizeof shared->group, "workers-%u", ++number);
    int r = 0;
    if (fresh) {
        r = bench_crew_run(&shared->crew, prepare, 1, shared, 20, error, error_size);
        memset(&shared->crew, 0, sizeof shared->crew);
    }
    if (r == 0)
        r = run(shared, consume, round, error, error_size);
    bench_shared_free(shared, sizeof *shared);
    return r;
}

static void name(struct bench_case *self, uint32_t partitions)
{
    if (self->kind == BENCH_FLOOR)
        snprintf(self->name, sizeof self->name, "scaling/%u/floor-%u", partitions, self->consumers);
    else
        snprintf(self->name, sizeof self->name, "scaling/%u/%u-member%s", partitions, self->consumers,
                 self->consumers == 1 ? "" : "s");
}

static int run_group(uint32_t partitions, const struct bench_options *options)
{
    struct bench_case cases[4];
    for (int i = 0; i < 4; i++) {
        bool floor = i < 2, many = i % 2 != 0;
        cases[i] = (struct bench_case){ .kind = floor ? BENCH_FLOOR : BENCH_LEAT,
                                        .measure = BENCH_THROUGHPUT,
                                        .size_bytes = 4,
                                        .block = true,
                                        .shape = "work",
                                        .batch = 1,
                                        .consumers = many ? partitions : 1,
                                        .partitions = partitions,
                                        .floor = floor ? -1 : i - 2,
                                        .against = many ? i - 1 : -1,
                                        .round = floor ? floor_round : leat_round };
        name(&cases[i], partitions);
    }
    return bench_group_run(cases, 4, options);
}

/* Returns how many cases failed. */
int bench_scaling(const struct bench_options *options)
{
    char about[256];
    work_us = options->work_us;
    snprintf(
        about, sizeof about,
        "Members of a group, each record %u us of work (asleep; timer overhead included). x floor: over that sleep in as many\n"
        "processes; x other: over one member.",
        work_us);
    bench_report_head(BENCH_THROUGHPUT, about, options);
    return run_group(3, options) + run_group(6, options);
}
