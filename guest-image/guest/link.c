/* Frames over a non-blocking socket; see link.h. */
#include "guest-image/guest/link.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_CHUNK      (64u << 10)
#define READ_CHUNK_LONG (512u << 10) /* inside a long frame */
#define KEEP            (256u << 10) /* a buffer that is empty and larger goes back to the system */
#define OUT_MAX         (2 * (size_t)YGR_FRAME_MAX)

int ygr_guest_link_init(struct ygr_guest_link *link, int fd)
{
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	*link = (struct ygr_guest_link){
	    .fd = fd,
	    .in = YGR_BUF_INIT((size_t)YGR_FRAME_MAX + YGR_FRAME_HEADER + READ_CHUNK_LONG),
	    .out = YGR_BUF_INIT(OUT_MAX),
	};
	return 0;
}

void ygr_guest_link_deinit(struct ygr_guest_link *link)
{
	ygr_buf_deinit(&link->in);
	ygr_buf_deinit(&link->out);
}

static void compact(struct ygr_buf *buf, size_t *at)
{
	ygr_buf_consume(buf, *at);
	*at = 0;
	if (buf->len == 0 && buf->cap > KEEP)
		ygr_buf_deinit(buf);
}

int ygr_guest_link_fill(struct ygr_guest_link *link)
{
	compact(&link->in, &link->in_at);
	size_t chunk = link->in.len >= READ_CHUNK ? READ_CHUNK_LONG : READ_CHUNK;
	int r = ygr_buf_reserve(&link->in, chunk);
	if (r < 0)
		return r;

	ssize_t n = recv(link->fd, link->in.data + link->in.len, chunk, 0);
	if (n == 0)
		return -ECONNRESET;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	link->in.len += (size_t)n;
	return 0;
}

int ygr_guest_link_next(struct ygr_guest_link *link, struct ygr_frame *ret_frame)
{
	size_t left = link->in.len - link->in_at;
	if (left == 0)
		return 0;
	int64_t size = ygr_frame_parse(link->in.data + link->in_at, left, YGR_FRAME_MAX, ret_frame);
	if (size <= 0)
		return (int)size;
	link->in_at += (size_t)size;
	return 1;
}

int ygr_guest_link_begin(struct ygr_guest_link *link, uint16_t type, uint32_t id, uint32_t length,
			 uint8_t **ret_payload)
{
	if (length > YGR_FRAME_MAX)
		return -EMSGSIZE;
	if (link->out_at)
		compact(&link->out, &link->out_at);
	int r = ygr_buf_reserve(&link->out, (size_t)YGR_FRAME_HEADER + length);
	if (r < 0)
		return r;
	ygr_frame_header(link->out.data + link->out.len, type, id, length);
	*ret_payload = link->out.data + link->out.len + YGR_FRAME_HEADER;
	link->out.len += (size_t)YGR_FRAME_HEADER + length;
	return 0;
}

int ygr_guest_link_send(struct ygr_guest_link *link, uint16_t type, uint32_t id, const struct iovec *pieces,
			int count)
{
	size_t length = 0;
	for (int i = 0; i < count; i++)
		length += pieces[i].iov_len;
	if (length > YGR_FRAME_MAX)
		return -EMSGSIZE;

	uint8_t *payload;
	int r = ygr_guest_link_begin(link, type, id, (uint32_t)length, &payload);
	if (r < 0)
		return r;
	for (int i = 0; i < count; i++) {
		if (pieces[i].iov_len)
			memcpy(payload, pieces[i].iov_base, pieces[i].iov_len);
		payload += pieces[i].iov_len;
	}
	return 0;
}

int ygr_guest_link_flush(struct ygr_guest_link *link)
{
	while (link->out_at < link->out.len) {
		size_t left = link->out.len - link->out_at;
		ssize_t n = send(link->fd, link->out.data + link->out_at,
				 left < YGR_GUEST_SEND_MAX ? left : YGR_GUEST_SEND_MAX, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		link->out_at += (size_t)n;
	}
	compact(&link->out, &link->out_at);
	return 0;
}

size_t ygr_guest_link_backlog(const struct ygr_guest_link *link)
{
	return link->out.len - link->out_at;
}
