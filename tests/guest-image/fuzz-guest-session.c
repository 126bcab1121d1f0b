/*
 * The messages of an open session, from a node that says anything. Input: {u8 type, u8 0, u16 length,
 * payload} again and again. The grant has empty lists, so nothing is loaded, attached or opened; maps may be
 * made. The server's end is gone, as if it had just died.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest-image/guest/crypto.h"
#include "guest-image/guest/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ygr_grant *grant_of(const char *text, bool strict)
{
	json_t *json = json_loads(text, 0, NULL);
	struct ygr_grant *grant = json ? ygr_grant_new_json(json, strict, NULL) : NULL;
	json_decref(json);
	if (!grant)
		abort();
	return grant;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ygr_guest_session session;
	static const uint8_t root[32];
	struct ygr_guest_config config = {.max_sessions = 1, .handles = 32, .memory = 1u << 20};
	int pair[2], server[2];

	if (ygr_guest_crypto_init() < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET, 0, server) < 0)
		abort();
	close(server[1]);
	config.allow = grant_of("{}", false);
	if (ygr_guest_session_init(&session, pair[0], server[0], &config, root) < 0)
		abort();
	session.grant = grant_of("{\"program\":\"fuzz\",\"vm\":\"v\",\"issuedAt\":1,\"notAfter\":2}", true);
	session.open = true;
	session.memory = config.memory;

	while (size >= 4) {
		uint16_t length;
		struct ygr_error error = YGR_ERROR_INIT;
		memcpy(&length, data + 2, sizeof(length));
		if (length > size - 4)
			break;
		/* a copy of its own size, so that reading beyond it shows */
		uint8_t *payload = malloc(length ? length : 1);
		if (!payload)
			abort();
		memcpy(payload, data + 4, length);
		struct ygr_frame frame = {.type = data[0], .id = 1, .length = length, .payload = payload};
		int r = ygr_guest_session_frame(&session, &frame, &error);
		free(payload);
		if (r < 0 || ygr_guest_rings_service(&session) < 0)
			break;
		session.link.out.len = session.link.out_at = 0; /* nobody reads the answers */
		data += 4 + length;
		size -= 4 + (size_t)length;
	}
	ygr_guest_session_deinit(&session);
	ygr_grant_free(config.allow);
	close(pair[0]);
	close(pair[1]);
	close(server[0]);
	return 0;
}
