/* bpf(2) by hand: maps, batches, a program and its test run, from several processes and threads. */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <linux/rtnetlink.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define MUST(condition)                                                                                     \
	do {                                                                                                \
		if (!(condition)) {                                                                         \
			fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);   \
			exit(1);                                                                            \
		}                                                                                           \
	} while (0)

static int bpf(int cmd, union bpf_attr *attr, unsigned size)
{
	return (int)syscall(SYS_bpf, cmd, attr, size);
}

static int map_new(int type, unsigned key, unsigned value, unsigned entries, unsigned flags)
{
	union bpf_attr attr = {.map_type = type,
			       .key_size = key,
			       .value_size = value,
			       .max_entries = entries,
			       .map_flags = flags};

	return bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
}

static int map_do(int cmd, int map, const void *key, void *value)
{
	union bpf_attr attr = {.map_fd = map, .key = (uintptr_t)key, .value = (uintptr_t)value};

	return bpf(cmd, &attr, sizeof(attr));
}

static void elements(int map)
{
	uint32_t key = 7, next;
	uint64_t value = 49, seen = 0;

	MUST(map_do(BPF_MAP_LOOKUP_ELEM, map, &key, &seen) == -1 && errno == ENOENT);
	MUST(map_do(BPF_MAP_UPDATE_ELEM, map, &key, &value) == 0);
	MUST(map_do(BPF_MAP_LOOKUP_ELEM, map, &key, &seen) == 0 && seen == 49);
	MUST(map_do(BPF_MAP_GET_NEXT_KEY, map, NULL, &next) == 0 && next == 7);
	MUST(map_do(BPF_MAP_LOOKUP_ELEM, map, &key, (void *)16) == -1 && errno == EFAULT);
	MUST(map_do(BPF_MAP_LOOKUP_ELEM, map, (void *)16, &seen) == -1 && errno == EFAULT);
	MUST(map_do(BPF_MAP_DELETE_ELEM, map, &key, NULL) == 0);
}

/* More than the shim's own buffer holds. */
static void batches(int map)
{
	enum { COUNT = 20000 };
	uint32_t *keys = calloc(COUNT, 4), batch = 0;
	uint64_t *values = calloc(COUNT, 8), sum = 0;
	union bpf_attr attr = {
	    .batch = {.keys = (uintptr_t)keys, .values = (uintptr_t)values, .count = COUNT}};

	attr.batch.map_fd = (uint32_t)map;
	for (uint32_t i = 0; i < COUNT; i++) {
		keys[i] = i;
		values[i] = 3 * i;
	}
	MUST(bpf(BPF_MAP_UPDATE_BATCH, &attr, sizeof(attr)) == 0 && attr.batch.count == COUNT);
	memset(values, 0, COUNT * 8);
	attr.batch.out_batch = (uintptr_t)&batch;
	attr.batch.count = COUNT;
	MUST(bpf(BPF_MAP_LOOKUP_BATCH, &attr, sizeof(attr)) == 0 || errno == ENOENT);
	MUST(attr.batch.count == COUNT);
	for (uint32_t i = 0; i < COUNT; i++)
		sum += values[i];
	MUST(sum == 3ull * COUNT * (COUNT - 1) / 2);
	free(keys);
	free(values);
}

static int program(void)
{
	static const struct bpf_insn insns[] = {
	    {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 42},
	    {.code = BPF_JMP | BPF_EXIT},
	};
	static char log[4096];
	union bpf_attr attr = {
	    .prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
	    .insns = (uintptr_t)insns,
	    .insn_cnt = 2,
	    .license = (uintptr_t) "GPL",
	    .log_buf = (uintptr_t)log,
	    .log_size = sizeof(log),
	    .log_level = 1,
	};
	int prog = bpf(BPF_PROG_LOAD, &attr, sizeof(attr));

	MUST(prog >= 0);
	MUST(strstr(log, "processed"));
	MUST(fcntl(prog, F_GETFD) == FD_CLOEXEC);
	return prog;
}

static void test_run(int prog)
{
	char data[64] = {0}, out[64];
	union bpf_attr attr = {.test = {
				   .prog_fd = (uint32_t)prog,
				   .data_in = (uintptr_t)data,
				   .data_size_in = sizeof(data),
				   .data_out = (uintptr_t)out,
				   .data_size_out = sizeof(out),
			       }};

	MUST(bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr)) == 0);
	MUST(attr.test.retval == 42 && attr.test.data_size_out == sizeof(data));
}

/* dup, dup3 over something else, fcntl: the number changes, the map stays. */
static int moved(int map)
{
	int place = memfd_create("placeholder", MFD_CLOEXEC), copy;

	MUST(place >= 0 && dup3(map, place, O_CLOEXEC) == place);
	MUST(close(map) == 0);
	copy = fcntl(place, F_DUPFD_CLOEXEC, 100);
	MUST(copy >= 100);
	MUST(close(place) == 0);
	MUST(map_do(BPF_MAP_DELETE_ELEM, place, &(uint32_t){1}, NULL) == -1 && errno == EBADF);
	place = dup(copy);
	MUST(dup2(1, copy) == copy && close(copy) == 0);
	MUST(dup2(place, place) == place);
	return place;
}

static void mapped(void)
{
	int map = map_new(BPF_MAP_TYPE_ARRAY, 4, 8, 512, BPF_F_MMAPABLE);
	uint32_t key = 5;
	uint64_t *view, seen, value = 77;

	MUST(map >= 0);
	view = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
	MUST(view != MAP_FAILED);
	view[5] = 1234;
	MUST(map_do(BPF_MAP_LOOKUP_ELEM, map, &key, &seen) == 0 && seen == 1234);
	MUST(map_do(BPF_MAP_UPDATE_ELEM, map, &key, &value) == 0);
	MUST(usleep(1000) == 0 && view[5] == 77);
	MUST(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, map, 0) == MAP_FAILED);
	MUST(mremap(view, 4096, 8192, MREMAP_MAYMOVE) == MAP_FAILED);
	MUST(close(map) == 0);
	MUST(view[5] == 77); /* as in the kernel, the mapping keeps it */
	MUST(munmap(view, 4096) == 0);
}

/* What the kernel says of the map beside its information, by each name that the descriptor has. */
static void fdinfo(int map)
{
	char path[3][64], text[4096];
	ssize_t n;

	snprintf(path[0], sizeof(path[0]), "/proc/self/fdinfo/%d", map);
	snprintf(path[1], sizeof(path[1]), "/proc/thread-self/fdinfo/%d", map);
	snprintf(path[2], sizeof(path[2]), "/proc/%d/fdinfo/%d", getpid(), map);
	for (int i = 0; i < 3; i++) {
		FILE *stream = fopen(path[i], "re");
		size_t length = stream ? fread(text, 1, sizeof(text) - 1, stream) : 0;

		MUST(length > 0 && fclose(stream) == 0);
		text[length] = '\0';
		MUST(strstr(text, "memlock:") && strstr(text, "value_size:\t8\n"));
	}
	snprintf(path[0], sizeof(path[0]), "/proc/self/fd/%d", map);
	n = readlink(path[0], text, sizeof(text));
	MUST(n == 18 && memcmp(text, "anon_inode:bpf-map", 18) == 0);
	MUST(readlink(path[0], text, 5) == 5 && readlink("/proc/self/fd/0", text, sizeof(text)) > 0);
	/* Of others it is the node's own. */
	MUST(access("/proc/self/fdinfo/1", R_OK) == 0 && open("/proc/self/fdinfo/4000", O_RDONLY) == -1);
}

/* How bpftool finds out whether there is the command: by asking for a descriptor that is no perf event. */
static void ask_itself(void)
{
	union bpf_attr attr = {.task_fd_query = {.pid = (uint32_t)getpid(), .fd = 1}};

	MUST(bpf(BPF_TASK_FD_QUERY, &attr, sizeof(attr)) == -1 && errno == 524);
	attr.task_fd_query.fd = 999;
	MUST(bpf(BPF_TASK_FD_QUERY, &attr, sizeof(attr)) == -1 && errno == EBADF);
}

/* A network namespace that the program opened itself, and a file that is nothing of the guest. */
static void named_files(void)
{
	uint32_t ids[4];
	union bpf_attr attr = {
	    .query = {.attach_type = BPF_FLOW_DISSECTOR, .prog_ids = (uintptr_t)ids, .prog_cnt = 4}};
	int netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), copy = dup(netns);

	MUST(netns >= 0 && copy >= 0);
	attr.query.target_fd = (uint32_t)netns;
	MUST(bpf(BPF_PROG_QUERY, &attr, sizeof(attr)) == 0 && attr.query.prog_cnt == 0);
	attr.query.target_fd = (uint32_t)copy;
	attr.query.prog_cnt = 4;
	MUST(bpf(BPF_PROG_QUERY, &attr, sizeof(attr)) == 0);
	MUST(close(netns) == 0 && close(copy) == 0);
	attr.query.target_fd = (uint32_t)open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	attr.query.attach_type = BPF_CGROUP_DEVICE;
	MUST(bpf(BPF_PROG_QUERY, &attr, sizeof(attr)) == -1 && errno == EBADF);
	MUST(close((int)attr.query.target_fd) == 0);
}

/* The devices of the guest, as libbpf and libnl ask for them. */
static void devices(void)
{
	const struct {
		struct nlmsghdr head;
		struct ifinfomsg info;
	} request = {{sizeof(request), RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 7, 0},
		     {.ifi_family = AF_PACKET}};
	static char bytes[65536];
	struct sockaddr_nl own = {.nl_family = AF_NETLINK}, from = {0};
	struct iovec piece = {bytes, sizeof(bytes)};
	struct msghdr message = {
	    .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &piece, .msg_iovlen = 1};
	socklen_t length = sizeof(own);
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), on = 1;
	ssize_t n;

	MUST(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
	MUST(setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on)) == 0);
	MUST(bind(fd, (struct sockaddr *)&own, sizeof(own)) == 0);
	MUST(getsockname(fd, (struct sockaddr *)&own, &length) == 0 && length == sizeof(own));
	MUST(own.nl_family == AF_NETLINK && own.nl_pid == (uint32_t)getpid());
	MUST(sendto(fd, &request, sizeof(request), 0, (struct sockaddr *)&from, sizeof(from)) ==
	     sizeof(request));
	n = recvmsg(fd, &message, MSG_PEEK | MSG_TRUNC);
	MUST(n > 0 && message.msg_namelen == sizeof(from) && from.nl_family == AF_NETLINK && !from.nl_pid);
	MUST(recv(fd, bytes, sizeof(bytes), 0) == n && memmem(bytes, (size_t)n, "lo", 3));
	MUST(((struct nlmsghdr *)(void *)bytes)->nlmsg_seq == 7);
	MUST(((struct nlmsghdr *)(void *)bytes)->nlmsg_pid == own.nl_pid);
	MUST(close(fd) == 0);
	MUST(bpf(BPF_PROG_QUERY, &(union bpf_attr){.query.target_fd = (uint32_t)fd}, 64) == -1 &&
	     errno == EBADF);
}

static void counter(void)
{
	struct perf_event_attr attr = {
	    .type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_CPU_CLOCK};
	int event = (int)syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	uint64_t first = 0, second = 0;

	MUST(event >= 0);
	MUST(read(event, &first, sizeof(first)) == sizeof(first));
	usleep(2000);
	MUST(read(event, &second, sizeof(second)) == sizeof(second));
	MUST(second > first);
	MUST(read(event, &first, 4) == -1 && errno == ENOSPC);
	MUST(close(event) == 0);
}

static volatile int alarms;

static void on_alarm(int signal_number)
{
	alarms += signal_number == SIGALRM;
}

static void *worker(void *argument)
{
	int map = *(int *)argument;

	for (uint32_t i = 0; i < 200; i++) {
		uint64_t value = i, seen = 0;
		uint32_t key = 100000 + (uint32_t)syscall(SYS_gettid);

		MUST(map_do(BPF_MAP_UPDATE_ELEM, map, &key, &value) == 0);
		MUST(map_do(BPF_MAP_LOOKUP_ELEM, map, &key, &seen) == 0 && seen == i);
	}
	return NULL;
}

/* Many at once, while signals fly. */
static void crowd(int map)
{
	struct itimerval every = {{0, 1000}, {0, 1000}}, never = {0};
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	pthread_t threads[4];
	int status;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	for (int i = 0; i < 4; i++)
		MUST(pthread_create(&threads[i], NULL, worker, &map) == 0);
	for (int i = 0; i < 3; i++)
		if (fork() == 0) {
			worker(&map);
			close(map); /* the parent's is not closed by this */
			_exit(0);
		}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	while (wait(&status) > 0)
		MUST(status == 0);
	setitimer(ITIMER_REAL, &never, NULL);
}

int main(void)
{
	union bpf_attr nothing = {0};
	int map, prog;

	MUST(bpf(BPF_MAP_CREATE, &nothing, sizeof(nothing)) == -1 && errno == EINVAL);
	MUST(bpf(9999, &nothing, sizeof(nothing)) == -1 && errno == EINVAL);
	MUST(bpf(BPF_MAP_CREATE, (void *)16, sizeof(nothing)) == -1 && errno == EFAULT);
	MUST(map_do(BPF_MAP_LOOKUP_ELEM, -1, &nothing, &nothing) == -1 && errno == EBADF);
	map = map_new(BPF_MAP_TYPE_HASH, 4, 8, 1 << 17, 0);
	MUST(map >= 0);
	elements(map);
	batches(map);
	map = moved(map);
	batches(map);
	prog = program();
	test_run(prog);
	mapped();
	fdinfo(map);
	counter();
	ask_itself();
	named_files();
	devices();
	crowd(map);
	MUST(syscall(SYS_close_range, 3, ~0u, 0) == 0);
	MUST(map_do(BPF_MAP_LOOKUP_ELEM, map, &nothing, &nothing) == -1 && errno == EBADF);
	puts("raw ok");
	return 0;
}
