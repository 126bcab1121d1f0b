/*
 * PID 1 of the application's namespaces. It prepares them, forks the application and then only forwards
 * signals, reaps and reports. When it ends, the kernel kills everything else in the PID namespace; it ends
 * when the application does, when the caller closes the control socket, and when the caller dies.
 *
 * Linux' rules for PID 1 suit it: no signal from inside the namespace can hurt it, SIGKILL from outside
 * does.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <linux/capability.h>

#include "agent/telebpf/confine/child.h"
#include "lib/base/cleanup.h"

/* Where init's last two descriptors live; everything else is closed. */
#define CONTROL_FD 0
#define SIGNAL_FD  1

static void send_note(int fd, int kind, int value)
{
	struct ygr_confine_note note = {kind, value};

	/* A caller that is gone is noticed in the loop; its death kills us anyway. */
	(void)send(fd, &note, sizeof(note), MSG_NOSIGNAL);
}

_Noreturn static void fail(const struct ygr_confine_child *child, const struct ygr_error *error)
{
	(void)!write(child->status_fd, error, sizeof(*error));
	_exit(1);
}

static void reset_signals(void)
{
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		if (i != SIGKILL && i != SIGSTOP)
			signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void write_offset(FILE *file, const char *clock, int64_t ns)
{
	int64_t seconds = ns / 1000000000, rest = ns % 1000000000;

	if (rest < 0) {
		rest += 1000000000;
		seconds--;
	}
	fprintf(file, "%s %lld %lld\n", clock, (long long)seconds, (long long)rest);
}

/*
 * A time namespace is entered by the next fork, and its offsets can be set until then. A kernel without it,
 * or offsets that it refuses, leave the application on the node's clocks; the caller reports that.
 */
static bool enter_time(const struct ygr_confine_options *options)
{
	FILE *file;
	bool written;

	if (unshare(CLONE_NEWTIME) < 0)
		return false;
	file = fopen("/proc/self/timens_offsets", "we");
	if (!file)
		return false;
	write_offset(file, "monotonic", options->monotonic_offset_ns);
	write_offset(file, "boottime", options->boottime_offset_ns);
	written = !ferror(file);
	return fclose(file) == 0 && written;
}

/* Until the caller traces us. */
static void await_go(const struct ygr_confine_child *child)
{
	struct pollfd wait = {.fd = child->control_fd, .events = POLLIN};
	int32_t go;

	do
		poll(&wait, 1, -1);
	while (recv(child->control_fd, &go, sizeof(go), 0) < 0 && (errno == EINTR || errno == EAGAIN));
}

static int prepare(const struct ygr_confine_child *child, struct ygr_error *error)
{
	const char *hostname = child->options->hostname ? child->options->hostname : "guest";
	int r;

	reset_signals();
	prctl(PR_SET_NAME, "yagura-init");
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
		return ygr_error_set(error, errno, "cannot tie init to its caller: %m");
	/* The caller may have died before that: then its end of the socket is closed. */
	if (poll(&(struct pollfd){.fd = child->control_fd, .events = POLLRDHUP}, 1, 0) > 0)
		_exit(1);
	if (child->options->traced)
		await_go(child);
	r = ygr_cgroup_join(child->cgroup);
	if (r < 0)
		return ygr_error_set(error, -r, "cannot join the control group: %s", strerror(-r));
	if (unshare(CLONE_NEWCGROUP) < 0)
		return ygr_error_set(error, errno, "cannot make a control group namespace: %m");
	if (sethostname(hostname, strnlen(hostname, 64)) < 0)
		return ygr_error_set(error, errno, "cannot set the host name %s: %m", hostname);
	send_note(child->control_fd, YGR_CONFINE_TIME, enter_time(child->options));
	return ygr_confine_mounts(child->options, error);
}

/* What init keeps once the application is forked: two descriptors, CAP_KILL, and a handful of system calls.
 */
static int settle(const struct ygr_confine_child *child, int signal_fd, struct ygr_error *error)
{
	int r;

	if (dup2(child->control_fd, CONTROL_FD) < 0 || dup2(signal_fd, SIGNAL_FD) < 0)
		return ygr_error_set(error, errno, "init cannot move its descriptors: %m");
	for (int fd = 2; fd < 1024; fd++)
		if (fd != child->status_fd)
			close(fd);
	close_range(1024, ~0u, 0);
	r = ygr_confine_keep_capabilities(1ull << CAP_KILL, error);
	if (r == 0)
		r = ygr_confine_filter_init(error);
	return r;
}

static int make_signal_fd(struct ygr_error *error)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	/* Above the descriptors that settle() moves others to. */
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return ygr_error_set(error, errno, "init cannot watch its children: %m");
	return fd;
}

/* Ends init, and so the whole namespace, when it was the application that ended. */
static void reap(pid_t app)
{
	struct signalfd_siginfo ignored;
	int status;
	pid_t pid;

	while (read(SIGNAL_FD, &ignored, sizeof(ignored)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == app) {
			send_note(CONTROL_FD, YGR_CONFINE_EXIT, status);
			_exit(0);
		}
}

static void forward(pid_t app)
{
	int32_t number;
	ssize_t n = recv(CONTROL_FD, &number, sizeof(number), MSG_DONTWAIT);

	if (n == sizeof(number) && number > 0 && number < NSIG)
		kill(app, number);
	else if (n == 0)
		_exit(1); /* the caller is gone */
}

_Noreturn void ygr_confine_init(const struct ygr_confine_child *child)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct pollfd events[2] = {{.fd = CONTROL_FD, .events = POLLIN},
				   {.fd = SIGNAL_FD, .events = POLLIN}};
	int signal_fd;
	pid_t app;

	if (prepare(child, &error) < 0)
		fail(child, &error);
	signal_fd = make_signal_fd(&error);
	if (signal_fd < 0)
		fail(child, &error);
	app = fork();
	if (app < 0) {
		ygr_error_set(&error, errno, "init cannot fork: %m");
		fail(child, &error);
	}
	if (app == 0) {
		send_note(child->control_fd, YGR_CONFINE_APP, 0);
		ygr_confine_exec(child, &error);
		fail(child, &error);
	}
	if (settle(child, signal_fd, &error) < 0)
		fail(child, &error);
	close(child->status_fd);
	for (;;) {
		if (poll(events, 2, -1) < 0 && errno != EINTR)
			_exit(1);
		if (events[0].revents)
			forward(app);
		if (events[1].revents)
			reap(app);
	}
}
