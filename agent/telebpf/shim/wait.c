/*
 * Readiness. The placeholder of a ring is an eventfd that the session makes readable when there is data. The
 * kernel's rings are level-triggered and nobody reads the placeholder, so before each wait the shim makes
 * the level right itself: what is empty is drained, looked at again, and raised when data came in between.
 * If the application consumed anything since its last wait the session is told, so that it can ask for the
 * next notice. Mapped arrays are brought in step before and after. Without a mapped ring or array a wait is
 * native.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>

#include "agent/telebpf/shim/shim.h"

static struct ygr_slot *rings[YGR_SHIM_MAPPINGS_MAX];
static uint32_t ring_count;

void ygr_ready_register(struct ygr_slot *slot, int fd)
{
	struct ygr_local_ready message = {.handle = slot->handle};
	int none;

	if (slot->ready || slot->object.kind == YGR_OBJECT_FILE)
		return;
	if (ygr_wire_ask_done(YGR_LOCAL_READY_FD, &message, sizeof(message), fd, &none) < 0)
		return; /* not a ring: its descriptor never becomes readable, as in the kernel */
	slot->ready = true;
	if (ring_count < YGR_SHIM_MAPPINGS_MAX)
		rings[ring_count++] = slot;
}

void ygr_ready_forget(const struct ygr_slot *slot)
{
	for (uint32_t i = 0; i < ring_count; i++)
		if (rings[i] == slot) {
			rings[i] = rings[--ring_count];
			return;
		}
}

/* Makes the level of one ring right. Returns whether its consumer has moved. */
static bool level(struct ygr_slot *slot)
{
	uint64_t consumer, one = 1, count;
	bool moved;

	if (!slot->consumer || !slot->producer || slot->ready_fd < 0)
		return false;
	consumer = __atomic_load_n(slot->consumer, __ATOMIC_ACQUIRE);
	if (__atomic_load_n(slot->producer, __ATOMIC_ACQUIRE) == consumer) {
		ygr_sys3(SYS_read, slot->ready_fd, &count, sizeof(count));
		if (__atomic_load_n(slot->producer, __ATOMIC_ACQUIRE) != consumer)
			ygr_sys3(SYS_write, slot->ready_fd, &one, sizeof(one));
	} else {
		struct pollfd now = {.fd = slot->ready_fd, .events = POLLIN};

		if (ygr_sys3(SYS_poll, &now, 1, 0) == 0)
			ygr_sys3(SYS_write, slot->ready_fd, &one, sizeof(one));
	}
	moved = consumer != slot->told;
	slot->told = consumer;
	return moved;
}

static void before(void)
{
	bool moved = false;

	ygr_map_sync(true, false);
	for (uint32_t i = 0; i < ring_count; i++)
		moved |= level(rings[i]);
	if (moved)
		ygr_wire_post(YGR_LOCAL_IDLE, NULL, 0);
}

int64_t ygr_hook_wait(const struct ygr_regs *regs, int mask_index)
{
	bool involved = (ring_count > 0 || ygr_map_arrays()) && ygr_table_ours();
	uint64_t mask;
	int64_t r;

	if (involved) {
		mask = ygr_shim_lock();
		before();
		ygr_shim_unlock(mask);
	}
	r = mask_index >= 0 ? ygr_native_masked(regs, (unsigned)mask_index) : ygr_native(regs);
	if (involved && ygr_map_arrays()) {
		mask = ygr_shim_lock();
		ygr_map_sync(false, true);
		ygr_shim_unlock(mask);
	}
	return r;
}

static void register_fd(int fd)
{
	struct ygr_slot *slot = ygr_slot_of(fd);
	uint64_t mask;

	if (!slot || slot->ready || !ygr_table_ours())
		return;
	mask = ygr_shim_lock();
	slot = ygr_slot_of(fd);
	if (slot)
		ygr_ready_register(slot, fd);
	ygr_shim_unlock(mask);
}

int64_t ygr_hook_epoll_ctl(const struct ygr_regs *regs)
{
	if ((int)regs->rdx == YGR_LOCAL_FD)
		return -EBADF;
	register_fd((int)regs->rdx);
	return ygr_native(regs);
}

int64_t ygr_hook_poll(const struct ygr_regs *regs)
{
	uint64_t count = regs->rsi < YGR_SHIM_FDS_MAX ? regs->rsi : YGR_SHIM_FDS_MAX;
	struct pollfd entry;

	for (uint64_t i = 0; ygr_table_slots_used > 0 && i < count; i++) {
		if (ygr_user_read(NULL, regs->rdi + i * sizeof(entry), &entry, sizeof(entry)) < 0)
			break;
		register_fd(entry.fd);
	}
	return ygr_hook_wait(regs, regs->rax == SYS_ppoll ? 3 : -1);
}
