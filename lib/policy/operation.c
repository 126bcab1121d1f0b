/* The tables of operation.h. */
#include "lib/policy/operation.h"

#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define FILE_OBJECT    "of", YGR_POLICY_OBJECT_FILE
#define PROGRAM_OBJECT "of", YGR_POLICY_OBJECT_PROGRAM
#define NO_OBJECT      NULL, YGR_POLICY_OBJECT_NONE

static const struct ygr_policy_operation operations[YGR_OPERATIONS] = {
    {YGR_OP_EXEC, "exec", FILE_OBJECT, "bprm_check_security", "executes"},
    {YGR_OP_OPEN, "open", FILE_OBJECT, "file_open", "opens"},
    {YGR_OP_CREATE, "create", FILE_OBJECT, "inode_create, inode_mkdir, inode_mknod, inode_symlink",
     "creates"},
    {YGR_OP_UNLINK, "unlink", FILE_OBJECT, "inode_unlink, inode_rmdir", "removes"},
    {YGR_OP_RENAME, "rename", FILE_OBJECT, "inode_rename", "renames"},
    {YGR_OP_LINK, "link", FILE_OBJECT, "inode_link", "makes another name for"},
    {YGR_OP_TRUNCATE, "truncate", FILE_OBJECT, "path_truncate, inode_setattr", "truncates"},
    {YGR_OP_CHMOD, "chmod", FILE_OBJECT, "inode_setattr", "changes the mode of"},
    {YGR_OP_CHOWN, "chown", FILE_OBJECT, "inode_setattr", "changes the owner of"},
    {YGR_OP_MMAP_EXEC, "mmap-exec", FILE_OBJECT, "mmap_file, file_mprotect", "maps as code"},
    {YGR_OP_MOUNT, "mount", FILE_OBJECT, "sb_mount, move_mount", "mounts on"},
    {YGR_OP_CONNECT, "connect", "to", YGR_POLICY_OBJECT_PEER, "socket_connect", "connects to"},
    {YGR_OP_BIND, "bind", "at", YGR_POLICY_OBJECT_PEER, "socket_bind", "binds a socket at"},
    {YGR_OP_LISTEN, "listen", "at", YGR_POLICY_OBJECT_PEER, "socket_listen", "listens at"},
    {YGR_OP_SENDMSG, "sendmsg", "to", YGR_POLICY_OBJECT_PEER,
     "socket_sendmsg, cgroup/sendmsg4, cgroup/sendmsg6", "sends to"},
    {YGR_OP_PTRACE, "ptrace", PROGRAM_OBJECT, "ptrace_access_check, ptrace_traceme", "traces"},
    {YGR_OP_SIGNAL, "signal", PROGRAM_OBJECT, "task_kill", "signals"},
    {YGR_OP_LOAD_MODULE, "load-module", NO_OBJECT, "kernel_read_file, kernel_load_data",
     "loads a kernel module"},
    {YGR_OP_BPF, "bpf", NO_OBJECT, "bpf", "calls bpf()"},
    {YGR_OP_CAPABILITY, "use-capability", "of", YGR_POLICY_OBJECT_CAPABILITY, "capable",
     "uses the capability"},
    {YGR_OP_SETUID, "setuid", "to", YGR_POLICY_OBJECT_USER, "task_fix_setuid", "becomes"},
    {YGR_OP_USERNS, "create-userns", NO_OBJECT, "userns_create", "makes a user namespace"},
    {YGR_OP_KERNEL_READ, "read-kernel", NO_OBJECT, "locked_down", "reads the kernel's memory or symbols"},
};

struct word {
	const char *name;
	int number;
};

static const char *const capabilities[] = {"CAP_CHOWN",
					   "CAP_DAC_OVERRIDE",
					   "CAP_DAC_READ_SEARCH",
					   "CAP_FOWNER",
					   "CAP_FSETID",
					   "CAP_KILL",
					   "CAP_SETGID",
					   "CAP_SETUID",
					   "CAP_SETPCAP",
					   "CAP_LINUX_IMMUTABLE",
					   "CAP_NET_BIND_SERVICE",
					   "CAP_NET_BROADCAST",
					   "CAP_NET_ADMIN",
					   "CAP_NET_RAW",
					   "CAP_IPC_LOCK",
					   "CAP_IPC_OWNER",
					   "CAP_SYS_MODULE",
					   "CAP_SYS_RAWIO",
					   "CAP_SYS_CHROOT",
					   "CAP_SYS_PTRACE",
					   "CAP_SYS_PACCT",
					   "CAP_SYS_ADMIN",
					   "CAP_SYS_BOOT",
					   "CAP_SYS_NICE",
					   "CAP_SYS_RESOURCE",
					   "CAP_SYS_TIME",
					   "CAP_SYS_TTY_CONFIG",
					   "CAP_MKNOD",
					   "CAP_LEASE",
					   "CAP_AUDIT_WRITE",
					   "CAP_AUDIT_CONTROL",
					   "CAP_SETFCAP",
					   "CAP_MAC_OVERRIDE",
					   "CAP_MAC_ADMIN",
					   "CAP_SYSLOG",
					   "CAP_WAKE_ALARM",
					   "CAP_BLOCK_SUSPEND",
					   "CAP_AUDIT_READ",
					   "CAP_PERFMON",
					   "CAP_BPF",
					   "CAP_CHECKPOINT_RESTORE",
					   NULL};

static const struct word protocols[] = {{"tcp", IPPROTO_TCP},   {"udp", IPPROTO_UDP},
					{"icmp", IPPROTO_ICMP}, {"icmpv6", IPPROTO_ICMPV6},
					{"sctp", IPPROTO_SCTP}, {"udplite", IPPROTO_UDPLITE}};

static const char *const errno_words[] = {"EPERM",        "ENOENT",      "EIO",          "EAGAIN", "EACCES",
					  "EBUSY",        "ENODEV",      "EINVAL",       "EROFS",  "ENOSYS",
					  "ECONNREFUSED", "ENETUNREACH", "EHOSTUNREACH", NULL};
static const int errno_numbers[] = {EPERM,  ENOENT, EIO,    EAGAIN,       EACCES,      EBUSY,       ENODEV,
				    EINVAL, EROFS,  ENOSYS, ECONNREFUSED, ENETUNREACH, EHOSTUNREACH};

const struct ygr_policy_operation *ygr_policy_operation(unsigned number)
{
	return number < YGR_OPERATIONS ? &operations[number] : NULL;
}

const struct ygr_policy_operation *ygr_policy_operation_named(const char *name)
{
	for (unsigned i = 0; i < YGR_OPERATIONS; i++)
		if (strcmp(operations[i].name, name) == 0)
			return &operations[i];
	return NULL;
}

const char *const *ygr_policy_operation_names(void)
{
	static const char *const names[] = {
	    "exec",     "open",           "create",  "unlink",        "rename",      "link",
	    "truncate", "chmod",          "chown",   "mmap-exec",     "mount",       "connect",
	    "bind",     "listen",         "sendmsg", "ptrace",        "signal",      "load-module",
	    "bpf",      "use-capability", "setuid",  "create-userns", "read-kernel", NULL};
	_Static_assert(COUNT(names) == YGR_OPERATIONS + 1, "every operation has a name");
	return names;
}

int ygr_policy_capability(const char *name)
{
	size_t skip = strncasecmp(name, "CAP_", 4) == 0 ? 0 : 4;
	for (int i = 0; capabilities[i]; i++)
		if (strcasecmp(capabilities[i] + skip, name) == 0)
			return i;
	return -1;
}

int ygr_policy_protocol(const char *name)
{
	for (size_t i = 0; i < COUNT(protocols); i++)
		if (strcmp(protocols[i].name, name) == 0)
			return protocols[i].number;
	return -1;
}

int ygr_policy_errno(const char *name)
{
	for (int i = 0; errno_words[i]; i++)
		if (strcmp(errno_words[i], name) == 0)
			return errno_numbers[i];
	return -1;
}

const char *ygr_policy_capability_name(unsigned number)
{
	return number < COUNT(capabilities) - 1 ? capabilities[number] : "unknown";
}

const char *ygr_policy_protocol_name(unsigned number)
{
	for (size_t i = 0; i < COUNT(protocols); i++)
		if (protocols[i].number == (int)number)
			return protocols[i].name;
	return NULL;
}

const char *ygr_policy_errno_name(int number)
{
	for (size_t i = 0; i < COUNT(errno_numbers); i++)
		if (errno_numbers[i] == number)
			return errno_words[i];
	return "unknown";
}

const char *const *ygr_policy_capability_names(void)
{
	return capabilities;
}

const char *const *ygr_policy_errno_names(void)
{
	return errno_words;
}

const char *ygr_policy_type_name(enum ygr_policy_type type)
{
	static const char *const names[YGR_TYPES] = {"set",     "exe",      "file",      "unix",
						     "address", "user",     "group",     "cgroup",
						     "port",    "protocol", "capability"};
	return names[type];
}

const char *ygr_policy_action_name(enum ygr_policy_action action)
{
	static const char *const names[] = {"allow", "audit", "notify", "deny", "kill"};
	return names[action];
}

const char *ygr_policy_scope_name(enum ygr_policy_scope scope)
{
	static const char *const names[] = {"all", "process", "user", "exe", "cgroup"};
	return names[scope];
}
