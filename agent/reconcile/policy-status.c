/* What is told about policies: the documents of /v1/policies, and the policies' part of VMGuest. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/reconcile/policy.h"
#include "lib/base/text.h"

#define UNSUPPORTED_MAX 64
#define MISSING_MAX     32

/* A guest's word, printable and bounded; NULL when it said none. */
static json_t *word(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	if (!text || !*text)
		return NULL;
	char *clean = ygr_text_from_bytes(text, strnlen(text, 512), false);
	json_t *result = clean ? json_string(clean) : NULL;
	free(clean);
	return result;
}

static const struct ygr_policy_rule *rule_named(const struct ygr_hold *hold, const char *name)
{
	for (const struct ygr_policy_rule *rule = hold->part->tree->rules; rule && name; rule = rule->next)
		if (!strcmp(rule->name, name))
			return rule;
	return NULL;
}

static void add(json_t *list, const char *rule, const char *reason, const char *message, json_t *remedy)
{
	if (json_array_size(list) < UNSUPPORTED_MAX)
		json_array_append_new(list, json_pack("{s:s, s:s, s:s*, s:o*}", "rule", rule, "reason",
						      reason, "message", message, "remedy", remedy));
	else
		json_decref(remedy);
}

/* Rules that the guest's kernel cannot hold: all of them when it lets no policy work. */
static void add_guest(const struct ygr_policing *policing, const struct ygr_hold *hold, json_t *list)
{
	const json_t *entry;
	size_t i;

	if (json_is_false(json_object_get(policing->status, "enforceable"))) {
		json_t *reason = word(policing->status, "reason"),
		       *remedy = word(policing->status, "remedy");
		for (const struct ygr_policy_rule *rule = hold->part->tree->rules; rule; rule = rule->next)
			add(list, rule->name, reason ? json_string_value(reason) : "NotEnforceable",
			    remedy ? json_string_value(remedy) : NULL, json_incref(remedy));
		json_decref(reason);
		json_decref(remedy);
		return;
	}
	json_array_foreach(json_object_get(hold->said, "unenforced"), i, entry)
	{
		const struct ygr_policy_rule *rule =
		    rule_named(hold, json_string_value(json_object_get(entry, "rule")));
		json_t *reason = word(entry, "reason"), *message = word(entry, "message");
		if (rule)
			add(list, rule->name, reason ? json_string_value(reason) : "Unsupported",
			    message ? json_string_value(message) : NULL, word(entry, "remedy"));
		json_decref(reason);
		json_decref(message);
	}
}

/* Reactions that this node cannot do to this VM. */
static void add_node(const struct ygr_policing *policing, const struct ygr_hold *hold, json_t *list)
{
	const struct ygr_enforce *enforce = policing->guest->reconcile->options.enforce;
	const struct ygr_enforce_plan *plan = hold->part->plan;
	char message[256], sentence[512];

	for (size_t i = 0; enforce && i < plan->reaction_count; i++)
		for (size_t j = 0; j < plan->reactions[i].action_count; j++) {
			const struct ygr_enforce_action *action = &plan->reactions[i].actions[j];
			const char *reason =
			    ygr_enforce_unsupported(enforce, policing->guest->vm, action, message);
			if (!reason)
				continue;
			snprintf(sentence, sizeof(sentence), "%.200s: %s", action->text, message);
			add(list, plan->reactions[i].rule, reason, sentence, NULL);
		}
}

json_t *ygr_hold_unsupported(const struct ygr_policing *policing, const struct ygr_hold *hold)
{
	json_t *list = json_array();

	add_guest(policing, hold, list);
	add_node(policing, hold, list);
	return list;
}

static const char *state_word(const struct ygr_policing *policing, const struct ygr_hold *hold)
{
	switch (hold->state) {
	case YGR_HOLD_HELD:
		if (json_is_false(json_object_get(policing->status, "enforceable")))
			return "Unenforceable";
		return hold->part->enforces ? "Enforcing" : "Auditing";
	case YGR_HOLD_LOADING:
		return "Loading";
	case YGR_HOLD_FAILED:
		return "Failed";
	case YGR_HOLD_REFUSED:
		return "Refused";
	default:
		return "Pending";
	}
}

json_t *ygr_policing_policies(const struct ygr_policing *policing)
{
	json_t *list = json_array();

	for (const struct ygr_hold *hold = policing->holds; hold; hold = hold->next) {
		json_t *missing = json_array();
		const json_t *name;
		size_t i;
		json_array_foreach(json_object_get(hold->said, "missing"), i, name)
		{
			char *clean = json_is_string(name) && i < MISSING_MAX
					  ? ygr_text_from_bytes(json_string_value(name),
								strnlen(json_string_value(name), 256), false)
					  : NULL;
			if (clean)
				json_array_append_new(missing, json_string(clean));
			free(clean);
		}
		json_array_append_new(
		    list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:s*, s:s*, s:o, s:o}", "name",
				    hold->object->name, "namespace", hold->object->namespace_, "policy",
				    hold->part->tree->name, "digest", hold->part->digest, "state",
				    state_word(policing, hold), "generation",
				    (json_int_t)hold->compiled->generation, "reason",
				    hold->reason[0] ? hold->reason : NULL, "message",
				    hold->message[0] ? hold->message : NULL, "unsupported",
				    ygr_hold_unsupported(policing, hold), "missing", missing));
	}
	return list;
}

json_t *ygr_policing_actions(const struct ygr_policing *policing)
{
	const struct ygr_enforce *enforce = policing->guest->reconcile->options.enforce;
	struct ygr_enforce_active active[YGR_ENFORCE_ACTIVE_MAX];
	size_t count = enforce ? ygr_enforce_list(enforce, policing->guest->vm->uuid, active) : 0;
	json_t *list = json_array();

	for (size_t i = 0; i < count && i < 64; i++) {
		json_t *entry = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:s*}", "policy", active[i].policy,
					  "rule", active[i].rule, "type", active[i].type, "target",
					  active[i].target, "action", active[i].action, "since",
					  ygr_time_encode(active[i].since), "problem", active[i].problem);
		if (entry && active[i].expires)
			json_object_set_new(entry, "expires", ygr_time_encode(active[i].expires));
		json_array_append_new(list, entry);
	}
	return list;
}

void ygr_policing_conditions(struct ygr_policing *policing, int64_t now)
{
	json_t *reason = word(policing->status, "reason"), *remedy = word(policing->status, "remedy");
	const char *why = policing->link ? ygr_policy_link_reason(policing->link) : NULL;
	const char *message = policing->link ? ygr_policy_link_message(policing->link) : NULL;

	if (!policing->status)
		ygr_condition_set(&policing->enforceable, YGR_CONDITION_UNKNOWN,
				  why ? why : "NoPolicyChannel", 0, now, "%s",
				  message ? message : "the guest has not said what it can do");
	else if (json_is_false(json_object_get(policing->status, "enforceable")))
		ygr_condition_set(&policing->enforceable, YGR_CONDITION_FALSE,
				  reason ? json_string_value(reason) : "NotEnforceable", 0, now, "%s",
				  remedy ? json_string_value(remedy) : "the guest does not say why");
	else
		ygr_condition_set(&policing->enforceable, YGR_CONDITION_TRUE, "Enforceable", 0, now,
				  "policies work in this guest");
	json_decref(reason);
	json_decref(remedy);
}

/* Documents of VMPolicies. */

struct sums {
	unsigned matched, enforcing, auditing, failed;
	struct ygr_vm_policy_rule *rules;
	size_t rule_count;
	struct ygr_vm_policy_failure failures[YGR_VM_POLICY_FAILURES_MAX];
	size_t failure_count;
	json_t *owned; /* strings that failures borrow */
};

static void add_failure(struct sums *sums, const char *guest, const char *rule, const char *reason,
			const char *message)
{
	if (sums->failure_count < YGR_VM_POLICY_FAILURES_MAX)
		sums->failures[sums->failure_count++] =
		    (struct ygr_vm_policy_failure){guest, rule, reason, message};
}

static bool is_listed(const json_t *list, const char *rule)
{
	const json_t *entry;
	size_t i;

	json_array_foreach((json_t *)list, i, entry)
	{
		if (!strcmp(json_string_value(json_object_get(entry, "rule")), rule))
			return true;
	}
	return false;
}

static void count_rules(struct sums *sums, const struct ygr_hold *hold, const json_t *unsupported)
{
	for (size_t i = 0; i < sums->rule_count; i++) {
		struct ygr_vm_policy_rule *rule = &sums->rules[i];
		if (!rule_named(hold, rule->name))
			continue;
		if (is_listed(unsupported, rule->name))
			rule->unsupported++;
		else if (hold->state == YGR_HOLD_HELD && rule->mode == YGR_MODE_ENFORCE)
			rule->enforced++;
		else if (hold->state == YGR_HOLD_HELD)
			rule->audited++;
	}
}

static void sum_guest(struct sums *sums, const struct ygr_policy_wanted *object,
		      const struct ygr_policing *policing)
{
	bool enforcing = false, held = false, failed = false, matched = false;
	const char *guest = policing->guest->vm->name;

	for (const struct ygr_hold *hold = policing->holds; hold; hold = hold->next) {
		const json_t *entry;
		size_t i;
		if (hold->object != object)
			continue;
		json_t *unsupported = ygr_hold_unsupported(policing, hold);
		matched = true;
		held |= hold->state == YGR_HOLD_HELD;
		enforcing |= hold->state == YGR_HOLD_HELD && hold->part->enforces;
		if (hold->state == YGR_HOLD_FAILED || hold->state == YGR_HOLD_REFUSED) {
			failed = true;
			add_failure(sums, guest, NULL, hold->reason, hold->message);
		}
		json_array_foreach(unsupported, i, entry)
		    add_failure(sums, guest, json_string_value(json_object_get(entry, "rule")),
				json_string_value(json_object_get(entry, "reason")),
				json_string_value(json_object_get(entry, "message")));
		count_rules(sums, hold, unsupported);
		json_array_append_new(sums->owned, unsupported);
	}
	sums->matched += matched;
	sums->enforcing += enforcing && !failed;
	sums->auditing += held && !enforcing && !failed;
	sums->failed += failed;
}

static void collect_rules(struct sums *sums, const struct ygr_compiled *compiled)
{
	size_t count = 0;

	for (size_t i = 0; compiled && i < compiled->part_count; i++)
		count += compiled->parts[i].tree->rule_count;
	sums->rules = calloc(count + 1, sizeof(*sums->rules));
	for (size_t i = 0; compiled && sums->rules && i < compiled->part_count; i++)
		for (const struct ygr_policy_rule *rule = compiled->parts[i].tree->rules;
		     rule && sums->rule_count < count; rule = rule->next)
			sums->rules[sums->rule_count++] = (struct ygr_vm_policy_rule){
			    .name = rule->name, .mode = ygr_compiled_mode(compiled, rule->name)};
}

static void set_accepted(struct ygr_policy_wanted *object, int64_t generation, int64_t now)
{
	if (object->problem)
		ygr_condition_set(&object->accepted, YGR_CONDITION_FALSE, "Invalid", generation, now, "%s",
				  object->problem);
	else if (!object->newest)
		ygr_condition_set(&object->accepted, YGR_CONDITION_UNKNOWN, "Compiling", generation, now,
				  "the policy is being compiled");
	else if (!object->newest->good)
		ygr_condition_set(&object->accepted, YGR_CONDITION_FALSE, "Invalid", generation, now, "%s",
				  object->newest->message);
	else
		ygr_condition_set(&object->accepted, YGR_CONDITION_TRUE, "Valid", generation, now,
				  "the policy compiles");
}

static void set_conditions(struct ygr_policy_wanted *object, const struct sums *sums, int64_t generation,
			   int64_t now)
{
	unsigned held = sums->enforcing + sums->auditing;

	set_accepted(object, generation, now);
	if (!object->policy || !object->good || object->policy->suspend)
		ygr_condition_set(&object->ready, YGR_CONDITION_FALSE,
				  object->policy && object->policy->suspend ? "Suspended" : "Invalid",
				  generation, now, "no guest holds it");
	else if (!sums->matched)
		ygr_condition_set(&object->ready, YGR_CONDITION_FALSE, "NoGuests", generation, now,
				  "no VM of this node is selected");
	else
		ygr_condition_set(&object->ready,
				  held == sums->matched ? YGR_CONDITION_TRUE : YGR_CONDITION_FALSE,
				  held == sums->matched ? "AllHold" : "NotAllHold", generation, now,
				  "%u of %u guests hold it", held, sums->matched);
	if (sums->failure_count)
		ygr_condition_set(
		    &object->degraded, YGR_CONDITION_TRUE, sums->failed ? "NotHeld" : "RulesUnsupported",
		    generation, now, "%s: %s", sums->failures[0].guest,
		    sums->failures[0].message ? sums->failures[0].message : sums->failures[0].reason);
	else
		ygr_condition_set(&object->degraded, YGR_CONDITION_FALSE, "AsExpected", generation, now,
				  "%s", "");
}

/* What the compiler said about the newest text; at most 64 entries. */
static size_t diagnostics_of(const struct ygr_policy_wanted *object, struct ygr_vm_policy_diagnostic *ret,
			     char (*texts)[640])
{
	struct ygr_policy_said said;
	size_t count = 0;

	if (!object->newest || !object->newest->unit)
		return 0;
	for (; count < 64 && ygr_policy_unit_said_at(object->newest->unit, count, &said); count++) {
		snprintf(texts[count], sizeof(texts[count]), "%s%s%s", said.sentence,
			 said.hint[0] ? "; " : "", said.hint);
		ret[count] =
		    (struct ygr_vm_policy_diagnostic){said.line, said.column, said.warning, texts[count]};
	}
	return count;
}

static json_t *document(struct ygr_policies *policies, struct ygr_policy_wanted *object, int64_t now)
{
	int64_t generation = object->policy ? object->policy->meta.generation : 0;
	struct ygr_vm_policy_diagnostic said[64];
	struct sums sums = {.owned = json_array()};
	char texts[64][640];

	collect_rules(&sums, object->good);
	for (size_t i = 0; i < policies->reconcile->guest_count; i++)
		if (policies->reconcile->guests[i]->policing)
			sum_guest(&sums, object, policies->reconcile->guests[i]->policing);
	set_conditions(object, &sums, generation, now);
	if (object->last_violation >= object->shown_violation + YGR_LAST_EVENT_S)
		object->shown_violation = object->last_violation;
	const struct ygr_condition conditions[] = {object->accepted, object->ready, object->degraded};
	const struct ygr_identity *identity = policies->reconcile->options.identity;
	const struct ygr_vm_policy_status status = {
	    .generation = object->newest ? object->newest->generation : generation,
	    .conditions = conditions,
	    .condition_count = 3,
	    .digest = object->good && object->good->part_count ? object->good->parts[0].digest : NULL,
	    .key_id = identity ? ygr_identity_cert(identity)->name : NULL,
	    .matched = sums.matched,
	    .enforcing = sums.enforcing,
	    .auditing = sums.auditing,
	    .failed = sums.failed,
	    .rules = sums.rules,
	    .rule_count = sums.rule_count,
	    .failures = sums.failures,
	    .failure_count = sums.failure_count,
	    .diagnostics = said,
	    .diagnostic_count = diagnostics_of(object, said, texts),
	    .last_violation = object->shown_violation,
	};
	json_t *result = ygr_vm_policy_encode(object->namespace_, object->name, object->policy, &status);
	free(sums.rules);
	json_decref(sums.owned);
	return result;
}

static int by_name(const void *a, const void *b)
{
	const struct ygr_policy_wanted *x = *(struct ygr_policy_wanted *const *)a,
				       *y = *(struct ygr_policy_wanted *const *)b;
	int order = strcmp(x->namespace_, y->namespace_);

	return order ? order : strcmp(x->name, y->name);
}

json_t *ygr_policies_documents(struct ygr_policies *policies, int64_t now)
{
	json_t *list = json_array();

	if (policies->count)
		qsort(policies->objects, policies->count, sizeof(*policies->objects), by_name);
	for (size_t i = 0; list && i < policies->count; i++)
		json_array_append_new(list, document(policies, policies->objects[i], now));
	return list;
}
