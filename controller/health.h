/*
 * What a scraper and a kubelet ask for, over plain HTTP: /metrics, /livez (the loop turns), /readyz (named checks),
 * /healthz. Has a thread of its own.
 */
#pragma once

#include <stdbool.h>

#include "lib/base/error.h"
#include "lib/base/metrics.h"

#define YGR_HEALTH_CHECKS_MAX   8
#define YGR_HEALTH_DEAD_SECONDS 10 /* since the last heartbeat */

struct ygr_health;

int ygr_health_start(const char *address, struct ygr_metrics *metrics, struct ygr_health **ret,
		     struct ygr_error *error);
struct ygr_health *ygr_health_stop(struct ygr_health *health);

/* Any thread. A check is made by its first report; REASON is for ok == false. Not ready before the first. */
void ygr_health_heartbeat(struct ygr_health *health);
void ygr_health_ready(struct ygr_health *health, const char *check, bool ok, const char *reason);
