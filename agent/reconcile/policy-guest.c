/*
 * One guest's policies. What it should hold follows from objects and labels, what it does hold it says itself; the
 * difference is loaded, one bundle at a time. What it holds and nobody wants is taken away.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/reconcile/policy.h"
#include "lib/base/log.h"

#define PLANS_MAX 256 /* policies on one guest */

static void again(struct ygr_policing *policing)
{
	policing->guest->reconcile->dirty = true;
	ygr_reconcile_soon(policing->guest->reconcile, 0);
}

static void hold_free(struct ygr_hold *hold)
{
	ygr_compiled_unref(hold->compiled);
	json_decref(hold->said);
	free(hold);
}

struct ygr_hold *ygr_policing_find(struct ygr_policing *policing, const char *uid)
{
	for (struct ygr_hold *hold = policing->holds; hold; hold = hold->next)
		if (!strcmp(hold->part->uid_text, uid))
			return hold;
	return NULL;
}

static void set_problem(struct ygr_hold *hold, enum ygr_hold_state state, const char *reason,
			const char *message)
{
	hold->state = state;
	snprintf(hold->reason, sizeof(hold->reason), "%s", reason);
	snprintf(hold->message, sizeof(hold->message), "%s", message);
}

static void fail(struct ygr_policing *policing, struct ygr_hold *hold, const char *reason,
		 const char *message)
{
	uint64_t delay = (uint64_t)YGR_BACKOFF_MIN_MS << (hold->failures < 6 ? hold->failures : 6);

	if (strcmp(hold->message, message) != 0)
		ygr_log(YGR_LOG_WARNING, "reconcile", "VMPolicy %s on %s: %s", hold->part->owner,
			policing->guest->vm->name, message);
	hold->failures++;
	hold->next_ms = uv_now(policing->guest->reconcile->options.loop) +
			(delay > YGR_BACKOFF_MAX_MS ? YGR_BACKOFF_MAX_MS : delay);
	set_problem(hold, YGR_HOLD_FAILED, reason, message);
}

/* The guest's entry for UID, or NULL. */
static json_t *entry_of(const struct ygr_policing *policing, const char *uid)
{
	json_t *entry;
	size_t i;

	json_array_foreach(json_object_get(policing->status, "policies"), i, entry)
	{
		const char *its = json_string_value(json_object_get(entry, "uid"));
		if (its && !strcmp(its, uid))
			return entry;
	}
	return NULL;
}

static uint64_t generation_of(const json_t *entry)
{
	return (uint64_t)json_integer_value(json_object_get(entry, "generation"));
}

/* What the guest says about each hold; what does not hold all of its rules is given up where the policy asks so. */
static void judge(struct ygr_policing *policing)
{
	for (struct ygr_hold *hold = policing->holds; hold; hold = hold->next) {
		json_t *entry = entry_of(policing, hold->part->uid_text);
		json_decref(hold->said);
		hold->said = json_incref(entry);
		bool there = entry && generation_of(entry) == hold->generation;
		if (hold->state == YGR_HOLD_HELD && !there)
			hold->state = YGR_HOLD_PENDING; /* the guest forgot it */
		if (!there || hold->state == YGR_HOLD_REFUSED)
			continue;
		if (hold->state != YGR_HOLD_HELD)
			set_problem(hold, YGR_HOLD_HELD, "", "");
		hold->failures = 0;
		json_t *unsupported = ygr_hold_unsupported(policing, hold);
		if (hold->compiled->on_unsupported == YGR_UNSUPPORTED_REFUSE &&
		    json_array_size(unsupported)) {
			const char *message =
			    json_string_value(json_object_get(json_array_get(unsupported, 0), "message"));
			set_problem(hold, YGR_HOLD_REFUSED, "Unsupported",
				    message ? message : "not all rules can be held");
		}
		json_decref(unsupported);
	}
}

static void count_lost(struct ygr_policing *policing)
{
	uint64_t lost = (uint64_t)json_integer_value(json_object_get(policing->status, "lost"));

	if (lost > policing->lost)
		ygr_metric_add(policing->guest->reconcile->policies->lost, (double)(lost - policing->lost),
			       NULL);
	policing->lost = lost; /* less after a boot: counted anew */
}

static void on_status(void *user, int64_t result, const json_t *status)
{
	struct ygr_policing *policing = user;
	struct ygr_hold *hold = ygr_policing_find(policing, policing->waiting);
	const char *message = json_string_value(json_object_get(status, "message"));

	json_decref(policing->status);
	policing->status = json_incref((json_t *)status);
	count_lost(policing);
	if (policing->waiting[0] && result < 0 && hold && !policing->removing)
		fail(policing, hold, "RefusedByGuest",
		     message && *message ? message : strerror((int)-result));
	else if (policing->waiting[0] && result < 0)
		ygr_log(YGR_LOG_WARNING, "reconcile", "%s: policy %s is not taken away: %s",
			policing->guest->vm->name, policing->waiting,
			message ? message : strerror((int)-result));
	policing->waiting[0] = '\0';
	judge(policing);
	again(policing);
}

static void on_changed(void *user)
{
	struct ygr_policing *policing = user;

	if (!ygr_policy_link_connected(policing->link)) {
		policing->status = (json_decref(policing->status), NULL);
		policing->waiting[0] = '\0';
		for (struct ygr_hold *hold = policing->holds; hold; hold = hold->next)
			if (hold->state == YGR_HOLD_LOADING)
				hold->state = YGR_HOLD_PENDING;
	}
	again(policing);
}

static void on_violation(void *user, const struct ygr_violation *violation)
{
	ygr_policing_violation(user, violation);
}

int ygr_policing_new(struct ygr_observed *guest, struct ygr_policing **ret)
{
	struct ygr_policing *policing = calloc(1, sizeof(*policing));

	if (!policing)
		return -ENOMEM;
	policing->guest = guest;
	policing->enforceable.type = "PolicyEnforceable";
	*ret = policing;
	return 0;
}

struct ygr_policing *ygr_policing_free(struct ygr_policing *policing)
{
	if (!policing)
		return NULL;
	ygr_policy_link_close(policing->link);
	while (policing->holds) {
		struct ygr_hold *hold = policing->holds;
		policing->holds = hold->next;
		hold_free(hold);
	}
	json_decref(policing->status);
	free(policing);
	return NULL;
}

void ygr_policing_forget(struct ygr_policy_wanted *object, const struct ygr_policing *policing)
{
	struct ygr_hold **at = &((struct ygr_policing *)policing)->holds;

	while (*at) {
		struct ygr_hold *hold = *at;
		if (hold->object != object) {
			at = &hold->next;
			continue;
		}
		*at = hold->next;
		hold_free(hold);
	}
}

/* The channel lives while the link does: what is wrong with the guest is told there already. */
static void settle_link(struct ygr_policing *policing)
{
	struct ygr_observed *guest = policing->guest;
	bool wanted = guest->link && ygr_link_state(guest->link) == YGR_LINK_CONNECTED &&
		      !guest->reconcile->stopping && guest->reconcile->options.identity;
	const struct ygr_policy_link_handlers handlers = {on_changed, on_status, on_violation, policing};
	const struct ygr_vm *vm = guest->vm;

	if (!wanted && policing->link) {
		policing->link = ygr_policy_link_close(policing->link);
		policing->status = (json_decref(policing->status), NULL);
		policing->waiting[0] = '\0';
	}
	if (!wanted || policing->link)
		return;
	const struct ygr_link_target target = {vm->uuid, vm->namespace_, vm->name, vm->channel};
	if (ygr_policy_link_open(guest->reconcile->options.telebpf, &target, &handlers, &policing->link) < 0)
		ygr_reconcile_soon(guest->reconcile, YGR_BACKOFF_MIN_MS);
}

static bool selects(const struct ygr_policy_wanted *object, const struct ygr_vm *vm)
{
	return object->policy && object->good && !object->policy->suspend &&
	       !strcmp(object->namespace_, vm->namespace_) &&
	       ygr_selector_matches(&object->policy->selector, &vm->labels);
}

static void need(struct ygr_policing *policing, struct ygr_policy_wanted *object,
		 struct ygr_policy_part *part)
{
	struct ygr_hold *hold = ygr_policing_find(policing, part->uid_text);

	if (!hold) {
		hold = calloc(1, sizeof(*hold));
		if (!hold)
			return;
		hold->next = policing->holds;
		policing->holds = hold;
	}
	hold->needed = true;
	if (hold->compiled == object->good)
		return;
	object->good->references++;
	ygr_compiled_unref(hold->compiled);
	hold->object = object;
	hold->compiled = object->good;
	hold->part = part;
	hold->failures = 0;
	hold->next_ms = 0;
	hold->generation = ygr_policies_generation(object->policies, part->uid_text, part->digest, 0);
	set_problem(hold, YGR_HOLD_PENDING, "", "");
	policing->guest->reconcile->dirty = true;
}

static void settle_holds(struct ygr_policing *policing)
{
	struct ygr_policies *policies = policing->guest->reconcile->policies;
	struct ygr_hold **at = &policing->holds;

	for (struct ygr_hold *hold = policing->holds; hold; hold = hold->next)
		hold->needed = false;
	for (size_t i = 0; i < policies->count; i++) {
		struct ygr_policy_wanted *object = policies->objects[i];
		if (!selects(object, policing->guest->vm))
			continue;
		for (size_t j = 0; j < object->good->part_count; j++)
			need(policing, object, &object->good->parts[j]);
	}
	while (*at) {
		struct ygr_hold *hold = *at;
		if (hold->needed) {
			at = &hold->next;
			continue;
		}
		*at = hold->next;
		hold_free(hold);
		policing->guest->reconcile->dirty = true;
	}
}

/* The node's half needs no channel: plans of all policies that are not refused. */
static void settle_plans(struct ygr_policing *policing)
{
	struct ygr_enforce *enforce = policing->guest->reconcile->options.enforce;
	struct ygr_enforce_plan *plans[PLANS_MAX];
	size_t count = 0;

	for (struct ygr_hold *hold = policing->holds; hold && count < PLANS_MAX; hold = hold->next)
		if (hold->state != YGR_HOLD_REFUSED && hold->part->plan->reaction_count)
			plans[count++] = hold->part->plan;
	if (enforce && ygr_enforce_plans(enforce, policing->guest->vm->uuid, plans, count) < 0)
		ygr_reconcile_soon(policing->guest->reconcile, YGR_BACKOFF_MIN_MS);
}

static bool sign(struct ygr_policing *policing, const struct ygr_hold *hold, const char *uid,
		 uint64_t generation)
{
	if (ygr_policy_sign(policing, hold, uid, generation) < 0)
		return false;
	policing->signing = true;
	policing->removing = !hold;
	snprintf(policing->waiting, sizeof(policing->waiting), "%s", uid);
	return true;
}

/* The next hold that the guest does not have as it should: true when there is one. */
static bool load_next(struct ygr_policing *policing, uint64_t *next_ms)
{
	uint64_t now = uv_now(policing->guest->reconcile->options.loop);

	for (struct ygr_hold *hold = policing->holds; hold; hold = hold->next) {
		if (hold->state != YGR_HOLD_PENDING && hold->state != YGR_HOLD_FAILED)
			continue;
		if (hold->next_ms > now) {
			*next_ms = hold->next_ms < *next_ms ? hold->next_ms : *next_ms;
			continue;
		}
		const json_t *entry = entry_of(policing, hold->part->uid_text);
		if (entry && generation_of(entry) > hold->generation)
			hold->generation = ygr_policies_generation(policing->guest->reconcile->policies,
								   hold->part->uid_text, hold->part->digest,
								   generation_of(entry));
		if (!sign(policing, hold, hold->part->uid_text, hold->generation))
			return false;
		hold->state = YGR_HOLD_LOADING;
		return true;
	}
	return false;
}

static void remove_next(struct ygr_policing *policing)
{
	json_t *entry;
	size_t i;

	json_array_foreach(json_object_get(policing->status, "policies"), i, entry)
	{
		const char *uid = json_string_value(json_object_get(entry, "uid"));
		const struct ygr_hold *hold = uid ? ygr_policing_find(policing, uid) : NULL;
		if (!uid || (hold && hold->state != YGR_HOLD_REFUSED))
			continue;
		(void)sign(policing, NULL, uid,
			   ygr_policies_generation(policing->guest->reconcile->policies, uid, "removed",
						   generation_of(entry)));
		return;
	}
}

void ygr_policing_pass(struct ygr_policing *policing, uint64_t *next_ms)
{
	settle_link(policing);
	settle_holds(policing);
	settle_plans(policing);
	if (!policing->link || !policing->status || policing->signing || policing->waiting[0])
		return;
	judge(policing);
	if (!load_next(policing, next_ms))
		remove_next(policing);
}

void ygr_policing_signed(struct ygr_policing *policing, const void *bundle, size_t len,
			 const uint8_t signature[64], const struct ygr_error *error)
{
	struct ygr_hold *hold = ygr_policing_find(policing, policing->waiting);
	const struct ygr_identity *identity = policing->guest->reconcile->options.identity;
	int r = error->code ? -error->code : -ENOTCONN;

	policing->signing = false;
	if (!error->code && policing->link)
		r = ygr_policy_link_load(policing->link, bundle, len, ygr_identity_cert(identity),
					 signature);
	if (r < 0) {
		policing->waiting[0] = '\0';
		if (hold && hold->state == YGR_HOLD_LOADING)
			fail(policing, hold, error->code == EACCES ? "NodeMayNotSign" : "NotLoaded",
			     error->code ? error->message : strerror(-r));
	}
	again(policing);
}
