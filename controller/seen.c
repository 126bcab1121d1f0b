/* See seen.h. */
#include "controller/seen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *text(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* A copy of a member that may be absent; false without memory. */
static bool copy(const json_t *object, const char *key, const char *otherwise, char **ret)
{
	const char *value = text(object, key);

	if (!value)
		value = otherwise;
	*ret = value ? strdup(value) : NULL;
	return !value || *ret;
}

static int add_failure(struct ygr_seen_report *report, const json_t *item, const char *key)
{
	struct ygr_seen_failure *failure;

	if (!report->failures) {
		report->failures = calloc(YGR_SEEN_FAILURES_MAX, sizeof(*report->failures));
		if (!report->failures)
			return -ENOMEM;
	}
	if (report->failure_count == YGR_SEEN_FAILURES_MAX)
		return 0;
	failure = &report->failures[report->failure_count++];
	return copy(item, key, "?", &failure->what) && copy(item, "reason", "Unknown", &failure->reason) &&
		       copy(item, "message", NULL, &failure->message)
		   ? 0
		   : -ENOMEM;
}

static bool is(const char *word, const char *other)
{
	return word && !strcmp(word, other);
}

static int decode_apps(const json_t *item, struct ygr_seen_report *report)
{
	size_t i, running = 0;
	json_t *app, *apps = json_object_get(item, "apps");

	json_array_foreach(apps, i, app)
	{
		const char *state = text(app, "state");
		running += is(state, "Running") || is(state, "Completed");
		if ((is(state, "Failed") || is(state, "Backoff")) && add_failure(report, app, "name") < 0)
			return -ENOMEM;
	}
	if (report->failure_count)
		report->state = YGR_SEEN_FAILED;
	else if (running && running == json_array_size(apps))
		report->state = YGR_SEEN_RUNNING;
	return 0;
}

static int decode_rules(const json_t *item, struct ygr_seen_report *report)
{
	const char *state = text(item, "state");
	json_t *rule, *rules = json_object_get(item, "unsupported");
	size_t i;

	json_array_foreach(rules, i, rule) if (add_failure(report, rule, "rule") < 0) return -ENOMEM;
	report->state = is(state, "Enforcing")           ? YGR_SEEN_ENFORCING
			: is(state, "Auditing")          ? YGR_SEEN_AUDITING
			: !state || is(state, "Pending") ? YGR_SEEN_PENDING
							 : YGR_SEEN_FAILED;
	return 0;
}

static int decode_reports(const json_t *list,
			  int (*rest)(const json_t *item, struct ygr_seen_report *report),
			  struct ygr_seen_report **ret, size_t *ret_count)
{
	size_t count = json_array_size(list), i;
	json_t *item;

	if (count > YGR_SEEN_REPORTS_MAX)
		count = YGR_SEEN_REPORTS_MAX;
	if (!count)
		return 0;
	*ret = calloc(count, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	json_array_foreach(list, i, item)
	{
		if (i == count)
			break;
		struct ygr_seen_report *report = &(*ret)[i];
		(*ret_count)++;
		report->generation = json_integer_value(json_object_get(item, "generation"));
		if (!copy(item, "namespace", "", &report->namespace_) ||
		    !copy(item, "name", "", &report->name) || rest(item, report) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int decode_labels(const json_t *object, struct ygr_labels *labels)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)object, key, value)
	{
		const char *word = json_string_value(value);
		if (word && ygr_labels_set(labels, key, word) == -ENOMEM)
			return -ENOMEM;
	}
	return 0;
}

int ygr_seen_decode(const json_t *object, struct ygr_seen **ret)
{
	const json_t *metadata = json_object_get(object, "metadata"),
		     *spec = json_object_get(object, "spec"), *status = json_object_get(object, "status");
	struct ygr_seen *seen = calloc(1, sizeof(*seen));
	int r = -ENOMEM;

	if (seen && copy(metadata, "namespace", NULL, &seen->namespace_) &&
	    copy(metadata, "name", NULL, &seen->name) && copy(spec, "nodeName", NULL, &seen->node) &&
	    copy(metadata, "resourceVersion", "", &seen->version)) {
		seen->unknown = is(text(status, "phase"), "Unknown");
		r = seen->namespace_ && seen->name && seen->node ? 0 : -EINVAL;
	}
	if (r == 0)
		r = decode_labels(json_object_get(metadata, "labels"), &seen->labels);
	if (r == 0)
		r = decode_reports(json_object_get(status, "monitors"), decode_apps, &seen->monitors,
				   &seen->monitor_count);
	if (r == 0)
		r = decode_reports(json_object_get(status, "policies"), decode_rules, &seen->policies,
				   &seen->policy_count);
	if (r < 0) {
		ygr_seen_free(seen);
		return r;
	}
	*ret = seen;
	return 0;
}

static void free_reports(struct ygr_seen_report *reports, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < reports[i].failure_count; j++) {
			free(reports[i].failures[j].what);
			free(reports[i].failures[j].reason);
			free(reports[i].failures[j].message);
		}
		free(reports[i].failures);
		free(reports[i].namespace_);
		free(reports[i].name);
	}
	free(reports);
}

struct ygr_seen *ygr_seen_free(struct ygr_seen *seen)
{
	if (!seen)
		return NULL;
	free_reports(seen->monitors, seen->monitor_count);
	free_reports(seen->policies, seen->policy_count);
	ygr_labels_deinit(&seen->labels);
	free(seen->namespace_);
	free(seen->name);
	free(seen->node);
	free(seen->version);
	free(seen);
	return NULL;
}

static const struct ygr_seen_report *find(const struct ygr_seen_report *reports, size_t count,
					  const char *namespace_, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(reports[i].name, name) && !strcmp(reports[i].namespace_, namespace_))
			return &reports[i];
	return NULL;
}

const struct ygr_seen_report *ygr_seen_monitor(const struct ygr_seen *seen, const char *namespace_,
					       const char *name)
{
	return find(seen->monitors, seen->monitor_count, namespace_, name);
}

const struct ygr_seen_report *ygr_seen_policy(const struct ygr_seen *seen, const char *namespace_,
					      const char *name)
{
	return find(seen->policies, seen->policy_count, namespace_, name);
}
