/* clock: the times that leat asks for, in the units of its names. */
#ifndef LT_BASE_CLOCK_H
#define LT_BASE_CLOCK_H

#include <stdint.h>

int64_t lt_clock_mono_ns(void); /* CLOCK_MONOTONIC */
int64_t lt_clock_real_ms(void); /* CLOCK_REALTIME */
int64_t lt_clock_real_coarse_ms(
    void); /* CLOCK_REALTIME_COARSE: some 5 ns a call, up to a tick (1-4 ms) old */
int64_t lt_clock_mono_coarse_ms(void); /* CLOCK_MONOTONIC_COARSE */

#endif
