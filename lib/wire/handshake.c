/*
 * The guest's side of the handshake; see handshake.h. Until AUTH has been verified the peer is anybody:
 * frames are bounded by YGR_FRAME_MAX_HELLO, at most one is held at a time, and one deadline covers
 * everything.
 */
#include "lib/wire/handshake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/cleanup.h"
#include "lib/wire/deadline.h"
#include "lib/wire/transport.h"

#define REFUSAL_TIMEOUT_MS 200 /* who does not read why he was refused does not hold us up */

_Static_assert(sizeof(struct ygr_hello) == 56 && sizeof(struct ygr_challenge) == 48 &&
		   sizeof(struct ygr_auth) == 256,
	       "copied as bytes");

uint32_t ygr_auth_text(const struct ygr_hello *hello, const struct ygr_challenge *challenge,
		       uint8_t out[YGR_AUTH_TEXT_BYTES])
{
	static const char context[16] = "yagura-auth-v1";
	uint8_t *p = out;
	p = mempcpy(p, context, sizeof(context));
	p = mempcpy(p, challenge->guest_nonce, sizeof(challenge->guest_nonce));
	p = mempcpy(p, hello->node_nonce, sizeof(hello->node_nonce));
	p = mempcpy(p, challenge->boot_id, sizeof(challenge->boot_id));
	p = mempcpy(p, &hello->purpose, sizeof(hello->purpose));
	p = mempcpy(p, hello->vm, sizeof(hello->vm));
	return (uint32_t)(p - out);
}

/* Best effort: tells the peer why, in the words of ERROR. */
static void refuse(int fd, const struct ygr_error *error)
{
	struct {
		struct ygr_refused head;
		char text[YGR_ERROR_MESSAGE_MAX];
	} refusal = {.head.code = (uint32_t)error->code};
	size_t len = strlen(error->message);
	memcpy(refusal.text, error->message, len);
	(void)ygr_frame_send(fd, YGR_MSG_REFUSED, 0, &refusal, (uint32_t)(sizeof(refusal.head) + len),
			     REFUSAL_TIMEOUT_MS);
}

/* Receives a frame that must be of TYPE and exactly SIZE bytes long. */
static int receive_fixed(int fd, uint16_t type, const char *name, void *to, size_t size, int64_t deadline,
			 struct ygr_error *error)
{
	struct ygr_frame frame;
	_cleanup_free_ uint8_t *payload = NULL;
	int r = ygr_frame_receive(fd, YGR_FRAME_MAX_HELLO, ygr_deadline_left(deadline), &frame, &payload);
	if (r < 0)
		return ygr_error_set(error, -r, "waiting for %s: %s", name, strerror(-r));
	if (frame.type != type)
		return ygr_error_set(error, EPROTO, "expected %s, got message %u", name, frame.type);
	if (frame.length != size)
		return ygr_error_set(error, EPROTO, "%s has %u bytes instead of %zu", name, frame.length,
				     size);
	memcpy(to, payload, size);
	return 0;
}

static int check_auth(const struct ygr_auth *auth, const struct ygr_hello *hello,
		      const struct ygr_challenge *challenge, const uint8_t root[32],
		      const struct ygr_crypto *crypto, struct ygr_error *error)
{
	int r = ygr_cert_check(&auth->cert, root, YGR_USAGE_NODE, time(NULL), crypto, error);
	if (r < 0)
		return r;
	uint8_t text[YGR_AUTH_TEXT_BYTES];
	uint32_t len = ygr_auth_text(hello, challenge, text);
	if (crypto->verify(auth->cert.public_key, text, len, auth->signature) < 0)
		return ygr_error_set(error, EKEYREJECTED, "the peer does not hold the key of '%s'",
				     auth->cert.name);
	return 0;
}

static int authenticate(int fd, const uint8_t root[32], const uint8_t boot_id[16], const uint8_t *vm,
			const struct ygr_crypto *crypto, int64_t deadline, struct ygr_hello *ret_hello,
			struct ygr_error *error)
{
	struct ygr_hello hello;
	int r = receive_fixed(fd, YGR_MSG_HELLO, "HELLO", &hello, sizeof(hello), deadline, error);
	if (r < 0)
		return r;
	if (hello.purpose < YGR_PURPOSE_CONTROL || hello.purpose > YGR_PURPOSE_POLICY || hello.reserved)
		return ygr_error_set(error, EPROTO, "unknown purpose %u", hello.purpose);

	if (vm && memcmp(vm, hello.vm, sizeof(hello.vm)) != 0)
		return ygr_error_set(error, ENOTUNIQ, "this is another VM than the one that was meant");

	struct ygr_challenge challenge;
	memcpy(challenge.boot_id, boot_id, sizeof(challenge.boot_id));
	r = crypto->random(challenge.guest_nonce, sizeof(challenge.guest_nonce));
	if (r < 0)
		return ygr_error_set(error, -r, "no random numbers: %s", strerror(-r));
	r = ygr_frame_send(fd, YGR_MSG_CHALLENGE, 0, &challenge, sizeof(challenge),
			   ygr_deadline_left(deadline));
	if (r < 0)
		return ygr_error_set(error, -r, "sending CHALLENGE: %s", strerror(-r));

	struct ygr_auth auth;
	r = receive_fixed(fd, YGR_MSG_AUTH, "AUTH", &auth, sizeof(auth), deadline, error);
	if (r < 0)
		return r;
	r = check_auth(&auth, &hello, &challenge, root, crypto, error);
	if (r < 0)
		return r;
	*ret_hello = hello;
	return 0;
}

int ygr_handshake_guest(int fd, const uint8_t root[32], const uint8_t boot_id[16], const uint8_t *vm,
			const char *welcome, const struct ygr_crypto *crypto, int timeout_ms,
			enum ygr_purpose *ret_purpose, struct ygr_error *error)
{
	int64_t deadline = ygr_deadline_in(timeout_ms);
	struct ygr_error own =
	    YGR_ERROR_INIT; /* the refusal needs a sentence also when the caller wants none */
	struct ygr_hello hello = {0};
	int r = authenticate(fd, root, boot_id, vm, crypto, deadline, &hello, &own);
	if (r < 0) {
		refuse(fd, &own);
		return ygr_error_set(error, own.code, "%s", own.message);
	}

	size_t len = strlen(welcome);
	r = len > YGR_FRAME_MAX_HELLO ? -EMSGSIZE
				      : ygr_frame_send(fd, YGR_MSG_WELCOME, 0, welcome, (uint32_t)len,
						       ygr_deadline_left(deadline));
	if (r < 0)
		return ygr_error_set(error, -r, "sending WELCOME: %s", strerror(-r));
	*ret_purpose = (enum ygr_purpose)hello.purpose;
	return 0;
}
