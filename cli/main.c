/* yagura: dispatch to the commands, and the options that all of them share. */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/keys.h"
#include "cli/policy.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
} commands[] = {
    {"vms", ygr_command_vms, "list the VMs of this node and what runs on them"},
    {"status", ygr_command_status, "show monitors: what is ready, what failed and why"},
    {"events", ygr_command_events, "show events, with -f as they come"},
    {"run", ygr_command_run, "run an eBPF application of the node on a VM, once"},
    {"keys", ygr_cli_keys, "make, certify and show the keys that let a node into guests"},
    {"policy", ygr_cli_policy, "check, explain, compile and test policies; list those in force"},
    {"release", ygr_command_release, "end what a violation made the node do to a VM"},
    {"completion", ygr_command_completion, "print a completion script for bash, zsh or fish"},
};

static void usage(FILE *out)
{
	fprintf(out, "Usage: yagura COMMAND [OPTIONS] [ARGUMENTS]\n\n"
		     "Watches and guards virtual machines from the node that runs them.\n\nCommands:\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(out, "  %-11s %s\n", commands[i].name, commands[i].summary);
	fprintf(out, "\n`yagura COMMAND --help` tells more. Examples:\n"
		     "  yagura vms\n"
		     "  yagura events -f --vm web-3\n"
		     "  yagura run web-3 -- execsnoop -x\n");
}

int ygr_command_failed(const struct ygr_error *error)
{
	fprintf(stderr, "yagura: %s\n", error->message);
	return EXIT_FAILED;
}

bool ygr_options_take(struct ygr_options *options, int c, const char *value, bool *bad)
{
	switch (c) {
	case 'n':
		options->namespace_ = value;
		return true;
	case 's':
		options->socket = value;
		return true;
	case 'o':
		if (!ygr_output_parse(value, &options->output)) {
			fprintf(stderr, "yagura: --output is table, json or yaml, not \"%s\"\n", value);
			*bad = true;
		}
		return true;
	default:
		return false;
	}
}

int main(int argc, char **argv)
{
	if (argc < 2 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
	    strcmp(argv[1], "-h") == 0) {
		usage(argc < 2 ? stderr : stdout);
		return argc < 2 ? EXIT_USAGE : 0;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("yagura %s\n", YAGURA_VERSION);
		return 0;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "yagura: there is no command \"%s\"; `yagura --help` lists them\n", argv[1]);
	return EXIT_USAGE;
}
