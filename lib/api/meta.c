/* See meta.h. The fields of ObjectMeta that an API server adds are accepted, so that exported objects load.
 */
#include "lib/api/meta.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_dns(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool dns_label(const char *name, size_t len)
{
	if (len < 1 || len > YGR_API_LABEL_MAX || !is_dns(name[0]) || !is_dns(name[len - 1]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_dns(name[i]) && name[i] != '-')
			return false;
	return true;
}

bool ygr_name_is_label(const char *name)
{
	return dns_label(name, strlen(name));
}

static bool subdomain(const char *name, size_t len)
{
	if (len > YGR_API_NAME_MAX)
		return false;
	for (;;) {
		const char *dot = memchr(name, '.', len);
		size_t part = dot ? (size_t)(dot - name) : len;
		if (!dns_label(name, part))
			return false;
		if (!dot)
			return true;
		name += part + 1;
		len -= part + 1;
	}
}

bool ygr_name_is_subdomain(const char *name)
{
	return subdomain(name, strlen(name));
}

/* What a label's value and the last part of its key look like. */
static bool label_word(const char *word, size_t len)
{
	if (len < 1 || len > YGR_API_LABEL_MAX || !isalnum((unsigned char)word[0]) ||
	    !isalnum((unsigned char)word[len - 1]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)word[i]) && !strchr("-_.", word[i]))
			return false;
	return true;
}

bool ygr_label_key_valid(const char *key)
{
	const char *slash = strchr(key, '/');

	if (slash && !subdomain(key, (size_t)(slash - key)))
		return false;
	const char *word = slash ? slash + 1 : key;
	return label_word(word, strlen(word));
}

bool ygr_label_value_valid(const char *value)
{
	return !*value || label_word(value, strlen(value));
}

static struct ygr_label *find(const struct ygr_labels *labels, const char *key)
{
	for (size_t i = 0; i < labels->count; i++)
		if (!strcmp(labels->items[i].key, key))
			return &labels->items[i];
	return NULL;
}

const char *ygr_labels_get(const struct ygr_labels *labels, const char *key)
{
	const struct ygr_label *label = find(labels, key);

	return label ? label->value : NULL;
}

int ygr_labels_set(struct ygr_labels *labels, const char *key, const char *value)
{
	if (!ygr_label_key_valid(key) || !ygr_label_value_valid(value))
		return -EINVAL;
	struct ygr_label *label = find(labels, key);
	char *copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	if (label) {
		free(label->value);
		label->value = copy;
		return 0;
	}
	struct ygr_label *grown = NULL;
	char *key_copy = NULL;
	int r = -E2BIG;
	if (labels->count < YGR_API_LABELS_MAX) {
		r = -ENOMEM;
		grown = reallocarray(labels->items, labels->count + 1, sizeof(*grown));
		labels->items = grown ? grown : labels->items;
		key_copy = strdup(key);
	}
	if (!grown || !key_copy) {
		free(copy);
		free(key_copy);
		return r;
	}
	labels->items[labels->count++] = (struct ygr_label){key_copy, copy};
	return 0;
}

int ygr_labels_copy(const struct ygr_labels *from, struct ygr_labels *to)
{
	struct ygr_labels copy = {0};

	for (size_t i = 0; i < from->count; i++) {
		int r = ygr_labels_set(&copy, from->items[i].key, from->items[i].value);
		if (r < 0) {
			ygr_labels_deinit(&copy);
			return r;
		}
	}
	*to = copy;
	return 0;
}

void ygr_labels_deinit(struct ygr_labels *labels)
{
	for (size_t i = 0; i < labels->count; i++) {
		free(labels->items[i].key);
		free(labels->items[i].value);
	}
	free(labels->items);
	*labels = (struct ygr_labels){0};
}

bool ygr_labels_equal(const struct ygr_labels *a, const struct ygr_labels *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		const char *other = ygr_labels_get(b, a->items[i].key);
		if (!other || strcmp(other, a->items[i].value) != 0)
			return false;
	}
	return true;
}

json_t *ygr_labels_encode(const struct ygr_labels *labels)
{
	json_t *object = json_object();

	for (size_t i = 0; object && i < labels->count; i++)
		if (json_object_set_new(object, labels->items[i].key, json_string(labels->items[i].value)) <
		    0) {
			json_decref(object);
			return NULL;
		}
	return object;
}

static int decode_label(const struct ygr_field *field, struct ygr_labels *labels, struct ygr_error *error)
{
	const char *value;

	if (!ygr_label_key_valid(field->key))
		return ygr_field_error(
		    field, error, "expected a label key such as app or example.org/app, found \"%.64s\"",
		    field->key);
	int r = ygr_field_string(field, 0, YGR_API_LABEL_MAX, &value, error);
	if (r < 0)
		return r;
	if (!ygr_label_value_valid(value))
		return ygr_field_expected(
		    field, error,
		    "a label value (letters, digits, '-', '_', '.'; alphanumeric at both ends)");
	r = ygr_labels_set(labels, field->key, value);
	return r < 0 ? ygr_error_set(error, -r, "out of memory") : 0;
}

int ygr_labels_decode(const struct ygr_field *field, struct ygr_labels *ret, struct ygr_error *error)
{
	struct ygr_labels labels = {0};
	const char *key;
	json_t *value;
	int r = ygr_field_object(field, NULL, error);

	if (r < 0)
		return r;
	if (json_object_size(field->value) > YGR_API_LABELS_MAX)
		return ygr_field_error(field, error, "expected at most %d labels, found %zu",
				       YGR_API_LABELS_MAX, json_object_size(field->value));
	json_object_foreach((json_t *)field->value, key, value)
	{
		struct ygr_field member = {field->doc, value, field, key, 0};
		r = decode_label(&member, &labels, error);
		if (r < 0) {
			ygr_labels_deinit(&labels);
			return r;
		}
	}
	*ret = labels;
	return 0;
}

void ygr_meta_peek(const struct ygr_doc *doc, struct ygr_identity_hint *ret)
{
	const json_t *root = ygr_doc_root(doc), *metadata = json_object_get(root, "metadata");
	const char *ns = json_string_value(json_object_get(metadata, "namespace"));

	*ret = (struct ygr_identity_hint){
	    .api_version = json_string_value(json_object_get(root, "apiVersion")),
	    .kind = json_string_value(json_object_get(root, "kind")),
	    .namespace_ = ns ? ns : YGR_NAMESPACE_DEFAULT,
	    .name = json_string_value(json_object_get(metadata, "name")),
	};
}

static int decode_names(const struct ygr_field *metadata, struct ygr_meta *meta, struct ygr_error *error)
{
	struct ygr_field field;
	int r = ygr_field_require(metadata, "name", &field, error);

	if (r < 0)
		return r;
	r = ygr_field_dup(&field, 1, YGR_API_NAME_MAX, &meta->name, error);
	if (r < 0)
		return r;
	if (!ygr_name_is_subdomain(meta->name))
		return ygr_field_expected(
		    &field, error, "a name of lower case letters, digits, '-' and '.', such as web-3");
	if (!ygr_field_member(metadata, "namespace", &field)) {
		meta->namespace_ = strdup(YGR_NAMESPACE_DEFAULT);
		return meta->namespace_ ? 0 : ygr_error_set(error, ENOMEM, "out of memory");
	}
	r = ygr_field_dup(&field, 1, YGR_API_LABEL_MAX, &meta->namespace_, error);
	if (r < 0)
		return r;
	if (!ygr_name_is_label(meta->namespace_))
		return ygr_field_expected(
		    &field, error, "a namespace of lower case letters, digits and '-', such as default");
	return 0;
}

static int decode_metadata(const struct ygr_field *metadata, struct ygr_meta *meta, struct ygr_error *error)
{
	static const char *const known[] = {
	    "name",
	    "namespace",
	    "labels",
	    "annotations",
	    "generation",
	    "uid",
	    "resourceVersion",
	    "creationTimestamp",
	    "deletionTimestamp",
	    "deletionGracePeriodSeconds",
	    "finalizers",
	    "ownerReferences",
	    "managedFields",
	    "generateName",
	    "selfLink",
	    NULL,
	};
	struct ygr_field field;
	int r = ygr_field_object(metadata, known, error);

	if (r == 0)
		r = decode_names(metadata, meta, error);
	if (r == 0 && ygr_field_member(metadata, "generation", &field))
		r = ygr_field_int(&field, 1, INT64_MAX, &meta->generation, error);
	if (r == 0 && ygr_field_member(metadata, "labels", &field))
		r = ygr_labels_decode(&field, &meta->labels, error);
	return r;
}

int ygr_meta_decode(const struct ygr_field *root, struct ygr_meta *ret, struct ygr_error *error)
{
	struct ygr_meta meta = {0};
	struct ygr_field metadata;
	int r = ygr_field_require(root, "metadata", &metadata, error);

	if (r == 0)
		r = decode_metadata(&metadata, &meta, error);
	if (r < 0) {
		ygr_meta_deinit(&meta);
		return r;
	}
	*ret = meta;
	return 0;
}

void ygr_meta_deinit(struct ygr_meta *meta)
{
	free(meta->namespace_);
	free(meta->name);
	ygr_labels_deinit(&meta->labels);
	*meta = (struct ygr_meta){0};
}

static int expect_word(const struct ygr_field *root, const char *key, const char *word,
		       struct ygr_error *error)
{
	const char *words[] = {word, NULL};
	struct ygr_field field;
	int ignored, r = ygr_field_require(root, key, &field, error);

	return r < 0 ? r : ygr_field_enum(&field, words, &ignored, error);
}

int ygr_meta_decode_head(const struct ygr_field *root, const char *kind, struct ygr_meta *ret,
			 struct ygr_error *error)
{
	static const char *const known[] = {"apiVersion", "kind", "metadata", "spec", "status", NULL};
	int r = ygr_field_object(root, known, error);

	if (r == 0)
		r = expect_word(root, "apiVersion", YGR_API_VERSION, error);
	if (r == 0)
		r = expect_word(root, "kind", kind, error);
	return r < 0 ? r : ygr_meta_decode(root, ret, error);
}

int ygr_meta_decode_cluster_head(const struct ygr_field *root, const char *kind, struct ygr_meta *ret,
				 struct ygr_error *error)
{
	struct ygr_field metadata, field;
	struct ygr_meta meta;
	int r = ygr_meta_decode_head(root, kind, &meta, error);

	if (r < 0)
		return r;
	if (ygr_field_member(root, "metadata", &metadata) &&
	    ygr_field_member(&metadata, "namespace", &field))
		r = ygr_field_error(&field, error, "a %s belongs to no namespace", kind);
	if (r < 0) {
		ygr_meta_deinit(&meta);
		return r;
	}
	if (meta.namespace_)
		meta.namespace_[0] = '\0';
	*ret = meta;
	return 0;
}
