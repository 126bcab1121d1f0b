/*
 * Fixtures of `yagura policy test`: a YAML file that names a policy, and what it should say about events.
 * docs/policy-language.md describes it.
 */
#pragma once

#include "lib/base/yaml.h"
#include "lib/policy/situation.h"

struct ygr_policy_case {
	char *name;
	struct ygr_policy_situation situation; /* strings owned by the file's document */
	enum ygr_policy_action verdict;
	const char *rule; /* a rule's name, "default", or NULL: any */
	int error;        /* positive errno, -1: any */
};

struct ygr_policy_cases {
	struct ygr_doc **documents;
	size_t document_count;
	const char *policy; /* path of the policy's file, as written */
	const char *name;   /* of the policy in it, or NULL: its only one */
	struct ygr_policy_case *cases;
	size_t count;
};

/*
 * Reads PATH. -EINVAL with file, line and column; other errors as ygr_yaml_read(). What is in *ret_cases is
 * freed by _deinit, also after an error.
 */
int ygr_policy_cases_read(const char *path, struct ygr_policy_cases *ret_cases, struct ygr_error *error);
void ygr_policy_cases_deinit(struct ygr_policy_cases *cases);
