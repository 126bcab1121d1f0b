/* A label selector as in Kubernetes: matchLabels and matchExpressions, all of which must hold. */
#pragma once

#include <stdbool.h>

#include "lib/api/meta.h"

#define YGR_SELECTOR_EXPRESSIONS_MAX 32
#define YGR_SELECTOR_VALUES_MAX      64

enum ygr_selector_operator {
	YGR_SELECT_IN,
	YGR_SELECT_NOT_IN,
	YGR_SELECT_EXISTS,
	YGR_SELECT_DOES_NOT_EXIST
};

struct ygr_selector_expression {
	char *key;
	enum ygr_selector_operator operator_;
	char **values;
	size_t value_count;
};

struct ygr_selector {
	struct ygr_labels labels;
	struct ygr_selector_expression *expressions;
	size_t expression_count;
};

/* An empty selector matches everything. As in Kubernetes, NotIn also holds where the label is absent. */
bool ygr_selector_matches(const struct ygr_selector *selector, const struct ygr_labels *labels);

int ygr_selector_decode(const struct ygr_field *field, struct ygr_selector *ret, struct ygr_error *error);
void ygr_selector_deinit(struct ygr_selector *selector);
