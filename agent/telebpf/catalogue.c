/*
 * The catalogue of programs; see catalogue.h. Entries are decoded strictly into C for what the agent uses
 * itself (executable, hash, arguments, columns), while the lists of the grant stay JSON: they are checked by
 * ygr_grant_new_json(), which the session and the guest use too, so that there is one opinion about them.
 */
#include "agent/telebpf/catalogue.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/telebpf/telebpf.h"
#include "lib/base/cleanup.h"
#include "lib/base/decode.h"
#include "lib/base/hex.h"
#include "lib/wire/grant.h"

#define NAME_MAX_BYTES   63
#define PATH_MAX_BYTES   4095
#define ARGS_MAX         64
#define ARG_MAX_BYTES    256
#define VALID_SECONDS    3600
#define SUFFIX_MAX_BYTES 32
#define CLOCK_SLACK      300 /* a guest's clock may be behind */

struct ygr_catalogue_entry {
	struct ygr_catalogue_entry *next;
	char *name;
	char *executable;
	char *file;  /* that has the entry, for errors */
	char **args; /* patterns */
	size_t arg_count;
	bool header;
	int wake;      /* in ygr_wake_words */
	json_t *grant; /* the lists, common ones merged in */

	pthread_mutex_t lock; /* the hash */
	bool hash_known;
	uint8_t sha256[32];
};

struct ygr_catalogue {
	struct ygr_catalogue_entry *first;
	size_t count;
};

const char *const ygr_wake_words[] = {"Adaptive", "Notify", NULL};

static const char *const grant_lists[] = {"programTypes", "attach", "helpers", "kfuncs", NULL};
static const char *const file_lists[] = {"read", "write", NULL};

static struct ygr_catalogue_entry *entry_free(struct ygr_catalogue_entry *entry)
{
	if (!entry)
		return NULL;
	free(entry->name);
	free(entry->executable);
	free(entry->file);
	ygr_strings_free(entry->args, entry->arg_count);
	json_decref(entry->grant);
	pthread_mutex_destroy(&entry->lock);
	free(entry);
	return NULL;
}

static void entry_freep(struct ygr_catalogue_entry **entry)
{
	entry_free(*entry);
}

struct ygr_catalogue *ygr_catalogue_free(struct ygr_catalogue *catalogue)
{
	if (!catalogue)
		return NULL;
	for (struct ygr_catalogue_entry *next, *entry = catalogue->first; entry; entry = next) {
		next = entry->next;
		entry_free(entry);
	}
	free(catalogue);
	return NULL;
}

/* Merging: a program's list is the common one, then its own. */

static json_t *joined(const json_t *common, const json_t *own)
{
	json_t *list = json_array();
	if (list && json_is_array(common))
		json_array_extend(list, (json_t *)common);
	if (list && json_is_array(own))
		json_array_extend(list, (json_t *)own);
	return list;
}

static json_t *merge(const json_t *common, const json_t *own)
{
	json_t *grant = json_object();
	json_t *files = json_object();
	for (const char *const *list = grant_lists; *list; list++)
		json_object_set_new(grant, *list,
				    joined(json_object_get(common, *list), json_object_get(own, *list)));
	for (const char *const *list = file_lists; *list; list++)
		json_object_set_new(files, *list,
				    joined(json_object_get(json_object_get(common, "files"), *list),
					   json_object_get(json_object_get(own, "files"), *list)));
	json_object_set_new(grant, "files", files);
	for (const char *const *copied = (const char *const[]){"ids", "limits", NULL}; *copied; copied++) {
		json_t *value = json_object_get(own, *copied);
		if (!value)
			value = json_object_get(common, *copied);
		if (value)
			json_object_set(grant, *copied, value);
	}
	return grant;
}

static void identify(json_t *grant, const char *program, const uint8_t sha256[32], const char *vm,
		     int64_t now)
{
	char hex[65];
	ygr_hex_encode(sha256, 32, hex);
	json_object_set_new(grant, "program", json_string(program));
	json_object_set_new(grant, "sha256", json_string(hex));
	json_object_set_new(grant, "vm", json_string(vm));
	json_object_set_new(grant, "issuedAt", json_integer(now > CLOCK_SLACK ? now - CLOCK_SLACK : 0));
	json_object_set_new(grant, "notAfter", json_integer(now + VALID_SECONDS));
}

json_t *ygr_catalogue_grant(const struct ygr_catalogue_entry *entry, const uint8_t sha256[32],
			    const char *vm, int64_t now)
{
	json_t *grant = json_deep_copy(entry->grant);
	if (grant)
		identify(grant, entry->name, sha256, vm, now);
	return grant;
}

json_t *ygr_catalogue_grant_adhoc(const char *path, const uint8_t sha256[32], const char *vm, int64_t now)
{
	char program[PATH_MAX_BYTES + 8];
	snprintf(program, sizeof(program), "adhoc:%s", path);
	/* "*" leaves sys_bpf out; a feature probe loads it, and what may run at all is the owner's word. */
	json_t *grant =
	    json_pack("{s:[s], s:[s], s:[s,s], s:[s], s:b, s:{s:[s], s:[s,s]}, s:{s:i, s:I}}",
		      "programTypes", "*", "attach", "*", "helpers", "*", "sys_bpf", "kfuncs", "*", "ids", 1,
		      "files", "read", "/**", "write", "/sys/kernel/tracing/**", "/sys/fs/bpf/**", "limits",
		      "handles", (int)YGR_GRANT_HANDLES_MAX, "memory", (json_int_t)YGR_GRANT_MEMORY_MAX);
	if (grant)
		identify(grant, program, sha256, vm, now);
	return grant;
}

/* Decoding. */

static int decode_hash(const struct ygr_field *field, struct ygr_catalogue_entry *entry,
		       struct ygr_error *error)
{
	const char *text;
	int r = ygr_field_string(field, 4, 64, &text, error);
	if (r < 0 || strcmp(text, "Auto") == 0)
		return r;
	if (ygr_hex_decode(text, entry->sha256, sizeof(entry->sha256)) < 0)
		return ygr_field_expected(field, error, "Auto or 64 hexadecimal digits");
	entry->hash_known = true;
	return 0;
}

static int decode_columns(const struct ygr_field *field, struct ygr_catalogue_entry *entry,
			  struct ygr_error *error)
{
	static const char *const known[] = {"header", NULL};
	struct ygr_field header;
	int r = ygr_field_object(field, known, error);
	if (r == 0 && ygr_field_member(field, "header", &header))
		r = ygr_field_bool(&header, &entry->header, error);
	return r;
}

/* The lists are judged as the grant they will become. */
static int check_grant(const struct ygr_field *field, const struct ygr_catalogue_entry *entry,
		       struct ygr_error *error)
{
	static const uint8_t zero[32];
	struct ygr_error why = YGR_ERROR_INIT;
	json_t *grant = ygr_catalogue_grant(entry, zero, "00000000-0000-0000-0000-000000000000", 1);
	struct ygr_grant *parsed = grant ? ygr_grant_new_json(grant, true, &why) : NULL;
	json_decref(grant);
	if (!parsed)
		return ygr_field_error(field, error, "%s", why.message);
	ygr_grant_free(parsed);
	return 0;
}

/* Where EXECUTABLE alone is not there, its name with SUFFIX is taken if that is. 0 or -ENOMEM. */
static int try_suffix(struct ygr_catalogue_entry *entry, const char *suffix)
{
	char *other = NULL;

	if (!suffix || access(entry->executable, F_OK) == 0)
		return 0;
	if (asprintf(&other, "%s%s", entry->executable, suffix) < 0)
		return -ENOMEM;
	if (access(other, F_OK) == 0) {
		free(entry->executable);
		entry->executable = ygr_steal_ptr(&other);
	}
	free(other);
	return 0;
}

static int decode_entry(const struct ygr_field *field, const json_t *common,
			struct ygr_catalogue_entry *entry, struct ygr_error *error)
{
	static const char *const known[] = {"name",         "executable", "sha256",  "args",   "columns",
					    "programTypes", "attach",     "helpers", "kfuncs", "files",
					    "limits",       "ids",        "wake",    NULL};
	struct ygr_field member;
	int r = ygr_field_object(field, known, error);
	if (r == 0)
		r = ygr_field_require(field, "name", &member, error);
	if (r == 0)
		r = ygr_field_dup(&member, 1, NAME_MAX_BYTES, &entry->name, error);
	if (r == 0)
		r = ygr_field_require(field, "executable", &member, error);
	if (r == 0)
		r = ygr_field_dup(&member, 2, PATH_MAX_BYTES, &entry->executable, error);
	if (r == 0 && entry->executable[0] != '/')
		r = ygr_field_expected(&member, error, "an absolute path");
	if (r == 0 && ygr_field_member(field, "sha256", &member))
		r = decode_hash(&member, entry, error);
	if (r == 0 && ygr_field_member(field, "args", &member))
		r = ygr_field_strings(&member, ARGS_MAX, ARG_MAX_BYTES, &entry->args, &entry->arg_count,
				      error);
	if (r == 0 && ygr_field_member(field, "columns", &member))
		r = decode_columns(&member, entry, error);
	if (r == 0 && ygr_field_member(field, "wake", &member))
		r = ygr_field_enum(&member, ygr_wake_words, &entry->wake, error);
	if (r < 0)
		return r;

	entry->grant = merge(common, field->value);
	return entry->grant ? check_grant(field, entry, error)
			    : ygr_error_set(error, ENOMEM, "out of memory");
}

static int add_entry(struct ygr_catalogue *catalogue, const struct ygr_field *field, const json_t *common,
		     const char *suffix, struct ygr_error *error)
{
	_cleanup_(entry_freep) struct ygr_catalogue_entry *entry = calloc(1, sizeof(*entry));
	if (!entry)
		return ygr_error_set(error, ENOMEM, "out of memory");
	pthread_mutex_init(&entry->lock, NULL);
	entry->file = strdup(ygr_doc_file(field->doc));
	int r = entry->file ? decode_entry(field, common, entry, error)
			    : ygr_error_set(error, ENOMEM, "out of memory");
	if (r == 0 && try_suffix(entry, suffix) < 0)
		r = ygr_error_set(error, ENOMEM, "out of memory");
	if (r < 0)
		return r;

	const struct ygr_catalogue_entry *other = ygr_catalogue_find(catalogue, entry->name, NULL);
	if (other)
		return ygr_field_error(field, error, "program %s is in %s already", entry->name,
				       other->file);
	if (catalogue->count == YGR_CATALOGUE_PROGRAMS_MAX)
		return ygr_field_error(field, error, "more than %d programs", YGR_CATALOGUE_PROGRAMS_MAX);
	entry->next = catalogue->first;
	catalogue->first = ygr_steal_ptr(&entry);
	catalogue->count++;
	return 0;
}

static int add_document(struct ygr_catalogue *catalogue, const struct ygr_doc *doc, struct ygr_error *error)
{
	static const char *const known[] = {"apiVersion", "kind", "common", "suffix", "programs", NULL};
	static const char *const kinds[] = {"Catalogue", NULL};
	static const char *const versions[] = {"yagura.dev/v1alpha1", NULL};
	struct ygr_field root = ygr_field_root(doc), member;
	const json_t *common = NULL;
	char suffix[SUFFIX_MAX_BYTES + 1] = "";
	size_t count = 0;
	int word;

	int r = ygr_field_object(&root, known, error);
	if (r == 0)
		r = ygr_field_require(&root, "apiVersion", &member, error);
	if (r == 0)
		r = ygr_field_enum(&member, versions, &word, error);
	if (r == 0)
		r = ygr_field_require(&root, "kind", &member, error);
	if (r == 0)
		r = ygr_field_enum(&member, kinds, &word, error);
	if (r == 0 && ygr_field_member(&root, "common", &member)) {
		r = ygr_field_object(&member,
				     (const char *const[]){"programTypes", "attach", "helpers", "kfuncs",
							   "files", "limits", "ids", NULL},
				     error);
		common = member.value;
	}
	if (r == 0 && ygr_field_member(&root, "suffix", &member)) {
		_cleanup_free_ char *text = NULL;
		r = ygr_field_dup(&member, 1, SUFFIX_MAX_BYTES, &text, error);
		if (r == 0 && strchr(text, '/'))
			r = ygr_field_expected(&member, error, "the ending of a file's name");
		if (r == 0)
			strcpy(suffix, text);
	}
	if (r == 0)
		r = ygr_field_require(&root, "programs", &member, error);
	if (r == 0)
		r = ygr_field_array(&member, 0, YGR_CATALOGUE_PROGRAMS_MAX, &count, error);
	for (size_t i = 0; i < count && r == 0; i++) {
		struct ygr_field item = ygr_field_item(&member, i);
		r = add_entry(catalogue, &item, common, *suffix ? suffix : NULL, error);
	}
	return r;
}

int ygr_catalogue_read(const char *const *paths, size_t count, struct ygr_catalogue **ret,
		       struct ygr_error *error)
{
	struct ygr_catalogue *catalogue = calloc(1, sizeof(*catalogue));
	if (!catalogue)
		return ygr_error_set(error, ENOMEM, "out of memory");

	int r = 0;
	for (size_t i = 0; i < count && r == 0; i++) {
		struct ygr_doc **docs = NULL;
		size_t n = 0;
		r = ygr_yaml_read(paths[i], NULL, &docs, &n, error);
		for (size_t k = 0; k < n && r == 0; k++)
			r = add_document(catalogue, docs[k], error);
		ygr_docs_free(docs, n);
	}
	if (r < 0) {
		ygr_catalogue_free(catalogue);
		return r;
	}
	*ret = catalogue;
	return 0;
}

const struct ygr_catalogue_entry *ygr_catalogue_find(const struct ygr_catalogue *catalogue, const char *name,
						     const char **ret_nearest)
{
	const char *names[YGR_CATALOGUE_PROGRAMS_MAX + 1];
	size_t n = 0;
	for (const struct ygr_catalogue_entry *entry = catalogue->first; entry; entry = entry->next) {
		if (strcmp(entry->name, name) == 0)
			return entry;
		names[n++] = entry->name;
	}
	names[n] = NULL;
	if (ret_nearest)
		*ret_nearest = ygr_nearest(name, names);
	return NULL;
}

const char *ygr_catalogue_executable(const struct ygr_catalogue_entry *entry)
{
	return entry->executable;
}

const char *ygr_catalogue_wake(const struct ygr_catalogue_entry *entry)
{
	return ygr_wake_words[entry->wake];
}

bool ygr_catalogue_has_header(const struct ygr_catalogue_entry *entry)
{
	return entry->header;
}

int ygr_catalogue_check_args(const struct ygr_catalogue_entry *entry, char *const *args,
			     struct ygr_error *error)
{
	for (; args && *args; args++) {
		size_t i = 0;
		while (i < entry->arg_count && fnmatch(entry->args[i], *args, 0) != 0)
			i++;
		if (i == entry->arg_count)
			return ygr_error_set(error, EPERM,
					     "%s: the catalogue (%s) does not allow the argument \"%s\"",
					     entry->name, entry->file, *args);
	}
	return 0;
}

int ygr_catalogue_hash_file(const char *path, uint8_t ret_sha256[32], struct ygr_error *error)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return ygr_error_set(error, errno, "%s: %s", path, strerror(errno));

	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool ok = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL);
	uint8_t chunk[16384];
	ssize_t n = 0;
	while (ok && (n = read(fd, chunk, sizeof(chunk))) > 0)
		ok = EVP_DigestUpdate(context, chunk, (size_t)n);
	int saved = n < 0 ? errno : ENOMEM;
	ok = ok && n == 0 && EVP_DigestFinal_ex(context, ret_sha256, NULL);
	EVP_MD_CTX_free(context);
	return ok ? 0 : ygr_error_set(error, saved, "%s: %s", path, strerror(saved));
}

int ygr_catalogue_hash(const struct ygr_catalogue_entry *entry, uint8_t ret_sha256[32],
		       struct ygr_error *error)
{
	struct ygr_catalogue_entry *e = (struct ygr_catalogue_entry *)entry;
	pthread_mutex_lock(&e->lock);
	int r = e->hash_known ? 0 : ygr_catalogue_hash_file(e->executable, e->sha256, error);
	if (r == 0) {
		e->hash_known = true;
		memcpy(ret_sha256, e->sha256, sizeof(e->sha256));
	}
	pthread_mutex_unlock(&e->lock);
	return r;
}
