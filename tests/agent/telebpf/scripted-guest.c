#include "tests/agent/telebpf/scripted-guest.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/wire/handshake.h"
#include "lib/wire/keys.h"
#include "lib/wire/transport.h"

#define WELCOME                                                                                             \
	"{\"program\":\"scripted\",\"sysname\":\"Linux\",\"release\":\"6.1.0\",\"cpus\":{\"possible\":\"0-" \
	"1\"}}"

static void say(int fd, uint16_t type, uint32_t id, const void *payload, uint32_t length)
{
	(void)ygr_frame_send(fd, type, id, payload, length, 1000);
}

/* Until the peer or the test ends it. */
static void serve(struct guest *guest, int fd, bool answers)
{
	const struct ygr_pong pong = {1, 2, 3};
	struct ygr_frame frame;
	uint8_t *payload;

	while (!guest->stopping && ygr_frame_receive(fd, YGR_FRAME_MAX, -1, &frame, &payload) == 0) {
		if (!guest->first)
			guest->first = frame.type;
		guest->pings += frame.type == YGR_MSG_PING;
		guest->released += frame.type == YGR_MSG_RELEASE;
		if (answers && frame.type == YGR_MSG_PING)
			say(fd, YGR_MSG_PONG, frame.id, &pong, sizeof(pong));
		else if (answers && frame.type == YGR_MSG_RELEASE)
			say(fd, YGR_MSG_RELEASED, frame.id, NULL, 0);
		else if (answers && frame.type == YGR_MSG_OPEN)
			say(fd, YGR_MSG_OPENED, frame.id, NULL, 0);
		free(payload);
	}
}

/* A handshake that believes anybody, up to where WELCOME would come. */
static bool meet(int fd)
{
	const struct ygr_challenge challenge = {.boot_id = {1}};
	struct ygr_frame frame;
	uint8_t *payload = NULL;
	bool r = ygr_frame_receive(fd, YGR_FRAME_MAX_HELLO, 2000, &frame, &payload) == 0;

	free(payload);
	payload = NULL;
	if (r)
		say(fd, YGR_MSG_CHALLENGE, 0, &challenge, sizeof(challenge));
	r = r && ygr_frame_receive(fd, YGR_FRAME_MAX_HELLO, 2000, &frame, &payload) == 0;
	free(payload);
	return r;
}

static void act_before(struct guest *guest, int fd, enum guest_act act)
{
	static const char text[] = "\x04\0\0\0\0\0\0\0you \xff\xc3 may \xe2\x82 not\n";
	static const uint8_t code[8] = {EACCES};
	char *big;

	if (act == GUEST_NO_CHALLENGE) {
		say(fd, YGR_MSG_REFUSED, 0, code, sizeof(code));
		usleep(20000);
		return;
	}
	if (!meet(fd))
		return;
	switch (act) {
	case GUEST_WELCOME:
		say(fd, YGR_MSG_WELCOME, 0, guest->welcome, (uint32_t)strlen(guest->welcome));
		break;
	case GUEST_BIG_WELCOME:
		big = malloc(10u << 20);
		memset(big, ' ', 10u << 20);
		say(fd, YGR_MSG_WELCOME, 0, big, 10u << 20);
		free(big);
		break;
	default:
		say(fd, YGR_MSG_REFUSED, 0, text, sizeof(text) - 1);
	}
	usleep(20000); /* a close with bytes unread would take the answer back */
}

static void act_after(struct guest *guest, int fd, enum guest_act act)
{
	static const uint8_t garbage[64] = "GET / HTTP/1.1\r\n\r\n";
	uint8_t header[YGR_FRAME_HEADER];

	switch (act) {
	case GUEST_GARBAGE:
		(void)!send(fd, garbage, sizeof(garbage), MSG_NOSIGNAL);
		serve(guest, fd, false);
		break;
	case GUEST_OVERSIZED:
		ygr_frame_header(header, YGR_MSG_PONG, 1, 1u << 20);
		(void)!send(fd, header, sizeof(header), MSG_NOSIGNAL);
		serve(guest, fd, false);
		break;
	case GUEST_CHATTER:
		for (uint16_t type = 0; type < 300; type++)
			say(fd, type, type, garbage, type % sizeof(garbage));
		serve(guest, fd, true);
		break;
	case GUEST_SERVE:
	case GUEST_MUTE:
		serve(guest, fd, act == GUEST_SERVE);
		break;
	default:
		break;
	}
}

static void play(struct guest *guest, int fd, enum guest_act act)
{
	static const uint8_t boot_id[16] = {1}, none[32] = {1};
	uint8_t vm[16];
	enum ygr_purpose purpose;

	if (act >= GUEST_WELCOME) {
		act_before(guest, fd, act);
		return;
	}
	memcpy(vm, guest->vm, sizeof(vm));
	if (act == GUEST_OTHER_VM)
		vm[0] ^= 1;
	if (ygr_handshake_guest(fd, act == GUEST_OTHER_ROOT ? none : guest->root, boot_id, vm, WELCOME,
				&ygr_crypto_openssl, 2000, &purpose, NULL) == 0)
		act_after(guest, fd, act);
}

static void *run(void *argument)
{
	struct guest *guest = argument;

	while (!guest->stopping) {
		int fd = accept4(guest->listener, NULL, NULL, SOCK_CLOEXEC);
		unsigned number;

		if (fd < 0)
			break;
		guest->connection = fd;
		number = guest->accepted++;
		if (!guest->stopping)
			play(guest, fd, guest->acts[number < guest->count ? number : guest->count - 1]);
		guest->connection = -1;
		close(fd);
	}
	return NULL;
}

void guest_start(struct guest *guest, const char *path, const uint8_t root[32], const uint8_t vm[16],
		 const enum guest_act *acts, unsigned count)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};

	memset(guest, 0, sizeof(*guest));
	guest->connection = -1;
	guest->acts = acts;
	guest->count = count;
	memcpy(guest->root, root, 32);
	memcpy(guest->vm, vm, 16);
	snprintf(guest->address, sizeof(guest->address), "unix:%s", path);
	snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
	unlink(path);
	guest->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (guest->listener < 0 || bind(guest->listener, (struct sockaddr *)&name, sizeof(name)) < 0 ||
	    listen(guest->listener, 8) < 0 || pthread_create(&guest->thread, NULL, run, guest) != 0)
		abort();
}

void guest_stop(struct guest *guest)
{
	int fd = guest->connection;

	guest->stopping = true;
	shutdown(guest->listener, SHUT_RDWR);
	if (fd >= 0)
		shutdown(fd, SHUT_RDWR);
	pthread_join(guest->thread, NULL);
	close(guest->listener);
}
