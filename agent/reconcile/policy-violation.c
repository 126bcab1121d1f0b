/*
 * Violations. First what the node does about one, which is one update of a map; then the event, the counters and the
 * rest. Whatever a guest says about itself is a guest's word: bounded, made printable, and never a label of a metric.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/events/bus.h"
#include "agent/reconcile/policy.h"
#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/policy/event.h"
#include "lib/policy/operation.h"

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void uid_text(const uint8_t uid[16], char out[37])
{
	snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", uid[0],
		 uid[1], uid[2], uid[3], uid[4], uid[5], uid[6], uid[7], uid[8], uid[9], uid[10], uid[11],
		 uid[12], uid[13], uid[14], uid[15]);
}

/* The rule by our own tree, not by the guest's words; "default" for what could not be judged. */
static const char *rule_of(const struct ygr_hold *hold, const struct ygr_violation *violation)
{
	for (const struct ygr_policy_rule *rule = hold->part->tree->rules; rule; rule = rule->next)
		if (violation->generation == hold->generation ? rule->number == violation->rule
							      : !strcmp(rule->name, violation->rule_name))
			return rule->name;
	return "default";
}

static json_t *printable(const char *bytes)
{
	_cleanup_free_ char *text = ygr_text_from_bytes(bytes, strlen(bytes), false);

	return text ? json_string(text) : NULL;
}

static void put_peer(json_t *columns, const struct ygr_violation *violation)
{
	char text[INET6_ADDRSTRLEN];
	int family = violation->family == YGR_POLICY_IPV6 ? AF_INET6 : AF_INET;

	if ((violation->family != YGR_POLICY_IPV4 && violation->family != YGR_POLICY_IPV6) ||
	    !inet_ntop(family, violation->address, text, sizeof(text)))
		return;
	json_object_set_new(columns, "address", json_string(text));
	json_object_set_new(columns, "port", json_integer(violation->port));
}

static const char *operation_name(uint32_t operation)
{
	return operation < YGR_OPERATIONS ? ygr_policy_operation(operation)->name : "unknown";
}

static const char *action_name(uint32_t action)
{
	return action > YGR_ACTION_NONE && action <= YGR_ACTION_KILL
		   ? ygr_policy_action_name((enum ygr_policy_action)action)
		   : "deny";
}

static json_t *columns_of(const struct ygr_violation *violation)
{
	json_t *columns = json_pack(
	    "{s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:o*, s:o*, s:o*}", "operation",
	    operation_name(violation->operation), "action", action_name(violation->action), "answer",
	    (int)violation->answer, "pid", (json_int_t)violation->process, "tid",
	    (json_int_t)violation->thread, "uid", (json_int_t)violation->user, "gid",
	    (json_int_t)violation->group, "guestNs", (json_int_t)violation->monotonic_ns, "file",
	    violation->file[0] ? printable(violation->file) : NULL, "exe",
	    violation->exe[0] ? printable(violation->exe) : NULL, "comm", printable(violation->comm));

	if (columns)
		put_peer(columns, violation);
	return columns;
}

/* At most so many events a second for one guest; the rest is only counted. */
static bool may_tell(struct ygr_policing *policing, int64_t now)
{
	uint64_t second = (uint64_t)(now / 1000000000);

	if (second != policing->second) {
		policing->second = second;
		policing->events = 0;
	}
	return policing->events++ < YGR_POLICY_EVENTS_PER_SECOND;
}

static void tell(struct ygr_policing *policing, const struct ygr_hold *hold, const char *rule,
		 const struct ygr_violation *violation, int64_t now)
{
	struct ygr_reconcile *reconcile = policing->guest->reconcile;
	const struct ygr_vm *vm = policing->guest->vm;
	json_t *columns = columns_of(violation);
	char line[512];

	snprintf(line, sizeof(line), "%s %s%s%s by %s (pid %u, uid %u)", action_name(violation->action),
		 operation_name(violation->operation), violation->file[0] ? " of " : "", violation->file,
		 violation->exe[0] ? violation->exe : violation->comm, violation->process, violation->user);
	const struct ygr_event event = {
	    .time_ns = now,
	    .node = reconcile->options.node,
	    .namespace_ = vm->namespace_,
	    .vm = vm->name,
	    .stream = "violation",
	    .line = line,
	    .sequence = ++policing->sequence,
	    .policy = hold->object->name,
	    .rule = rule,
	    .severity = violation->action >= YGR_ACTION_DENY ? "warning" : "info",
	    .columns = columns,
	};
	if (reconcile->options.bus)
		ygr_bus_publish(reconcile->options.bus, &event);
	json_decref(columns);
}

void ygr_policing_violation(struct ygr_policing *policing, const struct ygr_violation *violation)
{
	struct ygr_reconcile *reconcile = policing->guest->reconcile;
	char uid[37];

	uid_text(violation->policy, uid);
	struct ygr_hold *hold = ygr_policing_find(policing, uid);
	if (!hold)
		return; /* of a policy that is being taken away */
	const char *rule = rule_of(hold, violation);
	/* An audited rule records; what the node does belongs to enforcing. */
	if (reconcile->options.enforce && ygr_compiled_mode(hold->compiled, rule) == YGR_MODE_ENFORCE)
		ygr_enforce_violation(reconcile->options.enforce, policing->guest->vm->uuid,
				      hold->part->owner, rule);
	int64_t now = now_ns();
	if (may_tell(policing, now))
		tell(policing, hold, rule, violation, now);
	else
		ygr_metric_add(reconcile->policies->dropped, 1, NULL);
	ygr_metric_add(reconcile->policies->violations, 1,
		       (const char *[]){hold->object->namespace_, hold->object->name, rule,
					action_name(violation->action)});
	hold->object->last_violation = now / 1000000000;
	if (hold->object->last_violation >= hold->object->shown_violation + YGR_LAST_EVENT_S) {
		reconcile->dirty = true;
		ygr_reconcile_soon(reconcile, YGR_PUBLISH_MS);
	}
}

/* "namespace/object/policy" -> the object's name. */
static void object_name(const char *owner, char *out, size_t size)
{
	const char *begin = strchr(owner, '/'), *end = begin ? strchr(begin + 1, '/') : NULL;

	snprintf(out, size, "%.*s", end ? (int)(end - begin - 1) : 0, end ? begin + 1 : "");
}

void ygr_policies_enforce_event(void *user, const struct ygr_enforce_event *event)
{
	struct ygr_reconcile *reconcile = user;
	struct ygr_observed *guest = NULL;
	char line[1536], policy[256];

	for (size_t i = 0; i < reconcile->guest_count; i++)
		if (!strcmp(reconcile->guests[i]->vm->uuid, event->uuid))
			guest = reconcile->guests[i];
	object_name(event->policy, policy, sizeof(policy));
	snprintf(line, sizeof(line), "%s: %s%s%s", event->what, event->action, event->message ? ": " : "",
		 event->message ? event->message : "");
	json_t *columns = json_pack("{s:s, s:s}", "type", event->type, "what", event->what);
	const struct ygr_event out = {
	    .time_ns = now_ns(),
	    .node = reconcile->options.node,
	    .namespace_ = guest ? guest->vm->namespace_ : NULL,
	    .vm = guest ? guest->vm->name : event->uuid,
	    .stream = "action",
	    .line = line,
	    .sequence = guest && guest->policing ? ++guest->policing->sequence : 0,
	    .policy = policy,
	    .rule = event->rule,
	    .severity = event->severity,
	    .columns = columns,
	};
	if (reconcile->options.bus)
		ygr_bus_publish(reconcile->options.bus, &out);
	json_decref(columns);
}
