/*
 * The stops of ptrace(2), sorted. With PTRACE_SEIZE there are: new children (PTRACE_EVENT_STOP), those that
 * we asked for (the same), group stops (the same, with the stopping signal), signals on their way, and the
 * events that we asked for at fork, exec and exit.
 */
#include "agent/telebpf/session/tracer.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

/*
 * EXEC, since the thread that calls exec takes the number of the first; EXIT, since a first thread that ends
 * before the others is not reported until they have, and would be waited for.
 */
#define OPTIONS                                                                                             \
	(PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |              \
	 PTRACE_O_TRACEEXIT | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)
#define FREE_ROUNDS 1000 /* of a millisecond */

static struct ygr_tracee *find(const struct ygr_tracer *tracer, pid_t tid)
{
	for (unsigned i = 0; i < tracer->count; i++)
		if (tracer->tracees[i].tid == tid)
			return &tracer->tracees[i];
	return NULL;
}

/* NULL: there are too many, or no memory; then nothing can be held any more, as this one is not known. */
static struct ygr_tracee *add(struct ygr_tracer *tracer, pid_t tid)
{
	struct ygr_tracee *tracee = find(tracer, tid);

	if (tracee)
		return tracee;
	if (tracer->count == tracer->room) {
		unsigned room = tracer->room ? 2 * tracer->room : 16;
		struct ygr_tracee *grown =
		    room > YGR_TRACEES_MAX ? NULL : realloc(tracer->tracees, room * sizeof(*grown));

		if (!grown) {
			tracer->overflow = true;
			return NULL;
		}
		tracer->tracees = grown;
		tracer->room = room;
	}
	tracee = &tracer->tracees[tracer->count++];
	*tracee = (struct ygr_tracee){.tid = tid};
	return tracee;
}

static void forget(struct ygr_tracer *tracer, pid_t tid)
{
	struct ygr_tracee *tracee = find(tracer, tid);

	if (tracee)
		*tracee = tracer->tracees[--tracer->count];
}

static void resume(struct ygr_tracee *tracee)
{
	/* One that was killed meanwhile is reported as such; nothing else can go wrong. */
	ptrace(tracee->group_stop ? PTRACE_LISTEN : PTRACE_CONT, tracee->tid, NULL, (long)tracee->signal);
	tracee->stopped = tracee->group_stop = tracee->clean = false;
	tracee->signal = 0;
}

/* Init has forked the application: that one is traced now, and init is not of interest. */
static void let_go(struct ygr_tracer *tracer)
{
	ptrace(PTRACE_DETACH, tracer->init, NULL, 0L);
	forget(tracer, tracer->init);
	tracer->attached = true;
}

static void stopped(struct ygr_tracer *tracer, struct ygr_tracee *tracee, int status)
{
	int event = status >> 16, number = WSTOPSIG(status);
	unsigned long message = 0;
	pid_t tid = tracee->tid;

	tracee->stopped = true;
	switch (event) {
	case PTRACE_EVENT_FORK:
	case PTRACE_EVENT_VFORK:
	case PTRACE_EVENT_CLONE:
		if (ptrace(PTRACE_GETEVENTMSG, tid, NULL, &message) == 0) {
			add(tracer, (pid_t)message);
			tracee = find(tracer, tid); /* the table may have moved */
		}
		if (tid == tracer->init && !tracer->attached) {
			let_go(tracer);
			return;
		}
		break;
	case PTRACE_EVENT_EXEC:
		if (ptrace(PTRACE_GETEVENTMSG, tid, NULL, &message) == 0 && (pid_t)message != tid) {
			forget(tracer, (pid_t)message);
			tracee = find(tracer, tid);
		}
		tracee->leaving = false; /* the number may have been a thread's that was ending */
		break;
	case PTRACE_EVENT_EXIT:
		tracee->leaving = true;
		resume(tracee);
		return;
	case PTRACE_EVENT_STOP:
		tracee->group_stop =
		    number == SIGSTOP || number == SIGTSTP || number == SIGTTIN || number == SIGTTOU;
		tracee->clean = !tracee->group_stop;
		break;
	default:
		if (number != (SIGTRAP | 0x80))
			tracee->signal = number;
		break;
	}
	if (!tracer->holding && !tracer->dead)
		resume(tracee);
}

static void take(struct ygr_tracer *tracer, pid_t tid)
{
	struct ygr_tracee *tracee;
	int status;

	if (waitpid(tid, &status, __WALL | WNOHANG) != tid)
		return;
	if (!WIFSTOPPED(status)) {
		forget(tracer, tid);
		return;
	}
	/* A child may be reported before the parent that tells of it. */
	tracee = add(tracer, tid);
	if (tracee)
		stopped(tracer, tracee, status);
	else
		ptrace(PTRACE_CONT, tid, NULL, 0L);
}

void ygr_tracer_dispatch(struct ygr_tracer *tracer)
{
	struct signalfd_siginfo ignored[16];
	siginfo_t info;
	int status;

	while (read(tracer->signal_fd, ignored, sizeof(ignored)) > 0)
		;
	for (;;) {
		info.si_pid = 0;
		if (waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL) < 0 ||
		    !info.si_pid)
			return;
		/*
		 * Init's end is its owner's to see. By then the kernel has waited until all others in the
		 * namespace were taken, so nobody is kept waiting behind it.
		 */
		if (info.si_pid == tracer->init && info.si_code != CLD_TRAPPED &&
		    info.si_code != CLD_STOPPED)
			return;
		if (info.si_pid == tracer->init && tracer->attached)
			waitpid(info.si_pid, &status, WUNTRACED | WNOHANG); /* stopped by a person */
		else
			take(tracer, info.si_pid);
	}
}

void ygr_tracer_hold(struct ygr_tracer *tracer)
{
	tracer->holding = true;
	for (unsigned i = 0; i < tracer->count; i++)
		if (!tracer->tracees[i].stopped)
			ptrace(PTRACE_INTERRUPT, tracer->tracees[i].tid, NULL, 0L);
}

bool ygr_tracer_held(const struct ygr_tracer *tracer)
{
	if (!tracer->holding || tracer->overflow || !tracer->attached)
		return false;
	for (unsigned i = 0; i < tracer->count; i++)
		if (!tracer->tracees[i].stopped && !tracer->tracees[i].leaving)
			return false;
	return true;
}

void ygr_tracer_release(struct ygr_tracer *tracer)
{
	tracer->holding = false;
	for (unsigned i = 0; i < tracer->count && !tracer->dead; i++)
		if (tracer->tracees[i].stopped)
			resume(&tracer->tracees[i]);
}

void ygr_tracer_condemn(struct ygr_tracer *tracer)
{
	tracer->dead = true;
}

int ygr_tracer_new(pid_t init, struct ygr_tracer **ret, struct ygr_error *error)
{
	struct ygr_tracer *tracer = calloc(1, sizeof(*tracer));
	sigset_t set;
	int r = 0;

	if (!tracer)
		return ygr_error_set(error, ENOMEM, "out of memory");
	tracer->signal_fd = -1;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	tracer->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (tracer->signal_fd < 0)
		r = ygr_error_set(error, errno, "cannot watch traced threads: %m");
	else if (!add(tracer, init))
		r = ygr_error_set(error, ENOMEM, "out of memory");
	else if (ptrace(PTRACE_SEIZE, init, NULL, (long)OPTIONS) < 0)
		r = ygr_error_set(error, errno, "cannot trace the application: %m");
	if (r < 0) {
		ygr_closep(&tracer->signal_fd);
		free(tracer->tracees);
		free(tracer);
		return r;
	}
	tracer->init = init;
	*ret = tracer;
	return 0;
}

struct ygr_tracer *ygr_tracer_free(struct ygr_tracer *tracer)
{
	const struct timespec moment = {.tv_nsec = 1000000};

	if (!tracer)
		return NULL;
	tracer->dead = true;
	for (int i = 0; tracer->count && i < FREE_ROUNDS; i++) {
		ygr_tracer_dispatch(tracer);
		if (tracer->count)
			nanosleep(&moment, NULL);
	}
	ygr_closep(&tracer->signal_fd);
	free(tracer->tracees);
	free(tracer);
	return NULL;
}
