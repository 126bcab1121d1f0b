/* Handle table; see handles.h. A number is generation << 16 | (slot + 1), never 0 and never YGR_HANDLE_BAD.
 */
#include "guest-image/guest/handles.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <unistd.h>

#define NO_SLOT UINT32_MAX

void ygr_guest_handles_init(struct ygr_guest_handles *handles, uint32_t max, uint32_t possible_cpus)
{
	*handles = (struct ygr_guest_handles){
	    .max = max < YGR_GUEST_HANDLES_LIMIT ? max : YGR_GUEST_HANDLES_LIMIT,
	    .first_free = NO_SLOT,
	    .possible_cpus = possible_cpus,
	};
}

void ygr_guest_handles_deinit(struct ygr_guest_handles *handles)
{
	for (uint32_t i = 0; i < handles->count; i++)
		if (handles->slots[i].fd >= 0)
			close(handles->slots[i].fd);
	free(handles->slots);
	ygr_guest_handles_init(handles, handles->max, handles->possible_cpus);
}

static int take_slot(struct ygr_guest_handles *handles, uint32_t *ret_index)
{
	if (handles->open >= handles->max)
		return -EMFILE;
	if (handles->first_free != NO_SLOT) {
		*ret_index = handles->first_free;
		handles->first_free = handles->slots[*ret_index].next_free;
		return 0;
	}
	if (handles->count == handles->capacity) {
		uint32_t capacity = handles->capacity ? handles->capacity * 2 : 32;
		if (capacity > handles->max)
			capacity = handles->max;
		struct ygr_guest_handle *slots =
		    reallocarray(handles->slots, capacity, sizeof(*handles->slots));
		if (!slots)
			return -ENOMEM;
		handles->slots = slots;
		handles->capacity = capacity;
	}
	*ret_index = handles->count++;
	handles->slots[*ret_index] = (struct ygr_guest_handle){.fd = -1};
	return 0;
}

int ygr_guest_handles_add(struct ygr_guest_handles *handles, int fd, const struct ygr_object *object,
			  uint64_t charge, uint32_t *ret_handle)
{
	uint32_t index;
	int r = take_slot(handles, &index);
	if (r < 0) {
		close(fd);
		return r;
	}

	struct ygr_guest_handle *slot = &handles->slots[index];
	slot->fd = fd;
	slot->charge = charge;
	slot->object = *object;
	handles->open++;
	handles->charged += charge;
	*ret_handle = (uint32_t)slot->generation << 16 | (index + 1);
	return 0;
}

static struct ygr_guest_handle *find(const struct ygr_guest_handles *handles, uint32_t handle)
{
	uint32_t index = (handle & 0xffff) - 1; /* 0 wraps to what no table holds */
	if (index >= handles->count)
		return NULL;
	struct ygr_guest_handle *slot = &handles->slots[index];
	return slot->fd >= 0 && slot->generation == handle >> 16 ? slot : NULL;
}

int ygr_guest_handles_close(struct ygr_guest_handles *handles, uint32_t handle)
{
	struct ygr_guest_handle *slot = find(handles, handle);
	if (!slot)
		return -EBADF;

	close(slot->fd);
	slot->fd = -1;
	slot->generation++;
	handles->charged -= slot->charge;
	handles->open--;
	slot->next_free = handles->first_free;
	handles->first_free = (uint32_t)(slot - handles->slots);
	return 0;
}

const struct ygr_guest_handle *ygr_guest_handles_find(const struct ygr_guest_handles *handles,
						      uint32_t handle)
{
	return find(handles, handle);
}

int ygr_guest_handles_fd_of(void *handles, uint32_t handle)
{
	const struct ygr_guest_handle *slot = find(handles, handle);
	return slot ? slot->fd : -1;
}

bool ygr_guest_handles_object_of(void *handles, uint32_t handle, struct ygr_object *ret_object)
{
	const struct ygr_guest_handle *slot = find(handles, handle);
	if (!slot)
		return false;
	*ret_object = slot->object;
	return true;
}

uint64_t ygr_guest_map_charge(const struct ygr_object *map)
{
	if (map->map_type == BPF_MAP_TYPE_RINGBUF || map->map_type == BPF_MAP_TYPE_USER_RINGBUF)
		return map->max_entries;

	/* 64: about what a hash element or a task's storage adds to its key and value */
	uint64_t element = 64 + ((uint64_t)map->key_size + 7);
	uint64_t value = ((uint64_t)map->value_size + 7) & ~7ull, total;
	bool percpu = map->map_type == BPF_MAP_TYPE_PERCPU_HASH ||
		      map->map_type == BPF_MAP_TYPE_PERCPU_ARRAY ||
		      map->map_type == BPF_MAP_TYPE_LRU_PERCPU_HASH ||
		      map->map_type == BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE;
	if (map->map_type == BPF_MAP_TYPE_ARRAY)
		element = 0;
	element += percpu ? value * (map->possible_cpus ? map->possible_cpus : 1) : value;
	if (__builtin_mul_overflow(element, (uint64_t)map->max_entries, &total))
		return UINT64_MAX;
	return total;
}
