/* The yagura program against a real agent HTTP server, as a person uses it. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/http/server.h"

static char directory[] = "/tmp/yagura-test-XXXXXX";
static char socket_path[64];
static struct ygr_bus *bus;
static struct ygr_http *http;
static struct ygr_run_stream *running;
static int signals;

static int run_start(void *user, const struct ygr_peer *peer, const json_t *request,
		     struct ygr_run_stream *stream, struct ygr_error *error)
{
	(void)user;
	(void)peer;
	const char *program = json_string_value(json_object_get(request, "program"));
	if (strcmp(program, "unknown") == 0)
		return ygr_error_set(error, ENOENT, "no program \"unknown\" in the catalogue");
	ygr_run_stream_begin(stream, "r1");
	ygr_run_stream_data(stream, "stdout", "hello\n", 6);
	if (strcmp(program, "waits") == 0)
		running = stream;
	else
		ygr_run_stream_end(stream, json_pack("{s:i}", "exit", 7));
	return 0;
}

static int run_signal(void *user, const struct ygr_peer *peer, const char *id, int number,
		      struct ygr_error *error)
{
	(void)user;
	(void)peer;
	(void)id;
	(void)error;
	signals++;
	ygr_run_stream_data(running, "stdout", "summary\n", 8);
	ygr_run_stream_end(running, json_pack("{s:i}", "signal", number));
	return 0;
}

static int release_(void *user, const struct ygr_peer *peer, const json_t *request, json_t **ret_answer,
		    struct ygr_error *error)
{
	const char *ns = json_string_value(json_object_get(request, "namespace"));

	(void)user, (void)peer;
	if (strcmp(ns, "default") != 0)
		return ygr_error_set(error, ENOENT, "there is no VM %s/%s", ns,
				     json_string_value(json_object_get(request, "vm")));
	*ret_answer = json_pack("{s:i}", "released", 2);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(socket_path, sizeof(socket_path), "%s/agent.sock", directory);
	setenv("YAGURA_SOCKET", socket_path, 1);
	bus = ygr_bus_new();
	struct ygr_error error = YGR_ERROR_INIT;
	const struct ygr_http_options options = {
	    .socket_path = socket_path,
	    .socket_group = (gid_t)-1,
	    .bus = bus,
	    .backend = {.run_start = run_start, .run_signal = run_signal, .release = release_},
	};
	if (ygr_http_start(&options, &http, &error) < 0)
		fail_msg("%s", error.message);

	json_t *vms = json_pack(
	    "[{s:{s:s,s:s},s:{s:s},s:{s:s,s:s,s:{s:s,s:s},s:[{s:[{s:s,s:s},{s:s,s:s}]}]}}]", "metadata",
	    "namespace", "default", "name", "web-3", "spec", "nodeName", "n1", "status", "phase", "Running",
	    "kernel", "6.1.0", "channel", "type", "Vsock", "state", "Connected", "monitors", "apps", "name",
	    "exec", "state", "Running", "name", "open", "state", "Failed");
	json_t *monitors =
	    json_pack("[{s:{s:s,s:s},s:{s:[{s:s},{s:s}]},s:{s:{s:i,s:i},s:[{s:s,s:s,s:s,s:s}]}}]",
		      "metadata", "namespace", "default", "name", "base", "spec", "apps", "name", "exec",
		      "name", "open", "status", "guests", "matched", 9, "ready", 8, "failures", "guest",
		      "web-3", "app", "open", "reason", "NoBTF", "message", "the guest has no BTF: yes");
	ygr_http_publish(http, vms, monitors, NULL);
	json_decref(vms);
	json_decref(monitors);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	http = ygr_http_stop(http);
	ygr_bus_free(bus);
	return rmdir(directory);
}

/* Runs `yagura ARGUMENTS`; both streams in TEXT; its exit status. */
static int yagura(const char *arguments, char *text, size_t size)
{
	char command[512];
	snprintf(command, sizeof(command), "timeout 30 %s %s 2>&1", YAGURA_PROGRAM, arguments);
	FILE *pipe = popen(command, "r");
	assert_non_null(pipe);
	size_t len = fread(text, 1, size - 1, pipe);
	text[len] = '\0';
	int status = pclose(pipe);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static char text[1 << 16];

/* A policy with one rule held and one that is not, and what it made the node do. */
static void publish_policies(void)
{
	json_t *monitors = json_array();
	json_t *policies =
	    json_pack("[{s:{s:s,s:s},s:{s:s},s:{s:[{s:s,s:s},{s:s,s:s,s:s},{s:s,s:s}],s:{s:s},s:[{s:s,s:s,s:"
		      "i,s:i,s:i}],"
		      "s:[{s:s,s:s,s:s,s:s}],s:[{s:i,s:i,s:s,s:s}]}}]",
		      "metadata", "namespace", "default", "name", "web", "spec", "mode", "Enforce", "status",
		      "conditions", "type", "Accepted", "status", "True", "type", "Ready", "status", "False",
		      "reason", "NotAllHold", "type", "Degraded", "status", "True", "guests", "summary",
		      "1/2", "rules", "name", "shadow", "mode", "Enforce", "enforced", 1, "audited", 0,
		      "unsupported", 1, "failures", "guest", "web-3", "rule", "shadow", "reason",
		      "LSMWithoutBPF", "message", "add bpf to lsm=", "diagnostics", "line", 3, "column", 7,
		      "severity", "Warning", "message", "this rule never decides");
	json_t *vms =
	    json_pack("[{s:{s:s,s:s},s:{s:[{s:s,s:s,s:s,s:s}]}}]", "metadata", "namespace", "default",
		      "name", "web-3", "status", "hostActions", "action", "block net", "policy",
		      "default/web/web", "rule", "shadow", "since", "2026-01-01T00:00:00Z");

	assert_non_null(policies);
	assert_non_null(vms);
	ygr_http_publish(http, vms, monitors, policies);
	json_decref(policies);
	json_decref(monitors);
	json_decref(vms);
}

static void shows_policies(void **state)
{
	(void)state;
	publish_policies();
	assert_int_equal(yagura("policy list", text, sizeof(text)), 0);
	assert_string_equal(text, "NAMESPACE  NAME  STATE     MODE     HELD  RULES  LAST\n"
				  "default    web   Degraded  Enforce  1/2   1      -\n");
	assert_int_equal(yagura("policy status web", text, sizeof(text)), 0);
	assert_string_equal(text, "default/web: Degraded, Enforce, held by 1/2 VMs\n"
				  "RULE    MODE     ENFORCED  AUDITED  UNSUPPORTED\n"
				  "shadow  Enforce  1         0        1\n"
				  "3:7: Warning: this rule never decides\n"
				  "web-3: shadow: LSMWithoutBPF: add bpf to lsm=\n");
	assert_int_equal(yagura("policy status nobody", text, sizeof(text)), 1);
	assert_non_null(strstr(text, "there is no policy \"nobody\""));
	assert_int_equal(yagura("policy list x", text, sizeof(text)), 2);
	assert_int_equal(yagura("policy list -o json", text, sizeof(text)), 0);
	assert_non_null(strstr(text, "\"enforced\": 1"));
	assert_int_equal(yagura("status", text, sizeof(text)), 0);
	assert_non_null(strstr(text, "Degraded  Enforce"));
	assert_non_null(strstr(text, "block net  default/web/web  shadow"));
}

static void releases(void **state)
{
	(void)state;
	assert_int_equal(yagura("release web-3 shadow", text, sizeof(text)), 0);
	assert_string_equal(text, "2 released\n");
	assert_int_equal(yagura("release -n prod web-3", text, sizeof(text)), 1);
	assert_non_null(strstr(text, "there is no VM prod/web-3"));
	assert_int_equal(yagura("release", text, sizeof(text)), 2);
}

static void lists_vms(void **state)
{
	(void)state;
	assert_int_equal(yagura("vms", text, sizeof(text)), 0);
	assert_string_equal(text, "NAMESPACE  NAME   NODE  PHASE    CHANNEL          KERNEL  APPS\n"
				  "default    web-3  n1    Running  Vsock/Connected  6.1.0   1/2\n");
	assert_int_equal(yagura("vms -n other", text, sizeof(text)), 0);
	assert_non_null(strstr(text, "No VMs."));
	assert_int_equal(yagura("vms -o json", text, sizeof(text)), 0);
	json_t *document = json_loads(text, 0, NULL);
	assert_int_equal(json_array_size(document), 1);
	json_decref(document);
}

static void shows_status_with_reasons(void **state)
{
	(void)state;
	assert_int_equal(yagura("status", text, sizeof(text)), 0);
	assert_string_equal(text, "NAMESPACE  NAME  READY  APPS       LASTEVENT\n"
				  "default    base  8/9    exec,open  -\n"
				  "\nbase: open on web-3: NoBTF: the guest has no BTF: yes\n");
	assert_int_equal(yagura("status base -o yaml", text, sizeof(text)), 0);
	assert_non_null(strstr(text, "message: \"the guest has no BTF: yes\"\n"));
	assert_non_null(strstr(text, "matched: 9\n"));
	assert_int_equal(yagura("status nothing", text, sizeof(text)), 1);
	assert_non_null(strstr(text, "no monitor \"nothing\""));
}

static void shows_events(void **state)
{
	(void)state;
	ygr_bus_publish(bus, &(struct ygr_event){.time_ns = 1700000000123456789,
						 .vm = "web-3",
						 .app = "exec",
						 .stream = "stdout",
						 .line = "ls 42"});
	assert_int_equal(yagura("events --vm web-3", text, sizeof(text)), 0);
	assert_string_equal(text, "22:13:20.123  web-3        exec       ls 42\n");
	assert_int_equal(yagura("events --vm 'a&b'", text, sizeof(text)), 0);
	assert_string_equal(text, "");
}

static void runs_an_application(void **state)
{
	(void)state;
	assert_int_equal(yagura("run web-3 -- execsnoop -x", text, sizeof(text)), 7);
	assert_string_equal(text, "hello\n");
	assert_int_equal(yagura("run web-3 -- unknown", text, sizeof(text)), 1);
	assert_non_null(strstr(text, "no program \"unknown\" in the catalogue"));
	assert_int_equal(yagura("run web-3", text, sizeof(text)), 2);
}

static void ctrl_c_reaches_the_application(void **state)
{
	(void)state;
	int pipes[2];
	assert_int_equal(pipe(pipes), 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(pipes[1], 1);
		close(pipes[0]);
		close(pipes[1]);
		execl(YAGURA_PROGRAM, "yagura", "run", "web-3", "--", "waits", NULL);
		_exit(127);
	}
	close(pipes[1]);
	char all[64] = "";
	assert_int_equal(read(pipes[0], all, 6), 6);
	assert_int_equal(kill(pid, SIGINT), 0);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 130);
	assert_int_equal(read(pipes[0], all, sizeof(all) - 1), 8);
	assert_string_equal(all, "summary\n");
	assert_int_equal(signals, 1);
	close(pipes[0]);
}

static void errors_name_the_remedy(void **state)
{
	(void)state;
	assert_int_equal(yagura("vms -s /nonexistent/agent.sock", text, sizeof(text)), 1);
	assert_non_null(
	    strstr(text, "no agent socket at /nonexistent/agent.sock: is yagura-agent running?"));
	assert_int_equal(yagura("vms -o xml", text, sizeof(text)), 2);
	assert_int_equal(yagura("frobnicate", text, sizeof(text)), 2);
	assert_non_null(strstr(text, "\"frobnicate\""));
	for (const char **c = (const char *[]){"vms", "status", "events", "run", "completion", NULL}; *c;
	     c++) {
		char arguments[64];
		snprintf(arguments, sizeof(arguments), "%s --help", *c);
		assert_int_equal(yagura(arguments, text, sizeof(text)), 0);
		assert_non_null(strstr(text, "Usage: yagura "));
	}
	assert_int_equal(yagura("completion bash | bash -n", text, sizeof(text)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lists_vms),
	    cmocka_unit_test(shows_status_with_reasons),
	    cmocka_unit_test(shows_events),
	    cmocka_unit_test(runs_an_application),
	    cmocka_unit_test(ctrl_c_reaches_the_application),
	    cmocka_unit_test(errors_name_the_remedy),
	    cmocka_unit_test(shows_policies),
	    cmocka_unit_test(releases),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
