/* The decoder of VMPolicy: defaults, every field wrong in turn with the exact words, and what is published. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/api/vm-policy.h"

static const char base[] = "apiVersion: yagura.dev/v1alpha1\n"
			   "kind: VMPolicy\n"
			   "metadata:\n"
			   "  name: web\n"
			   "  namespace: default\n"
			   "spec:\n"
			   "  suspend: false\n"
			   "  mode: Enforce\n"
			   "  vmSelector: {}\n"
			   "  onUnsupported: Refuse\n"
			   "  policy: \"policy p {}\"\n"
			   "  ruleModes: [{rule: a, mode: Audit}, {rule: b-1, mode: Enforce}]\n";

static int decode(const char *text, struct ygr_vm_policy **ret, struct ygr_error *error)
{
	struct ygr_doc **docs;
	size_t n;
	int r = ygr_yaml_parse("p.yaml", text, strlen(text), &docs, &n, error);

	if (r < 0)
		return r;
	assert_int_equal(n, 1);
	r = ygr_vm_policy_decode(docs[0], ret, error);
	ygr_docs_free(docs, n);
	return r;
}

static void test_good(void **state)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_vm_policy *p;
	(void)state;

	if (decode(base, &p, &error) < 0)
		fail_msg("%s", error.message);
	assert_int_equal(p->mode, YGR_MODE_ENFORCE);
	assert_int_equal(p->on_unsupported, YGR_UNSUPPORTED_REFUSE);
	assert_string_equal(p->text, "policy p {}");
	assert_int_equal(p->text_length, 11);
	assert_int_equal(ygr_vm_policy_mode_of(p, "a"), YGR_MODE_AUDIT);
	assert_int_equal(ygr_vm_policy_mode_of(p, "b-1"), YGR_MODE_ENFORCE);
	assert_int_equal(ygr_vm_policy_mode_of(p, "c"), YGR_MODE_ENFORCE);
	ygr_vm_policy_free(p);
	if (decode("apiVersion: yagura.dev/v1alpha1\nkind: VMPolicy\nmetadata: {name: web}\n"
		   "spec:\n  vmSelector: {}\n  policy: |\n    policy p {\n    }\n",
		   &p, &error) < 0)
		fail_msg("%s", error.message);
	assert_int_equal(p->mode, YGR_MODE_AUDIT);
	assert_int_equal(p->on_unsupported, YGR_UNSUPPORTED_REPORT);
	assert_string_equal(p->text, "policy p {\n}\n");
	assert_string_equal(p->meta.namespace_, "default");
	ygr_vm_policy_free(p);
}

struct wrong {
	const char *find, *replace, *message;
};

#include "policy-wrong.h"

static void test_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(wrongs) / sizeof(*wrongs); i++) {
		struct ygr_error error = YGR_ERROR_INIT;
		struct ygr_vm_policy *p = NULL;
		char text[sizeof(base) + 512];
		const char *at = strstr(base, wrongs[i].find);
		assert_non_null(at);
		snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - base), base, wrongs[i].replace,
			 at + strlen(wrongs[i].find));
		int r = decode(text, &p, &error);
		if (r == 0)
			fail_msg("\"%s\" was accepted", wrongs[i].replace);
		assert_int_equal(r, -EINVAL);
		assert_string_equal(error.message, wrongs[i].message);
	}
}

/* A text that is too long is refused before anybody compiles it. */
static void test_too_long(void **state)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_vm_policy *p = NULL;
	char *text = malloc(YGR_VM_POLICY_TEXT_MAX + 2);
	(void)state;

	assert_non_null(text);
	memset(text, '#', YGR_VM_POLICY_TEXT_MAX + 1);
	text[YGR_VM_POLICY_TEXT_MAX + 1] = '\0';
	json_t *object =
	    json_pack("{s:s, s:s, s:{s:s}, s:{s:{}, s:s}}", "apiVersion", YGR_API_VERSION, "kind",
		      YGR_VM_POLICY_KIND, "metadata", "name", "web", "spec", "vmSelector", "policy", text);
	struct ygr_doc *doc = ygr_doc_new_json("p", object);
	assert_int_equal(ygr_vm_policy_decode(doc, &p, &error), -EINVAL);
	assert_non_null(strstr(error.message, "at most 1024 KiB"));
	ygr_doc_free(doc);
	json_decref(object);
	free(text);
}

static void test_encode(void **state)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_vm_policy *p;
	struct ygr_condition accepted = {.type = "Accepted"};
	const struct ygr_vm_policy_rule rules[] = {{"a", YGR_MODE_ENFORCE, 2, 0, 1}};
	const struct ygr_vm_policy_failure failures[] = {{"web-1", NULL, "Refused", "no"}};
	const struct ygr_vm_policy_diagnostic said[] = {{3, 7, true, "never matches"}};
	(void)state;

	assert_int_equal(decode(base, &p, &error), 0);
	ygr_condition_set(&accepted, YGR_CONDITION_TRUE, "Valid", 4, 1000, "good");
	const struct ygr_vm_policy_status status = {
	    .generation = 4,
	    .conditions = &accepted,
	    .condition_count = 1,
	    .digest = "sha256:00",
	    .matched = 3,
	    .enforcing = 2,
	    .failed = 1,
	    .rules = rules,
	    .rule_count = 1,
	    .failures = failures,
	    .failure_count = 1,
	    .diagnostics = said,
	    .diagnostic_count = 1,
	    .last_violation = 60,
	};
	json_t *object = ygr_vm_policy_encode("default", "web", p, &status);
	char *text = json_dumps(json_object_get(object, "status"), JSON_COMPACT | JSON_SORT_KEYS);
	assert_string_equal(
	    text,
	    "{\"bundle\":{\"digest\":\"sha256:00\"},\"conditions\":[{\"lastTransitionTime\":"
	    "\"1970-01-01T00:16:40Z\",\"message\":\"good\",\"observedGeneration\":4,\"reason\":\"Valid\","
	    "\"status\":\"True\",\"type\":\"Accepted\"}],\"diagnostics\":[{\"column\":7,\"line\":3,"
	    "\"message\":\"never matches\",\"severity\":\"Warning\"}],\"failures\":[{\"guest\":\"web-1\","
	    "\"message\":\"no\",\"reason\":\"Refused\"}],\"guests\":{\"auditing\":0,\"enforcing\":2,"
	    "\"failed\":1,\"matched\":3,\"summary\":\"2/3\"},\"lastViolationTime\":"
	    "\"1970-01-01T00:01:00Z\",\"observedGeneration\":4,\"rules\":[{\"audited\":0,\"enforced\":2,"
	    "\"mode\":\"Enforce\",\"name\":\"a\",\"unsupported\":1}]}");
	free(text);
	json_decref(object);
	ygr_vm_policy_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_wrong),
					   cmocka_unit_test(test_too_long), cmocka_unit_test(test_encode)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
