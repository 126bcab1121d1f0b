/* See review.h. */
#include "controller/review.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/api/monitor.h"
#include "lib/api/vm-policy.h"
#include "lib/policy/policy.h"

#define REVIEW_VERSION  "admission.k8s.io/v1"
#define REVIEW_KIND     "AdmissionReview"
#define DOCUMENT        "object" /* what a decoder's message begins with, instead of a file's name */
#define UNPROCESSABLE   422
#define POLICY_TEXT_MAX (256u << 10) /* bytes; longer ones are compiled by agents only */
#define SAID_MAX        (64u << 10)

/* What a decoder leaves for warnings. */
struct decoded {
	struct ygr_monitor *monitor;
	struct ygr_vm_policy *policy;
};

static int decode_monitor(const struct ygr_doc *doc, struct decoded *ret, struct ygr_error *error)
{
	return ygr_monitor_decode(doc, &ret->monitor, error);
}

static int decode_cluster_monitor(const struct ygr_doc *doc, struct decoded *ret, struct ygr_error *error)
{
	return ygr_cluster_monitor_decode(doc, &ret->monitor, error);
}

static int decode_policy(const struct ygr_doc *doc, struct decoded *ret, struct ygr_error *error)
{
	return ygr_vm_policy_decode(doc, &ret->policy, error);
}

static int decode_cluster_policy(const struct ygr_doc *doc, struct decoded *ret, struct ygr_error *error)
{
	return ygr_cluster_vm_policy_decode(doc, &ret->policy, error);
}

static const struct kind {
	const char *name;
	int (*decode)(const struct ygr_doc *doc, struct decoded *ret, struct ygr_error *error);
} kinds[] = {
    {YGR_MONITOR_KIND, decode_monitor},
    {YGR_CLUSTER_MONITOR_KIND, decode_cluster_monitor},
    {YGR_VM_POLICY_KIND, decode_policy},
    {YGR_CLUSTER_VM_POLICY_KIND, decode_cluster_policy},
};

static const struct kind *find_kind(const char *name)
{
	for (size_t i = 0; name && i < sizeof(kinds) / sizeof(*kinds); i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	return NULL;
}

/* "object: spec.apps[0].name: expected ..." to field and sentence. A sentence about the whole has no field. */
static void split(char *message, const char **ret_field, const char **ret_sentence)
{
	char *rest = strncmp(message, DOCUMENT ": ", strlen(DOCUMENT ": "))
			 ? message
			 : message + strlen(DOCUMENT ": ");
	char *colon = strstr(rest, ": "), *space = strchr(rest, ' ');

	*ret_field = "";
	*ret_sentence = rest;
	if (colon && space == colon + 1) {
		*colon = '\0';
		*ret_field = rest;
		*ret_sentence = colon + 2;
	}
}

/* The `status` of a denial, as an API server hands it on to whoever asked. */
static json_t *denial(char *message)
{
	const char *field, *sentence;

	split(message, &field, &sentence);
	return json_pack("{s:i, s:s, s:s++, s:{s:[{s:s, s:s, s:s}]}}", "code", UNPROCESSABLE, "reason",
			 "Invalid", "message", field, *field ? ": " : "", sentence, "details", "causes",
			 "reason", "FieldValueInvalid", "field", field, "message", sentence);
}

/* The lines "policy:LINE:COLUMN: error|warning: ..." of what the compiler says; what it quotes is left out. */
static int add_lines(json_t *warnings, char *text)
{
	char *rest = NULL;

	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (strncmp(line, "policy:", 7) != 0 || json_array_size(warnings) >= YGR_REVIEW_WARNINGS_MAX)
			continue;
		size_t len = strnlen(line, YGR_REVIEW_WARNING_LEN);
		while (len && ((unsigned char)line[len] & 0xc0) == 0x80) /* no half characters */
			len--;
		if (json_array_append_new(warnings, json_stringn(line, len)) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int add_warnings(const struct ygr_vm_policy *policy, json_t *warnings)
{
	struct ygr_buf said = YGR_BUF_INIT(SAID_MAX);
	struct ygr_policy_unit *unit;
	struct ygr_error error = YGR_ERROR_INIT;

	if (policy->text_length > POLICY_TEXT_MAX ||
	    ygr_policy_unit_new("policy", policy->text, policy->text_length, &unit, &error) < 0)
		return 0;
	if (!ygr_policy_unit_errors(unit))
		ygr_policy_unit_review(unit);
	int r = ygr_policy_unit_said(unit, &said);
	if (r == 0)
		r = ygr_buf_append(&said, "", 1);
	if (r == -EMSGSIZE && said.len) /* the first of many will do */
		said.data[said.len - 1] = '\0';
	r = r == -ENOMEM ? r : add_lines(warnings, (char *)said.data);
	ygr_buf_deinit(&said);
	ygr_policy_unit_free(unit);
	return r;
}

/* *ret_status: NULL when the object is allowed. */
static int judge(const struct kind *kind, json_t *object, json_t *warnings, json_t **ret_status)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct decoded decoded = {0};
	struct ygr_doc *doc = ygr_doc_new_json(DOCUMENT, object);

	if (!doc)
		return -ENOMEM;
	int r = kind->decode(doc, &decoded, &error);
	if (r == 0)
		r = decoded.policy ? add_warnings(decoded.policy, warnings) : 0;
	else if (r != -ENOMEM) {
		*ret_status = denial(error.message);
		r = *ret_status ? 0 : -ENOMEM;
	}
	ygr_monitor_free(decoded.monitor);
	ygr_vm_policy_free(decoded.policy);
	ygr_doc_free(doc);
	return r;
}

static bool spec_unchanged(const json_t *object, const json_t *old)
{
	json_t *spec = json_object_get(object, "spec");

	return spec && json_equal(spec, json_object_get(old, "spec"));
}

static int answer(const json_t *request, const char *uid, struct ygr_review *review)
{
	json_t *object = json_object_get(request, "object"), *status = NULL, *warnings = json_array();
	const struct kind *kind = find_kind(json_string_value(json_object_get(object, "kind")));
	int r = warnings ? 0 : -ENOMEM;

	review->kind = kind ? kind->name : "other";
	if (r == 0 && kind && !spec_unchanged(object, json_object_get(request, "oldObject")))
		r = judge(kind, object, warnings, &status);
	review->allowed = !status;
	if (r == 0) {
		review->answer =
		    json_pack("{s:s, s:s, s:{s:s, s:b, s:o*, s:o*}}", "apiVersion", REVIEW_VERSION, "kind",
			      REVIEW_KIND, "response", "uid", uid, "allowed", review->allowed, "status",
			      status, "warnings", json_array_size(warnings) ? json_incref(warnings) : NULL);
		r = review->answer ? 0 : -ENOMEM;
	} else
		json_decref(status);
	json_decref(warnings);
	return r;
}

static bool is_word(const json_t *object, const char *key, const char *word)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value && !strcmp(value, word);
}

int ygr_review_answer(const char *text, size_t len, struct ygr_review *ret, struct ygr_error *error)
{
	struct ygr_review review = {0};
	json_error_t wrong;
	json_t *root = json_loadb(text, len, 0, &wrong);
	int r;

	if (!root)
		return ygr_error_set(error, EINVAL, "line %d, column %d: %s", wrong.line, wrong.column,
				     wrong.text);
	json_t *request = json_object_get(root, "request"), *uid = json_object_get(request, "uid");
	if (!is_word(root, "apiVersion", REVIEW_VERSION) || !is_word(root, "kind", REVIEW_KIND))
		r = ygr_error_set(error, EINVAL, "expected an %s of %s", REVIEW_KIND, REVIEW_VERSION);
	else if (!json_string_length(uid) || json_string_length(uid) > YGR_REVIEW_UID_MAX)
		r = ygr_error_set(error, EINVAL, "request.uid: expected a string of 1 to %d bytes",
				  YGR_REVIEW_UID_MAX);
	else {
		r = answer(request, json_string_value(uid), &review);
		if (r < 0)
			r = ygr_error_set(error, -r, "out of memory");
	}
	json_decref(root);
	if (r == 0)
		*ret = review;
	return r;
}
