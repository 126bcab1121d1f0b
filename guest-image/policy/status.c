/* What policies.h tells: status and verdicts. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "guest-image/policy/policies.h"
#include "lib/base/hex.h"
#include "lib/policy/operation.h"

static void uuid_text(const uint8_t uuid[16], char out[37])
{
	char digits[33];
	ygr_hex_encode(uuid, 16, digits);
	snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", digits, digits + 8, digits + 12, digits + 16,
		 digits + 20);
}

/* Hooks of OPERATION that this kernel lacks, and whether it matters. */
static bool lacks(const struct ygr_policies *policies, unsigned operation, const char **ret_hook)
{
	for (unsigned i = 0; i < YGR_FRAMES && policies->open; i++)
		if (ygr_hook_frames[i].operation == operation && !ygr_hook_frames[i].optional &&
		    policies->loader.hook_ids[i] == 0) {
			*ret_hook = ygr_hook_frames[i].hook;
			return true;
		}
	return false;
}

static json_t *unenforced(const struct ygr_policies *policies, const struct ygr_bundle *bundle)
{
	json_t *list = json_array();
	bool all = policies->enforceable.reason[0] != '\0';
	for (uint32_t i = 0; i < bundle->rule_count; i++) {
		const struct ygr_bundle_rule *rule = &bundle->rules[i];
		const char *hook = "";
		char message[160];
		if (!all && !lacks(policies, rule->operation, &hook))
			continue;
		snprintf(message, sizeof(message),
			 "%s is not held back everywhere: this kernel has no hook %s",
			 ygr_policy_operation(rule->operation)->name, hook);
		json_array_append_new(
		    list, json_pack("{s:s, s:s, s:s, s:s}", "rule", rule->name, "reason",
				    all ? policies->enforceable.reason : "HookMissing", "message",
				    all ? "nothing is enforced in this VM" : message, "remedy",
				    all ? policies->enforceable.remedy
					: "run a kernel with CONFIG_SECURITY_PATH and "
					  "CONFIG_SECURITY_NETWORK, 6.1 or later"));
	}
	return list;
}

static json_t *missing_names(const struct ygr_missing *missing)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < missing->count; i++) {
		json_t *name = json_string(missing->names[i]);
		json_array_append_new(list, name ? name : json_string("?"));
	}
	return list;
}

char *ygr_policies_status(const struct ygr_policies *policies, const char *message)
{
	json_t *list = json_array();
	size_t at = 0;
	for (size_t i = 0; i < policies->store.count; i++) {
		const struct ygr_bundle *bundle = policies->store.stored[i].bundle;
		char uid[37];
		if (bundle->removed || at >= YGR_POLICIES_MAX)
			continue;
		uuid_text(bundle->about.policy, uid);
		json_t *without = unenforced(policies, bundle);
		json_array_append_new(
		    list, json_pack("{s:s, s:s, s:I, s:b, s:o, s:o}", "uid", uid, "name", bundle->name,
				    "generation", (json_int_t)bundle->about.generation, "enforced",
				    json_array_size(without) == 0, "missing",
				    missing_names(&policies->missing[at]), "unenforced", without));
		at++;
	}
	json_int_t lost = policies->open ? (json_int_t)policies->loader.control->lost : 0;
	json_t *document =
	    json_pack("{s:s, s:b, s:s, s:s, s:I, s:o}", "message", message, "enforceable",
		      policies->enforceable.reason[0] == '\0', "reason", policies->enforceable.reason,
		      "remedy", policies->enforceable.remedy, "lost", lost, "policies", list);
	char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;
	json_decref(document);
	return text;
}

static void name_rule(struct ygr_policies *policies, struct ygr_violation *violation)
{
	const struct ygr_stored *stored = ygr_store_find(&policies->store, violation->policy);
	if (stored && stored->generation == violation->generation && violation->rule >= 1 &&
	    violation->rule <= stored->bundle->rule_count)
		memcpy(violation->rule_name, stored->bundle->rules[violation->rule - 1].name,
		       sizeof(violation->rule_name));
}

void ygr_policies_violation(struct ygr_policies *policies, const struct ygr_frame_context *record,
			    uint64_t position, struct ygr_violation *ret_violation)
{
	const struct ygr_policy_event *event = &record->event;
	struct ygr_violation violation = {
	    .position = position,
	    .monotonic_ns = event->time_ns,
	    .generation = record->generation,
	    .lost = policies->loader.control->lost,
	    .rule = event->rule,
	    .action = event->action,
	    .answer = record->answer,
	    .operation = record->operation,
	    .process = event->process,
	    .thread = record->thread,
	    .user = event->user,
	    .group = event->group,
	    .cgroup = event->own_cgroup,
	    .file_inode = event->file.inode,
	    .exe_inode = event->exe.inode,
	    .file_device = event->file.device,
	    .exe_device = event->exe.device,
	    .family = event->family,
	    .port = event->port,
	    .protocol = event->protocol,
	    .access = event->access,
	    .capability = event->capability,
	    .target_user = event->target_user,
	};
	memcpy(violation.policy, record->policy, sizeof(violation.policy));
	memcpy(violation.address, event->address, sizeof(violation.address));
	memcpy(violation.file, event->entry.name, sizeof(violation.file));
	memcpy(violation.exe, record->exe_name, sizeof(violation.exe));
	memcpy(violation.comm, record->comm, sizeof(violation.comm));
	violation.file[sizeof(violation.file) - 1] = violation.exe[sizeof(violation.exe) - 1] = '\0';
	violation.comm[sizeof(violation.comm) - 1] = '\0';
	name_rule(policies, &violation);
	*ret_violation = violation;
}
