/* Key files: what OpenSSL's own tool says of them, who may read them, and what is no key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/hex.h"
#include "lib/wire/signed.h"
#include "tests/lib/wire/identity-fixture.h"

static struct fixture fixture;
static struct ygr_error error;

__attribute__((format(printf, 1, 2))) static int run(const char *format, ...)
{
	char command[512];
	va_list ap;
	va_start(ap, format);
	vsnprintf(command, sizeof(command), format, ap);
	va_end(ap);
	return system(command);
}

static void write_file(const char *name, const void *data, size_t len)
{
	FILE *file = fopen(fixture_path(&fixture, name), "w");
	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
}

/* RFC 8032, 7.1, test 2; then one bit off in each part. */
static void test_rfc8032(void **state)
{
	(void)state;
	uint8_t key[32], signature[64], message = 0x72;
	assert_int_equal(
	    ygr_hex_decode("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", key, 32), 0);
	assert_int_equal(ygr_hex_decode("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
					"085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
					signature, 64),
			 0);
	assert_int_equal(ygr_crypto_openssl.verify(key, &message, 1, signature), 0);
	message ^= 1;
	assert_int_equal(ygr_crypto_openssl.verify(key, &message, 1, signature), -EKEYREJECTED);
	message ^= 1;
	signature[63] ^= 0x10;
	assert_int_equal(ygr_crypto_openssl.verify(key, &message, 1, signature), -EKEYREJECTED);
	signature[63] ^= 0x10;
	key[0] ^= 1;
	assert_int_equal(ygr_crypto_openssl.verify(key, &message, 1, signature), -EKEYREJECTED);
}

static void test_openssl_reads(void **state)
{
	(void)state;
	/* The raw public key is the last 32 bytes of what openssl derives from the private key file. */
	assert_int_equal(
	    run("test \"$(openssl pkey -in %s/node.key -pubout -outform DER | tail -c 32 | base64)\" = "
		"\"$(cat %s/node.pub)\"",
		fixture.dir, fixture.dir),
	    0);
	assert_int_equal(
	    run("openssl genpkey -algorithm ed25519 -out %s/made.key && chmod 600 %s/made.key && "
		"openssl pkey -in %s/made.key -pubout -outform DER | tail -c 32 | base64 > %s/made.pub",
		fixture.dir, fixture.dir, fixture.dir, fixture.dir),
	    0);
	fixture_certify(&fixture, "root.key", "made.pub", YGR_USAGE_NODE, "made.cert");
	ygr_identity_free(fixture_identity(&fixture, "made.key", "made.cert"));
}

/* What we sign, the tool verifies. */
static void test_openssl_verifies(void **state)
{
	(void)state;
	struct ygr_identity *identity = fixture_identity(&fixture, "node.key", "node.cert");
	uint8_t signature[64];
	assert_int_equal(ygr_identity_sign(identity, "words", 5, signature), 0);
	write_file("words", "words", 5);
	write_file("signature", signature, sizeof(signature));
	assert_int_equal(
	    run("openssl pkeyutl -verify -inkey %s/node.key -rawin -in %s/words -sigfile %s/signature "
		"> /dev/null",
		fixture.dir, fixture.dir, fixture.dir),
	    0);
	ygr_identity_free(identity);
}

/* What the node signs with OpenSSL, the guest verifies with libsodium, and takes nothing that OpenSSL would
 * not. */
static void test_sodium_agrees(void **state)
{
	(void)state;
	struct ygr_identity *identity = fixture_identity(&fixture, "node.key", "node.cert");
	const uint8_t *key = ygr_identity_cert(identity)->public_key;
	uint8_t message[100];
	for (uint8_t i = 0; i < 50; i++) {
		uint8_t signature[64];
		memset(message, i, sizeof(message));
		assert_int_equal(ygr_identity_sign(identity, message, 2u * i, signature), 0);
		assert_int_equal(crypto_sign_verify_detached(signature, message, 2ull * i, key), 0);
		signature[i] ^= 1;
		assert_int_equal(crypto_sign_verify_detached(signature, message, 2ull * i, key), -1);
		assert_int_equal(ygr_crypto_openssl.verify(key, message, 2u * i, signature), -EKEYREJECTED);
	}
	ygr_identity_free(identity);
}

static void test_generate(void **state)
{
	(void)state;
	struct stat st;
	assert_int_equal(stat(fixture_path(&fixture, "node.key"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(ygr_keys_generate(fixture_path(&fixture, "node.key"), &error), -EEXIST);

	write_file("half.pub", "x", 1); /* the public half is there: neither is touched, none is left */
	assert_int_equal(ygr_keys_generate(fixture_path(&fixture, "half.key"), &error), -EEXIST);
	assert_int_equal(access(fixture_path(&fixture, "half.key"), F_OK), -1);
	assert_int_equal(ygr_keys_generate(fixture_path(&fixture, "no/where.key"), &error), -ENOENT);
	assert_int_equal(ygr_keys_generate(fixture_path(&fixture, "plain"), &error), 0);
	assert_int_equal(access(fixture_path(&fixture, "plain.pub"), R_OK), 0);
	assert_int_equal(symlink("/nowhere", fixture_path(&fixture, "link.key")), 0);
	assert_int_equal(ygr_keys_generate(fixture_path(&fixture, "link.key"), &error), -EEXIST);
}

static void test_modes(void **state)
{
	(void)state;
	static const mode_t open_modes[] = {0640, 0604, 0660, 0601, 0644};
	struct ygr_identity *identity = NULL;
	char key[128];
	snprintf(key, sizeof(key), "%s", fixture_path(&fixture, "node.key"));
	for (size_t i = 0; i < sizeof(open_modes) / sizeof(open_modes[0]); i++) {
		chmod(key, open_modes[i]);
		assert_int_equal(
		    ygr_identity_open(key, fixture_path(&fixture, "node.cert"), &identity, &error), -EPERM);
		assert_non_null(strstr(error.message, "chmod 600"));
	}
	chmod(key, 0400);
	assert_int_equal(ygr_identity_open(key, fixture_path(&fixture, "node.cert"), &identity, &error), 0);
	ygr_identity_free(identity);
	chmod(key, 0600);
	assert_int_equal(
	    ygr_identity_open(fixture.dir, fixture_path(&fixture, "node.cert"), &identity, &error), -EPERM);
}

static int open_key(const char *key, const char *cert)
{
	struct ygr_identity *identity = NULL;
	error = YGR_ERROR_INIT;
	int r =
	    ygr_identity_open(fixture_path(&fixture, key), fixture_path(&fixture, cert), &identity, &error);
	ygr_identity_free(identity);
	return r;
}

static void test_wrong_keys(void **state)
{
	(void)state;
	assert_int_equal(open_key("root.key", "node.cert"), -EKEYREJECTED);
	assert_non_null(strstr(error.message, "certificate of another key"));
	assert_int_equal(open_key("none.key", "node.cert"), -ENOENT);
	write_file("garbage.key", "-----BEGIN PRIVATE KEY-----\nnonsense\n", 36);
	chmod(fixture_path(&fixture, "garbage.key"), 0600);
	assert_int_equal(open_key("garbage.key", "node.cert"), -EPROTO);
	assert_int_equal(run("openssl genpkey -algorithm X25519 -out %s/x.key; chmod 600 %s/x.key",
			     fixture.dir, fixture.dir),
			 0);
	assert_int_equal(open_key("x.key", "node.cert"), -EPROTO);
	/* An encrypted key is an error, never a question on the terminal. */
	assert_int_equal(run("openssl pkey -in %s/node.key -aes256 -passout pass:x -out %s/locked.key; "
			     "chmod 600 %s/locked.key",
			     fixture.dir, fixture.dir, fixture.dir),
			 0);
	assert_int_equal(open_key("locked.key", "node.cert"), -EPROTO);
}

static void test_wrong_lines(void **state)
{
	(void)state;
	static const char *const bad[] = {
	    "",
	    "\n",
	    "AAAA\n",
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA!\n",
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\n", /* stray bits in the last character */
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n", /* 33 bytes */
	    " AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n",
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= comment\n",
	};
	uint8_t key[32];
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		write_file("bad.pub", bad[i], strlen(bad[i]));
		if (ygr_keys_read_public(fixture_path(&fixture, "bad.pub"), key, &error) != -EPROTO)
			fail_msg("accepted: %s", bad[i]);
	}
	write_file("good.pub",
		   "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 44); /* no newline at the end */
	assert_int_equal(ygr_keys_read_public(fixture_path(&fixture, "good.pub"), key, &error), 0);
	struct ygr_cert cert;
	assert_int_equal(ygr_keys_read_cert(fixture_path(&fixture, "node.pub"), &cert, &error), -EPROTO);
	assert_int_equal(ygr_keys_read_public(fixture_path(&fixture, "node.cert"), key, &error), -EPROTO);
}

static int certify(const char *name, uint32_t usages, int days)
{
	return ygr_keys_certify(fixture_path(&fixture, "root.key"), fixture_path(&fixture, "node.pub"), name,
				usages, days, fixture_path(&fixture, "try.cert"), &error);
}

static void test_certify(void **state)
{
	(void)state;
	char name[65];
	memset(name, 'n', 64);
	name[64] = '\0';
	assert_int_equal(certify("", YGR_USAGE_NODE, 1), -EINVAL);
	assert_int_equal(certify(name, YGR_USAGE_NODE, 1), -EINVAL);
	assert_int_equal(certify("a\nb", YGR_USAGE_NODE, 1), -EINVAL);
	assert_int_equal(certify("a", 0, 1), -EINVAL);
	assert_int_equal(certify("a", 8, 1), -EINVAL);
	assert_int_equal(certify("a", YGR_USAGE_NODE, 0), -EINVAL);
	assert_int_equal(certify("a", YGR_USAGE_NODE, YGR_CERT_DAYS_MAX + 1), -EINVAL);
	assert_int_equal(access(fixture_path(&fixture, "try.cert"), F_OK), -1);

	name[63] = '\0';
	assert_int_equal(certify(name, YGR_USAGE_NODE, 1), 0);
	assert_int_equal(certify("second", YGR_USAGE_POLICY, 2), 0); /* renewed in place */
	struct ygr_cert cert;
	assert_int_equal(ygr_keys_read_cert(fixture_path(&fixture, "try.cert"), &cert, &error), 0);
	assert_string_equal(cert.name, "second");
	assert_int_equal(cert.usages, YGR_USAGE_POLICY);
	int64_t now = time(NULL);
	assert_in_range(cert.not_after - now, 2 * 86400 - 60, 2 * 86400);
	assert_in_range(now - cert.not_before, 3600, 3660);
	assert_int_equal(
	    ygr_cert_check(&cert, fixture.root, YGR_USAGE_POLICY, now, &ygr_crypto_openssl, &error), 0);
	assert_int_equal(run("ls %s/*.tmp 2> /dev/null", fixture.dir) != 0, 1);
}

static void *sign_often(void *user)
{
	const struct ygr_identity *identity = user;
	uintptr_t wrong = 0;
	for (uint32_t i = 0; i < 200; i++) {
		uint8_t signature[64];
		if (ygr_identity_sign(identity, &i, sizeof(i), signature) < 0 ||
		    ygr_crypto_openssl.verify(ygr_identity_cert(identity)->public_key, &i, sizeof(i),
					      signature) < 0)
			wrong++;
	}
	return (void *)wrong;
}

static void test_threads_share_an_identity(void **state)
{
	(void)state;
	struct ygr_identity *identity = fixture_identity(&fixture, "node.key", "node.cert");
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, sign_often, identity), 0);
	for (int i = 0; i < 4; i++) {
		void *wrong;
		pthread_join(threads[i], &wrong);
		assert_null(wrong);
	}
	ygr_identity_free(identity);
}

/* Grants and bundles are signed by keys with other usages, and neither signature is good for the other. */
static void test_sign_bundle(void **state)
{
	(void)state;
	static const char text[] = "{\"as\": \"bytes\"}";
	uint8_t signature[64];
	int64_t now = time(NULL);
	struct ygr_identity *node = fixture_identity(&fixture, "node.key", "node.cert");
	assert_int_equal(ygr_bundle_sign(node, text, sizeof(text), signature, &error), -EACCES);
	fixture_certify(&fixture, "root.key", "node.pub", YGR_USAGE_CATALOGUE | YGR_USAGE_POLICY,
			"all.cert");
	struct ygr_identity *all = fixture_identity(&fixture, "node.key", "all.cert");
	const struct ygr_cert *cert = ygr_identity_cert(all);

	assert_int_equal(ygr_bundle_sign(all, text, sizeof(text), signature, &error), 0);
	assert_int_equal(ygr_bundle_verify(cert, signature, text, sizeof(text), fixture.root, now,
					   &ygr_crypto_openssl, &error),
			 0);
	assert_int_equal(ygr_bundle_verify(cert, signature, text, sizeof(text) - 1, fixture.root, now,
					   &ygr_crypto_openssl, &error),
			 -EKEYREJECTED);
	assert_int_equal(ygr_grant_verify(cert, signature, text, sizeof(text), fixture.root, now,
					  &ygr_crypto_openssl, &error),
			 -EKEYREJECTED);
	assert_int_equal(ygr_bundle_verify(ygr_identity_cert(node), signature, text, sizeof(text),
					   fixture.root, now, &ygr_crypto_openssl, &error),
			 -EACCES);
	assert_int_equal(ygr_bundle_verify(cert, signature, text, sizeof(text), fixture.root,
					   cert->not_after + 1, &ygr_crypto_openssl, &error),
			 -EKEYEXPIRED);
	assert_int_equal(ygr_bundle_sign(all, text, YGR_BUNDLE_MAX + 1, signature, &error), -EMSGSIZE);
	ygr_identity_free(all);
	ygr_identity_free(node);
}

static int setup(void **state)
{
	(void)state;
	fixture_init(&fixture);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fixture_deinit(&fixture);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rfc8032),          cmocka_unit_test(test_openssl_reads),
	    cmocka_unit_test(test_openssl_verifies), cmocka_unit_test(test_generate),
	    cmocka_unit_test(test_sodium_agrees),    cmocka_unit_test(test_modes),
	    cmocka_unit_test(test_wrong_keys),       cmocka_unit_test(test_wrong_lines),
	    cmocka_unit_test(test_certify),          cmocka_unit_test(test_threads_share_an_identity),
	    cmocka_unit_test(test_sign_bundle),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
