#include "tests/agent/telebpf/session/hostile-guest.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/wire/transport.h"

#define STUCK_MS 20000

void liar_raw(struct liar *liar, const void *bytes, uint32_t length)
{
	const uint8_t *at = bytes;

	while (length) {
		ssize_t n = send(liar->session, at, length, MSG_NOSIGNAL);

		if (n <= 0)
			return; /* the session has had enough */
		at += n;
		length -= (uint32_t)n;
	}
}

void liar_say(struct liar *liar, uint16_t type, uint32_t id, const void *payload, uint32_t length)
{
	uint8_t header[YGR_FRAME_HEADER];

	ygr_frame_header(header, type, id, length);
	liar_raw(liar, header, sizeof(header));
	liar_raw(liar, payload, length);
}

/* One frame from FROM to TO: false at the end. */
static bool hand_on(struct liar *liar, int from, int to, bool asked)
{
	struct ygr_frame frame;
	uint8_t *payload = NULL;
	bool on = ygr_frame_receive(from, YGR_FRAME_MAX, STUCK_MS, &frame, &payload) == 0;

	if (on && asked && frame.id)
		liar->asked = frame.type;
	if (on && liar->script(liar, &frame, payload, asked) == LIAR_PASS)
		on = ygr_frame_send(to, frame.type, frame.id, payload, frame.length, STUCK_MS) == 0;
	free(payload);
	return on;
}

static void *run(void *argument)
{
	struct liar *liar = argument;
	bool on = true;

	while (on) {
		struct pollfd p[2] = {{liar->session, POLLIN, 0}, {liar->guest, POLLIN, 0}};

		if (poll(p, 2, -1) < 0)
			break;
		if (p[0].revents)
			on = hand_on(liar, liar->session, liar->guest, true);
		else if (p[1].revents)
			on = hand_on(liar, liar->guest, liar->session, false);
	}
	shutdown(liar->session, SHUT_RDWR);
	return NULL;
}

int liar_start(struct liar *liar, int guest, liar_script script, void *user, int variant)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	*liar = (struct liar){
	    .guest = guest, .session = pair[0], .script = script, .user = user, .variant = variant};
	if (pthread_create(&liar->thread, NULL, run, liar) != 0)
		abort();
	return pair[1];
}

void liar_stop(struct liar *liar)
{
	shutdown(liar->session, SHUT_RDWR);
	shutdown(liar->guest, SHUT_RDWR);
	pthread_join(liar->thread, NULL);
	close(liar->session);
	close(liar->guest);
}
