/* What the language knows by name: operations with their objects and hooks, capabilities, errors, protocols. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/policy/ast.h"

enum ygr_policy_object {
	YGR_POLICY_OBJECT_NONE,
	YGR_POLICY_OBJECT_FILE,
	YGR_POLICY_OBJECT_PROGRAM, /* of the task that is the target */
	YGR_POLICY_OBJECT_PEER,
	YGR_POLICY_OBJECT_CAPABILITY,
	YGR_POLICY_OBJECT_USER,
};

enum {
	YGR_OP_EXEC,
	YGR_OP_OPEN,
	YGR_OP_CREATE,
	YGR_OP_UNLINK,
	YGR_OP_RENAME,
	YGR_OP_LINK,
	YGR_OP_TRUNCATE,
	YGR_OP_CHMOD,
	YGR_OP_CHOWN,
	YGR_OP_MMAP_EXEC,
	YGR_OP_MOUNT,
	YGR_OP_CONNECT,
	YGR_OP_BIND,
	YGR_OP_LISTEN,
	YGR_OP_SENDMSG,
	YGR_OP_PTRACE,
	YGR_OP_SIGNAL,
	YGR_OP_LOAD_MODULE,
	YGR_OP_BPF,
	YGR_OP_CAPABILITY,
	YGR_OP_SETUID,
	YGR_OP_USERNS,
	YGR_OP_KERNEL_READ,
	YGR_OPERATIONS,
};

struct ygr_policy_operation {
	unsigned number;         /* YGR_OP_* */
	const char *name;        /* as written: one word */
	const char *object_word; /* "of", "to", "at"; NULL without an object */
	enum ygr_policy_object object;
	const char *hooks;  /* LSM hooks of the kernel, or cgroup hooks */
	const char *phrase; /* "open %s" as in: a task may not ... */
};

/* By YGR_OP_*. */
const struct ygr_policy_operation *ygr_policy_operation(unsigned number);
/* NULL when there is none. */
const struct ygr_policy_operation *ygr_policy_operation_named(const char *name);
/* All names, NULL-terminated, for suggestions. */
const char *const *ygr_policy_operation_names(void);

/* The number of "CAP_SYS_ADMIN" or "sys_admin", of "tcp", of "EPERM"; -1 when there is none. */
int ygr_policy_capability(const char *name);
int ygr_policy_protocol(const char *name);
int ygr_policy_errno(const char *name);
const char *ygr_policy_capability_name(unsigned number);
const char *ygr_policy_protocol_name(unsigned number); /* NULL: write the number */
const char *ygr_policy_errno_name(int number);
const char *const *ygr_policy_capability_names(void);
const char *const *ygr_policy_errno_names(void);

const char *ygr_policy_type_name(enum ygr_policy_type type);
const char *ygr_policy_action_name(enum ygr_policy_action action);
const char *ygr_policy_scope_name(enum ygr_policy_scope scope);
