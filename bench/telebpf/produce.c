/*
 * Makes ticks in the guest: `produce COUNT RATE`, RATE a second (0: as fast as it goes). Sleeps between
 * ticks where there is time for it, since a producer that spins would take the CPU from what is measured.
 * Prints how long it took, in nanoseconds.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bench/telebpf/tick.h"

static int64_t now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: produce COUNT RATE\n");
		return 2;
	}
	uint32_t count = (uint32_t)strtoul(argv[1], NULL, 10);
	int64_t rate = atoll(argv[2]), start = now();

	for (uint32_t i = 0; i < count; i++) {
		int64_t due = rate ? start + (int64_t)((double)i * 1e9 / (double)rate) : 0;
		while (rate && now() < due) {
			int64_t left = due - now();
			if (left > 100000) {
				struct timespec ts = {.tv_sec = (left - 50000) / 1000000000,
						      .tv_nsec = (left - 50000) % 1000000000};
				nanosleep(&ts, NULL);
			}
		}
		syscall(SYS_getpgid, (int)(TICK_MARK | (i & TICK_SEQUENCE)));
	}
	printf("%lld\n", (long long)(now() - start));
	return 0;
}
