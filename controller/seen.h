/*
 * A VMGuest as its agent describes it, reduced to what summaries need: which node, which labels, and how every monitor
 * and policy fares there. Read leniently: the schema was the API server's to hold, and what an agent of another version
 * writes must not hide the rest.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/api/meta.h"

#define YGR_SEEN_FAILURES_MAX 4   /* kept of one monitor on one guest */
#define YGR_SEEN_REPORTS_MAX  256 /* monitors, and policies, of one guest */

/* What does not work: an application, or a rule. All may be NULL but `what`. */
struct ygr_seen_failure {
	char *what, *reason, *message;
};

enum ygr_seen_state {
	YGR_SEEN_PENDING,
	YGR_SEEN_RUNNING, /* of a monitor: every application runs or has completed */
	YGR_SEEN_AUDITING,
	YGR_SEEN_ENFORCING,
	YGR_SEEN_FAILED
};

/* One monitor or policy on one guest. */
struct ygr_seen_report {
	char *namespace_; /* "" of a cluster-wide one */
	char *name;
	int64_t generation; /* 0: not told */
	enum ygr_seen_state state;
	struct ygr_seen_failure *failures;
	size_t failure_count;
};

struct ygr_seen {
	char *namespace_, *name, *node, *version; /* version: metadata.resourceVersion */
	bool unknown;                             /* phase is Unknown */
	bool acting; /* for whoever keeps it: something is being done about it */
	struct ygr_labels labels;
	struct ygr_seen_report *monitors, *policies;
	size_t monitor_count, policy_count;
};

/* -EINVAL for what is no VMGuest with a name and a node, -ENOMEM. */
int ygr_seen_decode(const json_t *object, struct ygr_seen **ret);
struct ygr_seen *ygr_seen_free(struct ygr_seen *seen);

/* What is told of NAMESPACE/NAME, or NULL. */
const struct ygr_seen_report *ygr_seen_monitor(const struct ygr_seen *seen, const char *namespace_,
					       const char *name);
const struct ygr_seen_report *ygr_seen_policy(const struct ygr_seen *seen, const char *namespace_,
					      const char *name);
