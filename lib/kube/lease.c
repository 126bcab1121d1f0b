/* See lease.h: the heartbeat. It is applied (SSA), so that the first one makes the Lease and later ones need not know
 * what it is like. */
#include "lib/kube/lease.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

const struct ygr_kube_resource ygr_kube_leases = {"coordination.k8s.io", "v1", "leases", "Lease", false};

struct ygr_kube_heartbeat {
	struct ygr_kube_heartbeat_options options;
	uv_timer_t timer;
	struct ygr_kube_call *call;
	uint64_t before; /* revision when the call began */
};

json_t *ygr_kube_lease_now(void)
{
	struct timespec now;
	char text[40];

	clock_gettime(CLOCK_REALTIME, &now);
	ygr_kube_time((int64_t)now.tv_sec * 1000000000 + now.tv_nsec, text);
	return json_string(text);
}

void ygr_kube_lease_wrote(struct ygr_kube *kube, uint64_t before, const json_t *lease)
{
	ygr_kube_wrote_revision(kube, before, ygr_kube_meta(lease, "resourceVersion"));
}

static void on_renewed(void *user, const struct ygr_kube_answer *answer)
{
	struct ygr_kube_heartbeat *heartbeat = user;
	const struct ygr_kube_heartbeat_options *o = &heartbeat->options;

	heartbeat->call = NULL;
	ygr_kube_count(ygr_kube_metrics(o->kube)->renewals, o->name, answer->error ? "failed" : "renewed");
	if (answer->error == 0)
		ygr_kube_lease_wrote(o->kube, heartbeat->before, answer->object);
	if (o->renewed)
		o->renewed(o->user, answer->error == 0, answer->message);
}

static void renew(uv_timer_t *timer)
{
	struct ygr_kube_heartbeat *heartbeat = timer->data;
	const struct ygr_kube_heartbeat_options *o = &heartbeat->options;

	if (heartbeat->call)
		return; /* the last one is still under way */
	json_t *lease = ygr_kube_object_new(&ygr_kube_leases, o->namespace_, o->name);
	json_t *spec =
	    json_pack("{s:s, s:i, s:o}", "holderIdentity", o->holder, "leaseDurationSeconds",
		      (int)(o->interval_s * YGR_KUBE_HEARTBEATS), "renewTime", ygr_kube_lease_now());
	if (lease && spec && json_object_set(lease, "spec", spec) == 0) {
		if (o->labels)
			json_object_set(json_object_get(lease, "metadata"), "labels", (json_t *)o->labels);
		const struct ygr_kube_op op = {.verb = YGR_KUBE_VERB_APPLY,
					       .resource = &ygr_kube_leases,
					       .namespace_ = o->namespace_,
					       .name = o->name,
					       .object = lease,
					       .manager = o->manager,
					       .force = true,
					       .urgent = true,
					       .deadline_ms = o->interval_s * 1000,
					       .done = on_renewed,
					       .user = heartbeat};
		heartbeat->before = ygr_kube_revision(o->kube);
		if (ygr_kube_do(o->kube, &op, &heartbeat->call) < 0)
			heartbeat->call = NULL; /* the next beat tries again */
	}
	json_decref(spec);
	json_decref(lease);
}

int ygr_kube_heartbeat_start(const struct ygr_kube_heartbeat_options *options,
			     struct ygr_kube_heartbeat **ret)
{
	struct ygr_kube_heartbeat *heartbeat = calloc(1, sizeof(*heartbeat));

	if (!heartbeat)
		return -ENOMEM;
	heartbeat->options = *options;
	if (!options->interval_s)
		heartbeat->options.interval_s = YGR_KUBE_HEARTBEAT_S;
	json_incref((json_t *)options->labels);
	heartbeat->timer.data = heartbeat;
	uv_timer_init(ygr_kube_loop(options->kube), &heartbeat->timer);
	uv_timer_start(&heartbeat->timer, renew, 0, heartbeat->options.interval_s * 1000ull);
	*ret = heartbeat;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct ygr_kube_heartbeat *heartbeat = handle->data;

	json_decref((json_t *)heartbeat->options.labels);
	free(heartbeat);
}

struct ygr_kube_heartbeat *ygr_kube_heartbeat_stop(struct ygr_kube_heartbeat *heartbeat)
{
	if (!heartbeat)
		return NULL;
	heartbeat->call = ygr_kube_cancel(heartbeat->call);
	uv_close((uv_handle_t *)&heartbeat->timer, on_closed);
	return NULL;
}
