/* Handshake and the control purpose; see connection.h. */
#include "guest-image/guest/connection.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "guest-image/guest/ask.h"
#include "guest-image/guest/crypto.h"
#include "guest-image/guest/session.h"
#include "guest-image/policy/channel.h"
#include "lib/base/cleanup.h"
#include "lib/base/log.h"
#include "lib/wire/transport.h"

#define CONTROL_FRAME_MAX 4096
#define CONTROL_SEND_MS   5000

static int say_refused(int fd, uint32_t id, int code, const char *text)
{
	uint8_t payload[sizeof(struct ygr_refused) + 256];
	struct ygr_refused head = {.code = (uint32_t)code};
	size_t len = strnlen(text, 256);
	memcpy(payload, &head, sizeof(head));
	memcpy(payload + sizeof(head), text, len);
	(void)ygr_frame_send(fd, YGR_MSG_REFUSED, id, payload, (uint32_t)(sizeof(head) + len),
			     CONTROL_SEND_MS);
	return -code;
}

static int control_frame(int fd, int server_fd, const struct ygr_frame *frame)
{
	if (frame->type == YGR_MSG_PING && frame->length == 0) {
		struct ygr_pong pong = ygr_guest_clocks();
		return ygr_frame_send(fd, YGR_MSG_PONG, frame->id, &pong, sizeof(pong), CONTROL_SEND_MS);
	}
	if (frame->type == YGR_MSG_RELEASE && frame->length == sizeof(struct ygr_release)) {
		struct ygr_ask ask = {.what = YGR_ASK_RELEASE};
		memcpy(ask.id, frame->payload, sizeof(ask.id));
		int r = ygr_ask(server_fd, &ask, -1);
		return r < 0 ? r : ygr_frame_send(fd, YGR_MSG_RELEASED, frame->id, NULL, 0, CONTROL_SEND_MS);
	}
	return say_refused(fd, frame->id, EPROTO, "no such message on a control connection");
}

static int run_control(int fd, int server_fd)
{
	for (;;) {
		_cleanup_free_ uint8_t *payload = NULL;
		struct ygr_frame frame;
		int r = ygr_frame_receive(fd, CONTROL_FRAME_MAX, -1, &frame, &payload);
		if (r == 0)
			r = control_frame(fd, server_fd, &frame);
		if (r < 0)
			return r == -ECONNRESET || r == -EPIPE ? 0 : r;
	}
}

static int run_policy(int fd, const struct ygr_guest_setup *setup, struct ygr_error *error)
{
	struct ygr_policies_setup policies = {.directory = setup->state,
					      .root = setup->root,
					      .vm = setup->has_vm ? setup->vm : NULL,
					      .allowed = setup->config->enforce};
	return ygr_policy_channel_run(fd, &policies, error);
}

int ygr_guest_connection_run(int fd, int server_fd, const struct ygr_guest_setup *setup, bool quiet)
{
	struct ygr_error error = YGR_ERROR_INIT;
	enum ygr_purpose purpose;
	_cleanup_free_ char *welcome = ygr_guest_welcome(setup->facts);
	if (!welcome)
		return EXIT_FAILURE;

	int r = ygr_handshake_guest(fd, setup->root, setup->boot_id, setup->has_vm ? setup->vm : NULL,
				    welcome, &ygr_crypto_sodium, YGR_HANDSHAKE_MS, &purpose, &error);
	if (r < 0) {
		ygr_log(quiet ? YGR_LOG_DEBUG : YGR_LOG_WARNING, "guest", "a connection was turned away: %s",
			error.code ? error.message : strerror(-r));
		return EXIT_FAILURE;
	}
	struct ygr_ask ask = {.what = YGR_ASK_AUTHENTICATED, .number = purpose};
	if (ygr_ask(server_fd, &ask, -1) < 0)
		return EXIT_FAILURE;

	if (purpose == YGR_PURPOSE_CONTROL)
		r = run_control(fd, server_fd);
	else if (purpose == YGR_PURPOSE_SESSION)
		r = ygr_guest_session_run(fd, server_fd, setup->config, setup->root, &error);
	else
		r = run_policy(fd, setup, &error);
	if (r < 0)
		ygr_log(YGR_LOG_WARNING, "guest", "%s", error.code ? error.message : strerror(-r));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
