/*
 * Strict decoding of documents: a field is a place in a document (value, parent, name), made on the stack
 * while walking down, so that an error can say `file:line:column: spec.apps[0].program: expected ..., found
 * ...` without any path having been built on the good way. Unknown members are errors, with the nearest
 * known name.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/base/yaml.h"

struct ygr_field {
	const struct ygr_doc *doc;
	const json_t *value;
	const struct ygr_field *parent; /* NULL at the root */
	const char *key;                /* of a member, borrowed; NULL for an item */
	size_t index;
};

struct ygr_field ygr_field_root(const struct ygr_doc *doc);

/* Records "file:line:column: path: SENTENCE" as EINVAL; returns -EINVAL. */
int ygr_field_error(const struct ygr_field *field, struct ygr_error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "expected WHAT, found <what is there>"; returns -EINVAL. */
int ygr_field_expected(const struct ygr_field *field, struct ygr_error *error, const char *what);

/* A mapping whose keys are all in KNOWN (NULL-terminated; a NULL list allows any key). */
int ygr_field_object(const struct ygr_field *field, const char *const *known, struct ygr_error *error);

/* Member KEY of an object: false when it is absent or null. */
bool ygr_field_member(const struct ygr_field *object, const char *key, struct ygr_field *ret_member);
/* The same, and an error at OBJECT that KEY is required. */
int ygr_field_require(const struct ygr_field *object, const char *key, struct ygr_field *ret_member,
		      struct ygr_error *error);

/* A list of MIN..MAX items. */
int ygr_field_array(const struct ygr_field *field, size_t min, size_t max, size_t *ret_count,
		    struct ygr_error *error);
struct ygr_field ygr_field_item(const struct ygr_field *array, size_t index);

int ygr_field_bool(const struct ygr_field *field, bool *ret, struct ygr_error *error);
int ygr_field_int(const struct ygr_field *field, int64_t min, int64_t max, int64_t *ret,
		  struct ygr_error *error);

/* A string of MIN..MAX bytes without control characters; borrowed from the document. */
int ygr_field_string(const struct ygr_field *field, size_t min, size_t max, const char **ret,
		     struct ygr_error *error);
/* The same, copied; *ret is freed first, so that a default can be overwritten. */
int ygr_field_dup(const struct ygr_field *field, size_t min, size_t max, char **ret,
		  struct ygr_error *error);
/* One of WORDS (NULL-terminated): its index. */
int ygr_field_enum(const struct ygr_field *field, const char *const *words, int *ret,
		   struct ygr_error *error);
/* A list of strings, copied; on error what was copied is freed. */
int ygr_field_strings(const struct ygr_field *field, size_t max_items, size_t max_bytes, char ***ret_items,
		      size_t *ret_count, struct ygr_error *error);
void ygr_strings_free(char **items, size_t count);

/* The word of WORDS (NULL-terminated) that WORD was probably meant to be, or NULL. */
const char *ygr_nearest(const char *word, const char *const *words);
