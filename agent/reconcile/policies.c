/* The objects: what is wanted, compiled when it changed, and the generations that bundles get. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/reconcile/policy.h"
#include "lib/base/cleanup.h"
#include "lib/base/log.h"

#define GENERATIONS_MAX 65536

static struct ygr_policy_wanted *find(const struct ygr_policies *policies, const char *ns, const char *name)
{
	for (size_t i = 0; i < policies->count; i++)
		if (!strcmp(policies->objects[i]->name, name) &&
		    !strcmp(policies->objects[i]->namespace_, ns))
			return policies->objects[i];
	return NULL;
}

static void object_free(struct ygr_policy_wanted *object)
{
	ygr_compiled_unref(object->newest);
	ygr_compiled_unref(object->good);
	free(object->namespace_);
	free(object->name);
	free(object->problem);
	free(object);
}

static struct ygr_policy_wanted *add(struct ygr_policies *policies, const char *ns, const char *name)
{
	struct ygr_policy_wanted *object = find(policies, ns, name), **grown;

	if (object)
		return object;
	object = calloc(1, sizeof(*object));
	grown = reallocarray(policies->objects, policies->count + 1, sizeof(*grown));
	if (grown)
		policies->objects = grown;
	if (object) {
		object->policies = policies;
		object->namespace_ = strdup(ns);
		object->name = strdup(name);
		object->accepted.type = "Accepted";
		object->ready.type = "Ready";
		object->degraded.type = "Degraded";
	}
	if (!object || !grown || !object->namespace_ || !object->name) {
		if (object)
			object_free(object);
		ygr_log(YGR_LOG_ERROR, "reconcile", "out of memory: VMPolicy %s is not enforced", name);
		return NULL;
	}
	policies->objects[policies->count++] = object;
	return object;
}

static void soon(struct ygr_policies *policies)
{
	policies->reconcile->dirty = true;
	ygr_reconcile_soon(policies->reconcile, 0);
}

void ygr_policies_changed(struct ygr_policies *policies, const struct ygr_vm_policy *policy)
{
	struct ygr_policy_wanted *object = add(policies, policy->meta.namespace_, policy->meta.name);

	if (object)
		object->policy = policy;
	soon(policies);
}

void ygr_policies_gone(struct ygr_policies *policies, const char *namespace_, const char *name)
{
	struct ygr_policy_wanted *object = find(policies, namespace_, name);

	if (object) {
		object->policy = NULL;
		object->newest = ygr_compiled_unref(object->newest);
		object->good = ygr_compiled_unref(object->good);
	}
	soon(policies);
}

void ygr_policies_problem(struct ygr_policies *policies, const struct ygr_manifest_problem *problem)
{
	struct ygr_policy_wanted *object = add(policies, problem->namespace_, problem->name);

	if (object && !object->problem)
		object->problem = strdup(problem->message);
}

void ygr_policies_clear_problems(struct ygr_policies *policies)
{
	for (size_t i = 0; i < policies->count; i++) {
		free(policies->objects[i]->problem);
		policies->objects[i]->problem = NULL;
	}
}

/* Objects of which nothing is left are forgotten; their holds went in the pass before. */
static void sweep(struct ygr_policies *policies)
{
	for (size_t i = policies->count; i-- > 0;) {
		struct ygr_policy_wanted *object = policies->objects[i];
		if (object->policy || object->problem || object->compiling)
			continue;
		for (size_t j = 0; j < policies->reconcile->guest_count; j++)
			if (policies->reconcile->guests[j]->policing)
				ygr_policing_forget(object, policies->reconcile->guests[j]->policing);
		object_free(object);
		policies->objects[i] = policies->objects[--policies->count];
		policies->reconcile->dirty = true;
	}
}

void ygr_policies_pass(struct ygr_policies *policies, uint64_t *next_ms)
{
	struct ygr_reconcile *reconcile = policies->reconcile;
	bool compiled = true;

	for (size_t i = 0; i < policies->count; i++) {
		struct ygr_policy_wanted *object = policies->objects[i];
		if (object->policy && !object->compiling &&
		    (!object->newest || object->newest->generation != object->policy->meta.generation))
			ygr_policy_compile(object);
		compiled &= !object->policy || object->newest;
	}
	/* Until everything that there is was compiled once, what guests and node hold already stays. */
	for (size_t i = 0; i < reconcile->guest_count && policies->synced && compiled; i++) {
		struct ygr_observed *guest = reconcile->guests[i];
		if (!guest->policing && ygr_policing_new(guest, &guest->policing) < 0)
			continue;
		ygr_policing_pass(guest->policing, next_ms);
	}
	sweep(policies);
}

static char *generations_path(const struct ygr_policies *policies)
{
	char *path = NULL;

	if (!policies->reconcile->options.state_directory ||
	    asprintf(&path, "%s/policies.json", policies->reconcile->options.state_directory) < 0)
		return NULL;
	return path;
}

static void write_generations(const struct ygr_policies *policies)
{
	_cleanup_free_ char *path = generations_path(policies), *fresh = NULL;

	if (!path || asprintf(&fresh, "%s.new", path) < 0)
		return;
	_cleanup_close_ int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || json_dumpfd(policies->generations, fd, JSON_COMPACT) < 0 || fsync(fd) < 0 ||
	    rename(fresh, path) < 0)
		ygr_log(YGR_LOG_WARNING, "reconcile", "%s: %s; policies are loaded anew after a restart",
			path, strerror(errno));
}

/*
 * Generations are times, in ms: they grow over restarts and nodes, and a guest refuses what is older than what it has
 * seen. The one that was given to a content is kept, so that a restart loads nothing anew.
 */
uint64_t ygr_policies_generation(struct ygr_policies *policies, const char *uid, const char *digest,
				 uint64_t floor)
{
	const json_t *known = json_object_get(policies->generations, uid);
	const char *its = json_string_value(json_object_get(known, "digest"));
	uint64_t generation = (uint64_t)json_integer_value(json_object_get(known, "generation"));
	struct timespec now;

	if (its && !strcmp(its, digest) && generation > floor)
		return generation;
	clock_gettime(CLOCK_REALTIME, &now);
	uint64_t fresh = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	if (fresh <= generation)
		fresh = generation + 1;
	if (fresh <= floor)
		fresh = floor + 1;
	if (json_object_size(policies->generations) >= GENERATIONS_MAX)
		json_object_clear(policies->generations);
	json_object_set_new(policies->generations, uid,
			    json_pack("{s:s, s:I}", "digest", digest, "generation", (json_int_t)fresh));
	write_generations(policies);
	return fresh;
}

static int declare_metrics(struct ygr_policies *policies, struct ygr_metrics *m)
{
	static const char *const state[] = {"state", NULL}, *const type[] = {"type", NULL},
				 *const none[] = {NULL};
	static const char *const rule[] = {"namespace", "policy", "rule", "action", NULL};

	policies->holds = ygr_metric_declare(m, YGR_METRIC_GAUGE, "yagura_policy_loaded",
					     "Policies on guests, by state.", state, NULL, 0, 16);
	policies->violations = ygr_metric_declare(m, YGR_METRIC_COUNTER, "yagura_policy_violations",
						  "Violations that guests told.", rule, NULL, 0, 4096);
	policies->dropped = ygr_metric_declare(m, YGR_METRIC_COUNTER, "yagura_policy_violations_dropped",
					       "Violations that became no event, for there were too many.",
					       none, NULL, 0, 1);
	policies->actions =
	    ygr_metric_declare(m, YGR_METRIC_GAUGE, "yagura_policy_host_actions_active",
			       "Actions of the node that are in force, by type.", type, NULL, 0, 16);
	policies->lost = ygr_metric_declare(m, YGR_METRIC_COUNTER, "yagura_policy_violations_lost",
					    "Violations that guests had no room for.", none, NULL, 0, 1);
	policies->compiles = ygr_metric_declare(m, YGR_METRIC_COUNTER, "yagura_policy_compilations",
						"Policies compiled.", none, NULL, 0, 1);
	policies->writes =
	    ygr_metric_declare(m, YGR_METRIC_GAUGE, "yagura_policy_writes_refused",
			       "Writes to read-only disks that the node refused.", none, NULL, 0, 1);
	policies->packets = ygr_metric_declare(m, YGR_METRIC_GAUGE, "yagura_policy_packets_dropped",
					       "Packets of VMs that the node dropped.", none, NULL, 0, 1);
	return policies->holds && policies->violations && policies->dropped && policies->actions &&
		       policies->lost && policies->compiles && policies->writes && policies->packets
		   ? 0
		   : -ENOMEM;
}

int ygr_policies_new(struct ygr_reconcile *reconcile, struct ygr_policies **ret)
{
	struct ygr_policies *policies = calloc(1, sizeof(*policies));
	json_error_t where;

	if (!policies)
		return -ENOMEM;
	policies->reconcile = reconcile;
	int r = declare_metrics(policies, reconcile->options.metrics);
	_cleanup_free_ char *path = generations_path(policies);
	if (path)
		policies->generations = json_load_file(path, JSON_REJECT_DUPLICATES, &where);
	if (!json_is_object(policies->generations)) {
		json_decref(policies->generations);
		policies->generations = json_object();
	}
	if (r < 0 || !policies->generations) {
		json_decref(policies->generations);
		free(policies);
		return r < 0 ? r : -ENOMEM;
	}
	*ret = policies;
	return 0;
}

struct ygr_policies *ygr_policies_free(struct ygr_policies *policies)
{
	if (!policies)
		return NULL;
	while (policies->count)
		object_free(policies->objects[--policies->count]);
	free(policies->objects);
	json_decref(policies->generations);
	free(policies);
	return NULL;
}

void ygr_policies_gauges(struct ygr_policies *policies)
{
	static const char *const words[] = {"Pending", "Loading", "Held", "Failed", "Refused"};
	const struct ygr_enforce *enforce = policies->reconcile->options.enforce;
	unsigned holds[5] = {0}, actions[YGR_HOST_EVENT + 1] = {0};
	struct ygr_enforce_active active[YGR_ENFORCE_ACTIVE_MAX];
	uint64_t writes = 0, packets = 0;

	for (size_t i = 0; i < policies->reconcile->guest_count; i++) {
		const struct ygr_observed *guest = policies->reconcile->guests[i];
		uint64_t w = 0, p = 0;
		for (const struct ygr_hold *hold = guest->policing ? guest->policing->holds : NULL; hold;
		     hold = hold->next)
			holds[hold->state]++;
		size_t count = enforce ? ygr_enforce_list(enforce, guest->vm->uuid, active) : 0;
		for (size_t j = 0; j < count; j++)
			for (int kind = 0; kind <= YGR_HOST_EVENT; kind++)
				actions[kind] += !strcmp(
				    ygr_enforce_type_word((enum ygr_policy_host_kind)kind), active[j].type);
		if (enforce)
			ygr_enforce_counted(enforce, guest->vm->uuid, &w, &p);
		writes += w;
		packets += p;
	}
	for (int i = 0; i < 5; i++)
		ygr_metric_set(policies->holds, holds[i], (const char *[]){words[i], NULL});
	for (int kind = 0; kind <= YGR_HOST_EVENT; kind++)
		if (ygr_enforce_lasts((enum ygr_policy_host_kind)kind))
			ygr_metric_set(
			    policies->actions, actions[kind],
			    (const char *[]){ygr_enforce_type_word((enum ygr_policy_host_kind)kind), NULL});
	ygr_metric_set(policies->writes, (double)writes, NULL);
	ygr_metric_set(policies->packets, (double)packets, NULL);
}
