/* Grants: JSON to lists, and the questions about files; see grant.h. */
#include "lib/wire/grant.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/hex.h"
#include "lib/wire/bpf-names.h"
#include "lib/wire/glob.h"
#include "lib/wire/grant-lists.h"

#define ENTRY_MAX       4095 /* bytes of one entry: PATH_MAX */
#define NAME_MAX_BYTES  4096 /* of program */
#define DEFAULT_HANDLES 1024
#define DEFAULT_MEMORY  (64u << 20)

/* One field that is being read: FIELD is the path for people, e.g. "files.read". */
struct reading {
	bool strict;
	struct ygr_error *error;
};

typedef int (*check_entry)(const char *entry);

static int check_any(const char *entry)
{
	(void)entry;
	return 0;
}

static int check_program_type(const char *entry)
{
	if (strcmp(entry, "*") == 0)
		return 0;
	const char *name;
	for (uint32_t i = 1; (name = ygr_bpf_prog_type_name(i)); i++)
		if (strcmp(entry, name) == 0)
			return 0;
	return -EINVAL;
}

static int check_helper(const char *entry)
{
	const char *name;
	for (uint32_t i = 1; (name = ygr_bpf_helper_name(i)); i++)
		if (ygr_glob_match(entry, name))
			return 0;
	return -EINVAL;
}

static int check_attach(const char *entry)
{
	static const char *const kinds[] = {
	    "tracepoint:", "raw_tracepoint:", "kprobe:", "uprobe:", "btf:",
	    "lsm:",        "iter:",           "perf:",   "net:",    "struct_ops:"};
	if (strcmp(entry, "*") == 0)
		return 0;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		size_t len = strlen(kinds[i]);
		if (strncmp(entry, kinds[i], len) == 0)
			return entry[len] ? 0 : -EINVAL;
	}
	return -EINVAL;
}

static int check_path(const char *entry)
{
	return ygr_grant_path_is_clean(entry) ? 0 : -EINVAL;
}

static void list_deinit(struct ygr_grant_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->entries[i]);
	free(list->entries);
}

/* Fills LIST, which the grant owns already: what was taken before a failure is freed with the grant. */
static int read_list(const json_t *json, const char *field, check_entry check, const struct reading *reading,
		     struct ygr_grant_list *list)
{
	if (!json) {
		list->all = !reading->strict;
		return 0;
	}
	if (!json_is_array(json))
		return ygr_error_set(reading->error, EINVAL, "%s: expected a list", field);
	size_t count = json_array_size(json);
	if (count > YGR_GRANT_LIST_MAX)
		return ygr_error_set(reading->error, EINVAL, "%s: %zu entries, at most %d are allowed",
				     field, count, YGR_GRANT_LIST_MAX);
	list->entries = calloc(count + 1, sizeof(*list->entries));
	if (!list->entries)
		return ygr_error_set(reading->error, ENOMEM, "out of memory");

	for (size_t i = 0; i < count; i++) {
		const json_t *value = json_array_get(json, i);
		const char *entry = json_string_value(value);
		size_t len = json_string_length(value);
		if (!entry || len == 0 || len > ENTRY_MAX || strlen(entry) != len)
			return ygr_error_set(reading->error, EINVAL,
					     "%s[%zu]: expected a string of 1 to %d bytes", field, i,
					     ENTRY_MAX);
		if (check(entry) < 0)
			return ygr_error_set(reading->error, EINVAL,
					     "%s[%zu]: '%s' is nothing that can be allowed", field, i,
					     entry);
		list->entries[i] = strdup(entry);
		if (!list->entries[i])
			return ygr_error_set(reading->error, ENOMEM, "out of memory");
		list->count++;
	}
	return 0;
}

static int read_string(const json_t *json, const char *field, const struct reading *reading, char **ret)
{
	if (!json && reading->strict)
		return ygr_error_set(reading->error, EINVAL, "%s is missing", field);
	const char *text = json ? json_string_value(json) : "";
	if (!text || (json && (!*text || strlen(text) != json_string_length(json))) ||
	    strlen(text) > NAME_MAX_BYTES)
		return ygr_error_set(reading->error, EINVAL, "%s: expected a string of 1 to %d bytes", field,
				     NAME_MAX_BYTES);
	*ret = strdup(text);
	return *ret ? 0 : ygr_error_set(reading->error, ENOMEM, "out of memory");
}

/* An integer from MIN to MAX; when absent, *ret stays, or it is an error if REQUIRED. */
static int read_integer(const json_t *json, const char *field, bool required, int64_t min, int64_t max,
			const struct reading *reading, int64_t *ret)
{
	if (!json)
		return required ? ygr_error_set(reading->error, EINVAL, "%s is missing", field) : 0;
	if (!json_is_integer(json) || json_integer_value(json) < min || json_integer_value(json) > max)
		return ygr_error_set(reading->error, EINVAL, "%s: expected a number from %lld to %lld",
				     field, (long long)min, (long long)max);
	*ret = json_integer_value(json);
	return 0;
}

static int read_sha256(const json_t *json, const struct reading *reading)
{
	uint8_t digest[32];
	if (json && (!json_is_string(json) || json_string_length(json) != 64 ||
		     ygr_hex_decode(json_string_value(json), digest, sizeof(digest)) < 0))
		return ygr_error_set(reading->error, EINVAL, "sha256: expected 64 hexadecimal digits");
	return 0;
}

/* Is JSON (or absent) an object with no other fields than NAMES (NULL-terminated)? */
static int check_fields(const json_t *json, const char *prefix, const char *const *names,
			const struct reading *reading)
{
	if (!json)
		return 0;
	if (!json_is_object(json))
		return ygr_error_set(reading->error, EINVAL, "%s: expected an object",
				     *prefix ? prefix : "grant");
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)json, key, value)
	{
		const char *const *name = names;
		while (*name && strcmp(*name, key) != 0)
			name++;
		if (!*name)
			return ygr_error_set(reading->error, EINVAL, "unknown field %s%s%s", prefix,
					     *prefix ? "." : "", key);
	}
	return 0;
}

static int read_limits(struct ygr_grant *grant, const json_t *json, const struct reading *reading)
{
	static const char *const fields[] = {"handles", "memory", NULL};
	int64_t handles = reading->strict ? DEFAULT_HANDLES : YGR_GRANT_HANDLES_MAX;
	int64_t memory = reading->strict ? DEFAULT_MEMORY : (int64_t)YGR_GRANT_MEMORY_MAX;
	int r = check_fields(json, "limits", fields, reading);
	if (r == 0)
		r = read_integer(json_object_get(json, "handles"), "limits.handles", false, 1,
				 YGR_GRANT_HANDLES_MAX, reading, &handles);
	if (r == 0)
		r = read_integer(json_object_get(json, "memory"), "limits.memory", false, 1,
				 YGR_GRANT_MEMORY_MAX, reading, &memory);
	grant->handles = (uint32_t)handles;
	grant->memory = (uint64_t)memory;
	return r;
}

static int read_head(struct ygr_grant *grant, const json_t *json, const struct reading *reading)
{
	int64_t issued_at = 0;
	grant->not_after = INT64_MAX;
	int r = read_string(json_object_get(json, "program"), "program", reading, &grant->program);
	if (r == 0)
		r = read_string(json_object_get(json, "vm"), "vm", reading, &grant->vm);
	if (r == 0)
		r = read_sha256(json_object_get(json, "sha256"), reading);
	if (r == 0)
		r = read_integer(json_object_get(json, "issuedAt"), "issuedAt", reading->strict, 0,
				 INT64_MAX, reading, &issued_at);
	if (r == 0)
		r = read_integer(json_object_get(json, "notAfter"), "notAfter", reading->strict, 0,
				 INT64_MAX, reading, &grant->not_after);
	if (r == 0 && grant->not_after < issued_at)
		r = ygr_error_set(reading->error, EINVAL, "notAfter is before issuedAt");
	return r;
}

static int read_lists(struct ygr_grant *grant, const json_t *json, const struct reading *reading)
{
	static const char *const file_fields[] = {"read", "write", NULL};
	const json_t *files = json_object_get(json, "files");
	int r = check_fields(files, "files", file_fields, reading);
	if (r < 0)
		return r;

	const struct {
		const json_t *json;
		const char *field;
		check_entry check;
		struct ygr_grant_list *list;
	} lists[] = {
	    {json_object_get(json, "programTypes"), "programTypes", check_program_type,
	     &grant->program_types},
	    {json_object_get(json, "attach"), "attach", check_attach, &grant->attach},
	    {json_object_get(json, "helpers"), "helpers", check_helper, &grant->helpers},
	    {json_object_get(json, "kfuncs"), "kfuncs", check_any, &grant->kfuncs},
	    {json_object_get(files, "read"), "files.read", check_path, &grant->read},
	    {json_object_get(files, "write"), "files.write", check_path, &grant->write},
	};
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]) && r == 0; i++)
		r = read_list(lists[i].json, lists[i].field, lists[i].check, reading, lists[i].list);
	return r;
}

static int read_ids(struct ygr_grant *grant, const json_t *json, const struct reading *reading)
{
	if (json && !json_is_boolean(json))
		return ygr_error_set(reading->error, EINVAL, "ids: expected true or false");
	grant->ids = json ? json_is_true(json) : !reading->strict;
	return 0;
}

struct ygr_grant *ygr_grant_new_json(const json_t *json, bool strict, struct ygr_error *error)
{
	static const char *const fields[] = {"program",      "sha256", "vm",      "issuedAt", "notAfter",
					     "programTypes", "attach", "helpers", "kfuncs",   "files",
					     "ids",          "limits", NULL};
	struct reading reading = {.strict = strict, .error = error};
	struct ygr_grant *grant = calloc(1, sizeof(*grant));
	if (!grant) {
		ygr_error_set(error, ENOMEM, "out of memory");
		return NULL;
	}

	int r = json ? check_fields(json, "", fields, &reading)
		     : ygr_error_set(error, EINVAL, "grant: expected an object");
	if (r == 0)
		r = read_head(grant, json, &reading);
	if (r == 0)
		r = read_lists(grant, json, &reading);
	if (r == 0)
		r = read_ids(grant, json_object_get(json, "ids"), &reading);
	if (r == 0)
		r = read_limits(grant, json_object_get(json, "limits"), &reading);
	return r < 0 ? ygr_grant_free(grant) : grant;
}

struct ygr_grant *ygr_grant_free(struct ygr_grant *grant)
{
	if (!grant)
		return NULL;
	list_deinit(&grant->program_types);
	list_deinit(&grant->attach);
	list_deinit(&grant->helpers);
	list_deinit(&grant->kfuncs);
	list_deinit(&grant->read);
	list_deinit(&grant->write);
	free(grant->program);
	free(grant->vm);
	free(grant);
	return NULL;
}

const char *ygr_grant_program(const struct ygr_grant *grant)
{
	return grant->program;
}

const char *ygr_grant_vm(const struct ygr_grant *grant)
{
	return grant->vm;
}

int64_t ygr_grant_not_after(const struct ygr_grant *grant)
{
	return grant->not_after;
}

uint32_t ygr_grant_max_handles(const struct ygr_grant *grant)
{
	return grant->handles;
}

uint64_t ygr_grant_max_memory(const struct ygr_grant *grant)
{
	return grant->memory;
}
