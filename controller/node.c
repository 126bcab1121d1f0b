/* See node.h. A sorted array: nodes come and go rarely. */
#include "controller/node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void ygr_nodes_deinit(struct ygr_nodes *nodes)
{
	for (size_t i = 0; i < nodes->count; i++) {
		free(nodes->items[i]->name);
		free(nodes->items[i]->renewed);
		free(nodes->items[i]);
	}
	free(nodes->items);
	*nodes = (struct ygr_nodes){0};
}

/* Where NAME is, or would be. */
static size_t place(const struct ygr_nodes *nodes, const char *name)
{
	size_t low = 0, high = nodes->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (strcmp(nodes->items[middle]->name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct ygr_node *ygr_nodes_get(struct ygr_nodes *nodes, const char *name, int64_t now)
{
	size_t at = place(nodes, name);

	if (at < nodes->count && !strcmp(nodes->items[at]->name, name))
		return nodes->items[at];
	if (nodes->count == YGR_NODES_MAX)
		return NULL;
	if (nodes->count == nodes->capacity) {
		size_t capacity = nodes->capacity ? nodes->capacity * 2 : 16;
		struct ygr_node **grown = reallocarray(nodes->items, capacity, sizeof(*grown));
		if (!grown)
			return NULL;
		nodes->items = grown;
		nodes->capacity = capacity;
	}
	struct ygr_node *node = calloc(1, sizeof(*node));
	char *copy = strdup(name);
	if (!node || !copy) {
		free(node);
		free(copy);
		return NULL;
	}
	*node = (struct ygr_node){.name = copy, .seen = now, .seconds = YGR_NODE_SECONDS_MAX};
	memmove(&nodes->items[at + 1], &nodes->items[at], (nodes->count - at) * sizeof(*nodes->items));
	nodes->items[at] = node;
	nodes->count++;
	return node;
}

static const char *node_of(const char *lease)
{
	size_t len = strlen(YGR_NODE_LEASE_PREFIX);

	return lease && !strncmp(lease, YGR_NODE_LEASE_PREFIX, len) && lease[len] ? lease + len : NULL;
}

int ygr_nodes_saw(struct ygr_nodes *nodes, const json_t *lease, int64_t now)
{
	const json_t *spec = json_object_get(lease, "spec");
	const char *name =
	    node_of(json_string_value(json_object_get(json_object_get(lease, "metadata"), "name")));
	const char *renewed = json_string_value(json_object_get(spec, "renewTime"));
	json_int_t seconds = json_integer_value(json_object_get(spec, "leaseDurationSeconds"));

	if (!name)
		return 0;
	struct ygr_node *node = ygr_nodes_get(nodes, name, now);
	if (!node)
		return -ENOMEM;
	node->seconds = seconds < YGR_NODE_SECONDS_MIN   ? YGR_NODE_SECONDS_MIN
			: seconds > YGR_NODE_SECONDS_MAX ? YGR_NODE_SECONDS_MAX
							 : (unsigned)seconds;
	if (!renewed)
		renewed = "";
	if (node->renewed && !strcmp(node->renewed, renewed))
		return 0;
	char *copy = strdup(renewed);
	if (!copy)
		return -ENOMEM;
	free(node->renewed);
	node->renewed = copy;
	node->seen = now;
	return 0;
}

void ygr_nodes_lost(struct ygr_nodes *nodes, const char *lease, int64_t now)
{
	const char *name = node_of(lease);
	struct ygr_node *node = name ? ygr_nodes_get(nodes, name, now) : NULL;

	if (!node)
		return;
	free(node->renewed);
	node->renewed = NULL;
}

void ygr_nodes_blind(struct ygr_nodes *nodes, int64_t now)
{
	for (size_t i = 0; i < nodes->count; i++)
		nodes->items[i]->seen = now;
}

int64_t ygr_node_dead_for(const struct ygr_node *node, int64_t now)
{
	return now - node->seen - (int64_t)node->seconds;
}
