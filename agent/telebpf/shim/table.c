/*
 * Which descriptors are remote. A remote descriptor is an eventfd of our own (so that it can be passed to
 * epoll, dup'ed and closed natively) whose number is in this table. Several numbers, and mappings, share one
 * slot; when the last reference goes the session is told.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <string.h>
#include <sys/eventfd.h>

#include "agent/telebpf/shim/shim.h"

static uint16_t slot_index[YGR_SHIM_FDS_MAX]; /* index + 1, 0: not remote */
static struct ygr_slot slots[YGR_SHIM_SLOTS_MAX];
uint32_t ygr_table_slots_used;

struct ygr_slot *ygr_slot_of(int64_t fd)
{
	uint16_t index;

	if (fd < 0 || fd >= YGR_SHIM_FDS_MAX)
		return NULL;
	index = __atomic_load_n(&slot_index[fd], __ATOMIC_ACQUIRE);
	return index > 0 ? &slots[index - 1] : NULL;
}

bool ygr_table_ours(void)
{
	return ygr_sys0(SYS_getpid) == ygr_shim.pid;
}

void ygr_slot_ref(struct ygr_slot *slot)
{
	slot->refs++;
}

static void handle_close(uint32_t handle)
{
	struct ygr_handle_close message = {.handle = handle};

	if (handle != YGR_HANDLE_NONE) /* a socket of socket.c has none */
		ygr_wire_post(YGR_MSG_HANDLE_CLOSE, &message, sizeof(message));
}

void ygr_slot_unref(struct ygr_slot *slot)
{
	if (--slot->refs > 0)
		return;
	handle_close(slot->handle);
	ygr_ready_forget(slot);
	memset(slot, 0, sizeof(*slot));
	ygr_table_slots_used--;
}

static void track(int64_t fd, struct ygr_slot *slot)
{
	ygr_slot_ref(slot);
	if (slot->ready_fd < 0)
		slot->ready_fd = (int)fd;
	__atomic_store_n(&slot_index[fd], (uint16_t)(slot - slots + 1), __ATOMIC_RELEASE);
}

static void untrack(int64_t fd)
{
	struct ygr_slot *slot = ygr_slot_of(fd);

	if (!slot)
		return;
	__atomic_store_n(&slot_index[fd], 0, __ATOMIC_RELEASE);
	if (slot->ready_fd == fd) {
		slot->ready_fd = -1;
		for (int i = 0; i < YGR_SHIM_FDS_MAX; i++)
			if (slot_index[i] == slot - slots + 1) {
				slot->ready_fd = i;
				break;
			}
	}
	ygr_slot_unref(slot);
}

static struct ygr_slot *slot_new(uint32_t handle, const struct ygr_object *object)
{
	for (size_t i = 0; i < YGR_SHIM_SLOTS_MAX; i++) {
		if (slots[i].refs > 0)
			continue;
		slots[i] = (struct ygr_slot){
		    .handle = handle,
		    .object = *object,
		    .ready_fd = -1,
		    .told = UINT64_MAX,
		};
		ygr_table_slots_used++;
		return &slots[i];
	}
	return NULL;
}

int64_t ygr_table_new(uint32_t handle, const struct ygr_object *object)
{
	struct ygr_slot *slot;
	int64_t fd;

	fd = ygr_sys2(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0) {
		handle_close(handle);
		return fd;
	}
	slot = fd < YGR_SHIM_FDS_MAX ? slot_new(handle, object) : NULL;
	if (!slot) {
		ygr_sys1(SYS_close, fd);
		handle_close(handle);
		return -EMFILE;
	}
	track(fd, slot);
	return fd;
}

struct ygr_slot *ygr_table_adopt(int fd, uint32_t handle, const struct ygr_object *object)
{
	struct ygr_slot *slot = fd < YGR_SHIM_FDS_MAX ? slot_new(handle, object) : NULL;

	if (slot)
		track(fd, slot);
	else
		handle_close(handle);
	return slot;
}

/* Does the application's own table of descriptors belong to our tables? */
static bool involved(void)
{
	return ygr_table_slots_used > 0 && ygr_table_ours();
}

int64_t ygr_table_drop(int fd)
{
	untrack(fd);
	return ygr_sys1(SYS_close, fd);
}

int64_t ygr_table_close(int fd)
{
	uint64_t mask;
	int64_t r;

	if (fd == YGR_LOCAL_FD)
		return -EBADF;
	if (!ygr_slot_of(fd) || !involved())
		return ygr_sys1(SYS_close, fd);
	mask = ygr_shim_lock();
	r = ygr_table_drop(fd);
	ygr_shim_unlock(mask);
	return r;
}

int64_t ygr_table_close_range(const struct ygr_regs *regs)
{
	uint32_t first = (uint32_t)regs->rdi, last = (uint32_t)regs->rsi, flags = (uint32_t)regs->rdx;
	uint64_t mask;
	int64_t r = 0;

	if (first > last)
		return -EINVAL;
	mask = ygr_shim_lock();
	if (!(flags & CLOSE_RANGE_CLOEXEC) && involved())
		for (uint64_t fd = first; fd <= last && fd < YGR_SHIM_FDS_MAX; fd++)
			untrack((int64_t)fd);
	/* The session's socket stays. An unshared descriptor table is as good as a shared one after this. */
	if (first > YGR_LOCAL_FD || last < YGR_LOCAL_FD) {
		r = ygr_sys3(SYS_close_range, first, last, flags);
	} else {
		if (first < YGR_LOCAL_FD)
			r = ygr_sys3(SYS_close_range, first, YGR_LOCAL_FD - 1, flags);
		if (r >= 0 && last > YGR_LOCAL_FD)
			r = ygr_sys3(SYS_close_range, YGR_LOCAL_FD + 1, last, flags);
	}
	ygr_shim_unlock(mask);
	return r;
}

/* Performs a call that makes TO (or its result) a duplicate of FROM, and follows it in the table. */
static int64_t duplicate(const struct ygr_regs *regs, int from, int64_t to)
{
	struct ygr_slot *slot;
	uint64_t mask;
	int64_t r;

	if (from == YGR_LOCAL_FD || to == YGR_LOCAL_FD)
		return -EBADF;
	if (!ygr_slot_of(from) && !ygr_slot_of(to))
		return ygr_native(regs);
	if (!involved())
		return ygr_native(regs);
	mask = ygr_shim_lock();
	r = ygr_native(regs);
	slot = ygr_slot_of(from);
	if (r >= 0 && r != from) {
		if (slot)
			ygr_slot_ref(slot); /* in case that r was its last other number */
		untrack(r);
		if (slot && r < YGR_SHIM_FDS_MAX)
			track(r, slot);
		if (slot)
			ygr_slot_unref(slot);
		if (slot && r >= YGR_SHIM_FDS_MAX) {
			ygr_sys1(SYS_close, r);
			r = -EMFILE;
		}
	}
	ygr_shim_unlock(mask);
	return r;
}

int64_t ygr_table_dup(const struct ygr_regs *regs)
{
	return duplicate(regs, (int)regs->rdi, regs->rax == SYS_dup ? -1 : (int)regs->rsi);
}

int64_t ygr_table_fcntl(const struct ygr_regs *regs)
{
	int fd = (int)regs->rdi, command = (int)regs->rsi;

	if (fd == YGR_LOCAL_FD)
		return -EBADF;
	if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
		return duplicate(regs, fd, -1);
	return ygr_native(regs);
}

static uint32_t handle_of(void *user, int fd)
{
	struct ygr_slot *slot = ygr_slot_of(fd);

	(void)user;
	if (!slot && fd >= 0)
		slot = ygr_file_slot(fd);
	return slot && slot->handle ? slot->handle : YGR_HANDLE_BAD;
}

static bool object_of(void *user, uint32_t handle, struct ygr_object *ret_object)
{
	(void)user;
	for (size_t i = 0; i < YGR_SHIM_SLOTS_MAX; i++)
		if (slots[i].refs > 0 && slots[i].handle == handle) {
			*ret_object = slots[i].object;
			return true;
		}
	return false;
}

const struct ygr_call_host ygr_shim_host = {
    .read = ygr_user_read,
    .write = ygr_user_write,
    .handle_of = handle_of,
    .object_of = object_of,
};
