/* The inside of struct ygr_grant, for grant.c (which makes it) and grant-call.c (which asks it); see
 * grant.h. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/wire/grant.h"

/* Globs; ALL stands for an absent list where that allows everything. */
struct ygr_grant_list {
	char **entries;
	size_t count;
	bool all;
};

struct ygr_grant {
	char *program, *vm;
	int64_t not_after;
	struct ygr_grant_list program_types, attach, helpers, kfuncs, read, write;
	bool ids;
	uint32_t handles;
	uint64_t memory;
};

/* "PROGRAM: THING is not in WHO" as -EACCES. */
int ygr_grant_deny(const struct ygr_grant *grant, const char *who, struct ygr_error *error,
		   const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Does an entry match NAME (ygr_glob_match), or cover the absolute path PATH (ygr_glob_match_path)? */
bool ygr_grant_list_has(const struct ygr_grant_list *list, const char *name);
bool ygr_grant_list_has_path(const struct ygr_grant_list *list, const char *path);

/* Absolute, no "..", no "." and no empty component: what a glob can be trusted to describe. */
bool ygr_grant_path_is_clean(const char *path);
