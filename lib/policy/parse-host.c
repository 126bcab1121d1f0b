/* Reactions of the node: on RULE [N times within TIME per vm]: action, action. */
#include <string.h>

#include "lib/policy/parser.h"

/* A disk, an interface or a condition: a name, or a string for what is no word. */
static bool take_thing(struct ygr_policy_parser *parser, const char *what, const char **ret)
{
	struct ygr_policy_place place;
	if (parser->token.kind == YGR_TOKEN_STRING && !parser->token.bad && parser->token.length > 0 &&
	    parser->token.length <= YGR_POLICY_WORD_MAX &&
	    strlen(parser->token.text) == parser->token.length) {
		*ret = parser->token.text;
		ygr_policy_advance(parser);
		return true;
	}
	*ret = ygr_policy_take_name(parser, what, &place);
	return *ret != NULL;
}

static bool take_disk(struct ygr_policy_parser *parser, struct ygr_policy_host_action *action)
{
	action->kind = YGR_HOST_DISK;
	if (!ygr_policy_take_word(parser, "all") &&
	    !take_thing(parser, "a disk such as vda, or all", &action->name))
		return false;
	return ygr_policy_expect_word(parser, "read-only");
}

static void take_direction(struct ygr_policy_parser *parser, struct ygr_policy_host_action *action)
{
	if (ygr_policy_take_word(parser, "to"))
		action->direction = YGR_TO;
	else if (ygr_policy_take_word(parser, "from"))
		action->direction = YGR_FROM;
}

static bool take_block(struct ygr_policy_parser *parser, struct ygr_policy_host_action *action)
{
	action->kind = YGR_HOST_BLOCK;
	if (!ygr_policy_expect_word(parser, "net"))
		return false;
	take_direction(parser, action);
	if (action->direction != YGR_BOTH_WAYS && !ygr_policy_take_word(parser, "any")) {
		action->addresses = ygr_policy_take_typed(parser, YGR_TYPE_ADDRESS);
		if (!action->addresses)
			return false;
	}
	if (ygr_policy_take_word(parser, "port")) {
		action->ports = ygr_policy_take_typed(parser, YGR_TYPE_PORT);
		if (!action->ports)
			return false;
	}
	return !ygr_policy_take_word(parser, "interface") ||
	       take_thing(parser, "an interface", &action->name);
}

static bool take_limit(struct ygr_policy_parser *parser, struct ygr_policy_host_action *action)
{
	action->kind = YGR_HOST_LIMIT;
	if (!ygr_policy_expect_word(parser, "limit") || !ygr_policy_take_bits(parser, &action->amount))
		return false;
	if (ygr_policy_take_word(parser, "outgoing"))
		action->direction = YGR_TO;
	else if (ygr_policy_take_word(parser, "incoming"))
		action->direction = YGR_FROM;
	return !ygr_policy_take_word(parser, "interface") ||
	       take_thing(parser, "an interface", &action->name);
}

static bool take_vm(struct ygr_policy_parser *parser, struct ygr_policy_host_action *action)
{
	static const char *const words[] = {"pause", "resume", "shutdown", "destroy", NULL};
	for (int i = 0; words[i]; i++)
		if (ygr_policy_take_word(parser, words[i])) {
			action->kind = YGR_HOST_PAUSE + (unsigned)i;
			return true;
		}
	return ygr_policy_expected(parser, "\"pause\", \"resume\", \"shutdown\" or \"destroy\"");
}

static bool take_event(struct ygr_policy_parser *parser, struct ygr_policy_host_action *action)
{
	static const char *const words[] = {"info", "warning", "critical", NULL};
	action->kind = YGR_HOST_EVENT;
	for (int i = 0; words[i]; i++)
		if (ygr_policy_take_word(parser, words[i])) {
			action->name = words[i];
			return true;
		}
	return ygr_policy_expected(parser, "a severity: \"info\", \"warning\" or \"critical\"");
}

static bool take_body(struct ygr_policy_parser *parser, struct ygr_policy_host_action *action)
{
	if (ygr_policy_take_word(parser, "disk"))
		return take_disk(parser, action);
	if (ygr_policy_take_word(parser, "block"))
		return take_block(parser, action);
	if (ygr_policy_take_word(parser, "net"))
		return take_limit(parser, action);
	if (ygr_policy_take_word(parser, "vm"))
		return take_vm(parser, action);
	if (ygr_policy_take_word(parser, "event"))
		return take_event(parser, action);
	if (ygr_policy_take_word(parser, "interface")) {
		action->kind = YGR_HOST_INTERFACE;
		return take_thing(parser, "an interface", &action->name) &&
		       ygr_policy_expect_word(parser, "down");
	}
	if (ygr_policy_take_word(parser, "mark")) {
		action->kind = YGR_HOST_MARK;
		return take_thing(parser, "the name of a condition", &action->name);
	}
	action->kind = YGR_HOST_SNAPSHOT;
	if (ygr_policy_take_word(parser, "snapshot"))
		return true;
	ygr_policy_expected(parser, "an action of the node");
	ygr_policy_hint(ygr_policy_said(parser),
			"disk, block net, net limit, interface, vm, snapshot, mark, event");
	return false;
}

/* What happens once and cannot be undone has no lifetime. */
static bool lasts(const struct ygr_policy_host_action *action)
{
	return action->kind <= YGR_HOST_PAUSE || action->kind == YGR_HOST_MARK;
}

static struct ygr_policy_host_action *take_action(struct ygr_policy_parser *parser)
{
	struct ygr_policy_host_action *action = ygr_policy_new(parser, sizeof(*action));
	if (!action)
		return NULL;
	action->place = parser->token.place;
	if (!take_body(parser, action))
		return NULL;
	struct ygr_policy_place place = parser->token.place;
	if (!ygr_policy_take_word(parser, "for"))
		return action;
	if (!lasts(action)) {
		ygr_policy_error(ygr_policy_said(parser), place,
				 "this action happens once: it has no time that it lasts");
		return NULL;
	}
	return ygr_policy_take_duration(parser, &action->lifetime_ns) ? action : NULL;
}

struct ygr_policy_host_rule *ygr_policy_take_host_rule(struct ygr_policy_parser *parser)
{
	struct ygr_policy_host_rule *rule = ygr_policy_new(parser, sizeof(*rule));
	uint64_t count = 1;

	if (!rule)
		return NULL;
	rule->name = ygr_policy_take_name(parser, "the name of a rule", &rule->place);
	if (!rule->name)
		return NULL;
	if (parser->token.kind == YGR_TOKEN_NUMBER &&
	    (!ygr_policy_take_count(parser, 1, 1000000, "how often", &count) ||
	     !ygr_policy_expect_word(parser, "times") || !ygr_policy_expect_word(parser, "within") ||
	     !ygr_policy_take_duration(parser, &rule->window_ns) || !ygr_policy_expect_word(parser, "per") ||
	     !ygr_policy_expect_word(parser, "vm")))
		return NULL;
	rule->count = (uint32_t)count;
	if (!ygr_policy_expect_mark(parser, ':', "\":\""))
		return NULL;
	struct ygr_policy_host_action **end = &rule->actions;
	do {
		*end = take_action(parser);
		if (!*end)
			return NULL;
		end = &(*end)->next;
	} while (ygr_policy_take_mark(parser, ','));
	return rule;
}
