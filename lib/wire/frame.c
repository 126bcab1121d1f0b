/* Frame headers; see frame.h. Payload structs are copied as they are, so the byte order must be the wire's.
 */
#include "lib/wire/frame.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

_Static_assert(__BYTE_ORDER == __LITTLE_ENDIAN,
	       "message.h's structs are laid out for little-endian machines");

struct header {
	uint32_t magic;
	uint16_t version;
	uint16_t type;
	uint32_t id;
	uint32_t length;
};

_Static_assert(sizeof(struct header) == YGR_FRAME_HEADER, "the header has no padding");

void ygr_frame_header(uint8_t out[YGR_FRAME_HEADER], uint16_t type, uint32_t id, uint32_t length)
{
	struct header header = {
	    .magic = YGR_FRAME_MAGIC,
	    .version = YGR_FRAME_VERSION,
	    .type = type,
	    .id = id,
	    .length = length,
	};
	memcpy(out, &header, sizeof(header));
}

int64_t ygr_frame_head(const uint8_t data[YGR_FRAME_HEADER], uint32_t max, struct ygr_frame *ret_frame)
{
	struct header header;
	memcpy(&header, data, sizeof(header));
	if (header.magic != YGR_FRAME_MAGIC)
		return -EPROTO;
	if (header.version != YGR_FRAME_VERSION)
		return -EPROTONOSUPPORT;
	if (header.length > max)
		return -EMSGSIZE;

	*ret_frame = (struct ygr_frame){.type = header.type, .id = header.id, .length = header.length};
	return (int64_t)YGR_FRAME_HEADER + header.length;
}

int64_t ygr_frame_parse(const uint8_t *data, size_t len, uint32_t max, struct ygr_frame *ret_frame)
{
	/* A stranger is recognised by his first bytes, not only when sixteen of them have come. */
	static const uint8_t magic[4] = {'Y', 'G', 'R', '1'};
	if (len && memcmp(data, magic, len < sizeof(magic) ? len : sizeof(magic)))
		return -EPROTO;
	if (len < YGR_FRAME_HEADER)
		return 0;

	struct ygr_frame frame;
	int64_t size = ygr_frame_head(data, max, &frame);
	if (size < 0)
		return size;
	if (len < (size_t)size)
		return 0;

	frame.payload = data + YGR_FRAME_HEADER;
	*ret_frame = frame;
	return size;
}
