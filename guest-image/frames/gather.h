/* How frames find out what an event is about; each of these fills in a part of it. */
#pragma once

#include "guest-image/frames/frames.h"
#include "guest-image/frames/kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define EPERM       1
#define ENOMEM      12
#define FMODE_READ  1u
#define FMODE_WRITE 2u
#define FMODE_EXEC  0x20u /* of f_flags: opened by exec */
#define O_TRUNC     01000u
#define O_APPEND    02000u
#define AF_UNSPEC   0
#define AF_UNIX     1
#define AF_INET     2
#define AF_INET6    10
#define S_IFMT      0170000
#define S_IFSOCK    0140000
#define S_IFREG     0100000
#define PROT_WRITE  2ul
#define PROT_EXEC   4ul
#define MAP_SHARED  1ul
#define MAY_WRITE   2
#define MAY_READ    4

#define inline_always static __always_inline

struct ygr_frame_control control;

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct ygr_frame_task);
} tasks SEC(".maps");

/* Filled by decisions, not by frames. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, YGR_FRAME_RING_BYTES);
} verdicts SEC(".maps");

/* Ids of maps that nobody but yagura-guest opens. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, __u32);
} shielded SEC(".maps");

/* Loaders of programs (ld.so); what they map as code is an exec. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct ygr_policy_identity);
	__type(value, __u32);
} launchers SEC(".maps");

/*
 * Maps of a generation, one for each slot. Sizes and no types: a 6.1 kernel takes a map with types and one without for
 * different ones.
 */
#define OUTER(name, key_type, value_type, entries)                                                          \
	struct name##_inner {                                                                               \
		__uint(type, BPF_MAP_TYPE_HASH);                                                            \
		__uint(max_entries, entries);                                                               \
		__uint(key_size, sizeof(key_type));                                                         \
		__uint(value_size, sizeof(value_type));                                                     \
	};                                                                                                  \
	struct {                                                                                            \
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);                                                   \
		__uint(max_entries, YGR_FRAME_SLOTS);                                                       \
		__type(key, __u32);                                                                         \
		__array(values, struct name##_inner);                                                       \
	} name SEC(".maps")

/* Directories that some `under` names: for objects, for programs. */
OUTER(directories, struct ygr_policy_identity, __u32, 1);
OUTER(exe_directories, struct ygr_policy_identity, __u32, 1);
OUTER(cgroups, __u64, __u32, 1);
/* Programs, and directories of programs, whose descendants are marked. */
OUTER(lineage_exes, struct ygr_policy_identity, __u64, 1);
OUTER(lineage_directories, struct ygr_policy_identity, __u64, 1);
/* Names that policies mention, and the identity under which their members are known; and other inodes that have
 * come to such a name since. */
OUTER(watched, struct ygr_policy_entry_name, struct ygr_policy_identity, 1);
OUTER(aliases, struct ygr_policy_identity, struct ygr_policy_identity, 1);
/* Files that were open already when the generation came: nobody has asked whether they may be. */
OUTER(held, struct ygr_policy_identity, __u32, 1);

inline_always bool nothing(const struct ygr_policy_identity *identity)
{
	return identity->inode == 0 && identity->device == 0;
}

inline_always bool same(const struct ygr_policy_identity *a, const struct ygr_policy_identity *b)
{
	return a->inode == b->inode && a->device == b->device && a->generation == b->generation;
}

inline_always void identify(const struct inode *inode, struct ygr_policy_identity *ret)
{
	struct super_block *sb = inode->i_sb;
	ret->device = sb ? sb->s_dev : 0;
	ret->generation = inode->i_generation;
	ret->inode = inode->i_ino;
}

/* The verifier of newer kernels takes d_inode for never NULL and drops a plain comparison; a number it does not know. */
inline_always bool exists(struct dentry *dentry)
{
	void *inode = NULL;
	bpf_probe_read_kernel(&inode, sizeof(inode), &dentry->d_inode);
	return inode != NULL;
}

/* The entry that DENTRY is, as a key: zeros behind the name. False: the name is too long. */
inline_always bool name_entry(struct dentry *dentry, struct ygr_policy_entry_name *ret)
{
	struct dentry *parent = dentry->d_parent;
	__builtin_memset(ret, 0, sizeof(*ret));
	if (!parent || parent == dentry)
		return true; /* the root of a file system is in no directory */
	struct inode *directory = parent->d_inode;
	if (directory)
		identify(directory, &ret->directory);
	bpf_probe_read_kernel_str(ret->name, sizeof(ret->name), dentry->d_name.name);
	return dentry->d_name.len < YGR_POLICY_NAME_MAX;
}

/* The identity under which members of sets are known. */
inline_always void translate(__u32 slot, struct ygr_policy_identity *identity)
{
	void *inner = bpf_map_lookup_elem(&aliases, &slot);
	struct ygr_policy_identity *known = inner ? bpf_map_lookup_elem(inner, identity) : NULL;
	if (known)
		*identity = *known;
}

/*
 * INODE bears the name ENTRY. When policies mention that name, the inode is from now on known as what they
 * meant. False: there is no room to remember it.
 */
inline_always bool remember(__u32 slot, const struct ygr_policy_entry_name *entry,
			    struct ygr_policy_identity *identity)
{
	void *inner = bpf_map_lookup_elem(&watched, &slot);
	struct ygr_policy_identity *known = inner ? bpf_map_lookup_elem(inner, entry) : NULL;
	if (!known || same(known, identity))
		return true;
	inner = bpf_map_lookup_elem(&aliases, &slot);
	if (!inner || bpf_map_update_elem(inner, identity, known, BPF_ANY) < 0)
		return false;
	*identity = *known;
	return true;
}

/*
 * The nearest directory of SET's at or above DENTRY: first to the root of its file system, whatever of it is
 * mounted where, then on through the mount points of PATH (may be
 * NULL). False: too far.
 */
inline_always bool find_above(void *set, struct dentry *dentry, const struct path *path,
			      struct ygr_policy_identity *ret)
{
	struct ygr_policy_identity at;
	struct dentry *parent;
	int i;

	__builtin_memset(ret, 0, sizeof(*ret));
	for (i = 0; i < YGR_FRAME_DEPTH; i++) {
		struct inode *inode;
		if (!dentry)
			return true;
		inode = dentry->d_inode;
		if (!inode)
			return true;
		identify(inode, &at);
		if (bpf_map_lookup_elem(set, &at)) {
			*ret = at;
			return true;
		}
		parent = dentry->d_parent;
		if (parent == dentry)
			break;
		dentry = parent;
	}
	if (i == YGR_FRAME_DEPTH)
		return false;
	if (!path)
		return true;

	void *mnt = NULL; /* as a number, for the verifier: what is read from here on is read with care */
	bpf_probe_read_kernel(&mnt, sizeof(mnt), &path->mnt);
	struct mount *mount = mnt - bpf_core_field_offset(struct mount, mnt);
	struct mount *above = BPF_CORE_READ(mount, mnt_parent);
	struct dentry *point = BPF_CORE_READ(mount, mnt_mountpoint);
	for (i = 0; i < YGR_FRAME_MOUNTS; i++) {
		if (above == mount)
			return true; /* the root of all */
		struct inode *inode = BPF_CORE_READ(point, d_inode);
		at.device = BPF_CORE_READ(inode, i_sb, s_dev);
		at.generation = BPF_CORE_READ(inode, i_generation);
		at.inode = BPF_CORE_READ(inode, i_ino);
		if (bpf_map_lookup_elem(set, &at)) {
			*ret = at;
			return true;
		}
		struct dentry *up = BPF_CORE_READ(point, d_parent);
		if (up == point) {
			mount = above;
			above = BPF_CORE_READ(mount, mnt_parent);
			point = BPF_CORE_READ(mount, mnt_mountpoint);
		} else {
			point = up;
		}
	}
	return false;
}

/* A subject, a file, a peer: what the parts of an event are about. */
inline_always struct ygr_frame_task *storage_of_current(void)
{
	return bpf_task_storage_get(&tasks, bpf_get_current_task_btf(), NULL,
				    BPF_LOCAL_STORAGE_GET_F_CREATE);
}

inline_always struct file *program_of(struct task_struct *task)
{
	struct mm_struct *mm = task->mm;
	return mm ? mm->exe_file : NULL;
}

inline_always void nearest_cgroup(__u32 slot, struct ygr_policy_event *event)
{
	void *inner = bpf_map_lookup_elem(&cgroups, &slot);
	event->cgroup = 0;
	if (!inner)
		return;
	for (int level = 31; level >= 0; level--) {
		__u64 id = bpf_get_current_ancestor_cgroup_id(level);
		if (id != 0 && bpf_map_lookup_elem(inner, &id)) {
			event->cgroup = id;
			return;
		}
	}
}

/* Who: TASK, by its program and not by the name it gives itself. */
inline_always void gather_task(struct ygr_frame_context *context, struct task_struct *task, __u32 slot,
			       __u32 needs)
{
	struct ygr_policy_event *event = &context->event;
	struct file *program = program_of(task);
	const struct cred *cred = task->cred;

	if (program) {
		struct inode *inode = program->f_inode;
		struct dentry *dentry = program->f_path.dentry;
		if (inode)
			identify(inode, &event->exe);
		translate(slot, &event->exe);
		if (dentry) {
			bpf_probe_read_kernel_str(context->exe_name, sizeof(context->exe_name),
						  dentry->d_name.name);
			void *inner = needs & YGR_NEED_EXE_DIRECTORIES
					  ? bpf_map_lookup_elem(&exe_directories, &slot)
					  : NULL;
			if (inner &&
			    !find_above(inner, dentry->d_parent, &program->f_path, &event->exe_directory))
				event->flags |= YGR_POLICY_INCOMPLETE;
		}
	}
	if (cred) {
		event->user = cred->euid.val;
		event->group = cred->egid.val;
	}
	event->process = task->tgid;
	context->thread = task->pid;
	event->time_ns = bpf_ktime_get_ns();
	event->minute = (event->time_ns + control.wall_ns) / 60000000000ull % 1440;
	event->own_cgroup = bpf_get_current_cgroup_id();
	if (needs & YGR_NEED_CGROUP)
		nearest_cgroup(slot, event);
	bpf_get_current_comm(context->comm, sizeof(context->comm));
}

/* The object is INODE (may be NULL: it does not exist), reached by DENTRY; PATH (may be NULL) says where its file
 * system is mounted. */
inline_always void gather_file(struct ygr_frame_context *context, struct inode *inode, struct dentry *dentry,
			       const struct path *path, __u32 slot, __u32 needs)
{
	struct ygr_policy_event *event = &context->event;

	if (inode) {
		identify(inode, &event->file);
		event->owner = inode->i_uid.val;
		event->mode = inode->i_mode & 07777;
	}
	if (!dentry) {
		translate(slot, &event->file);
		return;
	}
	if (!name_entry(dentry, &event->entry))
		event->flags |= YGR_POLICY_INCOMPLETE;
	event->name_length = dentry->d_name.len & (YGR_POLICY_NAME_MAX - 1);
	if (inode) {
		struct ygr_policy_identity found = event->file;
		translate(slot, &event->file);
		if (same(&found, &event->file) && !remember(slot, &event->entry, &event->file))
			event->flags |= YGR_POLICY_INCOMPLETE;
	}
	void *inner = needs & YGR_NEED_DIRECTORIES ? bpf_map_lookup_elem(&directories, &slot) : NULL;
	if (inner && !find_above(inner, dentry->d_parent, path, &event->file_directory))
		event->flags |= YGR_POLICY_INCOMPLETE;
}
