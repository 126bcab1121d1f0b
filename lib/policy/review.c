/*
 * Warnings. All of them follow from one question that is answered only when the answer is certain: does one
 * condition imply another? A rule is shadowed when a rule that decides before it has no condition that is not
 * implied by one of its own; it can never match when `unless` is implied by what comes before.
 */
#include <string.h>

#include "lib/policy/evaluate.h"
#include "lib/policy/operation.h"

#define TERMS_MAX 16 /* conditions of a rule that are looked at; a rule with more is left alone */

struct terms {
	const struct ygr_policy_expr *items[TERMS_MAX];
	size_t count;
};

static bool item_covers(const struct ygr_policy_item *outer, const struct ygr_policy_item *inner)
{
	size_t len = outer->length;
	if (outer->kind == YGR_ITEM_UNDER &&
	    (inner->kind == YGR_ITEM_EXACT || inner->kind == YGR_ITEM_UNDER))
		return (strncmp(outer->text, inner->text, len) == 0 && inner->text[len] == '/') ||
		       ygr_policy_compare_items(outer, inner) == 0;
	if (outer->kind != inner->kind)
		return false;
	if (outer->kind == YGR_ITEM_RANGE)
		return outer->low <= inner->low && inner->high <= outer->high;
	if (outer->kind == YGR_ITEM_IPV4 || outer->kind == YGR_ITEM_IPV6) {
		size_t bytes = outer->prefix / 8;
		unsigned rest = outer->prefix % 8;
		return outer->prefix <= inner->prefix &&
		       memcmp(outer->address, inner->address, bytes) == 0 &&
		       (rest == 0 || (inner->address[bytes] ^ outer->address[bytes]) >> (8 - rest) == 0);
	}
	return strcmp(outer->text, inner->text) == 0;
}

bool ygr_policy_covers(const struct ygr_policy_value *outer, const struct ygr_policy_value *inner)
{
	/* Long sets are compared with themselves only: the time must not grow with the square of them. */
	if (outer->flat == inner->flat)
		return true;
	if (outer->flat_count > 64 || inner->flat_count > 64)
		return false;
	for (size_t i = 0; i < inner->flat_count; i++) {
		bool covered = false;
		for (size_t j = 0; j < outer->flat_count && !covered; j++)
			covered = item_covers(outer->flat[j], inner->flat[i]);
		if (!covered)
			return false;
	}
	return true;
}

static bool implies(const struct ygr_policy_expr *a, const struct ygr_policy_expr *b)
{
	if (a->kind != YGR_EXPR_CONDITION || b->kind != YGR_EXPR_CONDITION || a->condition != b->condition ||
	    a->outside != b->outside)
		return false;
	switch (a->condition) {
	case YGR_COND_ACCESS:
		return (a->low & ~b->low) == 0;
	case YGR_COND_MODE:
		return (b->low & ~a->low) == 0;
	case YGR_COND_DURING:
		return a->low == b->low && a->high == b->high;
	case YGR_COND_ARGUMENT:
		return false;
	default:
		break;
	}
	bool paths = a->value->type <= YGR_TYPE_FILE && b->value->type <= YGR_TYPE_FILE;
	if (a->value->type != b->value->type && !paths)
		return false;
	return a->outside ? ygr_policy_covers(a->value, b->value) : ygr_policy_covers(b->value, a->value);
}

/* The parts of a chain of KIND; false when there are too many. */
static bool gather(const struct ygr_policy_expr *expr, enum ygr_policy_expr_kind kind, struct terms *terms)
{
	if (!expr)
		return true;
	if (expr->kind == kind)
		return gather(expr->left, kind, terms) && gather(expr->right, kind, terms);
	if (terms->count == TERMS_MAX)
		return false;
	terms->items[terms->count++] = expr;
	return true;
}

static bool decides_before(const struct ygr_policy_rule *a, const struct ygr_policy_rule *b)
{
	return a->action != b->action ? a->action > b->action : a->number < b->number;
}

/* Does A match whenever B does? */
static bool always_with(const struct ygr_policy_rule *a, const struct ygr_policy_rule *b)
{
	struct terms outer = {0}, inner = {0};
	if (a->unless || a->window_ns || !gather(a->when, YGR_EXPR_AND, &outer) ||
	    !gather(b->when, YGR_EXPR_AND, &inner))
		return false;
	for (size_t i = 0; i < outer.count; i++) {
		bool implied = false;
		for (size_t j = 0; j < inner.count && !implied; j++)
			implied = implies(inner.items[j], outer.items[i]);
		if (!implied)
			return false;
	}
	return true;
}

static void review_unless(const struct ygr_policy_rule *rule, struct ygr_policy_diagnostics *diagnostics)
{
	struct terms when = {0}, unless = {0};
	if (!rule->unless || !gather(rule->when, YGR_EXPR_AND, &when) ||
	    !gather(rule->unless, YGR_EXPR_OR, &unless))
		return;
	for (size_t i = 0; i < unless.count; i++)
		for (size_t j = 0; j < when.count; j++)
			if (implies(when.items[j], unless.items[i])) {
				ygr_policy_warning(
				    diagnostics, unless.items[i]->place,
				    "rule \"%s\" can never match: this holds whenever the rest does",
				    rule->name);
				return;
			}
}

/* `by X by not X`: nothing is both. */
static void review_opposites(const struct ygr_policy_rule *rule, struct ygr_policy_diagnostics *diagnostics)
{
	struct terms when = {0};
	if (!gather(rule->when, YGR_EXPR_AND, &when))
		return;
	for (size_t i = 0; i < when.count; i++)
		for (size_t j = 0; j < when.count; j++) {
			const struct ygr_policy_expr *a = when.items[i], *b = when.items[j];
			bool both = a->kind == YGR_EXPR_CONDITION && b->kind == YGR_EXPR_CONDITION &&
				    a->value && b->value && a->condition == b->condition && !a->outside &&
				    b->outside && a->value->type == b->value->type;
			if (both && ygr_policy_covers(b->value, a->value))
				ygr_policy_warning(
				    diagnostics, b->place,
				    "rule \"%s\" can never match: its conditions exclude each other",
				    rule->name);
		}
}

static void review_shadows(const struct ygr_policy *policy, const struct ygr_policy_rule *rule,
			   struct ygr_policy_diagnostics *diagnostics)
{
	for (const struct ygr_policy_rule *other = policy->rules; other; other = other->next) {
		if (other == rule || other->operation != rule->operation || !decides_before(other, rule) ||
		    !always_with(other, rule))
			continue;
		ygr_policy_warning(diagnostics, rule->place,
				   "rule \"%s\" never decides: \"%s\" matches whenever it does, and %s",
				   rule->name, other->name,
				   other->action != rule->action ? "is stronger" : "comes first");
		return;
	}
}

void ygr_policy_review(const struct ygr_policy *policies, struct ygr_policy_diagnostics *diagnostics)
{
	for (const struct ygr_policy *policy = policies; policy; policy = policy->next) {
		for (const struct ygr_policy_let *let = policy->lets; let; let = let->next)
			if (!let->used)
				ygr_policy_warning(diagnostics, let->place, "\"%s\" is never used",
						   let->name);
		for (const struct ygr_policy_rule *rule = policy->rules; rule; rule = rule->next) {
			review_unless(rule, diagnostics);
			review_opposites(rule, diagnostics);
			review_shadows(policy, rule, diagnostics);
		}
		if (!policy->rules)
			ygr_policy_warning(diagnostics, policy->place, "policy \"%s\" has no rules",
					   policy->name);
	}
}
