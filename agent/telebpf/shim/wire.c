/*
 * The socket to the session: one question at a time, under one lock. What comes back comes from the session,
 * which is trusted; what does not fit is still an end and not a guess. A session that is gone takes the
 * application with it: nothing it does could reach its guest any more.
 */
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "agent/telebpf/shim/shim.h"
#include "lib/wire/frame.h"

static uint32_t next_id;
static uint8_t cached[YGR_SHIM_BUFFER];
static uint8_t *answer; /* CACHED, or pages of its own */
static size_t answer_size;

void ygr_die(const char *why)
{
	size_t len = 0;

	while (why[len])
		len++;
	ygr_sys3(SYS_write, 2, "yagura: ", 8);
	ygr_sys3(SYS_write, 2, why, len);
	ygr_sys3(SYS_write, 2, "\n", 1);
	for (;;)
		ygr_sys1(SYS_exit_group, YGR_EXIT_LOST);
}

void ygr_shim_lock_raw(void)
{
	uint32_t seen = 0;

	if (__atomic_compare_exchange_n(&ygr_shim.lock, &seen, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return;
	while (__atomic_exchange_n(&ygr_shim.lock, 2, __ATOMIC_ACQUIRE) != 0)
		ygr_sys4(SYS_futex, &ygr_shim.lock, FUTEX_WAIT_PRIVATE, 2, 0);
}

void ygr_shim_unlock_raw(void)
{
	if (__atomic_exchange_n(&ygr_shim.lock, 0, __ATOMIC_RELEASE) == 2)
		ygr_sys3(SYS_futex, &ygr_shim.lock, FUTEX_WAKE_PRIVATE, 1);
}

uint64_t ygr_shim_lock(void)
{
	uint64_t all = ~0ull, old = 0;

	ygr_sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, 8);
	ygr_shim_lock_raw();
	return old;
}

void ygr_shim_unlock(uint64_t mask)
{
	ygr_shim_unlock_raw();
	ygr_sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, 8);
}

static void put(uint8_t *to, uint32_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		to[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get(const uint8_t *from, unsigned bytes)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value |= (uint32_t)from[i] << (8 * i);
	return value;
}

/* The descriptor, if any, goes with the first byte. */
static void send_all(struct iovec *iov, size_t count, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};

	if (fd >= 0) {
		memset(&control, 0, sizeof(control));
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
	}
	while (message.msg_iovlen > 0) {
		int64_t sent = ygr_sys3(SYS_sendmsg, YGR_LOCAL_FD, &message, MSG_NOSIGNAL);

		if (sent == -EINTR)
			continue;
		if (sent < 0)
			ygr_die("the session is gone");
		message.msg_control = NULL;
		message.msg_controllen = 0;
		while (message.msg_iovlen > 0 && (size_t)sent >= message.msg_iov->iov_len) {
			sent -= (int64_t)message.msg_iov->iov_len;
			message.msg_iov++;
			message.msg_iovlen--;
		}
		if (message.msg_iovlen > 0) {
			message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + sent;
			message.msg_iov->iov_len -= (size_t)sent;
		}
	}
}

static void send_frame(uint16_t type, uint32_t id, const void *payload, uint32_t length, int fd)
{
	uint8_t header[YGR_FRAME_HEADER];
	struct iovec iov[2] = {{header, sizeof(header)}, {(void *)payload, length}};

	put(header, YGR_FRAME_MAGIC, 4);
	put(header + 4, YGR_FRAME_VERSION, 2);
	put(header + 6, type, 2);
	put(header + 8, id, 4);
	put(header + 12, length, 4);
	send_all(iov, length > 0 ? 2 : 1, fd);
}

static void receive_all(uint8_t *to, size_t len, int *ret_fd)
{
	while (len > 0) {
		union {
			struct cmsghdr header;
			char space[CMSG_SPACE(sizeof(int))];
		} control;
		struct iovec iov = {to, len};
		struct msghdr message = {
		    .msg_iov = &iov,
		    .msg_iovlen = 1,
		    .msg_control = &control,
		    .msg_controllen = sizeof(control),
		};
		int64_t got;

		got = ygr_sys3(SYS_recvmsg, YGR_LOCAL_FD, &message, MSG_CMSG_CLOEXEC);
		if (got == -EINTR)
			continue;
		if (got <= 0)
			ygr_die("the session is gone");
		if (message.msg_controllen >= CMSG_LEN(sizeof(int)) &&
		    control.header.cmsg_level == SOL_SOCKET && control.header.cmsg_type == SCM_RIGHTS)
			memcpy(ret_fd, CMSG_DATA(&control.header), sizeof(*ret_fd));
		to += got;
		len -= (size_t)got;
	}
}

void ygr_wire_post(uint16_t type, const void *payload, uint32_t length)
{
	send_frame(type, 0, payload, length, -1);
}

uint32_t ygr_wire_ask(uint16_t type, const void *payload, uint32_t length, int fd, uint16_t want,
		      const uint8_t **ret_payload, int *ret_fd)
{
	uint8_t header[YGR_FRAME_HEADER];
	uint32_t id, len;

	*ret_fd = -1;
	id = ++next_id ? next_id : ++next_id;
	send_frame(type, id, payload, length, fd);
	receive_all(header, sizeof(header), ret_fd);
	len = get(header + 12, 4);
	if (get(header, 4) != YGR_FRAME_MAGIC || get(header + 4, 2) != YGR_FRAME_VERSION ||
	    get(header + 6, 2) != want || get(header + 8, 4) != id || len > YGR_FRAME_MAX)
		ygr_die("the session answered something else than it was asked");
	answer = cached;
	answer_size = 0;
	if (len > sizeof(cached)) {
		answer = ygr_pages_new(len);
		answer_size = len;
		if (!answer)
			ygr_die("no memory for the session's answer");
	}
	receive_all(answer, len, ret_fd);
	*ret_payload = answer;
	return len;
}

void ygr_wire_done(void)
{
	if (answer_size > 0)
		ygr_pages_free(answer, answer_size);
	answer_size = 0;
}

int64_t ygr_wire_ask_done(uint16_t type, const void *payload, uint32_t length, int fd, int *ret_fd)
{
	const uint8_t *data;
	struct ygr_status status;
	uint32_t len;

	len = ygr_wire_ask(type, payload, length, fd, YGR_LOCAL_DONE, &data, ret_fd);
	if (len != sizeof(status))
		ygr_die("the session's answer has a wrong length");
	memcpy(&status, data, sizeof(status));
	ygr_wire_done();
	return status.value;
}

void ygr_wire_hello(void)
{
	struct ygr_local_hello hello = {
	    .pid = (uint32_t)ygr_shim.pid,
	    .mechanism = ygr_shim.page_zero ? YGR_LOCAL_REWRITE
			 : ygr_shim.go      ? YGR_LOCAL_DISPATCH_GO
					    : YGR_LOCAL_DISPATCH,
	    .entrance = ygr_shim.loaded ? YGR_LOCAL_LOADED : YGR_LOCAL_PRELOADED,
	};
	const uint8_t *data;
	uint32_t len;
	int fd;

	len = ygr_wire_ask(YGR_LOCAL_HELLO, &hello, sizeof(hello), -1, YGR_LOCAL_WELCOME, &data, &fd);
	if (len != sizeof(ygr_shim.welcome) || fd >= 0)
		ygr_die("the session's welcome is malformed");
	memcpy(&ygr_shim.welcome, data, len);
	ygr_wire_done();
}
