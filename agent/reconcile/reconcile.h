/*
 * Makes what is desired so. The wiring tells it of changes (VMs, monitors, problems); a pass soon after
 * compares everything with everything, starts and stops applications, and publishes the documents of /v1/vms
 * and /v1/monitors. All on the loop thread unless said otherwise.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <uv.h>

#include "agent/desired/desired.h"
#include "agent/enforce/enforce.h"
#include "agent/http/server.h"
#include "agent/inventory/inventory.h"
#include "agent/telebpf/telebpf.h"
#include "lib/base/metrics.h"

struct ygr_reconcile;

struct ygr_reconcile_options {
	uv_loop_t *loop;
	const char *node; /* borrowed */
	struct ygr_telebpf *telebpf;
	struct ygr_metrics *metrics;
	struct ygr_bus *bus;                 /* for violations; NULL: none */
	const struct ygr_identity *identity; /* signs bundles; NULL: policies are not loaded into guests */
	struct ygr_enforce *enforce; /* NULL: the node does nothing itself; see ygr_reconcile_enforce() */
	const char *state_directory; /* what outlives the agent; borrowed; NULL: nothing */
	/* New documents; references are the callee's to keep. As ygr_http_publish(). */
	void (*publish)(void *user, json_t *vms, json_t *monitors, json_t *policies);
	void *user;
};

int ygr_reconcile_new(const struct ygr_reconcile_options *options, struct ygr_reconcile **ret);
/* After ygr_reconcile_stop() said done; memory is released once the loop has turned. NULL is allowed. */
struct ygr_reconcile *ygr_reconcile_free(struct ygr_reconcile *reconcile);

/* For struct ygr_inventory_handlers and struct ygr_desired_handlers; USER is the reconciler. */
void ygr_reconcile_vm_changed(void *user, const struct ygr_vm *vm);
void ygr_reconcile_vm_gone(void *user, const struct ygr_vm *vm);
void ygr_reconcile_monitor_changed(void *user, const struct ygr_monitor *monitor);
void ygr_reconcile_monitor_gone(void *user, const char *namespace_, const char *name);
void ygr_reconcile_policy_changed(void *user, const struct ygr_vm_policy *policy);
void ygr_reconcile_policy_gone(void *user, const char *namespace_, const char *name);
void ygr_reconcile_synced(void *user);
void ygr_reconcile_problems(void *user, const struct ygr_manifest_problem *problems, size_t count);

/* For struct ygr_enforce_options; USER is the reconciler. ENFORCE is made after it, and freed before. */
void ygr_reconcile_enforce(struct ygr_reconcile *reconcile, struct ygr_enforce *enforce);
void ygr_reconcile_enforce_event(void *user, const struct ygr_enforce_event *event);
void ygr_reconcile_enforce_changed(void *user);

/* Publishes the documents again soon, as they are. */
void ygr_reconcile_republish(struct ygr_reconcile *reconcile);

/* Stops all applications; DONE is called when they have ended, after 4 s at the latest. */
void ygr_reconcile_stop(struct ygr_reconcile *reconcile, void (*done)(void *user), void *user);

/* For struct ygr_http_backend, on HTTP threads; USER is the reconciler. */
int ygr_reconcile_release(void *user, const struct ygr_peer *peer, const json_t *request,
			  json_t **ret_answer, struct ygr_error *error);
int ygr_reconcile_run_start(void *user, const struct ygr_peer *peer, const json_t *request,
			    struct ygr_run_stream *stream, struct ygr_error *error);
int ygr_reconcile_run_signal(void *user, const struct ygr_peer *peer, const char *id, int signal_number,
			     struct ygr_error *error);
