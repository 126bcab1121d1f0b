#include "agent/telebpf/session/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

int ygr_loop_init(struct ygr_loop *loop)
{
	*loop = (struct ygr_loop){.epoll = epoll_create1(EPOLL_CLOEXEC)};
	return loop->epoll < 0 ? -errno : 0;
}

void ygr_loop_deinit(struct ygr_loop *loop)
{
	if (loop->epoll >= 0)
		close(loop->epoll);
	loop->epoll = -1;
}

int ygr_loop_add(struct ygr_loop *loop, struct ygr_watch *watch, int fd, uint32_t events,
		 void (*ready)(void *user, uint32_t events), void *user)
{
	struct epoll_event event = {.events = events, .data.ptr = watch};

	*watch = (struct ygr_watch){.fd = fd, .events = events, .ready = ready, .user = user};
	if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
		watch->fd = -1;
		return -errno;
	}
	return 0;
}

int ygr_loop_modify(struct ygr_loop *loop, struct ygr_watch *watch, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = watch};

	if (watch->fd < 0 || watch->events == events)
		return 0;
	watch->events = events;
	return epoll_ctl(loop->epoll, EPOLL_CTL_MOD, watch->fd, &event) < 0 ? -errno : 0;
}

void ygr_loop_remove(struct ygr_loop *loop, struct ygr_watch *watch)
{
	if (watch->fd < 0)
		return;
	epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
	watch->fd = -1;
	for (int i = 0; i < loop->count; i++)
		if (loop->batch[i] == watch)
			loop->batch[i] = NULL;
}

int ygr_loop_round(struct ygr_loop *loop, int64_t timeout_ns)
{
	const struct timespec timeout = {.tv_sec = timeout_ns / 1000000000,
					 .tv_nsec = timeout_ns % 1000000000};
	struct epoll_event events[YGR_LOOP_BATCH];
	int n = epoll_pwait2(loop->epoll, events, YGR_LOOP_BATCH, timeout_ns < 0 ? NULL : &timeout, NULL);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	loop->count = n;
	for (int i = 0; i < n; i++)
		loop->batch[i] = events[i].data.ptr;
	for (int i = 0; i < n; i++)
		if (loop->batch[i])
			loop->batch[i]->ready(loop->batch[i]->user, events[i].events);
	loop->count = 0;
	return n;
}
