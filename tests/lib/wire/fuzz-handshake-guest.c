/*
 * Whatever a stranger sends, the guest's side of the handshake ends in an error. Its nonce is fixed here,
 * which is harder for the guest than the truth: the corpus knows a certificate of the root, but no signature
 * over this nonce.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/wire/keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int fixed_random(void *out, uint64_t len)
{
	memset(out, 0x5a, len);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* The private half signed the corpus' certificates and was thrown away. */
	static const uint8_t root[32] = {
	    0x4c, 0xde, 0xb6, 0x1b, 0xb1, 0x54, 0x90, 0xcf, 0x1c, 0x7c, 0x5c, 0x11, 0x2a, 0x9a, 0xae, 0xb8,
	    0x1f, 0x4c, 0x04, 0xc7, 0x1c, 0xc3, 0xc2, 0x71, 0x94, 0xbd, 0x13, 0x7b, 0xc3, 0x80, 0xd7, 0x05,
	};
	static const uint8_t boot_id[16] = "fixed boot id 12";
	struct ygr_crypto crypto = {.verify = ygr_crypto_openssl.verify, .random = fixed_random};

	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	(void)!send(pair[0], data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(pair[0], SHUT_WR);

	enum ygr_purpose purpose = 0;
	struct ygr_error error = YGR_ERROR_INIT;
	int r = ygr_handshake_guest(pair[1], root, boot_id, NULL, "{}", &crypto, 1000, &purpose, &error);
	if (r >= 0 || purpose != 0 || error.code != -r || !error.message[0])
		abort();
	close(pair[0]);
	close(pair[1]);
	return 0;
}
