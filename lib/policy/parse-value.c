/* Sets: exe "/bin/sh", { 10.0.0.0/8, ::1 }, file { under "/var", glob "*.so" }, port 1-1023, names. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/parser.h"

/* A type's word at the next token, taken. */
static enum ygr_policy_type take_type(struct ygr_policy_parser *parser)
{
	for (enum ygr_policy_type type = YGR_TYPE_EXE; type < YGR_TYPES; type++)
		if (type != YGR_TYPE_ADDRESS && ygr_policy_take_word(parser, ygr_policy_type_name(type)))
			return type;
	return YGR_TYPE_NONE;
}

static void clear_host_bits(uint8_t *address, size_t bytes, unsigned prefix)
{
	for (size_t i = 0; i < bytes; i++) {
		unsigned kept = prefix > i * 8 ? prefix - (unsigned)i * 8 : 0;
		if (kept < 8)
			address[i] &= (uint8_t)(0xff00 >> kept);
	}
}

static bool read_address(struct ygr_policy_parser *parser, struct ygr_policy_item *item)
{
	char host[64];
	const char *text = parser->token.text, *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	bool v6 = memchr(text, ':', len) != NULL;
	unsigned max = v6 ? 128 : 32;
	uint8_t before[16];

	if (len >= sizeof(host))
		return ygr_policy_expected(parser, "an address");
	memcpy(host, text, len);
	host[len] = '\0';
	item->kind = v6 ? YGR_ITEM_IPV6 : YGR_ITEM_IPV4;
	item->prefix = max;
	if (inet_pton(v6 ? AF_INET6 : AF_INET, host, item->address) != 1)
		return ygr_policy_expected(parser, "an address such as 10.0.0.0/8 or ::1");
	if (slash) {
		char *end;
		unsigned long prefix = strtoul(slash + 1, &end, 10);
		if (*end || end == slash + 1 || prefix > max)
			return ygr_policy_expected(parser,
						   v6 ? "a prefix up to /128" : "a prefix up to /32");
		item->prefix = (unsigned)prefix;
	}
	memcpy(before, item->address, sizeof(before));
	clear_host_bits(item->address, v6 ? 16 : 4, item->prefix);
	if (memcmp(before, item->address, sizeof(before)) != 0) {
		char clean[INET6_ADDRSTRLEN];
		inet_ntop(v6 ? AF_INET6 : AF_INET, item->address, clean, sizeof(clean));
		ygr_policy_warning(ygr_policy_said(parser), parser->token.place,
				   "the address has bits behind its prefix; %s/%u is meant", clean,
				   item->prefix);
	}
	ygr_policy_advance(parser);
	return true;
}

/* Absolute, no empty, "." or ".." component. A slash at the end only where a directory is meant. */
static bool check_path(struct ygr_policy_parser *parser, struct ygr_policy_item *item)
{
	const char *text = item->text;
	if (strlen(text) != item->length || text[0] != '/') {
		ygr_policy_error(ygr_policy_said(parser), item->place, "a path begins with \"/\"");
		return false;
	}
	bool bad = strstr(text, "//") || strstr(text, "/./") || strstr(text, "/../");
	size_t len = item->length;
	bad |= len >= 2 && strcmp(text + len - 2, "/.") == 0;
	bad |= len >= 3 && strcmp(text + len - 3, "/..") == 0;
	if (bad) {
		ygr_policy_error(ygr_policy_said(parser), item->place,
				 "a path may not have \"//\", \"/.\" or \"/..\" in it");
		return false;
	}
	if (text[len - 1] != '/' || len == 1 || item->kind == YGR_ITEM_UNDER)
		return true;
	ygr_policy_error(ygr_policy_said(parser), item->place, "this names a directory");
	ygr_policy_hint(ygr_policy_said(parser), "write under \"...\" for what is in it");
	return false;
}

static bool check_glob(struct ygr_policy_parser *parser, struct ygr_policy_item *item)
{
	const char *star = strchr(item->text, '*');
	if (strchr(item->text, '/') || !star || strchr(star + 1, '*') ||
	    strlen(item->text) != item->length || item->length >= YGR_POLICY_WORD_MAX) {
		ygr_policy_error(ygr_policy_said(parser), item->place,
				 "a glob is a name with one \"*\" and without \"/\", such as \"*.php\"");
		ygr_policy_hint(ygr_policy_said(parser), "for all files of a directory write under \"...\"");
		return false;
	}
	return true;
}

static bool read_string(struct ygr_policy_parser *parser, struct ygr_policy_item *item)
{
	bool bad = parser->token.bad;
	item->place = parser->token.place;
	item->text = parser->token.text;
	item->length = parser->token.length;
	ygr_policy_advance(parser);
	if (bad)
		return false;
	if (item->kind == YGR_ITEM_UNDER && item->length > 0 && item->text[item->length - 1] == '/' &&
	    check_path(parser, item)) {
		item->text = ygr_policy_arena_text(parser->lexer.arena, item->text, --item->length);
		return item->text != NULL;
	}
	return item->kind == YGR_ITEM_GLOB ? check_glob(parser, item) : check_path(parser, item);
}

static bool read_range(struct ygr_policy_parser *parser, struct ygr_policy_item *item)
{
	item->kind = YGR_ITEM_RANGE;
	if (!ygr_policy_take_count(parser, 0, UINT32_MAX, "a number", &item->low))
		return false;
	item->high = item->low;
	if (!ygr_policy_take_mark(parser, '-'))
		return true;
	struct ygr_policy_place place = parser->token.place;
	if (!ygr_policy_take_count(parser, 0, UINT32_MAX, "a number behind \"-\"", &item->high))
		return false;
	item->place = ygr_policy_span(item->place, place);
	if (item->high >= item->low)
		return true;
	ygr_policy_error(ygr_policy_said(parser), item->place,
			 "the range is empty: it ends before it begins");
	return false;
}

static struct ygr_policy_item *take_item(struct ygr_policy_parser *parser, const char *what)
{
	struct ygr_policy_item *item = ygr_policy_new(parser, sizeof(*item));
	bool good;

	if (!item)
		return NULL;
	item->place = parser->token.place;
	if (ygr_policy_at_word(parser, "under") || ygr_policy_at_word(parser, "glob")) {
		item->kind = ygr_policy_at_word(parser, "under") ? YGR_ITEM_UNDER : YGR_ITEM_GLOB;
		ygr_policy_advance(parser);
		good = parser->token.kind == YGR_TOKEN_STRING ? read_string(parser, item)
							      : ygr_policy_expected(parser, "a string");
	} else if (parser->token.kind == YGR_TOKEN_STRING) {
		good = read_string(parser, item);
	} else if (parser->token.kind == YGR_TOKEN_ADDRESS) {
		good = read_address(parser, item);
	} else if (parser->token.kind == YGR_TOKEN_NUMBER) {
		good = read_range(parser, item);
	} else {
		item->kind = YGR_ITEM_WORD;
		item->text = ygr_policy_take_name(parser, what, &item->place);
		good = item->text != NULL;
	}
	return good ? item : NULL;
}

static bool take_items(struct ygr_policy_parser *parser, struct ygr_policy_value *value)
{
	struct ygr_policy_item **end = &value->items;
	do {
		if (value->items && ygr_policy_at_mark(parser, '}'))
			break; /* a comma behind the last one is fine */
		*end = take_item(parser, "a member of the set");
		if (!*end)
			return false;
		end = &(*end)->next;
	} while (ygr_policy_take_mark(parser, ','));
	value->place = ygr_policy_span(value->place, parser->token.place);
	return ygr_policy_expect_mark(parser, '}', "\",\" or \"}\"");
}

struct ygr_policy_value *ygr_policy_take_typed(struct ygr_policy_parser *parser, enum ygr_policy_type type)
{
	struct ygr_policy_value *value = ygr_policy_new(parser, sizeof(*value));
	if (!value)
		return NULL;
	value->place = parser->token.place;
	value->type = type;
	value->explicit_type = type != YGR_TYPE_NONE;
	if (ygr_policy_take_mark(parser, '{')) {
		if (ygr_policy_at_mark(parser, '}')) {
			ygr_policy_expected(parser, "a member: an empty set never matches");
			return NULL;
		}
		return take_items(parser, value) ? value : NULL;
	}
	value->items = take_item(parser, "a set");
	if (!value->items)
		return NULL;
	value->place = ygr_policy_span(value->place, value->items->place);
	return value;
}

struct ygr_policy_value *ygr_policy_take_value(struct ygr_policy_parser *parser)
{
	struct ygr_policy_place place = parser->token.place;
	struct ygr_policy_value *value = ygr_policy_take_typed(parser, take_type(parser));
	if (value)
		value->place = ygr_policy_span(place, value->place);
	return value;
}
