/* Label selectors against sets of labels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "lib/api/selector.h"

static bool matches(const char *selector_text, const char *labels_text)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_selector selector;
	struct ygr_labels labels;
	struct ygr_doc **docs;
	size_t n;

	assert_int_equal(ygr_yaml_parse("s", selector_text, strlen(selector_text), &docs, &n, &error), 0);
	struct ygr_field field = ygr_field_root(docs[0]);
	if (ygr_selector_decode(&field, &selector, &error) < 0)
		fail_msg("%s", error.message);
	ygr_docs_free(docs, n);
	assert_int_equal(ygr_yaml_parse("l", labels_text, strlen(labels_text), &docs, &n, &error), 0);
	field = ygr_field_root(docs[0]);
	if (ygr_labels_decode(&field, &labels, &error) < 0)
		fail_msg("%s", error.message);
	ygr_docs_free(docs, n);
	bool result = ygr_selector_matches(&selector, &labels);
	ygr_selector_deinit(&selector);
	ygr_labels_deinit(&labels);
	return result;
}

static void test_matching(void **state)
{
	(void)state;
	assert_true(matches("{}", "{}"));
	assert_true(matches("{}", "{app: web}"));
	assert_true(matches("{matchLabels: {app: web}}", "{app: web, env: prod}"));
	assert_false(matches("{matchLabels: {app: web}}", "{app: db}"));
	assert_false(matches("{matchLabels: {app: web, env: prod}}", "{app: web}"));
	assert_true(
	    matches("{matchExpressions: [{key: env, operator: In, values: [prod, test]}]}", "{env: test}"));
	assert_false(matches("{matchExpressions: [{key: env, operator: In, values: [prod]}]}", "{}"));
	assert_true(matches("{matchExpressions: [{key: env, operator: NotIn, values: [prod]}]}", "{}"));
	assert_false(
	    matches("{matchExpressions: [{key: env, operator: NotIn, values: [prod]}]}", "{env: prod}"));
	assert_true(matches("{matchExpressions: [{key: env, operator: Exists}]}", "{env: ''}"));
	assert_false(matches("{matchExpressions: [{key: env, operator: Exists}]}", "{}"));
	assert_true(matches("{matchExpressions: [{key: env, operator: DoesNotExist}]}", "{}"));
	assert_false(matches("{matchLabels: {app: web}, matchExpressions: [{key: env, operator: Exists}]}",
			     "{app: web}"));
}

static void test_label_words(void **state)
{
	struct ygr_labels labels = {0};
	(void)state;
	assert_int_equal(ygr_labels_set(&labels, "app", "web"), 0);
	assert_int_equal(ygr_labels_set(&labels, "app", "db"), 0);
	assert_int_equal(labels.count, 1);
	assert_string_equal(ygr_labels_get(&labels, "app"), "db");
	assert_int_equal(ygr_labels_set(&labels, "example.org/app", ""), 0);
	assert_int_equal(ygr_labels_set(&labels, "/app", "x"), -EINVAL);
	assert_int_equal(ygr_labels_set(&labels, "Example.org/app", "x"), -EINVAL);
	assert_int_equal(ygr_labels_set(&labels, "app-", "x"), -EINVAL);
	assert_int_equal(ygr_labels_set(&labels, "app", "a b"), -EINVAL);
	assert_int_equal(ygr_labels_set(&labels, "", "x"), -EINVAL);
	ygr_labels_deinit(&labels);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_matching),
					   cmocka_unit_test(test_label_words)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
