/*
 * What is always on while policies are: marks of descendants, names that get other inodes, and the shield around
 * the frames themselves. Included by frames.bpf.c, since all of it shares the maps.
 */
#pragma once

#include "guest-image/frames/gather.h"

inline_always __u64 marks_in(__u32 slot, struct file *program)
{
	struct ygr_policy_identity identity = {}, directory;
	struct inode *inode = program->f_inode;
	struct dentry *dentry = program->f_path.dentry;
	__u64 marks = 0, *found;
	void *inner;

	if (!inode || !dentry)
		return 0;
	identify(inode, &identity);
	translate(slot, &identity);
	inner = bpf_map_lookup_elem(&lineage_exes, &slot);
	found = inner ? bpf_map_lookup_elem(inner, &identity) : NULL;
	if (found)
		marks |= *found;
	inner = bpf_map_lookup_elem(&lineage_directories, &slot);
	if (inner) {
		find_above(inner, dentry->d_parent, &program->f_path, &directory);
		found = bpf_map_lookup_elem(inner, &directory);
		if (found)
			marks |= *found;
	}
	return marks;
}

inline_always __u32 flags_of(struct file *program)
{
	struct ygr_policy_identity identity = {}, above = {};
	struct inode *inode = program->f_inode;
	struct dentry *dentry = program->f_path.dentry;
	char name[16] = {};

	if (!inode || !dentry)
		return 0;
	identify(inode, &identity);
	if (bpf_map_lookup_elem(&launchers, &identity))
		return YGR_TASK_LAUNCHER;
	struct dentry *parent = dentry->d_parent;
	if (!parent || !parent->d_inode)
		return 0;
	identify(parent->d_inode, &above);
	bpf_probe_read_kernel_str(name, sizeof(name), dentry->d_name.name);
	if (!same(&above, &control.keeper_directory))
		return 0;
	for (int i = 0; i < (int)sizeof(name); i++)
		if (name[i] != control.keeper_name[i])
			return 0;
	return YGR_TASK_EXEMPT;
}

/* A new task is what its parent is; one that cannot be marked shall not be. */
SEC("lsm/task_alloc")
int BPF_PROG(u_fork, struct task_struct *child, unsigned long flags, int ret)
{
	if (ret != 0)
		return ret;
	struct ygr_frame_task *own = storage_of_current();
	struct ygr_frame_task *its =
	    bpf_task_storage_get(&tasks, child, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!own || !its)
		return -ENOMEM;
	its->lineage = own->lineage;
	its->flags = own->flags;
	return 0;
}

SEC("lsm/bprm_committed_creds")
void BPF_PROG(u_exec, struct linux_binprm *bprm)
{
	__u32 slot = *(volatile __u64 *)&control.word & (YGR_FRAME_SLOTS - 1);
	struct ygr_frame_task *own = storage_of_current();
	struct file *program = bprm->file;
	struct ygr_policy_entry_name entry;
	struct ygr_policy_identity identity;

	if (!own || !program || !program->f_inode || !program->f_path.dentry)
		return;
	identify(program->f_inode, &identity);
	if (name_entry(program->f_path.dentry, &entry))
		remember(slot, &entry, &identity);
	own->flags = flags_of(program);
	own->lineage |= marks_in(slot, program);
	if (*(volatile __u32 *)&control.marking_on)
		own->lineage |= marks_in(control.marking & (YGR_FRAME_SLOTS - 1), program);
}

/* OLD gets the name NEW; the file system has been asked whether it may. */
inline_always int renamed(struct dentry *old, struct inode *directory, struct dentry *new, int ret)
{
	__u32 slot = *(volatile __u64 *)&control.word & (YGR_FRAME_SLOTS - 1);
	struct ygr_policy_entry_name entry;
	struct ygr_policy_identity identity;
	struct inode *inode = old->d_inode;

	if (ret != 0 || !inode || *(volatile __u64 *)&control.word >> 32 == 0)
		return ret;
	identify(inode, &identity);
	__builtin_memset(&entry, 0, sizeof(entry));
	identify(directory, &entry.directory);
	bpf_probe_read_kernel_str(entry.name, sizeof(entry.name), new->d_name.name);
	if (new->d_name.len >= YGR_POLICY_NAME_MAX)
		return 0; /* no policy can mention it */
	return remember(slot, &entry, &identity) ? 0 : -EPERM;
}

SEC("lsm/inode_rename")
int BPF_PROG(u_rename, struct inode *from, struct dentry *old, struct inode *to, struct dentry *new, int ret)
{
	return renamed(old, to, new, ret);
}

SEC("lsm/inode_link")
int BPF_PROG(u_link, struct dentry *old, struct inode *to, struct dentry *new, int ret)
{
	return renamed(old, to, new, ret);
}

/* The shield: the guest's own root may stop yagura-guest, but not what it has set up. */

inline_always bool is_keeper(void)
{
	struct ygr_frame_task *own = storage_of_current();
	return own && own->flags & YGR_TASK_EXEMPT;
}

SEC("lsm/bpf_map")
int BPF_PROG(u_map, struct bpf_map *map, unsigned int mode, int ret)
{
	__u32 id = map->id;
	if (ret != 0 || id == 0 || !bpf_map_lookup_elem(&shielded, &id))
		return ret;
	return is_keeper() ? 0 : -EPERM;
}

inline_always int shield_pin(struct dentry *entry, int ret)
{
	struct ygr_policy_identity at = {};
	struct dentry *dentry = entry;

	if (ret != 0 || nothing(&control.pins))
		return ret;
	for (int i = 0; i < 3; i++) { /* the directory, what is in it, what is in that */
		if (dentry->d_inode) {
			identify(dentry->d_inode, &at);
			if (same(&at, &control.pins))
				return is_keeper() ? 0 : -EPERM;
		}
		dentry = dentry->d_parent;
		if (!dentry)
			return 0;
	}
	return 0;
}

SEC("lsm/path_unlink")
int BPF_PROG(u_pin_unlink, const struct path *directory, struct dentry *entry, int ret)
{
	return shield_pin(entry, ret);
}

SEC("lsm/path_rmdir")
int BPF_PROG(u_pin_rmdir, const struct path *directory, struct dentry *entry, int ret)
{
	return shield_pin(entry, ret);
}

SEC("lsm/path_rename")
int BPF_PROG(u_pin_rename, const struct path *from, struct dentry *old, const struct path *to,
	     struct dentry *new, unsigned int flags, int ret)
{
	int answer = shield_pin(old, ret);
	return answer != 0 ? answer : shield_pin(new, ret);
}

SEC("lsm/sb_umount")
int BPF_PROG(u_umount, struct vfsmount *mnt, int flags, int ret)
{
	if (ret != 0)
		return ret;
	__u32 device = mnt->mnt_sb->s_dev;
	void *at = NULL; /* as a number; see find_above() */
	bool ours = false;
	bpf_probe_read_kernel(&at, sizeof(at), ctx);
	for (int i = 0; i < 4; i++)
		ours |= control.pins_above[i] && control.pins_above[i] == device;
	if (!ours)
		return 0;
	struct mount *mount = at - bpf_core_field_offset(struct mount, mnt);
	if (BPF_CORE_READ(mount, mnt_ns, ns.inum) != control.mounts)
		return 0;
	return is_keeper() ? 0 : -EPERM;
}

/* Reading and marking, on behalf of yagura-guest. */

/* Says what descriptors lead to: those of one task, or of all. */
SEC("iter/task_file")
int i_resolve(struct bpf_iter__task_file *ctx)
{
	struct ygr_frame_resolved row = {};
	struct file *file = ctx->file;
	if (!file || !file->f_inode)
		return 0;
	row.fd = ctx->fd;
	row.mode = file->f_inode->i_mode;
	identify(file->f_inode, &row.identity);
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}

/* Marks tasks that are there already, by the programs of their ancestors. */
SEC("iter/task")
int i_mark(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task, *at;
	__u32 slot = control.marking & (YGR_FRAME_SLOTS - 1);
	__u64 marks = 0;
	__u32 flags = 0;

	if (!task)
		return 0;
	struct ygr_frame_task *own =
	    bpf_task_storage_get(&tasks, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!own)
		return 0;
	at = task;
	for (int i = 0; i < YGR_FRAME_ANCESTORS; i++) {
		struct file *program = program_of(at);
		if (program) {
			struct ygr_policy_identity identity = {};
			struct inode *inode = program->f_inode;
			if (inode) {
				identify(inode, &identity);
				translate(slot, &identity);
				void *inner = bpf_map_lookup_elem(&lineage_exes, &slot);
				__u64 *found = inner ? bpf_map_lookup_elem(inner, &identity) : NULL;
				if (found)
					marks |= *found;
			}
		}
		struct task_struct *parent = at->real_parent;
		if (!parent || parent == at)
			break;
		at = parent;
	}
	struct file *program = program_of(task);
	if (program) {
		flags = flags_of(program);
		marks |= marks_in(slot, program);
	}
	own->flags = flags;
	own->lineage = (own->lineage & control.marking_keep) | marks;
	return 0;
}
