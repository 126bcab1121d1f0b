/* yagura policy: what is right and wrong with a policy, and what it means. */
#include "cli/policy.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "lib/policy/explain.h"
#include "lib/policy/policy.h"
#include "lib/policy/print.h"

static const char help[] =
    "Usage: yagura policy check FILE...\n"
    "       yagura policy compile --emit FORM FILE\n\n"
    "Policies say what may happen in a VM. docs/policy-language.md is the tutorial.\n\n"
    "  check    tells errors and warnings, with their places\n"
    "  compile  prints what was understood\n\n"
    "Options:\n"
    "  -e, --emit FORM  explain (sentences) or text (the policy in its canonical form)\n"
    "  -h, --help       this text\n";

static int wrong(const char *message, const char *what)
{
	fprintf(stderr, "yagura: %s%s; `yagura policy --help` tells more\n", message, what);
	return EXIT_USAGE;
}

static int write_out(const struct ygr_buf *text, FILE *out)
{
	return fwrite(text->data, 1, text->len, out) == text->len && fflush(out) == 0 ? 0 : EXIT_FAILED;
}

/* Prints what the unit has to say to standard error. */
static int say(const struct ygr_policy_unit *unit)
{
	struct ygr_buf text = YGR_BUF_INIT(YGR_POLICY_TEXT_MAX);
	int r = ygr_policy_unit_said(unit, &text);
	int status = r < 0 ? EXIT_FAILED : write_out(&text, stderr);
	ygr_buf_deinit(&text);
	return status;
}

/* The unit of PATH without errors, or NULL with everything said. */
static struct ygr_policy_unit *load(const char *path)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_policy_unit *unit = NULL;
	if (ygr_policy_unit_read(path, &unit, &error) < 0) {
		ygr_command_failed(&error);
		return NULL;
	}
	if (ygr_policy_unit_errors(unit) == 0)
		ygr_policy_unit_review(unit);
	say(unit);
	return ygr_policy_unit_errors(unit) == 0 ? unit : ygr_policy_unit_free(unit);
}

static void count(const struct ygr_policy_unit *unit, unsigned *ret_rules, unsigned *ret_reactions)
{
	*ret_rules = *ret_reactions = 0;
	for (const struct ygr_policy *policy = ygr_policy_unit_policies(unit); policy;
	     policy = policy->next) {
		*ret_rules += policy->rule_count;
		for (const struct ygr_policy_host_rule *rule = policy->host_rules; rule; rule = rule->next)
			(*ret_reactions)++;
	}
}

static int check(int files, char **paths)
{
	int status = 0;
	for (int i = 0; i < files; i++) {
		unsigned rules, reactions;
		struct ygr_policy_unit *unit = load(paths[i]);
		if (!unit) {
			status = EXIT_FAILED;
			continue;
		}
		count(unit, &rules, &reactions);
		printf("%s: good, %u rules, %u reactions, %u warnings\n", paths[i], rules, reactions,
		       ygr_policy_unit_warnings(unit));
		ygr_policy_unit_free(unit);
	}
	return status;
}

static int compile(const char *path, const char *form)
{
	struct ygr_buf buf = YGR_BUF_INIT(YGR_POLICY_TEXT_MAX);
	struct ygr_policy_text text = {.out = &buf};
	bool explain = strcmp(form, "explain") == 0;

	if (!explain && strcmp(form, "text") != 0)
		return wrong("--emit is explain or text, not ", form);
	struct ygr_policy_unit *unit = load(path);
	if (!unit)
		return EXIT_FAILED;
	for (const struct ygr_policy *policy = ygr_policy_unit_policies(unit); policy;
	     policy = policy->next) {
		if (explain)
			ygr_policy_explain(policy, &text);
		else
			ygr_policy_print(policy, &text);
		if (policy->next)
			ygr_policy_put(&text, "\n");
	}
	int status = text.failed < 0 ? EXIT_FAILED : write_out(&buf, stdout);
	if (text.failed < 0)
		fprintf(stderr, "yagura: %s: %s\n", path, strerror(-text.failed));
	ygr_buf_deinit(&buf);
	ygr_policy_unit_free(unit);
	return status;
}

int ygr_cli_policy(int argc, char **argv)
{
	static const struct option options[] = {
	    {"emit", required_argument, NULL, 'e'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	const char *form = NULL;

	for (int c; (c = getopt_long(argc, argv, "e:h", options, NULL)) != -1;) {
		if (c == 'h') {
			fputs(help, stdout);
			return 0;
		}
		if (c != 'e')
			return EXIT_USAGE;
		form = optarg;
	}
	const char *what = optind < argc ? argv[optind++] : "";
	int files = argc - optind;
	if (strcmp(what, "check") == 0 && !form)
		return files ? check(files, argv + optind) : wrong("check wants files", "");
	if (strcmp(what, "compile") == 0)
		return files == 1 && form ? compile(argv[optind], form)
					  : wrong("compile wants --emit and one file", "");
	return wrong(*what ? "there is no " : "expected check or compile", what);
}
