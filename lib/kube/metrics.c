/* See metrics.h. */
#include "lib/kube/metrics.h"

#include <errno.h>
#include <stddef.h>

#define SAMPLES 256

int ygr_kube_metrics_declare(struct ygr_metrics *m, struct ygr_kube_metrics *ret)
{
	static const char
	    *const none[] = {NULL},
		   *const verb[] = {"verb", NULL}, *const verb_code[] = {"verb", "code", NULL},
		   *const reason[] = {"reason", NULL}, *const resource[] = {"resource", NULL},
		   *const resource_result[] = {"resource", "result", NULL},
		   *const resource_type[] = {"resource", "type", NULL}, *const lease[] = {"lease", NULL},
		   *const lease_result[] = {"lease", "result", NULL}, *const result[] = {"result", NULL};
	static const double buckets[] = {0.005, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30};
	const enum ygr_metric_type counter = YGR_METRIC_COUNTER, gauge = YGR_METRIC_GAUGE;
#define FAMILY(type, name, labels, help)                                                                    \
	ygr_metric_declare(m, type, "yagura_kube_" name, help, labels, NULL, 0, SAMPLES)
	*ret = (struct ygr_kube_metrics){
	    .requests = FAMILY(counter, "requests", verb_code, "Requests to the API server by answer."),
	    .duration = ygr_metric_declare(m, YGR_METRIC_HISTOGRAM, "yagura_kube_request_duration_seconds",
					   "Time from start to end of a request; watches are left out.",
					   verb, buckets, sizeof(buckets) / sizeof(*buckets), SAMPLES),
	    .retries = FAMILY(counter, "retries", reason, "Requests sent once more, by reason."),
	    .waiting = FAMILY(gauge, "waiting_requests", none,
			      "Requests that wait for the rate limit or for a credential."),
	    .reachable = FAMILY(gauge, "reachable", none, "1 while the API server answers."),
	    .received = FAMILY(counter, "received_bytes", none, "Bytes of answers."),
	    .objects = FAMILY(gauge, "informer_objects", resource, "Objects in the cache."),
	    .lists = FAMILY(counter, "informer_lists", resource_result, "Lists by result."),
	    .watches = FAMILY(counter, "informer_watches", resource_result, "Watches by how they ended."),
	    .events = FAMILY(counter, "informer_events", resource_type, "Watch events by type."),
	    .refused = FAMILY(counter, "informer_refused_objects", resource,
			      "Objects of lists and watches that could not be decoded."),
	    .synced = FAMILY(gauge, "informer_synced", resource, "1 once the cache is complete."),
	    .leader = FAMILY(gauge, "lease_held", lease, "1 while this process holds the lease."),
	    .renewals = FAMILY(counter, "lease_renewals", lease_result, "Renewals of leases by result."),
	    .recorded = FAMILY(counter, "events", result, "Kubernetes Events by what became of them."),
	};
#undef FAMILY
	struct ygr_metric *const *all = (struct ygr_metric *const *)ret;
	for (size_t i = 0; i < sizeof(*ret) / sizeof(*all); i++)
		if (!all[i])
			return -ENOMEM;
	return 0;
}

void ygr_kube_count(struct ygr_metric *metric, const char *a, const char *b)
{
	if (metric)
		ygr_metric_add(metric, 1, (const char *[]){a, b});
}

void ygr_kube_gauge(struct ygr_metric *metric, double value, const char *label)
{
	if (metric)
		ygr_metric_set(metric, value, (const char *[]){label});
}
