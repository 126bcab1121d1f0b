/*
 * The node's side of the handshake; see handshake.h. The guest is not believed either: its frames are
 * bounded and its reasons pass only as a code out of a list and a text without control characters. What the
 * node signs always begins with a context of its own, so no challenge can make it sign anything else.
 */
#include "lib/wire/handshake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/wire/deadline.h"
#include "lib/wire/keys.h"
#include "lib/wire/transport.h"

/* The guest's reasons that a caller may act upon; everything else is plain EACCES. */
static int refusal_code(uint32_t code)
{
	static const uint16_t known[] = {EACCES, EKEYREJECTED, EKEYEXPIRED, EPROTO,
					 EMFILE, ENOTUNIQ,     EMSGSIZE,    ETIMEDOUT};
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (code == known[i])
			return (int)code;
	return EACCES;
}

/* Receives TYPE; a REFUSED in its place becomes the error it tells. */
static int receive(int fd, uint16_t type, const char *name, int64_t deadline, struct ygr_frame *ret_frame,
		   uint8_t **ret_payload, struct ygr_error *error)
{
	struct ygr_frame frame;
	_cleanup_free_ uint8_t *payload = NULL;
	int r = ygr_frame_receive(fd, YGR_FRAME_MAX_HELLO, ygr_deadline_left(deadline), &frame, &payload);
	if (r < 0)
		return ygr_error_set(error, -r, "waiting for the guest's %s: %s", name, strerror(-r));

	struct ygr_refused refused;
	if (frame.type == YGR_MSG_REFUSED && frame.length >= sizeof(refused)) {
		memcpy(&refused, payload, sizeof(refused));
		return ygr_error_set(error, refusal_code(refused.code), "refused by the guest: %s",
				     (const char *)payload + sizeof(refused));
	}
	if (frame.type != type)
		return ygr_error_set(error, EPROTO, "expected the guest's %s, got message %u", name,
				     frame.type);
	*ret_frame = frame;
	*ret_payload = ygr_steal_ptr(&payload);
	return 0;
}

static int prove(int fd, const struct ygr_hello *hello, const struct ygr_challenge *challenge,
		 const struct ygr_identity *identity, int64_t deadline, struct ygr_error *error)
{
	struct ygr_auth auth = {.cert = *ygr_identity_cert(identity)};
	uint8_t text[YGR_AUTH_TEXT_BYTES];
	uint32_t len = ygr_auth_text(hello, challenge, text);
	int r = ygr_identity_sign(identity, text, len, auth.signature);
	if (r < 0)
		return ygr_error_set(error, -r, "cannot sign with the node's key");
	r = ygr_frame_send(fd, YGR_MSG_AUTH, 0, &auth, sizeof(auth), ygr_deadline_left(deadline));
	if (r < 0)
		return ygr_error_set(error, -r, "sending AUTH: %s", strerror(-r));
	return 0;
}

int ygr_handshake_node(int fd, enum ygr_purpose purpose, const uint8_t vm[16],
		       const struct ygr_identity *identity, int timeout_ms, char **ret_welcome,
		       struct ygr_error *error)
{
	int64_t deadline = ygr_deadline_in(timeout_ms);
	struct ygr_hello hello = {.purpose = purpose};
	memcpy(hello.vm, vm, sizeof(hello.vm));
	int r = ygr_crypto_openssl.random(hello.node_nonce, sizeof(hello.node_nonce));
	if (r < 0)
		return ygr_error_set(error, -r, "no random numbers");
	r = ygr_frame_send(fd, YGR_MSG_HELLO, 0, &hello, sizeof(hello), ygr_deadline_left(deadline));
	if (r < 0)
		return ygr_error_set(error, -r, "sending HELLO: %s", strerror(-r));

	struct ygr_frame frame;
	_cleanup_free_ uint8_t *payload = NULL;
	r = receive(fd, YGR_MSG_CHALLENGE, "CHALLENGE", deadline, &frame, &payload, error);
	if (r < 0)
		return r;
	struct ygr_challenge challenge;
	if (frame.length != sizeof(challenge))
		return ygr_error_set(error, EPROTO, "CHALLENGE has %u bytes", frame.length);
	memcpy(&challenge, payload, sizeof(challenge));
	r = prove(fd, &hello, &challenge, identity, deadline, error);
	if (r < 0)
		return r;

	_cleanup_free_ uint8_t *welcome = NULL;
	r = receive(fd, YGR_MSG_WELCOME, "WELCOME", deadline, &frame, &welcome, error);
	if (r < 0)
		return r;
	if (memchr(welcome, '\0', frame.length))
		return ygr_error_set(error, EPROTO, "WELCOME contains NUL bytes");
	*ret_welcome = (char *)ygr_steal_ptr(&welcome);
	return 0;
}
