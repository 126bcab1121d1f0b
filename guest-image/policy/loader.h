/*
 * The frames in this kernel: loaded, attached, pinned, and found again after a restart. Everything that
 * enforces lies in a directory of bpffs that is named after the frames' own bytes, so that a new version never
 * takes up what an old one has left.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest-image/frames/frames.h"
#include "lib/base/error.h"

#define YGR_LOADER_PINS "/sys/fs/bpf/yagura"

struct bpf_object;

/* One frame: a program at a hook for an operation. */
struct ygr_hook_frame {
	const char *name; /* program f_NAME, its decisions d_NAME */
	const char *hook; /* without "bpf_lsm_" */
	unsigned operation;
	bool optional; /* other frames of the operation see it all where this kernel lacks the hook */
};

#define YGR_FRAMES 41
extern const struct ygr_hook_frame ygr_hook_frames[YGR_FRAMES];

/* Maps with one inner map for each slot. */
enum ygr_outer {
	YGR_OUTER_DIRECTORIES,
	YGR_OUTER_EXE_DIRECTORIES,
	YGR_OUTER_CGROUPS,
	YGR_OUTER_LINEAGE_EXES,
	YGR_OUTER_LINEAGE_DIRECTORIES,
	YGR_OUTER_WATCHED,
	YGR_OUTER_ALIASES,
	YGR_OUTER_HELD,
	YGR_OUTERS,
};

struct ygr_loader {
	struct bpf_object *object;
	struct ygr_frame_control *control; /* mapped */
	int tasks, verdicts, shielded, launchers;
	int outers[YGR_OUTERS];
	int decisions[YGR_FRAMES];
	int control_map;
	uint32_t hook_ids
	    [YGR_FRAMES]; /* BTF id of what a decision is attached to; 0: this kernel has no such hook */
	char pins[64];
};

/* Why no policy can be enforced on this kernel: a word and a sentence with the remedy; "" when it can. */
struct ygr_enforceable {
	char reason[32];
	char remedy[256];
};
void ygr_enforceable_find_out(struct ygr_enforceable *ret);

/* The BTF id of the hook of each frame; 0: this kernel has no such hook. */
void ygr_loader_find_hooks(uint32_t ret_ids[YGR_FRAMES]);

/* Opens what is pinned, or makes it; nothing is attached yet. The error names the program that does not load. */
int ygr_loader_open(struct ygr_loader *loader, struct ygr_error *error);
void ygr_loader_close(struct ygr_loader *loader);
/* Attaches and pins the frames of the OPERATIONS (bits), and the upkeep, where they are not yet. */
int ygr_loader_attach(struct ygr_loader *loader, uint32_t operations, struct ygr_error *error);
/* Removes all that older versions have left. */
void ygr_loader_sweep(const struct ygr_loader *loader);

/* What COUNT descriptors of this process lead to: each RET_IDENTITIES is zero where it could not be found out. */
int ygr_loader_identify(struct ygr_loader *loader, const int *fds, size_t count,
			struct ygr_policy_identity *ret_identities);
/* Puts every regular file that any task has open into the map HELD. */
int ygr_loader_hold(struct ygr_loader *loader, int held);
/* Marks all tasks by control->marking and control->marking_keep. */
int ygr_loader_mark(struct ygr_loader *loader);
