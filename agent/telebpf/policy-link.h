/*
 * The policy connection to a guest: bundles go in, the guest's account of them and violations come out. Kept up with
 * backoff as a link is; on the loop thread.
 */
#pragma once

#include "agent/telebpf/telebpf.h"

struct ygr_policy_link;

struct ygr_policy_link_handlers {
	/* Connected, lost or refused. */
	void (*changed)(void *user);
	/*
	 * POLICY_STATUS (docs/protocol.md): after connecting, after each load, and when asked. RESULT is 0 or the negative
	 * errno of the load.
	 */
	void (*status)(void *user, int64_t result, const json_t *status);
	/* Each once, in order, texts bounded and NUL-terminated; acknowledged after this has returned. */
	void (*violation)(void *user, const struct ygr_violation *violation);
	void *user;
};

/* Dials at once; nothing is called back from within. -ENOMEM. */
int ygr_policy_link_open(struct ygr_telebpf *telebpf, const struct ygr_link_target *target,
			 const struct ygr_policy_link_handlers *handlers, struct ygr_policy_link **ret);
/* No callback comes any more. NULL is allowed. */
struct ygr_policy_link *ygr_policy_link_close(struct ygr_policy_link *link);

bool ygr_policy_link_connected(const struct ygr_policy_link *link);
/* Why it is not connected, or NULL. */
const char *ygr_policy_link_reason(const struct ygr_policy_link *link);
const char *ygr_policy_link_message(const struct ygr_policy_link *link);

/*
 * Sends a signed bundle; status follows. -ENOTCONN, -EBUSY while the answer to the one before is awaited, -ENOMEM.
 */
int ygr_policy_link_load(struct ygr_policy_link *link, const void *bundle, size_t len,
			 const struct ygr_cert *cert, const uint8_t signature[64]);
/* Asks for a status; nothing when one is awaited already. */
void ygr_policy_link_ask(struct ygr_policy_link *link);
