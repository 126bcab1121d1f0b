/* See certificate.h. */
#include "controller/certificate.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

static int read_file(const char *path, char **ret, struct ygr_error *error)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return ygr_error_set(error, errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return ygr_error_set(error, EINVAL, "%s is no regular file", path);
	text = calloc(1, YGR_CERTIFICATE_MAX + 1);
	if (!text)
		return ygr_error_set(error, ENOMEM, "out of memory");
	while (len <= YGR_CERTIFICATE_MAX) {
		ssize_t n = read(fd, text + len, YGR_CERTIFICATE_MAX + 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ygr_error_set(error, errno, "%s: %s", path, strerror(errno));
		if (n == 0)
			break;
		len += (size_t)n;
	}
	if (len > YGR_CERTIFICATE_MAX)
		return ygr_error_set(error, E2BIG, "%s has more than %u KiB", path,
				     YGR_CERTIFICATE_MAX >> 10);
	text[len] = '\0';
	*ret = ygr_steal_ptr(&text);
	return 0;
}

static int refuse_password(char *out, int size, int writing, void *user)
{
	(void)out;
	(void)size;
	(void)writing;
	(void)user;
	return -1;
}

/* Whether KEY is CERT's, and until when CERT holds. */
static int check(const char *cert_path, const char *key_path, struct ygr_certificate *certificate,
		 struct ygr_error *error)
{
	BIO *cert_text = BIO_new_mem_buf(certificate->cert, -1),
	    *key_text = BIO_new_mem_buf(certificate->key, -1);
	X509 *cert = cert_text ? PEM_read_bio_X509(cert_text, NULL, refuse_password, NULL) : NULL;
	EVP_PKEY *key = key_text ? PEM_read_bio_PrivateKey(key_text, NULL, refuse_password, NULL) : NULL;
	struct tm end;
	int r = 0;

	if (!cert)
		r = ygr_error_set(error, EINVAL, "%s holds no certificate in PEM", cert_path);
	else if (!key)
		r = ygr_error_set(error, EINVAL, "%s holds no unencrypted key in PEM", key_path);
	else if (X509_check_private_key(cert, key) != 1)
		r = ygr_error_set(error, EINVAL, "%s is not the key of %s", key_path, cert_path);
	else if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &end) != 1)
		r = ygr_error_set(error, EINVAL, "%s ends at no time", cert_path);
	else
		certificate->not_after = timegm(&end);
	X509_free(cert);
	EVP_PKEY_free(key);
	BIO_free(cert_text);
	BIO_free(key_text);
	ERR_clear_error();
	return r;
}

int ygr_certificate_read(const char *cert_path, const char *key_path, struct ygr_certificate *ret,
			 struct ygr_error *error)
{
	struct ygr_certificate certificate = {0};
	int r = read_file(cert_path, &certificate.cert, error);

	if (r == 0)
		r = read_file(key_path, &certificate.key, error);
	if (r == 0)
		r = check(cert_path, key_path, &certificate, error);
	if (r < 0) {
		ygr_certificate_deinit(&certificate);
		return r;
	}
	*ret = certificate;
	return 0;
}

bool ygr_certificate_equal(const struct ygr_certificate *a, const struct ygr_certificate *b)
{
	return a->cert && b->cert && !strcmp(a->cert, b->cert) && !strcmp(a->key, b->key);
}

void ygr_certificate_deinit(struct ygr_certificate *certificate)
{
	free(certificate->cert);
	if (certificate->key)
		OPENSSL_cleanse(certificate->key, strlen(certificate->key));
	free(certificate->key);
	*certificate = (struct ygr_certificate){0};
}
