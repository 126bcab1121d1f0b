/*
 * The measured application: an ordinary libbpf program that knows nothing of Yagura. It takes ticks from a
 * ring or perf buffer and prints, as one JSON object, how many came and how long each was under way: receive
 * time (CLOCK_REALTIME, which time namespaces leave alone) minus produce time (the kernel's monotonic
 * clock). The two clocks' distance is the same for all, and is taken off by whoever compares; inside the
 * guest it is known, and printed as clock_distance_ns. span_ns is the time between the first and the last.
 *
 *   ticks [--perf] [--spin] EXPECTED SECONDS
 *
 * Ends when tick EXPECTED-1 has come and none for 300 ms, or after SECONDS. "ready" is printed when it is
 * set up.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "bench/telebpf/tick.h"
#include "ticks.skel.h"

#define SAMPLES_MAX (1u << 22)

static int64_t *samples;
static uint64_t received, lost, repeated;
static int64_t first_at, last_at; /* receive times */
static uint32_t expected, last;
static volatile sig_atomic_t stop;

static int64_t now(clockid_t clock)
{
	struct timespec ts;
	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void take(const struct tick *tick)
{
	last_at = now(CLOCK_REALTIME);
	if (!received)
		first_at = last_at;
	if (received < SAMPLES_MAX)
		samples[received] = last_at - (int64_t)tick->produced_ns;
	if (received && tick->sequence <= last)
		repeated++;
	last = tick->sequence;
	received++;
}

static int on_ring(void *context, void *data, size_t size)
{
	(void)context;
	if (size >= sizeof(struct tick))
		take(data);
	return 0;
}

static void on_perf(void *context, int cpu, void *data, __u32 size)
{
	(void)cpu;
	on_ring(context, data, size);
}

static void on_lost(void *context, int cpu, __u64 count)
{
	(void)context;
	(void)cpu;
	lost += count;
}

static void on_signal(int number)
{
	(void)number;
	stop = 1;
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return x < y ? -1 : x > y;
}

static uint64_t counted(int fd, uint32_t which)
{
	uint64_t values[1024], sum = 0;
	int cpus = libbpf_num_possible_cpus();
	if (cpus < 1 || cpus > 1024 || bpf_map_lookup_elem(fd, &which, values) < 0)
		return 0;
	for (int i = 0; i < cpus; i++)
		sum += values[i];
	return sum;
}

static void print_result(const struct ticks *skeleton)
{
	static const double ranks[] = {0, 0.5, 0.9, 0.99, 0.999};
	static const char *const names[] = {"min", "p50", "p90", "p99", "p999"};
	uint64_t n = received < SAMPLES_MAX ? received : SAMPLES_MAX;
	struct rusage usage;

	qsort(samples, n, sizeof(*samples), compare);
	getrusage(RUSAGE_SELF, &usage);
	printf("{\"received\":%llu,\"lost\":%llu,\"repeated\":%llu,\"produced\":%llu,\"dropped\":%llu,"
	       "\"span_ns\":%lld,\"clock_distance_ns\":%lld,\"cpu_us\":%lld",
	       (unsigned long long)received, (unsigned long long)lost, (unsigned long long)repeated,
	       (unsigned long long)counted(bpf_map__fd(skeleton->maps.counts), 0),
	       (unsigned long long)counted(bpf_map__fd(skeleton->maps.counts), 1),
	       (long long)(last_at - first_at), (long long)(now(CLOCK_REALTIME) - now(CLOCK_MONOTONIC)),
	       (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000LL + usage.ru_utime.tv_usec +
		   usage.ru_stime.tv_usec);
	for (unsigned i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++)
		printf(",\"%s_ns\":%lld", names[i],
		       n ? (long long)samples[(uint64_t)(ranks[i] * (double)(n - 1))] : 0);
	printf("}\n");
}

static int measure(struct ticks *skeleton, bool perf, bool spin, int seconds)
{
	struct ring_buffer *ring = NULL;
	struct perf_buffer *buffer = NULL;
	if (perf)
		buffer =
		    perf_buffer__new(bpf_map__fd(skeleton->maps.perf), 256, on_perf, on_lost, NULL, NULL);
	else
		ring = ring_buffer__new(bpf_map__fd(skeleton->maps.ring), on_ring, NULL, NULL);
	if (!ring && !buffer) {
		fprintf(stderr, "ticks: cannot map the buffer: %s\n", strerror(errno));
		return 1;
	}
	printf("ready\n");
	fflush(stdout);

	int64_t end = now(CLOCK_MONOTONIC) + seconds * 1000000000LL;
	while (!stop && now(CLOCK_MONOTONIC) < end) {
		int n = perf   ? spin ? perf_buffer__consume(buffer) : perf_buffer__poll(buffer, 300)
			  : spin ? ring_buffer__consume(ring)
			       : ring_buffer__poll(ring, 300);
		if (n < 0 && n != -EINTR)
			break;
		if (n == 0 && received && last + 1 == expected)
			break;
	}
	ring_buffer__free(ring);
	perf_buffer__free(buffer);
	return 0;
}

int main(int argc, char **argv)
{
	bool perf = false, spin = false;
	int i = 1;
	for (; i < argc && argv[i][0] == '-'; i++) {
		perf |= strcmp(argv[i], "--perf") == 0;
		spin |= strcmp(argv[i], "--spin") == 0;
	}
	if (argc - i != 2) {
		fprintf(stderr, "usage: ticks [--perf] [--spin] EXPECTED SECONDS\n");
		return 2;
	}
	expected = (uint32_t)strtoul(argv[i], NULL, 10);
	int seconds = atoi(argv[i + 1]);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);

	samples = calloc(SAMPLES_MAX, sizeof(*samples));
	struct ticks *skeleton = samples ? ticks__open() : NULL;
	if (!skeleton)
		return 1;
	skeleton->rodata->use_perf = perf;
	int r = ticks__load(skeleton);
	if (r == 0)
		r = ticks__attach(skeleton);
	if (r < 0) {
		fprintf(stderr, "ticks: cannot load: %s\n", strerror(-r));
		return 1;
	}
	r = measure(skeleton, perf, spin, seconds);
	if (r == 0)
		print_result(skeleton);
	ticks__destroy(skeleton);
	free(samples);
	return r;
}
