/*
 * An event as a person writes it down, with names instead of identities: the way from a fixture to what a
 * decision is asked. Every name that is used leads to a file of its own; no file system is looked at.
 */
#pragma once

#include "lib/policy/image.h"

#define YGR_POLICY_ANCESTORS_MAX 16

struct ygr_policy_situation {
	const struct ygr_policy_operation *operation;
	const char *exe, *file, *cgroup; /* absolute paths, NULL: none */
	const char *ancestors[YGR_POLICY_ANCESTORS_MAX];
	size_t ancestor_count;
	bool missing; /* the file does not exist yet */
	uint32_t access, user, group, process, minute, owner, mode, port, protocol, capability, target_user;
	uint32_t family; /* YGR_POLICY_IPV4... */
	uint8_t address[16];
	uint64_t time_ns;
};

/* Names as situations use them: each path has an identity made of its text. */
extern const struct ygr_policy_names ygr_policy_situation_names;

/* What a frame would hand to the decision of IMAGE's policy. */
void ygr_policy_situation_event(const struct ygr_policy_situation *situation,
				const struct ygr_policy_image *image, struct ygr_policy_event *ret_event);
