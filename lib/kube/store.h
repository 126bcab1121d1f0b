/* What an informer remembers: values by namespace and name. Inside lib/kube. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ygr_kube_item {
	struct ygr_kube_item *next;
	void *value;   /* the owner's; NULL: the object could not be decoded */
	uint32_t mark; /* of the list that named it last */
	uint16_t name; /* where in key the name begins */
	char key[];    /* "NAMESPACE\0NAME\0" */
};

struct ygr_kube_store {
	struct ygr_kube_item **buckets;
	size_t bucket_count, count;
};

static inline const char *ygr_kube_item_name(const struct ygr_kube_item *entry)
{
	return entry->key + entry->name;
}

/* NULL when there is none. */
struct ygr_kube_item *ygr_kube_store_find(const struct ygr_kube_store *store, const char *namespace_,
					  const char *name);
/* A new entry without a value; there is none of that name. NULL without memory. */
struct ygr_kube_item *ygr_kube_store_add(struct ygr_kube_store *store, const char *namespace_,
					 const char *name);
/* Takes ENTRY out; it is the caller's to free. */
void ygr_kube_store_take(struct ygr_kube_store *store, struct ygr_kube_item *entry);
/* The entry of bucket *AT that follows ENTRY, or the first from there on; NULL at the end. Start with 0, NULL. */
struct ygr_kube_item *ygr_kube_store_next(const struct ygr_kube_store *store, size_t *at,
					  const struct ygr_kube_item *entry);
/* Frees the table; all entries have been taken. */
void ygr_kube_store_deinit(struct ygr_kube_store *store);
