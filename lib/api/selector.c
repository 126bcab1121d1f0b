/* See selector.h. */
#include "lib/api/selector.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool has_value(const struct ygr_selector_expression *expression, const char *value)
{
	for (size_t i = 0; i < expression->value_count; i++)
		if (!strcmp(expression->values[i], value))
			return true;
	return false;
}

static bool holds(const struct ygr_selector_expression *expression, const struct ygr_labels *labels)
{
	const char *value = ygr_labels_get(labels, expression->key);

	switch (expression->operator_) {
	case YGR_SELECT_IN:
		return value && has_value(expression, value);
	case YGR_SELECT_NOT_IN:
		return !value || !has_value(expression, value);
	case YGR_SELECT_EXISTS:
		return value;
	case YGR_SELECT_DOES_NOT_EXIST:
		return !value;
	}
	return false;
}

bool ygr_selector_matches(const struct ygr_selector *selector, const struct ygr_labels *labels)
{
	for (size_t i = 0; i < selector->labels.count; i++) {
		const char *value = ygr_labels_get(labels, selector->labels.items[i].key);
		if (!value || strcmp(value, selector->labels.items[i].value) != 0)
			return false;
	}
	for (size_t i = 0; i < selector->expression_count; i++)
		if (!holds(&selector->expressions[i], labels))
			return false;
	return true;
}

static int decode_values(const struct ygr_field *field, struct ygr_selector_expression *expression,
			 struct ygr_error *error)
{
	bool set = expression->operator_ == YGR_SELECT_IN || expression->operator_ == YGR_SELECT_NOT_IN;
	struct ygr_field values;
	int r = 0;

	if (ygr_field_member(field, "values", &values))
		r = ygr_field_strings(&values, YGR_SELECTOR_VALUES_MAX, YGR_API_LABEL_MAX,
				      &expression->values, &expression->value_count, error);
	if (r < 0)
		return r;
	if (set && !expression->value_count)
		return ygr_field_error(field, error, "\"values\" is required with In and NotIn");
	if (!set && expression->value_count)
		return ygr_field_error(&values, error, "expected no values with Exists and DoesNotExist");
	for (size_t i = 0; i < expression->value_count; i++) {
		struct ygr_field item = ygr_field_item(&values, i);
		if (!ygr_label_value_valid(expression->values[i]))
			return ygr_field_expected(&item, error, "a label value");
	}
	return 0;
}

static int decode_expression(const struct ygr_field *field, struct ygr_selector_expression *expression,
			     struct ygr_error *error)
{
	static const char *const known[] = {"key", "operator", "values", NULL};
	static const char *const operators[] = {"In", "NotIn", "Exists", "DoesNotExist", NULL};
	struct ygr_field member;
	int operator_ = 0, r = ygr_field_object(field, known, error);

	if (r == 0)
		r = ygr_field_require(field, "key", &member, error);
	if (r == 0)
		r = ygr_field_dup(&member, 1, YGR_YAML_KEY_MAX, &expression->key, error);
	if (r < 0)
		return r;
	if (!ygr_label_key_valid(expression->key))
		return ygr_field_expected(&member, error, "a label key such as app or example.org/app");
	r = ygr_field_require(field, "operator", &member, error);
	if (r == 0)
		r = ygr_field_enum(&member, operators, &operator_, error);
	expression->operator_ = (enum ygr_selector_operator)operator_;
	return r < 0 ? r : decode_values(field, expression, error);
}

static int decode_expressions(const struct ygr_field *field, struct ygr_selector *selector,
			      struct ygr_error *error)
{
	size_t count;
	int r = ygr_field_array(field, 0, YGR_SELECTOR_EXPRESSIONS_MAX, &count, error);

	if (r < 0 || !count)
		return r;
	selector->expressions = calloc(count, sizeof(*selector->expressions));
	if (!selector->expressions)
		return ygr_error_set(error, ENOMEM, "out of memory");
	selector->expression_count = count;
	for (size_t i = 0; i < count && r == 0; i++) {
		struct ygr_field item = ygr_field_item(field, i);
		r = decode_expression(&item, &selector->expressions[i], error);
	}
	return r;
}

int ygr_selector_decode(const struct ygr_field *field, struct ygr_selector *ret, struct ygr_error *error)
{
	static const char *const known[] = {"matchLabels", "matchExpressions", NULL};
	struct ygr_selector selector = {0};
	struct ygr_field member;
	int r = ygr_field_object(field, known, error);

	if (r == 0 && ygr_field_member(field, "matchLabels", &member))
		r = ygr_labels_decode(&member, &selector.labels, error);
	if (r == 0 && ygr_field_member(field, "matchExpressions", &member))
		r = decode_expressions(&member, &selector, error);
	if (r < 0) {
		ygr_selector_deinit(&selector);
		return r;
	}
	*ret = selector;
	return 0;
}

void ygr_selector_deinit(struct ygr_selector *selector)
{
	ygr_labels_deinit(&selector->labels);
	for (size_t i = 0; i < selector->expression_count; i++) {
		free(selector->expressions[i].key);
		ygr_strings_free(selector->expressions[i].values, selector->expressions[i].value_count);
	}
	free(selector->expressions);
	*selector = (struct ygr_selector){0};
}
