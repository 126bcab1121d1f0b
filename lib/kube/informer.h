/*
 * A copy of the objects of one resource that follows the API server: everything is listed once, then changes are
 * watched, and when that breaks it goes on where it was or, where it cannot, lists again and works out what is
 * gone meanwhile. While the server is away the copy stays as it was last seen.
 *
 * The copy holds not objects but values: the owner decodes each object once, as it arrives, and keeps the fields
 * that he needs. Neither a list nor a watch is ever held as a whole (lib/kube/split.h).
 *
 * How lists and watches are made follows client-go's reflector, with these differences: lists are paged and always
 * recent (no resourceVersion), and a streamed list (WatchList) is tried first and given up for good once the
 * server has refused it.
 */
#pragma once

#include "lib/kube/object.h"

#define YGR_KUBE_PAGE           500
#define YGR_KUBE_OBJECTS_MAX    200000 /* of one informer; further ones are refused */
#define YGR_KUBE_QUIET_MS       150000 /* a watch this silent is dead: bookmarks come each minute */
#define YGR_KUBE_BACKOFF_MIN_MS 800
#define YGR_KUBE_BACKOFF_MAX_MS 30000  /* with its jitter */
#define YGR_KUBE_GOOD_MS        120000 /* a watch that lived so long was a good one: backoff begins anew */

struct ygr_kube_informer;

/* All callbacks are on the loop; namespace and name are borrowed during the call ("" for no namespace). */
struct ygr_kube_informer_options {
	struct ygr_kube *kube;
	struct ygr_kube_resource resource; /* its strings outlive the informer, as do the selectors */
	const char *namespace_;            /* NULL: all */
	const char *label_selector, *field_selector;
	unsigned page;      /* 0: YGR_KUBE_PAGE */
	size_t objects_max; /* 0: YGR_KUBE_OBJECTS_MAX */
	unsigned quiet_ms;  /* 0: YGR_KUBE_QUIET_MS */
	bool no_watch_list; /* never try a streamed list */

	/*
	 * Makes the owner's value of OBJECT (borrowed; metadata.managedFields is null): 0, -ENOENT when the object
	 * does not concern the owner (it is as if it were not there), or an error: then the last good value stays and
	 * refused() is told.
	 */
	int (*decode)(void *user, const json_t *object, void **ret_value, struct ygr_error *error);
	void (*free)(void *user, void *value);
	/* VALUE is new, or in OLD's place (NULL: there was none). OLD is freed when this has returned. */
	void (*changed)(void *user, const char *namespace_, const char *name, void *old, void *value);
	/* The object is gone. VALUE (NULL: it never was good) is freed when this has returned. */
	void (*gone)(void *user, const char *namespace_, const char *name, void *value);
	/* The object as it is now could not be decoded. May be NULL. */
	void (*refused)(void *user, const char *namespace_, const char *name, const char *message);
	/* The copy is complete: once, after the first list. May be NULL. */
	void (*synced)(void *user);
	/* A list or watch works, or not any more; when that changes. May be NULL. */
	void (*state)(void *user, bool working, const char *reason);
	void *user;
};

/* Copies OPTIONS and begins. -ENOMEM, -EINVAL. */
int ygr_kube_informer_start(const struct ygr_kube_informer_options *options, struct ygr_kube_informer **ret);
/* Frees all values without gone(); its memory goes once the loop has turned. NULL is allowed. */
struct ygr_kube_informer *ygr_kube_informer_stop(struct ygr_kube_informer *informer);

/* The value, or NULL. Borrowed until the object changes. */
void *ygr_kube_informer_find(const struct ygr_kube_informer *informer, const char *namespace_,
			     const char *name);
size_t ygr_kube_informer_count(const struct ygr_kube_informer *informer);
/* All values that are not NULL, in no order; VISIT must not change the copy (stop the informer). */
void ygr_kube_informer_each(const struct ygr_kube_informer *informer,
			    void (*visit)(void *visitor, const char *namespace_, const char *name,
					  void *value),
			    void *visitor);
bool ygr_kube_informer_synced(const struct ygr_kube_informer *informer);
