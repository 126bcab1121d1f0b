/*
 * A real mount of the guest's files in a private mount namespace, over a real channel whose far end is a
 * guest with a script: honest for some paths, lying for others. A child process uses the files as a tool
 * would while this process serves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "agent/telebpf/confine/confine.h"
#include "agent/telebpf/guestfs/names.h"
#include "agent/telebpf/guestfs/node.h"
#include "agent/telebpf/guestfs/guestfs.h"
#include "lib/base/buf.h"
#include "lib/base/cleanup.h"
#include "lib/wire/grant.h"
#include "lib/wire/message.h"

#define BTF_BYTES 20000
#define ENDLESS   (YGR_GUESTFS_NAMES_MAX + 10)

static const char grant_text[] = "{\"program\":\"test\",\"files\":{\"read\":[\"/sys/kernel/btf/*\",\"/proc/"
				 "kallsyms\",\"/proc/17/fd/*\",\"/sys/kernel/tracing/**\"],"
				 "\"write\":[\"/sys/kernel/tracing/kprobe_events\"]}}";

struct world {
	struct ygr_grant *grant;
	struct ygr_channel *channel;
	struct ygr_guestfs *fs;
	int peer; /* the guest's end */
	struct ygr_buf in;
	char handles[8][64];
	unsigned opened, closed, asked;
	char written[128];
	bool lost;
};

static void put(struct world *world, uint16_t type, uint32_t id, const void *head, size_t head_len,
		const void *data, size_t len)
{
	uint8_t header[YGR_FRAME_HEADER];
	struct iovec pieces[3] = {
	    {header, sizeof(header)}, {(void *)(uintptr_t)head, head_len}, {(void *)(uintptr_t)data, len}};
	struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 3};

	ygr_frame_header(header, type, id, (uint32_t)(head_len + len));
	assert_int_equal(sendmsg(world->peer, &message, MSG_NOSIGNAL), sizeof(header) + head_len + len);
}

static void put_status(struct world *world, uint16_t type, uint32_t id, int64_t value, const void *data,
		       size_t len)
{
	struct ygr_status status = {value};

	put(world, type, id, &status, sizeof(status), data, len);
}

static bool ends(const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');

	return slash && strcmp(slash + 1, name) == 0;
}

static void guest_stat(struct world *world, uint32_t id, const char *path)
{
	struct ygr_file_attr attr = {.mode = S_IFREG | 04777};

	if (strcmp(path, "/sys/kernel/tracing") == 0 || strcmp(path, "/sys/kernel/btf") == 0 ||
	    ends(path, "events") || ends(path, "endless") || ends(path, "unended"))
		attr.mode = S_IFDIR | 0755;
	else if (ends(path, "vmlinux"))
		attr.size = BTF_BYTES;
	else if (ends(path, "huge"))
		attr.size = UINT64_MAX;
	else if (ends(path, "device"))
		attr.mode = S_IFCHR | 0666;
	else if (ends(path, "link") || ends(path, "evil") || ends(path, "root"))
		attr.mode = S_IFLNK | 0777;
	else if (ends(path, "absent"))
		attr.status = -ENOENT;
	else if (ends(path, "nonsense"))
		attr.status = 77;
	put(world, YGR_MSG_FILE_ATTR, id, &attr, sizeof(attr), NULL, 0);
}

static void guest_list(struct world *world, uint32_t id, const char *path)
{
	static const uint8_t names[] = "\x08kprobe_events\0\x04"
				       "events\0\x08"
				       "a/b\0\x08..\0\x08\0\x08"
				       "bad\nname\0"
				       "\x02"
				       "device\0\x0a"
				       "link";
	_cleanup_free_ uint8_t *many = NULL;

	if (strcmp(path, "/") == 0 || strcmp(path, "/sys/kernel") == 0) {
		put_status(world, YGR_MSG_FILE_NAMES, id, -ENOENT, NULL, 0); /* as the owner may have it */
	} else if (strcmp(path, "/proc") == 0) {
		put_status(world, YGR_MSG_FILE_NAMES, id, 0,
			   "\x04"
			   "17\0\x08kallsyms\0\x08version",
			   23);
	} else if (ends(path, "unended")) {
		put_status(world, YGR_MSG_FILE_NAMES, id, 0, "\x08name", 5);
	} else if (ends(path, "endless")) {
		many = malloc(ENDLESS * 8);
		for (unsigned i = 0; i < ENDLESS; i++) {
			char name[9];

			snprintf(name, sizeof(name), "\x08%06x", i);
			memcpy(many + i * 8, name, 8);
		}
		put_status(world, YGR_MSG_FILE_NAMES, id, 0, many, ENDLESS * 8);
	} else {
		put_status(world, YGR_MSG_FILE_NAMES, id, 0, names, sizeof(names));
	}
}

static void guest_read(struct world *world, uint32_t id, const struct ygr_file_io *io)
{
	const char *path = io->handle >= 1 && io->handle <= 8 ? world->handles[io->handle - 1] : "";
	_cleanup_free_ uint8_t *data = malloc(io->length + 64);
	size_t len = 0;

	if (ends(path, "vmlinux"))
		for (; len < io->length && io->offset + len < BTF_BYTES; len++)
			data[len] = (uint8_t)((io->offset + len) * 7);
	else if (ends(path, "kallsyms") && io->offset == 0)
		len = (size_t)sprintf((char *)data, "ffffffff81000000 T _stext\n");
	else if (ends(path, "trace_pipe")) {
		if (io->offset != UINT64_MAX) {
			put_status(world, YGR_MSG_FILE_DATA, id, -ESPIPE, NULL, 0);
			return;
		}
		len = (size_t)sprintf((char *)data, "line\n");
	} else if (ends(path, "liar")) {
		memset(data, 'x', io->length + 64);
		put_status(world, YGR_MSG_FILE_DATA, id, io->length + 64, data, io->length + 64);
		return;
	} else if (ends(path, "miscount")) {
		put_status(world, YGR_MSG_FILE_DATA, id, 100, "abc", 3);
		return;
	} else if (ends(path, "die")) {
		shutdown(world->peer, SHUT_RDWR);
		return;
	}
	put_status(world, YGR_MSG_FILE_DATA, id, (int64_t)len, data, len);
}

static void guest_answer(struct world *world, const struct ygr_frame *frame)
{
	struct ygr_file_io io;

	world->asked++;
	switch (frame->type) {
	case YGR_MSG_FILE_STAT:
		guest_stat(world, frame->id, (const char *)frame->payload);
		break;
	case YGR_MSG_FILE_LIST:
		guest_list(world, frame->id, (const char *)frame->payload);
		break;
	case YGR_MSG_FILE_LINK:
		if (ends((const char *)frame->payload, "evil"))
			put_status(world, YGR_MSG_FILE_DATA, frame->id, 11, "/etc/shadow", 11);
		else if (ends((const char *)frame->payload, "root"))
			put_status(world, YGR_MSG_FILE_DATA, frame->id, 1, "/", 1);
		else
			put_status(world, YGR_MSG_FILE_DATA, frame->id, 6, "events", 6);
		break;
	case YGR_MSG_FILE_OPEN:
		snprintf(world->handles[world->opened % 8], 64, "%s",
			 (const char *)frame->payload + sizeof(struct ygr_file_open));
		put_status(world, YGR_MSG_FILE_DATA, frame->id, world->opened++ % 8 + 1, NULL, 0);
		break;
	case YGR_MSG_FILE_READ:
		memcpy(&io, frame->payload, sizeof(io));
		guest_read(world, frame->id, &io);
		break;
	case YGR_MSG_FILE_WRITE:
		memcpy(&io, frame->payload, sizeof(io));
		snprintf(world->written, sizeof(world->written), "%.*s", (int)io.length,
			 (const char *)frame->payload + sizeof(io));
		put_status(world, YGR_MSG_FILE_DATA, frame->id, io.length, NULL, 0);
		break;
	case YGR_MSG_HANDLE_CLOSE:
		world->closed++;
		break;
	default:
		fail_msg("message %u", frame->type);
	}
}

static void guest_serve(struct world *world)
{
	struct ygr_frame frame;
	uint8_t chunk[65536];
	ssize_t n = recv(world->peer, chunk, sizeof(chunk), MSG_DONTWAIT);
	int64_t size;

	if (n <= 0)
		return;
	assert_int_equal(ygr_buf_append(&world->in, chunk, (size_t)n), 0);
	while ((size = ygr_frame_parse(world->in.data, world->in.len, YGR_FRAME_MAX, &frame)) > 0) {
		guest_answer(world, &frame);
		ygr_buf_consume(&world->in, (size_t)size);
	}
}

static void on_message(void *user, const struct ygr_frame *frame)
{
	(void)user;
	fail_msg("unasked message %u", frame->type);
}

static void on_lost(void *user, const struct ygr_error *error)
{
	struct world *world = user;

	(void)error;
	world->lost = true;
}

static void world_init(struct world *world)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_channel_handlers handlers = {on_message, on_lost, world};
	json_t *json = json_loads(grant_text, 0, NULL);
	int pair[2];

	*world = (struct world){.in = YGR_BUF_INIT(1 << 20)};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
	setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &(int){1 << 20}, sizeof(int));
	world->peer = pair[1];
	world->grant = ygr_grant_new_json(json, false, &error);
	json_decref(json);
	if (!world->grant)
		fail_msg("%s", error.message);
	assert_int_equal(ygr_channel_new(pair[0], &handlers, &world->channel), 0);
	if (ygr_guestfs_new(world->channel, world->grant, &world->fs, &error) < 0)
		fail_msg("%s", error.message);
}

static void world_deinit(struct world *world)
{
	ygr_guestfs_free(world->fs);
	ygr_channel_free(world->channel);
	ygr_grant_free(world->grant);
	ygr_buf_deinit(&world->in);
	close(world->peer);
}

static void serve(struct world *world)
{
	uint32_t events = world->lost ? 0 : ygr_channel_events(world->channel);
	struct pollfd fds[3] = {{.fd = ygr_guestfs_fd(world->fs), .events = POLLIN},
				{.fd = world->lost ? -1 : ygr_channel_fd(world->channel),
				 .events = (short)(POLLIN | (events & EPOLLOUT ? POLLOUT : 0))},
				{.fd = world->peer, .events = POLLIN}};

	if (world->lost)
		fds[2].fd = -1;
	poll(fds, 3, 5);
	ygr_guestfs_dispatch(world->fs);
	if (!world->lost && fds[1].revents)
		ygr_channel_dispatch(world->channel, (uint32_t)fds[1].revents);
	if (fds[2].revents)
		guest_serve(world);
}

/* Runs USE in a child that has the file system mounted, at its working directory, and serves it meanwhile.
 */
static int with_mount(struct world *world, int (*use)(void))
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		char data[128];

		snprintf(data, sizeof(data), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other",
			 ygr_guestfs_fd(world->fs));
		alarm(30);
		if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		    mount("yagura", "/mnt", "fuse.yagura", MS_NOSUID | MS_NODEV, data) < 0 ||
		    chdir("/mnt") < 0)
			_exit(200);
		close(ygr_guestfs_fd(world->fs));
		_exit(use());
	}
	while (waitpid(pid, &status, WNOHANG) == 0)
		serve(world);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

#define CHECK(condition)                                                                                    \
	do {                                                                                                \
		if (!(condition)) {                                                                         \
			fprintf(stderr, "line %d: %s: %m\n", __LINE__, #condition);                         \
			return 1;                                                                           \
		}                                                                                           \
	} while (0)

static ssize_t slurp(const char *path, uint8_t *out, size_t room)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return -1;
	while (len < room && (n = read(fd, out + len, room - len)) != 0) {
		if (n < 0)
			return -1;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

static int use_reading(void)
{
	static uint8_t data[65536];
	struct stat st;
	uint8_t *map;
	int fd;

	CHECK(slurp("sys/kernel/btf/vmlinux", data, sizeof(data)) == BTF_BYTES);
	for (unsigned i = 0; i < BTF_BYTES; i++)
		CHECK(data[i] == (uint8_t)(i * 7));
	CHECK(stat("sys/kernel/btf/vmlinux", &st) == 0 && st.st_size == BTF_BYTES);
	CHECK(st.st_mode == (S_IFREG | 0444) && st.st_uid == 0);
	fd = open("sys/kernel/btf/vmlinux", O_RDONLY);
	map = mmap(NULL, BTF_BYTES, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(map != MAP_FAILED && memcmp(map, data, BTF_BYTES) == 0);
	munmap(map, BTF_BYTES);
	close(fd);
	CHECK(slurp("proc/kallsyms", data, sizeof(data)) == 26);
	fd = open("sys/kernel/tracing/trace_pipe", O_RDONLY);
	CHECK(fd >= 0 && read(fd, data, 100) == 5 && memcmp(data, "line\n", 5) == 0);
	close(fd);
	CHECK(slurp("sys/kernel/tracing/trace_pipe", data, 10) == 10);
	usleep(200000); /* the kernel tells of a close later, and not at all once it is unmounted */
	return 0;
}

static void test_reading(void **state)
{
	struct world world;

	(void)state;
	world_init(&world);
	assert_int_equal(with_mount(&world, use_reading), 0);
	assert_int_equal(world.opened, 5);
	assert_int_equal(world.closed, 5);
	world_deinit(&world);
}

static int names_in(const char *path, char *out, size_t room)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int count = 0;

	out[0] = '\0';
	if (!dir)
		return -errno;
	errno = 0;
	while ((entry = readdir(dir))) {
		count++;
		if (strlen(out) + strlen(entry->d_name) + 2 < room)
			strcat(strcat(out, entry->d_name), " ");
	}
	closedir(dir);
	return errno ? -errno : count;
}

static int use_listing(void)
{
	char names[4096];

	CHECK(names_in(".", names, sizeof(names)) == 2 && strcmp(names, "sys proc ") == 0);
	CHECK(names_in("sys/kernel", names, sizeof(names)) == 2 && strcmp(names, "btf tracing ") == 0);
	CHECK(names_in("proc", names, sizeof(names)) == 2 && strcmp(names, "17 kallsyms ") == 0);
	CHECK(names_in("sys/kernel/tracing", names, sizeof(names)) == 3);
	CHECK(strcmp(names, "kprobe_events events link ") == 0);
	CHECK(names_in("sys/kernel/tracing/link", names, sizeof(names)) == 3);
	CHECK(names_in("sys/kernel/tracing/endless", names, sizeof(names)) == -EOVERFLOW);
	CHECK(names_in("sys/kernel/tracing/unended", names, sizeof(names)) == -EIO);
	return 0;
}

static void test_listing(void **state)
{
	struct world world;

	(void)state;
	world_init(&world);
	assert_int_equal(with_mount(&world, use_listing), 0);
	world_deinit(&world);
}

static int use_refused(void)
{
	struct stat st;

	CHECK(open("etc/shadow", O_RDONLY) < 0 && errno == ENOENT);
	CHECK(open("proc/1/environ", O_RDONLY) < 0 && errno == ENOENT);
	CHECK(stat("root", &st) < 0 && errno == ENOENT);
	CHECK(stat("sys/kernel/debug", &st) < 0 && errno == ENOENT);
	CHECK(open("sys/kernel/btf/vmlinux", O_RDWR) < 0 && errno == EACCES);
	CHECK(open("sys/kernel/tracing/new", O_CREAT | O_WRONLY, 0600) < 0);
	CHECK(mkdir("sys/kernel/tracing/dir", 0700) < 0);
	CHECK(unlink("sys/kernel/tracing/kprobe_events") < 0);
	return 0;
}

static void test_refused_without_asking(void **state)
{
	struct world world;
	unsigned i;

	(void)state;
	world_init(&world);
	assert_int_equal(with_mount(&world, use_refused), 0);
	/* Nothing was opened; what lies outside the grant was not even mentioned to the guest. */
	assert_int_equal(world.opened, 0);
	for (i = 0; i < 8; i++)
		assert_int_equal(world.handles[i][0], 0);
	world_deinit(&world);
}

static int use_lies(void)
{
	uint8_t data[4096];
	char target[64];
	struct stat st;

	CHECK(stat("sys/kernel/tracing/huge", &st) == 0 && st.st_size == 256 << 20);
	CHECK(stat("sys/kernel/tracing/plain", &st) == 0 && (st.st_mode & 07000) == 0);
	CHECK(stat("sys/kernel/tracing/device", &st) < 0 && errno == ENOENT);
	CHECK(stat("sys/kernel/tracing/nonsense", &st) < 0 && errno == EIO);
	CHECK(stat("sys/kernel/tracing/absent", &st) < 0 && errno == ENOENT);
	CHECK(slurp("sys/kernel/tracing/liar", data, sizeof(data)) < 0 && errno == EIO);
	CHECK(slurp("sys/kernel/tracing/miscount", data, sizeof(data)) < 0 && errno == EIO);
	CHECK(readlink("sys/kernel/tracing/root", target, sizeof(target)) == 8);
	CHECK(memcmp(target, "/.guest/", 8) == 0);
	CHECK(readlink("sys/kernel/tracing/evil", target, sizeof(target)) < 0 && errno == EACCES);
	CHECK(slurp("sys/kernel/tracing/evil", data, sizeof(data)) < 0 && errno == EACCES);
	return 0;
}

static void test_lies(void **state)
{
	struct world world;

	(void)state;
	world_init(&world);
	assert_int_equal(with_mount(&world, use_lies), 0);
	world_deinit(&world);
}

static int use_writing(void)
{
	int fd = open("sys/kernel/tracing/kprobe_events", O_WRONLY | O_TRUNC);

	CHECK(fd >= 0 && write(fd, "p:x do_exit\n", 12) == 12);
	CHECK(close(fd) == 0);
	return 0;
}

static void test_writing(void **state)
{
	struct world world;

	(void)state;
	world_init(&world);
	assert_int_equal(with_mount(&world, use_writing), 0);
	assert_string_equal(world.written, "p:x do_exit\n");
	world_deinit(&world);
}

static int use_dying(void)
{
	uint8_t data[16];

	CHECK(slurp("sys/kernel/tracing/die", data, sizeof(data)) < 0 && errno == EIO);
	CHECK(slurp("proc/kallsyms", data, sizeof(data)) < 0 && errno == EIO);
	return 0;
}

static void test_dying_channel(void **state)
{
	struct world world;

	(void)state;
	world_init(&world);
	assert_int_equal(with_mount(&world, use_dying), 0);
	assert_true(world.lost);
	world_deinit(&world);
}

/* Runs the probe with ARGV in a confinement, and serves it from its first mount to its end. */
static size_t run_confined(struct world *world, char *const *argv, uint8_t *out, size_t room,
			   int *ret_status)
{
	struct ygr_error error = YGR_ERROR_INIT;
	char *env[] = {NULL};
	char cgroup[64];
	struct ygr_confine_options options = {.executable = CONFINE_PROBE,
					      .argv = argv,
					      .envp = env,
					      .uid = 900124,
					      .gid = 900124,
					      .stderr_fd = 2,
					      .local_fd = -1,
					      .fuse_fd = ygr_guestfs_fd(world->fs),
					      .cgroup = cgroup,
					      .hostname = "web-3"};
	struct ygr_confined *confined;
	size_t len = 0;
	int pipe_fds[2];
	ssize_t n;

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	snprintf(cgroup, sizeof(cgroup), "yagura-test/guestfs-%d", getpid());
	options.stdout_fd = pipe_fds[1];
	if (ygr_confine_start(&options, &confined, &error) < 0)
		fail_msg("%s", error.message);
	close(pipe_fds[1]);
	for (time_t until = time(NULL) + 120;;) {
		assert_true(time(NULL) < until);
		serve(world);
		n = read(pipe_fds[0], out + len, room - len);
		len += n > 0 ? (size_t)n : 0;
		if (n == 0 &&
		    poll(&(struct pollfd){.fd = ygr_confine_pidfd(confined), .events = POLLIN}, 1, 0) == 1)
			break;
	}
	if (ygr_confine_outcome(confined, &error) < 0)
		fail_msg("%s", error.message);
	assert_int_equal(ygr_confine_wait(confined, ret_status), 0);
	close(pipe_fds[0]);
	ygr_confine_free(confined);
	return len;
}

/* The whole: an application in its confinement reads the guest's files where it expects them. */
static void test_in_confinement(void **state)
{
	static uint8_t out[65536];
	char *btf[] = {(char *)"probe", (char *)"cat", (char *)"/sys/kernel/btf/vmlinux", NULL};
	char *symbols[] = {(char *)"probe", (char *)"cat", (char *)"/proc/kallsyms", NULL};
	char *old_place[] = {(char *)"probe", (char *)"cat", (char *)"/sys/kernel/debug/tracing/liar", NULL};
	struct world world;
	int status;

	(void)state;
	world_init(&world);
	assert_int_equal(run_confined(&world, btf, out, sizeof(out), &status), BTF_BYTES);
	assert_int_equal(status, 0);
	for (unsigned i = 0; i < BTF_BYTES; i++)
		assert_int_equal(out[i], (uint8_t)(i * 7));
	world_deinit(&world);

	world_init(&world);
	assert_int_equal(run_confined(&world, symbols, out, sizeof(out), &status), 26);
	assert_memory_equal(out, "ffffffff81000000 T _stext\n", 26);
	world_deinit(&world);

	world_init(&world);
	assert_int_equal(run_confined(&world, old_place, out, sizeof(out), &status), 0);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	assert_int_equal(world.opened, 1);
	world_deinit(&world);
}

static void test_nodes(void **state)
{
	struct ygr_guestfs_nodes nodes;
	uint64_t first, count = 1;
	char path[64];

	(void)state;
	assert_int_equal(ygr_guestfs_nodes_init(&nodes), 0);
	first = ygr_guestfs_nodes_get(&nodes, "/a");
	assert_int_equal(ygr_guestfs_nodes_get(&nodes, "/a"), first);
	ygr_guestfs_nodes_forget(&nodes, first, 1);
	assert_string_equal(ygr_guestfs_nodes_path(&nodes, first), "/a");
	ygr_guestfs_nodes_forget(&nodes, first, UINT64_MAX);
	assert_null(ygr_guestfs_nodes_path(&nodes, first));
	ygr_guestfs_nodes_forget(&nodes, first, 1);
	ygr_guestfs_nodes_forget(&nodes, 1, 1000);
	ygr_guestfs_nodes_forget(&nodes, UINT64_MAX, 1);
	assert_string_equal(ygr_guestfs_nodes_path(&nodes, 1), "/");
	for (;; count++) {
		snprintf(path, sizeof(path), "/n%lu", (unsigned long)count);
		if (!ygr_guestfs_nodes_get(&nodes, path))
			break;
	}
	assert_int_equal(count, YGR_GUESTFS_NODES_MAX - 1);
	ygr_guestfs_nodes_forget(&nodes, 77, 1);
	assert_int_equal(ygr_guestfs_nodes_get(&nodes, "/again"), 77);
	ygr_guestfs_nodes_deinit(&nodes);
}

int main(void)
{
	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) < 0) {
		printf("SKIPPED: needs root and /dev/fuse\n");
		return 77;
	}
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_nodes),         cmocka_unit_test(test_reading),
	    cmocka_unit_test(test_listing),       cmocka_unit_test(test_refused_without_asking),
	    cmocka_unit_test(test_lies),          cmocka_unit_test(test_writing),
	    cmocka_unit_test(test_dying_channel), cmocka_unit_test(test_in_confinement),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
