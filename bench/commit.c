/*
 * What a commit costs its caller, by kind and by how many partitions it covers: batches of commits by a member that has
 * its partitions to itself, timed as a whole. Behind that the same calls again, in a process that the kernel
 * kills at its next system call (a seccomp filter): it has to live.
 */
#include "bench.h"

#include <errno.h>
#include <leat.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000u
#endif

#define BATCH 1000
#define BATCHES 400
#define PATIENCE_S 20

static const char topic_name[] = "commits";

enum kind { ASYNC, SYNC, RECORD, OFFSETS, KINDS };

static const char *const kind_names[KINDS] = { "async", "sync", "record-async", "offsets-async" };

enum proof { UNPROVEN, NO_CALLS, NO_SECCOMP };

struct commits {
    struct bench_crew crew;
    char bus[128];
    uint32_t partitions;
    enum kind kind;
    bool prove;
    int batches;
    uint32_t proof;
    double ns[BATCHES]; /* of one commit */
};

_Noreturn static void fail(struct commits *shared, int seat, leat_bus *bus, const char *what, int r)
{
    const char *why = leat_last_error(bus);
    bench_fail(&shared->crew, seat, "%s: %s", what, why[0] ? why : leat_strerror(r));
}

/* Each partition has a record. */
static void prepare(struct bench_crew *crew, int seat, void *arg)
{
    struct commits *shared = arg;
    leat_topic_options topic = LEAT_TOPIC_OPTIONS;
    leat_producer *out;
    leat_bus *bus;
    (void)crew;
    topic.no_log = 1; /* the ring's own figures; `durable` has the log's */
    topic.partitions = shared->partitions;
    topic.ring_size = 64 << 10;
    int r = leat_open(&bus, shared->bus);
    if (r < 0 || (r = leat_topic_create(bus, topic_name, &topic)) < 0 ||
        (r = leat_producer_open(&out, bus, topic_name, NULL)) < 0)
        fail(shared, seat, bus, "create topic", r);
    for (uint32_t p = 0; p < shared->partitions; p++)
        if ((r = leat_producer_send_to(out, p, &(leat_record){ .value = "x", .value_size = 1 }, NULL)) < 0)
            fail(shared, seat, bus, "leat_producer_send_to", r);
    leat_producer_close(out);
    leat_close(bus);
}

/* What is committed again and again. The views hold: nobody polls any more. */
struct committer {
    leat_bus *bus;
    leat_consumer *in;
    const leat_record *record;
    leat_offset offset;
};

static void open_member(struct commits *shared, int seat, struct committer *c)
{
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    uint64_t until = bench_ticks() + bench_ticks_of(PATIENCE_S);
    char group[32];
    int r = leat_open(&c->bus, shared->bus);
    snprintf(group, sizeof group, "committers-%d-%d", (int)shared->kind, (int)shared->prove);
    options.group = group; /* one that has committed nothing yet */
    options.reset = LEAT_EARLIEST;
    options.auto_commit_ms = 0;
    if (r < 0 || (r = leat_consumer_open(&c->in, c->bus, &options)) < 0 ||
        (r = leat_consumer_subscribe(c->in, (const char *[]){ topic_name }, 1)) < 0)
        fail(shared, seat, c->bus, "join", r);
    while ((r = leat_consumer_poll(c->in, 10, &c->record)) != (int)shared->partitions)
        if (r < 0 || bench_ticks() > until || (r > 0 && leat_consumer_rewind(c->in) < 0))
            fail(shared, seat, c->bus, "a record of each partition", r);
    c->offset = (leat_offset){ .topic = topic_name,
                               .partition = c->record->partition,
                               .offset = (int64_t)c->record->offset + 1 };
}

static inline int commit(struct committer *c, enum kind kind)
{
    switch (kind) {
    case ASYNC:
        return leat_consumer_commit(c->in, LEAT_ASYNC);
    case SYNC:
        return leat_consumer_commit(c->in, LEAT_SYNC);
    case RECORD:
        return leat_consumer_commit_record(c->in, c->record, LEAT_ASYNC);
    default:
        return leat_consumer_commit_offsets(c->in, &c->offset, 1, LEAT_ASYNC);
    }
}

static int commit_batch(struct committer *c, enum kind kind)
{
    int r = 0;
    for (int i = 0; i < BATCH; i++)
        r |= commit(c, kind);
    return r;
}

/* From here on this thread may only end its process. False where that cannot be had. */
static bool forbid_calls(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = { sizeof filter / sizeof filter[0], filter };
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

_Noreturn static void prove(struct commits *shared, struct committer *c)
{
    lt_store_release32(&shared->proof, NO_SECCOMP);
    if (!forbid_calls())
        _exit(0);
    lt_store_release32(&shared->proof, UNPROVEN);
    if (commit_batch(c, shared->kind) == 0)
        lt_store_release32(&shared->proof, NO_CALLS);
    syscall(SYS_exit_group, 0);
    __builtin_unreachable();
}

static void measure(struct bench_crew *crew, int seat, void *arg)
{
    struct commits *shared = arg;
    struct committer c;
    open_member(shared, seat, &c);
    bench_prefault(shared, sizeof *shared);
    bench_crew_meet(crew, seat);
    int r = commit_batch(&c, shared->kind);
    if (shared->prove)
        prove(shared, &c);
    for (int i = 0; i < shared->batches; i++) {
        uint64_t from = bench_ticks();
        r |= commit_batch(&c, shared->kind);
        shared->ns[i] = bench_ns(bench_ticks_after() - from) / BATCH;
    }
    if (r != 0)
        fail(shared, seat, c.bus, "a commit", r);
    leat_consumer_close(c.in);
    leat_close(c.bus);
}

static int run_kind(struct commits *shared, const struct bench_bus *bus, char *error, size_t error_size)
{
    static const struct bench_task task[] = { { 0, measure } };
    snprintf(shared->bus, sizeof shared->bus, "%s", bench_bus_path(bus));
    int r = bench_crew_run(&shared->crew, task, 1, shared, 60, error, error_size);
    if (r != 0)
        return r;
    memset(&shared->crew, 0, sizeof shared->crew);
    shared->prove = true;
    char why[128];
    bench_crew_run(&shared->crew, task, 1, shared, 60, why, sizeof why); /* the proof says how that went */
    memset(&shared->crew, 0, sizeof shared->crew);
    return 0;
}

static int report(const struct commits *shared, const char *name, const struct bench_quantiles *q,
                  enum bench_placement placement, const char *error, const struct bench_options *options)
{
    static const char *const proofs[] = { "MADE", "none", "unchecked" };
    if (options->json) {
        printf("{\"record\":\"commit\"");
        bench_json_string("name", name);
        if (error[0]) {
            bench_json_string("error", error);
        } else {
            bench_json_string("label", bench_placement_names[placement]);
            printf(",\"n\":%d,\"partitions\":%u,\"p50_ns\":%.2f,\"p90_ns\":%.2f,\"p99_ns\":%.2f",
                   shared->batches * BATCH, shared->partitions, q->p50_ns, q->p90_ns, q->p99_ns);
            bench_json_string("system_calls", proofs[shared->proof]);
        }
        printf("}\n");
    } else if (error[0]) {
        printf("%-47s failed: %s\n", name, error);
    } else {
        printf("%-47s %-7s %8d %10.1f %10.1f %10.1f %14.2f  %s\n", name, bench_placement_names[placement],
               shared->batches * BATCH, q->p50_ns, q->p90_ns, q->p99_ns, q->p50_ns / shared->partitions,
               proofs[shared->proof]);
    }
    fflush(stdout);
    return error[0] != 0;
}

static bool is_wanted(uint32_t partitions, int kind, const struct bench_options *options, char *name,
                      size_t name_size)
{
    snprintf(name, name_size, "commit/%u/%s", partitions, kind_names[kind]);
    return (kind < RECORD || partitions == 1) && /* of one partition, whatever there is beside it */
           (!options->filter || strstr(name, options->filter));
}

static int run_case(struct commits *shared, const struct bench_bus *bus, int kind, const char *name,
                    const struct bench_options *options)
{
    char error[256] = "";
    struct bench_quantiles q = { 0 };
    enum bench_placement placement = BENCH_MIXED;
    shared->kind = (enum kind)kind;
    shared->prove = false;
    shared->proof = UNPROVEN;
    shared->batches = options->quick ? 2 : BATCHES;
    double before_ns = bench_probe();
    if (run_kind(shared, bus, error, sizeof error) == 0) {
        placement = bench_place(before_ns, bench_probe());
        q = bench_quantiles_of(shared->ns, shared->batches);
    }
    return report(shared, name, &q, placement, error, options);
}

/* All kinds on one bus. Returns how many failed. */
static int run_partitions(uint32_t partitions, const struct bench_options *options)
{
    static const struct bench_task first[] = { { 0, prepare } };
    struct commits *shared = bench_shared_alloc(sizeof *shared);
    struct bench_bus *bus = NULL;
    char error[256] = "", name[64];
    int failed = 0;
    if (!shared || bench_bus_start(&bus, error, sizeof error) != 0) {
        fprintf(stderr, "bench: commit: %s\n", error[0] ? error : "no shared memory");
        bench_shared_free(shared, sizeof *shared);
        return 1;
    }
    shared->partitions = partitions;
    snprintf(shared->bus, sizeof shared->bus, "%s", bench_bus_path(bus));
    if (bench_crew_run(&shared->crew, first, 1, shared, 20, error, sizeof error) != 0) {
        fprintf(stderr, "bench: commit: %s\n", error);
        failed++;
    }
    memset(&shared->crew, 0, sizeof shared->crew);
    for (int kind = 0; failed == 0 && kind < KINDS; kind++)
        if (is_wanted(partitions, kind, options, name, sizeof name))
            failed += run_case(shared, bus, kind, name, options);
    bench_bus_stop(bus);
    bench_shared_free(shared, sizeof *shared);
    return failed;
}

/* Returns how many cases failed. */
int bench_commit(const struct bench_options *options)
{
    static const uint32_t counts[] = { 1, 30 };
    bool wanted[2] = { false };
    char name[64];
    int failed = 0;
    for (int c = 0; c < 2; c++)
        for (int kind = 0; kind < KINDS; kind++)
            wanted[c] |= is_wanted(counts[c], kind, options, name, sizeof name);
    if (!options->json && (wanted[0] || wanted[1]))
        printf(
            "\nCommits, ns a call in batches of %d; a partition: of p50. System calls: whether a thread that "
            "the next one would kill\nlived through a batch. Target: <= 10 ns for an asynchronous commit of an "
            "offset, no system call.\n%-47s %-7s %8s %10s %10s %10s %14s  %s\n",
            BATCH, "case", "placed", "n", "p50", "p90", "p99", "a partition", "system calls");
    for (int c = 0; c < 2; c++)
        if (wanted[c])
            failed += run_partitions(counts[c], options);
    return failed;
}
