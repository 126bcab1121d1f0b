/*
 * Texts that are signed by a key whose certificate names a usage: grants (usage CATALOGUE) and policy bundles
 * (usage POLICY). The signature covers 16 bytes that say which of the two it is, "yagura-grant-v1\0" or
 * "yagura-bundle-1\0", and then the text byte for byte. The text is checked before it is parsed, so a parser
 * sees only what the key has vouched for.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/wire/handshake.h"

#define YGR_GRANT_TEXT_MAX (256u << 10) /* bytes of JSON */
#define YGR_BUNDLE_MAX     (16u << 20)  /* bytes of a policy bundle */

/*
 * The bytes that a grant's (a bundle's) signature covers, in one allocation (caller frees): 0, -EMSGSIZE
 * beyond the bound, -ENOMEM.
 */
int ygr_grant_text(const void *json, size_t len, uint8_t **ret_text, size_t *ret_len);
int ygr_bundle_text(const void *bundle, size_t len, uint8_t **ret_text, size_t *ret_len);

/*
 * Was this signed under ROOT? CERT must be valid at NOW (seconds since the epoch) with the usage, and
 * SIGNATURE be its key's: 0, errors as ygr_cert_check(), -EMSGSIZE, -ENOMEM. Whether the grant or bundle
 * itself has expired, and for which VM it is, stands in it and is the caller's to check.
 */
int ygr_grant_verify(const struct ygr_cert *cert, const uint8_t signature[64], const void *json, size_t len,
		     const uint8_t root[32], int64_t now, const struct ygr_crypto *crypto,
		     struct ygr_error *error);
int ygr_bundle_verify(const struct ygr_cert *cert, const uint8_t signature[64], const void *bundle,
		      size_t len, const uint8_t root[32], int64_t now, const struct ygr_crypto *crypto,
		      struct ygr_error *error);
