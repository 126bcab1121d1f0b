/* yagura policy test: asks a policy's real decisions about the events of fixtures. */
#pragma once

/* Runs the fixtures of FILES; an exit status as in command.h. */
int ygr_cli_policy_test(int files, char **paths);

/* The unit of the policy file PATH without errors, with warnings and errors said; NULL when there are any. */
struct ygr_policy_unit *ygr_cli_policy_load(const char *path);
