/*
 * Pages that the node may still have mapped. When a session gives out page frames, the server process first
 * takes a mapping of its own of the same ring or array; so the pages stay what they are when the session
 * dies, until the node says RELEASE. A mapping holds its object without a descriptor, so custody costs
 * address space only. Bounded: YGR_CUSTODY_ITEMS a session, and YGR_CUSTODY_LEFTOVERS dead sessions; beyond
 * that new rings are refused with -EBUSY and travel by Stream.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define YGR_CUSTODY_LEFTOVERS 16
#define YGR_CUSTODY_ITEMS     512

struct ygr_custody_item {
	struct ygr_custody_item *next;
	uint32_t handle; /* of the ring or array, as the session calls it */
	void *address;
	size_t length;
};

struct ygr_custody_session {
	struct ygr_custody_session *next;
	uint8_t id[16];
	pid_t pid; /* of the process that serves it; 0: dead, its pages are left over */
	struct ygr_custody_item *items;
	unsigned item_count;
};

struct ygr_custody {
	struct ygr_custody_session *sessions; /* those with items */
	unsigned leftovers;
};

/*
 * Keeps what FD (borrowed), called HANDLE by its session, is: LENGTH bytes of its mapping from its start, a
 * whole perf ring or the first page of a BPF map. 0, -EBUSY at a bound, or what mmap says.
 */
int ygr_custody_keep(struct ygr_custody *custody, pid_t pid, const uint8_t id[16], uint32_t handle, int fd,
		     size_t length);

/* The node has unmapped what was called HANDLE. */
void ygr_custody_forget(struct ygr_custody *custody, pid_t pid, const uint8_t id[16], uint32_t handle);

/* The process PID is gone: what it gave out is left over now. */
void ygr_custody_died(struct ygr_custody *custody, pid_t pid);

/* The node has unmapped what the session ID gave out so far; ID all zero: all sessions that are dead. */
void ygr_custody_release(struct ygr_custody *custody, const uint8_t id[16]);
void ygr_custody_deinit(struct ygr_custody *custody);
