/* See text.h. */
#include "lib/policy/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ygr_policy_put(struct ygr_policy_text *text, const char *format, ...)
{
	char small[256], *large = NULL;
	va_list args;

	if (text->failed < 0)
		return;
	va_start(args, format);
	int len = vsnprintf(small, sizeof(small), format, args);
	va_end(args);
	if (len >= (int)sizeof(small)) {
		va_start(args, format);
		len = vasprintf(&large, format, args);
		va_end(args);
		if (len < 0)
			large = NULL;
	}
	text->failed = len < 0 ? -ENOMEM : ygr_buf_append(text->out, large ? large : small, (size_t)len);
	free(large);
}

void ygr_policy_put_quoted(struct ygr_policy_text *text, const char *string)
{
	ygr_policy_put(text, "\"");
	while (*string && text->failed == 0) {
		size_t plain = strcspn(string, "\"\\\n\t");
		text->failed = ygr_buf_append(text->out, string, plain);
		string += plain;
		if (!*string)
			break;
		ygr_policy_put(text, "\\%c", *string == '\n' ? 'n' : *string == '\t' ? 't' : *string);
		string++;
	}
	ygr_policy_put(text, "\"");
}
