/*
 * The API server's objects as the controller follows them, and what it does about them while it leads: the status of
 * every monitor and policy is what the VMGuests say of it; VMGuests of dead nodes become Unknown and, after a grace time,
 * go. All on the loop.
 *
 * Deletion needs nothing of us: there are no finalizers, what is gone is no longer counted.
 */
#pragma once

#include <stdbool.h>

#include "lib/base/metrics.h"
#include "lib/kube/client.h"

#define YGR_WORLD_MANAGER    "yagura-controller" /* field manager */
#define YGR_WORLD_WRITES_MAX 32                  /* under way at once */
#define YGR_WORLD_SETTLE_MS  100                 /* changes that come together are counted together */
#define YGR_WORLD_RETRY_S    5                   /* after a write that failed */

struct ygr_world;

struct ygr_world_options {
	struct ygr_kube *kube;
	const char *namespace_; /* of the agents' Leases; borrowed */
	unsigned grace_s;       /* from a node's death to the end of its VMGuests */
	struct ygr_metrics *metrics;
	void (*ready)(void *user, bool synced); /* all is listed; once */
	void *user;
};

int ygr_world_start(const struct ygr_world_options *options, struct ygr_world **ret);
/* Whether we are the one that writes. */
void ygr_world_lead(struct ygr_world *world, bool lead);
/* Once a second. */
void ygr_world_tick(struct ygr_world *world);
/* Memory goes once the loop has turned. NULL is allowed. */
struct ygr_world *ygr_world_stop(struct ygr_world *world);
