/*
 * The heart of Copied and Stream: records move from a place that the guest can write at any moment into the
 * ring that the application maps, and only records that hang together arrive there.
 *
 * The rule that makes this safe: each header (and each length inside a record that a consumer believes) is
 * read from the guest exactly once, into a local. The local is checked, decides how much is copied, and is
 * what the private ring gets. What the guest rewrites meanwhile can change the contents of a record, which
 * are its word anyway, but never a length.
 *
 * Positions are free-running byte counts, as in the kernel (kernel/bpf/ringbuf.c,
 * kernel/events/ring_buffer.c). Source and private ring use the same positions, so a record lies at the same
 * offset in both.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* One call copies about this much, so that the first records are published before the last are copied. */
#define YGR_RING_BATCH_MAX (256u << 10)

/* Where the guest's records are. */
struct ygr_ring_source {
	const uint8_t *data;
	uint64_t size; /* ring: of the data area, a power of two; message: how many bytes there are */
	uint64_t base; /* message: position of data[0], a multiple of 8 */
	bool message;  /* RING_RECORDS: does not wrap */
};

/* The private ring. */
struct ygr_ring_sink {
	uint8_t *data;
	uint64_t size;     /* a power of two, at least one page */
	uint64_t position; /* all before was copied */
	uint64_t
	    consumer; /* the application's, as far as believed: position - size <= consumer <= position */
	uint64_t sample_type; /* perf: PERF_SAMPLE_* of the event, to find the length of raw data */
};

/* What one call did. */
struct ygr_ring_batch {
	uint64_t records; /* that the application will see */
	uint64_t bytes;
	uint64_t dropped; /* perf: what the guest's kernel says that it lost */
	bool full;        /* stopped because the application has not consumed enough */
	bool more;        /* stopped at YGR_RING_BATCH_MAX */
};

/*
 * Copies what lies between sink->position and PRODUCER, which the guest named, and moves sink->position.
 * Stops at a record that is still being written (BPF), when the private ring is full, or at the batch's
 * limit. Nothing is published: the caller stores the producer position. -EBADMSG when the guest's position
 * or a header cannot be; what was copied before it is whole.
 */
int ygr_ring_copy_bpf(const struct ygr_ring_source *source, uint64_t producer, struct ygr_ring_sink *sink,
		      struct ygr_ring_batch *ret_batch);
int ygr_ring_copy_perf(const struct ygr_ring_source *source, uint64_t producer, struct ygr_ring_sink *sink,
		       struct ygr_ring_batch *ret_batch);

/*
 * Shared, where nothing is copied: counts the records between FROM and PRODUCER in the guest's ring. Stops at
 * one that is still being written, and returns how far it came; at one that cannot be it gives up and returns
 * PRODUCER. Numbers for people, which nothing depends on.
 */
uint64_t ygr_ring_count(const struct ygr_ring_source *source, bool perf, uint64_t from, uint64_t producer,
			struct ygr_ring_batch *batch);

/* Shared by the two: whether [sink->position, PRODUCER) can be a filled part of SOURCE. */
bool ygr_ring_producer_possible(const struct ygr_ring_source *source, uint64_t producer,
				const struct ygr_ring_sink *sink);
/* One read of the 8 bytes at POSITION (a multiple of 8 inside the source), acquire. */
uint64_t ygr_ring_load(const struct ygr_ring_source *source, uint64_t position);
/* Copies LENGTH bytes at POSITION, in pieces where one side wraps. LENGTH is within source and sink. */
void ygr_ring_copy_bytes(const struct ygr_ring_source *source, struct ygr_ring_sink *sink, uint64_t position,
			 uint64_t length);
