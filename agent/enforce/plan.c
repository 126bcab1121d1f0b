/* See plan.h. */
#include "agent/enforce/plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/policy/print.h"

#define PRINTED_MAX (4u << 20)

bool ygr_enforce_lasts(enum ygr_policy_host_kind kind)
{
	return kind <= YGR_HOST_PAUSE || kind == YGR_HOST_MARK;
}

const char *ygr_enforce_type_word(enum ygr_policy_host_kind kind)
{
	static const char *const words[] = {"DiskReadOnly", "NetworkBlock", "NetworkLimit", "InterfaceDown",
					    "VMPause",      "VMResume",     "VMShutdown",   "VMDestroy",
					    "Snapshot",     "Mark",         "Event"};

	return words[kind];
}

static uint64_t hash(const uint8_t *bytes, size_t len)
{
	uint64_t h = 14695981039346656037u; /* FNV-1a */

	for (size_t i = 0; i < len; i++)
		h = (h ^ bytes[i]) * 1099511628211u;
	return h;
}

/* Does VALUE say NAME of a let, so that its text does not tell what is in it? */
static bool by_name(const struct ygr_policy_value *value)
{
	for (const struct ygr_policy_item *item = value ? value->items : NULL; item; item = item->next)
		if (item->kind == YGR_ITEM_WORD)
			return true;
	return false;
}

static uint64_t hash_action(const struct ygr_enforce_action *action)
{
	return hash((const uint8_t *)action->prefixes, action->prefix_count * sizeof(*action->prefixes)) *
		   31 +
	       hash((const uint8_t *)action->ports, action->port_count * sizeof(*action->ports));
}

/* The action in words, without its lifetime: that of who renews it counts. */
static int set_text(const struct ygr_policy_host_action *tree, struct ygr_enforce_action *action)
{
	struct ygr_policy_host_action lasting = *tree;
	struct ygr_buf buf = YGR_BUF_INIT(PRINTED_MAX);
	struct ygr_policy_text text = {.out = &buf};
	int r = -ENOMEM;

	lasting.lifetime_ns = 0;
	ygr_policy_print_host_action(&lasting, &text);
	if (text.failed < 0)
		r = text.failed;
	else if (buf.len < YGR_ENFORCE_TEXT_MAX - 32 && !by_name(tree->addresses) && !by_name(tree->ports))
		r = asprintf(&action->text, "%.*s", (int)buf.len, (const char *)buf.data);
	else
		r = asprintf(
		    &action->text, "%.*s (%016llx)",
		    (int)(buf.len < YGR_ENFORCE_TEXT_MAX - 32 ? buf.len : YGR_ENFORCE_TEXT_MAX - 32),
		    (const char *)buf.data, (unsigned long long)hash_action(action));
	ygr_buf_deinit(&buf);
	if (r < 0)
		action->text = NULL;
	return r < 0 ? r == -1 ? -ENOMEM : r : 0;
}

static int set_prefixes(const struct ygr_policy_value *value, struct ygr_enforce_action *action)
{
	if (!value)
		return 0;
	action->prefixes = calloc(value->flat_count + 1, sizeof(*action->prefixes));
	if (!action->prefixes)
		return -ENOMEM;
	for (size_t i = 0; i < value->flat_count; i++) {
		const struct ygr_policy_item *item = value->flat[i];
		struct ygr_enforce_prefix *prefix = &action->prefixes[action->prefix_count++];
		prefix->family = item->kind == YGR_ITEM_IPV4 ? 4 : 6;
		prefix->bits = (uint8_t)item->prefix;
		memcpy(prefix->address, item->address, sizeof(prefix->address));
	}
	return 0;
}

static int set_ports(const struct ygr_policy_value *value, struct ygr_enforce_action *action)
{
	if (!value)
		return 0;
	action->ports = calloc(value->flat_count + 1, sizeof(*action->ports));
	if (!action->ports)
		return -ENOMEM;
	for (size_t i = 0; i < value->flat_count; i++)
		action->ports[action->port_count++] =
		    (struct ygr_enforce_span){(uint16_t)value->flat[i]->low, (uint16_t)value->flat[i]->high};
	return 0;
}

static int set_action(const struct ygr_policy_host_action *tree, struct ygr_enforce_action *action)
{
	action->kind = tree->kind;
	action->direction = tree->direction;
	action->bits_per_second = tree->amount;
	action->lifetime_ms = (tree->lifetime_ns + 999999) / 1000000;
	if (tree->name)
		snprintf(action->name, sizeof(action->name), "%s", tree->name);
	int r = set_prefixes(tree->addresses, action);
	if (r == 0)
		r = set_ports(tree->ports, action);
	return r < 0 ? r : set_text(tree, action);
}

static int set_reaction(const struct ygr_policy_host_rule *tree, struct ygr_enforce_reaction *reaction)
{
	size_t count = 0;
	int r = 0;

	snprintf(reaction->rule, sizeof(reaction->rule), "%s", tree->name);
	reaction->count = tree->count;
	reaction->window_ms = (tree->window_ns + 999999) / 1000000;
	for (const struct ygr_policy_host_action *a = tree->actions; a; a = a->next)
		count++;
	if (count > YGR_ENFORCE_ACTIONS_MAX)
		return -E2BIG;
	reaction->actions = calloc(count + 1, sizeof(*reaction->actions));
	if (!reaction->actions)
		return -ENOMEM;
	for (const struct ygr_policy_host_action *a = tree->actions; a && r == 0; a = a->next)
		r = set_action(a, &reaction->actions[reaction->action_count++]);
	return r;
}

int ygr_enforce_plan_new(const char *policy, const struct ygr_policy *tree, struct ygr_enforce_plan **ret)
{
	struct ygr_enforce_plan *plan = calloc(1, sizeof(*plan));
	size_t count = 0;
	int r = 0;

	for (const struct ygr_policy_host_rule *rule = tree->host_rules; rule; rule = rule->next)
		count++;
	if (count > YGR_POLICY_RULES_MAX)
		r = -E2BIG;
	if (plan) {
		plan->references = 1;
		plan->policy = strdup(policy);
		plan->reactions = calloc(count + 1, sizeof(*plan->reactions));
	}
	if (!plan || !plan->policy || !plan->reactions)
		r = -ENOMEM;
	for (const struct ygr_policy_host_rule *rule = tree->host_rules; rule && r == 0; rule = rule->next)
		r = set_reaction(rule, &plan->reactions[plan->reaction_count++]);
	if (r < 0) {
		ygr_enforce_plan_unref(plan);
		return r;
	}
	*ret = plan;
	return 0;
}

struct ygr_enforce_plan *ygr_enforce_plan_ref(struct ygr_enforce_plan *plan)
{
	plan->references++;
	return plan;
}

static void reaction_deinit(struct ygr_enforce_reaction *reaction)
{
	for (size_t i = 0; i < reaction->action_count; i++) {
		free(reaction->actions[i].text);
		free(reaction->actions[i].prefixes);
		free(reaction->actions[i].ports);
	}
	free(reaction->actions);
}

struct ygr_enforce_plan *ygr_enforce_plan_unref(struct ygr_enforce_plan *plan)
{
	if (!plan || --plan->references)
		return NULL;
	for (size_t i = 0; i < plan->reaction_count; i++)
		reaction_deinit(&plan->reactions[i]);
	free(plan->reactions);
	free(plan->policy);
	free(plan);
	return NULL;
}
