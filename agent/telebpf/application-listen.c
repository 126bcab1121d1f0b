/*
 * What an application says: lines of its output become events, or go raw to who runs it; reports of its session
 * are checked, since a session speaks with an application and a guest that may have taken it over.
 */
#include "agent/telebpf/application.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/log.h"

#define PIPE_BYTES (1 << 20)

static int64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void stream_closed(uv_handle_t *handle)
{
	struct ygr_application_pipe *end = handle->data;
	ygr_application_unref(end->application);
}

void ygr_application_close_stream(struct ygr_application_pipe *end)
{
	if (!end->open)
		return;
	end->open = false;
	if (!end->application->handlers.output)
		ygr_lines_finish(&end->application->lines[end->which], now_ns());
	uv_close((uv_handle_t *)&end->pipe, stream_closed);
}

void ygr_application_close_control(struct ygr_application *a)
{
	if (!a->control_open)
		return;
	a->control_open = false;
	uv_close((uv_handle_t *)&a->control, ygr_application_handle_closed);
}

/* Output. */

void ygr_application_give_up_pipes(uv_timer_t *timer)
{
	struct ygr_application *a = timer->data;
	bool paused = false;
	for (unsigned i = 0; i < YGR_APPLICATION_STREAMS; i++)
		/* What waits for a slow reader is not lost; it comes to its end after resume. */
		if (a->streams[i].open && a->streams[i].paused)
			paused = true;
		else
			ygr_application_close_stream(&a->streams[i]);
	ygr_application_close_control(a);
	if (paused)
		uv_timer_start(timer, ygr_application_give_up_pipes, YGR_APPLICATION_LINGER_MS, 0);
	ygr_application_end_if_over(a);
}

static void on_line(struct ygr_application *a, unsigned which, const char *text, json_t *columns)
{
	if (a->closed)
		return;
	a->last_event = now_ns();
	a->counters.lines++;
	ygr_bus_publish(a->telebpf->bus,
			&(struct ygr_event){.time_ns = a->last_event,
					    .node = a->telebpf->node,
					    .namespace_ = a->options.namespace_,
					    .vm = a->vm.name,
					    .monitor = a->options.monitor_name,
					    .app = a->options.app,
					    .stream = which == YGR_APPLICATION_OUT ? "stdout" : "stderr",
					    .line = text,
					    .sequence = ++a->sequence,
					    .columns = columns});
}

static void on_out_line(void *user, const char *text, json_t *columns)
{
	on_line(user, YGR_APPLICATION_OUT, text, columns);
}

static void on_err_line(void *user, const char *text, json_t *columns)
{
	on_line(user, YGR_APPLICATION_ERR, text, columns);
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
	struct ygr_application_pipe *end = stream->data;
	struct ygr_application *a = end->application;
	if (n == 0)
		return;
	if (n < 0) {
		ygr_application_close_stream(end);
		ygr_application_end_if_over(a);
		return;
	}
	struct ygr_lines *lines = &a->lines[end->which];
	if (!a->handlers.output) {
		ygr_lines_feed(lines, buf->base, (size_t)n, now_ns());
		a->counters.lines_dropped =
		    a->lines[YGR_APPLICATION_OUT].dropped + a->lines[YGR_APPLICATION_ERR].dropped;
		a->counters.lines_cut =
		    a->lines[YGR_APPLICATION_OUT].cut + a->lines[YGR_APPLICATION_ERR].cut;
	} else if (!a->closed && !a->handlers.output(a->handlers.user,
						     end->which == YGR_APPLICATION_OUT ? "stdout" : "stderr",
						     buf->base, (size_t)n)) {
		uv_read_stop(stream);
		end->paused = true;
	}
}

void ygr_application_resume(struct ygr_application *a)
{
	for (unsigned i = 0; i < YGR_APPLICATION_STREAMS; i++)
		if (a->streams[i].open && a->streams[i].paused) {
			a->streams[i].paused = false;
			uv_read_start((uv_stream_t *)&a->streams[i].pipe, give_buffer, on_output);
		}
}

void ygr_application_init_lines(struct ygr_application *a)
{
	for (unsigned i = 0; i < YGR_APPLICATION_STREAMS; i++) {
		a->lines[i].user = a;
		a->lines[i].line = i == YGR_APPLICATION_OUT ? on_out_line : on_err_line;
		a->lines[i].per_second = a->options.events_per_second;
	}
	a->lines[YGR_APPLICATION_OUT].header = a->entry && ygr_catalogue_has_header(a->entry);
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
	ygr_application_changed(a);
}

static void on_running(struct ygr_application *a)
{
	if (a->state != YGR_APPLICATION_STARTING)
		return;
	a->state = YGR_APPLICATION_RUNNING;
	ygr_application_changed(a);
}

static void on_counters(struct ygr_application *a, const json_t *report)
{
	a->counters.calls = number(report, "calls");
	a->counters.refused = number(report, "refused");
	a->counters.ring_records = number(report, "ringRecords");
	a->counters.ring_bytes = number(report, "ringBytes");
	a->counters.ring_dropped = number(report, "ringDropped");
	a->counters.ring_invalid = number(report, "ringInvalid");
	ygr_application_changed(a);
}

static void on_report(struct ygr_application *a, const json_t *report)
{
	const char *event = word(report, "event");
	if (strcmp(event, "started") == 0) {
		on_started(a, report);
	} else if (strcmp(event, "running") == 0) {
		on_running(a);
	} else if (strcmp(event, "counters") == 0) {
		on_counters(a, report);
	} else if (strcmp(event, "error") == 0) {
		char reason[sizeof(a->reason)];
		copy_word(reason, sizeof(reason), report, "reason");
		ygr_application_fail(a, *reason ? reason : "Unknown", word(report, "message"));
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

int ygr_application_hear(struct ygr_application *a, const char *bytes, size_t length)
{
	struct ygr_buf *input = &a->control_input;
	if (ygr_buf_append(input, bytes, length) < 0) {
		ygr_application_fail(a, "ProtocolError",
				     "yagura-session sent a control line that has no end");
		return -EPROTO;
	}
	for (uint8_t *newline; input->len && (newline = memchr(input->data, '\n', input->len));) {
		size_t len = (size_t)(newline - input->data);
		json_t *report = json_loadb((const char *)input->data, len, 0, NULL);
		bool object = json_is_object(report);
		if (object)
			on_report(a, report);
		json_decref(report);
		ygr_buf_consume(input, len + 1);
		if (!object) {
			ygr_application_fail(a, "ProtocolError",
					     "yagura-session sent a control line that is no report");
			return -EPROTO;
		}
	}
	return 0;
}

/* A session that breaks session.md has been taken over, or is another program: it ends. */
static void on_control(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct ygr_application *a = stream->data;
	if (n == 0)
		return;
	if (n > 0 && ygr_application_hear(a, buf->base, (size_t)n) == 0)
		return;
	if (n > 0 && a->process_open)
		uv_process_kill(&a->process, SIGKILL);
	ygr_application_close_control(a);
	ygr_application_end_if_over(a);
}

int ygr_application_open_stream(struct ygr_application *a, unsigned which, int *ret_write)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	(void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES); /* fewer bytes are only slower */
	*ret_write = fds[1];

	struct ygr_application_pipe *end = &a->streams[which];
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

int ygr_application_open_control(struct ygr_application *a, int *ret_theirs)
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
