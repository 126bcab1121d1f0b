#include "agent/telebpf/session/report.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/wire/deadline.h"

void ygr_report_init(struct ygr_report *report, int fd)
{
	*report = (struct ygr_report){.fd = fd, .out = YGR_BUF_INIT(2 * YGR_REPORT_BACKLOG)};
}

void ygr_report_deinit(struct ygr_report *report)
{
	ygr_buf_deinit(&report->out);
}

void ygr_report_object(struct ygr_report *report, json_t *object)
{
	_cleanup_free_ char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	size_t length = text ? strlen(text) : 0;

	json_decref(object);
	if (!text || ygr_buf_reserve(&report->out, length + 1) < 0)
		return;
	ygr_buf_append(&report->out, text, length);
	ygr_buf_append(&report->out, "\n", 1);
	ygr_report_flush(report);
}

void ygr_report_error(struct ygr_report *report, const char *reason, const char *format, ...)
{
	char message[YGR_ERROR_MESSAGE_MAX];
	struct ygr_error clean;
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	/* Parts may be a guest's: without control characters, and whole UTF-8 or JSON cannot say it. */
	ygr_error_set(&clean, EIO, "%s", message);
	for (char *c = clean.message; *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	ygr_report_object(report, json_pack("{s:s, s:s, s:s}", "event", "error", "reason", reason, "message",
					    clean.message));
}

void ygr_report_counters(struct ygr_report *report, const struct ygr_counters *counters)
{
	if (report->out.len > YGR_REPORT_BACKLOG)
		return;
	ygr_report_object(report,
			  json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "event", "counters", "calls",
				    (json_int_t)counters->calls, "refused", (json_int_t)counters->refused,
				    "ringRecords", (json_int_t)counters->ring_records, "ringBytes",
				    (json_int_t)counters->ring_bytes, "ringDropped",
				    (json_int_t)counters->ring_dropped, "ringInvalid",
				    (json_int_t)counters->ring_invalid));
}

void ygr_report_trace(struct ygr_report *report, const char *line)
{
	if (report->out.len <= YGR_REPORT_BACKLOG)
		ygr_report_object(report, json_pack("{s:s, s:s}", "event", "trace", "line", line));
}

void ygr_report_exited(struct ygr_report *report, int status)
{
	if (WIFSIGNALED(status))
		ygr_report_object(report,
				  json_pack("{s:s, s:i}", "event", "exited", "signal", WTERMSIG(status)));
	else
		ygr_report_object(report,
				  json_pack("{s:s, s:i}", "event", "exited", "code", WEXITSTATUS(status)));
}

bool ygr_report_waiting(const struct ygr_report *report)
{
	return report->out.len > 0;
}

int ygr_report_flush(struct ygr_report *report)
{
	while (report->out.len) {
		ssize_t n = send(report->fd, report->out.data, report->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -EPIPE;
		ygr_buf_consume(&report->out, (size_t)n);
	}
	return 0;
}

void ygr_report_finish(struct ygr_report *report, int timeout_ms)
{
	int64_t deadline = ygr_deadline_in(timeout_ms);

	while (ygr_report_flush(report) == 0 && ygr_report_waiting(report)) {
		struct pollfd p = {.fd = report->fd, .events = POLLOUT};

		if (poll(&p, 1, ygr_deadline_left(deadline)) <= 0)
			return;
	}
}
