/*
 * Kubernetes Events (events.k8s.io/v1). The same thing said again about the same object is counted up in its
 * `series` rather than said anew, and an object about which much is said is held to a burst and then to one new
 * event in five minutes: an object that keeps failing must not fill the store.
 */
#pragma once

#include "lib/kube/object.h"

#define YGR_KUBE_EVENTS_MAX     256 /* remembered; the longest quiet one makes room */
#define YGR_KUBE_EVENT_BURST    25  /* new events about one object */
#define YGR_KUBE_EVENT_REFILL_S 300 /* then one in so many seconds */
#define YGR_KUBE_EVENT_SERIES_S 360 /* a series is over after so many seconds of quiet */
#define YGR_KUBE_EVENT_COUNT_S  300 /* a count is written at most so often, after its first time */
#define YGR_KUBE_EVENT_NOTE_MAX 1024

struct ygr_kube_recorder;

/* What an event is about and what it says; copied. */
struct ygr_kube_event {
	const char *api_version, *kind;
	const char *namespace_; /* NULL for what is cluster-wide: the event goes to "default" */
	const char *name;
	const char *uid; /* or NULL */
	bool warning;
	const char *reason; /* one CamelCase word */
	const char *action; /* likewise: what was done or tried */
	const char *note;   /* a sentence; cut at YGR_KUBE_EVENT_NOTE_MAX bytes */
};

/* CONTROLLER ("yagura.dev/agent") and INSTANCE (a node or pod) are borrowed and outlive the recorder. -ENOMEM. */
int ygr_kube_recorder_new(struct ygr_kube *kube, const char *controller, const char *instance,
			  struct ygr_kube_recorder **ret);
/* What was not sent yet is lost. Memory goes once the loop has turned. NULL is allowed. */
struct ygr_kube_recorder *ygr_kube_recorder_free(struct ygr_kube_recorder *recorder);

/* Never fails and never waits: what cannot be recorded is counted (yagura_kube_events_total). */
void ygr_kube_record(struct ygr_kube_recorder *recorder, const struct ygr_kube_event *event);
