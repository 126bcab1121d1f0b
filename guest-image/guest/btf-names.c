/* BTF type names; see btf-names.h. */
#include "guest-image/guest/btf-names.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/btf.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/cleanup.h"

/* Bytes that follow struct btf_type; -EINVAL for a kind that this reader does not know. */
static int64_t tail_size(const struct btf_type *type)
{
	uint64_t vlen = BTF_INFO_VLEN(type->info);
	switch (BTF_INFO_KIND(type->info)) {
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case BTF_KIND_DECL_TAG:
		return 4;
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return (int64_t)(vlen * sizeof(struct btf_member));
	case BTF_KIND_ENUM:
		return (int64_t)(vlen * sizeof(struct btf_enum));
	case BTF_KIND_ENUM64:
	case BTF_KIND_DATASEC:
		return (int64_t)(vlen * 12);
	case BTF_KIND_FUNC_PROTO:
		return (int64_t)(vlen * sizeof(struct btf_param));
	case BTF_KIND_PTR:
	case BTF_KIND_FWD:
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_CONST:
	case BTF_KIND_RESTRICT:
	case BTF_KIND_FUNC:
	case BTF_KIND_FLOAT:
	case BTF_KIND_TYPE_TAG:
		return 0;
	default:
		return -EINVAL;
	}
}

static int read_header(struct ygr_guest_btf *btf, uint32_t *ret_types, uint32_t *ret_end)
{
	struct btf_header header;
	if (btf->size < sizeof(header) || btf->size > YGR_GUEST_BTF_MAX)
		return -EINVAL;
	memcpy(&header, btf->data, sizeof(header));
	uint64_t types = (uint64_t)header.hdr_len + header.type_off;
	uint64_t strings = (uint64_t)header.hdr_len + header.str_off;
	if (header.magic != BTF_MAGIC || header.hdr_len < sizeof(header) || (types & 3) ||
	    types + header.type_len > btf->size || strings + header.str_len > btf->size ||
	    header.str_len == 0 || btf->data[strings + header.str_len - 1] != '\0')
		return -EINVAL;
	*ret_types = (uint32_t)types;
	*ret_end = (uint32_t)types + header.type_len;
	btf->strings = (uint32_t)strings;
	btf->strings_length = header.str_len;
	return 0;
}

static int add_offset(struct ygr_guest_btf *btf, uint32_t *capacity, uint32_t offset)
{
	if (btf->count == *capacity) {
		uint32_t more = *capacity ? *capacity * 2 : 4096;
		uint32_t *offsets = reallocarray(btf->offsets, more, sizeof(*offsets));
		if (!offsets)
			return -ENOMEM;
		btf->offsets = offsets;
		*capacity = more;
	}
	btf->offsets[btf->count++] = offset;
	return 0;
}

static int index_types(struct ygr_guest_btf *btf)
{
	uint32_t at, end, capacity = 0;
	int r = read_header(btf, &at, &end);
	while (r == 0 && at < end) {
		struct btf_type type;
		if (end - at < sizeof(type))
			return -EINVAL;
		memcpy(&type, btf->data + at, sizeof(type));
		int64_t tail = tail_size(&type);
		if (tail < 0 || tail > (int64_t)(end - at - sizeof(type)))
			return -EINVAL;
		r = add_offset(btf, &capacity, at);
		at += (uint32_t)sizeof(type) + (uint32_t)tail;
	}
	return r;
}

int ygr_guest_btf_init(struct ygr_guest_btf *btf, uint8_t *data, size_t size,
		       const struct ygr_guest_btf *base)
{
	*btf = (struct ygr_guest_btf){
	    .data = data,
	    .size = size,
	    .first_id = base ? base->first_id + base->count : 1,
	    .strings_base = base ? base->strings_length : 0,
	};
	int r = index_types(btf);
	if (r < 0)
		ygr_guest_btf_deinit(btf);
	return r;
}

void ygr_guest_btf_deinit(struct ygr_guest_btf *btf)
{
	free(btf->data);
	free(btf->offsets);
	*btf = (struct ygr_guest_btf){0};
}

const char *ygr_guest_btf_name(const struct ygr_guest_btf *btf, const struct ygr_guest_btf *base,
			       uint32_t id)
{
	if (base && id < btf->first_id)
		return ygr_guest_btf_name(base, NULL, id);
	if (!btf->data || id < btf->first_id || id - btf->first_id >= btf->count)
		return NULL;

	struct btf_type type;
	memcpy(&type, btf->data + btf->offsets[id - btf->first_id], sizeof(type));
	const struct ygr_guest_btf *owner = btf;
	uint32_t name = type.name_off;
	if (name < btf->strings_base)
		owner = base;
	else
		name -= btf->strings_base;
	if (!owner || name == 0 || name >= owner->strings_length)
		return NULL;
	const char *text = (const char *)owner->data + owner->strings + name;
	return *text ? text : NULL;
}

int ygr_guest_btf_load(const char *path, uint8_t **ret_data, size_t *ret_size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;

	struct ygr_buf buf = YGR_BUF_INIT(YGR_GUEST_BTF_MAX);
	for (;;) {
		int r = ygr_buf_reserve(&buf, 64 << 10);
		ssize_t n = r < 0 ? r : read(fd, buf.data + buf.len, 64 << 10);
		if (n < 0) {
			r = r < 0 ? r : -errno;
			ygr_buf_deinit(&buf);
			return r;
		}
		if (n == 0)
			break;
		buf.len += (size_t)n;
	}
	*ret_data = buf.data;
	*ret_size = buf.len;
	return 0;
}
