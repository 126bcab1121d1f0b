/* yagura release: ends what a violation made the node do to a VM. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "cli/command.h"

static const char help[] = "Usage: yagura release [OPTIONS] VM [RULE]\n\n"
			   "Ends what a violation of RULE (without it: of any rule) made the node do to the "
			   "VM: disks are writable\n"
			   "again, networks open, a paused VM goes on. What the guest's kernel forbids "
			   "stays forbidden, and the next\n"
			   "violation acts again.\n\n"
			   "Options:\n" YGR_COMMON_HELP;

static int release(const struct ygr_options *options, const char *vm, const char *rule)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_client *client = ygr_client_new(options->socket);
	json_t *request =
	    json_pack("{s:s, s:s, s:s*}", "namespace", options->namespace_ ? options->namespace_ : "default",
		      "vm", vm, "rule", rule);
	json_t *answer = NULL;
	int r = client && request ? ygr_client_post(client, "/v1/release", request, &answer, &error)
				  : ygr_error_set(&error, ENOMEM, "out of memory");

	ygr_client_free(client);
	json_decref(request);
	if (r < 0)
		return ygr_command_failed(&error);
	if (options->output != YGR_OUTPUT_TABLE)
		r = ygr_output_document(answer, options->output, stdout);
	else
		printf("%lld released\n",
		       (long long)json_integer_value(json_object_get(answer, "released")));
	json_decref(answer);
	return r < 0 ? EXIT_FAILED : 0;
}

int ygr_command_release(int argc, char **argv)
{
	static const struct option longs[] = {YGR_COMMON_LONG, {0}};
	struct ygr_options options = {0};
	bool bad = false;

	for (int c; (c = getopt_long(argc, argv, YGR_COMMON_SHORT, longs, NULL)) != -1;) {
		if (c == 'h')
			return fputs(help, stdout) < 0;
		bad |= !ygr_options_take(&options, c, optarg, &bad);
	}
	if (bad || optind >= argc || optind + 2 < argc) {
		fputs(help, stderr);
		return EXIT_USAGE;
	}
	return release(&options, argv[optind], optind + 1 < argc ? argv[optind + 1] : NULL);
}
