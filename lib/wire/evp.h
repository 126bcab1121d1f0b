/* Ed25519 private keys with OpenSSL, shared by keys.c and identity.c; not for other rooms. */
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <stdint.h>

#include "lib/base/cleanup.h"
#include "lib/base/error.h"

static inline void ygr_pkey_freep(EVP_PKEY **p)
{
	EVP_PKEY_free(*p);
}

static inline void ygr_md_ctx_freep(EVP_MD_CTX **p)
{
	EVP_MD_CTX_free(*p);
}

static inline void ygr_bio_freep(BIO **p)
{
	BIO_free(*p);
}

#define _cleanup_pkey_   _cleanup_(ygr_pkey_freep)
#define _cleanup_md_ctx_ _cleanup_(ygr_md_ctx_freep)
#define _cleanup_bio_    _cleanup_(ygr_bio_freep)

/*
 * Reads the PKCS#8 file PATH: a regular file that only its owner can open (-EPERM otherwise), unencrypted,
 * Ed25519 (-EPROTO otherwise). The caller frees the key.
 */
int ygr_evp_read_key(const char *path, EVP_PKEY **ret_key, struct ygr_error *error);

/* Signs LEN bytes: 0 or -EIO. Threads may share KEY. */
int ygr_evp_sign(EVP_PKEY *key, const void *message, uint64_t len, uint8_t ret_signature[64]);
