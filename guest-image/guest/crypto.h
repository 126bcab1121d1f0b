/* Ed25519 by libsodium, for lib/wire/handshake.h, and the owner's root key. */
#pragma once

#include <stdint.h>

#include "lib/base/error.h"
#include "lib/wire/handshake.h"

extern const struct ygr_crypto ygr_crypto_sodium;

/* Once, before anything else here: 0 or -EIO. */
int ygr_guest_crypto_init(void);

/* Reads a public key: one line of base64 (RFC 4648, padded) in the file PATH. */
int ygr_guest_root_read(const char *path, uint8_t ret_key[32], struct ygr_error *error);
