/*
 * How long a partition is without its reader. Two members of a group on 3 or 30 partitions; one joins, leaves
 * or is killed, round after round, and the time is taken until the new owner has been handed the first record
 * of a partition that moved ("first"), and until it had one of each ("all"). What a join or leave costs is
 * counted from the call (leat_consumer_subscribe, leat_consumer_close), a death from the kill.
 *
 * Pause: of the partitions that stay where they are, the largest gap between two deliveries within WINDOW_MS
 * of the event, less the median of the same in a window of the same length without an event. "quiet" is
 * the same figure for the windows without one: what the machine does by itself.
 *
 * "spin": the new owner spins on a CPU of its own; the other member sleeps, and shares the other CPU with
 * leatd, the producer and the director. "sleep": nobody spins. Victims have touched 8 or 512 MB in small
 * pages, which takes the kernel some 60 us/MB to take down.
 *
 * Eager assignors take everything from everybody first, so what stays pauses as long as what moves.
 */
#include "stage.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ROUNDS 2000
#define WINDOW_MS 5
#define PATIENCE_S 20
#define QUEUED_MAX_NS 20000
#define SEAT_DIRECTOR 0
#define SEAT_SURVIVOR 1
#define SEAT_PRODUCER 2
#define SEATS 3
#define SEAT_OTHER 3 /* forked by the director; only for its error */

enum event { JOIN, LEAVE, KILL };

struct move {
    const char *name;
    enum event event;
    uint32_t victim_mb;
};

static const struct move moves[] = {
    { "join", JOIN, 0 }, { "leave", LEAVE, 0 }, { "kill-8M", KILL, 8 }, { "kill-512M", KILL, 512 }
};

/* Nanoseconds, by round. */
struct figures {
    int count;
    double first[MAX_ROUNDS], all[MAX_ROUNDS], told[MAX_ROUNDS], gap[MAX_ROUNDS], quiet[MAX_ROUNDS];
    double
        queued_ns[MAX_ROUNDS]; /* that the new owner waited for its CPU, from the event to the last of that */
};

struct play {
    struct stage stage;
    const struct move *move;
    int rounds, warm_rounds;
    struct figures figures;
};

/* ---- the director -------------------------------------------------------------------------------------- */

struct director {
    struct play *play;
    struct stage *stage;
    pid_t other;
    uint32_t orders;
    uint64_t all; /* a bit a partition */
};

static void nap_us(long us)
{
    struct timespec nap = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };
    nanosleep(&nap, NULL);
}

_Noreturn static void give_up(struct director *d, const char *what)
{
    const struct member *m = d->stage->members;
    bench_fail(&d->stage->crew, SEAT_DIRECTOR, "%s: after %d s the survivor has %llx, the other %llx", what,
               PATIENCE_S, (unsigned long long)m[SURVIVOR].owned, (unsigned long long)m[OTHER].owned);
}

static void check_other(struct director *d)
{
    int status;
    if (d->other != 0 && waitpid(d->other, &status, WNOHANG) == d->other) {
        const char *why = d->stage->crew.seats[SEAT_OTHER].error;
        bench_fail(&d->stage->crew, SEAT_DIRECTOR, "the other member: %s", why[0] ? why : "ended");
    }
}

/* Looks now and then: on the CPU that leatd needs. */
#define AWAIT(d, what, condition)                                    \
    do {                                                             \
        uint64_t until = bench_ticks() + bench_ticks_of(PATIENCE_S); \
        while (!(condition)) {                                       \
            check_other(d);                                          \
            if (bench_ticks() > until)                               \
                give_up(d, what);                                    \
            nap_us(500);                                             \
        }                                                            \
    } while (0)

static uint32_t tell(struct director *d, int who, enum order order)
{
    uint32_t said = ++d->orders << 8 | order;
    lt_store_release32(&d->stage->members[who].order, said);
    return said;
}

static uint64_t owned(const struct director *d, int who)
{
    return lt_load_acquire64(&d->stage->members[who].owned);
}

static bool survivor_has_all(const struct director *d)
{
    return owned(d, SURVIVOR) == d->all;
}

static bool both_have_theirs(const struct director *d)
{
    uint64_t a = owned(d, SURVIVOR), b = owned(d, OTHER);
    int least = __builtin_popcountll(d->all) / 2;
    return (a | b) == d->all && (a & b) == 0 && __builtin_popcountll(a) >= least &&
           __builtin_popcountll(b) >= least;
}

static void fork_other(struct director *d)
{
    struct member *m = &d->stage->members[OTHER];
    pid_t parent = getpid();
    m->owned = 0;
    m->order = m->done = 0;
    d->other = fork();
    if (d->other == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        bench_pin(d->play->move->event == JOIN);
        bench_touch_memory(d->play->move->victim_mb);
        stage_member(d->stage, OTHER, SEAT_OTHER);
        _exit(0);
    }
    if (d->other < 0)
        bench_fail(&d->stage->crew, SEAT_DIRECTOR, "fork failed");
}

/* Before the event: the survivor alone before a join, both otherwise. */
static void arrange(struct director *d)
{
    if (d->other == 0)
        fork_other(d);
    if (d->play->move->event == JOIN) {
        tell(d, OTHER, ORDER_LEAVE);
        AWAIT(d, "a leave", survivor_has_all(d));
    } else {
        tell(d, OTHER, ORDER_JOIN);
        AWAIT(d, "a join", both_have_theirs(d));
    }
}

/* When it began. */
static uint64_t strike(struct director *d)
{
    struct member *m = &d->stage->members[OTHER];
    if (d->play->move->event == KILL) {
        uint64_t at = bench_ticks();
        kill(d->other, SIGKILL);
        return at;
    }
    uint64_t before = lt_load_acquire64(&m->acted_ticks);
    tell(d, OTHER, d->play->move->event == JOIN ? ORDER_JOIN : ORDER_LEAVE);
    AWAIT(d, "an order", lt_load_acquire64(&m->acted_ticks) != before);
    return lt_load_acquire64(&m->acted_ticks);
}

static void await_outcome(struct director *d)
{
    if (d->play->move->event == JOIN)
        AWAIT(d, "a join", both_have_theirs(d));
    else if (d->play->move->event == LEAVE)
        AWAIT(d, "a leave", survivor_has_all(d));
    else
        while (!survivor_has_all(d)) /* the victim is expected to end */
            nap_us(500);
}

/* ---- what the logs say --------------------------------------------------------------------------------- */

static uint32_t log_of(const struct director *d, int who)
{
    const struct member *m = &d->stage->members[who];
    return lt_load_acquire32(&m->epoch) == d->stage->epoch ? lt_load_acquire32(&m->count) : 0;
}

/* The partitions of which this member was handed something after `from`. Their first ones go to first[]. */
static uint64_t handed_after(const struct director *d, int who, uint64_t from,
                             struct delivery first[STAGE_PARTITIONS])
{
    const struct member *m = &d->stage->members[who];
    uint64_t seen = 0;
    for (uint32_t i = 0, n = log_of(d, who); i < n; i++) {
        const struct delivery *at = &m->log[i];
        if (at->ticks <= from || (seen & 1ull << at->partition))
            continue;
        seen |= 1ull << at->partition;
        first[at->partition] = *at;
    }
    return seen;
}

/* The largest gap between two deliveries of one of these partitions that overlaps [from, to), `whole`: that ends in it. */
static uint64_t largest_gap(const struct director *d, uint64_t partitions, uint64_t from, uint64_t to,
                            bool whole)
{
    const struct member *m = &d->stage->members[SURVIVOR];
    uint64_t last[STAGE_PARTITIONS] = { 0 }, largest = 0;
    for (uint32_t i = 0, n = log_of(d, SURVIVOR); i < n; i++) {
        const struct delivery *at = &m->log[i];
        uint64_t before = last[at->partition];
        last[at->partition] = at->ticks;
        if (!(partitions & 1ull << at->partition) || before == 0 || at->ticks <= from || before >= to ||
            (whole && at->ticks > to))
            continue;
        if (at->ticks - before > largest)
            largest = at->ticks - before;
    }
    return largest;
}

/* No record between what the old owner was handed last and what the new one was handed first is missing. */
static void check_no_gap(struct director *d, int old_owner, uint64_t moved,
                         const struct delivery first[STAGE_PARTITIONS])
{
    const struct member *m = &d->stage->members[old_owner];
    uint64_t last[STAGE_PARTITIONS] = { 0 };
    for (uint32_t i = 0, n = log_of(d, old_owner); i < n; i++)
        last[m->log[i].partition] = m->log[i].offset + 1;
    for (uint32_t p = 0; p < d->stage->partitions; p++)
        if ((moved & 1ull << p) && last[p] != 0 && first[p].offset > last[p])
            bench_fail(&d->stage->crew, SEAT_DIRECTOR,
                       "partition %u: the old owner got up to %llu, the new one begins at %llu", p,
                       (unsigned long long)last[p], (unsigned long long)first[p].offset);
}

static void write_down(struct director *d, uint64_t from, uint64_t queued_ns, uint64_t moved, uint64_t stays,
                       int heir, const struct delivery first[STAGE_PARTITIONS])
{
    struct figures *f = &d->play->figures;
    uint64_t earliest = UINT64_MAX, latest = 0, window = bench_ticks_of(WINDOW_MS / 1e3);
    for (uint32_t p = 0; p < d->stage->partitions; p++) {
        if (!(moved & 1ull << p))
            continue;
        earliest = first[p].ticks < earliest ? first[p].ticks : earliest;
        latest = first[p].ticks > latest ? first[p].ticks : latest;
    }
    f->first[f->count] = bench_ns(earliest - from);
    f->all[f->count] = bench_ns(latest - from);
    f->told[f->count] = bench_ns(d->stage->members[heir].assigned_ticks - from);
    f->gap[f->count] = bench_ns(largest_gap(d, stays, from, from + window, false));
    f->quiet[f->count] = bench_ns(largest_gap(d, stays, from - window, from, true));
    f->queued_ns[f->count] = (double)queued_ns;
    f->count++;
}

/* How long a process's first thread has waited for its CPU: somebody else had it. */
static uint64_t queued_ns(const struct member *m)
{
    unsigned long long ran, queued = 0;
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/schedstat", m->pid);
    FILE *stat = fopen(path, "re");
    if (stat && fscanf(stat, "%llu %llu", &ran, &queued) != 2)
        queued = 0;
    if (stat)
        fclose(stat);
    return queued;
}

static void play_round(struct director *d, bool keep)
{
    struct stage *stage = d->stage;
    enum event event = d->play->move->event;
    int heir = event == JOIN ? OTHER : SURVIVOR;
    struct delivery first[STAGE_PARTITIONS];
    uint64_t before[MEMBERS], moved, stays;
    arrange(d);
    nap_us(2000);
    lt_store_release32(&stage->epoch, stage->epoch + 1);
    nap_us((WINDOW_MS + 2) * 1000);
    for (int who = 0; who < MEMBERS; who++)
        before[who] = owned(d, who);
    uint64_t queued_before_ns = queued_ns(&stage->members[heir]), from = strike(d);
    await_outcome(d);
    moved = owned(d, heir) & ~before[heir];
    stays = owned(d, SURVIVOR) & before[SURVIVOR];
    pid_t victim = d->other;
    if (event == KILL)
        d->other = 0; /* nobody wonders that it has ended */
    AWAIT(d, "first records", (handed_after(d, heir, from, first) & moved) == moved);
    uint64_t queued_after_ns = queued_ns(&stage->members[heir]);
    while (bench_ns(bench_ticks() - from) < (WINDOW_MS + 2) * 1e6)
        nap_us(500);
    if (event == KILL)
        waitpid(victim, NULL, 0);
    check_no_gap(d, 1 - heir, moved, first);
    if (keep)
        write_down(d, from, queued_after_ns - queued_before_ns, moved, stays, heir, first);
}

static void direct(struct bench_crew *crew, int seat, void *arg)
{
    struct play *play = arg;
    struct director d = { .play = play, .stage = &play->stage };
    d.all = play->stage.partitions == 64 ? ~0ull : (1ull << play->stage.partitions) - 1;
    bench_prefault(play, sizeof *play);
    prctl(PR_SET_TIMERSLACK, 1);
    bench_crew_meet(crew, seat);
    tell(&d, SURVIVOR, ORDER_JOIN);
    AWAIT(&d, "the first join", survivor_has_all(&d));
    for (int i = -play->warm_rounds; i < play->rounds; i++)
        play_round(&d, i >= 0);
    if (d.other != 0) {
        tell(&d, OTHER, ORDER_END);
        waitpid(d.other, NULL, 0);
    }
    tell(&d, SURVIVOR, ORDER_END);
    lt_store_release32(&crew->stop, 1);
}

static void survive(struct bench_crew *crew, int seat, void *arg)
{
    (void)crew;
    stage_member(&((struct play *)arg)->stage, SURVIVOR, seat);
}

static void produce(struct bench_crew *crew, int seat, void *arg)
{
    (void)crew;
    stage_produce(&((struct play *)arg)->stage, seat);
}

static void create_topic(struct bench_crew *crew, int seat, void *arg)
{
    (void)crew;
    stage_create_topic(&((struct play *)arg)->stage, seat);
}

static int run_play(struct play *play, char *error, size_t error_size)
{
    static const struct bench_task prepare[] = { { 0, create_topic } };
    int survivor_cpu = play->move->event != JOIN; /* the new owner has CPU 1 */
    const struct bench_task tasks[SEATS] = { [SEAT_DIRECTOR] = { 0, direct },
                                             [SEAT_SURVIVOR] = { survivor_cpu, survive },
                                             [SEAT_PRODUCER] = { 0, produce } };
    struct bench_bus *bus;
    int r = bench_bus_start(&bus, error, error_size);
    if (r != 0)
        return r;
    snprintf(play->stage.bus, sizeof play->stage.bus, "%s", bench_bus_path(bus));
    r = bench_crew_run(&play->stage.crew, prepare, 1, play, 20, error, error_size);
    memset(&play->stage.crew, 0, sizeof play->stage.crew);
    if (r == 0)
        r = bench_crew_run(&play->stage.crew, tasks, SEATS, play, 60 + play->rounds * 2.0, error, error_size);
    bench_bus_stop(bus);
    return r;
}

/* ---- lines --------------------------------------------------------------------------------------------- */

/* Rounds in which a spinning owner had its CPU to itself; all rounds, if those are too few to say something: false. */
static bool leave_out_queued(struct figures *f)
{
    int quiet = 0, kept = 0;
    for (int i = 0; i < f->count; i++)
        quiet += f->queued_ns[i] <= QUEUED_MAX_NS;
    if (quiet < f->count / 10 + 1)
        return false;
    for (int i = 0; i < f->count; i++) {
        if (f->queued_ns[i] > QUEUED_MAX_NS)
            continue;
        f->first[kept] = f->first[i];
        f->all[kept] = f->all[i];
        f->told[kept] = f->told[i];
        f->gap[kept] = f->gap[i];
        f->quiet[kept++] = f->quiet[i];
    }
    f->count = kept;
    return true;
}

static void less_the_usual(struct figures *f)
{
    double copy[MAX_ROUNDS];
    memcpy(copy, f->quiet, sizeof copy);
    double usual = bench_median(copy, f->count);
    for (int i = 0; i < f->count; i++) {
        f->gap[i] = f->gap[i] > usual ? f->gap[i] - usual : 0;
        f->quiet[i] = f->quiet[i] > usual ? f->quiet[i] - usual : 0;
    }
}

struct line {
    char name[64];
    enum bench_placement placement;
    bool queued; /* rounds count in which a spinning owner had to wait for its CPU */
    int n;
    char error[256];
    double ratio; /* of p50 of first to the floor's; 0: it is one */
    struct bench_quantiles first, all, told, pause, quiet;
};

static void json_quantiles(const char *key, const struct bench_quantiles *q)
{
    printf(",\"%s_p50_ns\":%.0f,\"%s_p90_ns\":%.0f,\"%s_p99_ns\":%.0f", key, q->p50_ns, key, q->p90_ns, key,
           q->p99_ns);
}

static const char *table_quantiles(const struct bench_quantiles *q, char *out, size_t out_size)
{
    snprintf(out, out_size, "%.0f/%.0f/%.0f", q->p50_ns / 1e3, q->p90_ns / 1e3, q->p99_ns / 1e3);
    return out;
}

static void json_line(const struct line *l)
{
    printf("{\"record\":\"rebalance\"");
    bench_json_string("name", l->name);
    if (l->error[0]) {
        bench_json_string("error", l->error);
        printf("}\n");
        return;
    }
    bench_json_string("label", bench_placement_names[l->placement]);
    printf(",\"n\":%d,\"queued\":%s", l->n, l->queued ? "true" : "false");
    json_quantiles("first", &l->first);
    if (l->ratio > 0)
        printf(",\"ratio\":%.3f", l->ratio);
    if (l->all.p50_ns > 0) {
        json_quantiles("all", &l->all);
        json_quantiles("assigned", &l->told);
        json_quantiles("pause", &l->pause);
        json_quantiles("quiet", &l->quiet);
    }
    printf("}\n");
}

static void table_line(const struct line *l)
{
    char a[48], b[48], c[48], d[48], e[48], placed[16];
    if (l->error[0]) {
        printf("%-47s failed: %s\n", l->name, l->error);
        return;
    }
    snprintf(placed, sizeof placed, "%s%s", bench_placement_names[l->placement], l->queued ? "!" : "");
    if (l->all.p50_ns == 0) {
        printf("%-47s %-7s %5d %17s\n", l->name, placed, l->n, table_quantiles(&l->first, a, sizeof a));
        return;
    }
    printf("%-47s %-7s %5d %17s %7.1f %17s %17s %17s %17s\n", l->name, placed, l->n,
           table_quantiles(&l->first, a, sizeof a), l->ratio, table_quantiles(&l->told, e, sizeof e),
           table_quantiles(&l->all, b, sizeof b), table_quantiles(&l->pause, c, sizeof c),
           table_quantiles(&l->quiet, d, sizeof d));
}

static int print_line(const struct line *l, const struct bench_options *options)
{
    if (options->json)
        json_line(l);
    else
        table_line(l);
    fflush(stdout);
    return l->error[0] != 0;
}

static void print_head(const struct bench_options *options)
{
    if (options->json)
        return;
    printf(
        "\nRebalance, p50/p90/p99 in us. first: from the event to the first record at the new owner; x floor: its "
        "p50 over that of the\nrobust futex (kill) or of one hop; assigned: to on_assigned; all: to a first "
        "record of every partition that moved.\npause: of what stays, beyond the usual gap; quiet: the same "
        "where nothing happens. A record every %d us a partition,\nand one that waits for the new owner. n: "
        "rounds in which a spinning owner had its CPU to itself; !: for want of those, all.\n"
        "Targets, spinning: kill p50 200, p90 500; join and leave p50 200; with cooperative-sticky no pause.\n"
        "%-47s %-7s %5s %17s %7s %17s %17s %17s %17s\n",
        STAGE_TRICKLE_US, "case", "placed", "n", "first", "x floor", "assigned", "all", "pause", "quiet");
}

/* ---- cases --------------------------------------------------------------------------------------------- */

struct rebalance {
    char name[64];
    enum leat_assignor assignor;
    uint32_t partitions;
    bool spin, wanted;
    const struct move *move;
};

#define MOVES ((int)(sizeof moves / sizeof moves[0]))
#define CASES (2 * 2 * 2 * MOVES)

static int make_cases(struct rebalance *cases, const struct bench_options *options)
{
    static const uint32_t counts[] = { 3, 30 };
    static const enum leat_assignor assignors[] = { LEAT_COOPERATIVE_STICKY, LEAT_RANGE };
    int wanted = 0;
    for (int i = 0; i < CASES; i++) {
        struct rebalance *r = &cases[i];
        *r = (struct rebalance){ .move = &moves[i % MOVES],
                                 .partitions = counts[i / MOVES % 2],
                                 .assignor = assignors[i / MOVES / 2 % 2],
                                 .spin = i / MOVES / 4 == 0 };
        snprintf(r->name, sizeof r->name, "rebalance/%s/%u/%s/%s", leat_assignor_name(r->assignor),
                 r->partitions, r->spin ? "spin" : "sleep", r->move->name);
        r->wanted = (!options->filter || strstr(r->name, options->filter)) &&
                    (!options->quick || r->move->victim_mb <= 8);
        wanted += r->wanted;
    }
    return wanted;
}

/* p50 of the floors, for the ratios. */
struct floors {
    double hop_ns, death_ns[MOVES];
};

static int run_case(const struct rebalance *r, const struct floors *floors,
                    const struct bench_options *options)
{
    struct line l = { .n = 0 };
    memcpy(l.name, r->name, sizeof l.name);
    struct play *play = bench_shared_alloc(sizeof *play);
    if (!play) {
        snprintf(l.error, sizeof l.error, "no %zu bytes of shared memory", sizeof *play);
        return print_line(&l, options);
    }
    struct figures *f = &play->figures;
    play->stage.partitions = r->partitions;
    play->stage.ring_bytes = options->quick ? BENCH_RING_BYTES / 4 : BENCH_RING_BYTES;
    play->stage.assignor = r->assignor;
    play->stage.spins[r->move->event == JOIN ? OTHER : SURVIVOR] = r->spin;
    play->move = r->move;
    play->rounds = options->rounds;
    play->warm_rounds = options->rounds / 20 + 1;
    double before_ns = bench_probe();
    if (run_play(play, l.error, sizeof l.error) == 0) {
        l.placement = bench_place(before_ns, bench_probe());
        l.queued = r->spin && !leave_out_queued(f);
        l.n = f->count;
        less_the_usual(f);
        l.first = bench_quantiles_of(f->first, f->count);
        l.told = bench_quantiles_of(f->told, f->count);
        l.all = bench_quantiles_of(f->all, f->count);
        l.pause = bench_quantiles_of(f->gap, f->count);
        l.quiet = bench_quantiles_of(f->quiet, f->count);
        double floor_ns = r->move->event == KILL ? floors->death_ns[r->move - moves] : floors->hop_ns;
        l.ratio = floor_ns > 0 ? l.first.p50_ns / floor_ns : 0;
    } else if (l.error[0] == 0) {
        snprintf(l.error, sizeof l.error, "failed without a word");
    }
    bench_shared_free(play, sizeof *play);
    return print_line(&l, options);
}

static int run_floor(const char *name, const struct move *move, bench_floor_fn *floor, double *p50_ns,
                     const struct bench_options *options)
{
    struct line l = { .n = options->rounds };
    uint32_t victim_mb = move ? move->victim_mb : 0;
    snprintf(l.name, sizeof l.name, "rebalance/floor/%s%s%s", name, move ? "/" : "", move ? move->name : "");
    double *ns = calloc((size_t)options->rounds, sizeof *ns), before_ns = bench_probe();
    if (ns && floor(victim_mb, options->rounds, ns, l.error, sizeof l.error) == 0) {
        l.placement = bench_place(before_ns, bench_probe());
        l.first = bench_quantiles_of(ns, options->rounds);
        *p50_ns = l.first.p50_ns;
    } else if (l.error[0] == 0) {
        snprintf(l.error, sizeof l.error, "failed without a word");
    }
    free(ns);
    return print_line(&l, options);
}

/* Those of the cases that are wanted. */
static int run_floors(const struct rebalance *cases, struct floors *floors,
                      const struct bench_options *options)
{
    int failed = run_floor("futex-hop", NULL, bench_floor_hop, &floors->hop_ns, options);
    for (int m = 0; m < MOVES; m++) {
        bool wanted = false;
        double pidfd_ns;
        for (int i = 0; i < CASES; i++)
            wanted |= cases[i].wanted && cases[i].move == &moves[m];
        if (!wanted || moves[m].event != KILL)
            continue;
        failed += run_floor("robust-futex", &moves[m], bench_floor_robust, &floors->death_ns[m], options);
        failed += run_floor("pidfd", &moves[m], bench_floor_pidfd, &pidfd_ns, options);
    }
    return failed;
}

/* Returns how many cases failed. */
int bench_rebalance(const struct bench_options *options)
{
    struct rebalance cases[CASES];
    struct floors floors = { 0 };
    int failed = 0;
    if (make_cases(cases, options) != 0) {
        print_head(options);
        failed += run_floors(cases, &floors, options);
    }
    for (int i = 0; i < CASES; i++)
        if (cases[i].wanted)
            failed += run_case(&cases[i], &floors, options);
    return failed + bench_commit(options);
}
