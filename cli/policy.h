/* yagura policy: checks, compiles and tests policies (lib/policy). Works on files only, needs no agent. */
#pragma once

/* argv[0] is "policy"; prints, and returns an exit status as in command.h. */
int ygr_cli_policy(int argc, char **argv);
