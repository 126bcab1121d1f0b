/*
 * HTTP (libmicrohttpd, own threads): TCP serves only /metrics, /livez, /readyz, /healthz; the UNIX socket
 * serves /v1/... with the peer's credentials. Handlers read immutable snapshots and never wait for the loop.
 *
 *   GET  /v1/vms /v1/monitors /v1/policies   the current snapshot's documents, as JSON lists of objects
 *   GET  /v1/events?follow=1&vm=&namespace=&monitor=&app=&recent=N   NDJSON, chunked
 *   POST /v1/run          {"vm","program","args"[],"delivery","wake","trace","explain"} -> NDJSON, chunked:
 *                         {"id"}, then {"stream","data"} ..., last {"exit"} or {"signal"} or
 * {"error","reason"} POST /v1/run/ID/signal {"signal":2}
 *   POST /v1/release      {"vm","namespace","rule"} -> {"released": N}
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/events/bus.h"
#include "lib/base/error.h"
#include "lib/base/metrics.h"

struct ygr_http;
struct ygr_run; /* an ad-hoc application in progress, owned by the agent's loop */

struct ygr_peer {
	uid_t uid;
	gid_t gid;
	pid_t pid;
};

/* What a run sends back; thread-safe, bounded; closed by the loop side when the application has ended. */
struct ygr_run_stream;

/* How the server reaches the rest of the agent. All are called on HTTP threads. */
struct ygr_http_backend {
	/* Hands an ad-hoc run to the loop; results come through STREAM. Request is borrowed. 0 or -errno. */
	int (*run_start)(void *user, const struct ygr_peer *peer, const json_t *request,
			 struct ygr_run_stream *stream, struct ygr_error *error);
	/* A signal for run ID: 0, -ENOENT, -EPERM. */
	int (*run_signal)(void *user, const struct ygr_peer *peer, const char *id, int signal_number,
			  struct ygr_error *error);
	/* Ends what policies made the node do to a VM; waits for the loop, a few seconds at most. */
	int (*release)(void *user, const struct ygr_peer *peer, const json_t *request, json_t **ret_answer,
		       struct ygr_error *error);
	/* Refreshes metrics that are computed on demand. */
	void (*metrics_refresh)(void *user);
	void *user;
};

struct ygr_http_options {
	const char *tcp_listen;  /* "127.0.0.1:9720"; NULL: none */
	const char *socket_path; /* "/run/yagura/agent.sock" */
	gid_t socket_group;      /* may connect beside root: mode 0660; (gid_t)-1: mode 0600 */
	struct ygr_bus *bus;
	struct ygr_metrics *metrics;
	struct ygr_http_backend backend;
};

int ygr_http_start(const struct ygr_http_options *options, struct ygr_http **ret_http,
		   struct ygr_error *error);
struct ygr_http *ygr_http_stop(struct ygr_http *http);

/* Publishes new documents; each is a JSON value that is not changed any more (reference taken). POLICIES may be
 * NULL: as they were. Thread-safe. */
void ygr_http_publish(struct ygr_http *http, json_t *vms, json_t *monitors, json_t *policies);

/* /livez: the loop says that it turns; older than 10 s is dead. */
void ygr_http_heartbeat(struct ygr_http *http);

/* /readyz: a named check and, when not ok, why. */
void ygr_http_ready(struct ygr_http *http, const char *check, bool ok, const char *reason);

/* Loop side of a run. `data` is raw output of STREAM ("stdout"/"stderr"); end() sends the last line. */
void ygr_run_stream_begin(struct ygr_run_stream *stream, const char *id);
void ygr_run_stream_data(struct ygr_run_stream *stream, const char *which, const char *data, uint64_t len);
/* True while the client is there; when it has gone the run should be stopped. */
bool ygr_run_stream_wanted(const struct ygr_run_stream *stream);
/* How much is queued: above 1 MiB the loop should stop reading the application's pipe. */
uint64_t ygr_run_stream_queued(const struct ygr_run_stream *stream);
/* LAST: JSON object, reference stolen. The stream belongs to the server again. */
void ygr_run_stream_end(struct ygr_run_stream *stream, json_t *last);
