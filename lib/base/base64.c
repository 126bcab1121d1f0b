/* See base64.h. */
#include "lib/base/base64.h"

#include <errno.h>
#include <stdlib.h>

static int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int ygr_base64_decode(const char *text, size_t len, uint8_t **ret_data, size_t *ret_len)
{
	uint8_t *data = malloc(len / 4 * 3 + 4);
	size_t at = 0, chars = 0, padding = 0;
	uint32_t group = 0;

	if (!data)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\n' || text[i] == '\r')
			continue;
		int value = value_of(text[i]);
		if (text[i] == '=' && chars % 4 >= 2 && padding < 2) {
			padding++;
			value = 0;
		} else if (value < 0 || padding) {
			free(data);
			return -EINVAL;
		}
		group = group << 6 | (uint32_t)value;
		if (++chars % 4)
			continue;
		data[at++] = (uint8_t)(group >> 16);
		data[at++] = (uint8_t)(group >> 8);
		data[at++] = (uint8_t)group;
	}
	if (chars % 4) {
		free(data);
		return -EINVAL;
	}
	at -= padding;
	data[at] = '\0';
	*ret_data = data;
	*ret_len = at;
	return 0;
}
