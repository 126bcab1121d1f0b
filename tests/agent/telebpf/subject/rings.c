/* A libbpf application: global data, a ring buffer and a perf buffer, waited for with epoll. argv[1]:
 * object. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

static void *section(struct bpf_object *object, const char *suffix, size_t *ret_size)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object) if (strstr(bpf_map__name(map), suffix)) return (
	    void *)bpf_map__initial_value(map, ret_size);
	return NULL;
}

/* What a skeleton does after the load: the map's memory takes the place of the initial value. */
static void map_section(struct bpf_object *object, const char *suffix)
{
	struct bpf_map *map;
	size_t size;

	bpf_object__for_each_map(map, object) if (strstr(bpf_map__name(map), suffix))
	{
		void *at = (void *)bpf_map__initial_value(map, &size);

		MUST(mmap(at, size, strstr(suffix, "rodata") ? PROT_READ : PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_FIXED, bpf_map__fd(map), 0) == at);
	}
}

int main(int argc, char **argv)
{
	struct bpf_object *object = bpf_object__open_file(argv[argc - 1], NULL);
	LIBBPF_OPTS(bpf_test_run_opts, options);
	unsigned long long *bss, *data, expected = 0;
	struct perf_buffer *perf;
	struct ring_buffer *ring;
	size_t size;
	int prog;

	MUST(object);
	*(unsigned long long *)section(object, ".rodata", &size) = 2;
	*(unsigned long long *)section(object, ".data", &size) = 5000;
	MUST(bpf_object__load(object) == 0);
	map_section(object, ".rodata");
	map_section(object, ".data");
	map_section(object, ".bss");
	bss = section(object, ".bss", &size);
	data = section(object, ".data", &size);
	MUST(bss && data && *data == 5000);
	prog = bpf_program__fd(bpf_object__find_program_by_name(object, "produce"));
	ring = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "ring"), on_ring, NULL, NULL);
	perf =
	    perf_buffer__new(bpf_object__find_map_fd_by_name(object, "perf"), 1, on_perf, NULL, NULL, NULL);
	MUST(ring && perf);
	MUST(ring_buffer__poll(ring, 0) == 0 && perf_buffer__poll(perf, 0) == 0);
	for (int i = 1; i <= ROUNDS; i++) {
		if (i == 200)
			*data = 9000; /* the program sees what the application writes */
		MUST(bpf_prog_test_run_opts(prog, &options) == 0);
		MUST(*bss == 2ull * (unsigned)i);
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
	bpf_object__close(object);
	printf("rings ok: %d and %d records\n", ring_count, perf_count);
	return 0;
}
