/*
 * The control group of one application: limits on memory, CPU and processes, and a handle to kill all of it.
 * Unified hierarchies (v2) are used where they have the controllers; on a node that still keeps controllers
 * in v1 hierarchies, each of them gets a group of the same name, and v2 (if mounted) only serves to kill.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/error.h"

struct ygr_cgroup;

struct ygr_cgroup_limits {
	uint64_t memory;    /* bytes, 0: none */
	uint32_t cpu_milli; /* thousandths of a CPU, 0: none; at least 10 */
	uint32_t pids;      /* 0: none */
};

/* What is in force (or would be, had a limit been asked for). */
struct ygr_cgroup_features {
	const char *version; /* "v2", "v1", "none"; static storage */
	bool memory, cpu, pids;
};

/*
 * Makes the group NAME (relative, of at most four parts, none of them "." or ".."). What an earlier run left
 * under that name is killed and removed first. A node without control groups is not an error: see features.
 */
int ygr_cgroup_new(const char *name, const struct ygr_cgroup_limits *limits, struct ygr_cgroup **ret,
		   struct ygr_error *error);
/*
 * Kills what is left in the group, removes it and the parents that it made empty. NULL is allowed. A caller
 * that gave up CAP_DAC_OVERRIDE leaves a parent that stands in the root of a hierarchy (mode 0555): empty,
 * and of use to the next one.
 */
struct ygr_cgroup *ygr_cgroup_free(struct ygr_cgroup *cgroup);

/* Kills and removes what a maker that was killed left under NAME, if anything; takes as long as processes need to die. */
void ygr_cgroup_clear(const char *name);

/* Puts the calling process (single-threaded, a fork of the maker) into the group: 0 or -errno. */
int ygr_cgroup_join(const struct ygr_cgroup *cgroup);
/* SIGKILL to all members, forks in flight included: 0 or -errno. */
int ygr_cgroup_kill(const struct ygr_cgroup *cgroup);

const struct ygr_cgroup_features *ygr_cgroup_features(const struct ygr_cgroup *cgroup);
