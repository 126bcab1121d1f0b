/*
 * How long a payload may become, without memory for it: the walk of the encoder over a copy of the
 * attribute, counting. Strings count as long as they may be, and an array of descriptors as long as
 * instructions can index.
 */
#include "lib/wire/call-table.h"

#include "lib/wire/frame.h"

#include <errno.h>

enum { INFO_KNOWN_MAX = 232 };

static int measure_fd(struct ygr_walk *walk, uint8_t *at, enum ygr_field_kind kind)
{
	int fd = (int)ygr_get32(at);
	if (kind != YGR_FIELD_FD_SHAPE)
		return 0;
	uint32_t handle = fd < 0 ? YGR_HANDLE_BAD : walk->host->handle_of(walk->host->user, fd);
	walk->known = handle != YGR_HANDLE_NONE && handle != YGR_HANDLE_BAD &&
		      walk->host->object_of(walk->host->user, handle, &walk->object);
	return 0;
}

static int measure_info(struct ygr_walk *walk, uint64_t address, uint64_t length)
{
	const struct ygr_field *nested = ygr_info_fields(&walk->object);
	uint8_t info[INFO_KNOWN_MAX];
	struct ygr_scope scope = {.bytes = info,
				  .size = length < sizeof(info) ? (uint32_t)length : sizeof(info)};
	if (walk->host->read(walk->host->user, address, info, scope.size) < 0)
		return 0; /* travels as a bad pointer */
	return ygr_walk_fields(walk, &scope, nested);
}

static int measure_pointer(struct ygr_walk *walk, const struct ygr_scope *scope,
			   const struct ygr_field *field)
{
	uint64_t address = ygr_get64(scope->bytes + field->offset), length;
	uint32_t item;
	if (!address)
		return 0;
	int r = ygr_walk_length(walk, scope, field, &length, &item);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (field->content == YGR_CONTENT_INFO && !(walk->known && ygr_info_fields(&walk->object)))
		return 0; /* travels as NULL: the kernel refuses the descriptor first */

	if (field->length == YGR_LENGTH_FD_ARRAY) /* a longer one travels as a bad pointer */
		length = YGR_FD_ARRAY_MAX * sizeof(uint32_t);
	if (field->length == YGR_LENGTH_STRINGS && length > YGR_FRAME_MAX)
		length = YGR_FRAME_MAX;
	if (length > YGR_FRAME_MAX)
		return -E2BIG;
	walk->measured += 8;
	if (ygr_walk_way(walk, field) & YGR_IN)
		walk->measured += ygr_align8(length);
	return field->content == YGR_CONTENT_INFO ? measure_info(walk, address, length) : 0;
}

static const struct ygr_walk_ops measure_ops = {
    .fd = measure_fd, .pointer = measure_pointer, .malformed = -EINVAL};

int64_t ygr_bpf_encoded_size(const struct ygr_call_host *host, int cmd, uint64_t attr_address, uint32_t size)
{
	struct ygr_walk walk = {.host = host, .ops = &measure_ops};
	const struct ygr_call call = {.kind = YGR_CALL_BPF, .cmd = (uint32_t)cmd};
	uint8_t attr[YGR_BPF_ATTR_KNOWN] = {0};
	if (size > YGR_CALL_ATTR_MAX)
		return -E2BIG;

	const struct ygr_scope scope = {
	    .bytes = attr, .size = size < sizeof(attr) ? size : (uint32_t)sizeof(attr), .parent = -1};
	int r = host->read(host->user, attr_address, attr, scope.size);
	if (r < 0)
		return r;
	r = ygr_call_check(&call, attr);
	if (r < 0)
		return r;
	walk.measured = sizeof(call) + ygr_align8(size);
	r = ygr_walk_fields(&walk, &scope, ygr_call_fields(&call, attr));
	return r < 0 ? r : (int64_t)walk.measured;
}
