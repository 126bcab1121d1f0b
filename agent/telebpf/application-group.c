/*
 * The control group of an application, as far as it is the agent's business. Its session makes and removes it. One
 * that is killed cannot; then the agent does, on a worker, as processes may die slowly. Groups have the names of what
 * runs in them, and whoever makes or removes one kills whom it finds there: so only one application at a time may have
 * a name, from its launch until its group is gone, and who comes next waits.
 */
#include "agent/telebpf/application.h"

#include <stdlib.h>
#include <string.h>

#include "agent/telebpf/confine/cgroup.h"

static void push(struct ygr_application **list, struct ygr_application *a)
{
	while (*list)
		list = &(*list)->next;
	a->next = NULL;
	*list = a;
}

/* The first of LIST with the group NAME, or NULL. */
static struct ygr_application *find(struct ygr_application *list, const char *name)
{
	while (list && strcmp(list->cgroup, name) != 0)
		list = list->next;
	return list;
}

static void take_out(struct ygr_application **list, struct ygr_application *a)
{
	while (*list && *list != a)
		list = &(*list)->next;
	if (*list)
		*list = a->next;
}

bool ygr_application_take_group(struct ygr_application *a, struct ygr_dial *dial)
{
	bool busy = find(a->telebpf->groups, a->cgroup);

	push(busy ? &a->telebpf->waiting : &a->telebpf->groups, a);
	if (busy)
		a->held = dial;
	return !busy;
}

static void release(struct ygr_application *a)
{
	struct ygr_telebpf *telebpf = a->telebpf;

	take_out(&telebpf->groups, a);
	/* One that was closed while it waited does not take the name. */
	for (struct ygr_application *next;
	     !find(telebpf->groups, a->cgroup) && (next = find(telebpf->waiting, a->cgroup));) {
		struct ygr_dial *dial = next->held;
		take_out(&telebpf->waiting, next);
		next->held = NULL;
		ygr_application_dialled(next, dial);
	}
}

static void clear(uv_work_t *work)
{
	const struct ygr_application *a = work->data;

	ygr_cgroup_clear(a->cgroup);
}

static void cleared(uv_work_t *work, int status)
{
	struct ygr_application *a = work->data;

	(void)status;
	a->clearing = false;
	release(a);
	ygr_application_end_if_over(a);
	ygr_application_unref(a);
}

void ygr_application_leave_group(struct ygr_application *a, bool killed)
{
	if (!a->cgroup || find(a->telebpf->groups, a->cgroup) != a)
		return;
	a->clear.data = a;
	if (!killed || uv_queue_work(a->telebpf->loop, &a->clear, clear, cleared) < 0) {
		release(a);
		return;
	}
	a->clearing = true;
	a->references++;
}
