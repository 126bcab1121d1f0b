/*
 * The program that stands in a slot of a frame: it finds the event, asks the decision of each policy that has
 * one, reports what they say, and answers with the first refusal. It is put together from the instructions of
 * the bundles, whose decisions become its functions.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "guest-image/policy/loader.h"
#include "lib/policy/bundle.h"

#define YGR_POLICIES_MAX 16 /* of one VM */

/* A policy as the dispatcher needs it. */
struct ygr_ruling {
	const struct ygr_bundle *bundle;
	int maps[YGR_MAPS];                        /* -1: not used */
	uint8_t lineages[YGR_POLICY_LINEAGES_MAX]; /* mark of each set after `descendants of` */
};

/* Loads the program of FRAME: a descriptor. The error has the end of the verifier's log. */
int ygr_dispatch_load(const struct ygr_loader *loader, unsigned frame, const struct ygr_ruling *rulings,
		      size_t count, struct ygr_error *error);
