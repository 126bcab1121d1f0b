/* Formatted text into a bounded buffer; failure is remembered, so that a printer may check once at the end. */
#pragma once

#include "lib/base/buf.h"

struct ygr_policy_text {
	struct ygr_buf *out;
	int failed; /* 0, -EMSGSIZE, -ENOMEM */
};

void ygr_policy_put(struct ygr_policy_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* STRING in quotes with the language's escapes, which are also JSON's. */
void ygr_policy_put_quoted(struct ygr_policy_text *text, const char *string);
