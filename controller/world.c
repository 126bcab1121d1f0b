/* See world.h. What is watched is in watches.c, what is counted and written here, dead nodes in dead.c. */
#include "controller/world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "controller/room.h"
#include "lib/base/log.h"

int64_t ygr_world_now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static double clock_seconds(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Writing: a status that is to be written waits at its subject until there is room. */

struct write {
	struct ygr_world *world;
	enum ygr_subject_kind kind;
	char *namespace_, *name;
};

static void write_free(struct write *write)
{
	free(write->namespace_);
	free(write->name);
	free(write);
}

static void written(void *user, const struct ygr_kube_answer *answer)
{
	struct write *write = user;
	struct ygr_world *world = write->world;
	struct ygr_subject *subject =
	    ygr_kube_informer_find(world->watches[write->kind].informer, write->namespace_, write->name);
	const char *result = answer->error ? "failed" : "written";

	world->writing--;
	ygr_metric_add(world->writes, 1, (const char *[]){result});
	if (subject && !answer->error) {
		json_t *status = json_object_get(answer->object, "status");
		json_decref(subject->status);
		subject->status = status ? json_copy(status) : json_object();
	} else if (subject && answer->status != 404) {
		subject->dirty = true;
		world->hold_until = ygr_world_now() + YGR_WORLD_RETRY_S;
		ygr_log(YGR_LOG_WARNING, "world", "status of %s %s/%s: %s",
			ygr_world_kinds[write->kind].kind, write->namespace_, write->name, answer->message);
	}
	write_free(write);
	ygr_world_schedule(world);
}

static int write_status(struct ygr_world *world, struct ygr_subject *subject)
{
	const struct ygr_kube_resource *resource = &ygr_world_kinds[subject->kind];
	json_t *object = ygr_kube_object_new(resource, resource->cluster_wide ? NULL : subject->namespace_,
					     subject->name);
	struct write *write = calloc(1, sizeof(*write));
	int r = -ENOMEM;

	if (write && object && json_object_set(object, "status", subject->pending) == 0) {
		*write =
		    (struct write){world, subject->kind, strdup(subject->namespace_), strdup(subject->name)};
		const struct ygr_kube_op op = {
		    .verb = YGR_KUBE_VERB_APPLY,
		    .resource = resource,
		    .namespace_ = resource->cluster_wide ? NULL : subject->namespace_,
		    .name = subject->name,
		    .subresource = "status",
		    .object = object,
		    .manager = YGR_WORLD_MANAGER,
		    .force = true,
		    .done = written,
		    .user = write,
		};
		r = write->namespace_ && write->name ? ygr_kube_do(world->kube, &op, NULL) : -ENOMEM;
	}
	json_decref(object);
	if (r < 0 && write)
		write_free(write);
	world->writing += r == 0;
	return r;
}

static void drain_one(void *user, const char *namespace_, const char *name, void *value)
{
	struct ygr_world *world = user;
	struct ygr_subject *subject = value;

	(void)namespace_;
	(void)name;
	if (!subject->pending || world->writing >= YGR_WORLD_WRITES_MAX)
		return;
	if (write_status(world, subject) < 0) {
		subject->dirty = true;
		world->hold_until = ygr_world_now() + YGR_WORLD_RETRY_S;
	}
	json_decref(subject->pending);
	subject->pending = NULL;
}

/* Counting: all that is dirty in one pass over the guests. */

struct counting {
	struct ygr_world *world;
	struct ygr_subject **subjects;
	size_t count, capacity;
};

static void collect(void *user, const char *namespace_, const char *name, void *value)
{
	struct counting *counting = user;
	struct ygr_subject *subject = value;

	(void)namespace_;
	(void)name;
	if (!subject->dirty)
		return;
	if (counting->count == counting->capacity) {
		size_t capacity = counting->capacity ? counting->capacity * 2 : 64;
		struct ygr_subject **grown = reallocarray(counting->subjects, capacity, sizeof(*grown));
		if (!grown)
			return; /* it stays dirty */
		counting->subjects = grown;
		counting->capacity = capacity;
	}
	if (ygr_subject_begin(subject) == 0)
		counting->subjects[counting->count++] = subject;
}

static void count_guest(void *user, const char *namespace_, const char *name, void *value)
{
	struct counting *counting = user;
	const struct ygr_labels *labels =
	    ygr_kube_informer_find(counting->world->watches[YGR_WATCH_NAMESPACES].informer, "", namespace_);

	(void)name;
	for (size_t i = 0; i < counting->count; i++)
		ygr_subject_count(counting->subjects[i], value, labels);
}

static void count(struct ygr_world *world)
{
	struct counting counting = {.world = world};
	double began = clock_seconds();
	int error;

	for (int i = 0; i < YGR_SUBJECT_KINDS; i++)
		ygr_kube_informer_each(world->watches[i].informer, collect, &counting);
	if (counting.count)
		ygr_kube_informer_each(world->watches[YGR_WATCH_GUESTS].informer, count_guest, &counting);
	for (size_t i = 0; i < counting.count; i++) {
		struct ygr_subject *subject = counting.subjects[i];
		json_t *status = ygr_subject_status(subject, time(NULL), &error);
		subject->dirty = error < 0;
		json_decref(subject->pending);
		subject->pending = status;
	}
	if (counting.count)
		ygr_metric_observe(world->duration, clock_seconds() - began, NULL);
	free(counting.subjects);
}

static void settle(uv_timer_t *timer)
{
	struct ygr_world *world = timer->data;

	if (!world->leading || !world->synced)
		return;
	if (ygr_world_now() >= world->hold_until)
		count(world);
	for (int i = 0; i < YGR_SUBJECT_KINDS; i++)
		ygr_kube_informer_each(world->watches[i].informer, drain_one, world);
}

void ygr_world_schedule(struct ygr_world *world)
{
	if (world->leading && world->synced && !uv_is_active((uv_handle_t *)&world->settle))
		uv_timer_start(&world->settle, settle, YGR_WORLD_SETTLE_MS, 0);
}

static void mark(void *user, const char *namespace_, const char *name, void *value)
{
	const struct ygr_world_mark *what = user;
	struct ygr_subject *subject = value;

	(void)namespace_;
	(void)name;
	if (!what->before && !what->after)
		subject->dirty = true;
	else
		subject->dirty |=
		    (what->before && ygr_subject_selects(subject, what->before, what->labels)) ||
		    (what->after && ygr_subject_selects(subject, what->after, what->labels));
}

void ygr_world_mark(struct ygr_world *world, const struct ygr_world_mark *what)
{
	for (int i = 0; i < YGR_SUBJECT_KINDS; i++)
		if (!what->cluster_wide || ygr_world_kinds[i].cluster_wide)
			ygr_kube_informer_each(world->watches[i].informer, mark, (void *)what);
	ygr_world_schedule(world);
}

void ygr_world_lead(struct ygr_world *world, bool lead)
{
	world->leading = lead;
	if (lead)
		ygr_world_mark(world, &(struct ygr_world_mark){0});
}

void ygr_world_tick(struct ygr_world *world)
{
	ygr_world_schedule(world); /* what was held */
	if (world->synced)
		ygr_world_bury(world);
}

static void declare_metrics(struct ygr_world *world, struct ygr_metrics *m)
{
	static const double buckets[] = {0.001, 0.01, 0.05, 0.1, 0.5, 1, 2, 5};
	static const char *const none[] = {NULL}, *const result[] = {"result", NULL},
				 *const state[] = {"state", NULL};

	world->writes =
	    ygr_metric_declare(m, YGR_METRIC_COUNTER, "yagura_controller_status_writes",
			       "Statuses of monitors and policies that were written.", result, NULL, 0, 4);
	world->duration =
	    ygr_metric_declare(m, YGR_METRIC_HISTOGRAM, "yagura_controller_summary_duration_seconds",
			       "Time to count the guests of all that had changed.", none, buckets, 8, 1);
	world->node_gauge = ygr_metric_declare(m, YGR_METRIC_GAUGE, "yagura_controller_nodes",
					       "Nodes with agents or VMGuests, by what their Leases say.",
					       state, NULL, 0, 4);
	world->buried =
	    ygr_metric_declare(m, YGR_METRIC_COUNTER, "yagura_controller_guests_of_dead_nodes",
			       "VMGuests of dead nodes that were marked or removed.", result, NULL, 0, 8);
}

int ygr_world_start(const struct ygr_world_options *options, struct ygr_world **ret)
{
	struct ygr_world *world = calloc(1, sizeof(*world));

	if (!world)
		return -ENOMEM;
	world->kube = options->kube;
	world->grace_s = options->grace_s;
	world->ready = options->ready;
	world->user = options->user;
	uv_timer_init(ygr_kube_loop(options->kube), &world->settle);
	world->settle.data = world;
	declare_metrics(world, options->metrics);
	int r = ygr_world_watch(world, options->namespace_);
	if (r < 0) {
		ygr_world_stop(world);
		return r;
	}
	*ret = world;
	return 0;
}

static void closed(uv_handle_t *handle)
{
	free(handle->data);
}

struct ygr_world *ygr_world_stop(struct ygr_world *world)
{
	if (!world)
		return NULL;
	for (int i = 0; i < YGR_WATCH_KINDS; i++)
		ygr_kube_informer_stop(world->watches[i].informer);
	ygr_nodes_deinit(&world->nodes);
	uv_close((uv_handle_t *)&world->settle, closed);
	return NULL;
}
