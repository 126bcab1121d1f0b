/*
 * Keys on the node, with OpenSSL. A private key is a PKCS#8 PEM file (mode 0600; `openssl pkey` reads it); a
 * public key or certificate is one line of base64 in a text file.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/wire/handshake.h"

#define YGR_CERT_DAYS_MAX 3660

extern const struct ygr_crypto ygr_crypto_openssl;

/* Makes an Ed25519 key pair: KEY_PATH (0600, never overwritten: -EEXIST) and KEY_PATH with .pub for .key. */
int ygr_keys_generate(const char *key_path, struct ygr_error *error);

/*
 * Signs a certificate for PUBLIC_PATH with ROOT_KEY_PATH and writes it to CERT_PATH, replacing it. DAYS (1 to
 * YGR_CERT_DAYS_MAX) from now; valid from an hour ago, since clocks differ. NAME: printable ASCII.
 */
int ygr_keys_certify(const char *root_key_path, const char *public_path, const char *name, uint32_t usages,
		     int days, const char *cert_path, struct ygr_error *error);

int ygr_keys_read_public(const char *path, uint8_t ret_key[32], struct ygr_error *error);
int ygr_keys_read_cert(const char *path, struct ygr_cert *ret_cert, struct ygr_error *error);

/* The node's key and certificate: fails clearly when they do not belong together or the mode is too open. */
int ygr_identity_open(const char *key_path, const char *cert_path, struct ygr_identity **ret_identity,
		      struct ygr_error *error);
struct ygr_identity *ygr_identity_free(struct ygr_identity *identity);
const struct ygr_cert *ygr_identity_cert(const struct ygr_identity *identity);

/* Signs; safe from several threads. */
int ygr_identity_sign(const struct ygr_identity *identity, const void *message, uint64_t len,
		      uint8_t ret_signature[64]);

/*
 * Signs a grant (LEN bytes of JSON, byte for byte as they will be sent) as signed.h says: 0, -EACCES when the
 * identity's certificate lacks usage CATALOGUE, -EMSGSIZE, -ENOMEM. Safe from several threads.
 */
int ygr_grant_sign(const struct ygr_identity *identity, const void *json, size_t len,
		   uint8_t ret_signature[64], struct ygr_error *error);
/* The same for a policy bundle, with usage POLICY. */
int ygr_bundle_sign(const struct ygr_identity *identity, const void *bundle, size_t len,
		    uint8_t ret_signature[64], struct ygr_error *error);
