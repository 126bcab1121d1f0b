/*
 * The event bus: every line of an application and every violation of a policy becomes one event, sinks take them one way. Each sink has a
 * bounded queue of its own; when it is full the event is dropped for that sink and counted, and the next
 * event that gets through says how many are missing. Publishing never blocks. Publish from the loop thread
 * only; sinks may read from any thread.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/error.h"

/* What an event is about; all strings are copied by ygr_bus_publish(). */
struct ygr_event {
	int64_t time_ns; /* realtime, ns since the epoch, when the node saw it */
	const char *node;
	const char *namespace_;
	const char *vm;
	const char *monitor;
	const char *app;
	const char *stream; /* "stdout", "stderr"; "violation" and "action" of policies */
	const char *line;   /* without newline; control characters replaced; invalid UTF-8 made U+FFFD */
	uint64_t sequence;  /* of this application's lines, from 1 */
	const char *policy, *rule; /* of what a policy said: its object's name; NULL: of no policy */
	const char *severity;      /* "info", "warning", "critical", or NULL */
	json_t *columns;           /* parsed columns or NULL; borrowed */
};

struct ygr_bus;
struct ygr_sink;

struct ygr_bus *ygr_bus_new(void);
struct ygr_bus *ygr_bus_free(struct ygr_bus *bus);
void ygr_bus_publish(struct ygr_bus *bus, const struct ygr_event *event);

/* Which events a sink takes; NULL members take all. Strings are copied. */
struct ygr_event_filter {
	const char *namespace_, *vm, *monitor, *app;
};

/*
 * A sink with room for at most MAX_BYTES of NDJSON. Its queue starts with the RECENT last events that match
 * (oldest first; the bus remembers at most 1024 events or 1 MiB), without gap or repetition before what
 * follows. WAKE is called (on the publishing thread, must not block) when an empty queue gets its first
 * event. -ENOMEM.
 */
int ygr_bus_subscribe(struct ygr_bus *bus, const struct ygr_event_filter *filter, uint64_t max_bytes,
		      uint32_t recent, void (*wake)(void *user), void *user, struct ygr_sink **ret_sink);
struct ygr_sink *ygr_sink_unsubscribe(struct ygr_sink *sink);

/* Moves up to SIZE bytes of whole NDJSON lines to OUT: the number of bytes, 0 when empty. */
int64_t ygr_sink_take(struct ygr_sink *sink, char *out, uint64_t size);
uint64_t ygr_sink_dropped(const struct ygr_sink *sink);

/* Published and dropped totals by sink, for metrics. */
uint64_t ygr_bus_published(const struct ygr_bus *bus);
