/*
 * Names, types and what goes with what. A condition asks about the task, the object or the clock; which
 * objects an operation has is said in operation.c.
 */
#include "lib/policy/evaluate.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/decode.h"
#include "lib/policy/operation.h"
#include "lib/policy/sets.h"

struct evaluation {
	struct ygr_policy_scope_names names;
	struct ygr_policy_diagnostics *diagnostics;
	const struct ygr_policy_rule *rule;
};

static int by_let_name(const void *a, const void *b)
{
	const struct ygr_policy_let *const *x = a, *const *y = b;
	int order = strcmp((*x)->name, (*y)->name);
	return order ? order : (*x)->place.offset < (*y)->place.offset ? -1 : 1;
}

static void check_let_name(struct evaluation *evaluation, const struct ygr_policy_let *let)
{
	for (enum ygr_policy_type type = YGR_TYPE_EXE; type < YGR_TYPES; type++)
		if (strcmp(let->name, ygr_policy_type_name(type)) == 0)
			ygr_policy_error(evaluation->diagnostics, let->place,
					 "\"%s\" is a word of the language", let->name);
	if (strcmp(let->name, "not") == 0 || strcmp(let->name, "descendants") == 0 ||
	    strcmp(let->name, "under") == 0 || strcmp(let->name, "glob") == 0)
		ygr_policy_error(evaluation->diagnostics, let->place, "\"%s\" is a word of the language",
				 let->name);
}

static int collect_lets(struct evaluation *evaluation, const struct ygr_policy *policy)
{
	struct ygr_policy_scope_names *names = &evaluation->names;
	size_t count = 0, i = 0;
	for (struct ygr_policy_let *let = policy->lets; let; let = let->next)
		count++;
	names->lets = ygr_policy_arena_take(names->arena, (count + 1) * sizeof(*names->lets));
	names->names = ygr_policy_arena_take(names->arena, (count + 1) * sizeof(*names->names));
	if (!names->lets || !names->names)
		return ygr_policy_arena_failed(names->arena);
	for (struct ygr_policy_let *let = policy->lets; let; let = let->next)
		names->lets[i++] = let;
	names->count = count;
	qsort(names->lets, count, sizeof(*names->lets), by_let_name);
	for (i = 0; i < count; i++) {
		names->names[i] = names->lets[i]->name;
		check_let_name(evaluation, names->lets[i]);
		if (i > 0 && strcmp(names->names[i - 1], names->names[i]) == 0)
			ygr_policy_error(evaluation->diagnostics, names->lets[i]->place,
					 "\"%s\" is made twice", names->names[i]);
	}
	for (struct ygr_policy_let *let = policy->lets; let; let = let->next) {
		bool used = let->used;
		ygr_policy_resolve_let(names, let, let->place);
		let->used = used;
	}
	return ygr_policy_arena_failed(names->arena);
}

static void wrong_object(struct evaluation *evaluation, const struct ygr_policy_expr *expr,
			 const char *wanted)
{
	ygr_policy_error(evaluation->diagnostics, expr->value->place, "%s wants %s, this is of type %s",
			 evaluation->rule->operation->name, wanted, ygr_policy_type_name(expr->value->type));
}

static void check_object(struct evaluation *evaluation, struct ygr_policy_expr *expr)
{
	const struct ygr_policy_operation *operation = evaluation->rule->operation;
	if (!expr->value)
		return; /* its error was said when it was read */
	enum ygr_policy_type type = expr->value->type;
	bool paths = type == YGR_TYPE_EXE || type == YGR_TYPE_FILE;

	if (!operation->object_word) {
		ygr_policy_error(evaluation->diagnostics, expr->place,
				 "%s has no object that \"%s\" could name", operation->name, expr->word);
		return;
	}
	if (strcmp(expr->word, operation->object_word) != 0) {
		ygr_policy_error(evaluation->diagnostics, expr->place,
				 "%s is said with \"%s\", not with \"%s\"", operation->name,
				 operation->object_word, expr->word);
		return;
	}
	switch (operation->object) {
	case YGR_POLICY_OBJECT_FILE:
		if (!paths)
			wrong_object(evaluation, expr, "files");
		break;
	case YGR_POLICY_OBJECT_PROGRAM:
		if (type != YGR_TYPE_EXE)
			wrong_object(evaluation, expr, "programs (exe \"...\")");
		break;
	case YGR_POLICY_OBJECT_PEER:
		if (type != YGR_TYPE_ADDRESS && type != YGR_TYPE_UNIX)
			wrong_object(evaluation, expr, "addresses, or unix \"...\"");
		break;
	case YGR_POLICY_OBJECT_CAPABILITY:
		if (type != YGR_TYPE_CAPABILITY)
			wrong_object(evaluation, expr, "capabilities");
		break;
	case YGR_POLICY_OBJECT_USER:
		if (type != YGR_TYPE_USER)
			wrong_object(evaluation, expr, "users (user 0)");
		break;
	case YGR_POLICY_OBJECT_NONE:
		break;
	}
}

/* Types that an object has without their word being written: of CAP_SYS_ADMIN. */
static void presume_type(const struct evaluation *evaluation, struct ygr_policy_expr *expr)
{
	if (expr->condition == YGR_COND_OBJECT && expr->value->type == YGR_TYPE_NONE &&
	    evaluation->rule->operation->object == YGR_POLICY_OBJECT_CAPABILITY)
		expr->value->type = YGR_TYPE_CAPABILITY;
}

static void not_here(struct evaluation *evaluation, const struct ygr_policy_expr *expr, const char *where)
{
	ygr_policy_error(evaluation->diagnostics, expr->place, "\"%s\" goes with %s, not with %s",
			 expr->word, where, evaluation->rule->operation->name);
}

static void check_by(struct evaluation *evaluation, const struct ygr_policy_expr *expr)
{
	if (!expr->value)
		return;
	enum ygr_policy_type type = expr->value->type;
	if (type == YGR_TYPE_EXE ||
	    (expr->condition == YGR_COND_BY &&
	     (type == YGR_TYPE_USER || type == YGR_TYPE_GROUP || type == YGR_TYPE_CGROUP)))
		return;
	ygr_policy_error(evaluation->diagnostics, expr->value->place, "%s wants %s, this is of type %s",
			 expr->condition == YGR_COND_BY ? "\"by\"" : "\"descendants of\"",
			 expr->condition == YGR_COND_BY ? "a program, user, group or cgroup" : "programs",
			 ygr_policy_type_name(type));
	if (type == YGR_TYPE_FILE)
		ygr_policy_hint(evaluation->diagnostics, "a program is written exe \"...\"");
}

static void check_condition(struct evaluation *evaluation, struct ygr_policy_expr *expr)
{
	const struct ygr_policy_operation *operation = evaluation->rule->operation;

	if (expr->condition == YGR_COND_ARGUMENT) {
		if (operation->number != YGR_OP_EXEC)
			not_here(evaluation, expr, "exec");
		else if (evaluation->rule->action == YGR_ACTION_DENY) {
			ygr_policy_error(
			    evaluation->diagnostics, expr->place,
			    "arguments of exec can be read only when it cannot be denied any more");
			ygr_policy_hint(evaluation->diagnostics,
					"kill stops the process before its first instruction");
		}
		return;
	}
	if (expr->value) {
		presume_type(evaluation, expr);
		if (!ygr_policy_resolve(&evaluation->names, expr->value))
			return;
	}
	switch (expr->condition) {
	case YGR_COND_OBJECT:
		check_object(evaluation, expr);
		break;
	case YGR_COND_BY:
	case YGR_COND_DESCENDANT:
		check_by(evaluation, expr);
		break;
	case YGR_COND_PORT:
	case YGR_COND_PROTOCOL:
		if (operation->object != YGR_POLICY_OBJECT_PEER)
			not_here(evaluation, expr, "connect, bind, listen and sendmsg");
		break;
	case YGR_COND_OWNER:
	case YGR_COND_MODE:
		if (operation->object != YGR_POLICY_OBJECT_FILE)
			not_here(evaluation, expr, "operations on files");
		break;
	case YGR_COND_ACCESS:
		if (operation->number != YGR_OP_OPEN)
			not_here(evaluation, expr, "open");
		break;
	case YGR_COND_DURING:
		if (expr->low == expr->high)
			ygr_policy_error(evaluation->diagnostics, expr->place,
					 "this time ends when it begins");
		break;
	case YGR_COND_ARGUMENT:
		break;
	}
}

static void check_expr(struct evaluation *evaluation, struct ygr_policy_expr *expr)
{
	if (!expr)
		return;
	if (expr->kind == YGR_EXPR_CONDITION) {
		check_condition(evaluation, expr);
		return;
	}
	check_expr(evaluation, expr->left);
	check_expr(evaluation, expr->right);
}

static int by_rule_name(const void *a, const void *b)
{
	const struct ygr_policy_rule *const *x = a, *const *y = b;
	int order = strcmp((*x)->name, (*y)->name);
	return order ? order : (*x)->number < (*y)->number ? -1 : (*x)->number > (*y)->number;
}

static int name_against_rule(const void *name, const void *rule)
{
	return strcmp(name, (*(struct ygr_policy_rule *const *)rule)->name);
}

static void check_host_rules(struct evaluation *evaluation, struct ygr_policy *policy,
			     struct ygr_policy_rule **sorted, size_t count, const char *const *rule_names)
{
	for (struct ygr_policy_host_rule *host = policy->host_rules; host; host = host->next) {
		struct ygr_policy_rule **found =
		    bsearch(host->name, sorted, count, sizeof(struct ygr_policy_rule *), name_against_rule);
		host->rule = found ? *found : NULL;
		if (!found && !ygr_policy_errors_full(evaluation->diagnostics)) {
			const char *near = ygr_nearest(host->name, rule_names);
			ygr_policy_error(evaluation->diagnostics, host->place, "there is no rule \"%s\"",
					 host->name);
			if (near)
				ygr_policy_hint(evaluation->diagnostics, "did you mean \"%s\"?", near);
		}
		for (struct ygr_policy_host_action *action = host->actions; action; action = action->next) {
			if (action->addresses)
				ygr_policy_resolve(&evaluation->names, action->addresses);
			if (action->ports)
				ygr_policy_resolve(&evaluation->names, action->ports);
		}
	}
}

static int check_rules(struct evaluation *evaluation, struct ygr_policy *policy)
{
	size_t count = 0;
	struct ygr_policy_rule **sorted = ygr_policy_arena_take(
	    evaluation->names.arena, (policy->rule_count + 1) * sizeof(struct ygr_policy_rule *));
	const char **rule_names =
	    ygr_policy_arena_take(evaluation->names.arena, (policy->rule_count + 1) * sizeof(*rule_names));
	if (!sorted || !rule_names)
		return ygr_policy_arena_failed(evaluation->names.arena);

	for (struct ygr_policy_rule *rule = policy->rules; rule; rule = rule->next) {
		sorted[count++] = rule;
		evaluation->rule = rule;
		check_expr(evaluation, rule->when);
		check_expr(evaluation, rule->unless);
	}
	qsort(sorted, count, sizeof(struct ygr_policy_rule *), by_rule_name);
	for (size_t i = 0; i < count; i++) {
		rule_names[i] = sorted[i]->name;
		if (i > 0 && strcmp(rule_names[i - 1], rule_names[i]) == 0)
			ygr_policy_error(evaluation->diagnostics, sorted[i]->place,
					 "there is a rule \"%s\" already", sorted[i]->name);
	}
	check_host_rules(evaluation, policy, sorted, count, rule_names);
	return ygr_policy_arena_failed(evaluation->names.arena);
}

int ygr_policy_evaluate(struct ygr_policy *policies, struct ygr_policy_arena *arena,
			struct ygr_policy_diagnostics *diagnostics)
{
	for (struct ygr_policy *policy = policies; policy; policy = policy->next) {
		struct evaluation evaluation = {.diagnostics = diagnostics,
						.names = {.arena = arena, .diagnostics = diagnostics}};
		int r = collect_lets(&evaluation, policy);
		if (r == 0)
			r = check_rules(&evaluation, policy);
		if (r < 0)
			return r;
		for (struct ygr_policy *other = policies; other != policy; other = other->next)
			if (strcmp(other->name, policy->name) == 0) {
				ygr_policy_error(diagnostics, policy->place,
						 "there is a policy \"%s\" already", policy->name);
				break;
			}
	}
	return 0;
}
