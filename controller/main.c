/* yagura-controller: the command line. */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "controller/controller.h"
#include "controller/version.h"
#include "lib/base/log.h"

static const char help[] =
    "Usage: yagura-controller [OPTIONS]\n\n"
    "Stands beside a Kubernetes API server: reviews monitors and policies before they are taken, tells in "
    "their\n"
    "status how guests fare, and looks after the VMGuests of dead nodes.\n\n"
    "Options:\n"
    "      --namespace NAME      follow the API server; the Leases of agents and controllers are in this "
    "namespace.\n"
    "                            Without it there is only the webhook\n"
    "      --kubeconfig FILE     how to reach it (default: as kubectl, or as a pod does)\n"
    "      --identity NAME       of this process among several (default: the host's name and the process's "
    "number)\n"
    "      --dead-node-grace S   how long VMGuests of a dead node are kept, in seconds (default 600)\n"
    "      --listen HOST:PORT    /metrics, /livez, /readyz (default 127.0.0.1:8080)\n"
    "      --webhook HOST:PORT   the webhook, HTTPS, POST /validate; needs the next two\n"
    "      --tls-cert FILE       its certificate, PEM; read again whenever it changes\n"
    "      --tls-key FILE        its key, PEM\n"
    "      --log-level LEVEL     error, warning, info (default) or debug\n"
    "      --log-format FORM     text (default) or json\n"
    "  -h, --help                this text\n"
    "      --version             version\n\n"
    "Manual: yagura-controller(8)\n";

enum {
	OPTION_NAMESPACE = 256,
	OPTION_KUBECONFIG,
	OPTION_IDENTITY,
	OPTION_GRACE,
	OPTION_LISTEN,
	OPTION_WEBHOOK,
	OPTION_CERT,
	OPTION_KEY,
	OPTION_LEVEL,
	OPTION_FORMAT,
	OPTION_VERSION
};

struct arguments {
	struct ygr_controller_options options;
	enum ygr_log_level level;
	enum ygr_log_format format;
};

static int usage(const char *what)
{
	fprintf(stderr, "yagura-controller: %s\nTry --help.\n", what);
	return 2;
}

static bool number(const char *text, unsigned *ret)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value > 86400)
		return false;
	*ret = (unsigned)value;
	return true;
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct arguments *arguments)
{
	static const struct option longs[] = {
	    {"namespace", required_argument, NULL, OPTION_NAMESPACE},
	    {"kubeconfig", required_argument, NULL, OPTION_KUBECONFIG},
	    {"identity", required_argument, NULL, OPTION_IDENTITY},
	    {"dead-node-grace", required_argument, NULL, OPTION_GRACE},
	    {"listen", required_argument, NULL, OPTION_LISTEN},
	    {"webhook", required_argument, NULL, OPTION_WEBHOOK},
	    {"tls-cert", required_argument, NULL, OPTION_CERT},
	    {"tls-key", required_argument, NULL, OPTION_KEY},
	    {"log-level", required_argument, NULL, OPTION_LEVEL},
	    {"log-format", required_argument, NULL, OPTION_FORMAT},
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, OPTION_VERSION},
	    {0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (option) {
		case OPTION_NAMESPACE:
			arguments->options.namespace_ = optarg;
			break;
		case OPTION_KUBECONFIG:
			arguments->options.kubeconfig = optarg;
			break;
		case OPTION_IDENTITY:
			arguments->options.identity = optarg;
			break;
		case OPTION_GRACE:
			if (!number(optarg, &arguments->options.grace_s))
				return usage("--dead-node-grace is a number of seconds, at most 86400");
			break;
		case OPTION_LISTEN:
			arguments->options.listen = optarg;
			break;
		case OPTION_WEBHOOK:
			arguments->options.webhook = optarg;
			break;
		case OPTION_CERT:
			arguments->options.cert = optarg;
			break;
		case OPTION_KEY:
			arguments->options.key = optarg;
			break;
		case OPTION_LEVEL:
			if (!ygr_log_level_parse(optarg, &arguments->level))
				return usage("--log-level is error, warning, info or debug");
			break;
		case OPTION_FORMAT:
			if (strcmp(optarg, "json") != 0 && strcmp(optarg, "text") != 0)
				return usage("--log-format is text or json");
			arguments->format = optarg[0] == 'j' ? YGR_LOG_JSON : YGR_LOG_TEXT;
			break;
		case 'h':
			fputs(help, stdout);
			return 0;
		case OPTION_VERSION:
			puts("yagura-controller " YGR_VERSION);
			return 0;
		default:
			fputs("Try --help.\n", stderr);
			return 2;
		}
	}
	if (optind < argc)
		return usage("no arguments are expected");
	if (arguments->options.webhook && (!arguments->options.cert || !arguments->options.key))
		return usage("--webhook needs --tls-cert and --tls-key");
	return -1;
}

int main(int argc, char **argv)
{
	struct arguments arguments = {.options = {.listen = "127.0.0.1:8080", .grace_s = 600},
				      .level = YGR_LOG_INFO};
	struct ygr_error error = YGR_ERROR_INIT;
	char host[128] = "host", identity[192];
	int r = parse(argc, argv, &arguments);

	if (r >= 0)
		return r;
	mallopt(M_ARENA_MAX, 2); /* the webhook's threads allocate little at a time */
	signal(SIGPIPE, SIG_IGN);
	ygr_log_init(arguments.level, arguments.format);
	(void)gethostname(host, sizeof(host) - 1);
	snprintf(identity, sizeof(identity), "%s_%d", host, (int)getpid());
	if (!arguments.options.identity)
		arguments.options.identity = identity;
	r = ygr_controller_run(&arguments.options, &error);
	if (r < 0)
		ygr_log(YGR_LOG_ERROR, "controller", "%s", error.message);
	return r < 0 ? 1 : 0;
}
