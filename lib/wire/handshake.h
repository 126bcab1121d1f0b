/*
 * Who speaks: the node proves to the guest, on every connection and before any other message, that it holds
 * a key which the owner's root certified. HELLO and CHALLENGE exchange nonces; AUTH signs both, the guest's
 * boot id, the purpose and the UUID of the VM that the node means (so that nothing can be replayed to
 * another boot, guest nonce or purpose, nor relayed by one guest to another that knows its UUID from the
 * firmware); WELCOME describes the guest. Being CID 2 proves nothing: any process of the node can open
 * AF_VSOCK. Ed25519 (RFC 8032): OpenSSL on the node, libsodium in the guest, behind struct ygr_crypto.
 */
#pragma once

#include <stdint.h>

#include "lib/base/error.h"
#include "lib/wire/message.h"

#define YGR_AUTH_TEXT_BYTES 128

struct ygr_crypto {
	/* 0, or -EKEYREJECTED when SIGNATURE is not KEY's over MESSAGE. */
	int (*verify)(const uint8_t key[32], const void *message, uint64_t len, const uint8_t signature[64]);
	int (*random)(void *out, uint64_t len);
};

/* The bytes that AUTH signs: "yagura-auth-v1" padded with NUL to 16, guest nonce, node nonce, boot id,
 * purpose, VM. */
uint32_t ygr_auth_text(const struct ygr_hello *hello, const struct ygr_challenge *challenge,
		       uint8_t out[YGR_AUTH_TEXT_BYTES]);

/*
 * A certificate under ROOT with all of USAGES, valid at NOW: 0, -EKEYREJECTED (signature), -EKEYEXPIRED
 * (time), -EACCES (usage), -EPROTO (malformed), with a sentence.
 */
int ygr_cert_check(const struct ygr_cert *cert, const uint8_t root[32], uint32_t usages, int64_t now,
		   const struct ygr_crypto *crypto, struct ygr_error *error);

/* The node's identity: opened from files by keys.h (node side only). */
struct ygr_identity;

/*
 * Node side, blocking with a deadline: on FD (connected), says HELLO for PURPOSE to the VM with the UUID VM
 * and authenticates. The guest's WELCOME document is returned as bytes (caller frees). -EACCES and friends
 * with the guest's own reason, or -ETIMEDOUT, -EPROTO, -ECONNRESET. For worker threads; the descriptor stays
 * the caller's.
 */
int ygr_handshake_node(int fd, enum ygr_purpose purpose, const uint8_t vm[16],
		       const struct ygr_identity *identity, int timeout_ms, char **ret_welcome,
		       struct ygr_error *error);

/*
 * Guest side, blocking with a deadline: challenges whoever connected, and refuses (-ENOTUNIQ) a node that
 * means another VM than VM, the guest's own UUID, which is NULL where the firmware has none. On success the
 * purpose is returned and WELCOME (LEN bytes) was sent. On failure the peer was told why (REFUSED).
 */
int ygr_handshake_guest(int fd, const uint8_t root[32], const uint8_t boot_id[16], const uint8_t *vm,
			const char *welcome, const struct ygr_crypto *crypto, int timeout_ms,
			enum ygr_purpose *ret_purpose, struct ygr_error *error);
