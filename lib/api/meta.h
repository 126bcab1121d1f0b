/* What every resource has: apiVersion, kind and metadata; and the rules that names obey (RFC 1123). */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/decode.h"

#define YGR_API_VERSION       "yagura.dev/v1alpha1"
#define YGR_API_LABELS_MAX    64
#define YGR_API_NAME_MAX      253
#define YGR_API_LABEL_MAX     63 /* of a DNS label and of a label's value */
#define YGR_NAMESPACE_DEFAULT "default"

struct ygr_label {
	char *key;
	char *value;
};

struct ygr_labels {
	struct ygr_label *items;
	size_t count;
};

struct ygr_meta {
	char *namespace_; /* never NULL after decoding; "" of a cluster-wide object */
	char *name;
	int64_t generation; /* 0 when the document had none */
	struct ygr_labels labels;
};

/* "web-3": lower case letters, digits and '-', at most 63 bytes, letters or digits at both ends. */
bool ygr_name_is_label(const char *name);
/* "web-3.example": such labels joined by '.', at most 253 bytes. */
bool ygr_name_is_subdomain(const char *name);
bool ygr_label_key_valid(const char *key);
bool ygr_label_value_valid(const char *value);

/* NULL when there is no such label. */
const char *ygr_labels_get(const struct ygr_labels *labels, const char *key);
/* Adds or replaces (copies): 0, -EINVAL for what is no label, -E2BIG, -ENOMEM. */
int ygr_labels_set(struct ygr_labels *labels, const char *key, const char *value);
int ygr_labels_copy(const struct ygr_labels *from, struct ygr_labels *to);
void ygr_labels_deinit(struct ygr_labels *labels);
bool ygr_labels_equal(const struct ygr_labels *a, const struct ygr_labels *b);
/* {"key": "value"}; NULL when out of memory. */
json_t *ygr_labels_encode(const struct ygr_labels *labels);
/* FIELD is a mapping of label keys to values. */
int ygr_labels_decode(const struct ygr_field *field, struct ygr_labels *ret, struct ygr_error *error);

/* What a document says it is, read before it is decoded; members may be NULL. Borrowed from DOC. */
struct ygr_identity_hint {
	const char *api_version;
	const char *kind;
	const char *namespace_; /* "default" when absent */
	const char *name;
};
void ygr_meta_peek(const struct ygr_doc *doc, struct ygr_identity_hint *ret);

/* The head of a resource of KIND: known members, apiVersion, kind, and metadata as below. */
int ygr_meta_decode_head(const struct ygr_field *root, const char *kind, struct ygr_meta *ret,
			 struct ygr_error *error);
/* The same for a cluster-wide KIND, whose metadata has no namespace. */
int ygr_meta_decode_cluster_head(const struct ygr_field *root, const char *kind, struct ygr_meta *ret,
				 struct ygr_error *error);
/* Decodes `metadata` of the resource whose root is ROOT. On error META holds nothing. */
int ygr_meta_decode(const struct ygr_field *root, struct ygr_meta *ret, struct ygr_error *error);
void ygr_meta_deinit(struct ygr_meta *meta);
