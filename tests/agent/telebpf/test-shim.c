/*
 * Unmodified programs under the shim, against a session made by the test: with sites rewritten, and by
 * dispatch alone. Both must behave as without it.
 */
#include <fcntl.h>
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
#include "tests/agent/telebpf/loopback.h"

static const char *output_of(struct loopback_result *result, char *const argv[], bool rewrite)
{
	assert_int_equal(loopback_run(YGR_SHIM, argv, rewrite, NULL, result), 0);
	return result->output;
}

/* Root may map address 0 here, or the machine forbids it: then there is only dispatch. */
static bool can_rewrite(void)
{
	void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	if (page == MAP_FAILED)
		return false;
	munmap(page, 4096);
	return true;
}

static void check(char *const argv[], bool rewrite, const char *expected)
{
	struct loopback_result result;

	if (rewrite && !can_rewrite()) {
		print_message("address 0 cannot be mapped here: skipped\n");
		skip();
	}
	assert_string_equal(output_of(&result, argv, rewrite), expected);
	assert_true(WIFEXITED(result.status));
	assert_int_equal(WEXITSTATUS(result.status), 0);
	assert_true(result.hellos >= 1);
	assert_int_equal(result.mechanism, rewrite ? YGR_LOCAL_REWRITE : YGR_LOCAL_DISPATCH);
	free(result.output);
}

static const char subject_output[] = "sites ok\nnull-call ok\nthreads ok\ncancel ok\nforks ok\nsignals ok\n"
				     "alternate-stack ok\nvectors ok\nlate-library ok\ndescriptors ok\n"
				     "capabilities ok\n";

static void test_subject(void **state)
{
	char *argv[] = {(char *)YGR_SUBJECT, NULL};

	check(argv, *(bool *)*state, subject_output);
}

static void test_shell(void **state)
{
	char *argv[] = {"/bin/bash", "-c",
			"for i in 1 2 3; do echo $i $(uname -r); done | sort -r | while read a b; do echo "
			"\"$a:$b\"; done;"
			"exec bash -c 'uname -n; exec 1000>&-; uname -m'",
			NULL};

	check(argv, *(bool *)*state, "3:6.1.0-guest\n2:6.1.0-guest\n1:6.1.0-guest\nthe-guest\nx86_64\n");
}

static void test_python(void **state)
{
	char *argv[] = {
	    "/usr/bin/python3", "-c",
	    "import os,subprocess,threading\n"
	    "print(os.uname().release, subprocess.check_output(['uname','-n'], text=True), end='')\n"
	    "t=[threading.Thread(target=lambda: os.getppid()) for i in range(8)]\n"
	    "[x.start() for x in t]; [x.join() for x in t]\n"
	    "print(sum(range(10)))",
	    NULL};

	if (access(argv[0], X_OK) < 0)
		skip();
	check(argv, *(bool *)*state, "6.1.0-guest the-guest\n45\n");
}

/* Without a session at the descriptor the shim keeps out of the way. */
static void test_no_session(void **state)
{
	int status;

	(void)state;
	setenv("LD_PRELOAD", YGR_SHIM, 1);
	setenv("YAGURA_SHIM", "1", 1);
	status = system("test \"$(uname -r)\" != 6.1.0-guest");
	unsetenv("LD_PRELOAD");
	unsetenv("YAGURA_SHIM");
	assert_int_equal(status, 0);
}

int main(void)
{
	static bool rewrite = true, dispatch = false;
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_prestate(test_subject, &rewrite),
	    cmocka_unit_test_prestate(test_subject, &dispatch),
	    cmocka_unit_test_prestate(test_shell, &rewrite),
	    cmocka_unit_test_prestate(test_shell, &dispatch),
	    cmocka_unit_test_prestate(test_python, &rewrite),
	    cmocka_unit_test_prestate(test_python, &dispatch),
	    cmocka_unit_test(test_no_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
