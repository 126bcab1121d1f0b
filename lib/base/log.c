/* Logging; see log.h. */
#include "lib/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024

static enum ygr_log_level threshold = YGR_LOG_INFO;
static enum ygr_log_format form = YGR_LOG_TEXT;
static bool under_systemd;

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static const int syslog_levels[] = {3, 4, 6, 7};

void ygr_log_init(enum ygr_log_level max_level, enum ygr_log_format format)
{
	threshold = max_level;
	form = format;
	under_systemd = getenv("JOURNAL_STREAM") != NULL;
}

bool ygr_log_level_parse(const char *word, enum ygr_log_level *ret_level)
{
	for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++)
		if (strcmp(word, level_names[i]) == 0) {
			*ret_level = (enum ygr_log_level)i;
			return true;
		}
	return false;
}

/* Copies S with control characters replaced and, for JSON, quotes and backslashes escaped. */
static size_t put_clean(char *out, size_t room, const char *s, bool json)
{
	size_t n = 0;
	for (; *s && n + 2 < room; s++) {
		unsigned char c = (unsigned char)*s;
		if (json && (c == '"' || c == '\\'))
			out[n++] = '\\';
		out[n++] = c < 0x20 || c == 0x7f ? '?' : (char)c;
	}
	return n;
}

static size_t compose(char *line, size_t size, enum ygr_log_level level, const char *room,
		      const char *message)
{
	int n;
	if (form == YGR_LOG_JSON) {
		struct timespec ts;
		struct tm tm;
		clock_gettime(CLOCK_REALTIME, &ts);
		gmtime_r(&ts.tv_sec, &tm);
		n = snprintf(
		    line, size,
		    "{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ\",\"level\":\"%s\",\"room\":\"%s\","
		    "\"message\":\"",
		    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		    ts.tv_nsec / 1000000, level_names[level], room);
	} else if (under_systemd) {
		n = snprintf(line, size, "<%d>%s: ", syslog_levels[level], room);
	} else {
		n = snprintf(line, size, "%s %s: ", level_names[level], room);
	}

	size_t used = (size_t)n;
	used += put_clean(line + used, size - used - 3, message, form == YGR_LOG_JSON);
	if (form == YGR_LOG_JSON) {
		line[used++] = '"';
		line[used++] = '}';
	}
	line[used++] = '\n';
	return used;
}

void ygr_log(enum ygr_log_level level, const char *room, const char *format, ...)
{
	if (level > threshold)
		return;

	int saved = errno;
	char message[LINE_MAX_BYTES];
	va_list ap;
	va_start(ap, format);
	vsnprintf(message, sizeof(message), format, ap);
	va_end(ap);

	char line[2 * LINE_MAX_BYTES];
	size_t length = compose(line, sizeof(line), level, room, message);
	ssize_t written = write(STDERR_FILENO, line, length);
	(void)written; /* there is nowhere left to say that standard error is gone */
	errno = saved;
}
