/* clock: see clock.h. */
#include "base/clock.h"

#include <time.h>

static int64_t read_clock(clockid_t clock, int64_t unit_ns)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * (1000000000 / unit_ns) + t.tv_nsec / unit_ns;
}

int64_t lt_clock_mono_ns(void)
{
    return read_clock(CLOCK_MONOTONIC, 1);
}

int64_t lt_clock_real_ms(void)
{
    return read_clock(CLOCK_REALTIME, 1000000);
}

int64_t lt_clock_real_coarse_ms(void)
{
    return read_clock(CLOCK_REALTIME_COARSE, 1000000);
}

int64_t lt_clock_mono_coarse_ms(void)
{
    return read_clock(CLOCK_MONOTONIC_COARSE, 1000000);
}
