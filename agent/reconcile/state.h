/* The inside of the reconciler: what it keeps about guests, monitors and the work that follows from both. */
#pragma once

#include "agent/reconcile/reconcile.h"
#include "lib/api/condition.h"
#include "lib/api/guest.h"

#define YGR_BACKOFF_MIN_MS   1000
#define YGR_BACKOFF_MAX_MS   60000
#define YGR_BACKOFF_RESET_MS 60000 /* a run this long was a good one */
#define YGR_PUBLISH_MS       200   /* documents are published at most this often */
#define YGR_LAST_EVENT_S     60    /* lastEventTime is refreshed at most this often */
#define YGR_STOP_MS          4000

enum ygr_work_state {
	YGR_WORK_PENDING, /* the guest is not ready for it */
	YGR_WORK_STARTING,
	YGR_WORK_RUNNING,
	YGR_WORK_BACKOFF,
	YGR_WORK_STOPPED,   /* being stopped */
	YGR_WORK_FAILED,    /* will not be tried again until its monitor changes */
	YGR_WORK_COMPLETED, /* ended, and its restartPolicy leaves it at that */
	YGR_WORK_STATES
};
const char *ygr_work_state_word(enum ygr_work_state state);

/* A VM. */
struct ygr_observed {
	struct ygr_reconcile *reconcile;
	const struct ygr_vm *vm;
	struct ygr_link *link;
	char *address; /* that the link was opened for */
	pid_t pid;     /* of the VMM when the link was opened */
	uint64_t resets;
	bool silent; /* its link was given up for want of an answer; the next pass ends what it carries */
	struct ygr_condition channel_ready;
	struct ygr_policing *policing; /* policy.h; NULL before all policies are known */
};

/* A monitor. */
struct ygr_wanted {
	char *namespace_, *name;
	const struct ygr_monitor *monitor; /* NULL: it never was good */
	char *problem;                     /* with its newest text, or NULL */
	struct ygr_condition accepted, ready, degraded;
	int64_t last_event; /* s since the epoch, as published */
	unsigned matched, ready_guests, failed_guests;
};

/* One application of one monitor on one VM. */
struct ygr_work {
	struct ygr_observed *guest;
	struct ygr_wanted *wanted;
	char *app;
	json_t *spec; /* of the application, to see whether it changed */
	bool needed;  /* by the pass that is under way */
	enum ygr_work_state state;
	struct ygr_application *application;
	struct ygr_application_counters counted; /* already in the metrics */
	uint64_t started_ms, next_ms;            /* loop time */
	unsigned failures;
	uint64_t restarts;
	bool ran;
	char reason[64], message[YGR_ERROR_MESSAGE_MAX]; /* of the last failure; empty: none */
};

struct ygr_reconcile_metrics {
	struct ygr_metric *vms, *monitors, *applications, *restarts, *events, *dropped, *cut, *calls,
	    *refused, *records, *bytes, *lost, *invalid, *manifest_errors, *duration, *channels;
};

struct ygr_runs;     /* run.c */
struct ygr_policies; /* policy.h */
struct ygr_releases; /* release.c */

struct ygr_reconcile {
	struct ygr_reconcile_options options;
	uv_timer_t timer, stop_timer;
	int open_handles;
	struct ygr_observed **guests;
	struct ygr_wanted **monitors;
	struct ygr_work **works;
	size_t guest_count, monitor_count, work_count;
	char **file_problems; /* of files that define no object: "FILE\0MESSAGE" */
	size_t file_problem_count, problem_count;
	bool dirty; /* documents are out of date */
	uint64_t published_ms;
	struct ygr_reconcile_metrics metrics;
	struct ygr_runs *runs;
	struct ygr_policies *policies;
	struct ygr_releases *releases;
	void (*stopped)(void *user);
	void *stopped_user;
	bool stopping;
	bool freed; /* only what is on workers still refers to it */
};

/* One of open_handles has come to its end: the last one after ygr_reconcile_free() frees the memory. */
void ygr_reconcile_handle_closed(struct ygr_reconcile *reconcile);
/* problem.c: forgets problems of monitors, policies and files. */
void ygr_reconcile_clear_problems(struct ygr_reconcile *reconcile);
/* Appends ITEM to the array of pointers *LIST: 0, -ENOMEM. */
int ygr_reconcile_append(void *list, size_t *count, void *item);
/* The monitor of that name, made if need be; NULL without memory. */
struct ygr_wanted *ygr_reconcile_wanted(struct ygr_reconcile *reconcile, const char *ns, const char *name);

/* A pass in DELAY_MS, or earlier if one is due. */
void ygr_reconcile_soon(struct ygr_reconcile *reconcile, uint64_t delay_ms);

/* guest.c */
/* Opens or closes the link as the VM's phase and address say. */
void ygr_observed_update(struct ygr_observed *guest);
/* Is the guest ready for applications? */
bool ygr_observed_ready(const struct ygr_observed *guest);
/* Opens its RAM where the node can map it, and lists the regions: the descriptor, or -1. */
int ygr_observed_ram(const struct ygr_observed *guest, struct ygr_application_ram *ram, uint32_t *ret_count);
/* Closes its applications and its link. */
void ygr_observed_reset(struct ygr_observed *guest);
struct ygr_observed *ygr_observed_free(struct ygr_observed *guest);

/* work.c */
int ygr_work_new(struct ygr_observed *guest, struct ygr_wanted *wanted, const struct ygr_app *app,
		 const json_t *spec, struct ygr_work **ret);
struct ygr_work *ygr_work_free(struct ygr_work *work);
/* Does what its state calls for; *next_ms is lowered to when it wants to be looked at again (loop time). */
void ygr_work_advance(struct ygr_work *work, const struct ygr_app *app, uint64_t *next_ms);
/* Asks it to stop: true when there is nothing left to wait for. */
bool ygr_work_stop(struct ygr_work *work);
/* Kills it at once; it is pending again. */
void ygr_work_kill(struct ygr_work *work);

/* status.c */
void ygr_reconcile_publish(struct ygr_reconcile *reconcile);

/* metrics.c */
int ygr_reconcile_metrics_declare(struct ygr_reconcile *reconcile);
void ygr_reconcile_metrics_gauges(struct ygr_reconcile *reconcile);
void ygr_reconcile_metrics_work(struct ygr_work *work);

/* release.c */
int ygr_releases_new(struct ygr_reconcile *reconcile, struct ygr_releases **ret);
struct ygr_releases *ygr_releases_free(struct ygr_releases *releases);

/* run.c */
int ygr_runs_new(struct ygr_reconcile *reconcile, struct ygr_runs **ret);
/* Ends those on GUEST, or all when GUEST is NULL, with REASON and MESSAGE for their clients. */
void ygr_runs_end(struct ygr_runs *runs, const struct ygr_observed *guest, const char *reason,
		  const char *message);
/* After ygr_runs_end() for all; closes its handle, memory goes when the loop has turned. */
struct ygr_runs *ygr_runs_free(struct ygr_runs *runs);
