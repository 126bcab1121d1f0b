/* Calls that fail: each fails through the marshaller as it does directly. */
#include "tests/lib/wire/call-kernel.h"

/* What is wrong is said as the kernel itself says it. */
static void test_same_errors(void **state)
{
	(void)state;
	int map = create_map(BPF_MAP_TYPE_HASH, 4, 4, 1);
	uint32_t fd = (uint32_t)map;
	uint64_t one = 1, bad = 8; /* an address that nobody has */
	const uint64_t here = (uintptr_t)&one;
	const struct {
		int cmd;
		union bpf_attr attr;
		uint32_t size;
	} calls[] = {
	    {BPF_MAP_CREATE, {.map_type = 0xffff, .key_size = 4, .value_size = 4, .max_entries = 1}, 72},
	    {BPF_MAP_CREATE, {.map_type = 1, .key_size = 0, .value_size = 4, .max_entries = 1}, 72},
	    {BPF_MAP_CREATE,
	     {.map_type = 12,
	      .key_size = 4,
	      .value_size = 4,
	      .max_entries = 1,
	      .inner_map_fd = (uint32_t)-1},
	     72},
	    {BPF_MAP_LOOKUP_ELEM, {.map_fd = (uint32_t)-1, .key = here, .value = here}, 32},
	    {BPF_MAP_LOOKUP_ELEM, {.map_fd = fd, .key = bad, .value = here}, 32},
	    {BPF_MAP_LOOKUP_ELEM, {.map_fd = fd, .key = 0, .value = here}, 32},
	    {BPF_MAP_LOOKUP_ELEM, {.map_fd = fd, .key = here, .value = here, .flags = 64}, 32},
	    {BPF_MAP_LOOKUP_ELEM, {.map_fd = fd, .key = here, .value = here}, 32},
	    {BPF_MAP_UPDATE_ELEM, {.map_fd = fd, .key = here, .value = bad}, 32},
	    {BPF_MAP_UPDATE_ELEM, {.map_fd = fd, .key = here, .value = here, .flags = BPF_EXIST}, 32},
	    {BPF_MAP_GET_NEXT_KEY, {.map_fd = fd, .key = 0, .next_key = here}, 32},
	    {BPF_PROG_LOAD, {.prog_type = 1, .insn_cnt = 1, .insns = bad, .license = here}, 72},
	    {BPF_PROG_LOAD, {.prog_type = 1, .insn_cnt = 1, .insns = here, .license = bad}, 72},
	    {BPF_PROG_LOAD, {.prog_type = 1, .insn_cnt = 0, .insns = here, .license = here}, 72},
	    {BPF_PROG_LOAD, {.prog_type = 1, .insn_cnt = 1, .insns = here, .license = here}, 72},
	    {BPF_OBJ_GET, {.pathname = bad}, 16},
	    {BPF_OBJ_GET, {.pathname = (uintptr_t) "/nonexistent/x"}, 16},
	    {BPF_OBJ_GET, {.pathname = (uintptr_t) ""}, 16},
	    {BPF_OBJ_PIN, {.pathname = (uintptr_t) "/proc/x", .bpf_fd = fd}, 16},
	    {BPF_OBJ_PIN, {.pathname = (uintptr_t) "/proc/x", .bpf_fd = (uint32_t)-1}, 16},
	    {BPF_OBJ_GET_INFO_BY_FD, {.info = {.bpf_fd = (uint32_t)-1, .info_len = 8, .info = here}}, 16},
	    {BPF_OBJ_GET_INFO_BY_FD, {.info = {.bpf_fd = fd, .info_len = 8, .info = bad}}, 16},
	    {BPF_MAP_GET_FD_BY_ID, {.map_id = 0xfffffff0}, 12},
	    {BPF_PROG_GET_NEXT_ID, {.start_id = 0x7ffffff0}, 12},
	    {BPF_MAP_FREEZE, {.map_fd = (uint32_t)-1}, 4},
	    {BPF_MAP_FREEZE, {.map_fd = fd, .key = 1}, 16},
	    {BPF_ITER_CREATE, {.iter_create = {.link_fd = fd}}, 8},
	    {BPF_LINK_UPDATE, {.link_update = {.link_fd = fd, .new_prog_fd = fd}}, 16},
	    {BPF_LINK_DETACH, {.link_detach = {.link_fd = (uint32_t)-1}}, 4},
	    {BPF_LINK_CREATE, {.link_create = {.prog_fd = (uint32_t)-1, .attach_type = 41}}, 64},
	    {BPF_LINK_CREATE, {.link_create = {.prog_fd = fd, .attach_type = 0xffff}}, 64},
	    {BPF_PROG_QUERY, {.query = {.target_fd = (uint32_t)-1, .attach_type = 0}}, 64},
	    {BPF_PROG_TEST_RUN, {.test = {.prog_fd = fd}}, 76},
	    {BPF_BTF_LOAD, {.btf = here, .btf_size = 0xffffff0}, 28},
	    {BPF_BTF_LOAD, {.btf = bad, .btf_size = 64}, 28},
	    {BPF_RAW_TRACEPOINT_OPEN, {.raw_tracepoint = {.name = bad, .prog_fd = (uint32_t)-1}}, 16},
	    {BPF_TASK_FD_QUERY, {.task_fd_query = {.pid = 0x7ffffff0}}, 48},
	    {BPF_ENABLE_STATS, {.enable_stats = {.type = 77}}, 4},
	    {999, {.map_fd = 0}, 8},
	    {-1, {.map_fd = 0}, 8},
	    {BPF_MAP_FREEZE, {.map_fd = fd}, 5000},
	};

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		uint8_t attr[8192] = {0};
		memcpy(attr, &calls[i].attr, sizeof(calls[i].attr));
		int64_t direct = syscall(SYS_bpf, calls[i].cmd, attr, calls[i].size);
		direct = direct < 0 ? -errno : direct;
		memset(attr, 0, sizeof(attr));
		memcpy(attr, &calls[i].attr, sizeof(calls[i].attr));
		int64_t remote = remote_bpf(calls[i].cmd, attr, calls[i].size);
		if (remote != direct)
			fail_msg("call %zu (command %d): directly %s, through the marshaller %s", i,
				 calls[i].cmd, strerror((int)-direct), strerror((int)-remote));
		assert_true(direct < 0);
	}

	/* An unknown tail that is not zero, in a valid call. */
	uint8_t attr[256] = {0};
	union bpf_attr head = {.map_type = 2, .key_size = 4, .value_size = 4, .max_entries = 1};
	memcpy(attr, &head, sizeof(head));
	attr[250] = 1;
	assert_int_equal(remote_bpf(BPF_MAP_CREATE, attr, sizeof(attr)), -E2BIG);
	assert_int_equal(remote_bpf(BPF_MAP_CREATE, (void *)8, 32), -EFAULT);
	head.map_type = 33; /* arena */
	assert_int_equal(remote_bpf(BPF_MAP_CREATE, &head, sizeof(head)), -EOPNOTSUPP);
	forget(map);
}

int main(void)
{
	int r = kernel_permits();
	if (r)
		return r;
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_errors)};
	return cmocka_run_group_tests(tests, setup, NULL);
}
