/*
 * See fixture.h. Every member of an event is taken by one function; a table says which, so that the list of
 * what is known and what is done with it cannot differ.
 */
#include "lib/policy/fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/decode.h"
#include "lib/policy/operation.h"

#define CASES_MAX 10000

typedef int taker(const struct ygr_field *field, struct ygr_policy_situation *situation,
		  struct ygr_error *error);

static int take_path(const struct ygr_field *field, const char **ret, struct ygr_error *error)
{
	int r = ygr_field_string(field, 1, YGR_POLICY_PATH_MAX, ret, error);
	if (r == 0 &&
	    ((*ret)[0] != '/' || strstr(*ret, "//") || ((*ret)[1] && (*ret)[strlen(*ret) - 1] == '/')))
		return ygr_field_expected(field, error, "an absolute path");
	return r;
}

static int take_number(const struct ygr_field *field, uint32_t max, uint32_t *ret, struct ygr_error *error)
{
	int64_t value = 0;
	int r = ygr_field_int(field, 0, max, &value, error);
	if (r == 0)
		*ret = (uint32_t)value;
	return r;
}

static int take_word(const struct ygr_field *field, int (*number)(const char *), uint32_t *ret,
		     struct ygr_error *error)
{
	const char *text;
	int r = ygr_field_string(field, 1, 64, &text, error);
	if (r < 0)
		return r;
	if (number(text) < 0)
		return ygr_field_error(field, error, "nothing is called \"%s\" here", text);
	*ret = (uint32_t)number(text);
	return 0;
}

static int take_operation(const struct ygr_field *field, struct ygr_policy_situation *s,
			  struct ygr_error *error)
{
	int word, r = ygr_field_enum(field, ygr_policy_operation_names(), &word, error);
	if (r == 0)
		s->operation = ygr_policy_operation_named(ygr_policy_operation_names()[word]);
	return r;
}

static int take_exe(const struct ygr_field *field, struct ygr_policy_situation *s, struct ygr_error *error)
{
	return take_path(field, &s->exe, error);
}

static int take_cgroup(const struct ygr_field *field, struct ygr_policy_situation *s,
		       struct ygr_error *error)
{
	return take_path(field, &s->cgroup, error);
}

static int take_file(const struct ygr_field *field, struct ygr_policy_situation *s, struct ygr_error *error)
{
	return take_path(field, &s->file, error);
}

static int take_unix(const struct ygr_field *field, struct ygr_policy_situation *s, struct ygr_error *error)
{
	s->family = YGR_POLICY_UNIX;
	return take_path(field, &s->file, error);
}

static int take_exists(const struct ygr_field *field, struct ygr_policy_situation *s,
		       struct ygr_error *error)
{
	bool exists = true;
	int r = ygr_field_bool(field, &exists, error);
	s->missing = !exists;
	return r;
}

static int take_address(const struct ygr_field *field, struct ygr_policy_situation *s,
			struct ygr_error *error)
{
	const char *text;
	int r = ygr_field_string(field, 1, 64, &text, error);
	if (r < 0)
		return r;
	if (inet_pton(AF_INET, text, s->address) == 1)
		s->family = YGR_POLICY_IPV4;
	else if (inet_pton(AF_INET6, text, s->address) == 1)
		s->family = YGR_POLICY_IPV6;
	else
		return ygr_field_expected(field, error, "an IPv4 or IPv6 address");
	return 0;
}

static int take_access(const struct ygr_field *field, struct ygr_policy_situation *s,
		       struct ygr_error *error)
{
	static const char *const words[] = {"read", "write", "append", NULL};
	size_t count = 0;
	int r = ygr_field_array(field, 1, 3, &count, error);
	for (size_t i = 0; i < count && r == 0; i++) {
		struct ygr_field item = ygr_field_item(field, i);
		int word;
		r = ygr_field_enum(&item, words, &word, error);
		if (r == 0)
			s->access |= 1u << word;
	}
	return r;
}

static int take_mode(const struct ygr_field *field, struct ygr_policy_situation *s, struct ygr_error *error)
{
	const char *text;
	int r = ygr_field_string(field, 1, 5, &text, error);
	if (r < 0)
		return r;
	if (text[strspn(text, "01234567")] != '\0')
		return ygr_field_expected(field, error,
					  "permission bits in octal as a string, such as \"0644\"");
	s->mode = (uint32_t)strtoul(text, NULL, 8) & 07777;
	return 0;
}

static int take_ancestors(const struct ygr_field *field, struct ygr_policy_situation *s,
			  struct ygr_error *error)
{
	int r = ygr_field_array(field, 0, YGR_POLICY_ANCESTORS_MAX, &s->ancestor_count, error);
	for (size_t i = 0; i < s->ancestor_count && r == 0; i++) {
		struct ygr_field item = ygr_field_item(field, i);
		r = take_path(&item, &s->ancestors[i], error);
	}
	return r;
}

static int take_user(const struct ygr_field *field, struct ygr_policy_situation *s, struct ygr_error *error)
{
	return take_number(field, UINT32_MAX, &s->user, error);
}

static int take_group(const struct ygr_field *field, struct ygr_policy_situation *s, struct ygr_error *error)
{
	return take_number(field, UINT32_MAX, &s->group, error);
}

static int take_process(const struct ygr_field *field, struct ygr_policy_situation *s,
			struct ygr_error *error)
{
	return take_number(field, UINT32_MAX, &s->process, error);
}

static int take_owner(const struct ygr_field *field, struct ygr_policy_situation *s, struct ygr_error *error)
{
	return take_number(field, UINT32_MAX, &s->owner, error);
}

static int take_to_user(const struct ygr_field *field, struct ygr_policy_situation *s,
			struct ygr_error *error)
{
	return take_number(field, UINT32_MAX, &s->target_user, error);
}

static int take_port(const struct ygr_field *field, struct ygr_policy_situation *s, struct ygr_error *error)
{
	return take_number(field, 65535, &s->port, error);
}

static int take_minute(const struct ygr_field *field, struct ygr_policy_situation *s,
		       struct ygr_error *error)
{
	return take_number(field, 24 * 60 - 1, &s->minute, error);
}

static int take_time(const struct ygr_field *field, struct ygr_policy_situation *s, struct ygr_error *error)
{
	uint32_t milliseconds = 0;
	int r = take_number(field, UINT32_MAX, &milliseconds, error);
	s->time_ns = milliseconds * 1000000ull;
	return r;
}

static int take_protocol(const struct ygr_field *field, struct ygr_policy_situation *s,
			 struct ygr_error *error)
{
	return take_word(field, ygr_policy_protocol, &s->protocol, error);
}

static int take_capability(const struct ygr_field *field, struct ygr_policy_situation *s,
			   struct ygr_error *error)
{
	return take_word(field, ygr_policy_capability, &s->capability, error);
}

static const struct {
	const char *key;
	taker *take;
} members[] = {
    {"operation", take_operation}, {"exe", take_exe},           {"ancestors", take_ancestors},
    {"user", take_user},           {"group", take_group},       {"process", take_process},
    {"cgroup", take_cgroup},       {"file", take_file},         {"program", take_file},
    {"exists", take_exists},       {"owner", take_owner},       {"mode", take_mode},
    {"access", take_access},       {"address", take_address},   {"unix", take_unix},
    {"port", take_port},           {"protocol", take_protocol}, {"capability", take_capability},
    {"toUser", take_to_user},      {"minute", take_minute},     {"time", take_time},
};
#define MEMBERS (sizeof(members) / sizeof(members[0]))

static int take_event(const struct ygr_field *test, struct ygr_policy_situation *situation,
		      struct ygr_error *error)
{
	const char *keys[MEMBERS + 1] = {NULL};
	struct ygr_field event, field;
	for (size_t i = 0; i < MEMBERS; i++)
		keys[i] = members[i].key;
	int r = ygr_field_require(test, "event", &event, error);
	if (r == 0)
		r = ygr_field_object(&event, keys, error);
	if (r == 0)
		r = ygr_field_require(&event, "operation", &field, error);
	for (size_t i = 0; i < MEMBERS && r == 0; i++)
		if (ygr_field_member(&event, members[i].key, &field))
			r = members[i].take(&field, situation, error);
	return r;
}

static int take_expectation(const struct ygr_field *test, struct ygr_policy_case *test_case,
			    struct ygr_error *error)
{
	static const char *const keys[] = {"verdict", "rule", "errno", NULL};
	static const char *const verdicts[] = {"allow", "audit", "notify", "deny", "kill", NULL};
	struct ygr_field expect, field;
	uint32_t number;
	int verdict = 0, r = ygr_field_require(test, "expect", &expect, error);
	if (r == 0)
		r = ygr_field_object(&expect, keys, error);
	if (r == 0)
		r = ygr_field_require(&expect, "verdict", &field, error);
	if (r == 0)
		r = ygr_field_enum(&field, verdicts, &verdict, error);
	test_case->verdict = (enum ygr_policy_action)verdict;
	test_case->error = -1;
	if (r == 0 && ygr_field_member(&expect, "rule", &field))
		r = ygr_field_string(&field, 1, YGR_POLICY_WORD_MAX, &test_case->rule, error);
	if (r == 0 && ygr_field_member(&expect, "errno", &field)) {
		r = take_word(&field, ygr_policy_errno, &number, error);
		if (r == 0)
			test_case->error = (int)number;
	}
	return r;
}

static int take_case(const struct ygr_field *test, struct ygr_policy_case *test_case,
		     struct ygr_error *error)
{
	static const char *const keys[] = {"name", "event", "expect", NULL};
	struct ygr_field field;
	int r = ygr_field_object(test, keys, error);
	if (r == 0)
		r = ygr_field_require(test, "name", &field, error);
	if (r == 0)
		r = ygr_field_dup(&field, 1, 256, &test_case->name, error);
	if (r == 0)
		r = take_event(test, &test_case->situation, error);
	return r < 0 ? r : take_expectation(test, test_case, error);
}

static int take_cases(const struct ygr_field *root, struct ygr_policy_cases *cases, struct ygr_error *error)
{
	static const char *const keys[] = {"policy", "policyName", "tests", NULL};
	struct ygr_field field, list;
	size_t count = 0;
	int r = ygr_field_object(root, keys, error);
	if (r == 0)
		r = ygr_field_require(root, "policy", &field, error);
	if (r == 0)
		r = ygr_field_string(&field, 1, YGR_POLICY_PATH_MAX, &cases->policy, error);
	if (r == 0 && ygr_field_member(root, "policyName", &field))
		r = ygr_field_string(&field, 1, YGR_POLICY_WORD_MAX, &cases->name, error);
	if (r == 0)
		r = ygr_field_require(root, "tests", &list, error);
	if (r == 0)
		r = ygr_field_array(&list, 1, CASES_MAX, &count, error);
	if (r < 0)
		return r;
	cases->cases = calloc(count ? count : 1, sizeof(*cases->cases));
	if (!cases->cases)
		return ygr_error_set(error, ENOMEM, "out of memory");
	for (; cases->count < count && r == 0; cases->count++) {
		struct ygr_field test = ygr_field_item(&list, cases->count);
		r = take_case(&test, &cases->cases[cases->count], error);
	}
	return r;
}

int ygr_policy_cases_read(const char *path, struct ygr_policy_cases *ret_cases, struct ygr_error *error)
{
	*ret_cases = (struct ygr_policy_cases){0};
	int r = ygr_yaml_read(path, NULL, &ret_cases->documents, &ret_cases->document_count, error);
	if (r < 0)
		return r;
	if (ret_cases->document_count != 1)
		return ygr_error_set(error, EINVAL, "%s: expected one document, found %zu", path,
				     ret_cases->document_count);
	struct ygr_field root = ygr_field_root(ret_cases->documents[0]);
	return take_cases(&root, ret_cases, error);
}

void ygr_policy_cases_deinit(struct ygr_policy_cases *cases)
{
	for (size_t i = 0; i < cases->count; i++)
		free(cases->cases[i].name);
	free(cases->cases);
	ygr_docs_free(cases->documents, cases->document_count);
	*cases = (struct ygr_policy_cases){0};
}
