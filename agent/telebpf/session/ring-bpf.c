/*
 * BPF ring buffers. A record is {u32 len with BUSY and DISCARD bits, u32 pg_off} and its bytes, padded to 8;
 * headers never wrap, bytes may (the kernel maps the data twice). The kernel clears BUSY with an xchg when
 * the record is complete, so an acquire load of len that finds it clear makes the bytes visible.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>

#include "agent/telebpf/session/ring-copy.h"

#define LENGTH_MASK (~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT))

int ygr_ring_copy_bpf(const struct ygr_ring_source *source, uint64_t producer, struct ygr_ring_sink *sink,
		      struct ygr_ring_batch *ret_batch)
{
	struct ygr_ring_batch batch = {};
	int r = 0;

	if (!ygr_ring_producer_possible(source, producer, sink))
		r = -EBADMSG;
	while (r == 0 && sink->position != producer) {
		uint64_t position = sink->position, total;
		uint32_t header[2] = {}; /* pg_off means nothing outside the guest's kernel: 0 */

		header[0] = (uint32_t)ygr_ring_load(source, position);
		if (header[0] & BPF_RINGBUF_BUSY_BIT)
			break;
		total = BPF_RINGBUF_HDR_SZ + (((uint64_t)(header[0] & LENGTH_MASK) + 7) & ~7ull);
		if (total > producer - position || total > sink->size) {
			r = -EBADMSG;
			break;
		}
		if (total > sink->size - (position - sink->consumer)) {
			batch.full = true;
			break;
		}
		if (batch.bytes >= YGR_RING_BATCH_MAX) {
			batch.more = true;
			break;
		}
		/* A discarded record is skipped by its length alone. */
		if (!(header[0] & BPF_RINGBUF_DISCARD_BIT)) {
			ygr_ring_copy_bytes(source, sink, position + BPF_RINGBUF_HDR_SZ,
					    total - BPF_RINGBUF_HDR_SZ);
			batch.records++;
		}
		memcpy(sink->data + (position & (sink->size - 1)), header, sizeof(header));
		batch.bytes += total;
		sink->position = position + total;
	}
	*ret_batch = batch;
	return r;
}
