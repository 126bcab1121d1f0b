/* What the webhook answers: who is let through, whom a denial names, and what is no review at all. */
#include "controller/review.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define HEAD(kind)                                                                                          \
	"{\"apiVersion\": \"yagura.dev/v1alpha1\", \"kind\": \"" kind                                       \
	"\", \"metadata\": {\"name\": \"a\", \"namespace\": \"default\"}, \"spec\": "
#define CLUSTER(kind)                                                                                       \
	"{\"apiVersion\": \"yagura.dev/v1alpha1\", \"kind\": \"" kind                                       \
	"\", \"metadata\": {\"name\": \"a\"}, \"spec\": "
#define GOOD "{\"vmSelector\": {}, \"apps\": [{\"name\": \"exec\", \"program\": \"execsnoop\"}]}}"
#define BAD  "{\"vmSelector\": {}, \"apps\": [{\"name\": \"exec\", \"program\": \"/bin/sh\"}]}}"

/* The `response`; the caller's reference. */
static json_t *ask(const char *object, const char *old, bool wanted)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_review review;
	char *text;

	assert_true(
	    asprintf(&text,
		     "{\"apiVersion\": \"admission.k8s.io/v1\", \"kind\": \"AdmissionReview\", \"request\": "
		     "{\"uid\": \"u-1\", \"operation\": \"CREATE\", \"object\": %s, \"oldObject\": %s}}",
		     object, old) > 0);
	assert_int_equal(ygr_review_answer(text, strlen(text), &review, &error), 0);
	free(text);
	assert_int_equal(review.allowed, wanted);
	assert_string_equal(json_string_value(json_object_get(review.answer, "apiVersion")),
			    "admission.k8s.io/v1");
	assert_string_equal(json_string_value(json_object_get(review.answer, "kind")), "AdmissionReview");
	json_t *response = json_incref(json_object_get(review.answer, "response"));
	json_decref(review.answer);
	assert_string_equal(json_string_value(json_object_get(response, "uid")), "u-1");
	assert_int_equal(json_is_true(json_object_get(response, "allowed")), wanted);
	return response;
}

static void allowed(const char *object, const char *old)
{
	json_t *response = ask(object, old, true);

	assert_null(json_object_get(response, "status"));
	assert_null(json_object_get(response, "warnings"));
	json_decref(response);
}

static void denied(const char *object, const char *old, const char *field, const char *message)
{
	json_t *response = ask(object, old, false), *status = json_object_get(response, "status");
	json_t *cause = json_array_get(json_object_get(json_object_get(status, "details"), "causes"), 0);

	assert_string_equal(json_string_value(json_object_get(status, "message")), message);
	assert_string_equal(json_string_value(json_object_get(cause, "field")), field);
	assert_int_equal(json_integer_value(json_object_get(status, "code")), 422);
	json_decref(response);
}

static void test_verdicts(void **state)
{
	(void)state;
	allowed(HEAD("VMMonitor") GOOD, "null");
	allowed(HEAD("VMPolicy") "{\"vmSelector\": {}, \"policy\": \"policy p {\\n  guest { rule a: deny "
				 "load-module }\\n}\"}}",
		"null");
	allowed(CLUSTER("ClusterVMMonitor") "{\"namespaceSelector\": {}, \"vmSelector\": {}, \"apps\": "
					    "[{\"name\": \"a\", "
					    "\"program\": \"b\"}]}}",
		"null");
	denied(HEAD("VMMonitor") BAD, "null", "spec.apps[0].program",
	       "spec.apps[0].program: expected the name of a program in the catalogue, not a path, found "
	       "\"/bin/sh\"");
	denied(HEAD("VMMonitor") "{\"vmSelector\": {}}}", "null", "spec",
	       "spec: expected at least one entry in \"apps\" or \"idsJobs\"");
	denied(HEAD("VMPolicy") "{\"vmSelector\": {}, \"policy\": 7}}", "null", "spec.policy",
	       "spec.policy: expected the text of a policy, found 7");
	denied(CLUSTER("ClusterVMPolicy") "{\"vmSelector\": {}, \"policy\": \"policy p {}\"}}", "null",
	       "spec", "spec: \"namespaceSelector\" is required");
	denied(HEAD("ClusterVMMonitor") GOOD, "null", "metadata.namespace",
	       "metadata.namespace: a ClusterVMMonitor belongs to no namespace");
	/* About the whole, without a field. */
	denied("{\"kind\": \"VMMonitor\"}", "null", "", "\"apiVersion\" is required");
}

static void test_what_is_not_looked_at(void **state)
{
	(void)state;
	allowed("null", HEAD("VMMonitor") GOOD); /* DELETE */
	allowed("{\"kind\": \"Pod\"}", "null");
	allowed("[]", "null");
	/* Labels of an object from before a rule came can still be changed; its spec cannot, except for the better. */
	allowed(HEAD("VMMonitor") BAD, HEAD("VMMonitor") BAD);
	allowed(HEAD("VMMonitor") GOOD, HEAD("VMMonitor") BAD);
	denied(HEAD("VMMonitor") BAD, HEAD("VMMonitor") GOOD, "spec.apps[0].program",
	       "spec.apps[0].program: expected the name of a program in the catalogue, not a path, found "
	       "\"/bin/sh\"");
}

static void test_warnings(void **state)
{
	(void)state;
	json_t *response = ask(HEAD("VMPolicy") "{\"vmSelector\": {}, \"policy\": \"policy p {\\n  guest { "
						"rule a: deny opne }\\n}\"}}",
			       "null", true);
	json_t *warnings = json_object_get(response, "warnings");

	assert_true(json_array_size(warnings) >= 1);
	assert_non_null(strstr(json_string_value(json_array_get(warnings, 0)), "policy:2:"));
	json_decref(response);

	/* A text that is wrong everywhere: few warnings, none too long. */
	char *object, many[8192] = "";
	for (size_t i = 0; i + 64 < sizeof(many); i += 12)
		strcat(many, "nonsense {\\n");
	assert_true(asprintf(&object, HEAD("VMPolicy") "{\"vmSelector\": {}, \"policy\": \"%s\"}}", many) >
		    0);
	response = ask(object, "null", true);
	warnings = json_object_get(response, "warnings");
	assert_in_range(json_array_size(warnings), 1, YGR_REVIEW_WARNINGS_MAX);
	for (size_t i = 0; i < json_array_size(warnings); i++)
		assert_in_range(json_string_length(json_array_get(warnings, i)), 1, YGR_REVIEW_WARNING_LEN);
	json_decref(response);
	free(object);
}

static void test_no_reviews(void **state)
{
	static const char *const bodies[] = {
	    "",
	    "{",
	    "7",
	    "[]",
	    "{}",
	    "\xff\xfe",
	    "{\"apiVersion\": \"admission.k8s.io/v1\", \"kind\": \"AdmissionReview\"}",
	    "{\"apiVersion\": \"admission.k8s.io/v1beta1\", \"kind\": \"AdmissionReview\", \"request\": "
	    "{\"uid\": \"a\"}}",
	    "{\"apiVersion\": \"admission.k8s.io/v1\", \"kind\": \"AdmissionReview\", \"request\": "
	    "{\"uid\": \"\"}}",
	    "{\"apiVersion\": \"admission.k8s.io/v1\", \"kind\": \"AdmissionReview\", \"request\": "
	    "{\"uid\": 7}}",
	    "{\"apiVersion\": \"admission.k8s.io/v1\", \"kind\": \"AdmissionReview\", \"request\": [1]}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
		struct ygr_error error = YGR_ERROR_INIT;
		struct ygr_review review;
		assert_int_equal(ygr_review_answer(bodies[i], strlen(bodies[i]), &review, &error), -EINVAL);
		assert_true(error.message[0]);
	}
	/* Deep nesting is refused, not recursed into. */
	char *deep = malloc(100000);
	assert_non_null(deep);
	memset(deep, '[', 100000);
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_review review;
	assert_int_equal(ygr_review_answer(deep, 100000, &review, &error), -EINVAL);
	free(deep);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_verdicts),
	    cmocka_unit_test(test_what_is_not_looked_at),
	    cmocka_unit_test(test_warnings),
	    cmocka_unit_test(test_no_reviews),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
