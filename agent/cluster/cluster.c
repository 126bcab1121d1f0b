/* See cluster.h: the client, the heartbeat, and the guests. */
#include "agent/cluster/cluster.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cluster/guests.h"
#include "lib/base/log.h"
#include "lib/kube/lease.h"

#define CONTROLLER "yagura.dev/agent"

struct ygr_cluster {
	struct ygr_cluster_options options;
	struct ygr_kube_config *config;
	struct ygr_kube_metrics metrics;
	struct ygr_kube *kube;
	struct ygr_kube_heartbeat *heartbeat;
	struct ygr_kube_recorder *recorder;
	struct ygr_guests *guests;
	char *lease;
	bool renewed;
	uv_idle_t farewell; /* its close comes after those of all that borrows from us */
};

static void on_reachable(void *user, bool reachable, const char *reason)
{
	struct ygr_cluster *cluster = user;

	if (reachable)
		ygr_log(YGR_LOG_INFO, "cluster", "%s answers", cluster->config->server);
	else
		ygr_log(YGR_LOG_WARNING, "cluster", "%s: %s", cluster->config->server, reason);
	cluster->options.reachable(cluster->options.user, reachable, reason);
}

static void on_renewed(void *user, bool good, const char *message)
{
	struct ygr_cluster *cluster = user;

	if (cluster->renewed && !good)
		ygr_log(YGR_LOG_WARNING, "cluster", "Lease %s: %s", cluster->lease, message);
	cluster->renewed = good;
}

static int start_heartbeat(struct ygr_cluster *cluster)
{
	const struct ygr_cluster_options *o = &cluster->options;

	if (asprintf(&cluster->lease, YGR_CLUSTER_LEASE_PREFIX "%s", o->node) < 0) {
		cluster->lease = NULL;
		return -ENOMEM;
	}
	json_t *labels = json_pack("{s:s}", "app.kubernetes.io/part-of", "yagura");
	const struct ygr_kube_heartbeat_options heartbeat = {
	    .kube = cluster->kube,
	    .namespace_ = o->namespace_ ? o->namespace_ : cluster->config->namespace_,
	    .name = cluster->lease,
	    .holder = o->node,
	    .manager = YGR_CLUSTER_MANAGER,
	    .labels = labels,
	    .renewed = on_renewed,
	    .user = cluster};
	cluster->renewed = true; /* the first failure is worth a word */
	int r = ygr_kube_heartbeat_start(&heartbeat, &cluster->heartbeat);
	json_decref(labels);
	return r;
}

static int start(struct ygr_cluster *cluster, struct ygr_error *error)
{
	const struct ygr_cluster_options *o = &cluster->options;
	int r = ygr_kube_config_load(o->kubeconfig, o->context, &cluster->config, error);

	if (r < 0)
		return r;
	if (ygr_kube_metrics_declare(o->metrics, &cluster->metrics) < 0)
		return ygr_error_set(error, ENOMEM, "out of memory");
	const struct ygr_kube_options kube = {.loop = o->loop,
					      .config = cluster->config,
					      .user_agent = YGR_CLUSTER_MANAGER,
					      .metrics = &cluster->metrics,
					      .reachable = on_reachable,
					      .user = cluster};
	r = ygr_kube_new(&kube, &cluster->kube, error);
	if (r < 0)
		return r;
	r = start_heartbeat(cluster);
	if (r == 0)
		r = ygr_kube_recorder_new(cluster->kube, CONTROLLER, o->node, &cluster->recorder);
	if (r == 0)
		r = ygr_guests_new(cluster->kube, cluster->recorder, o->node, &cluster->guests);
	return r < 0 ? ygr_error_set(error, -r, "%.200s: %s", cluster->config->server, strerror(-r)) : 0;
}

int ygr_cluster_start(const struct ygr_cluster_options *options, struct ygr_cluster **ret,
		      struct ygr_error *error)
{
	struct ygr_cluster *cluster = calloc(1, sizeof(*cluster));

	if (!cluster)
		return ygr_error_set(error, ENOMEM, "out of memory");
	cluster->options = *options;
	cluster->farewell.data = cluster;
	uv_idle_init(options->loop, &cluster->farewell);
	int r = start(cluster, error);
	if (r < 0) {
		ygr_error_prefix(error, "kubernetes");
		ygr_cluster_stop(cluster);
		return r;
	}
	*ret = cluster;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct ygr_cluster *cluster = handle->data;

	ygr_kube_config_free(cluster->config);
	free(cluster->lease);
	free(cluster);
}

struct ygr_cluster *ygr_cluster_stop(struct ygr_cluster *cluster)
{
	if (!cluster)
		return NULL;
	uv_close((uv_handle_t *)&cluster->farewell, on_closed); /* libuv closes in the opposite order */
	ygr_guests_free(cluster->guests);
	ygr_kube_recorder_free(cluster->recorder);
	ygr_kube_heartbeat_stop(cluster->heartbeat);
	ygr_kube_close(cluster->kube);
	return NULL;
}

struct ygr_kube *ygr_cluster_kube(struct ygr_cluster *cluster)
{
	return cluster->kube;
}

void ygr_cluster_publish(struct ygr_cluster *cluster, const json_t *vms, bool complete)
{
	ygr_guests_publish(cluster->guests, vms, complete);
}
