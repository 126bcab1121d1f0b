/*
 * Applications with a session that plays a script in place of yagura-session: what a session can do wrong,
 * what the agent does then, and what a person can read of it. The guest at the far end has a script, too.
 */
#include "tests/agent/telebpf/scripted-guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "agent/telebpf/catalogue.h"
#include "agent/telebpf/telebpf.h"
#include "lib/base/uuid.h"
#include "lib/wire/deadline.h"
#include "tests/lib/wire/identity-fixture.h"

#define VM          "00000000-0000-0000-0000-000000000007"
#define DEADLINE_MS 60000

struct world {
	struct fixture keys;
	struct ygr_identity *identity;
	struct ygr_catalogue *catalogue;
	struct ygr_bus *bus;
	struct ygr_sink *sink;
	struct ygr_telebpf *telebpf;
	uv_loop_t loop;
	uv_timer_t tick;
	struct guest guest;
	struct ygr_link *link;
	struct ygr_application *application;
	unsigned ended, running;
	bool raw, slow; /* output to us; and we take one piece at a time */
	char output[1 << 18];
	size_t output_length;
	unsigned pieces;
};

static void on_link(void *user, struct ygr_link *link)
{
	(void)user;
	(void)link;
}

static void on_tick(uv_timer_t *timer)
{
	(void)timer;
}

static void on_changed(void *user, struct ygr_application *application)
{
	struct world *world = user;

	assert_int_equal(world->ended, 0); /* nothing after it */
	world->ended += ygr_application_state(application) == YGR_APPLICATION_ENDED;
	world->running += ygr_application_state(application) == YGR_APPLICATION_RUNNING;
}

static bool on_output(void *user, const char *which, const char *data, size_t len)
{
	struct world *world = user;
	size_t room = sizeof(world->output) - 1 - world->output_length;

	(void)which;
	memcpy(world->output + world->output_length, data, len < room ? len : room);
	world->output_length += len < room ? len : room;
	world->pieces++;
	return !world->slow;
}

static void write_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void read_catalogue(struct world *world)
{
	struct ygr_error error = YGR_ERROR_INIT;
	const char *path = fixture_path(&world->keys, "catalogue.yaml");

	write_file(path,
		   "apiVersion: yagura.dev/v1alpha1\nkind: Catalogue\nprograms:\n- name: tool\n"
		   "  executable: /bin/true\n  args: [\"-x\"]\n  programTypes: [kprobe]\n"
		   "  attach: [\"kprobe:tcp_v4_connect\"]\n",
		   0600);
	if (ygr_catalogue_read(&path, 1, &world->catalogue, &error) < 0)
		fail_msg("%s", error.message);
}

/* SESSION: a shell script in place of yagura-session; $line is what the agent said first. */
static void world_init(struct world *world, const char *session)
{
	static const enum guest_act acts[] = {GUEST_SERVE};
	struct ygr_telebpf_options options = {
	    .loop = &world->loop, .node = "node", .uid_base = 900000, .uid_count = 4};
	struct ygr_link_target target = {.uuid = VM, .namespace_ = "default", .name = "web"};
	char script[4096], program[128];
	uint8_t vm[16];

	memset(world, 0, sizeof(*world));
	fixture_init(&world->keys);
	options.identity = world->identity = fixture_identity(&world->keys, "node.key", "node.cert");
	read_catalogue(world);
	options.catalogue = world->catalogue;
	options.bus = world->bus = ygr_bus_new();
	assert_non_null(world->bus);
	assert_int_equal(ygr_bus_subscribe(world->bus, &(struct ygr_event_filter){0}, 1 << 20, 0, NULL, NULL,
					   &world->sink),
			 0);
	snprintf(script, sizeof(script),
		 "#!/bin/sh\nsay() { printf '%%s\\n' \"$*\" >&3; }\nread -r line <&3\n"
		 "say "
		 "'{\"event\":\"started\",\"pid\":1,\"mechanism\":\"Rewrite\",\"delivery\":\"Stream\"}'\n"
		 "say '{\"event\":\"running\",\"attached\":true}'\n%s\n",
		 session);
	snprintf(program, sizeof(program), "%s", fixture_path(&world->keys, "session"));
	write_file(program, script, 0700);
	options.session_program = program;
	options.shim = "/nowhere";
	assert_int_equal(ygr_uuid_parse(VM, vm), 0);
	assert_int_equal(uv_loop_init(&world->loop), 0);
	uv_timer_init(&world->loop, &world->tick);
	uv_timer_start(&world->tick, on_tick, 10, 10);
	guest_start(&world->guest, fixture_path(&world->keys, "guest.sock"), world->keys.root, vm, acts, 1);
	assert_int_equal(ygr_telebpf_new(&options, &world->telebpf), 0);
	target.address = world->guest.address;
	/* Closed before the loop runs: the guest has one ear. */
	assert_int_equal(ygr_link_open(world->telebpf, &target, on_link, NULL, &world->link), 0);
}

static int start(struct world *world, const struct ygr_application_options *changes, struct ygr_error *error)
{
	static char *none[] = {NULL};
	struct ygr_application_options options = *changes;
	const struct ygr_application_handlers handlers = {
	    .changed = on_changed, .output = world->raw ? on_output : NULL, .user = world};

	options.link = world->link;
	options.monitor = "default/base";
	options.namespace_ = "default";
	options.monitor_name = "base";
	options.app = changes->app ? changes->app : "tool";
	if (!options.program)
		options.program = "tool";
	if (!options.args)
		options.args = none;
	options.ram_fd = -1;
	return ygr_application_start(world->telebpf, &options, &handlers, &world->application, error);
}

/* Starts the application of a world that was made, and perhaps spoilt, before: the dial does not wait for us. */
static void begin_in(struct world *world, const struct ygr_application_options *options)
{
	struct ygr_error error = YGR_ERROR_INIT;

	if (start(world, options, &error) < 0)
		fail_msg("%s", error.message);
	world->link = ygr_link_close(world->link);
}

static void begin_with(struct world *world, const char *session,
		       const struct ygr_application_options *options)
{
	world_init(world, session);
	begin_in(world, options);
}

static void begin(struct world *world, const char *session)
{
	begin_with(world, session, &(struct ygr_application_options){0});
}

/* Closed whatever it does, and the room with it. */
static void finish(struct world *world)
{
	ygr_link_close(world->link);
	ygr_application_close(world->application);
	ygr_telebpf_free(world->telebpf);
	uv_close((uv_handle_t *)&world->tick, NULL);
	guest_stop(&world->guest);
	uv_run(&world->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&world->loop), 0);
	ygr_sink_unsubscribe(world->sink);
	ygr_bus_free(world->bus);
	ygr_catalogue_free(world->catalogue);
	ygr_identity_free(world->identity);
	fixture_deinit(&world->keys);
}

static void wait_for(struct world *world, const unsigned *what)
{
	int64_t deadline = ygr_deadline_in(DEADLINE_MS);

	while (!*what && ygr_deadline_left(deadline))
		uv_run(&world->loop, UV_RUN_ONCE);
	assert_true(*what > 0);
}

static void run_for(struct world *world, int ms)
{
	int64_t deadline = ygr_deadline_in(ms);

	while (ygr_deadline_left(deadline))
		uv_run(&world->loop, UV_RUN_ONCE);
}

/* SESSION ends with REASON (NULL: none) and a message with TEXT in it. */
static void ends(const char *session, const char *reason, const char *text)
{
	struct world world;
	json_t *message;

	begin(&world, session);
	wait_for(&world, &world.ended);
	if (reason) {
		assert_non_null(ygr_application_reason(world.application));
		assert_string_equal(ygr_application_reason(world.application), reason);
		assert_non_null(strstr(ygr_application_message(world.application), text));
		message = json_string(ygr_application_message(world.application));
		assert_non_null(message);
		json_decref(message);
	} else {
		assert_null(ygr_application_reason(world.application));
	}
	finish(&world);
}

static void test_ends_well(void **state)
{
	struct world world;
	char events[8192];
	int64_t n;

	(void)state;
	begin(&world, "echo one; printf two; echo three >&2\n"
		      "say '{\"event\":\"counters\",\"calls\":38,\"ringRecords\":10}'\n"
		      "say '{\"event\":\"exited\",\"code\":7}'");
	wait_for(&world, &world.ended);
	assert_null(ygr_application_reason(world.application));
	assert_int_equal(ygr_application_exit_status(world.application), 7);
	assert_string_equal(ygr_application_mechanism(world.application), "Rewrite");
	assert_string_equal(ygr_application_delivery(world.application), "Stream");
	assert_int_equal(ygr_application_counters(world.application)->calls, 38);
	assert_int_equal(ygr_application_counters(world.application)->lines, 3);
	n = ygr_sink_take(world.sink, events, sizeof(events) - 1);
	assert_true(n > 0);
	events[n] = '\0';
	assert_non_null(strstr(events, "\"one\""));
	assert_non_null(strstr(events, "\"two\""));
	assert_non_null(strstr(events, "\"three\""));
	finish(&world);
}

static void test_dies(void **state)
{
	(void)state;
	ends("exit 3", "SessionDied", "status 3");
	ends("kill -9 $$", "SessionDied", "signal 9");
	ends("exec 3>&-; exit 0", "SessionDied", "without a word");
	ends("say '{\"event\":\"error\",\"reason\":\"NoBTF\",\"message\":\"none\"}'; kill -9 $$", "NoBTF",
	     "none");
	ends("say '{\"event\":\"exited\",\"signal\":9}'", NULL, NULL);
}

static void test_garbage(void **state)
{
	(void)state;
	ends("echo garbage >&3; exec sleep 60", "ProtocolError", "no report");
	ends("say 7; exec sleep 60", "ProtocolError", "no report");
	ends("printf '\\000\\377\\n' >&3; exec sleep 60", "ProtocolError", "no report");
	ends("head -c 1000000 /dev/zero | tr '\\000' '[' >&3; exec sleep 60", "ProtocolError", "no end");
	ends("(head -c 200000 /dev/zero | tr '\\000' '['; echo) >&3; exec sleep 60", "ProtocolError",
	     "no report");
	/* Long, but a report: the sentence is cut. */
	ends("(printf '{\"event\":\"error\",\"reason\":\"Long\",\"message\":\"'; "
	     "head -c 66666 /dev/zero | sed 's/\\x00/\xe2\x82\xac/g'; printf '\"}\\n') >&3",
	     "Long", "\xe2\x82\xac");
	/* Members of other types, events that nobody knows, words that are none. */
	ends("say '{\"event\":\"counters\",\"calls\":-5,\"refused\":\"x\",\"ringBytes\":1e308}'\n"
	     "say '{\"event\":7}'; say '{\"event\":\"dance\"}'; say '{}'\n"
	     "say '{\"event\":\"started\",\"delivery\":\"\\u001b[1m\",\"mechanism\":[]}'\n"
	     "say '{\"event\":\"exited\",\"code\":-1e400}'; exec sleep 60",
	     "ProtocolError", "no report");
	ends("say '{\"event\":\"error\",\"reason\":\"../x\",\"message\":[]}'\n"
	     "say '{\"event\":\"exited\",\"code\":99999999999}'",
	     "Unknown", "");
}

static void test_stop(void **state)
{
	struct world world;

	(void)state;
	begin(&world, "read -r order <&3; echo \"$order\"; say '{\"event\":\"exited\",\"signal\":2}'");
	wait_for(&world, &world.running);
	ygr_application_stop(world.application);
	wait_for(&world, &world.ended);
	assert_null(ygr_application_reason(world.application));
	assert_int_equal(ygr_application_exit_status(world.application), 130);
	assert_int_equal(ygr_application_counters(world.application)->lines, 1);
	finish(&world);
}

/* Deaf to it: killed after a while. */
static void test_deaf(void **state)
{
	struct world world;
	int64_t begun;

	(void)state;
	begin(&world, "trap '' INT TERM; exec sleep 60");
	wait_for(&world, &world.running);
	begun = ygr_monotonic_ms();
	ygr_application_stop(world.application);
	wait_for(&world, &world.ended);
	assert_in_range(ygr_monotonic_ms() - begun, 3900, 8000);
	assert_string_equal(ygr_application_reason(world.application), "SessionDied");
	assert_non_null(strstr(ygr_application_message(world.application), "did not stop within 4 s"));
	finish(&world);
}

static void test_flood(void **state)
{
	const struct ygr_application_counters *counters;
	struct world world;

	(void)state;
	begin_with(&world,
		   "yes x | head -n 200000; head -c 3000000 /dev/zero | tr '\\000' y >&2\n"
		   "say '{\"event\":\"exited\",\"code\":0}'",
		   &(struct ygr_application_options){.events_per_second = 100});
	wait_for(&world, &world.ended);
	counters = ygr_application_counters(world.application);
	assert_int_equal(counters->lines + counters->lines_dropped, 200001);
	assert_in_range(counters->lines, 100, 20000);
	assert_int_equal(counters->lines_cut, 1);
	finish(&world);
}

/* A reader that takes its time gets everything, also what was written long before the end. */
static void test_slow_reader(void **state)
{
	struct world world = {0};
	struct ygr_error error = YGR_ERROR_INIT;
	int64_t deadline = ygr_deadline_in(DEADLINE_MS);

	(void)state;
	world_init(&world, "seq 1 30000; say '{\"event\":\"exited\",\"code\":0}'");
	world.raw = world.slow = true;
	assert_int_equal(start(&world, &(struct ygr_application_options){0}, &error), 0);
	world.link = ygr_link_close(world.link);
	wait_for(&world, &world.pieces);
	run_for(&world, 2500);
	assert_int_equal(world.pieces, 1);
	assert_int_equal(world.ended, 0);
	while (!world.ended && ygr_deadline_left(deadline)) {
		ygr_application_resume(world.application);
		uv_run(&world.loop, UV_RUN_ONCE);
	}
	assert_int_equal(world.output_length, 168894);
	assert_non_null(strstr(world.output, "\n30000\n"));
	finish(&world);
}

/* Somebody who outlives the session holds its pipes. */
static void test_held_pipes(void **state)
{
	struct world world;
	int64_t begun = ygr_monotonic_ms();

	(void)state;
	begin(&world, "sleep 5 & say '{\"event\":\"exited\",\"code\":0}'");
	wait_for(&world, &world.ended);
	assert_true(ygr_monotonic_ms() - begun < 4000);
	finish(&world);
}

static void test_closed(void **state)
{
	struct world world;

	(void)state;
	for (int rounds = 0; rounds < 6; rounds++) { /* before, while and after it dials */
		begin(&world, "exec sleep 60");
		for (int i = 0; i < rounds; i++)
			uv_run(&world.loop, UV_RUN_ONCE);
		finish(&world);
	}
	begin(&world, "exec sleep 60");
	wait_for(&world, &world.running);
	finish(&world);
}

/* A session that only has its executable started is no success yet. */
static void test_attaches(void **state)
{
	struct world world;

	(void)state;
	world_init(&world, "");
	/* The script of world_init() says both; this one says the second when it is told. */
	write_file(
	    fixture_path(&world.keys, "session"),
	    "#!/bin/sh\nread -r line <&3\n"
	    "echo '{\"event\":\"started\",\"mechanism\":\"Rewrite\",\"delivery\":\"Copied\"}' >&3\n"
	    "read -r order <&3\necho '{\"event\":\"running\",\"attached\":true}' >&3\nexec sleep 60\n",
	    0700);
	begin_in(&world, &(struct ygr_application_options){0});
	while (!ygr_application_delivery(world.application))
		uv_run(&world.loop, UV_RUN_ONCE);
	run_for(&world, 100);
	assert_int_equal(ygr_application_state(world.application), YGR_APPLICATION_STARTING);
	assert_int_equal(world.running, 0);
	assert_int_equal(ygr_application_signal(world.application, SIGUSR1), 0);
	wait_for(&world, &world.running);
	finish(&world);
}

/* Where a session would make the group of APP: below the mount that has the groups of version 2. */
static void group_path(const char *app, char out[128])
{
	const char *root =
	    access("/sys/fs/cgroup/cgroup.procs", F_OK) == 0 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/unified";

	snprintf(out, 128, "%s/yagura/default_base_web_%s", root, app);
	if (geteuid() != 0 || access(root, W_OK) < 0)
		skip();
}

/* A session that is killed cannot remove its group: it is gone when the end is told. */
static void test_group(void **state)
{
	struct world world;
	char app[32], path[128], script[512];

	(void)state;
	snprintf(app, sizeof(app), "t%d", (int)getpid());
	group_path(app, path);
	snprintf(script, sizeof(script), "mkdir -p %s; sleep 60 & echo $! >%s/cgroup.procs; kill -9 $$",
		 path, path);
	begin_with(&world, script, &(struct ygr_application_options){.app = app});
	wait_for(&world, &world.ended);
	assert_string_equal(ygr_application_reason(world.application), "SessionDied");
	assert_int_equal(access(path, F_OK), -1);
	finish(&world);
}

static bool is_running(const struct ygr_application *application)
{
	return ygr_application_state(application) == YGR_APPLICATION_RUNNING;
}

/*
 * Two of one name, of which the first is closed, and so killed, when one runs: the second waits until the first's
 * group is gone, and what it has made itself stays.
 */
static void test_group_is_handed_over(void **state)
{
	struct ygr_error error = YGR_ERROR_INIT;
	int64_t deadline = ygr_deadline_in(DEADLINE_MS);
	struct ygr_application *first;
	struct world world;
	char app[32], path[128], script[512];

	(void)state;
	snprintf(app, sizeof(app), "h%d", (int)getpid());
	group_path(app, path);
	snprintf(
	    script, sizeof(script),
	    "mkdir -p %s || exit 9\nread -r order <&3\nrmdir %s && say '{\"event\":\"exited\",\"code\":5}'",
	    path, path);
	const struct ygr_application_options options = {.app = app};
	world_init(&world, script);
	assert_int_equal(start(&world, &options, &error), 0);
	first = world.application;
	begin_in(&world, &options);
	while (!is_running(first) && !is_running(world.application) && ygr_deadline_left(deadline))
		uv_run(&world.loop, UV_RUN_ONCE);
	ygr_application_close(first);
	while (!is_running(world.application) && ygr_deadline_left(deadline))
		uv_run(&world.loop, UV_RUN_ONCE);
	run_for(&world, 300);
	assert_true(is_running(world.application));
	assert_int_equal(access(path, F_OK), 0);
	ygr_application_stop(world.application);
	wait_for(&world, &world.ended);
	assert_null(ygr_application_reason(world.application));
	assert_int_equal(ygr_application_exit_status(world.application), 5);
	finish(&world);
}

static void test_never_runs(void **state)
{
	static const enum guest_act stranger[] = {GUEST_OTHER_ROOT};
	static char *bad[] = {"--evil", NULL};
	struct ygr_error error = YGR_ERROR_INIT;
	struct world world;

	(void)state;
	begin(&world, "exec sleep 60");
	ygr_application_stop(world.application);
	wait_for(&world, &world.ended);
	assert_string_equal(ygr_application_reason(world.application), "Stopped");
	assert_int_equal(ygr_application_exit_status(world.application), -1);
	finish(&world);

	world_init(&world, "exec sleep 60");
	world.guest.acts = stranger;
	begin_in(&world, &(struct ygr_application_options){0});
	wait_for(&world, &world.ended);
	assert_string_equal(ygr_application_reason(world.application), "NodeNotTrusted");
	finish(&world);

	world_init(&world, "exec sleep 60");
	unlink(fixture_path(&world.keys, "session"));
	begin_in(&world, &(struct ygr_application_options){0});
	wait_for(&world, &world.ended);
	assert_string_equal(ygr_application_reason(world.application), "LaunchFailed");
	finish(&world);

	world_init(&world, "");
	assert_int_equal(start(&world, &(struct ygr_application_options){.program = "tol"}, &error),
			 -ENOENT);
	assert_non_null(strstr(error.message, "did you mean \"tool\""));
	assert_int_equal(start(&world, &(struct ygr_application_options){.args = bad}, &error), -EPERM);
	assert_int_equal(start(&world, &(struct ygr_application_options){.delivery = "Shared"}, &error),
			 -EPERM);
	assert_null(world.application);
	finish(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ends_well),
	    cmocka_unit_test(test_dies),
	    cmocka_unit_test(test_garbage),
	    cmocka_unit_test(test_stop),
	    cmocka_unit_test(test_deaf),
	    cmocka_unit_test(test_flood),
	    cmocka_unit_test(test_slow_reader),
	    cmocka_unit_test(test_held_pipes),
	    cmocka_unit_test(test_closed),
	    cmocka_unit_test(test_never_runs),
	    cmocka_unit_test(test_attaches),
	    cmocka_unit_test(test_group),
	    cmocka_unit_test(test_group_is_handed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
