/*
 * One application: a channel dialled and a grant signed on a worker, then a yagura-session with its
 * descriptors (session.md), whose control lines, process end and output pipes come back to the loop. It has
 * ended when the process is reaped and both pipes and the control connection are at their end, so that no
 * line is lost; a pipe that somebody still holds open is given up after a second.
 */
#include "agent/telebpf/room.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent/telebpf/lines.h"
#include "agent/telebpf/session-line.h"
#include "lib/base/buf.h"
#include "lib/base/cleanup.h"
#include "lib/base/hex.h"
#include "lib/base/log.h"
#include "lib/base/text.h"

#define CONTROL_LINE_MAX (256u << 10)
#define PIPE_BYTES       (1 << 20)
#define KILL_AFTER_MS    4000 /* after stop: the session itself kills at 2 s */
#define LINGER_MS        1000

enum { OUT, ERR, STREAMS };

struct pipe_end {
	uv_pipe_t pipe;
	struct ygr_application *application;
	unsigned which;
	bool open, paused;
};

struct ygr_application {
	struct ygr_telebpf *telebpf;
	struct ygr_application_options options; /* its strings are copies; its link may go before we do */
	struct ygr_link_target vm;
	char **args;
	struct ygr_application_ram *ram;
	const struct ygr_catalogue_entry *entry;
	char *executable, *delivery_wanted;
	struct ygr_application_handlers handlers;
	uint8_t id[16];
	uid_t uid;
	bool holds_uid;

	struct ygr_dial *dial;
	struct ygr_session_grant grant;
	uv_process_t process;
	bool process_open, reaped;
	struct pipe_end streams[STREAMS];
	struct ygr_lines lines[STREAMS];
	uint64_t sequence;
	uv_pipe_t control;
	bool control_open;
	struct ygr_buf control_input;
	uv_timer_t timer;

	enum ygr_application_state state;
	bool stopping, killed, closed;
	unsigned references; /* owner, dial, and every open handle */
	char reason[64];
	struct ygr_error error;
	int exit_status;
	char delivery[16], mechanism[16];
	struct ygr_application_counters counters;
	int64_t last_event;
};

static int64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void unref(struct ygr_application *a)
{
	if (--a->references)
		return;
	if (a->holds_uid)
		ygr_uid_release(a->telebpf, a->uid);
	if (a->options.ram_fd >= 0)
		close(a->options.ram_fd);
	for (char **arg = a->args; arg && *arg; arg++)
		free(*arg);
	free(a->args);
	free(a->ram);
	free(a->executable);
	free(a->delivery_wanted);
	free((char *)a->vm.uuid);
	free((char *)a->vm.namespace_);
	free((char *)a->vm.name);
	free((char *)a->vm.address);
	free((char *)a->options.monitor);
	free((char *)a->options.namespace_);
	free((char *)a->options.monitor_name);
	free((char *)a->options.app);
	free((char *)a->options.program);
	ygr_session_grant_deinit(&a->grant);
	ygr_telebpf_unref(a->telebpf);
	ygr_buf_deinit(&a->control_input);
	for (unsigned i = 0; i < STREAMS; i++)
		ygr_lines_deinit(&a->lines[i]);
	free(a);
}

static void changed(struct ygr_application *a)
{
	if (!a->closed)
		a->handlers.changed(a->handlers.user, a);
}

/* The first reason stays: what follows is usually its consequence. */
static void fail(struct ygr_application *a, const char *reason, const char *message)
{
	if (a->reason[0])
		return;
	snprintf(a->reason, sizeof(a->reason), "%s", reason);
	ygr_error_set(&a->error, EIO, "%s", message);
}

static void handle_closed(uv_handle_t *handle)
{
	unref(handle->data);
}

static void stream_closed(uv_handle_t *handle)
{
	struct pipe_end *end = handle->data;
	unref(end->application);
}

static void close_stream(struct pipe_end *end)
{
	if (!end->open)
		return;
	end->open = false;
	if (!end->application->handlers.output)
		ygr_lines_finish(&end->application->lines[end->which], now_ns());
	uv_close((uv_handle_t *)&end->pipe, stream_closed);
}

static void close_control(struct ygr_application *a)
{
	if (!a->control_open)
		return;
	a->control_open = false;
	uv_close((uv_handle_t *)&a->control, handle_closed);
}

static void end_if_over(struct ygr_application *a)
{
	if (a->state == YGR_APPLICATION_ENDED || a->dial || !a->reaped || a->control_open ||
	    a->streams[OUT].open || a->streams[ERR].open)
		return;
	a->state = YGR_APPLICATION_ENDED;
	uv_timer_stop(&a->timer);
	changed(a);
}

/* Output. */

static void give_up_pipes(uv_timer_t *timer)
{
	struct ygr_application *a = timer->data;
	bool paused = false;
	for (unsigned i = 0; i < STREAMS; i++)
		/* What waits for a slow reader is not lost; it comes to its end after resume. */
		if (a->streams[i].open && a->streams[i].paused)
			paused = true;
		else
			close_stream(&a->streams[i]);
	close_control(a);
	if (paused)
		uv_timer_start(timer, give_up_pipes, LINGER_MS, 0);
	end_if_over(a);
}

static void on_line(struct ygr_application *a, unsigned which, const char *text, json_t *columns)
{
	if (a->closed)
		return;
	a->last_event = now_ns();
	a->counters.lines++;
	ygr_bus_publish(a->telebpf->bus, &(struct ygr_event){.time_ns = a->last_event,
							     .node = a->telebpf->node,
							     .namespace_ = a->options.namespace_,
							     .vm = a->vm.name,
							     .monitor = a->options.monitor_name,
							     .app = a->options.app,
							     .stream = which == OUT ? "stdout" : "stderr",
							     .line = text,
							     .sequence = ++a->sequence,
							     .columns = columns});
}

static void on_out_line(void *user, const char *text, json_t *columns)
{
	on_line(user, OUT, text, columns);
}

static void on_err_line(void *user, const char *text, json_t *columns)
{
	on_line(user, ERR, text, columns);
}

static void give_buffer(uv_handle_t *handle, size_t wanted, uv_buf_t *buf)
{
	static char chunk[64 << 10]; /* one loop, and a chunk is used up before the next read */
	(void)handle;
	(void)wanted;
	*buf = uv_buf_init(chunk, sizeof(chunk));
}

static void on_output(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct pipe_end *end = stream->data;
	struct ygr_application *a = end->application;
	if (n == 0)
		return;
	if (n < 0) {
		close_stream(end);
		end_if_over(a);
		return;
	}
	struct ygr_lines *lines = &a->lines[end->which];
	if (!a->handlers.output) {
		ygr_lines_feed(lines, buf->base, (size_t)n, now_ns());
		a->counters.lines_dropped = a->lines[OUT].dropped + a->lines[ERR].dropped;
		a->counters.lines_cut = a->lines[OUT].cut + a->lines[ERR].cut;
	} else if (!a->closed &&
		   !a->handlers.output(a->handlers.user, end->which == OUT ? "stdout" : "stderr", buf->base,
				       (size_t)n)) {
		uv_read_stop(stream);
		end->paused = true;
	}
}

void ygr_application_resume(struct ygr_application *a)
{
	for (unsigned i = 0; i < STREAMS; i++)
		if (a->streams[i].open && a->streams[i].paused) {
			a->streams[i].paused = false;
			uv_read_start((uv_stream_t *)&a->streams[i].pipe, give_buffer, on_output);
		}
}

/* Control. */

static uint64_t number(const json_t *object, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(object, key));
	return n < 0 ? 0 : (uint64_t)n;
}

static const char *word(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

/* A CamelCase word of the session as far as it is one: it goes on into statuses and metrics. */
static void copy_word(char *to, size_t size, const json_t *report, const char *key)
{
	const char *from = word(report, key);
	size_t n = strspn(from, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
	snprintf(to, size, "%.*s", (int)(n < size ? n : size - 1), from);
}

static void on_started(struct ygr_application *a, const json_t *report)
{
	copy_word(a->delivery, sizeof(a->delivery), report, "delivery");
	copy_word(a->mechanism, sizeof(a->mechanism), report, "mechanism");
	a->state = YGR_APPLICATION_RUNNING;
	changed(a);
}

static void on_counters(struct ygr_application *a, const json_t *report)
{
	a->counters.calls = number(report, "calls");
	a->counters.refused = number(report, "refused");
	a->counters.ring_records = number(report, "ringRecords");
	a->counters.ring_bytes = number(report, "ringBytes");
	a->counters.ring_dropped = number(report, "ringDropped");
	a->counters.ring_invalid = number(report, "ringInvalid");
	changed(a);
}

static void on_report(struct ygr_application *a, const json_t *report)
{
	const char *event = word(report, "event");
	if (strcmp(event, "started") == 0) {
		on_started(a, report);
	} else if (strcmp(event, "counters") == 0) {
		on_counters(a, report);
	} else if (strcmp(event, "error") == 0) {
		char reason[sizeof(a->reason)];
		copy_word(reason, sizeof(reason), report, "reason");
		fail(a, *reason ? reason : "Unknown", word(report, "message"));
		ygr_log(YGR_LOG_WARNING, "telebpf", "%s: %s: %s: %s", a->options.monitor, a->options.app,
			reason, word(report, "message"));
	} else if (strcmp(event, "exited") == 0) {
		const json_t *code = json_object_get(report, "code");
		a->exit_status = code ? (int)(json_integer_value(code) & 0xff)
				      : 128 + (int)(number(report, "signal") & 0x7f);
	} else if (a->handlers.output && !a->closed &&
		   (strcmp(event, "trace") == 0 || strcmp(event, "explain") == 0)) {
		const char *line = json_string_value(json_object_get(report, "line"));
		char *text = line ? NULL : json_dumps(report, JSON_INDENT(2));
		a->handlers.output(a->handlers.user, event,
				   line   ? line
				   : text ? text
					  : "",
				   strlen(line   ? line
					  : text ? text
						 : ""));
		a->handlers.output(a->handlers.user, event, "\n", 1);
		free(text);
	}
}

/* A session that breaks session.md has been taken over, or is another program: it ends. */
static void distrust(struct ygr_application *a, const char *message)
{
	fail(a, "ProtocolError", message);
	if (a->process_open)
		uv_process_kill(&a->process, SIGKILL);
	close_control(a);
	end_if_over(a);
}

static void on_control(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct ygr_application *a = stream->data;
	if (n == 0)
		return;
	if (n < 0) {
		close_control(a);
		end_if_over(a);
		return;
	}
	if (ygr_buf_append(&a->control_input, buf->base, (size_t)n) < 0) {
		distrust(a, "yagura-session sent a control line that has no end");
		return;
	}
	for (uint8_t *newline; (newline = memchr(a->control_input.data, '\n', a->control_input.len));) {
		size_t len = (size_t)(newline - a->control_input.data);
		json_t *report = json_loadb((const char *)a->control_input.data, len, 0, NULL);
		bool object = json_is_object(report);
		if (object)
			on_report(a, report);
		json_decref(report);
		ygr_buf_consume(&a->control_input, len + 1);
		if (!object) {
			distrust(a, "yagura-session sent a control line that is no report");
			return;
		}
	}
}

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
static int tell_signal(struct ygr_application *a, const char *what, int signal_number)
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
	uv_close((uv_handle_t *)process, handle_closed);
	if (a->exit_status < 0) {
		char text[128];
		if (a->killed)
			snprintf(text, sizeof(text),
				 "yagura-session did not stop within %d s and was killed",
				 KILL_AFTER_MS / 1000);
		else
			snprintf(text, sizeof(text), "yagura-session ended without a word: %s %d",
				 signal_number ? "signal" : "status",
				 signal_number ? signal_number : (int)status);
		fail(a, "SessionDied", text);
	}
	uv_timer_start(&a->timer, give_up_pipes, LINGER_MS, 0);
	end_if_over(a);
}

/* A pipe whose write end becomes a descriptor of the session. */
static int open_stream(struct ygr_application *a, unsigned which, int *ret_write)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	(void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES); /* fewer bytes are only slower */
	*ret_write = fds[1];

	struct pipe_end *end = &a->streams[which];
	end->application = a;
	end->which = which;
	uv_pipe_init(a->telebpf->loop, &end->pipe, 0);
	end->pipe.data = end;
	end->open = true;
	a->references++;
	int r = uv_pipe_open(&end->pipe, fds[0]);
	if (r < 0)
		close(fds[0]);
	return r < 0 ? r : uv_read_start((uv_stream_t *)&end->pipe, give_buffer, on_output);
}

static int open_control(struct ygr_application *a, int *ret_theirs)
{
	int fds[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	*ret_theirs = fds[1];
	uv_pipe_init(a->telebpf->loop, &a->control, 0);
	a->control.data = a;
	a->control_open = true;
	a->references++;
	int r = uv_pipe_open(&a->control, fds[0]);
	if (r < 0)
		close(fds[0]);
	return r < 0 ? r : uv_read_start((uv_stream_t *)&a->control, give_buffer, on_control);
}

static int spawn(struct ygr_application *a, int channel, int fds[3])
{
	char *arguments[] = {a->telebpf->session_program, NULL};
	uv_stdio_container_t stdio[6] = {
	    {.flags = UV_IGNORE},
	    {.flags = UV_INHERIT_FD, .data.fd = fds[OUT]},
	    {.flags = UV_INHERIT_FD, .data.fd = fds[ERR]},
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
		uv_close((uv_handle_t *)&a->process, handle_closed);
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
	int r = open_stream(a, OUT, &out);
	if (r == 0)
		r = open_stream(a, ERR, &err);
	if (r == 0)
		r = open_control(a, &control);
	if (r == 0)
		r = spawn(a, dial->fd, (int[]){out, err, control});
	if (r < 0)
		return r;

	_cleanup_free_ char *cgroup = cgroup_of(a);
	char *line =
	    cgroup ? ygr_session_line(a->telebpf, &a->options, &a->vm, a->executable, a->delivery_wanted,
				      a->uid, cgroup, a->id, &a->grant, dial->welcome)
		   : NULL;
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
	fail(a, reason, message);
	if (a->process_open)
		uv_process_kill(&a->process, SIGKILL);
	else
		a->reaped = true;
	close_stream(&a->streams[OUT]);
	close_stream(&a->streams[ERR]);
	close_control(a);
	end_if_over(a);
}

static int prepare(struct ygr_dial *dial)
{
	struct ygr_application *a = dial->user;
	return ygr_session_grant_make(a->telebpf->identity, a->entry, a->executable, a->vm.uuid, &a->grant,
				      &dial->error);
}

static void on_dialled(struct ygr_dial *dial)
{
	struct ygr_application *a = dial->user;
	a->dial = NULL;
	if (a->closed) {
		/* nobody waits for it */
	} else if (dial->fd < 0) {
		launch_failed(a, ygr_dial_reason(dial->error.code), dial->error.message);
	} else if (a->stopping) {
		launch_failed(a, "Stopped", "stopped before it ran");
	} else {
		int r = launch(a, dial);
		if (r < 0) {
			char text[256];
			snprintf(text, sizeof(text), "cannot start %s: %s", a->telebpf->session_program,
				 strerror(-r));
			launch_failed(a, "LaunchFailed", text);
		}
	}
	ygr_dial_free(dial);
	unref(a);
}

/* The door. */

static const char *deliverable(const struct ygr_application_options *options, bool allow_shared,
			       struct ygr_error *error)
{
	const char *wanted = options->delivery ? options->delivery : "Auto";
	bool ram = options->ram_fd >= 0;
	if (strcmp(wanted, "Shared") == 0 && !allow_shared) {
		ygr_error_set(error, EPERM,
			      "delivery Shared is not allowed on this node (allowShared in agent.yaml)");
		return NULL;
	}
	if (strcmp(wanted, "Auto") == 0)
		return ram ? "Copied" : "Stream";
	return ram ? wanted : "Stream";
}

static int find_program(struct ygr_application *a, struct ygr_error *error)
{
	const struct ygr_application_options *options = &a->options;
	const char *nearest;
	if (options->adhoc) {
		a->executable = strdup(options->program);
		return a->executable ? 0 : ygr_error_set(error, ENOMEM, "out of memory");
	}
	a->entry = ygr_catalogue_find(a->telebpf->catalogue, options->program, &nearest);
	if (!a->entry)
		return ygr_error_set(error, ENOENT, "no program \"%s\" in this node's catalogue%s%s%s",
				     options->program, nearest ? "; did you mean \"" : "",
				     nearest ? nearest : "", nearest ? "\"?" : "");
	a->executable = strdup(ygr_catalogue_executable(a->entry));
	if (!a->executable)
		return ygr_error_set(error, ENOMEM, "out of memory");
	return ygr_catalogue_check_args(a->entry, a->args, error);
}

/* Replaces what is borrowed in a->options by copies. */
static bool copy_options(struct ygr_application *a, const struct ygr_application_options *options)
{
	size_t n = 0;
	while (options->args && options->args[n])
		n++;
	a->args = calloc(n + 1, sizeof(char *));
	a->ram = calloc(options->ram_count + 1, sizeof(*a->ram));
	if (!a->args || !a->ram)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!(a->args[i] = strdup(options->args[i])))
			return false;
	if (options->ram_count)
		memcpy(a->ram, options->ram, options->ram_count * sizeof(*a->ram));
	a->options.args = a->args;
	a->options.ram = a->ram;
	a->options.monitor = strdup(options->monitor);
	a->options.namespace_ = strdup(options->namespace_);
	a->options.monitor_name = strdup(options->monitor_name);
	a->options.app = strdup(options->app);
	a->options.program = strdup(options->program);
	const struct ygr_link_target *vm = ygr_link_target(options->link);
	a->vm.uuid = strdup(vm->uuid);
	a->vm.namespace_ = strdup(vm->namespace_);
	a->vm.name = strdup(vm->name);
	a->vm.address = strdup(vm->address);
	return a->vm.uuid && a->vm.namespace_ && a->vm.name && a->vm.address && a->options.monitor &&
	       a->options.namespace_ && a->options.monitor_name && a->options.app && a->options.program;
}

static void init_lines(struct ygr_application *a)
{
	for (unsigned i = 0; i < STREAMS; i++) {
		a->lines[i].user = a;
		a->lines[i].line = i == OUT ? on_out_line : on_err_line;
		a->lines[i].per_second = a->options.events_per_second;
	}
	a->lines[OUT].header = a->entry && ygr_catalogue_has_header(a->entry);
}

int ygr_application_start(struct ygr_telebpf *telebpf, const struct ygr_application_options *options,
			  const struct ygr_application_handlers *handlers, struct ygr_application **ret,
			  struct ygr_error *error)
{
	struct ygr_application *a = calloc(1, sizeof(*a));
	if (!a) {
		if (options->ram_fd >= 0)
			close(options->ram_fd);
		return ygr_error_set(error, ENOMEM, "out of memory");
	}
	a->telebpf = ygr_telebpf_ref(telebpf);
	a->options = *options;
	a->options.monitor = a->options.namespace_ = a->options.monitor_name = a->options.app =
	    a->options.program = NULL;
	a->handlers = *handlers;
	a->references = 1;
	a->exit_status = -1;
	a->control_input = YGR_BUF_INIT(CONTROL_LINE_MAX);

	int r = copy_options(a, options) ? find_program(a, error)
					 : ygr_error_set(error, ENOMEM, "out of memory");
	const char *delivery = r == 0 ? deliverable(options, telebpf->allow_shared, error) : NULL;
	if (r == 0 && !delivery)
		r = -EPERM;
	if (r == 0) {
		a->delivery_wanted = strdup(delivery);
		r = a->delivery_wanted && getrandom(a->id, sizeof(a->id), 0) == sizeof(a->id) ? 0 : -ENOMEM;
	}
	if (r == 0) {
		r = ygr_uid_hold(telebpf, options->monitor, a->vm.uuid, &a->uid);
		a->holds_uid = r == 0;
		if (r < 0)
			ygr_error_set(error, -r,
				      "no uid is left for this application (uidCount in agent.yaml)");
	}
	if (r == 0) {
		init_lines(a);
		a->dial = ygr_dial_start(telebpf, &a->vm, YGR_PURPOSE_SESSION, prepare, on_dialled, a);
		r = a->dial ? 0 : ygr_error_set(error, ENOMEM, "out of memory");
	}
	if (r < 0) {
		unref(a);
		return r;
	}
	a->references += 2; /* dial, timer */
	uv_timer_init(telebpf->loop, &a->timer);
	a->timer.data = a;
	*ret = a;
	return 0;
}

static void kill_session(uv_timer_t *timer)
{
	struct ygr_application *a = timer->data;
	a->killed = true;
	if (a->process_open)
		uv_process_kill(&a->process, SIGKILL);
}

void ygr_application_stop(struct ygr_application *a)
{
	if (a->stopping || a->state == YGR_APPLICATION_ENDED)
		return;
	a->stopping = true;
	if (!a->process_open)
		return; /* seen when the dial is done, or it has ended already */
	tell_signal(a, "stop", SIGINT);
	uv_timer_start(&a->timer, kill_session, KILL_AFTER_MS, 0);
}

int ygr_application_signal(struct ygr_application *a, int signal_number)
{
	return tell_signal(a, "signal", signal_number);
}

struct ygr_application *ygr_application_close(struct ygr_application *a)
{
	if (!a)
		return NULL;
	a->closed = true;
	if (a->process_open) {
		uv_process_kill(&a->process, SIGKILL);
		/* The handle stays until the exit is seen, so that the process is reaped. */
	}
	close_stream(&a->streams[OUT]);
	close_stream(&a->streams[ERR]);
	close_control(a);
	uv_close((uv_handle_t *)&a->timer, handle_closed);
	unref(a);
	return NULL;
}

enum ygr_application_state ygr_application_state(const struct ygr_application *a)
{
	return a->state;
}

const char *ygr_application_reason(const struct ygr_application *a)
{
	return a->reason[0] ? a->reason : NULL;
}

const char *ygr_application_message(const struct ygr_application *a)
{
	return a->reason[0] ? a->error.message : NULL;
}

int ygr_application_exit_status(const struct ygr_application *a)
{
	return a->exit_status;
}

const char *ygr_application_delivery(const struct ygr_application *a)
{
	return a->delivery[0] ? a->delivery : NULL;
}

const char *ygr_application_mechanism(const struct ygr_application *a)
{
	return a->mechanism[0] ? a->mechanism : NULL;
}

const struct ygr_application_counters *ygr_application_counters(const struct ygr_application *a)
{
	return &a->counters;
}

int64_t ygr_application_last_event(const struct ygr_application *a)
{
	return a->last_event;
}
