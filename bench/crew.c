/*
 * The processes of one round: forked, pinned, started together, watched. They share one pre-faulted mapping
 * with the parent, and hand their results back in it. The parent sleeps meanwhile; a member that fails or
 * hangs takes the round with it, never the bench.
 */
#include "bench.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static int cpus[2];

/* The first two CPUs we may run on. */
int bench_cpus_init(void)
{
    cpu_set_t set;
    int found = 0;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return -errno;
    for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++)
        if (CPU_ISSET(cpu, &set))
            cpus[found++] = cpu;
    if (found < 2) {
        fprintf(stderr, "bench: needs 2 CPUs, may use %d\n", found);
        return -ENOTSUP;
    }
    return 0;
}

int bench_cpu(int which)
{
    return cpus[which];
}

/* Pins the calling thread. Cannot fail for a CPU of our own set unless the set was changed under us; then
 * figures are wild, not wrong, and the probe says so. */
void bench_pin(int which)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpus[which], &set);
    sched_setaffinity(0, sizeof set, &set);
}

void *bench_shared_alloc(size_t size_bytes)
{
    void *at = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1,
                    0);
    return at == MAP_FAILED ? NULL : at;
}

void bench_shared_free(void *at, size_t size_bytes)
{
    if (at)
        munmap(at, size_bytes);
}

/* After a fork the memory is there but this process's page tables are not: a first touch would cost a
 * fault. */
void bench_prefault(void *at, size_t size_bytes)
{
    if (madvise(at, size_bytes, MADV_POPULATE_WRITE) == 0)
        return;
    for (size_t i = 0; i < size_bytes; i += 4096) /* kernels before 5.14 */
        lt_fetch_or32((uint32_t *)((char *)at + i), 0);
}

/* How long this thread has been runnable without running: somebody else had its CPU. 0 where the kernel
 * does not count it. What the host takes from the guest is not in it. */
static uint64_t queued_ns(void)
{
    unsigned long long ran, queued = 0;
    FILE *stat = fopen("/proc/thread-self/schedstat", "re");
    if (stat && fscanf(stat, "%llu %llu", &ran, &queued) != 2)
        queued = 0;
    if (stat)
        fclose(stat);
    return queued;
}

/* Everybody waits until everybody is set up. Sleeping, since members may share a CPU. */
void bench_crew_meet(struct bench_crew *crew, int seat)
{
    struct timespec nap = { .tv_nsec = 50 * 1000 };
    lt_fetch_add32(&crew->arrived, 1);
    while (lt_load_acquire32(&crew->arrived) < (uint32_t)crew->count)
        nanosleep(&nap, NULL);
    crew->seats[seat].met_queued_ns = queued_ns();
    crew->seats[seat].met_ticks = bench_ticks();
}

static void seat_leave(struct bench_seat *seat)
{
    if (seat->met_ticks != 0)
        seat->queued = (double)(queued_ns() - seat->met_queued_ns) /
                       bench_ns(bench_ticks() - seat->met_ticks);
}

_Noreturn void bench_fail(struct bench_crew *crew, int seat, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(crew->seats[seat].error, sizeof crew->seats[seat].error, format, args);
    va_end(args);
    _exit(1);
}

/* A window opens with a fifth of its length for warming up. */
struct bench_window bench_window_open(double slice_s)
{
    uint64_t now = bench_ticks();
    uint64_t warm_end = now + bench_ticks_of(slice_s / 5);
    return (struct bench_window){ warm_end, warm_end + bench_ticks_of(slice_s) };
}

static pid_t seat_fork(struct bench_crew *crew, const struct bench_task *task, int seat, void *arg,
                       const sigset_t *old_mask)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    sigprocmask(SIG_SETMASK, old_mask, NULL);
    bench_pin(task->cpu);
    bench_prefault(crew, sizeof *crew);
    task->run(crew, seat, arg);
    seat_leave(&crew->seats[seat]);
    _exit(0);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Reaps what has ended. Returns how many still run, or -1 when one ended badly; *bad is its seat. */
static int reap(pid_t *pids, int count, int *bad)
{
    int left = 0;
    for (int i = 0; i < count; i++) {
        int status;
        if (pids[i] <= 0)
            continue;
        if (waitpid(pids[i], &status, WNOHANG) == 0) {
            left++;
            continue;
        }
        pids[i] = 0;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            *bad = i;
            return -1;
        }
    }
    return left;
}

static void put_down(const pid_t *pids, int count)
{
    for (int i = 0; i < count; i++)
        if (pids[i] > 0 && kill(pids[i], SIGKILL) == 0)
            waitpid(pids[i], NULL, 0);
}

/* Runs one process per task until all have ended; -1 with one line in error when one fails, dies or outlives
 * the timeout. The parent's signal mask keeps SIGCHLD blocked meanwhile, so that it can sleep for it. */
int bench_crew_run(struct bench_crew *crew, const struct bench_task *tasks, int count, void *arg,
                   double timeout_s, char *error, size_t error_size)
{
    sigset_t chld, old_mask;
    pid_t pids[BENCH_MAX_SEATS] = { 0 };
    int bad = -1, left = count;
    double deadline = now_s() + timeout_s;

    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, &old_mask);
    crew->count = count;
    fflush(NULL);
    for (int i = 0; i < count; i++) {
        pids[i] = seat_fork(crew, &tasks[i], i, arg, &old_mask);
        if (pids[i] < 0) {
            snprintf(error, error_size, "fork: %s", strerror(errno));
            left = -1;
            break;
        }
    }
    while (left > 0 && (left = reap(pids, count, &bad)) > 0) {
        double wait_s = deadline - now_s();
        if (wait_s <= 0) {
            snprintf(error, error_size, "%d of %d processes still run after %.0f s", left, count, timeout_s);
            left = -1;
            break;
        }
        struct timespec wait = { .tv_sec = (time_t)wait_s,
                                 .tv_nsec = (long)((wait_s - (double)(time_t)wait_s) * 1e9) };
        sigtimedwait(&chld, NULL, &wait);
    }
    if (bad >= 0) {
        const char *why = crew->seats[bad].error;
        snprintf(error, error_size, "process %d: %s", bad, why[0] ? why : "ended without a word");
    }
    put_down(pids, count);
    sigprocmask(SIG_SETMASK, &old_mask, NULL);
    return left < 0 ? -1 : 0;
}

static void round_of_crew(const struct bench_crew *crew, struct bench_round *round)
{
    for (int i = 0; i < crew->count; i++)
        if (crew->seats[i].queued > round->queued)
            round->queued = crew->seats[i].queued;
}

void bench_round_of_latency(const struct bench_crew *crew, struct bench_round *round)
{
    const struct bench_hist *hist = &crew->seats[0]
                                         .hist; /* seat 0 keeps the stamps; half a round trip is one way */
    round_of_crew(crew, round);
    round->n = hist->n;
    round->p50_ns = bench_ns(1) * bench_hist_at(hist, 0.5) / 2;
    round->p99_ns = bench_ns(1) * bench_hist_at(hist, 0.99) / 2;
    round->p999_ns = bench_ns(1) * bench_hist_at(hist, 0.999) / 2;
    round->max_ns = bench_ns(hist->max) / 2;
}

void bench_round_of_throughput(const struct bench_crew *crew, struct bench_round *round)
{
    round_of_crew(crew, round);
    for (int i = 0; i < crew->count; i++) {
        round->n += crew->seats[i].counted;
        round->records_per_s += crew->seats[i].records_per_s;
    }
}
