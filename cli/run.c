/*
 * yagura run: an application on a VM, in the foreground. Its output comes as records over the agent's
 * socket; Ctrl-C is sent on to it (tools that print a summary when interrupted do), a third one gives up
 * waiting.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/document.h"

static const char help[] =
    "Usage: yagura run [OPTIONS] VM -- PROGRAM [ARGUMENTS]\n\n"
    "Runs an unmodified eBPF application of this node on a VM as if it ran there, confined, and shows what "
    "it\n"
    "prints. PROGRAM is a name from the node's catalogue; root may give any path. Ctrl-C interrupts the\n"
    "application. The exit status is the application's, or 128 plus the signal that ended it.\n\n"
    "Options:\n"
    "  -d, --delivery MODE   Auto (default), Copied, Stream or Shared\n"
    "  -w, --wake MODE       how new records are noticed: Adaptive polls, Notify waits for the guest's "
    "word;\n"
    "                        unless given, what the catalogue says, or Adaptive\n"
    "      --trace           also show the forwarded calls, as strace would\n"
    "      --explain         at the end: how calls were hooked and what was forwarded\n" YGR_COMMON_HELP "\n"
    "Examples:\n"
    "  yagura run web-3 -- execsnoop\n"
    "  yagura run -n shop web-3 -- /root/mytool --verbose\n";

enum { OPT_TRACE = 256, OPT_EXPLAIN };

struct running {
	struct ygr_client *client;
	const char *socket;
	char id[64];
	int interrupts;
	int status; /* exit status; -1 while unknown */
};

static void finish(struct running *running, const json_t *record)
{
	const json_t *code = json_object_get(record, "exit"), *number = json_object_get(record, "signal");
	const char *error = ygr_document_string(record, "error"),
		   *reason = ygr_document_string(record, "reason");
	if (code)
		running->status = (int)json_integer_value(code);
	else if (number)
		running->status = 128 + (int)json_integer_value(number);
	else
		running->status = EXIT_FAILED;
	if (error)
		fprintf(stderr, "yagura: %s%s%s\n", reason ? reason : "", reason ? ": " : "", error);
}

static bool on_record(void *user, const json_t *record, const char *text)
{
	struct running *running = user;
	(void)text;
	const char *id = ygr_document_string(record, "id"), *stream = ygr_document_string(record, "stream");
	const char *data = ygr_document_string(record, "data");
	if (id) {
		snprintf(running->id, sizeof(running->id), "%s", id);
	} else if (stream && data) {
		FILE *out = strcmp(stream, "stdout") == 0 ? stdout : stderr;
		fputs(data, out);
		fflush(out);
	} else {
		finish(running, record);
	}
	return true;
}

static bool on_interrupt(void *user, int signal_number)
{
	struct running *running = user;
	if (++running->interrupts >= 3 || !running->id[0])
		return false;

	char path[128];
	snprintf(path, sizeof(path), "/v1/run/%s/signal", running->id);
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_client *client = ygr_client_new(running->socket);
	json_t *body = json_pack("{s:i}", "signal", running->interrupts == 1 ? signal_number : SIGKILL);
	json_t *answer = NULL;
	if (client && ygr_client_post(client, path, body, &answer, &error) < 0)
		fprintf(stderr, "yagura: cannot interrupt it: %s\n", error.message);
	json_decref(answer);
	json_decref(body);
	ygr_client_free(client);
	return true;
}

static json_t *request_of(const char *vm, const char *namespace_, const char *delivery, const char *wake,
			  bool trace, bool explain, int argc, char **argv)
{
	json_t *args = json_array();
	for (int i = 1; i < argc; i++)
		json_array_append_new(args, json_string(argv[i]));
	return json_pack("{s:s, s:s?, s:s, s:o, s:s, s:s*, s:b, s:b}", "vm", vm, "namespace", namespace_,
			 "program", argv[0], "args", args, "delivery", delivery, "wake", wake, "trace",
			 trace, "explain", explain);
}

static int run(const struct ygr_options *options, json_t *request)
{
	struct running running = {
	    .client = ygr_client_new(options->socket), .socket = options->socket, .status = -1};
	if (!running.client || !request) {
		fputs("yagura: out of memory, or an argument that is not UTF-8\n", stderr);
		ygr_client_free(running.client);
		return EXIT_FAILED;
	}
	struct ygr_error error = YGR_ERROR_INIT;
	const struct ygr_client_stream stream = {on_record, on_interrupt, &running};
	int r = ygr_client_stream(running.client, "/v1/run", request, &stream, &error);
	ygr_client_free(running.client);
	if (r < 0)
		return ygr_command_failed(&error);
	if (running.status < 0)
		fputs("yagura: the agent went away before the application ended\n", stderr);
	return running.status < 0 ? EXIT_FAILED : running.status;
}

int ygr_command_run(int argc, char **argv)
{
	static const struct option longs[] = {YGR_COMMON_LONG,
					      {"delivery", required_argument, NULL, 'd'},
					      {"wake", required_argument, NULL, 'w'},
					      {"trace", no_argument, NULL, OPT_TRACE},
					      {"explain", no_argument, NULL, OPT_EXPLAIN},
					      {0}};
	struct ygr_options options = {0};
	const char *delivery = "Auto", *wake = NULL;
	bool bad = false, trace = false, explain = false;
	for (int c; (c = getopt_long(argc, argv, "+" YGR_COMMON_SHORT "d:w:", longs, NULL)) != -1;)
		switch (c) {
		case 'h':
			return fputs(help, stdout) < 0;
		case 'd':
			delivery = optarg;
			break;
		case 'w':
			wake = optarg;
			break;
		case OPT_TRACE:
			trace = true;
			break;
		case OPT_EXPLAIN:
			explain = true;
			break;
		default:
			bad |= !ygr_options_take(&options, c, optarg, &bad);
		}
	const char *vm = optind < argc ? argv[optind++] : NULL;
	if (optind < argc && strcmp(argv[optind], "--") == 0)
		optind++;
	if (bad || !vm || optind >= argc) {
		fputs(help, stderr);
		return EXIT_USAGE;
	}

	/* NAMESPACE/VM is understood too, as kubectl's users write it. */
	char name[256];
	snprintf(name, sizeof(name), "%s", vm);
	char *slash = strchr(name, '/');
	if (slash) {
		*slash = '\0';
		options.namespace_ = name;
		vm = slash + 1;
	}
	json_t *request =
	    request_of(vm, options.namespace_, delivery, wake, trace, explain, argc - optind, argv + optind);
	int status = run(&options, request);
	json_decref(request);
	return status;
}
