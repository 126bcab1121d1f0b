/*
 * The descriptors that a session holds in this kernel, under the numbers that travel on the channel. A
 * number names its slot and how often the slot was used, so a late message about a closed handle finds
 * nothing rather than its successor. Bounded: at most `max` at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/wire/call.h"

struct ygr_guest_handle {
	int fd; /* -1: free slot */
	uint16_t generation;
	uint32_t next_free;
	uint64_t charge; /* bytes of kernel memory that count against limits.memory while it is open */
	struct ygr_object object;
};

struct ygr_guest_handles {
	struct ygr_guest_handle *slots; /* grows in steps */
	uint32_t count, capacity, max, open;
	uint32_t first_free; /* index, UINT32_MAX when none */
	uint64_t charged;    /* sum of the charges */
	uint32_t possible_cpus;
};

#define YGR_GUEST_HANDLES_LIMIT 65534u /* what a handle number can express */

/* MAX is cut to YGR_GUEST_HANDLES_LIMIT. */
void ygr_guest_handles_init(struct ygr_guest_handles *handles, uint32_t max, uint32_t possible_cpus);
/* Closes all descriptors. */
void ygr_guest_handles_deinit(struct ygr_guest_handles *handles);

/*
 * Takes ownership of FD, also on failure, and gives it a number: 0, -EMFILE at the bound, -ENOMEM. OBJECT is
 * what it is; CHARGE as in struct ygr_guest_handle.
 */
int ygr_guest_handles_add(struct ygr_guest_handles *handles, int fd, const struct ygr_object *object,
			  uint64_t charge, uint32_t *ret_handle);
/* Closes HANDLE: 0, or -EBADF for a number that names nothing. */
int ygr_guest_handles_close(struct ygr_guest_handles *handles, uint32_t handle);

/* Valid until the next add or close; NULL for a number that names nothing. */
const struct ygr_guest_handle *ygr_guest_handles_find(const struct ygr_guest_handles *handles,
						      uint32_t handle);

/* For struct ygr_call_host, with the table as USER. */
int ygr_guest_handles_fd_of(void *handles, uint32_t handle);
bool ygr_guest_handles_object_of(void *handles, uint32_t handle, struct ygr_object *ret_object);

/*
 * Upper estimate of the kernel memory that a map of this shape takes, in bytes, saturating. Kernels charge
 * the real amount to the memory cgroup; this bound also holds where there is none.
 */
uint64_t ygr_guest_map_charge(const struct ygr_object *map);
