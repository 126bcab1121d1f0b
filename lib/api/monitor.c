/* The decoder of VMMonitor: one function a level, defaults set before the fields are read. */
#include "lib/api/monitor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/api/job.h"
#include "lib/api/quantity.h"

const char *const ygr_app_delivery_words[] = {"Auto", "Shared", "Copied", "Stream", NULL};
const char *const ygr_restart_policy_words[] = {"Always", "OnFailure", "Never", NULL};

static int decode_limits(const struct ygr_field *field, struct ygr_limits *limits, struct ygr_error *error)
{
	static const char *const known[] = {"memory", "cpu", "eventsPerSecond", NULL};
	struct ygr_field member;
	int64_t number;
	int r = ygr_field_object(field, known, error);

	if (r == 0 && ygr_field_member(field, "memory", &member))
		r = ygr_quantity_decode(&member, &limits->memory, error);
	if (r == 0 && ygr_field_member(field, "cpu", &member))
		r = ygr_quantity_decode_milli(&member, &limits->cpu_milli, error);
	if (r == 0 && ygr_field_member(field, "eventsPerSecond", &member)) {
		r = ygr_field_int(&member, 1, 1000000, &number, error);
		if (r == 0)
			limits->events_per_second = (uint32_t)number;
	}
	return r;
}

int ygr_monitor_decode_name(const struct ygr_field *object, const char *key, char **ret,
			    struct ygr_error *error)
{
	struct ygr_field field;
	int r = ygr_field_require(object, key, &field, error);

	if (r == 0)
		r = ygr_field_dup(&field, 1, YGR_API_LABEL_MAX, ret, error);
	if (r == 0 && !ygr_name_is_label(*ret))
		r = ygr_field_expected(&field, error, "a name of lower case letters, digits and '-'");
	return r;
}

static bool is_program(const char *name)
{
	for (const char *p = name; *p; p++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+", *p))
			return false;
	return *name != '.' && *name != '-';
}

int ygr_monitor_decode_program(const struct ygr_field *object, char **ret_program, char ***ret_args,
			       size_t *ret_arg_count, struct ygr_error *error)
{
	struct ygr_field field;
	int r = ygr_field_require(object, "program", &field, error);

	if (r == 0)
		r = ygr_field_dup(&field, 1, YGR_API_LABEL_MAX, ret_program, error);
	if (r == 0 && !is_program(*ret_program))
		r = ygr_field_expected(&field, error, "the name of a program in the catalogue, not a path");
	if (r < 0)
		return r;
	if (ygr_field_member(object, "args", &field))
		return ygr_field_strings(&field, YGR_MONITOR_ARGS_MAX, YGR_MONITOR_ARG_BYTES, ret_args,
					 ret_arg_count, error);
	*ret_args = calloc(1, sizeof(**ret_args));
	return *ret_args ? 0 : ygr_error_set(error, ENOMEM, "out of memory");
}

static int decode_app(const struct ygr_field *field, struct ygr_app *app, struct ygr_error *error)
{
	static const char *const known[] = {"name",          "program", "args", "delivery",
					    "restartPolicy", "limits",  NULL};
	struct ygr_field member;
	int word, r;

	app->limits = (struct ygr_limits){64 << 20, 200, 5000};
	r = ygr_field_object(field, known, error);
	if (r == 0)
		r = ygr_monitor_decode_name(field, "name", &app->name, error);
	if (r == 0)
		r = ygr_monitor_decode_program(field, &app->program, &app->args, &app->arg_count, error);
	if (r == 0 && ygr_field_member(field, "delivery", &member)) {
		r = ygr_field_enum(&member, ygr_app_delivery_words, &word, error);
		if (r == 0)
			app->delivery = (enum ygr_app_delivery)word;
	}
	if (r == 0 && ygr_field_member(field, "restartPolicy", &member)) {
		r = ygr_field_enum(&member, ygr_restart_policy_words, &word, error);
		if (r == 0)
			app->restart_policy = (enum ygr_restart_policy)word;
	}
	if (r == 0 && ygr_field_member(field, "limits", &member))
		r = decode_limits(&member, &app->limits, error);
	return r;
}

static int decode_apps(const struct ygr_field *field, struct ygr_monitor *monitor, struct ygr_error *error)
{
	size_t count;
	int r = ygr_field_array(field, 0, YGR_MONITOR_APPS_MAX, &count, error);

	if (r < 0 || !count)
		return r;
	monitor->apps = calloc(count, sizeof(*monitor->apps));
	if (!monitor->apps)
		return ygr_error_set(error, ENOMEM, "out of memory");
	monitor->app_count = count;
	for (size_t i = 0; i < count; i++) {
		struct ygr_field item = ygr_field_item(field, i), name;
		r = decode_app(&item, &monitor->apps[i], error);
		if (r < 0)
			return r;
		for (size_t j = 0; j < i; j++)
			if (!strcmp(monitor->apps[i].name, monitor->apps[j].name) &&
			    ygr_field_member(&item, "name", &name))
				return ygr_field_error(&name, error,
						       "\"%s\" is already the name of apps[%zu]",
						       monitor->apps[i].name, j);
	}
	return 0;
}

static int decode_spec(const struct ygr_field *spec, struct ygr_monitor *monitor, struct ygr_error *error)
{
	/* The first is for cluster-wide objects. */
	static const char *const known[] = {"namespaceSelector", "suspend", "vmSelector", "apps",
					    "idsJobs",           NULL};
	struct ygr_field member;
	int r = ygr_field_object(spec, monitor->cluster ? known : known + 1, error);

	if (r == 0 && ygr_field_member(spec, "suspend", &member))
		r = ygr_field_bool(&member, &monitor->suspend, error);
	if (r == 0 && monitor->cluster) {
		r = ygr_field_require(spec, "namespaceSelector", &member, error);
		if (r == 0)
			r = ygr_selector_decode(&member, &monitor->namespaces, error);
	}
	if (r == 0)
		r = ygr_field_require(spec, "vmSelector", &member, error);
	if (r == 0)
		r = ygr_selector_decode(&member, &monitor->selector, error);
	if (r == 0 && ygr_field_member(spec, "apps", &member))
		r = decode_apps(&member, monitor, error);
	if (r == 0 && ygr_field_member(spec, "idsJobs", &member))
		r = ygr_jobs_decode(&member, &monitor->jobs, &monitor->job_count, error);
	if (r == 0 && !monitor->app_count && !monitor->job_count)
		r = ygr_field_error(spec, error, "expected at least one entry in \"apps\" or \"idsJobs\"");
	return r;
}

static int decode_root(const struct ygr_field *root, struct ygr_monitor *monitor, struct ygr_error *error)
{
	struct ygr_field spec;
	int r = monitor->cluster
		    ? ygr_meta_decode_cluster_head(root, YGR_CLUSTER_MONITOR_KIND, &monitor->meta, error)
		    : ygr_meta_decode_head(root, YGR_MONITOR_KIND, &monitor->meta, error);

	if (r == 0)
		r = ygr_field_require(root, "spec", &spec, error);
	if (r < 0)
		return r;
	monitor->spec = json_incref((json_t *)spec.value);
	return decode_spec(&spec, monitor, error);
}

static int decode(const struct ygr_doc *doc, bool cluster, struct ygr_monitor **ret, struct ygr_error *error)
{
	struct ygr_field root = ygr_field_root(doc);
	struct ygr_monitor *monitor = calloc(1, sizeof(*monitor));

	if (!monitor)
		return ygr_error_set(error, ENOMEM, "out of memory");
	monitor->cluster = cluster;
	int r = decode_root(&root, monitor, error);
	if (r < 0) {
		ygr_monitor_free(monitor);
		return r;
	}
	*ret = monitor;
	return 0;
}

int ygr_monitor_decode(const struct ygr_doc *doc, struct ygr_monitor **ret, struct ygr_error *error)
{
	return decode(doc, false, ret, error);
}

int ygr_cluster_monitor_decode(const struct ygr_doc *doc, struct ygr_monitor **ret, struct ygr_error *error)
{
	return decode(doc, true, ret, error);
}

struct ygr_monitor *ygr_monitor_free(struct ygr_monitor *monitor)
{
	if (!monitor)
		return NULL;
	ygr_meta_deinit(&monitor->meta);
	json_decref((json_t *)monitor->spec);
	ygr_selector_deinit(&monitor->namespaces);
	ygr_selector_deinit(&monitor->selector);
	for (size_t i = 0; i < monitor->app_count; i++) {
		free(monitor->apps[i].name);
		free(monitor->apps[i].program);
		ygr_strings_free(monitor->apps[i].args, monitor->apps[i].arg_count);
	}
	free(monitor->apps);
	ygr_jobs_free(monitor->jobs, monitor->job_count);
	free(monitor);
	return NULL;
}
