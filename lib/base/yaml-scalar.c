/*
 * The core schema, by hand: a plain scalar is null, a boolean, an integer, a float or a string. Four
 * families mean different things to YAML 1.1 (what kubectl reads) and 1.2, and are refused instead of
 * guessed.
 */
#include "lib/base/yaml-scalar.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The three spellings that YAML knows for a word: lower, Title, UPPER. */
static bool is_word(const char *text, const char *word)
{
	if (strcasecmp(text, word) != 0)
		return false;
	bool upper_rest = isupper((unsigned char)text[1]);
	for (size_t i = 1; text[i]; i++)
		if (!!isupper((unsigned char)text[i]) != upper_rest)
			return false;
	return isupper((unsigned char)text[0]) || !upper_rest;
}

static bool is_integer(const char *text)
{
	text += *text == '-' || *text == '+';
	if (!*text)
		return false;
	return strspn(text, "0123456789") == strlen(text);
}

static bool is_float(const char *text)
{
	size_t digits = 0, n;

	text += *text == '-' || *text == '+';
	n = strspn(text, "0123456789");
	digits += n;
	text += n;
	if (*text == '.') {
		n = strspn(++text, "0123456789");
		digits += n;
		text += n;
	}
	if (!digits)
		return false;
	if (*text == 'e' || *text == 'E') {
		text++;
		text += *text == '-' || *text == '+';
		n = strspn(text, "0123456789");
		if (!n)
			return false;
		text += n;
	}
	return !*text;
}

static int plain_integer(const char *text, int base, json_t **ret_value, const char **ret_advice)
{
	errno = 0;
	long long value = strtoll(text, NULL, base);
	if (errno == ERANGE) {
		*ret_advice = "the number does not fit 64 bits; quote it if it is a string";
		return -EINVAL;
	}
	*ret_value = json_integer(value);
	return *ret_value ? 0 : -ENOMEM;
}

static const char *ambiguity(const char *text)
{
	static const char *const booleans[] = {"yes", "no", "on", "off"};
	static const char *const unreal[] = {".nan", ".inf", "-.inf", "+.inf"};

	for (size_t i = 0; i < sizeof(booleans) / sizeof(*booleans); i++)
		if (is_word(text, booleans[i]))
			return "some YAML readers take this word for a boolean; write true or false, or "
			       "quote it";
	for (size_t i = 0; i < sizeof(unreal) / sizeof(*unreal); i++)
		if (!strcasecmp(text, unreal[i]))
			return "not a number that JSON knows; quote it if it is a string";
	const char *digits = text + (*text == '-' || *text == '+');
	if (digits[0] == '0' && isdigit((unsigned char)digits[1]) && is_integer(text))
		return "some YAML readers take a leading zero for octal; drop the zero, or quote it";
	return NULL;
}

int ygr_yaml_plain(const char *text, size_t len, json_t **ret_value, const char **ret_advice)
{
	json_t *value;

	*ret_advice = ambiguity(text);
	if (*ret_advice)
		return -EINVAL;
	if (!len || !strcmp(text, "~") || is_word(text, "null"))
		value = json_null();
	else if (is_word(text, "true"))
		value = json_true();
	else if (is_word(text, "false"))
		value = json_false();
	else if (is_integer(text))
		return plain_integer(text, 10, ret_value, ret_advice);
	else if (text[0] == '0' && text[1] == 'x' && text[2] &&
		 strspn(text + 2, "0123456789abcdefABCDEF") == len - 2)
		return plain_integer(text, 16, ret_value, ret_advice);
	else if (is_float(text) && isfinite(strtod(text, NULL)))
		value = json_real(strtod(text, NULL));
	else
		value = json_stringn(text, len);
	if (!value)
		return -ENOMEM;
	*ret_value = value;
	return 0;
}
