/* Mmapable arrays in step: whose word wins, and that nothing is lost or sent twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/telebpf/session/array.h"

static struct ygr_array *make(uint64_t length)
{
	struct ygr_array *array = NULL;

	assert_int_equal(ygr_array_new(5, length, &array), 0);
	return array;
}

static void test_sizes(void **state)
{
	struct ygr_array *array = NULL;

	(void)state;
	assert_int_equal(ygr_array_new(5, 0, &array), -EINVAL);
	assert_int_equal(ygr_array_new(5, YGR_ARRAY_BYTES_MAX + 1ull, &array), -E2BIG);
	assert_int_equal(ygr_array_new(5, UINT64_MAX, &array), -E2BIG);
	array = make(5000);
	assert_int_equal(array->length, 8192);
	ygr_array_free(array);
}

static void test_step(void **state)
{
	struct ygr_array *array = make(8192);
	uint64_t *ours = (uint64_t *)array->area, theirs[4] = {1, 2, 3, 4}, out[4], offset = 0;

	(void)state;
	ygr_array_merge(array, 0, (uint8_t *)theirs, sizeof(theirs));
	assert_memory_equal(ours, theirs, sizeof(theirs));
	assert_int_equal(ygr_array_push(array, &offset, (uint8_t *)out, sizeof(out)), 0);
	ours[1] = 20;
	ours[2] = 30;
	ours[1000] = 7;
	theirs[1] = 99; /* both changed it: the application's, until it is pushed */
	theirs[3] = 44;
	ygr_array_merge(array, 0, (uint8_t *)theirs, sizeof(theirs));
	assert_int_equal(ours[1], 20);
	assert_int_equal(ours[3], 44);
	offset = 0;
	assert_int_equal(ygr_array_push(array, &offset, (uint8_t *)out, sizeof(out)), 16);
	assert_int_equal(offset, 8);
	assert_int_equal(out[0], 20);
	assert_int_equal(out[1], 30);
	/* What could not be sent counts as changed again. */
	ygr_array_unpush(array, 8, 16);
	offset = 0;
	assert_int_equal(ygr_array_push(array, &offset, (uint8_t *)out, 8), 8);
	assert_int_equal(offset, 8);
	offset = 16;
	assert_int_equal(ygr_array_push(array, &offset, (uint8_t *)out, sizeof(out)), 8);
	assert_int_equal(out[0], 30);
	offset = 24;
	assert_int_equal(ygr_array_push(array, &offset, (uint8_t *)out, sizeof(out)), 8);
	assert_int_equal(offset, 8000);
	offset = 0;
	assert_int_equal(ygr_array_push(array, &offset, (uint8_t *)out, sizeof(out)), 0);
	ygr_array_free(array);
}

static void test_layout(void **state)
{
	struct ygr_array *array = make(8192);
	struct ygr_local_mapped mapped;
	struct ygr_local_map map = {.prot = PROT_READ | PROT_WRITE, .length = 8192};

	(void)state;
	assert_int_equal(ygr_array_layout(array, &map, &mapped), 0);
	assert_int_equal(mapped.sync, 1);
	map.offset = 4096;
	assert_int_equal(ygr_array_layout(array, &map, &mapped), -EINVAL);
	map = (struct ygr_local_map){.prot = PROT_READ | PROT_WRITE, .length = UINT64_MAX};
	assert_int_equal(ygr_array_layout(array, &map, &mapped), -EINVAL);
	array->constant = true;
	map.length = 100;
	assert_int_equal(ygr_array_layout(array, &map, &mapped), -EPERM);
	map.prot = PROT_READ;
	assert_int_equal(ygr_array_layout(array, &map, &mapped), 0);
	assert_int_equal(mapped.sync, 0);
	ygr_array_free(array);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sizes),
	    cmocka_unit_test(test_step),
	    cmocka_unit_test(test_layout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
