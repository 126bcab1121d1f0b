/* Chained hash table over an array that doubles; see node.h. */
#include "agent/telebpf/guestfs/node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096u /* a power of two */
#define FIRST   256u

/* FNV-1a: paths come from a guest, but a chain is never longer than the bound of the table. */
static uint32_t bucket_of(const char *path)
{
	uint32_t hash = 2166136261u;

	for (; *path; path++)
		hash = (hash ^ (uint8_t)*path) * 16777619u;
	return hash & (BUCKETS - 1);
}

int ygr_guestfs_nodes_init(struct ygr_guestfs_nodes *nodes)
{
	*nodes = (struct ygr_guestfs_nodes){.capacity = FIRST, .used = 1};
	nodes->slots = calloc(FIRST, sizeof(*nodes->slots));
	nodes->buckets = calloc(BUCKETS, sizeof(*nodes->buckets));
	if (!nodes->slots || !nodes->buckets || ygr_guestfs_nodes_get(nodes, "/") != 1) {
		ygr_guestfs_nodes_deinit(nodes);
		return -ENOMEM;
	}
	return 0;
}

void ygr_guestfs_nodes_deinit(struct ygr_guestfs_nodes *nodes)
{
	for (uint32_t i = 1; nodes->slots && i < nodes->used; i++)
		free(nodes->slots[i].path);
	free(nodes->slots);
	free(nodes->buckets);
	*nodes = (struct ygr_guestfs_nodes){0};
}

const char *ygr_guestfs_nodes_path(const struct ygr_guestfs_nodes *nodes, uint64_t ino)
{
	return ino > 0 && ino < nodes->used && nodes->slots[ino].lookups ? nodes->slots[ino].path : NULL;
}

static uint32_t take_slot(struct ygr_guestfs_nodes *nodes)
{
	uint32_t slot = nodes->free_chain;

	if (slot) {
		nodes->free_chain = nodes->slots[slot].next;
		return slot;
	}
	if (nodes->used == nodes->capacity) {
		uint32_t capacity = nodes->capacity * 2;
		struct ygr_guestfs_node *slots;

		if (capacity > YGR_GUESTFS_NODES_MAX)
			return 0;
		slots = reallocarray(nodes->slots, capacity, sizeof(*slots));
		if (!slots)
			return 0;
		memset(slots + nodes->capacity, 0, (capacity - nodes->capacity) * sizeof(*slots));
		nodes->slots = slots;
		nodes->capacity = capacity;
	}
	return nodes->used++;
}

uint64_t ygr_guestfs_nodes_get(struct ygr_guestfs_nodes *nodes, const char *path)
{
	size_t size = strlen(path) + 1;
	uint32_t bucket = bucket_of(path), slot;
	char *copy;

	for (slot = nodes->buckets[bucket]; slot; slot = nodes->slots[slot].next)
		if (strcmp(nodes->slots[slot].path, path) == 0) {
			nodes->slots[slot].lookups++;
			return slot;
		}
	if (size > YGR_GUESTFS_PATH_MAX || nodes->path_bytes + size > YGR_GUESTFS_PATHS_MAX)
		return 0;
	copy = strdup(path);
	slot = copy ? take_slot(nodes) : 0;
	if (!slot) {
		free(copy);
		return 0;
	}
	nodes->slots[slot] = (struct ygr_guestfs_node){copy, 1, nodes->buckets[bucket]};
	nodes->buckets[bucket] = slot;
	nodes->path_bytes += size;
	return slot;
}

void ygr_guestfs_nodes_forget(struct ygr_guestfs_nodes *nodes, uint64_t ino, uint64_t count)
{
	struct ygr_guestfs_node *node;
	uint32_t *link;

	/* The root stays: the kernel never looked it up, whatever it says. */
	if (ino <= 1 || !ygr_guestfs_nodes_path(nodes, ino))
		return;
	node = &nodes->slots[ino];
	if (count < node->lookups) {
		node->lookups -= count;
		return;
	}
	for (link = &nodes->buckets[bucket_of(node->path)]; *link != ino; link = &nodes->slots[*link].next)
		;
	*link = node->next;
	nodes->path_bytes -= strlen(node->path) + 1;
	free(node->path);
	*node = (struct ygr_guestfs_node){.next = nodes->free_chain};
	nodes->free_chain = (uint32_t)ino;
}
