/*
 * The parser's outer half: files, policies, blocks, and going on after an error. What follows an error is
 * skipped to the next word that only begins something (such words are reserved for that reason) or to the
 * bracket that closes the block.
 */
#include "lib/policy/parse.h"

#include <string.h>

#include "lib/base/decode.h"
#include "lib/policy/parser.h"

static const char *const reserved[] = {"policy", "let", "guest", "host", "rule", "on", NULL};

void ygr_policy_advance(struct ygr_policy_parser *parser)
{
	if (ygr_policy_at_mark(parser, '{'))
		parser->braces++;
	else if (ygr_policy_at_mark(parser, '}') && parser->braces > 0)
		parser->braces--;
	parser->token = ygr_policy_lex(&parser->lexer);
}

struct ygr_policy_diagnostics *ygr_policy_said(struct ygr_policy_parser *parser)
{
	return parser->lexer.diagnostics;
}

void *ygr_policy_new(struct ygr_policy_parser *parser, size_t size)
{
	return ygr_policy_arena_take(parser->lexer.arena, size);
}

bool ygr_policy_at_mark(const struct ygr_policy_parser *parser, char mark)
{
	return parser->token.kind == YGR_TOKEN_MARK && parser->token.text[0] == mark;
}

bool ygr_policy_at_word(const struct ygr_policy_parser *parser, const char *word)
{
	return parser->token.kind == YGR_TOKEN_WORD && strcmp(parser->token.text, word) == 0;
}

bool ygr_policy_take_mark(struct ygr_policy_parser *parser, char mark)
{
	bool there = ygr_policy_at_mark(parser, mark);
	if (there)
		ygr_policy_advance(parser);
	return there;
}

bool ygr_policy_take_word(struct ygr_policy_parser *parser, const char *word)
{
	bool there = ygr_policy_at_word(parser, word);
	if (there)
		ygr_policy_advance(parser);
	return there;
}

bool ygr_policy_expected(struct ygr_policy_parser *parser, const char *what)
{
	const struct ygr_policy_token *token = &parser->token;
	if (token->bad || ygr_policy_errors_full(ygr_policy_said(parser)))
		return false; /* the string itself has been complained about */
	if (token->kind == YGR_TOKEN_END)
		ygr_policy_error(ygr_policy_said(parser), token->place,
				 "expected %s, found the end of the file", what);
	else
		ygr_policy_error(ygr_policy_said(parser), token->place, "expected %s, found %s%.*s%s", what,
				 token->kind == YGR_TOKEN_STRING ? "the string " : "\"",
				 token->kind == YGR_TOKEN_STRING ? 0 : YGR_POLICY_WORD_MAX, token->text,
				 token->kind == YGR_TOKEN_STRING ? "here" : "\"");
	return false;
}

bool ygr_policy_expect_mark(struct ygr_policy_parser *parser, char mark, const char *what)
{
	return ygr_policy_take_mark(parser, mark) || ygr_policy_expected(parser, what);
}

bool ygr_policy_expect_word(struct ygr_policy_parser *parser, const char *word)
{
	char quoted[YGR_POLICY_WORD_MAX + 3] = "\"";
	strncat(strncat(quoted, word, YGR_POLICY_WORD_MAX), "\"", 2);
	return ygr_policy_take_word(parser, word) || ygr_policy_expected(parser, quoted);
}

struct ygr_policy_place ygr_policy_span(struct ygr_policy_place start, struct ygr_policy_place last)
{
	start.length = last.offset + last.length - start.offset;
	return start;
}

static bool is_reserved(const struct ygr_policy_parser *parser)
{
	for (const char *const *word = reserved; *word; word++)
		if (ygr_policy_at_word(parser, *word))
			return true;
	return false;
}

const char *ygr_policy_take_name(struct ygr_policy_parser *parser, const char *what,
				 struct ygr_policy_place *ret_place)
{
	const char *name = parser->token.text;
	if (parser->token.kind != YGR_TOKEN_WORD || is_reserved(parser)) {
		ygr_policy_expected(parser, what);
		return NULL;
	}
	*ret_place = parser->token.place;
	if (parser->token.length > YGR_POLICY_WORD_MAX) {
		ygr_policy_error(ygr_policy_said(parser), parser->token.place, "a name has at most %d bytes",
				 YGR_POLICY_WORD_MAX);
		name = NULL;
	}
	ygr_policy_advance(parser);
	return name;
}

/* To the next word that begins something, or the '}' of this block, which is left. */
static void recover(struct ygr_policy_parser *parser)
{
	while (parser->token.kind != YGR_TOKEN_END && !is_reserved(parser) &&
	       !(ygr_policy_at_mark(parser, '}') && parser->braces <= parser->block))
		ygr_policy_advance(parser);
	parser->braces = parser->block;
}

static struct ygr_policy_let *take_let(struct ygr_policy_parser *parser)
{
	struct ygr_policy_let *let = ygr_policy_new(parser, sizeof(*let));
	if (!let)
		return NULL;
	let->name = ygr_policy_take_name(parser, "a name behind \"let\"", &let->place);
	if (!let->name || !ygr_policy_expect_mark(parser, '=', "\"=\""))
		return NULL;
	let->value = ygr_policy_take_value(parser);
	return let->value ? let : NULL;
}

/* Where the next node of each list of a policy goes. */
struct ends {
	struct ygr_policy_let **let;
	struct ygr_policy_rule **rule;
	struct ygr_policy_host_rule **host;
};

static void add_let(struct ygr_policy_parser *parser, struct ends *ends)
{
	struct ygr_policy_let *let = take_let(parser);
	if (!let) {
		recover(parser);
		return;
	}
	*ends->let = let;
	ends->let = &let->next;
}

static void add_rule(struct ygr_policy_parser *parser, struct ygr_policy *policy, struct ends *ends)
{
	struct ygr_policy_rule *rule = ygr_policy_take_rule(parser);
	if (!rule) {
		recover(parser);
		return;
	}
	rule->number = ++policy->rule_count;
	if (rule->number == YGR_POLICY_RULES_MAX + 1)
		ygr_policy_error(ygr_policy_said(parser), rule->place, "a policy has at most %d rules",
				 YGR_POLICY_RULES_MAX);
	*ends->rule = rule;
	ends->rule = &rule->next;
}

static void add_host_rule(struct ygr_policy_parser *parser, struct ends *ends)
{
	struct ygr_policy_host_rule *rule = ygr_policy_take_host_rule(parser);
	if (!rule) {
		recover(parser);
		return;
	}
	*ends->host = rule;
	ends->host = &rule->next;
}

/* Rules are at home in guest, reactions in host: says so when they are not. */
static void take_block(struct ygr_policy_parser *parser, struct ygr_policy *policy, struct ends *ends,
		       bool host)
{
	if (!ygr_policy_expect_mark(parser, '{', "\"{\"")) {
		recover(parser);
		return;
	}
	unsigned outer = parser->block;
	parser->block = parser->braces;
	while (parser->token.kind != YGR_TOKEN_END && !ygr_policy_at_mark(parser, '}')) {
		if (ygr_policy_take_word(parser, "let")) {
			add_let(parser, ends);
		} else if (!host && ygr_policy_take_word(parser, "rule")) {
			add_rule(parser, policy, ends);
		} else if (host && ygr_policy_take_word(parser, "on")) {
			add_host_rule(parser, ends);
		} else {
			ygr_policy_expected(parser, host ? "\"on\", \"let\" or \"}\""
							 : "\"rule\", \"let\" or \"}\"");
			if (ygr_policy_at_word(parser, host ? "rule" : "on"))
				ygr_policy_hint(ygr_policy_said(parser), "\"%s\" belongs into a %s block",
						host ? "rule" : "on", host ? "guest" : "host");
			if (ygr_policy_at_word(parser, "policy") || ygr_policy_at_word(parser, "guest") ||
			    ygr_policy_at_word(parser, "host"))
				break; /* the '}' was forgotten */
			ygr_policy_advance(parser);
			recover(parser);
		}
	}
	if (parser->token.kind == YGR_TOKEN_END)
		ygr_policy_expected(parser, "\"}\"");
	ygr_policy_take_mark(parser, '}');
	parser->braces = parser->block = outer;
}

static void take_policy_body(struct ygr_policy_parser *parser, struct ygr_policy *policy)
{
	struct ends ends = {&policy->lets, &policy->rules, &policy->host_rules};
	parser->braces = parser->block = 1;

	while (parser->token.kind != YGR_TOKEN_END && !ygr_policy_at_mark(parser, '}')) {
		if (ygr_policy_take_word(parser, "let")) {
			add_let(parser, &ends);
		} else if (ygr_policy_take_word(parser, "guest")) {
			take_block(parser, policy, &ends, false);
		} else if (ygr_policy_take_word(parser, "host")) {
			take_block(parser, policy, &ends, true);
		} else {
			ygr_policy_expected(parser, "\"let\", \"guest\", \"host\" or \"}\"");
			if (ygr_policy_at_word(parser, "rule"))
				ygr_policy_hint(ygr_policy_said(parser), "write guest { rule ... }");
			else if (ygr_policy_at_word(parser, "on"))
				ygr_policy_hint(ygr_policy_said(parser), "write host { on ... }");
			if (ygr_policy_at_word(parser, "policy"))
				return;
			ygr_policy_advance(parser);
			recover(parser);
		}
	}
	ygr_policy_expect_mark(parser, '}', "\"}\"");
}

static struct ygr_policy *take_policy(struct ygr_policy_parser *parser)
{
	struct ygr_policy *policy = ygr_policy_new(parser, sizeof(*policy));
	if (!policy)
		return NULL;
	if (!ygr_policy_expect_word(parser, "policy")) {
		if (parser->token.kind == YGR_TOKEN_WORD)
			ygr_policy_hint(ygr_policy_said(parser), "a file begins with: policy NAME { ... }");
		return NULL;
	}
	policy->name = ygr_policy_take_name(parser, "the policy's name", &policy->place);
	if (!policy->name || !ygr_policy_expect_mark(parser, '{', "\"{\""))
		return NULL;
	take_policy_body(parser, policy);
	return policy;
}

int ygr_policy_parse(const char *text, size_t len, struct ygr_policy_arena *arena,
		     struct ygr_policy_diagnostics *diagnostics, struct ygr_policy **ret_policies)
{
	struct ygr_policy_parser parser = {
	    .lexer = {.text = text, .length = len, .arena = arena, .diagnostics = diagnostics}};
	struct ygr_policy *first = NULL, **end = &first;
	unsigned count = 0;

	ygr_policy_advance(&parser);
	do {
		struct ygr_policy *policy = take_policy(&parser);
		if (policy) {
			*end = policy;
			end = &policy->next;
			if (++count <= YGR_POLICY_POLICIES_MAX)
				continue;
			ygr_policy_error(diagnostics, policy->place, "a file has at most %d policies",
					 YGR_POLICY_POLICIES_MAX);
			break;
		}
		/* To the next policy: what stands between cannot be understood. */
		while (parser.token.kind != YGR_TOKEN_END && !ygr_policy_at_word(&parser, "policy"))
			ygr_policy_advance(&parser);
	} while (parser.token.kind != YGR_TOKEN_END);
	*ret_policies = first;
	return ygr_policy_arena_failed(arena);
}
