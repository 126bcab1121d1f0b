/* Resource documents; see document.h. */
#include "cli/document.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

const json_t *ygr_document_at(const json_t *document, const char *path)
{
	while (document && *path) {
		char key[64];
		size_t n = strcspn(path, ".");
		if (n >= sizeof(key))
			return NULL;
		memcpy(key, path, n);
		key[n] = '\0';
		document = json_object_get(document, key);
		path += n + (path[n] == '.');
	}
	return document;
}

const char *ygr_document_string(const json_t *document, const char *path)
{
	return json_string_value(ygr_document_at(document, path));
}

void ygr_document_age(const char *text, char *out, size_t size)
{
	struct tm tm = {0};
	const char *end = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
	if (!end) {
		snprintf(out, size, "-");
		return;
	}
	int64_t s = (int64_t)time(NULL) - (int64_t)timegm(&tm);
	if (s < 120)
		snprintf(out, size, "%llds", (long long)(s < 0 ? 0 : s));
	else if (s < 2 * 3600)
		snprintf(out, size, "%lldm", (long long)(s / 60));
	else if (s < 48 * 3600)
		snprintf(out, size, "%lldh", (long long)(s / 3600));
	else
		snprintf(out, size, "%lldd", (long long)(s / 86400));
}

json_t *ygr_document_filter(const json_t *list, const char *namespace_)
{
	json_t *kept = json_array();
	size_t i;
	json_t *object;
	json_array_foreach(list, i, object)
	{
		const char *its = ygr_document_string(object, "metadata.namespace");
		if (!namespace_ || (its && strcmp(its, namespace_) == 0))
			json_array_append(kept, object);
	}
	return kept;
}
