/*
 * See channel.h. Requests wait in a fixed table; an id is the slot's index below a count of its uses, so
 * that a reply to a request of long ago is recognised as such. Sending tries the socket first and keeps only
 * what it did not take.
 */
#include "agent/telebpf/channel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "lib/base/buf.h"
#include "lib/base/cleanup.h"
#include "lib/wire/message.h"

#define READ_CHUNK  (256u << 10)
#define READ_ROUND  (4u << 20) /* of one dispatch, so that others of the loop have their turn */
#define KEEP_BUFFER (1u << 20) /* a larger buffer is given back when it is empty */
#define PIECES_MAX  8
#define SLOT_BITS   8

_Static_assert(YGR_CHANNEL_PENDING == 1 << SLOT_BITS, "an id has SLOT_BITS for the slot");

struct pending {
	uint32_t id; /* 0: free */
	uint32_t uses;
	ygr_channel_reply reply;
	void *user;
};

struct ygr_channel {
	int fd;
	struct ygr_channel_handlers handlers;
	struct ygr_buf in;
	struct ygr_buf out;
	size_t sent; /* of out */
	bool lost, reported;
	struct ygr_error error;
	struct pending pending[YGR_CHANNEL_PENDING];
};

int ygr_channel_new(int fd, const struct ygr_channel_handlers *handlers, struct ygr_channel **ret)
{
	struct ygr_channel *channel = calloc(1, sizeof(*channel));

	if (!channel)
		return -ENOMEM;
	channel->fd = fd;
	channel->handlers = *handlers;
	channel->in = YGR_BUF_INIT(YGR_FRAME_HEADER + YGR_FRAME_MAX + READ_CHUNK);
	channel->out = YGR_BUF_INIT(YGR_CHANNEL_BACKLOG + YGR_FRAME_HEADER + YGR_FRAME_MAX);
	*ret = channel;
	return 0;
}

/* Every request is answered exactly once, also when the answer is that there will be none. */
static void answer_all(struct ygr_channel *channel)
{
	for (unsigned i = 0; i < YGR_CHANNEL_PENDING; i++) {
		struct pending *pending = &channel->pending[i];

		if (!pending->id)
			continue;
		pending->id = 0;
		pending->reply(pending->user, NULL);
	}
}

struct ygr_channel *ygr_channel_free(struct ygr_channel *channel)
{
	if (!channel)
		return NULL;
	channel->lost = true;
	answer_all(channel);
	close(channel->fd);
	ygr_buf_deinit(&channel->in);
	ygr_buf_deinit(&channel->out);
	free(channel);
	return NULL;
}

int ygr_channel_fd(const struct ygr_channel *channel)
{
	return channel->fd;
}

uint32_t ygr_channel_events(const struct ygr_channel *channel)
{
	return EPOLLIN | (channel->sent < channel->out.len ? EPOLLOUT : 0u);
}

/* Notes the loss; the handlers hear of it from dispatch, never from inside a request of theirs. */
static int lose(struct ygr_channel *channel, int code, const char *what)
{
	if (!channel->lost) {
		ygr_error_set(&channel->error, code, "guest channel: %s", what);
		channel->lost = true;
		shutdown(channel->fd, SHUT_RDWR); /* makes the loop call dispatch */
	}
	return -EPIPE;
}

static int flush(struct ygr_channel *channel)
{
	while (channel->sent < channel->out.len) {
		ssize_t n = send(channel->fd, channel->out.data + channel->sent,
				 channel->out.len - channel->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0)
			return lose(channel, errno, strerror(errno));
		channel->sent += (size_t)n;
	}
	channel->out.len = channel->sent = 0;
	if (channel->out.cap > KEEP_BUFFER) {
		ygr_buf_deinit(&channel->out);
		channel->out = YGR_BUF_INIT(YGR_CHANNEL_BACKLOG + YGR_FRAME_HEADER + YGR_FRAME_MAX);
	}
	return 0;
}

static int append(struct ygr_channel *channel, const struct iovec *pieces, int count, size_t skip)
{
	for (int i = 0; i < count; i++) {
		size_t drop = skip < pieces[i].iov_len ? skip : pieces[i].iov_len;
		int r = ygr_buf_append(&channel->out, (const uint8_t *)pieces[i].iov_base + drop,
				       pieces[i].iov_len - drop);

		skip -= drop;
		if (r < 0)
			return lose(channel, ENOMEM, "out of memory");
	}
	return 0;
}

static int send_frame(struct ygr_channel *channel, uint16_t type, uint32_t id, const struct iovec *pieces,
		      int count)
{
	uint8_t header[YGR_FRAME_HEADER];
	struct iovec all[PIECES_MAX + 1] = {{header, sizeof(header)}};
	struct msghdr message = {.msg_iov = all, .msg_iovlen = (size_t)count + 1};
	uint64_t length = 0;
	ssize_t n = 0;

	if (channel->lost)
		return -EPIPE;
	if (count > PIECES_MAX)
		return -EINVAL;
	for (int i = 0; i < count; i++) {
		all[i + 1] = pieces[i];
		length += pieces[i].iov_len;
	}
	if (length > YGR_FRAME_MAX)
		return -EMSGSIZE;
	if (channel->out.len - channel->sent + length > YGR_CHANNEL_BACKLOG)
		return -EAGAIN;
	ygr_frame_header(header, type, id, (uint32_t)length);
	if (!channel->out.len) {
		do
			n = sendmsg(channel->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
		while (n < 0 && errno == EINTR);
		if (n < 0 && errno != EAGAIN)
			return lose(channel, errno, strerror(errno));
		if (n < 0)
			n = 0;
		if ((uint64_t)n == length + sizeof(header))
			return 0;
	} else if (channel->sent >= KEEP_BUFFER) {
		ygr_buf_consume(&channel->out, channel->sent);
		channel->sent = 0;
	}
	return append(channel, all, count + 1, (size_t)n);
}

int ygr_channel_request(struct ygr_channel *channel, uint16_t type, const struct iovec *pieces, int count,
			ygr_channel_reply reply, void *user)
{
	for (uint32_t i = 0; i < YGR_CHANNEL_PENDING; i++) {
		struct pending *pending = &channel->pending[i];
		uint32_t id;
		int r;

		if (pending->id)
			continue;
		pending->uses =
		    pending->uses % 0xfffffeu + 1; /* never 0, and never the id of a final refusal */
		id = pending->uses << SLOT_BITS | i;
		r = send_frame(channel, type, id, pieces, count);
		if (r < 0)
			return r;
		*pending = (struct pending){.id = id, .uses = pending->uses, .reply = reply, .user = user};
		return 0;
	}
	return channel->lost ? -EPIPE : -EAGAIN;
}

int ygr_channel_post(struct ygr_channel *channel, uint16_t type, const struct iovec *pieces, int count)
{
	return send_frame(channel, type, 0, pieces, count);
}

static void deliver(struct ygr_channel *channel, const struct ygr_frame *frame)
{
	struct pending *pending = &channel->pending[frame->id % YGR_CHANNEL_PENDING];

	if (frame->id == 0 || frame->type == YGR_MSG_REFUSED) {
		channel->handlers.message(channel->handlers.user, frame);
		return;
	}
	if (pending->id != frame->id) {
		lose(channel, EPROTO, "a reply to nothing that was asked");
		return;
	}
	pending->id = 0;
	pending->reply(pending->user, frame);
}

/* Hands on the whole frames of the buffer and keeps the rest. */
static void parse(struct ygr_channel *channel)
{
	size_t at = 0;

	while (!channel->lost) {
		struct ygr_frame frame;
		int64_t size =
		    ygr_frame_parse(channel->in.data + at, channel->in.len - at, YGR_FRAME_MAX, &frame);

		if (size < 0)
			lose(channel, EPROTO, "a frame that is none");
		if (size <= 0)
			break;
		deliver(channel, &frame);
		at += (size_t)size;
	}
	ygr_buf_consume(&channel->in, at);
	if (!channel->in.len && channel->in.cap > KEEP_BUFFER) {
		ygr_buf_deinit(&channel->in);
		channel->in = YGR_BUF_INIT(YGR_FRAME_HEADER + YGR_FRAME_MAX + READ_CHUNK);
	}
}

static void receive(struct ygr_channel *channel)
{
	for (size_t round = 0; round < READ_ROUND && !channel->lost;) {
		ssize_t n;

		if (ygr_buf_reserve(&channel->in, READ_CHUNK) < 0) {
			lose(channel, ENOMEM, "out of memory");
			return;
		}
		n = recv(channel->fd, channel->in.data + channel->in.len, READ_CHUNK, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			lose(channel, errno, strerror(errno));
		else if (n == 0)
			lose(channel, ECONNRESET, "the guest closed it");
		if (n <= 0)
			return;
		channel->in.len += (size_t)n;
		round += (size_t)n;
		parse(channel);
		if (n < (ssize_t)READ_CHUNK)
			return;
	}
}

void ygr_channel_dispatch(struct ygr_channel *channel, uint32_t events)
{
	if (!channel->lost && (events & EPOLLOUT))
		flush(channel);
	if (!channel->lost && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		receive(channel);
	if (!channel->lost || channel->reported)
		return;
	channel->reported = true;
	answer_all(channel);
	channel->handlers.lost(channel->handlers.user, &channel->error);
}
