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

struct ygr_guest_names {
	const struct ygr_guest_handles *handles;  /* borrowed: BTF objects are named by handle */
	struct ygr_guest_tracepoint *tracepoints; /* sorted by id; read when the first is asked for */
	size_t tracepoint_count;
	bool tracepoints_read;
	struct ygr_guest_btf vmlinux; /* read when the first is asked for */
	bool vmlinux_read;
	char answer[256];
};

#define YGR_GUEST_TRACEPOINTS_MAX 20000

void ygr_guest_names_init(struct ygr_guest_names *names, const struct ygr_guest_handles *handles);
void ygr_guest_names_deinit(struct ygr_guest_names *names);

/* The callbacks, with NAMES as their user. */
struct ygr_grant_names ygr_guest_names_ops(struct ygr_guest_names *names);
