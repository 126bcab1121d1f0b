/* The node's identity: a private key with its certificate; see keys.h. */
#include "lib/wire/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/wire/evp.h"
#include "lib/wire/signed.h"

#define KEY_FILE_MAX 4096 /* a PKCS#8 file of Ed25519 has 119 bytes */

struct ygr_identity {
	EVP_PKEY *key;
	struct ygr_cert cert;
};

/* An encrypted key shall be an error, not a question on the terminal. */
static int no_passphrase(char *buffer, int size, int writing, void *user)
{
	(void)buffer;
	(void)size;
	(void)writing;
	(void)user;
	return -1;
}

static int open_private(const char *path, int *ret_fd, struct ygr_error *error)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return ygr_error_set(error, errno, "cannot read '%s': %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return ygr_error_set(error, EPERM, "'%s' is not a regular file", path);
	if (st.st_mode & 077)
		return ygr_error_set(error, EPERM, "'%s' is open to others (mode %04o): chmod 600 it", path,
				     st.st_mode & 07777);
	*ret_fd = ygr_steal_fd(&fd);
	return 0;
}

int ygr_evp_read_key(const char *path, EVP_PKEY **ret_key, struct ygr_error *error)
{
	_cleanup_close_ int fd = -1;
	int r = open_private(path, &fd, error);
	if (r < 0)
		return r;

	char text[KEY_FILE_MAX];
	ssize_t n = read(fd, text, sizeof(text));
	if (n < 0)
		return ygr_error_set(error, errno, "cannot read '%s': %s", path, strerror(errno));
	_cleanup_bio_ BIO *bio = BIO_new_mem_buf(text, (int)n);
	_cleanup_pkey_ EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
	OPENSSL_cleanse(text, sizeof(text));
	if (!key || !EVP_PKEY_is_a(key, "ED25519"))
		return ygr_error_set(error, EPROTO, "'%s' is not an unencrypted Ed25519 key in PKCS#8 PEM",
				     path);
	*ret_key = ygr_steal_ptr(&key);
	return 0;
}

int ygr_evp_sign(EVP_PKEY *key, const void *message, uint64_t len, uint8_t ret_signature[64])
{
	_cleanup_md_ctx_ EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t signature[64];
	size_t size = sizeof(signature);
	if (!ctx || EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) != 1 ||
	    EVP_DigestSign(ctx, signature, &size, message, len) != 1 || size != sizeof(signature))
		return -EIO;
	memcpy(ret_signature, signature, sizeof(signature));
	return 0;
}

int ygr_identity_open(const char *key_path, const char *cert_path, struct ygr_identity **ret_identity,
		      struct ygr_error *error)
{
	_cleanup_pkey_ EVP_PKEY *key = NULL;
	int r = ygr_evp_read_key(key_path, &key, error);
	if (r < 0)
		return r;
	struct ygr_cert cert;
	r = ygr_keys_read_cert(cert_path, &cert, error);
	if (r < 0)
		return r;

	uint8_t public_key[32];
	size_t size = sizeof(public_key);
	if (EVP_PKEY_get_raw_public_key(key, public_key, &size) != 1 ||
	    memcmp(public_key, cert.public_key, sizeof(public_key)) != 0)
		return ygr_error_set(error, EKEYREJECTED, "'%s' is the certificate of another key than '%s'",
				     cert_path, key_path);

	struct ygr_identity *identity = malloc(sizeof(*identity));
	if (!identity)
		return ygr_error_set(error, ENOMEM, "out of memory");
	*identity = (struct ygr_identity){.key = ygr_steal_ptr(&key), .cert = cert};
	*ret_identity = identity;
	return 0;
}

struct ygr_identity *ygr_identity_free(struct ygr_identity *identity)
{
	if (!identity)
		return NULL;
	EVP_PKEY_free(identity->key);
	free(identity);
	return NULL;
}

const struct ygr_cert *ygr_identity_cert(const struct ygr_identity *identity)
{
	return &identity->cert;
}

int ygr_identity_sign(const struct ygr_identity *identity, const void *message, uint64_t len,
		      uint8_t ret_signature[64])
{
	return ygr_evp_sign(identity->key, message, len, ret_signature);
}

typedef int make_text(const void *data, size_t len, uint8_t **ret_text, size_t *ret_len);

static int sign_text(const struct ygr_identity *identity, uint32_t usage, const char *what,
		     make_text *text_of, const void *data, size_t len, uint8_t ret_signature[64],
		     struct ygr_error *error)
{
	if (!(identity->cert.usages & usage))
		return ygr_error_set(error, EACCES, "the certificate of '%s' does not allow signing %s",
				     identity->cert.name, what);
	_cleanup_free_ uint8_t *text = NULL;
	size_t text_len = 0;
	int r = text_of(data, len, &text, &text_len);
	if (r == 0)
		r = ygr_identity_sign(identity, text, text_len, ret_signature);
	return r < 0 ? ygr_error_set(error, -r, "cannot sign %s of %zu bytes: %s", what, len, strerror(-r))
		     : 0;
}

int ygr_grant_sign(const struct ygr_identity *identity, const void *json, size_t len,
		   uint8_t ret_signature[64], struct ygr_error *error)
{
	return sign_text(identity, YGR_USAGE_CATALOGUE, "grants", ygr_grant_text, json, len, ret_signature,
			 error);
}

int ygr_bundle_sign(const struct ygr_identity *identity, const void *bundle, size_t len,
		    uint8_t ret_signature[64], struct ygr_error *error)
{
	return sign_text(identity, YGR_USAGE_POLICY, "policies", ygr_bundle_text, bundle, len, ret_signature,
			 error);
}
