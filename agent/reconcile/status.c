/* The documents of /v1/vms and /v1/monitors (those of policies are in policy-status.c): what RESOURCES calls status, made anew for each publication. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/reconcile/policy.h"

#define FAILURES_MAX 10
#define WORD_MAX     64 /* bytes of what a guest says about itself */

static bool is_failing(const struct ygr_work *work)
{
	return work->state == YGR_WORK_BACKOFF || work->state == YGR_WORK_FAILED;
}

/* The guest's word KEY of its WELCOME, bounded and printable; NULL when it said none. */
static const char *said(const json_t *welcome, const char *key, char out[WORD_MAX + 1])
{
	const char *text = json_string_value(json_object_get(welcome, key));

	if (!text)
		return NULL;
	size_t i = 0;
	for (; i < WORD_MAX && text[i]; i++)
		out[i] = text[i] > 0x20 && text[i] < 0x7f ? text[i] : '?';
	out[i] = '\0';
	return out;
}

/* {"btf", "bpfLSM"} from WELCOME. */
static json_t *features_of(const json_t *welcome)
{
	const json_t *btf = json_object_get(welcome, "btf"), *name;
	bool lsm = false;
	size_t i;

	if (!welcome)
		return NULL;
	json_array_foreach(json_object_get(welcome, "lsm"), i, name) lsm |=
	    json_is_string(name) && !strcmp(json_string_value(name), "bpf");
	return json_pack("{s:b, s:b}", "btf", json_is_object(btf) || json_is_true(btf), "bpfLSM", lsm);
}

static const char *channel_type(const char *address)
{
	if (!address)
		return NULL;
	return !strncmp(address, "vsock:", 6)    ? "Vsock"
	       : !strncmp(address, "hvsock:", 7) ? "HybridVsock"
						 : "Unix";
}

static void set_channel_condition(struct ygr_observed *guest, enum ygr_link_state state, int64_t now)
{
	bool ready = state == YGR_LINK_CONNECTED;
	const char *reason = guest->link ? ygr_link_reason(guest->link) : NULL;
	const char *message = guest->link ? ygr_link_message(guest->link) : NULL;
	const char *otherwise = !guest->vm->channel ? "NoChannel"
				: !guest->link      ? "NotRunning"
						    : "Connecting";

	ygr_condition_set(&guest->channel_ready, ready ? YGR_CONDITION_TRUE : YGR_CONDITION_FALSE,
			  ready    ? "Connected"
			  : reason ? reason
				   : otherwise,
			  0, now, "%s",
			  ready     ? "the guest has accepted this node"
			  : message ? message
				    : "");
}

/* The monitors that have work on GUEST, with their applications; *apps holds all applications. */
static size_t collect(const struct ygr_reconcile *reconcile, const struct ygr_observed *guest,
		      struct ygr_guest_monitor *monitors, struct ygr_guest_app *apps)
{
	size_t monitor_count = 0, app_count = 0;

	for (size_t i = 0; i < reconcile->monitor_count; i++) {
		const struct ygr_wanted *wanted = reconcile->monitors[i];
		struct ygr_guest_monitor *entry = &monitors[monitor_count];
		*entry =
		    (struct ygr_guest_monitor){wanted->namespace_, wanted->name, 0, apps + app_count, 0};
		if (wanted->monitor)
			entry->generation = wanted->monitor->meta.generation;
		for (size_t j = 0; j < reconcile->work_count; j++) {
			const struct ygr_work *work = reconcile->works[j];
			if (work->wanted != wanted || work->guest != guest)
				continue;
			apps[app_count++] = (struct ygr_guest_app){
			    work->app,
			    ygr_work_state_word(work->state),
			    work->reason[0] ? work->reason : NULL,
			    work->message[0] ? work->message : NULL,
			    work->application ? ygr_application_delivery(work->application) : NULL,
			    work->restarts,
			};
			entry->app_count++;
		}
		monitor_count += entry->app_count > 0;
	}
	return monitor_count;
}

#define MARKS_MAX 5 /* conditions that actions set; the schema has room for 8 in all */

/* Conditions of GUEST: its channel, its policies, and what `mark` has set. *marks holds the active actions. */
static size_t collect_conditions(struct ygr_observed *guest, struct ygr_enforce_active *active, int64_t now,
				 struct ygr_condition conditions[2 + MARKS_MAX])
{
	const struct ygr_enforce *enforce = guest->reconcile->options.enforce;
	size_t count = 0, actions = enforce ? ygr_enforce_list(enforce, guest->vm->uuid, active) : 0;

	conditions[count++] = guest->channel_ready;
	if (guest->policing) {
		ygr_policing_conditions(guest->policing, now);
		conditions[count++] = guest->policing->enforceable;
	}
	for (size_t i = 0; i < actions && count < 2 + MARKS_MAX; i++) {
		bool known = strcmp(active[i].type, "Mark") != 0;
		for (size_t j = 0; j < count; j++)
			known |= !strcmp(conditions[j].type, active[i].target);
		if (known)
			continue;
		conditions[count] = (struct ygr_condition){.type = active[i].target};
		ygr_condition_set(&conditions[count], YGR_CONDITION_TRUE, "Violation", 0, active[i].since,
				  "rule %s of %s", active[i].rule, active[i].policy);
		count++;
	}
	return count;
}

static json_t *guest_document(struct ygr_reconcile *reconcile, struct ygr_observed *guest,
			      struct ygr_guest_monitor *monitors, struct ygr_guest_app *apps, int64_t now)
{
	const struct ygr_vm *vm = guest->vm;
	enum ygr_link_state state = guest->link ? ygr_link_state(guest->link) : YGR_LINK_NONE;
	const json_t *welcome = guest->link ? ygr_link_welcome(guest->link) : NULL;
	char boot_id[WORD_MAX + 1], kernel[WORD_MAX + 1];
	struct ygr_enforce_active active[YGR_ENFORCE_ACTIVE_MAX];
	struct ygr_condition conditions[2 + MARKS_MAX];

	set_channel_condition(guest, state, now);
	size_t condition_count = collect_conditions(guest, active, now, conditions);
	json_t *features = features_of(welcome);
	struct ygr_guest document = {
	    .namespace_ = vm->namespace_,
	    .name = vm->name,
	    .labels = &vm->labels,
	    .node = reconcile->options.node,
	    .uuid = vm->uuid,
	    .provider = vm->provider,
	    .provider_name = vm->provider_name,
	    .phase = ygr_vm_phase_word(vm->phase),
	    .boot_id = said(welcome, "bootID", boot_id),
	    .kernel = said(welcome, "release", kernel),
	    .channel_type = channel_type(vm->channel),
	    .channel_state = ygr_link_state_word(state),
	    .channel_reason = guest->link ? ygr_link_reason(guest->link) : NULL,
	    .channel_message = guest->link ? ygr_link_message(guest->link) : NULL,
	    .node_verified = state == YGR_LINK_CONNECTED,
	    .memory = ygr_vm_memory_word(vm->memory),
	    .features = features,
	    .monitors = monitors,
	    .monitor_count = collect(reconcile, guest, monitors, apps),
	    .policies = guest->policing ? ygr_policing_policies(guest->policing) : NULL,
	    .host_actions = guest->policing ? ygr_policing_actions(guest->policing) : NULL,
	    .conditions = conditions,
	    .condition_count = condition_count,
	};
	json_t *object = ygr_guest_encode(&document);
	json_decref(features);
	return object;
}

static json_t *guests(struct ygr_reconcile *reconcile, int64_t now)
{
	struct ygr_guest_monitor *monitors = calloc(reconcile->monitor_count + 1, sizeof(*monitors));
	struct ygr_guest_app *apps = calloc(reconcile->work_count + 1, sizeof(*apps));
	json_t *list = json_array();

	for (size_t i = 0; list && monitors && apps && i < reconcile->guest_count; i++)
		json_array_append_new(list,
				      guest_document(reconcile, reconcile->guests[i], monitors, apps, now));
	free(monitors);
	free(apps);
	return list;
}

/* Counts guests and lists failures of one monitor. */
static json_t *sum_up(const struct ygr_reconcile *reconcile, struct ygr_wanted *wanted)
{
	json_t *failures = json_array();

	wanted->matched = wanted->ready_guests = wanted->failed_guests = 0;
	for (size_t i = 0; i < reconcile->guest_count; i++) {
		unsigned works = 0, running = 0, failing = 0;
		for (size_t j = 0; j < reconcile->work_count; j++) {
			const struct ygr_work *work = reconcile->works[j];
			if (work->wanted != wanted || work->guest != reconcile->guests[i])
				continue;
			works++;
			running += work->state == YGR_WORK_RUNNING || work->state == YGR_WORK_COMPLETED;
			failing += is_failing(work);
			if (is_failing(work) && json_array_size(failures) < FAILURES_MAX)
				json_array_append_new(failures, json_pack("{s:s, s:s, s:s, s:s}", "guest",
									  work->guest->vm->name, "app",
									  work->app, "reason", work->reason,
									  "message", work->message));
		}
		wanted->matched += works > 0;
		wanted->ready_guests += works > 0 && running == works;
		wanted->failed_guests += failing > 0;
	}
	return failures;
}

static void set_conditions(struct ygr_wanted *wanted, int64_t generation, int64_t now)
{
	const struct ygr_monitor *monitor = wanted->monitor;
	unsigned matched = wanted->matched, ready = wanted->ready_guests, failed = wanted->failed_guests;

	if (wanted->problem)
		ygr_condition_set(&wanted->accepted, YGR_CONDITION_FALSE, "Invalid", generation, now, "%s",
				  wanted->problem);
	else
		ygr_condition_set(&wanted->accepted, YGR_CONDITION_TRUE, "Valid", generation, now,
				  "the spec is valid");
	if (!monitor || monitor->suspend)
		ygr_condition_set(&wanted->ready, YGR_CONDITION_FALSE, monitor ? "Suspended" : "Invalid",
				  generation, now, "nothing runs");
	else if (!matched)
		ygr_condition_set(&wanted->ready, YGR_CONDITION_FALSE, "NoGuests", generation, now,
				  "no VM of this node is selected");
	else
		ygr_condition_set(&wanted->ready,
				  ready == matched ? YGR_CONDITION_TRUE : YGR_CONDITION_FALSE,
				  ready == matched ? "AllRunning" : "NotAllRunning", generation, now,
				  "every application runs on %u of %u guests", ready, matched);
	bool jobs = monitor && monitor->job_count;
	if (failed)
		ygr_condition_set(&wanted->degraded, YGR_CONDITION_TRUE, "ApplicationsFail", generation, now,
				  "applications fail on %u of %u guests", failed, matched);
	else if (jobs)
		ygr_condition_set(&wanted->degraded, YGR_CONDITION_TRUE, "IDSJobsUnsupported", generation,
				  now, "this version does not run idsJobs");
	else
		ygr_condition_set(&wanted->degraded, YGR_CONDITION_FALSE, "AsExpected", generation, now,
				  "%s", "");
}

static int64_t last_event(const struct ygr_reconcile *reconcile, const struct ygr_wanted *wanted)
{
	int64_t last = wanted->last_event;

	for (size_t i = 0; i < reconcile->work_count; i++) {
		const struct ygr_work *work = reconcile->works[i];
		if (work->wanted != wanted || !work->application)
			continue;
		int64_t seen = ygr_application_last_event(work->application) / 1000000000;
		if (seen > last)
			last = seen;
	}
	return last < wanted->last_event + YGR_LAST_EVENT_S ? wanted->last_event : last;
}

static json_t *monitor_document(struct ygr_reconcile *reconcile, struct ygr_wanted *wanted, int64_t now)
{
	const struct ygr_monitor *monitor = wanted->monitor;
	int64_t generation = monitor ? monitor->meta.generation : 0;
	json_t *failures = sum_up(reconcile, wanted);
	char summary[32];

	set_conditions(wanted, generation, now);
	wanted->last_event = last_event(reconcile, wanted);
	snprintf(summary, sizeof(summary), "%u/%u", wanted->ready_guests, wanted->matched);
	json_t *status =
	    json_pack("{s:I, s:[o, o, o], s:{s:i, s:i, s:i, s:s}, s:o}", "observedGeneration",
		      (json_int_t)generation, "conditions", ygr_condition_encode(&wanted->accepted),
		      ygr_condition_encode(&wanted->ready), ygr_condition_encode(&wanted->degraded),
		      "guests", "matched", (int)wanted->matched, "ready", (int)wanted->ready_guests,
		      "failed", (int)wanted->failed_guests, "summary", summary, "failures", failures);
	if (status && wanted->last_event)
		json_object_set_new(status, "lastEventTime", ygr_time_encode(wanted->last_event));
	return json_pack("{s:s, s:s, s:{s:s, s:s, s:I, s:o*}, s:O*, s:o}", "apiVersion", YGR_API_VERSION,
			 "kind", YGR_MONITOR_KIND, "metadata", "namespace", wanted->namespace_, "name",
			 wanted->name, "generation", (json_int_t)generation, "labels",
			 monitor ? ygr_labels_encode(&monitor->meta.labels) : NULL, "spec",
			 monitor ? monitor->spec : NULL, "status", status);
}

/* A file that defines nothing, as it cannot be read: it shows beside the monitors, under its name. */
static json_t *file_document(const char *file, int64_t now)
{
	struct ygr_condition accepted = {.type = "Accepted"};

	ygr_condition_set(&accepted, YGR_CONDITION_FALSE, "Invalid", 0, now, "%s", file + strlen(file) + 1);
	return json_pack("{s:s, s:s, s:{s:s}, s:{s:[o]}}", "apiVersion", YGR_API_VERSION, "kind", "Manifest",
			 "metadata", "name", file, "status", "conditions", ygr_condition_encode(&accepted));
}

static int by_name(const void *a, const void *b)
{
	const struct ygr_wanted *x = *(struct ygr_wanted *const *)a, *y = *(struct ygr_wanted *const *)b;
	int order = strcmp(x->namespace_, y->namespace_);

	return order ? order : strcmp(x->name, y->name);
}

static json_t *monitors(struct ygr_reconcile *reconcile, int64_t now)
{
	json_t *list = json_array();

	if (reconcile->monitor_count)
		qsort(reconcile->monitors, reconcile->monitor_count, sizeof(*reconcile->monitors), by_name);
	for (size_t i = 0; list && i < reconcile->monitor_count; i++)
		json_array_append_new(list, monitor_document(reconcile, reconcile->monitors[i], now));
	for (size_t i = 0; list && i < reconcile->file_problem_count; i++)
		json_array_append_new(list, file_document(reconcile->file_problems[i], now));
	return list;
}

void ygr_reconcile_publish(struct ygr_reconcile *reconcile)
{
	int64_t now = time(NULL);
	json_t *vm_list = guests(reconcile, now), *monitor_list = monitors(reconcile, now),
	       *policy_list = ygr_policies_documents(reconcile->policies, now);

	if (vm_list && monitor_list && policy_list)
		reconcile->options.publish(reconcile->options.user, vm_list, monitor_list, policy_list);
	json_decref(vm_list);
	json_decref(monitor_list);
	json_decref(policy_list);
}
