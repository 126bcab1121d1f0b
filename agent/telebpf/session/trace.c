/* See trace.h. What is shown of each command is a table; fields that are 0 are left out, as they are in the sources
 * of those who call. */
#include "agent/telebpf/session/trace.h"

#include <ctype.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/wire/bpf-names.h"

#define TEXT_SHOWN 64 /* bytes of a string or of data */
#define DATA_SHOWN 16

enum kind { NUMBER, WIDE, HEX, HANDLE, NAME, TEXT, DATA, MAP_TYPE, PROG_TYPE, ATTACH_TYPE };

struct field {
	const char *name;
	uint32_t offset;
	enum kind kind;
};

struct command {
	uint32_t cmd;
	struct field fields[8];
};

#define AT(member)       #member, offsetof(union bpf_attr, member)
#define IN(part, member) #member, offsetof(union bpf_attr, part.member)

static const struct command commands[] = {
    {BPF_MAP_CREATE,
     {{AT(map_type), MAP_TYPE},
      {AT(key_size), NUMBER},
      {AT(value_size), NUMBER},
      {AT(max_entries), NUMBER},
      {AT(map_flags), HEX},
      {AT(map_name), NAME}}},
    {BPF_PROG_LOAD,
     {{AT(prog_type), PROG_TYPE},
      {AT(insn_cnt), NUMBER},
      {AT(license), TEXT},
      {AT(prog_name), NAME},
      {AT(expected_attach_type), ATTACH_TYPE},
      {AT(attach_btf_id), NUMBER},
      {AT(log_level), NUMBER}}},
    {BPF_BTF_LOAD, {{AT(btf_size), NUMBER}}},
    {BPF_MAP_LOOKUP_ELEM, {{AT(map_fd), HANDLE}, {AT(key), DATA}, {AT(flags), HEX}}},
    {BPF_MAP_UPDATE_ELEM, {{AT(map_fd), HANDLE}, {AT(key), DATA}, {AT(value), DATA}, {AT(flags), HEX}}},
    {BPF_MAP_DELETE_ELEM, {{AT(map_fd), HANDLE}, {AT(key), DATA}}},
    {BPF_MAP_GET_NEXT_KEY, {{AT(map_fd), HANDLE}, {AT(key), DATA}}},
    {BPF_MAP_LOOKUP_AND_DELETE_ELEM, {{AT(map_fd), HANDLE}, {AT(key), DATA}, {AT(flags), HEX}}},
    {BPF_MAP_LOOKUP_BATCH, {{IN(batch, map_fd), HANDLE}, {IN(batch, count), NUMBER}}},
    {BPF_MAP_LOOKUP_AND_DELETE_BATCH, {{IN(batch, map_fd), HANDLE}, {IN(batch, count), NUMBER}}},
    {BPF_MAP_UPDATE_BATCH, {{IN(batch, map_fd), HANDLE}, {IN(batch, count), NUMBER}}},
    {BPF_MAP_DELETE_BATCH, {{IN(batch, map_fd), HANDLE}, {IN(batch, count), NUMBER}}},
    {BPF_MAP_FREEZE, {{AT(map_fd), HANDLE}}},
    {BPF_OBJ_PIN, {{AT(pathname), TEXT}, {AT(bpf_fd), HANDLE}}},
    {BPF_OBJ_GET, {{AT(pathname), TEXT}}},
    {BPF_PROG_ATTACH,
     {{AT(target_fd), HANDLE}, {AT(attach_bpf_fd), HANDLE}, {AT(attach_type), ATTACH_TYPE}}},
    {BPF_PROG_DETACH,
     {{AT(target_fd), HANDLE}, {AT(attach_bpf_fd), HANDLE}, {AT(attach_type), ATTACH_TYPE}}},
    {BPF_PROG_TEST_RUN, {{IN(test, prog_fd), HANDLE}, {IN(test, repeat), NUMBER}}},
    {BPF_PROG_GET_NEXT_ID, {{AT(start_id), NUMBER}}},
    {BPF_MAP_GET_NEXT_ID, {{AT(start_id), NUMBER}}},
    {BPF_BTF_GET_NEXT_ID, {{AT(start_id), NUMBER}}},
    {BPF_LINK_GET_NEXT_ID, {{AT(start_id), NUMBER}}},
    {BPF_PROG_GET_FD_BY_ID, {{AT(prog_id), NUMBER}}},
    {BPF_MAP_GET_FD_BY_ID, {{AT(map_id), NUMBER}}},
    {BPF_BTF_GET_FD_BY_ID, {{AT(btf_id), NUMBER}}},
    {BPF_LINK_GET_FD_BY_ID, {{AT(link_id), NUMBER}}},
    {BPF_OBJ_GET_INFO_BY_FD, {{IN(info, bpf_fd), HANDLE}, {IN(info, info_len), NUMBER}}},
    {BPF_PROG_QUERY, {{IN(query, target_fd), HANDLE}, {IN(query, attach_type), ATTACH_TYPE}}},
    {BPF_RAW_TRACEPOINT_OPEN, {{IN(raw_tracepoint, name), TEXT}, {IN(raw_tracepoint, prog_fd), HANDLE}}},
    {BPF_TASK_FD_QUERY, {{IN(task_fd_query, pid), NUMBER}, {IN(task_fd_query, fd), NUMBER}}},
    {BPF_LINK_CREATE,
     {{IN(link_create, prog_fd), HANDLE},
      {IN(link_create, target_fd), HANDLE},
      {IN(link_create, attach_type), ATTACH_TYPE},
      {IN(link_create, flags), HEX}}},
    {BPF_LINK_UPDATE, {{IN(link_update, link_fd), HANDLE}, {IN(link_update, new_prog_fd), HANDLE}}},
    {BPF_LINK_DETACH, {{IN(link_detach, link_fd), HANDLE}}},
    {BPF_ITER_CREATE, {{IN(iter_create, link_fd), HANDLE}}},
    {BPF_PROG_BIND_MAP, {{IN(prog_bind_map, prog_fd), HANDLE}, {IN(prog_bind_map, map_fd), HANDLE}}},
};

static const struct {
	uint32_t request;
	const char *name;
} requests[] = {
    {PERF_EVENT_IOC_ENABLE, "PERF_EVENT_IOC_ENABLE"},
    {PERF_EVENT_IOC_DISABLE, "PERF_EVENT_IOC_DISABLE"},
    {PERF_EVENT_IOC_REFRESH, "PERF_EVENT_IOC_REFRESH"},
    {PERF_EVENT_IOC_RESET, "PERF_EVENT_IOC_RESET"},
    {PERF_EVENT_IOC_PERIOD, "PERF_EVENT_IOC_PERIOD"},
    {PERF_EVENT_IOC_SET_OUTPUT, "PERF_EVENT_IOC_SET_OUTPUT"},
    {PERF_EVENT_IOC_SET_FILTER, "PERF_EVENT_IOC_SET_FILTER"},
    {PERF_EVENT_IOC_ID, "PERF_EVENT_IOC_ID"},
    {PERF_EVENT_IOC_SET_BPF, "PERF_EVENT_IOC_SET_BPF"},
    {PERF_EVENT_IOC_PAUSE_OUTPUT, "PERF_EVENT_IOC_PAUSE_OUTPUT"},
    {PERF_EVENT_IOC_QUERY_BPF, "PERF_EVENT_IOC_QUERY_BPF"},
    {PERF_EVENT_IOC_MODIFY_ATTRIBUTES, "PERF_EVENT_IOC_MODIFY_ATTRIBUTES"},
};

/* Text that grows up to a bound. */
struct line {
	char text[YGR_TRACE_MAX];
	size_t length;
};

__attribute__((format(printf, 2, 3))) static void add(struct line *line, const char *format, ...)
{
	size_t room = sizeof(line->text) - line->length;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line->text + line->length, room, format, args);
	va_end(args);
	line->length += n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

/* At most LENGTH bytes, up to a NUL, as a C string. */
static void add_quoted(struct line *line, const uint8_t *bytes, size_t length)
{
	size_t shown = strnlen((const char *)bytes, length < TEXT_SHOWN ? length : TEXT_SHOWN);

	add(line, "\"");
	for (size_t i = 0; i < shown; i++)
		if (bytes[i] == '"' || bytes[i] == '\\')
			add(line, "\\%c", bytes[i]);
		else if (bytes[i] < 0x80 && isprint(bytes[i]))
			add(line, "%c", bytes[i]);
		else
			add(line, "\\%03o", bytes[i]);
	add(line, shown == TEXT_SHOWN && length > TEXT_SHOWN && bytes[TEXT_SHOWN] ? "\"..." : "\"");
}

static void add_upper(struct line *line, const char *prefix, const char *name, uint32_t number)
{
	if (!name) {
		add(line, "%u", number);
		return;
	}
	add(line, "%s", prefix);
	for (; *name; name++)
		add(line, "%c", toupper((unsigned char)*name));
}

static void add_handle(struct line *line, uint32_t handle)
{
	if (handle == YGR_HANDLE_BAD)
		add(line, "-1");
	else
		add(line, "#%u", handle);
}

/* The bytes that the pointer at OFFSET of the attribute leads to. */
static void add_pointer(struct line *line, const struct ygr_call_plan *plan, uint32_t offset, bool text)
{
	const struct ygr_segment *segment = ygr_call_plan_field(plan, offset, 0);

	if (!segment || !segment->data || !segment->in_length) {
		add(line, segment ? "..." : "NULL");
	} else if (text) {
		add_quoted(line, segment->data, segment->in_length);
	} else {
		for (uint32_t i = 0; i < segment->in_length && i < DATA_SHOWN; i++)
			add(line, "%s%02x", i ? " " : "", segment->data[i]);
		add(line, segment->in_length > DATA_SHOWN ? " ..." : "");
	}
}

static uint64_t value_at(const struct ygr_call_plan *plan, uint32_t offset, size_t size)
{
	uint64_t value = 0;

	if (offset + size <= plan->call.attr_size)
		memcpy(&value, plan->attr + offset, size);
	return value;
}

static size_t size_of(enum kind kind)
{
	return kind == WIDE || kind == TEXT || kind == DATA ? 8 : kind == NAME ? BPF_OBJ_NAME_LEN : 4;
}

static void add_field(struct line *line, const struct ygr_call_plan *plan, const struct field *field)
{
	uint64_t value;

	if (field->offset + size_of(field->kind) > plan->call.attr_size)
		return;
	value = value_at(plan, field->offset, size_of(field->kind) < 8 ? 4 : 8);
	if (!value && field->kind != MAP_TYPE && field->kind != PROG_TYPE)
		return;
	add(line, "%s%s=", line->text[line->length - 1] == '{' ? "" : ", ", field->name);
	switch (field->kind) {
	case NUMBER:
	case WIDE:
		add(line, "%" PRIu64, value);
		break;
	case HEX:
		add(line, "%#" PRIx64, value);
		break;
	case HANDLE:
		add_handle(line, (uint32_t)value);
		break;
	case NAME:
		add_quoted(line, plan->attr + field->offset, BPF_OBJ_NAME_LEN);
		break;
	case TEXT:
	case DATA:
		add_pointer(line, plan, field->offset, field->kind == TEXT);
		break;
	case MAP_TYPE:
		add_upper(line, "BPF_MAP_TYPE_", ygr_bpf_map_type_name((uint32_t)value), (uint32_t)value);
		break;
	case PROG_TYPE:
		add_upper(line, "BPF_PROG_TYPE_", ygr_bpf_prog_type_name((uint32_t)value), (uint32_t)value);
		break;
	case ATTACH_TYPE:
		add_upper(line, "BPF_", ygr_bpf_attach_type_name((uint32_t)value), (uint32_t)value);
		break;
	}
}

static void add_bpf(struct line *line, const struct ygr_call_plan *plan)
{
	const struct ygr_command_info *info = ygr_command_info((int)plan->call.cmd);

	if (info)
		add(line, "bpf(BPF_%s, {", info->name);
	else
		add(line, "bpf(%u, {", plan->call.cmd);
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		for (size_t j = 0; commands[i].cmd == plan->call.cmd && j < 8 && commands[i].fields[j].name;
		     j++)
			add_field(line, plan, &commands[i].fields[j]);
	add(line, "}, %u)", plan->call.attr_size);
}

static void add_perf(struct line *line, const struct ygr_call_plan *plan)
{
	static const char *const types[] = {"HARDWARE", "SOFTWARE", "TRACEPOINT",
					    "HW_CACHE", "RAW",      "BREAKPOINT"};
	const uint32_t base = sizeof(struct ygr_perf_args);
	uint32_t type = (uint32_t)value_at(plan, base, 4);
	struct ygr_perf_args args = {};

	if (plan->call.attr_size >= sizeof(args))
		memcpy(&args, plan->attr, sizeof(args));
	add(line, "perf_event_open({type=");
	if (type < sizeof(types) / sizeof(*types))
		add(line, "PERF_TYPE_%s", types[type]);
	else
		add(line, "%u", type);
	add(line, ", config=%#" PRIx64, value_at(plan, base + offsetof(struct perf_event_attr, config), 8));
	if (args.probe) {
		add(line, ", name=");
		add_pointer(line, plan, base + offsetof(struct perf_event_attr, config1), true);
	}
	add(line, ", sample_type=%#" PRIx64 "}, %d, %d, ",
	    value_at(plan, base + offsetof(struct perf_event_attr, sample_type), 8), args.pid, args.cpu);
	add_handle(line, args.group_handle == YGR_HANDLE_NONE ? YGR_HANDLE_BAD : args.group_handle);
	add(line, ", %#" PRIx64 ")", args.flags);
}

static void add_ioctl(struct line *line, const struct ygr_call_plan *plan)
{
	struct ygr_ioctl_args args = {};
	const char *name = NULL;

	if (plan->call.attr_size >= sizeof(args))
		memcpy(&args, plan->attr, sizeof(args));
	for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++)
		if (requests[i].request == (uint32_t)args.request)
			name = requests[i].name;
	add(line, "ioctl(#%u, ", args.handle);
	if (name)
		add(line, "%s, ", name);
	else
		add(line, "%#" PRIx64 ", ", args.request);
	if (args.request == PERF_EVENT_IOC_SET_BPF || args.request == PERF_EVENT_IOC_SET_OUTPUT)
		add_handle(line, (uint32_t)args.argument);
	else if (args.request == PERF_EVENT_IOC_SET_FILTER)
		add_pointer(line, plan, offsetof(struct ygr_ioctl_args, argument), true);
	else
		add(line, "%" PRIu64, args.argument);
	add(line, ")");
}

char *ygr_trace_call(const struct ygr_call_plan *plan)
{
	struct line line = {};

	if (plan->call.kind == YGR_CALL_BPF)
		add_bpf(&line, plan);
	else if (plan->call.kind == YGR_CALL_PERF)
		add_perf(&line, plan);
	else
		add_ioctl(&line, plan);
	if (line.length == sizeof(line.text) - 1)
		memcpy(line.text + line.length - 3, "...", 3);
	return strdup(line.text);
}

char *ygr_trace_read(uint32_t handle, uint32_t length)
{
	char *text;

	return asprintf(&text, "read(#%u, %u)", handle, length) < 0 ? NULL : text;
}

char *ygr_trace_open(const char *path, uint32_t flags)
{
	struct line line = {};

	add(&line, "open(");
	add_quoted(&line, (const uint8_t *)path, strlen(path));
	add(&line, ", %#" PRIx32 ")", flags);
	return strdup(line.text);
}

void ygr_trace_line(char line[YGR_TRACE_MAX + 256], const char *call, int64_t result, uint32_t handle,
		    uint64_t ns, const char *why)
{
	const char *name = result < 0 ? strerrorname_np((int)-result) : NULL;
	char outcome[128];
	uint64_t us = ns / 1000;

	if (handle != YGR_HANDLE_NONE)
		snprintf(outcome, sizeof(outcome), "#%u", handle);
	else if (name)
		snprintf(outcome, sizeof(outcome), "-1 %s (%s)", name, strerrordesc_np((int)-result));
	else
		snprintf(outcome, sizeof(outcome), "%" PRId64, result);
	snprintf(line, YGR_TRACE_MAX + 256, "%s = %s%s%s%s <%" PRIu64 ".%06" PRIu64 ">", call, outcome,
		 why ? " (" : "", why ? why : "", why ? ")" : "", us / 1000000, us % 1000000);
}
