/*
 * ROUTE_DUMP: what this kernel's network devices, queueing disciplines and filters are, XDP and tc programs
 * among them. The question is one NETLINK_ROUTE message, checked against both lists; a socket of its own asks
 * it, so that nothing is left over for the next one.
 */
#include "guest-image/guest/session.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

#define DATAGRAM     (64u << 10) /* the kernel fills at most 32 KiB at a time */
#define WAIT_SECONDS 2           /* it answers at once, or never */

/* Does the answer end in BYTES? Also when they are no whole messages: nothing sensible would follow. */
static bool is_last(const uint8_t *bytes, size_t length)
{
	while (length >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr head;
		memcpy(&head, bytes, sizeof(head));
		size_t whole = NLMSG_ALIGN((size_t)head.nlmsg_len);
		if (head.nlmsg_len < sizeof(head) || head.nlmsg_len > length)
			return true;
		if (head.nlmsg_type == NLMSG_DONE || head.nlmsg_type == NLMSG_ERROR ||
		    !(head.nlmsg_flags & NLM_F_MULTI))
			return true;
		if (whole >= length)
			return false;
		bytes += whole;
		length -= whole;
	}
	return true;
}

static int ask_kernel(const void *request, size_t length, struct ygr_buf *answer)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	struct timeval wait = {.tv_sec = WAIT_SECONDS};
	_cleanup_free_ uint8_t *bytes = malloc(DATAGRAM);
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	bool last = false;
	int r = 0;

	if (!bytes)
		return -ENOMEM;
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0 ||
	    sendto(fd, request, length, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return -errno;
	while (r == 0 && !last) {
		ssize_t n = recv(fd, bytes, DATAGRAM, MSG_TRUNC);
		if (n <= 0 || (size_t)n > DATAGRAM)
			return n < 0 ? -errno : -EMSGSIZE;
		r = ygr_buf_append(answer, bytes, (size_t)n);
		last = is_last(bytes, (size_t)n);
	}
	return r;
}

int ygr_guest_route(struct ygr_guest_session *session, const struct ygr_frame *frame)
{
	struct ygr_buf answer = YGR_BUF_INIT(YGR_FILE_IO_MAX);
	struct ygr_error refusal = YGR_ERROR_INIT;

	int r = ygr_grant_check_route(session->grant, "the catalogue entry", frame->payload, frame->length,
				      &refusal);
	if (r == 0) {
		r = ygr_grant_check_route(session->config->allow, "the owner's guest.yaml", frame->payload,
					  frame->length, &refusal);
		if (r < 0)
			ygr_error_prefix(&refusal, "%s", ygr_grant_program(session->grant));
	}
	if (r == 0)
		r = ask_kernel(frame->payload, frame->length, &answer);
	else if (ygr_guest_session_notice(session, &refusal) < 0)
		r = -ENOMEM;
	r = ygr_guest_session_status(session, YGR_MSG_FILE_DATA, frame->id, r < 0 ? r : (int64_t)answer.len,
				     answer.data, r < 0 ? 0 : answer.len);
	ygr_buf_deinit(&answer);
	return r;
}
