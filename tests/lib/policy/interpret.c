/* See interpret.h. Written against docs/policy-language.md, not against the compiler. */
#include "tests/lib/policy/interpret.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/operation.h"

static const char *last_component(const struct ygr_policy_situation *situation)
{
	const char *name = situation->file ? strrchr(situation->file, '/') + 1 : "";
	return strlen(name) < YGR_POLICY_NAME_MAX ? name : NULL; /* too long to be looked at */
}

static bool fits(const char *pattern, const char *name)
{
	const char *star = strchr(pattern, '*');
	size_t head = (size_t)(star - pattern), tail = strlen(star + 1), len = strlen(name);
	return len >= head + tail && strncmp(pattern, name, head) == 0 &&
	       strcmp(star + 1, name + len - tail) == 0;
}

static bool is_under(const char *directory, const char *path)
{
	size_t len = strlen(directory);
	return strncmp(directory, path, len) == 0 && path[len] == '/';
}

static bool program_in(const struct ygr_policy_value *value, const char *path)
{
	for (size_t i = 0; path && i < value->flat_count; i++) {
		const struct ygr_policy_item *item = value->flat[i];
		if (item->kind == YGR_ITEM_UNDER ? is_under(item->text, path)
						 : strcmp(item->text, path) == 0)
			return true;
	}
	return false;
}

static bool object_in(const struct ygr_policy_value *value, const struct ygr_policy_situation *situation)
{
	const char *name = last_component(situation);
	for (size_t i = 0; i < value->flat_count; i++) {
		const struct ygr_policy_item *item = value->flat[i];
		bool in = false;
		if (item->kind == YGR_ITEM_GLOB)
			in = fits(item->text, name ? name : "");
		else if (item->kind == YGR_ITEM_UNDER)
			in = situation->file && is_under(item->text, situation->file);
		else if (situation->file && (name || !situation->missing))
			in = strcmp(item->text, situation->file) == 0;
		if (in)
			return true;
	}
	return false;
}

static bool cgroup_in(const struct ygr_policy_value *value, const char *path)
{
	for (size_t i = 0; path && i < value->flat_count; i++) {
		const char *text = value->flat[i]->text;
		if (strcmp(text, "/") == 0 || strcmp(text, path) == 0 || is_under(text, path))
			return true;
	}
	return false;
}

static bool number_in(const struct ygr_policy_value *value, uint64_t number)
{
	for (size_t i = 0; i < value->flat_count; i++)
		if (value->flat[i]->low <= number && number <= value->flat[i]->high)
			return true;
	return false;
}

static bool bit_of(const uint8_t *bytes, unsigned bit)
{
	return bytes[bit / 8] & (0x80 >> (bit % 8));
}

static bool address_in(const struct ygr_policy_value *value, const struct ygr_policy_situation *situation)
{
	for (size_t i = 0; i < value->flat_count; i++) {
		const struct ygr_policy_item *item = value->flat[i];
		unsigned same = 0;
		if (item->kind != (situation->family == YGR_POLICY_IPV6 ? YGR_ITEM_IPV6 : YGR_ITEM_IPV4))
			continue;
		while (same < item->prefix &&
		       bit_of(item->address, same) == bit_of(situation->address, same))
			same++;
		if (same == item->prefix)
			return true;
	}
	return false;
}

static bool in_object(const struct ygr_policy_expr *expr, const struct ygr_policy_situation *situation)
{
	switch (expr->value->type) {
	case YGR_TYPE_ADDRESS:
		return address_in(expr->value, situation);
	case YGR_TYPE_CAPABILITY:
		return number_in(expr->value, situation->capability);
	case YGR_TYPE_USER:
		return number_in(expr->value, situation->target_user);
	default:
		return situation->operation->object == YGR_POLICY_OBJECT_PROGRAM
			   ? program_in(expr->value, situation->file)
			   : object_in(expr->value, situation);
	}
}

static bool by(const struct ygr_policy_expr *expr, const struct ygr_policy_situation *situation)
{
	switch (expr->value->type) {
	case YGR_TYPE_USER:
		return number_in(expr->value, situation->user);
	case YGR_TYPE_GROUP:
		return number_in(expr->value, situation->group);
	case YGR_TYPE_CGROUP:
		return cgroup_in(expr->value, situation->cgroup);
	default:
		return program_in(expr->value, situation->exe);
	}
}

static bool descends(const struct ygr_policy_expr *expr, const struct ygr_policy_situation *situation)
{
	bool in = program_in(expr->value, situation->exe);
	for (size_t i = 0; i < situation->ancestor_count; i++)
		in |= program_in(expr->value, situation->ancestors[i]);
	return in;
}

static bool makes_sense(const struct ygr_policy_expr *expr, const struct ygr_policy_situation *situation)
{
	bool internet = situation->family == YGR_POLICY_IPV4 || situation->family == YGR_POLICY_IPV6;
	switch (expr->condition) {
	case YGR_COND_PORT:
	case YGR_COND_PROTOCOL:
		return internet;
	case YGR_COND_OWNER:
	case YGR_COND_MODE:
		return situation->file && !situation->missing;
	case YGR_COND_OBJECT:
		if (expr->value->type == YGR_TYPE_ADDRESS)
			return internet;
		return expr->value->type != YGR_TYPE_UNIX || situation->family == YGR_POLICY_UNIX;
	default:
		return true;
	}
}

static bool holds(const struct ygr_policy_expr *expr, const struct ygr_policy_situation *situation)
{
	uint32_t minute = situation->minute;
	if (!makes_sense(expr, situation))
		return false;
	switch (expr->condition) {
	case YGR_COND_OBJECT:
		return in_object(expr, situation) != expr->outside;
	case YGR_COND_BY:
		return by(expr, situation) != expr->outside;
	case YGR_COND_DESCENDANT:
		return descends(expr, situation) != expr->outside;
	case YGR_COND_PORT:
		return number_in(expr->value, situation->port) != expr->outside;
	case YGR_COND_PROTOCOL:
		return number_in(expr->value, situation->protocol) != expr->outside;
	case YGR_COND_OWNER:
		return number_in(expr->value, situation->owner) != expr->outside;
	case YGR_COND_MODE:
		return (situation->mode & expr->low) == expr->low;
	case YGR_COND_ACCESS:
		return (situation->access & expr->low) != 0;
	case YGR_COND_DURING:
		return expr->low < expr->high ? minute >= expr->low && minute < expr->high
					      : minute >= expr->low || minute < expr->high;
	case YGR_COND_ARGUMENT:
		break;
	}
	abort();
}

static bool truth(const struct ygr_policy_expr *expr, const struct ygr_policy_situation *situation)
{
	switch (expr->kind) {
	case YGR_EXPR_AND:
		return truth(expr->left, situation) && truth(expr->right, situation);
	case YGR_EXPR_OR:
		return truth(expr->left, situation) || truth(expr->right, situation);
	case YGR_EXPR_NOT:
		return !truth(expr->left, situation);
	case YGR_EXPR_CONDITION:
		return holds(expr, situation);
	}
	abort();
}

/* Does EXPR ask for names? Then it cannot be answered when the name is too long. */
static bool asks_names(const struct ygr_policy_expr *expr)
{
	if (!expr)
		return false;
	if (expr->kind == YGR_EXPR_CONDITION)
		return expr->condition == YGR_COND_OBJECT && expr->value->type <= YGR_TYPE_UNIX;
	return asks_names(expr->left) || asks_names(expr->right);
}

static uint64_t text_number(const char *text)
{
	uint64_t number = 5381;
	for (; text && *text; text++)
		number = number * 33 + (unsigned char)*text;
	return number;
}

static bool counted_over(const struct ygr_policy_rule *rule, const struct ygr_policy_situation *situation,
			 struct interpret_counters *counters)
{
	uint64_t window = situation->time_ns / rule->window_ns, scope = 0;
	size_t i;
	if (rule->scope == YGR_SCOPE_PROCESS)
		scope = situation->process;
	else if (rule->scope == YGR_SCOPE_USER)
		scope = situation->user;
	else if (rule->scope == YGR_SCOPE_EXE)
		scope = text_number(situation->exe);
	else if (rule->scope == YGR_SCOPE_CGROUP)
		scope = text_number(situation->cgroup);
	for (i = 0; i < counters->used; i++)
		if (counters->items[i].rule == rule->number && counters->items[i].scope == scope &&
		    counters->items[i].window == window)
			break;
	if (i == INTERPRET_COUNTERS)
		abort();
	if (i == counters->used) {
		counters->items[i].rule = rule->number;
		counters->items[i].scope = scope;
		counters->items[i].window = window;
		counters->used++;
	}
	return ++counters->items[i].count > rule->count;
}

struct interpretation interpret(const struct ygr_policy *policy,
				const struct ygr_policy_situation *situation,
				struct interpret_counters *counters)
{
	bool names = false, forbids = false;
	for (const struct ygr_policy_rule *rule = policy->rules; rule; rule = rule->next) {
		if (rule->operation != situation->operation)
			continue;
		names |= asks_names(rule->when) || asks_names(rule->unless);
		forbids |= rule->action == YGR_ACTION_DENY || rule->action == YGR_ACTION_KILL;
	}
	if (names && forbids && !last_component(situation))
		return (struct interpretation){YGR_POLICY_RULE_INCOMPLETE, YGR_ACTION_DENY, -EPERM};
	for (int action = YGR_ACTION_KILL; action >= YGR_ACTION_AUDIT; action--)
		for (const struct ygr_policy_rule *rule = policy->rules; rule; rule = rule->next) {
			if (rule->operation != situation->operation || (int)rule->action != action ||
			    (rule->when && !truth(rule->when, situation)) ||
			    (rule->unless && truth(rule->unless, situation)) ||
			    (rule->window_ns && !counted_over(rule, situation, counters)))
				continue;
			return (struct interpretation){rule->number, rule->action,
						       action == YGR_ACTION_KILL   ? -EPERM
						       : action == YGR_ACTION_DENY ? -rule->error
										   : 0};
		}
	return (struct interpretation){0};
}
