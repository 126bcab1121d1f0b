/* The rows of a bundle, as they lie in it; for bundle.c and bundle-read.c. */
#pragma once

#include "lib/policy/bundle.h"

#define YGR_BUNDLE_BYTES_MAX (16u << 20)

struct ygr_bundle_head {
	char magic[8]; /* no NUL */
	struct ygr_bundle_about about;
	char name[64]; /* "" when removed */
	uint32_t flags;
	uint32_t length; /* of all */
	uint32_t rules, programs, sets;
	uint32_t value_words[16]; /* by enum ygr_policy_map; the rest is zero */
	uint32_t reserved;
};

struct ygr_bundle_program {
	uint32_t operation;
	uint32_t insns; /* struct bpf_insn that follow */
};

struct ygr_bundle_set {
	uint32_t class; /* enum ygr_policy_set_class */
	uint32_t number;
	uint32_t type;  /* enum ygr_policy_type */
	uint32_t items; /* that follow */
};

struct ygr_bundle_item {
	uint32_t kind; /* enum ygr_policy_item_kind, no words */
	uint32_t prefix;
	uint32_t length; /* of the text that follows; 0: none */
	uint32_t reserved;
	uint64_t low, high;
	uint8_t address[16];
};

_Static_assert(sizeof(struct ygr_bundle_about) == 48, "no padding");
_Static_assert(sizeof(struct ygr_bundle_rule) == 80, "no padding");
_Static_assert(sizeof(struct ygr_bundle_head) == 8 + 48 + 64 + 24 + 64, "no padding");
_Static_assert(sizeof(struct ygr_bundle_item) == 48, "no padding");
_Static_assert(YGR_MAPS <= 16, "value_words has room for every map");
