/*
 * The agent's side towards the API server. VMGuests are written by server-side apply and only when what the server
 * has differs from what is so: labels and status that others change are put back, objects of VMs that are gone are
 * deleted, and what an agent of this node wrote before is adopted. All on the loop.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <uv.h>

#include "lib/base/error.h"
#include "lib/base/metrics.h"

#define YGR_CLUSTER_LEASE_PREFIX "yagura-node-" /* the heartbeat of node N is the Lease yagura-node-N */
#define YGR_CLUSTER_MANAGER      "yagura-agent" /* field manager */

struct ygr_kube;
struct ygr_cluster;

/* Strings are borrowed and outlive the cluster. */
struct ygr_cluster_options {
	uv_loop_t *loop;
	const char *kubeconfig, *context; /* NULL: as kubectl, or a pod, would find it */
	const char *namespace_;           /* of the Lease; NULL: that of the context or the pod */
	const char *node;
	struct ygr_metrics *metrics;
	/* Whether the API server answers; when that changes, first when the first call has ended. */
	void (*reachable)(void *user, bool reachable, const char *reason);
	void *user;
};

int ygr_cluster_start(const struct ygr_cluster_options *options, struct ygr_cluster **ret,
		      struct ygr_error *error);
/* Nothing is taken back: objects stay, the Lease runs out. Memory goes once the loop has turned. NULL is allowed. */
struct ygr_cluster *ygr_cluster_stop(struct ygr_cluster *cluster);

/* For the informers of desired state; borrowed. */
struct ygr_kube *ygr_cluster_kube(struct ygr_cluster *cluster);

/*
 * What is so: VMS is a list of VMGuests, not changed any more. COMPLETE: the provider has named all of its VMs, so
 * that what is not in the list is gone.
 */
void ygr_cluster_publish(struct ygr_cluster *cluster, const json_t *vms, bool complete);
