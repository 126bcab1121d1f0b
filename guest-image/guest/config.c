/*
 * guest.yaml; see config.h. Fail closed: whatever is not understood, down to an unknown word, leaves a
 * configuration that lets no session in, since the word may have been meant as a restriction.
 */
#include "guest-image/guest/config.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/decode.h"
#include "lib/base/yaml.h"

#define MEMORY_MIN (1u << 20)
#define MEMORY_MAX (1ull << 40)

static const char *const root_words[] = {"sessions", "limits", "policies", NULL};
static const char *const sessions_words[] = {"max", "allow", "adhoc", NULL};
static const char *const policies_words[] = {"enforce", NULL};
static const char *const limits_words[] = {"memory", "handles", NULL};

/* A number of bytes, or one with Ki, Mi or Gi. */
static int read_bytes(const struct ygr_field *field, uint64_t *ret, struct ygr_error *error)
{
	static const char *const units[] = {"", "Ki", "Mi", "Gi", NULL};
	int64_t number;
	if (json_is_integer(field->value)) {
		int r = ygr_field_int(field, MEMORY_MIN, MEMORY_MAX, &number, error);
		if (r == 0)
			*ret = (uint64_t)number;
		return r;
	}

	const char *text;
	int r = ygr_field_string(field, 1, 16, &text, error);
	if (r < 0)
		return r;
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno || *text < '0' || *text > '9')
		return ygr_field_expected(field, error, "a size such as 64Mi");
	for (unsigned i = 0; units[i]; i++)
		if (strcmp(end, units[i]) == 0) {
			uint64_t bytes = value << (10 * i);
			if (bytes >> (10 * i) != value || bytes < MEMORY_MIN || bytes > MEMORY_MAX)
				break;
			*ret = bytes;
			return 0;
		}
	return ygr_field_expected(field, error, "a size from 1Mi to 1024Gi, such as 64Mi");
}

static int read_limits(const struct ygr_field *root, struct ygr_guest_config *config,
		       struct ygr_error *error)
{
	struct ygr_field limits, field;
	int64_t number;
	int r;

	if (!ygr_field_member(root, "limits", &limits))
		return 0;
	r = ygr_field_object(&limits, limits_words, error);
	if (r < 0)
		return r;
	if (ygr_field_member(&limits, "memory", &field)) {
		r = read_bytes(&field, &config->memory, error);
		if (r < 0)
			return r;
	}
	if (ygr_field_member(&limits, "handles", &field)) {
		r = ygr_field_int(&field, 16, 65534, &number, error);
		if (r < 0)
			return r;
		config->handles = (uint32_t)number;
	}
	return 0;
}

static int read_sessions(const struct ygr_field *root, struct ygr_guest_config *config,
			 const json_t **ret_allow, struct ygr_error *error)
{
	struct ygr_field sessions, field;
	int64_t number;
	int r;

	if (!ygr_field_member(root, "sessions", &sessions))
		return 0;
	r = ygr_field_object(&sessions, sessions_words, error);
	if (r < 0)
		return r;
	if (ygr_field_member(&sessions, "max", &field)) {
		r = ygr_field_int(&field, 0, YGR_GUEST_SESSIONS_MAX, &number, error);
		if (r < 0)
			return r;
		config->max_sessions = (uint32_t)number;
	}
	if (ygr_field_member(&sessions, "adhoc", &field)) {
		r = ygr_field_bool(&field, &config->adhoc, error);
		if (r < 0)
			return r;
	}
	if (ygr_field_member(&sessions, "allow", &field))
		*ret_allow = field.value;
	return 0;
}

static int read_policies(const struct ygr_field *root, struct ygr_guest_config *config,
			 struct ygr_error *error)
{
	struct ygr_field policies, field;
	if (!ygr_field_member(root, "policies", &policies))
		return 0;
	int r = ygr_field_object(&policies, policies_words, error);
	if (r == 0 && ygr_field_member(&policies, "enforce", &field))
		r = ygr_field_bool(&field, &config->enforce, error);
	return r;
}

static int read_document(const struct ygr_doc *doc, struct ygr_guest_config *config,
			 const json_t **ret_allow, struct ygr_error *error)
{
	struct ygr_field root = ygr_field_root(doc);
	int r = ygr_field_object(&root, root_words, error);
	if (r < 0)
		return r;
	r = read_policies(&root, config, error);
	if (r < 0)
		return r;
	r = read_sessions(&root, config, ret_allow, error);
	return r < 0 ? r : read_limits(&root, config, error);
}

static int read_file(const char *path, struct ygr_guest_config *config, struct ygr_error *error)
{
	struct ygr_doc **docs = NULL;
	size_t count = 0;
	const json_t *allow = NULL;
	json_t *empty = NULL;
	int r = 0;

	if (access(path, F_OK) == 0 || errno != ENOENT) {
		r = ygr_yaml_read(path, NULL, &docs, &count, error);
		if (r < 0)
			return r;
	}
	if (count > 1)
		r = ygr_error_set(error, EINVAL, "%s: expected one document, found %zu", path, count);
	else if (count == 1)
		r = read_document(docs[0], config, &allow, error);
	if (r == 0 && !allow)
		allow = empty = json_object();
	if (r == 0) {
		config->allow = allow ? ygr_grant_new_json(allow, false, error) : NULL;
		if (!config->allow && error->code == 0)
			ygr_error_set(error, ENOMEM, "out of memory");
		if (!config->allow)
			r = ygr_error_prefix(error, "%s: sessions.allow", path);
	}
	json_decref(empty);
	ygr_docs_free(docs, count);
	return r;
}

int ygr_guest_config_read(const char *path, struct ygr_guest_config *ret_config)
{
	struct ygr_guest_config config = {
	    .max_sessions = 16, .handles = 1024, .memory = 256u << 20, .enforce = true};
	struct ygr_error error = YGR_ERROR_INIT;

	int r = read_file(path, &config, &error);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		if (error.code == 0)
			ygr_error_set(&error, -r, "%s: cannot be read: %s", path, strerror(-r));
		config.broken = error;
		config.enforce = false;
	}
	*ret_config = config;
	return 0;
}

void ygr_guest_config_deinit(struct ygr_guest_config *config)
{
	config->allow = ygr_grant_free(config->allow);
}
