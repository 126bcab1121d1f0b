/*
 * May this bpf(), perf_event_open() or ioctl be made? See grant.h. What is decided here is decided by the
 * same fields by which the kernel dispatches, so that no call can look like one thing to us and be another
 * to it. Offsets of fields that are younger than the installed header are written as numbers.
 *
 * Where things are attached: tracing, LSM and iterator programs carry their target in PROG_LOAD, struct_ops
 * in MAP_CREATE, tracepoints and single probes in perf_event_open; for these LINK_CREATE and
 * RAW_TRACEPOINT_OPEN add nothing. Everything else names its target when it is attached.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "lib/wire/bpf-names.h"
#include "lib/wire/grant-question.h"

/* Offsets in union bpf_attr and values that are younger than 6.1. */
enum {
	OBJ_PATH_FD = 16,
	UPROBE_MULTI_PATH = 16,
	PATH_FD_FLAG = 1 << 14, /* BPF_F_PATH_FD */
	ATTACH_STRUCT_OPS = 44,
	ATTACH_UPROBE_MULTI = 48,
	ATTACH_KPROBE_SESSION = 56,
};

static int check_net(const struct ygr_question *q, uint32_t attach)
{
	return ygr_check_attach(q, "net:", ygr_bpf_attach_type_name(attach));
}

/* The symbols are one segment: COUNT strings, one after another. */
static int check_kprobe_multi(const struct ygr_question *q)
{
	uint32_t count = ygr_question_field32(q, FIELD(link_create.kprobe_multi.cnt));
	uint64_t addresses = ygr_question_field(q, FIELD(link_create.kprobe_multi.addrs), 8);
	const struct ygr_segment *symbols =
	    ygr_call_plan_field(q->plan, FIELD(link_create.kprobe_multi.syms), 0);
	if (addresses || !symbols || !symbols->data) /* bare addresses: nobody can say whose */
		return ygr_check_attach(q, "kprobe:", NULL);

	const char *symbol = (const char *)symbols->data, *end = symbol + symbols->in_length;
	for (uint32_t i = 0; i < count; i++) {
		const char *next = memchr(symbol, '\0', (size_t)(end - symbol));
		if (!next)
			return ygr_error_set(q->error, EACCES, "there are fewer symbols than the call says");
		int r = ygr_check_attach(q, "kprobe:", symbol);
		if (r < 0)
			return r;
		symbol = next + 1;
	}
	return 0;
}

static int check_link_create(const struct ygr_question *q)
{
	uint32_t attach = ygr_question_field32(q, FIELD(link_create.attach_type));
	const char *path;
	int r;
	switch (attach) {
	case BPF_PERF_EVENT:
	case BPF_TRACE_RAW_TP:
	case BPF_TRACE_FENTRY:
	case BPF_TRACE_FEXIT:
	case BPF_MODIFY_RETURN:
	case BPF_LSM_MAC:
	case BPF_LSM_CGROUP:
	case BPF_TRACE_ITER:
	case ATTACH_STRUCT_OPS:
		return 0; /* see the top of this file */
	case BPF_TRACE_KPROBE_MULTI:
	case ATTACH_KPROBE_SESSION:
		return check_kprobe_multi(q);
	case ATTACH_UPROBE_MULTI:
		r = ygr_question_string(q, UPROBE_MULTI_PATH, &path);
		return r < 0 ? r : ygr_check_uprobe(q, path);
	default:
		return check_net(q, attach);
	}
}

static int check_raw_tracepoint(const struct ygr_question *q)
{
	const char *name;
	int r = ygr_question_string(q, FIELD(raw_tracepoint.name), &name);
	/* Without a name it attaches a tracing or LSM program, to what it was loaded for. */
	return r < 0 || !name ? r : ygr_check_attach(q, "raw_tracepoint:", name);
}

static int check_object_path(const struct ygr_question *q)
{
	uint32_t flags = ygr_question_field32(q, FIELD(file_flags));
	const char *path;
	int r = ygr_question_string(q, FIELD(pathname), &path);
	if (r < 0)
		return r;
	if (flags & PATH_FD_FLAG || ygr_question_field32(q, OBJ_PATH_FD))
		return ygr_error_set(q->error, EACCES, "pins are reached by absolute paths only");
	if (!path)
		return 0; /* EFAULT is the kernel's to say */

	int mode = q->plan->call.cmd == BPF_OBJ_PIN ? O_WRONLY : flags & BPF_F_RDONLY ? O_RDONLY : O_RDWR;
	return ygr_grant_check_file(q->grant, q->who, path, mode, q->error);
}

static int check_ids(const struct ygr_question *q, const char *what)
{
	return q->grant->ids ? 0 : ygr_grant_deny(q->grant, q->who, q->error, "%s (ids)", what);
}

static int check_bpf(const struct ygr_question *q)
{
	switch (q->plan->call.cmd) {
	case BPF_PROG_LOAD:
		return ygr_check_prog_load(q);
	case BPF_MAP_CREATE:
		return ygr_check_map_create(q);
	case BPF_LINK_CREATE:
		return check_link_create(q);
	case BPF_RAW_TRACEPOINT_OPEN:
		return check_raw_tracepoint(q);
	case BPF_PROG_ATTACH:
	case BPF_PROG_DETACH:
		return check_net(q, ygr_question_field32(q, FIELD(attach_type)));
	case BPF_OBJ_PIN:
	case BPF_OBJ_GET:
		return check_object_path(q);
	case BPF_PROG_GET_NEXT_ID:
	case BPF_MAP_GET_NEXT_ID:
	case BPF_LINK_GET_NEXT_ID:
		return check_ids(q, "walking objects");
	case BPF_PROG_GET_FD_BY_ID:
	case BPF_MAP_GET_FD_BY_ID:
	case BPF_LINK_GET_FD_BY_ID:
		return check_ids(q, "opening an object by its id");
	case BPF_PROG_QUERY:
		return check_ids(q, "PROG_QUERY");
	case BPF_TASK_FD_QUERY:
		return check_ids(q, "TASK_FD_QUERY");
	case BPF_ENABLE_STATS:
		return check_ids(q, "ENABLE_STATS");
	case BPF_MAP_LOOKUP_ELEM:
	case BPF_MAP_UPDATE_ELEM:
	case BPF_MAP_DELETE_ELEM:
	case BPF_MAP_GET_NEXT_KEY:
	case BPF_MAP_LOOKUP_AND_DELETE_ELEM:
	case BPF_MAP_FREEZE:
	case BPF_MAP_LOOKUP_BATCH:
	case BPF_MAP_LOOKUP_AND_DELETE_BATCH:
	case BPF_MAP_UPDATE_BATCH:
	case BPF_MAP_DELETE_BATCH:
	case BPF_PROG_TEST_RUN:
	case BPF_OBJ_GET_INFO_BY_FD:
	case BPF_BTF_LOAD:
	case BPF_BTF_GET_FD_BY_ID:
	case BPF_BTF_GET_NEXT_ID:
	case BPF_LINK_UPDATE:
	case BPF_LINK_DETACH:
	case BPF_ITER_CREATE:
	case BPF_PROG_BIND_MAP:
		return 0; /* on own handles, or about types only */
	default:
		return ygr_grant_deny(q->grant, q->who, q->error, "bpf command %u", q->plan->call.cmd);
	}
}

int ygr_grant_check_call(const struct ygr_grant *grant, const char *who, const struct ygr_call_plan *plan,
			 const struct ygr_grant_names *names, struct ygr_error *error)
{
	static const struct ygr_grant_names none;
	struct ygr_question q = {grant, who, plan, names ? names : &none, error};
	switch (plan->call.kind) {
	case YGR_CALL_BPF:
		return check_bpf(&q);
	case YGR_CALL_PERF:
		return ygr_check_perf(&q);
	case YGR_CALL_IOCTL:
		return ygr_check_ioctl(&q);
	default:
		return ygr_grant_deny(grant, who, error, "call of kind %u", plan->call.kind);
	}
}
