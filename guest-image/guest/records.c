/*
 * Record headers. BPF ring (kernel/bpf/ringbuf.c): u32 length with bit 31 "busy" and bit 30 "discarded", u32
 * page offset, data, all rounded up to 8; the first word is stored with release semantics at commit. Perf
 * ring (kernel/events/ring_buffer.c): struct perf_event_header whose size includes the header; data_head
 * moves only over finished records. Headers are 8-aligned in both, so a header never wraps.
 */
#include "guest-image/guest/records.h"

#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <string.h>

/* Length of the record whose header is at HEADER, 0 while it is being written. */
static uint64_t bpf_length(const uint8_t *header)
{
	uint32_t word = __atomic_load_n((const uint32_t *)(const void *)header, __ATOMIC_ACQUIRE);
	if (word & BPF_RINGBUF_BUSY_BIT)
		return 0;
	uint64_t length = word & ~(uint32_t)BPF_RINGBUF_DISCARD_BIT;
	return (length + BPF_RINGBUF_HDR_SZ + 7) & ~7ull;
}

static uint64_t perf_length(const uint8_t *header)
{
	struct perf_event_header copy;
	memcpy(&copy, header, sizeof(copy));
	return copy.size;
}

uint64_t ygr_guest_records(enum ygr_ring_kind kind, const uint8_t *data, uint64_t size, uint64_t from,
			   uint64_t producer, uint64_t max, bool *ret_broken)
{
	uint64_t available = producer - from, taken = 0;

	*ret_broken = available > size || (from & 7) != 0;
	while (!*ret_broken && taken < available) {
		const uint8_t *header = data + ((from + taken) & (size - 1));
		uint64_t length = kind == YGR_RING_BPF ? bpf_length(header) : perf_length(header);
		if (kind == YGR_RING_BPF && length == 0)
			break;
		if (length < 8 || (length & 7) || length > available - taken) {
			*ret_broken = true;
			break;
		}
		if (taken && taken + length > max)
			break;
		taken += length;
	}
	return taken;
}
