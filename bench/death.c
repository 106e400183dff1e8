/*
 * The floors of a hand-over: a bare futex from one process to another, and what the kernel takes to say that
 * somebody was killed: by a robust futex of the victim's, as the lease of a client is, and by its pidfd, which
 * fires when the victim's memory is taken down. The killer is on CPU 0, as the victim; who waits sleeps on CPU 1.
 */
#include "bench.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define WARM_ROUNDS 3
#define STOP UINT32_MAX
#define SETTLE_NS (500 * 1000) /* until who waits is asleep */

struct lock {
    struct robust_list node;
    uint32_t word; /* TID | FUTEX_WAITERS; the kernel adds FUTEX_OWNER_DIED */
};

struct death {
    struct bench_crew crew;
    int rounds;
    uint32_t victim_mb;
    bool pidfd;
    /* Rounds count from 1. killer -> waiter: watch this one; waiter -> killer: about to sleep; woken. */
    _Alignas(128) uint32_t armed, ready, woken;
    int32_t victim;
    uint64_t woken_ticks;
    struct lock lock;
    double *ns; /* [rounds], shared */
};

static void nap_ns(long ns)
{
    struct timespec nap = { .tv_nsec = ns };
    nanosleep(&nap, NULL);
}

static void await(const uint32_t *word, uint32_t value)
{
    while (lt_load_acquire32(word) != value)
        nap_ns(50 * 1000);
}

/* In small pages, as most of a program's memory is. */
void bench_touch_memory(uint32_t megabytes)
{
    size_t bytes = (size_t)megabytes << 20;
    char *at = bytes == 0 ? NULL
                          : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || bytes == 0)
        return;
    madvise(at, bytes, MADV_NOHUGEPAGE);
    if (madvise(at, bytes, MADV_POPULATE_WRITE) != 0) /* kernels before 5.14 */
        for (size_t i = 0; i < bytes; i += 4096)
            at[i] = 1;
}

/* ---- the victim ---------------------------------------------------------------------------------------- */

_Noreturn static void be_victim(struct death *d, uint32_t round, pid_t parent)
{
    struct robust_list_head head = { .list = { &d->lock.node },
                                     .futex_offset = (long)offsetof(struct lock, word) };
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    bench_touch_memory(d->victim_mb);
    d->lock.node.next = &head.list;
    lt_store_release32(&d->lock.word, (uint32_t)syscall(SYS_gettid) | FUTEX_WAITERS);
    syscall(SYS_set_robust_list, &head, sizeof head);
    d->victim = getpid();
    lt_store_release32(&d->armed, round);
    for (;;)
        pause();
}

static void kill_them(struct bench_crew *crew, int seat, void *arg)
{
    struct death *d = arg;
    pid_t parent = getpid();
    bench_prefault(d, sizeof *d);
    bench_crew_meet(crew, seat);
    for (uint32_t round = 1; round <= (uint32_t)(d->rounds + WARM_ROUNDS); round++) {
        pid_t victim = fork();
        if (victim == 0)
            be_victim(d, round, parent);
        if (victim < 0)
            bench_fail(crew, seat, "fork: %s", strerror(errno));
        await(&d->ready, round);
        nap_ns(SETTLE_NS);
        uint64_t from = bench_ticks();
        kill(victim, SIGKILL);
        await(&d->woken, round);
        waitpid(victim, NULL, 0);
        if (round > WARM_ROUNDS)
            d->ns[round - WARM_ROUNDS - 1] = bench_ns(d->woken_ticks - from);
    }
    lt_store_release32(&d->armed, STOP);
}

/* ---- who waits for it ---------------------------------------------------------------------------------- */

static void wait_by_futex(struct death *d)
{
    uint32_t value;
    while (!((value = lt_load_acquire32(&d->lock.word)) & FUTEX_OWNER_DIED))
        syscall(SYS_futex, &d->lock.word, FUTEX_WAIT, value, NULL, NULL, 0);
}

static void wait_by_pidfd(struct bench_crew *crew, int seat, struct death *d, uint32_t round)
{
    struct pollfd fired = { .fd = (int)syscall(SYS_pidfd_open, d->victim, 0), .events = POLLIN };
    if (fired.fd < 0)
        bench_fail(crew, seat, "pidfd_open: %s", strerror(errno));
    lt_store_release32(&d->ready, round);
    while (poll(&fired, 1, -1) != 1)
        ;
    d->woken_ticks = bench_ticks();
    close(fired.fd);
}

static void watch(struct bench_crew *crew, int seat, void *arg)
{
    struct death *d = arg;
    bench_prefault(d, sizeof *d);
    bench_crew_meet(crew, seat);
    for (uint32_t round = 1;; round++) {
        uint32_t armed;
        while ((armed = lt_load_acquire32(&d->armed)) != round && armed != STOP)
            nap_ns(50 * 1000);
        if (armed == STOP)
            return;
        if (d->pidfd) {
            wait_by_pidfd(crew, seat, d, round);
        } else {
            lt_store_release32(&d->ready, round);
            wait_by_futex(d);
            d->woken_ticks = bench_ticks();
        }
        lt_store_release32(&d->woken, round);
    }
}

static int run_deaths(bool pidfd, uint32_t victim_mb, int rounds, double *ns, char *error, size_t error_size)
{
    static const struct bench_task tasks[] = { { 0, kill_them }, { 1, watch } };
    size_t bytes = sizeof(struct death) + (size_t)rounds * sizeof *ns;
    struct death *d = bench_shared_alloc(bytes);
    if (!d)
        return -1;
    d->rounds = rounds;
    d->victim_mb = victim_mb;
    d->pidfd = pidfd;
    d->ns = (double *)(d + 1);
    int r = bench_crew_run(&d->crew, tasks, 2, d, 30 + rounds * 2.0, error, error_size);
    memcpy(ns, d->ns, (size_t)rounds * sizeof *ns);
    bench_shared_free(d, bytes);
    return r;
}

int bench_floor_robust(uint32_t victim_mb, int rounds, double *ns, char *error, size_t error_size)
{
    return run_deaths(false, victim_mb, rounds, ns, error, error_size);
}

int bench_floor_pidfd(uint32_t victim_mb, int rounds, double *ns, char *error, size_t error_size)
{
    return run_deaths(true, victim_mb, rounds, ns, error, error_size);
}

/* ---- a hop --------------------------------------------------------------------------------------------- */

struct hop {
    struct bench_crew crew;
    int rounds;
    double *ns;
    _Alignas(128) uint32_t word;
    uint64_t woken_ticks;
    _Alignas(128) uint32_t back;
};

static void wake(struct bench_crew *crew, int seat, void *arg)
{
    struct hop *h = arg;
    bench_crew_meet(crew, seat);
    for (uint32_t round = 1; round <= (uint32_t)(h->rounds + WARM_ROUNDS); round++) {
        nap_ns(SETTLE_NS);
        uint64_t from = bench_ticks();
        lt_store_release32(&h->word, round);
        syscall(SYS_futex, &h->word, FUTEX_WAKE, 1, NULL, NULL, 0);
        await(&h->back, round);
        if (round > WARM_ROUNDS)
            h->ns[round - WARM_ROUNDS - 1] = bench_ns(h->woken_ticks - from);
    }
}

static void be_woken(struct bench_crew *crew, int seat, void *arg)
{
    struct hop *h = arg;
    bench_crew_meet(crew, seat);
    for (uint32_t round = 1; round <= (uint32_t)(h->rounds + WARM_ROUNDS); round++) {
        while (lt_load_acquire32(&h->word) != round)
            syscall(SYS_futex, &h->word, FUTEX_WAIT, round - 1, NULL, NULL, 0);
        h->woken_ticks = bench_ticks();
        lt_store_release32(&h->back, round);
    }
}

int bench_floor_hop(uint32_t victim_mb, int rounds, double *ns, char *error, size_t error_size)
{
    static const struct bench_task tasks[] = { { 0, wake }, { 1, be_woken } };
    size_t bytes = sizeof(struct hop) + (size_t)rounds * sizeof *ns;
    struct hop *h = bench_shared_alloc(bytes);
    (void)victim_mb;
    if (!h)
        return -1;
    h->rounds = rounds;
    h->ns = (double *)(h + 1);
    int r = bench_crew_run(&h->crew, tasks, 2, h, 30 + rounds * 0.1, error, error_size);
    memcpy(ns, h->ns, (size_t)rounds * sizeof *ns);
    bench_shared_free(h, bytes);
    return r;
}
