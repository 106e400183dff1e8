/*
 * What every bench shares: a clock made of CPU ticks, histograms, the placement probe, pinned processes
 * over shared memory, cases and their rounds, and the private bus that leat cases run on.
 *
 * A *case* is one thing measured (name, size, shape). Cases that are compared form a *group*: a floor, which
 * is the least the hardware asks for the same work, and the leat cases beside it. A group is run in short
 * *rounds*, each case once a round, each between two placement probes, so that floor and leat see the same
 * machine. The first round warms up and is thrown away. See report.c for what is made of the others.
 */
#ifndef BENCH_H
#define BENCH_H

#include "base/atomic.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#define BENCH_LINE 64
#define BENCH_MAX_ROUNDS 64
#define BENCH_MAX_CASES 16          /* in one group */
#define BENCH_MAX_SEATS 16          /* processes in one round */
#define BENCH_RING_BYTES (4u << 20) /* payload of a ring, the floor's and leat's alike */

/* ---- clock.c ------------------------------------------------------------------------------------------- */

/* Ticks of the constant-rate counter. Two CPUs read the same counter; bench_clock_init refuses others. */
static inline uint64_t bench_ticks(void)
{
#if defined(__x86_64__)
    return __rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
#error "no tick counter known for this processor"
#endif
}

/* The same, not before everything above has been executed: the stamp that ends a measurement. */
static inline uint64_t bench_ticks_after(void)
{
#if defined(__x86_64__)
    _mm_lfence();
#else
    __asm__ volatile("isb" ::: "memory");
#endif
    return bench_ticks();
}

int bench_clock_init(void);
double bench_ns(uint64_t ticks);
uint64_t bench_ticks_of(double seconds);

/* ---- hist.c -------------------------------------------------------------------------------------------- */

#define BENCH_HIST_SUB 128                       /* steps an octave: an error below 0.8 % */
#define BENCH_HIST_BUCKETS (35 * BENCH_HIST_SUB) /* up to 2^41 ticks, about ten minutes */

struct bench_hist {
    uint64_t n;
    uint64_t max;
    uint64_t buckets[BENCH_HIST_BUCKETS];
};

void bench_hist_add(struct bench_hist *hist, uint64_t value);
double bench_hist_at(const struct bench_hist *hist, double quantile);

/* ---- probe.c ------------------------------------------------------------------------------------------- */

enum bench_placement { BENCH_SAME, BENCH_CROSS, BENCH_MIXED, BENCH_PLACEMENTS };

extern const char *const bench_placement_names[BENCH_PLACEMENTS];

double bench_probe(void);
enum bench_placement bench_place(double before_ns, double after_ns);

/* ---- crew.c: the processes of one round ---------------------------------------------------------------- */

/* What one process of a round hands back. Written by that process; read by all while it runs (moved,
 * finished), by the parent when all are gone. */
struct bench_seat {
    _Alignas(BENCH_LINE) uint64_t moved; /* records sent or received so far */
    uint32_t finished;                   /* moved is final */
    double records_per_s;                /* in the measured window, receivers only */
    uint64_t counted;                    /* records in that window */
    uint64_t met_ticks, met_queued_ns;   /* when everybody had met */
    double queued;                       /* share of the time since then that it waited for its CPU */
    char error[192];
    struct bench_hist hist; /* ticks of a round trip */
};

struct bench_crew {
    _Alignas(BENCH_LINE) uint32_t arrived;
    _Alignas(BENCH_LINE) uint32_t stop;
    int count;
    struct bench_seat seats[BENCH_MAX_SEATS];
};

struct bench_task {
    int cpu; /* 0 or 1 */
    void (*run)(struct bench_crew *crew, int seat, void *arg);
};

struct bench_window {
    uint64_t warm_end, end; /* ticks */
};

int bench_cpus_init(void);
int bench_cpu(int which);
void bench_pin(int which);
void *bench_shared_alloc(size_t size_bytes);
void bench_shared_free(void *at, size_t size_bytes);
void bench_prefault(void *at, size_t size_bytes);
int bench_crew_run(struct bench_crew *crew, const struct bench_task *tasks, int count, void *arg,
                   double timeout_s, char *error, size_t error_size);
void bench_crew_meet(struct bench_crew *crew, int seat);
_Noreturn void bench_fail(struct bench_crew *crew, int seat, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
struct bench_window bench_window_open(double slice_s);

/* ---- the work itself, the same for floor and leat ------------------------------------------------------ */

/* What is sent: 32 buffers in turn, each beginning with its number as a 64-bit word. Numbers are written
 * 16 records before the buffer is sent, for a copy that follows at once on the store of the number waits 5
 * ns for it (a wide load cannot be served from the narrow store before it), and that would be measured as
 * the bus's. */
#define BENCH_SOURCE_BUFFERS 32
#define BENCH_SOURCE_AHEAD 16
#define BENCH_RECORD_BYTES 16384 /* the largest */

struct bench_source {
    uint64_t next; /* number */
    size_t stride;
    _Alignas(BENCH_LINE) unsigned char bytes[BENCH_SOURCE_BUFFERS * BENCH_RECORD_BYTES];
};

static inline unsigned char *bench_source_at(struct bench_source *source, uint64_t number)
{
    return source->bytes + number % BENCH_SOURCE_BUFFERS * source->stride;
}

static inline void bench_source_init(struct bench_source *source, size_t size_bytes, uint64_t first)
{
    source->stride = (size_bytes + BENCH_LINE - 1) / BENCH_LINE * BENCH_LINE;
    source->next = first;
    memset(source->bytes, 1, sizeof source->bytes);
    for (uint64_t number = first; number < first + BENCH_SOURCE_AHEAD; number++)
        memcpy(bench_source_at(source, number), &number, sizeof number);
}

/* The next record to send. Up to 16 can be taken before the first is sent. */
static inline unsigned char *bench_source_next(struct bench_source *source)
{
    uint64_t ahead = source->next + BENCH_SOURCE_AHEAD;
    memcpy(bench_source_at(source, ahead), &ahead, sizeof ahead);
    return bench_source_at(source, source->next++);
}

/* Reads one word of every cache line, so that every line of the record has to arrive; word 0 is returned
 * in *first. The sum goes through an asm statement: the compiler may not drop a load. */
static inline uint64_t bench_touch(const void *payload, size_t size_bytes)
{
    uint64_t first, word, sum = 0;
    memcpy(&first, payload, sizeof first);
    for (size_t at = BENCH_LINE; at < size_bytes; at += BENCH_LINE) {
        memcpy(&word, (const char *)payload + at, sizeof word);
        sum += word;
    }
    __asm__ volatile("" : : "r"(sum));
    return first;
}

/* ---- run.c: cases, groups and rounds ------------------------------------------------------------------- */

enum bench_kind { BENCH_FLOOR, BENCH_LEAT };
enum bench_measure { BENCH_LATENCY, BENCH_THROUGHPUT };

struct bench_options {
    const char *filter; /* run the cases whose names contain it, and their floors */
    double seconds;     /* measured time of a case, all rounds together */
    int rounds;         /* that count */
    bool json;
    bool quick;       /* a look whether it works: figures mean nothing */
    uint32_t work_us; /* scaling: of one record */
    uint64_t log_mib; /* durable: size of the log that is recovered */
};

/* One round of one case. Latency fills the nanoseconds (one way), throughput the rates. */
struct bench_round {
    double before_ns, after_ns; /* round trip of the placement probe */
    enum bench_placement placement;
    double queued; /* the largest share of time that one of its processes waited for its CPU */
    uint64_t n;
    double p50_ns, p99_ns, p999_ns, max_ns;
    double records_per_s;
};

struct bench_bus;

struct bench_case {
    char name[64];
    enum bench_kind kind;
    enum bench_measure measure;
    uint32_t size_bytes;
    bool block; /* sleeps when there is nothing to do, instead of spinning */
    const char *shape;
    bool exclusive, in_place, keyed;
    uint32_t gather_us; /* of the consumer; 0: every record at once */
    bool logged;        /* the topic has a log, at level ring: the persister has the CPUs and the disk, too */
    uint32_t batch;     /* records published together */
    uint32_t producers, consumers, partitions;
    int floor;   /* index in the group, -1 for a floor itself */
    int against; /* another case to print a ratio to, or -1 */
    int (*round)(struct bench_case *self, double slice_s, struct bench_round *round, char *error,
                 size_t error_size);
    struct bench_bus *bus; /* opened by the first round of a leat case, closed with the group */

    bool wanted;
    int rounds;
    struct bench_round results[BENCH_MAX_ROUNDS];
    char error[256];
};

int bench_group_run(struct bench_case *cases, int count, const struct bench_options *options);

/* ---- report.c ------------------------------------------------------------------------------------------ */

void bench_report_machine(const struct bench_options *options);
/* `about`: what is measured, and what the ratios are. */
void bench_report_head(enum bench_measure measure, const char *about, const struct bench_options *options);
void bench_report_case(const struct bench_case *cases, int index, const struct bench_options *options);
double bench_median(double *values, int count);
/* ,"key":"text" */
void bench_json_string(const char *key, const char *text);

struct bench_quantiles {
    double p50_ns, p90_ns, p99_ns;
};

/* Sorts the values. */
struct bench_quantiles bench_quantiles_of(double *values_ns, int count);

/* ---- disk.c -------------------------------------------------------------------------------------------- */

int bench_disk_write_round(const char *directory, uint32_t size_bytes, double slice_s,
                           struct bench_round *round, char *error, size_t error_size);
int bench_disk_bandwidth(const char *directory, uint32_t block, double slice_s, double *bytes_per_s,
                         char *error, size_t error_size);
int bench_disk_read(const char *path, uint64_t *bytes);

/* ---- floor.c, death.c and the benches ------------------------------------------------------------------ */

int bench_floor_latency_round(struct bench_case *self, double slice_s, struct bench_round *round, char *error,
                              size_t error_size);
int bench_floor_throughput_round(struct bench_case *self, double slice_s, struct bench_round *round,
                                 char *error, size_t error_size);
/* Floors of a hand-over; ns has room for `rounds`. */
typedef int bench_floor_fn(uint32_t victim_mb, int rounds, double *ns, char *error, size_t error_size);
bench_floor_fn bench_floor_hop, bench_floor_robust, bench_floor_pidfd;
void bench_touch_memory(uint32_t megabytes);
void bench_round_of_latency(const struct bench_crew *crew, struct bench_round *round);
void bench_round_of_throughput(const struct bench_crew *crew, struct bench_round *round);

int bench_latency(const struct bench_options *options);
int bench_throughput(const struct bench_options *options);
int bench_rebalance(const struct bench_options *options);
int bench_commit(const struct bench_options *options);
int bench_scaling(const struct bench_options *options);
int bench_durable(const struct bench_options *options);
int bench_recovery(const struct bench_options *options);
int bench_regress(const char *revision, const struct bench_options *options);

/* A leatd of its own in a temporary directory; where this program and that leatd are. */
int bench_bus_start(struct bench_bus **out, char *error, size_t error_size);
const char *bench_bus_path(const struct bench_bus *bus);
int bench_bus_pid(const struct bench_bus *bus); /* the keeper's */
void bench_bus_stop(struct bench_bus *bus);
int bench_where(char *program, char *leatd, size_t size);
void bench_remove_tree(const char *path);

#endif
