/*
 * Where the shim meets the machine: the one syscall instruction that dispatch lets pass, the way in from a
 * rewritten site, and the ways out that cannot be written in C (signal return, a new thread's first steps).
 *
 * struct ygr_regs (shim.h) is laid out so that it can be pushed: rax rdi rsi rdx r10 r8 r9 rbx rbp r12 r13 r14
 * r15 rip rsp, then two words for clone.
 */
#define RAX 0
#define RDI 8
#define RSI 16
#define RDX 24
#define R10 32
#define R8 40
#define R9 48
#define RBX 56
#define RBP 64
#define R12 72
#define R13 80
#define R14 88
#define R15 96
#define RIP 104
#define RSP 112

#define NR_MUNMAP 11
#define NR_RT_SIGRETURN 15
#define NR_EXIT 60
#define NR_SIGALTSTACK 131
#define UC_SIGMASK 296 /* offset of uc_sigmask in the kernel's struct ucontext */
#define SIGSYS_BIT 30

	.section ygr_exempt, "ax", @progbits

	.globl ygr_syscall6
	.hidden ygr_syscall6
	.type ygr_syscall6, @function
	.align 16
ygr_syscall6:
	.cfi_startproc
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	mov	%r8, %r10
	mov	%r9, %r8
	mov	8(%rsp), %r9
	syscall
	ret
	.cfi_endproc
	.size ygr_syscall6, . - ygr_syscall6

/* Unwinders know a signal frame by exactly these bytes. */
	.globl ygr_restorer
	.hidden ygr_restorer
	.type ygr_restorer, @function
	.align 16
	nop
ygr_restorer:
	mov	$NR_RT_SIGRETURN, %rax
	syscall
	ud2
	.size ygr_restorer, . - ygr_restorer

/* void ygr_sigreturn(sp): rt_sigreturn(2) on the frame that the kernel would find with this stack pointer. */
	.globl ygr_sigreturn
	.hidden ygr_sigreturn
	.type ygr_sigreturn, @function
	.align 16
ygr_sigreturn:
	mov	%rdi, %rsp
ygr_sigreturn_here:
	/* The application may have edited the mask in its frame: SIGSYS stays deliverable. */
	btrl	$SIGSYS_BIT, UC_SIGMASK(%rsp)
	mov	$NR_RT_SIGRETURN, %eax
	syscall
	ud2
	.size ygr_sigreturn, . - ygr_sigreturn

/*
 * int64_t ygr_sigaltstack_at(sp, set, old): sigaltstack(2) with another stack pointer. Nothing is written there, and
 * no signal can come.
 */
	.globl ygr_sigaltstack_at
	.hidden ygr_sigaltstack_at
	.type ygr_sigaltstack_at, @function
	.align 16
ygr_sigaltstack_at:
	mov	%rsp, %r8
	mov	%rdi, %rsp
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	$NR_SIGALTSTACK, %eax
	syscall
	mov	%r8, %rsp
	ret
	.size ygr_sigaltstack_at, . - ygr_sigaltstack_at

/* void ygr_exit_unmapped(pages, length, code): exit(2) after munmap(2) of the stack that it was called on. */
	.globl ygr_exit_unmapped
	.hidden ygr_exit_unmapped
	.type ygr_exit_unmapped, @function
	.align 16
ygr_exit_unmapped:
	mov	%rdx, %r12
	mov	$NR_MUNMAP, %eax
	syscall
	mov	%r12, %rdi
	mov	$NR_EXIT, %eax
	syscall
	ud2
	.size ygr_exit_unmapped, . - ygr_exit_unmapped

/*
 * int64_t ygr_clone_raw(nr, const uint64_t args[6], struct ygr_regs *child): clone or clone3 with a stack of
 * its own for the child. CHILD lies on that stack; the child arms itself and goes on as if the kernel had
 * returned to the application there.
 */
	.globl ygr_clone_raw
	.hidden ygr_clone_raw
	.type ygr_clone_raw, @function
	.align 16
ygr_clone_raw:
	.cfi_startproc
	push	%r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r12, 0
	mov	%rdx, %r12
	mov	%rdi, %rax
	mov	0(%rsi), %rdi
	mov	16(%rsi), %rdx
	mov	24(%rsi), %r10
	mov	32(%rsi), %r8
	mov	40(%rsi), %r9
	mov	8(%rsi), %rsi
	syscall
	test	%rax, %rax
	jz	1f
	pop	%r12
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r12
	ret
1:
	.cfi_undefined %rip
	mov	%r12, %rsp
	and	$-16, %rsp
	xor	%ebp, %ebp
	mov	%r12, %rdi
	call	ygr_child_start
	mov	RDI(%r12), %rdi
	mov	RSI(%r12), %rsi
	mov	RDX(%r12), %rdx
	mov	R10(%r12), %r10
	mov	R8(%r12), %r8
	mov	R9(%r12), %r9
	mov	RBX(%r12), %rbx
	mov	RBP(%r12), %rbp
	mov	R13(%r12), %r13
	mov	R14(%r12), %r14
	mov	R15(%r12), %r15
	mov	RIP(%r12), %rcx
	mov	RSP(%r12), %rsp
	mov	R12(%r12), %r12
	xor	%eax, %eax
	jmp	*%rcx
	.cfi_endproc
	.size ygr_clone_raw, . - ygr_clone_raw

/*
 * From page 0, thus from `call *%rax` at a rewritten site: (%rsp) is the address after the site. Below it lies
 * the red zone of the application's function.
 */
	.globl ygr_entry
	.hidden ygr_entry
	.type ygr_entry, @function
	.align 16
ygr_entry:
	.cfi_startproc
	cmp	$NR_RT_SIGRETURN, %rax
	je	2f
	mov	(%rsp), %rcx
	lea	8(%rsp), %r11
	lea	-128(%rsp), %rsp
	.cfi_adjust_cfa_offset 128
	push	$0
	.cfi_adjust_cfa_offset 8
	push	$-1
	.cfi_adjust_cfa_offset 8
	push	%r11
	.cfi_adjust_cfa_offset 8
	push	%rcx
	.cfi_adjust_cfa_offset 8
	push	%r15
	.cfi_adjust_cfa_offset 8
	push	%r14
	.cfi_adjust_cfa_offset 8
	push	%r13
	.cfi_adjust_cfa_offset 8
	push	%r12
	.cfi_adjust_cfa_offset 8
	push	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	push	%rbx
	.cfi_adjust_cfa_offset 8
	push	%r9
	.cfi_adjust_cfa_offset 8
	push	%r8
	.cfi_adjust_cfa_offset 8
	push	%r10
	.cfi_adjust_cfa_offset 8
	push	%rdx
	.cfi_adjust_cfa_offset 8
	push	%rsi
	.cfi_adjust_cfa_offset 8
	push	%rdi
	.cfi_adjust_cfa_offset 8
	push	%rax
	.cfi_adjust_cfa_offset 8
	mov	%rsp, %rdi
	mov	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	and	$-16, %rsp
	call	ygr_hook_site
	mov	%rbp, %rsp
	.cfi_def_cfa_register %rsp
	mov	RDI(%rsp), %rdi
	mov	RSI(%rsp), %rsi
	mov	RDX(%rsp), %rdx
	mov	R10(%rsp), %r10
	mov	R8(%rsp), %r8
	mov	R9(%rsp), %r9
	mov	RBP(%rsp), %rbp
	.cfi_restore %rbp
	lea	264(%rsp), %rsp /* 17 words and the red zone */
	.cfi_adjust_cfa_offset -264
	ret
2:
	lea	8(%rsp), %rsp
	jmp	ygr_sigreturn_here
	.cfi_endproc
	.size ygr_entry, . - ygr_entry

/*
 * Where the kernel begins when this file is executed: the stack has what the program is to find there. Not in the
 * section above: it has no system call.
 */
	.text
	.globl ygr_load_entry
	.type ygr_load_entry, @function
	.align 16
ygr_load_entry:
	.cfi_startproc
	.cfi_undefined %rip
	xor	%ebp, %ebp
	mov	%rsp, %rbx
	mov	%rsp, %rdi
	and	$-16, %rsp
	call	ygr_load
	mov	%rbx, %rsp
	xor	%ebx, %ebx
	xor	%edx, %edx /* nothing to be called at exit */
	jmp	*%rax
	.cfi_endproc
	.size ygr_load_entry, . - ygr_load_entry

	.section .note.GNU-stack, "", @progbits
