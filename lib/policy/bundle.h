/*
 * A policy on its way into a guest: decision programs, sets, and the names of its rules, in one piece of
 * bytes that is signed (lib/wire/signed.h) and that the guest keeps. What names lead to is found out there.
 *
 * All numbers are little-endian. A head, then rules, then programs (their instructions 8 bytes each), then
 * sets with their members; texts are padded with zeros to a multiple of 8 bytes. The same policy, uid,
 * generation, VM and expiry always become the same bytes. The mode of rules is part of the instructions.
 */
#pragma once

#include <stdint.h>

#include "lib/policy/code.h"

#define YGR_BUNDLE_MAGIC   "YGRPOL01"
#define YGR_BUNDLE_REMOVED 1u /* flag: this policy shall be no more; there is no content */

/* Whose bundle this is. */
struct ygr_bundle_about {
	uint8_t policy[16];  /* uid of the object that carries the policy */
	uint8_t vm[16];      /* UUID of the one VM that it is for */
	uint64_t generation; /* of the object; a guest refuses one that is older than what it has seen */
	int64_t not_after;   /* seconds since the epoch: after that no guest takes it in any more */
};

struct ygr_bundle_rule {
	uint32_t operation; /* YGR_OP_* */
	uint32_t declared;  /* enum ygr_policy_action as written */
	uint32_t action;    /* as it is done; AUDIT where an audited rule would forbid */
	uint32_t reserved;
	char name[64];
};

struct ygr_bundle {
	struct ygr_bundle_about about;
	bool removed;
	char name[64];
	struct ygr_bundle_rule *rules; /* rule N is rules[N - 1] */
	uint32_t rule_count;
	struct ygr_policy_code *code; /* programs, and a policy that has sets and nothing else */
	struct ygr_policy_arena *arena;
};

/*
 * Serialises CODE: 0 with bytes that the caller frees, -ENOMEM, or -EMSGSIZE beyond 16 MiB. CODE may be NULL
 * for a bundle that takes the policy away.
 */
int ygr_bundle_make(const struct ygr_bundle_about *about, const struct ygr_policy_code *code,
		    uint8_t **ret_data, size_t *ret_len, struct ygr_error *error);

/*
 * Reads LEN bytes; nothing of DATA is kept. Everything is checked that the kernel does not check later: bounds,
 * numbers, which maps and helpers instructions name. -EPROTO with a sentence, -ENOMEM.
 */
int ygr_bundle_read(const void *data, size_t len, struct ygr_bundle **ret_bundle, struct ygr_error *error);
struct ygr_bundle *ygr_bundle_free(struct ygr_bundle *bundle);
