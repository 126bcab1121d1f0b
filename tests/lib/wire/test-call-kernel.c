/* Real calls: results and memory are what the kernel gives. */
#include "tests/lib/wire/call-kernel.h"

static void test_elements(void **state)
{
	(void)state;
	int map = create_map(BPF_MAP_TYPE_HASH, 4, 12, 8);
	assert_int_equal(objects[map].key_size, 4);
	assert_int_equal(objects[map].value_size, 12);

	uint32_t key = 7, next = 0;
	char value[12] = "hello world", read[13] = "------------";
	assert_int_equal(element(BPF_MAP_UPDATE_ELEM, map, &key, value), 0);
	assert_int_equal(element(BPF_MAP_LOOKUP_ELEM, map, &key, read), 0);
	assert_memory_equal(read, value, 12);
	assert_int_equal(element(BPF_MAP_GET_NEXT_KEY, map, NULL, &next), 0);
	assert_int_equal(next, 7);
	key = 8;
	memset(read, '-', sizeof(read));
	assert_int_equal(element(BPF_MAP_LOOKUP_ELEM, map, &key, read), -ENOENT);
	assert_memory_equal(read, "------------", 12);
	key = 7;
	assert_int_equal(element(BPF_MAP_DELETE_ELEM, map, &key, NULL), 0);
	assert_int_equal(element(BPF_MAP_DELETE_ELEM, map, &key, NULL), -ENOENT);
	forget(map);
}

static void test_every_kind_of_value(void **state)
{
	(void)state;
	uint32_t key = 0;
	int cpus = get_nprocs_conf();

	int array = create_map(BPF_MAP_TYPE_ARRAY, 4, 8, 4);
	uint64_t value = 0x1122334455667788, read = 0;
	assert_int_equal(element(BPF_MAP_UPDATE_ELEM, array, &key, &value), 0);
	assert_int_equal(element(BPF_MAP_LOOKUP_ELEM, array, &key, &read), 0);
	assert_true(read == value);

	/* A value of five bytes takes eight for each possible CPU. */
	int percpu = create_map(BPF_MAP_TYPE_PERCPU_ARRAY, 4, 5, 1);
	uint8_t *each = calloc((size_t)cpus + 1, 8), *back = calloc((size_t)cpus + 1, 8);
	for (int cpu = 0; cpu < cpus; cpu++)
		memset(each + 8 * cpu, cpu + 1, 5);
	back[8 * cpus] = 0x77;
	assert_int_equal(element(BPF_MAP_UPDATE_ELEM, percpu, &key, each), 0);
	assert_int_equal(element(BPF_MAP_LOOKUP_ELEM, percpu, &key, back), 0);
	assert_memory_equal(each, back, 8 * (size_t)cpus);
	assert_int_equal(back[8 * cpus], 0x77);
	free(each);
	free(back);

	/* A queue has no key; a bloom filter is asked with its value. */
	int queue = create_map(BPF_MAP_TYPE_QUEUE, 0, 8, 4);
	read = 0;
	assert_int_equal(element(BPF_MAP_UPDATE_ELEM, queue, NULL, &value), 0);
	assert_int_equal(element(BPF_MAP_LOOKUP_AND_DELETE_ELEM, queue, NULL, &read), 0);
	assert_true(read == value);
	assert_int_equal(element(BPF_MAP_LOOKUP_AND_DELETE_ELEM, queue, NULL, &read), -ENOENT);
	int bloom = create_map(BPF_MAP_TYPE_BLOOM_FILTER, 0, 8, 100);
	assert_int_equal(element(BPF_MAP_UPDATE_ELEM, bloom, NULL, &value), 0);
	assert_int_equal(element(BPF_MAP_LOOKUP_ELEM, bloom, NULL, &value), 0);
	read = ~value;
	assert_int_equal(element(BPF_MAP_LOOKUP_ELEM, bloom, NULL, &read), -ENOENT);

	/* Maps in maps: a descriptor goes in, an id comes out. */
	union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY_OF_MAPS,
			       .key_size = 4,
			       .value_size = 4,
			       .max_entries = 2,
			       .inner_map_fd = (uint32_t)array};
	int outer = (int)remote_bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
	assert_true(outer > 0);
	uint32_t inner = (uint32_t)array, id = 0;
	assert_int_equal(element(BPF_MAP_UPDATE_ELEM, outer, &key, &inner), 0);
	assert_int_equal(element(BPF_MAP_LOOKUP_ELEM, outer, &key, &id), 0);
	struct bpf_map_info info = {0};
	attr = (union bpf_attr){
	    .info = {.bpf_fd = (uint32_t)array, .info_len = sizeof(info), .info = (uintptr_t)&info}};
	assert_int_equal(remote_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, 16), 0);
	assert_int_equal(info.id, id);
	assert_string_equal(info.name, "ygr_test");
	inner = 999; /* not remote */
	assert_int_equal(element(BPF_MAP_UPDATE_ELEM, outer, &key, &inner), -EBADF);

	attr = (union bpf_attr){.map_id = id};
	int again = (int)remote_bpf(BPF_MAP_GET_FD_BY_ID, &attr, sizeof(attr));
	assert_true(again > 0);
	assert_int_equal(objects[again].value_size, 8);
	forget(again);
	forget(outer);
	forget(bloom);
	forget(queue);
	forget(percpu);
	forget(array);
}

static void test_batches(void **state)
{
	(void)state;
	enum { N = 6 };
	int map = create_map(BPF_MAP_TYPE_HASH, 8, 4, 16);
	uint64_t keys[N], out_keys[16] = {0};
	uint32_t values[N], out_values[16] = {0}, cursor = 0, sum = 0;
	for (uint32_t i = 0; i < N; i++) {
		keys[i] = i * 1000;
		values[i] = i + 1;
	}
	union bpf_attr attr = {
	    .batch = {
		.map_fd = (uint32_t)map, .keys = (uintptr_t)keys, .values = (uintptr_t)values, .count = N}};
	assert_int_equal(remote_bpf(BPF_MAP_UPDATE_BATCH, &attr, sizeof(attr.batch)), 0);
	assert_int_equal(attr.batch.count, N);

	attr = (union bpf_attr){.batch = {.map_fd = (uint32_t)map,
					  .keys = (uintptr_t)out_keys,
					  .values = (uintptr_t)out_values,
					  .out_batch = (uintptr_t)&cursor,
					  .count = 16}};
	assert_int_equal(remote_bpf(BPF_MAP_LOOKUP_BATCH, &attr, sizeof(attr.batch)), -ENOENT);
	assert_int_equal(attr.batch.count, N); /* told although it is an error */
	for (uint32_t i = 0; i < N; i++)
		sum += out_values[i];
	assert_int_equal(sum, 21);
	assert_true(out_keys[N] == 0 && out_values[N] == 0);

	attr.batch.count = 2;
	attr.batch.in_batch = attr.batch.values = 0;
	assert_int_equal(remote_bpf(BPF_MAP_DELETE_BATCH, &attr, sizeof(attr.batch)), 0);
	assert_int_equal(attr.batch.count, 2);
	forget(map);
}

/* r0 = lookup(map, &0) ? *value : 0, so that its result shows that the right map is in it. */
static int load_reader(int map, uint32_t type, char *log, uint32_t log_size)
{
	const struct bpf_insn insns[] = {
	    {.code = 0x62, .dst_reg = 10, .off = -4, .imm = 0},     /* *(u32 *)(fp - 4) = 0 */
	    {.code = 0xbf, .dst_reg = 2, .src_reg = 10},            /* r2 = fp */
	    {.code = 0x07, .dst_reg = 2, .imm = -4},                /* r2 += -4 */
	    {.code = 0x18, .dst_reg = 1, .src_reg = 1, .imm = map}, /* r1 = map */
	    {0},
	    {.code = 0x85, .imm = BPF_FUNC_map_lookup_elem},  /* call */
	    {.code = 0x15, .dst_reg = 0, .off = 1, .imm = 0}, /* if !r0 goto exit */
	    {.code = 0x61, .dst_reg = 0, .src_reg = 0},       /* r0 = *(u32 *)r0 */
	    {.code = 0x95},
	};
	union bpf_attr attr = {
	    .prog_type = type,
	    .insns = (uintptr_t)insns,
	    .insn_cnt = sizeof(insns) / sizeof(insns[0]),
	    .license = (uintptr_t) "GPL",
	    .log_buf = (uintptr_t)log,
	    .log_size = log_size,
	    .log_level = log ? 1 : 0,
	};
	strcpy(attr.prog_name, "ygr_reader");
	return (int)remote_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
}

static void test_program(void **state)
{
	(void)state;
	static char log[1u << 20];
	uint32_t key = 0, value = 77;
	int map = create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 1);
	assert_int_equal(element(BPF_MAP_UPDATE_ELEM, map, &key, &value), 0);

	memset(log, 'x', sizeof(log));
	int prog = load_reader(map, BPF_PROG_TYPE_SOCKET_FILTER, log, sizeof(log));
	assert_true(prog > 0);
	assert_non_null(strstr(log, "processed"));
	assert_int_equal(log[strlen(log) + 1], 'x'); /* no more than the log was written */

	uint8_t packet[64] = {0}, out[80];
	memset(out, 0x5c, sizeof(out));
	union bpf_attr attr = {.test = {.prog_fd = (uint32_t)prog,
					.data_in = (uintptr_t)packet,
					.data_size_in = sizeof(packet),
					.data_out = (uintptr_t)out,
					.data_size_out = sizeof(out),
					.repeat = 1}};
	assert_int_equal(remote_bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr.test)), 0);
	assert_int_equal(attr.test.retval, 77);
	assert_int_equal(attr.test.data_size_out, 64);
	assert_memory_equal(out, packet, 64);
	assert_int_equal(out[64], 0x5c);

	/* Nested pointers: ids of maps, instructions; sizes are told whether or not there is memory. */
	uint32_t ids[4] = {0};
	struct bpf_insn xlated[64] = {0};
	struct bpf_prog_info info = {.nr_map_ids = 4,
				     .map_ids = (uintptr_t)ids,
				     .xlated_prog_len = sizeof(xlated),
				     .xlated_prog_insns = (uintptr_t)xlated};
	attr = (union bpf_attr){
	    .info = {.bpf_fd = (uint32_t)prog, .info_len = sizeof(info), .info = (uintptr_t)&info}};
	assert_int_equal(remote_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr.info)), 0);
	struct bpf_prog_info direct = {.nr_map_ids = 4,
				       .map_ids = info.map_ids,
				       .xlated_prog_len = sizeof(xlated),
				       .xlated_prog_insns = info.xlated_prog_insns};
	union bpf_attr again = attr;
	again.info.info = (uintptr_t)&direct;
	again.info.info_len = sizeof(direct);
	uint32_t first = ids[0];
	assert_int_equal(syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &again, sizeof(again.info)), 0);
	assert_int_equal(info.nr_map_ids, 1);
	assert_int_equal(first, ids[0]);
	assert_string_equal(info.name, "ygr_reader");
	assert_true(info.map_ids == (uintptr_t)ids);
	assert_true(info.xlated_prog_insns == (uintptr_t)xlated);
	assert_true(xlated[0].code == 0x62);
	direct.jited_prog_insns = info.jited_prog_insns = 0;
	assert_memory_equal(&info, &direct, sizeof(info));

	/* A program that the verifier refuses: its log, and its errno. */
	memset(log, 0, sizeof(log));
	assert_int_equal(load_reader(-1, BPF_PROG_TYPE_SOCKET_FILTER, log, sizeof(log)), -EBADF);
	assert_non_null(strstr(log, "fd"));

	/* PROG_ARRAY takes programs. */
	int jumps = create_map(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 2);
	uint32_t slot = (uint32_t)prog;
	assert_int_equal(element(BPF_MAP_UPDATE_ELEM, jumps, &key, &slot), 0);
	slot = (uint32_t)map;
	assert_int_equal(element(BPF_MAP_UPDATE_ELEM, jumps, &key, &slot), -EINVAL);
	attr = (union bpf_attr){.prog_bind_map = {.prog_fd = (uint32_t)prog, .map_fd = (uint32_t)jumps}};
	assert_int_equal(remote_bpf(BPF_PROG_BIND_MAP, &attr, sizeof(attr.prog_bind_map)), 0);
	forget(jumps);
	forget(prog);
	forget(map);
}

static void test_links(void **state)
{
	(void)state;
	int map = create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 1);
	int prog = load_reader(map, BPF_PROG_TYPE_RAW_TRACEPOINT, NULL, 0);
	if (prog == -EPERM) {
		print_message("raw tracepoints are not permitted here: not tested\n");
		forget(map);
		return;
	}
	assert_true(prog > 0);
	union bpf_attr attr = {
	    .raw_tracepoint = {.name = (uintptr_t) "sched_switch", .prog_fd = (uint32_t)prog}};
	int link = (int)remote_bpf(BPF_RAW_TRACEPOINT_OPEN, &attr, 16);
	assert_true(link > 0);
	assert_int_equal(objects[link].kind, YGR_OBJECT_LINK);
	assert_int_equal(objects[link].map_type, BPF_LINK_TYPE_RAW_TRACEPOINT);

	char name[32];
	memset(name, 'x', sizeof(name));
	struct bpf_link_info info = {
	    .raw_tracepoint = {.tp_name = (uintptr_t)name, .tp_name_len = sizeof(name)}};
	attr = (union bpf_attr){
	    .info = {.bpf_fd = (uint32_t)link, .info_len = sizeof(info), .info = (uintptr_t)&info}};
	assert_int_equal(remote_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr.info)), 0);
	assert_string_equal(name, "sched_switch");
	assert_int_equal(name[13], 'x');
	assert_int_equal(info.type, BPF_LINK_TYPE_RAW_TRACEPOINT);
	assert_true(info.raw_tracepoint.tp_name == (uintptr_t)name);

	attr = (union bpf_attr){
	    .raw_tracepoint = {.name = (uintptr_t) "no_such_thing", .prog_fd = (uint32_t)prog}};
	assert_int_equal(remote_bpf(BPF_RAW_TRACEPOINT_OPEN, &attr, 16), -ENOENT);
	/* libbpf asks for exactly this to learn whether perf links exist. */
	attr = (union bpf_attr){.link_create = {.prog_fd = (uint32_t)prog,
						.target_fd = (uint32_t)-1,
						.attach_type = BPF_PERF_EVENT}};
	union bpf_attr same = attr;
	long direct = syscall(SYS_bpf, BPF_LINK_CREATE, &same, sizeof(same)) < 0 ? -errno : 0;
	assert_int_equal(remote_bpf(BPF_LINK_CREATE, &attr, sizeof(attr)), direct);
	forget(link);
	forget(prog);
	forget(map);
}

static void test_btf(void **state)
{
	(void)state;
	/* "int", 4 bytes, signed. */
	struct {
		uint16_t magic;
		uint8_t version, flags;
		uint32_t hdr_len, type_off, type_len, str_off, str_len;
		uint32_t name, info, size, encoding;
		char strings[5];
	} __attribute__((packed))
	btf = {0xeb9f, 1, 0, 24, 0, 16, 16, 5, 1, 1u << 24, 4, 1u << 24 | 32, {'\0', 'i', 'n', 't', '\0'}};
	char log[4096] = "";
	union bpf_attr attr = {.btf = (uintptr_t)&btf,
			       .btf_size = sizeof(btf),
			       .btf_log_buf = (uintptr_t)log,
			       .btf_log_size = sizeof(log),
			       .btf_log_level = 1};
	int fd = (int)remote_bpf(BPF_BTF_LOAD, &attr, 28);
	assert_true(fd > 0);
	assert_non_null(strstr(log, "INT"));

	char copy[sizeof(btf)] = {0}, name[8] = "unnamed";
	struct bpf_btf_info info = {.btf = (uintptr_t)copy,
				    .btf_size = sizeof(copy),
				    .name = (uintptr_t)name,
				    .name_len = sizeof(name)};
	union bpf_attr ask = {
	    .info = {.bpf_fd = (uint32_t)fd, .info_len = sizeof(info), .info = (uintptr_t)&info}};
	assert_int_equal(remote_bpf(BPF_OBJ_GET_INFO_BY_FD, &ask, sizeof(ask.info)), 0);
	assert_memory_equal(copy, &btf, sizeof(btf));
	assert_true(info.btf == (uintptr_t)copy);
	forget(fd);

	btf.magic = 0;
	memset(log, 0, sizeof(log));
	assert_int_equal(remote_bpf(BPF_BTF_LOAD, &attr, 28), -EINVAL);
	assert_non_null(strstr(log, "magic"));
}

static void test_pins(void **state)
{
	(void)state;
	char directory[] = "/tmp/ygr-call-XXXXXX", path[64];
	assert_non_null(mkdtemp(directory));
	assert_int_equal(mount("bpf", directory, "bpf", 0, NULL), 0);
	snprintf(path, sizeof(path), "%s/map", directory);

	int map = create_map(BPF_MAP_TYPE_HASH, 4, 4, 1);
	union bpf_attr attr = {.pathname = (uintptr_t)path, .bpf_fd = (uint32_t)map};
	assert_int_equal(remote_bpf(BPF_OBJ_PIN, &attr, 16), 0);
	assert_int_equal(remote_bpf(BPF_OBJ_PIN, &attr, 16), -EEXIST);
	attr.bpf_fd = 0;
	int again = (int)remote_bpf(BPF_OBJ_GET, &attr, 16);
	assert_true(again > 0);
	assert_int_equal(objects[again].kind, YGR_OBJECT_MAP);
	assert_int_equal(objects[again].map_type, BPF_MAP_TYPE_HASH);
	forget(again);
	forget(map);
	unlink(path);
	assert_int_equal(umount2(directory, MNT_DETACH), 0);
	rmdir(directory);
}

static void test_perf(void **state)
{
	(void)state;
	static struct ygr_call_plan plan;
	struct perf_event_attr event = {
	    .type = PERF_TYPE_SOFTWARE, .size = sizeof(event), .config = PERF_COUNT_SW_DUMMY};
	struct ygr_arena out = {.data = payload, .size = YGR_FRAME_MAX};
	assert_int_equal(ygr_perf_encode(&application, (uintptr_t)&event, 0, -1, -1, 0, &out, &plan), 0);
	int fd = (int)carry(&out, &plan);
	if (fd == -EACCES || fd == -EPERM || fd == -ENOENT) {
		print_message("perf_event_open is not permitted here: not tested\n");
		return;
	}
	assert_true(fd > 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);

	uint64_t id = 0;
	out.used = 0;
	assert_int_equal(ygr_ioctl_encode(&application, fd, PERF_EVENT_IOC_ID, (uintptr_t)&id, &out, &plan),
			 0);
	assert_int_equal(carry(&out, &plan), 0);
	assert_true(id > 0);
	out.used = 0;
	assert_int_equal(ygr_ioctl_encode(&application, fd, PERF_EVENT_IOC_ENABLE, 0, &out, &plan), 0);
	assert_int_equal(carry(&out, &plan), 0);
	out.used = 0;
	assert_int_equal(
	    ygr_ioctl_encode(&application, fd, PERF_EVENT_IOC_SET_OUTPUT, (uint64_t)-1, &out, &plan), 0);
	assert_int_equal(carry(&out, &plan), 0);
	out.used = 0;
	assert_int_equal(ygr_ioctl_encode(&application, fd, PERF_EVENT_IOC_SET_OUTPUT, 0, &out, &plan), 0);
	assert_int_equal(carry(&out, &plan), -EBADF);
	out.used = 0;
	assert_int_equal(ygr_ioctl_encode(&application, fd, 0x5401, 0, &out, &plan), -ENOTTY);

	/* A descriptor that is not remote as group leader must not become "no group". */
	out.used = 0;
	assert_int_equal(ygr_perf_encode(&application, (uintptr_t)&event, 0, -1, 2, 0, &out, &plan), 0);
	assert_int_equal(carry(&out, &plan), -EBADF);
	event.size = 8;
	assert_int_equal(ygr_perf_encode(&application, (uintptr_t)&event, 0, -1, -1, 0, &out, &plan),
			 -E2BIG);
	forget(fd);
}

int main(void)
{
	int r = kernel_permits();
	if (r)
		return r;
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_elements), cmocka_unit_test(test_every_kind_of_value),
	    cmocka_unit_test(test_batches),  cmocka_unit_test(test_program),
	    cmocka_unit_test(test_links),    cmocka_unit_test(test_btf),
	    cmocka_unit_test(test_pins),     cmocka_unit_test(test_perf),

	};
	return cmocka_run_group_tests(tests, setup, NULL);
}
