/*
 * The outcome of a performed call as bytes. The attribute goes back with nothing in it but the fields that
 * the kernel may write: no descriptor and no address of this process leaves. Of the memory that a call
 * pointed to, what the kernel wrote goes back and no more; it was filled with a pattern before, so untouched
 * memory shows.
 */
#include "lib/wire/call-table.h"

#include <errno.h>

static uint8_t *take(struct ygr_arena *arena, uint64_t length)
{
	uint64_t whole = ygr_align8(length);
	if (whole > arena->size - arena->used)
		return NULL;

	uint8_t *at = arena->data + arena->used;
	arena->used += whole;
	memset(at, 0, whole);
	return at;
}

static uint32_t touched(const struct ygr_segment *segment)
{
	uint32_t n = segment->out_capacity;
	while (n > segment->in_length && segment->data[n - 1] == YGR_PATTERN)
		n--;
	return n > segment->in_length ? n : 0;
}

/* The u32 at OFFSET of what holds the segment's pointer: how many items or bytes the kernel has to tell. */
static uint32_t told(const struct ygr_call_plan *plan, const struct ygr_segment *segment)
{
	const struct ygr_segment *parent = segment->parent >= 0 ? &plan->segments[segment->parent] : NULL;
	const uint8_t *bytes = parent ? parent->data : plan->attr;
	uint32_t size = parent ? parent->in_length : plan->call.attr_size;
	return segment->row->count + 4u <= size ? ygr_get32(bytes + segment->row->count) : 0;
}

/* Results with which the count is the kernel's word even if what it wrote looks untouched. */
static bool counts(const struct ygr_segment *segment, int64_t result)
{
	return segment->row->back == YGR_BACK_COUNT &&
	       (result >= 0 || result == -ENOENT || result == -ENOSPC);
}

static uint32_t returned_length(const struct ygr_call_plan *plan, const struct ygr_segment *segment,
				int64_t result)
{
	uint32_t capacity = segment->out_capacity;
	uint64_t length;
	const uint8_t *nul;

	switch ((enum ygr_back)segment->row->back) {
	case YGR_BACK_INPLACE:
		return result >= 0 ? capacity : 0;
	case YGR_BACK_ALL:
		return result >= 0 ? capacity : touched(segment);
	case YGR_BACK_TOUCHED:
		return touched(segment);
	case YGR_BACK_STRING:
		nul = memchr(segment->data, 0, capacity);
		return nul ? (uint32_t)(nul - segment->data) + 1 : 0;
	case YGR_BACK_INFO:
		length = result >= 0 || result == -ENOSPC ? told(plan, segment) : 0;
		return length < capacity ? (uint32_t)length : capacity;
	case YGR_BACK_COUNT:
	case YGR_BACK_IDS:
		length = (uint64_t)told(plan, segment) * segment->item;
		length = length < capacity ? length : capacity;
		return touched(segment) || counts(segment, result) ? (uint32_t)length : 0;
	default:
		return 0;
	}
}

/* What an info points to is here: tell whether its pointers are still set, not where to. */
static void hide_pointers(const struct ygr_segment *segment, uint8_t *info, uint32_t length)
{
	if (ygr_info_pointer_is_number(segment->nested, info, length))
		return;
	for (const struct ygr_field *f = segment->nested; f->kind != YGR_FIELD_END; f++) {
		if (f->kind != YGR_FIELD_POINTER || f->offset >= length)
			continue;
		uint64_t state = 0;
		uint32_t width = length - f->offset < sizeof(state) ? length - f->offset : sizeof(state);
		if (!ygr_all_zero(info, f->offset, f->offset + width))
			state = YGR_POINTER_DATA;
		memcpy(info + f->offset, &state, width);
	}
}

static int put_segment(const struct ygr_call_plan *plan, const struct ygr_segment *segment, int64_t result,
		       struct ygr_arena *out)
{
	uint32_t length = returned_length(plan, segment, result);
	uint8_t *head = take(out, 8), *bytes = take(out, length);
	if (!head || !bytes)
		return -ENOBUFS;
	ygr_put32(head, length);
	memcpy(bytes, segment->data, length);
	if (segment->nested)
		hide_pointers(segment, bytes, length);
	return 0;
}

bool ygr_call_returns_fd(const struct ygr_call *call)
{
	return ygr_call_makes(call) != YGR_OBJECT_NONE;
}

int ygr_call_encode_reply(const struct ygr_call_plan *plan, int64_t result, uint32_t handle,
			  const struct ygr_object *object, struct ygr_arena *out)
{
	const struct ygr_call *call = &plan->call;
	struct ygr_reply reply = {
	    .result = result > 0 && ygr_call_returns_fd(call) ? 0 : result,
	    .handle = handle,
	    .attr_size = call->attr_size,
	};
	size_t start = out->used;
	if (object)
		reply.object = *object;

	uint8_t *head = take(out, sizeof(reply)), *attr = take(out, call->attr_size);
	if (!head || !attr)
		goto no_room;
	memcpy(head, &reply, sizeof(reply));
	for (const struct ygr_field *f = ygr_call_fields(call, plan->attr); f->kind != YGR_FIELD_END; f++)
		if (f->kind == YGR_FIELD_OUT && f->offset + f->item <= call->attr_size)
			memcpy(attr + f->offset, plan->attr + f->offset, f->item);

	for (uint32_t i = 0; i < plan->segment_count; i++)
		if (plan->segments[i].out_capacity && put_segment(plan, &plan->segments[i], result, out) < 0)
			goto no_room;
	return 0;

no_room:
	out->used = start;
	return -ENOBUFS;
}
