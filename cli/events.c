/* yagura events: what applications said, from the agent's memory and, with -f, as it comes. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/document.h"

static const char help[] = "Usage: yagura events [OPTIONS]\n\n"
			   "Prints events: one for each line of an application. Without -f those that the "
			   "agent remembers (the last\n"
			   "1024, or 1 MiB), with -f what comes from now on.\n\n"
			   "Options:\n"
			   "  -f, --follow          go on until Ctrl-C\n"
			   "  -r, --recent N        begin with the last N events (0 to 1024)\n"
			   "      --vm NAME         only of this VM\n"
			   "      --monitor NAME    only of this monitor\n"
			   "      --app NAME        only of this application\n" YGR_COMMON_HELP;

enum { OPT_VM = 256, OPT_MONITOR, OPT_APP };

struct printer {
	enum ygr_output output;
};

static bool print_event(void *user, const json_t *event, const char *text)
{
	const struct printer *printer = user;
	if (printer->output == YGR_OUTPUT_JSON) {
		puts(text);
	} else if (printer->output == YGR_OUTPUT_YAML) {
		puts("---");
		ygr_output_document(event, YGR_OUTPUT_YAML, stdout);
	} else {
		const char *when = ygr_document_string(event, "time");
		const char *line = ygr_document_string(event, "line");
		const char *vm = ygr_document_string(event, "vm"), *app = ygr_document_string(event, "app");
		if (!app) /* what a policy says has a rule */
			app = ygr_document_string(event, "rule");
		const json_t *lost = json_object_get(event, "droppedBefore");
		if (lost)
			printf("... %lld events dropped: this reader is too slow ...\n",
			       (long long)json_integer_value(lost));
		printf("%.12s  %-12s %-10s %s\n", when && strlen(when) > 11 ? when + 11 : "", vm ? vm : "-",
		       app ? app : "-", line ? line : "");
	}
	fflush(stdout);
	return !ferror(stdout);
}

static bool stop(void *user, int signal_number)
{
	(void)user;
	(void)signal_number;
	return false;
}

int ygr_command_events(int argc, char **argv)
{
	static const struct option longs[] = {YGR_COMMON_LONG,
					      {"follow", no_argument, NULL, 'f'},
					      {"recent", required_argument, NULL, 'r'},
					      {"vm", required_argument, NULL, OPT_VM},
					      {"monitor", required_argument, NULL, OPT_MONITOR},
					      {"app", required_argument, NULL, OPT_APP},
					      {0}};
	struct ygr_options options = {0};
	const char *vm = NULL, *monitor = NULL, *app = NULL, *recent = NULL, *follow = NULL;
	bool bad = false;
	for (int c; (c = getopt_long(argc, argv, YGR_COMMON_SHORT "fr:", longs, NULL)) != -1;)
		switch (c) {
		case 'h':
			return fputs(help, stdout) < 0;
		case 'f':
			follow = "1";
			break;
		case 'r':
			recent = optarg;
			break;
		case OPT_VM:
			vm = optarg;
			break;
		case OPT_MONITOR:
			monitor = optarg;
			break;
		case OPT_APP:
			app = optarg;
			break;
		default:
			bad |= !ygr_options_take(&options, c, optarg, &bad);
		}
	if (bad || optind < argc) {
		fputs(help, stderr);
		return EXIT_USAGE;
	}

	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_client *client = ygr_client_new(options.socket);
	if (!client)
		return EXIT_FAILED;
	char path[2048] = "/v1/events";
	ygr_client_query(client, path, sizeof(path), "follow", follow);
	ygr_client_query(client, path, sizeof(path), "recent", recent);
	ygr_client_query(client, path, sizeof(path), "namespace", options.namespace_);
	ygr_client_query(client, path, sizeof(path), "vm", vm);
	ygr_client_query(client, path, sizeof(path), "monitor", monitor);
	ygr_client_query(client, path, sizeof(path), "app", app);

	struct printer printer = {options.output};
	const struct ygr_client_stream stream = {print_event, stop, &printer};
	int r = ygr_client_stream(client, path, NULL, &stream, &error);
	ygr_client_free(client);
	return r < 0 ? ygr_command_failed(&error) : 0;
}
