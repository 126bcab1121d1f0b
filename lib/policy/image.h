/* The contents of a policy's maps, once somebody says which file and which cgroup a name leads to. */
#pragma once

#include "lib/policy/code.h"

/*
 * Names that other policies have marked: a frame finds the nearest mark of all, so a policy needs a row for
 * each, with what follows from its own marks above.
 */
struct ygr_policy_marks {
	const char *const *paths; /* as in sets: no slash at the end, "" for the root */
	size_t count;
};

/* Who knows what names lead to. Each returns 0, or -ENOENT when there is nothing of that name. */
struct ygr_policy_names {
	int (*file)(void *user, const char *path, struct ygr_policy_identity *ret_identity);
	int (*cgroup)(void *user, const char *path, __u64 *ret_id);
	void *user;
	struct ygr_policy_marks directories, exe_directories, cgroups; /* optional */
};

/* Keys in ascending order of their bytes, each followed by its value. */
struct ygr_policy_table {
	uint32_t key_size, value_words;
	size_t count;
	uint8_t *rows;
};

struct ygr_policy_image {
	struct ygr_policy_table tables[YGR_MAPS]; /* value_words 0: not used */
};

/* Names that lead nowhere are left out. An error of NAMES other than -ENOENT, -ENOMEM. */
int ygr_policy_image_new(const struct ygr_policy_code *code, const struct ygr_policy_names *names,
			 struct ygr_policy_image **ret_image);
struct ygr_policy_image *ygr_policy_image_free(struct ygr_policy_image *image);

/* The value of KEY in TABLE, or NULL. */
const uint32_t *ygr_policy_table_find(const struct ygr_policy_table *table, const void *key);
