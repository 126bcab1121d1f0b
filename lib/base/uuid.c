/* UUIDs; see uuid.h. */
#include "lib/base/uuid.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "lib/base/hex.h"

int ygr_uuid_parse(const char *text, uint8_t ret_uuid[16])
{
	char digits[33];
	size_t n = 0;
	if (strlen(text) != YGR_UUID_TEXT_BYTES - 1)
		return -EINVAL;
	for (unsigned i = 0; i < YGR_UUID_TEXT_BYTES - 1; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		if (dash != (text[i] == '-'))
			return -EINVAL;
		if (!dash)
			digits[n++] = text[i];
	}
	digits[n] = '\0';
	return ygr_hex_decode(digits, ret_uuid, 16);
}
