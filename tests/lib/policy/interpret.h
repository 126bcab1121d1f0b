/* What a policy says about a situation, by going through the tree: slow, plain, and without any set or map. */
#pragma once

#include "lib/policy/situation.h"

#define INTERPRET_COUNTERS 512

struct interpretation {
	uint32_t rule;
	enum ygr_policy_action action;
	int answer; /* 0 or -errno */
};

/* What was counted so far; all zero at the start. */
struct interpret_counters {
	struct {
		uint32_t rule;
		uint64_t scope, window, count;
	} items[INTERPRET_COUNTERS];
	size_t used;
};

struct interpretation interpret(const struct ygr_policy *policy,
				const struct ygr_policy_situation *situation,
				struct interpret_counters *counters);
