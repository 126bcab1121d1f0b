/*
 * The whole of yagura-session with a real yagura-guest, which performs the calls in this machine's own
 * kernel, a real shim and real applications, over a UNIX socket. There is no guest RAM here, so rings
 * stream.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/agent/telebpf/session/session-world.h"

static void begin(struct world *world, struct run *run, const char *owner, const char *executable,
		  const char *helpers)
{
	json_t *welcome;
	int fd;

	if (geteuid() != 0) {
		print_message("bpf(2) and namespaces want root: skipped\n");
		skip();
	}
	session_world_init(world, owner);
	fd = session_dial(world, &welcome);
	session_run(run, fd, -1, session_config(world, executable, helpers, welcome));
}

static void end(struct world *world, struct run *run)
{
	session_run_deinit(run);
	session_world_deinit(world);
}

static void test_rings(void **state)
{
	struct world world;
	struct run run;

	(void)state;
	begin(&world, &run, "", YGR_SUBJECT_RINGS, "*");
	assert_int_equal(session_finish(&run), 0);
	assert_non_null(strstr(run.text, "rings ok: 300 and 300 records\n"));
	assert_int_equal(session_number(session_event(&run, "exited"), "code"), 0);
	assert_string_equal(session_word(session_event(&run, "started"), "delivery"), "Stream");
	assert_int_equal(session_number(session_event(&run, "counters"), "ringRecords"), 600);
	assert_int_equal(session_number(session_event(&run, "counters"), "ringInvalid"), 0);
	assert_int_equal(session_number(session_event(&run, "counters"), "refused"), 0);
	end(&world, &run);
}

/* Everything that can be called by hand, descriptors of the guest's files and netlink among it. */
static void test_raw(void **state)
{
	struct world world;
	struct run run;

	(void)state;
	begin(&world, &run, "", YGR_SUBJECT_RAW, "*");
	assert_int_equal(session_finish(&run), 0);
	assert_non_null(strstr(run.text, "raw ok\n"));
	assert_int_equal(session_number(session_event(&run, "exited"), "code"), 0);
	assert_int_equal(session_number(session_event(&run, "counters"), "refused"), 0);
	end(&world, &run);
}

/* Executables that no loader brings the shim to are loaded by it. */
static void check_static(const char *executable, const char *said, int64_t records)
{
	struct world world;
	struct run run;

	begin(&world, &run, "", executable, "*");
	assert_int_equal(session_finish(&run), 0);
	assert_non_null(strstr(run.text, said));
	assert_int_equal(session_number(session_event(&run, "exited"), "code"), 0);
	assert_string_equal(session_word(session_event(&run, "started"), "entrance"), "Loaded");
	assert_int_equal(session_number(session_event(&run, "counters"), "ringRecords"), records);
	assert_int_equal(session_number(session_event(&run, "counters"), "ringInvalid"), 0);
	end(&world, &run);
}

static void test_static(void **state)
{
	(void)state;
	check_static(YGR_SUBJECT_RINGS_STATIC, "rings ok: 300 and 300 records\n", 600);
}

static void test_go(void **state)
{
	(void)state;
#ifdef YGR_SUBJECT_GO
	check_static(YGR_SUBJECT_GO, "go ok: 60 and 60 records, kernel ", 120);
#else
	print_message("no Go 1.22 or newer when this was built: skipped\n");
	skip();
#endif
}

/* Is there a trace line with all of PART and OTHER? */
static bool traced(const struct run *run, const char *part, const char *other)
{
	json_t *object;
	size_t i;

	json_array_foreach(run->events, i, object)
	{
		const char *line = json_string_value(json_object_get(object, "line"));

		if (!strcmp(session_word(object, "event"), "trace") && strstr(line, part) &&
		    strstr(line, other))
			return true;
	}
	return false;
}

static void test_trace_and_explain(void **state)
{
	struct world world;
	struct run run;
	json_t *welcome, *config, *explained;
	const char *text;
	int fd;

	(void)state;
	if (geteuid() != 0)
		skip();
	session_world_init(&world, "");
	fd = session_dial(&world, &welcome);
	config = session_config(&world, YGR_SUBJECT_RINGS, "*", welcome);
	json_object_set_new(config, "trace", json_true());
	session_run(&run, fd, -1, config);
	assert_int_equal(session_finish(&run), 0);
	assert_true(
	    traced(&run, "bpf(BPF_MAP_CREATE, {map_type=BPF_MAP_TYPE_RINGBUF, max_entries=8192", " = #"));
	assert_true(traced(&run, "bpf(BPF_PROG_LOAD, {prog_type=BPF_PROG_TYPE_RAW_TRACEPOINT",
			   "prog_name=\"produce\""));
	assert_true(traced(&run, "bpf(BPF_PROG_TEST_RUN, {prog_fd=#", " = 0 <"));
	assert_true(traced(&run, "perf_event_open({type=PERF_TYPE_SOFTWARE, config=0xa", " = #"));
	assert_true(traced(&run, "ioctl(#", "PERF_EVENT_IOC_ENABLE, 0) = 0 <"));
	explained = session_event(&run, "explain");
	assert_int_equal(session_number(json_object_get(explained, "calls"), "PROG_TEST_RUN"), 300);
	assert_true(session_number(json_object_get(explained, "calls"), "perf_event_open") > 0);
	assert_int_equal(session_number(json_object_get(explained, "rings"), "Stream"),
			 session_number(json_object_get(explained, "calls"), "perf_event_open") + 1);
	assert_true(session_number(explained, "clockUncertaintyNs") > 0);
	text = session_word(explained, "line");
	assert_non_null(
	    strstr(text, "hooked:    calls are rewritten where they are first made; the dynamic loader"));
	assert_non_null(strstr(text, " 300 PROG_TEST_RUN\n"));
	assert_non_null(strstr(text, "delivery:  Stream\n"));
	end(&world, &run);
}

static void test_catalogue_refuses(void **state)
{
	struct world world;
	struct run run;

	(void)state;
	begin(&world, &run, "", YGR_SUBJECT_RINGS, "map_lookup_elem");
	session_finish(&run);
	assert_string_equal(session_word(session_event(&run, "error"), "reason"), "ForbiddenByCatalogue");
	assert_true(session_number(session_event(&run, "counters"), "refused") > 0);
	assert_true(session_number(session_event(&run, "exited"), "code") != 0);
	end(&world, &run);
}

static void test_owner_refuses(void **state)
{
	struct world world;
	struct run run;

	(void)state;
	begin(&world, &run, "sessions:\n  allow:\n    helpers: [map_lookup_elem]\n", YGR_SUBJECT_RINGS, "*");
	session_finish(&run);
	assert_string_equal(session_word(session_event(&run, "error"), "reason"), "ForbiddenByOwner");
	assert_non_null(strstr(session_word(session_event(&run, "error"), "message"), "helper"));
	end(&world, &run);
}

/* A grant for another machine is refused before anything is started. */
static void test_refused_session(void **state)
{
	struct world world;
	struct run run;
	json_t *welcome, *config;
	int fd;

	(void)state;
	if (geteuid() != 0)
		skip();
	session_world_init(&world, "");
	fd = session_dial(&world, &welcome);
	config = session_config(&world, YGR_SUBJECT_RINGS, "*", welcome);
	json_object_set_new(config, "grantSignature", session_base64(world.keys.root, 32));
	session_run(&run, fd, -1, config);
	assert_int_not_equal(session_finish(&run), 0);
	assert_string_equal(session_word(session_event(&run, "error"), "reason"), "ProtocolError");
	session_run_deinit(&run);

	fd = session_dial(&world, &welcome);
	config = session_config(&world, YGR_SUBJECT_RINGS, "*", welcome);
	json_object_set_new(config, "grantSignature", session_base64((uint8_t[64]){1, 2, 3}, 64));
	session_run(&run, fd, -1, config);
	assert_int_not_equal(session_finish(&run), 0);
	assert_string_equal(session_word(session_event(&run, "error"), "reason"), "ForbiddenByCatalogue");
	assert_null(session_event(&run, "started"));
	end(&world, &run);
}

static void test_executable_changed(void **state)
{
	struct world world;
	struct run run;
	json_t *welcome, *config;
	int fd;

	(void)state;
	if (geteuid() != 0)
		skip();
	session_world_init(&world, "");
	fd = session_dial(&world, &welcome);
	config = session_config(&world, YGR_SUBJECT_RINGS, "*", welcome);
	json_object_set_new(config, "sha256",
			    json_string("1111111111111111111111111111111111111111111111111111111111111111"));
	session_run(&run, fd, -1, config);
	session_finish(&run);
	assert_string_equal(session_word(session_event(&run, "error"), "reason"), "ExecutableChanged");
	assert_null(session_event(&run, "started"));
	end(&world, &run);
}

static void begin_sleep(struct world *world, struct run *run)
{
	json_t *welcome, *config;
	int fd;

	if (geteuid() != 0)
		skip();
	session_world_init(world, "");
	fd = session_dial(world, &welcome);
	config = session_config(world, "/bin/sleep", "*", welcome);
	json_object_set_new(config, "argv", json_pack("[s, s]", "sleep", "600"));
	session_run(run, fd, -1, config);
	session_wait(run, "started");
	assert_null(session_event(run, "running"));
}

/* One that attaches nothing runs when it has been quiet for a while. */
static void test_quiet(void **state)
{
	struct world world;
	struct run run;

	(void)state;
	begin_sleep(&world, &run);
	session_wait(&run, "running");
	assert_false(json_is_true(json_object_get(session_event(&run, "running"), "attached")));
	session_stop_guest(&world);
	session_finish(&run);
	end(&world, &run);
}

static void test_lost(void **state)
{
	struct world world;
	struct run run;

	(void)state;
	begin_sleep(&world, &run);
	session_stop_guest(&world);
	session_finish(&run);
	assert_string_equal(session_word(session_event(&run, "error"), "reason"), "ChannelLost");
	assert_int_equal(session_number(session_event(&run, "exited"), "signal"), SIGKILL);
	end(&world, &run);
}

static void test_stop(void **state)
{
	struct world world;
	struct run run;

	(void)state;
	begin_sleep(&world, &run);
	assert_string_equal(session_word(session_event(&run, "started"), "mechanism"), "Rewrite");
	assert_int_equal(write(run.control, "{\"do\":\"stop\"}\n", 14), 14);
	assert_int_equal(session_finish(&run), 0);
	assert_int_equal(session_number(session_event(&run, "exited"), "signal"), SIGINT);
	end(&world, &run);
}

/* The agent's death ends the application. */
static void test_agent_gone(void **state)
{
	struct world world;
	struct run run;
	pid_t application;
	int status;

	(void)state;
	begin_sleep(&world, &run);
	application = (pid_t)session_number(session_event(&run, "started"), "pid");
	assert_int_equal(kill(application, 0), 0);
	shutdown(run.control, SHUT_RDWR);
	assert_int_equal(waitpid(run.pid, &status, 0), run.pid);
	for (int i = 0; i < 500 && kill(application, 0) == 0; i++)
		usleep(10000);
	assert_int_equal(kill(application, 0), -1);
	end(&world, &run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_raw),
	    cmocka_unit_test(test_rings),
	    cmocka_unit_test(test_static),
	    cmocka_unit_test(test_go),
	    cmocka_unit_test(test_trace_and_explain),
	    cmocka_unit_test(test_catalogue_refuses),
	    cmocka_unit_test(test_owner_refuses),
	    cmocka_unit_test(test_refused_session),
	    cmocka_unit_test(test_executable_changed),
	    cmocka_unit_test(test_quiet),
	    cmocka_unit_test(test_lost),
	    cmocka_unit_test(test_stop),
	    cmocka_unit_test(test_agent_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
