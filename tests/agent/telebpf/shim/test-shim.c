/*
 * Unmodified programs under the shim, against a session made by the test: with sites rewritten, and by
 * dispatch alone. Both must behave as without it.
 */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/telebpf/confine/confine.h"
#include "agent/telebpf/local.h"
#include "tests/agent/telebpf/shim/loopback.h"

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
				     "alternate-stack ok\nvectors ok\nlate-library ok\nkernel ok\n"
				     "executable ok\ndescriptors ok\ncapabilities ok\n";

static void test_subject(void **state)
{
	char *argv[] = {(char *)YGR_SUBJECT, NULL};

	check(argv, *(bool *)*state, subject_output);
}

/* What no loader brings the shim to: at fixed addresses, and at any. */
static void test_static(void **state)
{
	char *argv[] = {(char *)YGR_SUBJECT_STATIC, NULL};
	char *anywhere[] = {(char *)YGR_SUBJECT_STATIC_PIE, NULL};

	check(argv, *(bool *)*state, subject_output);
	check(anywhere, *(bool *)*state, subject_output);
}

/* A static program that is executed by one that is not, and the other way round. */
static void test_static_child(void **state)
{
	char *argv[] = {"/bin/bash", "-c",
			YGR_SUBJECT_STATIC " kernel; " YGR_SUBJECT_STATIC " forks; uname -n", NULL};

	check(argv, *(bool *)*state, "kernel ok\nforks ok\nthe-guest\n");
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

/* As applications are run: nobody, no rights but the one that page 0 wants, everything else filtered. */
struct confined_part {
	const char *executable, *part;
};

static void test_confined(void **state)
{
	const struct confined_part *part = *state;
	char output[4096] = "", *argv[] = {"subject", (char *)part->part, NULL}, *env[] = {NULL}, cgroup[64],
	     line[64];
	int local[2], out[2], status = -1;
	struct loopback_result result;
	struct ygr_confined *confined = NULL;
	struct loopback *loopback;
	struct ygr_error error = {0};
	size_t len = 0;

	if (geteuid() != 0) {
		print_message("confinement can only be made by root: skipped\n");
		skip();
	}
	snprintf(cgroup, sizeof(cgroup), "yagura-test/shim-%d", getpid());
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, local), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	const struct ygr_confine_options options = {
	    .executable = part->executable,
	    .argv = argv,
	    .envp = env,
	    .shim = YGR_SHIM,
	    .uid = 900321,
	    .gid = 900321,
	    .stdout_fd = out[1],
	    .stderr_fd = 2,
	    .local_fd = local[1],
	    .fuse_fd = -1,
	    .cgroup = cgroup,
	    .memory = 256u << 20,
	    .pids = 64,
	    .hostname = "confined",
	};
	if (ygr_confine_start(&options, &confined, &error) < 0)
		fail_msg("%s", error.message);
	close(local[1]);
	close(out[1]);
	loopback = loopback_start(local[0], NULL, &result);
	for (ssize_t got; (got = read(out[0], output + len, sizeof(output) - 1 - len)) > 0;)
		len += (size_t)got;
	close(out[0]);
	if (ygr_confine_outcome(confined, &error) < 0)
		fail_msg("%s", error.message);
	assert_int_equal(
	    poll(&(struct pollfd){.fd = ygr_confine_pidfd(confined), .events = POLLIN}, 1, 60000), 1);
	assert_int_equal(ygr_confine_wait(confined, &status), 0);
	ygr_confine_free(confined);
	loopback_join(loopback);
	snprintf(line, sizeof(line), "%s ok\n", part->part);
	assert_string_equal(output, line);
	assert_int_equal(status, 0);
	if (can_rewrite())
		assert_int_equal(result.mechanism, YGR_LOCAL_REWRITE);
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

#define confined(name)                                                                                      \
	{                                                                                                   \
		"confined: " name, test_confined, NULL, NULL, &(struct confined_part)                       \
		{                                                                                           \
			YGR_SUBJECT, name                                                                   \
		}                                                                                           \
	}
#define confined_static(name)                                                                               \
	{                                                                                                   \
		"confined, static: " name, test_confined, NULL, NULL, &(struct confined_part)               \
		{                                                                                           \
			YGR_SUBJECT_STATIC, name                                                            \
		}                                                                                           \
	}

int main(void)
{
	static bool rewrite = true, dispatch = false;
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_prestate(test_subject, &rewrite),
	    cmocka_unit_test_prestate(test_subject, &dispatch),
	    cmocka_unit_test_prestate(test_static, &rewrite),
	    cmocka_unit_test_prestate(test_static, &dispatch),
	    cmocka_unit_test_prestate(test_static_child, &rewrite),
	    cmocka_unit_test_prestate(test_static_child, &dispatch),
	    cmocka_unit_test_prestate(test_shell, &rewrite),
	    cmocka_unit_test_prestate(test_shell, &dispatch),
	    cmocka_unit_test_prestate(test_python, &rewrite),
	    cmocka_unit_test_prestate(test_python, &dispatch),
	    confined("sites"),
	    confined("threads"),
	    confined("signals"),
	    confined("vectors"),
	    confined("capabilities"),
	    confined("forks"),
	    confined("executable"),
	    confined_static("sites"),
	    confined_static("threads"),
	    confined_static("signals"),
	    confined_static("capabilities"),
	    confined_static("forks"),
	    confined_static("executable"),
	    cmocka_unit_test(test_no_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
