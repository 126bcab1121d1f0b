/*
 * A registry of metrics in the Prometheus text format (0.0.4; OpenMetrics on request). Families are declared
 * once with a help text; samples are addressed by label values. The number of samples of a family is bounded:
 * beyond it new label sets fall into one with every label "other". Thread-safe.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"

enum ygr_metric_type { YGR_METRIC_COUNTER, YGR_METRIC_GAUGE, YGR_METRIC_HISTOGRAM };

struct ygr_metrics;
struct ygr_metric; /* one family; lives as long as its registry */

struct ygr_metrics *ygr_metrics_new(void);
struct ygr_metrics *ygr_metrics_free(struct ygr_metrics *metrics);

/* NAME without _total (counters get it); LABELS: NULL-terminated names, at most 6. BUCKETS for histograms. */
struct ygr_metric *ygr_metric_declare(struct ygr_metrics *metrics, enum ygr_metric_type type,
				      const char *name, const char *help, const char *const *labels,
				      const double *buckets, unsigned bucket_count, unsigned max_samples);

/* VALUES: as many as there are labels. */
void ygr_metric_add(struct ygr_metric *metric, double amount, const char *const *values);
void ygr_metric_set(struct ygr_metric *metric, double value, const char *const *values);
void ygr_metric_observe(struct ygr_metric *metric, double value, const char *const *values);
/* Removes samples whose label NAME has VALUE (a VM that went away). */
void ygr_metric_forget(struct ygr_metric *metric, const char *label, const char *value);

/* Writes all families in the order of their declaration: 0 or -ENOMEM/-EMSGSIZE. */
int ygr_metrics_write(struct ygr_metrics *metrics, bool openmetrics, struct ygr_buf *out);
