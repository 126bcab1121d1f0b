/*
 * Whole frames over a stream socket, blocking until a deadline; see transport.h. The deadline is for the
 * whole frame, so that a peer who sends one byte at a time gains nothing. Works on blocking and non-blocking
 * descriptors alike, and never reads beyond its frame.
 */
#include "lib/wire/transport.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "lib/base/cleanup.h"
#include "lib/wire/deadline.h"

static int wait_for(int fd, short events, int64_t deadline)
{
	for (;;) {
		struct pollfd pfd = {.fd = fd, .events = events};
		int r = poll(&pfd, 1, ygr_deadline_left(deadline));
		if (r > 0)
			return pfd.revents & POLLNVAL ? -EBADF : 0;
		if (r == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

/* Drops N sent bytes from the front of the message. */
static void advance(struct msghdr *message, size_t n)
{
	while (message->msg_iovlen && n >= message->msg_iov->iov_len) {
		n -= message->msg_iov->iov_len;
		message->msg_iov++;
		message->msg_iovlen--;
	}
	if (message->msg_iovlen) {
		message->msg_iov->iov_base = (uint8_t *)message->msg_iov->iov_base + n;
		message->msg_iov->iov_len -= n;
	}
}

int ygr_frame_send(int fd, uint16_t type, uint32_t id, const void *payload, uint32_t length, int timeout_ms)
{
	if (length > YGR_FRAME_MAX)
		return -EMSGSIZE;

	int64_t deadline = ygr_deadline_in(timeout_ms);
	uint8_t header[YGR_FRAME_HEADER];
	ygr_frame_header(header, type, id, length);
	struct iovec pieces[] = {{header, sizeof(header)}, {(void *)payload, length}};
	struct msghdr message = {.msg_iov = pieces, .msg_iovlen = length ? 2 : 1};

	while (message.msg_iovlen) {
		ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0) {
			advance(&message, (size_t)n);
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return errno == EPIPE ? -ECONNRESET : -errno;
		int r = wait_for(fd, POLLOUT, deadline);
		if (r < 0)
			return r;
	}
	return 0;
}

static int receive_exactly(int fd, uint8_t *to, size_t len, int64_t deadline)
{
	while (len) {
		ssize_t n = recv(fd, to, len, MSG_DONTWAIT);
		if (n > 0) {
			to += n;
			len -= (size_t)n;
			continue;
		}
		if (n == 0)
			return -ECONNRESET;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		int r = wait_for(fd, POLLIN, deadline);
		if (r < 0)
			return r;
	}
	return 0;
}

int ygr_frame_receive(int fd, uint32_t max, int timeout_ms, struct ygr_frame *ret_frame,
		      uint8_t **ret_payload)
{
	int64_t deadline = ygr_deadline_in(timeout_ms);
	uint8_t header[YGR_FRAME_HEADER];
	int r = receive_exactly(fd, header, sizeof(header), deadline);
	if (r < 0)
		return r;

	struct ygr_frame frame;
	int64_t size = ygr_frame_head(header, max, &frame);
	if (size < 0)
		return (int)size;

	_cleanup_free_ uint8_t *payload = malloc((size_t)frame.length + 1);
	if (!payload)
		return -ENOMEM;
	r = receive_exactly(fd, payload, frame.length, deadline);
	if (r < 0)
		return r;
	payload[frame.length] = '\0';

	frame.payload = payload;
	*ret_frame = frame;
	*ret_payload = ygr_steal_ptr(&payload);
	return 0;
}
