/* From the dial to a running session, and to the end of its process. */
#include "agent/telebpf/application.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

struct message {
	uv_write_t write;
	char *text;
};

static void message_written(uv_write_t *write, int status)
{
	struct message *message = (struct message *)write;
	(void)status; /* a session that does not listen any more has ended, which is told otherwise */
	free(message->text);
	free(message);
}

/* Sends TEXT (ownership taken) to the session. */
static int tell(struct ygr_application *a, char *text)
{
	struct message *message = text && a->control_open ? calloc(1, sizeof(*message)) : NULL;
	if (!message) {
		free(text);
		return -ENOTCONN;
	}
	message->text = text;
	uv_buf_t buf = uv_buf_init(text, (unsigned)strlen(text));
	int r = uv_write(&message->write, (uv_stream_t *)&a->control, &buf, 1, message_written);
	if (r < 0) {
		free(text);
		free(message);
	}
	return r;
}

/* {"do": WHAT, "signal": SIGNAL_NUMBER} */
int ygr_application_tell(struct ygr_application *a, const char *what, int signal_number)
{
	char *text = NULL;
	if (asprintf(&text, "{\"do\":\"%s\",\"signal\":%d}\n", what, signal_number) < 0)
		return -ENOMEM;
	return tell(a, text);
}

/* The process. */

static void on_exit_process(uv_process_t *process, int64_t status, int signal_number)
{
	struct ygr_application *a = process->data;
	a->reaped = true;
	a->process_open = false;
	uv_close((uv_handle_t *)process, ygr_application_handle_closed);
	ygr_application_leave_group(a, signal_number != 0);
	if (a->exit_status < 0) {
		char text[128];
		if (a->killed)
			snprintf(text, sizeof(text),
				 "yagura-session did not stop within %d s and was killed",
				 YGR_APPLICATION_KILL_MS / 1000);
		else
			snprintf(text, sizeof(text), "yagura-session ended without a word: %s %d",
				 signal_number ? "signal" : "status",
				 signal_number ? signal_number : (int)status);
		ygr_application_fail(a, "SessionDied", text);
	}
	uv_timer_start(&a->timer, ygr_application_give_up_pipes, YGR_APPLICATION_LINGER_MS, 0);
	ygr_application_end_if_over(a);
}

static int spawn(struct ygr_application *a, int channel, int fds[3])
{
	char *arguments[] = {a->telebpf->session_program, NULL};
	uv_stdio_container_t stdio[6] = {
	    {.flags = UV_IGNORE},
	    {.flags = UV_INHERIT_FD, .data.fd = fds[YGR_APPLICATION_OUT]},
	    {.flags = UV_INHERIT_FD, .data.fd = fds[YGR_APPLICATION_ERR]},
	    {.flags = UV_INHERIT_FD, .data.fd = fds[2]},
	    {.flags = UV_INHERIT_FD, .data.fd = channel},
	    {.flags = a->options.ram_fd < 0 ? UV_IGNORE : UV_INHERIT_FD, .data.fd = a->options.ram_fd},
	};
	const uv_process_options_t options = {.file = arguments[0],
					      .args = arguments,
					      .stdio = stdio,
					      .stdio_count = 6,
					      .exit_cb = on_exit_process};
	a->process.data = a;
	int r = uv_spawn(a->telebpf->loop, &a->process, &options);
	a->references++; /* libuv wants the handle closed also when the spawn failed */
	if (r < 0)
		uv_close((uv_handle_t *)&a->process, ygr_application_handle_closed);
	else
		a->process_open = true;
	return r;
}

/* No name of a namespace, monitor or VM has an underscore, so none can be made to look like another's. */
static char *cgroup_of(const struct ygr_application *a)
{
	char *name = NULL, *text;
	int r = strncmp(a->options.monitor, "run/", 4) == 0
		    ? asprintf(&name, "yagura/run-%s", a->options.monitor + 4)
		    : asprintf(&name, "yagura/%s_%s_%s_%s", a->options.namespace_, a->options.monitor_name,
			       a->vm.name, a->options.app);
	if (r < 0)
		return NULL;
	for (text = name + strlen("yagura/"); *text; text++)
		if (*text == '/')
			*text = '-';
	return name;
}

static int launch(struct ygr_application *a, struct ygr_dial *dial)
{
	_cleanup_close_ int out = -1, err = -1, control = -1;
	int r = ygr_application_open_stream(a, YGR_APPLICATION_OUT, &out);
	if (r == 0)
		r = ygr_application_open_stream(a, YGR_APPLICATION_ERR, &err);
	if (r == 0)
		r = ygr_application_open_control(a, &control);
	if (r == 0)
		r = spawn(a, dial->fd, (int[]){out, err, control});
	if (r < 0)
		return r;

	char *line = ygr_session_line(a->telebpf, &a->options, &a->vm, a->executable, a->delivery_wanted,
				      a->uid, a->cgroup, a->id, &a->grant, dial->welcome);
	if (!line)
		return -ENOMEM;
	r = tell(a, line);
	/* Nothing of the agent's needs the guest's memory from here on. */
	if (a->options.ram_fd >= 0)
		close(a->options.ram_fd);
	a->options.ram_fd = -1;
	return r;
}

/* Ends what never ran, or a launch that failed half-way. */
static void launch_failed(struct ygr_application *a, const char *reason, const char *message)
{
	ygr_application_fail(a, reason, message);
	if (a->process_open)
		uv_process_kill(&a->process, SIGKILL);
	else
		a->reaped = true;
	if (!a->process_open)
		ygr_application_leave_group(a, false);
	ygr_application_close_stream(&a->streams[YGR_APPLICATION_OUT]);
	ygr_application_close_stream(&a->streams[YGR_APPLICATION_ERR]);
	ygr_application_close_control(a);
	ygr_application_end_if_over(a);
}

static int prepare(struct ygr_dial *dial)
{
	struct ygr_application *a = dial->user;
	return ygr_session_grant_make(a->telebpf->identity, a->entry, a->executable, a->vm.uuid, &a->grant,
				      &dial->error);
}

static void launch_now(struct ygr_application *a, struct ygr_dial *dial)
{
	char text[256];
	int r = launch(a, dial);

	if (r == 0)
		return;
	snprintf(text, sizeof(text), "cannot start %s: %s", a->telebpf->session_program, strerror(-r));
	launch_failed(a, "LaunchFailed", text);
}

void ygr_application_dialled(struct ygr_application *a, struct ygr_dial *dial)
{
	if (!a->cgroup)
		a->cgroup = cgroup_of(a);
	if (a->closed) {
		/* nobody waits for it */
	} else if (dial->fd < 0) {
		launch_failed(a, ygr_dial_reason(dial->error.code), dial->error.message);
	} else if (a->stopping) {
		launch_failed(a, "Stopped", "stopped before it ran");
	} else if (!a->cgroup) {
		launch_failed(a, "OutOfMemory", "out of memory");
	} else if (ygr_application_take_group(a, dial)) {
		launch_now(a, dial);
	} else {
		return; /* it comes back */
	}
	ygr_dial_free(dial);
	ygr_application_unref(a);
}

static void on_dialled(struct ygr_dial *dial)
{
	struct ygr_application *a = dial->user;
	a->dial = NULL;
	ygr_application_dialled(a, dial);
}

int ygr_application_dial(struct ygr_application *a)
{
	a->dial = ygr_dial_start(a->telebpf, &a->vm, YGR_PURPOSE_SESSION, prepare, on_dialled, a);
	return a->dial ? 0 : -ENOMEM;
}
