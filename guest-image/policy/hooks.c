/* Which frames there are, which hooks this kernel has, and whether it lets programs stand there. See loader.h. */
#include <bpf/btf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "guest-image/policy/loader.h"
#include "lib/base/cleanup.h"
#include "lib/policy/operation.h"

const struct ygr_hook_frame ygr_hook_frames[YGR_FRAMES] = {
    {"exec", "bprm_check_security", YGR_OP_EXEC, false},
    {"exec_loader", "mmap_file", YGR_OP_EXEC, false},
    {"open", "file_open", YGR_OP_OPEN, false},
    {"held_use", "file_permission", YGR_OP_OPEN, false},
    {"held_map", "mmap_file", YGR_OP_OPEN, false},
    {"create", "path_mknod", YGR_OP_CREATE, false},
    {"create_dir", "path_mkdir", YGR_OP_CREATE, false},
    {"create_symlink", "path_symlink", YGR_OP_CREATE, false},
    {"create_link", "path_link", YGR_OP_CREATE, false},
    {"create_rename", "path_rename", YGR_OP_CREATE, false},
    {"unlink", "path_unlink", YGR_OP_UNLINK, false},
    {"unlink_dir", "path_rmdir", YGR_OP_UNLINK, false},
    {"unlink_rename", "path_rename", YGR_OP_UNLINK, false},
    {"rename", "path_rename", YGR_OP_RENAME, false},
    {"link", "path_link", YGR_OP_LINK, false},
    {"truncate", "path_truncate", YGR_OP_TRUNCATE, false},
    {"truncate_file", "file_truncate", YGR_OP_TRUNCATE, true}, /* from 6.2 on */
    {"chmod", "path_chmod", YGR_OP_CHMOD, false},
    {"chown", "path_chown", YGR_OP_CHOWN, false},
    {"mmap_exec", "mmap_file", YGR_OP_MMAP_EXEC, false},
    {"mprotect_exec", "file_mprotect", YGR_OP_MMAP_EXEC, false},
    {"mount", "sb_mount", YGR_OP_MOUNT, false},
    {"mount_move", "move_mount", YGR_OP_MOUNT, false},
    {"connect", "socket_connect", YGR_OP_CONNECT, false},
    {"connect_unix", "unix_stream_connect", YGR_OP_CONNECT, false},
    {"connect_fast", "socket_sendmsg", YGR_OP_CONNECT, false},
    {"bind", "socket_bind", YGR_OP_BIND, false},
    {"bind_unix", "path_mknod", YGR_OP_BIND, false},
    {"listen", "socket_listen", YGR_OP_LISTEN, false},
    {"send", "socket_sendmsg", YGR_OP_SENDMSG, false},
    {"send_unix", "unix_may_send", YGR_OP_SENDMSG, false},
    {"ptrace", "ptrace_access_check", YGR_OP_PTRACE, false},
    {"ptrace_me", "ptrace_traceme", YGR_OP_PTRACE, false},
    {"signal", "task_kill", YGR_OP_SIGNAL, false},
    {"module_file", "kernel_read_file", YGR_OP_LOAD_MODULE, false},
    {"module_data", "kernel_load_data", YGR_OP_LOAD_MODULE, false},
    {"bpf", "bpf", YGR_OP_BPF, false},
    {"capability", "capable", YGR_OP_CAPABILITY, false},
    {"setuid", "task_fix_setuid", YGR_OP_SETUID, false},
    {"userns", "userns_create", YGR_OP_USERNS, false},
    {"kernel_read", "locked_down", YGR_OP_KERNEL_READ, false},
};

static void say(struct ygr_enforceable *ret, const char *reason, const char *remedy)
{
	snprintf(ret->reason, sizeof(ret->reason), "%s", reason);
	snprintf(ret->remedy, sizeof(ret->remedy), "%s", remedy);
}

void ygr_enforceable_find_out(struct ygr_enforceable *ret)
{
	char text[512] = ",";
	_cleanup_close_ int fd = open("/sys/kernel/security/lsm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text + 1, sizeof(text) - 3);

	*ret = (struct ygr_enforceable){0};
	if (access("/sys/kernel/btf/vmlinux", F_OK) < 0) {
		say(ret, "NoBTF", "run a kernel with CONFIG_DEBUG_INFO_BTF, as Debian's and Ubuntu's are");
		return;
	}
	if (n < 0) {
		say(ret, "NoSecurityFS",
		    "mount securityfs at /sys/kernel/security, so that the list of LSMs can be read");
		return;
	}
	text[1 + n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	strcat(text, ",");
	if (strstr(text, ",bpf,"))
		return;
	snprintf(ret->reason, sizeof(ret->reason), "LSMWithoutBPF");
	text[strlen(text) - 1] = '\0';
	snprintf(ret->remedy, sizeof(ret->remedy),
		 "add bpf to the list of LSMs on the kernel's command line (lsm=%.160s,bpf) and boot again",
		 text + 1);
}

void ygr_loader_find_hooks(uint32_t ret_ids[YGR_FRAMES])
{
	struct btf *btf = btf__load_vmlinux_btf();
	for (size_t i = 0; i < YGR_FRAMES; i++) {
		char name[64];
		snprintf(name, sizeof(name), "bpf_lsm_%s", ygr_hook_frames[i].hook);
		int id = btf ? btf__find_by_name_kind(btf, name, BTF_KIND_FUNC) : -1;
		ret_ids[i] = id > 0 ? (uint32_t)id : 0;
	}
	btf__free(btf);
}
