/* Handles for the marshaller's fuzz targets: a handle's number says what it is, so that inputs reach all
 * shapes. */
#pragma once

#include "lib/wire/call-table.h"

enum { SHAPE_HANDLE = 1000, SHAPES = 128 };

/* 0-63: maps of that type (keys and values vary); 64-79: links; then one of each other kind; the rest
 * unknown. */
static inline bool shape_of(uint32_t number, struct ygr_object *ret_object)
{
	struct ygr_object object = {.kind = YGR_OBJECT_MAP, .map_type = number, .possible_cpus = 3};
	if (number < 64) {
		object.key_size = number * 7 % 13;
		object.value_size = number * 5 % 23;
		object.max_entries = 16;
	} else if (number < 80) {
		object = (struct ygr_object){.kind = YGR_OBJECT_LINK, .map_type = number - 64};
	} else if (number < 80 + YGR_OBJECT_TOKEN) {
		object = (struct ygr_object){.kind = number - 79};
	} else {
		return false;
	}
	*ret_object = object;
	return true;
}

static inline bool shape_object_of(void *user, uint32_t handle, struct ygr_object *ret_object)
{
	(void)user;
	return handle >= SHAPE_HANDLE && shape_of(handle - SHAPE_HANDLE, ret_object);
}

static inline int shape_fd_of(void *user, uint32_t handle)
{
	struct ygr_object object;
	return shape_object_of(user, handle, &object) ? (int)(handle - SHAPE_HANDLE) : -1;
}

static inline uint32_t shape_handle_of(void *user, int fd)
{
	struct ygr_object object;
	(void)user;
	return shape_of((uint32_t)fd, &object) ? (uint32_t)fd + SHAPE_HANDLE : YGR_HANDLE_BAD;
}
