/*
 * Sets of address prefixes and port ranges of several blocks, as entries of a longest-prefix-match map: since such
 * a map gives only the longest match, each entry has the bits of all prefixes that contain it.
 */
#pragma once

#include "agent/enforce/plan.h"

#define YGR_ENFORCE_BLOCKS_MAX  64     /* different blocks of one VM: one bit each */
#define YGR_ENFORCE_ENTRIES_MAX 131072 /* of one VM and direction */

struct ygr_enforce_entry {
	uint8_t family; /* 4 or 6; ports: 0 */
	uint8_t bits;
	uint8_t key[16]; /* address, or big-endian port */
	uint64_t blocks;
};

struct ygr_enforce_entries {
	struct ygr_enforce_entry *items;
	size_t count, room;
};

/* Adds one prefix (its host bits are cleared), or what a range of ports takes: 0, -E2BIG, -ENOMEM. */
int ygr_enforce_entries_add(struct ygr_enforce_entries *entries, uint8_t family, unsigned bits,
			    const uint8_t key[16], unsigned block);
int ygr_enforce_entries_add_ports(struct ygr_enforce_entries *entries, uint16_t low, uint16_t high,
				  unsigned block);
/* Sorts, merges equal ones and passes bits on to what is contained. Then items are complete and in order. */
void ygr_enforce_entries_settle(struct ygr_enforce_entries *entries);
/* Is this prefix one of the settled entries? */
bool ygr_enforce_entries_have(const struct ygr_enforce_entries *entries, uint8_t family, unsigned bits,
			      const uint8_t key[16]);
void ygr_enforce_entries_deinit(struct ygr_enforce_entries *entries);
