/*
 * The tree of a policy. Every node has the place it was written at. All of it lives in the unit's arena; lists
 * are chained in the order of the text. What evaluate.c adds is marked so.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/policy/diagnostics.h"
#include "lib/policy/event.h"

#define YGR_POLICY_WORD_MAX       63    /* bytes of a name */
#define YGR_POLICY_POLICIES_MAX   64    /* in one file */
#define YGR_POLICY_RULES_MAX      4096  /* in one policy */
#define YGR_POLICY_ITEMS_MAX      65536 /* in one set, after names were replaced by what they stand for */
#define YGR_POLICY_DEPTH_MAX      64    /* of brackets and of `not` */
#define YGR_POLICY_CONDITIONS_MAX 256   /* in one rule */
#define YGR_POLICY_INLINE_MAX     4     /* numbers or ranges that are compared one by one */
#define YGR_POLICY_PATH_MAX       4095  /* bytes */

/* What a set is of. */
enum ygr_policy_type {
	YGR_TYPE_NONE, /* not said; evaluate.c finds it out */
	YGR_TYPE_EXE,
	YGR_TYPE_FILE,
	YGR_TYPE_UNIX,
	YGR_TYPE_ADDRESS,
	YGR_TYPE_USER,
	YGR_TYPE_GROUP,
	YGR_TYPE_CGROUP,
	YGR_TYPE_PORT,
	YGR_TYPE_PROTOCOL,
	YGR_TYPE_CAPABILITY,
	YGR_TYPES,
};

enum ygr_policy_item_kind {
	YGR_ITEM_EXACT, /* text is a path */
	YGR_ITEM_UNDER, /* text is a directory, without a slash at the end */
	YGR_ITEM_GLOB,  /* text is a pattern for the last component, with one '*' */
	YGR_ITEM_IPV4,
	YGR_ITEM_IPV6,
	YGR_ITEM_RANGE, /* low..high */
	YGR_ITEM_WORD,  /* text is the name of a let, or a word that the type knows */
};

struct ygr_policy_item {
	struct ygr_policy_place place;
	enum ygr_policy_item_kind kind;
	const char *text;
	size_t length;
	uint8_t address[16]; /* host bits are zero */
	unsigned prefix;     /* bits */
	uint64_t low, high;
	struct ygr_policy_item *next;
};

struct ygr_policy_value {
	struct ygr_policy_place place;
	enum ygr_policy_type type; /* as written; evaluated: what it is */
	bool explicit_type;
	struct ygr_policy_item *items;
	/* Evaluated: sorted, no name and nothing twice. */
	struct ygr_policy_item **flat;
	size_t flat_count;
};

struct ygr_policy_let {
	struct ygr_policy_place place; /* of the name */
	const char *name;
	struct ygr_policy_value *value;
	struct ygr_policy_let *next;
	/* Evaluated. */
	enum { YGR_LET_NEW, YGR_LET_OPEN, YGR_LET_DONE, YGR_LET_BROKEN } state;
	bool used;
};

enum ygr_policy_condition_kind {
	YGR_COND_OBJECT,     /* of, to, at: value */
	YGR_COND_BY,         /* by: value is exe, user, group or cgroup */
	YGR_COND_DESCENDANT, /* by descendants of: value is exe */
	YGR_COND_PORT,       /* value */
	YGR_COND_PROTOCOL,   /* value */
	YGR_COND_OWNER,      /* value is user */
	YGR_COND_MODE,       /* low: all of these bits */
	YGR_COND_ACCESS,     /* low: any of YGR_POLICY_READ... */
	YGR_COND_DURING,     /* low..high, minutes of the day; around midnight when high < low */
	YGR_COND_ARGUMENT,   /* value: one of the arguments of exec */
};

/* Sets by what is looked up to know whether something is a member; numbers are counted within a class. */
enum ygr_policy_set_class {
	YGR_SET_INLINE, /* no set: few numbers, which are compared */
	YGR_SET_OBJECT,
	YGR_SET_EXE,
	YGR_SET_LINEAGE,
	YGR_SET_CGROUP,
	YGR_SET_PORT,
	YGR_SET_USER,
	YGR_SET_GROUP,
	YGR_SET_OWNER,
	YGR_SET_CLASSES,
};

struct ygr_policy_set {
	const struct ygr_policy_value *value;
	uint64_t sum; /* of its members */
	uint32_t number;
	struct ygr_policy_set *next;
};

enum ygr_policy_expr_kind { YGR_EXPR_AND, YGR_EXPR_OR, YGR_EXPR_NOT, YGR_EXPR_CONDITION };

struct ygr_policy_expr {
	struct ygr_policy_place place;
	enum ygr_policy_expr_kind kind;
	struct ygr_policy_expr *left, *right; /* NOT: left */
	/* CONDITION */
	enum ygr_policy_condition_kind condition;
	bool outside;     /* `to not X`: the thing is there and is none of X */
	const char *word; /* "of", "to", "at" as written */
	struct ygr_policy_value *value;
	uint32_t low, high;
	/* Evaluated. */
	enum ygr_policy_set_class set_class;
	uint32_t set;
};

/* In the order of strength, weakest first. */
enum ygr_policy_action {
	YGR_ACTION_NONE,
	YGR_ACTION_AUDIT,
	YGR_ACTION_NOTIFY,
	YGR_ACTION_DENY,
	YGR_ACTION_KILL,
};

enum ygr_policy_scope {
	YGR_SCOPE_ALL,
	YGR_SCOPE_PROCESS,
	YGR_SCOPE_USER,
	YGR_SCOPE_EXE,
	YGR_SCOPE_CGROUP,
};

struct ygr_policy_rule {
	struct ygr_policy_place place; /* of the name */
	const char *name;
	enum ygr_policy_action action;
	int error; /* positive errno of deny */
	const struct ygr_policy_operation *operation;
	struct ygr_policy_place operation_place;
	struct ygr_policy_expr *when;   /* NULL: always */
	struct ygr_policy_expr *unless; /* NULL: never */
	/* `over COUNT times within WINDOW per SCOPE`; window 0: not counted. */
	uint32_t count;
	uint64_t window_ns;
	enum ygr_policy_scope scope;
	uint32_t number; /* from 1, in the order of the text */
	bool audited;    /* what it would forbid is only recorded; see ygr_policy_unit_audit() */
	struct ygr_policy_rule *next;
};

/* What the rule does as things stand: an audited one has no more strength than `audit`. */
static inline enum ygr_policy_action ygr_policy_rule_action(const struct ygr_policy_rule *rule)
{
	return rule->audited && rule->action >= YGR_ACTION_DENY ? YGR_ACTION_AUDIT : rule->action;
}

enum ygr_policy_host_kind {
	YGR_HOST_DISK,      /* name read-only; NULL: all */
	YGR_HOST_BLOCK,     /* network: direction, value (addresses), ports, name (interface) */
	YGR_HOST_LIMIT,     /* network: amount bit/s, direction, name */
	YGR_HOST_INTERFACE, /* name down */
	YGR_HOST_PAUSE,
	YGR_HOST_RESUME,
	YGR_HOST_SHUTDOWN,
	YGR_HOST_DESTROY,
	YGR_HOST_SNAPSHOT,
	YGR_HOST_MARK,  /* name: the condition */
	YGR_HOST_EVENT, /* name: info, warning, critical */
};

enum ygr_policy_direction { YGR_BOTH_WAYS, YGR_TO, YGR_FROM };

struct ygr_policy_host_action {
	struct ygr_policy_place place;
	enum ygr_policy_host_kind kind;
	const char *name;
	enum ygr_policy_direction direction;
	struct ygr_policy_value *addresses, *ports; /* NULL: all */
	uint64_t amount;
	uint64_t lifetime_ns; /* 0: until released */
	struct ygr_policy_host_action *next;
};

struct ygr_policy_host_rule {
	struct ygr_policy_place place; /* of the rule's name */
	const char *name;
	uint32_t count;     /* 1: at once */
	uint64_t window_ns; /* 0: not counted */
	struct ygr_policy_host_action *actions;
	struct ygr_policy_host_rule *next;
	const struct ygr_policy_rule *rule; /* evaluated */
};

struct ygr_policy {
	struct ygr_policy_place place; /* of the name */
	const char *name;
	struct ygr_policy_let *lets;
	struct ygr_policy_rule *rules;
	struct ygr_policy_host_rule *host_rules;
	uint32_t rule_count;
	struct ygr_policy *next;
	/* Evaluated. */
	struct ygr_policy_set *sets[YGR_SET_CLASSES];
	uint32_t set_counts[YGR_SET_CLASSES];
};
