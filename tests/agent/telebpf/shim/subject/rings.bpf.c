/* What the ring subject loads: each run puts one record into a ring buffer and one into a perf buffer. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8192);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} perf SEC(".maps");

const volatile unsigned long long step = 1;
unsigned long long runs = 0;
unsigned long long start = 1000;

SEC("raw_tp")
int produce(struct bpf_raw_tracepoint_args *ctx)
{
	unsigned long long value;

	runs += step;
	value = start + runs;
	bpf_ringbuf_output(&ring, &value, sizeof(value), 0);
	bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &value, sizeof(value));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
