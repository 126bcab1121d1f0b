/* See store.h: a hash table with chains (FNV-1a). Whoever makes chains long by choosing names can at worst make
 * them as long as the informer's bound on objects. */
#include "lib/kube/store.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS_FIRST 64

static uint64_t hash_text(uint64_t hash, const char *text)
{
	do
		hash = (hash ^ (unsigned char)*text) * 0x100000001b3ull;
	while (*text++);
	return hash;
}

static size_t bucket_of(const struct ygr_kube_store *store, const char *namespace_, const char *name)
{
	uint64_t hash = hash_text(hash_text(0xcbf29ce484222325ull, namespace_), name);

	return (hash ^ hash >> 32) & (store->bucket_count - 1);
}

static bool is(const struct ygr_kube_item *item, const char *namespace_, const char *name)
{
	return !strcmp(ygr_kube_item_name(item), name) && !strcmp(item->key, namespace_);
}

struct ygr_kube_item *ygr_kube_store_find(const struct ygr_kube_store *store, const char *namespace_,
					  const char *name)
{
	if (!store->bucket_count)
		return NULL;
	struct ygr_kube_item *item = store->buckets[bucket_of(store, namespace_, name)];
	while (item && !is(item, namespace_, name))
		item = item->next;
	return item;
}

static void grow(struct ygr_kube_store *store)
{
	struct ygr_kube_store larger = {.bucket_count =
					    store->bucket_count ? store->bucket_count * 2 : BUCKETS_FIRST};

	larger.buckets = calloc(larger.bucket_count, sizeof(struct ygr_kube_item *));
	if (!larger.buckets)
		return; /* chains become longer */
	for (size_t i = 0; i < store->bucket_count; i++)
		for (struct ygr_kube_item *item = store->buckets[i], *next; item; item = next) {
			size_t bucket = bucket_of(&larger, item->key, ygr_kube_item_name(item));
			next = item->next;
			item->next = larger.buckets[bucket];
			larger.buckets[bucket] = item;
		}
	larger.count = store->count;
	free(store->buckets);
	*store = larger;
}

struct ygr_kube_item *ygr_kube_store_add(struct ygr_kube_store *store, const char *namespace_,
					 const char *name)
{
	size_t first = strlen(namespace_) + 1, second = strlen(name) + 1;

	if (store->count >= store->bucket_count)
		grow(store);
	if (!store->bucket_count || first > UINT16_MAX)
		return NULL;
	struct ygr_kube_item *item = malloc(sizeof(*item) + first + second);
	if (!item)
		return NULL;
	*item = (struct ygr_kube_item){.name = (uint16_t)first};
	memcpy(item->key, namespace_, first);
	memcpy(item->key + first, name, second);
	struct ygr_kube_item **bucket = &store->buckets[bucket_of(store, namespace_, name)];
	item->next = *bucket;
	*bucket = item;
	store->count++;
	return item;
}

void ygr_kube_store_take(struct ygr_kube_store *store, struct ygr_kube_item *item)
{
	struct ygr_kube_item **link = &store->buckets[bucket_of(store, item->key, ygr_kube_item_name(item))];

	while (*link != item)
		link = &(*link)->next;
	*link = item->next;
	item->next = NULL;
	store->count--;
}

struct ygr_kube_item *ygr_kube_store_next(const struct ygr_kube_store *store, size_t *at,
					  const struct ygr_kube_item *item)
{
	if (item && item->next)
		return item->next;
	for (size_t i = item ? *at + 1 : *at; i < store->bucket_count; i++)
		if (store->buckets[i]) {
			*at = i;
			return store->buckets[i];
		}
	return NULL;
}

void ygr_kube_store_deinit(struct ygr_kube_store *store)
{
	free(store->buckets);
	*store = (struct ygr_kube_store){0};
}
