/*
 * Links against a guest with a script: what the state, the reason and the sentence are after each of its
 * acts, and that the link comes back by itself. Real handshakes over UNIX sockets.
 */
#include "tests/agent/telebpf/scripted-guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include <time.h>
#include <uv.h>

#include "agent/telebpf/telebpf.h"
#include "lib/base/uuid.h"
#include "lib/wire/deadline.h"
#include "tests/lib/wire/identity-fixture.h"

#define VM          "00000000-0000-0000-0000-000000000007"
#define PING_MS     100
#define DEADLINE_MS 15000

struct world {
	struct fixture keys;
	struct ygr_identity *identity;
	struct ygr_telebpf *telebpf;
	uv_loop_t loop;
	uv_timer_t tick;
	struct guest guest;
	struct ygr_link *link;
	enum ygr_link_state states[64];
	char reasons[64][32];
	unsigned changes;
};

static void on_changed(void *user, struct ygr_link *link)
{
	struct world *world = user;
	const char *reason = ygr_link_reason(link);

	assert_true(world->changes < 64);
	snprintf(world->reasons[world->changes], 32, "%s", reason ? reason : "");
	world->states[world->changes++] = ygr_link_state(link);
}

static void on_tick(uv_timer_t *timer)
{
	(void)timer;
}

static void world_init(struct world *world, const enum guest_act *acts, unsigned count, const char *welcome)
{
	struct ygr_telebpf_options options = {.loop = &world->loop, .node = "node", .ping_ms = PING_MS};
	struct ygr_link_target target = {.uuid = VM, .namespace_ = "default", .name = "web"};
	uint8_t vm[16];

	memset(world, 0, sizeof(*world));
	fixture_init(&world->keys);
	options.identity = world->identity = fixture_identity(&world->keys, "node.key", "node.cert");
	assert_int_equal(ygr_uuid_parse(VM, vm), 0);
	assert_int_equal(uv_loop_init(&world->loop), 0);
	uv_timer_init(&world->loop, &world->tick);
	uv_timer_start(&world->tick, on_tick, 10, 10);
	guest_start(&world->guest, fixture_path(&world->keys, "guest.sock"), world->keys.root, vm, acts,
		    count);
	world->guest.welcome = welcome;
	assert_int_equal(ygr_telebpf_new(&options, &world->telebpf), 0);
	target.address = world->guest.address;
	assert_int_equal(ygr_link_open(world->telebpf, &target, on_changed, world, &world->link), 0);
}

/* Closed while whatever it was doing goes on, and the room with it. */
static void world_deinit(struct world *world)
{
	unsigned changes = world->changes;

	ygr_link_close(world->link);
	ygr_telebpf_free(world->telebpf);
	uv_close((uv_handle_t *)&world->tick, NULL);
	guest_stop(&world->guest);
	uv_run(&world->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&world->loop), 0);
	assert_int_equal(world->changes, changes);
	ygr_identity_free(world->identity);
	fixture_deinit(&world->keys);
}

/* Until the link was in STATE COUNT times; the index of the last. */
static unsigned wait_state(struct world *world, enum ygr_link_state state, unsigned count)
{
	int64_t deadline = ygr_deadline_in(DEADLINE_MS);

	while (ygr_deadline_left(deadline)) {
		unsigned seen = 0;

		for (unsigned i = 0; i < world->changes; i++)
			if (world->states[i] == state && ++seen == count)
				return i;
		uv_run(&world->loop, UV_RUN_ONCE);
	}
	fail_msg("the link did not become %s %u times; it is %s: %s", ygr_link_state_word(state), count,
		 ygr_link_state_word(ygr_link_state(world->link)), ygr_link_message(world->link));
	return 0;
}

static void run_for(struct world *world, int ms)
{
	int64_t deadline = ygr_deadline_in(ms);

	while (ygr_deadline_left(deadline))
		uv_run(&world->loop, UV_RUN_ONCE);
}

/* The guest has a thread of its own, and its time. */
static void wait_count(struct world *world, atomic_uint *count, unsigned wanted)
{
	int64_t deadline = ygr_deadline_in(DEADLINE_MS);

	while (*count < wanted && ygr_deadline_left(deadline))
		uv_run(&world->loop, UV_RUN_ONCE);
	assert_true(*count >= wanted);
}

static void test_connected(void **state)
{
	static const enum guest_act acts[] = {GUEST_SERVE};
	struct world world;

	(void)state;
	world_init(&world, acts, 1, NULL);
	assert_int_equal(ygr_link_state(world.link), YGR_LINK_CONNECTING);
	assert_null(ygr_link_welcome(world.link));
	wait_state(&world, YGR_LINK_CONNECTED, 1);
	assert_null(ygr_link_reason(world.link));
	assert_string_equal(json_string_value(json_object_get(ygr_link_welcome(world.link), "release")),
			    "6.1.0");
	wait_count(&world, &world.guest.pings, 5);
	assert_int_equal(world.guest.first, YGR_MSG_RELEASE);
	assert_int_equal(world.guest.released, 1);
	assert_int_equal(world.changes, 1);
	world_deinit(&world);
}

/* No PONG: lost after three that were missed, and connected again. */
static void test_silence(void **state)
{
	static const enum guest_act acts[] = {GUEST_MUTE, GUEST_SERVE};
	struct world world;
	unsigned lost;

	(void)state;
	world_init(&world, acts, 2, NULL);
	lost = wait_state(&world, YGR_LINK_LOST, 1);
	assert_string_equal(world.reasons[lost], "GuestSilent");
	wait_count(&world, &world.guest.pings, 3);
	assert_null(ygr_link_welcome(world.link));
	wait_state(&world, YGR_LINK_CONNECTED, 2);
	wait_count(&world, &world.guest.released, 2);
	world_deinit(&world);
}

static void test_lost_and_back(void **state)
{
	static const enum guest_act acts[] = {GUEST_CLOSE, GUEST_GARBAGE, GUEST_OVERSIZED, GUEST_CHATTER};
	static const char *const reasons[] = {"ChannelLost", "ProtocolError", "ProtocolError"};
	struct world world;

	(void)state;
	world_init(&world, acts, 4, NULL);
	for (unsigned i = 0; i < 3; i++) {
		unsigned lost = wait_state(&world, YGR_LINK_LOST, i + 1);

		assert_string_equal(world.reasons[lost], reasons[i]);
		ygr_link_kick(world.link); /* the VM was reset: now, and not after the backoff */
	}
	wait_state(&world, YGR_LINK_CONNECTED, 4);
	run_for(&world, 6 * PING_MS);
	assert_int_equal(ygr_link_state(world.link), YGR_LINK_CONNECTED);
	world_deinit(&world);
}

static void refused(enum guest_act act, const char *reason, enum ygr_link_state wanted)
{
	const enum guest_act acts[] = {act};
	struct world world;
	unsigned at;
	json_t *text;

	world_init(&world, acts, 1, NULL);
	at = wait_state(&world, wanted, 1);
	assert_string_equal(world.reasons[at], reason);
	/* What the guest wrote can be shown. */
	text = json_string(ygr_link_message(world.link));
	assert_non_null(text);
	json_decref(text);
	world_deinit(&world);
}

static void test_refused(void **state)
{
	(void)state;
	refused(GUEST_OTHER_ROOT, "NodeNotTrusted", YGR_LINK_REFUSED);
	refused(GUEST_OTHER_VM, "WrongGuest", YGR_LINK_REFUSED);
	refused(GUEST_BAD_TEXT, "ForbiddenByOwner", YGR_LINK_REFUSED);
	refused(GUEST_NO_CHALLENGE, "ForbiddenByOwner", YGR_LINK_REFUSED);
	refused(GUEST_BIG_WELCOME, "ProtocolError", YGR_LINK_CONNECTING);
}

static void welcome(const char *text, enum ygr_link_state wanted, const char *reason)
{
	static const enum guest_act acts[] = {GUEST_WELCOME};
	struct world world;
	unsigned at;

	world_init(&world, acts, 1, text);
	at = wait_state(&world, wanted, 1);
	assert_string_equal(world.reasons[at], reason);
	world_deinit(&world);
}

static void test_welcomes(void **state)
{
	static char deep[60001];

	(void)state;
	welcome("", YGR_LINK_CONNECTING, "ProtocolError");
	welcome("no JSON", YGR_LINK_CONNECTING, "ProtocolError");
	welcome("[1]", YGR_LINK_CONNECTING, "ProtocolError");
	welcome("{\"a\":1,\"a\":2}", YGR_LINK_CONNECTING, "ProtocolError");
	welcome("{\"release\":\"\xff\xfe\"}", YGR_LINK_CONNECTING, "ProtocolError");
	memset(deep, '[', sizeof(deep) - 1);
	welcome(deep, YGR_LINK_CONNECTING, "ProtocolError");
	/* Odd, but a document: whoever reads it looks at the types. */
	welcome("{\"release\":{},\"cpus\":7,\"features\":[],\"nodename\":\"\\u001b[31m\\n\",\"btf\":\"x\"}",
		YGR_LINK_CONNECTED, "");
}

/* Nobody there: the attempts become rarer, and a kick is at once. */
static void test_backoff(void **state)
{
	static const enum guest_act acts[] = {GUEST_SERVE};
	struct world world;
	int64_t begun = ygr_monotonic_ms(), later;

	(void)state;
	world_init(&world, acts, 1, NULL);
	guest_stop(&world.guest);
	wait_state(&world, YGR_LINK_CONNECTING, 3);
	assert_true(ygr_monotonic_ms() - begun >= 1400); /* 0.5 s and 1 s */
	assert_string_equal(ygr_link_reason(world.link), "GuestProgramMissing");
	later = ygr_monotonic_ms();
	ygr_link_kick(world.link);
	wait_state(&world, YGR_LINK_CONNECTING, 4);
	assert_true(ygr_monotonic_ms() - later < 1000);
	/* For the end. */
	guest_start(&world.guest, world.guest.address + 5, world.keys.root, world.guest.vm, acts, 1);
	world_deinit(&world);
}

/* Closed before, while and after it dials. */
static void test_closed(void **state)
{
	static const enum guest_act acts[] = {GUEST_SERVE};
	struct world world;

	(void)state;
	for (int rounds = 0; rounds < 4; rounds++) {
		world_init(&world, acts, 1, NULL);
		for (int i = 0; i < rounds; i++)
			uv_run(&world.loop, UV_RUN_NOWAIT);
		world_deinit(&world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_connected),     cmocka_unit_test(test_silence),
	    cmocka_unit_test(test_lost_and_back), cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_welcomes),      cmocka_unit_test(test_backoff),
	    cmocka_unit_test(test_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
