/* yagura policy: checks, compiles and tests policies (lib/policy). Works on files only, needs no agent. */
#pragma once

/* argv[0] is "policy"; prints, and returns an exit status as in command.h. */
#include <jansson.h>

/* The table of `policy list`. */
int ygr_cli_policy_print_list(const json_t *policies);
/* yagura policy list, and status of one or all; argv[0] is the word. */
int ygr_cli_policy_list(int argc, char **argv);
int ygr_cli_policy_status(int argc, char **argv);
int ygr_cli_policy(int argc, char **argv);
