/* The decoder of VMMonitor: defaults, and every field wrong in turn with the exact words that a person
 * reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/api/monitor.h"

static const char base[] = "apiVersion: yagura.dev/v1alpha1\n"
			   "kind: VMMonitor\n"
			   "metadata:\n"
			   "  name: base\n"
			   "  namespace: default\n"
			   "  generation: 3\n"
			   "  labels: {team: blue}\n"
			   "spec:\n"
			   "  suspend: false\n"
			   "  vmSelector:\n"
			   "    matchLabels: {app: web}\n"
			   "    matchExpressions:\n"
			   "    - {key: env, operator: In, values: [prod]}\n"
			   "  apps:\n"
			   "  - name: exec\n"
			   "    program: execsnoop\n"
			   "    args: [\"-x\"]\n"
			   "    delivery: Copied\n"
			   "    restartPolicy: Never\n"
			   "    limits: {memory: 32Mi, cpu: 100m, eventsPerSecond: 10}\n"
			   "  - name: open\n"
			   "    program: opensnoop\n"
			   "  idsJobs:\n"
			   "  - name: sockets\n"
			   "    program: netstat\n"
			   "    schedule: \"*/5 * * * *\"\n"
			   "    timeoutSeconds: 30\n"
			   "    enclave: {runtime: Sandbox, requireTEE: true}\n"
			   "    findings: {onExitCodes: [1, 2], onChange: true}\n";

static int decode(const char *text, struct ygr_monitor **ret, struct ygr_error *error)
{
	struct ygr_doc **docs;
	size_t n;
	int r = ygr_yaml_parse("m.yaml", text, strlen(text), &docs, &n, error);

	if (r < 0)
		return r;
	assert_int_equal(n, 1);
	r = ygr_monitor_decode(docs[0], ret, error);
	ygr_docs_free(docs, n);
	return r;
}

static void test_good(void **state)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_monitor *m;
	(void)state;

	if (decode(base, &m, &error) < 0)
		fail_msg("%s", error.message);
	assert_string_equal(m->meta.name, "base");
	assert_string_equal(m->meta.namespace_, "default");
	assert_int_equal(m->meta.generation, 3);
	assert_false(m->suspend);
	assert_int_equal(m->app_count, 2);
	assert_string_equal(m->apps[0].args[0], "-x");
	assert_null(m->apps[0].args[1]);
	assert_int_equal(m->apps[0].delivery, YGR_APP_DELIVERY_COPIED);
	assert_int_equal(m->apps[0].restart_policy, YGR_RESTART_NEVER);
	assert_int_equal(m->apps[0].limits.memory, 32 << 20);
	assert_int_equal(m->apps[0].limits.cpu_milli, 100);
	assert_int_equal(m->apps[0].limits.events_per_second, 10);
	assert_int_equal(m->apps[1].delivery, YGR_APP_DELIVERY_AUTO);
	assert_int_equal(m->apps[1].restart_policy, YGR_RESTART_ALWAYS);
	assert_int_equal(m->apps[1].limits.memory, 64 << 20);
	assert_int_equal(m->apps[1].limits.cpu_milli, 200);
	assert_int_equal(m->apps[1].limits.events_per_second, 5000);
	assert_int_equal(m->job_count, 1);
	assert_int_equal(m->jobs[0].timeout_seconds, 30);
	assert_int_equal(m->jobs[0].runtime, YGR_ENCLAVE_SANDBOX);
	assert_true(m->jobs[0].require_tee);
	assert_int_equal(m->jobs[0].exit_codes[1], 2);
	assert_true(m->jobs[0].on_change);
	ygr_monitor_free(m);
}

struct wrong {
	const char *find, *replace, *message;
};

/* FIND in the manifest becomes REPLACE; the message must be MESSAGE. */
static void expect_wrong(const struct wrong *w)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_monitor *m = NULL;
	char text[sizeof(base) + 512];
	const char *at = strstr(base, w->find);

	assert_non_null(at);
	size_t before = (size_t)(at - base);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)before, base, w->replace, at + strlen(w->find));
	int r = decode(text, &m, &error);
	if (r == 0)
		fail_msg("\"%s\" was accepted", w->replace);
	assert_int_equal(r, -EINVAL);
	assert_string_equal(error.message, w->message);
}

#include "monitor-wrong.h"

static void test_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(wrongs) / sizeof(*wrongs); i++)
		expect_wrong(&wrongs[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_wrong)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
