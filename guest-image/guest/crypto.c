/* libsodium behind struct ygr_crypto; see crypto.h. */
#include "guest-image/guest/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

static int verify(const uint8_t key[32], const void *message, uint64_t len, const uint8_t signature[64])
{
	return crypto_sign_verify_detached(signature, message, len, key) == 0 ? 0 : -EKEYREJECTED;
}

static int random_bytes(void *out, uint64_t len)
{
	randombytes_buf(out, len);
	return 0;
}

const struct ygr_crypto ygr_crypto_sodium = {.verify = verify, .random = random_bytes};

int ygr_guest_crypto_init(void)
{
	return sodium_init() < 0 ? -EIO : 0;
}

int ygr_guest_root_read(const char *path, uint8_t ret_key[32], struct ygr_error *error)
{
	char text[128];
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return ygr_error_set(error, errno,
				     "%s: cannot be opened: %s (it holds the root public key, one "
				     "line of base64)",
				     path, strerror(errno));
	ssize_t n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return ygr_error_set(error, errno, "%s: cannot be read: %s", path, strerror(errno));

	uint8_t key[32];
	size_t len;
	if (sodium_base642bin(key, sizeof(key), text, (size_t)n, " \t\r\n", &len, NULL,
			      sodium_base64_VARIANT_ORIGINAL) != 0 ||
	    len != sizeof(key))
		return ygr_error_set(error, EINVAL,
				     "%s: expected an Ed25519 public key as one line of base64", path);
	memcpy(ret_key, key, sizeof(key));
	return 0;
}
