/*
 * Unmodified eBPF programs under the shim, their calls performed in this machine's own kernel through the
 * marshaller: the whole way but for the guest. Everything with rewritten sites and by dispatch alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/telebpf/local.h"
#include "tests/agent/telebpf/shim/loopback-call.h"

static void run(char *const argv[], bool rewrite, struct loopback_result *result)
{
	if (geteuid() != 0) {
		print_message("bpf(2) wants root: skipped\n");
		skip();
	}
	assert_int_equal(loopback_run(YGR_SHIM, argv, rewrite, loopback_call, result), 0);
	assert_true(WIFEXITED(result->status));
	assert_int_equal(WEXITSTATUS(result->status), 0);
	assert_true(result->calls > 0);
}

static void check_raw(const char *subject, bool rewrite, int entrance)
{
	char *argv[] = {(char *)subject, NULL};
	struct loopback_result result;

	run(argv, rewrite, &result);
	assert_int_equal(result.entrance, entrance);
	assert_string_equal(result.output, "raw ok\n");
	/* Everything that the program closed was closed in the guest. */
	assert_int_equal(result.left, 0);
	assert_int_equal(result.closes, 9); /* four objects, one of them in three children, two namespaces */
	assert_true(result.syncs > 0);
	free(result.output);
}

static void test_raw(void **state)
{
	check_raw(YGR_SUBJECT_RAW, *(bool *)*state, YGR_LOCAL_PRELOADED);
}

static void test_raw_static(void **state)
{
	check_raw(YGR_SUBJECT_RAW_STATIC, *(bool *)*state, YGR_LOCAL_LOADED);
}

static void check_rings(const char *subject, bool rewrite)
{
	char *argv[] = {(char *)subject, NULL};
	struct loopback_result result;

	run(argv, rewrite, &result);
	assert_string_equal(result.output, "rings ok: 300 and 300 records\n");
	assert_int_equal(result.left, 0);
	assert_true(result.idles > 0);
	free(result.output);
}

static void test_rings(void **state)
{
	check_rings(YGR_SUBJECT_RINGS, *(bool *)*state);
}

static void test_rings_static(void **state)
{
	check_rings(YGR_SUBJECT_RINGS_STATIC, *(bool *)*state);
}

/* Again and again: what could go wrong with its threads and stacks goes wrong now and then. */
static void test_go(void **state)
{
	(void)state;
#ifdef YGR_SUBJECT_GO
	char *argv[] = {YGR_SUBJECT_GO, NULL};
	struct loopback_result result;

	for (int i = 0; i < 5; i++) {
		run(argv, true, &result);
		assert_string_equal(result.output, "go ok: 60 and 60 records, kernel 6.1.99\n");
		assert_int_equal(result.entrance, YGR_LOCAL_LOADED);
		assert_int_equal(result.mechanism, YGR_LOCAL_DISPATCH_GO);
		assert_int_equal(result.left, 0);
		free(result.output);
	}
#else
	print_message("no Go 1.22 or newer when this was built: skipped\n");
	skip();
#endif
}

static int64_t hang_up(struct loopback_handles *handles, const uint8_t *payload, uint32_t length,
		       uint8_t **ret_reply)
{
	(void)handles;
	(void)payload;
	(void)length;
	(void)ret_reply;
	return -1;
}

/* An application does not outlive its session. */
static void test_lost(void **state)
{
	char *argv[] = {(char *)YGR_SUBJECT_RAW, NULL};
	struct loopback_result result;

	assert_int_equal(loopback_run(YGR_SHIM, argv, *(bool *)*state, hang_up, &result), 0);
	assert_true(WIFEXITED(result.status));
	assert_int_equal(WEXITSTATUS(result.status), 70);
	free(result.output);
}

/* The same list as without the shim, which also calls this kernel. */
static void test_bpftool(void **state)
{
	char *argv[] = {"/usr/sbin/bpftool", "version", NULL};
	struct loopback_result result;

	if (access(argv[0], X_OK) < 0)
		skip();
	assert_int_equal(loopback_run(YGR_SHIM, argv, *(bool *)*state, loopback_call, &result), 0);
	assert_int_equal(result.status, 0);
	assert_non_null(strstr(result.output, "libbpf"));
	free(result.output);

	char *list[] = {argv[0], "btf", "list", NULL};
	run(list, *(bool *)*state, &result);
	assert_non_null(strstr(result.output, "vmlinux"));
	assert_int_equal(result.left, 0);
	free(result.output);
}

int main(void)
{
	static bool rewrite = true, dispatch = false;
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_prestate(test_raw, &rewrite),
	    cmocka_unit_test_prestate(test_raw, &dispatch),
	    cmocka_unit_test_prestate(test_rings, &rewrite),
	    cmocka_unit_test_prestate(test_rings, &dispatch),
	    cmocka_unit_test_prestate(test_raw_static, &rewrite),
	    cmocka_unit_test_prestate(test_raw_static, &dispatch),
	    cmocka_unit_test_prestate(test_rings_static, &rewrite),
	    cmocka_unit_test_prestate(test_rings_static, &dispatch),
	    cmocka_unit_test(test_go),
	    cmocka_unit_test_prestate(test_lost, &rewrite),
	    cmocka_unit_test_prestate(test_lost, &dispatch),
	    cmocka_unit_test_prestate(test_bpftool, &rewrite),
	    cmocka_unit_test_prestate(test_bpftool, &dispatch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
