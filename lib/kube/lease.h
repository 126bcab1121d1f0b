/*
 * Leases (coordination.k8s.io/v1): a heartbeat, by which others see that this process lives, and an election, by
 * which one of several leads. Whether a lease has run out is judged by how long it has not been seen to change, on
 * our own clock, never by the time written in it: clocks of machines differ.
 *
 * Calls for leases do not wait for the rate limit, and what they write tells the client whether the store went back
 * in time (client.h).
 */
#pragma once

#include "lib/kube/object.h"

#define YGR_KUBE_HEARTBEAT_S 10 /* between renewals of a heartbeat */
#define YGR_KUBE_HEARTBEATS  4  /* so many intervals is a heartbeat's leaseDurationSeconds */

extern const struct ygr_kube_resource ygr_kube_leases;

struct ygr_kube_heartbeat;

/* Strings are borrowed and outlive the heartbeat. */
struct ygr_kube_heartbeat_options {
	struct ygr_kube *kube;
	const char *namespace_, *name;
	const char *holder;
	const char *manager;  /* field manager */
	const json_t *labels; /* of the Lease, or NULL; a reference is taken */
	unsigned interval_s;  /* 0: YGR_KUBE_HEARTBEAT_S */
	/* What came of each renewal; may be NULL. */
	void (*renewed)(void *user, bool good, const char *message);
	void *user;
};

int ygr_kube_heartbeat_start(const struct ygr_kube_heartbeat_options *options,
			     struct ygr_kube_heartbeat **ret);
/* Memory goes once the loop has turned. NULL is allowed. */
struct ygr_kube_heartbeat *ygr_kube_heartbeat_stop(struct ygr_kube_heartbeat *heartbeat);

struct ygr_kube_election;

/* Strings are borrowed and outlive the election. */
struct ygr_kube_election_options {
	struct ygr_kube *kube;
	const char *namespace_, *name;
	const char *identity; /* of this process, unique */
	/* 0: 15, 10 and 2 s. A lease not renewed for LEASE_S may be taken; a leader that has not managed to renew for
	 * RENEW_S stops leading; every RETRY_S it is tried. LEASE_S > RENEW_S > RETRY_S. */
	unsigned lease_s, renew_s, retry_s;
	void (*leading)(void *user, bool leading); /* changes only */
	/* Another one leads now, or none (""). May be NULL. */
	void (*leader)(void *user, const char *identity);
	void *user;
};

int ygr_kube_election_start(const struct ygr_kube_election_options *options, struct ygr_kube_election **ret);
bool ygr_kube_election_leads(const struct ygr_kube_election *election);
/*
 * Leaves: a lease that is held is given back, so that another need not wait for its end. RELEASED (may be NULL) is
 * called, from here or later, when that is done or has failed, and the client must live until then; leading(false)
 * is not called. NULL is allowed.
 */
struct ygr_kube_election *ygr_kube_election_stop(struct ygr_kube_election *election,
						 void (*released)(void *user), void *user);

/* Inside lib/kube: metadata.resourceVersion of what was written, told to the client. */
void ygr_kube_lease_wrote(struct ygr_kube *kube, uint64_t before, const json_t *lease);
/* A MicroTime of now; NULL without memory. */
json_t *ygr_kube_lease_now(void);
