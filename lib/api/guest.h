/* VMGuest: what the agent of a VM's node says about it. Written by the agent only; crds/vmguests.yaml. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/api/condition.h"
#include "lib/api/meta.h"

#define YGR_GUEST_KIND "VMGuest"

/* One application of a monitor on this guest. */
struct ygr_guest_app {
	const char *name;
	const char *state; /* Pending | Starting | Running | Backoff | Stopped | Failed | Completed */
	const char *reason, *message; /* of the last failure, or NULL */
	const char *delivery;         /* what is in effect, or NULL */
	uint64_t restarts;
};

struct ygr_guest_monitor {
	const char *namespace_, *name;
	int64_t generation;
	const struct ygr_guest_app *apps;
	size_t app_count;
};

/* All strings are borrowed during the call; NULL leaves a field out. */
struct ygr_guest {
	const char *namespace_, *name;
	const struct ygr_labels *labels;
	const char *node, *uuid, *provider, *provider_name;
	const char *phase; /* Running | Paused | Migrating | Stopped | Unknown */
	const char *boot_id, *kernel;
	const char *channel_type;  /* Vsock | HybridVsock | Unix */
	const char *channel_state; /* Connected | Connecting | Lost | Refused | None */
	const char *channel_reason, *channel_message;
	bool node_verified;
	const char *memory;     /* Shared | Private | Encrypted */
	const json_t *features; /* from WELCOME: {"btf": bool, "bpfLSM": bool} or NULL */
	const struct ygr_guest_monitor *monitors;
	size_t monitor_count;
	json_t *policies, *host_actions; /* lists as in the schema; references are taken over; NULL: none */
	const struct ygr_condition *conditions;
	size_t condition_count;
};

/* The whole object; NULL when out of memory. */
json_t *ygr_guest_encode(const struct ygr_guest *guest);
