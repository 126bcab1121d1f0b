/*
 * What the session knows about each handle of its guest: what it is, which processes of the application hold
 * it, and the private memory that stands for it. Handles are the guest's numbers; their count is bounded by
 * the grant.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/wire/call.h"

struct ygr_array;
struct ygr_ring;
struct ygr_waiter;

#define YGR_OBJECT_BUCKETS 256u

struct ygr_entry {
	struct ygr_entry *next; /* in its bucket */
	uint32_t handle;
	struct ygr_object object;
	uint64_t holders;     /* bit N: process N has it */
	uint64_t mappers;     /* bit N: process N maps it */
	uint32_t maps;        /* LOCAL_MAP without LOCAL_UNMAP */
	uint32_t busy;        /* requests under way that come back to this entry */
	uint64_t sample_type; /* perf: PERF_SAMPLE_* */
	bool frozen;          /* MAP_FREEZE went well */
	bool closed;          /* the guest was told that the handle is closed */
	bool stream_only;     /* pages were refused for it */
	struct ygr_ring *ring;
	struct ygr_array *array;
	bool ready; /* ring or array is there to be mapped */
	struct ygr_waiter *waiters;
};

struct ygr_objects {
	struct ygr_entry *buckets[YGR_OBJECT_BUCKETS];
	uint32_t count;
	uint32_t max;
};

struct ygr_entry *ygr_objects_find(const struct ygr_objects *objects, uint32_t handle);
/* -EEXIST when HANDLE is known, -EMFILE beyond max, -EINVAL for what is no handle, -ENOMEM. */
int ygr_objects_add(struct ygr_objects *objects, uint32_t handle, const struct ygr_object *object,
		    struct ygr_entry **ret);
/* Frees ENTRY, whose ring, array and waiters the caller has dealt with. */
void ygr_objects_remove(struct ygr_objects *objects, struct ygr_entry *entry);
/* All entries in some order; NULL at the end. Take the next before removing the current one. */
struct ygr_entry *ygr_objects_first(const struct ygr_objects *objects);
struct ygr_entry *ygr_objects_next(const struct ygr_objects *objects, const struct ygr_entry *entry);
