#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/telebpf/executable.h"
#include "agent/telebpf/local.h"
#include "lib/wire/call.h"
#include "lib/wire/frame.h"
#include "tests/agent/telebpf/shim/loopback.h"

#define PEERS_MAX   256
#define HANDLES_MAX 1024

struct loopback_handles {
	int fds[HANDLES_MAX]; /* by handle - 1; -1: free */
	int ready[HANDLES_MAX];
	bool holders[HANDLES_MAX][PEERS_MAX]; /* processes that have it */
	int peer;                             /* whose call is being served */
};

struct loopback {
	struct loopback_handles handles;
	int peers[PEERS_MAX]; /* -1: free */
	loopback_call_fn call;
	struct loopback_result *result;
	pthread_t thread;
};

int loopback_handle_fd(struct loopback_handles *handles, uint32_t handle)
{
	return handle > 0 && handle <= HANDLES_MAX ? handles->fds[handle - 1] : -1;
}

uint32_t loopback_handle_new(struct loopback_handles *handles, int fd)
{
	for (uint32_t i = 0; i < HANDLES_MAX; i++)
		if (handles->fds[i] < 0) {
			handles->fds[i] = fd;
			memset(handles->holders[i], 0, sizeof(handles->holders[i]));
			handles->holders[i][handles->peer] = true;
			return i + 1;
		}
	abort();
}

static void handle_close(struct loopback_handles *handles, uint32_t handle)
{
	if (loopback_handle_fd(handles, handle) < 0)
		return;
	close(handles->fds[handle - 1]);
	handles->fds[handle - 1] = -1;
	if (handles->ready[handle - 1] >= 0)
		close(handles->ready[handle - 1]);
	handles->ready[handle - 1] = -1;
}

/* One process less has HANDLE. */
static void handle_drop(struct loopback_handles *handles, uint32_t handle, int peer)
{
	if (loopback_handle_fd(handles, handle) < 0)
		return;
	handles->holders[handle - 1][peer] = false;
	for (int i = 0; i < PEERS_MAX; i++)
		if (handles->holders[handle - 1][i])
			return;
	handle_close(handles, handle);
}

static int send_frame(int peer, uint16_t type, uint32_t id, const void *payload, uint32_t length, int fd)
{
	char space[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = {0};
	uint8_t header[YGR_FRAME_HEADER];
	struct iovec iov = {header, sizeof(header)};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	const uint8_t *bytes = payload;

	ygr_frame_header(header, type, id, length);
	if (fd >= 0) {
		message.msg_control = space;
		message.msg_controllen = sizeof(space);
		struct cmsghdr *control = CMSG_FIRSTHDR(&message);
		control->cmsg_level = SOL_SOCKET;
		control->cmsg_type = SCM_RIGHTS;
		control->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(control), &fd, sizeof(fd));
	}
	if (sendmsg(peer, &message, MSG_NOSIGNAL) != sizeof(header))
		return -EPIPE;
	while (length > 0) {
		ssize_t sent = send(peer, bytes, length, MSG_NOSIGNAL);

		if (sent <= 0)
			return -EPIPE;
		bytes += sent;
		length -= (uint32_t)sent;
	}
	return 0;
}

static int receive_all(int peer, uint8_t *to, size_t len, int *ret_fd)
{
	while (len > 0) {
		char space[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
		struct iovec iov = {to, len};
		struct msghdr message = {
		    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};
		ssize_t got = recvmsg(peer, &message, MSG_CMSG_CLOEXEC);
		struct cmsghdr *control;

		if (got <= 0)
			return -EPIPE;
		control = CMSG_FIRSTHDR(&message);
		if (control && control->cmsg_type == SCM_RIGHTS)
			memcpy(ret_fd, CMSG_DATA(control), sizeof(int));
		to += got;
		len -= (size_t)got;
	}
	return 0;
}

static int done(int peer, uint32_t id, int64_t value, int fd)
{
	struct ygr_status status = {.value = value};

	return send_frame(peer, YGR_LOCAL_DONE, id, &status, sizeof(status), fd);
}

static int serve_hello(struct loopback *loopback, int peer, uint32_t id, const uint8_t *payload)
{
	struct ygr_local_welcome welcome = {.possible_cpus = (uint32_t)sysconf(_SC_NPROCESSORS_CONF)};
	struct ygr_local_hello hello;

	memcpy(&hello, payload, sizeof(hello));
	if (loopback->result->hellos++ == 0) {
		loopback->result->mechanism = hello.mechanism;
		loopback->result->entrance = hello.entrance;
	}
	welcome.version = 6u << 16 | 1u << 8 | 99;
	strcpy(welcome.uname.sysname, "Linux");
	strcpy(welcome.uname.nodename, "the-guest");
	strcpy(welcome.uname.release, "6.1.0-guest");
	strcpy(welcome.uname.version, "#1");
	strcpy(welcome.uname.machine, "x86_64");
	return send_frame(peer, YGR_LOCAL_WELCOME, id, &welcome, sizeof(welcome), -1);
}

static bool is_ring(int fd)
{
	struct bpf_map_info info = {0};
	char link[64], target[64] = "";
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, target, sizeof(target) - 1);
	if (len > 0 && strstr(target, "perf_event"))
		return true;
	union {
		uint8_t bytes[16];
		struct {
			uint32_t fd, len;
			uint64_t info;
		} fields;
	} attr = {.fields = {(uint32_t)fd, sizeof(info), (uint64_t)&info}};
	return syscall(321, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)) == 0 &&
	       info.type == BPF_MAP_TYPE_RINGBUF;
}

static int serve_map(struct loopback *loopback, int peer, uint32_t id, const uint8_t *payload)
{
	struct ygr_local_map map;
	struct ygr_local_mapped mapped = {0};
	int fd;

	memcpy(&map, payload, sizeof(map));
	fd = loopback_handle_fd(&loopback->handles, map.handle);
	if (fd < 0) {
		mapped.status = -ENODEV;
	} else {
		mapped.pieces = 1;
		mapped.piece[0].offset = map.offset;
		mapped.piece[0].length = map.length;
		mapped.piece[0].prot = map.prot;
		mapped.ring = is_ring(fd);
		mapped.sync = !mapped.ring;
	}
	return send_frame(peer, YGR_LOCAL_MAPPED, id, &mapped, sizeof(mapped), fd);
}

static int serve_call(struct loopback *loopback, int peer, const struct ygr_frame *frame,
		      const uint8_t *payload)
{
	struct ygr_reply refuse = {.result = -EPERM};
	uint8_t *reply = NULL;
	int64_t len;
	int r;

	loopback->result->calls++;
	if (!loopback->call)
		return send_frame(peer, YGR_MSG_REPLY, frame->id, &refuse, sizeof(refuse), -1);
	len = loopback->call(&loopback->handles, payload, frame->length, &reply);
	r = len < 0 ? (int)len : send_frame(peer, YGR_MSG_REPLY, frame->id, reply, (uint32_t)len, -1);
	free(reply);
	return r;
}

/* FILE_READ: fdinfo of any handle, and what read(2) gives. */
static int serve_read(struct loopback *loopback, int peer, uint32_t id, const uint8_t *payload)
{
	struct {
		struct ygr_status status;
		char bytes[4096];
	} reply = {0};
	struct ygr_file_io io;
	char path[64];
	int fd, info = -1;

	memcpy(&io, payload, sizeof(io));
	fd = loopback_handle_fd(&loopback->handles, io.handle);
	if (io.length > sizeof(reply.bytes))
		io.length = sizeof(reply.bytes);
	if (io.offset == YGR_FILE_FDINFO) {
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
		fd = info = open(path, O_RDONLY | O_CLOEXEC);
	}
	reply.status.value = read(fd, reply.bytes, io.length);
	if (reply.status.value < 0)
		reply.status.value = -errno;
	if (info >= 0)
		close(info);
	return send_frame(
	    peer, YGR_MSG_FILE_DATA, id, &reply,
	    (uint32_t)(sizeof(reply.status) + (size_t)(reply.status.value > 0 ? reply.status.value : 0)),
	    -1);
}

/* FILE_OPEN: the file of that name is this machine's. */
static int serve_open(struct loopback *loopback, int peer, uint32_t id, const uint8_t *payload)
{
	const char *path = (const char *)payload + sizeof(struct ygr_file_open);
	struct ygr_file_open ask;
	struct ygr_status status;
	int fd;

	memcpy(&ask, payload, sizeof(ask));
	fd = open(path, (int)ask.flags | O_CLOEXEC);
	status.value = fd < 0 ? -errno : (int64_t)loopback_handle_new(&loopback->handles, fd);
	return send_frame(peer, YGR_MSG_FILE_DATA, id, &status, sizeof(status), -1);
}

/* LOCAL_ROUTE: a socket of this machine that is told the port it has. */
static int serve_route(int peer, uint32_t id, const uint8_t *payload)
{
	struct sockaddr_nl own = {.nl_family = AF_NETLINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), r;

	memcpy(&own.nl_pid, payload, sizeof(own.nl_pid));
	r = bind(fd, (struct sockaddr *)&own, sizeof(own)) < 0 ? -errno : 0;
	r = done(peer, id, r, fd);
	close(fd);
	return r;
}

static int serve_fork(struct loopback *loopback, int parent, uint32_t id)
{
	int pair[2], r, child = 0;

	while (child < PEERS_MAX && loopback->peers[child] >= 0)
		child++;
	if (child == PEERS_MAX || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return done(loopback->peers[parent], id, -EAGAIN, -1);
	loopback->peers[child] = pair[0];
	for (int i = 0; i < HANDLES_MAX; i++)
		loopback->handles.holders[i][child] = loopback->handles.holders[i][parent];
	r = done(loopback->peers[parent], id, 0, pair[1]);
	close(pair[1]);
	return r;
}

/* One frame of a peer; negative ends it. */
static int serve(struct loopback *loopback, int index)
{
	int peer = loopback->peers[index];
	uint8_t header[YGR_FRAME_HEADER], *payload;
	struct ygr_handle_close closing;
	struct ygr_frame frame;
	int fd = -1, r = 0;

	if (receive_all(peer, header, sizeof(header), &fd) < 0)
		return -EPIPE;
	memcpy(&frame.type, header + 6, 2);
	memcpy(&frame.id, header + 8, 4);
	memcpy(&frame.length, header + 12, 4);
	if (memcmp(header, "YGR1", 4) != 0 || frame.length > YGR_FRAME_MAX)
		return -EPROTO;
	payload = calloc(1, frame.length + 16);
	if (!payload || receive_all(peer, payload, frame.length, &fd) < 0) {
		free(payload);
		return -EPIPE;
	}
	memcpy(&closing, payload, sizeof(closing)); /* all that name a handle name it first */
	switch (frame.type) {
	case YGR_LOCAL_HELLO:
		r = serve_hello(loopback, peer, frame.id, payload);
		break;
	case YGR_LOCAL_MAP:
		r = serve_map(loopback, peer, frame.id, payload);
		break;
	case YGR_LOCAL_READY_FD:
		if (loopback_handle_fd(&loopback->handles, closing.handle) >= 0) {
			loopback->handles.ready[closing.handle - 1] = fd;
			fd = -1;
		}
		r = done(peer, frame.id, 0, -1);
		break;
	case YGR_LOCAL_SYNC:
		loopback->result->syncs++;
		r = done(peer, frame.id, 0, -1);
		break;
	case YGR_LOCAL_FORK:
		r = serve_fork(loopback, index, frame.id);
		break;
	case YGR_LOCAL_IDLE:
		loopback->result->idles++;
		break;
	case YGR_LOCAL_UNMAP:
		break;
	case YGR_MSG_CALL:
		loopback->handles.peer = index;
		r = serve_call(loopback, peer, &frame, payload);
		break;
	case YGR_MSG_FILE_READ:
		r = serve_read(loopback, peer, frame.id, payload);
		break;
	case YGR_LOCAL_ROUTE:
		r = serve_route(peer, frame.id, payload);
		break;
	case YGR_MSG_FILE_OPEN:
		loopback->handles.peer = index;
		r = serve_open(loopback, peer, frame.id, payload);
		break;
	case YGR_MSG_HANDLE_CLOSE:
		loopback->result->closes++;
		handle_drop(&loopback->handles, closing.handle, index);
		break;
	default:
		r = -EPROTO;
	}
	if (fd >= 0)
		close(fd);
	free(payload);
	return r;
}

/* The level of each placeholder that was asked for: up when its ring has data. */
static void raise_ready(struct loopback_handles *handles)
{
	const uint64_t one = 1;

	for (int i = 0; i < HANDLES_MAX; i++) {
		struct pollfd raised = {handles->ready[i], POLLIN, 0}, ring = {handles->fds[i], POLLIN, 0};

		if (raised.fd >= 0 && poll(&ring, 1, 0) > 0 && poll(&raised, 1, 0) == 0)
			(void)!write(raised.fd, &one, sizeof(one));
	}
}

static void hang_up(struct loopback *loopback, int index)
{
	close(loopback->peers[index]);
	loopback->peers[index] = -1;
	for (uint32_t handle = 1; handle <= HANDLES_MAX; handle++) {
		if (!loopback->handles.holders[handle - 1][index])
			continue;
		loopback->result->left += index == 0;
		handle_drop(&loopback->handles, handle, index);
	}
}

/* Serves peers until all are gone. */
static void loop(struct loopback *loopback)
{
	static struct pollfd polled[PEERS_MAX];

	for (;;) {
		int alive = 0;

		for (int i = 0; i < PEERS_MAX; i++) {
			polled[i] = (struct pollfd){loopback->peers[i], POLLIN, 0};
			alive += polled[i].fd >= 0;
		}
		if (alive == 0)
			return;
		raise_ready(&loopback->handles);
		/* The rings' own wake-ups differ by kind; looking again soon serves both. */
		if (poll(polled, PEERS_MAX, 10) <= 0)
			continue;
		for (int i = 0; i < PEERS_MAX; i++)
			if (polled[i].fd >= 0 && polled[i].revents && serve(loopback, i) < 0)
				hang_up(loopback, i);
	}
}

static void *session(void *argument)
{
	loop(argument);
	return NULL;
}

static int64_t read_at(int fd, void *to, size_t length, uint64_t offset)
{
	return pread(fd, to, length, (off_t)offset);
}

/* As the confinement does it (confine/exec.c). */
static void become(const char *shim, char *const argv[], bool rewrite, int local, int out)
{
	struct rlimit files = {4096, 4096};
	char preload[4096];
	int program;

	setrlimit(RLIMIT_NOFILE, &files);
	snprintf(preload, sizeof(preload), "%s", shim);
	setenv("LD_PRELOAD", preload, 1);
	setenv("YAGURA_SHIM", "1", 1);
	if (!rewrite)
		setenv("YAGURA_SHIM_NO_REWRITE", "1", 1);
	dup2(out, 1);
	if (dup2(local, YGR_LOCAL_FD) < 0)
		_exit(126);
	program = open(argv[0], O_RDONLY | O_CLOEXEC);
	if (ygr_executable_kind(program, read_at) == YGR_EXECUTABLE_STATIC &&
	    dup2(program, YGR_LOCAL_LOAD_FD) >= 0) {
		setenv(YGR_LOCAL_LOAD_VARIABLE, YGR_LOCAL_LOAD_FD_TEXT, 1);
		execv(shim, argv);
	}
	execv(argv[0], argv);
	_exit(127);
}

struct loopback *loopback_start(int socket, loopback_call_fn call, struct loopback_result *result)
{
	struct loopback *loopback = calloc(1, sizeof(*loopback));

	if (!loopback)
		abort();
	memset(result, 0, sizeof(*result));
	memset(loopback->handles.fds, 0xff, sizeof(loopback->handles.fds));
	memset(loopback->handles.ready, 0xff, sizeof(loopback->handles.ready));
	memset(loopback->peers, 0xff, sizeof(loopback->peers));
	loopback->peers[0] = socket;
	loopback->call = call;
	loopback->result = result;
	if (pthread_create(&loopback->thread, NULL, session, loopback) != 0)
		abort();
	return loopback;
}

void loopback_join(struct loopback *loopback)
{
	pthread_join(loopback->thread, NULL);
	free(loopback);
}

int loopback_run(const char *shim, char *const argv[], bool rewrite, loopback_call_fn call,
		 struct loopback_result *ret)
{
	struct loopback *loopback;
	int pair[2], out[2];
	size_t len = 0;
	FILE *stream;
	char *text;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 || pipe2(out, O_CLOEXEC) < 0)
		return -errno;
	stream = open_memstream(&text, &len);
	pid = fork();
	if (pid < 0 || !stream)
		return -ENOMEM;
	if (pid == 0)
		become(shim, argv, rewrite, pair[1], out[1]);
	close(pair[1]);
	close(out[1]);
	loopback = loopback_start(pair[0], call, ret);
	for (char byte; read(out[0], &byte, 1) == 1;)
		fputc(byte, stream);
	fclose(stream);
	close(out[0]);
	waitpid(pid, &ret->status, 0);
	loopback_join(loopback);
	ret->output = text;
	return 0;
}
