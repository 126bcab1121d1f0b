/*
 * System calls in a held thread. The thread's own `syscall` instruction is executed again with other
 * registers, from one stop at its entry to one at its exit. The application can have prepared anything in
 * its memory, also that what we map lands on that very instruction; so at the entry the registers must be
 * exactly those that were set, and so must be what they point to; else the call is not let through.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "agent/telebpf/session/tracer.h"

#define SYSCALL_INSN  0x050fu
#define SYSCALL_BYTES 2
#define RED_ZONE      128
#define STOP_MS       1000 /* for one instruction or one call that does not wait */
#define STOPS_MAX     16   /* of other kinds before the one that is awaited */

/* What the kernel keeps in rax of a call that is to be made anew (include/linux/errno.h). */
enum { KERNEL_RESTARTSYS = 512, KERNEL_RESTARTNOINTR = 513, KERNEL_RESTARTNOHAND = 514 };

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Lets TID go on to its next system call stop. */
static int to_syscall_stop(pid_t tid)
{
	uint64_t until = now_ms() + STOP_MS;
	const struct timespec moment = {.tv_nsec = 5000};

	for (int i = 0; i < STOPS_MAX; i++) {
		int status = 0;
		pid_t got;

		if (ptrace(PTRACE_SYSCALL, tid, NULL, 0L) < 0)
			return -ECANCELED;
		while ((got = waitpid(tid, &status, __WALL | WNOHANG)) == 0 && now_ms() < until)
			nanosleep(&moment, NULL);
		if (got != tid || !WIFSTOPPED(status))
			return -ECANCELED;
		if (status >> 8 == (SIGTRAP | 0x80))
			return 0;
		if (WSTOPSIG(status) == SIGSEGV || WSTOPSIG(status) == SIGILL ||
		    WSTOPSIG(status) == SIGBUS || WSTOPSIG(status) == SIGSYS)
			return -ECANCELED;
	}
	return -ECANCELED;
}

static int poke(const struct ygr_puppet *puppet, const uint64_t *words, size_t length)
{
	for (size_t at = 0; at < length; at += sizeof(*words))
		if (ptrace(PTRACE_POKEDATA, puppet->tid, (void *)(puppet->scratch + at), (void *)*words++) <
		    0)
			return -EFAULT;
	return 0;
}

int ygr_puppet_write(struct ygr_puppet *puppet, const void *from, size_t length)
{
	memset(puppet->put, 0, sizeof(puppet->put));
	memcpy(puppet->put, from, length);
	puppet->put_length = length;
	return poke(puppet, puppet->put, length);
}

static int peek(pid_t tid, uint64_t address, long *ret)
{
	errno = 0;
	*ret = ptrace(PTRACE_PEEKDATA, tid, (void *)address, NULL);
	return errno ? -EFAULT : 0;
}

int ygr_puppet_read(const struct ygr_puppet *puppet, void *to, size_t length)
{
	for (size_t at = 0; at < length; at += sizeof(long)) {
		long word;

		if (peek(puppet->tid, puppet->scratch + at, &word) < 0)
			return -EFAULT;
		memcpy((char *)to + at, &word, length - at < sizeof(word) ? length - at : sizeof(word));
	}
	return 0;
}

/* The call was interrupted for us only: it is made anew, which the kernel does only when a signal came. */
static bool rewind_call(struct user_regs_struct *regs)
{
	int64_t result = (int64_t)regs->rax;

	if (result != -KERNEL_RESTARTSYS && result != -KERNEL_RESTARTNOINTR &&
	    result != -KERNEL_RESTARTNOHAND)
		return false;
	regs->rax = regs->orig_rax;
	regs->rip -= SYSCALL_BYTES;
	regs->orig_rax = ~0ull;
	return true;
}

int ygr_puppet_take(const struct ygr_tracee *tracee, uint64_t nr, uint64_t first, struct ygr_puppet *ret)
{
	struct ygr_puppet puppet = {.tid = tracee->tid};
	long code;

	if (!tracee->stopped || !tracee->clean || tracee->leaving ||
	    ptrace(PTRACE_GETREGS, tracee->tid, NULL, &puppet.saved) < 0)
		return -ENOENT;
	if (puppet.saved.orig_rax != nr || puppet.saved.rdi != first || !rewind_call(&puppet.saved) ||
	    peek(tracee->tid, puppet.saved.rip, &code) < 0 || (code & 0xffff) != SYSCALL_INSN)
		return -ENOENT;
	puppet.scratch = (puppet.saved.rsp - RED_ZONE - YGR_PUPPET_SCRATCH) & ~15ull;
	if (ygr_puppet_read(&puppet, puppet.old, sizeof(puppet.old)) < 0)
		return -ENOENT;
	*ret = puppet;
	return 0;
}

static bool same_call(const struct user_regs_struct *a, const struct user_regs_struct *b)
{
	return a->orig_rax == b->rax && a->rdi == b->rdi && a->rsi == b->rsi && a->rdx == b->rdx &&
	       a->r10 == b->r10 && a->r8 == b->r8 && a->r9 == b->r9 && a->rip == b->rip + SYSCALL_BYTES;
}

/*
 * The instruction may lie where the guest can write, so that something else has run before it; but what the
 * call finds now is what it will find, as nobody else runs.
 */
static bool same_scratch(struct ygr_puppet *puppet)
{
	uint64_t found[32];
	size_t length = puppet->put_length;

	puppet->put_length = 0;
	return ygr_puppet_read(puppet, found, length) == 0 && memcmp(found, puppet->put, length) == 0;
}

int ygr_puppet_call(struct ygr_puppet *puppet, uint64_t nr, const uint64_t args[6], int64_t *ret)
{
	struct user_regs_struct regs = puppet->saved, entry;

	regs.rax = nr;
	regs.orig_rax = ~0ull;
	regs.rdi = args[0];
	regs.rsi = args[1];
	regs.rdx = args[2];
	regs.r10 = args[3];
	regs.r8 = args[4];
	regs.r9 = args[5];
	if (ptrace(PTRACE_SETREGS, puppet->tid, NULL, &regs) < 0 || to_syscall_stop(puppet->tid) < 0 ||
	    ptrace(PTRACE_GETREGS, puppet->tid, NULL, &entry) < 0 || !same_call(&entry, &regs) ||
	    !same_scratch(puppet) || to_syscall_stop(puppet->tid) < 0 ||
	    ptrace(PTRACE_GETREGS, puppet->tid, NULL, &entry) < 0)
		return -ECANCELED;
	*ret = (int64_t)entry.rax;
	return 0;
}

int ygr_puppet_restore(struct ygr_puppet *puppet)
{
	if (poke(puppet, puppet->old, sizeof(puppet->old)) < 0 ||
	    ptrace(PTRACE_SETREGS, puppet->tid, NULL, &puppet->saved) < 0)
		return -ECANCELED;
	return 0;
}
