/* The policies of this VM as yagura-guest knows them: what is stored, what is in force, what is told. */
#pragma once

#include "guest-image/policy/generation.h"
#include "guest-image/policy/loader.h"
#include "guest-image/policy/store.h"

#define YGR_POLICIES_DIRECTORY "/var/lib/yagura-guest"

struct ygr_policies {
	struct ygr_enforceable enforceable; /* reason "": yes */
	uint8_t root[32];
	uint8_t vm[16];
	bool has_vm;
	bool open;    /* the frames are there */
	bool adopted; /* as another process left them: what is missing is not known */
	struct ygr_loader loader;
	struct ygr_store store;
	struct ygr_missing
	    missing[YGR_POLICIES_MAX]; /* of the bundles in force, in the order of the store */
	int lock;
};

struct ygr_policies_setup {
	const char *directory;    /* of the store */
	const uint8_t *root, *vm; /* VM: NULL where the firmware has none */
	bool allowed;             /* by the owner */
};

/*
 * Reads what is stored. With policies there, brings them in force, or takes up those that already are. Where
 * nothing can be enforced this is no error; enforceable says why.
 */
int ygr_policies_open(struct ygr_policies *policies, const struct ygr_policies_setup *setup,
		      struct ygr_error *error);
void ygr_policies_close(struct ygr_policies *policies);

/* Takes a bundle in: -EKEYREJECTED, -EKEYEXPIRED, -EACCES (another VM), -ESTALE (older than what was seen),
 * -EOPNOTSUPP (not enforceable), -EPROTO, or the kernel's error. Nothing has changed then. */
int ygr_policies_load(struct ygr_policies *policies, const struct ygr_policy_load *load, const void *data,
		      struct ygr_error *error);

/* Looks names up again when some have come that led nowhere, or when it is not known which did. */
int ygr_policies_refresh(struct ygr_policies *policies, struct ygr_error *error);

/* The JSON of POLICY_STATUS, MESSAGE in it; caller frees. NULL without memory. */
char *ygr_policies_status(const struct ygr_policies *policies, const char *message);

/* A verdict as a message. */
struct ygr_violation;
void ygr_policies_violation(struct ygr_policies *policies, const struct ygr_frame_context *record,
			    uint64_t position, struct ygr_violation *ret_violation);
