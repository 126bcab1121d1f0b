/*
 * The messages, and the fixed payloads of those that are not JSON. All integers little-endian; structs are
 * laid out without padding, so that they can be copied from a bounded payload. "n>g" is node to guest.
 *
 * One connection has one purpose. After the handshake (handshake.h):
 *   control   PING/PONG, RELEASE, GRANT_OWNER
 *   session   OPEN first; then CALL, HANDLE_CLOSE, RING_*, MEM_*, FILE_*
 *   policy    POLICY_LOAD, POLICY_ASK, VIOLATION. One at a time: a new one ends the one before.
 *
 * REFUSED ends a connection, with one exception: after OPENED, a REFUSED with id 0 is a notice. It precedes the
 * answer (-EACCES, or -ENOMEM for limits.memory) to a call or file that grant or owner do not allow, carries the
 * sentence for people, and the session goes on. What does end an open session is REFUSED with id 0xffffffff.
 */
#pragma once

#include <stdint.h>

#define YGR_PORT_DEFAULT 997 /* AF_VSOCK; below 1024: applications cannot bind it */

enum ygr_purpose { YGR_PURPOSE_CONTROL = 1, YGR_PURPOSE_SESSION = 2, YGR_PURPOSE_POLICY = 3 };

#define YGR_REFUSED_NOTICE 0u          /* id of a REFUSED after OPENED: the session goes on */
#define YGR_REFUSED_FINAL  0xffffffffu /* id of a REFUSED after OPENED: the sender closes */

/* One message a line. */
/* clang-format off */
enum ygr_message_type {
	/* handshake */
	YGR_MSG_HELLO = 1,     /* n>g struct ygr_hello */
	YGR_MSG_CHALLENGE = 2, /* g>n struct ygr_challenge */
	YGR_MSG_AUTH = 3,      /* n>g struct ygr_auth */
	YGR_MSG_WELCOME = 4,   /* g>n JSON: the guest, see docs/protocol.md */
	YGR_MSG_REFUSED = 5,   /* either: struct ygr_refused and UTF-8 text; ends the connection, see above */

	/* control connection; PING and PONG also in an open session */
	YGR_MSG_PING = 16,    /* n>g empty */
	YGR_MSG_PONG = 17,    /* g>n struct ygr_pong */
	YGR_MSG_RELEASE = 18, /* n>g struct ygr_release: these sessions' shared pages are unmapped on the node */
	YGR_MSG_RELEASED = 19, /* g>n empty */

	/* session connection: node to guest unless said otherwise */
	YGR_MSG_OPEN = 32,         /* struct ygr_open, certificate, signature, grant JSON */
	YGR_MSG_OPENED = 33,       /* g>n empty */
	YGR_MSG_CALL = 34,         /* call.h; also shim > session */
	YGR_MSG_REPLY = 35,        /* call.h; g>n and session > shim */
	YGR_MSG_HANDLE_CLOSE = 36, /* struct ygr_handle_close; id 0, posted without waiting; also shim > session */

	YGR_MSG_RING_OPEN = 48,    /* struct ygr_ring_open */
	YGR_MSG_RING_OPENED = 49,  /* g>n struct ygr_ring_opened, then its page runs */
	YGR_MSG_RING_ARM = 50,     /* struct ygr_ring_position, posted: consumed up to here, tell me when there is more */
	YGR_MSG_RING_READY = 51,   /* g>n struct ygr_ring_position, id 0: producer is here; sent once for each ARM */
	YGR_MSG_RING_CONSUMED = 52,/* struct ygr_ring_position, posted: consumed up to here, no notice wanted */
	YGR_MSG_RING_RECORDS = 53, /* g>n struct ygr_ring_records and bytes, id 0: only in Stream */
	YGR_MSG_RING_CLOSE = 54,   /* struct ygr_handle_close, posted: unmapped on the node, guest may unpin */

	YGR_MSG_MEM_OPEN = 56,  /* struct ygr_mem: map bytes [offset, offset+length) of an mmapable array */
	YGR_MSG_MEM_OPENED = 57,/* g>n struct ygr_ring_opened, page runs (empty in Stream) */
	YGR_MSG_MEM_READ = 58,  /* struct ygr_mem; answered by MEM_DATA */
	YGR_MSG_MEM_WRITE = 59, /* struct ygr_mem and bytes; answered by MEM_DATA without bytes */
	YGR_MSG_MEM_DATA = 60,  /* g>n struct ygr_status and bytes */

	YGR_MSG_FILE_STAT = 64,  /* NUL-terminated path; answered by FILE_ATTR */
	YGR_MSG_FILE_ATTR = 65,  /* g>n struct ygr_file_attr */
	YGR_MSG_FILE_LIST = 66,  /* path; answered by FILE_NAMES */
	YGR_MSG_FILE_NAMES = 67, /* g>n struct ygr_status, then entries: u8 type (DT_*), NUL-terminated name */
	YGR_MSG_FILE_LINK = 68,  /* path of a symbolic link; answered by FILE_DATA with its target */
	YGR_MSG_FILE_OPEN = 69,  /* struct ygr_file_open and path; answered by FILE_DATA, status.value = handle */
	YGR_MSG_FILE_READ = 70,  /* struct ygr_file_io: from an opened file or an iterator; answered by FILE_DATA */
	YGR_MSG_FILE_WRITE = 71, /* struct ygr_file_io and bytes; answered by FILE_DATA, value = bytes written */
	YGR_MSG_FILE_DATA = 72,  /* g>n struct ygr_status and bytes */
	YGR_MSG_ROUTE_DUMP = 73, /* one NETLINK_ROUTE message that asks; answered by FILE_DATA with what the kernel said */

	/* policy connection; docs/protocol.md has the JSON of POLICY_STATUS */
	YGR_MSG_POLICY_LOAD = 80,   /* n>g struct ygr_policy_load, bundle; answered by POLICY_STATUS */
	YGR_MSG_POLICY_ASK = 81,    /* n>g empty; answered by POLICY_STATUS */
	YGR_MSG_POLICY_STATUS = 82, /* g>n struct ygr_status, JSON: all policies as they are now */
	YGR_MSG_VIOLATION = 83,     /* g>n struct ygr_violation, id 0, as they come; again after a reconnect until acknowledged */
	YGR_MSG_VIOLATION_ACK = 84, /* n>g struct ygr_violation_ack, posted: up to here they are safe on the node */

	/* shim and session only (agent/telebpf/local.h) */
	YGR_MSG_LOCAL_FIRST = 128,
};
/* clang-format on */

struct ygr_hello {
	uint32_t purpose; /* enum ygr_purpose */
	uint32_t reserved;
	uint8_t vm[16]; /* UUID of the VM that the node means, in the order of its text */
	uint8_t node_nonce[32];
};

struct ygr_challenge {
	uint8_t guest_nonce[32];
	uint8_t boot_id[16];
};

/* A root's word that a key may do something; signed over all bytes before `signature`. */
struct ygr_cert {
	uint8_t magic[8]; /* "YGRCERT1" */
	uint8_t public_key[32];
	uint32_t usages; /* YGR_USAGE_* */
	uint32_t reserved;
	int64_t not_before; /* seconds since the epoch, inclusive */
	int64_t not_after;
	char name[64]; /* NUL-terminated, printable ASCII */
	uint8_t signature[64];
};

#define YGR_USAGE_NODE      1u /* may authenticate as a node */
#define YGR_USAGE_CATALOGUE 2u /* may sign grants */
#define YGR_USAGE_POLICY    4u /* may sign policy bundles */

struct ygr_auth {
	struct ygr_cert cert;
	uint8_t signature[64]; /* over ygr_auth_text(), handshake.h */
};

struct ygr_refused {
	uint32_t code; /* positive errno: EACCES, EKEYREJECTED, EKEYEXPIRED, EPROTO, EMFILE ... */
	uint32_t reserved;
};

struct ygr_pong {
	uint64_t monotonic_ns;
	uint64_t boottime_ns;
	uint64_t realtime_ns;
};

/* Sessions to forget: one id, or all of this node's when session_id is all zero. */
struct ygr_release {
	uint8_t session_id[16];
};

struct ygr_open {
	uint8_t session_id[16];
	uint32_t grant_length; /* of the JSON that follows cert and signature */
	uint32_t reserved;
	struct ygr_cert cert;  /* of the key that signed the grant: usage CATALOGUE */
	uint8_t signature[64]; /* over "yagura-grant-v1\0", then the JSON */
};

/* A bundle (lib/policy/bundle.h); to take a policy away, a bundle that says so. */
struct ygr_policy_load {
	uint32_t length; /* of the bundle that follows */
	uint32_t reserved;
	struct ygr_cert cert;  /* of the key that signed the bundle: usage POLICY */
	uint8_t signature[64]; /* over "yagura-bundle-1\0", then the bundle */
};

/*
 * One verdict of one policy that is not plain permission. What comes from the guest's programs (texts, ids) is
 * the guest's word. Texts end with NUL.
 */
struct ygr_violation {
	uint64_t position;     /* grows; the node forgets what it has seen before within one boot */
	uint64_t monotonic_ns; /* the guest's clock when it was decided */
	uint64_t generation;   /* of the policy */
	uint8_t policy[16];    /* its uid */
	uint64_t lost;         /* verdicts since boot that there was no room for */
	uint32_t rule;         /* number from 1; 0xffffffff: what could not be judged was denied */
	uint32_t action;       /* enum ygr_policy_action as it was done: an audited rule says AUDIT */
	int32_t answer;        /* 0 or -errno: what the operation got from this policy */
	uint32_t operation;    /* YGR_OP_* */
	uint32_t process, thread;
	uint32_t user, group;
	uint64_t cgroup;
	uint64_t file_inode, exe_inode; /* 0: none */
	uint32_t file_device, exe_device;
	uint32_t family; /* YGR_POLICY_IPV4 ...; 0: no peer */
	uint32_t port, protocol, access;
	uint8_t address[16];
	uint32_t capability, target_user;
	char rule_name[64]; /* from the bundle; "" for rule 0xffffffff */
	char file[64];      /* last component of the file's name */
	char exe[64];       /* last component of the program's name */
	char comm[16];      /* as the thread calls itself */
};

struct ygr_violation_ack {
	uint64_t position; /* of the last violation that needs not be sent again */
};

struct ygr_handle_close {
	uint32_t handle;
	uint32_t reserved;
};

/*
 * Stream: RECORDS begin at the consumer position without ARM; the guest gives the space in its ring back as it
 * sends, and CONSUMED (or ARM) only returns window. ARM and CONSUMED behind the last position or beyond the
 * producer end the session; for a handle that has no ring (any more) they are ignored. A ring outlives its
 * handle, as a mapping outlives its descriptor, until RING_CLOSE; the same holds for MEM_OPEN.
 */
enum ygr_ring_kind { YGR_RING_BPF = 1, YGR_RING_PERF = 2 };

struct ygr_ring_open {
	uint32_t handle;     /* a ring buffer map, or a perf event */
	uint32_t kind;       /* enum ygr_ring_kind */
	uint64_t data_bytes; /* size of the data area: a power of two, whole pages */
	uint32_t stream;     /* 1: the guest drains and sends RING_RECORDS; 0: page runs are wanted */
	uint32_t window;     /* Stream: bytes that may be under way before CONSUMED gives them back */
};

/* Followed by run_count struct ygr_run. For rings the runs cover control/producer page, then data. */
struct ygr_ring_opened {
	int32_t status; /* 0 or negative errno */
	uint32_t run_count;
	uint64_t producer; /* positions at this moment */
	uint64_t consumer;
};

/* COUNT guest physical pages from PFN on. All that a guest says here is checked against its RAM layout. */
struct ygr_run {
	uint64_t pfn;
	uint32_t count;
	uint32_t reserved;
};

struct ygr_ring_position {
	uint32_t handle;
	uint32_t reserved;
	uint64_t position; /* free-running byte position, as in the ring itself */
};

struct ygr_ring_records {
	uint32_t handle;
	uint32_t length;   /* bytes that follow: whole records with their headers, busy ones never */
	uint64_t position; /* of the first byte */
};

struct ygr_mem {
	uint32_t handle;
	uint32_t length;
	uint64_t offset;
};

struct ygr_status {
	int64_t value; /* result, or negative errno */
};

struct ygr_file_attr {
	int32_t status; /* 0 or negative errno */
	uint32_t mode;
	uint64_t size;
	uint64_t fs_magic; /* f_type of the file system it is on */
	uint32_t uid;
	uint32_t gid;
};

struct ygr_file_open {
	uint32_t flags; /* O_RDONLY, O_WRONLY or O_RDWR, with O_APPEND, O_TRUNC; or O_DIRECTORY alone */
	uint32_t reserved;
};

struct ygr_file_io {
	uint32_t handle;
	uint32_t length; /* <= YGR_FILE_IO_MAX */
	uint64_t offset; /* or YGR_FILE_SEQUENTIAL, YGR_FILE_FDINFO */
};

#define YGR_FILE_IO_MAX     (1u << 20)
#define YGR_FILE_SEQUENTIAL UINT64_MAX /* read/write instead of pread/pwrite; iterators and perf counters */
#define YGR_FILE_FDINFO     (UINT64_MAX - 1) /* READ only: what the guest's fdinfo says of any handle */
