/*
 * The inodes that the kernel knows: a path for each, looked up by number and by path, counted as the kernel
 * counts its lookups. Numbers are indices into a table, so a wrong one is only an unknown one.
 */
#pragma once

#include <stdint.h>

#define YGR_GUESTFS_NODES_MAX 65536u
#define YGR_GUESTFS_PATHS_MAX (8u << 20) /* bytes of all paths together */
#define YGR_GUESTFS_PATH_MAX  1024u      /* of one, with its NUL */

struct ygr_guestfs_node {
	char *path;
	uint64_t lookups; /* 0: free */
	uint32_t next;    /* in the chain of its hash, or of free slots; 0 ends it */
};

struct ygr_guestfs_nodes {
	struct ygr_guestfs_node *slots; /* slots[1] is the root; slots[0] stays unused */
	uint32_t *buckets;
	uint32_t capacity, used, free_chain;
	uint64_t path_bytes;
};

/* Makes the table with the root as number 1: 0 or -ENOMEM. */
int ygr_guestfs_nodes_init(struct ygr_guestfs_nodes *nodes);
void ygr_guestfs_nodes_deinit(struct ygr_guestfs_nodes *nodes);

/* The path of INO, valid until it is forgotten; NULL for an unknown number. */
const char *ygr_guestfs_nodes_path(const struct ygr_guestfs_nodes *nodes, uint64_t ino);
/* Counts one lookup of PATH: its number, 0 when a bound is reached or memory is out. */
uint64_t ygr_guestfs_nodes_get(struct ygr_guestfs_nodes *nodes, const char *path);
/* Takes back COUNT lookups; the node goes with the last one. */
void ygr_guestfs_nodes_forget(struct ygr_guestfs_nodes *nodes, uint64_t ino, uint64_t count);
