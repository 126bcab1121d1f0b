/*
 * The client's metrics, all beginning with yagura_kube_. Declared once in a program and shared by its clients,
 * informers, leases and recorders. NULL, or a family that is NULL, counts nothing.
 */
#pragma once

#include "lib/base/metrics.h"

struct ygr_kube_metrics {
	struct ygr_metric *requests;  /* verb, code: an HTTP status, or "error" */
	struct ygr_metric *duration;  /* verb */
	struct ygr_metric *retries;   /* reason: throttled, unauthorized */
	struct ygr_metric *waiting;   /* calls that wait for the rate limit or a credential */
	struct ygr_metric *reachable; /* 1 while the API server answers */
	struct ygr_metric *received;  /* bytes */
	struct ygr_metric *objects;   /* resource: in the cache */
	struct ygr_metric *lists;     /* resource, result */
	struct ygr_metric *watches;   /* resource, result: how each ended */
	struct ygr_metric *events;    /* resource, type */
	struct ygr_metric *refused;   /* resource: objects that could not be decoded */
	struct ygr_metric *synced;    /* resource: 1 while the cache is complete */
	struct ygr_metric *leader;    /* lease: 1 while held */
	struct ygr_metric *renewals;  /* lease, result */
	struct ygr_metric *recorded;  /* result: Events created, counted up, dropped, failed */
};

/* Declares all families in METRICS: 0 or -ENOMEM. */
int ygr_kube_metrics_declare(struct ygr_metrics *metrics, struct ygr_kube_metrics *ret);

/* For use inside lib/kube. */
void ygr_kube_count(struct ygr_metric *metric, const char *a, const char *b);
void ygr_kube_gauge(struct ygr_metric *metric, double value, const char *label);
