/* See informer.h: what is done next, and after which wait. */
#include "lib/kube/informer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/kube/reflect.h"

#define TICK_MS         2000
#define STREAM_QUIET_MS 20000 /* of a streamed list: a server that does not know it goes on in silence */
#define RETURN_MS       2000  /* how informers spread when the server answers again */

static void set_working(struct ygr_kube_informer *informer, bool working, const char *reason)
{
	if (informer->working == working || informer->stopped)
		return;
	informer->working = working;
	if (informer->options.state)
		informer->options.state(informer->options.user, working, reason);
}

void ygr_kube_informer_working(struct ygr_kube_informer *informer)
{
	set_working(informer, true, "");
}

/* Forgets where we were: the next call is a list. */
static void start_over(struct ygr_kube_informer *informer)
{
	informer->call = ygr_kube_cancel(informer->call);
	ygr_kube_split_deinit(&informer->split);
	free(ygr_steal_ptr(&informer->version));
	free(ygr_steal_ptr(&informer->proceed));
	informer->epoch = ygr_kube_epoch(informer->kube);
}

static void begin(struct ygr_kube_informer *informer)
{
	int r;

	if (informer->epoch != ygr_kube_epoch(informer->kube))
		start_over(informer);
	informer->began_ms = informer->heard_ms = uv_now(ygr_kube_loop(informer->kube));
	if (informer->version && !informer->proceed)
		r = ygr_kube_watch_begin(informer, false);
	else if (!informer->plain_list && !informer->proceed)
		r = ygr_kube_watch_begin(informer, true);
	else
		r = ygr_kube_list_begin(informer);
	if (r < 0) {
		informer->call = NULL;
		ygr_kube_informer_failed(informer, strerror(-r));
	}
}

static void on_timer(uv_timer_t *timer)
{
	begin(timer->data);
}

void ygr_kube_informer_next(struct ygr_kube_informer *informer, bool at_once)
{
	uint64_t delay = 0;

	if (informer->stopped)
		return;
	if (!at_once) {
		unsigned shift = informer->failures > 6 ? 6 : informer->failures;
		uint64_t most = (uint64_t)YGR_KUBE_BACKOFF_MIN_MS << (shift + 1);
		if (most > YGR_KUBE_BACKOFF_MAX_MS)
			most = YGR_KUBE_BACKOFF_MAX_MS;
		delay = most / 2 + arc4random_uniform((uint32_t)(most / 2 + 1));
	}
	informer->phase = YGR_KUBE_WAITING;
	uv_timer_start(&informer->timer, on_timer, delay, 0);
}

void ygr_kube_informer_failed(struct ygr_kube_informer *informer, const char *reason)
{
	set_working(informer, false, reason);
	ygr_kube_informer_next(informer, false);
	informer->failures++;
}

void ygr_kube_informer_settled(struct ygr_kube_informer *informer)
{
	const struct ygr_kube_metrics *metrics = ygr_kube_metrics(informer->kube);
	const char *resource = informer->options.resource.plural;

	ygr_kube_saw_revision(informer->kube, informer->version);
	ygr_kube_informer_working(informer);
	if (!informer->stopped)
		ygr_kube_cache_sweep(informer);
	if (informer->stopped)
		return;
	ygr_kube_gauge(metrics->objects, (double)informer->store.count, resource);
	ygr_kube_gauge(metrics->synced, 1, resource);
	if (informer->synced)
		return;
	informer->synced = true;
	if (informer->options.synced)
		informer->options.synced(informer->options.user);
}

/* What no call's end tells. */
static void on_tick(uv_timer_t *timer)
{
	struct ygr_kube_informer *informer = timer->data;
	const char *resource = informer->options.resource.plural;
	uint64_t now = uv_now(ygr_kube_loop(informer->kube)),
		 recoveries = ygr_kube_recoveries(informer->kube);
	bool returned = recoveries != informer->recoveries;

	informer->recoveries = recoveries;
	if (informer->phase == YGR_KUBE_WAITING) {
		if (returned && uv_timer_get_due_in(&informer->timer) > RETURN_MS)
			uv_timer_start(&informer->timer, on_timer, arc4random_uniform(RETURN_MS), 0);
		return;
	}
	if (informer->epoch != ygr_kube_epoch(informer->kube)) {
		ygr_kube_count(ygr_kube_metrics(informer->kube)->watches, resource, "restored");
		start_over(informer);
		ygr_kube_informer_next(informer, true);
	} else if (informer->phase == YGR_KUBE_STREAMING && now > informer->heard_ms + STREAM_QUIET_MS) {
		ygr_kube_count(ygr_kube_metrics(informer->kube)->watches, resource, "silent");
		informer->plain_list = true;
		start_over(informer);
		ygr_kube_informer_next(informer, true);
	}
}

int ygr_kube_informer_start(const struct ygr_kube_informer_options *options, struct ygr_kube_informer **ret)
{
	struct ygr_kube_informer *informer = calloc(1, sizeof(*informer));
	_cleanup_free_ char *path = NULL;

	if (!informer)
		return -ENOMEM;
	informer->options = *options;
	informer->kube = options->kube;
	if (options->namespace_) {
		informer->options.namespace_ = strdup(options->namespace_);
		if (!informer->options.namespace_) {
			free(informer);
			return -ENOMEM;
		}
	}
	int r = ygr_kube_path(&options->resource, options->namespace_, NULL, NULL, &path);
	if (r < 0) {
		free((char *)informer->options.namespace_);
		free(informer);
		return r;
	}
	if (!options->page)
		informer->options.page = YGR_KUBE_PAGE;
	if (!options->objects_max)
		informer->options.objects_max = YGR_KUBE_OBJECTS_MAX;
	if (!options->quiet_ms)
		informer->options.quiet_ms = YGR_KUBE_QUIET_MS;
	informer->plain_list = options->no_watch_list;
	informer->working = -1;
	informer->epoch = ygr_kube_epoch(informer->kube);
	informer->recoveries = ygr_kube_recoveries(informer->kube);
	informer->timer.data = informer->ticker.data = informer;
	informer->open_handles = 2;
	uv_timer_init(ygr_kube_loop(informer->kube), &informer->timer);
	uv_timer_init(ygr_kube_loop(informer->kube), &informer->ticker);
	uv_timer_start(&informer->ticker, on_tick, TICK_MS, TICK_MS);
	ygr_kube_gauge(ygr_kube_metrics(informer->kube)->synced, 0, options->resource.plural);
	ygr_kube_informer_next(informer, true);
	*ret = informer;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct ygr_kube_informer *informer = handle->data;

	if (--informer->open_handles)
		return;
	ygr_kube_split_deinit(&informer->split);
	free(informer->version);
	free(informer->proceed);
	free((char *)informer->options.namespace_);
	free(informer);
}

struct ygr_kube_informer *ygr_kube_informer_stop(struct ygr_kube_informer *informer)
{
	if (!informer || informer->stopped)
		return NULL;
	informer->stopped = true;
	informer->call = ygr_kube_cancel(informer->call);
	ygr_kube_cache_clear(informer);
	uv_close((uv_handle_t *)&informer->timer, on_closed);
	uv_close((uv_handle_t *)&informer->ticker, on_closed);
	return NULL;
}

bool ygr_kube_informer_synced(const struct ygr_kube_informer *informer)
{
	return informer->synced;
}
