/* The program itself: yagura policy check, compile and test, with files as people write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[64];
static char said[65536];

/* Runs `yagura policy ARGUMENTS` in the directory; its exit status, with all that it said. */
static int yagura(const char *arguments)
{
	char command[1024];
	snprintf(command, sizeof(command), "cd %s && %s policy %s 2>&1", directory, YAGURA_PROGRAM,
		 arguments);
	FILE *pipe = popen(command, "r");
	assert_non_null(pipe);
	said[fread(said, 1, sizeof(said) - 1, pipe)] = '\0';
	int status = pclose(pipe);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void write_file(const char *name, const char *text)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static int setup(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/yagura-policy.XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	write_file("good.policy", "policy good { guest { rule shadow: deny open of \"/etc/shadow\"\n"
				  "rule quiet: audit bpf } host { on shadow: vm pause for 1m } }\n");
	write_file("bad.policy", "policy bad { guest { rule a: deny opne } }\n");
	write_file("arguments.policy", "policy a { guest { rule eval: kill exec argument \"-e\" } }\n");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	char command[128];
	snprintf(command, sizeof(command), "rm -r %s", directory);
	return system(command);
}

static void test_check(void **state)
{
	(void)state;
	assert_int_equal(yagura("check good.policy"), 0);
	assert_string_equal(said, "good.policy: good, 2 rules, 1 reactions, 0 warnings\n");
	assert_int_equal(yagura("check good.policy bad.policy none.policy"), 1);
	assert_non_null(strstr(said, "bad.policy:1:35: error: expected an operation, found \"opne\""));
	assert_non_null(strstr(said, "did you mean \"open\"?"));
	assert_non_null(strstr(said, "good.policy: good"));
	assert_non_null(strstr(said, "none.policy: No such file or directory"));
	assert_int_equal(yagura("check ."), 1);
	assert_int_equal(yagura("check /dev/zero"), 1);
	assert_non_null(strstr(said, "at most 1024 KiB"));
}

static void test_compile(void **state)
{
	(void)state;
	assert_int_equal(yagura("compile --emit explain good.policy"), 0);
	assert_non_null(strstr(said, "shadow: denies with EPERM when a task opens a file, and the file is "
				     "\"/etc/shadow\"."));
	assert_non_null(strstr(said, "hooks: file_open"));
	assert_int_equal(yagura("compile --emit text good.policy"), 0);
	assert_non_null(strstr(said, "    rule quiet: audit bpf\n"));
	assert_int_equal(yagura("compile --emit asm good.policy"), 0);
	assert_non_null(strstr(said, "good.open: #"));
	assert_int_equal(yagura("compile --emit c good.policy"), 0);
	assert_non_null(strstr(said, "/* rule shadow */"));
	assert_int_equal(yagura("compile --emit json good.policy"), 0);
	assert_non_null(strstr(said, "\"name\": \"shadow\""));
	assert_int_equal(yagura("compile --emit asm bad.policy"), 1);
	/* What cannot be decided is explained, but no program pretends to decide it. */
	assert_int_equal(yagura("compile --emit explain arguments.policy"), 0);
	assert_int_equal(yagura("compile --emit asm arguments.policy"), 1);
	assert_non_null(strstr(said, "rule eval asks for arguments of exec"));
}

static void test_usage(void **state)
{
	(void)state;
	static const char *const bad[] = {
	    "",     "check",        "compile good.policy", "compile --emit pdf good.policy",
	    "test", "frobnicate x", "check --nonsense"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(yagura(bad[i]), 2);
	assert_int_equal(yagura("--help"), 0);
}

#define TESTS "policy: good.policy\ntests:\n"
#define SHADOW                                                                                              \
	"- name: shadow\n  event: {operation: open, file: /etc/shadow}\n"                                   \
	"  expect: {verdict: deny, rule: shadow, errno: EPERM}\n"

static void test_fixtures(void **state)
{
	(void)state;
	write_file("right.yaml", TESTS SHADOW);
	write_file("wrong.yaml",
		   TESTS SHADOW "- name: other\n  event: {operation: open, file: /etc/passwd}\n"
				"  expect: {verdict: deny, rule: shadow}\n");
	write_file("typo.yaml", TESTS "- name: typo\n  event: {operation: open, flie: /etc/passwd}\n"
				      "  expect: {verdict: deny}\n");
	int status = yagura("test right.yaml");
	if (status == 1 && strstr(said, "takes root"))
		skip();
	assert_int_equal(status, 0);
	assert_non_null(strstr(said, "right.yaml: 1 of 1 as expected"));
	assert_int_equal(yagura("test right.yaml wrong.yaml"), 1);
	assert_non_null(strstr(said, "FAILED  other: allow, by default; expected deny, by shadow"));
	assert_non_null(strstr(said, "wrong.yaml: 1 of 2 as expected"));
	assert_int_equal(yagura("test typo.yaml"), 1);
	assert_non_null(strstr(said, "typo.yaml:4"));
	assert_non_null(strstr(said, "file"));
	assert_int_equal(yagura("test " YAGURA_EXAMPLES "/policies/web.test.yaml"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_check),
	    cmocka_unit_test(test_compile),
	    cmocka_unit_test(test_usage),
	    cmocka_unit_test(test_fixtures),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
