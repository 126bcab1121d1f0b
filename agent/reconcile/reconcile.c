/*
 * The pass. For every monitor and every VM of its namespace that it selects there is one piece of work for
 * each application; what is there and not needed is stopped. Changes only mark that a pass is due.
 */
#include "agent/reconcile/reconcile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/reconcile/policy.h"
#include "agent/reconcile/state.h"
#include "lib/base/log.h"

static struct ygr_observed **find_guest(struct ygr_reconcile *reconcile, const char *ns, const char *name)
{
	for (size_t i = 0; i < reconcile->guest_count; i++)
		if (!strcmp(reconcile->guests[i]->vm->name, name) &&
		    !strcmp(reconcile->guests[i]->vm->namespace_, ns))
			return &reconcile->guests[i];
	return NULL;
}

static struct ygr_wanted *find_wanted(struct ygr_reconcile *reconcile, const char *ns, const char *name)
{
	for (size_t i = 0; i < reconcile->monitor_count; i++)
		if (!strcmp(reconcile->monitors[i]->name, name) &&
		    !strcmp(reconcile->monitors[i]->namespace_, ns))
			return reconcile->monitors[i];
	return NULL;
}

static struct ygr_work *find_work(struct ygr_reconcile *reconcile, const struct ygr_observed *guest,
				  const struct ygr_wanted *wanted, const char *app)
{
	for (size_t i = 0; i < reconcile->work_count; i++) {
		struct ygr_work *work = reconcile->works[i];
		if (work->guest == guest && work->wanted == wanted && !strcmp(work->app, app))
			return work;
	}
	return NULL;
}

int ygr_reconcile_append(void *list, size_t *count, void *item)
{
	void ***items = list;
	void **grown = reallocarray(*items, *count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	*items = grown;
	grown[(*count)++] = item;
	return 0;
}

static void wanted_free(struct ygr_wanted *wanted)
{
	free(wanted->namespace_);
	free(wanted->name);
	free(wanted->problem);
	free(wanted);
}

struct ygr_wanted *ygr_reconcile_wanted(struct ygr_reconcile *reconcile, const char *ns, const char *name)
{
	struct ygr_wanted *wanted = find_wanted(reconcile, ns, name);

	if (wanted)
		return wanted;
	wanted = calloc(1, sizeof(*wanted));
	if (!wanted)
		return NULL;
	*wanted = (struct ygr_wanted){.namespace_ = strdup(ns), .name = strdup(name)};
	wanted->accepted.type = "Accepted";
	wanted->ready.type = "Ready";
	wanted->degraded.type = "Degraded";
	if (!wanted->namespace_ || !wanted->name ||
	    ygr_reconcile_append(&reconcile->monitors, &reconcile->monitor_count, wanted) < 0) {
		wanted_free(wanted);
		return NULL;
	}
	return wanted;
}

static void remove_work(struct ygr_reconcile *reconcile, size_t i)
{
	ygr_work_free(reconcile->works[i]);
	reconcile->works[i] = reconcile->works[--reconcile->work_count];
}

void ygr_reconcile_vm_changed(void *user, const struct ygr_vm *vm)
{
	struct ygr_reconcile *reconcile = user;
	struct ygr_observed **known = find_guest(reconcile, vm->namespace_, vm->name);
	struct ygr_observed *guest = known ? *known : calloc(1, sizeof(*guest));

	if (!guest ||
	    (!known && ygr_reconcile_append(&reconcile->guests, &reconcile->guest_count, guest) < 0)) {
		free(guest);
		ygr_log(YGR_LOG_ERROR, "reconcile", "out of memory: VM %s is not watched", vm->name);
		return;
	}
	guest->reconcile = reconcile;
	guest->channel_ready.type = "ChannelReady";
	bool resumed = known && guest->vm->phase != YGR_VM_RUNNING && vm->phase == YGR_VM_RUNNING;
	guest->vm = vm;
	if (reconcile->options.enforce)
		ygr_enforce_vm_changed(reconcile->options.enforce, vm);
	if (resumed && guest->link)
		ygr_link_kick(guest->link);
	reconcile->dirty = true;
	ygr_reconcile_soon(reconcile, 0);
}

void ygr_reconcile_vm_gone(void *user, const struct ygr_vm *vm)
{
	struct ygr_reconcile *reconcile = user;
	struct ygr_observed **known = find_guest(reconcile, vm->namespace_, vm->name), *guest;

	if (!known)
		return;
	guest = *known;
	*known = reconcile->guests[--reconcile->guest_count];
	for (size_t i = reconcile->work_count; i-- > 0;)
		if (reconcile->works[i]->guest == guest)
			remove_work(reconcile, i);
	ygr_observed_free(guest);
	if (reconcile->options.enforce)
		ygr_enforce_vm_gone(reconcile->options.enforce, vm);
	reconcile->dirty = true;
	ygr_reconcile_soon(reconcile, 0);
}

void ygr_reconcile_monitor_changed(void *user, const struct ygr_monitor *monitor)
{
	struct ygr_reconcile *reconcile = user;
	struct ygr_wanted *wanted =
	    ygr_reconcile_wanted(reconcile, monitor->meta.namespace_, monitor->meta.name);

	if (!wanted) {
		ygr_log(YGR_LOG_ERROR, "reconcile", "out of memory: VMMonitor %s is not run",
			monitor->meta.name);
		return;
	}
	wanted->monitor = monitor;
	reconcile->dirty = true;
	ygr_reconcile_soon(reconcile, 0);
}

void ygr_reconcile_monitor_gone(void *user, const char *namespace_, const char *name)
{
	struct ygr_reconcile *reconcile = user;
	struct ygr_wanted *wanted = find_wanted(reconcile, namespace_, name);

	if (wanted)
		wanted->monitor = NULL; /* forgotten once its work has ended */
	reconcile->dirty = true;
	ygr_reconcile_soon(reconcile, 0);
}

void ygr_reconcile_policy_changed(void *user, const struct ygr_vm_policy *policy)
{
	ygr_policies_changed(((struct ygr_reconcile *)user)->policies, policy);
}

void ygr_reconcile_policy_gone(void *user, const char *namespace_, const char *name)
{
	ygr_policies_gone(((struct ygr_reconcile *)user)->policies, namespace_, name);
}

void ygr_reconcile_synced(void *user)
{
	struct ygr_reconcile *reconcile = user;

	reconcile->policies->synced = true;
	ygr_reconcile_soon(reconcile, 0);
}

void ygr_reconcile_enforce(struct ygr_reconcile *reconcile, struct ygr_enforce *enforce)
{
	reconcile->options.enforce = enforce;
}

void ygr_reconcile_enforce_event(void *user, const struct ygr_enforce_event *event)
{
	ygr_policies_enforce_event(user, event);
}

void ygr_reconcile_enforce_changed(void *user)
{
	struct ygr_reconcile *reconcile = user;

	reconcile->dirty = true;
	ygr_reconcile_soon(reconcile, 0);
}

/* The application was changed in its monitor: what runs is stopped, and the new form has a clean slate. */
static void respecify(struct ygr_work *work, const json_t *spec)
{
	json_decref(work->spec);
	work->spec = json_incref((json_t *)spec);
	work->failures = 0;
	work->reason[0] = work->message[0] = '\0';
	if (!work->application)
		ygr_work_kill(work);
	else
		ygr_work_stop(work);
}

static void need(struct ygr_observed *guest, struct ygr_wanted *wanted, const struct ygr_app *app,
		 const json_t *spec, uint64_t *next_ms)
{
	struct ygr_reconcile *reconcile = guest->reconcile;
	struct ygr_work *work = find_work(reconcile, guest, wanted, app->name);

	if (!work) {
		if (ygr_work_new(guest, wanted, app, spec, &work) < 0)
			return;
		if (ygr_reconcile_append(&reconcile->works, &reconcile->work_count, work) < 0) {
			ygr_work_free(work);
			return;
		}
		reconcile->dirty = true;
	} else if (work->spec != spec) {
		if (!json_equal(work->spec, (json_t *)spec))
			respecify(work, spec);
		else { /* the same words in a newer document */
			json_decref(work->spec);
			work->spec = json_incref((json_t *)spec);
		}
	}
	work->needed = true;
	ygr_work_advance(work, app, next_ms);
}

static void pass_monitor(struct ygr_reconcile *reconcile, struct ygr_wanted *wanted, uint64_t *next_ms)
{
	const struct ygr_monitor *monitor = wanted->monitor;
	const json_t *apps = monitor ? json_object_get(monitor->spec, "apps") : NULL;

	if (!monitor || monitor->suspend)
		return;
	for (size_t i = 0; i < reconcile->guest_count; i++) {
		struct ygr_observed *guest = reconcile->guests[i];
		if (strcmp(guest->vm->namespace_, wanted->namespace_) != 0 ||
		    !ygr_selector_matches(&monitor->selector, &guest->vm->labels))
			continue;
		for (size_t j = 0; j < monitor->app_count; j++)
			need(guest, wanted, &monitor->apps[j], json_array_get(apps, j), next_ms);
	}
}

/* Stops what nobody needs, and forgets monitors of which nothing is left. */
static void sweep(struct ygr_reconcile *reconcile)
{
	for (size_t i = reconcile->work_count; i-- > 0;)
		if (!reconcile->works[i]->needed && ygr_work_stop(reconcile->works[i]))
			remove_work(reconcile, i);
	for (size_t i = reconcile->monitor_count; i-- > 0;) {
		struct ygr_wanted *wanted = reconcile->monitors[i];
		bool used = wanted->monitor || wanted->problem;
		for (size_t j = 0; j < reconcile->work_count && !used; j++)
			used = reconcile->works[j]->wanted == wanted;
		if (used)
			continue;
		wanted_free(wanted);
		reconcile->monitors[i] = reconcile->monitors[--reconcile->monitor_count];
		reconcile->dirty = true;
	}
}

static double seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

static void finish_stop(struct ygr_reconcile *reconcile)
{
	void (*stopped)(void *user) = reconcile->stopped;

	reconcile->stopped = NULL;
	uv_timer_stop(&reconcile->stop_timer);
	if (stopped)
		stopped(reconcile->stopped_user);
}

static void pass(struct ygr_reconcile *reconcile)
{
	uint64_t now = uv_now(reconcile->options.loop), next = UINT64_MAX;

	for (size_t i = 0; i < reconcile->guest_count && !reconcile->stopping; i++)
		ygr_observed_update(reconcile->guests[i]);
	for (size_t i = 0; i < reconcile->work_count; i++)
		reconcile->works[i]->needed = false;
	for (size_t i = 0; i < reconcile->monitor_count && !reconcile->stopping; i++)
		pass_monitor(reconcile, reconcile->monitors[i], &next);
	sweep(reconcile);
	if (!reconcile->stopping)
		ygr_policies_pass(reconcile->policies, &next);
	if (reconcile->dirty && now < reconcile->published_ms + YGR_PUBLISH_MS) {
		if (next > reconcile->published_ms + YGR_PUBLISH_MS)
			next = reconcile->published_ms + YGR_PUBLISH_MS;
	} else if (reconcile->dirty) {
		reconcile->dirty = false;
		reconcile->published_ms = now;
		ygr_reconcile_publish(reconcile);
	}
	if (next != UINT64_MAX)
		ygr_reconcile_soon(reconcile, next > now ? next - now : 0);
}

static void on_timer(uv_timer_t *timer)
{
	struct ygr_reconcile *reconcile = timer->data;
	struct timespec start;

	clock_gettime(CLOCK_MONOTONIC, &start);
	pass(reconcile);
	ygr_metric_observe(reconcile->metrics.duration, seconds_since(&start), NULL);
	ygr_reconcile_metrics_gauges(reconcile);
	if (reconcile->stopping && !reconcile->work_count)
		finish_stop(reconcile);
}

void ygr_reconcile_soon(struct ygr_reconcile *reconcile, uint64_t delay_ms)
{
	if (uv_is_closing((uv_handle_t *)&reconcile->timer))
		return;
	if (uv_is_active((uv_handle_t *)&reconcile->timer) &&
	    uv_timer_get_due_in(&reconcile->timer) <= delay_ms)
		return;
	uv_timer_start(&reconcile->timer, on_timer, delay_ms, 0);
}

static void on_stop_timer(uv_timer_t *timer)
{
	struct ygr_reconcile *reconcile = timer->data;

	for (size_t i = reconcile->work_count; i-- > 0;)
		remove_work(reconcile, i);
	finish_stop(reconcile);
}

void ygr_reconcile_republish(struct ygr_reconcile *reconcile)
{
	reconcile->dirty = true;
	ygr_reconcile_soon(reconcile, 0);
}

void ygr_reconcile_stop(struct ygr_reconcile *reconcile, void (*done)(void *user), void *user)
{
	reconcile->stopping = true;
	reconcile->stopped = done;
	reconcile->stopped_user = user;
	ygr_runs_end(reconcile->runs, NULL, "Stopped", "the agent is being stopped");
	uv_timer_start(&reconcile->stop_timer, on_stop_timer, YGR_STOP_MS, 0);
	ygr_reconcile_soon(reconcile, 0);
}

int ygr_reconcile_new(const struct ygr_reconcile_options *options, struct ygr_reconcile **ret)
{
	struct ygr_reconcile *reconcile = calloc(1, sizeof(*reconcile));

	if (!reconcile)
		return -ENOMEM;
	reconcile->options = *options;
	int r = ygr_reconcile_metrics_declare(reconcile);
	if (r == 0)
		r = ygr_policies_new(reconcile, &reconcile->policies);
	if (r == 0)
		r = ygr_runs_new(reconcile, &reconcile->runs);
	if (r < 0) {
		ygr_policies_free(reconcile->policies);
		free(reconcile);
		return r;
	}
	reconcile->open_handles = 2;
	(void)ygr_releases_new(reconcile, &reconcile->releases); /* NULL: nothing is released by hand */
	reconcile->timer.data = reconcile->stop_timer.data = reconcile;
	uv_timer_init(options->loop, &reconcile->timer);
	uv_timer_init(options->loop, &reconcile->stop_timer);
	reconcile->dirty = true;
	ygr_reconcile_soon(reconcile, 0);
	*ret = reconcile;
	return 0;
}

void ygr_reconcile_handle_closed(struct ygr_reconcile *reconcile)
{
	if (!--reconcile->open_handles)
		free(reconcile);
}

static void on_closed(uv_handle_t *handle)
{
	ygr_reconcile_handle_closed(handle->data);
}

struct ygr_reconcile *ygr_reconcile_free(struct ygr_reconcile *reconcile)
{
	if (!reconcile)
		return NULL;
	reconcile->stopping = reconcile->freed = true;
	while (reconcile->work_count)
		remove_work(reconcile, reconcile->work_count - 1);
	ygr_runs_end(reconcile->runs, NULL, "Stopped", "the agent is being stopped");
	while (reconcile->guest_count)
		ygr_observed_free(reconcile->guests[--reconcile->guest_count]);
	reconcile->runs = ygr_runs_free(reconcile->runs);
	reconcile->releases = ygr_releases_free(reconcile->releases);
	ygr_reconcile_clear_problems(reconcile);
	reconcile->policies = ygr_policies_free(reconcile->policies);
	while (reconcile->monitor_count)
		wanted_free(reconcile->monitors[--reconcile->monitor_count]);
	free(reconcile->guests);
	free(reconcile->monitors);
	free(reconcile->works);
	uv_close((uv_handle_t *)&reconcile->timer, on_closed);
	uv_close((uv_handle_t *)&reconcile->stop_timer, on_closed);
	return NULL;
}
