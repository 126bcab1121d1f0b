/* Recursive descent over one file. */
#pragma once

#include "lib/policy/arena.h"
#include "lib/policy/ast.h"

/*
 * The policies of TEXT, chained, in ARENA. Errors are said in DIAGNOSTICS and what they spoil is left out, so
 * that one run finds several; *ret_policies is then only good for finding more. 0, -E2BIG, -ENOMEM (of the
 * arena).
 */
int ygr_policy_parse(const char *text, size_t len, struct ygr_policy_arena *arena,
		     struct ygr_policy_diagnostics *diagnostics, struct ygr_policy **ret_policies);
