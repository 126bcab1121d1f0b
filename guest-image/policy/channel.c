/*
 * See channel.h. Verdicts are sent as they come, as far as the peer takes them; the kernel's ring holds the rest.
 * What was sent stays in the ring until it is acknowledged, and is sent again on the next connection.
 */
#include "guest-image/policy/channel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "guest-image/guest/link.h"
#include "guest-image/policy/verdicts.h"
#include "lib/base/cleanup.h"
#include "lib/base/log.h"

#define CLOCK_MS 10000 /* the clock is set now and then, and names that led nowhere are looked up again */

struct channel {
	struct ygr_guest_link link;
	struct ygr_policies policies;
	struct ygr_verdicts verdicts;
	int epoll_fd, ring_fd;
};

static int answer(struct channel *channel, uint32_t id, int status, const char *message)
{
	struct ygr_status head = {.value = status};
	_cleanup_free_ char *text = ygr_policies_status(&channel->policies, message);
	if (!text)
		return -ENOMEM;
	struct iovec pieces[] = {{&head, sizeof(head)}, {text, strlen(text)}};
	return ygr_guest_link_send(&channel->link, YGR_MSG_POLICY_STATUS, id, pieces, 2);
}

/* The ring is there once the frames are. */
static int watch_ring(struct channel *channel)
{
	if (channel->ring_fd >= 0 || !channel->policies.open)
		return 0;
	struct epoll_event event = {.events = EPOLLIN | EPOLLET,
				    .data.fd = channel->policies.loader.verdicts};
	int r = ygr_verdicts_open(&channel->verdicts, channel->policies.loader.verdicts);
	if (r < 0)
		return r;
	channel->ring_fd = channel->policies.loader.verdicts;
	return epoll_ctl(channel->epoll_fd, EPOLL_CTL_ADD, channel->ring_fd, &event) < 0 ? -errno : 0;
}

static int load(struct channel *channel, const struct ygr_frame *frame)
{
	struct ygr_policy_load head;
	struct ygr_error error = YGR_ERROR_INIT;
	if (frame->length < sizeof(head))
		return -EPROTO;
	memcpy(&head, frame->payload, sizeof(head));
	if (head.length != frame->length - sizeof(head) || head.reserved)
		return -EPROTO;
	int r = ygr_policies_load(&channel->policies, &head, frame->payload + sizeof(head), &error);
	int sent = answer(channel, frame->id, r, error.message);
	return sent < 0 ? sent : watch_ring(channel);
}

static int take(struct channel *channel, const struct ygr_frame *frame)
{
	struct ygr_violation_ack ack;
	switch (frame->type) {
	case YGR_MSG_POLICY_LOAD:
		return load(channel, frame);
	case YGR_MSG_POLICY_ASK:
		return frame->length ? -EPROTO : answer(channel, frame->id, 0, "");
	case YGR_MSG_VIOLATION_ACK:
		if (frame->length != sizeof(ack))
			return -EPROTO;
		memcpy(&ack, frame->payload, sizeof(ack));
		if (channel->ring_fd >= 0)
			ygr_verdicts_release(&channel->verdicts, ack.position);
		return 0;
	default:
		return -EPROTO;
	}
}

static int send_one(struct channel *channel, const struct ygr_frame_context *record, uint64_t position)
{
	struct ygr_violation violation;
	ygr_policies_violation(&channel->policies, record, position, &violation);
	struct iovec piece = {&violation, sizeof(violation)};
	return ygr_guest_link_send(&channel->link, YGR_MSG_VIOLATION, 0, &piece, 1);
}

/* All that is there, as far as the peer takes it; where it does not, the loop waits for room. */
static int send_verdicts(struct channel *channel)
{
	struct ygr_frame_context record;
	uint64_t position;
	int r = 0;
	while (r == 0) {
		bool more = channel->ring_fd >= 0;
		while (r == 0 && more && ygr_guest_link_backlog(&channel->link) < YGR_GUEST_BACKLOG) {
			more = ygr_verdicts_next(&channel->verdicts, &record, &position);
			if (more)
				r = send_one(channel, &record, position);
		}
		if (r == 0)
			r = ygr_guest_link_flush(&channel->link);
		if (!more || ygr_guest_link_backlog(&channel->link) >= YGR_GUEST_BACKLOG)
			break;
	}
	return r;
}

static void refresh(struct channel *channel)
{
	struct ygr_error error = YGR_ERROR_INIT;
	if (ygr_policies_refresh(&channel->policies, &error) < 0)
		ygr_log(YGR_LOG_ERROR, "guest", "names are not looked up again: %s", error.message);
}

static int loop(struct channel *channel)
{
	uint32_t interest = 0;
	for (;;) {
		struct ygr_frame frame;
		int r;
		while ((r = ygr_guest_link_next(&channel->link, &frame)) > 0) {
			r = take(channel, &frame);
			if (r < 0)
				return r;
		}
		if (r == 0)
			r = send_verdicts(channel);
		if (r < 0)
			return r;
		uint32_t wanted = EPOLLIN | (ygr_guest_link_backlog(&channel->link) ? EPOLLOUT : 0);
		struct epoll_event event = {.events = wanted, .data.fd = channel->link.fd}, happened[2];
		if (wanted != interest &&
		    epoll_ctl(channel->epoll_fd, interest ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, channel->link.fd,
			      &event) < 0)
			return -errno;
		interest = wanted;
		int n = epoll_wait(channel->epoll_fd, happened, 2, CLOCK_MS);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0 && channel->policies.open) {
			ygr_generation_set_clock(&channel->policies.loader);
			refresh(channel);
		}
		for (int i = 0; i < n; i++)
			if (happened[i].data.fd == channel->link.fd &&
			    happened[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) &&
			    (r = ygr_guest_link_fill(&channel->link)) < 0)
				return r;
	}
}

static void say_why(struct channel *channel, const struct ygr_error *error)
{
	struct ygr_refused head = {.code = (uint32_t)error->code};
	struct iovec pieces[] = {{&head, sizeof(head)},
				 {(void *)(uintptr_t)error->message, strlen(error->message)}};
	(void)ygr_guest_link_send(&channel->link, YGR_MSG_REFUSED, YGR_REFUSED_FINAL, pieces, 2);
	(void)ygr_guest_link_flush(&channel->link);
}

int ygr_policy_channel_run(int fd, const struct ygr_policies_setup *setup, struct ygr_error *error)
{
	struct channel channel = {.ring_fd = -1, .epoll_fd = -1};
	int r = ygr_guest_link_init(&channel.link, fd);
	if (r < 0)
		return ygr_error_set(error, -r, "a policy connection: %s", strerror(-r));
	r = ygr_policies_open(&channel.policies, setup, error);
	if (r == 0) {
		channel.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
		r = channel.epoll_fd < 0 ? -errno : watch_ring(&channel);
	}
	if (r == 0) {
		refresh(&channel);
		r = loop(&channel);
	}
	bool gone = r == -ECONNRESET || r == -EPIPE;
	if (!gone && error->code == 0)
		ygr_error_set(error, -r, "a policy connection has ended: %s", strerror(-r));
	if (!gone)
		say_why(&channel, error);
	ygr_verdicts_close(&channel.verdicts);
	ygr_policies_close(&channel.policies);
	ygr_guest_link_deinit(&channel.link);
	ygr_closep(&channel.epoll_fd);
	return gone ? 0 : r;
}
