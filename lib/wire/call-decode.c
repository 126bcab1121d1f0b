/*
 * Decoding: the same walk over a payload from somebody who may be hostile. Every length is computed again
 * from the attribute and from what this end knows of the map; what was sent must equal it. Nothing in the
 * payload is used as an address or a descriptor: pointers come from the arena, descriptors from the host's
 * table.
 */
#include "lib/wire/call-table.h"

#include "lib/wire/frame.h"

#include <errno.h>
#include <limits.h>

enum { PERF_FLAG_PID_CGROUP = 4, AT_CURRENT_DIRECTORY = -100 };

/* No process has memory here: the last page, where the kernel keeps error pointers. */
#define BAD_ADDRESS UINT64_C(0xfffffffffffff000)

static bool performs(const struct ygr_walk *walk)
{
	return walk->host->fd_of != NULL;
}

static int from_handle(const struct ygr_walk *walk, uint32_t handle, int none, int bad)
{
	if (handle == YGR_HANDLE_NONE)
		return none;
	int fd = handle == YGR_HANDLE_BAD ? -1 : walk->host->fd_of(walk->host->user, handle);
	return fd < 0 ? bad : fd;
}

static int decode_fd(struct ygr_walk *walk, uint8_t *at, enum ygr_field_kind kind)
{
	uint32_t handle = ygr_get32(at);

	if (kind == YGR_FIELD_FD_SHAPE) {
		walk->known = false;
		if (handle != YGR_HANDLE_NONE && handle != YGR_HANDLE_BAD) {
			walk->known = walk->host->object_of(walk->host->user, handle, &walk->object);
			if (!walk->known)
				return -EBADF;
		}
	}
	if (kind == YGR_FIELD_FD_PATH && (int)handle == AT_CURRENT_DIRECTORY)
		return 0;
	if (kind == YGR_FIELD_FD_WIDE && ygr_get64(at) > UINT32_MAX)
		return -EPROTO;
	if (!performs(walk))
		return 0;

	switch (kind) {
	case YGR_FIELD_FD_GROUP: /* -1 is "none" here, so a bad one is a number that is never open */
		ygr_put32(at, (uint32_t)from_handle(walk, handle, -1, INT_MAX));
		break;
	case YGR_FIELD_FD_WIDE:
		ygr_put64(at, (uint64_t)(int64_t)from_handle(walk, handle, -1, INT_MAX));
		break;
	default:
		ygr_put32(at, (uint32_t)from_handle(walk, handle, 0, -1));
		break;
	}
	return 0;
}

/* LENGTH bytes of the arena, 8-aligned. */
static uint8_t *take(struct ygr_walk *walk, uint64_t length)
{
	struct ygr_arena *arena = walk->arena;
	size_t skip = -((uintptr_t)arena->data + arena->used) & 7;
	if (skip > arena->size - arena->used || length > arena->size - arena->used - skip)
		return NULL;

	uint8_t *at = arena->data + arena->used + skip;
	arena->used += skip + length;
	return at;
}

/* The next LENGTH bytes of the payload, whose padding must be zero. */
static const uint8_t *next(struct ygr_walk *walk, uint64_t length)
{
	uint64_t whole = ygr_align8(length);
	if (whole > walk->len - walk->position)
		return NULL;

	const uint8_t *at = walk->payload + walk->position;
	walk->position += whole;
	return ygr_all_zero(at, (size_t)length, (size_t)whole) ? at : NULL;
}

static int decode_strings(struct ygr_walk *walk, const struct ygr_segment *segment, uint64_t count,
			  uint32_t bound, uint64_t *ret_address)
{
	if (count > segment->in_length)
		return -EPROTO; /* each has at least its NUL; ask for no memory before that is clear */
	uint8_t *pointers = performs(walk) ? take(walk, count * sizeof(uint64_t)) : NULL;
	if (performs(walk) && !pointers)
		return -ENOBUFS;

	uint32_t position = 0;
	for (uint64_t i = 0; i < count; i++) {
		const uint8_t *string = segment->data + position;
		const uint8_t *nul =
		    position < segment->in_length ? memchr(string, 0, segment->in_length - position) : NULL;
		if (!nul || nul - string >= bound)
			return -EPROTO;
		if (pointers)
			ygr_put64(pointers + i * sizeof(uint64_t), (uint64_t)(uintptr_t)string);
		position += (uint32_t)(nul - string) + 1;
	}
	*ret_address = (uint64_t)(uintptr_t)pointers;
	return position == segment->in_length ? 0 : -EPROTO;
}

/* Do the sent lengths fit the pointer's row? Strings and lists of strings are looked at when they are here.
 */
static int check_lengths(const struct ygr_walk *walk, const struct ygr_scope *scope,
			 const struct ygr_field *field, struct ygr_segment *segment)
{
	uint64_t length;
	int r = ygr_walk_length(walk, scope, field, &length, &segment->item);
	if (r < 0)
		return -EPROTO;

	uint32_t in = segment->in_length, out = segment->out_capacity;
	unsigned way = ygr_walk_way(walk, field);
	switch (field->length) {
	case YGR_LENGTH_STRING:
		return in > 0 && in <= field->item && !out ? 0 : -EPROTO;
	case YGR_LENGTH_STRINGS:
		return length <= (uint64_t)YGR_KPROBES_MAX * field->item && !out ? 0 : -EPROTO;
	case YGR_LENGTH_QUERY: /* ids_len is the first word sent */
		return in == 4 && out >= 8 && out <= 8 + 4 * 64 && out % 4 == 0 ? 0 : -EPROTO;
	case YGR_LENGTH_FD_ARRAY:
		if (length > YGR_FD_ARRAY_MAX * sizeof(uint32_t))
			return -EPROTO;
		break;
	default:
		break;
	}
	return in == (way & YGR_IN ? length : 0) && out == (way & YGR_OUT ? length : 0) ? 0 : -EPROTO;
}

/* Brings a segment's bytes into the arena, what is only out filled with the pattern, and a NUL behind all.
 */
static int fetch(struct ygr_walk *walk, struct ygr_segment *segment)
{
	uint32_t in = segment->in_length;
	uint64_t whole = in > segment->out_capacity ? in : segment->out_capacity;
	const uint8_t *bytes = next(walk, in);
	if (!bytes)
		return -EPROTO;

	segment->data = take(walk, ygr_align8(whole + 1));
	if (!segment->data)
		return -ENOBUFS;
	memcpy(segment->data, bytes, in);
	memset(segment->data + in, YGR_PATTERN, whole - in);
	memset(segment->data + whole, 0, ygr_align8(whole + 1) - whole);
	return 0;
}

static int decode_info(struct ygr_walk *walk, const struct ygr_scope *scope, const struct ygr_field *field,
		       struct ygr_segment *segment)
{
	uint32_t length = segment->in_length, end = ygr_fields_end(segment->nested);
	if (length > end && !ygr_all_zero(segment->data, end, length))
		return -EPROTO;

	struct ygr_scope inner = {
	    .bytes = segment->data,
	    .size = length,
	    .parent = (int32_t)(segment - walk->plan->segments),
	    .origin = scope->origin + field->offset,
	};
	return ygr_walk_fields(walk, &inner, segment->nested);
}

static int decode_content(struct ygr_walk *walk, const struct ygr_scope *scope,
			  const struct ygr_field *field, struct ygr_segment *segment, uint64_t state,
			  uint64_t *ret_address)
{
	*ret_address = (uint64_t)(uintptr_t)segment->data;
	if (field->length == YGR_LENGTH_STRINGS)
		return decode_strings(walk, segment, ygr_scope_get32(scope, field->count), field->item,
				      ret_address);
	if (field->length == YGR_LENGTH_STRING) {
		/* A NUL ends it; without one it is too long, which the kernel shall say. */
		const uint8_t *nul = memchr(segment->data, 0, segment->in_length);
		bool cut = !nul && segment->in_length == field->item;
		return cut || nul == segment->data + segment->in_length - 1 ? 0 : -EPROTO;
	}
	if (field->length == YGR_LENGTH_QUERY)
		return segment->out_capacity == 8 + 4 * (uint64_t)ygr_get32(segment->data) ? 0 : -EPROTO;
	if (field->content == YGR_CONTENT_INFO)
		return decode_info(walk, scope, field, segment);
	if (state == YGR_POINTER_MAP)
		return segment->in_length >= 4 ? decode_fd(walk, segment->data, YGR_FIELD_FD) : -EPROTO;
	return ygr_walk_content(walk, field, segment->data, segment->in_length, segment->item);
}

static int decode_pointer(struct ygr_walk *walk, const struct ygr_scope *scope,
			  const struct ygr_field *field)
{
	uint8_t *at = scope->bytes + field->offset;
	uint64_t state = ygr_get64(at), address;
	struct ygr_call_plan *plan = walk->plan;

	if (state == YGR_POINTER_NULL)
		return 0;
	if (state == YGR_POINTER_BAD) {
		if (performs(walk))
			ygr_put64(at, BAD_ADDRESS);
		return 0;
	}
	if (state != YGR_POINTER_DATA && !(state == YGR_POINTER_MAP && field->content == YGR_CONTENT_ITER))
		return -EPROTO;

	const uint8_t *head = next(walk, 8);
	if (!head || plan->segment_count >= plan->call.segment_count)
		return -EPROTO;
	struct ygr_segment *segment = &plan->segments[plan->segment_count++];
	*segment = (struct ygr_segment){
	    .in_length = ygr_get32(head),
	    .out_capacity = ygr_get32(head + 4),
	    .field = scope->parent < 0 ? field->offset : scope->origin,
	    .element = scope->parent < 0 ? 0 : 1u + field->offset,
	    .row = field,
	    .parent = scope->parent,
	    .map_translated = state == YGR_POINTER_MAP,
	};
	if (field->content == YGR_CONTENT_INFO) {
		segment->nested = walk->known ? ygr_info_fields(&walk->object) : NULL;
		if (!segment->nested || segment->in_length > YGR_USER_PAGE)
			return -EPROTO;
	}

	int r = check_lengths(walk, scope, field, segment);
	if (r < 0)
		return r;
	walk->reply += 8 + ygr_align8(segment->out_capacity);
	if (walk->reply > YGR_FRAME_MAX)
		return -E2BIG;
	r = fetch(walk, segment);
	if (r < 0)
		return r;
	r = decode_content(walk, scope, field, segment, state, &address);
	if (r == 0 && performs(walk))
		ygr_put64(at, address);
	return r == -EOPNOTSUPP ? -EPROTO : r; /* an encoder would have said so */
}

static const struct ygr_walk_ops decode_ops = {
    .fd = decode_fd, .pointer = decode_pointer, .malformed = -EPROTO};

static int decode_perf_args(struct ygr_walk *walk, uint8_t *attr, uint32_t attr_size)
{
	struct ygr_perf_args args;
	memcpy(&args, attr, sizeof(args));
	uint32_t size = ygr_get32(attr + sizeof(args) + 4);
	if (!size)
		size = YGR_PERF_ATTR_MIN;
	if (size < YGR_PERF_ATTR_MIN || attr_size != sizeof(args) + size || args.probe > 1)
		return -EPROTO;
	if ((args.flags & PERF_FLAG_PID_CGROUP) && performs(walk)) {
		args.pid = from_handle(walk, (uint32_t)args.pid, INT_MAX, INT_MAX);
		memcpy(attr, &args, sizeof(args));
	}
	return 0;
}

/* Copies head and attribute; what no row knows must be zero, as the encoder saw to. */
static int decode_head(struct ygr_walk *walk, const struct ygr_field **ret_fields)
{
	struct ygr_call_plan *plan = walk->plan;
	struct ygr_call *call = &plan->call;
	const uint8_t *head = next(walk, sizeof(*call));
	if (!head)
		return -EPROTO;
	memcpy(call, head, sizeof(*call));
	if (call->attr_size > YGR_CALL_ATTR_MAX || call->segment_count > YGR_CALL_SEGMENTS_MAX)
		return -E2BIG;
	const uint8_t *attr = next(walk, call->attr_size);
	if (!attr)
		return -EPROTO;
	memset(plan->attr, 0, sizeof(plan->attr));
	memcpy(plan->attr, attr, call->attr_size);

	uint32_t fixed = call->kind == YGR_CALL_PERF    ? sizeof(struct ygr_perf_args) + YGR_PERF_ATTR_MIN
			 : call->kind == YGR_CALL_IOCTL ? sizeof(struct ygr_ioctl_args)
							: 0;
	if (call->attr_size < fixed || (call->kind != YGR_CALL_BPF && call->cmd) ||
	    (call->kind == YGR_CALL_IOCTL && call->attr_size != fixed))
		return -EPROTO;
	if (ygr_call_check(call, plan->attr) < 0)
		return -EPROTO;
	const struct ygr_field *fields = ygr_call_fields(call, plan->attr);
	if (!ygr_all_zero(plan->attr, ygr_fields_end(fields), sizeof(plan->attr)))
		return -EPROTO;
	*ret_fields = fields;
	return call->kind == YGR_CALL_PERF ? decode_perf_args(walk, plan->attr, call->attr_size) : 0;
}

int ygr_call_decode(const struct ygr_call_host *host, const uint8_t *payload, size_t len,
		    struct ygr_arena *arena, struct ygr_call_plan *plan)
{
	struct ygr_walk walk = {
	    .host = host, .ops = &decode_ops, .plan = plan, .arena = arena, .payload = payload, .len = len};
	const struct ygr_field *fields;

	plan->segment_count = 0;
	plan->attr_address = 0;
	if (len > YGR_FRAME_MAX)
		return -E2BIG;
	int r = decode_head(&walk, &fields);
	if (r < 0)
		return r;

	walk.reply = sizeof(struct ygr_reply) + ygr_align8(plan->call.attr_size);
	const struct ygr_scope scope = {.bytes = plan->attr, .size = plan->call.attr_size, .parent = -1};
	r = ygr_walk_fields(&walk, &scope, fields);
	if (r < 0)
		return r;
	return walk.position == len && plan->segment_count == plan->call.segment_count ? 0 : -EPROTO;
}

size_t ygr_call_decoded_size(const uint8_t *payload, size_t len)
{
	struct ygr_call call;
	uint64_t in = 0, out = 0, strings = 0;
	if (len < sizeof(call) || len > YGR_FRAME_MAX)
		return 0;
	memcpy(&call, payload, sizeof(call));

	uint64_t position = sizeof(call) + ygr_align8(call.attr_size);
	for (uint32_t i = 0; i < call.segment_count && i < YGR_CALL_SEGMENTS_MAX && position + 8 <= len;
	     i++) {
		uint64_t sent = ygr_get32(payload + position);
		out += ygr_get32(payload + position + 4);
		in += sent;
		position += 8 + ygr_align8(sent);
	}
	/* What does not fit a frame is refused before memory is taken for it. */
	if (in > len)
		in = len;
	if (out > YGR_FRAME_MAX)
		out = YGR_FRAME_MAX;
	if (call.kind == YGR_CALL_BPF)
		strings = (in < YGR_KPROBES_MAX ? in : YGR_KPROBES_MAX) * sizeof(uint64_t);
	return in + out + strings + YGR_CALL_SEGMENTS_MAX * 24;
}
