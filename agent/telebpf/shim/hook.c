/*
 * Every system call of the application comes through here, from a rewritten site or from the SIGSYS handler:
 * what is not in the table below goes on natively.
 */
#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "agent/telebpf/shim/shim.h"

struct ygr_shim ygr_shim;

int64_t ygr_native(const struct ygr_regs *regs)
{
	return ygr_syscall6((int64_t)regs->rax, regs->rdi, regs->rsi, regs->rdx, regs->r10, regs->r8,
			    regs->r9);
}

/* Locked memory is the guest's affair: libbpf's raising of the limit succeeds and changes nothing. */
static int64_t hook_rlimit(const struct ygr_regs *regs)
{
	bool prlimit = regs->rax == SYS_prlimit64;
	uint32_t resource = (uint32_t)(prlimit ? regs->rsi : regs->rdi);

	if (resource != RLIMIT_MEMLOCK || (prlimit && !regs->rdx))
		return ygr_native(regs);
	return prlimit ? ygr_sys4(SYS_prlimit64, regs->rdi, regs->rsi, 0, regs->r10) : 0;
}

static int64_t hook_prctl(const struct ygr_regs *regs)
{
	if ((int)regs->rdi == PR_SET_SYSCALL_USER_DISPATCH)
		return -EINVAL;
	if ((int)regs->rdi == PR_CAPBSET_READ && regs->rsi <= CAP_LAST_CAP)
		return 1; /* as capget says (identity.c) */
	return ygr_native(regs);
}

static int64_t hook_masked_pair(const struct ygr_regs *regs)
{
	struct {
		uint64_t address, size;
	} pair;
	struct ygr_regs copy = *regs;
	uint64_t set;

	/* pselect6: its last argument points to a set's address and size */
	if (regs->r9) {
		if (ygr_user_read(NULL, regs->r9, &pair, sizeof(pair)) < 0)
			return -EFAULT;
		if (pair.address && ygr_user_read(NULL, pair.address, &set, sizeof(set)) < 0)
			return -EFAULT;
		if (pair.address) {
			set &= ~(1ull << 30); /* SIGSYS */
			pair.address = (uint64_t)&set;
		}
		copy.r9 = (uint64_t)&pair;
	}
	return ygr_hook_wait(&copy, -1);
}

int64_t ygr_hook(struct ygr_regs *regs)
{
	switch ((int64_t)regs->rax) {
	case SYS_bpf:
		return ygr_hook_bpf(regs);
	case SYS_perf_event_open:
		return ygr_hook_perf(regs);
	case SYS_ioctl:
		return ygr_hook_ioctl(regs);
	case SYS_mmap:
		return ygr_hook_mmap(regs);
	case SYS_munmap:
		return ygr_hook_munmap(regs);
	case SYS_mremap:
		return ygr_hook_mremap(regs);
	case SYS_close:
		return ygr_table_close((int)regs->rdi);
	case SYS_close_range:
		return ygr_table_close_range(regs);
	case SYS_dup:
	case SYS_dup2:
	case SYS_dup3:
		return ygr_table_dup(regs);
	case SYS_fcntl:
		return ygr_table_fcntl(regs);
	case SYS_read:
		return ygr_hook_read(regs);
	case SYS_open:
	case SYS_openat:
	case SYS_openat2:
		return ygr_hook_open(regs);
	case SYS_stat:
	case SYS_lstat:
	case SYS_access:
	case SYS_readlink:
		return ygr_hook_path(regs, 0);
	case SYS_newfstatat:
	case SYS_statx:
	case SYS_faccessat:
	case SYS_faccessat2:
	case SYS_readlinkat:
		return ygr_hook_path(regs, 1);
	case SYS_statfs:
	case SYS_fstatfs:
		return ygr_hook_statfs(regs);
	case SYS_getuid:
	case SYS_geteuid:
	case SYS_getgid:
	case SYS_getegid:
		return 0;
	case SYS_getresuid:
	case SYS_getresgid:
		return ygr_hook_ids(regs);
	case SYS_capget:
		return ygr_hook_capget(regs);
	case SYS_uname:
		return ygr_user_write(NULL, regs->rdi, &ygr_shim.welcome.uname,
				      sizeof(ygr_shim.welcome.uname));
	case SYS_setrlimit:
	case SYS_prlimit64:
		return hook_rlimit(regs);
	case SYS_socket:
		return ygr_hook_socket(regs);
	case SYS_bind:
	case SYS_connect:
	case SYS_getsockname:
	case SYS_setsockopt:
	case SYS_sendto:
	case SYS_recvfrom:
	case SYS_sendmsg:
	case SYS_recvmsg:
		return ygr_hook_socket_use(regs);
	case SYS_epoll_ctl:
		return ygr_hook_epoll_ctl(regs);
	case SYS_poll:
	case SYS_ppoll:
		return ygr_hook_poll(regs);
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
		return ygr_hook_wait(regs, 4);
	case SYS_pselect6:
		return hook_masked_pair(regs);
	case SYS_epoll_wait:
	case SYS_select:
	case SYS_nanosleep:
	case SYS_clock_nanosleep:
	case SYS_pause:
	case SYS_rt_sigtimedwait: /* its set is of those that it takes, not of those that it blocks */
		return ygr_hook_wait(regs, -1);
	case SYS_clone:
	case SYS_clone3:
	case SYS_fork:
	case SYS_vfork:
		return ygr_hook_clone(regs);
	case SYS_execve:
	case SYS_execveat:
		return ygr_hook_exec(regs);
	case SYS_exit:
		return ygr_hook_exit(regs);
	case SYS_rt_sigaction:
		return ygr_hook_sigaction(regs);
	case SYS_rt_sigprocmask:
		return ygr_hook_sigprocmask(regs);
	case SYS_rt_sigsuspend:
		return ygr_hook_wait(regs, 0);
	case SYS_prctl:
		return hook_prctl(regs);
	default:
		return ygr_native(regs);
	}
}
