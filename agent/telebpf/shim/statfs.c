/*
 * The guest's files are in a FUSE file system here. Programs that ask for the kind (cilium/ebpf before it uses tracefs
 * or pins anything, libbpf before it pins) mean the guest's, which the path tells.
 */
#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/statfs.h>

#include "agent/telebpf/shim/shim.h"

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

static const struct {
	const char *path;
	int64_t kind;
} kinds[] = {
    /* The longer of two that begin alike comes first. */
    {"/sys/kernel/debug/tracing", TRACEFS_MAGIC},
    {"/sys/kernel/debug", DEBUGFS_MAGIC},
    {"/sys/kernel/security", SECURITYFS_MAGIC},
    {"/sys/kernel/tracing", TRACEFS_MAGIC},
    {"/sys/fs/bpf", BPF_FS_MAGIC},
    {"/sys/fs/cgroup", CGROUP2_SUPER_MAGIC},
    {"/sys", SYSFS_MAGIC},
    {"/proc", PROC_SUPER_MAGIC},
};

#define PATH_BYTES 64 /* more than the longest of them */

/* Of the LENGTH bytes of a path at TEXT: 0 when it is none of them. */
static int64_t kind_of(const char *text, size_t length)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		size_t own = strlen(kinds[i].path);

		if (length >= own && memcmp(text, kinds[i].path, own) == 0 &&
		    (length == own || text[own] == '/' || text[own] == '\0'))
			return kinds[i].kind;
	}
	return 0;
}

int64_t ygr_hook_statfs(const struct ygr_regs *regs)
{
	char text[PATH_BYTES], link[40];
	int64_t r = ygr_native(regs), length, kind;
	struct statfs result;

	if (r < 0 || ygr_user_read(NULL, regs->rsi, &result, sizeof(result)) < 0 ||
	    result.f_type != FUSE_SUPER_MAGIC)
		return r;
	if (regs->rax == SYS_fstatfs) {
		ygr_text_fd(link, "/proc/self/fd/", (int)regs->rdi);
		length = ygr_sys3(SYS_readlink, link, text, sizeof(text));
	} else {
		length = (int64_t)ygr_user_read_some(regs->rdi, text, sizeof(text));
	}
	kind = length > 0 ? kind_of(text, (size_t)length) : 0;
	if (kind == 0)
		return r;
	result.f_type = kind;
	return ygr_user_write(NULL, regs->rsi, &result, sizeof(result)) < 0 ? -EFAULT : r;
}
