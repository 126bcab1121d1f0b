/* yagura completion: scripts for the shells; names of VMs and monitors come from the agent when asked. */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"

static const char bash[] =
    "# bash completion for yagura: eval \"$(yagura completion bash)\"\n"
    "_yagura() {\n"
    "	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
    "	case $prev in\n"
    "	-o|--output) COMPREPLY=($(compgen -W 'table json yaml' -- \"$cur\")); return ;;\n"
    "	-d|--delivery) COMPREPLY=($(compgen -W 'Auto Copied Stream Shared' -- \"$cur\")); return ;;\n"
    "	-w|--wake) COMPREPLY=($(compgen -W 'Adaptive Notify' -- \"$cur\")); return ;;\n"
    "	-s|--socket) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
    "	run|--vm) COMPREPLY=($(compgen -W \"$(yagura vms 2>/dev/null | awk 'NR>1{print $2}')\" -- "
    "\"$cur\")); return ;;\n"
    "	status|--monitor) COMPREPLY=($(compgen -W \"$(yagura status 2>/dev/null | awk 'NR>1 && NF>=5{print "
    "$2}')\" -- \"$cur\")); return ;;\n"
    "	keys) COMPREPLY=($(compgen -W 'init certify show' -- \"$cur\")); return ;;\n"
    "	policy) COMPREPLY=($(compgen -W 'check compile test list status' -- \"$cur\")); return ;;\n"
    "	completion) COMPREPLY=($(compgen -W 'bash zsh fish' -- \"$cur\")); return ;;\n"
    "	esac\n"
    "	if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
    "		COMPREPLY=($(compgen -W 'vms status events run keys policy release completion help' -- "
    "\"$cur\"))\n"
    "	else\n"
    "		COMPREPLY=($(compgen -W '--help --namespace --output --socket --follow --recent --vm "
    "--monitor --app "
    "--delivery --wake --trace --explain' -- \"$cur\"))\n"
    "	fi\n"
    "}\n"
    "complete -F _yagura yagura\n";

static const char zsh[] = "# zsh completion for yagura: eval \"$(yagura completion zsh)\"\n"
			  "autoload -U +X bashcompinit && bashcompinit\n"
			  "eval \"$(yagura completion bash)\"\n";

static const char fish[] =
    "# fish completion for yagura: yagura completion fish | source\n"
    "complete -c yagura -f -n __fish_use_subcommand -a 'vms status events run keys policy release "
    "completion help'\n"
    "complete -c yagura -s o -l output -xa 'table json yaml'\n"
    "complete -c yagura -s n -l namespace -x\n"
    "complete -c yagura -s s -l socket -r\n"
    "complete -c yagura -s f -l follow -n '__fish_seen_subcommand_from events'\n"
    "complete -c yagura -l vm -n '__fish_seen_subcommand_from events' -xa \"(yagura vms 2>/dev/null | awk "
    "'NR>1{print $2}')\"\n"
    "complete -c yagura -s d -l delivery -n '__fish_seen_subcommand_from run' -xa 'Auto Copied Stream "
    "Shared'\n"
    "complete -c yagura -s w -l wake -n '__fish_seen_subcommand_from run' -xa 'Adaptive Notify'\n";

int ygr_command_completion(int argc, char **argv)
{
	const char *shell = argc == 2 ? argv[1] : "";
	if (strcmp(shell, "bash") == 0)
		return fputs(bash, stdout) < 0;
	if (strcmp(shell, "zsh") == 0)
		return fputs(zsh, stdout) < 0;
	if (strcmp(shell, "fish") == 0)
		return fputs(fish, stdout) < 0;
	bool help = strcmp(shell, "--help") == 0 || strcmp(shell, "-h") == 0;
	fputs("Usage: yagura completion bash|zsh|fish\n\nPrints a completion script; for bash:\n"
	      "  eval \"$(yagura completion bash)\"\n",
	      help ? stdout : stderr);
	return help ? 0 : EXIT_USAGE;
}
