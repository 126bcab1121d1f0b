/* A program that does to its processes, threads and signals what applications do; exits 0 when all held. */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

#define SLED_LAST 615 /* agent/telebpf/shim/start.c: where page 0 jumps */

#define MUST(condition)                                                                                     \
	do {                                                                                                \
		if (!(condition)) {                                                                         \
			fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);   \
			exit(1);                                                                            \
		}                                                                                           \
	} while (0)

static void *thread_body(void *argument)
{
	struct utsname name;

	for (int i = 0; i < 20; i++) {
		MUST(uname(&name) == 0 && strcmp(name.release, "6.1.0-guest") == 0);
		MUST(syscall(SYS_gettid) > 0);
		sched_yield();
	}
	return argument;
}

static void threads(void)
{
	for (int i = 0; i < 50; i++) {
		pthread_t thread[4];
		void *result;
		int marks[4];

		for (int j = 0; j < 4; j++)
			MUST(pthread_create(&thread[j], NULL, thread_body, &marks[j]) == 0);
		for (int j = 0; j < 4; j++)
			MUST(pthread_join(thread[j], &result) == 0 && result == &marks[j]);
	}
}

static void *sleeper(void *argument)
{
	for (;;)
		pause();
	return argument;
}

/* Cancellation unwinds through the hook's frames. */
static void cancel(void)
{
	pthread_t thread;
	void *result;

	for (int i = 0; i < 5; i++) {
		MUST(pthread_create(&thread, NULL, sleeper, NULL) == 0);
		for (int j = 0; j < 20; j++)
			sched_yield();
		MUST(pthread_cancel(thread) == 0);
		MUST(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
	}
}

static void check_child(pid_t pid, int code)
{
	int status;

	MUST(pid > 0);
	MUST(waitpid(pid, &status, 0) == pid);
	MUST(WIFEXITED(status) && WEXITSTATUS(status) == code);
}

/* As posix_spawn of younger C libraries does it: the child begins without any signal handler. */
static void fork_without_handlers(void)
{
	struct clone_args arguments = {.flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
	struct utsname name;
	pid_t pid = (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));

	if (pid == 0)
		_exit(uname(&name) == 0 && strcmp(name.nodename, "the-guest") == 0 ? 6 : 1);
	if (pid < 0 && errno == ENOSYS)
		return; /* in a confinement, whose seccomp cannot look at clone3's arguments */
	check_child(pid, 6);
}

static void forks(void)
{
	char *const yes[] = {"true", NULL}, *const no[] = {"/nonexistent", NULL};
	struct utsname name;
	pid_t pid;

	for (int i = 0; i < 5; i++) {
		pid = fork();
		if (pid == 0) {
			pid_t inner = fork();

			if (inner == 0)
				_exit(uname(&name) == 0 && strcmp(name.nodename, "the-guest") == 0 ? 8 : 1);
			check_child(inner, 8);
			_exit(7);
		}
		check_child(pid, 7);
		fork_without_handlers();
	}
	for (int i = 0; i < 3; i++) {
		volatile int marker = i;

		pid = vfork();
		if (pid == 0) {
			execv("/bin/true", yes);
			_exit(9);
		}
		MUST(marker == i);
		check_child(pid, 0);
		MUST(posix_spawn(&pid, "/bin/true", NULL, NULL, yes, environ) == 0);
		check_child(pid, 0);
		MUST(posix_spawn(&pid, "/nonexistent", NULL, NULL, no, environ) == ENOENT);
	}
	MUST(system("test \"$(uname -n)\" = the-guest && exit 3") == 3 << 8);
	/* The shim survives an exec that forgets it. */
	MUST(system("env -i /bin/sh -c 'test \"$(uname -n)\" = the-guest && exit 4'") == 4 << 8);
}

static volatile int alarms;

static void on_alarm(int signal_number)
{
	struct utsname name;

	/* A handler makes calls of its own, hooked ones too. */
	if (signal_number == SIGALRM && uname(&name) == 0 && strcmp(name.release, "6.1.0-guest") == 0)
		alarms++;
}

static void signals(void)
{
	struct itimerval every = {{0, 500}, {0, 500}}, never = {0};
	struct sigaction action = {.sa_handler = on_alarm};
	sigset_t all, old, seen;
	struct utsname name;
	int pipes[2], interrupted = 0;
	char byte;

	sigfillset(&action.sa_mask);
	MUST(sigaction(SIGALRM, &action, NULL) == 0);
	MUST(pipe(pipes) == 0);
	MUST(setitimer(ITIMER_REAL, &every, NULL) == 0);
	while (alarms < 300)
		MUST(uname(&name) == 0);
	while (interrupted < 20) {
		MUST(read(pipes[0], &byte, 1) == -1 && errno == EINTR);
		interrupted++;
	}
	action.sa_flags = SA_RESTART;
	MUST(sigaction(SIGALRM, &action, NULL) == 0);
	if (fork() == 0) {
		struct timespec some = {0, 30000000};

		while (nanosleep(&some, &some) < 0)
			;
		(void)!write(pipes[1], "x", 1);
		_exit(0);
	}
	MUST(read(pipes[0], &byte, 1) == 1 && byte == 'x');
	MUST(setitimer(ITIMER_REAL, &never, NULL) == 0);
	wait(NULL);

	/* A mask holds, except that nobody can block SIGSYS. */
	alarms = 0;
	sigfillset(&all);
	MUST(sigprocmask(SIG_SETMASK, &all, &old) == 0);
	raise(SIGALRM);
	MUST(uname(&name) == 0 && alarms == 0);
	MUST(sigprocmask(SIG_SETMASK, NULL, &seen) == 0);
	MUST(sigismember(&seen, SIGALRM) == 1 && sigismember(&seen, SIGSYS) == 0);
	sigdelset(&all, SIGALRM);
	sigsuspend(&all);
	MUST(alarms == 1);
	raise(SIGALRM);
	MUST(alarms == 1);
	struct timespec now = {0, 0};
	MUST(pselect(0, NULL, NULL, NULL, &now, &all) == -1 || alarms == 2);
	MUST(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
	MUST(alarms == 2);
	MUST(signal(SIGSYS, SIG_IGN) == SIG_DFL && signal(SIGSYS, SIG_DFL) == SIG_DFL);
	MUST(prctl(59 /* PR_SET_SYSCALL_USER_DISPATCH */, 0, 0, 0, 0) == -1 && errno == EINVAL);
}

static void alternate_stack(void)
{
	stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536}, seen;
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_ONSTACK};

	MUST(sigaltstack(&stack, NULL) == 0);
	MUST(sigaltstack(NULL, &seen) == 0 && seen.ss_sp == stack.ss_sp);
	MUST(sigaction(SIGALRM, &action, NULL) == 0);
	alarms = 0;
	raise(SIGALRM);
	MUST(alarms == 1);
}

/* All sixteen vector registers, with what the compiler cannot know, across NR(...). */
static long with_vectors(long nr, long a, long b, long c)
{
	unsigned char in[256], out[256];
	long result;

	for (int i = 0; i < 256; i++)
		in[i] = (unsigned char)(i * 7 + nr);
	__asm__ volatile(
	    "movdqu 0(%[in]), %%xmm0; movdqu 16(%[in]), %%xmm1; movdqu 32(%[in]), %%xmm2\n"
	    "movdqu 48(%[in]), %%xmm3; movdqu 64(%[in]), %%xmm4; movdqu 80(%[in]), %%xmm5\n"
	    "movdqu 96(%[in]), %%xmm6; movdqu 112(%[in]), %%xmm7; movdqu 128(%[in]), %%xmm8\n"
	    "movdqu 144(%[in]), %%xmm9; movdqu 160(%[in]), %%xmm10; movdqu 176(%[in]), %%xmm11\n"
	    "movdqu 192(%[in]), %%xmm12; movdqu 208(%[in]), %%xmm13; movdqu 224(%[in]), %%xmm14\n"
	    "movdqu 240(%[in]), %%xmm15\n"
	    "xor %%r10d, %%r10d; xor %%r8d, %%r8d; xor %%r9d, %%r9d\n"
	    "syscall\n"
	    "movdqu %%xmm0, 0(%[out]); movdqu %%xmm1, 16(%[out]); movdqu %%xmm2, 32(%[out])\n"
	    "movdqu %%xmm3, 48(%[out]); movdqu %%xmm4, 64(%[out]); movdqu %%xmm5, 80(%[out])\n"
	    "movdqu %%xmm6, 96(%[out]); movdqu %%xmm7, 112(%[out]); movdqu %%xmm8, 128(%[out])\n"
	    "movdqu %%xmm9, 144(%[out]); movdqu %%xmm10, 160(%[out]); movdqu %%xmm11, 176(%[out])\n"
	    "movdqu %%xmm12, 192(%[out]); movdqu %%xmm13, 208(%[out]); movdqu %%xmm14, 224(%[out])\n"
	    "movdqu %%xmm15, 240(%[out])\n"
	    : "=a"(result)
	    : "a"(nr), "D"(a), "S"(b), "d"(c), [in] "r"(in), [out] "r"(out)
	    : "rcx", "r11", "r8", "r9", "r10", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
	      "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	MUST(memcmp(in, out, sizeof(in)) == 0);
	return result;
}

static void vectors(void)
{
	struct timespec time;
	struct utsname name;
	int word = 0;

	for (int i = 0; i < 3; i++) {
		MUST(with_vectors(SYS_getpid, 0, 0, 0) == getpid());
		MUST(with_vectors(SYS_write, 1, (long)"", 0) == 0);
		MUST(with_vectors(SYS_futex, (long)&word, 1 /* WAKE */, 1) == 0);
		MUST(with_vectors(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&time, 0) == 0);
		MUST(with_vectors(SYS_uname, (long)&name, 0, 0) == 0 && strcmp(name.machine, "x86_64") == 0);
		MUST(with_vectors(SYS_bpf, 0, 0, 0) < 0);
	}
	/* Numbers that no kernel has, through one site that is rewritten by now. */
	for (long nr = 500; nr <= SLED_LAST; nr++)
		MUST(with_vectors(nr, -1, -1, -1) == -ENOSYS);
}

/*
 * Leaf functions that call getppid: the second keeps a word in its red zone meanwhile, the third as well and
 * finds it by its frame pointer.
 */
extern const unsigned char plain_site[], red_site[], frame_site[];
long plain_call(void);
long red_call(long word);
long frame_call(long word);
__asm__(".pushsection .text, \"ax\"; .balign 1024\n"
	"plain_call: mov $110, %eax\n"
	"plain_site: syscall\n ret\n"
	".balign 1024; red_call: mov %rdi, -8(%rsp); mov $110, %eax\n"
	"red_site: syscall\n mov -8(%rsp), %rax\n ret\n"
	".balign 1024; frame_call: push %rbp; mov %rsp, %rbp; mov %rdi, -8(%rbp); mov $110, %eax\n"
	"frame_site: syscall\n mov -8(%rbp), %rax\n pop %rbp\n ret\n .balign 1024\n .popsection");

static void sites(void)
{
	static const unsigned char trap[] = {0x0f, 0x05}, call[] = {0xff, 0xd0};
	const unsigned char *expected = getenv("YAGURA_SHIM_NO_REWRITE") ? trap : call;

	for (int i = 0; i < 3; i++) {
		MUST(plain_call() == getppid());
		MUST(memcmp(plain_site, expected, 2) == 0);
		MUST(red_call(0x123456789abcdef) == 0x123456789abcdef);
		MUST(memcmp(red_site, trap, 2) == 0);
		MUST(frame_call(0x123456789abcdef) == 0x123456789abcdef);
		MUST(memcmp(frame_site, trap, 2) == 0);
	}
}

/* A call of address 0 is a crash, as without a shim. */
static void null_call(void)
{
	void (*volatile nothing)(void) = NULL;
	int status;
	pid_t pid;

	pid = fork();
	if (pid == 0) {
		nothing();
		_exit(0);
	}
	MUST(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static __attribute__((noinline)) int deep(int depth)
{
	volatile char room[1024];
	struct utsname name;

	memset((char *)room, depth, sizeof(room));
	if (depth == 0)
		return uname(&name);
	return deep(depth - 1) + (room[5] != (char)depth);
}

/* What a static executable has no loader for. */
#ifdef YGR_SUBJECT_STATIC
static void late_library(void)
{
}
#else
static void late_library(void)
{
	void *library = dlopen("libm.so.6", RTLD_NOW);
	double (*cosine)(double);

	MUST(library);
	*(void **)&cosine = dlsym(library, "cos");
	MUST(cosine && cosine(0) == 1.0);
	MUST(dlclose(library) == 0);
}
#endif

/* The kernel's version as the vDSO tells it: the guest's. */
static void kernel(void)
{
	const unsigned char *vdso = (const unsigned char *)getauxval(AT_SYSINFO_EHDR);
	const Elf64_Ehdr *head = (const Elf64_Ehdr *)vdso;
	int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC), found = 0;

	MUST(vdso && mem >= 0);
	for (int i = 0; i < head->e_phnum; i++) {
		const Elf64_Phdr *segment = (const Elf64_Phdr *)(vdso + head->e_phoff) + i;
		unsigned char notes[512];
		size_t length = segment->p_filesz < sizeof(notes) ? segment->p_filesz : sizeof(notes);

		if (segment->p_type != PT_NOTE)
			continue;
		MUST(pread(mem, notes, length, (off_t)(uintptr_t)(vdso + segment->p_offset)) ==
		     (ssize_t)length);
		for (size_t at = 0; at + 24 <= length; at += 4)
			/* Sizes, type 0 (others are the build's), the name. */
			if (memcmp(notes + at, "\6\0\0\0\4\0\0\0\0\0\0\0Linux", 18) == 0) {
				unsigned version;

				memcpy(&version, notes + at + 20, 4);
				MUST(version == (6u << 16 | 1u << 8 | 99));
				found++;
			}
	}
	close(mem);
	MUST(found == 1);
	/* It goes on telling the time. */
	struct timespec before, after;
	MUST(clock_gettime(CLOCK_MONOTONIC, &before) == 0);
	MUST(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &after) == 0);
	MUST(after.tv_sec - before.tv_sec <= 600 && after.tv_sec >= before.tv_sec);
}

/* It is its own executable, also for itself, and is hooked when it executes itself. */
static void executable(void)
{
	char path[512] = "", *const again[] = {"again", "kernel", NULL}, *const none[] = {NULL};
	struct stat by_link, by_name;
	Elf64_Ehdr head;
	int fd;
	pid_t pid;

	MUST(readlink("/proc/self/exe", path, sizeof(path) - 1) > 0);
	MUST(strstr(path, "shim-subject-process"));
	MUST(stat("/proc/self/exe", &by_link) == 0 && stat(path, &by_name) == 0);
	MUST(by_link.st_ino == by_name.st_ino && by_link.st_dev == by_name.st_dev);
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	MUST(fd >= 0 && read(fd, &head, sizeof(head)) == sizeof(head));
	MUST(head.e_entry % 4096 == getauxval(AT_ENTRY) % 4096);
	for (int i = 0; i < 3; i++) {
		pid = fork();
		if (pid == 0) {
			if (i == 0)
				execve("/proc/self/exe", again, none);
			else if (i == 1)
				execve(path, again, environ);
			else
				execveat(fd, "", again, environ, AT_EMPTY_PATH);
			_exit(9);
		}
		check_child(pid, 0);
	}
	close(fd);
}

static void capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];
	char text[4096] = "";
	uid_t real, effective, saved;
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	/* What it has */
	MUST(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && close(fd) == 0);
	MUST(strstr(text, "\nCapPrm:\t0000000000000000\n") && strstr(text, "\nCapEff:\t0000000000000000\n"));
	/* What it is told, since that is how its calls are made in the guest */
	MUST(syscall(SYS_capget, &header, data) == 0);
	MUST(data[0].effective == ~0u && data[0].permitted == ~0u && data[0].inheritable == 0);
	MUST(data[1].effective == ((2ull << CAP_LAST_CAP) - 1) >> 32);
	MUST(prctl(PR_CAPBSET_READ, CAP_BPF) == 1 && prctl(PR_CAPBSET_READ, 4711) == -1);
	MUST(getuid() == 0 && geteuid() == 0 && getgid() == 0 && getegid() == 0);
	MUST(getresuid(&real, &effective, &saved) == 0 && real == 0 && effective == 0 && saved == 0);
	MUST(syscall(SYS_getresuid, &real, &effective, 8) == -1 && errno == EFAULT);
}

static void descriptors(void)
{
	struct rlimit limit = {123456789, 123456789};
	struct utsname name;

	MUST(close(1000) == -1 && errno == EBADF);
	MUST(dup2(1, 1000) == -1 && errno == EBADF);
	MUST(syscall(SYS_close_range, 3, ~0u, 0) == 0);
	closefrom(3);
	MUST(uname(&name) == 0 && fork() != -1);
	if (wait(NULL) == -1)
		_exit(0);
	MUST(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
	MUST(uname((struct utsname *)8) == -1 && errno == EFAULT);
	MUST(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 8, NULL, 8) == -1 && errno == EFAULT);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} parts[] = {
	    {"sites", sites},
	    {"null-call", null_call},
	    {"threads", threads},
	    {"cancel", cancel},
	    {"forks", forks},
	    {"signals", signals},
	    {"alternate-stack", alternate_stack},
	    {"vectors", vectors},
	    {"late-library", late_library},
	    {"kernel", kernel},
	    {"executable", executable},
	    {"descriptors", descriptors},
	    {"capabilities", capabilities},
	};

#ifdef YGR_SUBJECT_STATIC
	setlinebuf(stdout); /* nobody can do that for it */
#endif
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (argc > 1 && strcmp(argv[1], parts[i].name) != 0)
			continue;
		parts[i].run();
		if (strcmp(argv[0], "again") != 0)
			printf("%s ok\n", parts[i].name);
	}
	MUST(deep(2000) == 0);
	/* Without a flush: the shim has made stdout line buffered. */
	_exit(0);
}
