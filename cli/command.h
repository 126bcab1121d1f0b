/* What every command gets, and the commands. Each parses its own argv, prints, and returns an exit status.
 */
#pragma once

#include "cli/client.h"
#include "cli/output.h"

/* Exit statuses: 0 done; 1 it failed (said on standard error); 2 the command line is wrong. */
enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* Options that every command takes. */
struct ygr_options {
	const char *socket;
	const char *namespace_; /* NULL: all, or "default" where one is needed */
	enum ygr_output output;
};

/*
 * Tries option C of getopt_long (one of YGR_COMMON_SHORT) on OPTIONS: true when it was one of ours; *BAD is
 * set when its value is wrong (said on standard error).
 */
bool ygr_options_take(struct ygr_options *options, int c, const char *value, bool *bad);

#define YGR_COMMON_SHORT "hn:o:s:"
#define YGR_COMMON_LONG                                                                                     \
	{"help", no_argument, NULL, 'h'}, {"namespace", required_argument, NULL, 'n'},                      \
	    {"output", required_argument, NULL, 'o'},                                                       \
	{                                                                                                   \
		"socket", required_argument, NULL, 's'                                                      \
	}

#define YGR_COMMON_HELP                                                                                     \
	"  -n, --namespace NAME  only this namespace\n"                                                     \
	"  -o, --output FORM     table (default), json or yaml\n"                                           \
	"  -s, --socket PATH     the agent's socket (default $YAGURA_SOCKET or " YGR_CLIENT_SOCKET ")\n"    \
	"  -h, --help            this text\n"

/* Prints "yagura: MESSAGE" to standard error; returns EXIT_FAILED. */
int ygr_command_failed(const struct ygr_error *error);

int ygr_command_vms(int argc, char **argv);
int ygr_command_status(int argc, char **argv);
int ygr_command_events(int argc, char **argv);
int ygr_command_run(int argc, char **argv);
int ygr_command_release(int argc, char **argv);
int ygr_command_completion(int argc, char **argv);
