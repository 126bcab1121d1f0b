/*
 * Bytes choose a call, its attribute and a small memory. What encodes must decode to the same call on the
 * other side, with descriptors back as they were; a reply then writes nowhere but where the kernel may,
 * whatever it says. Input: kind, command, attr size, end of call, 160 bytes of attribute, then memory.
 */
#include <errno.h>
#include <stdlib.h>

#include "lib/wire/call-table.h"
#include "lib/wire/frame.h"
#include "tests/lib/wire/fuzz-shapes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD = 4, ATTR = 160, MEMORY = 4096 };
#define ATTR_BASE   UINT64_C(0x00005a5a00000000)
#define MEMORY_BASE UINT64_C(0x00005b5b00000000)

struct application {
	uint8_t attr[ATTR];
	uint8_t memory[MEMORY];
	const struct ygr_call_plan *plan; /* set: writes are held to it */
	uint64_t noise;
};

static void check(bool holds)
{
	if (!holds)
		abort();
}

static uint8_t *locate(struct application *app, uint64_t address, size_t len)
{
	if (address - ATTR_BASE < ATTR && len <= ATTR - (address - ATTR_BASE))
		return app->attr + (address - ATTR_BASE);
	if (address - MEMORY_BASE < MEMORY && len <= MEMORY - (address - MEMORY_BASE))
		return app->memory + (address - MEMORY_BASE);
	return NULL;
}

static int app_read(void *user, uint64_t address, void *to, size_t len)
{
	const uint8_t *at = locate(user, address, len);
	if (!len)
		return 0;
	if (!at)
		return -EFAULT;
	memcpy(to, at, len);
	return 0;
}

/* Is it an out field of the attribute, or inside memory that a pointer with a way out leads to? */
static bool may_write(const struct ygr_call_plan *plan, uint64_t address, size_t len)
{
	for (const struct ygr_field *f = ygr_call_fields(&plan->call, plan->attr); f->kind != YGR_FIELD_END;
	     f++)
		if (f->kind == YGR_FIELD_OUT && address == plan->attr_address + f->offset &&
		    len == f->item && f->offset + f->item <= plan->call.attr_size)
			return true;
	for (uint32_t i = 0; i < plan->segment_count; i++) {
		const struct ygr_segment *s = &plan->segments[i];
		if (address >= s->address && address - s->address <= s->out_capacity &&
		    len <= s->out_capacity - (address - s->address))
			return true;
	}
	return false;
}

static int app_write(void *user, uint64_t address, const void *from, size_t len)
{
	struct application *app = user;
	uint8_t *at = locate(app, address, len);
	if (!len)
		return 0;
	check(may_write(app->plan, address, len));
	if (!at)
		return -EFAULT;
	memcpy(at, from, len);
	return 0;
}

static uint8_t noise(struct application *app)
{
	app->noise = app->noise * 6364136223846793005u + 1442695040888963407u;
	return (uint8_t)(app->noise >> 56);
}

/* Pointer fields of the input point into the memory when their top byte says so, also those inside it. */
static void aim(uint8_t *bytes, size_t size)
{
	for (size_t at = 0; at + 8 <= size; at += 8) {
		uint64_t word = ygr_get64(bytes + at);
		if (word >> 56 == 0xb5)
			ygr_put64(bytes + at, MEMORY_BASE + word % MEMORY);
	}
}

static int encode(struct application *app, const uint8_t *head, struct ygr_arena *out,
		  struct ygr_call_plan *plan)
{
	const struct ygr_call_host host = {
	    .read = app_read, .handle_of = shape_handle_of, .object_of = shape_object_of, .user = app};
	switch (head[0] % 8) {
	case 0:
		return ygr_perf_encode(&host, ATTR_BASE, (int8_t)head[1], 0, (int8_t)head[3], head[2], out,
				       plan);
	case 1:
		return ygr_ioctl_encode(&host, head[1], ygr_get64(app->attr), ygr_get64(app->attr + 8), out,
					plan);
	default:
		break;
	}

	int64_t bound = ygr_bpf_encoded_size(&host, head[1] % 40, ATTR_BASE, head[2]);
	int r = ygr_bpf_encode(&host, head[1] % 40, ATTR_BASE, head[2], out, plan);
	if (r == 0)
		check(bound >= (int64_t)out->used);
	return r;
}

static void check_same(const struct ygr_call_plan *here, const struct ygr_call_plan *there)
{
	check(!memcmp(&here->call, &there->call, sizeof(here->call)));
	check(here->segment_count == there->segment_count);
	for (uint32_t i = 0; i < here->segment_count; i++) {
		const struct ygr_segment *a = &here->segments[i], *b = &there->segments[i];
		check(a->in_length == b->in_length && a->out_capacity == b->out_capacity);
		check(a->field == b->field && a->element == b->element && a->row == b->row);
		check(a->nested == b->nested && a->item == b->item && a->parent == b->parent);
	}
	/* Descriptors that are known, and required, are the same again. */
	for (const struct ygr_field *f = ygr_call_fields(&here->call, here->attr); f->kind != YGR_FIELD_END;
	     f++) {
		struct ygr_object object;
		if ((f->kind == YGR_FIELD_FD || f->kind == YGR_FIELD_FD_SHAPE) &&
		    f->offset + 4u <= here->call.attr_size &&
		    shape_of(ygr_get32(here->attr + f->offset), &object))
			check(ygr_get32(here->attr + f->offset) == ygr_get32(there->attr + f->offset));
	}
}

/* What a kernel might do: anything within out fields and out memory. */
static void scribble(struct application *app, struct ygr_call_plan *plan)
{
	for (const struct ygr_field *f = ygr_call_fields(&plan->call, plan->attr); f->kind != YGR_FIELD_END;
	     f++)
		for (unsigned i = 0; f->kind == YGR_FIELD_OUT && i < f->item && noise(app) % 2; i++)
			plan->attr[f->offset + i] = noise(app) % 8;
	for (uint32_t i = 0; i < plan->segment_count; i++)
		for (uint32_t k = 0; k < plan->segments[i].out_capacity && k < 512; k++)
			if (!plan->segments[i].nested)
				plan->segments[i].data[k] = noise(app);
}

static void reply(struct application *app, struct ygr_call_plan *there, const uint8_t *head)
{
	static uint8_t bytes[1u << 20];
	static const int64_t results[] = {0, 9, -ENOSPC, -ENOENT, -EINVAL};
	const struct ygr_call_host host = {.read = app_read, .write = app_write, .user = app};
	struct ygr_arena out = {.data = bytes, .size = sizeof(bytes)};
	int64_t result = results[head[3] % 5];

	scribble(app, there);
	if (ygr_call_encode_reply(there, result, result > 0 ? 5 : 0, NULL, &out) < 0)
		return; /* larger than this test's buffer */
	int64_t r = ygr_call_apply_reply(&host, app->plan, out.data, out.used);
	check(r == -EFAULT || r == (ygr_call_returns_fd(&there->call) && result > 0 ? 0 : result));

	/* The same reply from somebody who lies. */
	for (unsigned i = 0; i < 4; i++)
		bytes[(noise(app) << 8 | noise(app)) % out.used] ^= noise(app);
	ygr_call_apply_reply(&host, app->plan, out.data, out.used - noise(app) % 2 * (noise(app) % 16));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct application app;
	static struct ygr_call_plan here, there;
	static uint8_t payload[1u << 20], decoded[3u << 20];
	if (size < HEAD + ATTR)
		return 0;

	memset(&app, 0, sizeof(app));
	memcpy(app.attr, data + HEAD, ATTR);
	size_t rest = size - HEAD - ATTR;
	memcpy(app.memory, data + HEAD + ATTR, rest < MEMORY ? rest : MEMORY);
	aim(app.attr, ATTR);
	aim(app.memory, MEMORY);
	app.noise = data[3] + (uint64_t)size * 77;

	struct ygr_arena out = {.data = payload, .size = sizeof(payload)};
	if (encode(&app, data, &out, &here) < 0) {
		check(out.used == 0); /* an error leaves nothing behind */
		return 0;
	}
	const struct ygr_call_host guest = {.fd_of = shape_fd_of, .object_of = shape_object_of};
	size_t room = ygr_call_decoded_size(payload, out.used);
	if (room > sizeof(decoded))
		return 0; /* large out memory: the other target's concern */
	struct ygr_arena arena = {.data = decoded, .size = room};
	check(ygr_call_decode(&guest, payload, out.used, &arena, &there) == 0);
	check_same(&here, &there);
	app.plan = &here;
	reply(&app, &there, data);
	return 0;
}
