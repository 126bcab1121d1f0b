/* The decoder of VMPolicy: one function a level, defaults set before the fields are read. */
#include "lib/api/vm-policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *const ygr_policy_mode_words[] = {"Audit", "Enforce", NULL};
const char *const ygr_on_unsupported_words[] = {"Report", "Refuse", NULL};

static int decode_mode(const struct ygr_field *object, enum ygr_policy_mode *ret, struct ygr_error *error)
{
	struct ygr_field field;
	int word;

	if (!ygr_field_member(object, "mode", &field))
		return 0;
	int r = ygr_field_enum(&field, ygr_policy_mode_words, &word, error);
	if (r == 0)
		*ret = (enum ygr_policy_mode)word;
	return r;
}

/* The text of a policy has lines; which characters it may have is the language's to say. */
static int decode_text(const struct ygr_field *spec, struct ygr_vm_policy *policy, struct ygr_error *error)
{
	struct ygr_field field;
	int r = ygr_field_require(spec, "policy", &field, error);

	if (r < 0)
		return r;
	if (!json_is_string(field.value))
		return ygr_field_expected(&field, error, "the text of a policy");
	size_t length = json_string_length(field.value);
	if (!length)
		return ygr_field_expected(&field, error, "the text of a policy");
	if (length > YGR_VM_POLICY_TEXT_MAX)
		return ygr_field_error(&field, error, "a policy's text has at most %u KiB",
				       YGR_VM_POLICY_TEXT_MAX >> 10);
	policy->text = malloc(length + 1);
	if (!policy->text)
		return ygr_error_set(error, ENOMEM, "out of memory");
	memcpy(policy->text, json_string_value(field.value), length + 1);
	policy->text_length = length;
	return 0;
}

/* As in the language: letters, digits, '_' and inner '-', not beginning with a digit. */
static bool is_rule(const char *name)
{
	const char *letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
	size_t len = strlen(name);

	if (!strchr(letters, name[0]) || name[len - 1] == '-')
		return false;
	for (const char *p = name; *p; p++)
		if (!strchr(letters, *p) && !strchr("0123456789-", *p))
			return false;
	return true;
}

static int decode_rule_mode(const struct ygr_field *field, struct ygr_rule_mode *rule_mode,
			    struct ygr_error *error)
{
	static const char *const known[] = {"rule", "mode", NULL};
	struct ygr_field member;
	int r = ygr_field_object(field, known, error);

	if (r == 0)
		r = ygr_field_require(field, "rule", &member, error);
	if (r == 0)
		r = ygr_field_dup(&member, 1, YGR_API_LABEL_MAX, &rule_mode->rule, error);
	if (r == 0 && !is_rule(rule_mode->rule))
		r = ygr_field_expected(&member, error, "the name of a rule");
	if (r == 0)
		r = ygr_field_require(field, "mode", &member, error);
	return r < 0 ? r : decode_mode(field, &rule_mode->mode, error);
}

static int decode_rule_modes(const struct ygr_field *field, struct ygr_vm_policy *policy,
			     struct ygr_error *error)
{
	size_t count;
	int r = ygr_field_array(field, 0, YGR_VM_POLICY_RULE_MODES_MAX, &count, error);

	if (r < 0 || !count)
		return r;
	policy->rule_modes = calloc(count, sizeof(*policy->rule_modes));
	if (!policy->rule_modes)
		return ygr_error_set(error, ENOMEM, "out of memory");
	policy->rule_mode_count = count;
	for (size_t i = 0; i < count; i++) {
		struct ygr_field item = ygr_field_item(field, i), rule;
		r = decode_rule_mode(&item, &policy->rule_modes[i], error);
		if (r < 0)
			return r;
		for (size_t j = 0; j < i; j++)
			if (!strcmp(policy->rule_modes[i].rule, policy->rule_modes[j].rule) &&
			    ygr_field_member(&item, "rule", &rule))
				return ygr_field_error(&rule, error,
						       "\"%s\" has its mode in ruleModes[%zu] already",
						       policy->rule_modes[i].rule, j);
	}
	return 0;
}

static int decode_spec(const struct ygr_field *spec, struct ygr_vm_policy *policy, struct ygr_error *error)
{
	/* The first is for cluster-wide objects. */
	static const char *const known[] = {"namespaceSelector", "suspend", "mode",      "vmSelector",
					    "onUnsupported",     "policy",  "ruleModes", NULL};
	struct ygr_field member;
	int word, r = ygr_field_object(spec, policy->cluster ? known : known + 1, error);

	if (r == 0 && ygr_field_member(spec, "suspend", &member))
		r = ygr_field_bool(&member, &policy->suspend, error);
	if (r == 0)
		r = decode_mode(spec, &policy->mode, error);
	if (r == 0 && policy->cluster) {
		r = ygr_field_require(spec, "namespaceSelector", &member, error);
		if (r == 0)
			r = ygr_selector_decode(&member, &policy->namespaces, error);
	}
	if (r == 0)
		r = ygr_field_require(spec, "vmSelector", &member, error);
	if (r == 0)
		r = ygr_selector_decode(&member, &policy->selector, error);
	if (r == 0 && ygr_field_member(spec, "onUnsupported", &member)) {
		r = ygr_field_enum(&member, ygr_on_unsupported_words, &word, error);
		if (r == 0)
			policy->on_unsupported = (enum ygr_on_unsupported)word;
	}
	if (r == 0)
		r = decode_text(spec, policy, error);
	if (r == 0 && ygr_field_member(spec, "ruleModes", &member))
		r = decode_rule_modes(&member, policy, error);
	return r;
}

static int decode_root(const struct ygr_field *root, struct ygr_vm_policy *policy, struct ygr_error *error)
{
	struct ygr_field spec;
	int r = policy->cluster
		    ? ygr_meta_decode_cluster_head(root, YGR_CLUSTER_VM_POLICY_KIND, &policy->meta, error)
		    : ygr_meta_decode_head(root, YGR_VM_POLICY_KIND, &policy->meta, error);

	if (r == 0)
		r = ygr_field_require(root, "spec", &spec, error);
	if (r < 0)
		return r;
	policy->spec = json_incref((json_t *)spec.value);
	return decode_spec(&spec, policy, error);
}

static int decode(const struct ygr_doc *doc, bool cluster, struct ygr_vm_policy **ret,
		  struct ygr_error *error)
{
	struct ygr_field root = ygr_field_root(doc);
	struct ygr_vm_policy *policy = calloc(1, sizeof(*policy));

	if (!policy)
		return ygr_error_set(error, ENOMEM, "out of memory");
	policy->cluster = cluster;
	int r = decode_root(&root, policy, error);
	if (r < 0) {
		ygr_vm_policy_free(policy);
		return r;
	}
	*ret = policy;
	return 0;
}

int ygr_vm_policy_decode(const struct ygr_doc *doc, struct ygr_vm_policy **ret, struct ygr_error *error)
{
	return decode(doc, false, ret, error);
}

int ygr_cluster_vm_policy_decode(const struct ygr_doc *doc, struct ygr_vm_policy **ret,
				 struct ygr_error *error)
{
	return decode(doc, true, ret, error);
}

struct ygr_vm_policy *ygr_vm_policy_free(struct ygr_vm_policy *policy)
{
	if (!policy)
		return NULL;
	ygr_meta_deinit(&policy->meta);
	json_decref((json_t *)policy->spec);
	ygr_selector_deinit(&policy->namespaces);
	ygr_selector_deinit(&policy->selector);
	free(policy->text);
	for (size_t i = 0; i < policy->rule_mode_count; i++)
		free(policy->rule_modes[i].rule);
	free(policy->rule_modes);
	free(policy);
	return NULL;
}

enum ygr_policy_mode ygr_vm_policy_mode_of(const struct ygr_vm_policy *policy, const char *rule)
{
	for (size_t i = 0; i < policy->rule_mode_count; i++)
		if (!strcmp(policy->rule_modes[i].rule, rule))
			return policy->rule_modes[i].mode;
	return policy->mode;
}
