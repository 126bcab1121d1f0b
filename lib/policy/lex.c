/*
 * See lex.h. Everything outside strings and comments is ASCII. In strings any UTF-8 may stand, except control
 * characters and those that reorder what is shown (a reviewer must see what the compiler sees); in comments
 * too.
 */
#include "lib/policy/lex.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "lib/policy/ast.h"

static struct ygr_policy_place place_from(const struct ygr_policy_lexer *lexer, size_t start)
{
	return (struct ygr_policy_place){(uint32_t)start, (uint32_t)(lexer->offset - start)};
}

static bool is_letter(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static bool is_hex(int c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* The byte at the lexer plus AHEAD, -1 behind the end. */
static int peek(const struct ygr_policy_lexer *lexer, size_t ahead)
{
	size_t at = lexer->offset + ahead;
	return at < lexer->length ? (unsigned char)lexer->text[at] : -1;
}

/* Length of the UTF-8 sequence at the lexer with its code point; 0 when it is none. */
static size_t utf8(const struct ygr_policy_lexer *lexer, uint32_t *ret_code)
{
	int first = peek(lexer, 0);
	size_t len = first < 0x80 ? 1 : (first & 0xe0) == 0xc0 ? 2 : (first & 0xf0) == 0xe0 ? 3 : 4;
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};

	if (first < 0 || (first >= 0x80 && first < 0xc0) || first >= 0xf8)
		return 0;
	uint32_t code = len == 1 ? (uint32_t)first : (uint32_t)first & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		int next = peek(lexer, i);
		if (next < 0 || (next & 0xc0) != 0x80)
			return 0;
		code = code << 6 | ((uint32_t)next & 0x3f);
	}
	if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	*ret_code = code;
	return len;
}

/* Steps over one character of a string or comment: false when it may not stand there (said). */
static bool step_over(struct ygr_policy_lexer *lexer)
{
	uint32_t code = 0;
	size_t len = utf8(lexer, &code);
	struct ygr_policy_place place = {(uint32_t)lexer->offset, (uint32_t)(len ? len : 1)};

	lexer->offset += len ? len : 1;
	if (!len)
		ygr_policy_error(lexer->diagnostics, place, "this is not UTF-8");
	else if ((code < 0x20 && code != '\t') || (code >= 0x7f && code < 0xa0))
		ygr_policy_error(lexer->diagnostics, place,
				 "a control character (U+%04X) may not stand here", code);
	else if ((code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069))
		ygr_policy_error(lexer->diagnostics, place,
				 "U+%04X changes the order in which text is shown, and may not stand here",
				 code);
	else
		return true;
	return false;
}

static void skip_blank(struct ygr_policy_lexer *lexer)
{
	for (int c; (c = peek(lexer, 0)) >= 0;) {
		if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
			lexer->offset++;
		} else if (c == '#') {
			while ((c = peek(lexer, 0)) >= 0 && c != '\n' &&
			       !(c == '\r' && peek(lexer, 1) == '\n') &&
			       !ygr_policy_errors_full(lexer->diagnostics))
				step_over(lexer);
		} else {
			return;
		}
		if (ygr_policy_errors_full(lexer->diagnostics))
			return;
	}
}

/* One escape behind the backslash; false when there is none such (said). */
static bool escape(struct ygr_policy_lexer *lexer, char *ret)
{
	static const char from[] = "\"\\nt", to[] = "\"\\\n\t";
	int c = peek(lexer, 1);
	const char *at = c > 0 ? strchr(from, c) : NULL;
	if (!at) {
		ygr_policy_error(lexer->diagnostics, (struct ygr_policy_place){(uint32_t)lexer->offset, 2},
				 "there is no such escape");
		ygr_policy_hint(lexer->diagnostics, "the escapes are \\\" \\\\ \\n \\t");
		lexer->offset++;
		return false;
	}
	*ret = to[at - from];
	lexer->offset += 2;
	return true;
}

static void lex_string(struct ygr_policy_lexer *lexer, struct ygr_policy_token *token)
{
	char text[YGR_POLICY_PATH_MAX + 1];
	size_t start = lexer->offset++, used = 0;
	bool good = true, cut = false;

	for (int c; (c = peek(lexer, 0)) != '"';) {
		size_t before = lexer->offset;
		char single = 0;
		if (c < 0 || c == '\n' || ygr_policy_errors_full(lexer->diagnostics)) {
			ygr_policy_error(lexer->diagnostics, place_from(lexer, start),
					 "the string does not end on its line");
			ygr_policy_hint(lexer->diagnostics, "put a closing \" behind it");
			good = false;
			break;
		}
		if (c == '\\')
			good &= escape(lexer, &single);
		else
			good &= step_over(lexer);
		size_t len = c == '\\' ? 1 : lexer->offset - before;
		if (used + len > YGR_POLICY_PATH_MAX) {
			cut = true;
			continue;
		}
		memcpy(text + used, c == '\\' ? &single : lexer->text + before, len);
		used += len;
	}
	if (peek(lexer, 0) == '"')
		lexer->offset++;
	token->place = place_from(lexer, start);
	if (cut)
		ygr_policy_error(lexer->diagnostics, token->place, "a string has at most %d bytes",
				 YGR_POLICY_PATH_MAX);
	token->kind = YGR_TOKEN_STRING;
	token->text = ygr_policy_arena_text(lexer->arena, text, used);
	token->length = used;
	token->bad = !good || cut;
}

/* Does an IPv6 address begin here, such as fe80::1 or ::1? Its first group may look like a word. */
static bool at_ipv6(const struct ygr_policy_lexer *lexer)
{
	size_t len = 0, colons = 0;
	for (int c; (c = peek(lexer, len)) == ':' || is_hex(c); len++)
		colons += c == ':';
	return colons >= 2 && !is_letter(peek(lexer, len));
}

static void lex_number(struct ygr_policy_lexer *lexer, struct ygr_policy_token *token)
{
	size_t start = lexer->offset;
	bool address = false;
	for (int c; (c = peek(lexer, 0)) >= 0; lexer->offset++) {
		if (!is_digit(c) && !is_letter(c) && c != '.' && c != '/' && c != ':')
			break;
		/* The colon that ends `within 60s:` is no part of it. */
		if (c == ':' && !is_hex(peek(lexer, 1)) && peek(lexer, 1) != ':' &&
		    (lexer->offset == start || lexer->text[lexer->offset - 1] != ':'))
			break;
		address |= c == '.' || c == '/' || c == ':';
	}
	token->kind = address ? YGR_TOKEN_ADDRESS : YGR_TOKEN_NUMBER;
	token->place = place_from(lexer, start);
}

static void lex_word(struct ygr_policy_lexer *lexer, struct ygr_policy_token *token)
{
	size_t start = lexer->offset;
	while (is_letter(peek(lexer, 0)) || is_digit(peek(lexer, 0)) ||
	       (peek(lexer, 0) == '-' && is_letter(peek(lexer, 1))))
		lexer->offset++;
	token->kind = YGR_TOKEN_WORD;
	token->place = place_from(lexer, start);
}

static void bad_character(struct ygr_policy_lexer *lexer)
{
	size_t start = lexer->offset;
	int c = peek(lexer, 0);
	if (c > 0x20 && c < 0x7f) {
		lexer->offset++;
		ygr_policy_error(lexer->diagnostics, place_from(lexer, start), "unexpected '%c'", c);
		if (c == ';')
			ygr_policy_hint(lexer->diagnostics, "a rule ends where the next one begins");
		else if (c == '\'')
			ygr_policy_hint(lexer->diagnostics, "strings are written in \"...\"");
		return;
	}
	if (step_over(lexer))
		ygr_policy_error(lexer->diagnostics, place_from(lexer, start),
				 "only strings and comments may have characters outside of ASCII");
}

struct ygr_policy_token ygr_policy_lex(struct ygr_policy_lexer *lexer)
{
	struct ygr_policy_token token = {.kind = YGR_TOKEN_END};

	for (;;) {
		skip_blank(lexer);
		token.place = (struct ygr_policy_place){(uint32_t)lexer->offset, 1};
		int c = peek(lexer, 0);
		if (c < 0 || ygr_policy_errors_full(lexer->diagnostics) ||
		    ygr_policy_arena_failed(lexer->arena) < 0)
			return (struct ygr_policy_token){.place = token.place, .text = ""};
		if (c == '"') {
			lex_string(lexer, &token);
			return token.text ? token
					  : (struct ygr_policy_token){.place = token.place, .text = ""};
		}
		if (is_digit(c) || at_ipv6(lexer)) {
			lex_number(lexer, &token);
		} else if (is_letter(c)) {
			lex_word(lexer, &token);
		} else if (c > 0 && strchr("{}(),:=-", c)) {
			lexer->offset++;
			token.kind = YGR_TOKEN_MARK;
		} else {
			bad_character(lexer);
			continue;
		}
		token.length = token.place.length;
		token.text =
		    ygr_policy_arena_text(lexer->arena, lexer->text + token.place.offset, token.length);
		return token.text ? token : (struct ygr_policy_token){.place = token.place, .text = ""};
	}
}
