/* The program itself: yagura keys init, certify and show, and what they say when asked for nonsense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "lib/wire/keys.h"

static char directory[64];
static char said[8192];

/* Runs `yagura keys ARGUMENTS` in the directory; its exit status, with all that it said. */
static int yagura(const char *arguments)
{
	char command[1024];
	snprintf(command, sizeof(command), "cd %s && %s keys %s 2>&1", directory, YAGURA_PROGRAM, arguments);
	FILE *pipe = popen(command, "r");
	assert_non_null(pipe);
	said[fread(said, 1, sizeof(said) - 1, pipe)] = '\0';
	int status = pclose(pipe);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static const char *in_directory(const char *name)
{
	static char path[128];
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static void test_init(void **state)
{
	(void)state;
	assert_int_equal(yagura("init k --name n1 --days 30"), 0);
	assert_non_null(strstr(said, "/etc/yagura/root.pub"));
	struct stat st;
	assert_int_equal(stat(in_directory("k"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);

	struct ygr_cert cert;
	uint8_t root[32];
	assert_int_equal(ygr_keys_read_cert(in_directory("k/node.cert"), &cert, NULL), 0);
	assert_int_equal(ygr_keys_read_public(in_directory("k/root.pub"), root, NULL), 0);
	assert_string_equal(cert.name, "n1");
	assert_int_equal(ygr_cert_check(&cert, root, YGR_USAGE_NODE | YGR_USAGE_CATALOGUE, time(NULL),
					&ygr_crypto_openssl, NULL),
			 0);
	assert_int_equal(yagura("init k"), 1); /* never over existing keys */
	assert_non_null(strstr(said, "File exists"));
}

static void test_certify_and_show(void **state)
{
	(void)state;
	assert_int_equal(yagura("certify k/root.key k/node.pub -o again.cert -n n2 -u policy -d 3"), 0);
	assert_int_equal(yagura("show again.cert k/root.pub"), 0);
	assert_non_null(strstr(said, "n2"));
	assert_non_null(strstr(said, "usages     policy\n"));
	assert_non_null(strstr(said, "k/root.pub: public key"));
	assert_int_equal(yagura("show again.cert k/root.key"), 1);
	assert_non_null(strstr(said, "neither a public key nor a certificate"));
	assert_int_equal(yagura("certify k/node.pub k/node.pub -o x.cert"), 1);
}

static void test_nonsense(void **state)
{
	(void)state;
	static const char *const bad[] = {
	    "",
	    "init",
	    "init a b",
	    "show",
	    "make",
	    "init z -d0",
	    "init z -d 4000",
	    "init z -d 1x",
	    "init z -u root",
	    "certify a b",
	    "init z --color",
	    "init z -n 0123456789012345678901234567890123456789012345678901234567890123",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (yagura(bad[i]) != 2 || !said[0])
			fail_msg("yagura keys %s: %s", bad[i], said);
	}
	assert_int_equal(yagura("--help"), 0);
	assert_non_null(strstr(said, "Usage: yagura keys init DIR"));
}

static int setup(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/yagura-test-cli-keys.XXXXXX");
	return mkdtemp(directory) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	char command[128];
	snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_init),
	    cmocka_unit_test(test_certify_and_show),
	    cmocka_unit_test(test_nonsense),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
