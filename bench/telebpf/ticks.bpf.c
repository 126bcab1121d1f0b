/* One record for each marked getpgid(): through a ring buffer, or a perf buffer when USE_PERF is set. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bench/telebpf/tick.h"

struct enter {
	unsigned long long common;
	long number;
	unsigned long long pid;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(int));
	__uint(value_size, sizeof(int));
} perf SEC(".maps");

/* 0: records made, 1: records that found no room */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, unsigned int);
	__type(value, unsigned long long);
} counts SEC(".maps");

const volatile int use_perf = 0;

static void count(unsigned int which)
{
	unsigned long long *n = bpf_map_lookup_elem(&counts, &which);
	if (n)
		(*n)++;
}

SEC("tracepoint/syscalls/sys_enter_getpgid")
int on_tick(struct enter *context)
{
	unsigned int argument = (unsigned int)context->pid;
	if ((argument & ~TICK_SEQUENCE) != TICK_MARK)
		return 0;

	struct tick tick = {.sequence = argument & TICK_SEQUENCE};
	tick.produced_ns = bpf_ktime_get_ns();
	count(0);
	long r = use_perf ? bpf_perf_event_output(context, &perf, BPF_F_CURRENT_CPU, &tick, sizeof(tick))
			  : bpf_ringbuf_output(&ring, &tick, sizeof(tick), 0);
	if (r < 0)
		count(1);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
