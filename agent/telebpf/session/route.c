/*
 * What an application takes for a socket of NETLINK_ROUTE: one end of a pair, the other is here. Each datagram
 * that comes is a question for the guest's kernel; what the guest answers goes back in datagrams as a kernel
 * would send them, addressed to the port that the application believes to have. Only asking is forwarded: its
 * own network namespace has nothing in it that could be changed.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/telebpf/session/session.h"
#include "lib/base/cleanup.h"

#define ROUTES_MAX  16    /* sockets of one application */
#define REQUEST_MAX 8192u /* bytes of a question */
#define DATAGRAM_MAX                                                                                        \
	4096u /* bytes of an answer, if it has more than one message: what libbpf reads at once */

struct ygr_route {
	struct ygr_route *next;
	struct ygr_session *session;
	struct ygr_watch watch;
	int fd;        /* -1: the application has closed it */
	uint32_t port; /* what the answers are addressed to */
	bool asking;   /* a question is under way; the next one waits in the socket */
	uint32_t sequence;
};

static void route_end(struct ygr_route *route)
{
	ygr_loop_remove(&route->session->loop, &route->watch);
	ygr_closep(&route->fd);
	if (route->asking)
		return;
	struct ygr_route **link = &route->session->routes;
	while (*link != route)
		link = &(*link)->next;
	*link = route->next;
	route->session->route_count--;
	free(route);
}

/* A reader that is too slow loses what has no room, as with netlink. */
static void put(const struct ygr_route *route, const void *bytes, size_t length)
{
	(void)!send(route->fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void put_error(const struct ygr_route *route, int error)
{
	const struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
	} message = {{sizeof(message), NLMSG_ERROR, 0, route->sequence, route->port}, {.error = error}};

	put(route, &message, sizeof(message));
}

/* The guest's messages, as many in a datagram as fit. False when they are none. */
static bool put_all(const struct ygr_route *route, uint8_t *bytes, size_t length)
{
	size_t from = 0, at = 0;

	while (length - at >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr head;
		size_t whole;

		memcpy(&head, bytes + at, sizeof(head));
		whole = NLMSG_ALIGN((size_t)head.nlmsg_len);
		if (head.nlmsg_len < sizeof(head) || head.nlmsg_len > length - at)
			return false;
		if (whole > length - at)
			whole = length - at;
		head.nlmsg_pid = route->port;
		memcpy(bytes + at, &head, sizeof(head));
		if (at > from && at + whole - from > DATAGRAM_MAX) {
			put(route, bytes + from, at - from);
			from = at;
		}
		at += whole;
	}
	if (at > from)
		put(route, bytes + from, at - from);
	return at == length && length > 0;
}

static void answered(void *user, const struct ygr_frame *frame)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	struct ygr_route *route = user;
	struct ygr_status status = {};
	size_t length = 0;

	route->asking = false;
	if (route->fd < 0) {
		route_end(route);
		return;
	}
	if (!frame)
		return;
	if (frame->type == YGR_MSG_FILE_DATA && frame->length >= sizeof(status)) {
		memcpy(&status, frame->payload, sizeof(status));
		length = frame->length - sizeof(status);
	}
	if (length && status.value == (int64_t)length && (bytes = malloc(length)))
		memcpy(bytes, frame->payload + sizeof(status), length);
	if (!length && status.value < 0 && status.value >= -4095)
		put_error(route, (int)status.value);
	else if (!bytes || !put_all(route, bytes, length))
		put_error(route, -EIO);
	ygr_loop_modify(&route->session->loop, &route->watch, EPOLLIN);
}

static void ask(struct ygr_route *route, const uint8_t *request, size_t length)
{
	const struct iovec piece = {(void *)(uintptr_t)request, length};
	struct ygr_session *session = route->session;
	struct ygr_error error = YGR_ERROR_INIT;
	struct nlmsghdr head = {};
	int r;

	memcpy(&head, request, length < sizeof(head) ? length : sizeof(head));
	route->sequence = head.nlmsg_seq;
	r = ygr_grant_check_route(session->grant, "the catalogue entry", request, length, &error);
	if (r < 0)
		ygr_refused_by_catalogue(session, error.message);
	else
		r = ygr_channel_request(session->channel, YGR_MSG_ROUTE_DUMP, &piece, 1, answered, route);
	if (r < 0) {
		put_error(route, r == -EACCES ? -EPERM : r);
		return;
	}
	route->asking = true;
	ygr_loop_modify(&session->loop, &route->watch, 0);
	ygr_session_channel_changed(session);
}

static void ready(void *user, uint32_t events)
{
	uint8_t request[REQUEST_MAX] __attribute__((aligned(8)));
	struct ygr_route *route = user;
	ssize_t n = recv(route->fd, request, sizeof(request), MSG_DONTWAIT | MSG_TRUNC);

	if (n > (ssize_t)sizeof(request))
		put_error(route, -EMSGSIZE);
	else if (n > 0)
		ask(route, request, (size_t)n);
	else if (n == 0 || errno != EAGAIN || events & EPOLLHUP)
		route_end(route);
}

/* The two ends: of the same kind as a netlink socket, in datagrams, and told when the other is closed. */
static int open_pair(struct ygr_session *session, uint32_t port, int *ret_fd)
{
	_cleanup_free_ struct ygr_route *route = calloc(1, sizeof(*route));
	int pair[2], r;

	if (!route)
		return -ENOMEM;
	if (session->route_count == ROUTES_MAX)
		return -EMFILE;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	*route = (struct ygr_route){.session = session, .fd = pair[0], .port = port};
	r = ygr_loop_add(&session->loop, &route->watch, pair[0], EPOLLIN, ready, route);
	if (r < 0) {
		close(pair[0]);
		close(pair[1]);
		return r;
	}
	route->next = session->routes;
	session->routes = route;
	session->route_count++;
	(void)ygr_steal_ptr(&route);
	*ret_fd = pair[1];
	return 0;
}

int ygr_route_open(struct ygr_local *local, const struct ygr_frame *frame)
{
	struct ygr_local_route ask;
	int fd = -1, r;

	if (frame->length != sizeof(ask))
		return -EPROTO;
	memcpy(&ask, frame->payload, sizeof(ask));
	r = open_pair(local->session, ask.port, &fd);
	ygr_local_done(local, frame->id, r, fd);
	if (fd >= 0)
		close(fd);
	return 0;
}

void ygr_route_free_all(struct ygr_session *session)
{
	for (struct ygr_route *route = session->routes, *next; route; route = next) {
		next = route->next;
		route_end(route); /* those that are asking go with the answer, or with the channel */
	}
}
