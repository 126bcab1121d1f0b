/*
 * The application that test-confine runs in a confinement: it tries to get out by every door that we know
 * of. Each attempt is one line, "held NAME" when the confinement held (or a needed thing works), "LEAK NAME:
 * why" when not. Other modes waste memory or processes, wait, or end in a given way.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void held(const char *name, int ok, const char *why)
{
	if (ok)
		printf("held %s\n", name);
	else
		printf("LEAK %s: %s\n", name, why);
}

/* RESULT < 0 with one of two errors (0: any) is what should be. */
static void refused(const char *name, long result, int want, int or_want)
{
	int code = errno;
	char why[128];

	snprintf(why, sizeof(why), "result %ld errno %d", result, result < 0 ? code : 0);
	held(name, result < 0 && (!want || code == want || (or_want && code == or_want)), why);
}

static void try_identity(void)
{
	held("uid", getuid() == 900123 && geteuid() == 900123 && getgid() == 900123, "ids");
	refused("setuid", setuid(0), EPERM, 0);
	refused("setgid", setgid(0), EPERM, 0);
	held("groups", getgroups(0, NULL) == 0, "supplementary groups left");
	refused("setgroups", syscall(SYS_setgroups, 0, NULL), EPERM, 0);
}

static void try_status(void)
{
	static const char *const lines[] = {"CapInh:\t0000000000000000",
					    "CapPrm:\t0000000000000000",
					    "CapEff:\t0000000000000000",
					    "CapAmb:\t0000000000000000",
					    "NoNewPrivs:\t1",
					    "Seccomp:\t2"};
	char text[8192];
	FILE *file = fopen("/proc/self/status", "re");
	size_t n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;

	text[n] = '\0';
	if (file)
		fclose(file);
	for (unsigned i = 0; i < sizeof(lines) / sizeof(*lines); i++)
		held(lines[i], strstr(text, lines[i]) != NULL, "not so in /proc/self/status");
}

static void try_reading(void)
{
	static const char *const absent[] = {
	    "/root",          "/etc/shadow",
	    "/etc/ssh",       "/var",
	    "/run",           "/home",
	    "/dev/mem",       "/dev/kvm",
	    "/dev/fuse",      "/dev/vhost-vsock",
	    "/dev/shm",       "/dev/pts",
	    "/sys/fs/cgroup", "/sys/kernel/debug",
	    "/sys/class",     "/proc/sys/kernel",
	    "/dev/kmsg",      "/dev/userfaultfd",
	    "/opt",           "/srv",
	    "/mnt",           "/sys/kernel/btf",
	};
	static const char *const unreadable[] = {"/proc/1/mem", "/proc/1/environ", "/proc/1/maps"};
	static const char *const empty[] = {"/proc/kcore",   "/proc/kmsg",    "/proc/kallsyms",
					    "/proc/cmdline", "/proc/modules", "/proc/version"};
	char byte;

	for (unsigned i = 0; i < sizeof(absent) / sizeof(*absent); i++)
		refused(absent[i], open(absent[i], O_RDONLY | O_CLOEXEC), ENOENT, 0);
	for (unsigned i = 0; i < sizeof(unreadable) / sizeof(*unreadable); i++)
		refused(unreadable[i], open(unreadable[i], O_RDONLY | O_CLOEXEC), EACCES, EPERM);
	for (unsigned i = 0; i < sizeof(empty) / sizeof(*empty); i++) {
		int fd = open(empty[i], O_RDONLY | O_CLOEXEC);

		held(empty[i], fd < 0 || read(fd, &byte, 1) <= 0, "has content");
		if (fd >= 0)
			close(fd);
	}
	refused("/proc/1/root", open("/proc/1/root/", O_RDONLY | O_CLOEXEC), EACCES, EPERM);
	refused("readlink /proc/1/exe", readlink("/proc/1/exe", &byte, 1), EACCES, EPERM);
}

static void try_writing(void)
{
	static const char *const places[] = {"/x",     "/usr/x",  "/usr/bin/x", "/etc/x",      "/dev/x",
					     "/sys/x", "/proc/x", "/lib/x",     "/proc/sys/x", "/bin/x"};
	char *chunk = calloc(1, 1 << 20);
	int fd, written = 0;
	struct stat st;

	for (unsigned i = 0; i < sizeof(places) / sizeof(*places); i++) {
		char name[64];

		snprintf(name, sizeof(name), "write %s", places[i]);
		refused(name, open(places[i], O_CREAT | O_WRONLY, 0600), 0, 0);
	}
	refused("write /usr/bin/true", open("/usr/bin/true", O_WRONLY), 0, 0);
	refused("write /etc/passwd", open("/etc/passwd", O_WRONLY), 0, 0);
	refused("write the executable", open("/proc/self/exe", O_WRONLY), 0, 0);
	/* Where the node has it, it is covered by /dev/null, which takes anything. */
	fd = open("/proc/sysrq-trigger", O_WRONLY);
	held("write /proc/sysrq-trigger", fd < 0 || (fstat(fd, &st) == 0 && st.st_rdev == makedev(1, 3)),
	     "real");
	if (fd >= 0)
		close(fd);
	fd = open("/tmp/big", O_CREAT | O_RDWR, 0700);
	held("/tmp is writable", fd >= 0, "no");
	while (chunk && written < 64 && write(fd, chunk, 1 << 20) == 1 << 20)
		written++;
	held("/tmp is bounded", written >= 8 && written <= 16, "not by 16 MiB");
	if (ftruncate(fd, 0) < 0 || write(fd, "#!/bin/sh\n", 10) != 10)
		held("rewrite /tmp", 0, "failed");
	close(fd);
	refused("exec from /tmp", execl("/tmp/big", "big", NULL), EACCES, 0);
	refused("mknod", mknod("/tmp/null", S_IFCHR | 0666, 0x103), EPERM, 0);
	free(chunk);
}

static void try_sockets(const char *abstract)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	refused("AF_VSOCK", socket(AF_VSOCK, SOCK_STREAM, 0), EAFNOSUPPORT, 0);
	refused("AF_INET", socket(AF_INET, SOCK_STREAM, 0), EAFNOSUPPORT, 0);
	refused("AF_INET6", socket(AF_INET6, SOCK_DGRAM, 0), EAFNOSUPPORT, 0);
	refused("AF_NETLINK", socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), EAFNOSUPPORT, 0);
	refused("AF_PACKET", socket(AF_PACKET, SOCK_RAW, 0), EAFNOSUPPORT, 0);
	refused("AF_ALG", socket(AF_ALG, SOCK_SEQPACKET, 0), EAFNOSUPPORT, 0);
	refused("AF_UNIX with high bits", syscall(SYS_socket, 0x100000001ull, SOCK_STREAM, 0), EAFNOSUPPORT,
		0);
	held("AF_UNIX works", fd >= 0, "refused");
	memcpy(name.sun_path + 1, abstract, strlen(abstract));
	refused("node's abstract socket",
		connect(fd, (struct sockaddr *)&name,
			(socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(abstract))),
		ECONNREFUSED, 0);
	close(fd);
}

static void try_kernel(void)
{
	union bpf_attr attr = {
	    .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
	struct perf_event_attr event = {.type = PERF_TYPE_SOFTWARE, .size = sizeof(event)};
	char zeros[256] = {0};

	refused("bpf", syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)), EPERM, 0);
	refused("perf_event_open", syscall(SYS_perf_event_open, &event, 0, -1, -1, 0), EPERM, 0);
	refused("mount", mount("none", "/tmp", "tmpfs", 0, NULL), EPERM, 0);
	refused("umount", umount2("/proc/sys", MNT_DETACH), EPERM, 0);
	refused("fsopen", syscall(SYS_fsopen, "tmpfs", 0), EPERM, 0);
	refused("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1), EPERM, 0);
	refused("pivot_root", syscall(SYS_pivot_root, ".", "."), EPERM, 0);
	refused("chroot", chroot("/tmp"), EPERM, 0);
	refused("unshare", unshare(CLONE_NEWUSER), EPERM, 0);
	refused("setns", setns(0, 0), EPERM, 0);
	refused("clone with a user namespace", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0), 0,
		0);
	refused("clone3", syscall(SYS_clone3, zeros, 64), ENOSYS, 0);
	refused("ptrace", ptrace(PTRACE_TRACEME, 0, NULL, NULL), EPERM, 0);
	refused("io_uring", syscall(SYS_io_uring_setup, 8, zeros), EPERM, 0);
	refused("userfaultfd", syscall(SYS_userfaultfd, 0), EPERM, 0);
	refused("keyctl", syscall(SYS_keyctl, 0, 0), EPERM, 0);
	refused("init_module", syscall(SYS_init_module, zeros, 1, ""), EPERM, 0);
	refused("kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0), EPERM, 0);
	refused("reboot", syscall(SYS_reboot, 0, 0, 0, NULL), EPERM, 0);
	refused("open_by_handle_at", syscall(SYS_open_by_handle_at, 0, zeros, 0), EPERM, 0);
	refused("personality", personality(0xffffffff), EPERM, 0);
	refused("ioperm", ioperm(0x80, 1, 1), EPERM, 0);
	refused("iopl", syscall(SYS_iopl, 3), EPERM, 0);
	refused("sethostname", sethostname("x", 1), EPERM, 0);
	refused("settimeofday", settimeofday(&(struct timeval){1, 0}, NULL), EPERM, 0);
	refused("TIOCSTI", syscall(SYS_ioctl, 0, 0x5412, "x"), ENOSYS, 0);
	refused("TIOCSTI with high bits", syscall(SYS_ioctl, 0, 0x100005412ull, "x"), ENOSYS, 0);
	refused("shmget", syscall(SYS_shmget, 1, 4096, 01600), EPERM, 0);
	refused("pidfd_getfd", syscall(SYS_pidfd_getfd, 0, 0, 0), EPERM, 0);
	refused("unknown call", syscall(5000), ENOSYS, 0);
}

static void try_memory(int traced)
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	void *moved;

	refused("remap_file_pages", syscall(SYS_remap_file_pages, page, 4096, 0, 1, 0), EPERM, 0);
	moved = mremap(page, 4096, 16384, MREMAP_MAYMOVE);
	held(traced ? "mremap refused" : "mremap works", (moved == MAP_FAILED) == (traced != 0), "no");
	refused("mmap at 0",
		mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED
		    ? -1
		    : 0,
		EPERM, EACCES);
}

static void try_processes(pid_t outside)
{
	struct iovec here = {&outside, sizeof(outside)}, there = {(void *)0x1000, sizeof(outside)};
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int foreign = 0;

	refused("kill a process of the node", kill(outside, 0), ESRCH, 0);
	refused("kill init", kill(1, SIGKILL), EPERM, 0);
	refused("read init's memory", process_vm_readv(1, &here, 1, &there, 1, 0), EPERM, 0);
	there.iov_base = &here;
	there.iov_len = here.iov_len;
	held("read own memory", process_vm_readv(getpid(), &here, 1, &there, 1, 0) == sizeof(outside),
	     "failed");
	while (proc && (entry = readdir(proc)))
		if (atoi(entry->d_name) > 0 && atoi(entry->d_name) != 1 && atoi(entry->d_name) != getpid())
			foreign++;
	held("only own pids", proc && foreign == 0 && getppid() == 1 && getpid() < 10, "sees others");
	if (proc)
		closedir(proc);
}

static void try_descriptors(void)
{
	char found[256] = "";
	DIR *fds = opendir("/proc/self/fd");
	struct dirent *entry;
	int unexpected = 0, local = 0;

	while (fds && (entry = readdir(fds))) {
		int fd = atoi(entry->d_name);

		local = local || fd == 1000;
		if (fd > 2 && fd != 1000 && fd != dirfd(fds)) {
			unexpected++;
			snprintf(found, sizeof(found), "descriptor %d", fd);
		}
	}
	held("no other descriptors", fds && !unexpected, found);
	held("local socket", local && write(1000, "hello", 5) == 5, "missing");
	if (fds)
		closedir(fds);
}

static void try_limits(void)
{
	struct rlimit files = {0}, core = {1, 1};

	getrlimit(RLIMIT_NOFILE, &files);
	getrlimit(RLIMIT_CORE, &core);
	held("descriptor limit", files.rlim_cur == 1024 && files.rlim_max == 4096, "other");
	held("no core dumps", core.rlim_cur == 0 && core.rlim_max == 0, "allowed");
	files.rlim_max = 8192;
	refused("raise a limit", setrlimit(RLIMIT_NOFILE, &files), EPERM, 0);
}

static void show_world(void)
{
	struct timespec now;
	char host[80] = "";

	gethostname(host, sizeof(host) - 1);
	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("host %s\nmonotonic %lld\npreload %s\nmark %s\nother %s\n", host, (long long)now.tv_sec,
	       getenv("LD_PRELOAD") ? getenv("LD_PRELOAD") : "",
	       getenv("YAGURA_SHIM") ? getenv("YAGURA_SHIM") : "",
	       getenv("LD_LIBRARY_PATH") ? getenv("LD_LIBRARY_PATH") : "");
}

static int waste_memory(void)
{
	for (int i = 0; i < 512; i++) {
		char *part = malloc(1 << 20);

		if (!part)
			break;
		memset(part, i + 1, 1 << 20);
		__asm__ volatile("" : : "r"(part) : "memory"); /* a compiler may not leave it out */
	}
	puts("LEAK memory: 512 MiB were had");
	return 0;
}

static int waste_processes(void)
{
	int made = 0;

	while (made < 400 && fork() != 0) {
		if (errno == EAGAIN)
			break;
		made++;
	}
	if (getpid() > 2 && getppid() != 1)
		for (;;)
			pause();
	printf("forked %d\n", made);
	return 0;
}

static void on_interrupt(int number)
{
	_exit(number == SIGINT ? 7 : 8);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (geteuid() == 0) {
		/* What is refused in a confinement would be done here, to this very machine. */
		fputs("confine-probe: only for a confinement; it does harm as root\n", stderr);
		return 2;
	}
	if (strcmp(mode, "memory") == 0)
		return waste_memory();
	if (strcmp(mode, "processes") == 0)
		return waste_processes();
	if (strcmp(mode, "exit") == 0)
		return argc > 2 ? atoi(argv[2]) : 0;
	if (strcmp(mode, "wait") == 0) {
		signal(SIGINT, on_interrupt);
		puts("waiting");
		for (;;)
			pause();
	}
	if (strcmp(mode, "cat") == 0) {
		char buffer[65536];
		int fd = open(argv[2], O_RDONLY);
		ssize_t n;

		while ((n = read(fd, buffer, sizeof(buffer))) > 0)
			if (write(1, buffer, (size_t)n) != n)
				return 1;
		return fd < 0 || n < 0;
	}
	if (strcmp(mode, "escape") != 0 || argc < 5)
		return 99;
	try_identity();
	try_status();
	try_reading();
	try_writing();
	try_sockets(argv[2]);
	try_kernel();
	try_memory(strcmp(argv[4], "traced") == 0);
	try_processes(atoi(argv[3]));
	try_descriptors();
	try_limits();
	show_world();
	puts("done");
	return 0;
}
