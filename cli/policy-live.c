/* yagura policy list and status: the VMPolicies of the node as the agent tells of them. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/document.h"
#include "cli/policy.h"
#include "cli/table.h"

static const char list_help[] =
    "Usage: yagura policy list [OPTIONS]\n\n"
    "Lists the VMPolicies of this node. STATE is Ready when every selected VM holds the policy.\n\n"
    "Options:\n" YGR_COMMON_HELP;
static const char status_help[] =
    "Usage: yagura policy status [OPTIONS] [NAME]\n\n"
    "Shows each rule with its mode and on how many VMs it is enforced, audited or not\n"
    "supported; then what the compiler says, and what is not held, with reasons.\n\n"
    "Options:\n" YGR_COMMON_HELP;

static const json_t *condition(const json_t *policy, const char *type)
{
	const json_t *item;
	size_t i;

	json_array_foreach((json_t *)ygr_document_at(policy, "status.conditions"), i, item)
	{
		const char *its = ygr_document_string(item, "type");
		if (its && strcmp(its, type) == 0)
			return item;
	}
	return NULL;
}

static bool holds(const json_t *policy, const char *type)
{
	const char *status = ygr_document_string(condition(policy, type), "status");

	return status && strcmp(status, "True") == 0;
}

static const char *state_of(const json_t *policy)
{
	const char *reason = ygr_document_string(condition(policy, "Ready"), "reason");

	if (!holds(policy, "Accepted"))
		return "Invalid";
	if (holds(policy, "Degraded"))
		return "Degraded";
	return holds(policy, "Ready") ? "Ready" : reason ? reason : "Pending";
}

static const char *mode_of(const json_t *policy)
{
	const char *mode = ygr_document_string(policy, "spec.mode");

	return mode ? mode : "Audit";
}

int ygr_cli_policy_print_list(const json_t *policies)
{
	static const char *const headers[] = {"NAMESPACE", "NAME",  "STATE", "MODE",
					      "HELD",      "RULES", "LAST",  NULL};
	struct ygr_table *table = ygr_table_new(headers);
	json_t *policy;
	size_t i;

	json_array_foreach((json_t *)policies, i, policy)
	{
		char rules[24], last[32];
		snprintf(rules, sizeof(rules), "%zu",
			 json_array_size(ygr_document_at(policy, "status.rules")));
		ygr_document_age(ygr_document_string(policy, "status.lastViolationTime"), last,
				 sizeof(last));
		const char *const cells[] = {ygr_document_string(policy, "metadata.namespace"),
					     ygr_document_string(policy, "metadata.name"),
					     state_of(policy),
					     mode_of(policy),
					     ygr_document_string(policy, "status.guests.summary"),
					     rules,
					     last};
		if (table)
			ygr_table_add(table, cells);
	}
	if (table)
		ygr_table_print(table, stdout);
	ygr_table_free(table);
	return 0;
}

static void print_rules(const json_t *policy)
{
	static const char *const headers[] = {"RULE", "MODE", "ENFORCED", "AUDITED", "UNSUPPORTED", NULL};
	static const char *const counts[] = {"enforced", "audited", "unsupported"};
	struct ygr_table *table = ygr_table_new(headers);
	json_t *rule;
	size_t i;

	json_array_foreach((json_t *)ygr_document_at(policy, "status.rules"), i, rule)
	{
		char numbers[3][24];
		for (int j = 0; j < 3; j++)
			snprintf(numbers[j], sizeof(numbers[j]), "%lld",
				 (long long)json_integer_value(json_object_get(rule, counts[j])));
		const char *const cells[] = {ygr_document_string(rule, "name"),
					     ygr_document_string(rule, "mode"), numbers[0], numbers[1],
					     numbers[2]};
		if (table)
			ygr_table_add(table, cells);
	}
	if (table)
		ygr_table_print(table, stdout);
	ygr_table_free(table);
}

static const char *or_nothing(const char *text)
{
	return text ? text : "";
}

static void print_problems(const json_t *policy)
{
	const json_t *item;
	size_t i;

	json_array_foreach((json_t *)ygr_document_at(policy, "status.diagnostics"), i, item)
	    printf("%lld:%lld: %s: %s\n", (long long)json_integer_value(json_object_get(item, "line")),
		   (long long)json_integer_value(json_object_get(item, "column")),
		   or_nothing(ygr_document_string(item, "severity")),
		   or_nothing(ygr_document_string(item, "message")));
	json_array_foreach((json_t *)ygr_document_at(policy, "status.failures"), i, item)
	{
		const char *rule = ygr_document_string(item, "rule");
		printf("%s%s%s: %s: %s\n", or_nothing(ygr_document_string(item, "guest")), rule ? ": " : "",
		       or_nothing(rule), or_nothing(ygr_document_string(item, "reason")),
		       or_nothing(ygr_document_string(item, "message")));
	}
	if (!holds(policy, "Accepted") && !json_array_size(ygr_document_at(policy, "status.diagnostics")))
		printf("not accepted: %s\n",
		       or_nothing(ygr_document_string(condition(policy, "Accepted"), "message")));
}

static int print_status(const json_t *policies)
{
	json_t *policy;
	size_t i;

	json_array_foreach((json_t *)policies, i, policy)
	{
		printf("%s%s/%s: %s, %s, held by %s VMs\n", i ? "\n" : "",
		       or_nothing(ygr_document_string(policy, "metadata.namespace")),
		       or_nothing(ygr_document_string(policy, "metadata.name")), state_of(policy),
		       mode_of(policy), or_nothing(ygr_document_string(policy, "status.guests.summary")));
		print_rules(policy);
		print_problems(policy);
	}
	return 0;
}

static json_t *only_named(json_t *policies, const char *name)
{
	json_t *kept = json_array(), *policy;
	size_t i;

	json_array_foreach(policies, i, policy)
	{
		const char *its = ygr_document_string(policy, "metadata.name");
		if (its && strcmp(its, name) == 0)
			json_array_append(kept, policy);
	}
	json_decref(policies);
	return kept;
}

static int show(const struct ygr_options *options, const char *name, int (*print)(const json_t *policies))
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_client *client = ygr_client_new(options->socket);
	json_t *all = NULL;
	int r = client ? ygr_client_get(client, "/v1/policies", &all, &error)
		       : ygr_error_set(&error, ENOMEM, "out of memory");

	ygr_client_free(client);
	if (r < 0)
		return ygr_command_failed(&error);
	json_t *policies = ygr_document_filter(all, options->namespace_);
	json_decref(all);
	if (name)
		policies = only_named(policies, name);
	if (options->output != YGR_OUTPUT_TABLE)
		r = ygr_output_document(policies, options->output, stdout);
	else if (json_array_size(policies) == 0 && name)
		r = fprintf(stderr, "yagura: there is no policy \"%s\" here\n", name) < 0 ? -EIO : -ENOENT;
	else if (json_array_size(policies) == 0)
		fputs("No policies. Put a VMPolicy into the agent's manifest directory.\n", stderr);
	else
		r = print(policies);
	json_decref(policies);
	return r < 0 ? EXIT_FAILED : 0;
}

static int command(int argc, char **argv, const char *help, int names, int (*print)(const json_t *policies))
{
	static const struct option longs[] = {YGR_COMMON_LONG, {0}};
	struct ygr_options options = {0};
	bool bad = false;

	for (int c; (c = getopt_long(argc, argv, YGR_COMMON_SHORT, longs, NULL)) != -1;) {
		if (c == 'h')
			return fputs(help, stdout) < 0;
		bad |= !ygr_options_take(&options, c, optarg, &bad);
	}
	if (bad || optind + names < argc) {
		fputs(help, stderr);
		return EXIT_USAGE;
	}
	return show(&options, optind < argc ? argv[optind] : NULL, print);
}

int ygr_cli_policy_list(int argc, char **argv)
{
	return command(argc, argv, list_help, 0, ygr_cli_policy_print_list);
}

int ygr_cli_policy_status(int argc, char **argv)
{
	return command(argc, argv, status_help, 1, print_status);
}
