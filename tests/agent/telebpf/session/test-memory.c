/* The region table: every page number that a guest may name is RAM or refused, and the right bytes are
 * mapped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/telebpf/session/memory.h"

#define PAGE YGR_PAGE_SIZE

/* 8 pages: 4 low, a hole, 4 high; each page begins with its number in the file. */
static const struct ygr_ram_region two[] = {{.gpa = 0x100000, .size = 4 * PAGE, .offset = 4 * PAGE},
					    {.gpa = 0, .size = 4 * PAGE, .offset = 0}};

static int make_file(bool sealed)
{
	int fd = memfd_create("test-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 8 * PAGE), 0);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(pwrite(fd, &i, sizeof(i), i * PAGE), sizeof(i));
	if (sealed)
		assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	return fd;
}

static struct ygr_ram *make_ram(bool sealed)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_ram *ram = NULL;

	assert_int_equal(ygr_ram_new(make_file(sealed), two, 2, &ram, &error), 0);
	return ram;
}

static void test_table(void **state)
{
	static const struct {
		struct ygr_ram_region regions[2];
		unsigned count;
	} bad[] = {
	    {{{0}}, 0},
	    {{{0, 0, 0}}, 1},
	    {{{0, 9 * PAGE, 0}}, 1},
	    {{{0, 4 * PAGE, 5 * PAGE}}, 1},
	    {{{1, PAGE, 0}}, 1},
	    {{{0, PAGE + 1, 0}}, 1},
	    {{{0, PAGE, 7}}, 1},
	    {{{0, PAGE, UINT64_MAX - PAGE + 1}}, 1},
	    {{{UINT64_MAX - PAGE + 1, 2 * PAGE, 0}}, 1},
	    {{{0, 2 * PAGE, 0}, {PAGE, PAGE, 2 * PAGE}}, 2},
	    {{{PAGE, PAGE, 2 * PAGE}, {0, 2 * PAGE, 0}}, 2},
	};
	int fd = make_file(true);

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct ygr_error error = YGR_ERROR_INIT;
		struct ygr_ram *ram = NULL;

		assert_int_equal(ygr_ram_new(fd, bad[i].regions, bad[i].count, &ram, &error), -EINVAL);
		assert_null(ram);
		assert_true(error.message[0]);
	}
	close(fd);
}

static void test_seal(void **state)
{
	struct ygr_ram *ram = make_ram(true);

	(void)state;
	assert_true(ygr_ram_sealed(ram));
	ygr_ram_free(ram);
	ram = make_ram(false);
	assert_false(ygr_ram_sealed(ram));
	ygr_ram_free(ram);
}

static void test_runs(void **state)
{
	struct ygr_ram *ram = make_ram(true);
	static const struct {
		struct ygr_run runs[3];
		uint32_t count;
		uint64_t pages;
		int result;
	} cases[] = {
	    {{{0, 4, 0}}, 1, 4, 1},
	    {{{0, 1, 0}, {1, 1, 0}, {2, 2, 0}}, 3, 4, 1}, /* joined */
	    {{{1, 1, 0}, {0, 1, 0}}, 2, 2, 2},
	    {{{3, 1, 0}, {0x100, 1, 0}}, 2, 2, 1}, /* far apart in the guest, side by side in the file */
	    {{{0x103, 1, 0}}, 1, 1, 1},
	    {{{0, 5, 0}}, 1, 5, -ERANGE}, /* runs into the hole */
	    {{{4, 1, 0}}, 1, 1, -ERANGE},
	    {{{0xff, 2, 0}}, 1, 2, -ERANGE},
	    {{{0x103, 2, 0}}, 1, 2, -ERANGE},
	    {{{0x104, 1, 0}}, 1, 1, -ERANGE},
	    {{{UINT64_MAX, 1, 0}}, 1, 1, -ERANGE},
	    {{{UINT64_MAX / PAGE, 1, 0}}, 1, 1, -ERANGE},
	    {{{1ull << 52, 1, 0}}, 1, 1, -ERANGE}, /* times 4096 is 0 */
	    {{{(1ull << 52) + 1, 1, 0}}, 1, 1, -ERANGE},
	    {{{0, 0, 0}}, 1, 1, -EBADMSG},
	    {{{0, 1, 0}}, 1, 2, -EBADMSG},
	    {{{0, 2, 0}}, 1, 1, -EBADMSG},
	    {{{0, UINT32_MAX, 0}, {0, 2, 0}}, 2, 1, -EBADMSG},
	    {{{0, 1, 0}, {2, 1, 0}, {1, 1, 0}}, 3, 3, -E2BIG},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct ygr_ram_extent extents[2];

		assert_int_equal(
		    ygr_ram_extents(ram, cases[i].runs, cases[i].count, cases[i].pages, extents, 2),
		    cases[i].result);
	}
	ygr_ram_free(ram);
}

static void test_map(void **state)
{
	static const struct ygr_run runs[] = {{0x102, 2, 0}, {1, 1, 0}, {0x100, 1, 0}};
	static const uint32_t pages[] = {6, 7, 1, 4};
	struct ygr_ram *ram = make_ram(true);
	uint8_t *at = NULL;

	(void)state;
	assert_int_equal(ygr_ram_map(ram, runs, 3, 4, &at), 0);
	for (unsigned i = 0; i < 4; i++) {
		uint32_t number;

		memcpy(&number, at + i * PAGE, sizeof(number));
		assert_int_equal(number, pages[i]);
	}
	assert_int_equal(munmap(at, 4 * PAGE), 0);
	assert_int_equal(ygr_ram_map(ram, runs, 3, 5, &at), -EBADMSG);
	assert_int_equal(ygr_ram_map(ram, runs, 0, 0, &at), -EBADMSG);
	ygr_ram_free(ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_seal),
	    cmocka_unit_test(test_runs),
	    cmocka_unit_test(test_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
