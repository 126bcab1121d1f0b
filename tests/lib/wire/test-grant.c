/* Grants: each rule of each kind of call, once where the list has it and once where it has not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/wire/glob.h"
#include "lib/wire/grant.h"

#define HEAD "\"program\":\"execsnoop\",\"vm\":\"uuid\",\"issuedAt\":10,\"notAfter\":20"
#define WHO  "the catalogue entry"

static struct ygr_call_plan plan;
static struct ygr_error error;

static struct ygr_grant *parse(const char *text, bool strict)
{
	json_t *json = json_loads(text, 0, NULL);
	assert_non_null(json);
	error = YGR_ERROR_INIT;
	struct ygr_grant *grant = ygr_grant_new_json(json, strict, &error);
	json_decref(json);
	return grant;
}

/* A grant with these further fields, as in a catalogue entry. */
static struct ygr_grant *grant_with(const char *fields)
{
	char text[4096];
	snprintf(text, sizeof(text), "{" HEAD "%s%s}", *fields ? "," : "", fields);
	struct ygr_grant *grant = parse(text, true);
	if (!grant)
		fail_msg("%s: %s", text, error.message);
	return grant;
}

static void plan_init(uint32_t kind, uint32_t cmd, uint32_t attr_size)
{
	memset(&plan, 0, sizeof(plan));
	plan.call = (struct ygr_call){.kind = kind, .cmd = cmd, .attr_size = attr_size};
}

static union bpf_attr *plan_bpf(uint32_t cmd)
{
	plan_init(YGR_CALL_BPF, cmd, 152);
	return (union bpf_attr *)(void *)plan.attr;
}

/* Puts LEN bytes behind the pointer at FIELD, as the decoder does without descriptors. */
static void plan_segment(uint32_t field, const void *data, uint32_t len)
{
	uint64_t given = 1;
	memcpy(plan.attr + field, &given, sizeof(given));
	plan.segments[plan.segment_count++] =
	    (struct ygr_segment){.field = field, .data = (uint8_t *)data, .in_length = len, .address = 1};
}

static void plan_string(uint32_t field, const char *text)
{
	plan_segment(field, text, (uint32_t)strlen(text) + 1);
}

/* The names that a guest would find behind the numbers. */
static const char *tracepoint_name(void *user, uint64_t id)
{
	(void)user;
	return id == 7 ? "syscalls/sys_enter_execve" : id == 8 ? "sched/sched_switch" : NULL;
}

static const char *btf_name(void *user, uint32_t btf_obj, uint32_t type_id)
{
	static const char *const names[] = {"void",
					    "do_unlinkat",
					    "bpf_lsm_file_open",
					    "bpf_iter_task",
					    "btf_trace_sched_switch",
					    "bpf_struct_ops_tcp_congestion_ops",
					    "bpf_task_acquire"};
	(void)user;
	if (btf_obj == 5)
		return "module_kfunc";
	return btf_obj == 0 && type_id < sizeof(names) / sizeof(names[0]) ? names[type_id] : NULL;
}

static const char *pmu_name(void *user, uint32_t type)
{
	(void)user;
	return type == 8 ? "kprobe" : type == 9 ? "uprobe" : type == 10 ? "msr" : NULL;
}

static const struct ygr_grant_names guest_names = {
    .tracepoint = tracepoint_name,
    .btf_name = btf_name,
    .perf_pmu = pmu_name,
};

static int check_with(const char *fields, const struct ygr_grant_names *names)
{
	struct ygr_grant *grant = grant_with(fields);
	error = YGR_ERROR_INIT;
	int r = ygr_grant_check_call(grant, WHO, &plan, names, &error);
	assert_true(r == 0 || (r == -EACCES && error.code == EACCES && error.message[0]));
	ygr_grant_free(grant);
	return r;
}

static void allowed(const char *fields)
{
	if (check_with(fields, &guest_names) < 0)
		fail_msg("%s: %s", fields, error.message);
}

static void denied(const char *fields, const char *message)
{
	assert_int_equal(check_with(fields, &guest_names), -EACCES);
	assert_string_equal(error.message, message);
}

/* In the session, which does not know the guest's names. */
static void allowed_nameless(const char *fields)
{
	if (check_with(fields, NULL) < 0)
		fail_msg("%s: %s", fields, error.message);
}

static void denied_nameless(const char *fields)
{
	assert_int_equal(check_with(fields, NULL), -EACCES);
}

#define NOT_IN " is not in the catalogue entry"

static void test_program_types(void **state)
{
	(void)state;
	plan_bpf(BPF_PROG_LOAD)->prog_type = BPF_PROG_TYPE_KPROBE;
	allowed("\"programTypes\":[\"tracepoint\",\"kprobe\"]");
	allowed("\"programTypes\":[\"*\"]");
	denied("\"programTypes\":[\"tracepoint\"]", "execsnoop: program type kprobe" NOT_IN);
	denied("", "execsnoop: program type kprobe" NOT_IN);
	plan_bpf(BPF_PROG_LOAD)->prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	allowed("");
	plan_bpf(BPF_PROG_LOAD)->prog_type = 32;
	allowed("\"programTypes\":[\"netfilter\"]");
	plan_bpf(BPF_PROG_LOAD)->prog_type = 99;
	denied("\"programTypes\":[\"kprobe\"]", "execsnoop: program type #99" NOT_IN);
}

/* A load of a socket filter with these instructions. */
static void plan_load(const struct bpf_insn *insns, uint32_t count)
{
	union bpf_attr *attr = plan_bpf(BPF_PROG_LOAD);
	attr->prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	attr->insn_cnt = count;
	plan_segment(offsetof(union bpf_attr, insns), insns, count * (uint32_t)sizeof(*insns));
}

static void test_helpers(void **state)
{
	(void)state;
	const struct bpf_insn insns[] = {
	    {.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = 113}, /* not a call, whatever its number */
	    {.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_CALL, .imm = 2},
	    {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_map_lookup_elem},
	    {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_probe_read_kernel},
	    {.code = BPF_JMP | BPF_EXIT},
	};
	plan_load(insns, 5);
	allowed("\"helpers\":[\"*\"]");
	allowed("\"helpers\":[\"map_lookup_elem\",\"probe_read_*\"]");
	denied("\"helpers\":[\"map_lookup_elem\"]", "execsnoop: helper probe_read_kernel" NOT_IN);
	denied("", "execsnoop: helper map_lookup_elem" NOT_IN);

	const struct bpf_insn sys_bpf = {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_sys_bpf};
	plan_load(&sys_bpf, 1);
	denied("\"helpers\":[\"*\"]", "execsnoop: helper sys_bpf" NOT_IN);
	denied("\"helpers\":[\"sys_*\"]", "execsnoop: helper sys_bpf" NOT_IN);
	allowed("\"helpers\":[\"sys_bpf\"]");

	const struct bpf_insn future = {.code = BPF_JMP | BPF_CALL, .imm = 5000};
	plan_load(&future, 1);
	denied("\"helpers\":[\"map_*\"]", "execsnoop: helper #5000" NOT_IN);
	const struct bpf_insn strange = {.code = BPF_JMP | BPF_CALL, .src_reg = 7};
	plan_load(&strange, 1);
	denied("\"helpers\":[\"*\"],\"kfuncs\":[\"*\"]", "unknown kind of call 7");
}

static void test_instructions_must_be_whole(void **state)
{
	(void)state;
	const struct bpf_insn insns[2] = {{.code = BPF_JMP | BPF_EXIT},
					  {.code = BPF_JMP | BPF_CALL, .imm = 1}};
	plan_load(insns, 2);
	plan.segments[0].in_length = sizeof(insns[0]);
	assert_int_equal(check_with("\"helpers\":[\"*\"]", &guest_names), -EACCES);
}

static void test_kfuncs(void **state)
{
	(void)state;
	struct bpf_insn insn = {.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_KFUNC_CALL, .imm = 6};
	plan_load(&insn, 1);
	allowed("\"kfuncs\":[\"bpf_task_*\"]");
	denied("\"helpers\":[\"*\"]", "execsnoop: kfunc bpf_task_acquire" NOT_IN);
	allowed_nameless("\"kfuncs\":[\"anything\"]");
	denied_nameless("\"helpers\":[\"*\"]");
	insn.imm = 77;
	denied("\"kfuncs\":[\"bpf_task_*\"]", "execsnoop: kfunc #77" NOT_IN);
	allowed("\"kfuncs\":[\"*\"]");

	const uint32_t fds[] = {0, 5};
	insn.off = 1;
	plan_segment(offsetof(union bpf_attr, fd_array), fds, sizeof(fds));
	allowed("\"kfuncs\":[\"module_kfunc\"]");
	denied("\"kfuncs\":[\"bpf_task_acquire\"]", "execsnoop: kfunc module_kfunc" NOT_IN);
	insn.off = 2; /* beyond the array */
	assert_int_equal(check_with("\"kfuncs\":[\"*\"]", &guest_names), -EACCES);
}

static void plan_tracing(uint32_t type, uint32_t attach, uint32_t btf_id)
{
	union bpf_attr *attr = plan_bpf(BPF_PROG_LOAD);
	attr->prog_type = type;
	attr->expected_attach_type = attach;
	attr->attach_btf_id = btf_id;
}

static void test_targets_of_loads(void **state)
{
	(void)state;
	plan_tracing(BPF_PROG_TYPE_TRACING, BPF_TRACE_FENTRY, 1);
	allowed("\"programTypes\":[\"tracing\"],\"attach\":[\"btf:do_unlink*\"]");
	denied("\"programTypes\":[\"tracing\"],\"attach\":[\"btf:vfs_*\",\"kprobe:*\"]",
	       "execsnoop: attach btf:do_unlinkat" NOT_IN);
	allowed_nameless("\"programTypes\":[\"tracing\"],\"attach\":[\"btf:vfs_*\"]");
	denied_nameless("\"programTypes\":[\"tracing\"],\"attach\":[\"kprobe:*\"]");

	plan_tracing(BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP, 4);
	allowed("\"programTypes\":[\"tracing\"],\"attach\":[\"btf:sched_switch\"]");
	plan_tracing(BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER, 3);
	allowed("\"programTypes\":[\"tracing\"],\"attach\":[\"iter:task\"]");
	denied("\"programTypes\":[\"tracing\"],\"attach\":[\"btf:*\"]",
	       "execsnoop: attach iter:task" NOT_IN);
	plan_tracing(BPF_PROG_TYPE_LSM, BPF_LSM_MAC, 2);
	allowed("\"programTypes\":[\"lsm\"],\"attach\":[\"lsm:file_open\"]");
	denied("\"programTypes\":[\"lsm\"],\"attach\":[\"btf:*\"]",
	       "execsnoop: attach lsm:file_open" NOT_IN);

	plan_tracing(BPF_PROG_TYPE_TRACING, BPF_TRACE_FENTRY, 4711); /* no such type */
	denied("\"programTypes\":[\"tracing\"],\"attach\":[\"btf:do_*\"]",
	       "execsnoop: attach btf:#unknown" NOT_IN);
	allowed("\"programTypes\":[\"tracing\"],\"attach\":[\"btf:*\"]");
}

static void plan_perf(uint32_t type, uint64_t config, const char *name)
{
	plan_init(YGR_CALL_PERF, 0, sizeof(struct ygr_perf_args) + sizeof(struct perf_event_attr));
	struct perf_event_attr attr = {.type = type, .size = sizeof(attr), .config = config};
	memcpy(plan.attr + sizeof(struct ygr_perf_args), &attr, sizeof(attr));
	if (name) {
		plan.attr[offsetof(struct ygr_perf_args, probe)] = 1;
		plan_string(sizeof(struct ygr_perf_args) + offsetof(struct perf_event_attr, config1), name);
	}
}

static void test_perf_events(void **state)
{
	(void)state;
	plan_perf(PERF_TYPE_TRACEPOINT, 7, NULL);
	allowed("\"attach\":[\"tracepoint:syscalls/*\"]");
	allowed("\"attach\":[\"*\"]");
	denied("\"attach\":[\"tracepoint:sched/*\",\"raw_tracepoint:*\"]",
	       "execsnoop: attach tracepoint:syscalls/sys_enter_execve" NOT_IN);
	allowed_nameless("\"attach\":[\"tracepoint:sched/*\"]");
	denied_nameless("\"attach\":[\"kprobe:*\"]");
	plan_perf(PERF_TYPE_TRACEPOINT, 4711, NULL);
	denied("\"attach\":[\"tracepoint:syscalls/*\"]", "execsnoop: attach tracepoint:#unknown" NOT_IN);

	plan_perf(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_BPF_OUTPUT, NULL);
	allowed("\"attach\":[\"perf:bpf_output\"]");
	allowed("\"attach\":[\"perf:software\"]");
	denied("\"attach\":[\"perf:cpu_clock\",\"perf:hardware\"]",
	       "execsnoop: attach perf:bpf_output" NOT_IN);
	plan_perf(PERF_TYPE_SOFTWARE, 999, NULL);
	denied("\"attach\":[\"perf:cpu_clock\"]", "execsnoop: attach perf:#unknown" NOT_IN);
	plan_perf(PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES, NULL);
	allowed("\"attach\":[\"perf:hardware\"]");
	denied("\"attach\":[\"perf:software\"]", "execsnoop: attach perf:hardware" NOT_IN);
	plan_perf(PERF_TYPE_HW_CACHE, 0, NULL);
	allowed("\"attach\":[\"perf:hw_cache\"]");
	plan_perf(PERF_TYPE_RAW, 0, NULL);
	denied("\"attach\":[\"perf:hardware\"]", "execsnoop: attach perf:raw" NOT_IN);
	plan_perf(PERF_TYPE_BREAKPOINT, 0, NULL);
	denied("\"attach\":[\"perf:hardware\"]", "execsnoop: attach perf:breakpoint" NOT_IN);
	plan_perf(10, 0, NULL);
	allowed("\"attach\":[\"perf:msr\"]");
	plan_perf(11, 0, NULL);
	denied("\"attach\":[\"perf:msr\"]", "execsnoop: attach perf:#unknown" NOT_IN);
}

static void test_probes(void **state)
{
	(void)state;
	plan_perf(8, 0, "do_exit");
	allowed("\"attach\":[\"kprobe:do_exit\"]");
	denied("\"attach\":[\"kprobe:do_fork\",\"uprobe:*\"]", "execsnoop: attach kprobe:do_exit" NOT_IN);
	allowed_nameless("\"attach\":[\"kprobe:do_fork\"]");
	denied_nameless("\"attach\":[\"tracepoint:*\"]");
	plan_perf(8, 0, NULL); /* by address, in config2 */
	denied("\"attach\":[\"kprobe:do_*\"]", "execsnoop: attach kprobe:#unknown" NOT_IN);
	allowed("\"attach\":[\"kprobe:*\"]");
	plan.attr[sizeof(struct ygr_perf_args) + offsetof(struct perf_event_attr, config1)] = 1;
	denied("\"attach\":[\"*\"]", "the name of a probe is no pointer");

	plan_perf(9, 0, "/usr/lib/libc.so.6");
	allowed("\"attach\":[\"uprobe:/usr/lib/*\"]");
	allowed("\"attach\":[\"uprobe:/usr/**\"]");
	allowed("\"attach\":[\"uprobe:*\"]");
	denied("\"attach\":[\"uprobe:/usr/*\",\"kprobe:*\"]",
	       "execsnoop: attach uprobe:/usr/lib/libc.so.6" NOT_IN);
	plan_perf(9, 0, "/usr/lib/../../root/x");
	denied("\"attach\":[\"uprobe:/usr/**\"]", "execsnoop: attach uprobe:#unknown" NOT_IN);

	plan_perf(8, 0, "do_exit");
	plan.segments[0].in_length = 4; /* no NUL */
	denied("\"attach\":[\"*\"]", "a name in the call has no end");
}

static void test_raw_tracepoint(void **state)
{
	(void)state;
	plan_bpf(BPF_RAW_TRACEPOINT_OPEN);
	allowed(""); /* no name: a program that was bound when it was loaded */
	plan_string(offsetof(union bpf_attr, raw_tracepoint.name), "sched_switch");
	allowed("\"attach\":[\"raw_tracepoint:sched_*\"]");
	denied("\"attach\":[\"tracepoint:*\"]", "execsnoop: attach raw_tracepoint:sched_switch" NOT_IN);
}

static void plan_link(uint32_t attach)
{
	plan_bpf(BPF_LINK_CREATE)->link_create.attach_type = attach;
}

static void test_links(void **state)
{
	(void)state;
	static const uint32_t bound_before[] = {BPF_PERF_EVENT,    BPF_TRACE_FENTRY, BPF_TRACE_FEXIT,
						BPF_MODIFY_RETURN, BPF_LSM_MAC,      BPF_TRACE_ITER,
						BPF_TRACE_RAW_TP,  BPF_LSM_CGROUP,   44};
	for (size_t i = 0; i < sizeof(bound_before) / sizeof(bound_before[0]); i++) {
		plan_link(bound_before[i]);
		allowed("");
	}
	plan_link(BPF_XDP);
	allowed("\"attach\":[\"net:xdp\"]");
	denied("\"attach\":[\"kprobe:*\"]", "execsnoop: attach net:xdp" NOT_IN);
	plan_link(BPF_CGROUP_INET_INGRESS);
	allowed("\"attach\":[\"net:cgroup_*\"]");
	plan_link(46);
	denied("\"attach\":[\"net:tcx_egress\"]", "execsnoop: attach net:tcx_ingress" NOT_IN);
	plan_link(45);
	allowed("\"attach\":[\"net:netfilter\"]");
	plan_link(4711);
	denied("\"attach\":[\"net:x*\"]", "execsnoop: attach net:#unknown" NOT_IN);
}

static void test_multi_probes(void **state)
{
	(void)state;
	static const char symbols[] = "do_exit\0do_fork";
	plan_link(BPF_TRACE_KPROBE_MULTI);
	denied("\"attach\":[\"kprobe:do_*\"]", "execsnoop: attach kprobe:#unknown" NOT_IN);
	union bpf_attr *attr = (union bpf_attr *)(void *)plan.attr;
	attr->link_create.kprobe_multi.cnt = 2;
	plan_segment(offsetof(union bpf_attr, link_create.kprobe_multi.syms), symbols, sizeof(symbols));
	allowed("\"attach\":[\"kprobe:do_*\"]");
	denied("\"attach\":[\"kprobe:do_exit\"]", "execsnoop: attach kprobe:do_fork" NOT_IN);
	attr->link_create.kprobe_multi.cnt = 3;
	denied("\"attach\":[\"kprobe:*\"]", "there are fewer symbols than the call says");
	attr->link_create.kprobe_multi.cnt = 2;
	attr->link_create.kprobe_multi.addrs = 1;
	denied("\"attach\":[\"kprobe:do_*\"]", "execsnoop: attach kprobe:#unknown" NOT_IN);

	plan_link(48); /* uprobe_multi: its path stands at byte 16 */
	plan_string(16, "/usr/bin/bash");
	allowed("\"attach\":[\"uprobe:/usr/bin/*\"]");
	denied("\"attach\":[\"uprobe:/usr/lib/*\"]", "execsnoop: attach uprobe:/usr/bin/bash" NOT_IN);
}

static void test_attach(void **state)
{
	(void)state;
	static const uint32_t commands[] = {BPF_PROG_ATTACH, BPF_PROG_DETACH};
	for (size_t i = 0; i < 2; i++) {
		plan_bpf(commands[i])->attach_type = BPF_CGROUP_DEVICE;
		allowed("\"attach\":[\"net:*\"]");
		denied("\"attach\":[\"net:cgroup_inet*\"]", "execsnoop: attach net:cgroup_device" NOT_IN);
	}
}

static void test_struct_ops(void **state)
{
	(void)state;
	union bpf_attr *attr = plan_bpf(BPF_MAP_CREATE);
	attr->map_type = BPF_MAP_TYPE_STRUCT_OPS;
	attr->btf_vmlinux_value_type_id = 5;
	allowed("\"attach\":[\"struct_ops:tcp_congestion_ops\"]");
	denied("\"attach\":[\"struct_ops:sched_ext_ops\"]",
	       "execsnoop: attach struct_ops:tcp_congestion_ops" NOT_IN);
}

static void test_ids(void **state)
{
	(void)state;
	static const uint32_t commands[] = {
	    BPF_PROG_GET_NEXT_ID,  BPF_MAP_GET_NEXT_ID,  BPF_LINK_GET_NEXT_ID,
	    BPF_PROG_GET_FD_BY_ID, BPF_MAP_GET_FD_BY_ID, BPF_LINK_GET_FD_BY_ID,
	    BPF_PROG_QUERY,        BPF_TASK_FD_QUERY,    BPF_ENABLE_STATS};
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		plan_bpf(commands[i]);
		allowed("\"ids\":true");
		assert_int_equal(check_with("\"ids\":false", &guest_names), -EACCES);
		assert_int_equal(check_with("", &guest_names), -EACCES);
		assert_non_null(strstr(error.message, "(ids)" NOT_IN));
	}
}

static void test_own_handles(void **state)
{
	(void)state;
	static const uint32_t commands[] = {
	    BPF_MAP_LOOKUP_ELEM,    BPF_MAP_UPDATE_ELEM,  BPF_MAP_DELETE_ELEM, BPF_MAP_FREEZE,
	    BPF_OBJ_GET_INFO_BY_FD, BPF_BTF_LOAD,         BPF_BTF_GET_NEXT_ID, BPF_BTF_GET_FD_BY_ID,
	    BPF_PROG_TEST_RUN,      BPF_LINK_UPDATE,      BPF_LINK_DETACH,     BPF_ITER_CREATE,
	    BPF_PROG_BIND_MAP,      BPF_MAP_LOOKUP_BATCH, BPF_MAP_GET_NEXT_KEY};
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		plan_bpf(commands[i]);
		allowed("");
	}
	plan_bpf(36); /* TOKEN_CREATE */
	denied("\"ids\":true", "execsnoop: bpf command 36" NOT_IN);
	plan_bpf(4711);
	denied("\"ids\":true", "execsnoop: bpf command 4711" NOT_IN);
	plan_init(9, 0, 0);
	denied("", "execsnoop: call of kind 9" NOT_IN);
}

static void test_pins(void **state)
{
	(void)state;
	union bpf_attr *attr = plan_bpf(BPF_OBJ_PIN);
	plan_string(offsetof(union bpf_attr, pathname), "/sys/fs/bpf/mine/map");
	allowed("\"files\":{\"write\":[\"/sys/fs/bpf/mine/**\"]}");
	denied("\"files\":{\"read\":[\"/sys/fs/bpf/mine/**\"]}",
	       "execsnoop: writing /sys/fs/bpf/mine/map" NOT_IN);
	attr->file_flags = 1 << 14; /* BPF_F_PATH_FD */
	denied("\"files\":{\"write\":[\"/sys/fs/bpf/**\"]}", "pins are reached by absolute paths only");

	attr = plan_bpf(BPF_OBJ_GET);
	plan_string(offsetof(union bpf_attr, pathname), "/sys/fs/bpf/mine/map");
	attr->file_flags = BPF_F_RDONLY;
	allowed("\"files\":{\"read\":[\"/sys/fs/bpf/mine/*\"]}");
	attr->file_flags = 0;
	denied("\"files\":{\"read\":[\"/sys/fs/bpf/mine/*\"]}",
	       "execsnoop: writing /sys/fs/bpf/mine/map" NOT_IN);
	plan.segment_count = 0;
	plan_string(offsetof(union bpf_attr, pathname), "/sys/fs/bpf/mine/../other");
	assert_int_equal(check_with("\"files\":{\"read\":[\"/**\"],\"write\":[\"/**\"]}", &guest_names),
			 -EACCES);
}

static void test_memory_limit(void **state)
{
	(void)state;
	union bpf_attr *attr = plan_bpf(BPF_MAP_CREATE);
	attr->map_type = BPF_MAP_TYPE_HASH;
	attr->key_size = 4;
	attr->value_size = 1020;
	attr->max_entries = 65536; /* exactly the 64 MiB that are the default */
	allowed("");
	attr->max_entries = 65537;
	denied("", "execsnoop: a map of 65537 entries of 1024 bytes is more than limits.memory in the "
		   "catalogue entry");
	allowed("\"limits\":{\"memory\":134217728}");
	attr->max_entries = UINT32_MAX;
	attr->value_size = UINT32_MAX;
	assert_int_equal(check_with("", &guest_names), -EACCES);
	attr->map_type = BPF_MAP_TYPE_RINGBUF;
	attr->key_size = attr->value_size = 0;
	attr->max_entries = 128 << 20;
	denied("", "execsnoop: a map of 134217728 entries of 1 bytes is more than limits.memory in the "
		   "catalogue entry");
}

static void test_ioctls(void **state)
{
	(void)state;
	plan_init(YGR_CALL_IOCTL, 0, sizeof(struct ygr_ioctl_args));
	struct ygr_ioctl_args args = {.handle = 3, .request = PERF_EVENT_IOC_SET_BPF};
	memcpy(plan.attr, &args, sizeof(args));
	allowed("");
	args.request = 0x5401; /* TCGETS */
	memcpy(plan.attr, &args, sizeof(args));
	denied("", "execsnoop: ioctl 0x5401" NOT_IN);
}

/* What is not sent is zero for the kernel; stale bytes behind the attribute mean nothing. */
static void test_short_attribute(void **state)
{
	(void)state;
	plan_bpf(BPF_PROG_LOAD)->prog_type = BPF_PROG_TYPE_KPROBE;
	plan.call.attr_size = 2;
	denied("\"programTypes\":[\"kprobe\"]", "execsnoop: program type unspec" NOT_IN);
}

static void test_files(void **state)
{
	(void)state;
	struct ygr_grant *grant =
	    grant_with("\"files\":{\"read\":[\"/sys/kernel/btf/*\",\"/sys/kernel/tracing/**\"],"
		       "\"write\":[\"/sys/kernel/tracing/kprobe_events\"]}");
	static const struct {
		const char *path;
		int flags, result;
	} cases[] = {
	    {"/sys/kernel/btf/vmlinux", O_RDONLY, 0},
	    {"/sys/kernel/btf/vmlinux", O_RDWR, -EACCES},
	    {"/sys/kernel/btf/vmlinux", O_RDONLY | O_TRUNC, -EACCES},
	    {"/sys/kernel/btf/a/b", O_RDONLY, -EACCES},
	    {"/sys/kernel/btf", O_RDONLY, -EACCES},
	    {"/sys/kernel/tracing/events/a/b/id", O_RDONLY, 0},
	    {"/sys/kernel/tracing", O_RDONLY, -EACCES},
	    {"/sys/kernel/tracingx/a", O_RDONLY, -EACCES},
	    {"/sys/kernel/tracing/kprobe_events", O_WRONLY | O_APPEND, 0},
	    {"/sys/kernel/tracing/kprobe_events", O_RDWR, 0},
	    {"/sys/kernel/tracing/uprobe_events", O_WRONLY, -EACCES},
	    {"/sys/kernel/tracing/../debug/x", O_RDONLY, -EACCES},
	    {"/sys/kernel/tracing/..", O_RDONLY, -EACCES},
	    {"/sys/kernel/tracing/./x", O_RDONLY, -EACCES},
	    {"/sys/kernel/tracing//x", O_RDONLY, -EACCES},
	    {"/sys/kernel/tracing/x/", O_RDONLY, -EACCES},
	    {"/sys/kernel/tracing/..x", O_RDONLY, 0},
	    {"sys/kernel/btf/vmlinux", O_RDONLY, -EACCES},
	    {"", O_RDONLY, -EACCES},
	    {"/sys/kernel/btf/vmlinux", O_ACCMODE, -EACCES},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int r = ygr_grant_check_file(grant, "guest.yaml", cases[i].path, cases[i].flags, &error);
		if (r != cases[i].result)
			fail_msg("%s with flags %o: %d", cases[i].path, cases[i].flags, r);
	}
	assert_int_equal(ygr_grant_check_file(grant, "guest.yaml", "/etc/shadow", O_RDONLY, &error),
			 -EACCES);
	assert_string_equal(error.message, "execsnoop: reading /etc/shadow is not in guest.yaml");

	assert_true(ygr_grant_leads_to(grant, "/"));
	assert_true(ygr_grant_leads_to(grant, "/sys"));
	assert_true(ygr_grant_leads_to(grant, "/sys/kernel/btf"));
	assert_true(ygr_grant_leads_to(grant, "/sys/kernel/tracing"));
	assert_true(ygr_grant_leads_to(grant, "/sys/kernel/tracing/events/sched"));
	assert_false(ygr_grant_leads_to(grant, "/sys/kernel/btf/vmlinux"));
	assert_false(ygr_grant_leads_to(grant, "/sys/kernel/debug"));
	assert_false(ygr_grant_leads_to(grant, "/etc"));
	assert_false(ygr_grant_leads_to(grant, "/sys/../sys"));
	ygr_grant_free(grant);
}

static void test_globs(void **state)
{
	(void)state;
	assert_true(ygr_glob_match("*", ""));
	assert_true(ygr_glob_match("a*b?c", "axxbbxc"));
	assert_false(ygr_glob_match("a?", "a"));
	assert_true(ygr_glob_match("a*/b", "a/x/y/b"));
	assert_true(ygr_glob_match("[a]", "[a]")); /* nothing but * and ? is special */
	assert_false(ygr_glob_match("[a]", "a"));
	assert_true(ygr_glob_match_path("/a*c/*d", "/abcc/d"));
	assert_false(ygr_glob_match_path("/a*/d", "/a/b/d"));
	assert_false(ygr_glob_match_path("/a?b", "/a/b"));
	assert_true(ygr_glob_match_path("/**", "/x/y"));
	assert_false(ygr_glob_match_path("/**", "/"));
	assert_true(ygr_glob_match_path("/a/*/**", "/a/b/c"));
	assert_false(ygr_glob_match_path("/a/*/**", "/a/b"));
	assert_true(ygr_glob_leads("/a/*/c", "/a/b"));
	assert_false(ygr_glob_leads("/a/*/c", "/a/b/c"));
	assert_true(ygr_glob_leads("/**", "/x"));
	assert_true(ygr_glob_leads("/a/**", "/a/b/c"));
	assert_false(ygr_glob_leads("/a/**", "/b"));

	/* What takes fnmatch(3) minutes. */
	char text[4096], pattern[256];
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	for (size_t i = 0; i < sizeof(pattern) - 2; i += 2)
		memcpy(pattern + i, "*a", 2);
	memcpy(pattern + sizeof(pattern) - 2, "b", 2);
	clock_t start = clock();
	assert_false(ygr_glob_match(pattern, text));
	assert_true((clock() - start) / CLOCKS_PER_SEC < 2);
}

static void test_lenient(void **state)
{
	(void)state;
	struct ygr_grant *grant = parse("{\"attach\":[\"tracepoint:*\"],\"files\":{\"write\":[]}}", false);
	assert_non_null(grant);
	assert_string_equal(ygr_grant_program(grant), "");
	assert_int_equal(ygr_grant_max_handles(grant), YGR_GRANT_HANDLES_MAX);
	plan_bpf(BPF_PROG_LOAD)->prog_type = BPF_PROG_TYPE_KPROBE;
	assert_int_equal(ygr_grant_check_call(grant, "guest.yaml", &plan, &guest_names, &error), 0);
	plan_perf(8, 0, "do_exit");
	assert_int_equal(ygr_grant_check_call(grant, "guest.yaml", &plan, &guest_names, &error), -EACCES);
	assert_string_equal(error.message, "attach kprobe:do_exit is not in guest.yaml");
	plan_bpf(BPF_MAP_GET_NEXT_ID);
	assert_int_equal(ygr_grant_check_call(grant, "guest.yaml", &plan, &guest_names, &error), 0);
	assert_int_equal(ygr_grant_check_file(grant, "guest.yaml", "/etc/x", O_RDONLY, &error), 0);
	assert_int_equal(ygr_grant_check_file(grant, "guest.yaml", "/etc/x", O_WRONLY, &error), -EACCES);
	ygr_grant_free(grant);
}

static void test_accessors(void **state)
{
	(void)state;
	struct ygr_grant *grant = grant_with("\"limits\":{\"handles\":7,\"memory\":4096}");
	assert_string_equal(ygr_grant_program(grant), "execsnoop");
	assert_string_equal(ygr_grant_vm(grant), "uuid");
	assert_int_equal(ygr_grant_not_after(grant), 20);
	assert_int_equal(ygr_grant_max_handles(grant), 7);
	assert_int_equal(ygr_grant_max_memory(grant), 4096);
	assert_null(ygr_grant_free(grant));
	assert_null(ygr_grant_free(NULL));
}

static void test_malformed(void **state)
{
	(void)state;
	static const struct {
		const char *text, *words;
	} cases[] = {
	    {"[]", "grant: expected an object"},
	    {"{}", "program is missing"},
	    {"{\"program\":\"x\"}", "vm is missing"},
	    {"{\"program\":\"x\",\"vm\":\"y\"}", "issuedAt is missing"},
	    {"{\"program\":\"x\",\"vm\":\"y\",\"issuedAt\":1}", "notAfter is missing"},
	    {"{\"program\":7,\"vm\":\"y\",\"issuedAt\":1,\"notAfter\":2}", "program: expected"},
	    {"{\"program\":\"\",\"vm\":\"y\",\"issuedAt\":1,\"notAfter\":2}", "program: expected"},
	    {"{\"program\":\"x\",\"vm\":null,\"issuedAt\":1,\"notAfter\":2}", "vm: expected"},
	    {"{\"program\":\"x\",\"vm\":\"y\",\"issuedAt\":-1,\"notAfter\":2}", "issuedAt: expected"},
	    {"{\"program\":\"x\",\"vm\":\"y\",\"issuedAt\":1,\"notAfter\":\"2\"}", "notAfter: expected"},
	    {"{\"program\":\"x\",\"vm\":\"y\",\"issuedAt\":3,\"notAfter\":2}",
	     "notAfter is before issuedAt"},
	    {"{" HEAD ",\"sha256\":\"abc\"}", "sha256: expected"},
	    {"{" HEAD ",\"sha256\":5}", "sha256: expected"},
	    {"{" HEAD ",\"programtypes\":[]}", "unknown field programtypes"},
	    {"{" HEAD ",\"programTypes\":\"kprobe\"}", "programTypes: expected a list"},
	    {"{" HEAD ",\"programTypes\":[\"kprobes\"]}", "programTypes[0]: 'kprobes' is nothing"},
	    {"{" HEAD ",\"programTypes\":[3]}", "programTypes[0]: expected a string"},
	    {"{" HEAD ",\"attach\":{}}", "attach: expected a list"},
	    {"{" HEAD ",\"attach\":[\"kprobe:x\",\"kprobe:\"]}", "attach[1]: 'kprobe:' is nothing"},
	    {"{" HEAD ",\"attach\":[\"do_exit\"]}", "attach[0]: 'do_exit' is nothing"},
	    {"{" HEAD ",\"attach\":[\"\"]}", "attach[0]: expected a string"},
	    {"{" HEAD ",\"helpers\":[\"bpf_map_lookup_elem\"]}",
	     "helpers[0]: 'bpf_map_lookup_elem' is nothing"},
	    {"{" HEAD ",\"kfuncs\":7}", "kfuncs: expected a list"},
	    {"{" HEAD ",\"files\":[]}", "files: expected an object"},
	    {"{" HEAD ",\"files\":{\"execute\":[]}}", "unknown field files.execute"},
	    {"{" HEAD ",\"files\":{\"read\":[\"sys/kernel\"]}}", "files.read[0]: 'sys/kernel' is nothing"},
	    {"{" HEAD ",\"files\":{\"write\":[\"/a/../b\"]}}", "files.write[0]: '/a/../b' is nothing"},
	    {"{" HEAD ",\"ids\":1}", "ids: expected true or false"},
	    {"{" HEAD ",\"limits\":7}", "limits: expected an object"},
	    {"{" HEAD ",\"limits\":{\"cpus\":1}}", "unknown field limits.cpus"},
	    {"{" HEAD ",\"limits\":{\"handles\":0}}", "limits.handles: expected a number from 1"},
	    {"{" HEAD ",\"limits\":{\"handles\":65537}}", "limits.handles: expected"},
	    {"{" HEAD ",\"limits\":{\"memory\":1.5}}", "limits.memory: expected"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ygr_grant *grant = parse(cases[i].text, true);
		if (grant || error.code != EINVAL || !strstr(error.message, cases[i].words))
			fail_msg("%s: %s", cases[i].text, grant ? "accepted" : error.message);
	}
	assert_null(ygr_grant_new_json(NULL, true, &error));

	json_t *json = json_object(), *list = json_array();
	for (int i = 0; i <= YGR_GRANT_LIST_MAX; i++)
		json_array_append_new(list, json_string("*"));
	json_object_set_new(json, "attach", list);
	assert_null(ygr_grant_new_json(json, false, &error));
	assert_non_null(strstr(error.message, "at most 4096"));
	json_decref(json);
}

static int check_route(const char *fields, uint16_t type, uint16_t flags, uint32_t length, size_t sent)
{
	const struct nlmsghdr head = {.nlmsg_len = length, .nlmsg_type = type, .nlmsg_flags = flags};
	struct ygr_grant *grant = grant_with(fields);
	error = YGR_ERROR_INIT;
	int r = ygr_grant_check_route(grant, WHO, &head, sent, &error);
	assert_true(r == 0 || (error.code == -r && error.message[0]));
	ygr_grant_free(grant);
	return r;
}

static void test_route(void **state)
{
	(void)state;
	assert_int_equal(check_route("\"ids\":true", RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 16, 16), 0);
	assert_int_equal(check_route("\"ids\":true", RTM_GETTFILTER, NLM_F_REQUEST | NLM_F_DUMP, 16, 16), 0);
	assert_int_equal(check_route("\"helpers\":[\"*\"]", RTM_GETLINK, NLM_F_REQUEST, 16, 16), -EACCES);
	assert_string_equal(error.message,
			    "execsnoop: netlink request 18 (ids) is not in the catalogue entry");
	assert_int_equal(check_route("\"ids\":true", RTM_SETLINK, NLM_F_REQUEST, 16, 16), -EACCES);
	assert_int_equal(check_route("\"ids\":true", RTM_NEWTFILTER, NLM_F_REQUEST, 16, 16), -EACCES);
	assert_int_equal(check_route("\"ids\":true", NLMSG_NOOP, NLM_F_REQUEST, 16, 16), -EACCES);
	assert_int_equal(check_route("\"ids\":true", RTM_GETLINK, NLM_F_MULTI, 16, 16), -EINVAL);
	assert_int_equal(check_route("\"ids\":true", RTM_GETLINK, NLM_F_REQUEST, 15, 16), -EINVAL);
	assert_int_equal(check_route("\"ids\":true", RTM_GETLINK, NLM_F_REQUEST, 4096, 16), -EINVAL);
	assert_int_equal(check_route("\"ids\":true", RTM_GETLINK, NLM_F_REQUEST, 16, 15), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_route),           cmocka_unit_test(test_program_types),
	    cmocka_unit_test(test_helpers),         cmocka_unit_test(test_instructions_must_be_whole),
	    cmocka_unit_test(test_kfuncs),          cmocka_unit_test(test_targets_of_loads),
	    cmocka_unit_test(test_perf_events),     cmocka_unit_test(test_probes),
	    cmocka_unit_test(test_raw_tracepoint),  cmocka_unit_test(test_links),
	    cmocka_unit_test(test_multi_probes),    cmocka_unit_test(test_attach),
	    cmocka_unit_test(test_struct_ops),      cmocka_unit_test(test_ids),
	    cmocka_unit_test(test_own_handles),     cmocka_unit_test(test_pins),
	    cmocka_unit_test(test_memory_limit),    cmocka_unit_test(test_ioctls),
	    cmocka_unit_test(test_short_attribute), cmocka_unit_test(test_files),
	    cmocka_unit_test(test_globs),           cmocka_unit_test(test_lenient),
	    cmocka_unit_test(test_accessors),       cmocka_unit_test(test_malformed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
