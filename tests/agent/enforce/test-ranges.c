/* Prefixes and port ranges as entries of a longest-prefix map, against a plain look at every range. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/enforce/ranges.h"

/* What a longest-prefix lookup gives. */
static uint64_t look_up(const struct ygr_enforce_entries *entries, uint8_t family, unsigned bits,
			const uint8_t key[16])
{
	const struct ygr_enforce_entry *best = NULL;

	for (size_t i = 0; i < entries->count; i++) {
		const struct ygr_enforce_entry *entry = &entries->items[i];
		bool matches = entry->family == family && entry->bits <= bits;
		for (unsigned bit = 0; matches && bit < entry->bits; bit++)
			matches = (entry->key[bit / 8] ^ key[bit / 8]) >> (7 - bit % 8) & 1 ? false : true;
		if (matches && (!best || entry->bits > best->bits))
			best = entry;
	}
	return best ? best->blocks : 0;
}

static void test_prefixes(void **state)
{
	static const uint8_t ten[16] = {10}, host[16] = {10, 1, 2, 3}, other[16] = {11}, any[16];
	struct ygr_enforce_entries entries = {0};
	(void)state;

	assert_int_equal(ygr_enforce_entries_add(&entries, 4, 32, host, 2), 0);
	assert_int_equal(ygr_enforce_entries_add(&entries, 4, 8, host, 1), 0); /* host bits are cleared */
	assert_int_equal(ygr_enforce_entries_add(&entries, 4, 8, ten, 5), 0);
	assert_int_equal(ygr_enforce_entries_add(&entries, 4, 0, any, 0), 0);
	assert_int_equal(ygr_enforce_entries_add(&entries, 6, 0, any, 9), 0);
	ygr_enforce_entries_settle(&entries);
	assert_int_equal(entries.count, 4);
	assert_int_equal(look_up(&entries, 4, 32, host), 1 | 1 << 1 | 1 << 5 | 1 << 2);
	assert_int_equal(look_up(&entries, 4, 32, ten), 1 | 1 << 1 | 1 << 5);
	assert_int_equal(look_up(&entries, 4, 32, other), 1);
	assert_int_equal(look_up(&entries, 6, 128, other), 1 << 9);
	assert_true(ygr_enforce_entries_have(&entries, 4, 8, ten));
	assert_false(ygr_enforce_entries_have(&entries, 4, 9, ten));
	ygr_enforce_entries_deinit(&entries);
}

/* Random ranges: every port gets exactly the blocks whose ranges it is in. */
static void test_ports(void **state)
{
	(void)state;
	srandom(7);
	for (int round = 0; round < 20; round++) {
		struct ygr_enforce_entries entries = {0};
		uint16_t low[32], high[32];
		for (unsigned i = 0; i < 32; i++) {
			low[i] = (uint16_t)random();
			high[i] = (uint16_t)(low[i] + random() % (65536 - low[i]));
			if (i == 0)
				low[i] = 0, high[i] = 65535;
			assert_int_equal(ygr_enforce_entries_add_ports(&entries, low[i], high[i], i), 0);
		}
		ygr_enforce_entries_settle(&entries);
		for (unsigned port = 0; port < 65536; port += 1 + (unsigned)random() % 97) {
			const uint8_t key[16] = {(uint8_t)(port >> 8), (uint8_t)port};
			uint64_t expected = 0;
			for (unsigned i = 0; i < 32; i++)
				if (low[i] <= port && port <= high[i])
					expected |= UINT64_C(1) << i;
			assert_true(look_up(&entries, 0, 16, key) == expected);
		}
		ygr_enforce_entries_deinit(&entries);
	}
}

static void test_bound(void **state)
{
	struct ygr_enforce_entries entries = {0};
	uint8_t key[16] = {0};
	int r = 0;
	(void)state;

	for (uint32_t i = 0; i <= YGR_ENFORCE_ENTRIES_MAX && r == 0; i++) {
		key[0] = (uint8_t)(i >> 16), key[1] = (uint8_t)(i >> 8), key[2] = (uint8_t)i;
		r = ygr_enforce_entries_add(&entries, 4, 32, key, 0);
	}
	assert_int_equal(r, -E2BIG);
	assert_int_equal(entries.count, YGR_ENFORCE_ENTRIES_MAX);
	ygr_enforce_entries_deinit(&entries);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_prefixes), cmocka_unit_test(test_ports),
					   cmocka_unit_test(test_bound)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
