/* Watches, and lists that are streamed as one (WatchList). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/kube/reflect.h"

#define WATCH_MIN_S    300
#define WATCH_SPREAD_S 300
#define SLACK_MS       30000 /* beyond the time that the server was asked to end it after */
#define CUT_FAILURES   1     /* waits stay short while watches begin well and are cut */
#define SHORT_MS       5000  /* a watch that the server ends sooner counts as a failure */

static void take_version(struct ygr_kube_informer *informer, const json_t *object)
{
	const char *version = ygr_kube_meta(object, "resourceVersion");

	if (!version || !*version)
		return;
	char *copy = strdup(version);
	if (!copy)
		return; /* an older one does as well */
	free(informer->version);
	informer->version = copy;
	ygr_kube_saw_revision(informer->kube, version);
}

static bool ends_list(const json_t *object)
{
	const json_t *annotations = json_object_get(json_object_get(object, "metadata"), "annotations");
	const char *end = json_string_value(json_object_get(annotations, "k8s.io/initial-events-end"));

	return end && !strcmp(end, "true");
}

/* An ERROR event: a metav1.Status inside a stream that is HTTP 200. */
static int on_error_event(struct ygr_kube_informer *informer, const json_t *status)
{
	json_int_t code = json_integer_value(json_object_get(status, "code"));
	const char *message = json_string_value(json_object_get(status, "message"));
	struct ygr_error text;

	ygr_error_set(&text, 1, "%.200s", message ? message : "the server ended the watch with an error");
	snprintf(informer->event_message, sizeof(informer->event_message), "%.250s", text.message);
	informer->event_error = code == 410 ? -ESTALE : -EREMOTEIO;
	return informer->event_error;
}

static void on_bookmark(struct ygr_kube_informer *informer, const json_t *object)
{
	take_version(informer, object);
	if (informer->phase != YGR_KUBE_STREAMING || !ends_list(object))
		return;
	informer->phase = YGR_KUBE_WATCHING;
	ygr_kube_count(ygr_kube_metrics(informer->kube)->lists, informer->options.resource.plural,
		       "streamed");
	ygr_kube_informer_settled(informer);
}

static int on_event(void *user, const char *text, size_t len)
{
	struct ygr_kube_informer *informer = user;
	const struct ygr_kube_metrics *metrics = ygr_kube_metrics(informer->kube);
	const char *resource = informer->options.resource.plural;
	json_t *event = json_loadb(text, len, JSON_ALLOW_NUL, NULL);
	const char *type = json_string_value(json_object_get(event, "type"));
	const json_t *object = json_object_get(event, "object");
	int r = 0;

	ygr_kube_informer_working(informer);
	if (!type || !json_is_object(object)) {
		/* It may have been about any object: what we hold is not to be trusted. */
		snprintf(informer->event_message, sizeof(informer->event_message), "an event that is none");
		ygr_kube_count(metrics->refused, resource, NULL);
		r = informer->event_error = -ESTALE;
	} else if (!strcmp(type, "ADDED") || !strcmp(type, "MODIFIED")) {
		ygr_kube_count(metrics->events, resource, *type == 'A' ? "added" : "modified");
		ygr_kube_cache_put(informer, object);
		if (informer->phase == YGR_KUBE_WATCHING && !informer->stopped)
			take_version(informer, object);
	} else if (!strcmp(type, "DELETED")) {
		ygr_kube_count(metrics->events, resource, "deleted");
		ygr_kube_cache_remove(informer, object);
		if (informer->phase == YGR_KUBE_WATCHING && !informer->stopped)
			take_version(informer, object);
	} else if (!strcmp(type, "BOOKMARK")) {
		ygr_kube_count(metrics->events, resource, "bookmark");
		on_bookmark(informer, object);
	} else if (!strcmp(type, "ERROR")) {
		ygr_kube_count(metrics->events, resource, "error");
		r = on_error_event(informer, object);
	}
	json_decref(event);
	if (!informer->stopped)
		ygr_kube_gauge(metrics->objects, (double)informer->store.count, resource);
	return informer->stopped ? -ECANCELED : r;
}

static int on_data(void *user, const char *bytes, size_t len)
{
	struct ygr_kube_informer *informer = user;

	informer->heard_ms = uv_now(ygr_kube_loop(informer->kube));
	return ygr_kube_split_feed(&informer->split, bytes, len);
}

/* Why a watch ended, in a word for metrics. */
static const char *how(const struct ygr_kube_answer *answer, int event_error)
{
	if (answer->status == 410 || event_error == -ESTALE)
		return "expired";
	if (answer->error == 0)
		return "ended";
	return answer->error == -ETIMEDOUT ? "silent" : "failed";
}

/* A streamed list that did not come to its end: lists are made in pages from now on. */
static void on_stream_failed(struct ygr_kube_informer *informer, const struct ygr_kube_answer *answer)
{
	bool refused_it = answer->status >= 400 && answer->status < 500 && answer->status != 401 &&
			  answer->status != 403 && answer->status != 404 && answer->status != 429;

	free(ygr_steal_ptr(&informer->version));
	if (refused_it || answer->error == -ETIMEDOUT || answer->error == 0 || informer->event_error) {
		informer->plain_list = true;
		ygr_kube_informer_next(informer, true);
		return;
	}
	ygr_kube_informer_failed(informer, answer->message);
}

static void on_done(void *user, const struct ygr_kube_answer *answer)
{
	struct ygr_kube_informer *informer = user;
	uint64_t lived = uv_now(ygr_kube_loop(informer->kube)) - informer->began_ms;
	const char *message = informer->event_error ? informer->event_message : answer->message;

	informer->call = NULL;
	ygr_kube_split_deinit(&informer->split);
	ygr_kube_count(ygr_kube_metrics(informer->kube)->watches, informer->options.resource.plural,
		       how(answer, informer->event_error));
	if (informer->phase == YGR_KUBE_STREAMING) {
		on_stream_failed(informer, answer);
		return;
	}
	if (lived >= YGR_KUBE_GOOD_MS)
		informer->failures = 0;
	if (answer->status == 410 || answer->status == 404 || informer->event_error == -ESTALE) {
		free(ygr_steal_ptr(&informer->version));
		if (informer->failures++ == 0) {
			ygr_kube_informer_next(informer, true);
			return;
		}
	} else if (answer->error == -ETIMEDOUT) {
		/* Silence may mean that we wait for a revision that is not to come. */
		free(ygr_steal_ptr(&informer->version));
	} else if (answer->error == 0 && lived >= SHORT_MS) {
		ygr_kube_informer_next(informer, true);
		return;
	}
	if (answer->status == 200 && informer->failures > CUT_FAILURES)
		informer->failures = CUT_FAILURES;
	ygr_kube_informer_failed(informer, answer->error ? message : "the server ended a watch at once");
}

static int watch_path(struct ygr_kube_informer *informer, bool streamed_list, unsigned seconds, char **path)
{
	const struct ygr_kube_informer_options *o = &informer->options;
	char timeout[16];
	int r = ygr_kube_path(&o->resource, o->namespace_, NULL, NULL, path);

	snprintf(timeout, sizeof(timeout), "%u", seconds);
	if (r == 0)
		r = ygr_kube_path_add(path, "watch", "true");
	if (r == 0)
		r = ygr_kube_path_add(path, "allowWatchBookmarks", "true");
	if (r == 0)
		r = ygr_kube_path_add(path, "timeoutSeconds", timeout);
	if (r == 0)
		r = ygr_kube_path_add(path, "labelSelector", o->label_selector);
	if (r == 0)
		r = ygr_kube_path_add(path, "fieldSelector", o->field_selector);
	if (!streamed_list)
		return r < 0 ? r : ygr_kube_path_add(path, "resourceVersion", informer->version);
	if (r == 0)
		r = ygr_kube_path_add(path, "sendInitialEvents", "true");
	return r < 0 ? r : ygr_kube_path_add(path, "resourceVersionMatch", "NotOlderThan");
}

int ygr_kube_watch_begin(struct ygr_kube_informer *informer, bool streamed_list)
{
	_cleanup_free_ char *path = NULL;
	unsigned seconds = WATCH_MIN_S + arc4random_uniform(WATCH_SPREAD_S);
	int r = watch_path(informer, streamed_list, seconds, &path);

	if (r < 0)
		return r;
	if (streamed_list) {
		informer->mark++;
		informer->incomplete = false;
	}
	ygr_kube_split_init(&informer->split, YGR_KUBE_SPLIT_STREAM, on_event, informer);
	informer->event_error = 0;
	const struct ygr_kube_request request = {.verb = "watch",
						 .path = path,
						 .deadline_ms = seconds * 1000 + SLACK_MS,
						 .idle_ms = informer->options.quiet_ms,
						 .data = on_data,
						 .done = on_done,
						 .user = informer};
	informer->phase = streamed_list ? YGR_KUBE_STREAMING : YGR_KUBE_WATCHING;
	return ygr_kube_start(informer->kube, &request, &informer->call);
}
