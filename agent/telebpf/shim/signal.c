/*
 * Signals. Dispatch arrives as SIGSYS, so the application can neither block nor handle that one; every set
 * of signals that goes into the kernel loses it on the way. The handler performs the trapped call and lets
 * rt_sigreturn resume, except where sigreturn would undo what the call did (mask, alternate stack).
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "agent/telebpf/shim/shim.h"

#define SIGSYS_SET        (1ull << (SIGSYS - 1))
#define SYS_USER_DISPATCH 2 /* si_code */
#define RESTORER          0x04000000

struct kernel_sigaction {
	uint64_t handler, flags, restorer, mask;
};

int64_t ygr_hook_sigaction(const struct ygr_regs *regs)
{
	struct kernel_sigaction action;

	if ((int)regs->rdi == SIGSYS) {
		memset(&action, 0, sizeof(action));
		return regs->rdx ? ygr_user_write(NULL, regs->rdx, &action, sizeof(action)) : 0;
	}
	if (!regs->rsi)
		return ygr_native(regs);
	if (ygr_user_read(NULL, regs->rsi, &action, sizeof(action)) < 0)
		return -EFAULT;
	action.mask &= ~SIGSYS_SET;
	return ygr_sys4(SYS_rt_sigaction, regs->rdi, &action, regs->rdx, regs->r10);
}

int64_t ygr_native_masked(const struct ygr_regs *regs, unsigned index)
{
	uint64_t args[6] = {regs->rdi, regs->rsi, regs->rdx, regs->r10, regs->r8, regs->r9};
	uint64_t set;

	if (args[index]) {
		if (ygr_user_read(NULL, args[index], &set, sizeof(set)) < 0)
			return -EFAULT;
		set &= ~SIGSYS_SET;
		args[index] = (uint64_t)&set;
	}
	return ygr_syscall6((int64_t)regs->rax, args[0], args[1], args[2], args[3], args[4], args[5]);
}

int64_t ygr_hook_sigprocmask(const struct ygr_regs *regs)
{
	return (int)regs->rdi == SIG_UNBLOCK ? ygr_native(regs) : ygr_native_masked(regs, 1);
}

_Noreturn static void end_by(int signal_number)
{
	struct kernel_sigaction action = {0};
	uint64_t set = 1ull << (signal_number - 1);

	ygr_sys4(SYS_rt_sigaction, signal_number, &action, 0, 8);
	ygr_sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, &set, 0, 8);
	ygr_sys3(SYS_tgkill, ygr_sys0(SYS_getpid), ygr_sys0(SYS_gettid), signal_number);
	for (;;)
		ygr_sys1(SYS_exit_group, 128 + signal_number);
}

int64_t ygr_hook_site(struct ygr_regs *regs)
{
	/* Not from a site of ours: the application called address 0, which is a crash. */
	if (!ygr_site_known(regs->rip))
		end_by(SIGSEGV);
	return ygr_hook(regs);
}

static void on_sigsys(int signal_number, siginfo_t *info, void *user_context)
{
	ucontext_t *context = user_context;
	greg_t *cpu = context->uc_mcontext.gregs;
	struct ygr_regs regs = {
	    .rax = (uint64_t)cpu[REG_RAX],
	    .rdi = (uint64_t)cpu[REG_RDI],
	    .rsi = (uint64_t)cpu[REG_RSI],
	    .rdx = (uint64_t)cpu[REG_RDX],
	    .r10 = (uint64_t)cpu[REG_R10],
	    .r8 = (uint64_t)cpu[REG_R8],
	    .r9 = (uint64_t)cpu[REG_R9],
	    .rbx = (uint64_t)cpu[REG_RBX],
	    .rbp = (uint64_t)cpu[REG_RBP],
	    .r12 = (uint64_t)cpu[REG_R12],
	    .r13 = (uint64_t)cpu[REG_R13],
	    .r14 = (uint64_t)cpu[REG_R14],
	    .r15 = (uint64_t)cpu[REG_R15],
	    .rip = (uint64_t)cpu[REG_RIP],
	    .rsp = (uint64_t)cpu[REG_RSP],
	    .socket = -1,
	};

	if (info->si_code != SYS_USER_DISPATCH)
		end_by(signal_number);
	ygr_site_rewrite(&regs);
	/* The kernel takes the number as an int. */
	regs.rax = (uint64_t)(int64_t)(int)regs.rax;
	if (regs.rax == SYS_rt_sigreturn)
		ygr_sigreturn(regs.rsp);
	if (regs.rax == SYS_sigaltstack && ygr_shim.go) {
		cpu[REG_RAX] = ygr_stack_alternate(&regs, &context->uc_stack);
		return;
	}
	cpu[REG_RAX] = ygr_hook(&regs);
	if (regs.rax == SYS_rt_sigprocmask)
		ygr_sys4(SYS_rt_sigprocmask, SIG_BLOCK, 0, &context->uc_sigmask, 8);
	if (regs.rax == SYS_sigaltstack)
		ygr_sys2(SYS_sigaltstack, 0, &context->uc_stack);
}

int ygr_signal_start(void)
{
	struct kernel_sigaction action = {
	    .handler = (uint64_t)on_sigsys,
	    /* A goroutine's stack has no room for a signal frame; Go gives each thread an alternate one. */
	    .flags = SA_SIGINFO | SA_NODEFER | SA_RESTART | RESTORER | (ygr_shim.go ? SA_ONSTACK : 0u),
	    .restorer = (uint64_t)ygr_restorer,
	};
	uint64_t set = SIGSYS_SET;
	int64_t r;

	r = ygr_sys4(SYS_rt_sigaction, SIGSYS, &action, 0, 8);
	if (r >= 0)
		r = ygr_sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, &set, 0, 8);
	return (int)r;
}
