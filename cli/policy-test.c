/*
 * yagura policy test: every event of a fixture is put to the policy's bytecode in the kernel of this machine.
 * The cases of one file share their counters, in the order of the file, so that rates can be tested.
 */
#include "cli/policy-test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "lib/base/cleanup.h"
#include "lib/policy/fixture.h"
#include "lib/policy/kernel.h"
#include "lib/policy/policy.h"

struct run {
	struct ygr_policy_cases cases;
	struct ygr_policy_unit *unit;
	const struct ygr_policy *policy;
	struct ygr_policy_code *code;
	struct ygr_policy_image *image;
	struct ygr_policy_kernel *kernel;
	unsigned failed;
};

static void run_deinit(struct run *run)
{
	ygr_policy_kernel_free(run->kernel);
	ygr_policy_image_free(run->image);
	ygr_policy_code_free(run->code);
	ygr_policy_unit_free(run->unit);
	ygr_policy_cases_deinit(&run->cases);
}

/* The policy's path, from the folder of the fixture. malloc'ed; NULL without memory. */
static char *beside(const char *fixture, const char *policy)
{
	const char *slash = strrchr(fixture, '/');
	char *path = NULL;
	int folder = slash && policy[0] != '/' ? (int)(slash + 1 - fixture) : 0;
	return asprintf(&path, "%.*s%s", folder, fixture, policy) < 0 ? NULL : path;
}

static int find_policy(struct run *run, const char *path, struct ygr_error *error)
{
	const struct ygr_policy *policy = ygr_policy_unit_policies(run->unit);
	if (!run->cases.name && policy->next)
		return ygr_error_set(error, EINVAL,
				     "%s has several policies: the fixture must say policyName", path);
	while (policy && run->cases.name && strcmp(policy->name, run->cases.name) != 0)
		policy = policy->next;
	if (!policy)
		return ygr_error_set(error, ENOENT, "%s has no policy \"%s\"", path, run->cases.name);
	run->policy = policy;
	return 0;
}

/* Loads everything: 0, or an error that is set, or that has been said (code 0). */
static int prepare(struct run *run, const char *fixture, struct ygr_error *error)
{
	int r = ygr_policy_cases_read(fixture, &run->cases, error);
	if (r < 0)
		return r;
	_cleanup_free_ char *path = beside(fixture, run->cases.policy);
	if (!path)
		return ygr_error_set(error, ENOMEM, "out of memory");
	run->unit = ygr_cli_policy_load(path);
	if (!run->unit)
		return -EINVAL;
	r = find_policy(run, path, error);
	if (r == 0)
		r = ygr_policy_linearize(run->policy, &run->code, error);
	if (r == 0 && (r = ygr_policy_image_new(run->code, &ygr_policy_situation_names, &run->image)) < 0)
		ygr_error_set(error, -r, "%s: %s", path, strerror(-r));
	if (r == 0)
		r = ygr_policy_kernel_new(run->code, run->image, &run->kernel, error);
	return r;
}

static const char *rule_name(const struct run *run, uint32_t number)
{
	if (number == YGR_POLICY_RULE_DEFAULT)
		return "default";
	for (const struct ygr_policy_rule *rule = run->policy->rules; rule; rule = rule->next)
		if (rule->number == number)
			return rule->name;
	return "incomplete";
}

static int run_case(struct run *run, const struct ygr_policy_case *test, struct ygr_error *error)
{
	struct ygr_policy_event event;
	int answer;
	ygr_policy_situation_event(&test->situation, run->image, &event);
	int r =
	    ygr_policy_kernel_ask(run->kernel, test->situation.operation->number, &event, &answer, error);
	if (r < 0)
		return r;
	const char *rule = rule_name(run, event.rule);
	bool good = event.action == test->verdict && (!test->rule || strcmp(test->rule, rule) == 0) &&
		    (test->error < 0 || answer == -test->error);
	run->failed += !good;
	printf("%s  %s: %s, by %s", good ? "ok    " : "FAILED", test->name,
	       ygr_policy_action_name(event.action), rule);
	if (answer < 0)
		printf(", %s", ygr_policy_errno_name(-answer));
	if (!good)
		printf("; expected %s%s%s%s%s", ygr_policy_action_name(test->verdict),
		       test->rule ? ", by " : "", test->rule ? test->rule : "", test->error >= 0 ? ", " : "",
		       test->error >= 0 ? ygr_policy_errno_name(test->error) : "");
	printf("\n");
	return 0;
}

static int run_file(const char *path)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct run run = {0};
	int r = prepare(&run, path, &error);
	for (size_t i = 0; i < run.cases.count && r == 0; i++)
		r = run_case(&run, &run.cases.cases[i], &error);
	if (r == 0)
		printf("%s: %zu of %zu as expected\n", path, run.cases.count - run.failed, run.cases.count);
	else if (error.code)
		ygr_command_failed(&error);
	if (r == -EPERM)
		fprintf(stderr, "yagura: decisions run in this machine's kernel, which takes root\n");
	int status = r < 0 || run.failed ? EXIT_FAILED : 0;
	run_deinit(&run);
	return status;
}

int ygr_cli_policy_test(int files, char **paths)
{
	int status = 0;
	for (int i = 0; i < files; i++)
		if (run_file(paths[i]) != 0)
			status = EXIT_FAILED;
	return status;
}
