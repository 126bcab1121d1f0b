/*
 * What a policy becomes: one decision program for each operation that it has rules for, and the contents of
 * the maps that they look things up in. The same policy always becomes the same bytes.
 *
 * Sets are numbered, and a map's value has a bit for each set that its key is a member of. So a program looks
 * up the object once and the task once, however many sets and members there are, and then tests bits.
 */
#pragma once

#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/policy/ast.h"
#include "lib/policy/event.h"
#include "lib/policy/operation.h"

#define YGR_POLICY_INSNS_MAX  65536 /* of one program */
#define YGR_POLICY_COUNTS_MAX 8192  /* counters that are kept, the least used go first */

/* Maps of a policy; instructions name them by this number until they are loaded. */
enum ygr_policy_map {
	YGR_MAP_EVENT,           /* array of one: where the event is, and the verdict */
	YGR_MAP_FILES,           /* ygr_policy_identity: sets of objects */
	YGR_MAP_NAMES,           /* ygr_policy_entry_name: the same for what may not exist yet */
	YGR_MAP_DIRECTORIES,     /* ygr_policy_identity of a directory: sets that what is under it is in */
	YGR_MAP_EXES,            /* ygr_policy_identity: lineages, then sets of programs */
	YGR_MAP_EXE_DIRECTORIES, /* the same for what is under a directory */
	YGR_MAP_CGROUPS,         /* id */
	YGR_MAP_RANGES,          /* ygr_policy_range, LPM: of objects for addresses, else of the kind */
	YGR_MAP_COUNTS,          /* ygr_policy_count: a 64 bit counter, least recently used */
	YGR_MAPS,
};

#define YGR_POLICY_LINEAGE_WORDS (YGR_POLICY_LINEAGES_MAX / 32) /* at the start of a value of exes */

struct ygr_policy_program {
	const struct ygr_policy_operation *operation;
	struct bpf_insn *insns; /* map references: src_reg BPF_PSEUDO_MAP_*, imm the enum above */
	size_t count;
};

struct ygr_policy_code {
	const struct ygr_policy *policy; /* borrowed */
	struct ygr_policy_program programs[YGR_OPERATIONS];
	size_t program_count;
	uint32_t value_words[YGR_MAPS]; /* of 32 bits; 0: the map is not used */
};

/*
 * POLICY is evaluated without errors and must outlive the result. -EOPNOTSUPP for a rule that needs more than
 * a decision program can know, -E2BIG beyond a bound, -ENOMEM; the error says which rule.
 */
int ygr_policy_linearize(const struct ygr_policy *policy, struct ygr_policy_code **ret_code,
			 struct ygr_error *error);
struct ygr_policy_code *ygr_policy_code_free(struct ygr_policy_code *code);

/* The program of OPERATION (YGR_OP_*), or NULL: all of it is allowed. */
const struct ygr_policy_program *ygr_policy_code_find(const struct ygr_policy_code *code,
						      unsigned operation);

/*
 * The rules of OPERATION in the order in which they are asked: the strongest first, equal ones as written.
 * malloc'ed, NULL without memory; *ret_count may be 0.
 */
const struct ygr_policy_rule **ygr_policy_rules_in_order(const struct ygr_policy *policy, unsigned operation,
							 size_t *ret_count);
