/* Bytes of unknown origin made into text that JSON, terminals and logs can take. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * LEN bytes as valid UTF-8 (RFC 3629): what is not becomes U+FFFD, control characters a space; newline and
 * tab stay when MULTILINE. NUL-terminated, malloc'ed; NULL without memory.
 */
char *ygr_text_from_bytes(const void *bytes, size_t len, bool multiline);
