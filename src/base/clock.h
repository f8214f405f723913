/* SPDX-License-Identifier: Apache-2.0 */
/* clock: time in nanoseconds. */
#ifndef LLMOSFS_BASE_CLOCK_H
#define LLMOSFS_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define CLOCK_NS_PER_SEC UINT64_C(1000000000)
#define CLOCK_NS_PER_MS  UINT64_C(1000000)

/* Time that only goes on (CLOCK_MONOTONIC): for waits, time-outs and durations. */
static inline uint64_t clock_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * CLOCK_NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* Time of day since 1970 (CLOCK_REALTIME): for what people read and for file times. */
static inline struct timespec clock_wall(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return ts;
}

#endif
