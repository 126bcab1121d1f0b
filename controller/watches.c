/* What the controller follows, and what each change means for what is counted. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "controller/room.h"
#include "lib/base/log.h"
#include "lib/kube/lease.h"

#define OURS(plural_, kind_, cluster)                                                                       \
	{                                                                                                   \
		.group = "yagura.dev", .version = "v1alpha1", .plural = plural_, .kind = kind_,             \
		.cluster_wide = cluster                                                                     \
	}

const struct ygr_kube_resource ygr_world_kinds[YGR_WATCH_KINDS] = {
    [YGR_SUBJECT_MONITOR] = OURS("vmmonitors", "VMMonitor", false),
    [YGR_SUBJECT_CLUSTER_MONITOR] = OURS("clustervmmonitors", "ClusterVMMonitor", true),
    [YGR_SUBJECT_POLICY] = OURS("vmpolicies", "VMPolicy", false),
    [YGR_SUBJECT_CLUSTER_POLICY] = OURS("clustervmpolicies", "ClusterVMPolicy", true),
    [YGR_WATCH_GUESTS] = OURS("vmguests", "VMGuest", false),
    [YGR_WATCH_NAMESPACES] =
	{.group = "", .version = "v1", .plural = "namespaces", .kind = "Namespace", .cluster_wide = true},
    [YGR_WATCH_LEASES] = {.group = "coordination.k8s.io",
			  .version = "v1",
			  .plural = "leases",
			  .kind = "Lease"},
};

/* Values of the informers: subjects, guests, labels of namespaces; of Leases nothing is kept here. */

static int decode_namespace(const json_t *object, void **ret)
{
	struct ygr_labels *labels = calloc(1, sizeof(*labels));
	const char *key;
	json_t *value;
	int r = labels ? 0 : -ENOMEM;

	json_object_foreach(json_object_get(json_object_get(object, "metadata"), "labels"), key, value)
	{
		const char *word = json_string_value(value);
		if (r == 0 && word && ygr_labels_set(labels, key, word) == -ENOMEM)
			r = -ENOMEM;
	}
	if (r < 0 && labels) {
		ygr_labels_deinit(labels);
		free(labels);
	} else
		*ret = labels;
	return r;
}

static int decode(void *user, const json_t *object, void **ret, struct ygr_error *error)
{
	static char lease; /* that there is one */
	const struct ygr_watch *watch = user;
	int r;

	switch (watch->kind) {
	case YGR_WATCH_GUESTS:
		r = ygr_seen_decode(object, (struct ygr_seen **)ret);
		break;
	case YGR_WATCH_NAMESPACES:
		r = decode_namespace(object, ret);
		break;
	case YGR_WATCH_LEASES:
		*ret = &lease;
		r = ygr_nodes_saw(&watch->world->nodes, object, ygr_world_now());
		break;
	default:
		r = ygr_subject_decode((enum ygr_subject_kind)watch->kind, object,
				       (struct ygr_subject **)ret);
	}
	return r < 0 ? ygr_error_set(error, -r, "%s",
				     r == -ENOMEM ? "out of memory" : "it has no name or no node")
		     : 0;
}

static void free_value(void *user, void *value)
{
	const struct ygr_watch *watch = user;

	switch (watch->kind) {
	case YGR_WATCH_GUESTS:
		ygr_seen_free(value);
		break;
	case YGR_WATCH_NAMESPACES:
		if (value)
			ygr_labels_deinit(value);
		free(value);
		break;
	case YGR_WATCH_LEASES:
		break;
	default:
		ygr_subject_free(value);
	}
}

static void guest_changed(struct ygr_world *world, const char *namespace_, const struct ygr_seen *before,
			  const struct ygr_seen *after)
{
	const struct ygr_labels *labels =
	    ygr_kube_informer_find(world->watches[YGR_WATCH_NAMESPACES].informer, "", namespace_);

	if (before || after)
		ygr_world_mark(world,
			       &(struct ygr_world_mark){.before = before, .after = after, .labels = labels});
}

static void changed(void *user, const char *namespace_, const char *name, void *old, void *value)
{
	const struct ygr_watch *watch = user;
	struct ygr_world *world = watch->world;

	(void)name;
	if (!world->synced && watch->kind >= YGR_SUBJECT_KINDS)
		return; /* all is counted once all is there */
	switch (watch->kind) {
	case YGR_WATCH_GUESTS:
		guest_changed(world, namespace_, old, value);
		break;
	case YGR_WATCH_NAMESPACES:
		if (!old || !ygr_labels_equal(old, value))
			ygr_world_mark(world, &(struct ygr_world_mark){.cluster_wide = true});
		break;
	case YGR_WATCH_LEASES:
		break;
	default:
		((struct ygr_subject *)value)->dirty = true;
		ygr_world_schedule(world);
	}
}

static void gone(void *user, const char *namespace_, const char *name, void *value)
{
	const struct ygr_watch *watch = user;

	if (watch->kind == YGR_WATCH_GUESTS)
		guest_changed(watch->world, namespace_, value, NULL);
	else if (watch->kind == YGR_WATCH_NAMESPACES)
		ygr_world_mark(watch->world, &(struct ygr_world_mark){.cluster_wide = true});
	else if (watch->kind == YGR_WATCH_LEASES)
		ygr_nodes_lost(&watch->world->nodes, name, ygr_world_now());
}

static void refused(void *user, const char *namespace_, const char *name, const char *message)
{
	const struct ygr_watch *watch = user;

	ygr_log(YGR_LOG_WARNING, "world", "%s %s/%s: %s", ygr_world_kinds[watch->kind].kind, namespace_,
		name, message);
}

static void synced(void *user)
{
	const struct ygr_watch *watch = user;
	struct ygr_world *world = watch->world;

	for (int i = 0; i < YGR_WATCH_KINDS; i++)
		if (!world->watches[i].informer || !ygr_kube_informer_synced(world->watches[i].informer))
			return;
	if (world->synced)
		return;
	world->synced = true;
	ygr_nodes_blind(&world->nodes, ygr_world_now());
	if (world->ready)
		world->ready(world->user, true);
	ygr_world_mark(world, &(struct ygr_world_mark){0});
}

static void state(void *user, bool working, const char *reason)
{
	const struct ygr_watch *watch = user;
	struct ygr_world *world = watch->world;

	if (!working)
		ygr_log(YGR_LOG_WARNING, "world", "%s: %s", ygr_world_kinds[watch->kind].plural, reason);
	if (watch->kind != YGR_WATCH_LEASES)
		return;
	if (working)
		ygr_nodes_blind(&world->nodes, ygr_world_now());
	world->blind = !working;
}

int ygr_world_watch(struct ygr_world *world, const char *lease_namespace)
{
	int r = 0;

	for (int i = 0; r == 0 && i < YGR_WATCH_KINDS; i++) {
		struct ygr_watch *watch = &world->watches[i];
		*watch = (struct ygr_watch){.world = world, .kind = i};
		const struct ygr_kube_informer_options options = {
		    .kube = world->kube,
		    .resource = ygr_world_kinds[i],
		    .namespace_ = i == YGR_WATCH_LEASES ? lease_namespace : NULL,
		    .decode = decode,
		    .free = free_value,
		    .changed = changed,
		    .gone = gone,
		    .refused = refused,
		    .synced = synced,
		    .state = state,
		    .user = watch,
		};
		r = ygr_kube_informer_start(&options, &watch->informer);
	}
	return r;
}
