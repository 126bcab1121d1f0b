/* The inside of an informer: cache.c keeps the copy, informer.c decides what to ask next, listing.c and watching.c
 * ask. */
#pragma once

#include "lib/kube/informer.h"
#include "lib/kube/split.h"
#include "lib/kube/store.h"

enum ygr_kube_phase {
	YGR_KUBE_WAITING, /* for the timer */
	YGR_KUBE_LISTING,
	YGR_KUBE_STREAMING, /* a streamed list, until its last bookmark */
	YGR_KUBE_WATCHING
};

struct ygr_kube_informer {
	struct ygr_kube_informer_options options;
	struct ygr_kube *kube;
	uv_timer_t timer, ticker;
	unsigned open_handles;
	struct ygr_kube_store store;
	uint32_t mark;
	enum ygr_kube_phase phase;
	struct ygr_kube_call *call;
	struct ygr_kube_split split;
	char *version;   /* resourceVersion to watch from; NULL: list first */
	char *proceed;   /* `continue` of a list that is under way */
	bool whole_list; /* a page of the last list had expired: ask for all at once */
	bool plain_list; /* no streamed list (any more) */
	bool
	    incomplete; /* an object of this list has no name that we could read: nobody is missed after it */
	bool synced, stopped;
	int working; /* -1: not known yet */
	unsigned failures;
	uint64_t began_ms, heard_ms; /* loop time */
	uint64_t epoch, recoveries;  /* of the client, as last seen */
	int event_error;
	char event_message[256]; /* of an ERROR event */
};

/* informer.c: goes on after the call has ended. */
void ygr_kube_informer_failed(struct ygr_kube_informer *informer, const char *reason);
void ygr_kube_informer_next(struct ygr_kube_informer *informer, bool at_once);
void ygr_kube_informer_working(struct ygr_kube_informer *informer);
/* The copy is complete up to informer->version. */
void ygr_kube_informer_settled(struct ygr_kube_informer *informer);

/* listing.c, watching.c: begin a call; 0 or -errno. */
int ygr_kube_list_begin(struct ygr_kube_informer *informer);
int ygr_kube_watch_begin(struct ygr_kube_informer *informer, bool streamed_list);

/* cache.c */
void ygr_kube_cache_put(struct ygr_kube_informer *informer, const json_t *object);
void ygr_kube_cache_remove(struct ygr_kube_informer *informer, const json_t *object);
void ygr_kube_cache_sweep(struct ygr_kube_informer *informer);
void ygr_kube_cache_clear(struct ygr_kube_informer *informer);
