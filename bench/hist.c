/*
 * A log-linear histogram: exact below 256, then 128 steps an octave. It is ours, because HdrHistogram_c would
 * be one more Debian package that only the bench needs, for two functions.
 */
#include "bench.h"

void bench_hist_add(struct bench_hist *hist, uint64_t value)
{
    size_t at = value;
    if (value >= 2 * BENCH_HIST_SUB) {
        unsigned shift = 63 - 7 - (unsigned)__builtin_clzll(value); /* leaves 128..255 */
        at = (size_t)shift * BENCH_HIST_SUB + (size_t)(value >> shift);
        if (at >= BENCH_HIST_BUCKETS)
            at = BENCH_HIST_BUCKETS - 1;
    }
    hist->buckets[at]++;
    hist->n++;
    if (value > hist->max)
        hist->max = value;
}

/* The middle of the bucket that holds the quantile, never above the exact maximum; 0 when empty. */
double bench_hist_at(const struct bench_hist *hist, double quantile)
{
    if (hist->n == 0)
        return 0;
    uint64_t rank = (uint64_t)(quantile * (double)(hist->n - 1)), seen = 0;
    size_t at = 0;
    for (; at < BENCH_HIST_BUCKETS; at++) {
        seen += hist->buckets[at];
        if (seen > rank)
            break;
    }
    if (at < 2 * BENCH_HIST_SUB)
        return (double)at;
    unsigned shift = (unsigned)(at / BENCH_HIST_SUB) - 1;
    uint64_t low = (uint64_t)(at - shift * BENCH_HIST_SUB) << shift;
    double middle = (double)low + (double)(1ull << shift) / 2;
    return middle < (double)hist->max ? middle : (double)hist->max;
}
