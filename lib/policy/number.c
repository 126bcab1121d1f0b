/*
 * Numbers for sets. Conditions with the same members share a number. A short list of numbers (ports, users)
 * gets none: comparing is cheaper than a lookup.
 */
#include <string.h>

#include "lib/policy/evaluate.h"
#include "lib/policy/operation.h"

static const unsigned bounds[YGR_SET_CLASSES] = {
    [YGR_SET_OBJECT] = YGR_POLICY_SETS_MAX,    [YGR_SET_EXE] = YGR_POLICY_SETS_MAX,
    [YGR_SET_LINEAGE] = YGR_POLICY_SMALL_SETS, [YGR_SET_CGROUP] = YGR_POLICY_SMALL_SETS,
    [YGR_SET_PORT] = YGR_POLICY_SMALL_SETS,    [YGR_SET_USER] = YGR_POLICY_SMALL_SETS,
    [YGR_SET_GROUP] = YGR_POLICY_SMALL_SETS,   [YGR_SET_OWNER] = YGR_POLICY_SMALL_SETS,
};

static enum ygr_policy_set_class class_of_type(enum ygr_policy_type type)
{
	switch (type) {
	case YGR_TYPE_CGROUP:
		return YGR_SET_CGROUP;
	case YGR_TYPE_USER:
		return YGR_SET_USER;
	case YGR_TYPE_GROUP:
		return YGR_SET_GROUP;
	case YGR_TYPE_EXE:
		return YGR_SET_EXE;
	default:
		return YGR_SET_INLINE;
	}
}

static enum ygr_policy_set_class class_of(const struct ygr_policy_expr *expr)
{
	enum ygr_policy_type type = expr->value->type;
	bool few = expr->value->flat_count <= YGR_POLICY_INLINE_MAX;
	switch (expr->condition) {
	case YGR_COND_OBJECT:
		if (type == YGR_TYPE_CAPABILITY)
			return YGR_SET_INLINE;
		if (type == YGR_TYPE_USER)
			return few ? YGR_SET_INLINE : YGR_SET_USER;
		return YGR_SET_OBJECT;
	case YGR_COND_BY:
		if (few && (type == YGR_TYPE_USER || type == YGR_TYPE_GROUP))
			return YGR_SET_INLINE;
		return class_of_type(type);
	case YGR_COND_DESCENDANT:
		return YGR_SET_LINEAGE;
	case YGR_COND_PORT:
		return few ? YGR_SET_INLINE : YGR_SET_PORT;
	case YGR_COND_OWNER:
		return few ? YGR_SET_INLINE : YGR_SET_OWNER;
	default:
		return YGR_SET_INLINE;
	}
}

/* FNV-1a over the members: equal sets have equal sums. */
static uint64_t sum(const struct ygr_policy_value *value)
{
	uint64_t h = 14695981039346656037ull ^ value->type;
	for (size_t i = 0; i < value->flat_count; i++) {
		const struct ygr_policy_item *item = value->flat[i];
		const uint64_t numbers[] = {item->kind, item->low, item->high, item->prefix};
		for (size_t j = 0; j < 4; j++)
			h = (h ^ numbers[j]) * 1099511628211ull;
		for (const char *c = item->text; c && *c; c++)
			h = (h ^ (unsigned char)*c) * 1099511628211ull;
		for (size_t j = 0; j < 16; j++)
			h = (h ^ item->address[j]) * 1099511628211ull;
	}
	return h;
}

static bool same(const struct ygr_policy_value *a, const struct ygr_policy_value *b)
{
	if (a->flat == b->flat)
		return true;
	if (a->type != b->type || a->flat_count != b->flat_count)
		return false;
	for (size_t i = 0; i < a->flat_count; i++)
		if (ygr_policy_compare_items(a->flat[i], b->flat[i]) != 0)
			return false;
	return true;
}

struct numbering {
	struct ygr_policy *policy;
	struct ygr_policy_arena *arena;
	struct ygr_policy_diagnostics *diagnostics;
	struct ygr_policy_set **ends[YGR_SET_CLASSES];
};

static void number_condition(struct numbering *numbering, struct ygr_policy_expr *expr)
{
	if (!expr->value || expr->condition == YGR_COND_ARGUMENT)
		return;
	enum ygr_policy_set_class class = expr->set_class = class_of(expr);
	if (class == YGR_SET_INLINE)
		return;
	uint64_t h = sum(expr->value);
	for (struct ygr_policy_set *set = numbering->policy->sets[class]; set; set = set->next)
		if (set->sum == h && same(set->value, expr->value)) {
			expr->set = set->number;
			return;
		}
	if (numbering->policy->set_counts[class] == bounds[class]) {
		ygr_policy_error(numbering->diagnostics, expr->value->place,
				 "a policy has at most %u different sets of this type (%s)", bounds[class],
				 ygr_policy_type_name(expr->value->type));
		return;
	}
	struct ygr_policy_set *set = ygr_policy_arena_take(numbering->arena, sizeof(*set));
	if (!set)
		return;
	set->value = expr->value;
	set->sum = h;
	set->number = expr->set = numbering->policy->set_counts[class]++;
	*numbering->ends[class] = set;
	numbering->ends[class] = &set->next;
}

static void number_expr(struct numbering *numbering, struct ygr_policy_expr *expr)
{
	if (!expr)
		return;
	if (expr->kind == YGR_EXPR_CONDITION)
		number_condition(numbering, expr);
	number_expr(numbering, expr->left);
	number_expr(numbering, expr->right);
}

int ygr_policy_number(struct ygr_policy *policies, struct ygr_policy_arena *arena,
		      struct ygr_policy_diagnostics *diagnostics)
{
	for (struct ygr_policy *policy = policies; policy; policy = policy->next) {
		struct numbering numbering = {.policy = policy, .arena = arena, .diagnostics = diagnostics};
		for (unsigned class = 0; class < YGR_SET_CLASSES; class ++)
			numbering.ends[class] = &policy->sets[class];
		for (struct ygr_policy_rule *rule = policy->rules; rule; rule = rule->next) {
			number_expr(&numbering, rule->when);
			number_expr(&numbering, rule->unless);
		}
	}
	return ygr_policy_arena_failed(arena);
}
