/*
 * Confinement of one application: an uid of its own in new mount, PID, network, IPC, UTS, cgroup and time
 * namespaces, a read-only root, seccomp, cgroup limits, no new privileges. The only capability that survives
 * exec is CAP_SYS_RAWIO (ambient), which the shim needs to map address 0 and drops before any code of the
 * application runs; PID 1 of the namespace is a small init of ours that forwards signals, reaps and dies
 * with the session. The application's network namespace is empty, and AF_VSOCK, io_uring, ptrace, mremap of
 * foreign pages, userfaultfd, mount and module calls are denied.
 *
 * Everything is prepared in the child while the caller goes on serving: mounting the guest's files
 * (guestfs.h) needs answers from the caller's loop.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/error.h"

struct ygr_confine_options {
	const char *executable; /* absolute path on the node */
	const uint8_t
	    *sha256; /* 32 bytes the file must have (checked on the descriptor that is executed), or NULL */
	char *const *argv;
	char *const *envp; /* complete; LD_PRELOAD and YAGURA_SHIM are added */
	const char *shim;  /* absolute path of libyagura-shim.so, NULL for none */
	uid_t uid;
	gid_t gid;
	int stdout_fd, stderr_fd;    /* borrowed */
	int local_fd;                /* the shim's end of the local socket; becomes YGR_LOCAL_FD */
	int fuse_fd;                 /* /dev/fuse opened by the caller, or -1 */
	const char *cgroup;          /* relative name, e.g. "yagura/default_base_web-3_exec" */
	uint64_t memory;             /* bytes, 0: no limit */
	uint32_t cpu_milli;          /* thousandths of a CPU, 0: no limit */
	uint32_t pids;               /* 0: no limit */
	int64_t monotonic_offset_ns; /* added to the node's CLOCK_MONOTONIC for the application */
	int64_t boottime_offset_ns;
	const char *hostname; /* the guest's node name */
	bool
	    traced; /* Shared: init waits for ygr_confine_go(), so that the caller can trace it before (tracer.h) */
};

/* What could be had on this node; reported in status. */
struct ygr_confine_features {
	const char *cgroup; /* "v2", "v1", "none" */
	bool memory, cpu, pids, time;
};

struct ygr_confined;

/*
 * Forks the init process and returns at once. ret->status_fd becomes readable when the application runs
 * (EOF) or when it could not be started (see ygr_confine_outcome()).
 */
int ygr_confine_start(const struct ygr_confine_options *options, struct ygr_confined **ret,
		      struct ygr_error *error);

/* With `traced`: init goes on. */
int ygr_confine_go(struct ygr_confined *confined);

int ygr_confine_status_fd(const struct ygr_confined *confined);
/* After status_fd became readable: 0 when the application runs, else -errno with the step that failed. */
int ygr_confine_outcome(struct ygr_confined *confined, struct ygr_error *error);
const struct ygr_confine_features *ygr_confine_features(const struct ygr_confined *confined);

pid_t ygr_confine_init_pid(const struct ygr_confined *confined); /* seen from the caller's PID namespace */
pid_t ygr_confine_app_pid(const struct ygr_confined *confined);  /* the same; 0 until it runs */
int ygr_confine_pidfd(const struct ygr_confined *confined);      /* of init: readable when all is over */

/* Signal to the application (through init). SIGKILL kills the whole namespace. */
int ygr_confine_signal(struct ygr_confined *confined, int signal_number);
/* After pidfd became readable: wait status of the application as from waitpid(2). Reaps init. */
int ygr_confine_wait(struct ygr_confined *confined, int *ret_status);
/* Kills what is left, removes the cgroup. */
struct ygr_confined *ygr_confine_free(struct ygr_confined *confined);

/*
 * Drops what the session itself does not need any more: capabilities, no_new_privs, a seccomp filter for its own loop (with ptrace when traced). Call once the application runs.
 */
int ygr_confine_self(bool traced, struct ygr_error *error);
