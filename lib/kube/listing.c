/* Lists: page by page, each object decoded as it arrives. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/kube/reflect.h"

#define LIST_MS      300000 /* one page */
#define LIST_IDLE_MS 60000

static int on_object(void *user, const char *text, size_t len)
{
	struct ygr_kube_informer *informer = user;
	json_t *object = json_loadb(text, len, JSON_ALLOW_NUL, NULL);

	/* What the parser cannot read (a number beyond its range) does not spoil the others. */
	ygr_kube_cache_put(informer, object);
	json_decref(object);
	return informer->stopped ? -ECANCELED : 0;
}

static int on_data(void *user, const char *bytes, size_t len)
{
	struct ygr_kube_informer *informer = user;

	return ygr_kube_split_feed(&informer->split, bytes, len);
}

/* The envelope of a page: where to watch from, and whether there is more. */
static int read_envelope(struct ygr_kube_informer *informer)
{
	int r = ygr_kube_split_end(&informer->split);
	json_t *root = NULL;

	if (r == 0) {
		root = json_loadb((const char *)informer->split.envelope.data,
				  informer->split.envelope.len - 1, 0, NULL);
		const char *version = ygr_kube_meta(root, "resourceVersion");
		const char *proceed = ygr_kube_meta(root, "continue");
		free(informer->version);
		free(informer->proceed);
		informer->version = version && *version ? strdup(version) : NULL;
		informer->proceed = proceed && *proceed ? strdup(proceed) : NULL;
		if (!informer->version)
			r = -EINVAL;
	}
	json_decref(root);
	return r;
}

static void on_done(void *user, const struct ygr_kube_answer *answer)
{
	struct ygr_kube_informer *informer = user;
	const struct ygr_kube_metrics *metrics = ygr_kube_metrics(informer->kube);
	const char *resource = informer->options.resource.plural;
	int r = answer->error;

	informer->call = NULL;
	if (r == 0)
		r = read_envelope(informer);
	ygr_kube_split_deinit(&informer->split);
	if (r < 0) {
		bool expired = answer->status == 410;
		ygr_kube_count(metrics->lists, resource, expired ? "expired" : "failed");
		free(ygr_steal_ptr(&informer->version));
		free(ygr_steal_ptr(&informer->proceed));
		if (expired && !informer->whole_list) {
			informer->whole_list = true;
			ygr_kube_informer_next(informer, true);
		} else {
			ygr_kube_informer_failed(informer,
						 answer->error ? answer->message : "the list is no list");
		}
		return;
	}
	if (informer->proceed) {
		ygr_kube_informer_next(informer, true);
		return;
	}
	ygr_kube_count(metrics->lists, resource, "complete");
	informer->whole_list = false;
	ygr_kube_informer_settled(informer);
	if (!informer->stopped)
		ygr_kube_informer_next(informer, true);
}

int ygr_kube_list_begin(struct ygr_kube_informer *informer)
{
	const struct ygr_kube_informer_options *o = &informer->options;
	_cleanup_free_ char *path = NULL;
	char limit[16];

	if (!informer->proceed) {
		informer->mark++;
		informer->incomplete = false;
	}
	snprintf(limit, sizeof(limit), "%u", o->page);
	int r = ygr_kube_path(&o->resource, o->namespace_, NULL, NULL, &path);
	if (r == 0)
		r = ygr_kube_path_add(&path, "limit", informer->whole_list ? NULL : limit);
	if (r == 0)
		r = ygr_kube_path_add(&path, "continue", informer->proceed);
	if (r == 0)
		r = ygr_kube_path_add(&path, "labelSelector", o->label_selector);
	if (r == 0)
		r = ygr_kube_path_add(&path, "fieldSelector", o->field_selector);
	if (r < 0)
		return r;
	ygr_kube_split_init(&informer->split, YGR_KUBE_SPLIT_LIST, on_object, informer);
	const struct ygr_kube_request request = {.verb = "list",
						 .path = path,
						 .deadline_ms = LIST_MS,
						 .idle_ms = LIST_IDLE_MS,
						 .data = on_data,
						 .done = on_done,
						 .user = informer};
	informer->phase = YGR_KUBE_LISTING;
	return ygr_kube_start(informer->kube, &request, &informer->call);
}
