/* Text to tokens, one at a time. What is wrong in the text is reported here and then skipped. */
#pragma once

#include <stdbool.h>

#include "lib/policy/arena.h"
#include "lib/policy/diagnostics.h"

#define YGR_POLICY_SOURCE_MAX (1u << 20) /* bytes of one file */

enum ygr_policy_token_kind {
	YGR_TOKEN_END,
	YGR_TOKEN_WORD,    /* letters, digits, '_' and '-', beginning with a letter or '_' */
	YGR_TOKEN_STRING,  /* text is what the escapes stand for */
	YGR_TOKEN_NUMBER,  /* text is all digits, or digits with a unit: 10m, 1mbit, 0644 */
	YGR_TOKEN_ADDRESS, /* text has dots, colons or a slash: 10.0.0.0/8, ::1, 22:00 */
	YGR_TOKEN_MARK,    /* text is one of { } ( ) , : = - */
};

struct ygr_policy_token {
	enum ygr_policy_token_kind kind;
	struct ygr_policy_place place;
	const char *text;
	size_t length;
	bool bad; /* a string that was complained about already */
};

struct ygr_policy_lexer {
	const char *text;
	size_t length, offset;
	struct ygr_policy_arena *arena;
	struct ygr_policy_diagnostics *diagnostics;
};

/* The next token; END for good at the end, and when nothing can be stored any more. */
struct ygr_policy_token ygr_policy_lex(struct ygr_policy_lexer *lexer);
