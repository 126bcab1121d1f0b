/*
 * Forwarded calls: encode here, ask the session, write the answer back. The plan and the usual buffer are
 * static (guarded by the lock), because the application's stack may be small.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>

#include "agent/telebpf/shim/shim.h"
#include "lib/wire/frame.h"

#define HEADROOM 4096 /* beyond the encoder's own bound */

static struct ygr_call_plan plan;
static uint8_t cached[YGR_SHIM_BUFFER] __attribute__((aligned(8)));

/* Memory for one encode of at most NEED bytes. */
static int arena_open(struct ygr_arena *arena, uint64_t need)
{
	*arena = (struct ygr_arena){.data = cached, .size = sizeof(cached)};
	if (need + HEADROOM <= sizeof(cached))
		return 0;
	if (need > YGR_FRAME_MAX)
		return -E2BIG;
	arena->size = need + HEADROOM;
	arena->data = ygr_pages_new(arena->size);
	return arena->data ? 0 : -ENOMEM;
}

static void arena_close(struct ygr_arena *arena)
{
	if (arena->data != cached)
		ygr_pages_free(arena->data, arena->size);
}

/* Sends what was encoded; the result as the application shall see it. */
static int64_t forward(const struct ygr_arena *arena)
{
	const uint8_t *payload;
	struct ygr_reply reply;
	uint32_t len;
	int64_t r;
	int fd;

	if (arena->used > YGR_FRAME_MAX)
		return -E2BIG;
	ygr_map_sync(true, false);
	len =
	    ygr_wire_ask(YGR_MSG_CALL, arena->data, (uint32_t)arena->used, -1, YGR_MSG_REPLY, &payload, &fd);
	if (fd >= 0)
		ygr_die("the session sent a descriptor with a reply");
	r = ygr_reply_parse(payload, len, &reply);
	if (r >= 0)
		r = ygr_call_apply_reply(&ygr_shim_host, &plan, payload, len);
	else
		reply.handle = YGR_HANDLE_NONE;
	ygr_wire_done();
	if (reply.handle != YGR_HANDLE_NONE) {
		/* A new object whose other answers cannot be written (EFAULT) still has to be closed. */
		int64_t new_fd = ygr_table_new(reply.handle, &reply.object);

		if (r >= 0)
			r = new_fd;
		else if (new_fd >= 0)
			ygr_table_drop((int)new_fd);
	}
	return r;
}

int64_t ygr_hook_bpf(const struct ygr_regs *regs)
{
	int cmd = (int)regs->rdi;
	struct ygr_arena arena;
	uint64_t mask;
	int64_t r;

	if (!ygr_table_ours())
		return -EPERM;
	if (ygr_asks_itself(regs, &r))
		return r;
	mask = ygr_shim_lock();
	r = ygr_bpf_encoded_size(&ygr_shim_host, cmd, regs->rsi, (uint32_t)regs->rdx);
	if (r >= 0)
		r = arena_open(&arena, (uint64_t)r);
	if (r >= 0) {
		r = ygr_bpf_encode(&ygr_shim_host, cmd, regs->rsi, (uint32_t)regs->rdx, &arena, &plan);
		if (r >= 0)
			r = forward(&arena);
		arena_close(&arena);
		if (cmd == BPF_PROG_TEST_RUN)
			ygr_map_sync(false, true);
	}
	ygr_shim_unlock(mask);
	return r;
}

int64_t ygr_hook_perf(const struct ygr_regs *regs)
{
	struct ygr_arena arena;
	uint64_t mask;
	int64_t r;

	if (!ygr_table_ours())
		return -EPERM;
	mask = ygr_shim_lock();
	r = arena_open(&arena, 0);
	if (r >= 0)
		r = ygr_perf_encode(&ygr_shim_host, regs->rdi, (int)regs->rsi, (int)regs->rdx,
				    (int)regs->r10, regs->r8, &arena, &plan);
	if (r >= 0)
		r = forward(&arena);
	ygr_shim_unlock(mask);
	return r;
}

int64_t ygr_hook_ioctl(const struct ygr_regs *regs)
{
	struct ygr_slot *slot = ygr_slot_of((int)regs->rdi);
	struct ygr_arena arena;
	uint64_t mask;
	int64_t r;

	if (!slot || slot->object.kind != YGR_OBJECT_PERF || !ygr_table_ours())
		return ygr_native(regs);
	mask = ygr_shim_lock();
	r = arena_open(&arena, 0);
	if (r >= 0)
		r = ygr_ioctl_encode(&ygr_shim_host, (int)regs->rdi, (uint32_t)regs->rsi, regs->rdx, &arena,
				     &plan);
	if (r >= 0)
		r = forward(&arena);
	ygr_shim_unlock(mask);
	return r;
}

int64_t ygr_slot_read(const struct ygr_slot *slot, uint64_t offset, uint64_t count, const uint8_t **ret)
{
	struct ygr_file_io io = {
	    .handle = slot->handle,
	    .length = count < YGR_SHIM_BUFFER ? (uint32_t)count : YGR_SHIM_BUFFER,
	    .offset = offset,
	};
	const uint8_t *payload;
	struct ygr_status status;
	uint32_t len;
	int fd;

	len = ygr_wire_ask(YGR_MSG_FILE_READ, &io, sizeof(io), -1, YGR_MSG_FILE_DATA, &payload, &fd);
	if (fd >= 0 || len < sizeof(status))
		ygr_die("the session's answer to a read is malformed");
	memcpy(&status, payload, sizeof(status));
	if (status.value > (int64_t)io.length ||
	    (status.value > 0 && len - sizeof(status) < (uint64_t)status.value))
		status.value = -EIO;
	*ret = payload + sizeof(status);
	return status.value;
}

/* The text of an iterator, or the counter of a perf event. */
static int64_t read_object(const struct ygr_slot *slot, uint64_t to, uint64_t count)
{
	const uint8_t *bytes;
	int64_t n = ygr_slot_read(slot, YGR_FILE_SEQUENTIAL, count, &bytes);

	if (n > 0 && ygr_user_write(NULL, to, bytes, (size_t)n) < 0)
		n = -EFAULT;
	ygr_wire_done();
	return n;
}

int64_t ygr_hook_read(const struct ygr_regs *regs)
{
	struct ygr_slot *slot;
	uint64_t mask;
	int64_t r = -EOPNOTSUPP;

	if (ygr_table_slots_used == 0 || !ygr_slot_of((int)regs->rdi) || !ygr_table_ours())
		return ygr_native(regs);
	mask = ygr_shim_lock();
	slot = ygr_slot_of((int)regs->rdi);
	if (!slot || slot->object.kind == YGR_OBJECT_FILE)
		r = ygr_native(regs);
	else if (slot->object.kind == YGR_OBJECT_ITER || slot->object.kind == YGR_OBJECT_PERF)
		r = read_object(slot, regs->rsi, regs->rdx);
	ygr_shim_unlock(mask);
	return r;
}
