/* Text from the tree. */
#pragma once

#include "lib/policy/ast.h"
#include "lib/policy/text.h"

/* The canonical form: parses to the same tree, and prints as itself. */
void ygr_policy_print(const struct ygr_policy *policy, struct ygr_policy_text *out);

/* Pieces of it, for comments and sentences. */
void ygr_policy_print_value(const struct ygr_policy_value *value, struct ygr_policy_text *out);
void ygr_policy_print_expr(const struct ygr_policy_expr *expr, struct ygr_policy_text *out);
/* Without "rule NAME:". */
void ygr_policy_print_rule_body(const struct ygr_policy_rule *rule, struct ygr_policy_text *out);
void ygr_policy_print_host_action(const struct ygr_policy_host_action *action, struct ygr_policy_text *out);
void ygr_policy_print_duration(uint64_t ns, struct ygr_policy_text *out);
