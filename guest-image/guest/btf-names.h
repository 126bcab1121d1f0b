/*
 * Names of BTF types: enough of a reader (Documentation/bpf/btf.rst) to say which function or structure a
 * type id means. The kernel's own BTF is its word, a program's BTF could be anybody's: every offset is
 * checked.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct ygr_guest_btf {
	uint8_t *data;
	size_t size;
	uint32_t *offsets; /* of each type from data; index 0 is the first id of this BTF */
	uint32_t first_id, count;
	uint32_t strings, strings_length; /* offset from data */
	uint32_t strings_base;            /* string offsets below belong to the base */
};

#define YGR_GUEST_BTF_MAX (32u << 20) /* bytes of one BTF */

/*
 * Indexes DATA (SIZE bytes, ownership taken, also on failure: malloc). BASE is NULL, or the kernel's own BTF
 * that a module's continues. 0, -EINVAL, -ENOMEM.
 */
int ygr_guest_btf_init(struct ygr_guest_btf *btf, uint8_t *data, size_t size,
		       const struct ygr_guest_btf *base);
void ygr_guest_btf_deinit(struct ygr_guest_btf *btf);

/* The name of type ID, which lives as long as BTF and BASE; NULL when there is none. */
const char *ygr_guest_btf_name(const struct ygr_guest_btf *btf, const struct ygr_guest_btf *base,
			       uint32_t id);

/* Reads a file such as /sys/kernel/btf/vmlinux to its end. */
int ygr_guest_btf_load(const char *path, uint8_t **ret_data, size_t *ret_size);
