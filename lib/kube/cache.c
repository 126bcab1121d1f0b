/* The copy: objects become values, changes become callbacks. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/kube/reflect.h"

static void refused(struct ygr_kube_informer *informer, const char *ns, const char *name,
		    const char *message)
{
	const struct ygr_kube_informer_options *o = &informer->options;

	ygr_kube_count(ygr_kube_metrics(informer->kube)->refused, o->resource.plural, NULL);
	if (o->refused)
		o->refused(o->user, ns, name, message);
}

static void remove_item(struct ygr_kube_informer *informer, struct ygr_kube_item *item)
{
	const struct ygr_kube_informer_options *o = &informer->options;

	ygr_kube_store_take(&informer->store, item);
	o->gone(o->user, item->key, ygr_kube_item_name(item), item->value);
	if (item->value)
		o->free(o->user, item->value);
	free(item);
}

/* The entry of that name, made if there is none; NULL: there is no room. */
static struct ygr_kube_item *item_of(struct ygr_kube_informer *informer, const char *ns, const char *name)
{
	struct ygr_kube_item *item = ygr_kube_store_find(&informer->store, ns, name);

	if (!item && informer->store.count < informer->options.objects_max)
		item = ygr_kube_store_add(&informer->store, ns, name);
	return item;
}

void ygr_kube_cache_put(struct ygr_kube_informer *informer, const json_t *object)
{
	const struct ygr_kube_informer_options *o = &informer->options;
	const char *name = ygr_kube_meta(object, "name"), *ns = ygr_kube_meta(object, "namespace");
	struct ygr_error error = YGR_ERROR_INIT;
	void *value = NULL;

	if (!name || !*name) {
		informer->incomplete = true;
		refused(informer, "", "", "an object without a name");
		return;
	}
	ns = ns ? ns : "";
	int r = o->decode(o->user, object, &value, &error);
	if (r == -ENOENT) {
		struct ygr_kube_item *known = ygr_kube_store_find(&informer->store, ns, name);
		if (known)
			remove_item(informer, known);
		return;
	}
	struct ygr_kube_item *item = item_of(informer, ns, name);
	if (item)
		item->mark = informer->mark;
	if (r < 0) {
		refused(informer, ns, name, error.code ? error.message : strerror(-r));
		return;
	}
	if (!item) {
		o->free(o->user, value);
		refused(informer, ns, name, "there are more objects than this informer holds");
		return;
	}
	void *old = item->value;
	item->value = value;
	o->changed(o->user, item->key, ygr_kube_item_name(item), old, value);
	if (old)
		o->free(o->user, old);
}

void ygr_kube_cache_remove(struct ygr_kube_informer *informer, const json_t *object)
{
	const char *name = ygr_kube_meta(object, "name"), *ns = ygr_kube_meta(object, "namespace");
	struct ygr_kube_item *item = name ? ygr_kube_store_find(&informer->store, ns ? ns : "", name) : NULL;

	if (item)
		remove_item(informer, item);
}

/* What the list that has just ended did not name is gone. */
void ygr_kube_cache_sweep(struct ygr_kube_informer *informer)
{
	size_t at = 0;

	if (informer->incomplete)
		return;
	for (struct ygr_kube_item *item = ygr_kube_store_next(&informer->store, &at, NULL), *next; item;
	     item = next) {
		next = ygr_kube_store_next(&informer->store, &at, item);
		if (item->mark != informer->mark)
			remove_item(informer, item);
		if (informer->stopped)
			return;
	}
}

void ygr_kube_cache_clear(struct ygr_kube_informer *informer)
{
	size_t at = 0;

	for (struct ygr_kube_item *item = ygr_kube_store_next(&informer->store, &at, NULL), *next; item;
	     item = next) {
		next = ygr_kube_store_next(&informer->store, &at, item);
		if (item->value)
			informer->options.free(informer->options.user, item->value);
		free(item);
	}
	ygr_kube_store_deinit(&informer->store);
}

void *ygr_kube_informer_find(const struct ygr_kube_informer *informer, const char *namespace_,
			     const char *name)
{
	const struct ygr_kube_item *item = ygr_kube_store_find(&informer->store, namespace_, name);

	return item ? item->value : NULL;
}

size_t ygr_kube_informer_count(const struct ygr_kube_informer *informer)
{
	return informer->store.count;
}

void ygr_kube_informer_each(const struct ygr_kube_informer *informer,
			    void (*visit)(void *visitor, const char *namespace_, const char *name,
					  void *value),
			    void *visitor)
{
	size_t at = 0;

	for (struct ygr_kube_item *item = ygr_kube_store_next(&informer->store, &at, NULL); item;
	     item = ygr_kube_store_next(&informer->store, &at, item))
		if (item->value)
			visit(visitor, item->key, ygr_kube_item_name(item), item->value);
}
