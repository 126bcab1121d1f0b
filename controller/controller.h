/* The program's parts on one loop: the webhook, what is followed, and the election among several of its kind. */
#pragma once

#include "lib/base/error.h"

#define YGR_CONTROLLER_LEASE "yagura-controller"

struct ygr_controller_options {
	const char *listen;               /* metrics and health */
	const char *webhook, *cert, *key; /* NULL: none */
	const char *namespace_;           /* of Leases; NULL: nothing is followed */
	const char *kubeconfig, *identity;
	unsigned grace_s;
};

/* Returns after SIGTERM or SIGINT, when the Lease is given back: 0 or -errno. */
int ygr_controller_run(const struct ygr_controller_options *options, struct ygr_error *error);
