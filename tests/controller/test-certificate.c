/* The webhook's files: what is taken, and every way in which they can be wrong. */
#include "controller/certificate.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/cleanup.h"

static char folder[] = "/tmp/yagura-certificate.XXXXXX", cert[64], key[64], other[64];

static void write_pair(const char *cert_path, const char *key_path, long days)
{
	EVP_PKEY *pair = EVP_EC_gen("P-256");
	X509 *x509 = X509_new();

	assert_non_null(pair);
	ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
	X509_gmtime_adj(X509_getm_notBefore(x509), 0);
	X509_gmtime_adj(X509_getm_notAfter(x509), days * 86400);
	X509_set_pubkey(x509, pair);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC,
				   (const unsigned char *)"a", -1, -1, 0);
	X509_set_issuer_name(x509, X509_get_subject_name(x509));
	assert_true(X509_sign(x509, pair, EVP_sha256()) > 0);
	FILE *file = fopen(cert_path, "w");
	assert_int_equal(PEM_write_X509(file, x509), 1);
	fclose(file);
	file = fopen(key_path, "w");
	assert_int_equal(PEM_write_PrivateKey(file, pair, NULL, NULL, 0, NULL, NULL), 1);
	fclose(file);
	X509_free(x509);
	EVP_PKEY_free(pair);
}

static void write_text(const char *path, const char *text, size_t times)
{
	FILE *file = fopen(path, "w");

	for (size_t i = 0; i < times; i++)
		fputs(text, file);
	fclose(file);
}

static void refused(const char *cert_path, const char *key_path, int code, const char *words)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_certificate got;

	assert_int_equal(ygr_certificate_read(cert_path, key_path, &got, &error), -code);
	assert_non_null(strstr(error.message, words));
}

static void test_read(void **state)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_certificate first, again, second;

	(void)state;
	write_pair(cert, key, 3);
	assert_int_equal(ygr_certificate_read(cert, key, &first, &error), 0);
	assert_in_range(first.not_after - time(NULL), 3 * 86400 - 60, 3 * 86400 + 60);
	assert_int_equal(ygr_certificate_read(cert, key, &again, &error), 0);
	assert_true(ygr_certificate_equal(&first, &again));
	write_pair(cert, key, 3);
	assert_int_equal(ygr_certificate_read(cert, key, &second, &error), 0);
	assert_false(ygr_certificate_equal(&first, &second));
	ygr_certificate_deinit(&first);
	ygr_certificate_deinit(&again);
	ygr_certificate_deinit(&second);
}

static void test_wrong(void **state)
{
	(void)state;
	write_pair(cert, key, 3);
	refused("/nonexistent", key, ENOENT, "/nonexistent");
	refused(cert, "/nonexistent", ENOENT, "/nonexistent");
	refused(folder, key, EINVAL, "no regular file");
	refused(key, key, EINVAL, "no certificate");
	refused(cert, cert, EINVAL, "no unencrypted key");
	write_text(other, "nonsense\n", 3);
	refused(other, key, EINVAL, "no certificate");
	write_text(other, "nonsense\n", YGR_CERTIFICATE_MAX);
	refused(other, key, E2BIG, "64 KiB");
	write_text(other, "", 1);
	refused(other, key, EINVAL, "no certificate");
	/* Two generations, as a reader between two writes sees them. */
	write_pair(cert, other, 3);
	refused(cert, key, EINVAL, "not the key of");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_read), cmocka_unit_test(test_wrong)};

	if (!mkdtemp(folder))
		return 1;
	snprintf(cert, sizeof(cert), "%s/cert", folder);
	snprintf(key, sizeof(key), "%s/key", folder);
	snprintf(other, sizeof(other), "%s/other", folder);
	int r = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(cert);
	unlink(key);
	unlink(other);
	rmdir(folder);
	return r;
}
