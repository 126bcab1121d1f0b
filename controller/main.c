/* yagura-controller: the command line and the loop. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "controller/health.h"
#include "controller/version.h"
#include "controller/webhook.h"
#include "lib/base/log.h"
#include "lib/base/metrics.h"

static const char help[] =
    "Usage: yagura-controller [OPTIONS]\n\n"
    "Reviews VMMonitors and VMPolicies before an API server takes them.\n\n"
    "Options:\n"
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
	OPTION_LISTEN = 256,
	OPTION_WEBHOOK,
	OPTION_CERT,
	OPTION_KEY,
	OPTION_LEVEL,
	OPTION_FORMAT,
	OPTION_VERSION
};

struct arguments {
	const char *listen, *webhook, *cert, *key;
	enum ygr_log_level level;
	enum ygr_log_format format;
};

struct controller {
	uv_loop_t loop;
	uv_timer_t second;
	uv_signal_t term, interrupt;
	struct ygr_health *health;
	struct ygr_webhook *webhook;
};

static int usage(const char *what)
{
	fprintf(stderr, "yagura-controller: %s\nTry --help.\n", what);
	return 2;
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct arguments *arguments)
{
	static const struct option longs[] = {
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
		case OPTION_LISTEN:
			arguments->listen = optarg;
			break;
		case OPTION_WEBHOOK:
			arguments->webhook = optarg;
			break;
		case OPTION_CERT:
			arguments->cert = optarg;
			break;
		case OPTION_KEY:
			arguments->key = optarg;
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
	if (arguments->webhook && (!arguments->cert || !arguments->key))
		return usage("--webhook needs --tls-cert and --tls-key");
	return -1;
}

static void on_second(uv_timer_t *timer)
{
	struct controller *controller = timer->data;

	ygr_health_heartbeat(controller->health);
	if (controller->webhook)
		ygr_webhook_tick(controller->webhook);
}

static void on_signal(uv_signal_t *handle, int number)
{
	(void)number;
	uv_stop(handle->loop);
}

static int start_loop(struct controller *controller, struct ygr_error *error)
{
	int r = uv_loop_init(&controller->loop);

	if (r < 0)
		return ygr_error_set(error, -r, "no event loop: %s", uv_strerror(r));
	uv_timer_init(&controller->loop, &controller->second);
	uv_signal_init(&controller->loop, &controller->term);
	uv_signal_init(&controller->loop, &controller->interrupt);
	controller->second.data = controller;
	uv_timer_start(&controller->second, on_second, 0, 1000);
	uv_signal_start(&controller->term, on_signal, SIGTERM);
	uv_signal_start(&controller->interrupt, on_signal, SIGINT);
	return 0;
}

static void close_loop(struct controller *controller)
{
	uv_close((uv_handle_t *)&controller->second, NULL);
	uv_close((uv_handle_t *)&controller->term, NULL);
	uv_close((uv_handle_t *)&controller->interrupt, NULL);
	uv_run(&controller->loop, UV_RUN_DEFAULT);
	uv_loop_close(&controller->loop);
}

static int run(const struct arguments *arguments, struct ygr_metrics *metrics, struct ygr_error *error)
{
	struct controller controller = {0};
	int r = ygr_health_start(arguments->listen, metrics, &controller.health, error);

	if (r == 0 && arguments->webhook)
		r = ygr_webhook_start(arguments->webhook, arguments->cert, arguments->key, metrics,
				      &controller.webhook, error);
	if (r == 0)
		r = start_loop(&controller, error);
	if (r == 0) {
		ygr_health_ready(controller.health, "webhook", true, NULL);
		ygr_log(YGR_LOG_INFO, "controller", "serving on %s%s%s", arguments->listen,
			arguments->webhook ? ", webhook on " : "",
			arguments->webhook ? arguments->webhook : "");
		uv_run(&controller.loop, UV_RUN_DEFAULT);
		close_loop(&controller);
	}
	ygr_webhook_stop(controller.webhook);
	ygr_health_stop(controller.health);
	return r;
}

int main(int argc, char **argv)
{
	struct arguments arguments = {.listen = "127.0.0.1:8080", .level = YGR_LOG_INFO};
	struct ygr_error error = YGR_ERROR_INIT;
	int r = parse(argc, argv, &arguments);

	if (r >= 0)
		return r;
	signal(SIGPIPE, SIG_IGN);
	ygr_log_init(arguments.level, arguments.format);
	struct ygr_metrics *metrics = ygr_metrics_new();
	r = metrics ? run(&arguments, metrics, &error) : ygr_error_set(&error, ENOMEM, "out of memory");
	if (r < 0)
		ygr_log(YGR_LOG_ERROR, "controller", "%s", error.message);
	ygr_metrics_free(metrics);
	return r < 0 ? 1 : 0;
}
