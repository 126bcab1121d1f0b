/* Lines and columns of an application's output: any split of the bytes gives the same lines; bounds are
 * kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/telebpf/lines.h"

static char seen[1 << 17];

static void on_line(void *user, const char *text, json_t *columns)
{
	(void)user;
	char *parsed = columns ? json_dumps(columns, JSON_COMPACT) : NULL;
	size_t used = strlen(seen);
	snprintf(seen + used, sizeof(seen) - used, "[%s]%s", text, parsed ? parsed : "");
	free(parsed);
}

static struct ygr_lines *lines_new(bool header, uint32_t per_second)
{
	struct ygr_lines *lines = calloc(1, sizeof(*lines));
	assert_non_null(lines);
	lines->line = on_line;
	lines->header = header;
	lines->per_second = per_second;
	seen[0] = '\0';
	return lines;
}

static void lines_free(struct ygr_lines *lines)
{
	ygr_lines_deinit(lines);
	free(lines);
}

static void any_split_gives_the_same(void **state)
{
	(void)state;
	static const char input[] = "PCOMM            PID    ARGS\nls   42  /bin/ls -l  \r\n\nx 1\nlast";
	static const char expected[] =
	    "[PCOMM            PID    ARGS]"
	    "[ls   42  /bin/ls -l  ]{\"PCOMM\":\"ls\",\"PID\":\"42\",\"ARGS\":\"/bin/ls -l\"}"
	    "[]{}[x 1]{\"PCOMM\":\"x\",\"PID\":\"1\"}[last]{\"PCOMM\":\"last\"}";
	for (size_t step = 1; step <= sizeof(input); step++) {
		struct ygr_lines *lines = lines_new(true, 0);
		for (size_t at = 0; at < sizeof(input) - 1; at += step) {
			size_t left = sizeof(input) - 1 - at;
			ygr_lines_feed(lines, input + at, left < step ? left : step, 1);
		}
		ygr_lines_finish(lines, 1);
		assert_string_equal(seen, expected);
		lines_free(lines);
	}
}

static void a_long_line_is_cut_and_counted(void **state)
{
	(void)state;
	static char input[3 * YGR_LINE_MAX];
	memset(input, 'x', sizeof(input));
	struct ygr_lines *lines = lines_new(false, 0);
	ygr_lines_feed(lines, input, sizeof(input), 1);
	ygr_lines_feed(lines, "\nshort\n", 7, 1);
	assert_int_equal(lines->cut, 1);
	assert_int_equal(strlen(seen), 2 + YGR_LINE_MAX + strlen("[short]"));
	assert_string_equal(seen + 2 + YGR_LINE_MAX, "[short]");
	lines_free(lines);
}

static void what_is_above_the_limit_is_dropped_and_counted(void **state)
{
	(void)state;
	struct ygr_lines *lines = lines_new(false, 2);
	for (int i = 0; i < 5; i++)
		ygr_lines_feed(lines, "a\n", 2, 1000000000);
	ygr_lines_feed(lines, "b\n", 2, 2000000000);
	assert_string_equal(seen, "[a][a][b]");
	assert_int_equal(lines->dropped, 3);
	lines_free(lines);
}

static void nonsense_bytes_become_text(void **state)
{
	(void)state;
	struct ygr_lines *lines = lines_new(true, 0);
	ygr_lines_feed(lines, "A\xff B\n\xfe\x01 \xc3\n", 10, 1);
	assert_non_null(strstr(seen, "{\"A\xef\xbf\xbd\":\"\xef\xbf\xbd \",\"B\":\"\xef\xbf\xbd\"}"));
	lines_free(lines);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(any_split_gives_the_same),
	    cmocka_unit_test(a_long_line_is_cut_and_counted),
	    cmocka_unit_test(what_is_above_the_limit_is_dropped_and_counted),
	    cmocka_unit_test(nonsense_bytes_become_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
