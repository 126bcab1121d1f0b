/* From what was written to what is meant. */
#pragma once

#include "lib/policy/arena.h"
#include "lib/policy/ast.h"

/*
 * Checks names, types and what goes with what, and fills in the "evaluated" members of the tree: every set
 * becomes a sorted list of members. Errors are said in DIAGNOSTICS. 0, -E2BIG, -ENOMEM.
 */
int ygr_policy_evaluate(struct ygr_policy *policies, struct ygr_policy_arena *arena,
			struct ygr_policy_diagnostics *diagnostics);

/* Gives sets their numbers. Only for policies without errors; too many sets are one. 0, -E2BIG, -ENOMEM. */
int ygr_policy_number(struct ygr_policy *policies, struct ygr_policy_arena *arena,
		      struct ygr_policy_diagnostics *diagnostics);

/* Warnings about a policy without errors: rules that can never match, or never decide; names without use. */
void ygr_policy_review(const struct ygr_policy *policies, struct ygr_policy_diagnostics *diagnostics);

/* -1, 0 or 1: the order of members in a set. */
int ygr_policy_compare_items(const struct ygr_policy_item *a, const struct ygr_policy_item *b);
/* Is every member of INNER covered by OUTER? Both evaluated. May say no where a cleverer test said yes. */
bool ygr_policy_covers(const struct ygr_policy_value *outer, const struct ygr_policy_value *inner);
