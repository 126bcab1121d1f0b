/*
 * Inside the marshaller: what a row of the tables says, and the walk over rows that measuring, encoding and
 * decoding share. Only lib/wire/call-*.c include this.
 *
 * A scope is a piece of memory with rows about it: the attribute, or an info that the attribute points to.
 * Rows are met in table order, which is not always offset order: the descriptor of a map comes before the
 * pointers whose lengths it decides, instructions before the descriptors that they index.
 *
 * Everything here builds freestanding: no libc, no errno, no static data that is written.
 */
#pragma once

#include "lib/wire/call.h"

#include <string.h>

/* Which enum values and flags of the kernel decide a shape; the distribution's header is older than 6.12. */
enum {
	YGR_BPF_ATTR_KNOWN = 152,  /* sizeof(union bpf_attr) in 6.12 */
	YGR_PERF_ATTR_MIN = 64,    /* PERF_ATTR_SIZE_VER0 */
	YGR_PERF_ATTR_KNOWN = 136, /* PERF_ATTR_SIZE_VER8 */
	YGR_USER_PAGE = 4096,      /* the kernel takes no larger attribute, info or filter */
	YGR_BPF_INSNS_MAX = 1000000,
	YGR_KPROBES_MAX = 1 << 20,
	YGR_FD_ARRAY_MAX = 1 << 16,
};

enum ygr_field_kind {
	YGR_FIELD_END,      /* offset: bytes of the attribute that rows know about; the rest must be zero */
	YGR_FIELD_PAD,      /* `item` bytes that mean nothing: zero on the wire */
	YGR_FIELD_OUT,      /* `item` bytes that the kernel may write */
	YGR_FIELD_FD,       /* u32 descriptor */
	YGR_FIELD_FD_OPT,   /* the same, 0: none */
	YGR_FIELD_FD_SHAPE, /* a descriptor whose object decides lengths that follow */
	YGR_FIELD_FD_PATH,  /* a directory, 0: none, or AT_FDCWD */
	YGR_FIELD_FD_ABOVE, /* a descriptor when > 0 */
	YGR_FIELD_FD_GROUP, /* a perf event, -1: none */
	YGR_FIELD_FD_WIDE,  /* u64: a perf event, -1: none */
	YGR_FIELD_TARGET, /* descriptor (0: none), or an interface index, as the attach type at `count` says
			   */
	YGR_FIELD_RELATIVE, /* descriptor (0: none) unless the flags at `count` say that it is an id */
	YGR_FIELD_ANCHOR,   /* descriptor only if the flags at `count` ask for a place, else a BTF id */
	YGR_FIELD_POINTER,
};

enum ygr_length {
	YGR_LENGTH_CONST,    /* `item` bytes */
	YGR_LENGTH_COUNT,    /* u32 at `count`, times `item` */
	YGR_LENGTH_RECORDS,  /* u32 at `count`, times the u32 at `item` */
	YGR_LENGTH_STRING,   /* NUL-terminated, at most `item` bytes with the NUL; longer ones travel cut */
	YGR_LENGTH_STRINGS,  /* u32 at `count` pointers to strings of at most `item` bytes */
	YGR_LENGTH_KEY,      /* of the map */
	YGR_LENGTH_VALUE,    /* of the map */
	YGR_LENGTH_KEYS,     /* u32 at `count`, times the key */
	YGR_LENGTH_VALUES,   /* u32 at `count`, times the value */
	YGR_LENGTH_CURSOR,   /* what batch calls remember their place in */
	YGR_LENGTH_FD_ARRAY, /* up to the highest index that the instructions use, or u32 at `count` */
	YGR_LENGTH_QUERY,    /* struct perf_event_query_bpf with u32 at 0 of what is pointed to */
};

enum ygr_content {
	YGR_CONTENT_BYTES,
	YGR_CONTENT_INSNS,
	YGR_CONTENT_FDS,    /* u32 descriptors, 0: none */
	YGR_CONTENT_KEY,    /* storage maps: begins with a descriptor */
	YGR_CONTENT_VALUE,  /* some map types: descriptors in each value */
	YGR_CONTENT_INFO,   /* rows of its own, by the kind of the object */
	YGR_CONTENT_ITER,   /* union bpf_iter_link_info */
	YGR_CONTENT_FILTER, /* in and out for a bloom filter, else out only */
};

/* How much of an out segment comes back. Untouched bytes never do: see YGR_PATTERN. */
enum ygr_back {
	YGR_BACK_NONE,
	YGR_BACK_ALL,     /* all of it after success, else what was touched */
	YGR_BACK_STRING,  /* up to its NUL */
	YGR_BACK_INPLACE, /* all of it, but written only where it differs: what went in may be constant */
	YGR_BACK_COUNT,   /* as many items as the u32 at `count` says afterwards */
	YGR_BACK_IDS,     /* the same, if any: older kernels do not know these pointers */
	YGR_BACK_INFO,    /* as many bytes as the u32 at `count` says, when the kernel filled it in */
	YGR_BACK_TOUCHED,
};

enum { YGR_IN = 1, YGR_OUT = 2, YGR_INOUT = 3 };

struct ygr_field {
	uint16_t offset;
	uint16_t count;
	uint16_t item;
	uint8_t kind;    /* enum ygr_field_kind */
	uint8_t way;     /* YGR_IN, YGR_OUT */
	uint8_t length;  /* enum ygr_length */
	uint8_t content; /* enum ygr_content */
	uint8_t back;    /* enum ygr_back */
};

/* Out memory is filled with this before the kernel sees it, so that what it did not write can be told. */
#define YGR_PATTERN 0xa5

/* Instructions, as far as descriptors hide in them. */
struct ygr_insn {
	uint8_t code;
	uint8_t registers; /* source in the upper four bits */
	int16_t off;
	int32_t imm;
};

struct ygr_scope {
	uint8_t *bytes;
	uint32_t size;
	int32_t parent;  /* segment that these bytes are, -1: the attribute */
	uint16_t origin; /* offset in the attribute of the pointer to these bytes */
};

struct ygr_walk;

/* The differences between measuring, encoding and decoding. */
struct ygr_walk_ops {
	/* Translates the descriptor or handle AT (unaligned) of enum ygr_field_kind KIND. */
	int (*fd)(struct ygr_walk *walk, uint8_t *at, enum ygr_field_kind kind);
	int (*pointer)(struct ygr_walk *walk, const struct ygr_scope *scope, const struct ygr_field *field);
	int malformed; /* what to say of arguments that cannot be: -EINVAL or -EPROTO */
};

struct ygr_walk {
	const struct ygr_call_host *host;
	const struct ygr_walk_ops *ops;
	struct ygr_call_plan *plan; /* NULL: measuring */
	struct ygr_object object;   /* of the last YGR_FIELD_FD_SHAPE */
	bool known;                 /* OBJECT is valid */
	uint32_t fd_array;          /* highest index that the instructions use, plus 1 */
	uint64_t reply;             /* bytes that the reply may have */
	struct ygr_arena *arena;    /* encoder: the payload; decoder: memory for segments */
	size_t start;               /* encoder: where the payload begins */
	const uint8_t *payload;     /* decoder */
	size_t len;
	size_t position;
	uint64_t measured;
};

static inline uint32_t ygr_get32(const uint8_t *at)
{
	uint32_t v;
	__builtin_memcpy(&v, at, sizeof(v));
	return v;
}

static inline uint64_t ygr_get64(const uint8_t *at)
{
	uint64_t v;
	__builtin_memcpy(&v, at, sizeof(v));
	return v;
}

static inline void ygr_put32(uint8_t *at, uint32_t v)
{
	__builtin_memcpy(at, &v, sizeof(v));
}

static inline void ygr_put64(uint8_t *at, uint64_t v)
{
	__builtin_memcpy(at, &v, sizeof(v));
}

static inline uint64_t ygr_align8(uint64_t n)
{
	return (n + 7) & ~UINT64_C(7);
}

/* The u32 at OFFSET, 0 where the scope ends before it: the kernel reads shorter attributes so. */
static inline uint32_t ygr_scope_get32(const struct ygr_scope *scope, unsigned offset)
{
	return offset + 4u <= scope->size ? ygr_get32(scope->bytes + offset) : 0;
}

/* call-table.c: the rows for a call with this attribute, NULL when there are none for it. */
const struct ygr_field *ygr_call_fields(const struct ygr_call *call, const uint8_t *attr);
/* The rows of the info of such an object, NULL when the kernel has none. */
const struct ygr_field *ygr_info_fields(const struct ygr_object *object);
/* enum ygr_object_kind of the descriptor that this call returns, YGR_OBJECT_NONE when it returns none. */
uint32_t ygr_call_makes(const struct ygr_call *call);
/* A filled-in INFO whose one pointer field is a number instead (a perf event link without a name)? */
bool ygr_info_pointer_is_number(const struct ygr_field *fields, const uint8_t *info, uint32_t size);
/* The END row's offset. */
uint32_t ygr_fields_end(const struct ygr_field *fields);

/* call-walk.c: walks FIELDS over SCOPE. */
int ygr_walk_fields(struct ygr_walk *walk, const struct ygr_scope *scope, const struct ygr_field *fields);

/*
 * Bytes behind a pointer of fixed length into *RET_LENGTH and bytes of one item into *RET_ITEM; for strings
 * an upper bound. -ENOENT: the object that decides it is not there, the kernel will refuse before it looks.
 */
int ygr_walk_length(const struct ygr_walk *walk, const struct ygr_scope *scope,
		    const struct ygr_field *field, uint64_t *ret_length, uint32_t *ret_item);

/* Which way this pointer's bytes go: bloom filters read what others only write. */
unsigned ygr_walk_way(const struct ygr_walk *walk, const struct ygr_field *field);

/* Translates every descriptor inside CONTENT, LENGTH bytes of ITEM each, with the walk's ops. */
int ygr_walk_content(struct ygr_walk *walk, const struct ygr_field *field, uint8_t *bytes, uint64_t length,
		     uint32_t item);

/* Are BYTES[FROM, TO) zero? */
bool ygr_all_zero(const uint8_t *bytes, size_t from, size_t to);

/* Refuses what must not be forwarded whatever its fields say (-EOPNOTSUPP) and what has no rows (-EINVAL).
 */
int ygr_call_check(const struct ygr_call *call, const uint8_t *attr);
