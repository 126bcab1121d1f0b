/* Quantities: every suffix, rounding, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "lib/api/quantity.h"

static void test_values(void **state)
{
	static const struct {
		const char *text;
		int64_t milli;
	} cases[] = {
	    {"0", 0},
	    {"1", 1000},
	    {"200m", 200},
	    {"0.5", 500},
	    {"1.25", 1250},
	    {"0.001m", 1},
	    {"64Mi", 67108864000},
	    {"1.5G", 1500000000000},
	    {"1Ki", 1024000},
	    {"2Gi", 2147483648000},
	    {"1T", 1000000000000000},
	    {"3k", 3000000},
	    {"1Ti", 1099511627776000},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int64_t milli = -1;
		assert_int_equal(ygr_quantity_parse(cases[i].text, &milli), 0);
		assert_int_equal(milli, cases[i].milli);
	}
}

static void test_refused(void **state)
{
	static const char *const bad[] = {"",    "-1",    "+1", "1KB",           "1.",   ".5", "1.2345",
					  "1e3", "64 Mi", "Mi", "1234567890123", "0x10", "1mi"};
	int64_t milli;
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(ygr_quantity_parse(bad[i], &milli), -EINVAL);
	assert_int_equal(ygr_quantity_parse("999999999999Ti", &milli), -ERANGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_refused)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
