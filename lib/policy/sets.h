/* Sets: names replaced by what they stand for, types found, members sorted. */
#pragma once

#include "lib/policy/arena.h"
#include "lib/policy/ast.h"

#define YGR_POLICY_LET_DEPTH_MAX 32 /* of lets that name lets */

struct ygr_policy_scope_names {
	struct ygr_policy_let **lets; /* sorted by name */
	size_t count;
	const char **names; /* the same, NULL-terminated */
	struct ygr_policy_arena *arena;
	struct ygr_policy_diagnostics *diagnostics;
	unsigned depth;
};

/* NULL when there is none. */
struct ygr_policy_let *ygr_policy_find_let(const struct ygr_policy_scope_names *names, const char *name);

/* Fills type, flat and flat_count; false after an error (said, except for want of memory). */
bool ygr_policy_resolve(struct ygr_policy_scope_names *names, struct ygr_policy_value *value);
/* The same for the value of a let, once. */
bool ygr_policy_resolve_let(struct ygr_policy_scope_names *names, struct ygr_policy_let *let,
			    struct ygr_policy_place from);
