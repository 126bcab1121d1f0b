/*
 * Any bytes as a CALL payload: a plan or an error. What decodes can be answered, and the answer parses.
 * Memory is exactly as large as ygr_call_decoded_size() says, so that a sanitizer sees one byte too many.
 */
#include <errno.h>
#include <stdlib.h>

#include "lib/wire/call-table.h"
#include "lib/wire/frame.h"
#include "tests/lib/wire/fuzz-shapes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void answer(const struct ygr_call_plan *plan, int64_t result)
{
	size_t room = sizeof(struct ygr_reply) + YGR_CALL_ATTR_MAX;
	for (uint32_t i = 0; i < plan->segment_count; i++)
		room += 16 + plan->segments[i].out_capacity;
	struct ygr_arena out = {.data = malloc(room), .size = room};
	struct ygr_reply reply;
	if (!out.data)
		return;
	check(ygr_call_encode_reply(plan, result, 7, NULL, &out) == 0);
	check(out.used <= YGR_FRAME_MAX);
	check(ygr_reply_parse(out.data, out.used, &reply) == 0);
	check(reply.handle == 7 && reply.attr_size == plan->call.attr_size);
	check(reply.result == (ygr_call_returns_fd(&plan->call) && result > 0 ? 0 : result));
	free(out.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ygr_call_plan plan;
	if (size < 1)
		return 0;

	/* Bit 0: the session's way (handles stay) or the guest's; the rest: how the call ended. */
	static const int64_t results[] = {0, 5, -ENOSPC, -ENOENT, -EFAULT};
	const struct ygr_call_host host = {.object_of = shape_object_of,
					   .fd_of = data[0] & 1 ? shape_fd_of : NULL};
	int64_t result = results[data[0] / 2 % 5];
	size_t len = size - 1;
	uint8_t *payload = malloc(len ? len : 1);
	size_t room = ygr_call_decoded_size(data + 1, len);
	struct ygr_arena arena = {.data = malloc(room ? room : 1), .size = room};
	if (!payload || !arena.data)
		goto end;

	memcpy(payload, data + 1, len);
	int r = ygr_call_decode(&host, payload, len, &arena, &plan);
	check(r == 0 || r == -EPROTO || r == -E2BIG || r == -EBADF);
	if (r == 0) {
		check(plan.segment_count == plan.call.segment_count);
		for (uint32_t i = 0; i < plan.segment_count; i++)
			check(plan.segments[i].data >= arena.data &&
			      plan.segments[i].data + plan.segments[i].in_length < arena.data + arena.used &&
			      plan.segments[i].data + plan.segments[i].out_capacity <
				  arena.data + arena.used);
		answer(&plan, result);
	}
end:
	free(payload);
	free(arena.data);
	return 0;
}
