/*
 * What the VM's owner allows: /etc/yagura/guest.yaml.
 *
 *   sessions:
 *     max: 16            at a time
 *     adhoc: false       programs that are not in the node's catalogue ("adhoc:PATH")
 *     allow: {...}       the fields of lib/wire/grant.h; absent lists allow what the catalogue entry allows
 *   limits:
 *     memory: 256Mi      of each session: its process, and what the maps and rings that it makes may grow to
 *     handles: 1024      descriptors of each session
 *   policies:
 *     enforce: true      may signed policies be enforced here?
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/wire/grant.h"

#define YGR_GUEST_SESSIONS_MAX 256

struct ygr_guest_config {
	uint32_t max_sessions;
	uint32_t handles;
	uint64_t memory; /* bytes */
	bool adhoc;
	bool enforce; /* policies; false when the file is broken */
	struct ygr_grant *allow;
	struct ygr_error broken; /* code != 0: the file cannot be understood, and no session is let in */
};

/*
 * Reads PATH. A missing file gives the defaults. A broken one gives a configuration that refuses every
 * session and carries the reason: only -ENOMEM is returned as an error.
 */
int ygr_guest_config_read(const char *path, struct ygr_guest_config *ret_config);
void ygr_guest_config_deinit(struct ygr_guest_config *config);
