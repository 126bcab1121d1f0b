/* See decode.h. Paths and JSON pointers are written only when there is an error to report. */
#include "lib/base/decode.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PATH_MAX_BYTES 256
#define NEAREST_MAX    64 /* longer words are not compared */

struct ygr_field ygr_field_root(const struct ygr_doc *doc)
{
	return (struct ygr_field){.doc = doc, .value = ygr_doc_root(doc)};
}

struct text {
	char *data;
	size_t size, len;
};

static void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void text_add(struct text *text, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int n = vsnprintf(text->data + text->len, text->size - text->len, format, args);
	va_end(args);
	if (n > 0)
		text->len += (size_t)n < text->size - text->len ? (size_t)n : text->size - text->len - 1;
}

static void write_path(const struct ygr_field *field, struct text *path)
{
	if (!field->parent)
		return;
	write_path(field->parent, path);
	if (!field->key)
		text_add(path, "[%zu]", field->index);
	else if (strpbrk(field->key, "./[]")) /* a label key */
		text_add(path, "[%.80s]", field->key);
	else
		text_add(path, "%s%.80s", path->len ? "." : "", field->key);
}

static void write_pointer(const struct ygr_field *field, struct text *pointer)
{
	if (!field->parent)
		return;
	write_pointer(field->parent, pointer);
	if (!field->key) {
		text_add(pointer, "/%zu", field->index);
		return;
	}
	text_add(pointer, "/");
	for (const char *p = field->key; *p; p++) {
		if (*p == '~')
			text_add(pointer, "~0");
		else if (*p == '/')
			text_add(pointer, "~1");
		else
			text_add(pointer, "%c", *p);
	}
}

int ygr_field_error(const struct ygr_field *field, struct ygr_error *error, const char *format, ...)
{
	char sentence[YGR_ERROR_MESSAGE_MAX], path_data[PATH_MAX_BYTES] = "";
	char pointer_data[YGR_YAML_DEPTH_MAX * 64 + YGR_YAML_KEY_MAX * 2] = "";
	struct text path = {path_data, sizeof(path_data), 0};
	struct text pointer = {pointer_data, sizeof(pointer_data), 0};
	unsigned line, column;
	va_list args;

	va_start(args, format);
	vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	write_path(field, &path);
	write_pointer(field, &pointer);
	const char *file = ygr_doc_file(field->doc), *colon = path.len ? ": " : "";
	if (ygr_doc_position(field->doc, pointer_data, &line, &column) < 0)
		return ygr_error_set(error, EINVAL, "%s: %s%s%s", file, path_data, colon, sentence);
	return ygr_error_set(error, EINVAL, "%s:%u:%u: %s%s%s", file, line, column, path_data, colon,
			     sentence);
}

static void describe(const json_t *value, char *out, size_t size)
{
	switch (json_typeof(value)) {
	case JSON_STRING:
		snprintf(out, size, "\"%.48s\"%s", json_string_value(value),
			 json_string_length(value) > 48 ? "..." : "");
		break;
	case JSON_INTEGER:
		snprintf(out, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		break;
	case JSON_REAL:
		snprintf(out, size, "%g", json_real_value(value));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		snprintf(out, size, "%s", json_is_true(value) ? "true" : "false");
		break;
	case JSON_NULL:
		snprintf(out, size, "null");
		break;
	case JSON_ARRAY:
		snprintf(out, size, "a list");
		break;
	case JSON_OBJECT:
		snprintf(out, size, "a mapping");
		break;
	}
}

int ygr_field_expected(const struct ygr_field *field, struct ygr_error *error, const char *what)
{
	char found[80];

	describe(field->value, found, sizeof(found));
	return ygr_field_error(field, error, "expected %s, found %s", what, found);
}

/* Levenshtein's distance without regard to case; words longer than NEAREST_MAX are infinitely far. */
static size_t distance(const char *a, const char *b)
{
	size_t row[NEAREST_MAX + 1], la = strlen(a), lb = strlen(b);

	if (la > NEAREST_MAX || lb > NEAREST_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t best = diagonal + (strncasecmp(&a[i - 1], &b[j - 1], 1) != 0);
			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[lb];
}

const char *ygr_nearest(const char *word, const char *const *words)
{
	size_t limit = strlen(word) < 4 ? 2 : 3, best = limit;
	const char *nearest = NULL;

	for (; *words; words++) {
		size_t d = distance(word, *words);
		if (d < best) {
			best = d;
			nearest = *words;
		}
	}
	return nearest;
}

int ygr_field_object(const struct ygr_field *field, const char *const *known, struct ygr_error *error)
{
	const char *key;
	json_t *value;

	if (!json_is_object(field->value))
		return ygr_field_expected(field, error, "a mapping");
	json_object_foreach((json_t *)field->value, key, value)
	{
		const char *const *p = known;
		while (p && *p && strcmp(*p, key) != 0)
			p++;
		if (!p || *p)
			continue;
		struct ygr_field unknown = {field->doc, value, field, key, 0};
		const char *nearest = ygr_nearest(key, known);
		if (nearest)
			return ygr_field_error(&unknown, error, "unknown field, did you mean \"%s\"?",
					       nearest);
		return ygr_field_error(&unknown, error, "unknown field");
	}
	return 0;
}

bool ygr_field_member(const struct ygr_field *object, const char *key, struct ygr_field *ret_member)
{
	const json_t *value = json_object_get(object->value, key);

	if (!value || json_is_null(value))
		return false;
	*ret_member = (struct ygr_field){object->doc, value, object, key, 0};
	return true;
}

int ygr_field_require(const struct ygr_field *object, const char *key, struct ygr_field *ret_member,
		      struct ygr_error *error)
{
	if (ygr_field_member(object, key, ret_member))
		return 0;
	return ygr_field_error(object, error, "\"%s\" is required", key);
}

int ygr_field_array(const struct ygr_field *field, size_t min, size_t max, size_t *ret_count,
		    struct ygr_error *error)
{
	if (!json_is_array(field->value))
		return ygr_field_expected(field, error, "a list");
	size_t count = json_array_size(field->value);
	if (count < min)
		return ygr_field_error(field, error, "expected at least %zu item%s, found %zu", min,
				       min == 1 ? "" : "s", count);
	if (count > max)
		return ygr_field_error(field, error, "expected at most %zu items, found %zu", max, count);
	*ret_count = count;
	return 0;
}

struct ygr_field ygr_field_item(const struct ygr_field *array, size_t index)
{
	return (struct ygr_field){array->doc, json_array_get(array->value, index), array, NULL, index};
}

int ygr_field_bool(const struct ygr_field *field, bool *ret, struct ygr_error *error)
{
	if (!json_is_boolean(field->value))
		return ygr_field_expected(field, error, "true or false");
	*ret = json_is_true(field->value);
	return 0;
}

int ygr_field_int(const struct ygr_field *field, int64_t min, int64_t max, int64_t *ret,
		  struct ygr_error *error)
{
	char what[96];
	int64_t value = json_integer_value(field->value);

	if (!json_is_integer(field->value) || value < min || value > max) {
		snprintf(what, sizeof(what), "a whole number from %lld to %lld", (long long)min,
			 (long long)max);
		return ygr_field_expected(field, error, what);
	}
	*ret = value;
	return 0;
}

static bool has_control(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return true;
	return false;
}

int ygr_field_string(const struct ygr_field *field, size_t min, size_t max, const char **ret,
		     struct ygr_error *error)
{
	char what[64];

	if (json_is_integer(field->value) || json_is_real(field->value) || json_is_boolean(field->value))
		return ygr_field_expected(field, error, "a string (quote it)");
	if (!json_is_string(field->value))
		return ygr_field_expected(field, error, "a string");
	size_t len = json_string_length(field->value);
	if (len < min || len > max) {
		snprintf(what, sizeof(what), "a string of %zu to %zu bytes", min, max);
		return ygr_field_expected(field, error, what);
	}
	if (has_control(json_string_value(field->value)))
		return ygr_field_error(field, error, "expected a string without control characters");
	*ret = json_string_value(field->value);
	return 0;
}

int ygr_field_dup(const struct ygr_field *field, size_t min, size_t max, char **ret, struct ygr_error *error)
{
	const char *text;
	int r = ygr_field_string(field, min, max, &text, error);

	if (r < 0)
		return r;
	char *copy = strdup(text);
	if (!copy)
		return ygr_error_set(error, ENOMEM, "out of memory");
	free(*ret);
	*ret = copy;
	return 0;
}

int ygr_field_enum(const struct ygr_field *field, const char *const *words, int *ret,
		   struct ygr_error *error)
{
	char what[YGR_ERROR_MESSAGE_MAX / 2] = "";
	struct text list = {what, sizeof(what), 0};
	const char *text = json_string_value(field->value);

	for (int i = 0; words[i]; i++) {
		if (text && !strcmp(words[i], text)) {
			*ret = i;
			return 0;
		}
		text_add(&list, "%s%s", !i ? "" : words[i + 1] ? ", " : " or ", words[i]);
	}
	return ygr_field_expected(field, error, what);
}

void ygr_strings_free(char **items, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(items[i]);
	free(items);
}

int ygr_field_strings(const struct ygr_field *field, size_t max_items, size_t max_bytes, char ***ret_items,
		      size_t *ret_count, struct ygr_error *error)
{
	size_t count;
	int r = ygr_field_array(field, 0, max_items, &count, error);

	if (r < 0)
		return r;
	char **items = calloc(count + 1, sizeof(*items)); /* NULL-terminated for exec-like users */
	if (!items)
		return ygr_error_set(error, ENOMEM, "out of memory");
	for (size_t i = 0; i < count; i++) {
		struct ygr_field item = ygr_field_item(field, i);
		r = ygr_field_dup(&item, 0, max_bytes, &items[i], error);
		if (r < 0) {
			ygr_strings_free(items, count);
			return r;
		}
	}
	*ret_items = items;
	*ret_count = count;
	return 0;
}
