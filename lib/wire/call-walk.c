/*
 * The walk over table rows that measuring, encoding and decoding share: which descriptors are meant, how
 * long what a pointer points to is, and where descriptors hide inside it. It never depends on the value of a
 * descriptor or pointer, only on what both ends can see, so both ends walk alike.
 */
#include "lib/wire/call-table.h"

#include <errno.h>

enum { /* enum bpf_map_type */
       MAP_HASH = 1,
       MAP_PROG_ARRAY = 3,
       MAP_PERF_EVENT_ARRAY = 4,
       MAP_PERCPU_HASH = 5,
       MAP_PERCPU_ARRAY = 6,
       MAP_CGROUP_ARRAY = 8,
       MAP_LRU_HASH = 9,
       MAP_LRU_PERCPU_HASH = 10,
       MAP_ARRAY_OF_MAPS = 12,
       MAP_HASH_OF_MAPS = 13,
       MAP_DEVMAP = 14,
       MAP_SOCKMAP = 15,
       MAP_CPUMAP = 16,
       MAP_XSKMAP = 17,
       MAP_SOCKHASH = 18,
       MAP_REUSEPORT_SOCKARRAY = 20,
       MAP_PERCPU_CGROUP_STORAGE = 21,
       MAP_SK_STORAGE = 24,
       MAP_DEVMAP_HASH = 25,
       MAP_STRUCT_OPS = 26,
       MAP_INODE_STORAGE = 28,
       MAP_TASK_STORAGE = 29,
       MAP_BLOOM_FILTER = 30,
       MAP_CGRP_STORAGE = 32,
};

enum { /* BPF_F_* of attaching */
       ATTACH_F_BEFORE = 1 << 3,
       ATTACH_F_AFTER = 1 << 4,
       ATTACH_F_ID = 1 << 5,
       ATTACH_F_LINK = 1 << 13,
};

enum { INSN_LD_IMM64 = 0x18, INSN_CALL = 0x85 };

bool ygr_all_zero(const uint8_t *bytes, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		if (bytes[i])
			return false;
	return true;
}

uint64_t ygr_object_value_size(const struct ygr_object *object)
{
	switch (object->map_type) {
	case MAP_PERCPU_HASH:
	case MAP_LRU_PERCPU_HASH:
	case MAP_PERCPU_ARRAY:
	case MAP_PERCPU_CGROUP_STORAGE:
		return ygr_align8(object->value_size) * object->possible_cpus;
	case MAP_PROG_ARRAY:
	case MAP_PERF_EVENT_ARRAY:
	case MAP_CGROUP_ARRAY:
	case MAP_ARRAY_OF_MAPS:
	case MAP_HASH_OF_MAPS:
		return sizeof(uint32_t);
	default:
		return object->value_size;
	}
}

/* Batch calls on hash tables keep a bucket number in their cursor, the others a key. */
static uint32_t cursor_size(const struct ygr_object *map)
{
	switch (map->map_type) {
	case MAP_HASH:
	case MAP_PERCPU_HASH:
	case MAP_LRU_HASH:
	case MAP_LRU_PERCPU_HASH:
	case MAP_HASH_OF_MAPS:
		return sizeof(uint32_t);
	default:
		return map->key_size > sizeof(uint32_t) ? map->key_size : sizeof(uint32_t);
	}
}

static bool is_number(const struct ygr_scope *scope, const struct ygr_field *field)
{
	uint32_t by = ygr_scope_get32(scope, field->count);

	switch (field->kind) {
	case YGR_FIELD_TARGET: /* BPF_XDP, BPF_TCX_*, BPF_NETKIT_*: an interface of the guest */
		return by == 37 || by == 46 || by == 47 || by == 54 || by == 55;
	case YGR_FIELD_RELATIVE:
		return by & ATTACH_F_ID;
	case YGR_FIELD_ANCHOR:
		return (by & ATTACH_F_ID) || !(by & (ATTACH_F_BEFORE | ATTACH_F_AFTER | ATTACH_F_LINK));
	default:
		return false;
	}
}

static unsigned field_width(const struct ygr_field *field)
{
	switch (field->kind) {
	case YGR_FIELD_PAD:
	case YGR_FIELD_OUT:
		return 0; /* a shorter attribute may cut these */
	case YGR_FIELD_POINTER:
	case YGR_FIELD_FD_WIDE:
		return 8;
	default:
		return 4;
	}
}

int ygr_walk_fields(struct ygr_walk *walk, const struct ygr_scope *scope, const struct ygr_field *fields)
{
	for (const struct ygr_field *field = fields; field->kind != YGR_FIELD_END; field++) {
		if (field->offset >= scope->size)
			continue;
		if (field->offset + field_width(field) > scope->size)
			return walk->ops->malformed; /* half a pointer */

		uint8_t *at = scope->bytes + field->offset;
		int r = 0;
		if (field->kind == YGR_FIELD_POINTER) {
			r = walk->ops->pointer(walk, scope, field);
		} else if (field->kind == YGR_FIELD_PAD) {
			uint32_t room = scope->size - field->offset;
			memset(at, 0, field->item < room ? field->item : room);
		} else if (field->kind != YGR_FIELD_OUT && !is_number(scope, field)) {
			enum ygr_field_kind kind = field->kind;
			if (kind == YGR_FIELD_TARGET || kind == YGR_FIELD_RELATIVE ||
			    kind == YGR_FIELD_ANCHOR)
				kind = YGR_FIELD_FD_OPT;
			r = walk->ops->fd(walk, at, kind);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int map_length(const struct ygr_walk *walk, const struct ygr_field *field, uint64_t count,
		      uint64_t *ret_length, uint32_t *ret_item)
{
	if (!walk->known || walk->object.kind != YGR_OBJECT_MAP)
		return -ENOENT;

	uint64_t item = walk->object.key_size;
	if (field->length == YGR_LENGTH_VALUE || field->length == YGR_LENGTH_VALUES)
		item = ygr_object_value_size(&walk->object);
	else if (field->length == YGR_LENGTH_CURSOR)
		item = cursor_size(&walk->object);
	if (item > UINT32_MAX)
		return -E2BIG;
	*ret_item = (uint32_t)item;
	*ret_length = item * count; /* both below 2^32 */
	return 0;
}

int ygr_walk_length(const struct ygr_walk *walk, const struct ygr_scope *scope,
		    const struct ygr_field *field, uint64_t *ret_length, uint32_t *ret_item)
{
	uint64_t count = ygr_scope_get32(scope, field->count);
	uint32_t item = field->item;

	switch ((enum ygr_length)field->length) {
	case YGR_LENGTH_CONST:
	case YGR_LENGTH_STRING:
	case YGR_LENGTH_QUERY: /* the fixed part; how many ids follow is read with it */
		*ret_length = item;
		break;
	case YGR_LENGTH_RECORDS:
		item = ygr_scope_get32(scope, field->item);
		*ret_length = count * item;
		break;
	case YGR_LENGTH_COUNT:
	case YGR_LENGTH_STRINGS:
		*ret_length = count * item;
		break;
	case YGR_LENGTH_FD_ARRAY:
		item = sizeof(uint32_t);
		*ret_length = (count ? count : walk->fd_array) * item;
		break;
	case YGR_LENGTH_KEY:
	case YGR_LENGTH_VALUE:
	case YGR_LENGTH_CURSOR:
		return map_length(walk, field, 1, ret_length, ret_item);
	case YGR_LENGTH_KEYS:
	case YGR_LENGTH_VALUES:
		return map_length(walk, field, count, ret_length, ret_item);
	}
	*ret_item = item;
	return 0;
}

unsigned ygr_walk_way(const struct ygr_walk *walk, const struct ygr_field *field)
{
	if (field->content == YGR_CONTENT_FILTER && walk->known && walk->object.map_type == MAP_BLOOM_FILTER)
		return YGR_INOUT;
	return field->way;
}

static void note_fd_array(struct ygr_walk *walk, int64_t index)
{
	if (index >= 0 && (uint64_t)index + 1 > walk->fd_array)
		walk->fd_array = (uint32_t)index + 1;
}

/* ld_imm64 of maps and module BTF; calls of kernel functions in modules. */
static int insns_content(struct ygr_walk *walk, uint8_t *bytes, uint64_t length)
{
	for (uint64_t i = 0; i + sizeof(struct ygr_insn) <= length; i += sizeof(struct ygr_insn)) {
		struct ygr_insn insn;
		memcpy(&insn, bytes + i, sizeof(insn));
		unsigned source = insn.registers >> 4;
		bool pair = i + 2 * sizeof(insn) <= length;
		int r = 0;

		if (insn.code == INSN_CALL && source == 2 && insn.off > 0) {
			note_fd_array(walk, insn.off);
		} else if (insn.code == INSN_LD_IMM64) {
			if (source == 1 || source == 2)
				r = walk->ops->fd(walk, bytes + i + 4, YGR_FIELD_FD);
			else if (source == 3 && pair)
				r = walk->ops->fd(walk, bytes + i + sizeof(insn) + 4, YGR_FIELD_FD_OPT);
			else if (source == 5 || source == 6)
				note_fd_array(walk, insn.imm);
			i += sizeof(insn); /* its second half is no instruction */
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* Where in a map's value its descriptor is, -1 when there is none. */
static int value_descriptor(const struct ygr_object *map, enum ygr_field_kind *ret_kind)
{
	*ret_kind = YGR_FIELD_FD;
	switch (map->map_type) {
	case MAP_PROG_ARRAY:
	case MAP_PERF_EVENT_ARRAY:
	case MAP_CGROUP_ARRAY:
	case MAP_ARRAY_OF_MAPS:
	case MAP_HASH_OF_MAPS:
	case MAP_XSKMAP:
	case MAP_SOCKMAP:
	case MAP_SOCKHASH:
	case MAP_REUSEPORT_SOCKARRAY:
		return 0;
	case MAP_DEVMAP:
	case MAP_DEVMAP_HASH:
	case MAP_CPUMAP:
		*ret_kind = YGR_FIELD_FD_ABOVE;
		return map->value_size >= 8 ? 4 : -1;
	default:
		return -1;
	}
}

static int value_content(struct ygr_walk *walk, uint8_t *bytes, uint64_t length, uint32_t item)
{
	if (!walk->known)
		return 0;
	if (walk->object.map_type == MAP_STRUCT_OPS)
		return -EOPNOTSUPP; /* its descriptors are where the guest's BTF says that functions are */

	enum ygr_field_kind kind;
	int at = value_descriptor(&walk->object, &kind);
	if (at < 0 || item < (uint32_t)at + 4)
		return 0;
	for (uint64_t i = 0; i + item <= length; i += item) {
		int r = walk->ops->fd(walk, bytes + i + at, kind);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool has_descriptor_keys(const struct ygr_object *map)
{
	return map->map_type == MAP_SK_STORAGE || map->map_type == MAP_INODE_STORAGE ||
	       map->map_type == MAP_TASK_STORAGE || map->map_type == MAP_CGRP_STORAGE;
}

int ygr_walk_content(struct ygr_walk *walk, const struct ygr_field *field, uint8_t *bytes, uint64_t length,
		     uint32_t item)
{
	int r = 0;

	switch ((enum ygr_content)field->content) {
	case YGR_CONTENT_INSNS:
		return insns_content(walk, bytes, length);
	case YGR_CONTENT_FDS:
		for (uint64_t i = 0; i + 4 <= length && r == 0; i += 4)
			r = walk->ops->fd(walk, bytes + i, YGR_FIELD_FD_OPT);
		return r;
	case YGR_CONTENT_KEY:
		if (walk->known && has_descriptor_keys(&walk->object) && length >= 4)
			return walk->ops->fd(walk, bytes, YGR_FIELD_FD);
		return 0;
	case YGR_CONTENT_VALUE:
		return value_content(walk, bytes, length, item);
	default:
		return 0;
	}
}
