/*
 * The reply's way into the application: freestanding, as the encoder. The reply is looked through to its end
 * before the first byte is written. An attribute that the kernel did not change is not written either: it
 * may be constant data.
 */
#include "lib/wire/call-table.h"

#include <errno.h>

int ygr_reply_parse(const uint8_t *payload, size_t len, struct ygr_reply *ret_reply)
{
	struct ygr_reply reply;
	if (len < sizeof(reply))
		return -EPROTO;
	memcpy(&reply, payload, sizeof(reply));
	if (reply.result < -4095 || reply.result > INT32_MAX || reply.attr_size > YGR_CALL_ATTR_MAX ||
	    sizeof(reply) + ygr_align8(reply.attr_size) > len || reply.handle == YGR_HANDLE_BAD)
		return -EPROTO;
	*ret_reply = reply;
	return 0;
}

/* The bytes that came back for the next segment, or NULL for a reply that does not fit. */
static const uint8_t *next_segment(const struct ygr_segment *segment, const uint8_t *payload, size_t len,
				   size_t *position, uint32_t *ret_length)
{
	if (len - *position < 8)
		return NULL;
	uint32_t length = ygr_get32(payload + *position);
	const uint8_t *bytes = payload + *position + 8;
	if (length > segment->out_capacity || ygr_get32(bytes - 4) ||
	    ygr_align8(length) > len - *position - 8)
		return NULL;
	*position += 8 + (size_t)ygr_align8(length);
	*ret_length = length;
	return bytes;
}

static bool fits(const struct ygr_call_plan *plan, const uint8_t *payload, size_t len, size_t position)
{
	uint32_t length;
	for (uint32_t i = 0; i < plan->segment_count; i++)
		if (plan->segments[i].out_capacity &&
		    !next_segment(&plan->segments[i], payload, len, &position, &length))
			return false;
	return position == len;
}

static bool has_child(const struct ygr_call_plan *plan, int32_t parent, uint32_t element)
{
	for (uint32_t i = 0; i < plan->segment_count; i++)
		if (plan->segments[i].parent == parent && plan->segments[i].element == element)
			return true;
	return false;
}

/* Everything but the pointers in it; those the kernel cleared are cleared. */
static int write_info(const struct ygr_call_host *host, const struct ygr_call_plan *plan, uint32_t index,
		      const uint8_t *bytes, uint32_t length)
{
	const struct ygr_segment *segment = &plan->segments[index];
	const struct ygr_field *field = segment->nested;
	uint32_t from = 0;
	int r = 0;

	if (ygr_info_pointer_is_number(field, bytes, length))
		return host->write(host->user, segment->address, bytes, length);
	for (; field->kind != YGR_FIELD_END && r == 0; field++) {
		const uint64_t cleared = 0;
		if (field->kind != YGR_FIELD_POINTER || field->offset + sizeof(cleared) > length)
			continue;
		r = host->write(host->user, segment->address + from, bytes + from, field->offset - from);
		from = field->offset + sizeof(cleared);
		if (r == 0 && !ygr_get64(bytes + field->offset) &&
		    has_child(plan, (int32_t)index, 1u + field->offset))
			r = host->write(host->user, segment->address + field->offset, &cleared,
					sizeof(cleared));
	}
	return r < 0 ? r : host->write(host->user, segment->address + from, bytes + from, length - from);
}

/* Writes where the application's memory differs. */
static int write_changed(const struct ygr_call_host *host, uint64_t address, const uint8_t *bytes,
			 uint32_t length)
{
	uint8_t now[64];
	for (uint32_t at = 0; at < length; at += sizeof(now)) {
		uint32_t chunk = length - at < sizeof(now) ? length - at : (uint32_t)sizeof(now);
		int r = host->read(host->user, address + at, now, chunk);
		if (r == 0 && memcmp(now, bytes + at, chunk))
			r = host->write(host->user, address + at, bytes + at, chunk);
		if (r < 0)
			return r;
	}
	return 0;
}

static int write_segment(const struct ygr_call_host *host, const struct ygr_call_plan *plan, uint32_t index,
			 const uint8_t *bytes, uint32_t length)
{
	const struct ygr_segment *segment = &plan->segments[index];
	if (!length)
		return 0;
	if (segment->nested)
		return write_info(host, plan, index, bytes, length);
	if (segment->row->back == YGR_BACK_INPLACE)
		return write_changed(host, segment->address, bytes, length);
	return host->write(host->user, segment->address, bytes, length);
}

static int write_attr(const struct ygr_call_host *host, const struct ygr_call_plan *plan,
		      const uint8_t *attr)
{
	for (const struct ygr_field *f = ygr_call_fields(&plan->call, plan->attr); f->kind != YGR_FIELD_END;
	     f++) {
		if (f->kind != YGR_FIELD_OUT || f->offset + f->item > plan->call.attr_size ||
		    !memcmp(attr + f->offset, plan->attr + f->offset, f->item))
			continue;
		int r = host->write(host->user, plan->attr_address + f->offset, attr + f->offset, f->item);
		if (r < 0)
			return r;
	}
	return 0;
}

int64_t ygr_call_apply_reply(const struct ygr_call_host *host, const struct ygr_call_plan *plan,
			     const uint8_t *payload, size_t len)
{
	struct ygr_reply reply;
	int r = ygr_reply_parse(payload, len, &reply);
	if (r < 0)
		return r;
	size_t position = sizeof(reply) + (size_t)ygr_align8(reply.attr_size);
	if (reply.attr_size != plan->call.attr_size)
		return -EPROTO;
	if (reply.result < 0 && position == len)
		return reply.result; /* it never reached the kernel: nothing was written */
	if (!fits(plan, payload, len, position))
		return -EPROTO;

	r = write_attr(host, plan, payload + sizeof(reply));
	for (uint32_t i = 0; i < plan->segment_count && r == 0; i++) {
		uint32_t length = 0;
		if (!plan->segments[i].out_capacity)
			continue;
		const uint8_t *bytes = next_segment(&plan->segments[i], payload, len, &position, &length);
		r = write_segment(host, plan, i, bytes, length);
	}
	return r < 0 ? r : reply.result;
}
