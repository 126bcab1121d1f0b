/*
 * The language of VMPolicy from the outside: a unit is one file, read and understood. docs/policy-language.md
 * describes the language; README.md in this folder the phases behind.
 *
 *     ygr_policy_unit_new(...)          parse and evaluate
 *     ygr_policy_unit_errors(unit)      anything wrong? then ygr_policy_unit_said() tells it
 *     ygr_policy_unit_policies(unit)    the trees
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/policy/ast.h"

#define YGR_POLICY_MEMORY_MAX (64u << 20) /* bytes that one file may need */
#define YGR_POLICY_TEXT_MAX   (16u << 20) /* bytes of anything that is printed of it */

struct ygr_policy_unit;

/*
 * Reads LEN bytes of TEXT (copied); FILE is its name in messages. Errors in the policy are no failure here.
 * -EFBIG for more than YGR_POLICY_SOURCE_MAX, -E2BIG when it needs more memory than it may, -ENOMEM.
 */
int ygr_policy_unit_new(const char *file, const char *text, size_t len, struct ygr_policy_unit **ret_unit,
			struct ygr_error *error);
/* The same for the file PATH. */
int ygr_policy_unit_read(const char *path, struct ygr_policy_unit **ret_unit, struct ygr_error *error);
struct ygr_policy_unit *ygr_policy_unit_free(struct ygr_policy_unit *unit);

unsigned ygr_policy_unit_errors(const struct ygr_policy_unit *unit);
unsigned ygr_policy_unit_warnings(const struct ygr_policy_unit *unit);
/* Adds warnings; only for a unit without errors, once. */
void ygr_policy_unit_review(struct ygr_policy_unit *unit);
/* Appends errors and warnings as a person reads them: 0, -EMSGSIZE, -ENOMEM. */
int ygr_policy_unit_said(const struct ygr_policy_unit *unit, struct ygr_buf *out);

/* The same one at a time, see diagnostics.h: false when there is no number I. */
bool ygr_policy_unit_said_at(const struct ygr_policy_unit *unit, size_t i, struct ygr_policy_said *ret);

/* The trees, chained; complete only when there are no errors. Owned by the unit. */
const struct ygr_policy *ygr_policy_unit_policies(const struct ygr_policy_unit *unit);

/*
 * Enforce or only audit: sets the mode of RULE (NULL: of all rules) of POLICY (NULL: of all policies). An
 * audited rule that would forbid something is compiled as one that records it, and comes behind all that
 * forbid, so that it weakens none of them. Before linearizing; -ENOENT when there is no such rule.
 */
int ygr_policy_unit_audit(struct ygr_policy_unit *unit, const char *policy, const char *rule, bool audit);
