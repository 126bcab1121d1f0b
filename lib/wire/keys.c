/*
 * Key files; see keys.h. A public key or certificate is accepted only in the one base64 form that we write,
 * so that two different texts are never the same key.
 */
#include "lib/wire/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/base/cleanup.h"
#include "lib/wire/evp.h"

#define LINE_MAX_BYTES                                                                                      \
	(sizeof(struct ygr_cert) / 3 * 4 +                                                                  \
	 2) /* the longest line that a key file may hold                  \
					       */
#define DAY_SECONDS  86400
#define SKEW_SECONDS 3600 /* a guest's clock may be behind the node's */

_Static_assert(sizeof(struct ygr_cert) % 3 == 0, "no padding in a certificate's base64");

static int crypto_verify(const uint8_t key[32], const void *message, uint64_t len,
			 const uint8_t signature[64])
{
	_cleanup_pkey_ EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key, 32);
	_cleanup_md_ctx_ EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	if (!pkey || !ctx || EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) != 1)
		return -EKEYREJECTED;
	return EVP_DigestVerify(ctx, signature, 64, message, len) == 1 ? 0 : -EKEYREJECTED;
}

static int crypto_random(void *out, uint64_t len)
{
	return len <= INT_MAX && RAND_bytes(out, (int)len) == 1 ? 0 : -EIO;
}

const struct ygr_crypto ygr_crypto_openssl = {.verify = crypto_verify, .random = crypto_random};

/* Creates PATH, which must not exist, with LEN bytes. A file that could not be written whole is removed. */
static int create_file(const char *path, mode_t mode, const void *data, size_t len, struct ygr_error *error)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return ygr_error_set(error, errno, "cannot create '%s': %s", path, strerror(errno));
	ssize_t n = write(fd, data, len);
	if (n == (ssize_t)len && fsync(fd) == 0)
		return 0;

	int code = n < 0 || (size_t)n == len ? errno : ENOSPC;
	unlink(path);
	return ygr_error_set(error, code, "cannot write '%s': %s", path, strerror(code));
}

/* DATA (LEN bytes, at most a certificate) as base64 and a newline; returns its length. */
static size_t to_line(const void *data, size_t len, char line[LINE_MAX_BYTES])
{
	int n = EVP_EncodeBlock((unsigned char *)line, data, (int)len);
	line[n++] = '\n';
	line[n] = '\0';
	return (size_t)n;
}

/* Reads a file that is exactly the line which to_line() makes of SIZE bytes. */
static int read_line_file(const char *path, const char *what, void *out, size_t size,
			  struct ygr_error *error)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char text[LINE_MAX_BYTES + 1], again[LINE_MAX_BYTES + 1];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return ygr_error_set(error, errno, "cannot read '%s': %s", path, strerror(errno));

	text[n] = '\0';
	if (n && text[n - 1] == '\n')
		text[--n] = '\0';
	uint8_t data[LINE_MAX_BYTES];
	if ((size_t)n != (size + 2) / 3 * 4 ||
	    EVP_DecodeBlock(data, (const unsigned char *)text, (int)n) < (int)size)
		return ygr_error_set(error, EPROTO, "'%s' is not %s (one line of base64, %zu characters)",
				     path, what, (size + 2) / 3 * 4);
	size_t again_len = to_line(data, size, again) - 1;
	if (again_len != (size_t)n || memcmp(again, text, again_len) != 0)
		return ygr_error_set(error, EPROTO, "'%s' is not %s", path, what);
	memcpy(out, data, size);
	return 0;
}

/* KEY_PATH with .pub for .key, or .pub added. */
static char *public_path_of(const char *key_path)
{
	size_t len = strlen(key_path);
	if (len > 4 && strcmp(key_path + len - 4, ".key") == 0)
		len -= 4;
	char *path = NULL;
	return asprintf(&path, "%.*s.pub", (int)len, key_path) < 0 ? NULL : path;
}

int ygr_keys_generate(const char *key_path, struct ygr_error *error)
{
	_cleanup_free_ char *public_path = public_path_of(key_path);
	_cleanup_pkey_ EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	_cleanup_bio_ BIO *pem = BIO_new(BIO_s_secmem());
	uint8_t public_key[32];
	size_t public_size = sizeof(public_key);
	if (!public_path || !pkey || !pem ||
	    EVP_PKEY_get_raw_public_key(pkey, public_key, &public_size) != 1 ||
	    PEM_write_bio_PKCS8PrivateKey(pem, pkey, NULL, NULL, 0, NULL, NULL) != 1)
		return ygr_error_set(error, ENOMEM, "cannot make an Ed25519 key");

	char *text;
	long text_len = BIO_get_mem_data(pem, &text);
	int r = create_file(key_path, 0600, text, (size_t)text_len, error);
	if (r < 0)
		return r;

	char line[LINE_MAX_BYTES + 1];
	r = create_file(public_path, 0644, line, to_line(public_key, sizeof(public_key), line), error);
	if (r < 0)
		unlink(key_path); /* ours: it did not exist a moment ago */
	return r;
}

/* Replaces PATH in one step, so that a reader never meets half a certificate. */
static int replace_file(const char *path, const char *text, size_t len, struct ygr_error *error)
{
	_cleanup_free_ char *temporary = NULL;
	if (asprintf(&temporary, "%s.%d.tmp", path, getpid()) < 0)
		return ygr_error_set(error, ENOMEM, "out of memory");
	int r = create_file(temporary, 0644, text, len, error);
	if (r < 0)
		return r;
	if (rename(temporary, path) < 0) {
		r = ygr_error_set(error, errno, "cannot write '%s': %s", path, strerror(errno));
		unlink(temporary);
		return r;
	}
	return 0;
}

static int check_name(const char *name, struct ygr_error *error)
{
	size_t len = strlen(name);
	if (len == 0 || len >= sizeof(((struct ygr_cert *)0)->name))
		return ygr_error_set(error, EINVAL, "a certificate's name has 1 to 63 characters");
	for (const char *c = name; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			return ygr_error_set(error, EINVAL, "a certificate's name is printable ASCII");
	return 0;
}

int ygr_keys_certify(const char *root_key_path, const char *public_path, const char *name, uint32_t usages,
		     int days, const char *cert_path, struct ygr_error *error)
{
	int r = check_name(name, error);
	if (r < 0)
		return r;
	if (!usages || usages & ~(YGR_USAGE_NODE | YGR_USAGE_CATALOGUE | YGR_USAGE_POLICY))
		return ygr_error_set(error, EINVAL, "usages 0x%x: give node, catalogue or policy", usages);
	if (days < 1 || days > YGR_CERT_DAYS_MAX)
		return ygr_error_set(error, EINVAL, "%d days: a certificate is valid for 1 to %d", days,
				     YGR_CERT_DAYS_MAX);

	struct ygr_cert cert = {.magic = {'Y', 'G', 'R', 'C', 'E', 'R', 'T', '1'}, .usages = usages};
	r = ygr_keys_read_public(public_path, cert.public_key, error);
	if (r < 0)
		return r;
	int64_t now = time(NULL);
	cert.not_before = now - SKEW_SECONDS;
	cert.not_after = now + (int64_t)days * DAY_SECONDS;
	memcpy(cert.name, name, strlen(name));

	_cleanup_pkey_ EVP_PKEY *root = NULL;
	r = ygr_evp_read_key(root_key_path, &root, error);
	if (r < 0)
		return r;
	if (ygr_evp_sign(root, &cert, offsetof(struct ygr_cert, signature), cert.signature) < 0)
		return ygr_error_set(error, EIO, "cannot sign with '%s'", root_key_path);

	char line[LINE_MAX_BYTES + 1];
	return replace_file(cert_path, line, to_line(&cert, sizeof(cert), line), error);
}

int ygr_keys_read_public(const char *path, uint8_t ret_key[32], struct ygr_error *error)
{
	return read_line_file(path, "a public key", ret_key, 32, error);
}

int ygr_keys_read_cert(const char *path, struct ygr_cert *ret_cert, struct ygr_error *error)
{
	struct ygr_cert cert;
	int r = read_line_file(path, "a certificate", &cert, sizeof(cert), error);
	if (r < 0)
		return r;
	if (memcmp(cert.magic, "YGRCERT1", sizeof(cert.magic)) != 0 ||
	    !memchr(cert.name, '\0', sizeof(cert.name)))
		return ygr_error_set(error, EPROTO, "'%s' is not a certificate", path);
	*ret_cert = cert;
	return 0;
}
