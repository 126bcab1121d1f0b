/*
 * Performing a decoded call in this process' kernel, and asking it what came out of it. Where a number of
 * the application could name a descriptor or address of this process (an iterator's parameters, a probe's
 * name), it is made sure that it does not.
 */
#include "lib/wire/call-table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	CMD_OBJ_GET = 7,
	CMD_OBJ_GET_INFO_BY_FD = 15,
	CMD_LINK_CREATE = 28,
	PERF_FD_CLOEXEC = 1 << 3,
};

static int64_t system_call(long r)
{
	return r < 0 ? -errno : r;
}

/* The kind of file that descriptor NUMBER of this process is, as /proc names it ("anon_inode:bpf-map"). */
static const char *file_kind(uint32_t number, char *buf, size_t size)
{
	char path[40];
	snprintf(path, sizeof(path), "/proc/self/fd/%u", number);
	ssize_t n = readlink(path, buf, size - 1);
	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

/*
 * An iterator takes a map, a cgroup and a process by descriptor where others take plain numbers, and only
 * the program knows which it is. A number that happens to be such a descriptor of ours belongs to somebody
 * else.
 */
static bool names_foreign_descriptor(const struct ygr_segment *segment, bool map_translated)
{
	uint8_t info[16] = {0};
	char kind[64];
	memcpy(info, segment->data, segment->in_length < sizeof(info) ? segment->in_length : sizeof(info));

	uint32_t first = ygr_get32(info), second = ygr_get32(info + 4), third = ygr_get32(info + 8);
	if (!map_translated && first && !strcmp(file_kind(first, kind, sizeof(kind)), "anon_inode:bpf-map"))
		return true;
	struct stat st;
	if (second && fstat((int)second, &st) == 0 && S_ISDIR(st.st_mode))
		return true; /* what a cgroup is */
	return third && !strcmp(file_kind(third, kind, sizeof(kind)), "anon_inode:[pidfd]");
}

static int64_t perform_bpf(struct ygr_call_plan *plan)
{
	const struct ygr_segment *iter = NULL;
	for (uint32_t i = 0; i < plan->segment_count; i++)
		if (plan->segments[i].row->content == YGR_CONTENT_ITER)
			iter = &plan->segments[i];
	if (iter && names_foreign_descriptor(iter, iter->map_translated))
		return -EBADF;
	return system_call(syscall(SYS_bpf, plan->call.cmd, plan->attr, plan->call.attr_size));
}

/* The number of the PMU called NAME, 0 when there is none. */
static uint32_t pmu_type(const char *name)
{
	char path[96], text[16] = {0};
	snprintf(path, sizeof(path), "/sys/bus/event_source/devices/%s/type", name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	return n > 0 ? (uint32_t)strtoul(text, NULL, 10) : 0;
}

static int64_t perform_perf(struct ygr_call_plan *plan)
{
	struct ygr_perf_args args;
	memcpy(&args, plan->attr, sizeof(args));
	uint8_t *attr = plan->attr + sizeof(args);

	/* A name that is no string of the application's would be read from this process. */
	uint32_t type = ygr_get32(attr);
	if (!args.probe && type >= 6 && ygr_get64(attr + 56) &&
	    (type == pmu_type("kprobe") || type == pmu_type("uprobe")))
		return -EFAULT;
	return system_call(syscall(SYS_perf_event_open, attr, args.pid, args.cpu, (int)args.group_handle,
				   args.flags | PERF_FD_CLOEXEC));
}

static int64_t perform_ioctl(struct ygr_call_plan *plan)
{
	struct ygr_ioctl_args args;
	memcpy(&args, plan->attr, sizeof(args));
	return system_call(ioctl((int)args.handle, args.request, args.argument));
}

int64_t ygr_call_perform(struct ygr_call_plan *plan)
{
	switch (plan->call.kind) {
	case YGR_CALL_BPF:
		return perform_bpf(plan);
	case YGR_CALL_PERF:
		return perform_perf(plan);
	default:
		return perform_ioctl(plan);
	}
}

static uint32_t kind_of_pinned(int fd)
{
	char kind[64];
	file_kind((uint32_t)fd, kind, sizeof(kind));
	if (!strcmp(kind, "anon_inode:bpf-map"))
		return YGR_OBJECT_MAP;
	if (!strcmp(kind, "anon_inode:bpf-prog"))
		return YGR_OBJECT_PROG;
	if (!strncmp(kind, "anon_inode:bpf_link", 19) || !strncmp(kind, "anon_inode:bpf-link", 19))
		return YGR_OBJECT_LINK;
	return YGR_OBJECT_FILE;
}

int ygr_call_describe(const struct ygr_call *call, int fd, uint32_t possible_cpus,
		      struct ygr_object *ret_object)
{
	struct ygr_object object = {.kind = ygr_call_makes(call)};
	uint8_t info[88] = {0}, attr[16] = {0};

	if (call->kind == YGR_CALL_BPF && call->cmd == CMD_OBJ_GET)
		object.kind = kind_of_pinned(fd);
	if (object.kind == YGR_OBJECT_MAP || object.kind == YGR_OBJECT_LINK) {
		ygr_put32(attr, (uint32_t)fd);
		ygr_put32(attr + 4, object.kind == YGR_OBJECT_MAP ? 88 : 64);
		ygr_put64(attr + 8, (uint64_t)(uintptr_t)info);
		if (syscall(SYS_bpf, CMD_OBJ_GET_INFO_BY_FD, attr, sizeof(attr)) < 0 &&
		    object.kind == YGR_OBJECT_MAP)
			return -errno;
		object.map_type = ygr_get32(info);
	}
	if (object.kind == YGR_OBJECT_MAP) {
		object.key_size = ygr_get32(info + 8);
		object.value_size = ygr_get32(info + 12);
		object.max_entries = ygr_get32(info + 16);
		object.map_flags = ygr_get32(info + 20);
		object.possible_cpus = possible_cpus;
	}
	*ret_object = object;
	return 0;
}
