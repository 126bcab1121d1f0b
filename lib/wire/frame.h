/*
 * One frame: a fixed little-endian header and a bounded payload. The same frames travel on AF_VSOCK (node and
 * guest) and on the UNIX socket between the shim and its session.
 *
 *   0  u32 magic    'Y','G','R','1'
 *   4  u16 version  YGR_FRAME_VERSION
 *   6  u16 type     enum ygr_message_type
 *   8  u32 id       chosen by the asker, echoed by the reply; 0 for what nobody answers
 *  12  u32 length   of the payload in bytes
 *
 * The decoder is incremental: feed it what arrived, it says how much is missing. A wrong magic, an unknown
 * version or a length above the bound of this connection's state is an error that ends the connection.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define YGR_FRAME_MAGIC     0x31524759u /* "YGR1" in memory */
#define YGR_FRAME_VERSION   1
#define YGR_FRAME_HEADER    16
#define YGR_FRAME_MAX_HELLO (64u << 10) /* until the peer is authenticated */
#define YGR_FRAME_MAX       (24u << 20) /* a PROG_LOAD of a million instructions, or its 16 MiB log */

struct ygr_frame {
	uint16_t type;
	uint32_t id;
	uint32_t length;
	const uint8_t *payload; /* inside the caller's buffer */
};

/* Writes the 16 header bytes. */
void ygr_frame_header(uint8_t out[YGR_FRAME_HEADER], uint16_t type, uint32_t id, uint32_t length);

/*
 * Looks at LEN bytes. Returns the frame's whole size when it is all there, 0 when more bytes are needed, or
 * -EPROTO (magic), -EPROTONOSUPPORT (version), -EMSGSIZE (length above MAX).
 */
int64_t ygr_frame_parse(const uint8_t *data, size_t len, uint32_t max, struct ygr_frame *ret_frame);

/*
 * The same look at the 16 header bytes alone, for who reads the payload straight to where it belongs: the whole
 * frame's size or an error as above; ret_frame->payload is NULL.
 */
int64_t ygr_frame_head(const uint8_t header[YGR_FRAME_HEADER], uint32_t max, struct ygr_frame *ret_frame);
