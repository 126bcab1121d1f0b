/* guest.yaml: the example, the defaults, and that every misunderstanding lets nobody in and names its place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "guest-image/guest/config.h"

static struct ygr_guest_config config;

static void read_text(const char *text)
{
	char path[] = "/tmp/yagura-test-config.XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	ygr_guest_config_deinit(&config);
	assert_int_equal(ygr_guest_config_read(path, &config), 0);
	unlink(path);
}

static void test_defaults(void **state)
{
	(void)state;
	assert_int_equal(ygr_guest_config_read("/nonexistent/guest.yaml", &config), 0);
	assert_int_equal(config.broken.code, 0);
	assert_non_null(config.allow);
	assert_int_equal(config.max_sessions, 16);
	assert_int_equal(config.handles, 1024);
	assert_int_equal(config.memory, 256u << 20);
	assert_false(config.adhoc);
	assert_true(config.enforce);
	read_text("");
	assert_int_equal(config.broken.code, 0);
	assert_int_equal(config.max_sessions, 16);
}

static void test_example(void **state)
{
	(void)state;
	ygr_guest_config_deinit(&config);
	assert_int_equal(ygr_guest_config_read(YGR_EXAMPLE, &config), 0);
	if (config.broken.code)
		fail_msg("%s", config.broken.message);
	assert_non_null(config.allow);
}

static void test_policies(void **state)
{
	(void)state;
	read_text("policies: {enforce: false}\n");
	assert_int_equal(config.broken.code, 0);
	assert_false(config.enforce);
	read_text("policies: {enforce: perhaps}\n");
	assert_int_not_equal(config.broken.code, 0);
	assert_false(config.enforce);
	read_text("policies: {enforce: true}\nsession: {}\n"); /* a word that means nothing */
	assert_int_not_equal(config.broken.code, 0);
	assert_false(config.enforce);
}

static void test_values(void **state)
{
	(void)state;
	read_text("sessions: {max: 3, adhoc: true, allow: {programTypes: [kprobe]}}\n"
		  "limits: {memory: 2Gi, handles: 20}\n");
	assert_int_equal(config.broken.code, 0);
	assert_int_equal(config.max_sessions, 3);
	assert_true(config.adhoc);
	assert_int_equal(config.memory, 2ull << 30);
	assert_int_equal(config.handles, 20);
	read_text("limits: {memory: 2097152}\n");
	assert_int_equal(config.memory, 2u << 20);
}

static void test_broken(void **state)
{
	(void)state;
	static const struct {
		const char *text, *expect;
	} cases[] = {
	    {"sessions: {maximum: 1}", "maximum"},
	    {"session: {}", "session"},
	    {"sessions: {max: -1}", "max"},
	    {"sessions: {max: 257}", "max"},
	    {"sessions: {adhoc: maybe}", "adhoc"},
	    {"sessions: {allow: [kprobe]}", "allow"},
	    {"sessions: {allow: {programTypes: [kprob]}}", "kprob"},
	    {"sessions: {allow: {programType: [kprobe]}}", "programType"},
	    {"sessions: {allow: {files: {read: [relative]}}}", "relative"},
	    {"limits: {memory: 64MB}", "memory"},
	    {"limits: {memory: 1Ki}", "memory"},
	    {"limits: {memory: 99999999999999999999Gi}", "memory"},
	    {"limits: {memory: 18014398509481985Ki}", "memory"},
	    {"limits: {memory: -1Mi}", "memory"},
	    {"limits: {handles: 0}", "handles"},
	    {"- sessions", "mapping"},
	    {"sessions: {max: 1}\n---\nsessions: {max: 2}\n", "one document"},
	    {"sessions: {max: 1", "line"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		read_text(cases[i].text);
		if (config.broken.code == 0)
			fail_msg("let in: %s", cases[i].text);
		if (!strstr(config.broken.message, cases[i].expect) &&
		    i + 1 < sizeof(cases) / sizeof(cases[0]))
			fail_msg("%s: '%s' does not name %s", cases[i].text, config.broken.message,
				 cases[i].expect);
		assert_null(config.allow);
	}
}

static int teardown(void **state)
{
	(void)state;
	ygr_guest_config_deinit(&config);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_defaults), cmocka_unit_test(test_example),
					   cmocka_unit_test(test_policies), cmocka_unit_test(test_values),
					   cmocka_unit_test(test_broken)};
	return cmocka_run_group_tests(tests, NULL, teardown);
}
