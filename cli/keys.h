/* yagura keys: makes, certifies and shows keys (lib/wire/keys.h). Works on files only, needs no agent. */
#pragma once

/* argv[0] is "keys"; prints, and returns an exit status as in command.h. */
int ygr_cli_keys(int argc, char **argv);
