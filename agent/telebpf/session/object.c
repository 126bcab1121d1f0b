#include "agent/telebpf/session/object.h"

#include <errno.h>
#include <stdlib.h>

static uint32_t bucket_of(uint32_t handle)
{
	return handle %
	       YGR_OBJECT_BUCKETS; /* a guest that chooses its handles badly slows down only itself */
}

struct ygr_entry *ygr_objects_find(const struct ygr_objects *objects, uint32_t handle)
{
	struct ygr_entry *entry = objects->buckets[bucket_of(handle)];

	while (entry && entry->handle != handle)
		entry = entry->next;
	return entry;
}

int ygr_objects_add(struct ygr_objects *objects, uint32_t handle, const struct ygr_object *object,
		    struct ygr_entry **ret)
{
	struct ygr_entry *entry, **bucket = &objects->buckets[bucket_of(handle)];

	if (handle == YGR_HANDLE_NONE || handle == YGR_HANDLE_BAD)
		return -EINVAL;
	if (ygr_objects_find(objects, handle))
		return -EEXIST;
	if (objects->count >= objects->max)
		return -EMFILE;
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	entry->handle = handle;
	entry->object = *object;
	entry->next = *bucket;
	*bucket = entry;
	objects->count++;
	*ret = entry;
	return 0;
}

void ygr_objects_remove(struct ygr_objects *objects, struct ygr_entry *entry)
{
	struct ygr_entry **at = &objects->buckets[bucket_of(entry->handle)];

	while (*at != entry)
		at = &(*at)->next;
	*at = entry->next;
	objects->count--;
	free(entry);
}

static struct ygr_entry *first_from(const struct ygr_objects *objects, uint32_t bucket)
{
	for (; bucket < YGR_OBJECT_BUCKETS; bucket++)
		if (objects->buckets[bucket])
			return objects->buckets[bucket];
	return NULL;
}

struct ygr_entry *ygr_objects_first(const struct ygr_objects *objects)
{
	return first_from(objects, 0);
}

struct ygr_entry *ygr_objects_next(const struct ygr_objects *objects, const struct ygr_entry *entry)
{
	return entry->next ? entry->next : first_from(objects, bucket_of(entry->handle) + 1);
}
