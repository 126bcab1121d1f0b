/* The policy connection: bundles come in, verdicts go out. */
#pragma once

#include "guest-image/policy/policies.h"

/* Serves FD (authenticated, purpose policy) until it ends: 0 when the peer closed it, or why this side did. */
int ygr_policy_channel_run(int fd, const struct ygr_policies_setup *setup, struct ygr_error *error);
