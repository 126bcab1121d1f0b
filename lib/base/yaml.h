/*
 * YAML (and so JSON) documents as jansson values that remember where they were written: every node has its
 * line and column, so that an error in a manifest points at the word that is wrong. Scalars follow the core
 * schema that Kubernetes manifests use: plain true/false, null, integers and floats are typed, whatever is
 * quoted is a string. What YAML 1.1 and 1.2 read differently (yes, on, 010) is refused with the advice to
 * quote it, and so are aliases (a few lines of them expand to gigabytes), duplicate keys and NUL characters.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "lib/base/error.h"

#define YGR_YAML_FILE_MAX      (1u << 20) /* bytes */
#define YGR_YAML_DEPTH_MAX     32
#define YGR_YAML_NODES_MAX     100000 /* in all documents of one file */
#define YGR_YAML_KEY_MAX       320    /* bytes: a label key has at most 253 + 1 + 63 */
#define YGR_YAML_DOCUMENTS_MAX 1024

struct ygr_doc;

/*
 * Reads all documents of TEXT; empty ones are left out. FILE is the name for error messages (copied). The
 * result is an array of *ret_count documents, freed by ygr_docs_free(). -EINVAL with file:line:column,
 * -E2BIG beyond a bound, -ENOMEM.
 */
int ygr_yaml_parse(const char *file, const char *text, size_t len, struct ygr_doc ***ret_docs,
		   size_t *ret_count, struct ygr_error *error);

/* The same for the regular file PATH; FILE is how it is called in messages, NULL for PATH itself. */
int ygr_yaml_read(const char *path, const char *file, struct ygr_doc ***ret_docs, size_t *ret_count,
		  struct ygr_error *error);

/* A document without positions around VALUE (reference taken), for what came as JSON. NULL when out of
 * memory. */
struct ygr_doc *ygr_doc_new_json(const char *name, json_t *value);
struct ygr_doc *ygr_doc_free(struct ygr_doc *doc);
void ygr_docs_free(struct ygr_doc **docs, size_t count);

/* Borrowed. */
const json_t *ygr_doc_root(const struct ygr_doc *doc);
const char *ygr_doc_file(const struct ygr_doc *doc);

/*
 * Where the node at JSON pointer POINTER ("" or "/spec/apps/0/name", RFC 6901) stands, counted from 1: 0, or
 * -ENOENT. For a member of a mapping this is its value.
 */
int ygr_doc_position(const struct ygr_doc *doc, const char *pointer, unsigned *ret_line,
		     unsigned *ret_column);
