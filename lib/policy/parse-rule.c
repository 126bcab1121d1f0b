/*
 * Rules and conditions. `not` binds tighter than `and`, `and` tighter than `or`, `or` tighter than `unless`.
 * Only directly behind the operation, where a rule reads like a sentence, may `and` be left out.
 */
#include <string.h>

#include "lib/base/decode.h"
#include "lib/policy/event.h"
#include "lib/policy/parser.h"

static const char *const condition_words[] = {"of",    "to",   "at",  "by",     "port",     "protocol",
					      "owner", "mode", "for", "during", "argument", NULL};

static struct ygr_policy_expr *take_or(struct ygr_policy_parser *parser);

static bool at_condition(const struct ygr_policy_parser *parser)
{
	for (const char *const *word = condition_words; *word; word++)
		if (ygr_policy_at_word(parser, *word))
			return true;
	return false;
}

static bool take_access(struct ygr_policy_parser *parser, struct ygr_policy_expr *expr)
{
	do {
		if (ygr_policy_take_word(parser, "read"))
			expr->low |= YGR_POLICY_READ;
		else if (ygr_policy_take_word(parser, "write"))
			expr->low |= YGR_POLICY_WRITE;
		else if (ygr_policy_take_word(parser, "append"))
			expr->low |= YGR_POLICY_APPEND;
		else
			return ygr_policy_expected(parser, "\"read\", \"write\" or \"append\"");
	} while (ygr_policy_take_mark(parser, ','));
	return true;
}

/* Arguments are any strings, and so no paths. */
static struct ygr_policy_value *take_arguments(struct ygr_policy_parser *parser)
{
	struct ygr_policy_value *value = ygr_policy_new(parser, sizeof(*value));
	bool many = ygr_policy_take_mark(parser, '{');
	struct ygr_policy_item **end = value ? &value->items : NULL;

	while (end) {
		struct ygr_policy_item *item = ygr_policy_new(parser, sizeof(*item));
		if (parser->token.kind != YGR_TOKEN_STRING || parser->token.bad || !item) {
			ygr_policy_expected(parser, "an argument as a string");
			return NULL;
		}
		item->place = parser->token.place;
		item->text = parser->token.text;
		item->length = parser->token.length;
		value->place = value->items ? ygr_policy_span(value->place, item->place) : item->place;
		*end = item;
		end = &item->next;
		ygr_policy_advance(parser);
		if (!many || !ygr_policy_take_mark(parser, ','))
			break;
	}
	return many && !ygr_policy_expect_mark(parser, '}', "\",\" or \"}\"") ? NULL : value;
}

static bool take_by(struct ygr_policy_parser *parser, struct ygr_policy_expr *expr)
{
	expr->condition = YGR_COND_BY;
	expr->outside = ygr_policy_take_word(parser, "not");
	if (ygr_policy_take_word(parser, "descendants")) {
		expr->condition = YGR_COND_DESCENDANT;
		if (!ygr_policy_expect_word(parser, "of"))
			return false;
	}
	expr->value = ygr_policy_take_value(parser);
	return expr->value != NULL;
}

static bool take_condition_body(struct ygr_policy_parser *parser, struct ygr_policy_expr *expr,
				const char *word)
{
	if (strcmp(word, "by") == 0)
		return take_by(parser, expr);
	if (strcmp(word, "for") == 0) {
		expr->condition = YGR_COND_ACCESS;
		return take_access(parser, expr);
	}
	if (strcmp(word, "mode") == 0) {
		expr->condition = YGR_COND_MODE;
		return ygr_policy_take_octal(parser, &expr->low);
	}
	if (strcmp(word, "during") == 0) {
		expr->condition = YGR_COND_DURING;
		return ygr_policy_take_minutes(parser, &expr->low) &&
		       ygr_policy_expect_mark(parser, '-', "\"-\"") &&
		       ygr_policy_take_minutes(parser, &expr->high);
	}
	if (strcmp(word, "argument") == 0) {
		expr->condition = YGR_COND_ARGUMENT;
		expr->value = take_arguments(parser);
		return expr->value != NULL;
	}
	expr->outside = ygr_policy_take_word(parser, "not");
	if (strcmp(word, "port") == 0) {
		expr->condition = YGR_COND_PORT;
		expr->value = ygr_policy_take_typed(parser, YGR_TYPE_PORT);
	} else if (strcmp(word, "protocol") == 0) {
		expr->condition = YGR_COND_PROTOCOL;
		expr->value = ygr_policy_take_typed(parser, YGR_TYPE_PROTOCOL);
	} else if (strcmp(word, "owner") == 0) {
		expr->condition = YGR_COND_OWNER;
		expr->value = ygr_policy_take_typed(parser, YGR_TYPE_USER);
	} else {
		expr->condition = YGR_COND_OBJECT;
		expr->value = ygr_policy_take_value(parser);
	}
	return expr->value != NULL;
}

static struct ygr_policy_expr *take_condition(struct ygr_policy_parser *parser)
{
	struct ygr_policy_expr *expr = ygr_policy_new(parser, sizeof(*expr));
	if (!expr)
		return NULL;
	if (!at_condition(parser)) {
		const char *near = parser->token.kind == YGR_TOKEN_WORD
				       ? ygr_nearest(parser->token.text, condition_words)
				       : NULL;
		ygr_policy_expected(parser, "a condition");
		if (near)
			ygr_policy_hint(ygr_policy_said(parser), "did you mean \"%s\"?", near);
		else
			ygr_policy_hint(ygr_policy_said(parser),
					"conditions begin with of, to, at, by, for, port, protocol, owner, "
					"mode, during, argument");
		return NULL;
	}
	if (++parser->conditions > YGR_POLICY_CONDITIONS_MAX) {
		ygr_policy_error(ygr_policy_said(parser), parser->token.place,
				 "a rule has at most %d conditions", YGR_POLICY_CONDITIONS_MAX);
		return NULL;
	}
	expr->kind = YGR_EXPR_CONDITION;
	expr->place = parser->token.place;
	expr->word = parser->token.text;
	ygr_policy_advance(parser);
	if (!take_condition_body(parser, expr, expr->word))
		return NULL;
	if (expr->value)
		expr->place = ygr_policy_span(expr->place, expr->value->place);
	return expr;
}

static struct ygr_policy_expr *new_pair(struct ygr_policy_parser *parser, enum ygr_policy_expr_kind kind,
					struct ygr_policy_expr *left, struct ygr_policy_expr *right)
{
	struct ygr_policy_expr *expr = ygr_policy_new(parser, sizeof(*expr));
	if (!expr || !left || (kind != YGR_EXPR_NOT && !right))
		return NULL;
	expr->kind = kind;
	expr->left = left;
	expr->right = right;
	expr->place = right ? ygr_policy_span(left->place, right->place) : left->place;
	return expr;
}

static struct ygr_policy_expr *take_unary(struct ygr_policy_parser *parser)
{
	struct ygr_policy_expr *expr = NULL;
	struct ygr_policy_place place = parser->token.place;
	bool negated = ygr_policy_take_word(parser, "not");

	if (!negated && !ygr_policy_at_mark(parser, '('))
		return take_condition(parser);
	if (++parser->depth > YGR_POLICY_DEPTH_MAX) {
		ygr_policy_error(ygr_policy_said(parser), place, "this is nested deeper than %d levels",
				 YGR_POLICY_DEPTH_MAX);
	} else if (negated) {
		expr = new_pair(parser, YGR_EXPR_NOT, take_unary(parser), NULL);
	} else {
		ygr_policy_advance(parser);
		expr = take_or(parser);
		if (expr && !ygr_policy_expect_mark(parser, ')', "\"and\", \"or\" or \")\""))
			expr = NULL;
	}
	parser->depth--;
	return expr;
}

static struct ygr_policy_expr *take_and(struct ygr_policy_parser *parser)
{
	struct ygr_policy_expr *expr = take_unary(parser);
	while (expr && ygr_policy_take_word(parser, "and"))
		expr = new_pair(parser, YGR_EXPR_AND, expr, take_unary(parser));
	return expr;
}

static struct ygr_policy_expr *take_or(struct ygr_policy_parser *parser)
{
	struct ygr_policy_expr *expr = take_and(parser);
	while (expr && ygr_policy_take_word(parser, "or"))
		expr = new_pair(parser, YGR_EXPR_OR, expr, take_and(parser));
	return expr;
}

static bool take_action(struct ygr_policy_parser *parser, struct ygr_policy_rule *rule)
{
	static const char *const words[] = {"audit", "notify", "deny", "kill", NULL};
	for (enum ygr_policy_action action = YGR_ACTION_AUDIT; action <= YGR_ACTION_KILL; action++)
		if (ygr_policy_take_word(parser, ygr_policy_action_name(action)))
			rule->action = action;
	if (rule->action == YGR_ACTION_NONE) {
		const char *near =
		    parser->token.kind == YGR_TOKEN_WORD ? ygr_nearest(parser->token.text, words) : NULL;
		ygr_policy_expected(parser, "what to do: \"deny\", \"audit\", \"kill\" or \"notify\"");
		if (near)
			ygr_policy_hint(ygr_policy_said(parser), "did you mean \"%s\"?", near);
		return false;
	}
	rule->error = 1; /* EPERM */
	if (rule->action != YGR_ACTION_DENY || !ygr_policy_take_word(parser, "with"))
		return true;
	int number = ygr_policy_errno(parser->token.text);
	if (parser->token.kind != YGR_TOKEN_WORD || number < 0) {
		const char *near = ygr_nearest(parser->token.text, ygr_policy_errno_names());
		ygr_policy_expected(parser, "the name of an error such as EACCES");
		if (near)
			ygr_policy_hint(ygr_policy_said(parser), "did you mean \"%s\"?", near);
		return false;
	}
	rule->error = number;
	ygr_policy_advance(parser);
	return true;
}

static bool take_operation(struct ygr_policy_parser *parser, struct ygr_policy_rule *rule)
{
	rule->operation_place = parser->token.place;
	rule->operation = ygr_policy_operation_named(parser->token.text);
	if (parser->token.kind == YGR_TOKEN_WORD && rule->operation) {
		ygr_policy_advance(parser);
		return true;
	}
	ygr_policy_expected(parser, "an operation");
	const char *near = parser->token.kind == YGR_TOKEN_WORD
			       ? ygr_nearest(parser->token.text, ygr_policy_operation_names())
			       : NULL;
	if (near)
		ygr_policy_hint(ygr_policy_said(parser), "did you mean \"%s\"?", near);
	else
		ygr_policy_hint(
		    ygr_policy_said(parser),
		    "exec open create unlink rename link truncate chmod chown mmap-exec mount connect "
		    "bind listen sendmsg ptrace signal load-module bpf use-capability setuid "
		    "create-userns read-kernel");
	return false;
}

/* A written `over` part; the word is taken. */
static bool take_over(struct ygr_policy_parser *parser, struct ygr_policy_rule *rule)
{
	uint64_t count;
	if (!ygr_policy_take_count(parser, 1, 1000000, "how often", &count) ||
	    !ygr_policy_expect_word(parser, "times") || !ygr_policy_expect_word(parser, "within") ||
	    !ygr_policy_take_duration(parser, &rule->window_ns))
		return false;
	rule->count = (uint32_t)count;
	if (!ygr_policy_take_word(parser, "per"))
		return true;
	for (enum ygr_policy_scope scope = YGR_SCOPE_PROCESS; scope <= YGR_SCOPE_CGROUP; scope++)
		if (ygr_policy_take_word(parser, ygr_policy_scope_name(scope))) {
			rule->scope = scope;
			return true;
		}
	return ygr_policy_expected(parser, "\"process\", \"user\", \"exe\" or \"cgroup\"");
}

struct ygr_policy_rule *ygr_policy_take_rule(struct ygr_policy_parser *parser)
{
	struct ygr_policy_rule *rule = ygr_policy_new(parser, sizeof(*rule));
	if (!rule)
		return NULL;
	parser->conditions = 0;
	rule->name = ygr_policy_take_name(parser, "the rule's name", &rule->place);
	if (!rule->name || !ygr_policy_expect_mark(parser, ':', "\":\"") || !take_action(parser, rule) ||
	    !take_operation(parser, rule))
		return NULL;
	while (at_condition(parser)) {
		struct ygr_policy_expr *condition = take_condition(parser);
		if (!condition)
			return NULL;
		rule->when = rule->when ? new_pair(parser, YGR_EXPR_AND, rule->when, condition) : condition;
	}
	if (ygr_policy_take_word(parser, "if")) {
		struct ygr_policy_expr *expr = take_or(parser);
		if (!expr)
			return NULL;
		rule->when = rule->when ? new_pair(parser, YGR_EXPR_AND, rule->when, expr) : expr;
	}
	if (ygr_policy_take_word(parser, "unless") && !(rule->unless = take_or(parser)))
		return NULL;
	if (ygr_policy_take_word(parser, "over") && !take_over(parser, rule))
		return NULL;
	if (parser->token.kind == YGR_TOKEN_END || ygr_policy_at_mark(parser, '}') ||
	    ygr_policy_at_word(parser, "rule") || ygr_policy_at_word(parser, "let"))
		return rule;
	ygr_policy_expected(parser, "a condition, \"if\", \"unless\", \"over\", or the next rule");
	if (ygr_policy_at_word(parser, "and") || ygr_policy_at_word(parser, "or"))
		ygr_policy_hint(ygr_policy_said(parser),
				"and, or and not stand behind \"if\" or \"unless\"");
	else if (parser->token.kind == YGR_TOKEN_WORD && ygr_nearest(parser->token.text, condition_words))
		ygr_policy_hint(ygr_policy_said(parser), "did you mean \"%s\"?",
				ygr_nearest(parser->token.text, condition_words));
	return NULL;
}
