/*
 * What the names in policies lead to, in this guest and now. All names of all policies are looked up together,
 * since the kernel is asked about many descriptors at a time.
 */
#pragma once

#include "guest-image/policy/loader.h"
#include "lib/policy/bundle.h"
#include "lib/policy/image.h"

/* A name and what it leads to. */
struct ygr_guest_name {
	const char *path; /* "/" for the root */
	struct ygr_policy_identity identity;
	bool found;
};

struct ygr_guest_name_table {
	struct ygr_guest_name *names; /* sorted by path, each once */
	size_t count;
	struct ygr_policy_arena *arena;
};

/*
 * Replaces the directory names of `under` in BUNDLES by their true paths, and looks up every name: 0 or negative
 * errno with a sentence.
 */
int ygr_guest_names_look_up(struct ygr_loader *loader, struct ygr_bundle *const *bundles, size_t count,
			    struct ygr_guest_name_table *ret_table, struct ygr_error *error);
void ygr_guest_names_free(struct ygr_guest_name_table *table);

/* NULL: not looked up. */
const struct ygr_guest_name *ygr_guest_names_find(const struct ygr_guest_name_table *table,
						  const char *path);

/* The same for lib/policy/image.h: TABLE is the user. A file that does not exist, in a directory that does, has
 * an identity that no file has. */
int ygr_guest_names_file(void *table, const char *path, struct ygr_policy_identity *ret_identity);
int ygr_guest_names_cgroup(void *table, const char *path, __u64 *ret_id);

/* The parent of PATH into OUT (YGR_POLICY_PATH_MAX + 1 bytes) and its last component; false for "/". */
bool ygr_guest_names_split(const char *path, char *out_parent, const char **ret_last);
