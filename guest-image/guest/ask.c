/* Questions between a connection's process and the server; see ask.h. */
#include "guest-image/guest/ask.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

union control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int))];
};

int ygr_ask(int fd, const struct ygr_ask *ask, int pass_fd)
{
	struct iovec piece = {.iov_base = (void *)(uintptr_t)ask, .iov_len = sizeof(*ask)};
	union control control = {0};
	struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
	if (pass_fd >= 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		control.header = (struct cmsghdr){
		    .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.header), &pass_fd, sizeof(int));
	}
	if (sendmsg(fd, &message, MSG_NOSIGNAL) != (ssize_t)sizeof(*ask))
		return -EPIPE;

	struct pollfd wait = {.fd = fd, .events = POLLIN};
	struct ygr_answer answer;
	int n;
	do
		n = poll(&wait, 1, YGR_ASK_TIMEOUT_MS);
	while (n < 0 && errno == EINTR);
	if (n <= 0 || recv(fd, &answer, sizeof(answer), 0) != (ssize_t)sizeof(answer))
		return -EPIPE;
	return answer.status;
}

int ygr_ask_receive(int fd, struct ygr_ask *ret_ask, int *ret_fd)
{
	struct iovec piece = {.iov_base = ret_ask, .iov_len = sizeof(*ret_ask)};
	union control control = {0};
	struct msghdr message = {.msg_iov = &piece,
				 .msg_iovlen = 1,
				 .msg_control = control.bytes,
				 .msg_controllen = sizeof(control.bytes)};

	ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	*ret_fd = -1;
	const struct cmsghdr *header = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(header), sizeof(int));
	if (n == (ssize_t)sizeof(*ret_ask))
		return 1;
	if (*ret_fd >= 0)
		close(*ret_fd);
	*ret_fd = -1;
	return -EPIPE;
}

void ygr_ask_answer(int fd, int status)
{
	struct ygr_answer answer = {.status = status};
	ssize_t n = send(fd, &answer, sizeof(answer), MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)n; /* a child that does not take its answer gives up by itself */
}
