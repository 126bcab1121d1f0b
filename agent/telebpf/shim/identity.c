/*
 * Who the application is. In the guest its calls are made by root with all capabilities, on the node it is nobody
 * with none; what asks before it calls (bpftrace for uid 0, bpftool for capabilities) means the guest. These are
 * answers only: what the application may do on the node, its own kernel goes on deciding.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <linux/capability.h>

#include "agent/telebpf/shim/shim.h"

#define ENOTSUPP 524 /* the kernel's own, which perf_event_get() gives for what is no perf event */

int64_t ygr_hook_ids(const struct ygr_regs *regs)
{
	const uint64_t ids[] = {regs->rdi, regs->rsi, regs->rdx};
	const uint32_t root = 0;

	for (int i = 0; i < 3; i++)
		if (ygr_user_write(NULL, ids[i], &root, sizeof(root)) < 0)
			return -EFAULT;
	return 0;
}

int64_t ygr_hook_capget(const struct ygr_regs *regs)
{
	const uint64_t all = (2ull << CAP_LAST_CAP) - 1;
	struct __user_cap_header_struct header;
	struct __user_cap_data_struct data[2];

	if (ygr_user_read(NULL, regs->rdi, &header, sizeof(header)) < 0)
		return -EFAULT;
	/* Other processes, and the question which version there is, are the kernel's. */
	if (header.version != _LINUX_CAPABILITY_VERSION_3 || !regs->rsi ||
	    (header.pid != 0 && header.pid != ygr_shim.pid))
		return ygr_native(regs);
	for (int i = 0; i < 2; i++) {
		data[i].effective = data[i].permitted = (uint32_t)(all >> 32 * i);
		data[i].inheritable = 0;
	}
	return ygr_user_write(NULL, regs->rsi, data, sizeof(data));
}

bool ygr_asks_itself(const struct ygr_regs *regs, int64_t *ret)
{
	union bpf_attr attr;
	const size_t need = offsetof(union bpf_attr, task_fd_query.flags);

	if ((int)regs->rdi != BPF_TASK_FD_QUERY || regs->rdx < need ||
	    ygr_user_read(NULL, regs->rsi, &attr, need) < 0 || (int)attr.task_fd_query.pid != ygr_shim.pid ||
	    ygr_slot_of(attr.task_fd_query.fd))
		return false;
	*ret = ygr_sys2(SYS_fcntl, attr.task_fd_query.fd, 1 /* F_GETFD */) < 0 ? -EBADF : -ENOTSUPP;
	return true;
}
