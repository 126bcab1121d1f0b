/*
 * A guest from bytes, for both kinds of ring: the first 24 bytes are the start position, the producer's
 * distance and the application's lag, the rest fills the guest's ring. Every buffer is an exact allocation,
 * so that the sanitizers see any step outside; what arrives is walked as a consumer walks it.
 */
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/telebpf/session/ring-copy.h"

#define FUZZ_RING_SIZE 4096u

typedef int (*fuzz_copy)(const struct ygr_ring_source *source, uint64_t producer, struct ygr_ring_sink *sink,
			 struct ygr_ring_batch *ret_batch);
/* Checks the record at POSITION and returns its length. */
typedef uint64_t (*fuzz_record)(const struct ygr_ring_sink *sink, uint64_t position);

static inline void fuzz_check(int ok)
{
	if (!ok)
		abort();
}

static inline void fuzz_walk(const struct ygr_ring_sink *sink, uint64_t from, fuzz_record record)
{
	while (from != sink->position) {
		uint64_t length = record(sink, from);

		fuzz_check(length >= 8 && length % 8 == 0 && length <= sink->position - from);
		from += length;
	}
}

static inline void fuzz_ring(const uint8_t *data, size_t size, fuzz_copy copy, fuzz_record record,
			     uint64_t sample_type)
{
	uint64_t head[3], start, lag;
	struct ygr_ring_batch batch;

	if (size < sizeof(head))
		return;
	memcpy(head, data, sizeof(head));
	data += sizeof(head);
	size -= sizeof(head);
	start = head[0] & ~7ull;
	lag = head[2] % (FUZZ_RING_SIZE + 1);
	for (int message = 0; message < 2; message++) {
		uint64_t length = message ? size : FUZZ_RING_SIZE;
		uint8_t *guest = aligned_alloc(8, message ? (size + 15) & ~7ull : FUZZ_RING_SIZE);
		struct ygr_ring_sink sink = {.data = aligned_alloc(8, FUZZ_RING_SIZE),
					     .size = FUZZ_RING_SIZE,
					     .position = start,
					     .consumer = start - lag,
					     .sample_type = sample_type};
		struct ygr_ring_source source = {
		    .data = guest, .size = length, .base = start, .message = message};
		uint64_t producer = message ? start + size : start + head[1];

		if (!guest || !sink.data)
			abort();
		memset(guest, 0, message ? size : FUZZ_RING_SIZE);
		memcpy(guest, data, size < length ? size : length);
		memset(sink.data, 0, FUZZ_RING_SIZE);
		(void)!copy(&source, producer, &sink, &batch);
		fuzz_check(sink.position - start == batch.bytes);
		fuzz_check(sink.position - sink.consumer <= sink.size);
		fuzz_walk(&sink, start, record);
		free(guest);
		free(sink.data);
	}
}
