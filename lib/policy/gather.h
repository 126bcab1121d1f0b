/* The first part of a decision: what the event's object and task are members of, as bits on the stack. */
#pragma once

#include <stdbool.h>

#include "lib/policy/emit.h"

/* r6 holds the event all through a program; r10 is the frame. */
#define YGR_REG_EVENT 6

/* The stack: bits of sets, then keys. Offsets from r10. */
#define YGR_STACK_OBJECT (-4 * YGR_POLICY_SETS_MAX / 32)
#define YGR_STACK_EXE    (2 * YGR_STACK_OBJECT)
#define YGR_STACK_SMALL  (YGR_STACK_EXE - 8 * YGR_SMALL_SLOTS) /* two words for each slot below */
#define YGR_STACK_KEY    (YGR_STACK_SMALL - 40)
#define YGR_STACK_VALUE  (YGR_STACK_KEY - 8)

/* Small sets, by what of the event they are about. */
enum ygr_small_slot {
	YGR_SMALL_CGROUP,
	YGR_SMALL_PORT,
	YGR_SMALL_USER,
	YGR_SMALL_GROUP,
	YGR_SMALL_OWNER,
	YGR_SMALL_TARGET,
	YGR_SMALL_SLOTS,
};

/* What the rules of one program ask for. */
struct ygr_policy_needs {
	uint32_t object[YGR_POLICY_SETS_MAX / 32]; /* bits that are tested */
	uint32_t exe[YGR_POLICY_SETS_MAX / 32];
	bool paths, addresses; /* of the object */
	bool names, directories, exe_directories;
	bool small[YGR_SMALL_SLOTS];
};

/* Adds what EXPR asks for. */
void ygr_policy_need(struct ygr_policy_needs *needs, const struct ygr_policy_expr *expr,
		     const struct ygr_policy_operation *operation);
enum ygr_small_slot ygr_policy_small_slot(const struct ygr_policy_expr *expr);
void ygr_policy_gather(struct ygr_policy_emitter *emitter, const struct ygr_policy_needs *needs,
		       const struct ygr_policy *policy);
