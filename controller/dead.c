/* VMGuests whose node is dead: nobody watches the VM, so nobody knows what it does; later nobody remembers it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "controller/room.h"
#include "lib/base/log.h"

struct act {
	struct ygr_world *world;
	char *namespace_, *name;
	bool remove;
};

static void act_free(struct act *act)
{
	free(act->namespace_);
	free(act->name);
	free(act);
}

static void acted(void *user, const struct ygr_kube_answer *answer)
{
	struct act *act = user;
	struct ygr_world *world = act->world;
	struct ygr_seen *guest =
	    ygr_kube_informer_find(world->watches[YGR_WATCH_GUESTS].informer, act->namespace_, act->name);
	const char *result = answer->error ? "Failed" : act->remove ? "Removed" : "Unknown";

	world->writing--;
	if (guest && guest->acting)
		guest->acting = false;
	/* Somebody else wrote meanwhile: the agent, most likely, which is back then. */
	if (answer->error && answer->status != 409 && answer->status != 404)
		ygr_log(YGR_LOG_WARNING, "world", "VMGuest %s/%s of a dead node: %s", act->namespace_,
			act->name, answer->message);
	ygr_metric_add(world->buried, 1, (const char *[]){result});
	act_free(act);
}

static json_t *unknown(const struct ygr_seen *guest)
{
	return json_pack("{s:{s:s}, s:{s:s, s:s++}}", "metadata", "resourceVersion", guest->version,
			 "status", "phase", "Unknown", "message", "the agent of node ", guest->node,
			 " does not renew its Lease");
}

/* Both happen only to the version that was judged. */
static int act_on(struct ygr_world *world, struct ygr_seen *guest, bool remove)
{
	struct act *act = calloc(1, sizeof(*act));
	json_t *object = remove ? json_pack("{s:{s:s}}", "preconditions", "resourceVersion", guest->version)
				: unknown(guest);
	int r = -ENOMEM;

	if (act && object) {
		*act = (struct act){world, strdup(guest->namespace_), strdup(guest->name), remove};
		const struct ygr_kube_op op = {
		    .verb = remove ? YGR_KUBE_VERB_DELETE : YGR_KUBE_VERB_MERGE_PATCH,
		    .resource = &ygr_world_kinds[YGR_WATCH_GUESTS],
		    .namespace_ = guest->namespace_,
		    .name = guest->name,
		    .subresource = remove ? NULL : "status",
		    .object = object,
		    .manager = remove ? NULL : YGR_WORLD_MANAGER,
		    .done = acted,
		    .user = act,
		};
		r = act->namespace_ && act->name ? ygr_kube_do(world->kube, &op, NULL) : -ENOMEM;
	}
	json_decref(object);
	if (r < 0 && act)
		act_free(act);
	world->writing += r == 0;
	guest->acting = r == 0;
	return r;
}

static void judge(void *user, const char *namespace_, const char *name, void *value)
{
	struct ygr_world *world = user;
	struct ygr_seen *guest = value;
	int64_t now = ygr_world_now();
	const struct ygr_node *node = ygr_nodes_get(&world->nodes, guest->node, now);
	int64_t dead_for = node ? ygr_node_dead_for(node, now) : -1;

	if (dead_for < 0 || !world->leading || guest->acting || world->writing >= YGR_WORLD_WRITES_MAX)
		return;
	if (!guest->unknown) {
		ygr_log(YGR_LOG_INFO, "world", "VMGuest %s/%s: its node %s is dead", namespace_, name,
			guest->node);
		(void)act_on(world, guest, false);
	} else if (dead_for > (int64_t)world->grace_s) {
		ygr_log(YGR_LOG_INFO, "world", "VMGuest %s/%s goes: its node %s is dead for %lld s",
			namespace_, name, guest->node, (long long)dead_for);
		(void)act_on(world, guest, true);
	}
}

void ygr_world_bury(struct ygr_world *world)
{
	int64_t now = ygr_world_now();
	unsigned dead = 0;

	if (world->blind)
		return;
	for (size_t i = 0; i < world->nodes.count; i++)
		dead += ygr_node_dead_for(world->nodes.items[i], now) >= 0;
	ygr_metric_set(world->node_gauge, dead, (const char *[]){"Dead"});
	ygr_metric_set(world->node_gauge, (double)world->nodes.count - dead, (const char *[]){"Alive"});
	ygr_kube_informer_each(world->watches[YGR_WATCH_GUESTS].informer, judge, world);
}
