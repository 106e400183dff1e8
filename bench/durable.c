/*
 * Level `durable` through the public API, beside what the same disk does without leat in the same run, round by round.
 *
 *   one       a sender that waits for each record. Floor: one buffered write of that size with RWF_DSYNC, and two hops of a bare
 *             futex: to the process that writes, and back
 *   many      16 senders that wait for each record; 16 that keep a window (two halves of HALF_BYTES) under way. Floor: io_uring, 32 flushed
 *             writes of 64 KiB or of 1 MiB under way, whichever is faster
 *   replay    what the topic has then is read from the beginning, every line of it; floor: plain read() of the same files
 *
 * The topic keeps RETAIN_BYTES, and has them before anything is measured: a log that only grows would mostly show what the
 * machine takes for memory that it has never touched, 8-10 us a page where a host has to find it.
 *
 * Senders sleep while they wait. CPU is user and system time a second: of leatd (the threads in which io_uring writes included)
 * and of all senders together. Bytes are those of the values; a record has 32 more in the log, and replay's bytes are the log's.
 */
#include "bench.h"

#include <dirent.h>
#include <leat.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "store/format.h"

#define SENDERS 16
#define HALF_BYTES (512u << 10)
#define HALF_MAX 4096 /* records */
#define RING_BYTES (32u << 20)
#define RETAIN_BYTES (512ll << 20)
#define RETAIN_MORE (32ll << 20) /* two segments */
#define QUICK_RETAIN_BYTES (4ll << 20)
#define PATIENCE_MS 10000

static const char topic_name[] = "durable";

enum shape { ONE, MANY_WAIT, MANY_WINDOW, SHAPES };

static const char *const shape_names[SHAPES] = { "one/wait", "16/wait", "16/window" };

/* ---- what is shared with the processes of a round ------------------------------------------------------ */

struct durable {
    struct bench_crew crew;
    char bus[128];
    uint32_t size_bytes;
    int64_t retain_bytes;
    enum shape shape;
    double slice_s;
    pid_t worker; /* leatd's */
    uint32_t done;
    double leatd_cpu, sender_cpu[SENDERS]; /* seconds a second */
    /* replay */
    double seconds;
};

_Noreturn static void fail(struct bench_crew *crew, int seat, leat_bus *bus, const char *what, int r)
{
    const char *why = leat_last_error(bus);
    bench_fail(crew, seat, "%s: %s", what, why[0] ? why : leat_strerror(r));
}

/* ---- CPU ----------------------------------------------------------------------------------------------- */

/* User and system time of a process, all its threads; 0 when it is gone. */
static double cpu_of(pid_t pid)
{
    char path[64];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *stat = fopen(path, "re");
    if (stat &&
        fscanf(stat, "%*d %*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        user = system = 0;
    if (stat)
        fclose(stat);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double own_cpu(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* leatd's keeper is our child; its worker is the keeper's. */
static pid_t worker_of(pid_t keeper)
{
    DIR *proc = opendir("/proc");
    pid_t found = 0;
    for (struct dirent *entry; proc && !found && (entry = readdir(proc));) {
        char path[300];
        int parent = 0, pid = atoi(entry->d_name);
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        FILE *stat = pid > 0 ? fopen(path, "re") : NULL;
        if (stat && fscanf(stat, "%*d %*[^)]) %*c %d", &parent) == 1 && parent == keeper)
            found = pid;
        if (stat)
            fclose(stat);
    }
    if (proc)
        closedir(proc);
    return found;
}

/* ---- senders ------------------------------------------------------------------------------------------- */

struct sender {
    leat_bus *bus;
    leat_producer *out;
    struct bench_source source;
    uint32_t count;        /* sent at once: 1, or half a window */
    leat_receipt previous; /* the last of the half before */
    bool waits;            /* there is such a half */
};

/* A record and its acknowledgement; or half a window, and that of the half before. */
static int send_some(struct sender *s, uint32_t size_bytes)
{
    leat_record record = { .value_size = size_bytes };
    leat_receipt receipt = { 0 };
    int r = 0;
    for (uint32_t i = 0; i < s->count && r == 0; i++) {
        record.value = bench_source_next(&s->source);
        r = leat_producer_send(s->out, &record, &receipt);
    }
    if (r == 0 && (s->count == 1 || s->waits))
        r = leat_producer_wait(s->out, s->count == 1 ? &receipt : &s->previous, PATIENCE_MS);
    s->previous = receipt;
    s->waits = true;
    return r;
}

static uint32_t count_of(const struct durable *shared)
{
    uint32_t half = HALF_BYTES / shared->size_bytes;
    return shared->shape != MANY_WINDOW ? 1 : half < HALF_MAX ? half : HALF_MAX;
}

/* The topic, with as much in it as it keeps, and some more: from here on what comes in takes the place of what goes. */
static void create_topic(struct bench_crew *crew, int seat, void *arg)
{
    const struct durable *shared = arg;
    static struct sender s;
    leat_topic_options topic = LEAT_TOPIC_OPTIONS;
    topic.level = LEAT_DURABLE;
    topic.ring_size = RING_BYTES;
    topic.retention_bytes = shared->retain_bytes;
    int r = leat_open(&s.bus, shared->bus);
    if (r < 0 || (r = leat_topic_create(s.bus, topic_name, &topic)) < 0 ||
        (r = leat_producer_open(&s.out, s.bus, topic_name, NULL)) < 0)
        fail(crew, seat, s.bus, "create topic", r);
    bench_source_init(&s.source, shared->size_bytes, 0);
    s.count = count_of(shared);
    for (int64_t sent = 0; sent < shared->retain_bytes + RETAIN_MORE;
         sent += (int64_t)s.count * shared->size_bytes)
        if ((r = send_some(&s, shared->size_bytes)) < 0)
            fail(crew, seat, s.bus, "send and wait", r);
    if ((r = leat_producer_close(s.out)) < 0)
        fail(crew, seat, s.bus, "leat_producer_close", r);
    leat_close(s.bus);
}

/* The window of measuring is each sender's own; all go on until the last has closed its. */
static void meter(struct durable *shared, int seat, struct sender *s)
{
    struct bench_seat *mine = &shared->crew.seats[seat];
    struct bench_window window = bench_window_open(shared->slice_s);
    uint64_t from = 0, to = 0;
    double cpu = 0, leatd_cpu = 0;
    bool over = false;
    while (lt_load_acquire32(&shared->done) < (uint32_t)shared->crew.count) {
        uint64_t sent = bench_ticks();
        int r = send_some(s, shared->size_bytes);
        if (r < 0)
            fail(&shared->crew, seat, s->bus, "send and wait", r);
        to = bench_ticks_after();
        if (from != 0 && !over) {
            mine->counted += s->count;
            bench_hist_add(&mine->hist, to - sent);
        }
        if (from == 0 && to >= window.warm_end) {
            from = to;
            cpu = own_cpu();
            leatd_cpu = cpu_of(shared->worker);
        } else if (!over && to >= window.end && mine->counted > 0) {
            double seconds = bench_ns(to - from) / 1e9;
            mine->records_per_s = (double)mine->counted / seconds;
            shared->sender_cpu[seat] = (own_cpu() - cpu) / seconds;
            if (seat == 0)
                shared->leatd_cpu = (cpu_of(shared->worker) - leatd_cpu) / seconds;
            over = true;
            lt_fetch_add32(&shared->done, 1);
        }
    }
}

static void produce(struct bench_crew *crew, int seat, void *arg)
{
    struct durable *shared = arg;
    static struct sender s;
    int r = leat_open(&s.bus, shared->bus);
    if (r < 0 || (r = leat_producer_open(&s.out, s.bus, topic_name, NULL)) < 0)
        fail(crew, seat, s.bus, "leat_producer_open", r);
    bench_source_init(&s.source, shared->size_bytes, 0);
    s.count = count_of(shared);
    bench_crew_meet(crew, seat);
    meter(shared, seat, &s);
    if ((r = leat_producer_close(s.out)) < 0)
        fail(crew, seat, s.bus, "leat_producer_close", r);
    leat_close(s.bus);
}

/* ---- replay -------------------------------------------------------------------------------------------- */

static void replay(struct bench_crew *crew, int seat, void *arg)
{
    struct durable *shared = arg;
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    const leat_record *records;
    leat_topic_info *info = NULL;
    leat_consumer *in;
    leat_bus *bus;
    options.reset = LEAT_RESET_ERROR; /* what is not there any more is an error */
    int r = leat_open(&bus, shared->bus);
    if (r < 0 || (r = leat_topic_describe(bus, topic_name, &info)) < 0 ||
        (r = leat_consumer_open(&in, bus, &options)) < 0 ||
        (r = leat_consumer_assign(in, (leat_partition[]){ { topic_name, 0 } }, 1)) < 0 ||
        (r = leat_consumer_seek(in, topic_name, 0, (int64_t)info->partitions[0].log_start_offset)) < 0)
        fail(crew, seat, bus, "a consumer at the beginning", r);
    uint64_t end = info->partitions[0].log_end_offset, next = 0;
    bench_crew_meet(crew, seat);
    uint64_t from = bench_ticks();
    while (next < end) {
        int n = leat_consumer_poll(in, PATIENCE_MS, &records);
        if (n <= 0)
            fail(crew, seat, bus, "leat_consumer_poll", n);
        for (int i = 0; i < n; i++) {
            bench_touch(records[i].value, records[i].value_size);
            crew->seats[seat].counted++;
        }
        next = records[n - 1].offset + 1;
    }
    shared->seconds = bench_ns(bench_ticks_after() - from) / 1e9;
    leat_topic_info_free(info);
    leat_consumer_close(in);
    leat_close(bus);
}

/* The files of the bus's one partition, wherever the data directory has them. */
struct files {
    uint64_t bytes;
    int count, error;
};

static void read_files(const char *directory, struct files *files)
{
    DIR *dir = opendir(directory);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[PATH_MAX];
        size_t size = strlen(entry->d_name);
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.') {
            read_files(path, files);
        } else if (size > 4 && strcmp(entry->d_name + size - 4, ".log") == 0 && size == 24) {
            files->count++;
            files->error |= bench_disk_read(path, &files->bytes);
        }
    }
    if (dir)
        closedir(dir);
}

/* ---- rounds -------------------------------------------------------------------------------------------- */

struct result {
    uint64_t n;
    double p50_ns, p99_ns, floor_p50_ns, floor_p99_ns, records_per_s, bytes_per_s, floor_bytes_per_s,
        leatd_cpu, senders_cpu;
};

struct line {
    char name[64];
    bool wanted;
    int rounds;
    struct result results[BENCH_MAX_ROUNDS];
    char error[256];
};

struct group {
    uint32_t size_bytes;
    struct bench_bus *bus;
    struct durable *shared;
    struct line shapes[SHAPES], replay;
};

static int run_shape(struct group *g, enum shape shape, double slice_s, struct result *result, char *error,
                     size_t error_size)
{
    struct durable *shared = g->shared;
    struct bench_task tasks[SENDERS];
    int count = shape == ONE ? 1 : SENDERS;
    pid_t worker = shared->worker;
    memset(&shared->crew, 0, sizeof shared->crew);
    shared->shape = shape;
    shared->slice_s = slice_s;
    shared->worker = worker;
    shared->done = 0;
    for (int i = 0; i < count; i++)
        tasks[i] = (struct bench_task){ i % 2, produce };
    if (bench_crew_run(&shared->crew, tasks, count, shared, slice_s * 5 + 60, error, error_size) != 0)
        return -1;
    *result = (struct result){ .p50_ns = bench_ns(1) * bench_hist_at(&shared->crew.seats[0].hist, 0.5),
                               .p99_ns = bench_ns(1) * bench_hist_at(&shared->crew.seats[0].hist, 0.99),
                               .leatd_cpu = shared->leatd_cpu };
    for (int i = 0; i < count; i++) {
        result->n += shared->crew.seats[i].counted;
        result->records_per_s += shared->crew.seats[i].records_per_s;
        result->senders_cpu += shared->sender_cpu[i];
    }
    result->bytes_per_s = result->records_per_s * g->size_bytes;
    return 0;
}

/* The write and both hops are measured one after the other and added, quantile by quantile. */
static int floor_of_one(struct group *g, double slice_s, struct result *result, char *error,
                        size_t error_size)
{
    struct bench_round write = { 0 }, hop = { 0 };
    struct bench_case one_line = { .size_bytes = 32, .block = true };
    if (bench_disk_write_round(bench_bus_path(g->bus), g->size_bytes, slice_s, &write, error, error_size) !=
            0 ||
        bench_floor_latency_round(&one_line, slice_s / 2, &hop, error, error_size) != 0)
        return -1;
    result->floor_p50_ns = write.p50_ns + 2 * hop.p50_ns;
    result->floor_p99_ns = write.p99_ns + 2 * hop.p99_ns;
    return 0;
}

static int floor_of_many(struct group *g, double slice_s, double *bytes_per_s, char *error, size_t error_size)
{
    double small = 0, large = 0;
    if (bench_disk_bandwidth(bench_bus_path(g->bus), 64 << 10, slice_s, &small, error, error_size) != 0 ||
        bench_disk_bandwidth(bench_bus_path(g->bus), 1 << 20, slice_s, &large, error, error_size) != 0)
        return -1;
    *bytes_per_s = small > large ? small : large;
    return 0;
}

static void run_line(struct group *g, enum shape shape, double slice_s, double floor_bytes_per_s, bool keep)
{
    struct line *line = &g->shapes[shape];
    struct result result = { 0 }, floor = { 0 };
    if (!line->wanted || line->error[0])
        return;
    if ((shape == ONE && floor_of_one(g, slice_s, &floor, line->error, sizeof line->error) != 0) ||
        run_shape(g, shape, slice_s, &result, line->error, sizeof line->error) != 0) {
        if (line->error[0] == 0)
            snprintf(line->error, sizeof line->error, "failed without a word");
        return;
    }
    result.floor_p50_ns = floor.floor_p50_ns;
    result.floor_p99_ns = floor.floor_p99_ns;
    result.floor_bytes_per_s = floor_bytes_per_s;
    if (keep)
        line->results[line->rounds++] = result;
}

static void run_replay(struct group *g, bool keep)
{
    static const struct bench_task task[] = { { 0, replay } };
    struct line *line = &g->replay;
    struct durable *shared = g->shared;
    struct files files = { 0 };
    if (!line->wanted || line->error[0])
        return;
    uint64_t from = bench_ticks();
    read_files(bench_bus_path(g->bus), &files);
    double seconds = bench_ns(bench_ticks_after() - from) / 1e9;
    if (files.count == 0 || files.error != 0) {
        snprintf(line->error, sizeof line->error, "%d files of the log, error %d", files.count, files.error);
        return;
    }
    memset(&shared->crew, 0, sizeof shared->crew);
    if (bench_crew_run(&shared->crew, task, 1, shared, 120, line->error, sizeof line->error) != 0 || !keep)
        return;
    uint64_t n = shared->crew.seats[0].counted;
    uint64_t in_log = (g->size_bytes + sizeof(struct lt_record_head) + 7) / 8 * 8;
    line->results[line->rounds++] = (struct result){ .n = n,
                                                     .records_per_s = (double)n / shared->seconds,
                                                     .bytes_per_s = (double)(n * in_log) / shared->seconds,
                                                     .floor_bytes_per_s = (double)files.bytes / seconds };
}

/* ---- lines --------------------------------------------------------------------------------------------- */

static double median_of(const struct line *line, size_t at, size_t below)
{
    double values[BENCH_MAX_ROUNDS];
    for (int i = 0; i < line->rounds; i++) {
        const char *result = (const char *)&line->results[i];
        double over, under = 1;
        memcpy(&over, result + at, sizeof over);
        if (below)
            memcpy(&under, result + below, sizeof under);
        values[i] = under > 0 ? over / under : 0;
    }
    return bench_median(values, line->rounds);
}

#define MEDIAN(line, field) median_of(line, offsetof(struct result, field), 0)
#define RATIO(line, field, floor) \
    median_of(line, offsetof(struct result, field), offsetof(struct result, floor))

static void json_line(const struct line *line, uint32_t size_bytes)
{
    uint64_t n = 0;
    for (int i = 0; i < line->rounds; i++)
        n += line->results[i].n;
    printf("{\"record\":\"durable\"");
    bench_json_string("name", line->name);
    printf(",\"size_bytes\":%u", size_bytes);
    if (line->error[0]) {
        bench_json_string("error", line->error);
        printf("}\n");
        return;
    }
    printf(",\"rounds\":%d,\"n\":%llu,\"records_per_s\":%.0f,\"bytes_per_s\":%.0f", line->rounds,
           (unsigned long long)n, MEDIAN(line, records_per_s), MEDIAN(line, bytes_per_s));
    if (MEDIAN(line, p50_ns) > 0)
        printf(",\"p50_ns\":%.0f,\"p99_ns\":%.0f,\"cpu_leatd\":%.3f,\"cpu_senders\":%.3f",
               MEDIAN(line, p50_ns), MEDIAN(line, p99_ns), MEDIAN(line, leatd_cpu),
               MEDIAN(line, senders_cpu));
    if (MEDIAN(line, floor_p50_ns) > 0)
        printf(",\"floor_p50_ns\":%.0f,\"floor_p99_ns\":%.0f,\"ratio\":%.3f,\"ratio_p99\":%.3f",
               MEDIAN(line, floor_p50_ns), MEDIAN(line, floor_p99_ns), RATIO(line, p50_ns, floor_p50_ns),
               RATIO(line, p99_ns, floor_p99_ns));
    printf(",\"floor_bytes_per_s\":%.0f,\"bandwidth_ratio\":%.4f}\n", MEDIAN(line, floor_bytes_per_s),
           RATIO(line, bytes_per_s, floor_bytes_per_s));
}

static void table_line(const struct line *line)
{
    char latency[64] = "-", floor[64] = "-", ratios[32] = "-", cpu[32] = "-";
    if (line->error[0]) {
        printf("%-26s failed: %s\n", line->name, line->error);
        return;
    }
    if (MEDIAN(line, p50_ns) > 0) {
        snprintf(latency, sizeof latency, "%.1f/%.1f", MEDIAN(line, p50_ns) / 1e3,
                 MEDIAN(line, p99_ns) / 1e3);
        snprintf(cpu, sizeof cpu, "%.2f/%.2f", MEDIAN(line, leatd_cpu), MEDIAN(line, senders_cpu));
    }
    if (MEDIAN(line, floor_p50_ns) > 0) {
        snprintf(floor, sizeof floor, "%.1f/%.1f", MEDIAN(line, floor_p50_ns) / 1e3,
                 MEDIAN(line, floor_p99_ns) / 1e3);
        snprintf(ratios, sizeof ratios, "%.2f/%.2f", RATIO(line, p50_ns, floor_p50_ns),
                 RATIO(line, p99_ns, floor_p99_ns));
    }
    printf("%-26s %15s %15s %11s %11.0f %9.1f %9.1f %7.3f %11s\n", line->name, latency, floor, ratios,
           MEDIAN(line, records_per_s), MEDIAN(line, bytes_per_s) / 1e6,
           MEDIAN(line, floor_bytes_per_s) / 1e6, RATIO(line, bytes_per_s, floor_bytes_per_s), cpu);
}

static int report(const struct line *line, uint32_t size_bytes, const struct bench_options *options)
{
    if (!line->wanted)
        return 0;
    if (options->json)
        json_line(line, size_bytes);
    else
        table_line(line);
    fflush(stdout);
    return line->error[0] != 0;
}

/* ---- groups -------------------------------------------------------------------------------------------- */

static bool is_wanted(struct line *line, uint32_t size_bytes, const char *what,
                      const struct bench_options *options)
{
    snprintf(line->name, sizeof line->name, "durable/%u/%s", size_bytes, what);
    line->wanted = !options->filter || strstr(line->name, options->filter);
    return line->wanted;
}

static int start(struct group *g, bool quick, char *error, size_t error_size)
{
    static const struct bench_task prepare[] = { { 0, create_topic } };
    g->shared = bench_shared_alloc(sizeof *g->shared);
    if (!g->shared || bench_bus_start(&g->bus, error, error_size) != 0)
        return -1;
    g->shared->size_bytes = g->size_bytes;
    g->shared->shape = MANY_WINDOW;
    g->shared->retain_bytes = quick ? QUICK_RETAIN_BYTES : RETAIN_BYTES;
    g->shared->worker = worker_of(bench_bus_pid(g->bus));
    snprintf(g->shared->bus, sizeof g->shared->bus, "%s", bench_bus_path(g->bus));
    return bench_crew_run(&g->shared->crew, prepare, 1, g->shared, 120, error, error_size);
}

static void run_rounds(struct group *g, const struct bench_options *options)
{
    double slice_s = options->seconds / options->rounds;
    for (int r = 0; r <= options->rounds; r++) {
        double floor_bytes_per_s = 0;
        struct line *many = &g->shapes[MANY_WINDOW];
        if (floor_of_many(g, slice_s, &floor_bytes_per_s, many->error, sizeof many->error) != 0)
            floor_bytes_per_s = 0;
        for (int shape = 0; shape < SHAPES; shape++)
            run_line(g, (enum shape)shape, slice_s, floor_bytes_per_s, r > 0);
    }
    for (int r = 0; r <= options->rounds; r++) /* what all of them have sent */
        run_replay(g, r > 0);
}

static int run_group(uint32_t size_bytes, const struct bench_options *options)
{
    static struct group group;
    char error[256] = "";
    bool wanted = false;
    int failed = 0;
    group = (struct group){ .size_bytes = size_bytes };
    for (int shape = 0; shape < SHAPES; shape++)
        wanted |= is_wanted(&group.shapes[shape], size_bytes, shape_names[shape], options);
    wanted |= is_wanted(&group.replay, size_bytes, "replay", options);
    if (!wanted)
        return 0;
    if (group.replay.wanted)
        group.shapes[MANY_WINDOW].wanted = true; /* it makes what is read */
    if (start(&group, options->quick, error, sizeof error) == 0) {
        run_rounds(&group, options);
        for (int shape = 0; shape < SHAPES; shape++)
            failed += report(&group.shapes[shape], size_bytes, options);
        failed += report(&group.replay, size_bytes, options);
    } else {
        fprintf(stderr, "bench: durable: %s\n", error[0] ? error : "no shared memory");
        failed++;
    }
    bench_bus_stop(group.bus);
    bench_shared_free(group.shared, sizeof *group.shared);
    return failed;
}

/* Returns how many cases failed. */
int bench_durable(const struct bench_options *options)
{
    static const uint32_t sizes[] = { 100, 1024, BENCH_RECORD_BYTES };
    int failed = 0;
    if (!options->json)
        printf(
            "\nLevel durable. Latency: us of one acknowledged send (window: of half a window), p50/p99; floor: RWF_DSYNC of that size "
            "and two futex hops.\nMB/s of values; raw: io_uring, 32 flushed writes of 64 KiB or 1 MiB, zeroed file; "
            "replay: plain read(). CPU: seconds a second, leatd/senders.\n"
            "Targets: one <= 1.2 of its floor at p50; 16/window >= 0.8 raw; replay >= 0.8 read.\n"
            "%-26s %15s %15s %11s %11s %9s %9s %7s %11s\n",
            "case", "p50/p99", "floor", "x floor", "records/s", "MB/s", "raw MB/s", "x raw", "CPU");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        failed += run_group(sizes[i], options);
    return failed + bench_recovery(options);
}
