#include "agent/telebpf/session/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_CHUNK  (64u << 10)
#define KEEP_BUFFER (1u << 20)

/* A frame on its way. The descriptor goes with the first byte. */
struct ygr_outgoing {
	struct ygr_outgoing *next;
	int fd;
	uint32_t length, sent;
	uint8_t bytes[];
};

struct ygr_process *ygr_process_new(int fd, unsigned index)
{
	struct ygr_process *process = calloc(1, sizeof(*process));

	if (!process)
		return NULL;
	process->fd = fd;
	process->index = index;
	process->in = YGR_BUF_INIT(YGR_FRAME_HEADER + YGR_FRAME_MAX + READ_CHUNK);
	process->out_tail = &process->out;
	return process;
}

static void drop_first(struct ygr_process *process)
{
	struct ygr_outgoing *first = process->out;

	process->out = first->next;
	if (!process->out)
		process->out_tail = &process->out;
	process->out_bytes -= first->length;
	if (first->fd >= 0)
		close(first->fd);
	free(first);
}

struct ygr_process *ygr_process_free(struct ygr_process *process)
{
	if (!process)
		return NULL;
	while (process->out)
		drop_first(process);
	for (unsigned i = 0; i < process->fd_count; i++)
		close(process->fds[i]);
	ygr_buf_deinit(&process->in);
	if (process->fd >= 0)
		close(process->fd);
	free(process);
	return NULL;
}

/* Keeps the descriptors of a message; more than a well-behaved shim sends at once are closed. */
static int keep_fds(struct ygr_process *process, struct msghdr *message)
{
	int r = message->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (process->fd_count < YGR_PROCESS_FDS) {
				process->fds[process->fd_count++] = fd;
				continue;
			}
			close(fd);
			r = -EPROTO;
		}
	}
	return r;
}

int ygr_process_read(struct ygr_process *process)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(YGR_PROCESS_FDS * sizeof(int))];
	} control;
	struct iovec iov = {.iov_len = READ_CHUNK};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control};
	ssize_t n;
	int r;

	message.msg_controllen = sizeof(control);
	r = ygr_buf_reserve(&process->in, READ_CHUNK);
	if (r < 0)
		return r;
	iov.iov_base = process->in.data + process->in.len;
	n = recvmsg(process->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? -EAGAIN : -EPIPE;
	r = keep_fds(process, &message);
	if (r < 0)
		return r;
	if (n == 0)
		return -EPIPE;
	process->in.len += (size_t)n;
	return 0;
}

int64_t ygr_process_next(struct ygr_process *process, struct ygr_frame *ret_frame)
{
	return ygr_frame_parse(process->in.data, process->in.len, YGR_FRAME_MAX, ret_frame);
}

void ygr_process_next_done(struct ygr_process *process, int64_t size)
{
	ygr_buf_consume(&process->in, (size_t)size);
	if (!process->in.len && process->in.cap > KEEP_BUFFER) {
		ygr_buf_deinit(&process->in);
		process->in = YGR_BUF_INIT(YGR_FRAME_HEADER + YGR_FRAME_MAX + READ_CHUNK);
	}
}

int ygr_process_take_fd(struct ygr_process *process)
{
	int fd;

	if (!process->fd_count)
		return -1;
	fd = process->fds[0];
	process->fd_count--;
	memmove(process->fds, process->fds + 1, process->fd_count * sizeof(fd));
	return fd;
}

bool ygr_process_may_ask(const struct ygr_process *process)
{
	return !process->closed && process->pending < YGR_PROCESS_PENDING &&
	       process->out_bytes < YGR_PROCESS_PAUSE;
}

uint64_t ygr_process_memory(const struct ygr_process *process)
{
	return process->in.cap + process->out_bytes;
}

int ygr_process_send(struct ygr_process *process, uint16_t type, uint32_t id, const void *payload,
		     uint32_t length, int fd)
{
	struct ygr_outgoing *frame;

	if (process->closed)
		return -EPIPE;
	if (length > YGR_FRAME_MAX || process->out_bytes + length > YGR_PROCESS_BACKLOG)
		return -EMSGSIZE;
	frame = malloc(sizeof(*frame) + YGR_FRAME_HEADER + length);
	if (!frame)
		return -ENOMEM;
	*frame = (struct ygr_outgoing){.fd = -1, .length = YGR_FRAME_HEADER + length};
	if (fd >= 0) {
		frame->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (frame->fd < 0) {
			free(frame);
			return -errno;
		}
	}
	ygr_frame_header(frame->bytes, type, id, length);
	if (length)
		memcpy(frame->bytes + YGR_FRAME_HEADER, payload, length);
	*process->out_tail = frame;
	process->out_tail = &frame->next;
	process->out_bytes += frame->length;
	return ygr_process_flush(process);
}

bool ygr_process_waiting(const struct ygr_process *process)
{
	return process->out != NULL;
}

static ssize_t send_some(const struct ygr_process *process, const struct ygr_outgoing *frame)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct iovec iov = {(void *)(frame->bytes + frame->sent), frame->length - frame->sent};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (frame->fd >= 0 && !frame->sent) {
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		memcpy(CMSG_DATA(&control.header), &frame->fd, sizeof(frame->fd));
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
	}
	return sendmsg(process->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int ygr_process_flush(struct ygr_process *process)
{
	while (process->out) {
		ssize_t n = send_some(process, process->out);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -EPIPE;
		process->out->sent += (uint32_t)n;
		if (process->out->sent == process->out->length)
			drop_first(process);
	}
	return 0;
}
