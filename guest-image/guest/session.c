/* The session's loop; see session.h. */
#include "guest-image/guest/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "guest-image/guest/ask.h"
#include "guest-image/guest/cpus.h"
#include "guest-image/guest/welcome.h"
#include "lib/base/log.h"

#define EVENTS_AT_ONCE 32
/* Perf wake-ups may wait for a watermark; so waiting rings are looked at this often in any case. */
#define FALLBACK_MS   100
#define LAST_WORDS_MS 200

int ygr_guest_session_init(struct ygr_guest_session *session, int fd, int server_fd,
			   const struct ygr_guest_config *config, const uint8_t root[32])
{
	*session = (struct ygr_guest_session){
	    .server_fd = server_fd, .config = config, .root = root, .epoll_fd = -1, .timer_fd = -1};
	ygr_guest_vm_text(session->vm);
	ygr_guest_handles_init(&session->handles, config->handles, ygr_guest_cpus_possible());
	ygr_guest_names_init(&session->names, &session->handles);

	int r = ygr_guest_link_init(&session->link, fd);
	if (r < 0)
		return r;
	session->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	session->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN, .data.fd = session->timer_fd};
	if (session->epoll_fd < 0 || session->timer_fd < 0 ||
	    epoll_ctl(session->epoll_fd, EPOLL_CTL_ADD, session->timer_fd, &event) < 0)
		return -errno;
	return 0;
}

void ygr_guest_session_deinit(struct ygr_guest_session *session)
{
	ygr_guest_rings_deinit(session);
	ygr_guest_regions_deinit(session);
	ygr_guest_names_deinit(&session->names);
	ygr_guest_handles_deinit(&session->handles);
	ygr_guest_link_deinit(&session->link);
	session->grant = ygr_grant_free(session->grant);
	if (session->timer_fd >= 0)
		close(session->timer_fd);
	if (session->epoll_fd >= 0)
		close(session->epoll_fd);
}

static int refuse(struct ygr_guest_session *session, uint32_t id, const struct ygr_error *error)
{
	struct ygr_refused head = {.code = (uint32_t)error->code};
	struct iovec pieces[] = {{&head, sizeof(head)},
				 {(void *)(uintptr_t)error->message, strlen(error->message)}};
	return ygr_guest_link_send(&session->link, YGR_MSG_REFUSED, id, pieces, 2);
}

int ygr_guest_session_notice(struct ygr_guest_session *session, const struct ygr_error *error)
{
	return refuse(session, YGR_REFUSED_NOTICE, error);
}

int ygr_guest_session_status(struct ygr_guest_session *session, uint16_t type, uint32_t id, int64_t value,
			     const void *bytes, size_t len)
{
	struct ygr_status status = {.value = value};
	struct iovec pieces[] = {{&status, sizeof(status)}, {(void *)(uintptr_t)bytes, len}};
	return ygr_guest_link_send(&session->link, type, id, pieces, 2);
}

int ygr_guest_session_keep(struct ygr_guest_session *session, uint32_t handle, int fd, uint64_t length)
{
	struct ygr_ask ask = {.what = YGR_ASK_KEEP, .handle = handle, .number = length};
	memcpy(ask.id, session->id, sizeof(ask.id));
	return ygr_ask(session->server_fd, &ask, fd);
}

void ygr_guest_session_forget(struct ygr_guest_session *session, uint32_t handle)
{
	struct ygr_ask ask = {.what = YGR_ASK_FORGET, .handle = handle};
	memcpy(ask.id, session->id, sizeof(ask.id));
	(void)ygr_ask(session->server_fd, &ask, -1); /* without a server this process ends anyway */
}

static int close_handle(struct ygr_guest_session *session, const struct ygr_frame *frame,
			struct ygr_error *error)
{
	struct ygr_handle_close closing;
	if (frame->length != sizeof(closing))
		return ygr_error_set(error, EPROTO, "HANDLE_CLOSE of %u bytes", frame->length);
	memcpy(&closing, frame->payload, sizeof(closing));
	(void)ygr_guest_handles_close(&session->handles,
				      closing.handle); /* posted: nobody asks how it went */
	return 0;
}

static int ping(struct ygr_guest_session *session, const struct ygr_frame *frame, struct ygr_error *error)
{
	struct ygr_pong pong = ygr_guest_clocks();
	struct iovec piece = {&pong, sizeof(pong)};
	if (frame->length)
		return ygr_error_set(error, EPROTO, "PING of %u bytes", frame->length);
	return ygr_guest_link_send(&session->link, YGR_MSG_PONG, frame->id, &piece, 1);
}

int ygr_guest_session_frame(struct ygr_guest_session *session, const struct ygr_frame *frame,
			    struct ygr_error *error)
{
	if (!session->open && frame->type != YGR_MSG_OPEN)
		return ygr_error_set(error, EPROTO, "message %u before OPEN", frame->type);
	switch (frame->type) {
	case YGR_MSG_OPEN:
		return ygr_guest_open(session, frame, error);
	case YGR_MSG_PING:
		return ping(session, frame, error);
	case YGR_MSG_CALL:
		return ygr_guest_call(session, frame, error);
	case YGR_MSG_HANDLE_CLOSE:
		return close_handle(session, frame, error);
	case YGR_MSG_RING_OPEN:
	case YGR_MSG_RING_ARM:
	case YGR_MSG_RING_CONSUMED:
	case YGR_MSG_RING_CLOSE:
		return ygr_guest_rings(session, frame, error);
	case YGR_MSG_MEM_OPEN:
	case YGR_MSG_MEM_READ:
	case YGR_MSG_MEM_WRITE:
		return ygr_guest_memory(session, frame, error);
	case YGR_MSG_FILE_STAT:
	case YGR_MSG_FILE_LIST:
	case YGR_MSG_FILE_LINK:
	case YGR_MSG_FILE_OPEN:
	case YGR_MSG_FILE_READ:
	case YGR_MSG_FILE_WRITE:
		return ygr_guest_files(session, frame, error);
	case YGR_MSG_ROUTE_DUMP:
		return ygr_guest_route(session, frame);
	default:
		return ygr_error_set(error, EPROTO, "message %u on a session", frame->type);
	}
}

static bool congested(const struct ygr_guest_session *session)
{
	return ygr_guest_link_backlog(&session->link) >= YGR_GUEST_BACKLOG;
}

/* Handles the frames that are here, but no more once the peer does not take its answers: *ret_held then. */
static int handle_input(struct ygr_guest_session *session, bool *ret_held, struct ygr_error *error)
{
	struct ygr_frame frame;
	int r = 0;
	while (!(*ret_held = congested(session)) && (r = ygr_guest_link_next(&session->link, &frame)) > 0) {
		bool opening = !session->open;
		r = ygr_guest_session_frame(session, &frame, error);
		if (r < 0) {
			if (error->code == 0)
				ygr_error_set(error, -r, "message %u: %s", frame.type, strerror(-r));
			(void)refuse(session, opening ? frame.id : YGR_REFUSED_FINAL, error);
			return r;
		}
		r = ygr_guest_link_flush(&session->link);
		if (r < 0)
			return r;
	}
	if (r < 0) {
		ygr_error_set(error, -r, "what the peer says is no frame: %s", strerror(-r));
		(void)refuse(session, YGR_REFUSED_FINAL, error);
	}
	return r;
}

/* What the loop waits for next: requests only while answers are taken, the timer only while rings wait. */
static int prepare(struct ygr_guest_session *session, uint32_t *interest, bool *ticking)
{
	uint32_t want =
	    (congested(session) ? 0 : EPOLLIN) | (ygr_guest_link_backlog(&session->link) ? EPOLLOUT : 0);
	struct epoll_event event = {.events = want, .data.fd = session->link.fd};
	if (want != *interest &&
	    epoll_ctl(session->epoll_fd, *interest == UINT32_MAX ? EPOLL_CTL_ADD : EPOLL_CTL_MOD,
		      session->link.fd, &event) < 0)
		return -errno;
	*interest = want;

	bool tick = ygr_guest_rings_waiting(session);
	if (tick != *ticking) {
		struct timespec each = {.tv_nsec = tick ? FALLBACK_MS * 1000000l : 0};
		struct itimerspec timer = {.it_interval = each, .it_value = each};
		if (timerfd_settime(session->timer_fd, 0, &timer, NULL) < 0)
			return -errno;
		*ticking = tick;
	}
	return 0;
}

static int step(struct ygr_guest_session *session, const struct epoll_event *event)
{
	uint64_t expirations;
	if (event->data.fd == session->timer_fd) {
		ssize_t n = read(session->timer_fd, &expirations, sizeof(expirations));
		(void)n; /* rings are looked at after every step */
		return 0;
	}
	if (event->data.fd == session->link.fd && (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return ygr_guest_link_fill(&session->link);
	return 0; /* a ring, or room to write */
}

static int loop(struct ygr_guest_session *session, struct ygr_error *error)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	uint32_t interest = UINT32_MAX;
	bool ticking = false, held;

	for (;;) {
		int r = handle_input(session, &held, error);
		if (r == 0)
			r = ygr_guest_rings_service(session);
		if (r == 0)
			r = ygr_guest_link_flush(&session->link);
		if (r == 0 && held && !congested(session))
			continue; /* frames wait that no event would announce */
		if (r == 0)
			r = prepare(session, &interest, &ticking);
		if (r < 0)
			return r;
		int n = epoll_wait(session->epoll_fd, events, EVENTS_AT_ONCE, -1);
		if (n < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < n; i++) {
			r = step(session, &events[i]);
			if (r < 0)
				return r;
		}
	}
}

/* A reason that was queued goes out if the peer takes it soon. */
static void say_last_words(struct ygr_guest_session *session)
{
	for (int waited = 0; waited < LAST_WORDS_MS; waited += 10) {
		if (ygr_guest_link_flush(&session->link) < 0 || ygr_guest_link_backlog(&session->link) == 0)
			return;
		usleep(10000);
	}
}

int ygr_guest_session_run(int fd, int server_fd, const struct ygr_guest_config *config,
			  const uint8_t root[32], struct ygr_error *error)
{
	struct ygr_guest_session *session = malloc(sizeof(*session));
	if (!session)
		return ygr_error_set(error, ENOMEM, "out of memory");

	int r = ygr_guest_session_init(session, fd, server_fd, config, root);
	if (r == 0)
		r = loop(session, error);
	bool gone = r == -ECONNRESET || r == -EPIPE;
	if (!gone)
		say_last_words(session);
	if (!gone && error->code == 0)
		ygr_error_set(error, -r, "the session has ended: %s", strerror(-r));
	ygr_guest_session_deinit(session);
	free(session);
	return gone ? 0 : r;
}
