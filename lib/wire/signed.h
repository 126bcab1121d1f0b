/*
 * Grants as they are signed: a key with usage CATALOGUE signs "yagura-grant-v1\0" and the JSON text, byte
 * for byte. The text is checked before it is parsed, so the parser sees only what a catalogue key has
 * vouched for.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/wire/handshake.h"

#define YGR_GRANT_TEXT_MAX (256u << 10) /* bytes of JSON */

/*
 * The bytes that a grant's signature covers, in one allocation (caller frees): 0, -EMSGSIZE beyond
 * YGR_GRANT_TEXT_MAX, -ENOMEM.
 */
int ygr_grant_text(const void *json, size_t len, uint8_t **ret_text, size_t *ret_len);

/*
 * Was this JSON signed under ROOT? CERT must be valid at NOW (seconds since the epoch) with usage CATALOGUE,
 * and SIGNATURE be its key's: 0, errors as ygr_cert_check(), -EMSGSIZE, -ENOMEM. Whether the grant itself
 * has expired, and for which VM it is, stands in the JSON and is the caller's to check.
 */
int ygr_grant_verify(const struct ygr_cert *cert, const uint8_t signature[64], const void *json, size_t len,
		     const uint8_t root[32], int64_t now, const struct ygr_crypto *crypto,
		     struct ygr_error *error);
