/* A point in time until which blocking I/O may take; the clock is CLOCK_MONOTONIC. */
#pragma once

#include <limits.h>
#include <stdint.h>
#include <time.h>

static inline int64_t ygr_monotonic_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* TIMEOUT_MS from now; a negative timeout never ends. */
static inline int64_t ygr_deadline_in(int timeout_ms)
{
	return timeout_ms < 0 ? INT64_MAX : ygr_monotonic_ms() + timeout_ms;
}

/* What is left of DEADLINE for poll(2): milliseconds >= 0, or -1 for one that never ends. */
static inline int ygr_deadline_left(int64_t deadline)
{
	if (deadline == INT64_MAX)
		return -1;
	int64_t left = deadline - ygr_monotonic_ms();
	return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}
