/* Bounded growable buffer; see buf.h. */
#include "lib/base/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void ygr_buf_deinit(struct ygr_buf *buf)
{
	free(buf->data);
	*buf = YGR_BUF_INIT(buf->max);
}

int ygr_buf_reserve(struct ygr_buf *buf, size_t extra)
{
	if (extra > buf->max || buf->len > buf->max - extra)
		return -EMSGSIZE;

	size_t need = buf->len + extra;
	if (need <= buf->cap)
		return 0;

	size_t cap = buf->cap ? buf->cap : 256;
	while (cap < need)
		cap *= 2;
	if (cap > buf->max)
		cap = buf->max;

	uint8_t *data = realloc(buf->data, cap);
	if (!data)
		return -ENOMEM;
	buf->data = data;
	buf->cap = cap;
	return 0;
}

int ygr_buf_append(struct ygr_buf *buf, const void *data, size_t len)
{
	int r = ygr_buf_reserve(buf, len);
	if (r < 0)
		return r;
	if (len)
		memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	return 0;
}

void ygr_buf_consume(struct ygr_buf *buf, size_t n)
{
	buf->len -= n;
	if (buf->len)
		memmove(buf->data, buf->data + n, buf->len);
}
