/*
 * Sockets of NETLINK_ROUTE, by which tools list XDP and tc programs: the session hands out one end of a pair of
 * datagram sockets that answers as the guest's kernel would. What is left to do here is what such a pair cannot:
 * addresses and options.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include "agent/telebpf/shim/shim.h"

#define TYPE_MASK 0xf /* of socket(2)'s type: without SOCK_CLOEXEC and SOCK_NONBLOCK */

static bool is_route(int64_t fd)
{
	struct ygr_slot *slot = ygr_table_slots_used > 0 ? ygr_slot_of(fd) : NULL;

	return slot && slot->object.kind == YGR_OBJECT_FILE && slot->handle == YGR_HANDLE_NONE;
}

static int64_t open_route(uint32_t type)
{
	const struct ygr_object object = {.kind = YGR_OBJECT_FILE};
	const struct ygr_local_route ask = {.port = (uint32_t)ygr_shim.pid};
	int fd = -1;
	int64_t r = ygr_wire_ask_done(YGR_LOCAL_ROUTE, &ask, sizeof(ask), -1, &fd);

	if (r < 0 || fd < 0)
		return r < 0 ? r : -EIO;
	if (type & SOCK_NONBLOCK)
		ygr_sys3(SYS_fcntl, fd, 4 /* F_SETFL */, SOCK_NONBLOCK);
	if (!(type & SOCK_CLOEXEC))
		ygr_sys3(SYS_fcntl, fd, 2 /* F_SETFD */, 0);
	if (!ygr_table_adopt(fd, YGR_HANDLE_NONE, &object)) {
		ygr_sys1(SYS_close, fd);
		return -EMFILE;
	}
	return fd;
}

int64_t ygr_hook_socket(const struct ygr_regs *regs)
{
	uint32_t type = (uint32_t)regs->rsi & TYPE_MASK;
	uint64_t mask;
	int64_t r;

	if ((int)regs->rdi != AF_NETLINK || (int)regs->rdx != NETLINK_ROUTE ||
	    (type != SOCK_RAW && type != SOCK_DGRAM) || !ygr_table_ours())
		return ygr_native(regs);
	mask = ygr_shim_lock();
	r = open_route((uint32_t)regs->rsi);
	ygr_shim_unlock(mask);
	return r;
}

/* Writes an address of netlink with PORT to ADDRESS, whose length is at LENGTH, as far as there is room. */
static int64_t write_address(uint64_t address, uint64_t length, uint32_t port)
{
	const struct sockaddr_nl own = {.nl_family = AF_NETLINK, .nl_pid = port};
	uint32_t room, full = sizeof(own);

	if (ygr_user_read(NULL, length, &room, sizeof(room)) < 0 ||
	    ygr_user_write(NULL, address, &own, room < full ? room : full) < 0 ||
	    ygr_user_write(NULL, length, &full, sizeof(full)) < 0)
		return -EFAULT;
	return 0;
}

/* Where the message went or came from is not said to the pair, which has no addresses. */
static int64_t message(const struct ygr_regs *regs, bool receive)
{
	struct ygr_regs copy = *regs;
	struct msghdr own, theirs;
	int64_t r;

	if (ygr_user_read(NULL, regs->rsi, &theirs, sizeof(theirs)) < 0)
		return -EFAULT;
	own = theirs;
	own.msg_name = NULL;
	own.msg_namelen = 0;
	copy.rsi = (uint64_t)&own;
	r = ygr_native(&copy);
	if (r < 0 || !receive)
		return r;
	theirs.msg_controllen = own.msg_controllen;
	theirs.msg_flags = own.msg_flags;
	if (ygr_user_write(NULL, regs->rsi, &theirs, sizeof(theirs)) < 0)
		return -EFAULT;
	if (theirs.msg_name && write_address((uint64_t)theirs.msg_name,
					     regs->rsi + offsetof(struct msghdr, msg_namelen), 0) < 0)
		return -EFAULT;
	return r;
}

int64_t ygr_hook_socket_use(const struct ygr_regs *regs)
{
	struct ygr_regs copy = *regs;
	int64_t r;

	if (!is_route((int)regs->rdi) || !ygr_table_ours())
		return ygr_native(regs);
	switch ((int64_t)regs->rax) {
	case SYS_bind:
	case SYS_connect:
	case SYS_setsockopt:
		return 0;
	case SYS_getsockname:
		return write_address(regs->rsi, regs->rdx, (uint32_t)ygr_shim.pid);
	case SYS_sendmsg:
		return message(regs, false);
	case SYS_recvmsg:
		return message(regs, true);
	default: /* sendto, recvfrom */
		copy.r8 = copy.r9 = 0;
		r = ygr_native(&copy);
		if (r >= 0 && (int64_t)regs->rax == SYS_recvfrom && regs->r8 &&
		    write_address(regs->r8, regs->r9, 0) < 0)
			return -EFAULT;
		return r;
	}
}
