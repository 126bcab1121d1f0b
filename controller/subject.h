/*
 * What people wrote and are told the state of: a VMMonitor or a VMPolicy, namespaced or cluster-wide, with the status
 * that the API server has of it; and the status that it should have.
 *
 *     ygr_subject_decode(kind, object, &subject)
 *     ygr_subject_begin(subject); for each guest: ygr_subject_count(subject, guest, labels of its namespace)
 *     status = ygr_subject_status(subject, now)       NULL when it is what the server has
 */
#pragma once

#include "controller/seen.h"
#include "lib/api/condition.h"
#include "lib/api/monitor.h"
#include "lib/api/vm-policy.h"

#define YGR_SUBJECT_FAILURES_MAX    10
#define YGR_SUBJECT_DIAGNOSTICS_MAX 16

enum ygr_subject_kind {
	YGR_SUBJECT_MONITOR,
	YGR_SUBJECT_CLUSTER_MONITOR,
	YGR_SUBJECT_POLICY,
	YGR_SUBJECT_CLUSTER_POLICY,
	YGR_SUBJECT_KINDS
};

struct ygr_subject {
	enum ygr_subject_kind kind;
	char *namespace_; /* "" of a cluster-wide one */
	char *name;
	int64_t generation;
	/* One of them; both NULL when the object cannot be decoded, and then `problem` says why. */
	struct ygr_monitor *monitor;
	struct ygr_vm_policy *policy;
	char *problem;
	json_t *diagnostics; /* of a policy's text: as in status */
	bool broken;         /* the text has errors */

	struct ygr_condition accepted, ready, degraded; /* as the server has them, then as they should be */
	json_t *status;                                 /* as the server has it */

	/* Of the count that was begun last. */
	unsigned matched, good, enforcing, failed, unsupported;
	json_t *failures;

	/* For whoever keeps subjects. */
	bool dirty;      /* to be counted again */
	json_t *pending; /* a status that is to be written, or NULL */
};

/* Never fails for what is in OBJECT, only -ENOMEM, and -EINVAL when it has no name. */
int ygr_subject_decode(enum ygr_subject_kind kind, const json_t *object, struct ygr_subject **ret);
struct ygr_subject *ygr_subject_free(struct ygr_subject *subject);

/* Does it select GUEST? NAMESPACE_LABELS: of the guest's namespace; NULL: not known, selected by no cluster-wide one. */
bool ygr_subject_selects(const struct ygr_subject *subject, const struct ygr_seen *guest,
			 const struct ygr_labels *namespace_labels);

int ygr_subject_begin(struct ygr_subject *subject);
void ygr_subject_count(struct ygr_subject *subject, const struct ygr_seen *guest,
		       const struct ygr_labels *namespace_labels);
/* The status to apply; NULL when the server has it already. *RET_ERROR: -ENOMEM. NOW: seconds since the epoch. */
json_t *ygr_subject_status(struct ygr_subject *subject, int64_t now, int *ret_error);
