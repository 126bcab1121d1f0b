/* What this kernel can do, found out by trying. */
#pragma once

#include <stdbool.h>

struct ygr_guest_features {
	bool bpf; /* the system call is there and lets us in */
	bool ringbuf;
	bool mmapable_array;
	bool bpf_link_perf; /* BPF_LINK_CREATE on perf events (5.15) */
	bool kprobe_pmu;
	bool uprobe_pmu;
	bool tracefs;
	bool kallsyms; /* with addresses */
	bool pagemap;  /* with frame numbers */
};

void ygr_guest_features_probe(struct ygr_guest_features *ret_features);
