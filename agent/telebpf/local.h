/*
 * What shim and session say to each other on a UNIX stream socket, in frames of lib/wire/frame.h. CALL, REPLY
 * and HANDLE_CLOSE are as on the guest channel and are forwarded after the check. The application is not
 * trusted by the session: every field is checked, a broken frame ends the application.
 *
 * The launcher leaves the socket at descriptor YGR_LOCAL_FD, with YAGURA_SHIM=1 in the environment. Each
 * process of the application has a socket of its own (LOCAL_FORK before fork). Descriptors come as SCM_RIGHTS
 * with the header bytes of the reply.
 */
#pragma once

#include <stdint.h>

#include "lib/wire/message.h"

#define YGR_LOCAL_FD 1000 /* just below the application's RLIMIT_NOFILE hard limit of its own range */

/*
 * A static executable, which no loader brings the shim to: the launcher executes the shim, with the program at
 * this descriptor and its number in this variable.
 */
#define YGR_LOCAL_LOAD_FD       1001
#define YGR_LOCAL_LOAD_FD_TEXT  "1001"
#define YGR_LOCAL_LOAD_VARIABLE "YAGURA_SHIM_EXECUTE"

/* Where the application has the guest's files (agent/telebpf/guestfs), all of them; some are elsewhere too. */
#define YGR_LOCAL_GUEST "/.guest"

enum ygr_local_message {
	/* shim > session: struct ygr_local_hello; answered by struct ygr_local_welcome */
	YGR_LOCAL_HELLO = YGR_MSG_LOCAL_FIRST,
	YGR_LOCAL_WELCOME,
	/* shim > session: struct ygr_local_map: the application mmaps HANDLE; answered by LOCAL_MAPPED */
	YGR_LOCAL_MAP,
	YGR_LOCAL_MAPPED,
	/* shim > session, posted: struct ygr_local_unmap */
	YGR_LOCAL_UNMAP,
	/*
	 * shim > session with an eventfd as SCM_RIGHTS: struct ygr_local_ready. The session makes the eventfd
	 * readable when the ring behind HANDLE has data that the application has not consumed. Answered by
	 * LOCAL_DONE.
	 */
	YGR_LOCAL_READY_FD,
	/* shim > session: struct ygr_local_sync; answered by LOCAL_DONE when mmapable arrays are in step */
	YGR_LOCAL_SYNC,
	/* shim > session, posted: the application is about to wait; its consumer positions are final for now */
	YGR_LOCAL_IDLE,
	/* shim > session: empty; answered by LOCAL_DONE with one end of a new socket as SCM_RIGHTS */
	YGR_LOCAL_FORK,
	YGR_LOCAL_DONE, /* struct ygr_status */
	/*
	 * shim > session: struct ygr_local_route; answered by LOCAL_DONE with a socket as SCM_RIGHTS that takes
	 * NETLINK_ROUTE messages that ask, a datagram each, and gives what the guest's kernel answers.
	 */
	YGR_LOCAL_ROUTE,
};

struct ygr_local_hello {
	uint32_t pid;       /* as the application sees itself */
	uint16_t mechanism; /* enum ygr_local_mechanism */
	uint16_t entrance;  /* enum ygr_local_entrance */
};

enum ygr_local_mechanism {
	YGR_LOCAL_REWRITE = 1,
	YGR_LOCAL_DISPATCH = 2,    /* address 0 cannot be mapped */
	YGR_LOCAL_DISPATCH_GO = 3, /* a Go program: its stacks are too small for rewritten sites */
};

/* How the shim came into the process: by the dynamic loader, or it has loaded the program itself. */
enum ygr_local_entrance { YGR_LOCAL_PRELOADED = 0, YGR_LOCAL_LOADED = 1 };

struct ygr_local_welcome {
	uint32_t possible_cpus;
	uint32_t trace;   /* 1: the shim reports nothing more, the session prints forwarded calls */
	uint32_t version; /* of the guest's kernel as LINUX_VERSION_CODE, 0: unknown */
	struct {
		char sysname[65], nodename[65], release[65], version[65], machine[65], domainname[65];
	} uname; /* the guest's, as struct utsname */
	uint8_t padding[2];
};

struct ygr_local_map {
	uint32_t handle;
	uint32_t prot;
	uint64_t offset; /* as in mmap(2), bytes */
	uint64_t length;
	uint64_t address; /* where the shim will put it; for Shared the session maps there itself */
};

/*
 * How to map: PIECES of the memory file that came along (SCM_RIGHTS), each mmap'ed MAP_SHARED|MAP_FIXED at
 * address + at. PIECES = 0 and status 0: the session has mapped everything itself (Shared), no descriptor comes.
 */
struct ygr_local_mapped {
	int32_t status; /* 0 or negative errno for the application */
	uint32_t pieces;
	struct {
		uint64_t at;     /* offset from the mapping's start */
		uint64_t offset; /* in the memory file */
		uint64_t length;
		uint32_t prot;
		uint32_t reserved;
	} piece[4];
	uint32_t sync; /* 1: an array that wants LOCAL_SYNC around waits and calls */
	uint32_t ring; /* 1: a ring: consumer position at byte 0 of this mapping's consumer page */
};

struct ygr_local_unmap {
	uint32_t handle;
	uint32_t reserved;
	uint64_t offset;
	uint64_t length;
};

struct ygr_local_route {
	uint32_t port; /* nlmsg_pid of the answers */
};

struct ygr_local_ready {
	uint32_t handle;
	uint32_t reserved;
};

/* Before a call or wait: take what the application wrote to the guest. After a wait: bring what changed there. */
struct ygr_local_sync {
	uint32_t push; /* 1: application to guest */
	uint32_t pull; /* 1: guest to application */
};
