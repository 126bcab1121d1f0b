/*
 * What the frames in the kernel and yagura-guest share. A frame is a precompiled program at an LSM hook: it turns
 * what the hook is given into an event (lib/policy/event.h) in the task's own storage and tail-calls the
 * decision of the present generation. README.md in this folder has the picture.
 *
 * Plain C, included by eBPF code and by yagura-guest.
 */
#pragma once

#include "lib/policy/event.h"

#define YGR_FRAME_SLOTS      4  /* generations of decisions that may lie side by side */
#define YGR_FRAME_OPERATIONS 23 /* YGR_OPERATIONS of lib/policy/operation.h */
#define YGR_FRAME_DEPTH      48 /* directories above a file that are looked at; deeper is INCOMPLETE */
#define YGR_FRAME_MOUNTS     16 /* the same once a mount was crossed */
#define YGR_FRAME_ANCESTORS  24 /* tasks above a task that are looked at when marks are given anew */
#define YGR_FRAME_LINEAGES   64 /* marks of descendants, of all policies together */
#define YGR_FRAME_ALIASES    16384
#define YGR_FRAME_HELD       65536 /* files that are open when a generation comes */
#define YGR_FRAME_RING_BYTES (1u << 20)

/* What frames need to find out for an operation, beside what costs nothing. */
#define YGR_NEED_DIRECTORIES     1u
#define YGR_NEED_EXE_DIRECTORIES 2u
#define YGR_NEED_CGROUP          4u

/* ygr_frame_task.flags */
#define YGR_TASK_EXEMPT   1u /* yagura-guest itself */
#define YGR_TASK_LAUNCHER 2u /* its program is a loader of programs, started by hand */

/* ygr_frame_context.flags */
#define YGR_CONTEXT_QUIET 1u /* asked again about what was allowed before: only a refusal is worth a word */

/* An event and who answered; the record of the ring buffer. */
struct ygr_frame_context {
	struct ygr_policy_event event;
	__u64 policy[2]; /* uid */
	__u64 generation;
	__s32 answer;
	__u32 operation;
	__u32 flags;
	__u32 thread;
	char exe_name[YGR_POLICY_NAME_MAX];
	char comm[16];
};

/* The storage of a task. */
struct ygr_frame_task {
	__u64 lineage; /* marks, inherited and added to at exec */
	__u32 flags;
	__u32 reserved;
	struct ygr_frame_context context;
};

/* Written by yagura-guest, but for `lost`. */
struct ygr_frame_control {
	/*
	 * The present generation: its slot in the low byte, and from bit 32 on one bit for each operation that
	 * has a decision. One aligned store changes all hooks at once.
	 */
	__u64 word;
	__u64 lost;    /* verdicts without room in the ring */
	__s64 wall_ns; /* realtime - monotonic */
	__u32 marking; /* slot whose programs are marked at exec as well, while it is being prepared */
	__u32 marking_on;
	__u64 marking_keep; /* marks that stay when tasks are marked anew */
	__u32 needs[YGR_FRAME_SLOTS][YGR_FRAME_OPERATIONS + 1];
	/* What is guarded against the guest's own root; zero: nothing yet. */
	struct ygr_policy_identity keeper_directory; /* where the program lies that is exempt */
	char keeper_name[16];
	__u64 lineage_sets[YGR_FRAME_LINEAGES]; /* what each mark stands for; 0: free */
	__u64 content;                          /* sum of the bundles in force */
	struct ygr_policy_identity pins;        /* the directory of pinned objects */
	__u32 pins_above[4];                    /* devices of the mounts that the pins hang on */
	__u32 mounts;                           /* number of the mount namespace that they are in */
	__u32 reserved;
};

/* What the resolver prints for each descriptor of yagura-guest. */
struct ygr_frame_resolved {
	__u32 fd;
	__u32 mode; /* of the inode */
	struct ygr_policy_identity identity;
};
