/* Reading resource documents as the agent gives them: paths into JSON, and times for people. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* The value at a dotted path ("status.channel.state"), or NULL. */
const json_t *ygr_document_at(const json_t *document, const char *path);

/* The string at PATH, or NULL. */
const char *ygr_document_string(const json_t *document, const char *path);

/* How long ago an RFC 3339 time was, as kubectl writes it ("42s", "5m", "3h", "7d"); "-" for NULL or
 * nonsense. */
void ygr_document_age(const char *time, char *out, size_t size);

/* The members of LIST (objects) whose metadata.namespace is NAMESPACE_, as a new array; all of them for
 * NULL. */
json_t *ygr_document_filter(const json_t *list, const char *namespace_);
