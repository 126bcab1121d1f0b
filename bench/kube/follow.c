/*
 * bench-kube-follow KUBECONFIG EVENTS: our informer over all VMMonitors, which keeps the same fields as the client-go
 * program beside it. Prints what it took as JSON, once synced and once EVENTS changes have come.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "lib/kube/informer.h"

struct app {
	char *name, *program;
};

/* What is kept of an object. */
struct monitor {
	json_int_t generation;
	bool suspend;
	size_t app_count;
	struct app apps[];
};

struct follow {
	struct ygr_kube *kube;
	struct ygr_kube_informer *informer;
	struct timespec begun;
	unsigned long wanted, seen;
};

static void free_value(void *user, void *value)
{
	struct monitor *monitor = value;

	(void)user;
	for (size_t i = 0; i < monitor->app_count; i++) {
		free(monitor->apps[i].name);
		free(monitor->apps[i].program);
	}
	free(monitor);
}

static char *copy(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return strdup(text ? text : "");
}

static int decode(void *user, const json_t *object, void **ret_value, struct ygr_error *error)
{
	const json_t *spec = json_object_get(object, "spec"), *apps = json_object_get(spec, "apps");
	size_t count = json_array_size(apps);
	struct monitor *monitor = calloc(1, sizeof(*monitor) + count * sizeof(*monitor->apps));

	(void)user, (void)error;
	if (!monitor)
		return -ENOMEM;
	monitor->generation =
	    json_integer_value(json_object_get(json_object_get(object, "metadata"), "generation"));
	monitor->suspend = json_is_true(json_object_get(spec, "suspend"));
	monitor->app_count = count;
	for (size_t i = 0; i < count; i++)
		monitor->apps[i] = (struct app){copy(json_array_get(apps, i), "name"),
						copy(json_array_get(apps, i), "program")};
	*ret_value = monitor;
	return 0;
}

/* The most memory that was resident, in KiB. ru_maxrss would begin with that of who started us. */
static long peak_kib(void)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[256];
	long kib = 0;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "VmHWM: %ld", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return kib;
}

static void report(const struct follow *follow, const char *phase)
{
	struct rusage used;
	struct timespec now;

	getrusage(RUSAGE_SELF, &used);
	clock_gettime(CLOCK_MONOTONIC, &now);
	printf(
	    "{\"phase\": \"%s\", \"objects\": %zu, \"cpu_s\": %.6f, \"wall_s\": %.6f, \"peak_kib\": %ld}\n",
	    phase, ygr_kube_informer_count(follow->informer),
	    (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
		(double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6,
	    (double)(now.tv_sec - follow->begun.tv_sec) +
		(double)(now.tv_nsec - follow->begun.tv_nsec) / 1e9,
	    peak_kib());
	fflush(stdout);
}

static void end(struct follow *follow)
{
	follow->informer = ygr_kube_informer_stop(follow->informer);
	follow->kube = ygr_kube_close(follow->kube);
}

static void on_synced(void *user)
{
	struct follow *follow = user;

	report(follow, "synced");
	if (!follow->wanted)
		end(follow);
}

static void on_changed(void *user, const char *namespace_, const char *name, void *old, void *value)
{
	struct follow *follow = user;

	(void)namespace_, (void)name, (void)value;
	if (!old || ++follow->seen != follow->wanted)
		return;
	report(follow, "watched");
	end(follow);
}

static void on_gone(void *user, const char *namespace_, const char *name, void *value)
{
	(void)user, (void)namespace_, (void)name, (void)value;
}

static void on_state(void *user, bool working, const char *reason)
{
	(void)user;
	if (!working)
		fprintf(stderr, "bench-kube-follow: %s\n", reason);
}

int main(int argc, char **argv)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_kube_config *config = NULL;
	struct follow follow = {0};
	uv_loop_t loop;

	if (argc != 3)
		return 2;
	clock_gettime(CLOCK_MONOTONIC, &follow.begun);
	follow.wanted = strtoul(argv[2], NULL, 10);
	uv_loop_init(&loop);
	int r = ygr_kube_config_load(argv[1], NULL, &config, &error);
	const struct ygr_kube_options options = {.loop = &loop, .config = config, .user_agent = "bench"};
	if (r == 0)
		r = ygr_kube_new(&options, &follow.kube, &error);
	if (r < 0) {
		fprintf(stderr, "bench-kube-follow: %s\n", error.message);
		return 1;
	}
	const struct ygr_kube_informer_options informer = {
	    .kube = follow.kube,
	    .resource = {"yagura.dev", "v1alpha1", "vmmonitors", "VMMonitor", false},
	    .decode = decode,
	    .free = free_value,
	    .changed = on_changed,
	    .gone = on_gone,
	    .synced = on_synced,
	    .state = on_state,
	    .user = &follow};
	r = ygr_kube_informer_start(&informer, &follow.informer);
	if (r == 0)
		uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	ygr_kube_config_free(config);
	return r < 0;
}
