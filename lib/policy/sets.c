/* See sets.h. Every let is resolved once; cycles are seen because a let is open while its value is resolved. */
#include "lib/policy/sets.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/decode.h"
#include "lib/policy/evaluate.h"
#include "lib/policy/operation.h"

struct ygr_policy_let *ygr_policy_find_let(const struct ygr_policy_scope_names *names, const char *name)
{
	size_t low = 0, high = names->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(name, names->lets[middle]->name);
		if (order == 0)
			return names->lets[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

static bool is_path(enum ygr_policy_type type)
{
	return type == YGR_TYPE_EXE || type == YGR_TYPE_FILE;
}

static bool is_numeric(enum ygr_policy_type type)
{
	return type == YGR_TYPE_USER || type == YGR_TYPE_GROUP || type == YGR_TYPE_PORT ||
	       type == YGR_TYPE_PROTOCOL || type == YGR_TYPE_CAPABILITY;
}

/* A word that a type knows itself, such as tcp: becomes a range. */
static bool known_word(enum ygr_policy_type type, struct ygr_policy_item *item)
{
	int number = -1;
	if (type == YGR_TYPE_PROTOCOL)
		number = ygr_policy_protocol(item->text);
	else if (type == YGR_TYPE_CAPABILITY)
		number = ygr_policy_capability(item->text);
	else if ((type == YGR_TYPE_USER || type == YGR_TYPE_GROUP) && strcmp(item->text, "root") == 0)
		number = 0;
	if (number < 0)
		return false;
	item->kind = YGR_ITEM_RANGE;
	item->low = item->high = (uint64_t)number;
	return true;
}

static enum ygr_policy_type type_of_item(enum ygr_policy_item_kind kind)
{
	switch (kind) {
	case YGR_ITEM_EXACT:
	case YGR_ITEM_UNDER:
	case YGR_ITEM_GLOB:
		return YGR_TYPE_FILE;
	case YGR_ITEM_IPV4:
	case YGR_ITEM_IPV6:
		return YGR_TYPE_ADDRESS;
	default:
		return YGR_TYPE_NONE;
	}
}

static bool item_fits(enum ygr_policy_type type, const struct ygr_policy_item *item)
{
	static const uint64_t most[YGR_TYPES] = {[YGR_TYPE_USER] = UINT32_MAX - 1,
						 [YGR_TYPE_GROUP] = UINT32_MAX - 1,
						 [YGR_TYPE_PORT] = 65535,
						 [YGR_TYPE_PROTOCOL] = 255,
						 [YGR_TYPE_CAPABILITY] = 63};
	switch (item->kind) {
	case YGR_ITEM_EXACT:
		return is_path(type) || type == YGR_TYPE_UNIX || type == YGR_TYPE_CGROUP;
	case YGR_ITEM_UNDER:
		return is_path(type) || type == YGR_TYPE_UNIX;
	case YGR_ITEM_GLOB:
		return type == YGR_TYPE_FILE;
	case YGR_ITEM_IPV4:
	case YGR_ITEM_IPV6:
		return type == YGR_TYPE_ADDRESS;
	case YGR_ITEM_RANGE:
		return is_numeric(type) && item->high <= most[type];
	case YGR_ITEM_WORD:
		return false;
	}
	return false;
}

static bool unknown_name(struct ygr_policy_scope_names *names, enum ygr_policy_type type,
			 const struct ygr_policy_item *item)
{
	if (ygr_policy_errors_full(names->diagnostics))
		return false;
	const char *near = ygr_nearest(item->text, names->names);
	if (!near && type == YGR_TYPE_CAPABILITY)
		near = ygr_nearest(item->text, ygr_policy_capability_names());
	ygr_policy_error(names->diagnostics, item->place, "nothing is called \"%s\"", item->text);
	if (near)
		ygr_policy_hint(names->diagnostics, "did you mean \"%s\"?", near);
	else if (type == YGR_TYPE_USER || type == YGR_TYPE_GROUP)
		ygr_policy_hint(names->diagnostics, "users and groups are numbers, or root");
	else
		ygr_policy_hint(names->diagnostics, "paths are written in \"...\"; names are made with let");
	return false;
}

static bool mismatch(struct ygr_policy_scope_names *names, enum ygr_policy_type type,
		     const struct ygr_policy_item *item, enum ygr_policy_type found)
{
	if (item->kind == YGR_ITEM_RANGE && is_numeric(type))
		ygr_policy_error(names->diagnostics, item->place, "there is no such %s",
				 ygr_policy_type_name(type));
	else if (item->kind == YGR_ITEM_RANGE)
		ygr_policy_error(names->diagnostics, item->place,
				 "a number says nothing here: is it a user, a group or a port?");
	else if (item->kind == YGR_ITEM_GLOB)
		ygr_policy_error(names->diagnostics, item->place,
				 "a glob is for files, this is a set of type %s",
				 ygr_policy_type_name(type));
	else
		ygr_policy_error(names->diagnostics, item->place,
				 "this is of type %s, and the set of type %s", ygr_policy_type_name(found),
				 ygr_policy_type_name(type));
	if (item->kind == YGR_ITEM_RANGE && !is_numeric(type))
		ygr_policy_hint(names->diagnostics, "write for instance: port 443");
	return false;
}

struct members {
	struct ygr_policy_item **items;
	size_t count, room;
};

static bool add_members(struct ygr_policy_scope_names *names, struct members *members,
			struct ygr_policy_item **items, size_t count, struct ygr_policy_place place)
{
	if (members->count + count > YGR_POLICY_ITEMS_MAX) {
		ygr_policy_error(names->diagnostics, place, "a set has at most %d members",
				 YGR_POLICY_ITEMS_MAX);
		return false;
	}
	if (members->count + count > members->room) {
		size_t room = (members->count + count) * 2;
		struct ygr_policy_item **more = reallocarray(members->items, room, sizeof(*more));
		if (!more) {
			ygr_policy_error(names->diagnostics, place, "out of memory");
			return false;
		}
		members->items = more;
		members->room = room;
	}
	memcpy(members->items + members->count, items, count * sizeof(*items));
	members->count += count;
	return true;
}

static bool add_item(struct ygr_policy_scope_names *names, struct ygr_policy_value *value,
		     struct ygr_policy_item *item, struct members *members)
{
	enum ygr_policy_type found = type_of_item(item->kind);
	struct ygr_policy_let *let =
	    item->kind == YGR_ITEM_WORD ? ygr_policy_find_let(names, item->text) : NULL;

	if (let) {
		if (!ygr_policy_resolve_let(names, let, item->place))
			return false;
		found = let->value->type;
	} else if (item->kind == YGR_ITEM_WORD && !known_word(value->type, item)) {
		return unknown_name(names, value->type, item);
	}
	if (value->type == YGR_TYPE_NONE)
		value->type = found;
	if (!let) {
		if (!item_fits(value->type, item))
			return mismatch(names, value->type, item, found);
		return add_members(names, members, &item, 1, item->place);
	}
	if (found != value->type && !(is_path(found) && is_path(value->type)))
		return mismatch(names, value->type, item, found);
	for (size_t i = 0; i < let->value->flat_count; i++)
		if (!item_fits(value->type, let->value->flat[i]))
			return mismatch(names, value->type, let->value->flat[i], found);
	return add_members(names, members, let->value->flat, let->value->flat_count, item->place);
}

int ygr_policy_compare_items(const struct ygr_policy_item *a, const struct ygr_policy_item *b)
{
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->kind == YGR_ITEM_RANGE) {
		if (a->low != b->low)
			return a->low < b->low ? -1 : 1;
		return a->high < b->high ? -1 : a->high > b->high;
	}
	if (a->kind == YGR_ITEM_IPV4 || a->kind == YGR_ITEM_IPV6) {
		int order = memcmp(a->address, b->address, sizeof(a->address));
		if (order != 0)
			return order < 0 ? -1 : 1;
		return a->prefix < b->prefix ? -1 : a->prefix > b->prefix;
	}
	int order = strcmp(a->text, b->text);
	return order < 0 ? -1 : order > 0;
}

static int compare(const void *a, const void *b)
{
	return ygr_policy_compare_items(*(struct ygr_policy_item *const *)a,
					*(struct ygr_policy_item *const *)b);
}

/* Does B, which is not before A in the order, add nothing? Ranges that touch become one. */
static bool swallow(struct ygr_policy_scope_names *names, struct ygr_policy_item **a,
		    const struct ygr_policy_item *b)
{
	if ((*a)->kind != YGR_ITEM_RANGE || b->kind != YGR_ITEM_RANGE)
		return ygr_policy_compare_items(*a, b) == 0;
	if (b->low > (*a)->high + 1)
		return false;
	if (b->high > (*a)->high) {
		/* The item may be part of another set, too. */
		struct ygr_policy_item *wider = ygr_policy_arena_take(names->arena, sizeof(*wider));
		if (!wider)
			return false;
		*wider = **a;
		wider->high = b->high;
		*a = wider;
	}
	return true;
}

static bool settle(struct ygr_policy_scope_names *names, struct ygr_policy_value *value,
		   struct members *members)
{
	size_t kept = 0;
	qsort(members->items, members->count, sizeof(members->items[0]), compare);
	for (size_t i = 0; i < members->count; i++)
		if (kept == 0 || !swallow(names, &members->items[kept - 1], members->items[i]))
			members->items[kept++] = members->items[i];
	value->flat = ygr_policy_arena_take(names->arena, kept * sizeof(members->items[0]));
	if (!value->flat)
		return false;
	memcpy(value->flat, members->items, kept * sizeof(members->items[0]));
	value->flat_count = kept;
	return true;
}

bool ygr_policy_resolve(struct ygr_policy_scope_names *names, struct ygr_policy_value *value)
{
	struct members members = {0};
	bool good = ygr_policy_arena_failed(names->arena) == 0;

	for (struct ygr_policy_item *item = value->items; item && good; item = item->next)
		good = add_item(names, value, item, &members);
	good = good && settle(names, value, &members);
	free(members.items);
	return good;
}

bool ygr_policy_resolve_let(struct ygr_policy_scope_names *names, struct ygr_policy_let *let,
			    struct ygr_policy_place from)
{
	let->used = true;
	switch (let->state) {
	case YGR_LET_DONE:
		return true;
	case YGR_LET_BROKEN:
		return false; /* said before */
	case YGR_LET_OPEN:
		ygr_policy_error(names->diagnostics, from, "\"%s\" is made of itself", let->name);
		return false;
	case YGR_LET_NEW:
		break;
	}
	let->state = YGR_LET_OPEN;
	bool good = false;
	if (names->depth >= YGR_POLICY_LET_DEPTH_MAX) {
		ygr_policy_error(names->diagnostics, from,
				 "names that stand for names go deeper than %d levels",
				 YGR_POLICY_LET_DEPTH_MAX);
	} else {
		names->depth++;
		good = ygr_policy_resolve(names, let->value);
		names->depth--;
	}
	let->state = good ? YGR_LET_DONE : YGR_LET_BROKEN;
	return good;
}
