/* Lower-case hexadecimal text for digests, keys and ids. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Writes 2 * LEN digits and a NUL to OUT. */
void ygr_hex_encode(const uint8_t *data, size_t len, char *out);

/* Reads exactly 2 * LEN digits of either case, then the end of TEXT: 0, or -EINVAL. */
int ygr_hex_decode(const char *text, uint8_t *out, size_t len);
