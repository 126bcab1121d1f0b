/* What every frame does before it gathers, and after. */
#pragma once

#include "guest-image/frames/gather.h"

/* The decisions of a frame, by slot. */
#define DECISIONS(name)                                                                                     \
	struct {                                                                                            \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY);                                                      \
		__uint(max_entries, YGR_FRAME_SLOTS);                                                       \
		__type(key, __u32);                                                                         \
		__type(value, __u32);                                                                       \
	} d_##name SEC(".maps")

#define OP_EXEC        0
#define OP_OPEN        1
#define OP_CREATE      2
#define OP_UNLINK      3
#define OP_RENAME      4
#define OP_LINK        5
#define OP_TRUNCATE    6
#define OP_CHMOD       7
#define OP_CHOWN       8
#define OP_MMAP_EXEC   9
#define OP_MOUNT       10
#define OP_CONNECT     11
#define OP_BIND        12
#define OP_LISTEN      13
#define OP_SENDMSG     14
#define OP_PTRACE      15
#define OP_SIGNAL      16
#define OP_LOAD_MODULE 17
#define OP_BPF         18
#define OP_CAPABILITY  19
#define OP_SETUID      20
#define OP_USERNS      21
#define OP_KERNEL_READ 22

/* What a frame works with once it has found that it is needed. */
struct work {
	struct ygr_frame_context *context;
	struct ygr_policy_event *event;
	__u32 slot, needs, task_flags;
};

/* 1: work to do; 0: allowed; negative: refused. SUBJECT is the task that does it. */
inline_always int begin(__u32 operation, struct task_struct *subject, struct work *work)
{
	__u64 word = *(volatile __u64 *)&control.word;
	if (!(word >> (32 + operation) & 1))
		return 0;
	struct ygr_frame_task *task = storage_of_current();
	if (!task)
		return -EPERM;
	if (task->flags & YGR_TASK_EXEMPT)
		return 0;
	work->slot = word & (YGR_FRAME_SLOTS - 1);
	work->needs = control.needs[work->slot][operation];
	work->task_flags = task->flags;
	work->context = &task->context;
	work->event = &task->context.event;
	__builtin_memset(work->context, 0, sizeof(*work->context));
	work->context->operation = operation;
	gather_task(work->context, subject, work->slot, work->needs);
	return 1;
}

#define BEGIN_AS(operation, subject)                                                                        \
	struct work work;                                                                                   \
	if (ret != 0)                                                                                       \
		return ret;                                                                                 \
	int begun = begin(operation, subject, &work);                                                       \
	if (begun <= 0)                                                                                     \
	return begun

#define BEGIN(operation) BEGIN_AS(operation, bpf_get_current_task_btf())

#define DECIDE(name)                                                                                        \
	bpf_tail_call(ctx, &d_##name, work.slot);                                                           \
	return -EPERM
