/* The directory source on a real directory: changes, renames, broken files, duplicates, an absent directory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/desired/desired.h"
#include "agent/desired/directory.h"

#define SPEC "spec: {vmSelector: {}, apps: [{name: a, program: %s}]}\n"

struct fixture {
	char directory[64];
	uv_loop_t loop;
	struct ygr_desired *desired;
	char log[4096]; /* "+ns/name@generation program", "-ns/name", "!message", "synced" */
	bool timed_out;
	int ticks;
};

static void note(struct fixture *f, const char *text)
{
	size_t len = strlen(f->log);

	snprintf(f->log + len, sizeof(f->log) - len, "%s\n", text);
}

static void on_changed(void *user, const struct ygr_monitor *m)
{
	char text[256];

	snprintf(text, sizeof(text), "+%s/%s@%d %s", m->meta.namespace_, m->meta.name,
		 (int)m->meta.generation, m->apps[0].program);
	note(user, text);
}

static void on_gone(void *user, const char *ns, const char *name)
{
	char text[256];

	snprintf(text, sizeof(text), "-%s/%s", ns, name);
	note(user, text);
}

static void on_policy_changed(void *user, const struct ygr_vm_policy *policy)
{
	char text[256];

	snprintf(text, sizeof(text), "+VMPolicy %s/%s@%d %s", policy->meta.namespace_, policy->meta.name,
		 (int)policy->meta.generation, ygr_policy_mode_words[policy->mode]);
	note(user, text);
}

static void on_policy_gone(void *user, const char *ns, const char *name)
{
	char text[256];

	snprintf(text, sizeof(text), "-VMPolicy %s/%s", ns, name);
	note(user, text);
}

static void on_problems(void *user, const struct ygr_manifest_problem *problems, size_t count)
{
	char text[600];

	for (size_t i = 0; i < count; i++) {
		snprintf(text, sizeof(text), "!%s", problems[i].message);
		note(user, text);
	}
	if (!count)
		note(user, "!none");
}

static void on_synced(void *user)
{
	note(user, "synced");
}

static void write_file(struct fixture *f, const char *name, const char *text)
{
	char path[160], temporary[160];

	snprintf(path, sizeof(path), "%s/%s", f->directory, name);
	snprintf(temporary, sizeof(temporary), "%s/.%s.swp", f->directory, name);
	FILE *file = fopen(temporary, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(rename(temporary, path), 0);
}

static void write_monitor(struct fixture *f, const char *file, const char *name, const char *program)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "apiVersion: yagura.dev/v1alpha1\nkind: VMMonitor\nmetadata: {name: %s}\n" SPEC, name,
		 program);
	write_file(f, file, text);
}

static void remove_file(struct fixture *f, const char *name)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", f->directory, name);
	assert_int_equal(unlink(path), 0);
}

static void on_tick(uv_timer_t *timer)
{
	struct fixture *f = timer->data;

	f->timed_out = ++f->ticks > 500;
}

/* Turns the loop until the log holds TEXT; then empties the log. */
static void wait_for(struct fixture *f, const char *text)
{
	uv_timer_t timer;

	f->timed_out = false;
	f->ticks = 0;
	uv_timer_init(&f->loop, &timer);
	timer.data = f;
	uv_timer_start(&timer, on_tick, 10, 10);
	while (!strstr(f->log, text) && !f->timed_out)
		uv_run(&f->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&f->loop, UV_RUN_NOWAIT);
	if (f->timed_out)
		fail_msg("wanted \"%s\", got:\n%s", text, f->log);
	f->log[0] = '\0';
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->directory, "/tmp/yagura-desired-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	uv_loop_init(&f->loop);
	*state = f;
	return 0;
}

static void start(struct fixture *f)
{
	const struct ygr_desired_handlers handlers = {
	    on_changed, on_gone, on_policy_changed, on_policy_gone, on_problems, on_synced, f};
	struct ygr_error error = YGR_ERROR_INIT;

	assert_int_equal(ygr_desired_watch_directory(&f->loop, f->directory, &handlers, &f->desired, &error),
			 0);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[128];

	ygr_desired_stop(f->desired);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	snprintf(command, sizeof(command), "rm -rf %s", f->directory);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

static void test_changes(void **state)
{
	struct fixture *f = *state;

	write_monitor(f, "a.yaml", "one", "execsnoop");
	start(f);
	wait_for(f, "+default/one@1 execsnoop\n!none\nsynced");
	write_monitor(f, "b.yml", "two", "opensnoop");
	wait_for(f, "+default/two@1 opensnoop");
	write_monitor(f, "a.yaml", "one", "tcpconnect");
	wait_for(f, "+default/one@2 tcpconnect");
	remove_file(f, "b.yml");
	wait_for(f, "-default/two");
}

static void test_broken_keeps_last_good(void **state)
{
	struct fixture *f = *state;

	write_monitor(f, "a.yaml", "one", "execsnoop");
	start(f);
	wait_for(f, "synced");
	write_monitor(f, "a.yaml", "one", "/bin/sh");
	wait_for(f, "!a.yaml:4:50: spec.apps[0].program: expected the name of a program in the catalogue");
	write_file(f, "a.yaml", "spec: [\n");
	wait_for(f, "!a.yaml:2:1: ");
	assert_null(strstr(f->log, "-default/one"));
	write_monitor(f, "a.yaml", "one", "opensnoop");
	wait_for(f, "+default/one@2 opensnoop\n!none");
	write_file(f, "a.yaml", "");
	wait_for(f, "-default/one");
}

static void test_duplicate_names_both_files(void **state)
{
	struct fixture *f = *state;

	write_monitor(f, "a.yaml", "one", "execsnoop");
	write_monitor(f, "b.yaml", "one", "opensnoop");
	start(f);
	wait_for(
	    f,
	    "+default/one@1 execsnoop\n!b.yaml: VMMonitor default/one is already defined in a.yaml\nsynced");
	remove_file(f, "a.yaml");
	wait_for(f, "+default/one@2 opensnoop\n!none");
}

/* A policy is an object of its own: the same name as a monitor's is no conflict, and one broken leaves the other. */
static void test_policies(void **state)
{
	static const char form[] = "apiVersion: yagura.dev/v1alpha1\nkind: VMPolicy\nmetadata: {name: one}\n"
				   "spec: {vmSelector: {}, mode: %s, policy: \"policy p {}\"}\n";
	struct fixture *f = *state;
	char text[512];

	write_monitor(f, "a.yaml", "one", "execsnoop");
	snprintf(text, sizeof(text), form, "Audit");
	write_file(f, "p.yaml", text);
	start(f);
	wait_for(f, "+default/one@1 execsnoop\n+VMPolicy default/one@1 Audit\n!none\nsynced");
	snprintf(text, sizeof(text), form, "Enforced");
	write_file(f, "p.yaml", text);
	wait_for(f, "!p.yaml:4:30: spec.mode: expected Audit or Enforce, found \"Enforced\"");
	assert_null(strstr(f->log, "-VMPolicy"));
	write_file(f, "p.yaml", "kind: [\n");
	wait_for(f, "!p.yaml:2:1: ");
	assert_null(strstr(f->log, "-VMPolicy"));
	snprintf(text, sizeof(text), form, "Enforce");
	write_file(f, "p.yaml", text);
	wait_for(f, "+VMPolicy default/one@2 Enforce\n!none");
	remove_file(f, "p.yaml");
	wait_for(f, "-VMPolicy default/one");
}

static void test_absent_directory(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(rmdir(f->directory), 0);
	start(f);
	wait_for(f, ": No such file or directory\nsynced");
	assert_int_equal(mkdir(f->directory, 0755), 0);
	write_monitor(f, "a.yaml", "one", "execsnoop");
	wait_for(f, "+default/one@1 execsnoop\n!none");
}

static void test_names(void **state)
{
	(void)state;
	assert_true(ygr_manifest_is_name("a.yaml"));
	assert_true(ygr_manifest_is_name("a.yml"));
	assert_true(ygr_manifest_is_name("a.b.json"));
	assert_false(ygr_manifest_is_name(".a.yaml"));
	assert_false(ygr_manifest_is_name("#a.yaml"));
	assert_false(ygr_manifest_is_name("a.yaml~"));
	assert_false(ygr_manifest_is_name("a.yaml.swp"));
	assert_false(ygr_manifest_is_name("README"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_changes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_broken_keeps_last_good, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_duplicate_names_both_files, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_policies, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_absent_directory, setup, teardown),
	    cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
