/*
 * clock - the kernel's clocks in nanoseconds.
 */
#ifndef HEADGATE_BASE_CLOCK_H
#define HEADGATE_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t
clock_get_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* CLOCK_MONOTONIC: since the machine started; for how long something takes. */
static inline uint64_t
clock_monotonic_ns(void)
{
	return clock_get_ns(CLOCK_MONOTONIC);
}

/* CLOCK_REALTIME: since 1970; may jump. */
static inline uint64_t
clock_wall_ns(void)
{
	return clock_get_ns(CLOCK_REALTIME);
}

#endif
