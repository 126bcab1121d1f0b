/*
 * The caller's side of a confinement: prepares what only the caller can (control group, pipes), clones init
 * into the new namespaces and keeps four handles on it: a pidfd, the status pipe, the control socket and the
 * control group.
 *
 * The status pipe follows the self-pipe idiom: its write end is closed by a successful exec, so end of file
 * without a message means that the application runs. The control socket carries SCM_CREDENTIALS, by which
 * the kernel translates the application's pid into the caller's namespace.
 */
#include "agent/telebpf/confine/confine.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "agent/telebpf/confine/child.h"
#include "lib/base/cleanup.h"

/* A killed namespace is gone in milliseconds, unless one of its processes waits for somebody who is stuck.
 */
#define FREE_WAIT_MS 5000

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)

struct ygr_confined {
	struct ygr_cgroup *cgroup;
	struct ygr_confine_features features;
	pid_t init_pid, app_pid;
	int pidfd, status_fd, control_fd;
	bool reaped, exit_known;
	int exit_status;
};

static int check_options(const struct ygr_confine_options *options, struct ygr_error *error)
{
	if (options->uid == 0 || options->gid == 0)
		return ygr_error_set(error, EPERM, "an application may not run as user or group 0");
	if (options->uid == (uid_t)-1 || options->gid == (gid_t)-1)
		return ygr_error_set(error, EINVAL, "user or group id is invalid");
	if (!options->executable || options->executable[0] != '/' || strstr(options->executable, "/../"))
		return ygr_error_set(error, EINVAL, "executable \"%s\" is not an absolute path",
				     options->executable ? options->executable : "");
	if (options->shim && options->shim[0] != '/')
		return ygr_error_set(error, EINVAL, "shim \"%s\" is not an absolute path", options->shim);
	if (!options->argv || !options->argv[0] || !options->envp)
		return ygr_error_set(error, EINVAL, "arguments or environment are missing");
	return 0;
}

static int open_channels(struct ygr_confined *confined, struct ygr_confine_child *child,
			 struct ygr_error *error)
{
	int status[2], control[2], one = 1;

	if (pipe2(status, O_CLOEXEC) < 0)
		return ygr_error_set(error, errno, "cannot make a pipe: %m");
	confined->status_fd = status[0];
	child->status_fd = status[1];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, control) < 0)
		return ygr_error_set(error, errno, "cannot make a socket pair: %m");
	confined->control_fd = control[0];
	child->control_fd = control[1];
	if (setsockopt(control[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) < 0)
		return ygr_error_set(error, errno, "cannot ask for credentials on a socket: %m");
	return 0;
}

/*
 * clone3() as fork(): no glibc wrapper takes namespace flags together with a copied stack. The child runs no
 * code that depends on glibc's idea of its thread id.
 */
static int clone_init(struct ygr_confined *confined, const struct ygr_confine_child *child,
		      struct ygr_error *error)
{
	int pidfd = -1;
	struct clone_args args = {
	    .flags = NAMESPACES | CLONE_PIDFD,
	    .pidfd = (uintptr_t)&pidfd,
	    .exit_signal = SIGCHLD,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (pid < 0)
		return ygr_error_set(error, errno, "cannot make the application's namespaces: %m");
	if (pid == 0)
		ygr_confine_init(child);
	confined->init_pid = pid;
	confined->pidfd = pidfd;
	return 0;
}

int ygr_confine_start(const struct ygr_confine_options *options, struct ygr_confined **ret,
		      struct ygr_error *error)
{
	struct ygr_confine_child child = {.options = options, .status_fd = -1, .control_fd = -1};
	struct ygr_confined *confined;
	int r = check_options(options, error);

	if (r < 0)
		return r;
	confined = malloc(sizeof(*confined));
	if (!confined)
		return ygr_error_set(error, ENOMEM, "out of memory");
	*confined = (struct ygr_confined){.pidfd = -1, .status_fd = -1, .control_fd = -1};
	r = ygr_cgroup_new(options->cgroup,
			   &(struct ygr_cgroup_limits){options->memory, options->cpu_milli, options->pids},
			   &confined->cgroup, error);
	if (r == 0) {
		const struct ygr_cgroup_features *had = ygr_cgroup_features(confined->cgroup);

		confined->features =
		    (struct ygr_confine_features){had->version, had->memory, had->cpu, had->pids, false};
		child.cgroup = confined->cgroup;
		r = open_channels(confined, &child, error);
	}
	if (r == 0)
		r = clone_init(confined, &child, error);
	ygr_closep(&child.status_fd);
	ygr_closep(&child.control_fd);
	if (r < 0) {
		ygr_confine_free(confined);
		return r;
	}
	*ret = confined;
	return 0;
}

static void take_note(struct ygr_confined *confined, const struct ygr_confine_note *note, pid_t sender)
{
	switch ((enum ygr_confine_note_kind)note->kind) {
	case YGR_CONFINE_TIME:
		confined->features.time = note->value == 1;
		break;
	case YGR_CONFINE_APP:
		confined->app_pid = sender;
		break;
	case YGR_CONFINE_EXIT:
		confined->exit_known = true;
		confined->exit_status = note->value;
		break;
	}
}

static void read_notes(struct ygr_confined *confined)
{
	for (;;) {
		union {
			struct cmsghdr header;
			uint8_t space[CMSG_SPACE(sizeof(struct ucred))];
		} buffer;
		struct ygr_confine_note note;
		struct iovec piece = {&note, sizeof(note)};
		struct msghdr message = {.msg_iov = &piece,
					 .msg_iovlen = 1,
					 .msg_control = &buffer,
					 .msg_controllen = sizeof(buffer)};
		struct cmsghdr *c;
		struct ucred sender = {0};

		if (recvmsg(confined->control_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != sizeof(note))
			return;
		c = CMSG_FIRSTHDR(&message);
		if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS)
			memcpy(&sender, CMSG_DATA(c), sizeof(sender));
		take_note(confined, &note, sender.pid);
	}
}

int ygr_confine_go(struct ygr_confined *confined)
{
	const int32_t go = 0;

	return send(confined->control_fd, &go, sizeof(go), MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int ygr_confine_status_fd(const struct ygr_confined *confined)
{
	return confined->status_fd;
}

int ygr_confine_outcome(struct ygr_confined *confined, struct ygr_error *error)
{
	struct ygr_error failed;
	ssize_t n = read(confined->status_fd, &failed, sizeof(failed));

	read_notes(confined);
	if (n == sizeof(failed)) {
		failed.message[sizeof(failed.message) - 1] = '\0';
		return ygr_error_set(error, failed.code > 0 ? failed.code : EIO, "%s", failed.message);
	}
	if (n < 0)
		return ygr_error_set(error, errno, "cannot read the outcome of the start: %m");
	if (n > 0 || confined->app_pid <= 0)
		return ygr_error_set(error, ECHILD, "the application was killed while it was being started");
	return 0;
}

const struct ygr_confine_features *ygr_confine_features(const struct ygr_confined *confined)
{
	return &confined->features;
}

pid_t ygr_confine_init_pid(const struct ygr_confined *confined)
{
	return confined->init_pid;
}

pid_t ygr_confine_app_pid(const struct ygr_confined *confined)
{
	return confined->app_pid;
}

int ygr_confine_pidfd(const struct ygr_confined *confined)
{
	return confined->pidfd;
}

int ygr_confine_signal(struct ygr_confined *confined, int signal_number)
{
	int32_t number = signal_number;

	if (signal_number < 1 || signal_number >= NSIG)
		return -EINVAL;
	if (signal_number == SIGKILL)
		return pidfd_send_signal(confined->pidfd, SIGKILL, NULL, 0) < 0 ? -errno : 0;
	if (send(confined->control_fd, &number, sizeof(number), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return errno == EPIPE ? -ESRCH : -errno;
	return 0;
}

int ygr_confine_wait(struct ygr_confined *confined, int *ret_status)
{
	siginfo_t info = {0};

	read_notes(confined);
	if (!confined->reaped) {
		if (waitid(P_PIDFD, (id_t)confined->pidfd, &info, WEXITED | WNOHANG) < 0)
			return -errno;
		if (info.si_pid == 0)
			return -EAGAIN;
		confined->reaped = true;
		read_notes(confined);
	}
	/* An init that could not tell was killed, and everything with it. */
	*ret_status = confined->exit_known ? confined->exit_status : SIGKILL;
	return 0;
}

struct ygr_confined *ygr_confine_free(struct ygr_confined *confined)
{
	if (!confined)
		return NULL;
	if (confined->pidfd >= 0 && !confined->reaped) {
		struct pollfd wait = {.fd = confined->pidfd, .events = POLLIN};
		int status;

		pidfd_send_signal(confined->pidfd, SIGKILL, NULL, 0);
		while (poll(&wait, 1, FREE_WAIT_MS) < 0 && errno == EINTR)
			;
		ygr_confine_wait(confined, &status);
	}
	ygr_closep(&confined->pidfd);
	ygr_closep(&confined->status_fd);
	ygr_closep(&confined->control_fd);
	ygr_cgroup_free(confined->cgroup);
	free(confined);
	return NULL;
}
