/* However a stream of bytes is cut into pieces, the same frames come out of it, and the same error ends it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/wire/frame.h"

#define MAX 512 /* of a payload, so that short inputs reach beyond it */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A digest of all frames and of how the stream ended. */
struct outcome {
	uint64_t digest;
	int64_t end;
};

static void mix(struct outcome *outcome, const void *data, size_t len)
{
	const uint8_t *bytes = data;
	for (size_t i = 0; i < len; i++)
		outcome->digest = (outcome->digest ^ bytes[i]) * 0x100000001b3;
}

/* Takes what is complete off the front of DATA; how many bytes, with the last result in outcome->end. */
static size_t take(struct outcome *outcome, const uint8_t *data, size_t len)
{
	size_t used = 0;
	for (;;) {
		struct ygr_frame frame;
		outcome->end = ygr_frame_parse(data + used, len - used, MAX, &frame);
		if (outcome->end <= 0)
			return used;
		if (frame.length > MAX || frame.payload + frame.length > data + len)
			abort();
		mix(outcome, &frame.type, sizeof(frame.type));
		mix(outcome, &frame.id, sizeof(frame.id));
		mix(outcome, frame.payload, frame.length);
		used += (size_t)outcome->end;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	uint32_t random = data[0] + 1u;
	data++;
	size--;

	struct outcome whole = {0}, pieces = {0};
	size_t rest = take(&whole, data, size);

	struct ygr_buf buf = YGR_BUF_INIT(size + 1);
	size_t taken = 0;
	for (size_t at = 0; at < size && pieces.end >= 0;) {
		random = random * 1103515245 + 12345;
		size_t n = 1 + (random >> 16) % 24;
		n = n > size - at ? size - at : n;
		if (ygr_buf_append(&buf, data + at, n) < 0)
			abort();
		at += n;
		size_t used = take(&pieces, buf.data, buf.len);
		ygr_buf_consume(&buf, used);
		taken += used;
	}
	ygr_buf_deinit(&buf);
	if (whole.digest != pieces.digest || whole.end != pieces.end || rest != taken)
		abort();
	return 0;
}
