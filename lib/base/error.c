/* Error objects; see error.h. */
#include "lib/base/error.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/text.h"

/* What is no UTF-8, also where the bound has cut a character, would make a whole JSON document fail. */
static void make_printable(char *s)
{
	for (size_t left = strlen(s), n; left; s += n, left -= n) {
		n = ygr_text_sequence((unsigned char *)s, left);
		if (n == 0 || (unsigned char)*s < 0x20 || *s == 0x7f) {
			*s = '?';
			n = 1;
		}
	}
}

int ygr_error_set(struct ygr_error *error, int code, const char *format, ...)
{
	if (!error)
		return -code;

	va_list ap;
	va_start(ap, format);
	char message[YGR_ERROR_MESSAGE_MAX]; /* apart, since an argument may point into error->message */
	vsnprintf(message, sizeof(message), format, ap);
	va_end(ap);

	make_printable(message);
	error->code = code;
	memcpy(error->message, message, sizeof(message));
	return -code;
}

int ygr_error_prefix(struct ygr_error *error, const char *format, ...)
{
	if (!error)
		return -1;

	char prefix[YGR_ERROR_MESSAGE_MAX / 2];
	va_list ap;
	va_start(ap, format);
	vsnprintf(prefix, sizeof(prefix), format, ap);
	va_end(ap);

	return ygr_error_set(error, error->code, "%s: %s", prefix, error->message);
}
