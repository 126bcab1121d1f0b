/* Calls as `yagura run --trace` shows them, decoded as the session decodes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>

#include "agent/telebpf/session/trace.h"

enum { MAP = 5, MAP_FD = 3 };

static uint8_t sent[1u << 16], decoded[1u << 18];
static struct ygr_call_plan plan;

/* Strings are read beyond their NUL, which memcpy may not in a sanitized program. */
__attribute__((no_sanitize("address"))) static int host_read(void *user, uint64_t address, void *to,
							     size_t len)
{
	const volatile uint8_t *from = (const volatile uint8_t *)(uintptr_t)address;

	(void)user;
	for (size_t i = 0; i < len; i++)
		((uint8_t *)to)[i] = from[i];
	return 0;
}

static uint32_t host_handle(void *user, int fd)
{
	(void)user;
	return fd == MAP_FD ? MAP : YGR_HANDLE_BAD;
}

static bool host_object(void *user, uint32_t handle, struct ygr_object *ret)
{
	(void)user;
	*ret = (struct ygr_object){.kind = YGR_OBJECT_MAP,
				   .map_type = BPF_MAP_TYPE_HASH,
				   .key_size = 4,
				   .value_size = 20,
				   .max_entries = 9};
	return handle == MAP;
}

static const struct ygr_call_host application = {
    .read = host_read, .handle_of = host_handle, .object_of = host_object};
static const struct ygr_call_host session = {.object_of = host_object};

static char *decode(const struct ygr_arena *out)
{
	struct ygr_arena arena = {.data = decoded, .size = sizeof(decoded)};
	char *text;

	assert_int_equal(ygr_call_decode(&session, sent, out->used, &arena, &plan), 0);
	text = ygr_trace_call(&plan);
	assert_non_null(text);
	return text;
}

static void check_bpf(int cmd, const union bpf_attr *attr, uint32_t size, const char *expected)
{
	struct ygr_arena out = {.data = sent, .size = sizeof(sent)};
	char *text;

	assert_int_equal(ygr_bpf_encode(&application, cmd, (uintptr_t)attr, size, &out, &plan), 0);
	text = decode(&out);
	assert_string_equal(text, expected);
	free(text);
}

static void test_bpf(void **state)
{
	static const struct bpf_insn insns[2];
	const uint32_t key = 7;
	const uint8_t value[20] = {1, 2, 0xff};
	union bpf_attr attr = {.map_type = BPF_MAP_TYPE_RINGBUF, .max_entries = 4096, .map_name = "events"};

	(void)state;
	check_bpf(BPF_MAP_CREATE, &attr, 72,
		  "bpf(BPF_MAP_CREATE, {map_type=BPF_MAP_TYPE_RINGBUF, max_entries=4096, "
		  "map_name=\"events\"}, 72)");
	attr = (union bpf_attr){.prog_type = BPF_PROG_TYPE_TRACEPOINT,
				.insn_cnt = 2,
				.insns = (uintptr_t)insns,
				.license = (uintptr_t) "G\"P\nL",
				.prog_name = "on_exec"};
	check_bpf(
	    BPF_PROG_LOAD, &attr, 120,
	    "bpf(BPF_PROG_LOAD, {prog_type=BPF_PROG_TYPE_TRACEPOINT, insn_cnt=2, license=\"G\\\"P\\012L\","
	    " prog_name=\"on_exec\"}, 120)");
	attr = (union bpf_attr){
	    .map_fd = MAP_FD, .key = (uintptr_t)&key, .value = (uintptr_t)value, .flags = BPF_NOEXIST};
	check_bpf(BPF_MAP_UPDATE_ELEM, &attr, 32,
		  "bpf(BPF_MAP_UPDATE_ELEM, {map_fd=#5, key=07 00 00 00, value=01 02 ff 00 00 00 00 00 00 "
		  "00 00 00 00 00"
		  " 00 00 ..., flags=0x1}, 32)");
	attr = (union bpf_attr){.start_id = 12};
	check_bpf(BPF_PROG_GET_NEXT_ID, &attr, 12, "bpf(BPF_PROG_GET_NEXT_ID, {start_id=12}, 12)");
}

static void test_others(void **state)
{
	struct perf_event_attr attr = {.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr), .config = 0x123};
	struct ygr_arena out = {.data = sent, .size = sizeof(sent)};
	char *text;

	(void)state;
	assert_int_equal(
	    ygr_perf_encode(&application, (uintptr_t)&attr, -1, 2, -1, PERF_FLAG_FD_CLOEXEC, &out, &plan),
	    0);
	text = decode(&out);
	assert_string_equal(
	    text,
	    "perf_event_open({type=PERF_TYPE_TRACEPOINT, config=0x123, sample_type=0}, -1, 2, -1, 0x8)");
	free(text);
	out.used = 0;
	assert_int_equal(ygr_ioctl_encode(&application, MAP_FD, PERF_EVENT_IOC_ENABLE, 0, &out, &plan), 0);
	text = decode(&out);
	assert_string_equal(text, "ioctl(#5, PERF_EVENT_IOC_ENABLE, 0)");
	free(text);
	text = ygr_trace_read(5, 4096);
	assert_string_equal(text, "read(#5, 4096)");
	free(text);
	text = ygr_trace_open("/sys/fs/\033cgroup", 0);
	assert_string_equal(text, "open(\"/sys/fs/\\033cgroup\", 0)");
	free(text);
}

static void test_line(void **state)
{
	char line[YGR_TRACE_MAX + 256];

	(void)state;
	ygr_trace_line(line, "bpf()", 0, 7, 210400, NULL);
	assert_string_equal(line, "bpf() = #7 <0.000210>");
	ygr_trace_line(line, "bpf()", 12, YGR_HANDLE_NONE, 2000000000, NULL);
	assert_string_equal(line, "bpf() = 12 <2.000000>");
	ygr_trace_line(line, "bpf()", -ENOENT, YGR_HANDLE_NONE, 0, NULL);
	assert_string_equal(line, "bpf() = -1 ENOENT (No such file or directory) <0.000000>");
	ygr_trace_line(line, "bpf()", -EPERM, YGR_HANDLE_NONE, 0, "not in the list");
	assert_string_equal(line, "bpf() = -1 EPERM (Operation not permitted) (not in the list) <0.000000>");
	ygr_trace_line(line, "bpf()", -524, YGR_HANDLE_NONE, 0, NULL);
	assert_string_equal(line, "bpf() = -524 <0.000000>");
}

/* An application that makes its names long makes no line longer than it may be. */
static void test_bounds(void **state)
{
	char path[4000];
	union bpf_attr attr = {.pathname = (uintptr_t)path};
	struct ygr_arena out = {.data = sent, .size = sizeof(sent)};
	char line[YGR_TRACE_MAX + 256], *text;

	(void)state;
	memset(path, 0x80, sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(ygr_bpf_encode(&application, BPF_OBJ_GET, (uintptr_t)&attr, 16, &out, &plan), 0);
	text = decode(&out);
	assert_true(strlen(text) < YGR_TRACE_MAX);
	assert_non_null(strstr(text, "\\200\"..."));
	ygr_trace_line(line, text, -EPERM, YGR_HANDLE_NONE, 0, path);
	assert_true(strlen(line) < sizeof(line));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_bpf),
	    cmocka_unit_test(test_others),
	    cmocka_unit_test(test_line),
	    cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
