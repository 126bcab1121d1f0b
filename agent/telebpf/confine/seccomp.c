/*
 * seccomp filters as tables: which system calls, what happens to them, and why. The application's is a list
 * of what observability tools and the C libraries, Go and Rust run-times under them need. What it does not
 * name gets ENOSYS, so that a run-time falls back as on an older kernel; what must never happen is named
 * with EPERM, so that a person who reads a trace sees a refusal and not an absence.
 *
 * bpf() and perf_event_open() are refused here although the application is made for them: its shim takes
 * them before they are system calls. Whatever escapes the shim must not reach the node's kernel.
 */
#include <asm/ioctls.h>
#include <errno.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/telebpf/confine/child.h"
#include "lib/base/cleanup.h"

#define CLONE_NAMESPACES                                                                                    \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |       \
	 CLONE_NEWNET)

/* A child that Shared could not hold: the kernel does not attach it to the tracer. */
#define CLONE_REFUSED (CLONE_NAMESPACES | CLONE_UNTRACED)

#define ALLOW SCMP_ACT_ALLOW
#define DENY  SCMP_ACT_ERRNO(EPERM)

/* NAMES are separated by blanks; one that this kernel's headers do not know is passed over. */
struct group {
	uint32_t action;
	const char *reason;
	const char *names;
};

static const struct group app_groups[] = {
    {ALLOW, "files: what can be reached is decided by the mounts",
     "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat openat2 creat "
     "close "
     "close_range lseek _llseek stat fstat lstat newfstatat statx statfs fstatfs access faccessat "
     "faccessat2 "
     "readlink readlinkat getdents getdents64 getcwd chdir fchdir dup dup2 dup3 fcntl flock fsync fdatasync "
     "ftruncate truncate fallocate fadvise64 readahead sendfile copy_file_range splice tee "
     "sync_file_range "
     "mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat chmod "
     "fchmod "
     "fchmodat fchmodat2 utime utimes utimensat futimesat umask getxattr lgetxattr fgetxattr listxattr "
     "llistxattr "
     "flistxattr"},
    {ALLOW, "memory of its own",
     "brk mmap munmap mprotect madvise msync mincore mlock mlock2 munlock mlockall munlockall memfd_create "
     "memfd_secret membarrier pkey_alloc pkey_free pkey_mprotect get_mempolicy"},
    {ALLOW, "waiting and telling",
     "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 "
     "pipe "
     "pipe2 eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime timerfd_gettime inotify_init "
     "inotify_init1 inotify_add_watch inotify_rm_watch pause"},
    {ALLOW, "UNIX sockets: socket() and socketpair() are held to AF_UNIX below",
     "bind connect listen accept accept4 getsockname getpeername sendto recvfrom sendmsg recvmsg sendmmsg "
     "recvmmsg "
     "shutdown setsockopt getsockopt"},
    {ALLOW, "processes and threads of its own PID namespace; clone() is held to no namespaces below",
     "fork vfork execve execveat exit exit_group wait4 waitid waitpid kill tkill tgkill getpid getppid "
     "gettid "
     "getpgrp getpgid setpgid getsid setsid set_tid_address set_robust_list get_robust_list rseq futex "
     "futex_waitv pidfd_open pidfd_send_signal arch_prctl set_thread_area get_thread_area restart_syscall "
     "rt_sigaction rt_sigprocmask rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_tgsigqueueinfo "
     "rt_sigsuspend "
     "rt_sigreturn sigaltstack sched_yield sched_getaffinity sched_setaffinity sched_getparam "
     "sched_setparam "
     "sched_getscheduler sched_setscheduler sched_get_priority_min sched_get_priority_max sched_getattr "
     "sched_setattr getpriority setpriority getcpu ioprio_get"},
    {ALLOW, "identity and rights: may be read, and lowered (the shim drops its capability with capset)",
     "getuid geteuid getgid getegid getresuid getresgid getgroups capget capset setuid setgid setreuid "
     "setregid "
     "setresuid setresgid setfsuid setfsgid getrlimit setrlimit prlimit64 getrusage times uname sysinfo"},
    {ALLOW, "clocks, which may not be set",
     "time gettimeofday clock_gettime clock_getres clock_nanosleep nanosleep alarm getitimer setitimer "
     "timer_create "
     "timer_settime timer_gettime timer_getoverrun timer_delete getrandom"},
    {ALLOW,
     "the shim copies through these, so that a bad pointer is EFAULT; others' memory is guarded by uid",
     "process_vm_readv process_vm_writev"},
    {DENY, "are the guest's: taken by the shim, never by the node's kernel", "bpf perf_event_open"},
    {DENY, "other processes' state", "ptrace kcmp process_madvise process_mrelease pidfd_getfd"},
    {DENY, "a second way into the kernel, past this filter",
     "io_uring_setup io_uring_enter io_uring_register io_setup io_submit io_getevents io_pgetevents "
     "io_cancel "
     "io_destroy userfaultfd seccomp"},
    {DENY, "would reach any page of a mapped file (guest pages, in Shared)", "remap_file_pages"},
    {DENY, "namespaces and the tree of mounts",
     "unshare setns mount umount umount2 pivot_root chroot open_tree open_tree_attr move_mount fsopen "
     "fsconfig "
     "fsmount fspick mount_setattr"},
    {DENY, "hardware (the shim's capability would allow ports)", "ioperm iopl modify_ldt"},
    {DENY, "the node's kernel and machine",
     "init_module finit_module delete_module create_module query_module get_kernel_syms kexec_load "
     "kexec_file_load "
     "reboot swapon swapoff syslog acct quotactl quotactl_fd settimeofday clock_settime clock_adjtime "
     "adjtimex "
     "stime sethostname setdomainname vhangup nfsservctl personality lookup_dcookie"},
    {DENY, "keys and file handles are not bound to namespaces",
     "add_key request_key keyctl open_by_handle_at name_to_handle_at fanotify_init fanotify_mark"},
    {DENY, "device nodes, owners and labels",
     "mknod mknodat chown fchown lchown fchownat setxattr lsetxattr fsetxattr removexattr lremovexattr "
     "fremovexattr setgroups"},
    {DENY, "System V IPC and message queues: nobody is there to talk to",
     "shmget shmat shmctl shmdt semget semop semctl semtimedop msgget msgsnd msgrcv msgctl mq_open "
     "mq_unlink"},
};

/* PID 1 after it settled: it forwards, reaps, reports. */
static const struct group init_groups[] = {
    {ALLOW, "init's loop",
     "read write sendto recvfrom poll ppoll wait4 kill close exit_group exit rt_sigreturn rt_sigprocmask "
     "restart_syscall"},
};

static const struct group session_groups[] = {
    {ALLOW, "the loop",
     "epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 poll ppoll select pselect6 read write "
     "readv writev "
     "pread64 pwrite64 preadv pwritev sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg socketpair shutdown "
     "getsockopt setsockopt getsockname getpeername eventfd2 timerfd_create timerfd_settime timerfd_gettime "
     "signalfd4 pipe2 dup dup2 dup3 fcntl close close_range ioctl splice"},
    {ALLOW, "memory, shared with the application by memory files",
     "brk mmap munmap mremap mprotect madvise memfd_create ftruncate fallocate lseek membarrier mincore "
     "msync"},
    {ALLOW, "its files under /proc and the control group's directories",
     "open openat access faccessat faccessat2 stat fstat lstat newfstatat statx statfs fstatfs readlink "
     "readlinkat "
     "getdents64 rmdir unlink unlinkat umount2 getcwd"},
    {ALLOW, "its application",
     "kill tgkill pidfd_send_signal pidfd_open wait4 waitid process_vm_readv process_vm_writev"},
    {ALLOW, "run-time",
     "futex rt_sigaction rt_sigprocmask rt_sigreturn rt_sigtimedwait sigaltstack sched_yield "
     "sched_getaffinity "
     "clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time setitimer getpid gettid "
     "getppid "
     "getuid geteuid "
     "getgid getegid getrandom getrusage getcpu uname sysinfo prlimit64 getrlimit restart_syscall rseq exit "
     "exit_group prctl set_robust_list"},
};

static const struct group traced_groups[] = {
    {ALLOW, "Shared: maps guest pages inside the held application", "ptrace"},
};

/* ioctl() by request: those of terminals and pipes that only ask, and the harmless descriptor flags. */
static const uint32_t app_ioctls[] = {
    TCGETS,   TCSETS,  TCSETSW, TCSETSF,  TIOCGWINSZ, TIOCGPGRP,
    FIONREAD, FIONBIO, FIOCLEX, FIONCLEX, FIOASYNC,   0x80086601 /* FS_IOC_GETFLAGS */};

/* prctl() by option; the rest (PR_SET_MM, PR_SET_SECUREBITS ...) is of no use to a tool. */
static const uint32_t app_prctls[] = {
    PR_SET_NAME,         PR_GET_NAME,         PR_SET_PDEATHSIG,   PR_GET_PDEATHSIG,
    PR_GET_DUMPABLE,     PR_SET_DUMPABLE,     PR_CAPBSET_READ,    PR_CAP_AMBIENT,
    PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_GET_SECCOMP,     PR_GET_KEEPCAPS,
    PR_GET_SECUREBITS,   PR_GET_TIMERSLACK,   PR_SET_TIMERSLACK,  PR_SET_SYSCALL_USER_DISPATCH,
    PR_SET_VMA,          PR_SET_THP_DISABLE,  PR_GET_THP_DISABLE, PR_GET_TID_ADDRESS,
};

static void release(scmp_filter_ctx *ctx)
{
	if (*ctx)
		seccomp_release(*ctx);
}

static int add_group(scmp_filter_ctx ctx, const struct group *group)
{
	_cleanup_free_ char *names = strdup(group->names);
	char *save = NULL;

	if (!names)
		return -ENOMEM;
	for (char *name = strtok_r(names, " ", &save); name; name = strtok_r(NULL, " ", &save)) {
		int number = seccomp_syscall_resolve_name(name), r;

		if (number == __NR_SCMP_ERROR)
			continue;
		r = seccomp_rule_add(ctx, group->action, number, 0);
		if (r < 0 && r != -EDOM) /* -EDOM: exists on other architectures only */
			return r;
	}
	return 0;
}

static int add_groups(scmp_filter_ctx ctx, const struct group *groups, size_t count)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++)
		r = add_group(ctx, &groups[i]);
	return r;
}

static struct scmp_arg_cmp argument(unsigned index, enum scmp_compare how, uint64_t a, uint64_t b)
{
	return (struct scmp_arg_cmp){.arg = index, .op = how, .datum_a = a, .datum_b = b};
}

/* CALL passes when its argument INDEX equals one of VALUES. The kernel looks at 32 bits, so we compare
 * all 64. */
static int add_values(scmp_filter_ctx ctx, int call, unsigned index, const uint32_t *values, size_t count)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++)
		r = seccomp_rule_add(ctx, ALLOW, call, 1, argument(index, SCMP_CMP_EQ, values[i], 0));
	return r;
}

static int add_unix_only(scmp_filter_ctx ctx, int call)
{
	int r = seccomp_rule_add(ctx, ALLOW, call, 1, argument(0, SCMP_CMP_EQ, AF_UNIX, 0));

	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), call, 1,
				     argument(0, SCMP_CMP_NE, AF_UNIX, 0));
	return r;
}

static int add_arguments(scmp_filter_ctx ctx)
{
	int r = add_unix_only(ctx, SCMP_SYS(socket));

	if (r == 0)
		r = add_unix_only(ctx, SCMP_SYS(socketpair));
	/* clone3() has its flags behind a pointer; with the default ENOSYS the C library uses clone(). */
	if (r == 0)
		r = seccomp_rule_add(ctx, ALLOW, SCMP_SYS(clone), 1,
				     argument(0, SCMP_CMP_MASKED_EQ, CLONE_REFUSED, 0));
	if (r == 0)
		r = add_values(ctx, SCMP_SYS(ioctl), 1, app_ioctls,
			       sizeof(app_ioctls) / sizeof(*app_ioctls));
	if (r == 0)
		r = add_values(ctx, SCMP_SYS(prctl), 0, app_prctls,
			       sizeof(app_prctls) / sizeof(*app_prctls));
	return r;
}

static int finish(scmp_filter_ctx ctx, int r, const char *whose, struct ygr_error *error)
{
	if (r == 0)
		r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 1);
	if (r == 0)
		r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE,
				     2); /* a tree: tens of rules are common */
	if (r == 0)
		r = seccomp_load(ctx);
	return r < 0 ? ygr_error_set(error, -r, "cannot install the %s's filter of system calls: %s", whose,
				     strerror(-r))
		     : 0;
}

int ygr_confine_filter_app(bool traced, struct ygr_error *error)
{
	_cleanup_(release) scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	int r;

	if (!ctx)
		return ygr_error_set(error, ENOMEM, "out of memory");
	r = add_groups(ctx, app_groups, sizeof(app_groups) / sizeof(*app_groups));
	if (r == 0)
		r = add_arguments(ctx);
	/* Growing a mapping of one guest page would reach its neighbours. realloc() copies when it may not.
	 */
	if (r == 0)
		r = seccomp_rule_add(ctx, traced ? DENY : ALLOW, SCMP_SYS(mremap), 0);
	/* A pipe would go on holding the page itself, also when the guest has put something else there. */
	if (r == 0)
		r = seccomp_rule_add(ctx, traced ? DENY : ALLOW, SCMP_SYS(vmsplice), 0);
	return finish(ctx, r, "application", error);
}

int ygr_confine_filter_init(struct ygr_error *error)
{
	_cleanup_(release) scmp_filter_ctx ctx = seccomp_init(DENY);
	int r;

	if (!ctx)
		return ygr_error_set(error, ENOMEM, "out of memory");
	r = add_groups(ctx, init_groups, sizeof(init_groups) / sizeof(*init_groups));
	return finish(ctx, r, "init", error);
}

int ygr_confine_filter_session(bool traced, struct ygr_error *error)
{
	_cleanup_(release) scmp_filter_ctx ctx = seccomp_init(DENY);
	int r;

	if (!ctx)
		return ygr_error_set(error, ENOMEM, "out of memory");
	r = add_groups(ctx, session_groups, sizeof(session_groups) / sizeof(*session_groups));
	if (r == 0 && traced)
		r = add_groups(ctx, traced_groups, sizeof(traced_groups) / sizeof(*traced_groups));
	return finish(ctx, r, "session", error);
}
