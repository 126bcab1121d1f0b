/* Both sides of the handshake over a socket pair, then every way in which a peer may not be what he says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/wire/deadline.h"
#include "lib/wire/evp.h"
#include "lib/wire/signed.h"
#include "lib/wire/transport.h"
#include "tests/lib/wire/identity-fixture.h"

#define TIMEOUT_MS 5000

static const uint8_t boot_id[16] = "boot id 01234567";
static const uint8_t vm[16] = {0x8f, 0x1b, [15] = 1};
static const char welcome[] = "{\"program\":\"yagura-guest 0.1.0\"}";
static struct fixture fixture;

/* The guest's side on a thread of its own, and how it went. */
struct guest {
	int fd;
	int timeout_ms;
	const uint8_t *root;
	pthread_t thread;
	int result;
	enum ygr_purpose purpose;
	struct ygr_error error;
};

static void *guest_main(void *user)
{
	struct guest *guest = user;
	guest->result =
	    ygr_handshake_guest(guest->fd, guest->root, boot_id, vm, welcome, &ygr_crypto_openssl,
				guest->timeout_ms, &guest->purpose, &guest->error);
	close(guest->fd);
	return NULL;
}

/* Starts a guest and returns the node's end of the connection. */
static int guest_start(struct guest *guest, int timeout_ms)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	*guest = (struct guest){.fd = pair[1], .timeout_ms = timeout_ms, .root = fixture.root};
	assert_int_equal(pthread_create(&guest->thread, NULL, guest_main, guest), 0);
	return pair[0];
}

static int guest_join(struct guest *guest, int fd)
{
	assert_int_equal(pthread_join(guest->thread, NULL), 0);
	close(fd);
	return guest->result;
}

static void test_good(void **state)
{
	(void)state;
	for (enum ygr_purpose purpose = YGR_PURPOSE_CONTROL; purpose <= YGR_PURPOSE_POLICY; purpose++) {
		struct ygr_identity *identity = fixture_identity(&fixture, "node.key", "node.cert");
		struct guest guest;
		int fd = guest_start(&guest, TIMEOUT_MS);
		struct ygr_error error = YGR_ERROR_INIT;
		char *text = NULL;
		assert_int_equal(ygr_handshake_node(fd, purpose, vm, identity, TIMEOUT_MS, &text, &error),
				 0);
		assert_string_equal(text, welcome);
		assert_int_equal(guest_join(&guest, fd), 0);
		assert_int_equal(guest.purpose, purpose);
		free(text);
		ygr_identity_free(identity);
	}
}

/* A whole handshake with KEY and CERT that must fail with CODE on both sides, the same words on both. */
static void refused_with(const char *key, const char *cert, int code, const char *words)
{
	struct ygr_identity *identity = fixture_identity(&fixture, key, cert);
	struct guest guest;
	int fd = guest_start(&guest, TIMEOUT_MS);
	struct ygr_error error = YGR_ERROR_INIT;
	char *text = NULL;
	assert_int_equal(
	    ygr_handshake_node(fd, YGR_PURPOSE_SESSION, vm, identity, TIMEOUT_MS, &text, &error), -code);
	assert_null(text);
	assert_int_equal(guest_join(&guest, fd), -code);
	assert_non_null(strstr(guest.error.message, words));
	assert_non_null(strstr(error.message, words));
	ygr_identity_free(identity);
}

static void test_unknown_root(void **state)
{
	(void)state;
	fixture_key(&fixture, "other-root.key");
	fixture_certify(&fixture, "other-root.key", "node.pub", YGR_USAGE_NODE, "foreign.cert");
	refused_with("node.key", "foreign.cert", EKEYREJECTED, "not signed by the owner's root");
}

static void test_wrong_usage(void **state)
{
	(void)state;
	fixture_certify(&fixture, "root.key", "node.pub", YGR_USAGE_CATALOGUE, "catalogue.cert");
	refused_with("node.key", "catalogue.cert", EACCES, "does not allow authenticating as a node");
}

/* A certificate for the node's key with other times, signed by the root as ygr_keys_certify() would. */
static struct ygr_cert cert_between(int64_t not_before, int64_t not_after)
{
	struct ygr_cert cert;
	assert_int_equal(ygr_keys_read_cert(fixture_path(&fixture, "node.cert"), &cert, NULL), 0);
	cert.not_before = not_before;
	cert.not_after = not_after;
	EVP_PKEY *root = NULL;
	assert_int_equal(ygr_evp_read_key(fixture_path(&fixture, "root.key"), &root, NULL), 0);
	assert_int_equal(ygr_evp_sign(root, &cert, offsetof(struct ygr_cert, signature), cert.signature), 0);
	EVP_PKEY_free(root);
	return cert;
}

static void test_cert_times(void **state)
{
	(void)state;
	struct ygr_cert cert = cert_between(1000, 2000);
	const struct ygr_crypto *crypto = &ygr_crypto_openssl;
	struct ygr_error error = YGR_ERROR_INIT;
	assert_int_equal(ygr_cert_check(&cert, fixture.root, YGR_USAGE_NODE, 1000, crypto, &error), 0);
	assert_int_equal(ygr_cert_check(&cert, fixture.root, YGR_USAGE_NODE, 2000, crypto, &error), 0);
	assert_int_equal(ygr_cert_check(&cert, fixture.root, YGR_USAGE_NODE, 999, crypto, &error),
			 -EKEYEXPIRED);
	assert_non_null(strstr(error.message, "valid only in 1 s"));
	assert_int_equal(ygr_cert_check(&cert, fixture.root, YGR_USAGE_NODE, 2001, crypto, &error),
			 -EKEYEXPIRED);
	assert_non_null(strstr(error.message, "expired 1 s ago"));
	cert = cert_between(INT64_MIN, 0);
	assert_int_equal(ygr_cert_check(&cert, fixture.root, 0, INT64_MAX, crypto, &error), -EKEYEXPIRED);
	cert = cert_between(INT64_MAX, INT64_MAX);
	assert_int_equal(ygr_cert_check(&cert, fixture.root, 0, INT64_MIN, crypto, &error), -EKEYEXPIRED);
}

static void test_cert_every_bit_counts(void **state)
{
	(void)state;
	struct ygr_cert good = cert_between(1000, 2000);
	for (size_t i = 0; i < sizeof(good); i++) {
		struct ygr_cert cert = good;
		((uint8_t *)&cert)[i] ^= 0x10;
		assert_true(ygr_cert_check(&cert, fixture.root, YGR_USAGE_NODE, 1500, &ygr_crypto_openssl,
					   NULL) < 0);
	}
}

/* Sends a frame of TYPE and receives one; the type of the answer. */
static uint16_t ask(int fd, uint16_t type, const void *payload, uint32_t len, void *answer, size_t size)
{
	if (type)
		assert_int_equal(ygr_frame_send(fd, type, 0, payload, len, TIMEOUT_MS), 0);
	struct ygr_frame frame;
	uint8_t *got = NULL;
	assert_int_equal(ygr_frame_receive(fd, 4096, TIMEOUT_MS, &frame, &got), 0);
	if (frame.length <= size)
		memcpy(answer, got, frame.length);
	free(got);
	return frame.type;
}

struct refusal {
	struct ygr_refused head;
	char text[512];
};

/* What of an honest AUTH is replaced before it is signed: as when it had been made for another connection.
 */
enum replay { REPLAY_NONE, REPLAY_GUEST_NONCE, REPLAY_NODE_NONCE, REPLAY_BOOT, REPLAY_PURPOSE, REPLAY_VM };

static int try_replay(enum replay what)
{
	struct ygr_identity *identity = fixture_identity(&fixture, "node.key", "node.cert");
	struct guest guest;
	int fd = guest_start(&guest, TIMEOUT_MS);
	struct ygr_hello hello = {.purpose = YGR_PURPOSE_SESSION, .node_nonce = {1, 2, 3}};
	memcpy(hello.vm, vm, sizeof(vm));
	struct ygr_challenge challenge;
	assert_int_equal(ask(fd, YGR_MSG_HELLO, &hello, sizeof(hello), &challenge, sizeof(challenge)),
			 YGR_MSG_CHALLENGE);

	challenge.guest_nonce[31] ^= what == REPLAY_GUEST_NONCE;
	challenge.boot_id[0] ^= what == REPLAY_BOOT;
	hello.node_nonce[0] ^= what == REPLAY_NODE_NONCE;
	hello.vm[15] ^= what == REPLAY_VM;
	hello.purpose = what == REPLAY_PURPOSE ? YGR_PURPOSE_CONTROL : hello.purpose;
	struct ygr_auth auth = {.cert = *ygr_identity_cert(identity)};
	uint8_t text[YGR_AUTH_TEXT_BYTES];
	uint32_t len = ygr_auth_text(&hello, &challenge, text);
	assert_int_equal(ygr_identity_sign(identity, text, len, auth.signature), 0);

	struct refusal refusal = {0};
	uint16_t type = ask(fd, YGR_MSG_AUTH, &auth, sizeof(auth), &refusal, sizeof(refusal));
	int r = guest_join(&guest, fd);
	assert_int_equal(type, r == 0 ? YGR_MSG_WELCOME : YGR_MSG_REFUSED);
	if (r < 0)
		assert_int_equal(refusal.head.code, -r);
	ygr_identity_free(identity);
	return r;
}

static void test_replay(void **state)
{
	(void)state;
	assert_int_equal(try_replay(REPLAY_NONE), 0); /* the hand-made AUTH is right but for what follows */
	assert_int_equal(try_replay(REPLAY_GUEST_NONCE), -EKEYREJECTED);
	assert_int_equal(try_replay(REPLAY_NODE_NONCE), -EKEYREJECTED);
	assert_int_equal(try_replay(REPLAY_BOOT), -EKEYREJECTED);
	assert_int_equal(try_replay(REPLAY_PURPOSE), -EKEYREJECTED);
	assert_int_equal(try_replay(REPLAY_VM), -EKEYREJECTED);
}

/* A node that means another VM is told so before anything of it is believed. */
static void test_another_vm(void **state)
{
	(void)state;
	static const uint8_t other[16] = {9};
	struct ygr_identity *identity = fixture_identity(&fixture, "node.key", "node.cert");
	struct guest guest;
	int fd = guest_start(&guest, TIMEOUT_MS);
	struct ygr_error error = YGR_ERROR_INIT;
	char *text = NULL;
	assert_int_equal(
	    ygr_handshake_node(fd, YGR_PURPOSE_CONTROL, other, identity, TIMEOUT_MS, &text, &error),
	    -ENOTUNIQ);
	assert_int_equal(guest_join(&guest, fd), -ENOTUNIQ);
	assert_non_null(strstr(error.message, "another VM"));
	ygr_identity_free(identity);
}

/* BYTES as the first thing the guest hears: its result; the refusal's code through ret_code. */
static int first_words(const void *bytes, size_t len, uint32_t *ret_code)
{
	struct guest guest;
	int fd = guest_start(&guest, 300);
	assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
	struct refusal refusal = {0};
	assert_int_equal(ask(fd, 0, NULL, 0, &refusal, sizeof(refusal)), YGR_MSG_REFUSED);
	*ret_code = refusal.head.code;
	return guest_join(&guest, fd);
}

static void test_garbage(void **state)
{
	(void)state;
	uint32_t code;
	assert_int_equal(first_words("GET / HTTP/1.1\r\n\r\n", 18, &code), -EPROTO);
	assert_int_equal(code, EPROTO);

	uint8_t frame[YGR_FRAME_HEADER + sizeof(struct ygr_hello)] = {0};
	ygr_frame_header(frame, YGR_MSG_CALL, 1, 0);
	assert_int_equal(first_words(frame, YGR_FRAME_HEADER, &code), -EPROTO);
	ygr_frame_header(frame, YGR_MSG_HELLO, 0, 4); /* too short */
	assert_int_equal(first_words(frame, YGR_FRAME_HEADER + 4, &code), -EPROTO);
	ygr_frame_header(frame, YGR_MSG_HELLO, 0, sizeof(struct ygr_hello)); /* purpose 0 */
	assert_int_equal(first_words(frame, sizeof(frame), &code), -EPROTO);
	frame[YGR_FRAME_HEADER] = YGR_PURPOSE_POLICY + 1;
	assert_int_equal(first_words(frame, sizeof(frame), &code), -EPROTO);
	frame[4] = 9; /* a version of the future */
	assert_int_equal(first_words(frame, sizeof(frame), &code), -EPROTONOSUPPORT);
	assert_int_equal(code, EPROTONOSUPPORT);
}

static void test_unauthenticated_bound(void **state)
{
	(void)state;
	uint32_t code;
	uint8_t header[YGR_FRAME_HEADER];
	ygr_frame_header(header, YGR_MSG_HELLO, 0, YGR_FRAME_MAX_HELLO + 1);
	assert_int_equal(first_words(header, sizeof(header), &code), -EMSGSIZE);
	assert_int_equal(code, EMSGSIZE);
	ygr_frame_header(header, YGR_MSG_HELLO, 0,
			 YGR_FRAME_MAX_HELLO); /* waits for the bytes, then gives up */
	assert_int_equal(first_words(header, sizeof(header), &code), -ETIMEDOUT);
}

static void test_silence(void **state)
{
	(void)state;
	int64_t start = ygr_monotonic_ms();
	struct guest guest;
	int fd = guest_start(&guest, 150);
	struct refusal refusal = {0};
	assert_int_equal(ask(fd, 0, NULL, 0, &refusal, sizeof(refusal)), YGR_MSG_REFUSED);
	assert_int_equal(guest_join(&guest, fd), -ETIMEDOUT);
	assert_int_equal(refusal.head.code, ETIMEDOUT);
	assert_in_range(ygr_monotonic_ms() - start, 140, 3000);
}

/* One byte every 20 ms never completes a frame in time, however long the stranger goes on. */
static void test_trickle(void **state)
{
	(void)state;
	struct guest guest;
	int fd = guest_start(&guest, 200);
	uint8_t frame[YGR_FRAME_HEADER + sizeof(struct ygr_hello)] = {[YGR_FRAME_HEADER] =
									  YGR_PURPOSE_CONTROL};
	ygr_frame_header(frame, YGR_MSG_HELLO, 0, sizeof(struct ygr_hello));
	size_t sent = 0;
	while (sent < sizeof(frame) && send(fd, frame + sent, 1, MSG_NOSIGNAL) == 1) {
		sent++;
		usleep(20000);
	}
	assert_true(sent < sizeof(frame));
	assert_int_equal(guest_join(&guest, fd), -ETIMEDOUT);
}

/* The guest's end played by hand: what a hostile guest may answer to a node. */
static int node_hears(uint16_t type, const void *payload, uint32_t len, struct ygr_error *error)
{
	struct ygr_identity *identity = fixture_identity(&fixture, "node.key", "node.cert");
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	if (type)
		assert_int_equal(ygr_frame_send(pair[1], type, 0, payload, len, 100), 0);
	char *text = NULL;
	int r = ygr_handshake_node(pair[0], YGR_PURPOSE_CONTROL, vm, identity, 200, &text, error);
	assert_null(text);
	close(pair[0]);
	close(pair[1]);
	ygr_identity_free(identity);
	return r;
}

static void test_hostile_guest(void **state)
{
	(void)state;
	struct ygr_error error = YGR_ERROR_INIT;
	assert_int_equal(node_hears(0, NULL, 0, &error), -ETIMEDOUT);
	assert_int_equal(node_hears(YGR_MSG_WELCOME, "{}", 2, &error), -EPROTO); /* before any challenge */
	assert_int_equal(node_hears(YGR_MSG_CHALLENGE, "short", 5, &error), -EPROTO);
	assert_int_equal(node_hears(YGR_MSG_REFUSED, "x", 1, &error), -EPROTO);

	struct refusal refusal = {.head.code = 0xfffffff0u, .text = "no\033[31m entry\n"};
	assert_int_equal(node_hears(YGR_MSG_REFUSED, &refusal, sizeof(refusal), &error), -EACCES);
	assert_string_equal(error.message, "refused by the guest: no?[31m entry?");
	refusal.head.code = EMFILE;
	assert_int_equal(node_hears(YGR_MSG_REFUSED, &refusal, sizeof(refusal), &error), -EMFILE);
}

static void test_grant_signature(void **state)
{
	(void)state;
	struct ygr_identity *identity = fixture_identity(&fixture, "node.key", "node.cert");
	const struct ygr_cert *cert = ygr_identity_cert(identity);
	const char json[] = "{\"program\":\"execsnoop\"}";
	uint8_t signature[64];
	struct ygr_error error = YGR_ERROR_INIT;
	assert_int_equal(ygr_grant_sign(identity, json, strlen(json), signature, &error), 0);

	const struct ygr_crypto *crypto = &ygr_crypto_openssl;
	int64_t now = time(NULL);
	assert_int_equal(
	    ygr_grant_verify(cert, signature, json, strlen(json), fixture.root, now, crypto, &error), 0);
	assert_int_equal(
	    ygr_grant_verify(cert, signature, json, strlen(json) - 1, fixture.root, now, crypto, &error),
	    -EKEYREJECTED);
	assert_int_equal(
	    ygr_grant_verify(cert, signature, json, strlen(json), fixture.root, now + 90000, crypto, &error),
	    -EKEYEXPIRED);
	assert_int_equal(ygr_grant_verify(cert, signature, json, YGR_GRANT_TEXT_MAX + 1, fixture.root, now,
					  crypto, &error),
			 -EMSGSIZE);

	/* The node's signature without the grant's context is not one of a grant. */
	assert_int_equal(ygr_identity_sign(identity, json, strlen(json), signature), 0);
	assert_int_equal(
	    ygr_grant_verify(cert, signature, json, strlen(json), fixture.root, now, crypto, &error),
	    -EKEYREJECTED);
	ygr_identity_free(identity);

	fixture_certify(&fixture, "root.key", "node.pub", YGR_USAGE_NODE, "plain.cert");
	identity = fixture_identity(&fixture, "node.key", "plain.cert");
	assert_int_equal(ygr_grant_sign(identity, json, strlen(json), signature, &error), -EACCES);
	assert_int_equal(ygr_grant_verify(ygr_identity_cert(identity), signature, json, strlen(json),
					  fixture.root, now, crypto, &error),
			 -EACCES);
	ygr_identity_free(identity);
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
	    cmocka_unit_test(test_good),
	    cmocka_unit_test(test_unknown_root),
	    cmocka_unit_test(test_wrong_usage),
	    cmocka_unit_test(test_cert_times),
	    cmocka_unit_test(test_cert_every_bit_counts),
	    cmocka_unit_test(test_replay),
	    cmocka_unit_test(test_another_vm),
	    cmocka_unit_test(test_garbage),
	    cmocka_unit_test(test_unauthenticated_bound),
	    cmocka_unit_test(test_silence),
	    cmocka_unit_test(test_trickle),
	    cmocka_unit_test(test_hostile_guest),
	    cmocka_unit_test(test_grant_signature),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
