/* A libbpf application: global data, a ring buffer and a perf buffer, waited for with epoll. argv[1]:
 * object. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "rings.skel.h"

#define MUST(condition)                                                                                     \
	do {                                                                                                \
		if (!(condition)) {                                                                         \
			fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);   \
			exit(1);                                                                            \
		}                                                                                           \
	} while (0)

#define ROUNDS 300 /* more than the ring holds at once */

static unsigned long long ring_sum, perf_sum;
static int ring_count, perf_count;

static int on_ring(void *context, void *data, size_t size)
{
	(void)context;
	MUST(size == 8);
	ring_sum += *(unsigned long long *)data;
	ring_count++;
	return 0;
}

static void on_perf(void *context, int cpu, void *data, unsigned size)
{
	unsigned long long value;

	(void)context;
	(void)cpu;
	MUST(size >= 8);
	memcpy(&value, data, 8);
	perf_sum += value;
	perf_count++;
}

/* As libbpf 1.5 does before each load; it makes nothing of the error, and nobody else should. */
static void ask_for_token(void)
{
	unsigned attr[2] = {0, (unsigned)open("/sys/fs/bpf", O_DIRECTORY | O_CLOEXEC)};

	MUST(syscall(SYS_bpf, 36, attr, sizeof(attr)) == -1);
}

int main(void)
{
	struct rings *rings = rings__open();
	LIBBPF_OPTS(bpf_test_run_opts, options);
	unsigned long long expected = 0;
	struct perf_buffer *perf;
	struct ring_buffer *ring;
	int prog;

	MUST(rings);
	ask_for_token();
	rings->rodata->step = 2;
	rings->data->start = 5000;
	MUST(rings__load(rings) == 0);
	MUST(rings->rodata->step == 2 && rings->data->start == 5000);
	prog = bpf_program__fd(rings->progs.produce);
	ring = ring_buffer__new(bpf_map__fd(rings->maps.ring), on_ring, NULL, NULL);
	perf = perf_buffer__new(bpf_map__fd(rings->maps.perf), 1, on_perf, NULL, NULL, NULL);
	MUST(ring && perf);
	MUST(ring_buffer__poll(ring, 0) == 0 && perf_buffer__poll(perf, 0) == 0);
	for (int i = 1; i <= ROUNDS; i++) {
		if (i == 200)
			rings->data->start = 9000; /* the program sees what the application writes */
		MUST(bpf_prog_test_run_opts(prog, &options) == 0);
		MUST(rings->bss->runs == 2ull * (unsigned)i);
		expected += (i < 200 ? 5000 : 9000) + 2ull * (unsigned)i;
		if (i % 3 == 0) {
			/* Readiness may take a moment to arrive, but it arrives. */
			while (ring_count < i)
				MUST(ring_buffer__poll(ring, 5000) > 0);
			while (perf_count < i)
				MUST(perf_buffer__poll(perf, 5000) > 0);
			MUST(ring_buffer__poll(ring, 0) == 0 && perf_buffer__poll(perf, 0) == 0);
		}
	}
	MUST(ring_sum == expected && perf_sum == expected);
	ring_buffer__free(ring);
	perf_buffer__free(perf);
	rings__destroy(rings);
	printf("rings ok: %d and %d records\n", ring_count, perf_count);
	return 0;
}
