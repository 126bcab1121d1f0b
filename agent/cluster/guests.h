/* The VMGuests of this node: what they should be, what the server has, and the writing. Inside this room. */
#pragma once

#include "lib/kube/informer.h"
#include "lib/kube/recorder.h"

#define YGR_GUESTS_MAX         8192 /* VMs, and objects left over from others */
#define YGR_GUEST_RETRY_MIN_MS 1000
#define YGR_GUEST_RETRY_MAX_MS 30000

struct ygr_guests;

/* NODE is borrowed. -ENOMEM. */
int ygr_guests_new(struct ygr_kube *kube, struct ygr_kube_recorder *recorder, const char *node,
		   struct ygr_guests **ret);
struct ygr_guests *ygr_guests_free(struct ygr_guests *guests);
void ygr_guests_publish(struct ygr_guests *guests, const json_t *vms, bool complete);

/* What the server has of one VMGuest; references are its own. */
struct ygr_guest_seen {
	json_t *labels, *spec, *status; /* NULL where there is none */
	uint64_t version;               /* resourceVersion; 0: the object is not there */
	char uid[64];
};
void ygr_guest_seen_read(struct ygr_guest_seen *seen, const json_t *object);
void ygr_guest_seen_clear(struct ygr_guest_seen *seen);

/* One VM, or an object without one. */
struct ygr_cluster_guest {
	struct ygr_guests *guests;
	char *namespace_, *name;
	json_t *document, *status; /* what is so; the status with the server's times. NULL: the VM is gone */
	struct ygr_guest_seen seen;
	/* The server took this as it is, and answered with this version: it need not be sent again. */
	json_t *accepted_document, *accepted_status;
	uint64_t accepted_document_version, accepted_status_version;
	struct ygr_kube_call *call;
	uint64_t not_before_ms; /* loop time */
	unsigned failures, rewrites;
	uint64_t rewritten_ms;
	bool present; /* in the list that is being read */
	bool dead;    /* nothing is left of it: forgotten when the sweep comes by */
};

struct ygr_guests {
	struct ygr_kube *kube;
	struct ygr_kube_recorder *recorder;
	const char *node;
	char *selector;
	struct ygr_kube_informer *informer;
	uv_timer_t timer;
	struct ygr_cluster_guest **items;
	size_t count;
	bool complete, closing;
};

/* guest.c: takes what is so (NULL: the VM is gone). */
void ygr_cluster_guest_set(struct ygr_cluster_guest *guest, const json_t *document);
/* Writes what is due; *next_ms is lowered to when it wants to be looked at again. */
void ygr_cluster_guest_advance(struct ygr_cluster_guest *guest, uint64_t *next_ms);
struct ygr_cluster_guest *ygr_cluster_guest_free(struct ygr_cluster_guest *guest);
/* guests.c: a sweep in DELAY_MS or earlier. */
void ygr_guests_soon(struct ygr_guests *guests, uint64_t delay_ms);
extern const struct ygr_kube_resource ygr_cluster_vmguests;
