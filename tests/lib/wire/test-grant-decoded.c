/*
 * Calls as an application makes them, through the marshaller and then before the grant: what the check looks
 * for must stand where the decoder puts it, on the node (handles stay) and in the guest (descriptors and
 * pointers are real).
 */
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
#include <sys/uio.h>
#include <unistd.h>

#include "lib/wire/call.h"
#include "lib/wire/grant.h"

#define PMU_KPROBE 8

static uint8_t wire[1 << 16], memory[1 << 18] __attribute__((aligned(8)));
static struct ygr_arena sent;

static int host_read(void *user, uint64_t address, void *to, size_t len)
{
	struct iovec here = {to, len}, there = {(void *)(uintptr_t)address, len};
	(void)user;
	return !len || process_vm_readv(getpid(), &here, 1, &there, 1, 0) == (ssize_t)len ? 0 : -EFAULT;
}

static int host_write(void *user, uint64_t address, const void *from, size_t len)
{
	(void)user;
	(void)address;
	(void)from;
	(void)len;
	return -EFAULT;
}

static uint32_t host_handle_of(void *user, int fd)
{
	(void)user;
	return fd == 7 ? 70 : YGR_HANDLE_BAD;
}

static int host_fd_of(void *user, uint32_t handle)
{
	(void)user;
	return handle == 70 ? 7 : -1;
}

static bool host_object_of(void *user, uint32_t handle, struct ygr_object *ret_object)
{
	(void)user;
	*ret_object = (struct ygr_object){.kind = YGR_OBJECT_PROG};
	return handle == 70;
}

static const struct ygr_call_host application = {
    .read = host_read, .write = host_write, .handle_of = host_handle_of, .object_of = host_object_of};

static const char *pmu_name(void *user, uint32_t type)
{
	(void)user;
	return type == PMU_KPROBE ? "kprobe" : NULL;
}

static const struct ygr_grant_names names = {.perf_pmu = pmu_name};

/* What the grant says of the call that was encoded last, decoded in either way. */
static int check_decoded(const char *grant_json, bool for_kernel)
{
	const struct ygr_call_host end = {.fd_of = for_kernel ? host_fd_of : NULL,
					  .object_of = host_object_of};
	struct ygr_arena arena = {.data = memory, .size = sizeof(memory)};
	static struct ygr_call_plan plan;
	assert_true(ygr_call_decoded_size(sent.data, sent.used) <= sizeof(memory));
	assert_int_equal(ygr_call_decode(&end, sent.data, sent.used, &arena, &plan), 0);

	struct ygr_error error = YGR_ERROR_INIT;
	json_t *json = json_loads(grant_json, 0, NULL);
	struct ygr_grant *grant = ygr_grant_new_json(json, false, &error);
	if (!grant)
		fail_msg("%s: %s", grant_json, error.message);
	int r = ygr_grant_check_call(grant, "a list", &plan, &names, &error);
	ygr_grant_free(grant);
	json_decref(json);
	return r;
}

static void expect(const char *allowing, const char *denying)
{
	for (int for_kernel = 0; for_kernel < 2; for_kernel++) {
		assert_int_equal(check_decoded(allowing, for_kernel), 0);
		assert_int_equal(check_decoded(denying, for_kernel), -EACCES);
	}
}

static void encode(int cmd, const union bpf_attr *attr, uint32_t size)
{
	static struct ygr_call_plan plan;
	sent = (struct ygr_arena){.data = wire, .size = sizeof(wire)};
	assert_int_equal(ygr_bpf_encode(&application, cmd, (uintptr_t)attr, size, &sent, &plan), 0);
}

static uint64_t pointer(const void *to)
{
	return (uintptr_t)to;
}

static void test_prog_load(void **state)
{
	(void)state;
	const struct bpf_insn insns[] = {
	    {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_get_current_pid_tgid},
	    {.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_KPROBE,
			       .insns = pointer(insns),
			       .insn_cnt = 2,
			       .license = pointer("GPL")};
	encode(BPF_PROG_LOAD, &attr, sizeof(attr));
	expect("{\"programTypes\":[\"kprobe\"],\"helpers\":[\"get_current_*\"]}",
	       "{\"helpers\":[\"map_*\"]}");
	expect("{}", "{\"programTypes\":[\"xdp\"]}");
}

static void test_names(void **state)
{
	(void)state;
	union bpf_attr attr = {.raw_tracepoint = {.name = pointer("sched_switch"), .prog_fd = 7}};
	encode(BPF_RAW_TRACEPOINT_OPEN, &attr, sizeof(attr.raw_tracepoint));
	expect("{\"attach\":[\"raw_tracepoint:sched_*\"]}", "{\"attach\":[\"raw_tracepoint:sys_*\"]}");

	attr = (union bpf_attr){.pathname = pointer("/sys/fs/bpf/mine"), .bpf_fd = 7};
	encode(BPF_OBJ_PIN, &attr, 16);
	expect("{\"files\":{\"write\":[\"/sys/fs/bpf/*\"]}}", "{\"files\":{\"write\":[]}}");
}

static void test_links(void **state)
{
	(void)state;
	const uint64_t symbols[] = {pointer("do_exit"), pointer("vfs_read")};
	union bpf_attr attr = {.link_create = {.prog_fd = 7, .attach_type = BPF_TRACE_KPROBE_MULTI}};
	attr.link_create.kprobe_multi.cnt = 2;
	attr.link_create.kprobe_multi.syms = pointer(symbols);
	encode(BPF_LINK_CREATE, &attr, sizeof(attr.link_create));
	expect("{\"attach\":[\"kprobe:do_exit\",\"kprobe:vfs_*\"]}", "{\"attach\":[\"kprobe:do_*\"]}");

	/* uprobe_multi is younger than 6.1's header: path at 16, offsets at 24, cnt at 48. */
	const uint64_t offsets[] = {64}, path = pointer("/usr/bin/bash"), list = pointer(offsets);
	const uint32_t head[] = {7, 0, 48, 0}, count = 1;
	uint8_t younger[64] = {0};
	memcpy(younger, head, sizeof(head));
	memcpy(younger + 16, &path, 8);
	memcpy(younger + 24, &list, 8);
	memcpy(younger + 48, &count, 4);
	encode(BPF_LINK_CREATE, (const union bpf_attr *)(const void *)younger, sizeof(younger));
	expect("{\"attach\":[\"uprobe:/usr/bin/*\"]}", "{\"attach\":[\"uprobe:/usr/lib/*\"]}");
}

static void test_probe(void **state)
{
	(void)state;
	static struct ygr_call_plan plan;
	struct perf_event_attr attr = {
	    .type = PMU_KPROBE, .size = sizeof(attr), .config1 = pointer("do_exit")};
	sent = (struct ygr_arena){.data = wire, .size = sizeof(wire)};
	assert_int_equal(ygr_perf_encode(&application, pointer(&attr), -1, 0, -1, 0, &sent, &plan), 0);
	expect("{\"attach\":[\"kprobe:do_exit\"]}", "{\"attach\":[\"kprobe:do_fork\"]}");
}

/* A load whose instructions cannot be read goes to the kernel, which says EFAULT; its type counts
 * nevertheless. */
static void test_unreadable(void **state)
{
	(void)state;
	union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_KPROBE, .insns = 16, .insn_cnt = 2, .license = 16};
	encode(BPF_PROG_LOAD, &attr, sizeof(attr));
	expect("{\"helpers\":[]}", "{\"programTypes\":[\"xdp\"]}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_prog_load),  cmocka_unit_test(test_names),
	    cmocka_unit_test(test_links),      cmocka_unit_test(test_probe),
	    cmocka_unit_test(test_unreadable),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
