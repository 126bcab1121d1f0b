/* Bytes of unknown origin made into text that JSON, terminals and logs can take. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * Length of the valid UTF-8 sequence at S, of which LEFT bytes (at least one) are there; 0 when there is none
 * (RFC 3629: no overlong forms, no surrogates).
 */
size_t ygr_text_sequence(const unsigned char *s, size_t left);

/*
 * LEN bytes as valid UTF-8 (RFC 3629): what is not becomes U+FFFD, control characters a space; newline and
 * tab stay when MULTILINE. NUL-terminated, malloc'ed; NULL without memory.
 */
char *ygr_text_from_bytes(const void *bytes, size_t len, bool multiline);
