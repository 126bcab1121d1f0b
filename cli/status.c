/* yagura status: monitors and policies, for what is not ready the reasons, and what the node does to VMs. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/document.h"
#include "cli/policy.h"
#include "cli/table.h"

static const char help[] =
    "Usage: yagura status [OPTIONS] [MONITOR]\n\n"
    "Shows the VMMonitors of this node: on how many of their VMs they are ready, and for those that\n"
    "are not, which application failed and why. Without MONITOR also the VMPolicies, and what violations\n"
    "made the node do (`yagura release` ends it).\n\n"
    "Options:\n" YGR_COMMON_HELP;

static void ready_of(const json_t *monitor, char *out, size_t size)
{
	const json_t *guests = ygr_document_at(monitor, "status.guests");
	snprintf(out, size, "%lld/%lld", (long long)json_integer_value(json_object_get(guests, "ready")),
		 (long long)json_integer_value(json_object_get(guests, "matched")));
}

static void apps_of(const json_t *monitor, char *out, size_t size)
{
	size_t i, used = 0;
	json_t *app;
	out[0] = '\0';
	json_array_foreach(ygr_document_at(monitor, "spec.apps"), i, app)
	{
		const char *name = ygr_document_string(app, "name");
		if (name && used + strlen(name) + 2 < size)
			used += (size_t)snprintf(out + used, size - used, "%s%s", used ? "," : "", name);
	}
}

static void print_reasons(const json_t *monitor)
{
	const char *name = ygr_document_string(monitor, "metadata.name");
	size_t i;
	json_t *item;
	json_array_foreach(ygr_document_at(monitor, "status.failures"), i, item)
	    printf("\n%s: %s on %s: %s: %s\n", name ? name : "", ygr_document_string(item, "app"),
		   ygr_document_string(item, "guest"), ygr_document_string(item, "reason"),
		   ygr_document_string(item, "message"));
	json_array_foreach(ygr_document_at(monitor, "status.conditions"), i, item)
	{
		const char *type = ygr_document_string(item, "type");
		const char *status = ygr_document_string(item, "status");
		if (type && status && strcmp(type, "Accepted") == 0 && strcmp(status, "True") != 0)
			printf("\n%s: not accepted: %s\n", name ? name : "",
			       ygr_document_string(item, "message"));
	}
}

static int print_table(const json_t *monitors)
{
	static const char *const headers[] = {"NAMESPACE", "NAME", "READY", "APPS", "LASTEVENT", NULL};
	struct ygr_table *table = ygr_table_new(headers);
	size_t i;
	json_t *monitor;
	json_array_foreach(monitors, i, monitor)
	{
		char ready[48], apps[512], last[32];
		ready_of(monitor, ready, sizeof(ready));
		apps_of(monitor, apps, sizeof(apps));
		ygr_document_age(ygr_document_string(monitor, "status.lastEventTime"), last, sizeof(last));
		const char *const cells[] = {ygr_document_string(monitor, "metadata.namespace"),
					     ygr_document_string(monitor, "metadata.name"), ready, apps,
					     last};
		if (table)
			ygr_table_add(table, cells);
	}
	if (table)
		ygr_table_print(table, stdout);
	ygr_table_free(table);
	json_array_foreach(monitors, i, monitor) print_reasons(monitor);
	return 0;
}

static void print_actions(const json_t *vms)
{
	static const char *const headers[] = {"VM",    "ACTION", "POLICY",  "RULE",
					      "SINCE", "UNTIL",  "PROBLEM", NULL};
	struct ygr_table *table = ygr_table_new(headers);
	size_t i, k, count = 0;
	json_t *vm, *action;

	json_array_foreach((json_t *)vms, i, vm)
	{
		json_array_foreach((json_t *)ygr_document_at(vm, "status.hostActions"), k, action)
		{
			char since[32];
			const char *until = ygr_document_string(action, "expires");
			ygr_document_age(ygr_document_string(action, "since"), since, sizeof(since));
			const char *const cells[] = {ygr_document_string(vm, "metadata.name"),
						     ygr_document_string(action, "action"),
						     ygr_document_string(action, "policy"),
						     ygr_document_string(action, "rule"),
						     since,
						     until ? until : "released",
						     ygr_document_string(action, "problem")};
			if (table)
				ygr_table_add(table, cells);
			count++;
		}
	}
	if (table && count) {
		printf("\n");
		ygr_table_print(table, stdout);
	}
	ygr_table_free(table);
}

/* Policies, and what is in force on the node because of them. */
static void print_policies(const struct ygr_options *options)
{
	struct ygr_client *client = ygr_client_new(options->socket);
	json_t *policies = NULL, *vms = NULL;

	if (client && ygr_client_get(client, "/v1/policies", &policies, NULL) == 0) {
		json_t *ours = ygr_document_filter(policies, options->namespace_);
		if (json_array_size(ours)) {
			printf("\n");
			ygr_cli_policy_print_list(ours);
		}
		json_decref(ours);
	}
	if (client && ygr_client_get(client, "/v1/vms", &vms, NULL) == 0) {
		json_t *ours = ygr_document_filter(vms, options->namespace_);
		print_actions(ours);
		json_decref(ours);
	}
	json_decref(policies);
	json_decref(vms);
	ygr_client_free(client);
}

static json_t *only_named(json_t *monitors, const char *name)
{
	json_t *kept = json_array();
	size_t i;
	json_t *monitor;
	json_array_foreach(monitors, i, monitor)
	{
		const char *its = ygr_document_string(monitor, "metadata.name");
		if (its && strcmp(its, name) == 0)
			json_array_append(kept, monitor);
	}
	json_decref(monitors);
	return kept;
}

int ygr_command_status(int argc, char **argv)
{
	static const struct option longs[] = {YGR_COMMON_LONG, {0}};
	struct ygr_options options = {0};
	bool bad = false;
	for (int c; (c = getopt_long(argc, argv, YGR_COMMON_SHORT, longs, NULL)) != -1;) {
		if (c == 'h')
			return fputs(help, stdout) < 0;
		bad |= !ygr_options_take(&options, c, optarg, &bad);
	}
	if (bad || optind + 1 < argc) {
		fputs(help, stderr);
		return EXIT_USAGE;
	}

	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_client *client = ygr_client_new(options.socket);
	json_t *all = NULL;
	int r = client ? ygr_client_get(client, "/v1/monitors", &all, &error)
		       : ygr_error_set(&error, ENOMEM, "out of memory");
	ygr_client_free(client);
	if (r < 0)
		return ygr_command_failed(&error);

	json_t *monitors = ygr_document_filter(all, options.namespace_);
	json_decref(all);
	if (optind < argc) {
		monitors = only_named(monitors, argv[optind]);
		if (json_array_size(monitors) == 0) {
			fprintf(stderr, "yagura: there is no monitor \"%s\" here\n", argv[optind]);
			json_decref(monitors);
			return EXIT_FAILED;
		}
	}
	if (options.output != YGR_OUTPUT_TABLE)
		r = ygr_output_document(monitors, options.output, stdout);
	else if (json_array_size(monitors) == 0)
		fputs("No monitors. Put a VMMonitor into the agent's manifest directory.\n", stderr);
	else
		r = print_table(monitors);
	if (options.output == YGR_OUTPUT_TABLE && optind == argc)
		print_policies(&options);
	json_decref(monitors);
	return r < 0 ? EXIT_FAILED : 0;
}
