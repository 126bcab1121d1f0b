/* The reconciler: desired and observed states come and go in every order, and what runs follows. */
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

#include "agent/reconcile/reconcile.h"
#include "telebpf-double.h"

struct fixture {
	uv_loop_t loop;
	struct ygr_metrics *metrics;
	struct ygr_reconcile *reconcile;
	json_t *vms, *monitors;
	bool stopped;
};

static void on_publish(void *user, json_t *vms, json_t *monitors, json_t *policies)
{
	struct fixture *f = user;

	(void)policies;
	json_decref(f->vms);
	json_decref(f->monitors);
	f->vms = json_incref(vms);
	f->monitors = json_incref(monitors);
}

static void on_tick(uv_timer_t *timer)
{
	*(bool *)timer->data = true;
}

/* Turns the loop for MS milliseconds. */
static void turn(struct fixture *f, unsigned ms)
{
	bool over = false;
	uv_timer_t timer;

	uv_update_time(&f->loop);
	uv_timer_init(&f->loop, &timer);
	timer.data = &over;
	uv_timer_start(&timer, on_tick, ms, 0);
	while (!over)
		uv_run(&f->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&f->loop, UV_RUN_NOWAIT);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	memset(double_links, 0, sizeof(double_links));
	memset(double_applications, 0, sizeof(double_applications));
	double_starts = double_start_error = 0;
	double_stream[0] = '\0';
	uv_loop_init(&f->loop);
	f->metrics = ygr_metrics_new();
	const struct ygr_reconcile_options options = {
	    .loop = &f->loop, .node = "n1", .metrics = f->metrics, .publish = on_publish, .user = f};
	assert_int_equal(ygr_reconcile_new(&options, &f->reconcile), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	ygr_reconcile_free(f->reconcile);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	assert_int_equal(double_open_applications(), 0);
	for (int i = 0; i < DOUBLE_MAX; i++)
		assert_false(double_links[i].open);
	ygr_metrics_free(f->metrics);
	json_decref(f->vms);
	json_decref(f->monitors);
	free(f);
	return 0;
}

static struct ygr_vm *make_vm(const char *name, const char *label)
{
	struct ygr_vm *vm = ygr_vm_new();

	snprintf(vm->uuid, sizeof(vm->uuid), "11111111-1111-1111-1111-%012d", name[0]);
	vm->namespace_ = strdup("default");
	vm->name = strdup(name);
	vm->provider = "Libvirt";
	vm->provider_name = strdup(name);
	vm->channel = strdup("vsock:7:997");
	vm->phase = YGR_VM_RUNNING;
	assert_int_equal(ygr_labels_set(&vm->labels, "app", label), 0);
	return vm;
}

static struct ygr_monitor *make_monitor(const char *name, const char *spec)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_monitor *monitor = NULL;
	struct ygr_doc **docs;
	char text[1024];
	size_t n;

	snprintf(text, sizeof(text),
		 "{apiVersion: yagura.dev/v1alpha1, kind: VMMonitor, metadata: {name: %s}, spec: %s}", name,
		 spec);
	if (ygr_yaml_parse("m", text, strlen(text), &docs, &n, &error) < 0 ||
	    ygr_monitor_decode(docs[0], &monitor, &error) < 0)
		fail_msg("%s", error.message);
	ygr_docs_free(docs, n);
	return monitor;
}

#define WEB(apps) "{vmSelector: {matchLabels: {app: web}}, apps: [" apps "]}"
#define EXEC      "{name: exec, program: execsnoop}"

static const char *at(const json_t *value, const char *path)
{
	char copy[128], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *part = strtok_r(copy, "/", &save); part; part = strtok_r(NULL, "/", &save))
		value = json_is_array(value) ? json_array_get(value, strtoul(part, NULL, 10))
					     : json_object_get(value, part);
	return json_string_value(value) ?: "(none)";
}

#define EXEC_STATE(f) at((f)->vms, "0/status/monitors/0/apps/0/state")

static void test_starts_what_is_selected(void **state)
{
	struct ygr_vm *web = make_vm("web", "web"), *db = make_vm("db", "db");
	struct ygr_monitor *monitor = make_monitor("base", WEB(EXEC ", {name: open, program: opensnoop}"));
	struct fixture *f = *state;

	ygr_reconcile_vm_changed(f->reconcile, web);
	ygr_reconcile_vm_changed(f->reconcile, db);
	ygr_reconcile_monitor_changed(f->reconcile, monitor);
	turn(f, 250);
	assert_int_equal(double_starts, 0); /* no channel yet */
	assert_string_equal(EXEC_STATE(f), "Pending");
	double_link_state("web", YGR_LINK_CONNECTED);
	double_link_state("db", YGR_LINK_CONNECTED);
	turn(f, 250);
	assert_int_equal(double_starts, 2);
	assert_non_null(double_find("web", "exec"));
	assert_non_null(double_find("web", "open"));
	assert_string_equal(EXEC_STATE(f), "Starting");
	double_run(double_find("web", "exec"));
	double_run(double_find("web", "open"));
	turn(f, 450);
	assert_string_equal(EXEC_STATE(f), "Running");
	assert_string_equal(at(f->monitors, "0/status/guests/summary"), "1/1");
	assert_string_equal(at(f->monitors, "0/status/conditions/1/status"), "True");
	/* The guest's own words come without control characters. */
	assert_string_equal(at(f->vms, "0/status/kernel"), "6.1.0?[31m");
	ygr_reconcile_monitor_gone(f->reconcile, "default", "base");
	turn(f, 50);
	assert_true(double_find("web", "exec")->stopped);
	double_end(double_find("web", "exec"), 130, NULL);
	double_end(double_find("web", "open"), 130, NULL);
	turn(f, 450);
	assert_int_equal(double_open_applications(), 0);
	assert_int_equal(json_array_size(f->monitors), 0);
	ygr_monitor_free(monitor);
	ygr_reconcile_vm_gone(f->reconcile, web);
	ygr_reconcile_vm_gone(f->reconcile, db);
	ygr_vm_free(web);
	ygr_vm_free(db);
}

static struct ygr_application *started(struct fixture *f, struct ygr_vm *vm, struct ygr_monitor *monitor)
{
	ygr_reconcile_vm_changed(f->reconcile, vm);
	ygr_reconcile_monitor_changed(f->reconcile, monitor);
	turn(f, 20);
	double_link_state("web", YGR_LINK_CONNECTED);
	turn(f, 20);
	assert_non_null(double_find("web", "exec"));
	double_run(double_find("web", "exec"));
	turn(f, 20);
	return double_find("web", "exec");
}

static void finish(struct fixture *f, struct ygr_vm *vm, struct ygr_monitor *monitor)
{
	ygr_reconcile_vm_gone(f->reconcile, vm);
	ygr_reconcile_monitor_gone(f->reconcile, "default", "base");
	turn(f, 20);
	ygr_vm_free(vm);
	ygr_monitor_free(monitor);
}

static void test_failure_backs_off(void **state)
{
	struct ygr_vm *vm = make_vm("web", "web");
	struct ygr_monitor *monitor = make_monitor("base", WEB(EXEC));
	struct fixture *f = *state;

	double_end(started(f, vm, monitor), 1, "NoBTF");
	turn(f, 450);
	assert_string_equal(EXEC_STATE(f), "Backoff");
	assert_string_equal(at(f->monitors, "0/status/failures/0/reason"), "NoBTF");
	assert_string_equal(at(f->monitors, "0/status/failures/0/message"), "the guest's kernel has no BTF");
	assert_string_equal(at(f->monitors, "0/status/conditions/2/status"), "True");
	assert_int_equal(double_starts, 1);
	turn(f, 1000); /* 0.75 s to 1.25 s after the first failure */
	assert_int_equal(double_starts, 2);
	double_end(double_find("web", "exec"), 1, NULL);
	turn(f, 1300); /* 1.5 s to 2.5 s after the second */
	assert_int_equal(double_starts, 2);
	turn(f, 1400);
	assert_int_equal(double_starts, 3);
	finish(f, vm, monitor);
}

static void test_restart_policies(void **state)
{
	struct ygr_vm *vm = make_vm("web", "web");
	struct ygr_monitor *monitor = make_monitor(
	    "base", WEB("{name: exec, program: x, restartPolicy: OnFailure}, {name: never, program: "
			"x, restartPolicy: Never}"));
	struct fixture *f = *state;

	double_end(started(f, vm, monitor), 0, NULL);
	double_run(double_find("web", "never"));
	double_end(double_find("web", "never"), 3, NULL);
	turn(f, 1600);
	assert_int_equal(double_starts, 2);
	assert_string_equal(EXEC_STATE(f), "Completed");
	assert_string_equal(at(f->vms, "0/status/monitors/0/apps/1/state"), "Failed");
	assert_string_equal(at(f->vms, "0/status/monitors/0/apps/1/message"), "ended with code 3");
	finish(f, vm, monitor);
}

static void test_not_in_catalogue_is_final(void **state)
{
	struct ygr_vm *vm = make_vm("web", "web");
	struct ygr_monitor *monitor = make_monitor("base", WEB(EXEC));
	struct fixture *f = *state;

	double_start_error = -ENOENT;
	ygr_reconcile_vm_changed(f->reconcile, vm);
	ygr_reconcile_monitor_changed(f->reconcile, monitor);
	turn(f, 20);
	double_link_state("web", YGR_LINK_CONNECTED);
	turn(f, 1600);
	assert_string_equal(EXEC_STATE(f), "Failed");
	assert_string_equal(at(f->monitors, "0/status/failures/0/reason"), "NotInCatalogue");
	double_start_error = 0;
	turn(f, 500);
	assert_int_equal(double_starts, 0);
	struct ygr_monitor *mended = make_monitor("base", WEB("{name: exec, program: opensnoop}"));
	ygr_reconcile_monitor_changed(f->reconcile, mended);
	turn(f, 50);
	assert_int_equal(double_starts, 1);
	ygr_monitor_free(monitor);
	finish(f, vm, mended);
}

static void test_changed_spec_restarts(void **state)
{
	struct ygr_vm *vm = make_vm("web", "web");
	struct ygr_monitor *first = make_monitor("base", WEB(EXEC)), *same = make_monitor("base", WEB(EXEC));
	struct ygr_monitor *other = make_monitor("base", WEB("{name: exec, program: opensnoop}"));
	struct ygr_monitor *suspended = make_monitor(
	    "base", "{suspend: true, vmSelector: {}, apps: [{name: exec, program: opensnoop}]}");
	struct fixture *f = *state;

	struct ygr_application *application = started(f, vm, first);
	ygr_reconcile_monitor_changed(f->reconcile, same);
	ygr_monitor_free(first);
	turn(f, 50);
	assert_false(application->stopped);
	ygr_reconcile_monitor_changed(f->reconcile, other);
	ygr_monitor_free(same);
	turn(f, 50);
	assert_true(application->stopped);
	double_end(application, 130, NULL);
	turn(f, 50);
	assert_int_equal(double_starts, 2); /* at once: being changed is no failure */
	assert_string_equal(double_find("web", "exec")->program, "opensnoop");
	ygr_reconcile_monitor_changed(f->reconcile, suspended);
	ygr_monitor_free(other);
	turn(f, 50);
	assert_true(double_find("web", "exec")->stopped);
	double_end(double_find("web", "exec"), 130, NULL);
	turn(f, 300);
	assert_int_equal(double_open_applications(), 0);
	assert_string_equal(at(f->monitors, "0/status/conditions/1/reason"), "Suspended");
	finish(f, vm, suspended);
}

static void test_reset_kills(void **state)
{
	struct ygr_vm *vm = make_vm("web", "web"), *after = make_vm("web", "web"),
		      *stopped = make_vm("web", "web");
	struct ygr_monitor *monitor = make_monitor("base", WEB(EXEC));
	struct fixture *f = *state;

	started(f, vm, monitor);
	after->resets = 1;
	ygr_reconcile_vm_changed(f->reconcile, after);
	ygr_vm_free(vm);
	turn(f, 50);
	assert_int_equal(double_open_applications(), 0);
	double_link_state("web", YGR_LINK_CONNECTED);
	turn(f, 50);
	assert_int_equal(double_starts, 2); /* no backoff for what the guest did */
	stopped->phase = YGR_VM_STOPPED;
	stopped->resets = 1;
	ygr_reconcile_vm_changed(f->reconcile, stopped);
	ygr_vm_free(after);
	turn(f, 450);
	assert_int_equal(double_open_applications(), 0);
	assert_string_equal(at(f->vms, "0/status/phase"), "Stopped");
	assert_string_equal(EXEC_STATE(f), "Pending");
	finish(f, stopped, monitor);
}

static void test_refused_and_problems(void **state)
{
	struct ygr_vm *vm = make_vm("web", "web");
	struct ygr_monitor *monitor = make_monitor("base", WEB(EXEC));
	const struct ygr_manifest_problem problems[] = {
	    {"a.yaml", YGR_MONITOR_KIND, "default", "base", "a.yaml:1:1: spec: wrong"},
	    {"b.yaml", YGR_MONITOR_KIND, "default", "other", "b.yaml:1:1: spec: wrong"},
	    {"c.yaml", YGR_MONITOR_KIND, NULL, NULL, "c.yaml:2:1: not YAML"},
	};
	struct fixture *f = *state;

	started(f, vm, monitor);
	double_link_state("web", YGR_LINK_REFUSED);
	ygr_reconcile_problems(f->reconcile, problems, 3);
	turn(f, 450);
	assert_string_equal(at(f->vms, "0/status/channel/state"), "Refused");
	assert_string_equal(at(f->vms, "0/status/channel/message"), "the guest does not know this node");
	assert_string_equal(EXEC_STATE(f), "Running"); /* the last good version runs on */
	assert_int_equal(json_array_size(f->monitors), 3);
	assert_string_equal(at(f->monitors, "0/status/conditions/0/message"), "a.yaml:1:1: spec: wrong");
	assert_string_equal(at(f->monitors, "1/metadata/name"), "other");
	assert_string_equal(at(f->monitors, "2/metadata/name"), "c.yaml");
	ygr_reconcile_problems(f->reconcile, NULL, 0);
	turn(f, 450);
	assert_int_equal(json_array_size(f->monitors), 1);
	assert_string_equal(at(f->monitors, "0/status/conditions/0/status"), "True");
	finish(f, vm, monitor);
}

static int request(struct fixture *f, uid_t uid, const char *text, struct ygr_error *error)
{
	const struct ygr_peer peer = {uid, uid, 1};
	json_t *json = json_loads(text, 0, NULL);
	int r = ygr_reconcile_run_start(f->reconcile, &peer, json, (struct ygr_run_stream *)f, error);

	json_decref(json);
	turn(f, 20);
	return r;
}

static void test_runs(void **state)
{
	struct ygr_vm *vm = make_vm("web", "web");
	struct ygr_monitor *monitor = make_monitor("base", WEB(EXEC));
	const struct ygr_peer root = {0, 0, 1}, other = {1000, 1000, 1};
	struct ygr_error error = YGR_ERROR_INIT;
	struct fixture *f = *state;
	char id[17];

	started(f, vm, monitor);
	assert_int_equal(request(f, 1000, "{\"vm\":\"web\",\"program\":\"/bin/sh\"}", &error), -EPERM);
	assert_int_equal(request(f, 0, "{\"vm\":\"web\",\"program\":\"x\",\"arg\":[]}", &error), -EINVAL);
	assert_string_equal(error.message, "request: arg: unknown field, did you mean \"args\"?");
	assert_int_equal(request(f, 0, "{\"vm\":\"none\",\"program\":\"x\"}", &error), 0);
	assert_string_equal(
	    double_stream, "end {\"error\":\"there is no VM none on this node\",\"reason\":\"NotFound\"}\n");
	double_stream[0] = '\0';
	assert_int_equal(
	    request(f, 0, "{\"vm\":\"default/web\",\"program\":\"/opt/x\",\"args\":[\"-a\"]}", &error), 0);
	struct ygr_application *application = double_find("web", "run");
	assert_non_null(application);
	assert_int_equal(sscanf(double_stream, "begin %16s", id), 1);
	assert_true(application->handlers.output(application->handlers.user, "stdout", "hello", 5));
	assert_int_equal(ygr_reconcile_run_signal(f->reconcile, &other, id, SIGINT, &error), -EPERM);
	assert_int_equal(ygr_reconcile_run_signal(f->reconcile, &root, "ffff", SIGINT, &error), -ENOENT);
	assert_int_equal(ygr_reconcile_run_signal(f->reconcile, &root, id, SIGINT, &error), 0);
	turn(f, 20);
	assert_int_equal(application->signal_number, SIGINT);
	double_end(application, 128 + SIGINT, NULL);
	turn(f, 100);
	assert_non_null(strstr(double_stream, "stdout hello\nend {\"signal\":2}\n"));
	assert_int_equal(ygr_reconcile_run_signal(f->reconcile, &root, id, SIGINT, &error), -ENOENT);
	double_stream[0] = '\0';
	assert_int_equal(request(f, 0, "{\"vm\":\"web\",\"program\":\"x\"}", &error), 0);
	finish(f, vm, monitor); /* the VM goes away under the run */
	assert_non_null(strstr(double_stream, "\"reason\":\"ChannelLost\""));
}

static void on_stopped(void *user)
{
	((struct fixture *)user)->stopped = true;
}

static void test_stop(void **state)
{
	struct ygr_vm *vm = make_vm("web", "web");
	struct ygr_monitor *monitor = make_monitor("base", WEB(EXEC));
	struct fixture *f = *state;
	struct ygr_application *application = started(f, vm, monitor);

	ygr_reconcile_stop(f->reconcile, on_stopped, f);
	turn(f, 50);
	assert_true(application->stopped);
	assert_false(f->stopped);
	double_end(application, 130, NULL);
	turn(f, 50);
	assert_true(f->stopped);
	finish(f, vm, monitor);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* A paused VM is not dialled; it is once it runs. */
static void test_paused(void **state)
{
	struct ygr_vm *vm = make_vm("web", "web"), *running = make_vm("web", "web");
	struct fixture *f = *state;

	vm->phase = YGR_VM_PAUSED;
	ygr_reconcile_vm_changed(f->reconcile, vm);
	turn(f, 20);
	assert_false(double_links[0].open);
	ygr_reconcile_vm_changed(f->reconcile, running);
	turn(f, 20);
	assert_true(double_links[0].open);
	ygr_reconcile_vm_gone(f->reconcile, running);
	turn(f, 20);
	ygr_vm_free(vm);
	ygr_vm_free(running);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_starts_what_is_selected),
	    TEST(test_failure_backs_off),
	    TEST(test_restart_policies),
	    TEST(test_not_in_catalogue_is_final),
	    TEST(test_changed_spec_restarts),
	    TEST(test_reset_kills),
	    TEST(test_refused_and_problems),
	    TEST(test_runs),
	    TEST(test_stop),
	    cmocka_unit_test_setup_teardown(test_paused, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
