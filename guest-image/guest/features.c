/* Feature probes; see features.h. */
#include "guest-image/guest/features.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest-image/guest/pages.h"
#include "lib/base/cleanup.h"

static int bpf(int cmd, union bpf_attr *attr)
{
	long r = syscall(SYS_bpf, cmd, attr, sizeof(*attr));
	return r < 0 ? -errno : (int)r;
}

static bool can_create(enum bpf_map_type type, uint32_t key, uint32_t value, uint32_t entries,
		       uint32_t flags)
{
	union bpf_attr attr = {0};
	attr.map_type = type;
	attr.key_size = key;
	attr.value_size = value;
	attr.max_entries = entries;
	attr.map_flags = flags;
	_cleanup_close_ int fd = bpf(BPF_MAP_CREATE, &attr);
	return fd >= 0;
}

/* Where perf links exist, a bad target is EBADF; before, the attach type is EINVAL (as libbpf finds it out).
 */
static bool has_perf_link(void)
{
	static const struct bpf_insn exit_zero[] = {
	    {.code = BPF_ALU64 | BPF_MOV | BPF_K},
	    {.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr attr = {0};
	attr.prog_type = BPF_PROG_TYPE_TRACEPOINT;
	attr.insns = (uint64_t)(uintptr_t)exit_zero;
	attr.insn_cnt = 2;
	attr.license = (uint64_t)(uintptr_t) "GPL";
	_cleanup_close_ int prog = bpf(BPF_PROG_LOAD, &attr);
	if (prog < 0)
		return false;

	memset(&attr, 0, sizeof(attr));
	attr.link_create.prog_fd = (uint32_t)prog;
	attr.link_create.target_fd = (uint32_t)-1;
	attr.link_create.attach_type = BPF_PERF_EVENT;
	_cleanup_close_ int link = bpf(BPF_LINK_CREATE, &attr);
	return link == -EBADF;
}

/* With kptr_restrict or without CAP_SYSLOG every address reads as zeros. */
static bool has_kallsyms(void)
{
	char line[16];
	_cleanup_close_ int fd = open("/proc/kallsyms", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || lseek(fd, 4096, SEEK_SET) < 0 || read(fd, line, sizeof(line)) != (ssize_t)sizeof(line))
		return false;
	for (size_t i = 0; i < sizeof(line); i++)
		if (line[i] != '0')
			return true;
	return false;
}

static bool has_pagemap(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct ygr_buf runs = YGR_BUF_INIT(4096);
	uint32_t count;
	void *memory =
	    mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		return false;
	bool ok = ygr_guest_pages_runs(memory, 1, &runs, &count) == 0;
	ygr_buf_deinit(&runs);
	munmap(memory, page);
	return ok;
}

void ygr_guest_features_probe(struct ygr_guest_features *ret_features)
{
	*ret_features = (struct ygr_guest_features){
	    .bpf = can_create(BPF_MAP_TYPE_ARRAY, 4, 4, 1, 0),
	    .ringbuf = can_create(BPF_MAP_TYPE_RINGBUF, 0, 0, (uint32_t)sysconf(_SC_PAGESIZE), 0),
	    .mmapable_array = can_create(BPF_MAP_TYPE_ARRAY, 4, 4, 1, BPF_F_MMAPABLE),
	    .bpf_link_perf = has_perf_link(),
	    .kprobe_pmu = access("/sys/bus/event_source/devices/kprobe/type", F_OK) == 0,
	    .uprobe_pmu = access("/sys/bus/event_source/devices/uprobe/type", F_OK) == 0,
	    .tracefs = access("/sys/kernel/tracing/events", F_OK) == 0,
	    .kallsyms = has_kallsyms(),
	    .pagemap = has_pagemap(),
	};
}
