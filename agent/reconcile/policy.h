/*
 * VMPolicies: compiled on workers, signed for each VM, loaded into guests, and what follows from violations. The
 * inside of the reconciler; policies.c is the beginning, the other policy-*.c have a noun each.
 */
#pragma once

#include "agent/enforce/enforce.h"
#include "agent/reconcile/state.h"
#include "agent/telebpf/policy-link.h"
#include "lib/api/vm-policy.h"
#include "lib/policy/code.h"
#include "lib/policy/policy.h"

#define YGR_POLICY_EVENTS_PER_SECOND 1000 /* violations of one guest that become events; more are counted */

/* One `policy` block of an object, as it is compiled. */
struct ygr_policy_part {
	const struct ygr_policy *tree; /* of the unit */
	char *owner;                   /* "namespace/object/policy": whose plan it is */
	uint8_t uid[16];
	char uid_text[37];
	char digest[72]; /* "sha256:HEX" of the bundle without VM, generation and time */
	struct ygr_policy_code *code;
	struct ygr_enforce_plan *plan;
	bool enforces; /* a rule of mode Enforce forbids something */
};

/* What came of a text with its modes; made on a worker, then not changed. Loop thread counts references. */
struct ygr_compiled {
	unsigned references;
	struct ygr_policy_unit *unit;
	struct ygr_policy_part *parts;
	size_t part_count;
	bool good;
	char message[YGR_ERROR_MESSAGE_MAX]; /* when it is not good */
	/* Of the object when it was compiled. */
	int64_t generation;
	enum ygr_policy_mode mode;
	enum ygr_on_unsupported on_unsupported;
	struct ygr_rule_mode *modes;
	size_t mode_count;
};
enum ygr_policy_mode ygr_compiled_mode(const struct ygr_compiled *compiled, const char *rule);
struct ygr_compiled *ygr_compiled_unref(struct ygr_compiled *compiled); /* NULL is allowed */

struct ygr_policies;

/* A VMPolicy. */
struct ygr_policy_wanted {
	struct ygr_policies *policies;
	char *namespace_, *name;
	const struct ygr_vm_policy *policy; /* NULL: gone, or it never was good */
	char *problem;                      /* with its newest text, or NULL */
	struct ygr_compiled *newest;        /* for diagnostics */
	struct ygr_compiled *good;          /* what is in force */
	bool compiling;
	struct ygr_condition accepted, ready, degraded;
	int64_t last_violation, shown_violation; /* s since the epoch */
};

enum ygr_hold_state { YGR_HOLD_PENDING, YGR_HOLD_LOADING, YGR_HOLD_HELD, YGR_HOLD_FAILED, YGR_HOLD_REFUSED };

/* One part on one guest. */
struct ygr_hold {
	struct ygr_hold *next;
	struct ygr_policy_wanted *object;
	struct ygr_compiled *compiled; /* a reference */
	const struct ygr_policy_part *part;
	uint64_t generation; /* of its bundle */
	enum ygr_hold_state state;
	json_t *said; /* the guest's account of it, or NULL */
	char reason[64], message[YGR_ERROR_MESSAGE_MAX];
	uint64_t next_ms;
	unsigned failures;
	bool needed;
};

/* A guest's policies. */
struct ygr_policing {
	struct ygr_observed *guest;
	struct ygr_policy_link *link;
	struct ygr_hold *holds;
	json_t *status;   /* POLICY_STATUS of this connection, or NULL */
	bool signing;     /* a bundle is on a worker */
	char waiting[37]; /* uid of what was loaded last, until its answer */
	bool removing;
	uint64_t lost;           /* as the guest counts */
	uint64_t second, events; /* of the present second */
	uint64_t sequence;
	struct ygr_condition enforceable;
};

struct ygr_policies {
	struct ygr_reconcile *reconcile;
	struct ygr_policy_wanted **objects;
	size_t count;
	bool synced;         /* all objects are known: what else there is may go */
	json_t *generations; /* {uid: {digest, generation}}, kept in a file */
	struct ygr_metric *holds, *violations, *dropped, *actions, *lost, *compiles, *writes, *packets;
};

/* policies.c */
int ygr_policies_new(struct ygr_reconcile *reconcile, struct ygr_policies **ret);
struct ygr_policies *ygr_policies_free(struct ygr_policies *policies);
void ygr_policies_changed(struct ygr_policies *policies, const struct ygr_vm_policy *policy);
void ygr_policies_gone(struct ygr_policies *policies, const char *namespace_, const char *name);
void ygr_policies_problem(struct ygr_policies *policies, const struct ygr_manifest_problem *problem);
void ygr_policies_clear_problems(struct ygr_policies *policies);
/* Part of a pass. */
void ygr_policies_pass(struct ygr_policies *policies, uint64_t *next_ms);
/* The generation for a bundle with this content: the one that it had, or a new one, above FLOOR. */
uint64_t ygr_policies_generation(struct ygr_policies *policies, const char *uid, const char *digest,
				 uint64_t floor);
void ygr_policies_gauges(struct ygr_policies *policies);

/* policy-compile.c */
/* Compiles OBJECT's policy on a worker; the result is put in place on the loop and a pass follows. */
void ygr_policy_compile(struct ygr_policy_wanted *object);
/*
 * Makes and signs the bundle of HOLD, or the one that takes UID away (HOLD NULL), on a worker, and loads it when the
 * guest is still connected.
 */
int ygr_policy_sign(struct ygr_policing *policing, const struct ygr_hold *hold, const char *uid,
		    uint64_t generation);

/* policy-guest.c */
int ygr_policing_new(struct ygr_observed *guest, struct ygr_policing **ret);
struct ygr_policing *ygr_policing_free(struct ygr_policing *policing);
/* Opens or closes the channel, brings holds in line with what is wanted, and goes on with loading. */
void ygr_policing_pass(struct ygr_policing *policing, uint64_t *next_ms);
/* The bundle is signed: ERROR tells when it could not be. */
void ygr_policing_signed(struct ygr_policing *policing, const void *bundle, size_t len,
			 const uint8_t signature[64], const struct ygr_error *error);
struct ygr_hold *ygr_policing_find(struct ygr_policing *policing, const char *uid);
void ygr_policing_forget(struct ygr_policy_wanted *object, const struct ygr_policing *policing);

/* policy-violation.c */
void ygr_policing_violation(struct ygr_policing *policing, const struct ygr_violation *violation);
/* For struct ygr_enforce_options; USER is the reconciler. */
void ygr_policies_enforce_event(void *user, const struct ygr_enforce_event *event);

/* policy-status.c */
json_t *ygr_policies_documents(struct ygr_policies *policies, int64_t now);
json_t *ygr_policing_policies(const struct ygr_policing *policing);       /* VMGuest status.policies */
json_t *ygr_policing_actions(const struct ygr_policing *policing);        /* VMGuest status.hostActions */
void ygr_policing_conditions(struct ygr_policing *policing, int64_t now); /* PolicyEnforceable */
/* Rules of HOLD that are not held as asked: [{rule, reason, message, remedy}]. */
json_t *ygr_hold_unsupported(const struct ygr_policing *policing, const struct ygr_hold *hold);
