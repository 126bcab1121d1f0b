/* The server's loop; see server.h. */
#include "guest-image/guest/server.h"

#include <errno.h>
#include <linux/vm_sockets.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest-image/guest/ask.h"
#include "guest-image/guest/custody.h"
#include "lib/base/cleanup.h"
#include "lib/base/log.h"

#define CHILDREN_MAX (YGR_GUEST_SESSIONS_MAX + YGR_CONTROLS_MAX + 2 * YGR_STRANGERS_MAX + 4)
/* Whoever can connect could fill the log: of so many strangers in a while each is worth a line. */
#define LOG_STRANGERS 20
#define LOG_WINDOW_MS 60000
#define KEEP_MAX      (1ull << 32) /* bytes of one mapping */

enum child_state { STRANGER, CONTROL, POLICY, SESSION, SESSION_OPEN };

struct child {
	pid_t pid;
	int fd; /* ask.h; -1: only waits to be reaped */
	enum child_state state;
	bool condemned; /* killed, counts no longer */
	uint64_t born_ms;
	uint8_t id[16]; /* SESSION_OPEN */
};

struct server {
	const struct ygr_guest_setup *setup;
	int listen_fd, signal_fd, epoll_fd;
	sigset_t signals; /* to be blocked here, not in children */
	struct child children[CHILDREN_MAX];
	unsigned count;
	struct ygr_custody custody;
	uint64_t minute_ms; /* when the present LOG_WINDOW_MS began */
	unsigned strangers; /* since then */
};

static uint64_t now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static unsigned count_state(const struct server *server, enum child_state state)
{
	unsigned n = 0;
	for (unsigned i = 0; i < server->count; i++)
		n += server->children[i].state == state && !server->children[i].condemned;
	return n;
}

static int watch(struct server *server, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
	return epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static void condemn(struct child *child)
{
	kill(child->pid, SIGKILL);
	child->condemned = true;
}

/* Room for one more stranger, if need be the place of the oldest who has had time enough to introduce
 * itself. */
static bool make_room(struct server *server)
{
	struct child *oldest = NULL;
	if (server->count == CHILDREN_MAX)
		return false;
	if (count_state(server, STRANGER) < YGR_STRANGERS_MAX)
		return true;
	for (unsigned i = 0; i < server->count; i++) {
		struct child *child = &server->children[i];
		if (child->state == STRANGER && !child->condemned &&
		    (!oldest || child->born_ms < oldest->born_ms))
			oldest = child;
	}
	if (!oldest || now_ms() - oldest->born_ms < YGR_STRANGER_PATIENCE_MS)
		return false;
	condemn(oldest);
	return true;
}

/* In the new process: nothing of the server's stays open here. */
static void run_child(struct server *server, int connection, int ask_fd)
{
	bool quiet = server->strangers > LOG_STRANGERS;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(server->listen_fd);
	close(server->signal_fd);
	close(server->epoll_fd);
	for (unsigned i = 0; i < server->count; i++)
		if (server->children[i].fd >= 0)
			close(server->children[i].fd);
	ygr_custody_deinit(&server->custody);
	sigprocmask(SIG_UNBLOCK, &server->signals, NULL);
	exit(ygr_guest_connection_run(connection, ask_fd, server->setup, quiet));
}

static int start_child(struct server *server, int connection)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pid_t pid = fork();
	if (pid == 0) {
		close(pair[0]);
		run_child(server, connection, pair[1]);
	}
	int r = pid < 0 ? -errno : 0;
	close(pair[1]);
	if (r == 0)
		r = watch(server, pair[0]);
	if (r < 0) {
		close(pair[0]);
		if (pid > 0)
			kill(pid, SIGKILL);
		return r;
	}
	server->children[server->count++] =
	    (struct child){.pid = pid, .fd = pair[0], .state = STRANGER, .born_ms = now_ms()};
	return 0;
}

/* On AF_VSOCK only the host may speak: programs of this guest could use up the strangers' places otherwise.
 */
static bool from_host(const struct sockaddr_storage *peer)
{
	if (peer->ss_family != AF_VSOCK)
		return true;
	return ((const struct sockaddr_vm *)peer)->svm_cid == VMADDR_CID_HOST;
}

static void count_stranger(struct server *server)
{
	uint64_t now = now_ms();
	if (now - server->minute_ms > LOG_WINDOW_MS) {
		server->minute_ms = now;
		server->strangers = 0;
	}
	if (++server->strangers == LOG_STRANGERS + 1)
		ygr_log(
		    YGR_LOG_WARNING, "guest",
		    "more than %d connections in a minute: those turned away are not reported one by one",
		    LOG_STRANGERS);
}

static void take_connection(struct server *server)
{
	struct sockaddr_storage peer = {0};
	socklen_t length = sizeof(peer);
	_cleanup_close_ int fd = accept4(server->listen_fd, (struct sockaddr *)&peer, &length, SOCK_CLOEXEC);
	if (fd < 0 || !from_host(&peer))
		return;
	count_stranger(server);
	if (!make_room(server))
		return;
	int r = start_child(server, fd);
	if (r < 0)
		ygr_log(YGR_LOG_ERROR, "guest", "a connection cannot be served: %s", strerror(-r));
}

static int authenticated(struct server *server, struct child *child, uint64_t purpose)
{
	if (child->state != STRANGER)
		return -EINVAL;
	if (purpose == YGR_PURPOSE_CONTROL && count_state(server, CONTROL) >= YGR_CONTROLS_MAX)
		return -EMFILE;
	/* There is one policy connection: what a dead one holds must not keep the next out. */
	for (unsigned i = 0; i < server->count && purpose == YGR_PURPOSE_POLICY; i++)
		if (server->children[i].state == POLICY && !server->children[i].condemned)
			condemn(&server->children[i]);
	child->state = purpose == YGR_PURPOSE_SESSION  ? SESSION
		       : purpose == YGR_PURPOSE_POLICY ? POLICY
						       : CONTROL;
	server->strangers -= server->strangers > 0;
	return 0;
}

static int begin_session(struct server *server, struct child *child, const uint8_t id[16])
{
	if (child->state != SESSION)
		return -EINVAL;
	if (count_state(server, SESSION_OPEN) >= server->setup->config->max_sessions)
		return -EMFILE;
	child->state = SESSION_OPEN;
	memcpy(child->id, id, 16);
	return 0;
}

static int keep(struct server *server, struct child *child, const struct ygr_ask *ask, int fd)
{
	if (child->state != SESSION_OPEN || fd < 0 || ask->number == 0 || ask->number > KEEP_MAX)
		return -EINVAL;
	return ygr_custody_keep(&server->custody, child->pid, child->id, ask->handle, fd,
				(size_t)ask->number);
}

static int handle_ask(struct server *server, struct child *child, const struct ygr_ask *ask, int fd)
{
	switch (ask->what) {
	case YGR_ASK_AUTHENTICATED:
		return authenticated(server, child, ask->number);
	case YGR_ASK_SESSION:
		return begin_session(server, child, ask->id);
	case YGR_ASK_KEEP:
		return keep(server, child, ask, fd);
	case YGR_ASK_FORGET:
		ygr_custody_forget(&server->custody, child->pid, child->id, ask->handle);
		return 0;
	case YGR_ASK_RELEASE:
		if (child->state != CONTROL)
			return -EINVAL;
		ygr_custody_release(&server->custody, ask->id);
		return 0;
	default:
		return -EINVAL;
	}
}

static void serve_child(struct server *server, int fd)
{
	struct child *child = NULL;
	struct ygr_ask ask;
	int passed = -1;

	for (unsigned i = 0; i < server->count; i++)
		if (server->children[i].fd == fd)
			child = &server->children[i];
	if (!child)
		return;
	int r = ygr_ask_receive(fd, &ask, &passed);
	if (r > 0)
		ygr_ask_answer(fd, handle_ask(server, child, &ask, passed));
	if (passed >= 0)
		close(passed);
	if (r < 0) { /* its process is ending; the rest when it is reaped */
		close(child->fd);
		child->fd = -1;
	}
}

static void forget_child(struct server *server, pid_t pid, int status)
{
	for (unsigned i = 0; i < server->count; i++) {
		struct child *child = &server->children[i];
		if (child->pid != pid)
			continue;
		if (WIFSIGNALED(status) && !child->condemned)
			ygr_log(YGR_LOG_ERROR, "guest", "the process of a connection died of signal %d",
				WTERMSIG(status));
		if (child->fd >= 0)
			close(child->fd);
		ygr_custody_died(&server->custody, pid);
		*child = server->children[--server->count];
		return;
	}
}

static void reap(struct server *server)
{
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
		forget_child(server, pid, status);
}

/* True when the server shall end. */
static bool take_signals(struct server *server)
{
	struct signalfd_siginfo info;
	bool end = false;
	while (read(server->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			reap(server);
		else
			end = true;
	}
	return end;
}

static void loop(struct server *server)
{
	struct epoll_event events[16];
	bool end = false;
	while (!end) {
		int n = epoll_wait(server->epoll_fd, events, 16, -1);
		/* signals last: reaping moves children, and their descriptors' numbers may be given anew */
		bool signalled = false;
		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == server->signal_fd)
				signalled = true;
			else if (events[i].data.fd == server->listen_fd)
				take_connection(server);
			else
				serve_child(server, events[i].data.fd);
		}
		end = signalled && take_signals(server);
	}
}

static int prepare(struct server *server)
{
	sigemptyset(&server->signals);
	sigaddset(&server->signals, SIGCHLD);
	sigaddset(&server->signals, SIGTERM);
	sigaddset(&server->signals, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &server->signals, NULL) < 0)
		return -errno;
	server->signal_fd = signalfd(-1, &server->signals, SFD_CLOEXEC | SFD_NONBLOCK);
	server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (server->signal_fd < 0 || server->epoll_fd < 0)
		return -errno;

	/* the kernel counts maps and rings against this until 5.11, and perf rings always */
	struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	(void)setrlimit(RLIMIT_MEMLOCK,
			&unlimited); /* without CAP_SYS_RESOURCE: what the service manager set */
	int r = watch(server, server->signal_fd);
	return r < 0 ? r : watch(server, server->listen_fd);
}

int ygr_guest_serve(int listen_fd, const struct ygr_guest_setup *setup, struct ygr_error *error)
{
	struct server *server = calloc(1, sizeof(*server));
	if (!server)
		return ygr_error_set(error, ENOMEM, "out of memory");
	server->setup = setup;
	server->listen_fd = listen_fd;
	server->signal_fd = server->epoll_fd = -1;

	int r = prepare(server);
	if (r == 0)
		loop(server);
	else
		ygr_error_set(error, -r, "the server cannot start: %s", strerror(-r));
	for (unsigned i = 0; i < server->count; i++) {
		kill(server->children[i].pid, SIGKILL);
		waitpid(server->children[i].pid, NULL, 0);
		if (server->children[i].fd >= 0)
			close(server->children[i].fd);
	}
	ygr_custody_deinit(&server->custody);
	if (server->epoll_fd >= 0)
		close(server->epoll_fd);
	if (server->signal_fd >= 0)
		close(server->signal_fd);
	free(server);
	return r;
}
