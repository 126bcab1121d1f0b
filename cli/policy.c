/* yagura policy: what is right and wrong with a policy, and what it means. */
#include "cli/policy.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/policy-test.h"
#include "lib/policy/explain.h"
#include "lib/policy/policy.h"
#include "lib/policy/print.h"
#include "lib/policy/show.h"

static const char help[] =
    "Usage: yagura policy check FILE...\n"
    "       yagura policy compile --emit FORM FILE\n"
    "       yagura policy test FIXTURES.yaml...\n"
    "       yagura policy list [OPTIONS]\n"
    "       yagura policy status [OPTIONS] [NAME]\n\n"
    "Policies say what may happen in a VM. docs/policy-language.md is the tutorial.\n\n"
    "  check    tells errors and warnings, with their places\n"
    "  compile  prints what was understood, or made\n"
    "  test     asks the compiled policy about events, in this machine's kernel (as root; no VM is "
    "needed)\n"
    "  list     the VMPolicies of this node: state, mode, how many VMs hold them\n"
    "  status   the same by rule, with reasons and remedies for what is not held\n\n"
    "Options:\n"
    "  -e, --emit FORM  explain (sentences), text (the policy in its canonical form), asm or c (the\n"
    "                   decision programs) or json (programs and maps, for programs)\n"
    "  -h, --help       this text\n";

static int wrong(const char *message, const char *what)
{
	fprintf(stderr, "yagura: %s%s; `yagura policy --help` tells more\n", message, what);
	return EXIT_USAGE;
}

static int write_out(const struct ygr_buf *text, FILE *out)
{
	if (text->len == 0)
		return 0;
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
struct ygr_policy_unit *ygr_cli_policy_load(const char *path)
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
		struct ygr_policy_unit *unit = ygr_cli_policy_load(paths[i]);
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

typedef void emitter(const struct ygr_policy_code *code, struct ygr_policy_text *out);

/* Compiles one policy and prints it with EMIT: 0, or a negative errno that has been said. */
static int emit_code(const struct ygr_policy *policy, emitter *emit, struct ygr_policy_text *text)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_policy_code *code = NULL;
	int r = ygr_policy_linearize(policy, &code, &error);
	if (r < 0)
		ygr_command_failed(&error);
	else
		emit(code, text);
	ygr_policy_code_free(code);
	return r;
}

static const struct form {
	const char *name;
	void (*print)(const struct ygr_policy *policy, struct ygr_policy_text *out);
	emitter *emit;
} forms[] = {{"explain", ygr_policy_explain, NULL}, {"text", ygr_policy_print, NULL},
	     {"asm", NULL, ygr_policy_show_asm},    {"c", NULL, ygr_policy_show_c},
	     {"json", NULL, ygr_policy_show_json},  {NULL, NULL, NULL}};

static int compile(const char *path, const char *name)
{
	struct ygr_buf buf = YGR_BUF_INIT(YGR_POLICY_TEXT_MAX);
	struct ygr_policy_text text = {.out = &buf};
	const struct form *form = forms;
	int r = 0;

	while (form->name && strcmp(form->name, name) != 0)
		form++;
	if (!form->name)
		return wrong("--emit does not know ", name);
	struct ygr_policy_unit *unit = ygr_cli_policy_load(path);
	if (!unit)
		return EXIT_FAILED;
	const struct ygr_policy *policy = ygr_policy_unit_policies(unit);
	for (; policy && r == 0; policy = policy->next) {
		if (form->print)
			form->print(policy, &text);
		else
			r = emit_code(policy, form->emit, &text);
	}
	if (text.failed < 0)
		fprintf(stderr, "yagura: %s: %s\n", path, strerror(-text.failed));
	int status = r < 0 || text.failed < 0 ? EXIT_FAILED : write_out(&buf, stdout);
	ygr_buf_deinit(&buf);
	ygr_policy_unit_free(unit);
	return status;
}

int ygr_cli_policy(int argc, char **argv)
{
	static const struct option options[] = {
	    {"emit", required_argument, NULL, 'e'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	const char *form = NULL;

	if (argc > 1 && strcmp(argv[1], "list") == 0)
		return ygr_cli_policy_list(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "status") == 0)
		return ygr_cli_policy_status(argc - 1, argv + 1);
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
	if (strcmp(what, "test") == 0 && !form)
		return files ? ygr_cli_policy_test(files, argv + optind) : wrong("test wants fixtures", "");
	return wrong(*what ? "there is no " : "expected check, compile, test, list or status", what);
}
