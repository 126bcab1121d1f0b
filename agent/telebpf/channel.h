/*
 * The session's end of the guest channel: frames out, frames in, requests matched with replies by id. One
 * thread, non-blocking, driven by the session's epoll loop. Whatever comes from the guest is bounded and
 * checked; a frame that breaks the protocol ends the channel.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/base/error.h"
#include "lib/wire/frame.h"

struct ygr_channel;

/* The reply to a request, or NULL when the channel ended first (answer your client with an error then). */
typedef void (*ygr_channel_reply)(void *user, const struct ygr_frame *reply);

struct ygr_channel_handlers {
	void (*message)(void *user, const struct ygr_frame *frame); /* unasked: RING_READY, RING_RECORDS */
	void (*lost)(void *user, const struct ygr_error *error);    /* once */
	void *user;
};

/* Takes ownership of FD (connected, handshake done). */
int ygr_channel_new(int fd, const struct ygr_channel_handlers *handlers, struct ygr_channel **ret);
struct ygr_channel *ygr_channel_free(struct ygr_channel *channel);

int ygr_channel_fd(const struct ygr_channel *channel);
/* EPOLLIN, with EPOLLOUT while there is something to write. */
uint32_t ygr_channel_events(const struct ygr_channel *channel);
/* Does what EVENTS allow; calls handlers and replies. */
void ygr_channel_dispatch(struct ygr_channel *channel, uint32_t events);

/*
 * Sends a request made of COUNT pieces (copied); REPLY is called exactly once. At most YGR_CHANNEL_PENDING
 * requests and YGR_CHANNEL_BACKLOG bytes wait: -EAGAIN beyond. -EPIPE after the channel was lost.
 */
int ygr_channel_request(struct ygr_channel *channel, uint16_t type, const struct iovec *pieces, int count,
			ygr_channel_reply reply, void *user);

/* Sends without waiting for an answer (id 0). */
int ygr_channel_post(struct ygr_channel *channel, uint16_t type, const struct iovec *pieces, int count);

#define YGR_CHANNEL_PENDING 256
#define YGR_CHANNEL_BACKLOG (64u << 20)
