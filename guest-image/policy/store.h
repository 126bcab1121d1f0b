/*
 * Bundles on disk, and the highest generation seen of every policy: what makes a boot enforce again, and a replay
 * fail. One file for each policy, UID.bundle, replaced in one step; removed policies leave theirs without content.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/policy/bundle.h"
#include "lib/wire/message.h"

#define YGR_STORE_MAX 256 /* policies that were ever here, removed ones included */

struct ygr_stored {
	uint8_t policy[16];
	uint64_t generation; /* the highest seen */
	struct ygr_policy_load load;
	uint8_t *data; /* the bundle; owned */
	struct ygr_bundle *bundle;
	int64_t accepted; /* seconds since the epoch */
};

struct ygr_store {
	char directory[128];
	struct ygr_stored *stored;
	size_t count;
};

/* Reads all of DIRECTORY (made if missing). A file that is no good is passed over with a line in the log. ROOT: the
 * owner's key; signatures are checked again. */
int ygr_store_open(struct ygr_store *store, const char *directory, const uint8_t root[32],
		   struct ygr_error *error);
void ygr_store_close(struct ygr_store *store);

/* NULL: never seen. */
struct ygr_stored *ygr_store_find(struct ygr_store *store, const uint8_t policy[16]);
/* Puts ENTRY (contents taken over on success) on disk, durably, in place of what is there of the same policy. */
int ygr_store_put(struct ygr_store *store, struct ygr_stored *entry, struct ygr_error *error);
