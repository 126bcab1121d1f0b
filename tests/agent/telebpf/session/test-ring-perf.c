/* Copying of perf records: wrap-around, lost counts, and headers and sample lengths that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "agent/telebpf/session/ring-copy.h"

#define SIZE 4096u

struct rings {
	struct ygr_ring_source source;
	struct ygr_ring_sink sink;
	uint8_t *guest;
	uint64_t head;
};

static struct rings rings_at(uint64_t position, uint64_t sample_type)
{
	struct rings r = {.guest = aligned_alloc(8, SIZE), .head = position};

	r.source = (struct ygr_ring_source){.data = r.guest, .size = SIZE};
	r.sink = (struct ygr_ring_sink){.data = aligned_alloc(8, SIZE),
					.size = SIZE,
					.position = position,
					.consumer = position,
					.sample_type = sample_type};
	memset(r.guest, 0xee, SIZE);
	memset(r.sink.data, 0x11, SIZE);
	return r;
}

static void rings_deinit(struct rings *r)
{
	free(r->guest);
	free(r->sink.data);
}

static void put(struct rings *r, uint64_t position, const void *data, size_t length)
{
	for (size_t i = 0; i < length; i++)
		r->guest[(position + i) & (SIZE - 1)] = ((const uint8_t *)data)[i];
}

static void get(const struct rings *r, uint64_t position, void *data, size_t length)
{
	for (size_t i = 0; i < length; i++)
		((uint8_t *)data)[i] = r->sink.data[(position + i) & (SIZE - 1)];
}

static void put_header(struct rings *r, uint32_t type, uint16_t size)
{
	struct perf_event_header header = {.type = type, .size = size, .misc = 2};

	put(r, r->head, &header, sizeof(header));
}

/* As bpf_perf_event_output() does with PERF_SAMPLE_RAW alone. */
static void sample(struct rings *r, uint32_t raw, uint8_t seed)
{
	uint16_t size = (uint16_t)((8 + 4 + raw + 7) & ~7u);
	uint32_t length = size - 12u;
	uint8_t bytes[SIZE];

	for (uint32_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)(i * 3 ^ seed);
	put_header(r, PERF_RECORD_SAMPLE, size);
	put(r, r->head + 8, &length, sizeof(length));
	put(r, r->head + 12, bytes, length);
	r->head += size;
}

static void expect_sample(struct rings *r, uint32_t raw, uint8_t seed)
{
	struct perf_event_header header;
	uint8_t bytes[SIZE];
	uint32_t length;

	assert_true(r->sink.consumer != r->sink.position);
	get(r, r->sink.consumer, &header, sizeof(header));
	get(r, r->sink.consumer + 8, &length, sizeof(length));
	assert_int_equal(header.type, PERF_RECORD_SAMPLE);
	assert_int_equal(header.size, (8 + 4 + raw + 7) & ~7u);
	assert_int_equal(length, header.size - 12);
	get(r, r->sink.consumer + 12, bytes, raw);
	for (uint32_t i = 0; i < raw; i++)
		assert_int_equal(bytes[i], (uint8_t)(i * 3 ^ seed));
	r->sink.consumer += header.size;
}

static void test_wrap(void **state)
{
	struct rings r = rings_at(0, PERF_SAMPLE_RAW);
	struct ygr_ring_batch batch;

	(void)state;
	for (unsigned round = 0; round < 500; round++) {
		uint32_t raw = 4 + (round * 41) % 1800;

		sample(&r, raw, (uint8_t)round);
		sample(&r, 4, (uint8_t)~round);
		assert_int_equal(ygr_ring_copy_perf(&r.source, r.head, &r.sink, &batch), 0);
		assert_int_equal(batch.records, 2);
		expect_sample(&r, raw, (uint8_t)round);
		expect_sample(&r, 4, (uint8_t)~round);
	}
	rings_deinit(&r);
}

static void test_lost(void **state)
{
	struct rings r = rings_at(SIZE - 16, PERF_SAMPLE_RAW);
	uint64_t body[2] = {77, 12};
	struct ygr_ring_batch batch;

	(void)state;
	put_header(&r, PERF_RECORD_LOST, 24);
	put(&r, r.head + 8, body, sizeof(body));
	r.head += 24;
	sample(&r, 20, 5);
	assert_int_equal(ygr_ring_copy_perf(&r.source, r.head, &r.sink, &batch), 0);
	assert_int_equal(batch.dropped, 12);
	assert_int_equal(batch.records, 1);
	r.sink.consumer += 24;
	expect_sample(&r, 20, 5);
	put_header(&r, PERF_RECORD_LOST, 16); /* too short for its count */
	assert_int_equal(ygr_ring_copy_perf(&r.source, r.head + 16, &r.sink, &batch), -EBADMSG);
	rings_deinit(&r);
}

static void test_slow_consumer(void **state)
{
	struct rings r = rings_at(0, PERF_SAMPLE_RAW);
	struct ygr_ring_batch batch;

	(void)state;
	sample(&r, 4084, 1);
	assert_int_equal(ygr_ring_copy_perf(&r.source, r.head, &r.sink, &batch), 0);
	sample(&r, 4, 2);
	assert_int_equal(ygr_ring_copy_perf(&r.source, r.head, &r.sink, &batch), 0);
	assert_true(batch.full);
	expect_sample(&r, 4084, 1);
	assert_int_equal(ygr_ring_copy_perf(&r.source, r.head, &r.sink, &batch), 0);
	expect_sample(&r, 4, 2);
	rings_deinit(&r);
}

static void test_hostile_sizes(void **state)
{
	/* 64 bytes are there. */
	static const uint16_t sizes[] = {0, 1, 4, 7, 9, 12, 63, 65, 72, 4096, 4104, 32768, 65528, 65535};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct rings r = rings_at(SIZE - 32, 0);
		struct ygr_ring_batch batch;

		put_header(&r, PERF_RECORD_SAMPLE, sizes[i]);
		assert_int_equal(ygr_ring_copy_perf(&r.source, r.head + 64, &r.sink, &batch), -EBADMSG);
		assert_int_equal(r.sink.position, SIZE - 32);
		for (unsigned k = 0; k < SIZE; k++)
			assert_int_equal(r.sink.data[k], 0x11);
		rings_deinit(&r);
	}
}

static void test_hostile_head(void **state)
{
	static const int64_t jumps[] = {-8, -4096, 4104, 12, 1, INT64_MAX & ~7ll, INT64_MIN};

	(void)state;
	for (size_t i = 0; i < sizeof(jumps) / sizeof(*jumps); i++) {
		struct rings r = rings_at(8192, 0);
		struct ygr_ring_batch batch;

		put_header(&r, PERF_RECORD_SAMPLE, 8);
		assert_int_equal(ygr_ring_copy_perf(&r.source, 8192 + (uint64_t)jumps[i], &r.sink, &batch),
				 -EBADMSG);
		rings_deinit(&r);
	}
}

static void test_hostile_raw_length(void **state)
{
	static const struct {
		uint64_t sample_type;
		uint16_t size, offset;
		uint32_t length;
		int result;
	} cases[] = {
	    {PERF_SAMPLE_RAW, 40, 8, 28, 0},
	    {PERF_SAMPLE_RAW, 40, 8, 29, -EBADMSG},
	    {PERF_SAMPLE_RAW, 40, 8, 0xffffffff, -EBADMSG},
	    {PERF_SAMPLE_RAW, 8, 8, 0, -EBADMSG},
	    {PERF_SAMPLE_RAW | PERF_SAMPLE_TIME | PERF_SAMPLE_TID, 40, 24, 12, 0},
	    {PERF_SAMPLE_RAW | PERF_SAMPLE_TIME | PERF_SAMPLE_TID, 40, 24, 13, -EBADMSG},
	    {PERF_SAMPLE_RAW | PERF_SAMPLE_TIME | PERF_SAMPLE_TID, 24, 24, 0, -EBADMSG},
	    {PERF_SAMPLE_TIME, 40, 8, 0xffffffff, 0}, /* no raw data: the word is something else */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct rings r = rings_at(SIZE - 16, cases[i].sample_type);
		struct ygr_ring_batch batch;

		put_header(&r, PERF_RECORD_SAMPLE, cases[i].size);
		put(&r, r.head + cases[i].offset, &cases[i].length, 4);
		assert_int_equal(ygr_ring_copy_perf(&r.source, r.head + cases[i].size, &r.sink, &batch),
				 cases[i].result);
		rings_deinit(&r);
	}
}

struct flipper {
	_Atomic uint64_t *word;
	atomic_bool stop;
	uint64_t values[2];
};

static void *flip(void *data)
{
	struct flipper *flipper = data;

	while (!atomic_load_explicit(&flipper->stop, memory_order_relaxed))
		for (unsigned i = 0; i < 64; i++)
			atomic_store_explicit(flipper->word, flipper->values[i & 1], memory_order_relaxed);
	return NULL;
}

/* Flips WORD of the record (0: its header, 1: its raw length) while it is copied. */
static void flip_word(unsigned word)
{
	struct rings r = rings_at(0, PERF_SAMPLE_RAW);
	struct flipper flipper = {.word = (_Atomic uint64_t *)(void *)(r.guest + 8 * word)};
	struct perf_event_header good = {.type = PERF_RECORD_SAMPLE, .size = 32};
	struct perf_event_header bad = {.type = PERF_RECORD_SAMPLE, .size = 65528};
	unsigned taken = 0, refused = 0;
	pthread_t thread;

	memset(r.guest, 0, SIZE);
	put_header(&r, PERF_RECORD_SAMPLE, 32);
	put(&r, 8, &(uint32_t){20}, 4);
	memcpy(&flipper.values[0], &good, 8);
	memcpy(&flipper.values[1], &bad, 8);
	if (word == 1) {
		flipper.values[0] = 20;
		flipper.values[1] = 0xffffff00;
	}
	assert_int_equal(pthread_create(&thread, NULL, flip, &flipper), 0);
	for (unsigned i = 0; i < 2000000 && (i < 300000 || !taken || !refused); i++) {
		struct ygr_ring_batch batch;
		struct perf_event_header header;
		uint32_t length;

		r.sink.position = r.sink.consumer = 0;
		if (ygr_ring_copy_perf(&r.source, 32, &r.sink, &batch) < 0) {
			refused++;
			continue;
		}
		memcpy(&header, r.sink.data, sizeof(header));
		memcpy(&length, r.sink.data + 8, sizeof(length));
		assert_int_equal(header.size, 32);
		assert_int_equal(length, 20);
		taken++;
	}
	atomic_store(&flipper.stop, true);
	pthread_join(thread, NULL);
	print_message("%u taken, %u refused\n", taken, refused);
	assert_true(taken && refused);
	rings_deinit(&r);
}

static void test_rewritten_header(void **state)
{
	(void)state;
	flip_word(0);
}

static void test_rewritten_length(void **state)
{
	(void)state;
	flip_word(1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_wrap),
	    cmocka_unit_test(test_lost),
	    cmocka_unit_test(test_slow_consumer),
	    cmocka_unit_test(test_hostile_sizes),
	    cmocka_unit_test(test_hostile_head),
	    cmocka_unit_test(test_hostile_raw_length),
	    cmocka_unit_test(test_rewritten_header),
	    cmocka_unit_test(test_rewritten_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
