/* Where records end: busy, discarded, long and impossible ones, in memory made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <string.h>

#include "guest-image/guest/records.h"

#define SIZE 256

static uint8_t data[SIZE] __attribute__((aligned(8)));

static void put_bpf(uint64_t at, uint32_t word)
{
	memcpy(data + at % SIZE, &word, sizeof(word));
}

static void put_perf(uint64_t at, uint16_t size)
{
	struct perf_event_header header = {.type = PERF_RECORD_SAMPLE, .size = size};
	memcpy(data + at % SIZE, &header, sizeof(header));
}

static uint64_t walk(enum ygr_ring_kind kind, uint64_t from, uint64_t producer, uint64_t max,
		     bool expect_broken)
{
	bool broken;
	uint64_t n = ygr_guest_records(kind, data, SIZE, from, producer, max, &broken);
	assert_int_equal(broken, expect_broken);
	return n;
}

static void test_bpf(void **state)
{
	(void)state;
	memset(data, 0, sizeof(data));
	put_bpf(0, 20);                                  /* 8 + 20, rounded: 32 */
	put_bpf(32, 8 | BPF_RINGBUF_DISCARD_BIT);        /* 16 */
	put_bpf(48, 4 | (uint32_t)BPF_RINGBUF_BUSY_BIT); /* 16, not finished */
	assert_int_equal(walk(YGR_RING_BPF, 0, 0, SIZE, false), 0);
	assert_int_equal(walk(YGR_RING_BPF, 0, 64, SIZE, false), 48);
	assert_int_equal(walk(YGR_RING_BPF, 0, 64, 40, false), 32);
	assert_int_equal(walk(YGR_RING_BPF, 0, 64, 1, false), 32); /* alone, though longer */
	assert_int_equal(walk(YGR_RING_BPF, 48, 64, SIZE, false), 0);
	put_bpf(48, 4);
	assert_int_equal(walk(YGR_RING_BPF, 0, 64, SIZE, false), 64);
}

static void test_wrap(void **state)
{
	(void)state;
	uint64_t from = 5 * SIZE + 248, far = UINT64_MAX - 7; /* positions run freely, beyond 2^64 too */
	memset(data, 0, sizeof(data));
	put_bpf(248, 24);
	put_bpf(24, 0);
	assert_int_equal(walk(YGR_RING_BPF, from, from + 40, SIZE, false), 40);
	assert_int_equal(walk(YGR_RING_BPF, far, far + 40, SIZE, false), 40);
	put_perf(248, 16);
	put_perf(8, 24);
	assert_int_equal(walk(YGR_RING_PERF, from, from + 40, SIZE, false), 40);
}

static void test_impossible(void **state)
{
	(void)state;
	memset(data, 0, sizeof(data));
	put_bpf(0, 8);
	put_bpf(16, 0x3fffffff); /* longer than the ring */
	assert_int_equal(walk(YGR_RING_BPF, 0, 64, SIZE, true), 16);
	assert_int_equal(walk(YGR_RING_BPF, 16, 64, SIZE, true), 0);
	assert_int_equal(walk(YGR_RING_BPF, 4, 64, SIZE, true), 0);       /* between records */
	assert_int_equal(walk(YGR_RING_BPF, 0, SIZE + 8, SIZE, true), 0); /* more than there can be */
	assert_int_equal(walk(YGR_RING_BPF, 64, 0, SIZE, true), 0);       /* producer behind */
	put_perf(0, 0);                                                   /* would never end */
	assert_int_equal(walk(YGR_RING_PERF, 0, 64, SIZE, true), 0);
	put_perf(0, 12); /* not a multiple of 8 */
	assert_int_equal(walk(YGR_RING_PERF, 0, 64, SIZE, true), 0);
	put_perf(0, 72);
	assert_int_equal(walk(YGR_RING_PERF, 0, 64, SIZE, true), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_bpf), cmocka_unit_test(test_wrap),
					   cmocka_unit_test(test_impossible)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
