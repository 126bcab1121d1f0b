/*
 * The event bus; see bus.h. An event is formatted once and then copied into the byte queue of every sink
 * that wants it, and into a bounded history. Each queue has its own lock, held only while bytes are copied,
 * so a sink that is slow to take costs the publisher nothing.
 */
#include "agent/events/bus.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "agent/events/event.h"
#include "lib/base/buf.h"

#define HISTORY_EVENTS 1024
#define HISTORY_BYTES  (1u << 20)

struct filter {
	char *namespace_, *vm, *monitor, *app;
};

struct ygr_sink {
	struct ygr_bus *bus;
	struct ygr_sink *next;
	struct filter filter;
	void (*wake)(void *user);
	void *user;
	pthread_mutex_t lock;
	struct ygr_buf queue;
	uint64_t missing; /* dropped since the last event that got through */
	atomic_ullong dropped;
};

struct remembered {
	struct filter about; /* what the event says of itself */
	char *text;
	size_t len;
};

struct ygr_bus {
	pthread_mutex_t lock; /* sinks and history */
	struct ygr_sink *sinks;
	struct remembered history[HISTORY_EVENTS];
	unsigned first, count;
	size_t history_bytes;
	atomic_ullong published;
};

static void filter_deinit(struct filter *filter)
{
	free(filter->namespace_);
	free(filter->vm);
	free(filter->monitor);
	free(filter->app);
	*filter = (struct filter){0};
}

static bool copy(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return !from || *to;
}

static bool filter_init(struct filter *filter, const char *namespace_, const char *vm, const char *monitor,
			const char *app)
{
	*filter = (struct filter){0};
	if (copy(&filter->namespace_, namespace_) && copy(&filter->vm, vm) &&
	    copy(&filter->monitor, monitor) && copy(&filter->app, app))
		return true;
	filter_deinit(filter);
	return false;
}

static bool wants(const char *wanted, const char *has)
{
	return !wanted || (has && strcmp(wanted, has) == 0);
}

static bool filter_wants(const struct filter *filter, const struct filter *about)
{
	return wants(filter->namespace_, about->namespace_) && wants(filter->vm, about->vm) &&
	       wants(filter->monitor, about->monitor) && wants(filter->app, about->app);
}

struct ygr_bus *ygr_bus_new(void)
{
	struct ygr_bus *bus = calloc(1, sizeof(*bus));
	if (bus)
		pthread_mutex_init(&bus->lock, NULL);
	return bus;
}

static void history_drop_first(struct ygr_bus *bus)
{
	struct remembered *oldest = &bus->history[bus->first];
	bus->history_bytes -= oldest->len;
	free(oldest->text);
	filter_deinit(&oldest->about);
	*oldest = (struct remembered){0};
	bus->first = (bus->first + 1) % HISTORY_EVENTS;
	bus->count--;
}

struct ygr_bus *ygr_bus_free(struct ygr_bus *bus)
{
	if (!bus)
		return NULL;
	while (bus->count)
		history_drop_first(bus);
	pthread_mutex_destroy(&bus->lock);
	free(bus);
	return NULL;
}

static void remember(struct ygr_bus *bus, const struct ygr_event *event, const char *text, size_t len)
{
	if (len > HISTORY_BYTES)
		return;
	while (bus->count == HISTORY_EVENTS || bus->history_bytes + len > HISTORY_BYTES)
		history_drop_first(bus);

	struct remembered *newest = &bus->history[(bus->first + bus->count) % HISTORY_EVENTS];
	if (!filter_init(&newest->about, event->namespace_, event->vm, event->monitor, event->app))
		return;
	newest->text = malloc(len);
	if (!newest->text) {
		filter_deinit(&newest->about);
		return;
	}
	memcpy(newest->text, text, len);
	newest->len = len;
	bus->history_bytes += len;
	bus->count++;
}

/* Queues TEXT; what this sink lost before it is said in a text of its own. */
static void sink_offer(struct ygr_sink *sink, const struct ygr_event *event, const char *text, size_t len)
{
	bool was_empty = false, queued = false;
	char *with_gap = NULL;

	pthread_mutex_lock(&sink->lock);
	if (sink->missing) {
		with_gap = ygr_event_json(event, sink->missing, &len);
		text = with_gap;
	}
	was_empty = sink->queue.len == 0;
	queued = text && ygr_buf_append(&sink->queue, text, len) == 0;
	sink->missing = queued ? 0 : sink->missing + 1;
	pthread_mutex_unlock(&sink->lock);
	free(with_gap);

	if (!queued)
		atomic_fetch_add(&sink->dropped, 1);
	else if (was_empty && sink->wake)
		sink->wake(sink->user);
}

void ygr_bus_publish(struct ygr_bus *bus, const struct ygr_event *event)
{
	size_t len;
	char *text = ygr_event_json(event, 0, &len);
	const struct filter about = {(char *)event->namespace_, (char *)event->vm, (char *)event->monitor,
				     (char *)event->app}; /* borrowed */

	pthread_mutex_lock(&bus->lock);
	atomic_fetch_add(&bus->published, 1);
	if (text)
		remember(bus, event, text, len);
	for (struct ygr_sink *sink = bus->sinks; sink; sink = sink->next)
		if (filter_wants(&sink->filter, &about))
			sink_offer(sink, event, text, len);
	pthread_mutex_unlock(&bus->lock);
	free(text);
}

/* Puts the last COUNT remembered events that SINK wants into its queue. Called with the bus locked. */
static void sink_catch_up(struct ygr_sink *sink, uint32_t count)
{
	const struct ygr_bus *bus = sink->bus;
	unsigned start = bus->count;
	while (start > 0 && count > 0)
		count -= filter_wants(&sink->filter,
				      &bus->history[(bus->first + --start) % HISTORY_EVENTS].about);
	for (unsigned i = start; i < bus->count; i++) {
		const struct remembered *event = &bus->history[(bus->first + i) % HISTORY_EVENTS];
		if (filter_wants(&sink->filter, &event->about) &&
		    ygr_buf_append(&sink->queue, event->text, event->len) < 0)
			sink->missing++;
	}
	atomic_store(&sink->dropped, sink->missing);
}

int ygr_bus_subscribe(struct ygr_bus *bus, const struct ygr_event_filter *filter, uint64_t max_bytes,
		      uint32_t recent, void (*wake)(void *user), void *user, struct ygr_sink **ret_sink)
{
	static const struct ygr_event_filter all;
	const struct ygr_event_filter *f = filter ? filter : &all;

	struct ygr_sink *sink = calloc(1, sizeof(*sink));
	if (!sink)
		return -ENOMEM;
	sink->bus = bus;
	sink->wake = wake;
	sink->user = user;
	sink->queue = YGR_BUF_INIT(max_bytes);
	if (!filter_init(&sink->filter, f->namespace_, f->vm, f->monitor, f->app)) {
		free(sink);
		return -ENOMEM;
	}
	pthread_mutex_init(&sink->lock, NULL);

	pthread_mutex_lock(&bus->lock);
	sink_catch_up(sink, recent);
	sink->next = bus->sinks;
	bus->sinks = sink;
	pthread_mutex_unlock(&bus->lock);
	*ret_sink = sink;
	return 0;
}

struct ygr_sink *ygr_sink_unsubscribe(struct ygr_sink *sink)
{
	if (!sink)
		return NULL;
	pthread_mutex_lock(&sink->bus->lock);
	for (struct ygr_sink **link = &sink->bus->sinks; *link; link = &(*link)->next)
		if (*link == sink) {
			*link = sink->next;
			break;
		}
	pthread_mutex_unlock(&sink->bus->lock);

	ygr_buf_deinit(&sink->queue);
	filter_deinit(&sink->filter);
	pthread_mutex_destroy(&sink->lock);
	free(sink);
	return NULL;
}

int64_t ygr_sink_take(struct ygr_sink *sink, char *out, uint64_t size)
{
	pthread_mutex_lock(&sink->lock);
	size_t n = sink->queue.len < size ? sink->queue.len : size;
	const char *last = n ? memrchr(sink->queue.data, '\n', n) : NULL;
	n = last ? (size_t)(last - (const char *)sink->queue.data) + 1 : 0;
	if (n) {
		memcpy(out, sink->queue.data, n);
		ygr_buf_consume(&sink->queue, n);
	}
	pthread_mutex_unlock(&sink->lock);
	return (int64_t)n;
}

uint64_t ygr_sink_dropped(const struct ygr_sink *sink)
{
	return atomic_load(&sink->dropped);
}

uint64_t ygr_bus_published(const struct ygr_bus *bus)
{
	return atomic_load(&bus->published);
}
