/*
 * What the processes of the application ask, frame by frame. A process whose question cannot go on now (the
 * channel is full, its answers are not read) is held back with the frame in its buffer, and its socket
 * fills: the application waits, the session does not grow.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/telebpf/session/session.h"
#include "lib/base/cleanup.h"

#define FRAMES_ROUND 64 /* of one process before others have their turn */

static void update(struct ygr_local *local)
{
	struct ygr_process *process = local->process;
	uint32_t events = 0;

	if (process->closed)
		return;
	if (ygr_process_may_ask(process) && !process->held)
		events |= EPOLLIN;
	if (ygr_process_waiting(process))
		events |= EPOLLOUT;
	ygr_loop_modify(&local->session->loop, &local->watch, events);
}

static void close_local(struct ygr_local *local)
{
	if (local->process->closed)
		return;
	local->process->closed = true;
	ygr_loop_remove(&local->session->loop, &local->watch);
	ygr_mapping_forget_process(local->session, local->process->index);
}

/* What all processes together make the session hold is bounded, too: 0 or -ENOMEM. */
static int check_memory(const struct ygr_session *session)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < YGR_SESSION_PROCESSES; i++)
		if (session->locals[i])
			bytes += ygr_process_memory(session->locals[i]->process);
	return bytes > YGR_SESSION_FRAMES ? -ENOMEM : 0;
}

void ygr_local_answer(struct ygr_local *local, uint16_t type, uint32_t id, const void *payload,
		      uint32_t length, int fd)
{
	int r = ygr_process_send(local->process, type, id, payload, length, fd);

	if (r == 0 && local->process->out_bytes > YGR_PROCESS_PAUSE)
		r = check_memory(local->session);
	if (r == -EPIPE)
		close_local(local);
	else if (r < 0)
		ygr_session_fail(local->session, "OutOfMemory", "an answer to the application: %s",
				 strerror(-r));
	update(local);
}

void ygr_local_done(struct ygr_local *local, uint32_t id, int64_t value, int fd)
{
	const struct ygr_status status = {.value = value};

	ygr_local_answer(local, YGR_LOCAL_DONE, id, &status, sizeof(status), fd);
}

static int hello(struct ygr_local *local, const struct ygr_frame *frame)
{
	struct ygr_session *session = local->session;
	struct ygr_local_hello hello;
	struct ygr_local_welcome welcome = session->config.guest.local;

	if (frame->length != sizeof(hello))
		return -EPROTO;
	memcpy(&hello, frame->payload, sizeof(hello));
	session->greetings++;
	if (!session->greeted) {
		session->greeted = true;
		session->mechanism = hello.mechanism;
		session->entrance = hello.entrance;
	}
	welcome.trace = session->config.trace;
	ygr_local_answer(local, YGR_LOCAL_WELCOME, frame->id, &welcome, sizeof(welcome), -1);
	return 0;
}

/* An eventfd and nothing else: any other file could make the session wait when it is written to. */
static bool is_eventfd(int fd)
{
	char path[32], target[32];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target));
	return n == sizeof("anon_inode:[eventfd]") - 1 && !memcmp(target, "anon_inode:[eventfd]", (size_t)n);
}

static int ready_fd(struct ygr_local *local, const struct ygr_frame *frame)
{
	_cleanup_close_ int fd = ygr_process_take_fd(local->process);
	struct ygr_local_ready ready;
	struct ygr_entry *entry;
	int r = -EINVAL;

	if (fd < 0 || frame->length != sizeof(ready) || !is_eventfd(fd))
		return -EPROTO;
	memcpy(&ready, frame->payload, sizeof(ready));
	entry = ygr_objects_find(&local->session->objects, ready.handle);
	if (entry && entry->ring && entry->ready) {
		fcntl(fd, F_SETFL, O_NONBLOCK);
		r = ygr_ring_add_ready(entry->ring, fd);
		if (r == 0)
			ygr_steal_fd(&fd);
	}
	ygr_local_done(local, frame->id, r, -1);
	return 0;
}

static int fork_process(struct ygr_local *local, const struct ygr_frame *frame)
{
	struct ygr_local *child = NULL;
	int pair[2], r;

	if (frame->length)
		return -EPROTO;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		ygr_local_done(local, frame->id, -errno, -1);
		return 0;
	}
	r = ygr_local_add(local->session, pair[0], &child);
	if (r < 0)
		close(pair[0]);
	else
		ygr_mapping_inherit(local->session, local->process->index, child->process->index);
	ygr_local_done(local, frame->id, r, r < 0 ? -1 : pair[1]);
	close(pair[1]);
	return 0;
}

static int dispatch(struct ygr_local *local, const struct ygr_frame *frame)
{
	switch (frame->type) {
	case YGR_MSG_CALL:
		return ygr_forward_call(local, frame);
	case YGR_MSG_FILE_READ:
		return ygr_forward_read(local, frame);
	case YGR_MSG_FILE_OPEN:
		return ygr_forward_open(local, frame);
	case YGR_MSG_HANDLE_CLOSE:
		return ygr_mapping_close(local, frame);
	case YGR_LOCAL_HELLO:
		return hello(local, frame);
	case YGR_LOCAL_MAP:
		return ygr_mapping_map(local, frame);
	case YGR_LOCAL_UNMAP:
		return ygr_mapping_unmap(local, frame);
	case YGR_LOCAL_READY_FD:
		return ready_fd(local, frame);
	case YGR_LOCAL_SYNC:
		return ygr_sync_start(local, frame);
	case YGR_LOCAL_IDLE:
		/* Looked at once a round, however many of these small frames came. */
		local->session->idle = true;
		return frame->length ? -EPROTO : 0;
	case YGR_LOCAL_ROUTE:
		return ygr_route_open(local, frame);
	case YGR_LOCAL_FORK:
		return fork_process(local, frame);
	default:
		return -EPROTO;
	}
}

/* Handles the frames that are there: 0, -EAGAIN when one has to wait, or what ends the application. */
static int handle_frames(struct ygr_local *local)
{
	for (int i = 0; i < FRAMES_ROUND && ygr_process_may_ask(local->process); i++) {
		struct ygr_frame frame;
		int64_t size = ygr_process_next(local->process, &frame);
		int r;

		if (size < 0)
			return -EPROTO;
		if (size == 0)
			return 0;
		r = dispatch(local, &frame);
		local->process->held = r == -EAGAIN; /* until ygr_local_resume() */
		if (r < 0)
			return r;
		ygr_process_next_done(local->process, size);
	}
	local->session->again |= ygr_process_may_ask(local->process);
	return -EAGAIN;
}

static void end_application(struct ygr_local *local, int r)
{
	if (r == -ENOMEM || r == -EMSGSIZE)
		ygr_session_fail(local->session, "OutOfMemory",
				 "out of memory for the application's questions");
	else
		ygr_session_fail(local->session, "ProtocolError",
				 "the application sent something that its shim does not send (%s)",
				 strerror(-r));
	close_local(local);
}

/* Reads and handles; with LOOK only what was read before. */
static void work(struct ygr_local *local, bool look)
{
	int r = handle_frames(local), end = 0;

	while (r == 0 && !look && !local->process->closed) {
		end = ygr_process_read(local->process);
		if (end < 0)
			break;
		r = handle_frames(local);
		if (r == 0)
			r = check_memory(local->session);
	}
	if (r < 0 && r != -EAGAIN)
		end_application(local, r);
	else if (end == -EPIPE)
		close_local(local);
	else if (end < 0 && end != -EAGAIN)
		end_application(local, end);
	update(local);
	ygr_session_channel_changed(local->session);
}

static void ready(void *user, uint32_t events)
{
	struct ygr_local *local = user;

	if ((events & EPOLLOUT) && ygr_process_flush(local->process) < 0) {
		close_local(local);
		return;
	}
	if ((events & (EPOLLHUP | EPOLLERR)) && !(events & EPOLLIN) &&
	    (local->process->held || !ygr_process_may_ask(local->process))) {
		/* It is gone while its questions are under way; what it still has in the socket nobody
		 * awaits. */
		close_local(local);
		return;
	}
	work(local, false);
}

void ygr_local_resume(struct ygr_session *session)
{
	for (unsigned i = 0; i < YGR_SESSION_PROCESSES; i++) {
		struct ygr_local *local = session->locals[i];

		if (local && !local->process->closed && local->process->in.len)
			work(local, true);
		else if (local)
			update(local);
	}
}

int ygr_local_add(struct ygr_session *session, int fd, struct ygr_local **ret)
{
	_cleanup_free_ struct ygr_local *local = NULL;
	unsigned index = 0;
	int r;

	while (index < YGR_SESSION_PROCESSES && session->locals[index])
		index++;
	if (index == YGR_SESSION_PROCESSES)
		return -EAGAIN; /* as fork says when there are too many processes */
	local = calloc(1, sizeof(*local));
	if (!local)
		return -ENOMEM;
	local->session = session;
	local->process = ygr_process_new(fd, index);
	if (!local->process)
		return -ENOMEM;
	r = ygr_loop_add(&session->loop, &local->watch, fd, EPOLLIN, ready, local);
	if (r < 0) {
		local->process->fd = -1; /* stays the caller's */
		ygr_process_free(local->process);
		return r;
	}
	session->locals[index] = local;
	*ret = ygr_steal_ptr(&local);
	return 0;
}

static void free_local(struct ygr_session *session, unsigned index)
{
	struct ygr_local *local = session->locals[index];

	ygr_loop_remove(&session->loop, &local->watch);
	ygr_process_free(local->process);
	free(local);
	session->locals[index] = NULL;
}

void ygr_local_reap(struct ygr_session *session)
{
	for (unsigned i = 0; i < YGR_SESSION_PROCESSES; i++)
		if (session->locals[i] && session->locals[i]->process->closed &&
		    !session->locals[i]->process->pending)
			free_local(session, i);
}

void ygr_local_free_all(struct ygr_session *session)
{
	for (unsigned i = 0; i < YGR_SESSION_PROCESSES; i++)
		if (session->locals[i])
			free_local(session, i);
}
