/*
 * What a bpf call costs: `call COUNT` looks an element up in an array of its own, COUNT times, and prints
 * nanoseconds of one call as JSON. The calls go through libc's syscall(), as libbpf's do.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int64_t now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return x < y ? -1 : x > y;
}

static int make_map(void)
{
	union bpf_attr attr = {
	    .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1};
	return (int)syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
}

int main(int argc, char **argv)
{
	size_t count = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
	int64_t *samples = count ? calloc(count, sizeof(*samples)) : NULL;
	if (!samples) {
		fprintf(stderr, "usage: call COUNT\n");
		return 2;
	}
	uint32_t key = 0;
	uint64_t value = 0;
	union bpf_attr attr = {.key = (uint64_t)(uintptr_t)&key, .value = (uint64_t)(uintptr_t)&value};
	int map = make_map();
	attr.map_fd = (uint32_t)map;
	for (size_t i = 0; map >= 0 && i < count; i++) {
		int64_t start = now();
		if (syscall(SYS_bpf, BPF_MAP_LOOKUP_ELEM, &attr, 32) < 0)
			map = -1;
		samples[i] = now() - start;
	}
	if (map < 0) {
		fprintf(stderr, "call: %s\n", strerror(errno));
		return 1;
	}
	qsort(samples, count, sizeof(*samples), compare);
	printf("{\"p50_ns\":%lld,\"p99_ns\":%lld}\n", (long long)samples[count / 2],
	       (long long)samples[count * 99 / 100]);
	free(samples);
	return 0;
}
