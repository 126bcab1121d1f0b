/* See object.h. */
#include "lib/kube/object.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/cleanup.h"

/* One segment of a path. Names of some resources have ':' in them; nothing has '/' or '%'. */
static bool is_segment(const char *text)
{
	return *text && strcmp(text, ".") != 0 && strcmp(text, "..") != 0 && strlen(text) <= 253 &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:") ==
		   strlen(text);
}

int ygr_kube_path(const struct ygr_kube_resource *resource, const char *namespace_, const char *name,
		  const char *subresource, char **ret)
{
	bool core = !*resource->group, in_namespace = namespace_ && !resource->cluster_wide;

	if ((in_namespace && !is_segment(namespace_)) || (name && !is_segment(name)))
		return -EINVAL;
	if (asprintf(ret, "/%s%s%s/%s%s%s/%s%s%s%s%s", core ? "api" : "apis", core ? "" : "/",
		     resource->group, resource->version, in_namespace ? "/namespaces/" : "",
		     in_namespace ? namespace_ : "", resource->plural, name ? "/" : "", name ? name : "",
		     subresource ? "/" : "", subresource ? subresource : "") < 0)
		return -ENOMEM;
	return 0;
}

int ygr_kube_path_add(char **path, const char *key, const char *value)
{
	char *longer = NULL;

	if (!value)
		return 0;
	char *escaped = curl_easy_escape(NULL, value, 0);
	if (!escaped)
		return -ENOMEM;
	int n = asprintf(&longer, "%s%c%s=%s", *path, strchr(*path, '?') ? '&' : '?', key, escaped);
	curl_free(escaped);
	if (n < 0)
		return -ENOMEM;
	free(*path);
	*path = longer;
	return 0;
}

int ygr_kube_do(struct ygr_kube *kube, const struct ygr_kube_op *op, struct ygr_kube_call **ret_call)
{
	static const struct {
		enum ygr_kube_method method;
		const char *verb, *content_type;
	} verbs[] = {
	    [YGR_KUBE_VERB_GET] = {YGR_KUBE_GET, "get", NULL},
	    [YGR_KUBE_VERB_CREATE] = {YGR_KUBE_POST, "create", NULL},
	    [YGR_KUBE_VERB_UPDATE] = {YGR_KUBE_PUT, "update", NULL},
	    [YGR_KUBE_VERB_APPLY] = {YGR_KUBE_PATCH, "apply", "application/apply-patch+yaml"},
	    [YGR_KUBE_VERB_MERGE_PATCH] = {YGR_KUBE_PATCH, "patch", "application/merge-patch+json"},
	    [YGR_KUBE_VERB_JSON_PATCH] = {YGR_KUBE_PATCH, "patch", "application/json-patch+json"},
	    [YGR_KUBE_VERB_DELETE] = {YGR_KUBE_DELETE, "delete", NULL},
	};
	_cleanup_free_ char *path = NULL, *body = NULL;
	bool create = op->verb == YGR_KUBE_VERB_CREATE;
	int r = ygr_kube_path(op->resource, op->namespace_, create ? NULL : op->name,
			      create ? NULL : op->subresource, &path);

	if (r == 0 && op->verb != YGR_KUBE_VERB_GET && op->verb != YGR_KUBE_VERB_DELETE)
		r = ygr_kube_path_add(&path, "fieldManager", op->manager);
	if (r == 0 && op->verb == YGR_KUBE_VERB_APPLY)
		r = ygr_kube_path_add(&path, "force", op->force ? "true" : NULL);
	if (r == 0)
		r = ygr_kube_path_add(&path, "dryRun", op->dry_run ? "All" : NULL);
	if (r == 0 && op->object) {
		body = json_dumps(op->object, JSON_COMPACT);
		r = body ? 0 : -ENOMEM;
	}
	if (r < 0)
		return r;
	const struct ygr_kube_request request = {
	    .method = verbs[op->verb].method,
	    .verb = verbs[op->verb].verb,
	    .path = path,
	    .content_type = verbs[op->verb].content_type,
	    .body = body,
	    .body_len = body ? strlen(body) : 0,
	    .deadline_ms = op->deadline_ms,
	    .json = true,
	    .urgent = op->urgent,
	    .done = op->done,
	    .user = op->user,
	};
	return ygr_kube_start(kube, &request, ret_call);
}

json_t *ygr_kube_object_new(const struct ygr_kube_resource *resource, const char *namespace_,
			    const char *name)
{
	char version[320];

	snprintf(version, sizeof(version), "%s%s%s", resource->group, *resource->group ? "/" : "",
		 resource->version);
	return json_pack("{s:s, s:s, s:{s:s*, s:s}}", "apiVersion", version, "kind", resource->kind,
			 "metadata", "namespace", namespace_, "name", name);
}

const char *ygr_kube_meta(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(json_object_get(object, "metadata"), key));
}

void ygr_kube_time(int64_t ns, char out[40])
{
	time_t seconds = ns / 1000000000;
	struct tm tm;
	size_t n = gmtime_r(&seconds, &tm) ? strftime(out, 24, "%Y-%m-%dT%H:%M:%S", &tm) : 0;

	snprintf(out + n, 40 - n, ".%06dZ", (int)(ns % 1000000000 / 1000));
}
