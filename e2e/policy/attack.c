/*
 * e2e-policy-attack WHAT [ARGUMENT...]: one attempt to do in the guest what a policy forbids, by a way around.
 * Prints a line; status 0: it worked, 1: it was refused (the line says with what), 2: it could not be tried.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DONE = 0, REFUSED = 1, IMPOSSIBLE = 2 };

static int refused(const char *what)
{
	int code = errno;
	printf("%s: %s\n", what, strerror(code));
	return code == EPERM || code == EACCES || code == EAGAIN ? REFUSED : IMPOSSIBLE;
}

static int impossible(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	return IMPOSSIBLE;
}

static int read_from(int fd)
{
	char byte;
	if (fd < 0)
		return refused("open");
	ssize_t n = read(fd, &byte, 1);
	if (n < 0)
		return refused("read");
	printf("read %zd bytes\n", n);
	return DONE;
}

static int attack_open(char **args)
{
	return read_from(open(args[0], O_RDONLY));
}

static int attack_symlink(char **args)
{
	unlink("/tmp/a-symlink");
	if (symlink(args[0], "/tmp/a-symlink") < 0)
		return impossible("symlink");
	return read_from(open("/tmp/a-symlink", O_RDONLY));
}

/* ARGUMENTS: the file and a new name on its file system. */
static int attack_hard_link(char **args)
{
	unlink(args[1]);
	if (link(args[0], args[1]) < 0)
		return impossible("link");
	return read_from(open(args[1], O_RDONLY));
}

static int attack_bind_mount(char **args)
{
	close(open("/tmp/a-bind", O_CREAT | O_WRONLY, 0600));
	if (mount(args[0], "/tmp/a-bind", NULL, MS_BIND, NULL) < 0)
		return impossible("mount");
	int r = read_from(open("/tmp/a-bind", O_RDONLY));
	umount2("/tmp/a-bind", MNT_DETACH);
	return r;
}

/* ARGUMENTS: a directory, and the file within it. */
static int attack_chroot(char **args)
{
	if (chroot(args[0]) < 0)
		return impossible("chroot");
	return read_from(open(args[1], O_RDONLY));
}

/* ARGUMENTS: the file's directory, a name for it, and the file under that name. */
static int attack_rename_parent(char **args)
{
	if (rename(args[0], args[1]) < 0)
		return impossible("rename");
	int r = read_from(open(args[2], O_RDONLY));
	rename(args[1], args[0]);
	return r;
}

static int attack_reopen(char **args)
{
	char path[64];
	int fd = open(args[0], O_PATH);
	if (fd < 0)
		return impossible("O_PATH");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return read_from(open(path, O_RDONLY));
}

static int attack_handle(char **args)
{
	struct {
		struct file_handle head;
		unsigned char bytes[128];
	} handle = {.head.handle_bytes = 128};
	int mount_id, at = open("/tmp", O_RDONLY | O_DIRECTORY);
	if (name_to_handle_at(AT_FDCWD, args[0], &handle.head, &mount_id, 0) < 0)
		return impossible("name_to_handle_at");
	if (args[1])
		at = open(args[1], O_RDONLY | O_DIRECTORY);
	return read_from(open_by_handle_at(at, &handle.head, O_RDONLY));
}

static int attack_io_uring(char **args)
{
	struct io_uring_params params = {0};
	int ring = (int)syscall(SYS_io_uring_setup, 4, &params);
	if (ring < 0)
		return impossible("io_uring_setup");
	size_t sq_size = params.sq_off.array + params.sq_entries * sizeof(uint32_t);
	size_t cq_size = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
	uint8_t *sq = mmap(NULL, sq_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	uint8_t *cq = mmap(NULL, cq_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	struct io_uring_sqe *sqes = mmap(NULL, params.sq_entries * sizeof(*sqes), PROT_READ | PROT_WRITE,
					 MAP_SHARED, ring, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || sqes == MAP_FAILED)
		return impossible("mmap");
	sqes[0] = (struct io_uring_sqe){.opcode = IORING_OP_OPENAT,
					.fd = AT_FDCWD,
					.addr = (uintptr_t)args[0],
					.open_flags = O_RDONLY,
					.flags = IOSQE_ASYNC}; /* by a worker thread */
	*(uint32_t *)(sq + params.sq_off.array) = 0;
	__atomic_store_n((uint32_t *)(sq + params.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		return impossible("io_uring_enter");
	const struct io_uring_cqe *cqe = (const struct io_uring_cqe *)(cq + params.cq_off.cqes);
	if (cqe->res < 0) {
		errno = -cqe->res;
		return refused("openat");
	}
	return read_from(cqe->res);
}

static int attack_comm(char **args)
{
	prctl(PR_SET_NAME, args[0]);
	return read_from(open(args[1], O_RDONLY));
}

static int attack_namespaces(char **args)
{
	if (unshare(CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID) < 0)
		return impossible("unshare");
	pid_t child = fork();
	int status;
	if (child == 0)
		exit(read_from(open(args[0], O_RDONLY)));
	waitpid(child, &status, 0);
	return WEXITSTATUS(status);
}

/* Waits until ARGUMENT 1 exists, with ARGUMENT 0 open all the time; then uses what it has. */
static int hold(char **args, bool map)
{
	int fd = open(args[0], O_RDONLY);
	if (fd < 0)
		return impossible("open");
	close(open(args[2], O_CREAT | O_WRONLY, 0600)); /* ready */
	while (access(args[1], F_OK) < 0)
		usleep(20000);
	if (!map)
		return read_from(fd);
	const char *bytes = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return refused("mmap");
	printf("mapped: %c\n", bytes[0]);
	return DONE;
}

static int attack_held(char **args)
{
	return hold(args, false);
}

static int attack_held_map(char **args)
{
	return hold(args, true);
}

static int run(char **args)
{
	execv(args[0], args);
	return refused("exec");
}

static int attack_exec(char **args)
{
	return run(args);
}

/* As somebody whom nobody waits for: two forks and a session of its own. */
static int attack_double_fork(char **args)
{
	int pipes[2], status = 0;
	if (pipe(pipes) < 0)
		return impossible("pipe");
	if (fork() == 0) {
		setsid();
		if (fork() == 0) {
			usleep(200000); /* until the parent is gone */
			pid_t child = fork();
			if (child == 0)
				exit(run(args));
			waitpid(child, &status, 0);
			status = WEXITSTATUS(status);
			if (write(pipes[1], &status, sizeof(status)) < 0)
				exit(1);
		}
		exit(0);
	}
	wait(NULL);
	if (read(pipes[0], &status, sizeof(status)) != sizeof(status))
		return impossible("read");
	return status;
}

/* Bytes without a name. */
static int attack_memfd(char **args)
{
	char buffer[65536], path[64];
	ssize_t n;
	int from = open(args[0], O_RDONLY), to = memfd_create("x", 0);
	if (from < 0 || to < 0)
		return impossible("memfd");
	while ((n = read(from, buffer, sizeof(buffer))) > 0)
		if (write(to, buffer, (size_t)n) != n)
			return impossible("write");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", to);
	args[0] = path;
	return run(args);
}

/* Opens each map there is; any that the shield should keep shut is recognised by its name. */
static int attack_maps(char **args)
{
	union bpf_attr attr = {0};
	unsigned opened = 0, refusals = 0;
	(void)args;
	while (syscall(SYS_bpf, BPF_MAP_GET_NEXT_ID, &attr, sizeof(attr)) == 0) {
		union bpf_attr get = {.map_id = attr.next_id};
		int fd = (int)syscall(SYS_bpf, BPF_MAP_GET_FD_BY_ID, &get, sizeof(get));
		attr.start_id = attr.next_id;
		if (fd < 0) {
			refusals++;
			continue;
		}
		opened++;
		close(fd);
	}
	printf("%u maps opened, %u refused\n", opened, refusals);
	return refusals == 0 ? IMPOSSIBLE : opened ? DONE : REFUSED;
}

static int attack_connect(char **args)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(args[1]))};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	inet_pton(AF_INET, args[0], &address.sin_addr);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return refused("connect");
	puts("connected");
	return DONE;
}

static int attack_connect_mapped(char **args)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(args[1]))};
	char text[64];
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	snprintf(text, sizeof(text), "::ffff:%s", args[0]);
	inet_pton(AF_INET6, text, &address.sin6_addr);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return refused("connect");
	puts("connected");
	return DONE;
}

static int attack_connect_fast(char **args)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(args[1]))};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	inet_pton(AF_INET, args[0], &address.sin_addr);
	if (sendto(fd, "x", 1, MSG_FASTOPEN, (struct sockaddr *)&address, sizeof(address)) < 0)
		return refused("sendto");
	puts("sent");
	return DONE;
}

/* COUNT opens of FILE; says how many succeeded and how often it was refused. */
static int attack_many(char **args)
{
	unsigned long count = strtoul(args[1], NULL, 10), opened = 0;
	for (unsigned long i = 0; i < count; i++) {
		int fd = open(args[0], O_RDWR);
		if (fd < 0)
			continue;
		opened++;
		close(fd);
	}
	printf("%lu of %lu opened\n", opened, count);
	return opened ? DONE : REFUSED;
}

/* A path deeper than anybody walks: DIRECTORY, and how many levels; the file lies at the bottom. */
static int attack_deep(char **args)
{
	if (chdir(args[0]) < 0)
		return impossible("chdir");
	for (int i = atoi(args[1]); i > 0; i--)
		if ((mkdir("d", 0700) < 0 && errno != EEXIST) || chdir("d") < 0)
			return impossible("mkdir");
	return read_from(open("file", O_RDONLY | O_CREAT, 0600));
}

static int attack_signal(char **args)
{
	if (kill(atoi(args[0]), SIGCONT) < 0)
		return refused("kill");
	puts("signalled");
	return DONE;
}

static const struct {
	const char *name;
	int (*attempt)(char **args);
} attacks[] = {
    {"open", attack_open},
    {"symlink", attack_symlink},
    {"hard-link", attack_hard_link},
    {"bind-mount", attack_bind_mount},
    {"chroot", attack_chroot},
    {"rename-parent", attack_rename_parent},
    {"reopen", attack_reopen},
    {"handle", attack_handle},
    {"io-uring", attack_io_uring},
    {"comm", attack_comm},
    {"namespaces", attack_namespaces},
    {"held", attack_held},
    {"held-map", attack_held_map},
    {"exec", attack_exec},
    {"double-fork", attack_double_fork},
    {"memfd", attack_memfd},
    {"maps", attack_maps},
    {"connect", attack_connect},
    {"connect-mapped", attack_connect_mapped},
    {"connect-fast", attack_connect_fast},
    {"many", attack_many},
    {"deep", attack_deep},
    {"signal", attack_signal},
};

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; argc >= 2 && i < sizeof(attacks) / sizeof(attacks[0]); i++)
		if (strcmp(attacks[i].name, argv[1]) == 0)
			return attacks[i].attempt(argv + 2);
	fprintf(stderr, "e2e-policy-attack: there is no such attack\n");
	return IMPOSSIBLE;
}
