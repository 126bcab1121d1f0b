/*
 * The answer to an AdmissionReview (admission.k8s.io/v1): what lib/api refuses is denied, with the path of the field;
 * what the language of policies has to say comes as warnings, since an object with a broken policy is taken and tells
 * it in its status. An update that leaves `spec` as it was is let through whatever it is, so that labels can be changed
 * and things deleted that were made before a rule came. Pure: no state, any thread.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "lib/base/error.h"

#define YGR_REVIEW_UID_MAX      128
#define YGR_REVIEW_WARNINGS_MAX 8
#define YGR_REVIEW_WARNING_LEN  250 /* bytes; an API server cuts longer ones */

struct ygr_review {
	json_t *answer;   /* the AdmissionReview to send back; the caller's reference */
	const char *kind; /* what was reviewed, a literal: "VMMonitor" ..., "other" */
	bool allowed;
};

/* TEXT: LEN bytes of JSON as they came. -EINVAL when it is no AdmissionReview, -ENOMEM. */
int ygr_review_answer(const char *text, size_t len, struct ygr_review *ret, struct ygr_error *error);
