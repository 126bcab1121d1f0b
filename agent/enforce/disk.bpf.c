/*
 * Read-only disks: whoever writes to an image of a VM whose disk is blocked gets EROFS, by whatever way: write and
 * its relatives, io_uring, splice and fallocate (all of which ask file_permission), truncate (inode_setattr), shared
 * writable mappings, and the ioctls that discard blocks. For everybody else it is one lookup that misses. Opening is
 * left alone, so that QEMU can start with a blocked disk; a mapping made before the block stays writable (QEMU makes
 * none).
 */
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "agent/enforce/maps.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct super_block {
	__u32 s_dev;
};
struct inode {
	unsigned short i_mode;
	__u32 i_rdev;
	unsigned long i_ino;
	struct super_block *i_sb;
};
struct file {
	struct inode *f_inode;
};
struct dentry {
	struct inode *d_inode;
};
struct iattr {
	unsigned int ia_valid;
};
struct vm_area_struct {
	unsigned long vm_flags;
	struct file *vm_file;
};
#pragma clang attribute pop

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, YGR_ENFORCE_VMS);
	__type(key, __u32);
	__type(value, struct ygr_enforce_vm);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} vms SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, YGR_ENFORCE_VMS);
	__type(key, __u32);
	__type(value, struct ygr_enforce_count);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, YGR_ENFORCE_IMAGES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ygr_enforce_image);
	__type(value, struct ygr_enforce_owner);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} images SEC(".maps");

#define EROFS               30
#define MAY_WRITE           2
#define MAY_APPEND          8
#define S_IFMT              0170000
#define S_IFREG             0100000
#define S_IFBLK             0060000
#define ATTR_SIZE           8
#define PROT_WRITE          2
#define MAP_TYPE            15
#define MAP_SHARED          1
#define MAP_SHARED_VALIDATE 3
#define VM_SHARED           8
#define BLKDISCARD          0x1277
#define BLKSECDISCARD       0x127d
#define BLKZEROOUT          0x127f
#define SG_IO               0x2285

static __always_inline int judge(struct inode *inode)
{
	struct ygr_enforce_image image = {0};
	struct ygr_enforce_owner *owner;
	struct ygr_enforce_count *count;
	struct ygr_enforce_vm *vm;
	__u32 kind = inode->i_mode & S_IFMT;

	if (kind == S_IFREG) {
		image.inode = inode->i_ino;
		image.device = inode->i_sb->s_dev;
	} else if (kind == S_IFBLK) {
		image.device = inode->i_rdev;
	} else {
		return 0;
	}
	owner = bpf_map_lookup_elem(&images, &image);
	if (!owner)
		return 0;
	vm = bpf_map_lookup_elem(&vms, &owner->slot);
	if (!vm || !(vm->disks >> (owner->disk & 63) & 1))
		return 0;
	count = bpf_map_lookup_elem(&counts, &owner->slot);
	if (count)
		__sync_fetch_and_add(&count->writes, 1);
	return -EROFS;
}

SEC("lsm/file_permission")
int BPF_PROG(on_write, struct file *file, int mask)
{
	return mask & (MAY_WRITE | MAY_APPEND) ? judge(file->f_inode) : 0;
}

SEC("lsm/mmap_file")
int BPF_PROG(on_map, struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags)
{
	unsigned long type = flags & MAP_TYPE;

	if (!file || !(prot & PROT_WRITE) || (type != MAP_SHARED && type != MAP_SHARED_VALIDATE))
		return 0;
	return judge(file->f_inode);
}

SEC("lsm/file_mprotect")
int BPF_PROG(on_protect, struct vm_area_struct *area, unsigned long reqprot, unsigned long prot)
{
	struct file *file = area->vm_file;

	if (!file || !(prot & PROT_WRITE) || !(area->vm_flags & VM_SHARED))
		return 0;
	return judge(file->f_inode);
}

SEC("lsm/file_ioctl")
int BPF_PROG(on_ioctl, struct file *file, unsigned int command)
{
	if (command != BLKDISCARD && command != BLKSECDISCARD && command != BLKZEROOUT && command != SG_IO)
		return 0;
	return judge(file->f_inode);
}

/* Newer kernels have an argument more in front; which of the two is loaded, the agent finds in the kernel's BTF. */
SEC("lsm/inode_setattr")
int BPF_PROG(on_truncate, struct dentry *dentry, struct iattr *attr)
{
	return attr->ia_valid & ATTR_SIZE ? judge(dentry->d_inode) : 0;
}

SEC("lsm/inode_setattr")
int BPF_PROG(on_truncate_idmap, void *idmap, struct dentry *dentry, struct iattr *attr)
{
	return attr->ia_valid & ATTR_SIZE ? judge(dentry->d_inode) : 0;
}

char license_of_programs[] SEC("license") = "GPL";
