/* See subject.h. */
#include "controller/subject.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/policy/policy.h"

#define SAID_MAX (64u << 10)

static bool is_cluster(enum ygr_subject_kind kind)
{
	return kind == YGR_SUBJECT_CLUSTER_MONITOR || kind == YGR_SUBJECT_CLUSTER_POLICY;
}

static bool is_policy(enum ygr_subject_kind kind)
{
	return kind == YGR_SUBJECT_POLICY || kind == YGR_SUBJECT_CLUSTER_POLICY;
}

/* "policy:LINE:COLUMN: error: SENTENCE" as an entry of status.diagnostics; other lines are quotations. */
static json_t *diagnostic(const char *line)
{
	unsigned row, column;
	char severity[16];
	int at = 0;

	if (sscanf(line, "policy:%u:%u: %15[a-z]: %n", &row, &column, severity, &at) != 3 || !at)
		return NULL;
	bool warning = !strcmp(severity, "warning");
	return json_pack("{s:i, s:i, s:s, s:s}", "line", (int)row, "column", (int)column, "severity",
			 warning ? "Warning" : "Error", "message", line + at);
}

static int compile(struct ygr_subject *subject)
{
	struct ygr_buf said = YGR_BUF_INIT(SAID_MAX);
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_policy_unit *unit;
	char *rest = NULL;

	subject->diagnostics = json_array();
	if (!subject->diagnostics)
		return -ENOMEM;
	int r = ygr_policy_unit_new("policy", subject->policy->text, subject->policy->text_length, &unit,
				    &error);
	if (r == -ENOMEM)
		return r;
	if (r < 0) { /* too large for the compiler */
		subject->broken = true;
		return json_array_append_new(subject->diagnostics,
					     json_pack("{s:i, s:i, s:s, s:s}", "line", 1, "column", 1,
						       "severity", "Error", "message", error.message));
	}
	subject->broken = ygr_policy_unit_errors(unit) > 0;
	if (!subject->broken)
		ygr_policy_unit_review(unit);
	r = ygr_policy_unit_said(unit, &said);
	if (r == 0)
		r = ygr_buf_append(&said, "", 1);
	if (r == -EMSGSIZE && said.len)
		said.data[said.len - 1] = '\0';
	for (char *line = r == -ENOMEM ? NULL : strtok_r((char *)said.data, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest)) {
		json_t *entry = diagnostic(line);
		if (entry && json_array_size(subject->diagnostics) < YGR_SUBJECT_DIAGNOSTICS_MAX)
			json_array_append(subject->diagnostics, entry);
		json_decref(entry);
	}
	ygr_buf_deinit(&said);
	ygr_policy_unit_free(unit);
	return r == -ENOMEM ? r : 0;
}

static int decode_spec(struct ygr_subject *subject, const json_t *object)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_doc *doc = ygr_doc_new_json("object", (json_t *)object);
	int r = -ENOMEM;

	if (!doc)
		return r;
	switch (subject->kind) {
	case YGR_SUBJECT_MONITOR:
		r = ygr_monitor_decode(doc, &subject->monitor, &error);
		break;
	case YGR_SUBJECT_CLUSTER_MONITOR:
		r = ygr_cluster_monitor_decode(doc, &subject->monitor, &error);
		break;
	case YGR_SUBJECT_POLICY:
		r = ygr_vm_policy_decode(doc, &subject->policy, &error);
		break;
	case YGR_SUBJECT_CLUSTER_POLICY:
		r = ygr_cluster_vm_policy_decode(doc, &subject->policy, &error);
		break;
	case YGR_SUBJECT_KINDS:
		break;
	}
	ygr_doc_free(doc);
	/* Kept for thousands of objects: what is not asked for again goes. */
	if (subject->monitor) {
		json_decref((json_t *)subject->monitor->spec);
		subject->monitor->spec = NULL;
	}
	if (r == 0 && subject->policy) {
		r = compile(subject);
		json_decref((json_t *)subject->policy->spec);
		subject->policy->spec = NULL;
		free(subject->policy->text);
		subject->policy->text = NULL;
	} else if (r == -EINVAL) {
		subject->problem = strdup(error.message);
		r = subject->problem ? 0 : -ENOMEM;
	}
	return r;
}

/* What a condition was, so that its time moves only with its status. */
static void recall(const json_t *status, const char *type, struct ygr_condition *condition)
{
	static const char *const words[] = {"Unknown", "False", "True"};
	json_t *entry;
	size_t i;
	struct tm tm = {0};

	condition->type = type;
	json_array_foreach(json_object_get(status, "conditions"), i, entry)
	{
		const char *name = json_string_value(json_object_get(entry, "type"));
		const char *word = json_string_value(json_object_get(entry, "status"));
		const char *when = json_string_value(json_object_get(entry, "lastTransitionTime"));
		if (!name || !word || !when || strcmp(name, type) != 0 ||
		    !strptime(when, "%Y-%m-%dT%H:%M:%SZ", &tm))
			continue;
		condition->changed = timegm(&tm);
		for (int j = 0; j < 3; j++)
			if (!strcmp(words[j], word))
				condition->status = (enum ygr_condition_status)j;
	}
}

int ygr_subject_decode(enum ygr_subject_kind kind, const json_t *object, struct ygr_subject **ret)
{
	const json_t *metadata = json_object_get(object, "metadata"),
		     *status = json_object_get(object, "status");
	const char *name = json_string_value(json_object_get(metadata, "name"));
	const char *namespace_ = json_string_value(json_object_get(metadata, "namespace"));
	struct ygr_subject *subject = calloc(1, sizeof(*subject));

	if (!subject || !name) {
		free(subject);
		return name ? -ENOMEM : -EINVAL;
	}
	subject->kind = kind;
	subject->name = strdup(name);
	subject->namespace_ = strdup(namespace_ && !is_cluster(kind) ? namespace_ : "");
	subject->generation = json_integer_value(json_object_get(metadata, "generation"));
	subject->status = status ? json_copy((json_t *)status) : json_object();
	int r =
	    subject->name && subject->namespace_ && subject->status ? decode_spec(subject, object) : -ENOMEM;
	if (r < 0) {
		ygr_subject_free(subject);
		return r;
	}
	recall(status, "Accepted", &subject->accepted);
	recall(status, "Ready", &subject->ready);
	recall(status, "Degraded", &subject->degraded);
	*ret = subject;
	return 0;
}

struct ygr_subject *ygr_subject_free(struct ygr_subject *subject)
{
	if (!subject)
		return NULL;
	ygr_monitor_free(subject->monitor);
	ygr_vm_policy_free(subject->policy);
	json_decref(subject->status);
	json_decref(subject->failures);
	json_decref(subject->pending);
	json_decref(subject->diagnostics);
	free(subject->problem);
	free(subject->namespace_);
	free(subject->name);
	free(subject);
	return NULL;
}

bool ygr_subject_selects(const struct ygr_subject *subject, const struct ygr_seen *guest,
			 const struct ygr_labels *namespace_labels)
{
	const struct ygr_selector *selector, *namespaces;

	if (subject->monitor) {
		selector = &subject->monitor->selector;
		namespaces = &subject->monitor->namespaces;
	} else if (subject->policy) {
		selector = &subject->policy->selector;
		namespaces = &subject->policy->namespaces;
	} else
		return false;
	if (!is_cluster(subject->kind))
		return !strcmp(subject->namespace_, guest->namespace_) &&
		       ygr_selector_matches(selector, &guest->labels);
	return namespace_labels && ygr_selector_matches(namespaces, namespace_labels) &&
	       ygr_selector_matches(selector, &guest->labels);
}

int ygr_subject_begin(struct ygr_subject *subject)
{
	subject->matched = subject->good = subject->enforcing = subject->failed = subject->unsupported = 0;
	json_decref(subject->failures);
	subject->failures = json_array();
	return subject->failures ? 0 : -ENOMEM;
}

static void add_failures(struct ygr_subject *subject, const struct ygr_seen *guest,
			 const struct ygr_seen_report *report)
{
	bool policy = is_policy(subject->kind);

	for (size_t i = 0; i < report->failure_count; i++) {
		const struct ygr_seen_failure *failure = &report->failures[i];
		if (json_array_size(subject->failures) >= YGR_SUBJECT_FAILURES_MAX)
			return;
		json_array_append_new(
		    subject->failures,
		    json_pack("{s:s*, s:s, s:s, s:s, s:s*}", "namespace",
			      is_cluster(subject->kind) && !policy ? guest->namespace_ : NULL, "guest",
			      guest->name, policy ? "rule" : "app", failure->what, "reason", failure->reason,
			      "message", failure->message));
	}
}

void ygr_subject_count(struct ygr_subject *subject, const struct ygr_seen *guest,
		       const struct ygr_labels *namespace_labels)
{
	bool policy = is_policy(subject->kind);

	if (!ygr_subject_selects(subject, guest, namespace_labels))
		return;
	subject->matched++;
	const struct ygr_seen_report *report =
	    policy ? ygr_seen_policy(guest, subject->namespace_, subject->name)
		   : ygr_seen_monitor(guest, subject->namespace_, subject->name);
	/* What a dead node said last, and what is said of another generation, counts for nothing. */
	if (!report || guest->unknown || (report->generation && report->generation < subject->generation))
		return;
	subject->enforcing += report->state == YGR_SEEN_ENFORCING;
	subject->good += report->state == YGR_SEEN_RUNNING || report->state == YGR_SEEN_AUDITING ||
			 report->state == YGR_SEEN_ENFORCING;
	subject->failed += report->state == YGR_SEEN_FAILED;
	subject->unsupported += policy && report->failure_count;
	add_failures(subject, guest, report);
}

static void set_ready(struct ygr_subject *subject, int64_t now)
{
	bool suspended =
	    subject->monitor ? subject->monitor->suspend : subject->policy && subject->policy->suspend;
	bool all = subject->good == subject->matched, policy = is_policy(subject->kind);
	enum ygr_condition_status status = YGR_CONDITION_FALSE;
	const char *reason = policy ? "NotEverywhere" : "NotAllRunning";

	if (subject->problem || subject->broken || suspended) {
		ygr_condition_set(&subject->ready, status, suspended ? "Suspended" : "Invalid",
				  subject->generation, now, policy ? "no guest holds it" : "nothing runs");
		return;
	}
	if (!subject->matched) {
		ygr_condition_set(&subject->ready, status, "NoGuests", subject->generation, now,
				  "no VM is selected");
		return;
	}
	if (all) {
		status = YGR_CONDITION_TRUE;
		reason = policy ? "Everywhere" : "AllRunning";
	}
	ygr_condition_set(&subject->ready, status, reason, subject->generation, now,
			  policy ? "%u of %u guests hold it" : "every application runs on %u of %u guests",
			  subject->good, subject->matched);
}

static void set_conditions(struct ygr_subject *subject, int64_t now)
{
	if (subject->problem)
		ygr_condition_set(&subject->accepted, YGR_CONDITION_FALSE, "Invalid", subject->generation,
				  now, "%s", subject->problem);
	else if (subject->broken)
		ygr_condition_set(&subject->accepted, YGR_CONDITION_FALSE, "DoesNotCompile",
				  subject->generation, now, "the policy has errors; diagnostics tells them");
	else
		ygr_condition_set(&subject->accepted, YGR_CONDITION_TRUE, "Valid", subject->generation, now,
				  "the spec is valid");
	set_ready(subject, now);
	if (subject->failed)
		ygr_condition_set(&subject->degraded, YGR_CONDITION_TRUE,
				  is_policy(subject->kind) ? "GuestsFail" : "ApplicationsFail",
				  subject->generation, now, "%u of %u guests fail; failures tells why",
				  subject->failed, subject->matched);
	else if (subject->unsupported)
		ygr_condition_set(&subject->degraded, YGR_CONDITION_TRUE, "RulesUnsupported",
				  subject->generation, now, "%u of %u guests cannot hold every rule",
				  subject->unsupported, subject->matched);
	else if (subject->monitor && subject->monitor->job_count)
		ygr_condition_set(&subject->degraded, YGR_CONDITION_TRUE, "IDSJobsUnsupported",
				  subject->generation, now, "this version does not run idsJobs");
	else
		ygr_condition_set(&subject->degraded, YGR_CONDITION_FALSE, "AsExpected", subject->generation,
				  now, "%s", "");
}

static json_t *count_guests(const struct ygr_subject *subject)
{
	char summary[32];

	snprintf(summary, sizeof(summary), "%u/%u", subject->good, subject->matched);
	if (!is_policy(subject->kind))
		return json_pack("{s:i, s:i, s:i, s:s}", "matched", (int)subject->matched, "ready",
				 (int)subject->good, "failed", (int)subject->failed, "summary", summary);
	return json_pack("{s:i, s:i, s:i, s:i, s:s}", "matched", (int)subject->matched, "enforcing",
			 (int)subject->enforcing, "auditing", (int)(subject->good - subject->enforcing),
			 "failed", (int)subject->failed, "summary", summary);
}

/* Is everything that STATUS says what the server has? Members of others do not count. */
static bool is_there(const json_t *status, const json_t *server)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)status, key,
			    value) if (!json_equal(value, json_object_get(server, key))) return false;
	return true;
}

json_t *ygr_subject_status(struct ygr_subject *subject, int64_t now, int *ret_error)
{
	*ret_error = 0;
	set_conditions(subject, now);
	json_t *status = json_pack(
	    "{s:I, s:[o, o, o], s:o, s:O, s:O*}", "observedGeneration", (json_int_t)subject->generation,
	    "conditions", ygr_condition_encode(&subject->accepted), ygr_condition_encode(&subject->ready),
	    ygr_condition_encode(&subject->degraded), "guests", count_guests(subject), "failures",
	    subject->failures, "diagnostics", subject->diagnostics);
	if (!status)
		*ret_error = -ENOMEM;
	else if (is_there(status, subject->status)) {
		json_decref(status);
		status = NULL;
	}
	return status;
}
