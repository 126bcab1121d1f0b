/* See informers.h. */
#include "agent/desired/informers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/kube/informer.h"

enum kind { MONITOR, POLICY, KINDS };

static const struct ygr_kube_resource resources[KINDS] = {
    {"yagura.dev", "v1alpha1", "vmmonitors", YGR_MONITOR_KIND, false},
    {"yagura.dev", "v1alpha1", "vmpolicies", YGR_VM_POLICY_KIND, false},
};

/* One informer: a kind in a namespace. */
struct followed {
	struct ygr_desired_informers *all;
	enum kind kind;
	char *namespace_;
	struct ygr_kube_informer *informer;
	bool wanted, synced;
};

struct problem {
	enum kind kind;
	char *subject, *namespace_, *name, *message; /* subject: "VMMonitor NAMESPACE/NAME" */
};

struct ygr_desired_informers {
	struct ygr_kube *kube;
	struct ygr_desired_handlers handlers;
	struct followed *items[YGR_DESIRED_NAMESPACES_MAX * KINDS];
	size_t count;
	struct problem *problems;
	size_t problem_count;
	bool complete, synced, too_many;
};

static void report_problems(struct ygr_desired_informers *all)
{
	struct ygr_manifest_problem *list = calloc(all->problem_count + 2, sizeof(*list));
	size_t count = 0;

	if (!list)
		return;
	for (; count < all->problem_count; count++)
		list[count] =
		    (struct ygr_manifest_problem){.file = all->problems[count].subject,
						  .kind = resources[all->problems[count].kind].kind,
						  .namespace_ = all->problems[count].namespace_,
						  .name = all->problems[count].name,
						  .message = all->problems[count].message};
	if (all->too_many)
		list[count++] = (struct ygr_manifest_problem){
		    .file = "namespaces",
		    .message = "more than 512 namespaces have VMs here; some are left out"};
	all->handlers.problems(all->handlers.user, list, count);
	free(list);
}

static void problem_deinit(struct problem *problem)
{
	free(problem->subject);
	free(problem->namespace_);
	free(problem->name);
	free(problem->message);
}

static struct problem *find_problem(struct ygr_desired_informers *all, enum kind kind, const char *ns,
				    const char *name)
{
	for (size_t i = 0; i < all->problem_count; i++)
		if (all->problems[i].kind == kind && !strcmp(all->problems[i].namespace_, ns) &&
		    !strcmp(all->problems[i].name, name))
			return &all->problems[i];
	return NULL;
}

/* Is nothing wrong with it any more? */
static bool clear_problem(struct ygr_desired_informers *all, enum kind kind, const char *ns,
			  const char *name)
{
	struct problem *problem = find_problem(all, kind, ns, name);

	if (!problem)
		return false;
	problem_deinit(problem);
	*problem = all->problems[--all->problem_count];
	return true;
}

static void on_refused(void *user, const char *ns, const char *name, const char *message)
{
	struct followed *followed = user;
	struct ygr_desired_informers *all = followed->all;
	struct problem problem = {
	    .namespace_ = strdup(ns), .name = strdup(name), .message = strdup(message)};

	clear_problem(all, followed->kind, ns, name);
	if (asprintf(&problem.subject, "%s %s/%s", resources[followed->kind].kind, ns, name) < 0)
		problem.subject = NULL;
	struct problem *grown = NULL;
	if (all->problem_count < YGR_DESIRED_OBJECTS_MAX && problem.subject && problem.namespace_ &&
	    problem.name && problem.message)
		grown = reallocarray(all->problems, all->problem_count + 1, sizeof(*grown));
	if (grown) {
		all->problems = grown;
		grown[all->problem_count++] = problem;
	} else {
		problem_deinit(&problem);
	}
	report_problems(all);
}

static int decode(void *user, const json_t *object, void **ret_value, struct ygr_error *error)
{
	const struct followed *followed = user;
	char subject[400];
	struct ygr_monitor *monitor;
	struct ygr_vm_policy *policy;

	snprintf(subject, sizeof(subject), "%s %.64s/%.253s", resources[followed->kind].kind,
		 ygr_kube_meta(object, "namespace"), ygr_kube_meta(object, "name"));
	struct ygr_doc *doc = ygr_doc_new_json(subject, (json_t *)object);
	if (!doc)
		return ygr_error_set(error, ENOMEM, "out of memory");
	int r = followed->kind == MONITOR ? ygr_monitor_decode(doc, &monitor, error)
					  : ygr_vm_policy_decode(doc, &policy, error);
	ygr_doc_free(doc);
	if (r == 0)
		*ret_value = followed->kind == MONITOR ? (void *)monitor : (void *)policy;
	return r;
}

static void free_value(void *user, void *value)
{
	const struct followed *followed = user;

	if (followed->kind == MONITOR)
		ygr_monitor_free(value);
	else
		ygr_vm_policy_free(value);
}

static void tell_changed(const struct followed *followed, void *value)
{
	const struct ygr_desired_handlers *handlers = &followed->all->handlers;

	if (followed->kind == MONITOR)
		handlers->changed(handlers->user, value);
	else
		handlers->policy_changed(handlers->user, value);
}

static void tell_gone(const struct followed *followed, const char *ns, const char *name)
{
	const struct ygr_desired_handlers *handlers = &followed->all->handlers;

	if (followed->kind == MONITOR)
		handlers->gone(handlers->user, ns, name);
	else
		handlers->policy_gone(handlers->user, ns, name);
}

static void on_changed(void *user, const char *ns, const char *name, void *old, void *value)
{
	struct followed *followed = user;

	(void)old;
	tell_changed(followed, value);
	if (clear_problem(followed->all, followed->kind, ns, name))
		report_problems(followed->all);
}

static void on_gone(void *user, const char *ns, const char *name, void *value)
{
	struct followed *followed = user;

	if (value)
		tell_gone(followed, ns, name);
	if (clear_problem(followed->all, followed->kind, ns, name))
		report_problems(followed->all);
}

static void look_synced(struct ygr_desired_informers *all)
{
	bool synced = all->complete && !all->synced;

	for (size_t i = 0; synced && i < all->count; i++)
		synced = all->items[i]->synced;
	if (!synced)
		return;
	all->synced = true;
	report_problems(all);
	all->handlers.synced(all->handlers.user);
}

static void on_synced(void *user)
{
	struct followed *followed = user;

	followed->synced = true;
	look_synced(followed->all);
}

static struct followed *find(const struct ygr_desired_informers *all, enum kind kind, const char *ns)
{
	for (size_t i = 0; i < all->count; i++)
		if (all->items[i]->kind == kind && !strcmp(all->items[i]->namespace_, ns))
			return all->items[i];
	return NULL;
}

static void begin(struct ygr_desired_informers *all, enum kind kind, const char *ns)
{
	struct followed *followed = calloc(1, sizeof(*followed));

	if (!followed)
		return; /* tried again with the next list of VMs */
	followed->all = all;
	followed->kind = kind;
	followed->wanted = true;
	followed->namespace_ = strdup(ns);
	const struct ygr_kube_informer_options options = {.kube = all->kube,
							  .resource = resources[kind],
							  .namespace_ = followed->namespace_,
							  .objects_max = YGR_DESIRED_OBJECTS_MAX,
							  .decode = decode,
							  .free = free_value,
							  .changed = on_changed,
							  .gone = on_gone,
							  .refused = on_refused,
							  .synced = on_synced,
							  .user = followed};
	if (!followed->namespace_ || ygr_kube_informer_start(&options, &followed->informer) < 0) {
		free(followed->namespace_);
		free(followed);
		return;
	}
	all->items[all->count++] = followed;
}

static void forget(void *visitor, const char *ns, const char *name, void *value)
{
	(void)value;
	tell_gone(visitor, ns, name);
}

/* Problems of a namespace that nobody asks about any more. */
static void drop_problems(struct ygr_desired_informers *all, enum kind kind, const char *ns)
{
	for (size_t i = all->problem_count; i-- > 0;) {
		if (all->problems[i].kind != kind || strcmp(all->problems[i].namespace_, ns) != 0)
			continue;
		problem_deinit(&all->problems[i]);
		all->problems[i] = all->problems[--all->problem_count];
	}
}

static void end(struct followed *followed)
{
	ygr_kube_informer_stop(followed->informer);
	free(followed->namespace_);
	free(followed);
}

void ygr_desired_informers_follow(struct ygr_desired_informers *all, const json_t *vms, bool complete)
{
	const json_t *vm;
	size_t i;
	bool too_many = false;

	for (i = 0; i < all->count; i++)
		all->items[i]->wanted = false;
	json_array_foreach(vms, i, vm)
	{
		const char *ns = ygr_kube_meta(vm, "namespace");
		for (int kind = 0; ns && kind < KINDS; kind++) {
			struct followed *known = find(all, (enum kind)kind, ns);
			if (known)
				known->wanted = true;
			else if (all->count < YGR_DESIRED_NAMESPACES_MAX * KINDS)
				begin(all, (enum kind)kind, ns);
			else
				too_many = true;
		}
	}
	for (i = all->count; i-- > 0;) {
		struct followed *followed = all->items[i];
		if (followed->wanted)
			continue;
		all->items[i] = all->items[--all->count];
		ygr_kube_informer_each(followed->informer, forget, followed);
		drop_problems(all, followed->kind, followed->namespace_);
		end(followed);
	}
	if (all->too_many != too_many) {
		all->too_many = too_many;
		report_problems(all);
	}
	all->complete |= complete;
	look_synced(all);
}

int ygr_desired_informers_new(struct ygr_kube *kube, const struct ygr_desired_handlers *handlers,
			      struct ygr_desired_informers **ret)
{
	struct ygr_desired_informers *all = calloc(1, sizeof(*all));

	if (!all)
		return -ENOMEM;
	all->kube = kube;
	all->handlers = *handlers;
	*ret = all;
	return 0;
}

struct ygr_desired_informers *ygr_desired_informers_free(struct ygr_desired_informers *all)
{
	if (!all)
		return NULL;
	for (size_t i = 0; i < all->count; i++)
		end(all->items[i]);
	for (size_t i = 0; i < all->problem_count; i++)
		problem_deinit(&all->problems[i]);
	free(all->problems);
	free(all);
	return NULL;
}
