#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/wire/call.h"
#include "lib/wire/frame.h"
#include "tests/agent/telebpf/shim/loopback-call.h"

#define KINDS_MAX 1024

static struct ygr_object objects[KINDS_MAX];

static int fd_of(void *user, uint32_t handle)
{
	return loopback_handle_fd(user, handle);
}

static bool object_of(void *user, uint32_t handle, struct ygr_object *ret_object)
{
	if (loopback_handle_fd(user, handle) < 0)
		return false;
	*ret_object = objects[handle - 1];
	return true;
}

static int64_t encode(const struct ygr_call_plan *plan, int64_t result, uint32_t handle, uint8_t **ret_reply)
{
	static uint8_t buffer[YGR_FRAME_MAX];
	struct ygr_arena out = {.data = buffer, .size = sizeof(buffer)};
	int r;

	r = ygr_call_encode_reply(plan, result, handle,
				  handle ? &objects[handle - 1] : &(struct ygr_object){0}, &out);
	if (r < 0)
		return r;
	*ret_reply = malloc(out.used);
	if (!*ret_reply)
		return -ENOMEM;
	memcpy(*ret_reply, buffer, out.used);
	return (int64_t)out.used;
}

int64_t loopback_call(struct loopback_handles *handles, const uint8_t *payload, uint32_t length,
		      uint8_t **ret_reply)
{
	const struct ygr_call_host host = {.fd_of = fd_of, .object_of = object_of, .user = handles};
	struct ygr_arena arena = {.size = ygr_call_decoded_size(payload, length)};
	struct ygr_call_plan *plan = calloc(1, sizeof(*plan));
	uint32_t handle = YGR_HANDLE_NONE;
	int64_t r;

	arena.data = malloc(arena.size);
	if (!plan || !arena.data) {
		free(plan);
		free(arena.data);
		return -ENOMEM;
	}
	r = ygr_call_decode(&host, payload, length, &arena, plan);
	if (r == -EBADF) {
		struct ygr_reply reply = {.result = -EBADF};

		*ret_reply = malloc(sizeof(reply));
		memcpy(*ret_reply, &reply, sizeof(reply));
		r = sizeof(reply);
	} else if (r >= 0) {
		r = ygr_call_perform(plan);
		if (r >= 0 && ygr_call_returns_fd(&plan->call)) {
			handle = loopback_handle_new(handles, (int)r);
			ygr_call_describe(&plan->call, (int)r, (uint32_t)sysconf(_SC_NPROCESSORS_CONF),
					  &objects[handle - 1]);
			r = 0;
		}
		r = encode(plan, r, handle, ret_reply);
	}
	free(plan);
	free(arena.data);
	return r;
}
