/* All policies of this VM, made into one generation of decisions and put in force at one moment. */
#pragma once

#include "guest-image/policy/dispatch.h"
#include "guest-image/policy/loader.h"

#define YGR_MISSING_MAX 32

/* Names that led nowhere. */
struct ygr_missing {
	char *names[YGR_MISSING_MAX];
	unsigned count;
};
void ygr_missing_free(struct ygr_missing *missing);

/*
 * Prepares a slot with COUNT BUNDLES (0: nothing is forbidden). Nothing changes for the guest before
 * ygr_generation_commit(). -EMFILE beyond YGR_POLICIES_MAX; the kernel's error with a sentence. MISSING has one
 * entry for each bundle.
 */
struct ygr_generation;
int ygr_generation_prepare(struct ygr_loader *loader, struct ygr_bundle *const *bundles, size_t count,
			   struct ygr_missing *missing, struct ygr_generation **ret_generation,
			   struct ygr_error *error);
/* Puts it in force; CONTENT is what control->content says from then on. */
void ygr_generation_commit(struct ygr_loader *loader, struct ygr_generation *generation, uint64_t content);
struct ygr_generation *ygr_generation_free(struct ygr_generation *generation);

/* realtime - monotonic, for conditions on the time of day. */
void ygr_generation_set_clock(struct ygr_loader *loader);
