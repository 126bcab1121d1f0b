/* Exact: the number is held in thousandths as a 128-bit integer until it is known to fit. */
#include "lib/api/quantity.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *suffix;
	int64_t milli; /* thousandths in one */
} suffixes[] = {
    {"", 1000},           {"m", 1},
    {"k", 1000000},       {"M", 1000000000},
    {"G", 1000000000000}, {"T", 1000000000000000},
    {"Ki", 1000LL << 10}, {"Mi", 1000LL << 20},
    {"Gi", 1000LL << 30}, {"Ti", 1000LL << 40},
};

int ygr_quantity_parse(const char *text, int64_t *ret_milli)
{
	size_t whole = strspn(text, "0123456789"), decimals = 0;
	__int128 value = 0;

	if (whole < 1 || whole > 12)
		return -EINVAL;
	for (size_t i = 0; i < whole; i++)
		value = value * 10 + (text[i] - '0');
	text += whole;
	if (*text == '.') {
		decimals = strspn(++text, "0123456789");
		if (decimals < 1 || decimals > 3)
			return -EINVAL;
	}
	for (size_t i = 0; i < 3; i++)
		value = value * 10 + (i < decimals ? text[i] - '0' : 0);
	text += decimals;
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
		if (strcmp(text, suffixes[i].suffix) != 0)
			continue;
		value = (value * suffixes[i].milli + 999) / 1000; /* a tenth of a milli counts as one */
		if (value > INT64_MAX)
			return -ERANGE;
		*ret_milli = (int64_t)value;
		return 0;
	}
	return -EINVAL;
}

static int decode(const struct ygr_field *field, int64_t *ret_milli, struct ygr_error *error)
{
	char number[32];
	const char *text = json_string_value(field->value);

	if (json_is_integer(field->value)) {
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(field->value));
		text = number;
	}
	if (!text || ygr_quantity_parse(text, ret_milli) < 0 || *ret_milli == 0)
		return ygr_field_expected(field, error, "a quantity above zero such as 64Mi, 1.5G or 200m");
	return 0;
}

int ygr_quantity_decode(const struct ygr_field *field, uint64_t *ret_units, struct ygr_error *error)
{
	int64_t milli;
	int r = decode(field, &milli, error);

	if (r == 0)
		*ret_units = ((uint64_t)milli + 999) / 1000;
	return r;
}

int ygr_quantity_decode_milli(const struct ygr_field *field, uint32_t *ret_milli, struct ygr_error *error)
{
	int64_t milli;
	int r = decode(field, &milli, error);

	if (r < 0)
		return r;
	if (milli > UINT32_MAX)
		return ygr_field_expected(field, error, "at most 4294967 CPUs");
	*ret_milli = (uint32_t)milli;
	return 0;
}
