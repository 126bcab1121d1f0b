/*
 * mmap of remote objects: the session says which pieces of which memory file to map where. A mapping keeps
 * its object alive, as in the kernel. Rings are remembered for wait.c, arrays for LOCAL_SYNC.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/telebpf/shim/shim.h"

#define PAGE 4096ull
/* struct perf_event_mmap_page */
#define PERF_HEAD 1024
#define PERF_TAIL 1032

struct mapping {
	uint64_t start, length, offset;
	struct ygr_slot *slot; /* NULL: free */
	bool sync;
};

static struct mapping mappings[YGR_SHIM_MAPPINGS_MAX];
static uint32_t mapping_count, sync_count;

void ygr_map_sync(bool push, bool pull)
{
	struct ygr_local_sync sync = {.push = push, .pull = pull};
	int fd;

	if (sync_count > 0)
		ygr_wire_ask_done(YGR_LOCAL_SYNC, &sync, sizeof(sync), -1, &fd);
}

bool ygr_map_arrays(void)
{
	return sync_count > 0;
}

static bool is_bpf_ring(const struct ygr_slot *slot)
{
	return slot->object.kind == YGR_OBJECT_MAP && (slot->object.map_type == BPF_MAP_TYPE_RINGBUF ||
						       slot->object.map_type == BPF_MAP_TYPE_USER_RINGBUF);
}

/* Where the positions of a ring lie in this mapping. */
static void ring_note(struct ygr_slot *slot, uint64_t start, uint64_t offset, uint64_t length)
{
	if (is_bpf_ring(slot)) {
		if (offset == 0)
			slot->consumer = (const uint64_t *)start;
		if (offset <= PAGE && offset + length > PAGE)
			slot->producer = (const uint64_t *)(start + PAGE - offset);
	} else if (offset == 0) {
		slot->producer = (const uint64_t *)(start + PERF_HEAD);
		slot->consumer = (const uint64_t *)(start + PERF_TAIL);
	}
}

static void ring_forget(struct ygr_slot *slot, uint64_t start, uint64_t length)
{
	if ((uint64_t)slot->consumer - start < length)
		slot->consumer = NULL;
	if ((uint64_t)slot->producer - start < length)
		slot->producer = NULL;
}

static void forget(struct mapping *mapping)
{
	struct ygr_local_unmap message = {
	    .handle = mapping->slot->handle,
	    .offset = mapping->offset,
	    .length = mapping->length,
	};

	ring_forget(mapping->slot, mapping->start, mapping->length);
	ygr_wire_post(YGR_LOCAL_UNMAP, &message, sizeof(message));
	ygr_slot_unref(mapping->slot);
	mapping_count--;
	if (mapping->sync)
		sync_count--;
	mapping->slot = NULL;
}

/* Something else takes, or nothing is left in, [START, START+LENGTH). */
static void forget_range(uint64_t start, uint64_t length)
{
	for (size_t i = 0; mapping_count > 0 && i < YGR_SHIM_MAPPINGS_MAX; i++) {
		struct mapping *mapping = &mappings[i];
		uint64_t end = mapping->start + mapping->length;

		if (!mapping->slot || start >= end || start + length <= mapping->start)
			continue;
		/* What was cut is not a ring or array that anybody reads as a whole. */
		ring_forget(mapping->slot, start, length);
		if (start <= mapping->start && start + length >= end)
			forget(mapping);
	}
}

static struct mapping *mapping_free(void)
{
	for (size_t i = 0; i < YGR_SHIM_MAPPINGS_MAX; i++)
		if (!mappings[i].slot)
			return &mappings[i];
	return NULL;
}

/* Maps the session's pieces over [ADDRESS, ADDRESS+LENGTH). */
static int64_t map_pieces(const struct ygr_local_mapped *mapped, uint64_t address, uint64_t length, int fd)
{
	if (mapped->pieces > sizeof(mapped->piece) / sizeof(mapped->piece[0]) ||
	    (mapped->pieces > 0 && fd < 0))
		ygr_die("the session's mapping is malformed");
	for (uint32_t i = 0; i < mapped->pieces; i++) {
		uint64_t at = mapped->piece[i].at, len = mapped->piece[i].length;
		int64_t r;

		if (len > length || at > length - len)
			ygr_die("the session's mapping is malformed");
		r = ygr_sys6(SYS_mmap, address + at, len, mapped->piece[i].prot, MAP_SHARED | MAP_FIXED, fd,
			     mapped->piece[i].offset);
		if (r < 0)
			return r;
	}
	return 0;
}

static int64_t map_remote(const struct ygr_regs *regs, struct ygr_slot *slot, uint64_t length)
{
	uint32_t flags = (uint32_t)regs->r10;
	struct mapping *mapping = mapping_free();
	struct ygr_local_map ask = {
	    .handle = slot->handle,
	    .prot = (uint32_t)regs->rdx,
	    .offset = regs->r9,
	    .length = length,
	};
	struct ygr_local_mapped mapped;
	const uint8_t *payload;
	int64_t address, r;
	uint32_t len;
	int fd;

	if (!mapping)
		return -ENOMEM;
	if (flags & MAP_FIXED)
		forget_range(regs->rdi, length);
	/* The place is taken first, so that nothing can come in between. */
	address = ygr_sys6(SYS_mmap, regs->rdi, length, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			       (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)),
			   -1, 0);
	if (address < 0)
		return address;
	ask.address = (uint64_t)address;
	len = ygr_wire_ask(YGR_LOCAL_MAP, &ask, sizeof(ask), -1, YGR_LOCAL_MAPPED, &payload, &fd);
	if (len != sizeof(mapped))
		ygr_die("the session's mapping has a wrong length");
	memcpy(&mapped, payload, sizeof(mapped));
	ygr_wire_done();
	r = mapped.status < 0 ? mapped.status : map_pieces(&mapped, (uint64_t)address, length, fd);
	if (fd >= 0)
		ygr_sys1(SYS_close, fd);
	if (r < 0) {
		ygr_sys2(SYS_munmap, address, length);
		return r;
	}
	*mapping = (struct mapping){(uint64_t)address, length, regs->r9, slot, mapped.sync != 0};
	mapping_count++;
	sync_count += mapping->sync;
	ygr_slot_ref(slot);
	if (mapped.ring) {
		ring_note(slot, (uint64_t)address, regs->r9, length);
		ygr_ready_register(slot, (int)regs->r8);
	}
	return address;
}

int64_t ygr_hook_mmap(const struct ygr_regs *regs)
{
	uint32_t flags = (uint32_t)regs->r10;
	uint64_t length = (regs->rsi + PAGE - 1) & ~(PAGE - 1), mask;
	bool remote = !(flags & MAP_ANONYMOUS) && ygr_slot_of((int)regs->r8);
	struct ygr_slot *slot;
	int64_t r;

	if (!remote && !((flags & MAP_FIXED) && mapping_count > 0))
		return ygr_native(regs);
	if (!ygr_table_ours())
		return ygr_native(regs);
	mask = ygr_shim_lock();
	slot = (flags & MAP_ANONYMOUS) ? NULL : ygr_slot_of((int)regs->r8);
	if (!slot) {
		r = ygr_native(regs);
		if (r >= 0 && (flags & MAP_FIXED))
			forget_range(regs->rdi, length);
	} else if (length == 0 || (regs->r9 & (PAGE - 1)) ||
		   ((flags & MAP_FIXED) && (regs->rdi & (PAGE - 1)))) {
		r = -EINVAL;
	} else if ((flags & MAP_TYPE) != MAP_SHARED && (flags & MAP_TYPE) != MAP_SHARED_VALIDATE) {
		r = -EINVAL; /* as maps and perf events say to MAP_PRIVATE */
	} else {
		r = map_remote(regs, slot, length);
	}
	ygr_shim_unlock(mask);
	return r;
}

int64_t ygr_hook_munmap(const struct ygr_regs *regs)
{
	uint64_t mask;
	int64_t r;

	if (mapping_count == 0 || !ygr_table_ours())
		return ygr_native(regs);
	mask = ygr_shim_lock();
	r = ygr_native(regs);
	if (r >= 0)
		forget_range(regs->rdi, (regs->rsi + PAGE - 1) & ~(PAGE - 1));
	ygr_shim_unlock(mask);
	return r;
}

int64_t ygr_hook_mremap(const struct ygr_regs *regs)
{
	for (size_t i = 0; mapping_count > 0 && i < YGR_SHIM_MAPPINGS_MAX; i++)
		if (mappings[i].slot && regs->rdi < mappings[i].start + mappings[i].length &&
		    regs->rdi + regs->rsi > mappings[i].start)
			return -EINVAL;
	return ygr_native(regs);
}
