/* What a policy does, in sentences, and which hooks of the guest's kernel it takes to enforce it. */
#pragma once

#include "lib/policy/ast.h"
#include "lib/policy/text.h"

/* POLICY: evaluated without errors. */
void ygr_policy_explain(const struct ygr_policy *policy, struct ygr_policy_text *out);
