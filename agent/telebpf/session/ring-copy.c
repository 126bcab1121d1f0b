#include "agent/telebpf/session/ring-copy.h"

#include <string.h>

bool ygr_ring_producer_possible(const struct ygr_ring_source *source, uint64_t producer,
				const struct ygr_ring_sink *sink)
{
	uint64_t waiting = producer - sink->position; /* huge when the guest went backwards */

	if (producer % 8 || waiting > source->size)
		return false;
	if (source->message)
		return source->base == sink->position && waiting == source->size;
	return true;
}

static const uint8_t *place(const struct ygr_ring_source *source, uint64_t position)
{
	if (source->message)
		return source->data + (position - source->base);
	return source->data + (position & (source->size - 1));
}

uint64_t ygr_ring_load(const struct ygr_ring_source *source, uint64_t position)
{
	uint64_t word;

	if (!source->message)
		return __atomic_load_n((const uint64_t *)place(source, position), __ATOMIC_ACQUIRE);
	memcpy(&word, place(source, position), sizeof(word)); /* a payload may lie at any address */
	return word;
}

/* Bytes from POSITION on before the source wraps or ends. */
static uint64_t straight(const struct ygr_ring_source *source, uint64_t position)
{
	if (source->message)
		return source->base + source->size - position;
	return source->size - (position & (source->size - 1));
}

void ygr_ring_copy_bytes(const struct ygr_ring_source *source, struct ygr_ring_sink *sink, uint64_t position,
			 uint64_t length)
{
	while (length) {
		uint64_t at = position & (sink->size - 1);
		uint64_t piece = length;

		if (piece > straight(source, position))
			piece = straight(source, position);
		if (piece > sink->size - at)
			piece = sink->size - at;
		memcpy(sink->data + at, place(source, position), piece);
		position += piece;
		length -= piece;
	}
}
