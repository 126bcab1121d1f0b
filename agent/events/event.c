/*
 * One event as one line of JSON. Lines of applications carry whatever a guest made them print, so they are
 * made valid text before jansson, which insists on it, sees them.
 */
#include "agent/events/event.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/text.h"

static void format_time(int64_t ns, char out[40])
{
	time_t seconds = (time_t)(ns / 1000000000);
	struct tm tm;
	gmtime_r(&seconds, &tm);
	char text[24];
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out, 40, "%s.%09dZ", text, (int)(ns % 1000000000));
}

char *ygr_event_json(const struct ygr_event *event, uint64_t missing, size_t *ret_len)
{
	char when[40];
	format_time(event->time_ns, when);
	char *line = ygr_text_from_bytes(event->line, strlen(event->line), false);
	if (!line)
		return NULL;

	json_t *object = json_pack(
	    "{s:s, s:s?, s:s?, s:s?, s:s?, s:s?, s:s?, s:I, s:s, s:s*, s:s*, s:s*}", "time", when, "node",
	    event->node, "namespace", event->namespace_, "vm", event->vm, "monitor", event->monitor, "app",
	    event->app, "stream", event->stream, "sequence", (json_int_t)event->sequence, "line", line,
	    "policy", event->policy, "rule", event->rule, "severity", event->severity);
	free(line);
	if (!object)
		return NULL;
	if (event->columns)
		json_object_set(object, "columns", event->columns);
	if (missing)
		json_object_set_new(object, "droppedBefore", json_integer((json_int_t)missing));

	char *text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	if (!text)
		return NULL;
	size_t len = strlen(text);
	char *with_newline = realloc(text, len + 2);
	if (!with_newline) {
		free(text);
		return NULL;
	}
	memcpy(with_newline + len, "\n", 2);
	*ret_len = len + 1;
	return with_newline;
}
