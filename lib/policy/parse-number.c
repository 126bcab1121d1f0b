/* Numbers with units: 3, 60s, 1mbit, 0644, 22:00. */
#include <stdlib.h>
#include <string.h>

#include "lib/policy/parser.h"

/* The digits at the start of TEXT and where they end; false when they overflow 2^62. */
static bool digits(const char *text, uint64_t *ret, const char **ret_rest)
{
	uint64_t value = 0;
	for (; *text >= '0' && *text <= '9'; text++) {
		if (value > (1ull << 62) / 10)
			return false;
		value = value * 10 + (uint64_t)(*text - '0');
	}
	*ret = value;
	*ret_rest = text;
	return true;
}

static bool number_with_unit(struct ygr_policy_parser *parser, const char *what, const char *const *units,
			     const uint64_t *factors, uint64_t max, uint64_t *ret)
{
	const char *rest;
	uint64_t value;
	if (parser->token.kind != YGR_TOKEN_NUMBER || !digits(parser->token.text, &value, &rest))
		return ygr_policy_expected(parser, what);
	for (size_t i = 0; units[i]; i++) {
		if (strcmp(rest, units[i]) != 0)
			continue;
		if (value == 0 || value > max / factors[i]) {
			ygr_policy_error(ygr_policy_said(parser), parser->token.place,
					 value ? "this is too much" : "this may not be 0");
			return false;
		}
		*ret = value * factors[i];
		ygr_policy_advance(parser);
		return true;
	}
	return ygr_policy_expected(parser, what);
}

bool ygr_policy_take_duration(struct ygr_policy_parser *parser, uint64_t *ret_ns)
{
	static const char *const units[] = {"ms", "s", "m", "h", "d", NULL};
	static const uint64_t factors[] = {1000000ull, 1000000000ull, 60000000000ull, 3600000000000ull,
					   86400000000000ull};
	return number_with_unit(parser, "a time such as 100ms, 60s, 10m, 2h or 7d", units, factors,
				366ull * 86400000000000ull, ret_ns);
}

bool ygr_policy_take_bits(struct ygr_policy_parser *parser, uint64_t *ret_bits_per_second)
{
	static const char *const units[] = {"kbit", "mbit", "gbit", NULL};
	static const uint64_t factors[] = {1000ull, 1000000ull, 1000000000ull};
	return number_with_unit(parser, "a rate such as 100kbit, 1mbit or 10gbit", units, factors,
				1000000000000ull, ret_bits_per_second);
}

bool ygr_policy_take_count(struct ygr_policy_parser *parser, uint64_t min, uint64_t max, const char *what,
			   uint64_t *ret)
{
	const char *rest;
	uint64_t value;
	if (parser->token.kind != YGR_TOKEN_NUMBER || !digits(parser->token.text, &value, &rest) || *rest)
		return ygr_policy_expected(parser, what);
	if (value < min || value > max) {
		ygr_policy_error(ygr_policy_said(parser), parser->token.place,
				 "this must be from %llu to %llu", (unsigned long long)min,
				 (unsigned long long)max);
		return false;
	}
	*ret = value;
	ygr_policy_advance(parser);
	return true;
}

bool ygr_policy_take_octal(struct ygr_policy_parser *parser, uint32_t *ret)
{
	const char *text = parser->token.text;
	if (parser->token.kind != YGR_TOKEN_NUMBER || text[0] != '0' || strlen(text) > 5 ||
	    text[strspn(text, "01234567")] != '\0' || strtoul(text, NULL, 8) == 0 ||
	    strtoul(text, NULL, 8) > 07777)
		return ygr_policy_expected(parser, "permission bits in octal, such as 06000");
	*ret = (uint32_t)strtoul(text, NULL, 8);
	ygr_policy_advance(parser);
	return true;
}

bool ygr_policy_take_minutes(struct ygr_policy_parser *parser, uint32_t *ret)
{
	const char *t = parser->token.text;
	if (parser->token.kind != YGR_TOKEN_ADDRESS || strlen(t) != 5 || t[2] != ':' ||
	    strspn(t, "0123456789") != 2 || strspn(t + 3, "0123456789") != 2 || atoi(t) > 23 ||
	    atoi(t + 3) > 59)
		return ygr_policy_expected(parser, "a time of day such as 08:30");
	*ret = (uint32_t)(atoi(t) * 60 + atoi(t + 3));
	ygr_policy_advance(parser);
	return true;
}
