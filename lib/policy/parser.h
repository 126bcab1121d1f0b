/* What the files of the parser share: one token of lookahead, and the pieces of the grammar. */
#pragma once

#include <stdbool.h>

#include "lib/policy/ast.h"
#include "lib/policy/lex.h"
#include "lib/policy/operation.h"

struct ygr_policy_parser {
	struct ygr_policy_lexer lexer;
	struct ygr_policy_token token; /* the next one */
	unsigned braces;               /* that are open */
	unsigned block;                /* of these, up to the block that is being read */
	unsigned depth;                /* of brackets and `not` */
	unsigned conditions;           /* of this rule */
};

/* parse.c */
void ygr_policy_advance(struct ygr_policy_parser *parser);
bool ygr_policy_at_mark(const struct ygr_policy_parser *parser, char mark);
bool ygr_policy_at_word(const struct ygr_policy_parser *parser, const char *word);
/* Takes it when it is there. */
bool ygr_policy_take_mark(struct ygr_policy_parser *parser, char mark);
bool ygr_policy_take_word(struct ygr_policy_parser *parser, const char *word);
/* Says "expected WHAT, found ..." at the next token; returns false. */
bool ygr_policy_expected(struct ygr_policy_parser *parser, const char *what);
bool ygr_policy_expect_mark(struct ygr_policy_parser *parser, char mark, const char *what);
bool ygr_policy_expect_word(struct ygr_policy_parser *parser, const char *word);
/* A name that is no reserved word. NULL after an error. */
const char *ygr_policy_take_name(struct ygr_policy_parser *parser, const char *what,
				 struct ygr_policy_place *ret_place);
/* From START to behind the last token that was taken. */
struct ygr_policy_place ygr_policy_span(struct ygr_policy_place start, struct ygr_policy_place last);
void *ygr_policy_new(struct ygr_policy_parser *parser, size_t size);
struct ygr_policy_diagnostics *ygr_policy_said(struct ygr_policy_parser *parser);

/* parse-number.c: each takes one token; false after an error. */
bool ygr_policy_take_count(struct ygr_policy_parser *parser, uint64_t min, uint64_t max, const char *what,
			   uint64_t *ret);
bool ygr_policy_take_duration(struct ygr_policy_parser *parser, uint64_t *ret_ns);
bool ygr_policy_take_bits(struct ygr_policy_parser *parser, uint64_t *ret_bits_per_second);
bool ygr_policy_take_octal(struct ygr_policy_parser *parser, uint32_t *ret);
bool ygr_policy_take_minutes(struct ygr_policy_parser *parser, uint32_t *ret);

/* parse-value.c: NULL after an error. */
struct ygr_policy_value *ygr_policy_take_value(struct ygr_policy_parser *parser);
/* The same where TYPE need not be written. */
struct ygr_policy_value *ygr_policy_take_typed(struct ygr_policy_parser *parser, enum ygr_policy_type type);

/* parse-rule.c, parse-host.c: NULL after an error. */
struct ygr_policy_rule *ygr_policy_take_rule(struct ygr_policy_parser *parser);
struct ygr_policy_host_rule *ygr_policy_take_host_rule(struct ygr_policy_parser *parser);
