/* Objects of the API: one call each. */
#pragma once

#include "lib/kube/client.h"

struct ygr_kube_resource {
	const char *group; /* "" for the core */
	const char *version;
	const char *plural;
	const char *kind;
	bool cluster_wide;
};

enum ygr_kube_verb {
	YGR_KUBE_VERB_GET,
	YGR_KUBE_VERB_CREATE,
	YGR_KUBE_VERB_UPDATE,      /* the object as a whole, with its resourceVersion */
	YGR_KUBE_VERB_APPLY,       /* server-side apply: what MANAGER wants; unknown members stay */
	YGR_KUBE_VERB_MERGE_PATCH, /* RFC 7386 */
	YGR_KUBE_VERB_JSON_PATCH,  /* RFC 6902 */
	YGR_KUBE_VERB_DELETE
};

/* All is borrowed during ygr_kube_do(). */
struct ygr_kube_op {
	enum ygr_kube_verb verb;
	const struct ygr_kube_resource *resource;
	const char *namespace_;  /* NULL for what is cluster-wide */
	const char *name;        /* not with CREATE */
	const char *subresource; /* "status", or NULL */
	const json_t *object;    /* the object, the patch, or DeleteOptions (may be NULL) */
	const char *manager;     /* field manager; APPLY needs one */
	bool force;              /* with APPLY: take fields over from other managers */
	bool dry_run;
	bool urgent;
	unsigned deadline_ms;
	/* answer->object is what the server has now (of DELETE: a Status or the object). */
	void (*done)(void *user, const struct ygr_kube_answer *answer);
	void *user;
};

/* Errors as ygr_kube_start(), and -EINVAL for names that do not fit into a path. */
int ygr_kube_do(struct ygr_kube *kube, const struct ygr_kube_op *op, struct ygr_kube_call **ret_call);

/*
 * "/apis/GROUP/VERSION[/namespaces/NAMESPACE]/PLURAL[/NAME[/SUBRESOURCE]]"; NULL parts are left out. malloc'ed.
 * -EINVAL for a name with characters that no name has, -ENOMEM.
 */
int ygr_kube_path(const struct ygr_kube_resource *resource, const char *namespace_, const char *name,
		  const char *subresource, char **ret);

/* Appends "?KEY=VALUE" or "&KEY=VALUE", escaped, to *PATH: 0 or -ENOMEM. A NULL value changes nothing. */
int ygr_kube_path_add(char **path, const char *key, const char *value);

/* {"apiVersion", "kind", "metadata": {"namespace", "name"}}; NULL without memory. */
json_t *ygr_kube_object_new(const struct ygr_kube_resource *resource, const char *namespace_,
			    const char *name);

/* metadata.KEY as text, or NULL. */
const char *ygr_kube_meta(const json_t *object, const char *key);

/* "2026-11-20T13:00:00.123456Z" (MicroTime) of NS since the epoch; OUT has 40 bytes. */
void ygr_kube_time(int64_t ns, char out[40]);
