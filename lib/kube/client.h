/*
 * Calls of the Kubernetes API on one event loop: libcurl speaks HTTP/2 where the server does, and all calls
 * share its connections. A call has a deadline that covers its whole life (waiting for the rate limit and for
 * credentials, being sent again after 401, 429 and 503 with Retry-After). What a server can make us hold is
 * bounded for each call. Everything happens on the loop's thread.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/kube/config.h"
#include "lib/kube/metrics.h"

#define YGR_KUBE_CALLS_MAX   4096        /* waiting and under way */
#define YGR_KUBE_RUNNING_MAX 128         /* under way */
#define YGR_KUBE_RETRIES_MAX 10          /* of one call */
#define YGR_KUBE_DEADLINE_MS 30000       /* when a call says nothing else */
#define YGR_KUBE_ANSWER_MAX  (4u << 20)  /* bytes of an answer, likewise */
#define YGR_KUBE_PROBLEM_MAX (64u << 10) /* bytes of an answer that says what went wrong */
#define YGR_KUBE_PATH_MAX    4096
#define YGR_KUBE_QPS         20 /* sustained calls a second */
#define YGR_KUBE_BURST       40

struct ygr_kube;
struct ygr_kube_call;

struct ygr_kube_options {
	uv_loop_t *loop;
	const struct ygr_kube_config *config;   /* borrowed; outlives the client */
	const char *user_agent;                 /* borrowed */
	double qps;                             /* 0: YGR_KUBE_QPS */
	unsigned burst;                         /* 0: YGR_KUBE_BURST */
	const struct ygr_kube_metrics *metrics; /* borrowed, or NULL */
	/* Whether the API server answers; called when that changes, first when the first call has ended. */
	void (*reachable)(void *user, bool reachable, const char *reason);
	void *user;
};

int ygr_kube_new(const struct ygr_kube_options *options, struct ygr_kube **ret, struct ygr_error *error);
/* Drops all calls without their done(); memory is released once the loop has turned. NULL is allowed. */
struct ygr_kube *ygr_kube_close(struct ygr_kube *kube);

/* Borrowed. */
uv_loop_t *ygr_kube_loop(const struct ygr_kube *kube);
const char *ygr_kube_namespace(const struct ygr_kube *kube);                  /* of the context or the pod */
const struct ygr_kube_metrics *ygr_kube_metrics(const struct ygr_kube *kube); /* never NULL */

enum ygr_kube_method { YGR_KUBE_GET, YGR_KUBE_POST, YGR_KUBE_PUT, YGR_KUBE_PATCH, YGR_KUBE_DELETE };

/* What came of a call. Borrowed during done(). */
struct ygr_kube_answer {
	int error;        /* 0: 2xx, all of it; else -errno */
	int status;       /* HTTP; 0: there was no answer */
	const char *body; /* with a NUL behind its end; what data() took is not in it */
	size_t len;
	const json_t *object; /* with `json`; borrowed, NULL on errors */
	const char
	    *reason; /* "Conflict", "NotFound", ...: metav1.Status, or a word of ours; "" with error 0 */
	const char *message; /* a sentence */
};

/* NULL and 0 take defaults; all is copied. */
struct ygr_kube_request {
	enum ygr_kube_method method;
	const char
	    *verb; /* of the API, for metrics: "list", "watch", ...; a literal. Default: the method's name */
	const char *path; /* "/api/v1/...?..." */
	const char *content_type, *accept;
	const char *body;
	size_t body_len;
	unsigned deadline_ms;
	unsigned idle_ms; /* the longest silence while it is under way; 0: none is too long */
	size_t answer_max;
	bool json;   /* a 2xx answer is parsed; one that is no JSON object is -EPROTO */
	bool urgent; /* does not wait for the rate limit: leases */
	/* Takes what a 2xx answer brings as it comes; what is not 0 ends the call with that error. */
	int (*data)(void *user, const char *bytes, size_t len);
	/* Called once, unless the call is cancelled; may start and cancel calls and close the client. */
	void (*done)(void *user, const struct ygr_kube_answer *answer);
	void *user;
};

/*
 * Begins a call; done() is never called before this returns. *ret_call (may be NULL) is valid until done().
 * -ENOBUFS with YGR_KUBE_CALLS_MAX calls, -EINVAL for a path that is none, -ENOMEM.
 */
int ygr_kube_start(struct ygr_kube *kube, const struct ygr_kube_request *request,
		   struct ygr_kube_call **ret_call);
/* NULL is allowed. */
struct ygr_kube_call *ygr_kube_cancel(struct ygr_kube_call *call);

/*
 * Revisions of the store. Informers say which they have seen. Somebody who writes notes ygr_kube_revision() before
 * and says afterwards which revision his change got (a change, not a patch that changed nothing): when that is
 * older than what was seen before, the store was put back in time, and the epoch moves, upon which informers list
 * again. Without this a watch from a revision of the future stays silent for ever.
 */
uint64_t ygr_kube_revision(const struct ygr_kube *kube);
void ygr_kube_saw_revision(struct ygr_kube *kube, const char *resource_version);
void ygr_kube_wrote_revision(struct ygr_kube *kube, uint64_t before, const char *resource_version);
uint64_t ygr_kube_epoch(const struct ygr_kube *kube);

/* How often the API server answered again after it had been away. */
uint64_t ygr_kube_recoveries(const struct ygr_kube *kube);
