/*
 * The tables of the marshaller, read from include/uapi/linux/bpf.h and kernel/bpf/ of Linux 6.12: offsets in
 * union bpf_attr and in the info structures, by number, because the headers of distributions are older and
 * younger than that. Every list ends with the number of bytes that it knows about; beyond them the kernel
 * wants zeros, and so do we: a field that is not known here might be a pointer.
 */
#include "lib/wire/call-table.h"

#include <errno.h>

enum { /* enum bpf_cmd */
       CMD_MAP_CREATE = 0,
       CMD_LINK_CREATE = 28,
};

enum { MAP_TYPE_ARENA = 33 };

/* Behind struct ygr_perf_args: the word of flags in perf_event_attr, and its `sigtrap`. */
enum { PERF_FLAGS = sizeof(struct ygr_perf_args) + 40 };
#define PERF_FLAG_SIGTRAP (UINT64_C(1) << 37)

enum { /* enum bpf_attach_type */
       ATTACH_TRACE_ITER = 28,
       ATTACH_PERF_EVENT = 41,
       ATTACH_KPROBE_MULTI = 42,
       ATTACH_TCX_INGRESS = 46,
       ATTACH_TCX_EGRESS = 47,
       ATTACH_UPROBE_MULTI = 48,
       ATTACH_NETKIT_PRIMARY = 54,
       ATTACH_NETKIT_PEER = 55,
       ATTACH_KPROBE_SESSION = 56,
       ATTACH_UPROBE_SESSION = 57,
};

enum { /* enum bpf_link_type */
       LINK_RAW_TRACEPOINT = 1,
       LINK_ITER = 4,
       LINK_PERF_EVENT = 7,
       LINK_KPROBE_MULTI = 8,
       LINK_UPROBE_MULTI = 12,
};

/* clang-format off */
#define END(n)                      {.kind = YGR_FIELD_END, .offset = (n)}
#define PAD(at, n)                  {.kind = YGR_FIELD_PAD, .offset = (at), .item = (n)}
#define OUT(at, n)                  {.kind = YGR_FIELD_OUT, .offset = (at), .item = (n)}
#define FD(at)                      {.kind = YGR_FIELD_FD, .offset = (at)}
#define FD_OPT(at)                  {.kind = YGR_FIELD_FD_OPT, .offset = (at)}
#define FD_SHAPE(at)                {.kind = YGR_FIELD_FD_SHAPE, .offset = (at)}
#define FD_AS(as, at, by)           {.kind = YGR_FIELD_##as, .offset = (at), .count = (by)}
#define POINTER(at, dir, len, ...)  {.kind = YGR_FIELD_POINTER, .offset = (at), .way = YGR_##dir, \
				     .length = YGR_LENGTH_##len, __VA_ARGS__}
#define BY(at)                      .count = (at)
#define EACH(n)                     .item = (n)
#define HOLDS(what)                 .content = YGR_CONTENT_##what
#define BACK(how)                   .back = YGR_BACK_##how

static const struct ygr_field map_create[] = {
	FD_OPT(20), FD_OPT(48), FD_OPT(72), FD_OPT(76), END(80)};

static const struct ygr_field map_lookup[] = {
	FD_SHAPE(0), PAD(4, 4),
	POINTER(8, IN, KEY, HOLDS(KEY)),
	POINTER(16, OUT, VALUE, HOLDS(FILTER), BACK(ALL)),
	END(32)};

static const struct ygr_field map_update[] = {
	FD_SHAPE(0), PAD(4, 4),
	POINTER(8, IN, KEY, HOLDS(KEY)),
	POINTER(16, IN, VALUE, HOLDS(VALUE)),
	END(32)};

static const struct ygr_field map_delete[] = {
	FD_SHAPE(0), PAD(4, 4), POINTER(8, IN, KEY, HOLDS(KEY)), END(16)};

static const struct ygr_field map_next_key[] = {
	FD_SHAPE(0), PAD(4, 4),
	POINTER(8, IN, KEY),
	POINTER(16, OUT, KEY, BACK(ALL)),
	END(24)};

static const struct ygr_field map_freeze[] = {FD(0), END(4)};

static const struct ygr_field map_lookup_batch[] = {
	FD_SHAPE(36),
	POINTER(0, IN, CURSOR),
	POINTER(8, OUT, CURSOR, BACK(ALL)),
	POINTER(16, OUT, KEYS, BY(32), BACK(COUNT)),
	POINTER(24, OUT, VALUES, BY(32), BACK(COUNT)),
	OUT(32, 4), END(56)};

static const struct ygr_field map_update_batch[] = {
	FD_SHAPE(36),
	POINTER(0, IN, CURSOR),
	POINTER(8, OUT, CURSOR, BACK(ALL)),
	POINTER(16, IN, KEYS, BY(32)),
	POINTER(24, IN, VALUES, BY(32), HOLDS(VALUE)),
	OUT(32, 4), END(56)};

static const struct ygr_field map_delete_batch[] = {
	FD_SHAPE(36),
	POINTER(0, IN, CURSOR),
	POINTER(8, OUT, CURSOR, BACK(ALL)),
	POINTER(16, IN, KEYS, BY(32)),
	OUT(32, 4), END(56)};

static const struct ygr_field prog_load[] = {
	POINTER(8, IN, COUNT, BY(4), EACH(8), HOLDS(INSNS)),
	POINTER(16, IN, STRING, EACH(128)),
	POINTER(32, OUT, COUNT, BY(28), EACH(1), BACK(STRING)),
	FD_OPT(72),
	POINTER(80, IN, RECORDS, BY(88), EACH(76)), OUT(76, 4),
	POINTER(96, IN, RECORDS, BY(104), EACH(92)), OUT(92, 4),
	FD_OPT(112),
	POINTER(120, IN, FD_ARRAY, BY(148), HOLDS(FDS)),
	POINTER(128, IN, RECORDS, BY(116), EACH(136)), OUT(136, 4),
	OUT(140, 4), FD_OPT(144), END(152)};

static const struct ygr_field obj_pin[] = {
	POINTER(0, IN, STRING, EACH(YGR_USER_PAGE)), FD(8), FD_AS(FD_PATH, 16, 0), END(20)};

static const struct ygr_field obj_get[] = {
	POINTER(0, IN, STRING, EACH(YGR_USER_PAGE)), FD_OPT(8), FD_AS(FD_PATH, 16, 0), END(20)};

static const struct ygr_field prog_attach[] = {
	FD_AS(TARGET, 0, 8), FD(4), FD_OPT(16), FD_AS(RELATIVE, 20, 12), END(32)};

static const struct ygr_field prog_detach[] = {
	FD_AS(TARGET, 0, 8), FD_OPT(4), FD_OPT(16), FD_AS(RELATIVE, 20, 12), END(32)};

static const struct ygr_field prog_test_run[] = {
	FD(0), OUT(4, 4),
	POINTER(16, IN, COUNT, BY(8), EACH(1)),
	POINTER(24, OUT, COUNT, BY(12), EACH(1), BACK(COUNT)),
	OUT(12, 4), OUT(36, 4),
	POINTER(48, INOUT, COUNT, BY(40), EACH(1), BACK(INPLACE)), /* programs of type syscall write it */
	POINTER(56, OUT, COUNT, BY(44), EACH(1), BACK(COUNT)),
	OUT(44, 4), END(76)};

static const struct ygr_field get_next_id[] = {OUT(4, 4), END(8)};
static const struct ygr_field get_fd_by_id[] = {END(12)};

static const struct ygr_field obj_get_info[] = {
	FD_SHAPE(0),
	POINTER(8, INOUT, COUNT, BY(4), EACH(1), HOLDS(INFO), BACK(INFO)),
	OUT(4, 4), END(16)};

static const struct ygr_field prog_query[] = {
	FD_AS(TARGET, 0, 4), OUT(12, 4),
	POINTER(16, OUT, COUNT, BY(24), EACH(4), BACK(IDS)),
	PAD(28, 4),
	POINTER(32, OUT, COUNT, BY(24), EACH(4), BACK(IDS)),
	POINTER(40, OUT, COUNT, BY(24), EACH(4), BACK(IDS)),
	POINTER(48, OUT, COUNT, BY(24), EACH(4), BACK(IDS)),
	OUT(24, 4), OUT(56, 8), END(64)};

static const struct ygr_field raw_tracepoint_open[] = {
	POINTER(0, IN, STRING, EACH(128)), FD(8), PAD(12, 4), END(24)};

static const struct ygr_field btf_load[] = {
	POINTER(0, IN, COUNT, BY(16), EACH(1)),
	POINTER(8, OUT, COUNT, BY(20), EACH(1), BACK(STRING)),
	OUT(28, 4), FD_OPT(36), END(40)};

static const struct ygr_field task_fd_query[] = {
	OUT(12, 4),
	POINTER(16, OUT, COUNT, BY(12), EACH(1), BACK(STRING)),
	OUT(24, 4), OUT(28, 4), OUT(32, 8), OUT(40, 8), END(48)};

static const struct ygr_field link_update[] = {FD(0), FD(4), FD_OPT(12), END(16)};
static const struct ygr_field link_fd[] = {FD(0), END(4)};
static const struct ygr_field enable_stats[] = {END(4)};
static const struct ygr_field iter_create[] = {FD(0), END(8)};
static const struct ygr_field prog_bind_map[] = {FD(0), FD(4), END(12)};
static const struct ygr_field token_create[] = {FD(4), END(8)};

/* LINK_CREATE is a union by attach type; what other types do not use must be zero. */
static const struct ygr_field link_other[] = {
	FD(0), FD_AS(TARGET, 4, 8), FD_AS(ANCHOR, 16, 12), END(32)};
static const struct ygr_field link_relative[] = {
	FD(0), FD_AS(TARGET, 4, 8), FD_AS(RELATIVE, 16, 12), PAD(20, 4), END(32)};
static const struct ygr_field link_perf_event[] = {FD(0), FD_OPT(4), END(24)};
static const struct ygr_field link_iter[] = {
	FD(0), FD_OPT(4), POINTER(16, IN, COUNT, BY(24), EACH(1), HOLDS(ITER)), END(28)};
static const struct ygr_field link_kprobe_multi[] = {
	FD(0), FD_OPT(4),
	POINTER(24, IN, STRINGS, BY(20), EACH(512)),
	POINTER(32, IN, COUNT, BY(20), EACH(8)),
	POINTER(40, IN, COUNT, BY(20), EACH(8)),
	END(48)};
static const struct ygr_field link_uprobe_multi[] = {
	FD(0), FD_OPT(4),
	POINTER(16, IN, STRING, EACH(YGR_USER_PAGE)),
	POINTER(24, IN, COUNT, BY(48), EACH(8)),
	POINTER(32, IN, COUNT, BY(48), EACH(8)),
	POINTER(40, IN, COUNT, BY(48), EACH(8)),
	END(60)};

/* Infos. */
static const struct ygr_field info_map[] = {END(88)};

static const struct ygr_field info_prog[] = {
	POINTER(24, OUT, COUNT, BY(16), EACH(1), BACK(IDS)),
	POINTER(32, OUT, COUNT, BY(20), EACH(1), BACK(IDS)),
	POINTER(56, OUT, COUNT, BY(52), EACH(4), BACK(IDS)),
	POINTER(112, OUT, COUNT, BY(104), EACH(8), BACK(IDS)),
	POINTER(120, OUT, COUNT, BY(108), EACH(4), BACK(IDS)),
	POINTER(136, OUT, RECORDS, BY(144), EACH(132), BACK(IDS)),
	POINTER(152, OUT, RECORDS, BY(148), EACH(172), BACK(IDS)),
	POINTER(160, OUT, RECORDS, BY(168), EACH(176), BACK(IDS)),
	POINTER(184, OUT, COUNT, BY(180), EACH(8), BACK(IDS)),
	END(232)};

static const struct ygr_field info_btf[] = {
	POINTER(0, OUT, COUNT, BY(8), EACH(1), BACK(IDS)),
	POINTER(16, OUT, COUNT, BY(24), EACH(1), BACK(STRING)),
	END(32)};

static const struct ygr_field info_link_name[] = { /* raw tracepoint, iterator */
	POINTER(16, OUT, COUNT, BY(24), EACH(1), BACK(STRING)), END(64)};
static const struct ygr_field info_link_kprobe_multi[] = {
	POINTER(16, OUT, COUNT, BY(24), EACH(8), BACK(IDS)),
	POINTER(40, OUT, COUNT, BY(24), EACH(8), BACK(IDS)),
	END(64)};
static const struct ygr_field info_link_uprobe_multi[] = {
	POINTER(16, OUT, COUNT, BY(48), EACH(1), BACK(STRING)),
	POINTER(24, OUT, COUNT, BY(52), EACH(8), BACK(IDS)),
	POINTER(32, OUT, COUNT, BY(52), EACH(8), BACK(IDS)),
	POINTER(40, OUT, COUNT, BY(52), EACH(8), BACK(IDS)),
	END(64)};
static const struct ygr_field info_link_perf_event[] = { /* for events without a name: config, a number */
	POINTER(24, OUT, COUNT, BY(32), EACH(1), BACK(STRING)), END(64)};
static const struct ygr_field info_link_other[] = {PAD(12, 4), PAD(16, 48), END(64)};

/* perf_event_open: struct ygr_perf_args, then perf_event_attr from byte 24 on. */
static const struct ygr_field perf_group[] = {
	FD_AS(FD_GROUP, 8, 0), OUT(28, 4), END(24 + YGR_PERF_ATTR_KNOWN)};
static const struct ygr_field perf_probe[] = {
	FD_AS(FD_GROUP, 8, 0), OUT(28, 4),
	POINTER(80, IN, STRING, EACH(YGR_USER_PAGE)), END(24 + YGR_PERF_ATTR_KNOWN)};

/* ioctl: struct ygr_ioctl_args. */
static const struct ygr_field ioctl_number[] = {FD(0), END(24)};
static const struct ygr_field ioctl_output[] = {FD(0), FD_AS(FD_WIDE, 16, 0), END(24)};
static const struct ygr_field ioctl_program[] = {FD(0), FD(16), PAD(20, 4), END(24)};
static const struct ygr_field ioctl_period[] = {FD(0), POINTER(16, IN, CONST, EACH(8)), END(24)};
static const struct ygr_field ioctl_filter[] = {FD(0), POINTER(16, IN, STRING, EACH(YGR_USER_PAGE)), END(24)};
static const struct ygr_field ioctl_id[] = {FD(0), POINTER(16, OUT, CONST, EACH(8), BACK(ALL)), END(24)};
static const struct ygr_field ioctl_query[] = {
	FD(0), POINTER(16, INOUT, QUERY, EACH(8), BACK(TOUCHED)), END(24)};

#define FORWARD(n, word, rows, object)                                                                       \
	{.info = {.cmd = (n), .name = word, .treatment = YGR_FORWARDED, .returns_fd = (object) != 0},       \
	 .fields = rows, .makes = (object)}

static const struct {
	struct ygr_command_info info;
	const struct ygr_field *fields;
	uint8_t makes; /* enum ygr_object_kind of the descriptor that it returns */
} commands[] = {
	FORWARD(0, "MAP_CREATE", map_create, YGR_OBJECT_MAP),
	FORWARD(1, "MAP_LOOKUP_ELEM", map_lookup, 0),
	FORWARD(2, "MAP_UPDATE_ELEM", map_update, 0),
	FORWARD(3, "MAP_DELETE_ELEM", map_delete, 0),
	FORWARD(4, "MAP_GET_NEXT_KEY", map_next_key, 0),
	FORWARD(5, "PROG_LOAD", prog_load, YGR_OBJECT_PROG),
	FORWARD(6, "OBJ_PIN", obj_pin, 0),
	FORWARD(7, "OBJ_GET", obj_get, YGR_OBJECT_FILE), /* a map, program or link: the kernel is asked which */
	FORWARD(8, "PROG_ATTACH", prog_attach, 0),
	FORWARD(9, "PROG_DETACH", prog_detach, 0),
	FORWARD(10, "PROG_TEST_RUN", prog_test_run, 0),
	FORWARD(11, "PROG_GET_NEXT_ID", get_next_id, 0),
	FORWARD(12, "MAP_GET_NEXT_ID", get_next_id, 0),
	FORWARD(13, "PROG_GET_FD_BY_ID", get_fd_by_id, YGR_OBJECT_PROG),
	FORWARD(14, "MAP_GET_FD_BY_ID", get_fd_by_id, YGR_OBJECT_MAP),
	FORWARD(15, "OBJ_GET_INFO_BY_FD", obj_get_info, 0),
	FORWARD(16, "PROG_QUERY", prog_query, 0),
	FORWARD(17, "RAW_TRACEPOINT_OPEN", raw_tracepoint_open, YGR_OBJECT_LINK),
	FORWARD(18, "BTF_LOAD", btf_load, YGR_OBJECT_BTF),
	FORWARD(19, "BTF_GET_FD_BY_ID", get_fd_by_id, YGR_OBJECT_BTF),
	FORWARD(20, "TASK_FD_QUERY", task_fd_query, 0),
	FORWARD(21, "MAP_LOOKUP_AND_DELETE_ELEM", map_lookup, 0),
	FORWARD(22, "MAP_FREEZE", map_freeze, 0),
	FORWARD(23, "BTF_GET_NEXT_ID", get_next_id, 0),
	FORWARD(24, "MAP_LOOKUP_BATCH", map_lookup_batch, 0),
	FORWARD(25, "MAP_LOOKUP_AND_DELETE_BATCH", map_lookup_batch, 0),
	FORWARD(26, "MAP_UPDATE_BATCH", map_update_batch, 0),
	FORWARD(27, "MAP_DELETE_BATCH", map_delete_batch, 0),
	FORWARD(28, "LINK_CREATE", link_other, YGR_OBJECT_LINK), /* by attach type: ygr_call_fields() */
	FORWARD(29, "LINK_UPDATE", link_update, 0),
	FORWARD(30, "LINK_GET_FD_BY_ID", get_fd_by_id, YGR_OBJECT_LINK),
	FORWARD(31, "LINK_GET_NEXT_ID", get_next_id, 0),
	FORWARD(32, "ENABLE_STATS", enable_stats, YGR_OBJECT_FILE),
	FORWARD(33, "ITER_CREATE", iter_create, YGR_OBJECT_ITER),
	FORWARD(34, "LINK_DETACH", link_fd, 0),
	FORWARD(35, "PROG_BIND_MAP", prog_bind_map, 0),
	FORWARD(36, "TOKEN_CREATE", token_create, YGR_OBJECT_TOKEN),
};
/* clang-format on */

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

const struct ygr_command_info *ygr_command_info(int cmd)
{
	return cmd >= 0 && cmd < COMMANDS ? &commands[cmd].info : NULL;
}

int ygr_command_count(void)
{
	return COMMANDS;
}

uint32_t ygr_fields_end(const struct ygr_field *fields)
{
	while (fields->kind != YGR_FIELD_END)
		fields++;
	return fields->offset;
}

uint32_t ygr_call_makes(const struct ygr_call *call)
{
	if (call->kind == YGR_CALL_PERF)
		return YGR_OBJECT_PERF;
	return call->kind == YGR_CALL_BPF && call->cmd < COMMANDS ? commands[call->cmd].makes
								  : YGR_OBJECT_NONE;
}

static bool is_cgroup_attach(uint32_t type)
{
	/* BPF_CGROUP_*: 1-3, 6, 8-15, 18-22, 29-32, 34; BPF_LSM_CGROUP 43; BPF_CGROUP_UNIX_* 49-53. */
	const uint64_t mask = 0x000000000000004eULL | 0xff00ULL | 0x7c0000ULL | 0x1e0000000ULL |
			      (1ULL << 34) | (1ULL << 43) | 0x3e000000000000ULL;
	return type < 64 && (mask >> type & 1);
}

static const struct ygr_field *link_fields(uint32_t attach_type)
{
	switch (attach_type) {
	case ATTACH_PERF_EVENT:
		return link_perf_event;
	case ATTACH_TRACE_ITER:
		return link_iter;
	case ATTACH_KPROBE_MULTI:
	case ATTACH_KPROBE_SESSION:
		return link_kprobe_multi;
	case ATTACH_UPROBE_MULTI:
	case ATTACH_UPROBE_SESSION:
		return link_uprobe_multi;
	case ATTACH_TCX_INGRESS:
	case ATTACH_TCX_EGRESS:
	case ATTACH_NETKIT_PRIMARY:
	case ATTACH_NETKIT_PEER:
		return link_relative;
	default:
		if (attach_type > ATTACH_UPROBE_SESSION)
			return NULL; /* its part of the union is not known here */
		return is_cgroup_attach(attach_type) ? link_relative : link_other;
	}
}

static const struct ygr_field *ioctl_fields(uint64_t request)
{
	switch (request) {
	case 0x2400:     /* ENABLE */
	case 0x2401:     /* DISABLE */
	case 0x2402:     /* REFRESH */
	case 0x2403:     /* RESET */
	case 0x40042409: /* PAUSE_OUTPUT */
		return ioctl_number;
	case 0x40082404:
		return ioctl_period;
	case 0x2405:
		return ioctl_output;
	case 0x40082406:
		return ioctl_filter;
	case 0x80082407:
		return ioctl_id;
	case 0x40042408: /* SET_BPF */
		return ioctl_program;
	case 0xc008240a:
		return ioctl_query;
	default:
		return NULL;
	}
}

const struct ygr_field *ygr_call_fields(const struct ygr_call *call, const uint8_t *attr)
{
	switch (call->kind) {
	case YGR_CALL_BPF:
		if (call->cmd >= COMMANDS)
			return NULL;
		return call->cmd == CMD_LINK_CREATE ? link_fields(ygr_get32(attr + 8))
						    : commands[call->cmd].fields;
	case YGR_CALL_PERF:
		return ygr_get32(attr + offsetof(struct ygr_perf_args, probe)) ? perf_probe : perf_group;
	case YGR_CALL_IOCTL:
		return ioctl_fields(ygr_get64(attr + offsetof(struct ygr_ioctl_args, request)));
	default:
		return NULL;
	}
}

const struct ygr_field *ygr_info_fields(const struct ygr_object *object)
{
	switch (object->kind) {
	case YGR_OBJECT_MAP:
		return info_map;
	case YGR_OBJECT_PROG:
		return info_prog;
	case YGR_OBJECT_BTF:
		return info_btf;
	case YGR_OBJECT_LINK:
		break;
	default:
		return NULL;
	}

	switch (object->map_type) {
	case LINK_RAW_TRACEPOINT:
	case LINK_ITER:
		return info_link_name;
	case LINK_KPROBE_MULTI:
		return info_link_kprobe_multi;
	case LINK_UPROBE_MULTI:
		return info_link_uprobe_multi;
	case LINK_PERF_EVENT:
		return info_link_perf_event;
	default:
		return info_link_other;
	}
}

bool ygr_info_pointer_is_number(const struct ygr_field *fields, const uint8_t *info, uint32_t size)
{
	/* bpf_link_info.perf_event.type; BPF_PERF_EVENT_EVENT puts its config where the others have a name.
	 */
	return fields == info_link_perf_event && size >= 20 && ygr_get32(info + 16) == 6;
}

int ygr_call_check(const struct ygr_call *call, const uint8_t *attr)
{
	if (call->kind == YGR_CALL_BPF && call->cmd == CMD_MAP_CREATE && ygr_get32(attr) == MAP_TYPE_ARENA)
		return -EOPNOTSUPP; /* pages that the application and the kernel fault in at will */
	if (call->kind == YGR_CALL_PERF && (ygr_get64(attr + PERF_FLAGS) & PERF_FLAG_SIGTRAP))
		return -EOPNOTSUPP; /* signals for processes of the guest, the one that performs calls first
				     */
	return ygr_call_fields(call, attr) ? 0 : -EINVAL;
}
