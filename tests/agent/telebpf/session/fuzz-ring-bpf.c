/* Arbitrary guest bytes and positions for the BPF ring copier. */
#include <linux/bpf.h>

#include "tests/agent/telebpf/session/fuzz-ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t record(const struct ygr_ring_sink *sink, uint64_t position)
{
	uint32_t header[2];

	memcpy(header, sink->data + (position & (sink->size - 1)), sizeof(header));
	fuzz_check(!(header[0] & BPF_RINGBUF_BUSY_BIT) && header[1] == 0);
	return 8 + (((uint64_t)(header[0] & ~BPF_RINGBUF_DISCARD_BIT) + 7) & ~7ull);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_ring(data, size, ygr_ring_copy_bpf, record, 0);
	return 0;
}
