/*
 * Metrics registry; see metrics.h. Families hang in a list in the order of their declaration, samples in a
 * list below each family. One mutex guards all of it: updates are a short walk (samples per family are
 * bounded, and labels are few), and a scrape holds it only while it formats into memory.
 */
#include "lib/base/metrics.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABELS_MAX      6
#define LABEL_VALUE_MAX 128

struct sample {
	struct sample *next;
	char values[LABELS_MAX][LABEL_VALUE_MAX];
	double value;      /* counter, gauge; histogram: sum */
	uint64_t count;    /* histogram */
	uint64_t *buckets; /* histogram: observations <= bound, not cumulated */
};

struct ygr_metric {
	struct ygr_metrics *owner;
	struct ygr_metric *next;
	enum ygr_metric_type type;
	char *name;
	char *help;
	char *labels[LABELS_MAX];
	unsigned label_count;
	double *bounds;
	unsigned bound_count;
	unsigned max_samples;
	unsigned sample_count;
	struct sample *samples;
	struct sample **last_sample;
};

struct ygr_metrics {
	pthread_mutex_t lock;
	struct ygr_metric *families;
	struct ygr_metric **last;
};

struct ygr_metrics *ygr_metrics_new(void)
{
	struct ygr_metrics *metrics = calloc(1, sizeof(*metrics));
	if (!metrics)
		return NULL;
	pthread_mutex_init(&metrics->lock, NULL);
	metrics->last = &metrics->families;
	return metrics;
}

static void sample_free(struct sample *sample)
{
	free(sample->buckets);
	free(sample);
}

static void family_free(struct ygr_metric *metric)
{
	for (struct sample *next, *sample = metric->samples; sample; sample = next) {
		next = sample->next;
		sample_free(sample);
	}
	for (unsigned i = 0; i < metric->label_count; i++)
		free(metric->labels[i]);
	free(metric->bounds);
	free(metric->name);
	free(metric->help);
	free(metric);
}

struct ygr_metrics *ygr_metrics_free(struct ygr_metrics *metrics)
{
	if (!metrics)
		return NULL;
	for (struct ygr_metric *next, *metric = metrics->families; metric; metric = next) {
		next = metric->next;
		family_free(metric);
	}
	pthread_mutex_destroy(&metrics->lock);
	free(metrics);
	return NULL;
}

static bool copy_shape(struct ygr_metric *metric, const char *const *labels, const double *buckets,
		       unsigned bucket_count)
{
	for (; labels && labels[metric->label_count] && metric->label_count < LABELS_MAX;
	     metric->label_count++) {
		metric->labels[metric->label_count] = strdup(labels[metric->label_count]);
		if (!metric->labels[metric->label_count])
			return false;
	}
	if (bucket_count == 0)
		return true;
	metric->bounds = calloc(bucket_count, sizeof(double));
	if (!metric->bounds)
		return false;
	memcpy(metric->bounds, buckets, bucket_count * sizeof(double));
	metric->bound_count = bucket_count;
	return true;
}

struct ygr_metric *ygr_metric_declare(struct ygr_metrics *metrics, enum ygr_metric_type type,
				      const char *name, const char *help, const char *const *labels,
				      const double *buckets, unsigned bucket_count, unsigned max_samples)
{
	struct ygr_metric *metric = calloc(1, sizeof(*metric));
	if (!metric)
		return NULL;
	metric->owner = metrics;
	metric->type = type;
	metric->max_samples = max_samples ? max_samples : 1;
	metric->last_sample = &metric->samples;
	metric->name = strdup(name);
	metric->help = strdup(help);
	if (!metric->name || !metric->help || !copy_shape(metric, labels, buckets, bucket_count)) {
		family_free(metric);
		return NULL;
	}

	pthread_mutex_lock(&metrics->lock);
	*metrics->last = metric;
	metrics->last = &metric->next;
	pthread_mutex_unlock(&metrics->lock);
	return metric;
}

static bool sample_is(const struct ygr_metric *metric, const struct sample *sample,
		      const char *const *values)
{
	for (unsigned i = 0; i < metric->label_count; i++)
		if (strncmp(sample->values[i], values[i], LABEL_VALUE_MAX - 1) != 0)
			return false;
	return true;
}

static struct sample *sample_find(struct ygr_metric *metric, const char *const *values)
{
	for (struct sample *sample = metric->samples; sample; sample = sample->next)
		if (sample_is(metric, sample, values))
			return sample;
	return NULL;
}

static struct sample *sample_new(struct ygr_metric *metric, const char *const *values)
{
	struct sample *sample = calloc(1, sizeof(*sample));
	if (!sample)
		return NULL;
	if (metric->type == YGR_METRIC_HISTOGRAM) {
		sample->buckets = calloc(metric->bound_count + 1, sizeof(uint64_t));
		if (!sample->buckets) {
			free(sample);
			return NULL;
		}
	}
	for (unsigned i = 0; i < metric->label_count; i++)
		snprintf(sample->values[i], LABEL_VALUE_MAX, "%s", values[i]);
	*metric->last_sample = sample;
	metric->last_sample = &sample->next;
	metric->sample_count++;
	return sample;
}

/* The sample for VALUES, made when there is room, else the one that gathers the rest; NULL without memory.
 */
static struct sample *sample_get(struct ygr_metric *metric, const char *const *values)
{
	static const char *const rest[LABELS_MAX] = {"other", "other", "other", "other", "other", "other"};

	struct sample *sample = sample_find(metric, values);
	if (sample)
		return sample;
	if (metric->label_count && metric->sample_count >= metric->max_samples) {
		sample = sample_find(metric, rest);
		if (sample)
			return sample;
		values = rest;
	}
	return sample_new(metric, values);
}

void ygr_metric_add(struct ygr_metric *metric, double amount, const char *const *values)
{
	pthread_mutex_lock(&metric->owner->lock);
	struct sample *sample = sample_get(metric, values);
	if (sample)
		sample->value += amount;
	pthread_mutex_unlock(&metric->owner->lock);
}

void ygr_metric_set(struct ygr_metric *metric, double value, const char *const *values)
{
	pthread_mutex_lock(&metric->owner->lock);
	struct sample *sample = sample_get(metric, values);
	if (sample)
		sample->value = value;
	pthread_mutex_unlock(&metric->owner->lock);
}

void ygr_metric_observe(struct ygr_metric *metric, double value, const char *const *values)
{
	unsigned slot = 0;
	while (slot < metric->bound_count && value > metric->bounds[slot])
		slot++;

	pthread_mutex_lock(&metric->owner->lock);
	struct sample *sample = sample_get(metric, values);
	if (sample) {
		sample->value += value;
		sample->count++;
		sample->buckets[slot]++; /* NOLINT: a sample of a histogram has buckets */
	}
	pthread_mutex_unlock(&metric->owner->lock);
}

void ygr_metric_forget(struct ygr_metric *metric, const char *label, const char *value)
{
	unsigned index = 0;
	while (index < metric->label_count && strcmp(metric->labels[index], label) != 0)
		index++;
	if (index == metric->label_count)
		return;

	pthread_mutex_lock(&metric->owner->lock);
	struct sample **link = &metric->samples;
	while (*link) {
		struct sample *sample = *link;
		if (strncmp(sample->values[index], value, LABEL_VALUE_MAX - 1) != 0) {
			link = &sample->next;
			continue;
		}
		*link = sample->next;
		sample_free(sample);
		metric->sample_count--;
	}
	metric->last_sample = link;
	pthread_mutex_unlock(&metric->owner->lock);
}

/* Formatting. */

static int put(struct ygr_buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int put(struct ygr_buf *out, const char *format, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, format);
	int n = vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return ygr_buf_append(out, text, n < (int)sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

/* Escapes as the text format wants it: backslash and newline, in label values the quote too. */
static int put_escaped(struct ygr_buf *out, const char *s, bool label)
{
	int r = 0;
	for (; *s && r == 0; s++) {
		if (*s == '\n')
			r = ygr_buf_append(out, "\\n", 2);
		else if (*s == '\\' || (label && *s == '"'))
			r = ygr_buf_append(out, (const char[]){'\\', *s}, 2);
		else
			r = ygr_buf_append(out, s, 1);
	}
	return r;
}

static int put_number(struct ygr_buf *out, double value)
{
	if (isnan(value))
		return put(out, "NaN");
	if (isinf(value))
		return put(out, value > 0 ? "+Inf" : "-Inf");
	if (fabs(value) < 1e15 && value == floor(value))
		return put(out, "%.0f", value);
	return put(out, "%.17g", value);
}

static int put_labels(struct ygr_buf *out, const struct ygr_metric *metric, const struct sample *sample,
		      const char *bucket)
{
	if (metric->label_count == 0 && !bucket)
		return 0;

	int r = put(out, "{");
	for (unsigned i = 0; i < metric->label_count && r == 0; i++) {
		r = put(out, "%s%s=\"", i ? "," : "", metric->labels[i]);
		if (r == 0)
			r = put_escaped(out, sample->values[i], true);
		if (r == 0)
			r = put(out, "\"");
	}
	if (r == 0 && bucket)
		r = put(out, "%sle=\"%s\"", metric->label_count ? "," : "", bucket);
	return r < 0 ? r : put(out, "}");
}

static int put_line(struct ygr_buf *out, const struct ygr_metric *metric, const struct sample *sample,
		    const char *suffix, const char *bucket, double value)
{
	int r = put(out, "%s%s", metric->name, suffix);
	if (r == 0)
		r = put_labels(out, metric, sample, bucket);
	if (r == 0)
		r = put(out, " ");
	if (r == 0)
		r = put_number(out, value);
	return r < 0 ? r : put(out, "\n");
}

static int put_histogram(struct ygr_buf *out, const struct ygr_metric *metric, const struct sample *sample)
{
	uint64_t cumulated = 0;
	int r = 0;
	for (unsigned i = 0; i <= metric->bound_count && r == 0; i++) {
		char bound[32] = "+Inf";
		if (i < metric->bound_count)
			snprintf(bound, sizeof(bound), "%g", metric->bounds[i]);
		cumulated += sample->buckets[i];
		r = put_line(out, metric, sample, "_bucket", bound, (double)cumulated);
	}
	if (r == 0)
		r = put_line(out, metric, sample, "_sum", NULL, sample->value);
	return r < 0 ? r : put_line(out, metric, sample, "_count", NULL, (double)sample->count);
}

static int put_family(struct ygr_buf *out, const struct ygr_metric *metric, bool openmetrics)
{
	static const char *const types[] = {"counter", "gauge", "histogram"};
	const char *suffix = metric->type == YGR_METRIC_COUNTER ? "_total" : "";
	const char *head =
	    openmetrics ? "" : suffix; /* OpenMetrics names a counter's family without _total */

	int r = put(out, "# HELP %s%s ", metric->name, head);
	if (r == 0)
		r = put_escaped(out, metric->help, false);
	if (r == 0)
		r = put(out, "\n# TYPE %s%s %s\n", metric->name, head, types[metric->type]);
	for (const struct sample *sample = metric->samples; sample && r == 0; sample = sample->next)
		r = metric->type == YGR_METRIC_HISTOGRAM
			? put_histogram(out, metric, sample)
			: put_line(out, metric, sample, suffix, NULL, sample->value);
	return r;
}

int ygr_metrics_write(struct ygr_metrics *metrics, bool openmetrics, struct ygr_buf *out)
{
	int r = 0;
	pthread_mutex_lock(&metrics->lock);
	for (const struct ygr_metric *metric = metrics->families; metric && r == 0; metric = metric->next)
		if (metric->samples)
			r = put_family(out, metric, openmetrics);
	pthread_mutex_unlock(&metrics->lock);
	return r < 0 || !openmetrics ? r : put(out, "# EOF\n");
}
