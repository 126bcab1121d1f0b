/* Frames for operations on files: exec, open, create, unlink, rename, link, truncate, chmod, chown, mmap-exec, mount. */
#pragma once

#include "guest-image/frames/work.h"

DECISIONS(exec);
SEC("lsm/bprm_check_security")
int BPF_PROG(f_exec, struct linux_binprm *bprm, int ret)
{
	BEGIN(OP_EXEC);
	struct file *file = bprm->file;
	gather_file(work.context, file->f_inode, file->f_path.dentry, &file->f_path, work.slot, work.needs);
	DECIDE(exec);
}

/* A loader that was started by hand runs what it maps as code. */
DECISIONS(exec_loader);
SEC("lsm/mmap_file")
int BPF_PROG(f_exec_loader, struct file *file, unsigned long reqprot, unsigned long prot,
	     unsigned long flags, int ret)
{
	if (!file || !(prot & PROT_EXEC))
		return ret;
	BEGIN(OP_EXEC);
	if (!(work.task_flags & YGR_TASK_LAUNCHER))
		return 0;
	gather_file(work.context, file->f_inode, file->f_path.dentry, &file->f_path, work.slot, work.needs);
	DECIDE(exec_loader);
}

DECISIONS(open);
SEC("lsm/file_open")
int BPF_PROG(f_open, struct file *file, int ret)
{
	unsigned int flags = file->f_flags, mode = file->f_mode;
	if (flags & FMODE_EXEC)
		return ret; /* that is an exec */
	BEGIN(OP_OPEN);
	if (mode & FMODE_READ)
		work.event->access |= YGR_POLICY_READ;
	if ((mode & FMODE_WRITE) || (flags & O_TRUNC))
		work.event->access |= YGR_POLICY_WRITE;
	if (flags & O_APPEND)
		work.event->access |= YGR_POLICY_APPEND;
	gather_file(work.context, file->f_inode, file->f_path.dentry, &file->f_path, work.slot, work.needs);
	DECIDE(open);
}

/*
 * What was open before the policy came is asked about when it is used: then `open` is asked quietly, since it was
 * no open, and only for files that were open when the generation came, which are few.
 */
inline_always bool was_held(struct file *file)
{
	struct ygr_policy_identity identity;
	__u64 word = *(volatile __u64 *)&control.word;
	__u32 slot = word & (YGR_FRAME_SLOTS - 1);
	struct inode *inode = file->f_inode;
	if (!(word >> (32 + OP_OPEN) & 1) || !inode || (inode->i_mode & S_IFMT) != S_IFREG)
		return false;
	void *inner = bpf_map_lookup_elem(&held, &slot);
	identify(inode, &identity);
	return inner && bpf_map_lookup_elem(inner, &identity);
}

DECISIONS(held_use);
SEC("lsm/file_permission")
int BPF_PROG(f_held_use, struct file *file, int mask, int ret)
{
	if (!was_held(file))
		return ret;
	BEGIN(OP_OPEN);
	work.context->flags |= YGR_CONTEXT_QUIET;
	if (mask & MAY_READ)
		work.event->access |= YGR_POLICY_READ;
	if (mask & MAY_WRITE)
		work.event->access |= YGR_POLICY_WRITE;
	gather_file(work.context, file->f_inode, file->f_path.dentry, &file->f_path, work.slot, work.needs);
	DECIDE(held_use);
}

DECISIONS(held_map);
SEC("lsm/mmap_file")
int BPF_PROG(f_held_map, struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags,
	     int ret)
{
	if (!file || !was_held(file))
		return ret;
	BEGIN(OP_OPEN);
	work.context->flags |= YGR_CONTEXT_QUIET;
	work.event->access = YGR_POLICY_READ;
	if ((prot & PROT_WRITE) && (flags & MAP_SHARED))
		work.event->access |= YGR_POLICY_WRITE;
	gather_file(work.context, file->f_inode, file->f_path.dentry, &file->f_path, work.slot, work.needs);
	DECIDE(held_map);
}

#define ENTRY_FRAME(name, hook, operation, when, directory, entry, ...)                                     \
	DECISIONS(name);                                                                                    \
	SEC("lsm/" hook) int BPF_PROG(f_##name, __VA_ARGS__, int ret)                                       \
	{                                                                                                   \
		if (!(when))                                                                                \
			return ret;                                                                         \
		BEGIN(operation);                                                                           \
		gather_file(work.context, exists(entry) ? (entry)->d_inode : NULL, entry, directory,        \
			    work.slot, work.needs);                                                         \
		DECIDE(name);                                                                               \
	}

ENTRY_FRAME(create, "path_mknod", OP_CREATE, true, directory, entry, const struct path *directory,
	    struct dentry *entry, unsigned int mode, unsigned int device)
ENTRY_FRAME(create_dir, "path_mkdir", OP_CREATE, true, directory, entry, const struct path *directory,
	    struct dentry *entry, unsigned int mode)
ENTRY_FRAME(create_symlink, "path_symlink", OP_CREATE, true, directory, entry, const struct path *directory,
	    struct dentry *entry, const char *target)
/* A name that a link or a rename makes is created too, and a file that loses its name to one is removed. */
ENTRY_FRAME(create_link, "path_link", OP_CREATE, true, directory, entry, struct dentry *old,
	    const struct path *directory, struct dentry *entry)
ENTRY_FRAME(create_rename, "path_rename", OP_CREATE, !exists(entry), directory, entry,
	    const struct path *from, struct dentry *old, const struct path *directory, struct dentry *entry,
	    unsigned int flags)
ENTRY_FRAME(unlink_rename, "path_rename", OP_UNLINK, exists(entry), directory, entry,
	    const struct path *from, struct dentry *old, const struct path *directory, struct dentry *entry,
	    unsigned int flags)
ENTRY_FRAME(unlink, "path_unlink", OP_UNLINK, true, directory, entry, const struct path *directory,
	    struct dentry *entry)
ENTRY_FRAME(unlink_dir, "path_rmdir", OP_UNLINK, true, directory, entry, const struct path *directory,
	    struct dentry *entry)
ENTRY_FRAME(rename, "path_rename", OP_RENAME, true, from, old, const struct path *from, struct dentry *old,
	    const struct path *directory, struct dentry *entry, unsigned int flags)
ENTRY_FRAME(link, "path_link", OP_LINK, true, directory, old, struct dentry *old,
	    const struct path *directory, struct dentry *entry)

#define PATH_FRAME(name, hook, operation, path, ...)                                                        \
	DECISIONS(name);                                                                                    \
	SEC("lsm/" hook) int BPF_PROG(f_##name, __VA_ARGS__, int ret)                                       \
	{                                                                                                   \
		BEGIN(operation);                                                                           \
		struct dentry *dentry = (path)->dentry;                                                     \
		gather_file(work.context, dentry->d_inode, dentry, path, work.slot, work.needs);            \
		DECIDE(name);                                                                               \
	}

PATH_FRAME(truncate, "path_truncate", OP_TRUNCATE, path, const struct path *path)
PATH_FRAME(truncate_file, "file_truncate", OP_TRUNCATE, &file->f_path, struct file *file)
PATH_FRAME(chmod, "path_chmod", OP_CHMOD, path, const struct path *path, unsigned short mode)
PATH_FRAME(chown, "path_chown", OP_CHOWN, path, const struct path *path, unsigned long user,
	   unsigned long group)
PATH_FRAME(mount, "sb_mount", OP_MOUNT, path, const char *device, const struct path *path, const char *type,
	   unsigned long flags, void *data)
PATH_FRAME(mount_move, "move_mount", OP_MOUNT, to, const struct path *from, const struct path *to)

#define FILE_FRAME(name, hook, operation, of_file, when, ...)                                               \
	DECISIONS(name);                                                                                    \
	SEC("lsm/" hook) int BPF_PROG(f_##name, __VA_ARGS__, int ret)                                       \
	{                                                                                                   \
		struct file *object = of_file;                                                              \
		if (!object || !(when))                                                                     \
			return ret;                                                                         \
		BEGIN(operation);                                                                           \
		gather_file(work.context, object->f_inode, object->f_path.dentry, &object->f_path,          \
			    work.slot, work.needs);                                                         \
		DECIDE(name);                                                                               \
	}

FILE_FRAME(mmap_exec, "mmap_file", OP_MMAP_EXEC, file, prot &PROT_EXEC, struct file *file,
	   unsigned long reqprot, unsigned long prot, unsigned long flags)
FILE_FRAME(mprotect_exec, "file_mprotect", OP_MMAP_EXEC, vma->vm_file, prot &PROT_EXEC,
	   struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)
