/* Reading a directory of manifests: files to objects and problems, without watching. Inside this room. */
#pragma once

#include "agent/desired/desired.h"

struct ygr_manifest {
	const char *kind;            /* YGR_MONITOR_KIND or YGR_VM_POLICY_KIND; NULL: moved to another set */
	struct ygr_meta *meta;       /* of the object */
	struct ygr_monitor *monitor; /* one of these two */
	struct ygr_vm_policy *policy;
	char *file;
	json_t *source; /* the document, to see whether it changed */
	bool stale;     /* its newest text is broken */
};

struct ygr_problem {
	const char *kind; /* as above; NULL: none that can be told */
	char *file, *namespace_, *name, *message;
};

/* What a pass over the directory found. */
struct ygr_manifest_set {
	struct ygr_manifest *items;
	size_t count;
	struct ygr_problem *problems;
	size_t problem_count;
};

/*
 * Reads everything in DIRECTORY. Objects whose text is broken are taken over from OLD (moved out of it). 0,
 * or -ENOMEM with *ret empty and OLD as it was but for what was moved.
 */
int ygr_manifest_read(const char *directory, struct ygr_manifest_set *old, struct ygr_manifest_set *ret);
void ygr_manifest_deinit(struct ygr_manifest_set *set);
const struct ygr_manifest *ygr_manifest_find(const struct ygr_manifest_set *set, const char *kind,
					     const char *namespace_, const char *name);

/* Is NAME a manifest, and not a hidden or temporary file? */
bool ygr_manifest_is_name(const char *name);
