/* Random policies, as text, and random situations: from one small world, so that they meet. */
#pragma once

#include "lib/policy/situation.h"
#include "lib/policy/text.h"

struct random_source {
	uint64_t state; /* not 0 */
};

uint32_t random_below(struct random_source *random, uint32_t bound);
/* A policy of 1..RULES rules about a few operations. */
void random_policy(struct random_source *random, unsigned rules, struct ygr_policy_text *out);
/* An event of OPERATION. */
struct ygr_policy_situation random_situation(struct random_source *random,
					     const struct ygr_policy_operation *operation);
