/* What is wrong with what people wrote: kept with the object that it is about, or by file. */
#include <stdlib.h>
#include <string.h>

#include "agent/reconcile/policy.h"
#include "lib/base/log.h"

void ygr_reconcile_clear_problems(struct ygr_reconcile *reconcile)
{
	for (size_t i = 0; i < reconcile->monitor_count; i++) {
		free(reconcile->monitors[i]->problem);
		reconcile->monitors[i]->problem = NULL;
	}
	if (reconcile->policies)
		ygr_policies_clear_problems(reconcile->policies);
	ygr_strings_free(reconcile->file_problems, reconcile->file_problem_count);
	reconcile->file_problems = NULL;
	reconcile->file_problem_count = 0;
}

/* A file that cannot be read at all: "FILE\0MESSAGE". */
static void add_file_problem(struct ygr_reconcile *reconcile, const struct ygr_manifest_problem *problem)
{
	size_t file = strlen(problem->file) + 1, message = strlen(problem->message) + 1;
	char *text = malloc(file + message);

	if (!text)
		return;
	memcpy(text, problem->file, file);
	memcpy(text + file, problem->message, message);
	if (ygr_reconcile_append(&reconcile->file_problems, &reconcile->file_problem_count, text) < 0)
		free(text);
}

void ygr_reconcile_problems(void *user, const struct ygr_manifest_problem *problems, size_t count)
{
	struct ygr_reconcile *reconcile = user;

	ygr_reconcile_clear_problems(reconcile);
	reconcile->problem_count = count;
	for (size_t i = 0; i < count; i++) {
		ygr_log(YGR_LOG_WARNING, "desired", "%s", problems[i].message);
		struct ygr_wanted *wanted = NULL;
		if (problems[i].kind && !strcmp(problems[i].kind, YGR_VM_POLICY_KIND)) {
			ygr_policies_problem(reconcile->policies, &problems[i]);
			continue;
		}
		if (problems[i].name)
			wanted = ygr_reconcile_wanted(reconcile, problems[i].namespace_, problems[i].name);
		if (!wanted)
			add_file_problem(reconcile, &problems[i]);
		else if (!wanted->problem)
			wanted->problem = strdup(problems[i].message);
	}
	reconcile->dirty = true;
	ygr_reconcile_soon(reconcile, 0);
}
