/*
 * The clock: CPU ticks, calibrated once against CLOCK_MONOTONIC. A stamp costs about 10 ns where
 * clock_gettime costs more than 20, and 20 ns matter beside a record that takes 100.
 */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static double ns_per_tick;

static bool constant_rate(void)
{
#if defined(__x86_64__)
    unsigned a, b, c, d;
    return __get_cpuid(0x80000007u, &a, &b, &c, &d) && (d & (1u << 8));
#else
    return true; /* the architected counter */
#endif
}

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A pair of readings taken together: the attempt in which the two ticks lie closest. A preemption between
 * them would otherwise enter the rate. */
struct pair {
    uint64_t ticks, ns;
};

static struct pair read_pair(void)
{
    struct pair pair = { 0 };
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 16; i++) {
        uint64_t from = bench_ticks_after();
        uint64_t now = monotonic_ns();
        uint64_t to = bench_ticks_after();
        if (to - from < best) {
            best = to - from;
            pair = (struct pair){ from + (to - from) / 2, now };
        }
    }
    return pair;
}

int bench_clock_init(void)
{
    if (!constant_rate()) {
        fprintf(stderr, "bench: clock: this CPU has no constant-rate tick counter\n");
        return -ENOTSUP;
    }
    struct timespec pause = { .tv_nsec = 30 * 1000 * 1000 };
    struct pair from = read_pair();
    nanosleep(&pause, NULL);
    struct pair to = read_pair();
    ns_per_tick = (double)(to.ns - from.ns) / (double)(to.ticks - from.ticks);
    return 0;
}

double bench_ns(uint64_t ticks)
{
    return (double)ticks * ns_per_tick;
}

uint64_t bench_ticks_of(double seconds)
{
    return (uint64_t)(seconds * 1e9 / ns_per_tick);
}
