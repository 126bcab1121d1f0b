/*
 * New threads and processes. Dispatch is armed for each thread and forgotten by clone and exec, so a child
 * arms itself before it runs a single instruction of the application. A process gets a socket of its own,
 * asked for before it exists; so a program that it execs has one too, at the same number.
 *
 * vfork's child would return through a stack that it shares with its parent, so it gets a copy of the memory
 * instead; the parent still waits until the child execs or ends. posix_spawn's child (shared memory, own
 * stack) keeps sharing, because it reports its errors that way.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>

#include "agent/telebpf/shim/shim.h"

/* One clone, fork, vfork or clone3, whichever it was. */
struct birth {
	int64_t nr;
	uint64_t args[6];
	uint64_t flags;
	uint64_t stack; /* top, 0: a copy of the parent's */
	struct clone_args clone3;
};

static int birth_parse(const struct ygr_regs *regs, struct birth *birth)
{
	*birth = (struct birth){
	    .nr = (int64_t)regs->rax,
	    .args = {regs->rdi, regs->rsi, regs->rdx, regs->r10, regs->r8, regs->r9},
	};
	switch (birth->nr) {
	case SYS_fork:
		break;
	case SYS_vfork:
		birth->nr = SYS_clone;
		memset(birth->args, 0, sizeof(birth->args));
		birth->flags = CLONE_VM | CLONE_VFORK;
		birth->args[0] = SIGCHLD;
		break;
	case SYS_clone:
		birth->flags = regs->rdi & ~0xffull;
		birth->args[0] = regs->rdi & 0xff;
		birth->stack = regs->rsi;
		break;
	default:
		if (regs->rsi < CLONE_ARGS_SIZE_VER0)
			return -EINVAL;
		if (regs->rsi > sizeof(birth->clone3))
			return -E2BIG;
		if (ygr_user_read(NULL, regs->rdi, &birth->clone3, regs->rsi) < 0)
			return -EFAULT;
		birth->flags = birth->clone3.flags;
		if (birth->clone3.stack)
			birth->stack = birth->clone3.stack + birth->clone3.stack_size;
		break;
	}
	if ((birth->flags & CLONE_VM) && !birth->stack) {
		if (!(birth->flags & CLONE_VFORK))
			return -EINVAL; /* two threads on one stack */
		birth->flags &= ~(uint64_t)CLONE_VM;
	}
	if ((birth->flags & (CLONE_VM | CLONE_FILES)) == CLONE_FILES)
		return -EINVAL; /* its socket would take the parent's place */
	return 0;
}

/* The call as it will be made; the clone3 arguments stay in BIRTH. */
static void birth_finish(struct birth *birth)
{
	if (birth->nr == SYS_clone)
		birth->args[0] |= birth->flags;
	if (birth->nr == SYS_clone3) {
		birth->clone3.flags = birth->flags;
		birth->args[0] = (uint64_t)&birth->clone3;
	}
}

/* A socket for a process to come, with the lock held: descriptor or negative errno. */
static int socket_for_child(void)
{
	int fd = -1;
	int64_t r = ygr_wire_ask_done(YGR_LOCAL_FORK, NULL, 0, -1, &fd);

	if (r < 0)
		return (int)r;
	return fd >= 0 ? fd : -EAGAIN;
}

/* In a new process: its socket takes the parent's number. */
static void take_socket(int fd)
{
	ygr_sys3(SYS_dup3, fd, YGR_LOCAL_FD, 0);
	ygr_sys1(SYS_close, fd);
}

/* In a new process with memory of its own. */
static void forked(int fd)
{
	ygr_shim.lock = 0;
	ygr_shim.pid = (int)ygr_sys0(SYS_getpid);
	ygr_site_forked();
	take_socket(fd);
	ygr_wire_hello();
}

/* FLAGS: of the clone that made this thread. */
static void arm(uint64_t flags)
{
	/* posix_spawn of glibc 2.38 and later asks for a child without handlers; dispatch needs its own */
	if (((flags & CLONE_CLEAR_SIGHAND) && ygr_signal_start() < 0) || ygr_dispatch_arm() < 0)
		ygr_die("cannot arm Syscall User Dispatch in a new thread");
}

void ygr_child_start(struct ygr_regs *regs)
{
	/* Its memory is the parent's unless rax, the saved flags, says otherwise. */
	bool shares = regs->rax & CLONE_VM;

	if (!shares)
		forked((int)regs->socket);
	else if (regs->socket >= 0)
		take_socket((int)regs->socket);
	arm(regs->rax);
	ygr_sys4(SYS_rt_sigprocmask, SIG_SETMASK, &regs->mask, 0, 8);
}

/* On a stack of its own: the child finds its registers there. */
static int64_t clone_with_stack(const struct ygr_regs *regs, struct birth *birth, int socket, uint64_t mask)
{
	struct ygr_regs *child = (struct ygr_regs *)((birth->stack - 128 - sizeof(*child)) & ~15ull);

	/* Written through the kernel, so that a bad stack is an error and not a crash in here. */
	struct ygr_regs copy = *regs;

	copy.rax = birth->flags;
	copy.rsp = birth->stack;
	copy.socket = socket;
	copy.mask = mask;
	if (ygr_user_write(NULL, (uint64_t)child, &copy, sizeof(copy)) < 0)
		return -EFAULT;
	return ygr_clone_raw(birth->nr, birth->args, child);
}

int64_t ygr_hook_clone(const struct ygr_regs *regs)
{
	struct birth birth;
	bool process, own_files;
	uint64_t mask;
	int64_t r;
	int fd = -1;

	r = birth_parse(regs, &birth);
	if (r < 0)
		return r;
	birth_finish(&birth);
	process = !(birth.flags & CLONE_VM);
	own_files = !(birth.flags & CLONE_FILES);
	mask = ygr_shim_lock();
	if (process || own_files) {
		fd = socket_for_child();
		if (fd < 0) {
			ygr_shim_unlock(mask);
			return fd;
		}
	}
	/* A copy of the memory is made under the lock, so that it is whole; a sharer might need the lock. */
	if (!process)
		ygr_shim_unlock_raw();
	if (birth.stack)
		r = clone_with_stack(regs, &birth, fd, mask);
	else
		r = ygr_syscall6(birth.nr, birth.args[0], birth.args[1], birth.args[2], birth.args[3],
				 birth.args[4], birth.args[5]);
	if (r == 0) { /* only a fork's child returns here */
		forked(fd);
		arm(birth.flags);
		ygr_sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, 8);
		return 0;
	}
	if (fd >= 0)
		ygr_sys1(SYS_close, fd);
	if (process)
		ygr_shim_unlock_raw();
	ygr_sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, 8);
	return r;
}
