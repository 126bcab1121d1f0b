/* What the programs here load: tells each executable that runs, and what the clocks say then. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct event {
	unsigned long long monotonic, boottime;
	char name[48];
};

/* /sys/kernel/tracing/events/sched/sched_process_exec/format */
struct exec {
	unsigned long long common;
	unsigned filename; /* where it is behind this, 16 bits */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} events SEC(".maps");

SEC("tracepoint/sched/sched_process_exec")
int on_exec(struct exec *context)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		return 0;
	event->monotonic = bpf_ktime_get_ns();
	event->boottime = bpf_ktime_get_boot_ns();
	bpf_probe_read_kernel_str(event->name, sizeof(event->name),
				  (char *)context + (context->filename & 0xffff));
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
