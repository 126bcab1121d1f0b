/*
 * The node's eBPF programs and their pinned maps. What is pinned outlives the agent: opening adopts the maps, puts
 * the programs of this agent in the place of the old ones without a moment between, and closing leaves all of it.
 */
#pragma once

#include <stdbool.h>

#include "agent/enforce/maps.h"
#include "agent/enforce/ranges.h"
#include "lib/base/error.h"

struct ygr_enforce_kernel;

/*
 * PIN_DIRECTORY is made, on a bpffs (/sys/fs/bpf is mounted if need be). What this kernel cannot do is no error here:
 * see below. -ENOMEM.
 */
int ygr_enforce_kernel_open(const char *pin_directory, struct ygr_enforce_kernel **ret,
			    struct ygr_error *error);
struct ygr_enforce_kernel *ygr_enforce_kernel_close(struct ygr_enforce_kernel *kernel); /* NULL is allowed */

/* NULL, or why disks (networks) cannot be guarded on this node. */
const char *ygr_enforce_kernel_no_disks(const struct ygr_enforce_kernel *kernel);
const char *ygr_enforce_kernel_no_nets(const struct ygr_enforce_kernel *kernel);

/* What is in force for SLOT: one update. 0 or -errno. */
int ygr_enforce_kernel_set(struct ygr_enforce_kernel *kernel, uint32_t slot,
			   const struct ygr_enforce_vm *vm);
int ygr_enforce_kernel_count(const struct ygr_enforce_kernel *kernel, uint32_t slot,
			     struct ygr_enforce_count *ret);
void ygr_enforce_kernel_forget(struct ygr_enforce_kernel *kernel, uint32_t slot); /* zeroes it */

/* The image at PATH, as the programs know it: -ENOENT, -EINVAL for what is neither file nor block device. */
int ygr_enforce_image_find(const char *path, struct ygr_enforce_image *ret);
int ygr_enforce_kernel_image(struct ygr_enforce_kernel *kernel, const struct ygr_enforce_image *image,
			     const struct ygr_enforce_owner *owner); /* NULL: nobody's any more */

/* What of a device is watched; entries are settled, by direction. */
struct ygr_enforce_guard {
	struct ygr_enforce_device device;
	struct ygr_enforce_entries addresses[2], ports[2];
};
void ygr_enforce_guard_deinit(struct ygr_enforce_guard *guard);
/*
 * Makes GUARD what is looked at on the interface IFINDEX and puts the programs there. New entries come before old
 * ones go, so that what is in force stays so.
 */
int ygr_enforce_kernel_guard(struct ygr_enforce_kernel *kernel, uint32_t ifindex,
			     const struct ygr_enforce_guard *guard, struct ygr_error *error);
void ygr_enforce_kernel_unguard(struct ygr_enforce_kernel *kernel, uint32_t ifindex);
/* RATE in bytes a second; 0: none. */
int ygr_enforce_kernel_limit(struct ygr_enforce_kernel *kernel, uint32_t ifindex, unsigned direction,
			     uint64_t rate);

/* What was pinned before this agent: each image, and each device that still exists. Callbacks may remove what they get. */
void ygr_enforce_kernel_adopt(struct ygr_enforce_kernel *kernel,
			      void (*image)(void *user, const struct ygr_enforce_image *image,
					    uint32_t slot),
			      void (*device)(void *user, uint32_t ifindex, uint32_t slot), void *user);

/* Takes away everything that is pinned below PIN_DIRECTORY, and the programs from the interfaces. */
int ygr_enforce_kernel_cleanup(const char *pin_directory, struct ygr_error *error);
