/* Names behind the numbers in calls, from this kernel's own files: struct ygr_grant_names for one session.
 */
#pragma once

#include "guest-image/guest/btf-names.h"
#include "guest-image/guest/handles.h"
#include "lib/wire/grant.h"

struct ygr_guest_tracepoint {
	uint64_t id;
	char *name; /* "CATEGORY/NAME" */
};

#define YGR_GUEST_TRACEPOINTS_MAX  20000
#define YGR_GUEST_TRACEPOINTS_SEEN 32

struct ygr_guest_names {
	const struct ygr_guest_handles *handles; /* borrowed: BTF objects are named by handle */
	const char *events;                      /* directory of the tracepoints; static storage */
	/* Whose id the session has opened lately: the oldest is overwritten. */
	char *seen[YGR_GUEST_TRACEPOINTS_SEEN]; /* "CATEGORY/NAME" or NULL */
	unsigned next_seen;
	struct ygr_guest_tracepoint
	    *tracepoints; /* all, sorted by id; read when one is asked for that was not seen */
	size_t tracepoint_count;
	bool tracepoints_read;
	struct ygr_guest_btf vmlinux; /* read when the first is asked for */
	bool vmlinux_read;
	char answer[256];
};

void ygr_guest_names_init(struct ygr_guest_names *names, const struct ygr_guest_handles *handles);
void ygr_guest_names_deinit(struct ygr_guest_names *names);

/* The session opens the file PATH: if it is a tracepoint's id, that tracepoint is likely to be asked for next. */
void ygr_guest_names_opened(struct ygr_guest_names *names, const char *path);

/* The callbacks, with NAMES as their user. */
struct ygr_grant_names ygr_guest_names_ops(struct ygr_guest_names *names);
