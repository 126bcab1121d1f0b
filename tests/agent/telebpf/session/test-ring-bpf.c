/*
 * Copying of BPF ring records: what a kernel writes arrives unchanged, and nothing that a hostile guest
 * writes makes the copier leave its buffers or hand on a length that does not fit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "agent/telebpf/session/ring-copy.h"

#define SIZE 4096u

/* A guest's ring and a private one, each with its own exact allocation, for the sanitizers. */
struct rings {
	struct ygr_ring_source source;
	struct ygr_ring_sink sink;
	uint8_t *guest;
	uint64_t producer;
};

static struct rings rings_at(uint64_t position)
{
	struct rings r = {.guest = aligned_alloc(8, SIZE), .producer = position};

	r.source = (struct ygr_ring_source){.data = r.guest, .size = SIZE};
	r.sink = (struct ygr_ring_sink){
	    .data = aligned_alloc(8, SIZE), .size = SIZE, .position = position, .consumer = position};
	memset(r.guest, 0xee, SIZE);
	memset(r.sink.data, 0x11, SIZE);
	return r;
}

static void rings_deinit(struct rings *r)
{
	free(r->guest);
	free(r->sink.data);
}

static void put_byte(struct rings *r, uint64_t position, uint8_t byte)
{
	r->guest[position & (SIZE - 1)] = byte;
}

static void put_header(struct rings *r, uint64_t position, uint32_t length)
{
	uint32_t header[2] = {length, 0xabcd};

	memcpy(r->guest + (position & (SIZE - 1)), header, sizeof(header));
}

/* As bpf_ringbuf_output() does: LENGTH bytes, each its position's low byte xor SEED. */
static void produce(struct rings *r, uint32_t length, uint32_t bits, uint8_t seed)
{
	put_header(r, r->producer, length | bits);
	for (uint32_t i = 0; i < length; i++)
		put_byte(r, r->producer + 8 + i, (uint8_t)(i ^ seed));
	r->producer += 8 + ((length + 7) & ~7u);
}

/* Reads one record from the private ring, as libbpf would, and moves the consumer. */
static void expect(struct rings *r, uint32_t length, uint32_t bits, uint8_t seed)
{
	uint64_t at = r->sink.consumer;
	uint32_t header[2];

	assert_true(at != r->sink.position);
	memcpy(header, r->sink.data + (at & (SIZE - 1)), sizeof(header));
	assert_int_equal(header[0], length | bits);
	assert_int_equal(header[1], 0);
	for (uint32_t i = 0; i < length && !(bits & BPF_RINGBUF_DISCARD_BIT); i++)
		assert_int_equal(r->sink.data[(at + 8 + i) & (SIZE - 1)], (uint8_t)(i ^ seed));
	r->sink.consumer += 8 + ((length + 7) & ~7u);
}

static void test_plain(void **state)
{
	struct rings r = rings_at(0);
	struct ygr_ring_batch batch;

	(void)state;
	produce(&r, 5, 0, 1);
	produce(&r, 0, 0, 2);
	produce(&r, 64, 0, 3);
	assert_int_equal(ygr_ring_copy_bpf(&r.source, r.producer, &r.sink, &batch), 0);
	assert_int_equal(batch.records, 3);
	assert_int_equal(batch.bytes, 16 + 8 + 72);
	assert_false(batch.full);
	expect(&r, 5, 0, 1);
	expect(&r, 0, 0, 2);
	expect(&r, 64, 0, 3);
	assert_int_equal(r.sink.consumer, r.sink.position);
	rings_deinit(&r);
}

static void test_wrap(void **state)
{
	/* Also where the free-running position itself wraps. */
	static const uint64_t starts[] = {0, SIZE - 8, SIZE - 16, 3 * SIZE - 2048, UINT64_MAX - 63};

	(void)state;
	for (size_t i = 0; i < sizeof(starts) / sizeof(*starts); i++) {
		struct rings r = rings_at(starts[i] & ~7ull);
		struct ygr_ring_batch batch;

		for (unsigned round = 0; round < 200; round++) {
			uint32_t length = (round * 37) % 1500;

			produce(&r, length, 0, (uint8_t)round);
			produce(&r, 24, 0, (uint8_t)~round);
			assert_int_equal(ygr_ring_copy_bpf(&r.source, r.producer, &r.sink, &batch), 0);
			assert_int_equal(batch.records, 2);
			expect(&r, length, 0, (uint8_t)round);
			expect(&r, 24, 0, (uint8_t)~round);
		}
		rings_deinit(&r);
	}
}

static void test_exact_fill(void **state)
{
	struct rings r = rings_at(SIZE - 128);
	struct ygr_ring_batch batch;

	(void)state;
	produce(&r, SIZE - 8, 0, 9);
	assert_int_equal(ygr_ring_copy_bpf(&r.source, r.producer, &r.sink, &batch), 0);
	assert_int_equal(batch.records, 1);
	expect(&r, SIZE - 8, 0, 9);
	rings_deinit(&r);
}

static void test_busy_and_discarded(void **state)
{
	struct rings r = rings_at(64);
	struct ygr_ring_batch batch;

	(void)state;
	produce(&r, 16, BPF_RINGBUF_DISCARD_BIT, 1);
	produce(&r, 24, 0, 2);
	produce(&r, 32, BPF_RINGBUF_BUSY_BIT, 3);
	produce(&r, 40, 0, 4);
	assert_int_equal(ygr_ring_copy_bpf(&r.source, r.producer, &r.sink, &batch), 0);
	assert_int_equal(batch.records, 1);
	assert_int_equal(r.sink.position, 64 + 24 + 32);
	assert_int_equal(ygr_ring_copy_bpf(&r.source, r.producer, &r.sink, &batch), 0);
	assert_int_equal(batch.bytes, 0);
	put_header(&r, 64 + 24 + 32, 32);
	assert_int_equal(ygr_ring_copy_bpf(&r.source, r.producer, &r.sink, &batch), 0);
	assert_int_equal(batch.records, 2);
	expect(&r, 16, BPF_RINGBUF_DISCARD_BIT, 1);
	expect(&r, 24, 0, 2);
	expect(&r, 32, 0, 3);
	expect(&r, 40, 0, 4);
	rings_deinit(&r);
}

static void test_slow_consumer(void **state)
{
	struct rings r = rings_at(0);
	struct ygr_ring_batch batch;

	(void)state;
	produce(&r, 2040, 0, 1);
	produce(&r, 1000, 0, 2);
	assert_int_equal(ygr_ring_copy_bpf(&r.source, r.producer, &r.sink, &batch), 0);
	/* The guest may reuse what was copied, though the application has not seen it. */
	produce(&r, 1040, 0, 3);
	assert_int_equal(ygr_ring_copy_bpf(&r.source, r.producer, &r.sink, &batch), 0);
	assert_true(batch.full);
	assert_int_equal(batch.records, 0);
	expect(&r, 2040, 0, 1);
	assert_int_equal(ygr_ring_copy_bpf(&r.source, r.producer, &r.sink, &batch), 0);
	assert_int_equal(batch.records, 1);
	expect(&r, 1000, 0, 2);
	expect(&r, 1040, 0, 3);
	rings_deinit(&r);
}

static void test_hostile_lengths(void **state)
{
	/* What is left to the producer is 64 bytes; the ring has 4096. */
	static const uint32_t lengths[] = {57,   64,     4088,       4089,       4096,
					   8192, 0xffff, 0x1fffffff, 0x3ffffff8, 0x3fffffff};

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		struct rings r = rings_at(SIZE - 32);
		struct ygr_ring_batch batch;
		uint64_t start = r.producer;

		put_header(&r, start, lengths[i]);
		assert_int_equal(ygr_ring_copy_bpf(&r.source, start + 64, &r.sink, &batch), -EBADMSG);
		assert_int_equal(r.sink.position, start);
		put_header(&r, start, lengths[i] | BPF_RINGBUF_DISCARD_BIT);
		assert_int_equal(ygr_ring_copy_bpf(&r.source, start + 64, &r.sink, &batch), -EBADMSG);
		put_header(&r, start, lengths[i] | BPF_RINGBUF_BUSY_BIT);
		assert_int_equal(ygr_ring_copy_bpf(&r.source, start + 64, &r.sink, &batch), 0);
		assert_int_equal(batch.bytes, 0);
		for (unsigned k = 0; k < SIZE; k++)
			assert_int_equal(r.sink.data[k], 0x11);
		rings_deinit(&r);
	}
}

static void test_hostile_producer(void **state)
{
	static const int64_t jumps[] = {-8, -64, -4096, 4104, 1 << 20, INT64_MAX & ~7ll, 4, 1, INT64_MIN};

	(void)state;
	for (size_t i = 0; i < sizeof(jumps) / sizeof(*jumps); i++) {
		struct rings r = rings_at(8192);
		struct ygr_ring_batch batch;

		memset(r.guest, 0, SIZE);
		assert_int_equal(ygr_ring_copy_bpf(&r.source, 8192 + (uint64_t)jumps[i], &r.sink, &batch),
				 -EBADMSG);
		assert_int_equal(r.sink.position, 8192);
		rings_deinit(&r);
	}
}

static void test_message(void **state)
{
	struct rings r = rings_at(SIZE - 40);
	struct ygr_ring_batch batch;
	uint8_t *bytes = malloc(72 + 1);
	uint32_t header[2] = {60, 0};

	(void)state;
	memset(bytes, 0x42, 73);
	memcpy(bytes + 1, header, sizeof(header));
	r.source =
	    (struct ygr_ring_source){.data = bytes + 1, .size = 72, .base = SIZE - 40, .message = true};
	assert_int_equal(ygr_ring_copy_bpf(&r.source, SIZE + 32, &r.sink, &batch), 0);
	assert_int_equal(batch.records, 1);
	assert_int_equal(r.sink.data[0], 0x42);
	/* The same bytes again are at a position that has passed. */
	assert_int_equal(ygr_ring_copy_bpf(&r.source, SIZE + 32, &r.sink, &batch), -EBADMSG);
	free(bytes);
	rings_deinit(&r);
}

/* A guest that flips the length of one record between two values as fast as it can. */
struct flipper {
	_Atomic uint32_t *word;
	atomic_bool stop;
	uint32_t values[2];
};

static void *flip(void *data)
{
	struct flipper *flipper = data;

	while (!atomic_load_explicit(&flipper->stop, memory_order_relaxed))
		for (unsigned i = 0; i < 64; i++)
			atomic_store_explicit(flipper->word, flipper->values[i & 1], memory_order_relaxed);
	return NULL;
}

static void test_rewritten_length(void **state)
{
	struct rings r = rings_at(0);
	struct flipper flipper = {.word = (_Atomic uint32_t *)(void *)r.guest, .values = {24, 0x3ffffff0}};
	unsigned taken = 0, refused = 0;
	pthread_t thread;

	(void)state;
	memset(r.guest, 0, SIZE);
	put_header(&r, 0, 24);
	put_header(&r, 32, 8);
	assert_int_equal(pthread_create(&thread, NULL, flip, &flipper), 0);
	for (unsigned i = 0; i < 2000000 && (i < 300000 || !taken || !refused); i++) {
		struct ygr_ring_batch batch;
		uint32_t first;
		int result;

		r.sink.position = r.sink.consumer = 0;
		memset(r.sink.data, 0, 8);
		result = ygr_ring_copy_bpf(&r.source, 48, &r.sink, &batch);
		memcpy(&first, r.sink.data, sizeof(first));
		if (result == 0) {
			/* Whatever the guest's word is by now, the private one is that which was checked. */
			assert_int_equal(first, 24);
			assert_int_equal(r.sink.position, 48);
			taken++;
		} else {
			assert_int_equal(result, -EBADMSG);
			assert_int_equal(first, 0);
			assert_int_equal(r.sink.position, 0);
			refused++;
		}
	}
	atomic_store(&flipper.stop, true);
	pthread_join(thread, NULL);
	print_message("%u taken, %u refused\n", taken, refused);
	assert_true(taken && refused);
	rings_deinit(&r);
}

static void test_batch(void **state)
{
	enum { BIG = 1 << 20 };
	uint8_t *guest = aligned_alloc(8, BIG);
	struct ygr_ring_source source = {.data = guest, .size = BIG};
	struct ygr_ring_sink sink = {.data = malloc(BIG), .size = BIG};
	struct ygr_ring_batch batch;
	uint64_t records = 0, calls = 0;

	(void)state;
	memset(guest, 0, BIG); /* 131072 empty records */
	do {
		assert_int_equal(ygr_ring_copy_bpf(&source, BIG, &sink, &batch), 0);
		assert_true(batch.bytes <= YGR_RING_BATCH_MAX);
		records += batch.records;
		calls++;
	} while (batch.more);
	assert_int_equal(records, BIG / 8);
	assert_int_equal(calls, BIG / YGR_RING_BATCH_MAX);
	free(guest);
	free(sink.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_plain),
	    cmocka_unit_test(test_wrap),
	    cmocka_unit_test(test_exact_fill),
	    cmocka_unit_test(test_busy_and_discarded),
	    cmocka_unit_test(test_slow_consumer),
	    cmocka_unit_test(test_hostile_lengths),
	    cmocka_unit_test(test_hostile_producer),
	    cmocka_unit_test(test_message),
	    cmocka_unit_test(test_rewritten_length),
	    cmocka_unit_test(test_batch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
