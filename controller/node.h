/*
 * Nodes, known by the Lease that each agent renews (NAME_PREFIX and the node's name). A node is dead when its Lease has
 * not been seen to change for as long as it says, on our own clock: clocks of machines differ. Nodes that have VMGuests
 * and no Lease get the same time from when they are first heard of. While we cannot see, nobody dies.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define YGR_NODE_LEASE_PREFIX "yagura-node-"
#define YGR_NODES_MAX         20000
#define YGR_NODE_SECONDS_MIN  20 /* whatever a Lease says */
#define YGR_NODE_SECONDS_MAX  300

struct ygr_node {
	char *name;
	char *renewed;    /* spec.renewTime as it was written; NULL: no Lease */
	int64_t seen;     /* monotonic seconds: when that last changed */
	unsigned seconds; /* how long it may stay so */
};

struct ygr_nodes {
	struct ygr_node **items; /* by name */
	size_t count, capacity;
};

void ygr_nodes_deinit(struct ygr_nodes *nodes);

/* The node called NAME, made when it is not known. NULL without memory or above YGR_NODES_MAX. */
struct ygr_node *ygr_nodes_get(struct ygr_nodes *nodes, const char *name, int64_t now);
/* A Lease as the API server has it; those of others are none of ours. 0 or -ENOMEM. */
int ygr_nodes_saw(struct ygr_nodes *nodes, const json_t *lease, int64_t now);
/* The Lease called LEASE is gone: its node has as long as before. */
void ygr_nodes_lost(struct ygr_nodes *nodes, const char *lease, int64_t now);
/* We were blind until NOW: everybody gets the whole time. */
void ygr_nodes_blind(struct ygr_nodes *nodes, int64_t now);

/* For how many seconds NODE has been dead; negative: it is not. */
int64_t ygr_node_dead_for(const struct ygr_node *node, int64_t now);
