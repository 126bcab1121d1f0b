/*
 * Records that an application reads by itself (Shared), counted. Everything is read from where the guest can
 * write at any moment; a wrong length makes a wrong number, and each step goes forward by at least 8 bytes.
 */
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <string.h>

#include "agent/telebpf/session/ring-copy.h"

/* The bytes of a BPF record; 0: it is being written. */
static uint64_t bpf_record(uint64_t word, struct ygr_ring_batch *batch)
{
	uint32_t header = (uint32_t)word;

	if (header & BPF_RINGBUF_BUSY_BIT)
		return 0;
	batch->records += !(header & BPF_RINGBUF_DISCARD_BIT);
	return ((uint64_t)(header & ~BPF_RINGBUF_DISCARD_BIT) + BPF_RINGBUF_HDR_SZ + 7) & ~7ull;
}

/* The bytes of a perf record, which is whole when it can be seen. */
static uint64_t perf_record(const struct ygr_ring_source *source, uint64_t word, uint64_t at,
			    struct ygr_ring_batch *batch)
{
	struct perf_event_header header;

	memcpy(&header, &word, sizeof(header));
	batch->records += header.type == PERF_RECORD_SAMPLE;
	if (header.type == PERF_RECORD_LOST &&
	    __builtin_add_overflow(batch->dropped, ygr_ring_load(source, at + sizeof(header) + 8),
				   &batch->dropped))
		batch->dropped = UINT64_MAX;
	return header.size % 8 ? UINT64_MAX : header.size;
}

uint64_t ygr_ring_count(const struct ygr_ring_source *source, bool perf, uint64_t from, uint64_t producer,
			struct ygr_ring_batch *batch)
{
	while (from != producer) {
		uint64_t word = ygr_ring_load(source, from);
		uint64_t size = perf ? perf_record(source, word, from, batch) : bpf_record(word, batch);

		if (!perf && !size)
			return from;
		if (size < 8 || size > producer - from)
			return producer;
		from += size;
	}
	return producer;
}
