/* See explain.h. A set is told by its members, so that a reader need not look names up. */
#include "lib/policy/explain.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "lib/policy/event.h"
#include "lib/policy/operation.h"
#include "lib/policy/print.h"

#define MEMBERS_TOLD 6

static void tell_member(enum ygr_policy_type type, const struct ygr_policy_item *item,
			struct ygr_policy_text *out)
{
	struct ygr_policy_item copy = *item;
	struct ygr_policy_value value = {.type = type, .items = &copy};

	copy.next = NULL;
	if (item->kind == YGR_ITEM_GLOB)
		ygr_policy_put(out, "called ");
	copy.kind = item->kind == YGR_ITEM_GLOB ? YGR_ITEM_EXACT : item->kind;
	ygr_policy_print_value(&value, out);
}

static void tell_set(const struct ygr_policy_value *value, struct ygr_policy_text *out)
{
	size_t told = value->flat_count > MEMBERS_TOLD ? MEMBERS_TOLD - 1 : value->flat_count;
	for (size_t i = 0; i < told; i++) {
		const char *between = i == 0 ? "" : i + 1 == value->flat_count ? " or " : ", ";
		ygr_policy_put(out, "%s", between);
		tell_member(value->type, value->flat[i], out);
	}
	if (told < value->flat_count)
		ygr_policy_put(out, " or one of %zu more", value->flat_count - told);
}

static void tell_access(uint32_t access, struct ygr_policy_text *out)
{
	static const char *const words[] = {"reading", "writing", "appending"};
	const char *between = "";
	ygr_policy_put(out, "it is opened for ");
	for (unsigned i = 0; i < 3; i++)
		if (access & (1u << i)) {
			ygr_policy_put(out, "%s%s", between, words[i]);
			between = " or ";
		}
}

static void tell_object(const struct ygr_policy_expr *expr, const struct ygr_policy_operation *operation,
			struct ygr_policy_text *out)
{
	static const char *const nouns[] = {[YGR_POLICY_OBJECT_NONE] = "it",
					    [YGR_POLICY_OBJECT_FILE] = "the file",
					    [YGR_POLICY_OBJECT_PROGRAM] = "the target's program",
					    [YGR_POLICY_OBJECT_PEER] = "the address",
					    [YGR_POLICY_OBJECT_CAPABILITY] = "the capability",
					    [YGR_POLICY_OBJECT_USER] = "the new user"};
	ygr_policy_put(out, "%s is %s",
		       expr->value->type == YGR_TYPE_UNIX ? "the socket" : nouns[operation->object],
		       expr->outside ? "not " : "");
	tell_set(expr->value, out);
}

static void tell_condition(const struct ygr_policy_expr *expr, const struct ygr_policy_operation *operation,
			   struct ygr_policy_text *out)
{
	const char *negation = expr->outside ? "not " : "";
	switch (expr->condition) {
	case YGR_COND_OBJECT:
		tell_object(expr, operation, out);
		return;
	case YGR_COND_BY:
		if (expr->value->type == YGR_TYPE_CGROUP)
			ygr_policy_put(out, "the task is %sin the cgroup ", negation);
		else
			ygr_policy_put(out, "the task's %s is %s",
				       expr->value->type == YGR_TYPE_EXE
					   ? "program"
					   : ygr_policy_type_name(expr->value->type),
				       negation);
		tell_set(expr->value, out);
		return;
	case YGR_COND_DESCENDANT:
		ygr_policy_put(out, "the task is %sa descendant of ", negation);
		tell_set(expr->value, out);
		return;
	case YGR_COND_PORT:
	case YGR_COND_PROTOCOL:
		ygr_policy_put(out, "the %s is %s", expr->word, negation);
		tell_set(expr->value, out);
		return;
	case YGR_COND_OWNER:
		ygr_policy_put(out, "the file's owner is %s", negation);
		tell_set(expr->value, out);
		return;
	case YGR_COND_MODE:
		ygr_policy_put(out, "the file's mode has 0%o", expr->low);
		return;
	case YGR_COND_ACCESS:
		tell_access(expr->low, out);
		return;
	case YGR_COND_DURING:
		ygr_policy_put(out, "it is between %02u:%02u and %02u:%02u UTC", expr->low / 60,
			       expr->low % 60, expr->high / 60, expr->high % 60);
		return;
	case YGR_COND_ARGUMENT:
		ygr_policy_put(out, "one argument is ");
		for (const struct ygr_policy_item *item = expr->value->items; item; item = item->next) {
			ygr_policy_put_quoted(out, item->text);
			ygr_policy_put(out, item->next ? " or " : "");
		}
		return;
	}
}

static void tell(const struct ygr_policy_expr *expr, const struct ygr_policy_operation *operation,
		 bool inside, struct ygr_policy_text *out)
{
	bool brackets = inside && (expr->kind == YGR_EXPR_OR || expr->kind == YGR_EXPR_AND);
	switch (expr->kind) {
	case YGR_EXPR_CONDITION:
		tell_condition(expr, operation, out);
		return;
	case YGR_EXPR_NOT:
		ygr_policy_put(out, "it is not so that ");
		tell(expr->left, operation, true, out);
		return;
	case YGR_EXPR_AND:
	case YGR_EXPR_OR:
		ygr_policy_put(out, brackets ? "(" : "");
		tell(expr->left, operation, expr->left->kind != expr->kind, out);
		ygr_policy_put(out, expr->kind == YGR_EXPR_AND ? ", and " : ", or ");
		tell(expr->right, operation, true, out);
		ygr_policy_put(out, brackets ? ")" : "");
		return;
	}
}

static void tell_rule(const struct ygr_policy_rule *rule, struct ygr_policy_text *out)
{
	static const char *const objects[] = {
	    [YGR_POLICY_OBJECT_NONE] = "",           [YGR_POLICY_OBJECT_FILE] = " a file",
	    [YGR_POLICY_OBJECT_PROGRAM] = " a task", [YGR_POLICY_OBJECT_PEER] = " an address",
	    [YGR_POLICY_OBJECT_CAPABILITY] = "",     [YGR_POLICY_OBJECT_USER] = " a user"};
	ygr_policy_put(out, "  %s: ", rule->name);
	if (rule->action == YGR_ACTION_DENY)
		ygr_policy_put(out, "denies with %s", ygr_policy_errno_name(rule->error));
	else
		ygr_policy_put(out, "%s",
			       rule->action == YGR_ACTION_KILL     ? "refuses and kills the process"
			       : rule->action == YGR_ACTION_NOTIFY ? "allows, and tells the node at once"
								   : "allows, and records");
	ygr_policy_put(out, " when a task %s%s", rule->operation->phrase, objects[rule->operation->object]);
	if (rule->when) {
		ygr_policy_put(out, ", and ");
		tell(rule->when, rule->operation, false, out);
	}
	if (rule->unless) {
		ygr_policy_put(out, "; but not when ");
		tell(rule->unless, rule->operation, false, out);
	}
	if (rule->window_ns) {
		ygr_policy_put(out, "; only from the %uth time on within ", rule->count + 1);
		ygr_policy_print_duration(rule->window_ns, out);
		if (rule->scope != YGR_SCOPE_ALL)
			ygr_policy_put(out, ", counted for each %s", ygr_policy_scope_name(rule->scope));
	}
	ygr_policy_put(out, ".\n    hooks: %s\n", rule->operation->hooks);
}

static void tell_host_rule(const struct ygr_policy_host_rule *rule, struct ygr_policy_text *out)
{
	ygr_policy_put(out, "  when %s has matched", rule->name);
	if (rule->window_ns) {
		ygr_policy_put(out, " %u times within ", rule->count);
		ygr_policy_print_duration(rule->window_ns, out);
		ygr_policy_put(out, " in one VM");
	}
	ygr_policy_put(out, ":\n");
	for (const struct ygr_policy_host_action *action = rule->actions; action; action = action->next) {
		bool stays = action->lifetime_ns == 0 &&
			     (action->kind <= YGR_HOST_PAUSE || action->kind == YGR_HOST_MARK);
		ygr_policy_put(out, "    ");
		ygr_policy_print_host_action(action, out);
		ygr_policy_put(out, "%s\n", stays ? ", until released" : "");
	}
}

void ygr_policy_explain(const struct ygr_policy *policy, struct ygr_policy_text *out)
{
	ygr_policy_put(out, "Policy %s. In the guest:\n", policy->name);
	for (const struct ygr_policy_rule *rule = policy->rules; rule; rule = rule->next)
		tell_rule(rule, out);
	ygr_policy_put(
	    out, "  What no rule matches is allowed. Where several match, the strongest decides (kill, "
		 "deny, notify,\n  audit), and of these the first.\n");
	if (policy->host_rules)
		ygr_policy_put(out, "On the node:\n");
	for (const struct ygr_policy_host_rule *rule = policy->host_rules; rule; rule = rule->next)
		tell_host_rule(rule, out);
}
