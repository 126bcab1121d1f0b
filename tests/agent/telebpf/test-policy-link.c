/*
 * The policy connection against a guest with a script: bundles arrive whole, violations come once and in order and are
 * acknowledged, and what is no protocol ends the connection and nothing else. Real handshakes over UNIX sockets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "agent/telebpf/policy-link.h"
#include "lib/base/uuid.h"
#include "lib/wire/deadline.h"
#include "lib/wire/frame.h"
#include "tests/lib/wire/identity-fixture.h"

#define VM          "00000000-0000-0000-0000-000000000007"
#define DEADLINE_MS 30000
#define BUNDLE      (3u << 20)

struct world {
	struct fixture keys;
	struct ygr_identity *identity;
	struct ygr_telebpf *telebpf;
	uv_loop_t loop;
	uv_timer_t tick;
	struct ygr_policy_link *link;
	int listener, act;
	pthread_t thread;
	atomic_bool stopping;
	atomic_int acknowledged; /* position */
	atomic_uint loaded;      /* bytes of the last load that were as sent */
	char log[1024];
	unsigned statuses;
};

static bool take(int fd, void *data, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = recv(fd, (char *)data + at, len - at, 0);
		if (n <= 0)
			return false;
		at += (size_t)n;
	}
	return true;
}

static void give(int fd, uint16_t type, uint32_t id, const void *payload, uint32_t len)
{
	uint8_t header[YGR_FRAME_HEADER];

	ygr_frame_header(header, type, id, len);
	(void)!send(fd, header, sizeof(header), MSG_NOSIGNAL);
	for (uint32_t at = 0; at < len; at++) /* byte by byte: whoever reads must put it together */
		(void)!send(fd, (const char *)payload + at, 1, MSG_NOSIGNAL);
}

static void give_status(int fd, uint32_t id, int64_t value)
{
	struct {
		struct ygr_status status;
		char text[64];
	} answer = {{value}, "{\"enforceable\": true, \"policies\": []}"};

	give(fd, YGR_MSG_POLICY_STATUS, id, &answer,
	     (uint32_t)(sizeof(answer.status) + strlen(answer.text)));
}

static void give_violation(int fd, uint64_t position)
{
	struct ygr_violation violation = {.position = position, .rule = 1};

	memset(violation.rule_name, 'r', sizeof(violation.rule_name)); /* no NUL */
	memset(violation.comm, 'c', sizeof(violation.comm));
	give(fd, YGR_MSG_VIOLATION, 0, &violation, sizeof(violation));
}

/* What the guest does after WELCOME on connection number ACT. */
static void play(struct world *world, int fd, int act)
{
	if (act == 0) {
		give(fd, YGR_MSG_VIOLATION, 0, "short", 5);
		for (uint64_t position = 1; position <= 3; position++)
			give_violation(fd, position);
	} else if (act == 1) {
		give_violation(fd, 2); /* again: the acknowledgement may have been lost */
		give_violation(fd, 3);
		give_violation(fd, 4);
		give(fd, YGR_MSG_POLICY_STATUS, 999, "nobody asked", 12);
	} else if (act == 2) {
		(void)!send(fd, "this is no frame at all", 23, MSG_NOSIGNAL);
	}
	for (;;) {
		uint8_t header[YGR_FRAME_HEADER];
		struct ygr_frame frame;
		if (!take(fd, header, sizeof(header)) || ygr_frame_head(header, YGR_FRAME_MAX, &frame) < 0)
			return;
		uint8_t *payload = malloc(frame.length + 1);
		bool good = take(fd, payload, frame.length);
		if (good && frame.type == YGR_MSG_POLICY_ASK)
			give_status(fd, frame.id, 0);
		if (good && frame.type == YGR_MSG_VIOLATION_ACK)
			world->acknowledged = (int)((struct ygr_violation_ack *)payload)->position;
		if (good && frame.type == YGR_MSG_POLICY_LOAD) {
			const struct ygr_policy_load *load = (void *)payload;
			unsigned same = 0;
			for (uint32_t i = 0; i < load->length; i++)
				same += payload[sizeof(*load) + i] == (uint8_t)(i * 7);
			world->loaded = same;
			give_status(fd, frame.id, -ESTALE);
		}
		/* All that was sent in this act is acknowledged. */
		bool leave =
		    good && frame.type == YGR_MSG_VIOLATION_ACK && act < 2 && world->acknowledged == 3 + act;
		free(payload);
		if (!good || leave)
			return;
	}
}

static void *guest(void *user)
{
	static const uint8_t boot_id[16] = {1};
	struct world *world = user;
	uint8_t vm[16];

	(void)ygr_uuid_parse(VM, vm);
	for (int act = 0; !world->stopping; act++) {
		struct ygr_error error = YGR_ERROR_INIT;
		enum ygr_purpose purpose = 0;
		int fd = accept(world->listener, NULL, NULL);
		if (fd < 0)
			break;
		if (ygr_handshake_guest(fd, world->keys.root, boot_id, vm, "{\"bootID\": \"b-1\"}",
					&ygr_crypto_openssl, 5000, &purpose, &error) == 0 &&
		    purpose == YGR_PURPOSE_POLICY)
			play(world, fd, act);
		close(fd);
	}
	return NULL;
}

static void on_changed(void *user)
{
	(void)user;
}

static void on_status(void *user, int64_t result, const json_t *status)
{
	struct world *world = user;
	size_t len = strlen(world->log);

	assert_true(json_is_true(json_object_get(status, "enforceable")));
	snprintf(world->log + len, sizeof(world->log) - len, "status %d\n", (int)result);
	world->statuses++;
}

static void on_violation(void *user, const struct ygr_violation *violation)
{
	struct world *world = user;
	size_t len = strlen(world->log);

	assert_int_equal(strlen(violation->rule_name), sizeof(violation->rule_name) - 1);
	assert_int_equal(strlen(violation->comm), sizeof(violation->comm) - 1);
	snprintf(world->log + len, sizeof(world->log) - len, "violation %d\n", (int)violation->position);
}

static void on_tick(uv_timer_t *timer)
{
	(void)timer;
}

static void world_init(struct world *world)
{
	struct ygr_telebpf_options options = {.loop = &world->loop, .node = "node"};
	const struct ygr_policy_link_handlers handlers = {on_changed, on_status, on_violation, world};
	struct ygr_link_target target = {.uuid = VM, .namespace_ = "default", .name = "web"};
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	char address[128];

	memset(world, 0, sizeof(*world));
	fixture_init(&world->keys);
	options.identity = world->identity = fixture_identity(&world->keys, "node.key", "node.cert");
	uv_loop_init(&world->loop);
	uv_timer_init(&world->loop, &world->tick);
	uv_timer_start(&world->tick, on_tick, 10, 10);
	snprintf(name.sun_path, sizeof(name.sun_path), "%s", fixture_path(&world->keys, "guest.sock"));
	world->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(world->listener, (struct sockaddr *)&name, sizeof(name)), 0);
	assert_int_equal(listen(world->listener, 8), 0);
	assert_int_equal(pthread_create(&world->thread, NULL, guest, world), 0);
	snprintf(address, sizeof(address), "unix:%s", name.sun_path);
	target.address = address;
	assert_int_equal(ygr_telebpf_new(&options, &world->telebpf), 0);
	assert_int_equal(ygr_policy_link_open(world->telebpf, &target, &handlers, &world->link), 0);
}

static void world_deinit(struct world *world)
{
	ygr_policy_link_close(world->link);
	ygr_telebpf_free(world->telebpf);
	uv_close((uv_handle_t *)&world->tick, NULL);
	world->stopping = true;
	shutdown(world->listener, SHUT_RDWR);
	uv_run(&world->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&world->loop), 0);
	pthread_join(world->thread, NULL);
	close(world->listener);
	ygr_identity_free(world->identity);
	fixture_deinit(&world->keys);
}

static void wait_for(struct world *world, const char *text)
{
	int64_t deadline = ygr_deadline_in(DEADLINE_MS);

	while (!strstr(world->log, text) && ygr_deadline_left(deadline))
		uv_run(&world->loop, UV_RUN_ONCE);
	if (!strstr(world->log, text))
		fail_msg("wanted \"%s\", got:\n%s", text, world->log);
}

static unsigned count_of(const char *text, const char *what)
{
	unsigned count = 0;

	for (; (text = strstr(text, what)); text++)
		count++;
	return count;
}

static void test_violations(void **state)
{
	struct world world;
	(void)state;

	world_init(&world);
	wait_for(&world, "violation 3\n");
	wait_for(&world, "violation 4\n"); /* after a reconnect, and those before not again */
	assert_int_equal(count_of(world.log, "violation"), 4);
	int64_t deadline = ygr_deadline_in(DEADLINE_MS);
	while (world.acknowledged != 4 && ygr_deadline_left(deadline))
		uv_run(&world.loop, UV_RUN_ONCE);
	assert_int_equal(world.acknowledged, 4);
	world_deinit(&world);
}

/* A bundle of megabytes does not fit the socket at once; the answer is told with its errno. */
static void test_load(void **state)
{
	static uint8_t bundle[BUNDLE];
	static const uint8_t signature[64];
	struct world world;
	(void)state;

	for (uint32_t i = 0; i < BUNDLE; i++)
		bundle[i] = (uint8_t)(i * 7);
	world_init(&world);
	const struct ygr_cert *cert = ygr_identity_cert(world.identity);
	assert_int_equal(ygr_policy_link_load(world.link, bundle, BUNDLE, cert, signature), -ENOTCONN);
	wait_for(&world, "violation 4\n");
	world.log[0] = '\0';
	wait_for(&world,
		 "status 0\n"); /* after the connection that begins with garbage there is one that serves */
	int r = -ENOTCONN;
	int64_t deadline = ygr_deadline_in(DEADLINE_MS);
	while (!strstr(world.log, "status -116") && ygr_deadline_left(deadline)) {
		if (r < 0)
			r = ygr_policy_link_load(world.link, bundle, BUNDLE, cert, signature);
		uv_run(&world.loop, UV_RUN_ONCE);
		if (!ygr_policy_link_connected(world.link))
			r = -ENOTCONN;
	}
	wait_for(&world, "status -116\n");
	assert_int_equal(world.loaded, BUNDLE);
	world_deinit(&world);
}

/* Closed at any moment: no callback comes any more, and nothing is left. */
static void test_close_early(void **state)
{
	(void)state;
	for (int turns = 0; turns < 12; turns++) {
		struct world world;
		world_init(&world);
		for (int i = 0; i < turns; i++)
			uv_run(&world.loop, UV_RUN_ONCE);
		world_deinit(&world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_violations), cmocka_unit_test(test_load),
					   cmocka_unit_test(test_close_early)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
