/* yagura-agent: the command line. */
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/desired/directory.h"
#include "agent/enforce/enforce.h"
#include "agent/paths.h"
#include "agent/telebpf/catalogue.h"
#include "lib/api/meta.h"
#include "lib/base/log.h"
#include "lib/policy/policy.h"

static const char help[] =
    "Usage: yagura-agent [OPTIONS]\n\n"
    "Watches the VMs of this node: runs what manifests ask for, serves events, status and metrics.\n\n"
    "Options:\n"
    "  -c, --config FILE       configuration (default " YGR_PATH_CONFIG ")\n"
    "      --node NAME         this node's name, instead of what the configuration says\n"
    "      --cleanup           undo all that policies have made the node do, and end; only while no agent "
    "runs\n"
    "      --check             read configuration, catalogue and manifests, say what is wrong, and end\n"
    "      --log-level LEVEL   error, warning, info (default) or debug\n"
    "      --log-format FORM   text (default) or json\n"
    "  -h, --help              this text\n"
    "      --version           version\n\n"
    "SIGTERM and SIGINT stop all applications and end the agent within 5 seconds.\n"
    "Manual: yagura-agent(8)\n";

enum { OPTION_CHECK = 256, OPTION_CLEANUP, OPTION_NODE, OPTION_LEVEL, OPTION_FORMAT, OPTION_VERSION };

struct arguments {
	const char *config;
	const char *node; /* NULL: as configured */
	bool check, cleanup;
	enum ygr_log_level level;
	enum ygr_log_format format;
};

static int usage(const char *what)
{
	fprintf(stderr, "yagura-agent: %s\nTry --help.\n", what);
	return 2;
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct arguments *arguments)
{
	static const struct option longs[] = {
	    {"config", required_argument, NULL, 'c'},
	    {"node", required_argument, NULL, OPTION_NODE},
	    {"check", no_argument, NULL, OPTION_CHECK},
	    {"cleanup", no_argument, NULL, OPTION_CLEANUP},
	    {"log-level", required_argument, NULL, OPTION_LEVEL},
	    {"log-format", required_argument, NULL, OPTION_FORMAT},
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, OPTION_VERSION},
	    {0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
		switch (option) {
		case 'c':
			arguments->config = optarg;
			break;
		case OPTION_NODE:
			if (!ygr_name_is_subdomain(optarg))
				return usage("--node is a name of lower case letters, digits, '-' and '.'");
			arguments->node = optarg;
			break;
		case OPTION_CHECK:
			arguments->check = true;
			break;
		case OPTION_CLEANUP:
			arguments->cleanup = true;
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
			puts("yagura-agent " YGR_VERSION);
			return 0;
		default:
			fputs("Try --help.\n", stderr);
			return 2;
		}
	}
	return optind < argc ? usage("no arguments are expected") : -1;
}

/* What the language has to say about a policy: how many errors. */
static int check_policy(const char *file, const struct ygr_vm_policy *policy)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_buf said = YGR_BUF_INIT(1 << 20);
	struct ygr_policy_unit *unit;
	char name[512];

	snprintf(name, sizeof(name), "%s: VMPolicy %s/%s", file, policy->meta.namespace_, policy->meta.name);
	if (ygr_policy_unit_new(name, policy->text, policy->text_length, &unit, &error) < 0) {
		fprintf(stderr, "%s\n", error.message);
		return 1;
	}
	int bad = (int)ygr_policy_unit_errors(unit);
	if (!bad)
		ygr_policy_unit_review(unit);
	if (ygr_policy_unit_said(unit, &said) == 0 && said.len)
		fwrite(said.data, 1, said.len, stderr);
	ygr_buf_deinit(&said);
	ygr_policy_unit_free(unit);
	return bad;
}

static int check(const struct ygr_config *config)
{
	struct ygr_manifest_set none = {0}, set = {0};
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_catalogue *catalogue = NULL;
	int bad = 0;

	if (ygr_catalogue_read((const char *const *)config->catalogues, config->catalogue_count, &catalogue,
			       &error) < 0) {
		fprintf(stderr, "%s\n", error.message);
		bad++;
	}
	if (ygr_manifest_read(config->manifests, &none, &set) < 0) {
		fprintf(stderr, "%s: out of memory\n", config->manifests);
		bad++;
	}
	for (size_t i = 0; i < set.problem_count; i++, bad++)
		fprintf(stderr, "%s\n", set.problems[i].message);
	for (size_t i = 0; catalogue && i < set.count; i++) {
		const struct ygr_monitor *monitor = set.items[i].monitor;
		for (size_t j = 0; monitor && j < monitor->app_count; j++) {
			const char *nearest = NULL;
			if (ygr_catalogue_find(catalogue, monitor->apps[j].program, &nearest))
				continue;
			fprintf(stderr,
				"%s: VMMonitor %s/%s: program \"%s\" is not in the catalogue%s%s%s\n",
				set.items[i].file, monitor->meta.namespace_, monitor->meta.name,
				monitor->apps[j].program, nearest ? ", did you mean \"" : "",
				nearest ? nearest : "", nearest ? "\"?" : "");
			bad++;
		}
	}
	for (size_t i = 0; i < set.count; i++)
		if (set.items[i].policy)
			bad += check_policy(set.items[i].file, set.items[i].policy);
	if (!bad)
		printf("%zu objects, all good\n", set.count);
	ygr_manifest_deinit(&set);
	ygr_catalogue_free(catalogue);
	return bad ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct arguments arguments = {.config = YGR_PATH_CONFIG, .level = YGR_LOG_INFO};
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_config config;
	int r = parse(argc, argv, &arguments);

	if (r >= 0)
		return r;
	/* Many threads that allocate little: two arenas serve them, and private memory stays small. */
	mallopt(M_ARENA_MAX, 2);
	/* Dialling a dead guest holds a worker for seconds; the others must not wait for it. */
	setenv("UV_THREADPOOL_SIZE", "16", 0);
	signal(SIGPIPE, SIG_IGN);
	ygr_log_init(arguments.level, arguments.format);
	if (ygr_config_read(arguments.config, &config, &error) < 0) {
		ygr_log(YGR_LOG_ERROR, "config", "%s", error.message);
		return 1;
	}
	if (arguments.node) {
		free(config.node);
		config.node = strdup(arguments.node);
	}
	if (!config.node) {
		ygr_log(YGR_LOG_ERROR, "config", "out of memory");
		r = 1;
	} else if (arguments.check) {
		r = check(&config);
	} else if (arguments.cleanup) {
		r = ygr_enforce_cleanup(config.pin_directory, config.state_directory, &error) < 0;
		if (r)
			ygr_log(YGR_LOG_ERROR, "enforce", "%s", error.message);
	} else {
		r = ygr_agent_run(&config, &error) < 0;
		if (r)
			ygr_log(YGR_LOG_ERROR, "agent", "%s", error.message);
	}
	ygr_config_deinit(&config);
	return r;
}
