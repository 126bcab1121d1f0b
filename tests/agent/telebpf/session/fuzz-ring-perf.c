/* Arbitrary guest bytes and positions for the perf ring copier; the first byte says what a sample holds. */
#include <linux/perf_event.h>

#include "tests/agent/telebpf/session/fuzz-ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t record(const struct ygr_ring_sink *sink, uint64_t position)
{
	uint64_t raw =
	    8 + 8ull * (uint64_t)__builtin_popcountll(sink->sample_type & ~(uint64_t)PERF_SAMPLE_RAW);
	struct perf_event_header header;
	uint32_t length;

	memcpy(&header, sink->data + (position & (sink->size - 1)), sizeof(header));
	if (header.type == PERF_RECORD_SAMPLE && (sink->sample_type & PERF_SAMPLE_RAW)) {
		/* What libbpf hands on must lie inside the record. */
		fuzz_check(header.size >= raw + 4);
		memcpy(&length, sink->data + ((position + raw) & (sink->size - 1)), sizeof(length));
		fuzz_check(length <= header.size - raw - 4);
	}
	return header.size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t types[] = {
	    PERF_SAMPLE_RAW, 0, PERF_SAMPLE_RAW | PERF_SAMPLE_TIME | PERF_SAMPLE_CPU, PERF_SAMPLE_TIME};

	if (!size)
		return 0;
	fuzz_ring(data + 1, size - 1, ygr_ring_copy_perf, record, types[data[0] % 4]);
	return 0;
}
