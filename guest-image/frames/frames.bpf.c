/*
 * The frames; see README.md. Each is at one hook and asks about one operation. Where a hook is asked about two,
 * there are two frames at it. A frame whose operation no policy mentions returns after one load; any other fills
 * in the event and leaves to the decision. What comes back here has found no decision in its slot: no.
 */
#include "guest-image/frames/files.h"
#include "guest-image/frames/peers.h"
#include "guest-image/frames/upkeep.h"

char LICENSE[] SEC("license") = "GPL";

/* Tasks. */

inline_always void set_target(struct work *work, struct task_struct *task)
{
	struct file *program = program_of(task);
	if (program)
		gather_file(work->context, program->f_inode, program->f_path.dentry, &program->f_path,
			    work->slot, work->needs);
}

/* PTRACE_MODE_READ is what ps and many others do all day. */
DECISIONS(ptrace);
SEC("lsm/ptrace_access_check")
int BPF_PROG(f_ptrace, struct task_struct *child, unsigned int mode, int ret)
{
	if (!(mode & 2))
		return ret;
	BEGIN(OP_PTRACE);
	set_target(&work, child);
	DECIDE(ptrace);
}

DECISIONS(ptrace_me);
SEC("lsm/ptrace_traceme")
int BPF_PROG(f_ptrace_me, struct task_struct *parent, int ret)
{
	BEGIN_AS(OP_PTRACE, parent);
	set_target(&work, bpf_get_current_task_btf());
	DECIDE(ptrace_me);
}

DECISIONS(signal);
SEC("lsm/task_kill")
int BPF_PROG(f_signal, struct task_struct *target, void *info, int signal, const struct cred *cred, int ret)
{
	if (signal == 0)
		return ret; /* is it there? */
	BEGIN(OP_SIGNAL);
	set_target(&work, target);
	DECIDE(signal);
}

/* The kernel. */

#define PLAIN_FRAME(name, hook, operation, when, then, ...)                                                 \
	DECISIONS(name);                                                                                    \
	SEC("lsm/" hook) int BPF_PROG(f_##name, __VA_ARGS__, int ret)                                       \
	{                                                                                                   \
		if (!(when))                                                                                \
			return ret;                                                                         \
		BEGIN(operation);                                                                           \
		then;                                                                                       \
		DECIDE(name);                                                                               \
	}

enum kernel_read_file_id { READING_MODULE = 2 };
enum kernel_load_data_id { LOADING_MODULE = 2 };
enum lockdown_reason { LOCKDOWN_INTEGRITY_MAX = 17, LOCKDOWN_CONFIDENTIALITY_MAX = 27 };

PLAIN_FRAME(module_file, "kernel_read_file", OP_LOAD_MODULE,
	    id == bpf_core_enum_value(enum kernel_read_file_id, READING_MODULE),
	    gather_file(work.context, file->f_inode, file->f_path.dentry, &file->f_path, work.slot, 0),
	    struct file *file, int id, bool contents)
PLAIN_FRAME(module_data, "kernel_load_data", OP_LOAD_MODULE,
	    id == bpf_core_enum_value(enum kernel_load_data_id, LOADING_MODULE), (void)0, int id,
	    bool contents)
PLAIN_FRAME(bpf, "bpf", OP_BPF, true, (void)0, int command, void *attr, unsigned int size)
PLAIN_FRAME(capability, "capable", OP_CAPABILITY, true, work.event->capability = capability,
	    const struct cred *cred, void *ns, int capability, unsigned int options)
PLAIN_FRAME(setuid, "task_fix_setuid", OP_SETUID, new->euid.val != old->euid.val,
	    work.event->target_user = new->euid.val, struct cred *new, const struct cred *old, int flags)
PLAIN_FRAME(userns, "userns_create", OP_USERNS, true, (void)0, const struct cred *cred)
/* What lockdown calls confidentiality: reading kernel memory and the like. */
PLAIN_FRAME(kernel_read, "locked_down", OP_KERNEL_READ,
	    what > bpf_core_enum_value(enum lockdown_reason, LOCKDOWN_INTEGRITY_MAX), (void)0, int what)
