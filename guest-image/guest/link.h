/*
 * The guest's end of a channel: frames in and out of a non-blocking socket. Bounded: input by YGR_FRAME_MAX
 * and only as far as bytes really arrive, output by what the session lets pile up before it stops reading.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/base/buf.h"
#include "lib/wire/frame.h"

/* Output waiting for the peer beyond which a session takes no more requests. */
#define YGR_GUEST_BACKLOG (1u << 20)

/*
 * Bytes of one send(), and so of one vsock packet. A packet of more than 32 KiB, the kernel's bookkeeping
 * included, lies in several pieces since Linux 6.17 and 6.12.x of stable (virtio_vsock_alloc_skb() in
 * include/linux/virtio_vsock.h). Devices in user space that know only packets in one piece drop it without a
 * word (vhost-device-vsock 0.3, Cloud Hypervisor of early 2026), and the connection stops for good when its
 * credit is used up.
 */
#define YGR_GUEST_SEND_MAX (28u << 10)

struct ygr_guest_link {
	int fd; /* borrowed */
	struct ygr_buf in, out;
	size_t in_at, out_at; /* consumed at the front */
};

/* Makes FD non-blocking. */
int ygr_guest_link_init(struct ygr_guest_link *link, int fd);
void ygr_guest_link_deinit(struct ygr_guest_link *link);

/* Reads once: 0, -ECONNRESET at the end, or what the system says. */
int ygr_guest_link_fill(struct ygr_guest_link *link);
/* 1 with a frame that stays valid until the next fill, 0 when bytes are missing, or -errno of
 * ygr_frame_parse(). */
int ygr_guest_link_next(struct ygr_guest_link *link, struct ygr_frame *ret_frame);

/* Queues a frame made of COUNT pieces (copied): 0, -ENOMEM, -EMSGSIZE. */
int ygr_guest_link_send(struct ygr_guest_link *link, uint16_t type, uint32_t id, const struct iovec *pieces,
			int count);
/* Room for LENGTH payload bytes of a frame, to be filled in place; valid until the next call here. */
int ygr_guest_link_begin(struct ygr_guest_link *link, uint16_t type, uint32_t id, uint32_t length,
			 uint8_t **ret_payload);
/* Writes what the socket takes: 0, or -errno when the connection is gone. */
int ygr_guest_link_flush(struct ygr_guest_link *link);
size_t ygr_guest_link_backlog(const struct ygr_guest_link *link);
