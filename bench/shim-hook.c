/*
 * What the shim costs a system call that it does not forward (getppid): native, from a rewritten site, and
 * by dispatch alone, in turns within one run. Prints lines "figure NAME VALUE UNIT".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/agent/telebpf/shim/loopback.h"

#define CALLS  300000
#define ROUNDS 5

/* Nanoseconds of one getppid: the best of some batches. */
static double measure(void)
{
	double best = 1e9;

	for (int i = 0; i < 10; i++) {
		struct timespec from, to;

		clock_gettime(CLOCK_MONOTONIC, &from);
		for (int j = 0; j < CALLS / 10; j++)
			getppid();
		clock_gettime(CLOCK_MONOTONIC, &to);
		double ns = ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) /
			    (CALLS / 10.0);
		best = ns < best ? ns : best;
	}
	return best;
}

/* The same in a program under the shim; *ret_mechanism says how it was hooked. */
static double measure_hooked(const char *shim, bool rewrite, int *ret_mechanism)
{
	char *argv[] = {(char *)"/proc/self/exe", (char *)"measure", NULL}, self[4096];
	struct loopback_result result;
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	double ns;

	if (len < 0)
		exit(1);
	self[len] = '\0';
	argv[0] = self;
	if (loopback_run(shim, argv, rewrite, NULL, &result) < 0 || result.status != 0) {
		fprintf(stderr, "shim-hook: the program under the shim failed\n");
		exit(1);
	}
	ns = strtod(result.output, NULL);
	*ret_mechanism = result.mechanism;
	free(result.output);
	return ns;
}

int main(int argc, char **argv)
{
	double native = 1e9, rewritten = 1e9, dispatched = 1e9;
	int mechanism = 0, ignored;

	if (argc == 2 && strcmp(argv[1], "measure") == 0) {
		printf("%.2f\n", measure());
		return 0;
	}
	for (int i = 0; i < ROUNDS; i++) {
		double ns = measure();

		native = ns < native ? ns : native;
		ns = measure_hooked(argc > 1 ? argv[1] : YGR_SHIM, true, &mechanism);
		rewritten = ns < rewritten ? ns : rewritten;
		ns = measure_hooked(argc > 1 ? argv[1] : YGR_SHIM, false, &ignored);
		dispatched = ns < dispatched ? ns : dispatched;
	}
	printf("figure shim_native_ns %.1f ns\n", native);
	if (mechanism == 1) {
		printf("figure shim_rewritten_ns %.1f ns\n", rewritten);
		printf("figure telebpf_hook_extra_ns %.1f ns\n", rewritten - native);
	} else {
		printf("skipped shim_rewritten_ns: address 0 cannot be mapped here\n");
	}
	printf("figure shim_dispatched_ns %.1f ns\n", dispatched);
	printf("figure shim_dispatched_cost_ns %.1f ns\n", dispatched - native);
	return 0;
}
