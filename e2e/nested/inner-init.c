/*
 * First program of the guest of a guest (e2e/lib/nested.py), where busybox and its shell cost half a minute for each
 * boot: it mounts, loads modules, runs yagura-guest, and does what the node asks for over the virtio port
 * "yagura.shell". A request is a line "ID WORD...", its answer a line "ID CODE TEXT":
 *
 *   run PROGRAM ARGUMENT...  executes it and waits; CODE is its status. With this program itself as PROGRAM there is
 *                            something to be seen that does nothing: any but the first process of it ends at once
 *   programs                 TEXT: how many eBPF programs this kernel has
 *   guest                    TEXT: the process of yagura-guest, 0 when it does not run
 *   guest kill               SIGKILL for yagura-guest, which stays away until "guest start"
 *   vsock off, vsock on      takes the vsock device from its driver, and gives it back
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PORTS  "/sys/class/virtio-ports"
#define DRIVER "/sys/bus/virtio/drivers/vmw_vsock_virtio_transport"
#define GUEST  "/usr/sbin/yagura-guest"

enum { WORDS = 16, LINE = 1024 };

struct state {
	pid_t guest;
	bool guest_wanted;
	char vsock[32]; /* the device as the bus calls it, once it was taken from its driver */
};

static void mount_all(void)
{
	static const char *const mounts[][2] = {
	    {"proc", "/proc"},
	    {"sysfs", "/sys"},
	    {"devtmpfs", "/dev"},
	    {"debugfs", "/sys/kernel/debug"},
	    {"tracefs", "/sys/kernel/tracing"},
	    {"securityfs", "/sys/kernel/security"},
	    {"bpf", "/sys/fs/bpf"},
	};

	for (size_t i = 0; i < sizeof(mounts) / sizeof(*mounts); i++)
		if (mount(mounts[i][0], mounts[i][1], mounts[i][0], 0, NULL) < 0)
			printf("init: %s: %s\n", mounts[i][1], strerror(errno));
}

/* guest-image/build has put what the modules need before them. */
static void load_modules(void)
{
	char name[256];
	FILE *list = fopen("/etc/modules.order", "re");

	while (list && fgets(name, sizeof(name), list)) {
		name[strcspn(name, "\n")] = '\0';
		int fd = open(name, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) < 0)
			printf("init: %s: %s\n", name, strerror(errno));
		close(fd);
	}
	if (list)
		fclose(list);
}

/* The one line of PATH; empty when there is none. */
static void read_line(const char *path, char *out, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, out, size - 1) : 0;

	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	close(fd);
}

static int write_word(const char *path, const char *word)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int r = fd < 0 || write(fd, word, strlen(word)) < 0 ? -errno : 0;

	close(fd);
	return r;
}

/* The port of the node's commands, opened; -1: there is none. */
static int open_port(void)
{
	DIR *folder = opendir(PORTS);
	int fd = -1;

	for (struct dirent *entry; folder && fd < 0 && (entry = readdir(folder));) {
		char path[sizeof(PORTS) + 280], name[64];
		snprintf(path, sizeof(path), PORTS "/%.255s/name", entry->d_name);
		read_line(path, name, sizeof(name));
		if (strcmp(name, "yagura.shell") != 0)
			continue;
		snprintf(path, sizeof(path), "/dev/%.255s", entry->d_name);
		fd = open(path, O_RDWR | O_CLOEXEC);
	}
	if (folder)
		closedir(folder);
	return fd;
}

static pid_t start(char *const argv[])
{
	pid_t pid = fork();

	if (pid == 0) {
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		execv(argv[0], argv);
		_exit(127);
	}
	return pid;
}

static void keep_guest(struct state *state)
{
	if (state->guest_wanted && state->guest <= 0)
		state->guest = start((char *[]){GUEST, NULL});
}

static void reaped(struct state *state, pid_t pid)
{
	if (pid == state->guest)
		state->guest = 0;
}

static int run(struct state *state, char *const argv[])
{
	pid_t pid = start(argv), ended;
	int status = 0;

	while (pid > 0 && (ended = waitpid(-1, &status, 0)) != pid)
		reaped(state, ended);
	return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}

static unsigned count_programs(void)
{
	union bpf_attr attr = {0};
	unsigned count = 0;

	while (syscall(SYS_bpf, BPF_PROG_GET_NEXT_ID, &attr, sizeof(attr)) == 0) {
		attr.start_id = attr.next_id;
		count++;
	}
	return count;
}

static int switch_vsock(struct state *state, bool on)
{
	DIR *folder = opendir(DRIVER);

	for (struct dirent *entry; !on && folder && (entry = readdir(folder));)
		if (strncmp(entry->d_name, "virtio", strlen("virtio")) == 0)
			snprintf(state->vsock, sizeof(state->vsock), "%.30s", entry->d_name);
	if (folder)
		closedir(folder);
	return write_word(on ? DRIVER "/bind" : DRIVER "/unbind", state->vsock);
}

/* CODE of the answer; TEXT holds LINE bytes and is empty. */
static int obey(struct state *state, char *const words[], char *text)
{
	const char *what = words[1] ? words[1] : "";

	if (strcmp(words[0], "run") == 0 && *what)
		return run(state, words + 1);
	if (strcmp(words[0], "vsock") == 0)
		return -switch_vsock(state, strcmp(what, "on") == 0);
	if (strcmp(words[0], "programs") == 0) {
		snprintf(text, LINE, "%u", count_programs());
		return 0;
	}
	if (strcmp(words[0], "guest") != 0)
		return 127;
	if (strcmp(what, "kill") == 0) {
		state->guest_wanted = false;
		return state->guest > 0 && kill(state->guest, SIGKILL) == 0 ? 0 : 1;
	}
	if (strcmp(what, "start") == 0)
		state->guest_wanted = true;
	keep_guest(state);
	snprintf(text, LINE, "%d", state->guest);
	return 0;
}

static void answer(struct state *state, int port, char *line)
{
	char text[LINE] = "", out[2 * LINE], *words[WORDS + 1] = {NULL}, *save = NULL;
	const char *id = strtok_r(line, " ", &save);

	for (int i = 0; i < WORDS && (words[i] = strtok_r(NULL, " ", &save)); i++)
		;
	if (!id || !words[0])
		return;
	int code = obey(state, words, text);
	int n = snprintf(out, sizeof(out), "%s %d %s\n", id, code, text);
	if (write(port, out, (size_t)n) != n)
		printf("init: an answer was lost: %s\n", strerror(errno));
}

/* What came of a line is kept in LINE until the rest is there; what is too long is no request. */
static void hear(struct state *state, int port, char *line, size_t *length)
{
	ssize_t n = read(port, line + *length, LINE - 1 - *length);
	char *end;

	if (n <= 0) { /* nobody is on the other end */
		nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
		return;
	}
	*length += (size_t)n;
	line[*length] = '\0';
	while ((end = strchr(line, '\n'))) {
		char request[LINE];
		*end = '\0';
		memcpy(request, line, (size_t)(end + 1 - line));
		*length -= (size_t)(end + 1 - line);
		memmove(line, end + 1, *length + 1);
		answer(state, port, request);
	}
	if (*length == LINE - 1)
		*length = 0;
}

static void serve(struct state *state, int port, int signals)
{
	struct pollfd fds[] = {{.fd = port, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
	char line[LINE];
	size_t length = 0;

	for (;;) {
		keep_guest(state);
		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[0].revents)
			hear(state, port, line, &length);
		if (fds[1].revents) {
			struct signalfd_siginfo info;
			(void)!read(signals, &info, sizeof(info));
			for (pid_t pid; (pid = waitpid(-1, NULL, WNOHANG)) > 0;)
				reaped(state, pid);
		}
	}
}

int main(void)
{
	struct state state = {.guest_wanted = true};
	sigset_t child;
	char up[64];

	if (getpid() != 1)
		return 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	mount_all();
	load_modules();
	read_line("/proc/uptime", up, sizeof(up));
	printf("init: is up after %.*s s\n", (int)strcspn(up, " "), up);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	int port = open_port(), signals = signalfd(-1, &child, SFD_CLOEXEC);
	if (port >= 0 && signals >= 0)
		serve(&state, port, signals);
	printf("init: the port of the node's commands: %s\n", strerror(errno));
	return reboot(RB_POWER_OFF);
}
