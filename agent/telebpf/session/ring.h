/*
 * One remote ring and the private ring that stands for it: a sealed memory file laid out as the kernel lays
 * out the real one, so that an unmodified consumer maps it and notices nothing.
 *
 *   BPF ring buffer  [consumer page][producer page][data]; the application maps the data twice in a row
 *   perf             [control page][data]
 *
 * In Shared only the page that the application writes is of this file (consumer or control page). All
 * others are the guest's; sharing.c maps them. Then the data is nobody's business here: only positions are
 * followed, to wake the application and to tell the guest what was consumed.
 *
 * The application may write all of its mapping (it has the descriptor for a moment), so nothing here is read
 * back but consumer positions, which are bounded. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/telebpf/local.h"
#include "agent/telebpf/session/memory.h"
#include "agent/telebpf/session/ring-copy.h"
#include "lib/wire/message.h"

#define YGR_RING_DATA_MAX  (256u << 20) /* of one ring */
#define YGR_RING_READY_MAX 16           /* eventfds: one for each process that waits for the ring */

enum ygr_delivery { YGR_DELIVERY_COPIED, YGR_DELIVERY_SHARED, YGR_DELIVERY_STREAM };

const char *ygr_delivery_name(enum ygr_delivery delivery);

struct ygr_ring {
	uint32_t handle;
	enum ygr_ring_kind kind;
	enum ygr_delivery delivery;     /* as opened */
	bool share;                     /* Shared is wanted; set before ygr_ring_start() */
	bool shared;                    /* guest pages were mapped into the application */
	struct ygr_ram_extent *extents; /* Shared: where `guest` lies in the RAM file */
	unsigned extent_count;
	struct ygr_ring_batch seen; /* Shared: since the last pull */
	uint64_t counted;           /* Shared: up to here records were counted */
	int memfd;
	uint8_t *area; /* of the memory file, all of it */
	uint64_t area_length;
	const uint8_t *guest; /* page modes: producer or control page, then data */
	uint64_t guest_length;
	struct ygr_ring_sink sink;
	uint64_t acknowledged; /* consumer position that the guest knows */
	bool armed;            /* ARM was sent, READY has not come */
	uint64_t arm_at;       /* not before (monotonic ns): the last READY was for nothing */
	uint64_t arm_wait;
	bool full; /* the last copy stopped for want of room */
	int ready[YGR_RING_READY_MAX];
	unsigned ready_count;
	uint64_t armed_bytes; /* `bytes` when ARM was sent */
	uint64_t records, bytes, dropped;
};

/*
 * A private ring of DATA bytes for HANDLE. -EINVAL when DATA is not a power of two of whole pages, -E2BIG
 * above YGR_RING_DATA_MAX, -ENOMEM, -errno.
 */
int ygr_ring_new(uint32_t handle, enum ygr_ring_kind kind, uint64_t data, uint64_t sample_type,
		 struct ygr_ring **ret);
struct ygr_ring *ygr_ring_free(struct ygr_ring *ring);

/*
 * Starts from the guest's answer to RING_OPEN: PAYLOAD of LENGTH bytes is struct ygr_ring_opened and its
 * runs. RAM NULL: Stream. Returns 0, the guest's own negative errno, -EBADMSG for an answer that cannot be,
 * -ERANGE for pages that are not its RAM, -ENOMEM.
 */
int ygr_ring_start(struct ygr_ring *ring, const struct ygr_ram *ram, const uint8_t *payload,
		   uint32_t length);

/* Copied, Shared: brings what is there, publishes it and wakes the application. -EBADMSG: the guest misbehaves. */
int ygr_ring_pull(struct ygr_ring *ring, struct ygr_ring_batch *ret_batch);
/* Whether the guest's producer has moved since the last pull: one read. */
bool ygr_ring_behind(const struct ygr_ring *ring);

/* Stream: the same for the bytes of a RING_RECORDS message. More than was granted is -EBADMSG, too. */
int ygr_ring_feed(struct ygr_ring *ring, const struct ygr_ring_records *records, const uint8_t *bytes,
		  struct ygr_ring_batch *ret_batch);

/* Reads the application's consumer position anew and believes it as far as it can be. */
uint64_t ygr_ring_consumer(struct ygr_ring *ring);
/*
 * The position up to which the guest may overwrite: in Copied what was copied, in Stream and Shared what the
 * application has consumed, so that what is under way always finds room.
 */
uint64_t ygr_ring_released(struct ygr_ring *ring);
/* Shared, before anything was shared: Copied from now on. */
void ygr_ring_unshare(struct ygr_ring *ring);

/*
 * Prepares the process for writing to eventfds that an application has, too: installs a handler for SIGALRM.
 * Once, at start.
 */
void ygr_ring_init_ready(void);
/* Takes ownership of an eventfd. -ENOSPC beyond YGR_RING_READY_MAX. */
int ygr_ring_add_ready(struct ygr_ring *ring, int fd);
/* The application is about to wait: its eventfds become readable when it has not consumed all, else
 * unreadable. */
void ygr_ring_idle(struct ygr_ring *ring);

/*
 * How the application maps the bytes that MAP asks for: fills pieces. 0, or what the kernel would say:
 * -EINVAL, -EPERM (writing to what only the producer writes), -EOPNOTSUPP (a perf ring in overwrite mode).
 */
int ygr_ring_layout(const struct ygr_ring *ring, const struct ygr_local_map *map,
		    struct ygr_local_mapped *ret);

/* A part of a mapping that is the guest's: LENGTH bytes at AT of the mapping are at FROM of its ring pages. */
struct ygr_ring_part {
	uint64_t at, from, length;
};

#define YGR_RING_PARTS 2

/* Shared: those parts of MAP, for which ygr_ring_layout() has no pieces. Their number, or its errors. */
int ygr_ring_shared_parts(const struct ygr_ring *ring, const struct ygr_local_map *map,
			  struct ygr_ring_part ret[YGR_RING_PARTS]);
