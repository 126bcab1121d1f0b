/*
 * yagura-session: confines one application and holds its channel to one guest. See session.md for how the
 * agent starts it, session.h for its parts.
 *
 * Everything is driven from run(): a round of the loop, then what the rings need, then what time has come
 * for. How long the loop sleeps while rings are active is said in delivery.c; else it sleeps until something
 * happens.
 */
#include "agent/telebpf/session/session.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#include "agent/telebpf/session/start.h"
#include "lib/base/cleanup.h"
#include "lib/wire/message.h"

#define COUNTERS_NS 1000000000ull
#define STOP_NS     2000000000ull /* from SIGINT to SIGKILL */
#define FUSE_NS     2000000       /* between looks at /dev/fuse before it is mounted */
#define CONTROL_MAX (64u << 10)   /* one line of the agent */

uint64_t ygr_session_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void kill_application(struct ygr_session *session)
{
	session->killed = true;
	if (session->tracer)
		ygr_tracer_condemn(session->tracer);
	if (session->guestfs)
		ygr_guestfs_abandon(session->guestfs);
	if (session->confined)
		ygr_confine_signal(session->confined, SIGKILL);
	else
		session->done = true;
}

void ygr_session_fail(struct ygr_session *session, const char *reason, const char *format, ...)
{
	char message[YGR_ERROR_MESSAGE_MAX];
	va_list args;

	if (session->killed)
		return;
	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	ygr_report_error(&session->report, reason, "%s", message);
	kill_application(session);
}

void ygr_session_channel_changed(struct ygr_session *session)
{
	if (session->channel)
		ygr_loop_modify(&session->loop, &session->channel_watch,
				ygr_channel_events(session->channel));
}

void ygr_session_message(void *user, const struct ygr_frame *frame)
{
	struct ygr_session *session = user;
	char text[YGR_ERROR_MESSAGE_MAX];
	const size_t head = sizeof(struct ygr_refused);

	switch (frame->type) {
	case YGR_MSG_RING_READY:
	case YGR_MSG_RING_RECORDS:
		ygr_delivery_message(session, frame);
		return;
	case YGR_MSG_REFUSED:
		snprintf(text, sizeof(text), "%.*s",
			 frame->length > head
			     ? (int)(frame->length - head > 480 ? 480 : frame->length - head)
			     : 0,
			 frame->length > head ? (const char *)frame->payload + head : "");
		if (frame->id == YGR_REFUSED_FINAL)
			ygr_session_fail(session, "ProtocolError", "the guest ended the session: %s", text);
		else
			ygr_refused_by_owner(session, text);
		return;
	default:
		ygr_session_fail(session, "GuestMisbehaved", "the guest sent message %u unasked",
				 frame->type);
	}
}

void ygr_session_lost(void *user, const struct ygr_error *error)
{
	struct ygr_session *session = user;

	ygr_loop_remove(&session->loop, &session->channel_watch);
	/* What is no frame, or answers nothing, is not a channel's fault. */
	ygr_session_fail(session, error->code == EPROTO ? "GuestMisbehaved" : "ChannelLost", "%s",
			 error->message);
}

static void channel_ready(void *user, uint32_t events)
{
	struct ygr_session *session = user;

	ygr_channel_dispatch(session->channel, events);
	ygr_session_channel_changed(session);
	session->again = true; /* an answer or room in the channel may be what a process waited for */
}

static void fuse_ready(void *user, uint32_t events)
{
	struct ygr_session *session = user;

	(void)events;
	ygr_progress_asked(session);
	if (ygr_guestfs_dispatch(session->guestfs) < 0)
		ygr_loop_remove(&session->loop, &session->fuse);
	ygr_session_channel_changed(session);
}

static const char *launch_reason(int code)
{
	switch (code) {
	case EBADMSG:
		return "ExecutableChanged";
	case ENOMEM:
		return "OutOfMemory";
	default:
		return "LaunchFailed";
	}
}

static void status_ready(void *user, uint32_t events)
{
	struct ygr_session *session = user;
	struct ygr_error error = YGR_ERROR_INIT;

	(void)events;
	ygr_loop_remove(&session->loop, &session->status);
	if (session->killed)
		return;
	if (ygr_confine_outcome(session->confined, &error) < 0) {
		ygr_session_fail(session, launch_reason(error.code), "%s", error.message);
		return;
	}
	session->running = true;
	session->start_until = 0;
	session->greet_until = ygr_session_now() + 1000000000u;
	if (ygr_confine_self(session->tracer != NULL, &error) < 0)
		ygr_session_fail(session, "LaunchFailed", "%s", error.message);
}

static void traced_ready(void *user, uint32_t events)
{
	struct ygr_session *session = user;

	(void)events;
	ygr_tracer_dispatch(session->tracer);
}

static void pidfd_ready(void *user, uint32_t events)
{
	struct ygr_session *session = user;

	(void)events;
	if (session->status.fd >= 0)
		status_ready(session, 0); /* both at once: why it failed comes first */
	if (ygr_confine_wait(session->confined, &session->wait_status) == -EAGAIN)
		return;
	ygr_loop_remove(&session->loop, &session->pidfd);
	session->done = true;
}

static void obey(struct ygr_session *session, const char *line, size_t length)
{
	json_t *json = json_loadb(line, length, 0, NULL);
	const char *what = json_string_value(json_object_get(json, "do"));
	int number = (int)json_integer_value(json_object_get(json, "signal"));

	if (what && !strcmp(what, "signal") && number > 0) {
		ygr_confine_signal(session->confined, number);
	} else if (what && !strcmp(what, "stop")) {
		ygr_confine_signal(session->confined, SIGINT);
		if (!session->kill_at)
			session->kill_at = ygr_session_now() + STOP_NS;
	}
	json_decref(json);
}

static void control_ready(void *user, uint32_t events)
{
	struct ygr_session *session = user;
	struct ygr_buf *in = &session->control_in;
	uint8_t *end;
	ssize_t n;

	if ((events & EPOLLOUT) && ygr_report_flush(&session->report) < 0)
		kill_application(session);
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	if (ygr_buf_reserve(in, 4096) < 0)
		in->len = 0; /* the agent sends no such lines */
	n = in->cap - in->len < 4096 ? 0 : recv(session->report.fd, in->data + in->len, 4096, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) { /* the agent is gone */
		ygr_loop_remove(&session->loop, &session->control);
		kill_application(session);
		return;
	}
	in->len += (size_t)n;
	while (in->len && (end = memchr(in->data, '\n', in->len))) {
		obey(session, (const char *)in->data, (size_t)(end - in->data));
		ygr_buf_consume(in, (size_t)(end - in->data) + 1);
	}
}

/*
 * /dev/fuse cannot be waited for before the application's side has mounted it: it reports an error and has
 * no wait queue that epoll could join. So it is looked at again and again until then, a matter of
 * milliseconds.
 */
static void watch_fuse(struct ygr_session *session)
{
	struct pollfd p = {.fd = ygr_guestfs_fd(session->guestfs), .events = POLLIN};

	if (session->mounted || (poll(&p, 1, 0) == 1 && (p.revents & POLLERR)))
		return;
	session->mounted = true;
	if (ygr_loop_add(&session->loop, &session->fuse, p.fd, EPOLLIN, fuse_ready, session) < 0)
		ygr_session_fail(session, "LaunchFailed", "cannot watch the guest's files");
}

static int watch_all(struct ygr_session *session)
{
	int r = ygr_loop_add(&session->loop, &session->control, session->report.fd, EPOLLIN, control_ready,
			     session);

	if (r == 0)
		r = ygr_loop_add(&session->loop, &session->channel_watch, ygr_channel_fd(session->channel),
				 EPOLLIN, channel_ready, session);
	if (r == 0)
		r = ygr_loop_add(&session->loop, &session->status, ygr_confine_status_fd(session->confined),
				 EPOLLIN, status_ready, session);
	if (r == 0)
		r = ygr_loop_add(&session->loop, &session->pidfd, ygr_confine_pidfd(session->confined),
				 EPOLLIN, pidfd_ready, session);
	if (r == 0 && session->tracer)
		r = ygr_loop_add(&session->loop, &session->traced, session->tracer->signal_fd, EPOLLIN,
				 traced_ready, session);
	return r;
}

/* The start is reported when the shim has said how it hooks, or when it is clear that there is no shim. */
static void report_started(struct ygr_session *session)
{
	const struct ygr_confine_features *had = ygr_confine_features(session->confined);
	enum ygr_delivery delivery = session->config.delivery;

	session->started = true;
	ygr_progress_asked(session);
	if (!session->ram)
		delivery = YGR_DELIVERY_STREAM;
	ygr_report_object(&session->report,
			  json_pack("{s:s, s:i, s:s, s:s, s:s, s:s*, s:{s:s, s:b, s:b, s:b}}", "event",
				    "started", "pid", (int)ygr_confine_app_pid(session->confined),
				    "mechanism", ygr_explain_mechanism(session), "entrance",
				    ygr_explain_entrance(session), "delivery", ygr_delivery_name(delivery),
				    "deliveryReason", session->not_shared, "confinement", "cgroup",
				    had->cgroup, "memory", had->memory, "cpu", had->cpu, "time", had->time));
}

static void report_counters(struct ygr_session *session)
{
	session->counters_at = 0;
	if (!memcmp(&session->counters, &session->reported, sizeof(session->counters)))
		return;
	session->reported = session->counters;
	ygr_report_counters(&session->report, &session->counters);
}

/* The application's side is stuck, most likely since the guest does not answer. */
static void give_up_start(struct ygr_session *session)
{
	const char *path = ygr_guestfs_waiting(session->guestfs);

	session->start_until = 0;
	if (path)
		ygr_session_fail(
		    session, "LaunchFailed",
		    "the application was not started within %u s: the guest does not answer for %s",
		    session->config.start_seconds, path);
	else
		ygr_session_fail(session, "LaunchFailed",
				 "the application was not started within %u s: %s is not finished",
				 session->config.start_seconds,
				 session->mounted ? "binding the guest's files"
						  : "mounting the guest's files");
}

/* What time has come for. */
static void tick(struct ygr_session *session, uint64_t now)
{
	if (session->running && !session->started && (session->greeted || now >= session->greet_until))
		report_started(session);
	ygr_progress_tick(session, now, ygr_guestfs_waiting(session->guestfs) != NULL);
	if (session->counters_at && now >= session->counters_at)
		report_counters(session);
	else if (!session->counters_at &&
		 memcmp(&session->counters, &session->reported, sizeof(session->counters)))
		session->counters_at = now + COUNTERS_NS;
	if (session->start_until && now >= session->start_until)
		give_up_start(session);
	if (session->kill_at && now >= session->kill_at) {
		session->kill_at = 0;
		kill_application(session);
	}
	ygr_loop_modify(&session->loop, &session->control,
			EPOLLIN | (ygr_report_waiting(&session->report) ? EPOLLOUT : 0u));
}

static void serve_rings(struct ygr_session *session)
{
	if (session->killed)
		return;
	session->nap = ygr_delivery_poll(session);
	ygr_session_channel_changed(session);
}

/* Nanoseconds until the next thing to do; -1: until something happens. */
static int64_t timeout(const struct ygr_session *session)
{
	const uint64_t moments[] = {session->pressure_at,
				    session->arm_at,
				    session->counters_at,
				    session->kill_at,
				    session->hold_until,
				    session->hold_at,
				    session->start_until,
				    session->started ? 0 : session->greet_until,
				    session->started ? session->quiet_at : 0};
	uint64_t now = ygr_session_now(), next = UINT64_MAX;

	if (session->again)
		return 0;
	if (!session->mounted && !session->running)
		return FUSE_NS;
	for (unsigned i = 0; i < sizeof(moments) / sizeof(*moments); i++)
		if (moments[i] && moments[i] < next)
			next = moments[i];
	next = next > now ? next - now : 0;
	if (!session->killed && session->nap >= 0 && (uint64_t)session->nap < next)
		next = (uint64_t)session->nap;
	return next > INT64_MAX ? -1 : (int64_t)next;
}

static int run(struct ygr_session *session)
{
	while (!session->done) {
		int r = ygr_loop_round(&session->loop, timeout(session));

		if (r < 0)
			return r;
		if (session->again) {
			session->again = false;
			ygr_local_resume(session);
		}
		if (session->idle && !session->killed)
			ygr_delivery_idle(session);
		session->idle = false;
		ygr_local_reap(session);
		ygr_sharing_check(session);
		watch_fuse(session);
		serve_rings(session);
		tick(session, ygr_session_now());
	}
	return 0;
}

/* In this order: requests are answered while those who asked are there. */
static void session_deinit(struct ygr_session *session)
{
	session->killed = true;
	ygr_loop_remove(&session->loop, &session->channel_watch);
	if (session->tracer && session->confined)
		ygr_confine_signal(session->confined, SIGKILL);
	session->tracer = ygr_tracer_free(session->tracer);
	session->guestfs = ygr_guestfs_free(session->guestfs);
	ygr_route_free_all(session);
	session->channel = ygr_channel_free(session->channel);
	session->confined = ygr_confine_free(session->confined);
	ygr_sharing_free_all(session);
	ygr_mapping_free_all(session);
	ygr_local_free_all(session);
	session->ram = ygr_ram_free(session->ram);
	session->grant = ygr_grant_free(session->grant);
	if (session->arena)
		munmap(session->arena, YGR_SESSION_ARENA);
	ygr_buf_deinit(&session->control_in);
	ygr_loop_deinit(&session->loop);
	ygr_report_deinit(&session->report);
	ygr_session_config_deinit(&session->config);
}

#ifdef __SANITIZE_ADDRESS__
/* A leak check stops the process with ptrace, which its own confinement denies; the rooms' tests check for leaks. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return 1;
}
#endif

int main(void)
{
	static struct ygr_session session = {.control_in.max = CONTROL_MAX, .loop.epoll = -1};
	int r;

	/* Naps are short; the usual slack of 50 us would be more than all of one. */
	prctl(PR_SET_TIMERSLACK, 1);
	ygr_ring_init_ready();
	ygr_report_init(&session.report, YGR_SESSION_CONTROL_FD);
	session.control.fd = session.channel_watch.fd = session.fuse.fd = session.status.fd =
	    session.pidfd.fd = session.traced.fd = -1;
	r = ygr_session_start(&session);
	session.start_until = ygr_session_now() + session.config.start_seconds * 1000000000ull;
	if (r == 0)
		r = watch_all(&session);
	if (r == 0)
		r = run(&session);
	if (r < 0 && !session.killed)
		ygr_session_fail(&session, "LaunchFailed", "%s", strerror(-r));
	if (r == 0 && session.done && session.channel)
		ygr_mapping_close_rings(&session);
	if (session.running && !session.started)
		report_started(&session);
	report_counters(&session);
	if (session.config.explain)
		ygr_explain(&session);
	ygr_report_exited(&session.report, r < 0 || !session.confined ? 1 << 8 : session.wait_status);
	ygr_report_finish(&session.report, 2000);
	session_deinit(&session);
	return r < 0;
}
