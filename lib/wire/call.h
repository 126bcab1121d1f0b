/*
 * The marshaller: a bpf(), perf_event_open() or perf ioctl with everything its pointers reach, as bytes, and
 * back. One table (call-table.c) says for each command and object which fields are pointers in or out, how
 * long what they point to is, and which fields are descriptors; encoder and decoder walk the same table in
 * the same order, so a payload has no field names and a decoder accepts exactly one shape for given
 * arguments. Command set: include/uapi/linux/bpf.h of Linux 6.12.
 *
 * The encoder runs inside the application (freestanding, no libc, no allocation of its own), the decoder in
 * the guest and, for checking, in the session. Descriptors travel as handles: numbers in a table that the
 * guest keeps for each session. Handle 0 is "no descriptor given"; YGR_HANDLE_BAD is a descriptor that is
 * not remote, which becomes -1 there, so that the guest's kernel says EBADF itself.
 *
 * CALL payload:  struct ygr_call, attr (attr_size bytes, padded to 8), then segments in the order in which
 * the walk meets them: {u32 in_length, u32 out_capacity}, in bytes padded to 8.
 * REPLY payload: struct ygr_reply, attr as the kernel left it (padded to 8), then for each segment with an
 * out capacity: {u32 length, u32 0}, bytes padded to 8.
 * A call that failed before it reached the kernel has a REPLY without any of these.
 *
 * Bounds: attr YGR_CALL_ATTR_MAX, segments YGR_CALL_SEGMENTS_MAX, payload YGR_FRAME_MAX. Beyond: -E2BIG.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define YGR_HANDLE_NONE 0u
#define YGR_HANDLE_BAD  0xffffffffu

#define YGR_CALL_ATTR_MAX     4096
#define YGR_CALL_SEGMENTS_MAX 64

/*
 * What stands in a pointer field of an attribute (or of a nested info) on the wire. A pointer whose bytes
 * could not be read travels as BAD and becomes an address that no process has, so that the guest's kernel
 * says EFAULT in its own order of checks.
 */
#define YGR_POINTER_NULL 0u
#define YGR_POINTER_DATA 1u /* a segment follows */
#define YGR_POINTER_BAD  2u
#define YGR_POINTER_MAP                                                                                     \
	3u /* iter_info only: a segment follows, and its first word is the handle of a map                  \
	    */

enum ygr_call_kind {
	YGR_CALL_BPF = 1,   /* cmd: bpf command; attr: union bpf_attr */
	YGR_CALL_PERF = 2,  /* perf_event_open; attr: struct ygr_perf_args, then struct perf_event_attr */
	YGR_CALL_IOCTL = 3, /* attr: struct ygr_ioctl_args */
};

enum ygr_object_kind {
	YGR_OBJECT_NONE,
	YGR_OBJECT_MAP,
	YGR_OBJECT_PROG,
	YGR_OBJECT_LINK,
	YGR_OBJECT_BTF,
	YGR_OBJECT_ITER,
	YGR_OBJECT_PERF,
	YGR_OBJECT_FILE,
	YGR_OBJECT_TOKEN,
};

/* What a handle is; the shape of a map decides how long its keys and values are. */
struct ygr_object {
	uint32_t kind;     /* enum ygr_object_kind */
	uint32_t map_type; /* of a link: enum bpf_link_type, which decides what its info points to */
	uint32_t key_size;
	uint32_t value_size; /* as created; per-CPU maps: see ygr_object_value_size() */
	uint32_t max_entries;
	uint32_t map_flags;
	uint32_t possible_cpus; /* of the guest */
	uint32_t reserved;
};

struct ygr_call {
	uint32_t kind; /* enum ygr_call_kind */
	uint32_t cmd;
	uint32_t attr_size;
	uint32_t segment_count;
};

struct ygr_reply {
	int64_t result;  /* as the system call: >= 0, or negative errno; a new descriptor counts as 0 */
	uint32_t handle; /* of a new descriptor, else YGR_HANDLE_NONE */
	uint32_t attr_size;
	struct ygr_object object; /* what the new handle is */
};

/* perf_event_open(attr, pid, cpu, group_fd, flags); followed by the perf_event_attr at its own size. */
struct ygr_perf_args {
	int32_t pid; /* with PERF_FLAG_PID_CGROUP: a handle */
	int32_t cpu;
	uint32_t group_handle;
	uint32_t probe; /* 1: config1 is a pointer to a name (kprobe, uprobe) */
	uint64_t flags;
};

/* ioctl(handle, request, argument): argument is a number, a handle (SET_BPF, SET_OUTPUT), or a segment. */
struct ygr_ioctl_args {
	uint32_t handle;
	uint32_t reserved;
	uint64_t request;
	uint64_t argument;
};

/*
 * What the marshaller asks its host. All callbacks get USER. In the application `read` and `write` go
 * through process_vm_readv/writev on itself, so that a bad pointer is EFAULT and not a crash; in tests they
 * are memcpy.
 */
struct ygr_call_host {
	/* Copies LEN bytes from the application's address ADDRESS: 0 or -EFAULT. */
	int (*read)(void *user, uint64_t address, void *to, size_t len);
	/* Copies LEN bytes to the application: 0 or -EFAULT. */
	int (*write)(void *user, uint64_t address, const void *from, size_t len);
	/* Descriptor to handle (encoder): YGR_HANDLE_BAD for what is not remote. */
	uint32_t (*handle_of)(void *user, int fd);
	/* Handle to descriptor (decoder): -1 for an unknown handle. */
	int (*fd_of)(void *user, uint32_t handle);
	/* What HANDLE is: false when unknown. Both ends must agree on map shapes; the guest's word decides.
	 */
	bool (*object_of)(void *user, uint32_t handle, struct ygr_object *ret_object);
	void *user;
};

/* Memory given to one operation: used from the front, never grown. -ENOBUFS when it is too small. */
struct ygr_arena {
	uint8_t *data;
	size_t size;
	size_t used;
};

struct ygr_field; /* a row of the tables: call-table.h */

/* One pointer of a call: where it points in the application, and where its bytes lie at this end. */
struct ygr_segment {
	uint64_t address;   /* encoder: application address */
	uint32_t in_length; /* bytes sent */
	uint32_t out_capacity;
	uint8_t *data;  /* decoder: max(in_length, out_capacity) bytes in the arena, 8-aligned, then a NUL */
	uint32_t field; /* where in attr its pointer stands: byte offset; PERF: from ygr_perf_args on */
	uint32_t element; /* 0: the pointer's own target; else 1 + offset of a pointer inside that target
			     (info) */
	/* For the reply: */
	const struct ygr_field *row;    /* how much of it comes back */
	const struct ygr_field *nested; /* of an info: the pointers inside it, else NULL */
	uint32_t item;                  /* bytes of one item, where the kernel counts items */
	int32_t parent;                 /* segment that holds the pointer, -1: the attribute */
	bool map_translated;            /* YGR_POINTER_MAP */
};

/* A call on its way: made by encode or decode, needed again for its reply. */
struct ygr_call_plan {
	struct ygr_call call;
	uint64_t attr_address; /* encoder */
	uint8_t attr[YGR_CALL_ATTR_MAX]
	    __attribute__((aligned(8))); /* decoder: with real pointers and descriptors */
	uint32_t segment_count;
	struct ygr_segment segments[YGR_CALL_SEGMENTS_MAX];
};

/*
 * The segment that the pointer at byte FIELD of the attribute leads to, or NULL when that pointer is NULL,
 * none or unreadable. ELEMENT 0 is its target itself; see struct ygr_segment for pointers inside an info.
 */
static inline const struct ygr_segment *ygr_call_plan_field(const struct ygr_call_plan *plan, uint32_t field,
							    uint32_t element)
{
	for (uint32_t i = 0; i < plan->segment_count; i++)
		if (plan->segments[i].field == field && plan->segments[i].element == element)
			return &plan->segments[i];
	return NULL;
}

/*
 * The next string of a decoded list of strings (LINK_CREATE's kprobe_multi.syms, thousands of names in one
 * segment, each NUL-terminated), or NULL after the last. Start with *POSITION = 0.
 */
static inline const char *ygr_segment_next_string(const struct ygr_segment *segment, uint32_t *position)
{
	const char *string = (const char *)segment->data + *position;
	if (*position >= segment->in_length)
		return NULL;
	while (*position < segment->in_length && segment->data[*position])
		++*position;
	++*position;
	return string;
}

/*
 * Encodes bpf(CMD, ATTR_ADDRESS, SIZE) into OUT as a CALL payload, behind what OUT already holds. Returns 0,
 * or the negative errno that the application shall see: what the kernel would say without side effects
 * (-EFAULT for the attribute itself, -E2BIG for a non-zero tail or more than a frame carries, -EINVAL), or
 * -EOPNOTSUPP for what cannot be forwarded (arena, values of STRUCT_OPS maps, perf events that send
 * signals). An unknown CMD is -EINVAL. -ENOBUFS: OUT is too small. After an error OUT is as before.
 */
int ygr_bpf_encode(const struct ygr_call_host *host, int cmd, uint64_t attr_address, uint32_t size,
		   struct ygr_arena *out, struct ygr_call_plan *plan);

/* The same for perf_event_open(). */
int ygr_perf_encode(const struct ygr_call_host *host, uint64_t attr_address, int pid, int cpu, int group_fd,
		    uint64_t flags, struct ygr_arena *out, struct ygr_call_plan *plan);

/* The same for ioctl() on a perf event whose descriptor is FD. Unknown requests: -ENOTTY. */
int ygr_ioctl_encode(const struct ygr_call_host *host, int fd, uint64_t request, uint64_t argument,
		     struct ygr_arena *out, struct ygr_call_plan *plan);

/* How much arena an encode may need: an upper bound computed from the same walk; errors as the encoder. */
int64_t ygr_bpf_encoded_size(const struct ygr_call_host *host, int cmd, uint64_t attr_address,
			     uint32_t size);

/*
 * Decodes a CALL payload. Every length is recomputed from the attribute and must equal what was sent. With a
 * host that has fd_of, pointers and descriptors are put into plan->attr, ready for the system call; without
 * (session), handles and YGR_POINTER_* stay and plan serves ygr_grant_check(). object_of is always needed.
 * 0, -EPROTO, -E2BIG, -ENOBUFS (ARENA is too small: see ygr_call_decoded_size()), or -EBADF: the call names
 * a map or object that this end does not know, closed a moment ago perhaps; it is well-formed enough to be
 * answered with that result, and the connection goes on. Descriptor 0 of a process that performs calls must
 * be no BPF object (/dev/null): "none" is written as 0.
 */
int ygr_call_decode(const struct ygr_call_host *host, const uint8_t *payload, size_t len,
		    struct ygr_arena *arena, struct ygr_call_plan *plan);

/* An arena that is large enough to decode this payload: computed from its own numbers, at most 3
 * YGR_FRAME_MAX. */
size_t ygr_call_decoded_size(const uint8_t *payload, size_t len);

/* Runs a decoded call in this process' kernel (guest): the system call's result or negative errno. */
int64_t ygr_call_perform(struct ygr_call_plan *plan);

/* Does this call, when it succeeds, return a new descriptor? */
bool ygr_call_returns_fd(const struct ygr_call *call);

/*
 * What the new descriptor FD of a performed call is: its kind, and the shape of a map or the type of a link
 * as this kernel tells it (guest). 0 or negative errno.
 */
int ygr_call_describe(const struct ygr_call *call, int fd, uint32_t possible_cpus,
		      struct ygr_object *ret_object);

/* Encodes the outcome of a decoded call into OUT as a REPLY payload; descriptors in out fields are ids, not
 * fds. */
int ygr_call_encode_reply(const struct ygr_call_plan *plan, int64_t result, uint32_t handle,
			  const struct ygr_object *object, struct ygr_arena *out);

/* Checks and unpacks a REPLY's head only. */
int ygr_reply_parse(const uint8_t *payload, size_t len, struct ygr_reply *ret_reply);

/*
 * Writes a REPLY's out fields and segments back into the application, only where PLAN (made by encode) said
 * that the kernel may write, never more than was asked for. Returns the result for the application: the
 * reply's result, -EFAULT, or -EPROTO for a reply that does not fit its call (nothing is written then). When
 * this is negative and the reply has a handle, nobody will use that handle: close it.
 */
int64_t ygr_call_apply_reply(const struct ygr_call_host *host, const struct ygr_call_plan *plan,
			     const uint8_t *payload, size_t len);

/* Bytes of one value as the system calls see it: per-CPU maps have roundup(value_size, 8) for each possible
 * CPU. */
uint64_t ygr_object_value_size(const struct ygr_object *object);

/* How a bpf command is treated; the docs' table and a test against the uapi header are made from this. */
enum ygr_treatment { YGR_FORWARDED, YGR_LOCAL, YGR_REFUSED };

struct ygr_command_info {
	int cmd;
	const char *name; /* "MAP_CREATE" */
	enum ygr_treatment treatment;
	const char *reason; /* for YGR_REFUSED */
	bool returns_fd;
};

/* The row for CMD, or NULL. ygr_command_count() rows in command order, without holes. */
const struct ygr_command_info *ygr_command_info(int cmd);
int ygr_command_count(void);
