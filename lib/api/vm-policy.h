/* VMPolicy: what may happen in which VMs, and what the node does about it. The schema for an API server is
 * crds/vmpolicies.yaml; the language of `policy` is docs/policy-language.md and is not looked at here. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/api/condition.h"
#include "lib/api/meta.h"
#include "lib/api/selector.h"

#define YGR_VM_POLICY_KIND           "VMPolicy"
#define YGR_CLUSTER_VM_POLICY_KIND   "ClusterVMPolicy"
#define YGR_VM_POLICY_TEXT_MAX       (1u << 20) /* bytes of `policy` */
#define YGR_VM_POLICY_RULE_MODES_MAX 512
#define YGR_VM_POLICY_FAILURES_MAX   10 /* in status */
#define YGR_VM_POLICY_RULES_SHOWN    256

enum ygr_policy_mode { YGR_MODE_AUDIT, YGR_MODE_ENFORCE };
enum ygr_on_unsupported { YGR_UNSUPPORTED_REPORT, YGR_UNSUPPORTED_REFUSE };

/* The words of the enums, NULL-terminated, in their order. */
extern const char *const ygr_policy_mode_words[];
extern const char *const ygr_on_unsupported_words[];

struct ygr_rule_mode {
	char *rule;
	enum ygr_policy_mode mode;
};

struct ygr_vm_policy {
	struct ygr_meta meta;
	const json_t *spec; /* as it was written; a reference of its own */
	bool suspend;
	enum ygr_policy_mode mode;      /* default: Audit */
	bool cluster;                   /* a ClusterVMPolicy */
	struct ygr_selector namespaces; /* of a ClusterVMPolicy: whose VMs it is about */
	struct ygr_selector selector;
	enum ygr_on_unsupported on_unsupported; /* default: Report */
	char *text;
	size_t text_length;
	struct ygr_rule_mode *rule_modes;
	size_t rule_mode_count;
};

/*
 * Decodes and validates a document. On error nothing is returned and ERROR names file, line, column, field
 * path and what was expected: -EINVAL, -ENOMEM.
 */
int ygr_vm_policy_decode(const struct ygr_doc *doc, struct ygr_vm_policy **ret, struct ygr_error *error);
/* The same for a ClusterVMPolicy, which has namespaces beside. */
int ygr_cluster_vm_policy_decode(const struct ygr_doc *doc, struct ygr_vm_policy **ret,
				 struct ygr_error *error);
struct ygr_vm_policy *ygr_vm_policy_free(struct ygr_vm_policy *policy);

/* The mode of RULE: that of ruleModes, else the policy's. */
enum ygr_policy_mode ygr_vm_policy_mode_of(const struct ygr_vm_policy *policy, const char *rule);

/* Status. All strings are borrowed during the call; NULL leaves a field out. */
struct ygr_vm_policy_rule {
	const char *name;
	enum ygr_policy_mode mode;
	unsigned enforced, audited, unsupported; /* guests */
};

struct ygr_vm_policy_failure {
	const char *guest, *rule; /* rule: NULL when it is the whole policy */
	const char *reason, *message;
};

struct ygr_vm_policy_diagnostic {
	unsigned line, column; /* in the policy's text, from 1 */
	bool warning;
	const char *message;
};

struct ygr_vm_policy_status {
	int64_t generation;
	const struct ygr_condition *conditions;
	size_t condition_count;
	const char *digest, *key_id; /* of the bundle; NULL: none was made */
	unsigned matched, enforcing, auditing, failed;
	const struct ygr_vm_policy_rule *rules;
	size_t rule_count;
	const struct ygr_vm_policy_failure *failures;
	size_t failure_count;
	const struct ygr_vm_policy_diagnostic *diagnostics;
	size_t diagnostic_count;
	int64_t last_violation; /* seconds since the epoch; 0: none */
};

/* The whole object. POLICY's spec may be NULL with *META (of an object that never was good). NULL when out of memory. */
json_t *ygr_vm_policy_encode(const char *namespace_, const char *name, const struct ygr_vm_policy *policy,
			     const struct ygr_vm_policy_status *status);
