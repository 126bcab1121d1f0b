/*
 * What a policy asks of the node, taken out of its tree so that it outlives it: reactions by the name of a rule,
 * each with actions. An action's canonical text is its identity: two policies that say the same share one effect.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/policy/ast.h"

#define YGR_ENFORCE_NAME_MAX 64 /* bytes of a rule, a disk, an interface, a mark */
#define YGR_ENFORCE_TEXT_MAX                                                                                \
	1024 /* bytes of an action's text; what is longer, or names a set, ends in a digest */
#define YGR_ENFORCE_ACTIONS_MAX 256 /* of one policy */

struct ygr_enforce_prefix {
	uint8_t family; /* 4 or 6 */
	uint8_t bits;
	uint8_t address[16];
};

struct ygr_enforce_span {
	uint16_t low, high;
};

struct ygr_enforce_action {
	char *text; /* "block net to 203.0.113.0/24", without its lifetime */
	enum ygr_policy_host_kind kind;
	char name[YGR_ENFORCE_NAME_MAX]; /* of disk, interface, mark or severity; "": all */
	enum ygr_policy_direction direction;
	struct ygr_enforce_prefix *prefixes;
	size_t prefix_count; /* 0: all */
	struct ygr_enforce_span *ports;
	size_t port_count;        /* 0: all */
	uint64_t bits_per_second; /* of a limit */
	uint64_t lifetime_ms;     /* 0: until released */
};

struct ygr_enforce_reaction {
	char rule[YGR_ENFORCE_NAME_MAX];
	uint32_t count;     /* violations until it acts */
	uint64_t window_ms; /* within which they must come; 0: at once */
	struct ygr_enforce_action *actions;
	size_t action_count;
};

struct ygr_enforce_plan {
	char *policy; /* "namespace/object/policy": who asks */
	struct ygr_enforce_reaction *reactions;
	size_t reaction_count;
	unsigned references;
};

/* Does it last, so that it can be undone? */
bool ygr_enforce_lasts(enum ygr_policy_host_kind kind);
/* "DiskReadOnly": hostActions[].type of VMGuest. */
const char *ygr_enforce_type_word(enum ygr_policy_host_kind kind);

/* The host block of TREE (evaluated without errors; not kept): 0, -E2BIG, -ENOMEM. */
int ygr_enforce_plan_new(const char *policy, const struct ygr_policy *tree, struct ygr_enforce_plan **ret);
struct ygr_enforce_plan *ygr_enforce_plan_ref(struct ygr_enforce_plan *plan);
struct ygr_enforce_plan *ygr_enforce_plan_unref(struct ygr_enforce_plan *plan); /* NULL is allowed */
