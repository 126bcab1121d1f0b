/*
 * The second source of desired state: the API server. It follows the objects of those namespaces only that VMs of
 * this node live in, one informer for each kind and namespace. While the server is away everything stays as it was
 * last seen. Reports as a directory does (desired.h).
 */
#pragma once

#include "agent/desired/desired.h"
#include "lib/kube/client.h"

#define YGR_DESIRED_NAMESPACES_MAX                                                                          \
	512 /* with VMs of this node; others are left out, which is said as a problem */

struct ygr_desired_informers;

int ygr_desired_informers_new(struct ygr_kube *kube, const struct ygr_desired_handlers *handlers,
			      struct ygr_desired_informers **ret);
/* Frees all objects without telling; memory goes once the loop has turned. NULL is allowed. */
struct ygr_desired_informers *ygr_desired_informers_free(struct ygr_desired_informers *informers);

/*
 * The namespaces of VMS, a list of VMGuests as the reconciler publishes it, are those to follow from now on. COMPLETE:
 * the provider has named all of its VMs; until then nothing is called synced.
 */
void ygr_desired_informers_follow(struct ygr_desired_informers *informers, const json_t *vms, bool complete);
