/*
 * What the parts of the confinement that run in the child share. They run in a fork of the caller, one
 * thread, and report a failure with the name of the step in an error that travels over a pipe to the caller.
 */
#pragma once

#include "agent/telebpf/confine/cgroup.h"
#include "agent/telebpf/confine/confine.h"

/* Descriptors that the child got from the caller; all of them close on exec. */
struct ygr_confine_child {
	const struct ygr_confine_options *options;
	const struct ygr_cgroup *cgroup;
	int status_fd;  /* write end: a struct ygr_error when a step failed, EOF when the application runs */
	int control_fd; /* SOCK_SEQPACKET: signal numbers in, notes out */
};

/* Notes of the child to its caller, in this order. */
enum ygr_confine_note_kind {
	YGR_CONFINE_TIME = 1, /* value: 1 when the application has a time namespace of its own */
	YGR_CONFINE_APP,      /* sent by the application's process itself: its credentials tell the pid */
	YGR_CONFINE_EXIT,     /* value: wait status */
};

struct ygr_confine_note {
	int32_t kind;
	int32_t value;
};

/* PID 1 of the application's namespace, from its first instruction on. */
_Noreturn void ygr_confine_init(const struct ygr_confine_child *child);

/* Builds the application's root and moves into it; nothing of the node's root is left in the namespace. */
int ygr_confine_mounts(const struct ygr_confine_options *options, struct ygr_error *error);

/* Becomes the application: limits, user, capabilities, filter, exec. Returns only when a step failed. */
int ygr_confine_exec(const struct ygr_confine_child *child, struct ygr_error *error);

/* seccomp filters, loaded for the calling thread; no_new_privs is set with them. */
int ygr_confine_filter_app(bool traced, struct ygr_error *error);
int ygr_confine_filter_init(struct ygr_error *error);
int ygr_confine_filter_session(bool traced, struct ygr_error *error);

/* Keeps only the capabilities whose bits are set in MASK (effective and permitted; nothing inheritable). */
int ygr_confine_keep_capabilities(uint64_t mask, struct ygr_error *error);

/* The executable's SHA-256 is WANT (32 bytes), read through FD from its start: 0, -EBADMSG, or a read error.
 */
int ygr_confine_verify(int fd, const uint8_t want[32]);
