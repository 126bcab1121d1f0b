/*
 * perf rings. A record is struct perf_event_header {u32 type, u16 misc, u16 size}, size bytes in all, a
 * multiple of 8; headers never wrap, the rest may. Records are complete when data_head has passed them.
 *
 * libbpf hands raw samples to its user with the length that stands in the sample, and does not hold it
 * against the record's size. So that length is checked here too, where the event's sample_type says where it
 * is.
 */
#include <errno.h>
#include <linux/perf_event.h>
#include <string.h>

#include "agent/telebpf/session/ring-copy.h"

/* Fields of a sample before the raw data that have 8 bytes each. */
#define FIXED_FIELDS                                                                                        \
	(PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_ADDR |  \
	 PERF_SAMPLE_ID | PERF_SAMPLE_STREAM_ID | PERF_SAMPLE_CPU | PERF_SAMPLE_PERIOD)

/* The one length inside a record that is read from the guest and written back as it was checked. */
struct inner {
	uint64_t offset; /* from the record's start; 0: none */
	uint32_t length;
};

/*
 * Finds the raw data of a sample and checks its length: 0, or -EBADMSG. Samples with a variable part before
 * it (read format, call chain) are left to the consumer, as there is nothing fixed to hold them against.
 */
static int check_sample(const struct ygr_ring_source *source, const struct ygr_ring_sink *sink,
			uint16_t size, struct inner *ret_inner)
{
	uint64_t offset = sizeof(struct perf_event_header) +
			  8ull * (uint64_t)__builtin_popcountll(sink->sample_type & FIXED_FIELDS);
	uint32_t length;

	if (!(sink->sample_type & PERF_SAMPLE_RAW) ||
	    (sink->sample_type & (PERF_SAMPLE_READ | PERF_SAMPLE_CALLCHAIN)))
		return 0;
	if (size < offset + 8)
		return -EBADMSG;
	length = (uint32_t)ygr_ring_load(source,
					 sink->position + offset); /* little-endian: the first four bytes */
	if (length > size - offset - sizeof(length))
		return -EBADMSG;
	*ret_inner = (struct inner){.offset = offset, .length = length};
	return 0;
}

/* Checks one record's header against what is there; with its inner length and what it says was lost. */
static int check_record(const struct ygr_ring_source *source, const struct ygr_ring_sink *sink,
			uint64_t producer, const struct perf_event_header *header, struct inner *ret_inner,
			uint64_t *ret_lost)
{
	if (header->size < sizeof(*header) || header->size % 8 || header->size > producer - sink->position ||
	    header->size > sink->size)
		return -EBADMSG;
	if (header->type == PERF_RECORD_SAMPLE)
		return check_sample(source, sink, header->size, ret_inner);
	if (header->type == PERF_RECORD_LOST) {
		if (header->size < sizeof(*header) + 16)
			return -EBADMSG;
		*ret_lost = ygr_ring_load(source, sink->position + sizeof(*header) + 8);
	}
	return 0;
}

static void copy_record(const struct ygr_ring_source *source, struct ygr_ring_sink *sink,
			const struct perf_event_header *header, const struct inner *inner)
{
	uint64_t position = sink->position, mask = sink->size - 1;

	ygr_ring_copy_bytes(source, sink, position + sizeof(*header), header->size - sizeof(*header));
	if (inner->offset)
		memcpy(sink->data + ((position + inner->offset) & mask), &inner->length,
		       sizeof(inner->length));
	memcpy(sink->data + (position & mask), header, sizeof(*header));
}

int ygr_ring_copy_perf(const struct ygr_ring_source *source, uint64_t producer, struct ygr_ring_sink *sink,
		       struct ygr_ring_batch *ret_batch)
{
	struct ygr_ring_batch batch = {};
	int r = 0;

	if (!ygr_ring_producer_possible(source, producer, sink))
		r = -EBADMSG;
	while (r == 0 && sink->position != producer) {
		struct perf_event_header header;
		struct inner inner = {};
		uint64_t word = ygr_ring_load(source, sink->position), lost = 0;

		memcpy(&header, &word, sizeof(header));
		r = check_record(source, sink, producer, &header, &inner, &lost);
		if (r < 0)
			break;
		if (header.size > sink->size - (sink->position - sink->consumer)) {
			batch.full = true;
			break;
		}
		if (batch.bytes >= YGR_RING_BATCH_MAX) {
			batch.more = true;
			break;
		}
		copy_record(source, sink, &header, &inner);
		batch.records += header.type == PERF_RECORD_SAMPLE;
		if (__builtin_add_overflow(batch.dropped, lost, &batch.dropped))
			batch.dropped = UINT64_MAX;
		batch.bytes += header.size;
		sink->position += header.size;
	}
	*ret_batch = batch;
	return r;
}
