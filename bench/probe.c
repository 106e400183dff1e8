/*
 * Where the host has put our two CPUs: a timed ping-pong of two cache lines for about 2 ms. On one core
 * complex a round trip is 70-150 ns, across two about 460; a guest cannot ask and the host moves it within
 * seconds, so every case is probed before and after and figures are compared only within one label.
 */
#include "bench.h"

#include <pthread.h>

#define PROBE_NS 2e6
#define PROBE_PATIENCE_NS 200e6 /* another process may hold one of the CPUs */
#define PROBE_CROSS_NS 250

const char *const bench_placement_names[BENCH_PLACEMENTS] = { "SAME", "CROSS", "MIXED" };

struct probe {
    _Alignas(128) uint64_t ping;
    _Alignas(128) uint64_t pong;
    _Alignas(128) struct bench_hist hist;
};

#define PROBE_STOP UINT64_MAX

static void *echo(void *arg)
{
    struct probe *probe = arg;
    bench_pin(1);
    uint64_t seen = 0;
    while (seen != PROBE_STOP) {
        uint64_t now = lt_load_acquire64(&probe->ping);
        if (now != seen) {
            lt_store_release64(&probe->pong, now);
            seen = now;
        }
    }
    return NULL;
}

static void *ask(void *arg)
{
    struct probe *probe = arg;
    bench_pin(0);
    uint64_t patience = bench_ticks() + bench_ticks_of(PROBE_PATIENCE_NS / 1e9), end = patience, to = 0;
    for (uint64_t i = 1; to < end; i++) {
        uint64_t from = bench_ticks();
        lt_store_release64(&probe->ping, i);
        while (lt_load_acquire64(&probe->pong) != i)
            ;
        to = bench_ticks_after();
        if (i == 1)
            end = to + bench_ticks_of(PROBE_NS / 1e9);
        if (i > 16)
            bench_hist_add(&probe->hist, to - from);
    }
    lt_store_release64(&probe->ping, PROBE_STOP);
    return NULL;
}

/* Median round trip in ns; 0 when there were no two threads or no two CPUs for them. */
double bench_probe(void)
{
    static struct probe probe; /* one probe at a time: only the parent process calls this */
    memset(&probe, 0, sizeof probe);
    pthread_t echoer, asker;
    if (pthread_create(&echoer, NULL, echo, &probe) != 0)
        return 0;
    if (pthread_create(&asker, NULL, ask, &probe) != 0)
        lt_store_release64(&probe.ping, PROBE_STOP);
    else
        pthread_join(asker, NULL);
    pthread_join(echoer, NULL);
    return bench_ns((uint64_t)bench_hist_at(&probe.hist, 0.5));
}

enum bench_placement bench_place(double before_ns, double after_ns)
{
    bool cross_before = before_ns >= PROBE_CROSS_NS, cross_after = after_ns >= PROBE_CROSS_NS;
    if (cross_before != cross_after || before_ns <= 0 || after_ns <= 0)
        return BENCH_MIXED;
    return cross_before ? BENCH_CROSS : BENCH_SAME;
}
