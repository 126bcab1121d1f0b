/*
 * One ring buffer of this kernel (BPF ring buffer map or perf event), mapped here. Positions are as in the
 * ring: bytes since its beginning. The descriptor of its own makes it independent of the handle it was
 * opened from, as a mapping in an application is.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/wire/message.h"

struct ygr_guest_ring {
	uint32_t handle;
	enum ygr_ring_kind kind;
	int fd;
	void *consumer_map; /* BPF: the consumer page; perf: NULL */
	void *map;          /* producer or control page, then data (BPF: twice) */
	uint64_t map_bytes, data_bytes;
	uint64_t *producer_position, *consumer_position;
	const uint8_t *data;
	bool stream;
	bool armed;                      /* a READY is owed */
	bool watched;                    /* its descriptor is in the session's epoll set */
	bool broken;                     /* a header that cannot be was met: no more records come from it */
	uint64_t window, sent, credited; /* Stream: sent - credited <= window, but for one long record */
};

/* Stream: records are sent in frames of at most this many bytes (a single longer record excepted). */
#define YGR_RING_CHUNK      (256u << 10)
#define YGR_RING_WINDOW_MIN 4096u
#define YGR_RING_WINDOW_MAX (16u << 20)

/*
 * Maps the ring behind FD, which is duplicated: 0, -EINVAL (sizes), or what the system says. The caller has
 * checked that FD is of KIND; DATA_BYTES must be its size (the kernel refuses anything else).
 */
int ygr_guest_ring_init(struct ygr_guest_ring *ring, int fd, const struct ygr_ring_open *open);
void ygr_guest_ring_deinit(struct ygr_guest_ring *ring);

uint64_t ygr_guest_ring_producer(const struct ygr_guest_ring *ring);
uint64_t ygr_guest_ring_consumer(const struct ygr_guest_ring *ring);

/* Moves the consumer forward: 0, or -EPROTO for a position behind it or beyond the producer. */
int ygr_guest_ring_consume(struct ygr_guest_ring *ring, uint64_t position);
/* Stream: gives window back up to POSITION; errors alike. */
int ygr_guest_ring_credit(struct ygr_guest_ring *ring, uint64_t position);

/* Is there something that a reader could take now? A record that is still being written is not. */
bool ygr_guest_ring_ready(struct ygr_guest_ring *ring);

/* Stream: how many bytes of whole records may be sent now; 0 for none. */
uint64_t ygr_guest_ring_sendable(struct ygr_guest_ring *ring);
/* Stream: copies LENGTH bytes (from sendable()) to OUT, frees them in the ring and returns where they began.
 */
uint64_t ygr_guest_ring_take(struct ygr_guest_ring *ring, uint8_t *out, uint64_t length);
