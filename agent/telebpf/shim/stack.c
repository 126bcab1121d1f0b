/*
 * Alternate signal stacks of Go's threads. A goroutine's stack has no room for a signal frame, so dispatch uses the
 * alternate stack that Go gives each thread; two things are then different:
 *
 * - sigaltstack(2) comes while that very stack is in use, where the kernel refuses it. So it is called with the
 *   application's own stack pointer. (Changing what rt_sigreturn puts back does not do: since Linux 6.12 that is refused
 *   as well.)
 * - A thread that ends gives its alternate stack back, tells the others that its own stack is theirs, and only then
 *   calls exit (runtime.mexit, runtime.exitThread), without using a stack. So from giving back on it gets one of
 *   ours, which goes away with the thread.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/telebpf/shim/shim.h"

#define STACK_BYTES (64u << 10)
#define THREADS     256u /* that are about to end at once; more do without */

/* Of the thread TID; 0: free. */
struct last_stack {
	int32_t tid;
	void *pages;
};

static struct last_stack last_stacks[THREADS];

/* The stack of this thread, or with TAKE a new place for it, or NULL. */
static struct last_stack *last_stack(int32_t tid, bool take)
{
	for (unsigned i = 0; i < THREADS; i++)
		if (__atomic_load_n(&last_stacks[i].tid, __ATOMIC_RELAXED) == tid)
			return &last_stacks[i];
	for (unsigned i = 0; take && i < THREADS; i++) {
		int32_t none = 0;

		if (__atomic_compare_exchange_n(&last_stacks[i].tid, &none, tid, false, __ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED)) {
			last_stacks[i].pages = NULL;
			return &last_stacks[i];
		}
	}
	return NULL;
}

/* The stack for the end of this thread, or NULL. */
static void *stack_for_end(void)
{
	struct last_stack *last = last_stack((int32_t)ygr_sys0(SYS_gettid), true);

	if (last && !last->pages)
		last->pages = ygr_pages_new(STACK_BYTES);
	return last ? last->pages : NULL;
}

/* Is KNOWN one of ours? As the application sees it there is none then. */
static void hide_ours(stack_t *known)
{
	const struct last_stack *last = last_stack((int32_t)ygr_sys0(SYS_gettid), false);

	if (last && last->pages == known->ss_sp)
		*known = (stack_t){.ss_flags = SS_DISABLE};
}

int64_t ygr_stack_alternate(const struct ygr_regs *regs, stack_t *current)
{
	uint64_t all = ~0ull, mask;
	stack_t set, old;
	int64_t r;

	if (regs->rdi && ygr_user_read(NULL, regs->rdi, &set, sizeof(set)) < 0)
		return -EFAULT;
	if (regs->rdi && (set.ss_flags & SS_DISABLE)) {
		void *pages = stack_for_end();

		if (pages)
			set = (stack_t){.ss_sp = pages, .ss_size = STACK_BYTES};
	}
	ygr_sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask, 8);
	r = ygr_sigaltstack_at(regs->rsp, regs->rdi ? &set : NULL, &old);
	/* What rt_sigreturn puts back, in kernels that look at the stack pointer after it is. */
	if (r >= 0 && regs->rdi)
		ygr_sigaltstack_at(regs->rsp, NULL, current);
	ygr_sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, 8);
	if (r < 0 || !regs->rsi)
		return r;
	hide_ours(&old);
	return ygr_user_write(NULL, regs->rsi, &old, sizeof(old));
}

int64_t ygr_hook_exit(const struct ygr_regs *regs)
{
	struct last_stack *last = ygr_shim.go ? last_stack((int32_t)ygr_sys0(SYS_gettid), false) : NULL;
	uint64_t all = ~0ull;
	void *pages;

	if (!last)
		return ygr_native(regs);
	/* Nothing may come between the two calls below, which have no stack. */
	ygr_sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, 0, 8);
	pages = last->pages;
	__atomic_store_n(&last->tid, 0, __ATOMIC_RELEASE);
	ygr_exit_unmapped(pages, pages ? STACK_BYTES : 0, regs->rdi);
}
