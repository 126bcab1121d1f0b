/* See print.h. Brackets are printed where the tree needs them, and nowhere else. */
#include "lib/policy/print.h"

#include <arpa/inet.h>

#include "lib/policy/event.h"
#include "lib/policy/operation.h"

void ygr_policy_print_duration(uint64_t ns, struct ygr_policy_text *out)
{
	static const struct {
		uint64_t ns;
		const char *unit;
	} units[] = {{86400000000000ull, "d"},
		     {3600000000000ull, "h"},
		     {60000000000ull, "m"},
		     {1000000000ull, "s"},
		     {1000000ull, "ms"}};
	for (size_t i = 0; i < 5; i++)
		if (ns % units[i].ns == 0) {
			ygr_policy_put(out, "%llu%s", (unsigned long long)(ns / units[i].ns), units[i].unit);
			return;
		}
}

static void print_range(enum ygr_policy_type type, const struct ygr_policy_item *item,
			struct ygr_policy_text *out)
{
	const char *name = NULL;
	if (type == YGR_TYPE_PROTOCOL && item->low == item->high)
		name = ygr_policy_protocol_name((unsigned)item->low);
	else if (type == YGR_TYPE_CAPABILITY && item->low == item->high)
		name = ygr_policy_capability_name((unsigned)item->low);
	if (name)
		ygr_policy_put(out, "%s", name);
	else if (item->low == item->high)
		ygr_policy_put(out, "%llu", (unsigned long long)item->low);
	else
		ygr_policy_put(out, "%llu-%llu", (unsigned long long)item->low,
			       (unsigned long long)item->high);
}

static void print_item(enum ygr_policy_type type, const struct ygr_policy_item *item,
		       struct ygr_policy_text *out)
{
	char address[INET6_ADDRSTRLEN];
	bool v6 = item->kind == YGR_ITEM_IPV6;

	switch (item->kind) {
	case YGR_ITEM_EXACT:
		ygr_policy_put_quoted(out, item->text);
		break;
	case YGR_ITEM_UNDER:
		ygr_policy_put(out, "under ");
		ygr_policy_put_quoted(out, item->text[0] ? item->text : "/");
		break;
	case YGR_ITEM_GLOB:
		ygr_policy_put(out, "glob ");
		ygr_policy_put_quoted(out, item->text);
		break;
	case YGR_ITEM_IPV4:
	case YGR_ITEM_IPV6:
		inet_ntop(v6 ? AF_INET6 : AF_INET, item->address, address, sizeof(address));
		ygr_policy_put(out, "%s", address);
		if (item->prefix != (v6 ? 128 : 32))
			ygr_policy_put(out, "/%u", item->prefix);
		break;
	case YGR_ITEM_RANGE:
		print_range(type, item, out);
		break;
	case YGR_ITEM_WORD:
		ygr_policy_put(out, "%s", item->text);
		break;
	}
}

/* Without the type's word. */
static void print_members(const struct ygr_policy_value *value, struct ygr_policy_text *out)
{
	bool many = value->items->next != NULL;
	ygr_policy_put(out, many ? "{ " : "");
	for (const struct ygr_policy_item *item = value->items; item; item = item->next) {
		print_item(value->type, item, out);
		ygr_policy_put(out, item->next ? ", " : "");
	}
	ygr_policy_put(out, many ? " }" : "");
}

void ygr_policy_print_value(const struct ygr_policy_value *value, struct ygr_policy_text *out)
{
	if (value->explicit_type)
		ygr_policy_put(out, "%s ", ygr_policy_type_name(value->type));
	print_members(value, out);
}

static void print_access(uint32_t access, struct ygr_policy_text *out)
{
	static const char *const words[] = {"read", "write", "append"};
	bool first = true;
	ygr_policy_put(out, "for ");
	for (unsigned i = 0; i < 3; i++)
		if (access & (1u << i)) {
			ygr_policy_put(out, "%s%s", first ? "" : ", ", words[i]);
			first = false;
		}
}

static void print_condition(const struct ygr_policy_expr *expr, struct ygr_policy_text *out)
{
	switch (expr->condition) {
	case YGR_COND_ACCESS:
		print_access(expr->low, out);
		break;
	case YGR_COND_MODE:
		ygr_policy_put(out, "mode 0%o", expr->low);
		break;
	case YGR_COND_DURING:
		ygr_policy_put(out, "during %02u:%02u-%02u:%02u", expr->low / 60, expr->low % 60,
			       expr->high / 60, expr->high % 60);
		break;
	case YGR_COND_BY:
	case YGR_COND_DESCENDANT:
		ygr_policy_put(out, "by %s%s", expr->outside ? "not " : "",
			       expr->condition == YGR_COND_DESCENDANT ? "descendants of " : "");
		ygr_policy_print_value(expr->value, out);
		break;
	case YGR_COND_OBJECT:
		ygr_policy_put(out, "%s %s", expr->word, expr->outside ? "not " : "");
		ygr_policy_print_value(expr->value, out);
		break;
	case YGR_COND_PORT:
	case YGR_COND_PROTOCOL:
	case YGR_COND_OWNER:
	case YGR_COND_ARGUMENT:
		ygr_policy_put(out, "%s %s", expr->word, expr->outside ? "not " : "");
		print_members(expr->value, out);
		break;
	}
}

static int strength(const struct ygr_policy_expr *expr)
{
	return expr->kind == YGR_EXPR_OR    ? 0
	       : expr->kind == YGR_EXPR_AND ? 1
	       : expr->kind == YGR_EXPR_NOT ? 2
					    : 3;
}

static void print_inside(const struct ygr_policy_expr *expr, int least, struct ygr_policy_text *out)
{
	bool brackets = strength(expr) < least;
	ygr_policy_put(out, brackets ? "(" : "");
	ygr_policy_print_expr(expr, out);
	ygr_policy_put(out, brackets ? ")" : "");
}

void ygr_policy_print_expr(const struct ygr_policy_expr *expr, struct ygr_policy_text *out)
{
	int own = strength(expr);
	switch (expr->kind) {
	case YGR_EXPR_CONDITION:
		print_condition(expr, out);
		break;
	case YGR_EXPR_NOT:
		ygr_policy_put(out, "not ");
		print_inside(expr->left, own, out);
		break;
	case YGR_EXPR_AND:
	case YGR_EXPR_OR:
		/* Chains lean to the left; what leans to the right was in brackets. */
		print_inside(expr->left, own, out);
		ygr_policy_put(out, expr->kind == YGR_EXPR_AND ? " and " : " or ");
		print_inside(expr->right, own + 1, out);
		break;
	}
}

/* The conditions that can stand behind the operation without `and`: false when something else is left. */
static bool print_sentence(const struct ygr_policy_expr *expr, struct ygr_policy_text *out)
{
	if (expr->kind == YGR_EXPR_AND && expr->right->kind == YGR_EXPR_CONDITION) {
		if (!print_sentence(expr->left, out))
			return false;
		ygr_policy_put(out, " ");
		print_condition(expr->right, out);
		return true;
	}
	if (expr->kind != YGR_EXPR_CONDITION)
		return false;
	ygr_policy_put(out, " ");
	print_condition(expr, out);
	return true;
}

static bool is_sentence(const struct ygr_policy_expr *expr)
{
	while (expr->kind == YGR_EXPR_AND && expr->right->kind == YGR_EXPR_CONDITION)
		expr = expr->left;
	return expr->kind == YGR_EXPR_CONDITION;
}

void ygr_policy_print_rule_body(const struct ygr_policy_rule *rule, struct ygr_policy_text *out)
{
	ygr_policy_put(out, "%s ", ygr_policy_action_name(rule->action));
	if (rule->action == YGR_ACTION_DENY && rule->error != 1)
		ygr_policy_put(out, "with %s ", ygr_policy_errno_name(rule->error));
	ygr_policy_put(out, "%s", rule->operation->name);
	if (rule->when && is_sentence(rule->when)) {
		print_sentence(rule->when, out);
	} else if (rule->when) {
		ygr_policy_put(out, " if ");
		ygr_policy_print_expr(rule->when, out);
	}
	if (rule->unless) {
		ygr_policy_put(out, " unless ");
		ygr_policy_print_expr(rule->unless, out);
	}
	if (!rule->window_ns)
		return;
	ygr_policy_put(out, " over %u times within ", rule->count);
	ygr_policy_print_duration(rule->window_ns, out);
	if (rule->scope != YGR_SCOPE_ALL)
		ygr_policy_put(out, " per %s", ygr_policy_scope_name(rule->scope));
}

static void print_bits(uint64_t bits, struct ygr_policy_text *out)
{
	if (bits % 1000000000 == 0)
		ygr_policy_put(out, "%llugbit", (unsigned long long)(bits / 1000000000));
	else if (bits % 1000000 == 0)
		ygr_policy_put(out, "%llumbit", (unsigned long long)(bits / 1000000));
	else
		ygr_policy_put(out, "%llukbit", (unsigned long long)(bits / 1000));
}

static void print_block(const struct ygr_policy_host_action *action, struct ygr_policy_text *out)
{
	ygr_policy_put(out, "block net");
	if (action->direction != YGR_BOTH_WAYS) {
		ygr_policy_put(out, action->direction == YGR_TO ? " to " : " from ");
		if (action->addresses)
			print_members(action->addresses, out);
		else
			ygr_policy_put(out, "any");
	}
	if (action->ports) {
		ygr_policy_put(out, " port ");
		print_members(action->ports, out);
	}
}

void ygr_policy_print_host_action(const struct ygr_policy_host_action *action, struct ygr_policy_text *out)
{
	static const char *const vm[] = {"pause", "resume", "shutdown", "destroy"};
	switch (action->kind) {
	case YGR_HOST_DISK:
		ygr_policy_put(out, "disk ");
		if (action->name)
			ygr_policy_put_quoted(out, action->name);
		ygr_policy_put(out, "%sread-only", action->name ? " " : "all ");
		break;
	case YGR_HOST_BLOCK:
		print_block(action, out);
		break;
	case YGR_HOST_LIMIT:
		ygr_policy_put(out, "net limit ");
		print_bits(action->amount, out);
		ygr_policy_put(out, action->direction == YGR_TO     ? " outgoing"
				    : action->direction == YGR_FROM ? " incoming"
								    : "");
		break;
	case YGR_HOST_INTERFACE:
		ygr_policy_put(out, "interface ");
		ygr_policy_put_quoted(out, action->name);
		ygr_policy_put(out, " down");
		break;
	case YGR_HOST_PAUSE:
	case YGR_HOST_RESUME:
	case YGR_HOST_SHUTDOWN:
	case YGR_HOST_DESTROY:
		ygr_policy_put(out, "vm %s", vm[action->kind - YGR_HOST_PAUSE]);
		break;
	case YGR_HOST_SNAPSHOT:
		ygr_policy_put(out, "snapshot");
		break;
	case YGR_HOST_MARK:
		ygr_policy_put(out, "mark ");
		ygr_policy_put_quoted(out, action->name);
		break;
	case YGR_HOST_EVENT:
		ygr_policy_put(out, "event %s", action->name);
		break;
	}
	if ((action->kind == YGR_HOST_BLOCK || action->kind == YGR_HOST_LIMIT) && action->name) {
		ygr_policy_put(out, " interface ");
		ygr_policy_put_quoted(out, action->name);
	}
	if (action->lifetime_ns) {
		ygr_policy_put(out, " for ");
		ygr_policy_print_duration(action->lifetime_ns, out);
	}
}

static void print_host_rule(const struct ygr_policy_host_rule *rule, struct ygr_policy_text *out)
{
	ygr_policy_put(out, "    on %s", rule->name);
	if (rule->window_ns) {
		ygr_policy_put(out, " %u times within ", rule->count);
		ygr_policy_print_duration(rule->window_ns, out);
		ygr_policy_put(out, " per vm");
	}
	ygr_policy_put(out, ": ");
	for (const struct ygr_policy_host_action *action = rule->actions; action; action = action->next) {
		ygr_policy_print_host_action(action, out);
		ygr_policy_put(out, action->next ? ", " : "\n");
	}
}

void ygr_policy_print(const struct ygr_policy *policy, struct ygr_policy_text *out)
{
	ygr_policy_put(out, "policy %s {\n", policy->name);
	for (const struct ygr_policy_let *let = policy->lets; let; let = let->next) {
		ygr_policy_put(out, "  let %s = ", let->name);
		ygr_policy_print_value(let->value, out);
		ygr_policy_put(out, "\n");
	}
	if (policy->rules)
		ygr_policy_put(out, "  guest {\n");
	for (const struct ygr_policy_rule *rule = policy->rules; rule; rule = rule->next) {
		ygr_policy_put(out, "    rule %s: ", rule->name);
		ygr_policy_print_rule_body(rule, out);
		ygr_policy_put(out, "\n");
	}
	if (policy->rules)
		ygr_policy_put(out, "  }\n");
	if (policy->host_rules)
		ygr_policy_put(out, "  host {\n");
	for (const struct ygr_policy_host_rule *rule = policy->host_rules; rule; rule = rule->next)
		print_host_rule(rule, out);
	if (policy->host_rules)
		ygr_policy_put(out, "  }\n");
	ygr_policy_put(out, "}\n");
}
