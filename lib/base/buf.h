/*
 * A growable byte buffer with a bound: what a peer can make us hold is decided where the buffer is made.
 * Zero-initialised with YGR_BUF_INIT(max); free with ygr_buf_deinit().
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct ygr_buf {
	uint8_t *data;
	size_t len;
	size_t cap;
	size_t max; /* never holds more bytes than this */
};

#define YGR_BUF_INIT(max_bytes) ((struct ygr_buf){.max = (max_bytes)})

void ygr_buf_deinit(struct ygr_buf *buf);

/* Makes room for EXTRA more bytes: 0, -EMSGSIZE beyond the bound, -ENOMEM. */
int ygr_buf_reserve(struct ygr_buf *buf, size_t extra);

/* Appends LEN bytes; errors as ygr_buf_reserve(). */
int ygr_buf_append(struct ygr_buf *buf, const void *data, size_t len);

/* Drops the first N bytes (N <= len). */
void ygr_buf_consume(struct ygr_buf *buf, size_t n);
