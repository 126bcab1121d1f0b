/*
 * The wiring. Rooms know each other by their headers only; this is where the inventory's and the manifests'
 * changes are led to the reconciler, and its documents to HTTP. Things are made in the order in which they
 * use each other and taken apart in the opposite one, after all applications were stopped.
 */
#include "agent/agent.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "agent/cluster/cluster.h"
#include "agent/desired/desired.h"
#include "agent/desired/informers.h"
#include "agent/enforce/enforce.h"
#include "agent/events/file-sink.h"
#include "agent/http/server.h"
#include "agent/inventory/inventory.h"
#include "agent/paths.h"
#include "agent/reconcile/reconcile.h"
#include "agent/telebpf/catalogue.h"
#include "agent/telebpf/telebpf.h"
#include "lib/base/cleanup.h"
#include "lib/base/log.h"
#include "lib/base/metrics.h"
#include "lib/wire/keys.h"

#define HEARTBEAT_MS 1000

struct agent {
	const struct ygr_config *config;
	uv_loop_t loop;
	uv_signal_t sigterm, sigint;
	uv_timer_t heartbeat;
	struct ygr_identity *identity;
	struct ygr_catalogue *catalogue;
	struct ygr_bus *bus;
	struct ygr_metrics *metrics;
	struct ygr_metric *published, *libvirt_up;
	struct ygr_telebpf *telebpf;
	struct ygr_enforce *enforce;
	struct ygr_reconcile *reconcile;
	struct ygr_http *http;
	struct ygr_inventory *inventory;
	struct ygr_desired *desired;             /* one of the two sources: a directory, */
	struct ygr_desired_informers *informers; /* or the API server, */
	struct ygr_cluster *cluster;             /* which is told what is so */
	struct ygr_file_sink *file, *log;
	bool stopping, listed; /* listed: libvirt has named all VMs once */
	uint64_t counted;
};

static void on_publish(void *user, json_t *vms, json_t *monitors, json_t *policies)
{
	struct agent *agent = user;

	if (agent->http)
		ygr_http_publish(agent->http, vms, monitors, policies);
	if (agent->informers)
		ygr_desired_informers_follow(agent->informers, vms, agent->listed);
	if (agent->cluster)
		ygr_cluster_publish(agent->cluster, vms, agent->listed);
}

static void on_connected(void *user, bool connected, const char *reason)
{
	struct agent *agent = user;

	if (!connected)
		ygr_log(YGR_LOG_WARNING, "inventory", "%s: %s", agent->config->libvirt_uri, reason);
	ygr_http_ready(agent->http, "libvirt", connected, reason);
	ygr_metric_set(agent->libvirt_up, connected, NULL);
	if (connected && !agent->listed) {
		agent->listed = true;
		ygr_reconcile_republish(agent->reconcile);
	}
}

static const char *source_of(const struct agent *agent)
{
	return agent->config->kubernetes ? "resources" : "manifests";
}

static void on_synced(void *user)
{
	struct agent *agent = user;

	ygr_http_ready(agent->http, source_of(agent), true, NULL);
	ygr_reconcile_synced(agent->reconcile);
}

static void count_events(struct agent *agent)
{
	uint64_t now = ygr_bus_published(agent->bus);

	ygr_metric_add(agent->published, (double)(now - agent->counted), NULL);
	agent->counted = now;
}

static void on_heartbeat(uv_timer_t *timer)
{
	struct agent *agent = timer->data;

	ygr_http_heartbeat(agent->http);
	count_events(agent);
	/* A snapshot of a VM's disk makes a new file: it is found soon, not at the next round. */
	if (agent->inventory && ygr_enforce_disks_blocked(agent->enforce))
		ygr_inventory_look(agent->inventory);
}

/* All applications have ended: the rest goes, and the loop ends when the last handle is closed. */
static void on_stopped(void *user)
{
	struct agent *agent = user;

	agent->http = ygr_http_stop(agent->http);
	ygr_reconcile_enforce(agent->reconcile, NULL);
	agent->enforce = ygr_enforce_free(agent->enforce);
	agent->reconcile = ygr_reconcile_free(agent->reconcile);
	agent->telebpf = ygr_telebpf_free(agent->telebpf);
	agent->desired = ygr_desired_stop(agent->desired);
	agent->informers = ygr_desired_informers_free(agent->informers);
	agent->cluster = ygr_cluster_stop(agent->cluster);
	agent->inventory = ygr_inventory_stop(agent->inventory);
	uv_close((uv_handle_t *)&agent->heartbeat, NULL);
	uv_close((uv_handle_t *)&agent->sigterm, NULL);
	uv_close((uv_handle_t *)&agent->sigint, NULL);
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct agent *agent = handle->data;

	if (agent->stopping)
		_exit(128 + number); /* asked twice: sessions die with their parent */
	agent->stopping = true;
	ygr_log(YGR_LOG_INFO, "agent", "stopping");
	ygr_reconcile_stop(agent->reconcile, on_stopped, agent);
}

static int declare_metrics(struct agent *agent)
{
	static const char *const version[] = {"version", NULL}, *const none[] = {NULL};

	agent->metrics = ygr_metrics_new();
	if (!agent->metrics)
		return -ENOMEM;
	struct ygr_metric *info = ygr_metric_declare(agent->metrics, YGR_METRIC_GAUGE, "yagura_build_info",
						     "Version of the agent.", version, NULL, 0, 1);
	agent->published = ygr_metric_declare(agent->metrics, YGR_METRIC_COUNTER, "yagura_bus_events",
					      "Events put on the bus.", none, NULL, 0, 1);
	agent->libvirt_up =
	    ygr_metric_declare(agent->metrics, YGR_METRIC_GAUGE, "yagura_libvirt_connected",
			       "1 while the agent is connected to libvirt.", none, NULL, 0, 1);
	if (!info || !agent->published || !agent->libvirt_up)
		return -ENOMEM;
	ygr_metric_set(info, 1, (const char *[]){YGR_VERSION});
	ygr_metric_set(agent->libvirt_up, 0, NULL);
	return 0;
}

static int start_sinks(struct agent *agent, struct ygr_error *error)
{
	const struct ygr_config *config = agent->config;
	const struct ygr_file_sink_options file = {.path = config->events_file,
						   .fd = -1,
						   .max_bytes = config->events_file_bytes,
						   .keep = config->events_file_keep};
	const struct ygr_file_sink_options log = {.fd = STDERR_FILENO};
	int r = config->events_file ? ygr_file_sink_start(agent->bus, &file, &agent->file, error) : 0;

	if (r == 0 && config->events_log)
		r = ygr_file_sink_start(agent->bus, &log, &agent->log, error);
	return r;
}

static int start_telebpf(struct agent *agent, struct ygr_error *error)
{
	const struct ygr_config *config = agent->config;
	const struct ygr_telebpf_options options = {
	    .loop = &agent->loop,
	    .bus = agent->bus,
	    .node = config->node,
	    .identity = agent->identity,
	    .catalogue = agent->catalogue,
	    .hvsock_root = config->hvsock_root,
	    .session_program = config->session_program,
	    .shim = config->shim,
	    .uid_base = config->uid_base,
	    .uid_count = config->uid_count,
	    .allow_shared = config->allow_shared,
	};
	int r = ygr_telebpf_new(&options, &agent->telebpf);
	if (r < 0)
		return ygr_error_set(error, -r, "telebpf: %s", strerror(-r));
	const struct ygr_reconcile_options reconcile = {.loop = &agent->loop,
							.node = config->node,
							.telebpf = agent->telebpf,
							.metrics = agent->metrics,
							.bus = agent->bus,
							.identity = agent->identity,
							.state_directory = config->state_directory,
							.publish = on_publish,
							.user = agent};
	r = ygr_reconcile_new(&reconcile, &agent->reconcile);
	return r < 0 ? ygr_error_set(error, -r, "reconcile: %s", strerror(-r)) : 0;
}

static int on_control(void *user, const struct ygr_vm_request *request,
		      void (*done)(void *user, const struct ygr_vm_request *request,
				   const struct ygr_error *error),
		      void *done_user)
{
	struct agent *agent = user;

	return agent->inventory ? ygr_inventory_control(agent->inventory, request, done, done_user)
				: -EAGAIN;
}

static void on_enforce_event(void *user, const struct ygr_enforce_event *event)
{
	ygr_reconcile_enforce_event(((struct agent *)user)->reconcile, event);
}

static void on_enforce_changed(void *user)
{
	ygr_reconcile_enforce_changed(((struct agent *)user)->reconcile);
}

static unsigned allowed(unsigned host_actions)
{
	return (host_actions & YGR_HOST_ACTION_DISK ? YGR_ENFORCE_ALLOW_DISK : 0) |
	       (host_actions & YGR_HOST_ACTION_NET ? YGR_ENFORCE_ALLOW_NET : 0) |
	       (host_actions & YGR_HOST_ACTION_PAUSE ? YGR_ENFORCE_ALLOW_PAUSE : 0) |
	       (host_actions & YGR_HOST_ACTION_STOP ? YGR_ENFORCE_ALLOW_STOP : 0) |
	       (host_actions & YGR_HOST_ACTION_SNAPSHOT ? YGR_ENFORCE_ALLOW_SNAPSHOT : 0);
}

static int start_enforce(struct agent *agent, struct ygr_error *error)
{
	const struct ygr_config *config = agent->config;
	const struct ygr_enforce_options options = {.loop = &agent->loop,
						    .pin_directory = config->pin_directory,
						    .state_directory = config->state_directory,
						    .snapshot_directory = config->snapshot_directory,
						    .snapshots_max = config->snapshots_per_vm,
						    .allowed = allowed(config->host_actions),
						    .control = on_control,
						    .event = on_enforce_event,
						    .changed = on_enforce_changed,
						    .user = agent};
	int r = ygr_enforce_new(&options, &agent->enforce, error);

	if (r == 0)
		ygr_reconcile_enforce(agent->reconcile, agent->enforce);
	return r;
}

static int find_group(const char *name, gid_t *ret_gid, struct ygr_error *error)
{
	*ret_gid = (gid_t)-1;
	if (!name)
		return 0;
	const struct group *group = getgrnam(name);
	if (!group)
		return ygr_error_set(error, ENOENT, "socket.group: there is no group \"%s\"", name);
	*ret_gid = group->gr_gid;
	return 0;
}

/* /run is empty after a boot: the socket's own directory is made, nothing above it. */
static void make_directory_of(const char *path)
{
	_cleanup_free_ char *directory = strdup(path);
	char *slash = directory ? strrchr(directory, '/') : NULL;

	if (!slash || slash == directory)
		return;
	*slash = '\0';
	(void)mkdir(directory, 0755); /* what is wrong shows when the socket is bound */
}

static int start_http(struct agent *agent, struct ygr_error *error)
{
	struct ygr_http_options options = {
	    .tcp_listen = agent->config->listen,
	    .socket_path = agent->config->socket_path,
	    .bus = agent->bus,
	    .metrics = agent->metrics,
	    .backend = {.run_start = ygr_reconcile_run_start,
			.run_signal = ygr_reconcile_run_signal,
			.release = ygr_reconcile_release,
			.user = agent->reconcile},
	};
	int r = find_group(agent->config->socket_group, &options.socket_group, error);

	if (r < 0)
		return r;
	make_directory_of(options.socket_path);
	r = ygr_http_start(&options, &agent->http, error);
	if (r < 0)
		return r;
	ygr_http_heartbeat(agent->http);
	ygr_http_ready(agent->http, "libvirt", false, "not connected yet");
	ygr_http_ready(agent->http, source_of(agent), false, "not read yet");
	if (agent->config->kubernetes)
		ygr_http_ready(agent->http, "kubernetes", false, "not asked yet");
	return 0;
}

static void on_vm_changed(void *user, const struct ygr_vm *vm)
{
	ygr_reconcile_vm_changed(((struct agent *)user)->reconcile, vm);
}

static void on_vm_gone(void *user, const struct ygr_vm *vm)
{
	ygr_reconcile_vm_gone(((struct agent *)user)->reconcile, vm);
}

static void on_monitor_changed(void *user, const struct ygr_monitor *monitor)
{
	ygr_reconcile_monitor_changed(((struct agent *)user)->reconcile, monitor);
}

static void on_monitor_gone(void *user, const char *namespace_, const char *name)
{
	ygr_reconcile_monitor_gone(((struct agent *)user)->reconcile, namespace_, name);
}

static void on_policy_changed(void *user, const struct ygr_vm_policy *policy)
{
	ygr_reconcile_policy_changed(((struct agent *)user)->reconcile, policy);
}

static void on_policy_gone(void *user, const char *namespace_, const char *name)
{
	ygr_reconcile_policy_gone(((struct agent *)user)->reconcile, namespace_, name);
}

static void on_problems(void *user, const struct ygr_manifest_problem *problems, size_t count)
{
	ygr_reconcile_problems(((struct agent *)user)->reconcile, problems, count);
}

static void on_reachable(void *user, bool reachable, const char *reason)
{
	struct agent *agent = user;

	if (agent->http)
		ygr_http_ready(agent->http, "kubernetes", reachable, reason);
}

static int start_cluster(struct agent *agent, const struct ygr_desired_handlers *handlers,
			 struct ygr_error *error)
{
	const struct ygr_cluster_options options = {.loop = &agent->loop,
						    .kubeconfig = agent->config->kubeconfig,
						    .context = agent->config->kube_context,
						    .namespace_ = agent->config->kube_namespace,
						    .node = agent->config->node,
						    .metrics = agent->metrics,
						    .reachable = on_reachable,
						    .user = agent};
	int r = ygr_cluster_start(&options, &agent->cluster, error);

	if (r < 0)
		return r;
	r = ygr_desired_informers_new(ygr_cluster_kube(agent->cluster), handlers, &agent->informers);
	return r < 0 ? ygr_error_set(error, -r, "kubernetes: %s", strerror(-r)) : 0;
}

static int start_sources(struct agent *agent, struct ygr_error *error)
{
	const struct ygr_libvirt_options libvirt = {
	    agent->config->libvirt_uri, agent->config->libvirt_run_dir, agent->config->libvirt_domains,
	    agent->config->libvirt_domain_count};
	const struct ygr_inventory_handlers vms = {on_vm_changed, on_vm_gone, on_connected, agent};
	const struct ygr_desired_handlers desired = {on_monitor_changed,
						     on_monitor_gone,
						     on_policy_changed,
						     on_policy_gone,
						     on_problems,
						     on_synced,
						     agent};
	int r = ygr_inventory_start(&agent->loop, &ygr_inventory_libvirt, &libvirt, &vms, &agent->inventory,
				    error);

	if (r == 0 && agent->config->kubernetes)
		return start_cluster(agent, &desired, error);
	return r < 0 ? r
		     : ygr_desired_watch_directory(&agent->loop, agent->config->manifests, &desired,
						   &agent->desired, error);
}

static int start(struct agent *agent, struct ygr_error *error)
{
	const struct ygr_config *config = agent->config;
	int r = ygr_identity_open(config->key, config->cert, &agent->identity, error);

	if (r == 0)
		r = ygr_catalogue_read((const char *const *)config->catalogues, config->catalogue_count,
				       &agent->catalogue, error);
	if (r < 0)
		return r;
	agent->bus = ygr_bus_new();
	if (!agent->bus || declare_metrics(agent) < 0)
		return ygr_error_set(error, ENOMEM, "out of memory");
	r = start_sinks(agent, error);
	if (r == 0)
		r = start_telebpf(agent, error);
	if (r == 0)
		r = start_enforce(agent, error);
	if (r == 0)
		r = start_http(agent, error);
	if (r == 0)
		r = start_sources(agent, error);
	return r;
}

static int open_loop(struct agent *agent, struct ygr_error *error)
{
	int r = uv_loop_init(&agent->loop);

	if (r < 0)
		return ygr_error_set(error, -r, "event loop: %s", uv_strerror(r));
	uv_signal_init(&agent->loop, &agent->sigterm);
	uv_signal_init(&agent->loop, &agent->sigint);
	uv_timer_init(&agent->loop, &agent->heartbeat);
	agent->sigterm.data = agent->sigint.data = agent->heartbeat.data = agent;
	return 0;
}

int ygr_agent_run(const struct ygr_config *config, struct ygr_error *error)
{
	struct agent agent = {.config = config};
	int r = open_loop(&agent, error);

	if (r < 0)
		return r;
	r = start(&agent, error);
	if (r == 0) {
		uv_signal_start(&agent.sigterm, on_signal, SIGTERM);
		uv_signal_start(&agent.sigint, on_signal, SIGINT);
		uv_timer_start(&agent.heartbeat, on_heartbeat, HEARTBEAT_MS, HEARTBEAT_MS);
		ygr_log(YGR_LOG_INFO, "agent", "yagura-agent " YGR_VERSION " watches %s with %s from %s",
			config->libvirt_uri, source_of(&agent),
			config->kubernetes ? "the API server" : config->manifests);
	} else {
		on_stopped(&agent);
	}
	uv_run(&agent.loop, UV_RUN_DEFAULT);
	uv_loop_close(&agent.loop);
	ygr_file_sink_stop(agent.file);
	ygr_file_sink_stop(agent.log);
	ygr_bus_free(agent.bus);
	ygr_metrics_free(agent.metrics);
	ygr_catalogue_free(agent.catalogue);
	ygr_identity_free(agent.identity);
	return r;
}
