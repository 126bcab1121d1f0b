/*
 * Shared against a guest whose RAM is a file of ours: the guest's pages arrive in the application and nothing
 * else of that file does; the application and its threads, children and signals survive being held; whatever
 * ends, ends with nothing mapped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/agent/telebpf/session/guest-double.h"
#include "tests/agent/telebpf/session/session-world.h"

struct scene {
	struct world world;
	struct guest_double guest;
	struct run run;
	int64_t records; /* of each ring, that the application waits for */
};

struct setting {
	const char *delivery;
	const char *argv[4]; /* after the program's name */
	bool lie, sealed;
};

static void begin(struct scene *scene, const struct setting *setting)
{
	json_t *welcome, *config, *argv = json_pack("[s]", "shared");
	int channel;

	if (geteuid() != 0) {
		print_message("bpf(2), ptrace(2) and namespaces want root: skipped\n");
		skip();
	}
	scene->records = setting->argv[1] ? strtoll(setting->argv[1], NULL, 10) : 0;
	session_world_init(&scene->world, "");
	double_start(&scene->guest, session_dial(&scene->world, &welcome), setting->lie, &channel);
	config = session_config(&scene->world, YGR_SUBJECT_SHARED, "*", welcome);
	for (int i = 0; i < 4 && setting->argv[i]; i++)
		json_array_append_new(argv, json_string(setting->argv[i]));
	json_object_set_new(config, "argv", argv);
	json_object_set_new(config, "delivery", json_string(setting->delivery));
	json_object_set_new(config, "ram",
			    json_pack("{s:[{s:i, s:i, s:i}]}", "regions", "gpa", DOUBLE_GPA, "size",
				      DOUBLE_RAM, "offset", 0));
	session_run(&scene->run, channel, double_ram(&scene->guest, setting->sealed), config);
}

static void end(struct scene *scene)
{
	double_stop(&scene->guest);
	session_run_deinit(&scene->run);
	session_world_deinit(&scene->world);
}

static void all_is_well(struct scene *scene, const char *delivery)
{
	const json_t *explained;

	assert_int_equal(session_finish(&scene->run), 0);
	assert_non_null(strstr(scene->run.text, "shared ok: 200 rounds"));
	assert_int_equal(session_number(session_event(&scene->run, "exited"), "code"), 0);
	assert_string_equal(session_word(session_event(&scene->run, "started"), "delivery"), delivery);
	explained = json_object_get(session_event(&scene->run, "explain"), "rings");
	assert_true(session_number(explained, delivery) >= 2);
	assert_int_equal(scene->guest.wrong, 0);
	assert_true(session_number(session_event(&scene->run, "counters"), "ringRecords") >=
		    2 * scene->records);
	/* All pages are given back, and only when nobody maps them. */
	for (int i = 0; i < 200 && scene->guest.closed != scene->guest.opened; i++)
		usleep(10000);
	assert_int_equal(scene->guest.closed, scene->guest.opened);
}

static void test_shared(void **state)
{
	struct scene scene;

	(void)state;
	begin(&scene, &(struct setting){"Shared", {"share", "700", "guest"}, false, true});
	all_is_well(&scene, "Shared");
	end(&scene);
}

static void test_copied(void **state)
{
	struct scene scene;

	(void)state;
	begin(&scene, &(struct setting){"Copied", {"share", "700", "private"}, false, true});
	all_is_well(&scene, "Copied");
	end(&scene);
}

/* A file that could shrink would be SIGBUS for the application. */
static void test_not_sealed(void **state)
{
	struct scene scene;

	(void)state;
	begin(&scene, &(struct setting){"Shared", {"share", "200", "private"}, false, false});
	all_is_well(&scene, "Copied");
	assert_non_null(
	    strstr(session_word(session_event(&scene.run, "started"), "deliveryReason"), "not sealed"));
	end(&scene);
}

static void wait_text(struct run *run, const char *text)
{
	for (int i = 0; i < 1000 && !strstr(run->text, text); i++) {
		ssize_t n = read(run->output, run->text + run->text_length,
				 sizeof(run->text) - 1 - run->text_length);

		assert_true(n > 0);
		run->text_length += (size_t)n;
		run->text[run->text_length] = '\0';
	}
}

static void wait_gone(pid_t pid)
{
	for (int i = 0; i < 500 && kill(pid, 0) == 0; i++)
		usleep(10000);
	assert_int_equal(kill(pid, 0), -1);
}

/* The guest resets while its pages are mapped. */
static void test_reset(void **state)
{
	struct scene scene;
	pid_t application;

	(void)state;
	begin(&scene, &(struct setting){"Shared", {"wait"}, false, true});
	session_wait(&scene.run, "started");
	wait_text(&scene.run, "holding");
	application = (pid_t)session_number(session_event(&scene.run, "started"), "pid");
	assert_int_equal(kill(application, 0), 0);
	double_cut(&scene.guest);
	session_finish(&scene.run);
	assert_string_equal(session_word(session_event(&scene.run, "error"), "reason"), "ChannelLost");
	assert_int_equal(session_number(session_event(&scene.run, "exited"), "signal"), SIGKILL);
	assert_int_equal(kill(application, 0), -1);
	end(&scene);
}

static void test_session_killed(void **state)
{
	struct scene scene;
	pid_t application;
	int status;

	(void)state;
	begin(&scene, &(struct setting){"Shared", {"wait"}, false, true});
	session_wait(&scene.run, "started");
	wait_text(&scene.run, "holding");
	application = (pid_t)session_number(session_event(&scene.run, "started"), "pid");
	assert_int_equal(kill(scene.run.pid, SIGKILL), 0);
	assert_int_equal(waitpid(scene.run.pid, &status, 0), scene.run.pid);
	wait_gone(application);
	end(&scene);
}

/* What Shared gives up: here the application believes the guest's lengths. */
static void test_length_shared(void **state)
{
	struct scene scene;

	(void)state;
	begin(&scene, &(struct setting){"Shared", {"length"}, true, true});
	session_finish(&scene.run);
	assert_non_null(strstr(scene.run.text, "a record of 805306360 bytes\n"));
	assert_non_null(strstr(scene.run.text, "read beyond the ring\n"));
	end(&scene);
}

static void length_is_stopped(const char *delivery)
{
	struct scene scene;

	begin(&scene, &(struct setting){delivery, {"length"}, true, true});
	session_finish(&scene.run);
	assert_null(strstr(scene.run.text, "a record of"));
	assert_string_equal(session_word(session_event(&scene.run, "error"), "reason"), "GuestMisbehaved");
	assert_int_equal(session_number(session_event(&scene.run, "exited"), "signal"), SIGKILL);
	end(&scene);
}

static void test_length_copied(void **state)
{
	(void)state;
	length_is_stopped("Copied");
}

static void test_length_stream(void **state)
{
	(void)state;
	length_is_stopped("Stream");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_shared),         cmocka_unit_test(test_copied),

	    cmocka_unit_test(test_not_sealed),     cmocka_unit_test(test_reset),
	    cmocka_unit_test(test_session_killed), cmocka_unit_test(test_length_shared),
	    cmocka_unit_test(test_length_copied),  cmocka_unit_test(test_length_stream),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
