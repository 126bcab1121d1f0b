/*
 * What the node does when a rule has matched: disks read-only and networks blocked by its own eBPF programs, the rest
 * by the VM's provider. What is in force follows from a list of active actions, each asked for by one rule of one
 * policy and ending with its lifetime, by release, or with its policy; so it is counted by reference and undone by
 * itself. The list is kept in a file and the programs are pinned: neither the agent's end nor its start changes what
 * is in force. All on the loop thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/enforce/plan.h"
#include "agent/inventory/inventory.h"
#include "lib/base/error.h"

#define YGR_ENFORCE_ACTIVE_MAX 256 /* of one VM */
#define YGR_ENFORCE_PINS       "/sys/fs/bpf/yagura"

/* What the administrator allows: a bit for each enum ygr_policy_host_kind. Marks and events always are. */
#define YGR_ENFORCE_ALLOW_DISK     (1u << YGR_HOST_DISK)
#define YGR_ENFORCE_ALLOW_NET      (1u << YGR_HOST_BLOCK | 1u << YGR_HOST_LIMIT | 1u << YGR_HOST_INTERFACE)
#define YGR_ENFORCE_ALLOW_PAUSE    (1u << YGR_HOST_PAUSE | 1u << YGR_HOST_RESUME)
#define YGR_ENFORCE_ALLOW_STOP     (1u << YGR_HOST_SHUTDOWN | 1u << YGR_HOST_DESTROY)
#define YGR_ENFORCE_ALLOW_SNAPSHOT (1u << YGR_HOST_SNAPSHOT)
#define YGR_ENFORCE_ALLOW_DEFAULT  (YGR_ENFORCE_ALLOW_DISK | YGR_ENFORCE_ALLOW_NET | YGR_ENFORCE_ALLOW_PAUSE)

struct ygr_enforce;

/* Something was done or undone for a rule, or could not be. Strings are borrowed during the call. */
struct ygr_enforce_event {
	const char *uuid, *policy, *rule;
	const char *type;     /* "DiskReadOnly" */
	const char *action;   /* the action's text */
	const char *what;     /* "Applied", "Renewed", "Undone", "Failed", "Refused" */
	const char *severity; /* "info", "warning", "critical" */
	const char *message;  /* of a failure, else NULL */
};

struct ygr_enforce_options {
	uv_loop_t *loop;
	const char *pin_directory;      /* YGR_ENFORCE_PINS */
	const char *state_directory;    /* made if need be; the list is actions.json in it */
	const char *snapshot_directory; /* of memory snapshots */
	unsigned snapshots_max;         /* of one VM; more are refused */
	unsigned allowed;               /* YGR_ENFORCE_ALLOW_*, or'ed */
	/* ygr_inventory_control() of the inventory that knows the VMs. */
	int (*control)(void *user, const struct ygr_vm_request *request,
		       void (*done)(void *user, const struct ygr_vm_request *request,
				    const struct ygr_error *error),
		       void *done_user);
	void (*event)(void *user, const struct ygr_enforce_event *event);
	void (*changed)(void *user); /* what ygr_enforce_list() says; never from within a call */
	void *user;
};

/* Adopts what is in force. Strings are copied. The state file's errors (it is moved aside), -ENOMEM. */
int ygr_enforce_new(const struct ygr_enforce_options *options, struct ygr_enforce **ret,
		    struct ygr_error *error);
/* What is in force stays. NULL is allowed; memory goes when the loop turned. */
struct ygr_enforce *ygr_enforce_free(struct ygr_enforce *enforce);

/* A VM is new or different; VM is borrowed until gone or the next change. */
void ygr_enforce_vm_changed(struct ygr_enforce *enforce, const struct ygr_vm *vm);
void ygr_enforce_vm_gone(struct ygr_enforce *enforce, const struct ygr_vm *vm);
/*
 * All plans that concern the VM with this UUID (references are taken): prepared, nothing acts yet. Actions of policies
 * or rules that are not among them are undone. Not before all policies are known.
 */
int ygr_enforce_plans(struct ygr_enforce *enforce, const char *uuid, struct ygr_enforce_plan *const *plans,
		      size_t count);

/* RULE of POLICY (as its plan is called) has matched: counted, and acted upon at once. */
void ygr_enforce_violation(struct ygr_enforce *enforce, const char *uuid, const char *policy,
			   const char *rule);
/* Ends the actions of RULE (NULL: of all rules) on the VM: how many there were, or -ENOENT for no such VM. */
int ygr_enforce_release(struct ygr_enforce *enforce, const char *namespace_, const char *vm,
			const char *rule);

/* NULL when ACTION can be done to VM, or one CamelCase word and in MESSAGE a sentence with the remedy. */
const char *ygr_enforce_unsupported(const struct ygr_enforce *enforce, const struct ygr_vm *vm,
				    const struct ygr_enforce_action *action, char message[256]);

struct ygr_enforce_active {
	const char *policy, *rule, *type, *action;
	const char *target;     /* disk, interface or mark; "": all */
	int64_t since, expires; /* seconds since the epoch; expires 0: until released */
	const char *problem;    /* why it is not in force, or NULL */
};
/* The active actions of the VM, at most YGR_ENFORCE_ACTIVE_MAX; strings are borrowed until the next call of anything. */
size_t ygr_enforce_list(const struct ygr_enforce *enforce, const char *uuid, struct ygr_enforce_active *ret);
/* Is any disk read-only, so that new images should be looked for often? NULL is allowed. */
bool ygr_enforce_disks_blocked(const struct ygr_enforce *enforce);
/* Writes refused and packets dropped for the VM so far. */
void ygr_enforce_counted(const struct ygr_enforce *enforce, const char *uuid, uint64_t *ret_writes,
			 uint64_t *ret_packets);

/* Undoes everything that is pinned and forgets the list, without an agent. */
int ygr_enforce_cleanup(const char *pin_directory, const char *state_directory, struct ygr_error *error);
