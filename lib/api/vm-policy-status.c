/* VMPolicy as it is published. json_pack's "s*" and "o*" leave a member out when its value is NULL. */
#include <stdio.h>

#include "lib/api/vm-policy.h"

static json_t *encode_rules(const struct ygr_vm_policy_status *status)
{
	json_t *list = json_array();

	for (size_t i = 0; i < status->rule_count && i < YGR_VM_POLICY_RULES_SHOWN; i++) {
		const struct ygr_vm_policy_rule *rule = &status->rules[i];
		json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:i, s:i}", "name", rule->name,
						      "mode", ygr_policy_mode_words[rule->mode], "enforced",
						      (int)rule->enforced, "audited", (int)rule->audited,
						      "unsupported", (int)rule->unsupported));
	}
	return list;
}

static json_t *encode_failures(const struct ygr_vm_policy_status *status)
{
	json_t *list = json_array();

	for (size_t i = 0; i < status->failure_count && i < YGR_VM_POLICY_FAILURES_MAX; i++) {
		const struct ygr_vm_policy_failure *failure = &status->failures[i];
		json_array_append_new(list, json_pack("{s:s, s:s*, s:s, s:s*}", "guest", failure->guest,
						      "rule", failure->rule, "reason", failure->reason,
						      "message", failure->message));
	}
	return list;
}

static json_t *encode_diagnostics(const struct ygr_vm_policy_status *status)
{
	json_t *list = json_array();

	for (size_t i = 0; i < status->diagnostic_count; i++) {
		const struct ygr_vm_policy_diagnostic *said = &status->diagnostics[i];
		json_array_append_new(list, json_pack("{s:i, s:i, s:s, s:s}", "line", (int)said->line,
						      "column", (int)said->column, "severity",
						      said->warning ? "Warning" : "Error", "message",
						      said->message));
	}
	return list;
}

static json_t *encode_status(const struct ygr_vm_policy_status *status)
{
	json_t *conditions = json_array();
	char summary[32];

	for (size_t i = 0; i < status->condition_count; i++)
		if (status->conditions[i].changed)
			json_array_append_new(conditions, ygr_condition_encode(&status->conditions[i]));
	snprintf(summary, sizeof(summary), "%u/%u", status->enforcing + status->auditing, status->matched);
	json_t *object = json_pack(
	    "{s:I, s:o, s:{s:i, s:i, s:i, s:i, s:s}, s:o, s:o, s:o}", "observedGeneration",
	    (json_int_t)status->generation, "conditions", conditions, "guests", "matched",
	    (int)status->matched, "enforcing", (int)status->enforcing, "auditing", (int)status->auditing,
	    "failed", (int)status->failed, "summary", summary, "rules", encode_rules(status), "failures",
	    encode_failures(status), "diagnostics", encode_diagnostics(status));
	if (object && status->digest)
		json_object_set_new(
		    object, "bundle",
		    json_pack("{s:s, s:s*}", "digest", status->digest, "keyID", status->key_id));
	if (object && status->last_violation)
		json_object_set_new(object, "lastViolationTime", ygr_time_encode(status->last_violation));
	return object;
}

json_t *ygr_vm_policy_encode(const char *namespace_, const char *name, const struct ygr_vm_policy *policy,
			     const struct ygr_vm_policy_status *status)
{
	return json_pack("{s:s, s:s, s:{s:s, s:s, s:I, s:o*}, s:O*, s:o}", "apiVersion", YGR_API_VERSION,
			 "kind", YGR_VM_POLICY_KIND, "metadata", "namespace", namespace_, "name", name,
			 "generation", (json_int_t)(policy ? policy->meta.generation : 0), "labels",
			 policy ? ygr_labels_encode(&policy->meta.labels) : NULL, "spec",
			 policy ? policy->spec : NULL, "status", encode_status(status));
}
