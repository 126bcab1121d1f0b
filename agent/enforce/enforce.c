/* The list of active actions: what begins, renews and ends them. What follows from it is in effect.c and control.c. */
#include "agent/enforce/enforce.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/enforce/room.h"
#include "lib/base/cleanup.h"
#include "lib/base/log.h"

void ygr_enforce_say(struct guarded *guarded, const struct active *active, const char *what,
		     const char *severity, const char *message)
{
	const struct ygr_enforce_event event = {
	    .uuid = guarded->uuid,
	    .policy = active->policy,
	    .rule = active->rule,
	    .type = ygr_enforce_type_word(active->kind),
	    .action = active->text,
	    .what = what,
	    .severity = severity,
	    .message = message,
	};
	guarded->enforce->options.event(guarded->enforce->options.user, &event);
}

void ygr_enforce_active_deinit(struct active *active)
{
	free(active->policy);
	free(active->text);
	*active = (struct active){0};
}

static struct active *find_active(struct guarded *guarded, const char *policy, const char *rule,
				  const char *text)
{
	for (size_t i = 0; i < guarded->active_count; i++) {
		struct active *active = &guarded->active[i];
		if (!strcmp(active->text, text) && !strcmp(active->rule, rule) &&
		    !strcmp(active->policy, policy))
			return active;
	}
	return NULL;
}

/* Everything that follows from a list that has changed; the kernel first. */
static void changed(struct guarded *guarded)
{
	int r = ygr_enforce_effect_apply(guarded);

	if (r < 0)
		ygr_log(YGR_LOG_ERROR, "enforce", "%s: what is in force cannot be set: %s",
			guarded->name ?: guarded->uuid, strerror(-r));
	ygr_enforce_effect_limits(guarded);
	ygr_enforce_state_write(guarded->enforce);
	ygr_enforce_control(guarded);
	ygr_enforce_news(guarded->enforce);
	ygr_enforce_soon(guarded->enforce, 0); /* the timer finds the next expiry */
}

static bool end_active(struct guarded *guarded, size_t i)
{
	ygr_enforce_say(guarded, &guarded->active[i], "Undone", "info", NULL);
	ygr_enforce_active_deinit(&guarded->active[i]);
	guarded->active[i] = guarded->active[--guarded->active_count];
	return true;
}

static bool asked_by(const struct guarded *guarded, const struct active *active)
{
	for (size_t i = 0; i < guarded->attached_count; i++) {
		const struct ygr_enforce_plan *plan = guarded->attached[i].plan;
		if (strcmp(plan->policy, active->policy) != 0)
			continue;
		for (size_t j = 0; j < plan->reaction_count; j++)
			for (size_t k = 0; k < plan->reactions[j].action_count; k++)
				if (!strcmp(plan->reactions[j].rule, active->rule) &&
				    !strcmp(plan->reactions[j].actions[k].text, active->text))
					return true;
	}
	return false;
}

void ygr_enforce_detach(struct guarded *guarded)
{
	for (size_t i = 0; i < guarded->attached_count; i++) {
		ygr_enforce_plan_unref(guarded->attached[i].plan);
		free(guarded->attached[i].tallies);
	}
	free(guarded->attached);
	guarded->attached = NULL;
	guarded->attached_count = 0;
}

static bool same_plans(const struct guarded *guarded, struct ygr_enforce_plan *const *plans, size_t count)
{
	if (guarded->attached_count != count)
		return false;
	for (size_t i = 0; i < count; i++)
		if (guarded->attached[i].plan != plans[i])
			return false;
	return true;
}

int ygr_enforce_plans(struct ygr_enforce *enforce, const char *uuid, struct ygr_enforce_plan *const *plans,
		      size_t count)
{
	struct guarded *guarded = ygr_enforce_find(enforce, uuid);
	bool ended = false;

	if (!guarded && count)
		guarded = ygr_enforce_get(enforce, uuid);
	if (!guarded)
		return count ? -ENOMEM : 0;
	if (guarded->planned && same_plans(guarded, plans, count))
		return 0;
	struct attached *fresh = calloc(count + 1, sizeof(*fresh));
	if (!fresh)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		fresh[i].tallies = calloc(plans[i]->reaction_count + 1, sizeof(*fresh[i].tallies));
		fresh[i].plan = ygr_enforce_plan_ref(plans[i]);
	}
	ygr_enforce_detach(guarded);
	guarded->attached = fresh;
	guarded->attached_count = count;
	guarded->planned = true;
	for (size_t i = guarded->active_count; i-- > 0;)
		if (!asked_by(guarded, &guarded->active[i]))
			ended |= end_active(guarded, i);
	ygr_enforce_effect_prepare(guarded);
	if (ended || guarded->active_count)
		changed(guarded);
	if (!count && !guarded->active_count && !guarded->busy && !guarded->paused_by_us &&
	    !guarded->link_count && !guarded->vm)
		ygr_enforce_drop(guarded);
	return 0;
}

static void refuse(struct guarded *guarded, struct active *active, const char *message)
{
	ygr_enforce_say(guarded, active, "Refused", "warning", message);
	ygr_log(YGR_LOG_WARNING, "enforce", "%s: %s: %s", guarded->name ?: guarded->uuid, active->text,
		message);
}

static void snapshot(struct guarded *guarded, struct active *active)
{
	struct ygr_enforce *enforce = guarded->enforce;
	char path[sizeof(guarded->once[0].argument)];
	unsigned taken = 0;
	struct stat st;

	(void)mkdir(enforce->snapshot_directory, 0700);
	for (; taken < enforce->options.snapshots_max; taken++) {
		int n = snprintf(path, sizeof(path), "%s/%s.%u", enforce->snapshot_directory, guarded->uuid,
				 taken);
		if (n < 0 || (size_t)n >= sizeof(path) || stat(path, &st) < 0)
			break;
	}
	if (taken == enforce->options.snapshots_max)
		refuse(guarded, active, "there are as many snapshots of this VM as the node keeps");
	else if (ygr_enforce_control_once(guarded, YGR_VM_SNAPSHOT, path) < 0)
		refuse(guarded, active, "too much is under way");
	else
		ygr_enforce_say(guarded, active, "Applied", "warning", path);
}

/* What happens once and is over. */
static void once(struct guarded *guarded, struct active *active)
{
	int r = 0;

	switch (active->kind) {
	case YGR_HOST_EVENT:
		ygr_enforce_say(guarded, active, "Applied", active->name, NULL);
		return;
	case YGR_HOST_SNAPSHOT:
		snapshot(guarded, active);
		return;
	case YGR_HOST_RESUME: /* ends the pauses that this policy asked for */
		for (size_t i = guarded->active_count; i-- > 0;)
			if (guarded->active[i].kind == YGR_HOST_PAUSE &&
			    !strcmp(guarded->active[i].policy, active->policy))
				end_active(guarded, i);
		break;
	case YGR_HOST_SHUTDOWN:
		r = ygr_enforce_control_once(guarded, YGR_VM_SHUTDOWN, "");
		break;
	default:
		r = ygr_enforce_control_once(guarded, YGR_VM_DESTROY, "");
		break;
	}
	if (r < 0)
		refuse(guarded, active, "too much is under way");
	else
		ygr_enforce_say(guarded, active, "Applied", "critical", NULL);
}

static int set_active(struct active *active, const char *policy, const char *rule,
		      const struct ygr_enforce_action *action)
{
	*active = (struct active){.policy = strdup(policy),
				  .text = strdup(action->text),
				  .kind = action->kind,
				  .direction = action->direction,
				  .bits_per_second = action->bits_per_second,
				  .since_ms = ygr_enforce_now_ms()};
	snprintf(active->rule, sizeof(active->rule), "%s", rule);
	snprintf(active->name, sizeof(active->name), "%s", action->name);
	return active->policy && active->text ? 0 : -ENOMEM;
}

/* Begins ACTION or renews it; true when the list has changed so that what is in force may have. */
static bool act(struct guarded *guarded, const char *policy, const char *rule,
		const struct ygr_enforce_action *action)
{
	struct active *known = find_active(guarded, policy, rule, action->text), fresh;
	char message[256] = "";
	int64_t expires = action->lifetime_ms ? ygr_enforce_now_ms() + (int64_t)action->lifetime_ms : 0;

	if (known && ygr_enforce_lasts(action->kind)) {
		known->expires_ms = expires;
		return false;
	}
	const char *reason = ygr_enforce_unsupported(guarded->enforce, guarded->vm, action, message);
	bool partly = reason && !strcmp(reason, "UnsupportedBackend") && !action->name[0];
	struct active *grown = NULL;
	if (set_active(&fresh, policy, rule, action) == 0 && ygr_enforce_lasts(action->kind) &&
	    guarded->active_count < YGR_ENFORCE_ACTIVE_MAX)
		grown = reallocarray(guarded->active, guarded->active_count + 1, sizeof(*grown));
	if (grown)
		guarded->active = grown;
	if (reason && !partly) {
		refuse(guarded, &fresh, message);
	} else if (!ygr_enforce_lasts(action->kind)) {
		once(guarded, &fresh);
	} else if (grown) {
		fresh.expires_ms = expires;
		snprintf(fresh.problem, sizeof(fresh.problem), "%s", message);
		grown[guarded->active_count++] = fresh;
		return true;
	} else {
		refuse(guarded, &fresh, "more actions are active than the node keeps for one VM");
	}
	ygr_enforce_active_deinit(&fresh);
	return action->kind == YGR_HOST_RESUME;
}

/* Has the reaction been waited for often enough? Stretches follow each other, as in `over`. */
static bool counted(struct tally *tally, const struct ygr_enforce_reaction *reaction, int64_t now_ms)
{
	if (!reaction->window_ms || reaction->count <= 1)
		return true;
	if (!tally->count || now_ms - tally->since_ms >= (int64_t)reaction->window_ms)
		*tally = (struct tally){0, now_ms};
	if (++tally->count < reaction->count)
		return false;
	tally->count = 0;
	return true;
}

void ygr_enforce_violation(struct ygr_enforce *enforce, const char *uuid, const char *policy,
			   const char *rule)
{
	struct guarded *guarded = ygr_enforce_find(enforce, uuid);
	int64_t now = (int64_t)uv_now(enforce->options.loop);
	size_t first = guarded ? guarded->active_count : 0;
	bool news = false, renewed = false;

	for (size_t i = 0; guarded && i < guarded->attached_count; i++) {
		struct attached *attached = &guarded->attached[i];
		if (strcmp(attached->plan->policy, policy) != 0)
			continue;
		for (size_t j = 0; j < attached->plan->reaction_count; j++) {
			const struct ygr_enforce_reaction *reaction = &attached->plan->reactions[j];
			if (strcmp(reaction->rule, rule) != 0 ||
			    !counted(&attached->tallies[j], reaction, now))
				continue;
			renewed = true;
			for (size_t k = 0; k < reaction->action_count; k++)
				news |= act(guarded, policy, rule, &reaction->actions[k]);
		}
	}
	if (news)
		changed(guarded);
	for (size_t i = first; guarded && i < guarded->active_count; i++)
		ygr_enforce_say(guarded, &guarded->active[i], "Applied", "warning", NULL);
	if (!news && renewed) { /* lifetimes are longer now, and something may wait for the provider */
		ygr_enforce_control(guarded);
		ygr_enforce_soon(enforce, 0);
	}
}

static bool same_vm(const struct guarded *guarded, const char *namespace_, const char *vm)
{
	return guarded->name && !strcmp(guarded->name, vm) && !strcmp(guarded->namespace_, namespace_);
}

int ygr_enforce_release(struct ygr_enforce *enforce, const char *namespace_, const char *vm,
			const char *rule)
{
	for (size_t i = 0; i < enforce->vm_count; i++) {
		struct guarded *guarded = enforce->vms[i];
		int ended = 0;
		if (!same_vm(guarded, namespace_, vm))
			continue;
		for (size_t j = guarded->active_count; j-- > 0;)
			if (!rule || !strcmp(guarded->active[j].rule, rule))
				ended += end_active(guarded, j);
		for (size_t j = 0; j < guarded->attached_count; j++)
			memset(guarded->attached[j].tallies, 0,
			       guarded->attached[j].plan->reaction_count * sizeof(struct tally));
		if (ended)
			changed(guarded);
		return ended;
	}
	return -ENOENT;
}

/* Lowers *delay to when loop time AT comes, if that is ahead. */
static void look_at(const struct guarded *guarded, uint64_t at, uint64_t *delay)
{
	uint64_t now = uv_now(guarded->enforce->options.loop);

	if (at > now && at - now < *delay)
		*delay = at - now;
}

void ygr_enforce_expire(struct guarded *guarded, int64_t now, uint64_t *delay)
{
	bool ended = false;

	for (size_t i = guarded->active_count; i-- > 0;) {
		int64_t expires = guarded->active[i].expires_ms;
		if (expires && expires <= now)
			ended |= end_active(guarded, i);
		else if (expires && (uint64_t)(expires - now) < *delay)
			*delay = (uint64_t)(expires - now);
	}
	if (ended)
		changed(guarded);
	else
		ygr_enforce_control(guarded);
	look_at(guarded, guarded->retry_ms, delay);
	look_at(guarded, guarded->settled_ms, delay);
}
