/*
 * Encoding, inside the application: freestanding, every byte of the application is fetched through the
 * host's read() and no memory is used but the arena and the plan. The attribute is copied into the payload
 * first, then its rows are walked and pointers and descriptors are overwritten there with what travels
 * instead; the plan keeps the original. An info with pointers of its own is treated the same way once more.
 */
#include "lib/wire/call-table.h"

#include "lib/wire/frame.h"

#include <errno.h>

enum { NAME_CHUNK = 64, PROBE_FLAG_PID_CGROUP = 4, AT_CURRENT_DIRECTORY = -100 };

/* Takes LENGTH bytes of the arena, padded to 8 with zeros. */
static uint8_t *take(struct ygr_walk *walk, uint64_t length)
{
	struct ygr_arena *arena = walk->arena;
	uint64_t whole = ygr_align8(length);
	if (whole > arena->size - arena->used)
		return NULL;

	uint8_t *at = arena->data + arena->used;
	arena->used += whole;
	memset(at + length, 0, whole - length);
	return at;
}

static uint32_t to_handle(struct ygr_walk *walk, int fd)
{
	return fd < 0 ? YGR_HANDLE_BAD : walk->host->handle_of(walk->host->user, fd);
}

static int encode_fd(struct ygr_walk *walk, uint8_t *at, enum ygr_field_kind kind)
{
	int fd = (int)ygr_get32(at);
	uint32_t handle = YGR_HANDLE_NONE;

	switch (kind) {
	case YGR_FIELD_FD_OPT:
		handle = fd ? to_handle(walk, fd) : YGR_HANDLE_NONE;
		break;
	case YGR_FIELD_FD_ABOVE:
		handle = fd > 0 ? to_handle(walk, fd) : YGR_HANDLE_NONE;
		break;
	case YGR_FIELD_FD_PATH:
		if (fd == AT_CURRENT_DIRECTORY)
			return 0;
		handle = fd ? to_handle(walk, fd) : YGR_HANDLE_NONE;
		break;
	case YGR_FIELD_FD_GROUP:
		handle = fd == -1 ? YGR_HANDLE_NONE : to_handle(walk, fd);
		break;
	case YGR_FIELD_FD_WIDE:
		if (ygr_get64(at) != UINT64_MAX)
			handle = to_handle(walk, fd);
		ygr_put64(at, handle);
		return 0;
	default:
		/* Descriptor 0 that is not remote is a plain file at both ends: EINVAL or EBADF as it should
		 * be. */
		handle = to_handle(walk, fd);
		if (handle == YGR_HANDLE_BAD && fd == 0)
			handle = YGR_HANDLE_NONE;
		break;
	}
	ygr_put32(at, handle);
	if (kind == YGR_FIELD_FD_SHAPE)
		walk->known = handle != YGR_HANDLE_NONE && handle != YGR_HANDLE_BAD &&
			      walk->host->object_of(walk->host->user, handle, &walk->object);
	return 0;
}

/* Reads a string of at most BOUND bytes, its NUL among them, a page at most at once. Returns bytes taken. */
static int64_t read_string(const struct ygr_walk *walk, uint64_t address, uint32_t bound, uint8_t *to,
			   size_t room)
{
	uint32_t length = 0;
	while (length < bound) {
		uint32_t chunk = NAME_CHUNK;
		uint32_t page = YGR_USER_PAGE - (uint32_t)((address + length) % YGR_USER_PAGE);
		if (chunk > page)
			chunk = page;
		if (chunk > bound - length)
			chunk = bound - length;
		uint8_t bytes[NAME_CHUNK];
		int r = walk->host->read(walk->host->user, address + length, bytes, chunk);
		if (r < 0)
			return r;
		for (uint32_t i = 0; i < chunk; i++) {
			if (length >= room)
				return -ENOBUFS;
			to[length++] = bytes[i];
			if (!bytes[i])
				return length;
		}
	}
	return length;
}

static size_t room_left(const struct ygr_walk *walk)
{
	return (walk->arena->size - walk->arena->used) & ~(size_t)7;
}

static int encode_string(struct ygr_walk *walk, struct ygr_segment *segment, uint32_t bound)
{
	int64_t length = read_string(walk, segment->address, bound, walk->arena->data + walk->arena->used,
				     room_left(walk));
	if (length < 0)
		return (int)length;
	if (!take(walk, (uint64_t)length))
		return -ENOBUFS;
	segment->in_length = (uint32_t)length;
	return 0;
}

/* COUNT pointers to strings become the strings, one after another. */
static int encode_strings(struct ygr_walk *walk, struct ygr_segment *segment, uint64_t count, uint32_t bound)
{
	if (count > YGR_KPROBES_MAX)
		return -E2BIG;

	uint8_t *at = walk->arena->data + walk->arena->used;
	size_t room = room_left(walk), used = 0;
	for (uint64_t i = 0; i < count; i++) {
		uint64_t address;
		int r = walk->host->read(walk->host->user, segment->address + i * sizeof(address), &address,
					 sizeof(address));
		if (r < 0)
			return r;
		int64_t length = read_string(walk, address, bound, at + used, room - used);
		if (length < 0)
			return (int)length;
		used += (size_t)length;
		if (at[used - 1])
			return -E2BIG; /* as the kernel says of a symbol that is too long */
	}
	if (used > YGR_FRAME_MAX)
		return -E2BIG;
	take(walk, used);
	segment->in_length = (uint32_t)used;
	return 0;
}

static int encode_query(struct ygr_walk *walk, struct ygr_segment *segment)
{
	uint8_t head[4];
	int r = walk->host->read(walk->host->user, segment->address, head, sizeof(head));
	if (r < 0)
		return r;
	if (ygr_get32(head) > 64)
		return -E2BIG; /* BPF_TRACE_MAX_PROGS */

	uint8_t *at = take(walk, sizeof(head));
	if (!at)
		return -ENOBUFS;
	memcpy(at, head, sizeof(head));
	segment->in_length = sizeof(head);
	segment->out_capacity = 8 + 4 * ygr_get32(head);
	return 0;
}

/* An iterator over a map names it by descriptor where others have a thread's id: what is a map decides. */
static uint64_t encode_iter(struct ygr_walk *walk, uint8_t *bytes, uint64_t length)
{
	struct ygr_object object;
	if (length < 4 || !ygr_get32(bytes))
		return YGR_POINTER_DATA;
	uint32_t handle = to_handle(walk, (int)ygr_get32(bytes));
	if (handle == YGR_HANDLE_NONE || handle == YGR_HANDLE_BAD ||
	    !walk->host->object_of(walk->host->user, handle, &object) || object.kind != YGR_OBJECT_MAP)
		return YGR_POINTER_DATA;
	ygr_put32(bytes, handle);
	return YGR_POINTER_MAP;
}

static int encode_info(struct ygr_walk *walk, const struct ygr_scope *scope, const struct ygr_field *field,
		       struct ygr_segment *segment, uint8_t *bytes)
{
	uint32_t length = segment->in_length, end = ygr_fields_end(segment->nested);
	if (length > end && !ygr_all_zero(bytes, end, length))
		return -E2BIG;

	struct ygr_scope inner = {
	    .bytes = bytes,
	    .size = length,
	    .parent = (int32_t)(segment - walk->plan->segments),
	    .origin = scope->origin + field->offset,
	};
	return ygr_walk_fields(walk, &inner, segment->nested);
}

/* Fixed lengths: sends what goes in, and has the descriptors in it translated. */
static int encode_bytes(struct ygr_walk *walk, const struct ygr_scope *scope, const struct ygr_field *field,
			struct ygr_segment *segment, uint64_t length, uint64_t *ret_state)
{
	unsigned way = ygr_walk_way(walk, field);
	if (length > YGR_FRAME_MAX)
		return -E2BIG;

	segment->out_capacity = way & YGR_OUT ? (uint32_t)length : 0;
	if (!(way & YGR_IN))
		return 0;
	uint8_t *bytes = take(walk, length);
	if (!bytes)
		return -ENOBUFS;
	segment->in_length = (uint32_t)length;
	int r = walk->host->read(walk->host->user, segment->address, bytes, length);
	if (r < 0)
		return r;
	if (field->content == YGR_CONTENT_INFO)
		return encode_info(walk, scope, field, segment, bytes);
	if (field->content == YGR_CONTENT_ITER)
		*ret_state = encode_iter(walk, bytes, length);
	return ygr_walk_content(walk, field, bytes, length, segment->item);
}

static int encode_segment(struct ygr_walk *walk, const struct ygr_scope *scope,
			  const struct ygr_field *field, struct ygr_segment *segment, uint64_t *ret_state)
{
	uint64_t length;
	int r = ygr_walk_length(walk, scope, field, &length, &segment->item);
	if (r < 0)
		return r;
	if (field->length == YGR_LENGTH_FD_ARRAY && length > YGR_FD_ARRAY_MAX * sizeof(uint32_t))
		return -EFAULT; /* no process has an array that long */
	if (field->content == YGR_CONTENT_INFO) {
		segment->nested = walk->known ? ygr_info_fields(&walk->object) : NULL;
		if (!segment->nested)
			return -ENOENT;
		if (length > YGR_USER_PAGE)
			return -E2BIG;
	}

	switch (field->length) {
	case YGR_LENGTH_STRING:
		return encode_string(walk, segment, field->item);
	case YGR_LENGTH_STRINGS:
		return encode_strings(walk, segment, ygr_scope_get32(scope, field->count), field->item);
	case YGR_LENGTH_QUERY:
		return encode_query(walk, segment);
	default:
		return encode_bytes(walk, scope, field, segment, length, ret_state);
	}
}

static int encode_pointer(struct ygr_walk *walk, const struct ygr_scope *scope,
			  const struct ygr_field *field)
{
	uint8_t *at = scope->bytes + field->offset;
	uint64_t address = ygr_get64(at), state = YGR_POINTER_DATA;
	struct ygr_call_plan *plan = walk->plan;
	if (!address)
		return 0;
	if (plan->segment_count >= YGR_CALL_SEGMENTS_MAX)
		return -E2BIG;

	/* Never more on the wire than the NULL, DATA or BAD that replaces it, whatever happens below. */
	size_t used = walk->arena->used;
	uint32_t index = plan->segment_count;
	uint8_t *head = take(walk, 8);
	if (!head)
		return -ENOBUFS;
	struct ygr_segment *segment = &plan->segments[plan->segment_count++];
	*segment = (struct ygr_segment){
	    .address = address,
	    .field = scope->parent < 0 ? field->offset : scope->origin,
	    .element = scope->parent < 0 ? 0 : 1u + field->offset,
	    .row = field,
	    .parent = scope->parent,
	};

	int r = encode_segment(walk, scope, field, segment, &state);
	if (r == -EFAULT || r == -ENOENT) {
		walk->arena->used = used;
		plan->segment_count = index;
		ygr_put64(at, r == -EFAULT ? YGR_POINTER_BAD : YGR_POINTER_NULL);
		return 0;
	}
	if (r < 0)
		return r;
	ygr_put32(head, segment->in_length);
	ygr_put32(head + 4, segment->out_capacity);
	ygr_put64(at, state);
	walk->reply += 8 + ygr_align8(segment->out_capacity);
	return 0;
}

static const struct ygr_walk_ops encode_ops = {
    .fd = encode_fd, .pointer = encode_pointer, .malformed = -EINVAL};

/* The attribute is in plan->attr; writes the payload. */
static int encode(struct ygr_walk *walk)
{
	struct ygr_call_plan *plan = walk->plan;
	struct ygr_call *call = &plan->call;
	size_t start = walk->arena->used;

	int r = ygr_call_check(call, plan->attr);
	if (r < 0)
		return r;
	const struct ygr_field *fields = ygr_call_fields(call, plan->attr);
	uint32_t end = ygr_fields_end(fields);
	if (call->attr_size > end && !ygr_all_zero(plan->attr, end, call->attr_size))
		return -EINVAL;

	uint8_t *head = take(walk, sizeof(*call)), *attr = take(walk, call->attr_size);
	if (!head || !attr) {
		walk->arena->used = start;
		return -ENOBUFS;
	}
	memcpy(attr, plan->attr, call->attr_size);
	walk->reply = sizeof(struct ygr_reply) + ygr_align8(call->attr_size);
	plan->segment_count = 0;

	const struct ygr_scope scope = {.bytes = attr, .size = call->attr_size, .parent = -1};
	r = ygr_walk_fields(walk, &scope, fields);
	if (r == 0 && (walk->arena->used - start > YGR_FRAME_MAX || walk->reply > YGR_FRAME_MAX))
		r = -E2BIG;
	if (r < 0) {
		walk->arena->used = start;
		return r;
	}
	call->segment_count = plan->segment_count;
	memcpy(head, call, sizeof(*call));
	return 0;
}

/* Fetches an attribute of SIZE bytes whose rows cover at most KNOWN of them to plan->attr + AT. */
static int read_attr(const struct ygr_call_host *host, uint64_t address, uint32_t size, uint32_t known,
		     struct ygr_call_plan *plan, uint32_t at)
{
	memset(plan->attr, 0, sizeof(plan->attr));
	if (size > YGR_CALL_ATTR_MAX - at)
		return -E2BIG;
	int r = host->read(host->user, address, plan->attr + at, size);
	if (r < 0)
		return r;
	return size > known && !ygr_all_zero(plan->attr, at + known, at + size) ? -E2BIG : 0;
}

int ygr_bpf_encode(const struct ygr_call_host *host, int cmd, uint64_t attr_address, uint32_t size,
		   struct ygr_arena *out, struct ygr_call_plan *plan)
{
	struct ygr_walk walk = {.host = host, .ops = &encode_ops, .plan = plan, .arena = out};

	plan->call = (struct ygr_call){.kind = YGR_CALL_BPF, .cmd = (uint32_t)cmd, .attr_size = size};
	plan->attr_address = attr_address;
	plan->segment_count = 0;
	int r = read_attr(host, attr_address, size, YGR_BPF_ATTR_KNOWN, plan, 0);
	return r < 0 ? r : encode(&walk);
}

/* Names of functions and paths have no control characters; numbers that happen to be addresses point to
 * something else.
 */
static bool is_name(const struct ygr_call_host *host, uint64_t address)
{
	struct ygr_walk walk = {.host = host};
	uint8_t first[NAME_CHUNK];
	int64_t length = read_string(&walk, address, sizeof(first), first, sizeof(first));

	for (int64_t i = 0; i < length; i++)
		if (!first[i])
			return i > 0;
		else if (first[i] < 0x20 || first[i] == 0x7f)
			return false;
	return length > 0;
}

int ygr_perf_encode(const struct ygr_call_host *host, uint64_t attr_address, int pid, int cpu, int group_fd,
		    uint64_t flags, struct ygr_arena *out, struct ygr_call_plan *plan)
{
	struct ygr_walk walk = {.host = host, .ops = &encode_ops, .plan = plan, .arena = out};
	struct ygr_perf_args args = {
	    .pid = pid, .cpu = cpu, .group_handle = (uint32_t)group_fd, .flags = flags};
	uint8_t head[8];

	plan->segment_count = 0;
	int r = host->read(host->user, attr_address, head, sizeof(head));
	if (r < 0)
		return r;
	uint32_t size = ygr_get32(head + 4);
	if (!size)
		size = YGR_PERF_ATTR_MIN;
	if (size < YGR_PERF_ATTR_MIN || size > YGR_USER_PAGE - sizeof(args))
		return -E2BIG;
	r = read_attr(host, attr_address, size, YGR_PERF_ATTR_KNOWN, plan, sizeof(args));
	if (r < 0)
		return r;

	uint8_t *attr = plan->attr + sizeof(args);
	uint64_t config1 = ygr_get64(attr + 56);
	/* kprobe and uprobe are dynamic PMUs, whose numbers only the guest knows; those start after the
	 * fixed six. */
	args.probe = ygr_get32(attr) >= 6 && config1 && is_name(host, config1);
	if (flags & PROBE_FLAG_PID_CGROUP)
		args.pid = (int32_t)to_handle(&walk, pid);
	memcpy(plan->attr, &args, sizeof(args));
	plan->call = (struct ygr_call){.kind = YGR_CALL_PERF, .attr_size = (uint32_t)sizeof(args) + size};
	plan->attr_address = attr_address - sizeof(args);
	return encode(&walk);
}

int ygr_ioctl_encode(const struct ygr_call_host *host, int fd, uint64_t request, uint64_t argument,
		     struct ygr_arena *out, struct ygr_call_plan *plan)
{
	struct ygr_walk walk = {.host = host, .ops = &encode_ops, .plan = plan, .arena = out};
	struct ygr_ioctl_args args = {
	    .handle = (uint32_t)fd, .request = request & UINT32_MAX, .argument = argument};

	memset(plan->attr, 0, sizeof(plan->attr));
	memcpy(plan->attr, &args, sizeof(args));
	plan->call = (struct ygr_call){.kind = YGR_CALL_IOCTL, .attr_size = sizeof(args)};
	plan->attr_address = 0;
	plan->segment_count = 0;
	if (args.request == 0x4008240b)
		return -EOPNOTSUPP; /* MODIFY_ATTRIBUTES: only for breakpoints */
	int r = encode(&walk);
	return r == -EINVAL ? -ENOTTY : r;
}
