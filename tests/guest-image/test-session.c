/* Sessions with a real yagura-guest and this machine's kernel: calls, rings, arrays, files, and their
 * refusals. */
#include "tests/guest-image/guest-fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest-image/guest/pages.h"

#define RING_BYTES 65536

static struct guest guest;
static struct client client;

static int open_session(void **state)
{
	(void)state;
	int r = client_open(&client, &guest, "tester", GRANT_RING);
	if (r < 0)
		print_message("%s\n", client.notice);
	return r;
}

static int close_session(void **state)
{
	(void)state;
	client_close(&client);
	return 0;
}

static void test_elements(void **state)
{
	(void)state;
	uint32_t map = (uint32_t)client_map(&client, BPF_MAP_TYPE_HASH, 4, 8, 16, 0);
	assert_true((int32_t)map > 0);
	uint32_t key = 3;
	uint64_t value = 0x1122334455667788, found = 0;
	union bpf_attr attr = {0};
	attr.map_fd = map;
	attr.key = (uintptr_t)&key;
	attr.value = (uintptr_t)&value;
	assert_int_equal(client_bpf(&client, BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr)), 0);
	attr.value = (uintptr_t)&found;
	assert_int_equal(client_bpf(&client, BPF_MAP_LOOKUP_ELEM, &attr, sizeof(attr)), 0);
	assert_int_equal(found, value);

	struct ygr_handle_close closing = {.handle = map};
	client_post(&client, YGR_MSG_HANDLE_CLOSE, &closing, sizeof(closing));
	assert_int_equal(client_bpf(&client, BPF_MAP_LOOKUP_ELEM, &attr, sizeof(attr)), -EBADF);
}

static struct ygr_ring_opened open_ring(uint32_t map, uint32_t stream, uint32_t window)
{
	struct ygr_ring_open open = {.handle = map,
				     .kind = YGR_RING_BPF,
				     .data_bytes = RING_BYTES,
				     .stream = stream,
				     .window = window};
	struct ygr_ring_opened opened;
	client_ask(&client, YGR_MSG_RING_OPEN, &open, sizeof(open), YGR_MSG_RING_OPENED);
	assert_true(client.frame.length >= sizeof(opened));
	memcpy(&opened, client.last, sizeof(opened));
	assert_int_equal(client.frame.length, sizeof(opened) + opened.run_count * sizeof(struct ygr_run));
	return opened;
}

/* The runs are compared with what the kernel says of a mapping that this process makes of the same map. */
static void test_ring_pages(void **state)
{
	(void)state;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint32_t map = (uint32_t)client_map(&client, BPF_MAP_TYPE_RINGBUF, 0, 0, RING_BYTES, 0);
	int own = map_open(client_map_id(&client, map));
	assert_true(own >= 0);
	uint8_t *ring = mmap(NULL, page + RING_BYTES, PROT_READ, MAP_SHARED, own, (off_t)page);
	assert_true(ring != MAP_FAILED);
	struct ygr_buf runs = YGR_BUF_INIT(65536);
	uint32_t count;
	assert_int_equal(ygr_guest_pages_runs(ring, 1 + RING_BYTES / page, &runs, &count), 0);

	struct ygr_ring_opened opened = open_ring(map, 0, 0);
	assert_int_equal(opened.status, 0);
	assert_int_equal(opened.run_count, count);
	assert_memory_equal(client.last + sizeof(opened), runs.data, runs.len);

	/* nothing there: no READY until there is, then exactly one */
	struct ygr_ring_position at = {.handle = map};
	uint32_t prog = (uint32_t)client_load_producer(&client, map);
	assert_true((int32_t)prog > 0);
	client_post(&client, YGR_MSG_RING_ARM, &at, sizeof(at));
	assert_false(client_wait(&client, YGR_MSG_RING_READY, 250));
	assert_int_equal(client_run(&client, prog, 7), 0);
	if (client.notice[0])
		fail_msg("%s", client.notice);
	assert_true(client_wait(&client, YGR_MSG_RING_READY, WAIT_MS));
	memcpy(&at, client.last, sizeof(at));
	assert_int_equal(at.handle, map);
	assert_int_equal(at.position, 40);
	assert_int_equal(*(uint64_t *)(ring + page + 8), 7);
	assert_int_equal(client_run(&client, prog, 8), 0);
	assert_false(client_wait(&client, YGR_MSG_RING_READY, 250));

	client_post(&client, YGR_MSG_RING_ARM, &at, sizeof(at)); /* one consumed, one left: at once */
	assert_true(client_wait(&client, YGR_MSG_RING_READY, WAIT_MS));

	at.position = 1u << 20; /* beyond the producer: this session is over */
	client_post(&client, YGR_MSG_RING_CONSUMED, &at, sizeof(at));
	assert_true(client_wait(&client, YGR_MSG_REFUSED, WAIT_MS));
	assert_int_equal(client.frame.id, YGR_REFUSED_FINAL);
	ygr_buf_deinit(&runs);
	munmap(ring, page + RING_BYTES);
	close(own);
}

/* More than the ring and the window hold, byte for byte and in order. */
static void test_ring_stream(void **state)
{
	(void)state;
	uint32_t map = (uint32_t)client_map(&client, BPF_MAP_TYPE_RINGBUF, 0, 0, RING_BYTES, 0);
	uint32_t prog = (uint32_t)client_load_producer(&client, map);
	assert_true((int32_t)prog > 0);
	struct ygr_ring_opened opened = open_ring(map, 1, 65536);
	assert_int_equal(opened.status, 0);
	assert_int_equal(opened.run_count, 0);

	uint64_t expected = 0, position = 0;
	for (uint64_t n = 0; n < 2000; n++) {
		assert_int_equal(client_run(&client, prog, n), 0);
		assert_true(client_wait(&client, YGR_MSG_RING_RECORDS, WAIT_MS));
		struct ygr_ring_records records;
		memcpy(&records, client.last, sizeof(records));
		assert_int_equal(records.handle, map);
		assert_int_equal(records.position, position);
		assert_int_equal(records.length + sizeof(records), client.frame.length);
		const uint8_t *record = client.last + sizeof(records);
		for (uint32_t i = 0; i < records.length; i += 40, expected++) {
			uint64_t words[5];
			memcpy(words, record + i, sizeof(words));
			assert_int_equal((uint32_t)words[0], 32);
			for (unsigned w = 1; w < 5; w++)
				assert_int_equal(words[w], expected);
		}
		position += records.length;
		struct ygr_ring_position consumed = {.handle = map, .position = position};
		client_post(&client, YGR_MSG_RING_CONSUMED, &consumed, sizeof(consumed));
	}
	assert_int_equal(expected, 2000);
}

/* Without CONSUMED no more than the window comes; with it the rest. */
static void test_ring_window(void **state)
{
	(void)state;
	uint32_t map = (uint32_t)client_map(&client, BPF_MAP_TYPE_RINGBUF, 0, 0, RING_BYTES, 0);
	uint32_t prog = (uint32_t)client_load_producer(&client, map);
	assert_int_equal(open_ring(map, 1, 65536).status, 0);
	uint64_t received = 0, sent = 0;
	for (; sent < 3000; sent++)
		assert_int_equal(client_run(&client, prog, sent), 0);
	/* records came between the replies, which client_run() skipped: the last position tells how many */
	struct ygr_ring_position consumed = {.handle = map, .position = 65536 / 40 * 40};
	client_post(&client, YGR_MSG_RING_CONSUMED, &consumed, sizeof(consumed));
	assert_true(client_wait(&client, YGR_MSG_RING_RECORDS, WAIT_MS));
	struct ygr_ring_records records;
	memcpy(&records, client.last, sizeof(records));
	received = records.position;
	assert_int_equal(received, 65536 / 40 * 40);
}

static int64_t read_object(uint32_t handle, uint64_t offset)
{
	struct ygr_file_io io = {.handle = handle, .length = 4096, .offset = offset};
	client_ask(&client, YGR_MSG_FILE_READ, &io, sizeof(io), YGR_MSG_FILE_DATA);
	return *(int64_t *)(void *)client.last;
}

/* What an application reads of a descriptor that is not a file: fdinfo of any, the counter of a perf event. */
static void test_read_objects(void **state)
{
	(void)state;
	uint32_t map = (uint32_t)client_map(&client, BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0);
	uint32_t event = (uint32_t)client_perf_output(&client);
	assert_true((int32_t)map > 0 && (int32_t)event > 0);

	int64_t n = read_object(map, YGR_FILE_FDINFO);
	assert_in_range(n, 1, 4096);
	char text[4097] = {0};
	memcpy(text, client.last + sizeof(struct ygr_status), (size_t)n);
	assert_non_null(strstr(text, "memlock:"));
	assert_non_null(strstr(text, "value_size:\t8\n"));
	assert_int_equal(read_object(event, YGR_FILE_SEQUENTIAL), 8);
	assert_true(read_object(event, YGR_FILE_FDINFO) > 0);

	assert_int_equal(read_object(map, YGR_FILE_SEQUENTIAL), -EBADF);
	assert_int_equal(read_object(map + 4096, YGR_FILE_FDINFO), -EBADF);
	struct ygr_file_io io = {.handle = map, .offset = YGR_FILE_FDINFO};
	client_ask(&client, YGR_MSG_FILE_WRITE, &io, sizeof(io), YGR_MSG_FILE_DATA);
	assert_int_equal(*(int64_t *)(void *)client.last, -EBADF);
}

/* Perf: the same records, across the end of the data area; page frames where the kernel tells them. */
static void test_perf(void **state)
{
	(void)state;
	uint32_t key = 0, size = (uint32_t)sysconf(_SC_PAGESIZE);
	uint32_t map = (uint32_t)client_map(&client, BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 1, 0);
	uint32_t event = (uint32_t)client_perf_output(&client);
	if ((int32_t)map <= 0 || (int32_t)event <= 0)
		fail_msg("map %d, event %d: %s", (int)map, (int)event, client.notice);
	struct ygr_ring_open open = {.handle = event, .kind = YGR_RING_PERF, .data_bytes = size};
	struct ygr_ring_opened opened;
	client_ask(&client, YGR_MSG_RING_OPEN, &open, sizeof(open), YGR_MSG_RING_OPENED);
	memcpy(&opened, client.last, sizeof(opened));
	print_message("page frames of a perf ring: %s\n", opened.status ? strerror(-opened.status) : "told");
	assert_true(opened.status == 0 || opened.status == -EOPNOTSUPP);
	if (opened.status == 0) {
		struct ygr_handle_close closing = {.handle = event};
		client_post(&client, YGR_MSG_RING_CLOSE, &closing, sizeof(closing));
	}
	open.stream = 1;
	client_ask(&client, YGR_MSG_RING_OPEN, &open, sizeof(open), YGR_MSG_RING_OPENED);
	memcpy(&opened, client.last, sizeof(opened));
	assert_int_equal(opened.status, 0);

	union bpf_attr attr = {0};
	attr.map_fd = map;
	attr.key = (uintptr_t)&key;
	attr.value = (uintptr_t)&event;
	assert_int_equal(client_bpf(&client, BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr)), 0);
	uint32_t prog = (uint32_t)client_load_perf_producer(&client, map);
	assert_true((int32_t)prog > 0);
	uint64_t position = 0;
	for (uint64_t n = 0; n < 300; n++) {
		assert_int_equal(client_run_cpu0(&client, prog, n), 0);
		assert_true(client_wait(&client, YGR_MSG_RING_RECORDS, WAIT_MS));
		struct ygr_ring_records records;
		struct perf_event_header header;
		uint32_t raw;
		uint64_t word;
		memcpy(&records, client.last, sizeof(records));
		assert_int_equal(records.position, position);
		memcpy(&header, client.last + sizeof(records), sizeof(header));
		assert_int_equal(header.type, PERF_RECORD_SAMPLE);
		assert_int_equal(header.size, records.length);
		memcpy(&raw, client.last + sizeof(records) + 8, sizeof(raw));
		assert_in_range(raw, 32, 36);
		memcpy(&word, client.last + sizeof(records) + 12, sizeof(word));
		assert_int_equal(word, n);
		position += records.length;
		struct ygr_ring_position consumed = {.handle = event, .position = position};
		client_post(&client, YGR_MSG_RING_CONSUMED, &consumed, sizeof(consumed));
	}
	assert_true(position > 2 * size);
}

static void test_array(void **state)
{
	(void)state;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint32_t map = (uint32_t)client_map(&client, BPF_MAP_TYPE_ARRAY, 4, 6000, 1, BPF_F_MMAPABLE);
	struct ygr_mem mem = {.handle = map, .length = 6000};
	struct ygr_ring_opened opened;
	client_ask(&client, YGR_MSG_MEM_OPEN, &mem, sizeof(mem), YGR_MSG_MEM_OPENED);
	memcpy(&opened, client.last, sizeof(opened));
	assert_int_equal(opened.status, 0);
	uint64_t pages = 0;
	for (uint32_t i = 0; i < opened.run_count; i++) {
		struct ygr_run run;
		memcpy(&run, client.last + sizeof(opened) + i * sizeof(run), sizeof(run));
		pages += run.count;
	}
	assert_int_equal(pages, (6000 + page - 1) / page);

	uint8_t bytes[sizeof(mem) + 100];
	mem = (struct ygr_mem){.handle = map, .length = 100, .offset = 4050};
	memcpy(bytes, &mem, sizeof(mem));
	memset(bytes + sizeof(mem), 0x5a, 100);
	client_ask(&client, YGR_MSG_MEM_WRITE, bytes, sizeof(bytes), YGR_MSG_MEM_DATA);
	assert_int_equal(*(int64_t *)(void *)client.last, 100);

	uint32_t key = 0;
	uint8_t value[6000];
	union bpf_attr attr = {0};
	attr.map_fd = map;
	attr.key = (uintptr_t)&key;
	attr.value = (uintptr_t)value;
	assert_int_equal(client_bpf(&client, BPF_MAP_LOOKUP_ELEM, &attr, sizeof(attr)), 0);
	assert_memory_equal(value + 4050, bytes + sizeof(mem), 100);
	assert_int_equal(value[4049], 0);
	assert_int_equal(value[4150], 0);

	/* our mapping must not stand in the way of freezing; then the kernel forbids writing */
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = map;
	assert_int_equal(client_bpf(&client, BPF_MAP_FREEZE, &attr, sizeof(attr)), 0);
	client_ask(&client, YGR_MSG_MEM_WRITE, bytes, sizeof(bytes), YGR_MSG_MEM_DATA);
	assert_int_equal(*(int64_t *)(void *)client.last, -EPERM);
	mem.offset = 8190;
	client_ask(&client, YGR_MSG_MEM_READ, &mem, sizeof(mem), YGR_MSG_MEM_DATA);
	assert_int_equal(*(int64_t *)(void *)client.last, -EFAULT);
	mem.offset = UINT64_MAX - 50;
	client_ask(&client, YGR_MSG_MEM_READ, &mem, sizeof(mem), YGR_MSG_MEM_DATA);
	assert_int_equal(*(int64_t *)(void *)client.last, -EFAULT);
}

static void test_refused_program(void **state)
{
	(void)state;
	const struct bpf_insn insns[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K},
					 {.code = BPF_JMP | BPF_EXIT}};
	union bpf_attr attr = {0};
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = 2;
	attr.license = (uintptr_t) "GPL";
	assert_int_equal(client_bpf(&client, BPF_PROG_LOAD, &attr, sizeof(attr)), -EACCES);
	assert_string_equal(client.notice, "tester: program type xdp is not in the catalogue entry");
	attr.prog_type = BPF_PROG_TYPE_TRACEPOINT; /* in the catalogue's list, and not in the owner's */
	assert_int_equal(client_bpf(&client, BPF_PROG_LOAD, &attr, sizeof(attr)), -EACCES);
	assert_string_equal(client.notice,
			    "tester: program type tracepoint is not in the owner's guest.yaml");
}

static int64_t open_file(const char *path, uint32_t flags)
{
	uint8_t payload[256];
	struct ygr_file_open open = {.flags = flags};
	memcpy(payload, &open, sizeof(open));
	strcpy((char *)payload + sizeof(open), path);
	client_ask(&client, YGR_MSG_FILE_OPEN, payload, sizeof(open) + strlen(path) + 1, YGR_MSG_FILE_DATA);
	return *(int64_t *)(void *)client.last;
}

static int32_t stat_file(const char *path, struct ygr_file_attr *attr)
{
	client_ask(&client, YGR_MSG_FILE_STAT, path, strlen(path) + 1, YGR_MSG_FILE_ATTR);
	assert_int_equal(client.frame.length, sizeof(*attr));
	memcpy(attr, client.last, sizeof(*attr));
	return attr->status;
}

static void test_files(void **state)
{
	(void)state;
	struct ygr_file_attr attr;
	char direct[512] = {0};
	int fd = open("/proc/version", O_RDONLY);
	assert_true(read(fd, direct, sizeof(direct) - 1) > 0);
	close(fd);

	int64_t handle = open_file("/proc/version", O_RDONLY);
	assert_true(handle > 0);
	struct ygr_file_io io = {.handle = (uint32_t)handle, .length = sizeof(direct)};
	client_ask(&client, YGR_MSG_FILE_READ, &io, sizeof(io), YGR_MSG_FILE_DATA);
	assert_int_equal(*(int64_t *)(void *)client.last, strlen(direct));
	assert_memory_equal(client.last + sizeof(struct ygr_status), direct, strlen(direct));
	io.length = YGR_FILE_IO_MAX + 1;
	client_ask(&client, YGR_MSG_FILE_READ, &io, sizeof(io), YGR_MSG_FILE_DATA);
	assert_int_equal(*(int64_t *)(void *)client.last, -EINVAL);

	assert_int_equal(stat_file("/proc/version", &attr), 0);
	assert_int_equal(attr.mode & 0170000, 0100000);
	assert_int_equal(stat_file("/sys/kernel", &attr), 0); /* leads to BTF */
	assert_int_equal(stat_file("/etc/shadow", &attr), -ENOENT);
	assert_int_equal(stat_file("/etc", &attr), -ENOENT);

	client_ask(&client, YGR_MSG_FILE_LIST, "/sys/kernel", 12, YGR_MSG_FILE_NAMES);
	assert_int_equal(*(int64_t *)(void *)client.last, 0);
	assert_int_equal(client.frame.length, sizeof(struct ygr_status) + 5);
	assert_string_equal((char *)client.last + sizeof(struct ygr_status) + 1, "btf");
}

static void test_refused_files(void **state)
{
	(void)state;
	assert_int_equal(open_file("/etc/shadow", O_RDONLY), -EACCES);
	assert_non_null(strstr(client.notice, "/etc/shadow"));
	assert_int_equal(open_file("/proc/version", O_RDWR), -EACCES);
	assert_int_equal(open_file("/proc/../etc/shadow", O_RDONLY), -EACCES);
	assert_int_equal(open_file("/sys/kernel/btf/../../../etc/shadow", O_RDONLY), -EACCES);
	assert_int_equal(open_file("/proc/version", O_RDONLY | O_CREAT), -EINVAL);
	assert_int_equal(open_file("/proc/version", 3), -EINVAL);
}

/* What a call names by descriptor: a directory that is listed, the network namespace; nothing of it is read. */
static void test_named_files(void **state)
{
	(void)state;
	client_close(&client);
	assert_int_equal(client_open(&client, &guest, "tester",
				     "\"ids\":true,\"files\":{\"read\":[\"/proc/**\"],\"write\":[]}"),
			 0);
	assert_true(open_file("/proc/self/ns/net", O_RDONLY) > 0);
	assert_true(open_file("/proc/sys", O_DIRECTORY) > 0);
	assert_int_equal(open_file("/proc/sys", O_RDONLY), -EISDIR);
	assert_int_equal(open_file("/proc/version", O_DIRECTORY), -ENOTDIR);
	assert_int_equal(open_file("/proc/sys", O_DIRECTORY | O_WRONLY), -EINVAL);
	assert_int_equal(open_file("/sys", O_DIRECTORY), -EACCES);
}

static int64_t ask_route(uint16_t type)
{
	const struct {
		struct nlmsghdr head;
		struct ifinfomsg info;
	} request = {{sizeof(request), type, NLM_F_REQUEST | NLM_F_DUMP, 5, 0}, {.ifi_family = AF_UNSPEC}};
	client_ask(&client, YGR_MSG_ROUTE_DUMP, &request, sizeof(request), YGR_MSG_FILE_DATA);
	return *(int64_t *)(void *)client.last;
}

/* The devices of this machine, the loopback among them, to the end; no changes, and nothing without "ids". */
static void test_route(void **state)
{
	(void)state;
	assert_int_equal(ask_route(RTM_GETLINK), -EACCES);
	assert_non_null(strstr(client.notice, "(ids)"));
	client_close(&client);
	assert_int_equal(client_open(&client, &guest, "tester", "\"ids\":true"), 0);
	int64_t n = ask_route(RTM_GETLINK);
	assert_in_range(n, 32, YGR_FILE_IO_MAX);
	assert_int_equal(client.frame.length, sizeof(struct ygr_status) + (size_t)n);
	const uint8_t *bytes = client.last + sizeof(struct ygr_status);
	struct nlmsghdr head = {0};
	bool loopback = false;
	for (size_t at = 0; at < (size_t)n; at += NLMSG_ALIGN((size_t)head.nlmsg_len)) {
		memcpy(&head, bytes + at, sizeof(head));
		assert_in_range(head.nlmsg_len, sizeof(head), (size_t)n - at);
		assert_int_equal(head.nlmsg_seq, 5);
		loopback |= head.nlmsg_type == RTM_NEWLINK && memmem(bytes + at, head.nlmsg_len, "lo", 3);
	}
	assert_true(loopback);
	assert_int_equal(head.nlmsg_type, NLMSG_DONE);
	assert_int_equal(ask_route(RTM_DELLINK), -EACCES);
	client_ask(&client, YGR_MSG_ROUTE_DUMP, "short", 5, YGR_MSG_FILE_DATA);
	assert_int_equal(*(int64_t *)(void *)client.last, -EINVAL);
}

static int group_setup(void **state)
{
	(void)state;
	guest_start(&guest, "sessions: {allow: {programTypes: [raw_tracepoint, xdp]}}\n");
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	guest_stop(&guest);
	return 0;
}

#define SESSION_TEST(name) cmocka_unit_test_setup_teardown(name, open_session, close_session)

int main(void)
{
	if (geteuid() != 0) {
		fprintf(stderr, "SKIPPED: needs root for bpf() and namespaces\n");
		return 77;
	}
	const struct CMUnitTest tests[] = {
	    SESSION_TEST(test_elements),     SESSION_TEST(test_ring_pages),
	    SESSION_TEST(test_ring_stream),  SESSION_TEST(test_ring_window),
	    SESSION_TEST(test_array),        SESSION_TEST(test_perf),
	    SESSION_TEST(test_read_objects), SESSION_TEST(test_refused_program),
	    SESSION_TEST(test_files),        SESSION_TEST(test_refused_files),
	    SESSION_TEST(test_named_files),  SESSION_TEST(test_route),
	};
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
