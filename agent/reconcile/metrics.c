/* The reconciler's metrics. Labels are names that providers and manifests gave, never a guest's words. */
#include <errno.h>
#include <string.h>

#include "agent/reconcile/policy.h"

#define APP_SAMPLES 4096

static const char *const app_labels[] = {"namespace", "vm", "monitor", "app", NULL};

static struct ygr_metric *app_counter(struct ygr_metrics *metrics, const char *name, const char *help)
{
	return ygr_metric_declare(metrics, YGR_METRIC_COUNTER, name, help, app_labels, NULL, 0, APP_SAMPLES);
}

static struct ygr_metric *gauge(struct ygr_metrics *metrics, const char *name, const char *help,
				const char *const *labels)
{
	return ygr_metric_declare(metrics, YGR_METRIC_GAUGE, name, help, labels, NULL, 0, 64);
}

int ygr_reconcile_metrics_declare(struct ygr_reconcile *reconcile)
{
	static const char *const phase[] = {"phase", NULL}, *const state[] = {"state", NULL},
				 *const none[] = {NULL};
	static const char *const restarts[] = {"namespace", "monitor", "app", NULL};
	static const double buckets[] = {0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1};
	struct ygr_metrics *m = reconcile->options.metrics;

	reconcile->metrics = (struct ygr_reconcile_metrics){
	    .vms = gauge(m, "yagura_vms", "VMs of this node by phase.", phase),
	    .monitors = gauge(m, "yagura_monitors", "VMMonitors in force.", none),
	    .applications = gauge(m, "yagura_applications", "Applications by state.", state),
	    .channels = gauge(m, "yagura_channels", "Channels to guests by state.", state),
	    .manifest_errors =
		gauge(m, "yagura_manifest_errors", "Objects and files that are broken.", none),
	    .restarts = ygr_metric_declare(m, YGR_METRIC_COUNTER, "yagura_application_restarts",
					   "Starts of an application after its first.", restarts, NULL, 0,
					   APP_SAMPLES),
	    .events = app_counter(m, "yagura_events", "Lines of applications that became events."),
	    .dropped = app_counter(m, "yagura_events_dropped", "Lines above eventsPerSecond."),
	    .cut = app_counter(m, "yagura_events_cut", "Lines longer than 8 KiB, cut there."),
	    .calls = app_counter(m, "yagura_forwarded_calls", "Calls forwarded to the guest."),
	    .refused = app_counter(m, "yagura_refused_calls", "Calls that catalogue or owner refused."),
	    .records = app_counter(m, "yagura_ring_records", "Ring records delivered."),
	    .bytes = app_counter(m, "yagura_ring_bytes", "Bytes of ring records delivered."),
	    .lost = app_counter(m, "yagura_ring_dropped", "Ring records dropped for lack of room."),
	    .invalid = app_counter(m, "yagura_ring_invalid", "Ring records of guests that were malformed."),
	    .duration = ygr_metric_declare(m, YGR_METRIC_HISTOGRAM, "yagura_reconcile_duration_seconds",
					   "Time of one pass of the reconciler.", none, buckets,
					   sizeof(buckets) / sizeof(*buckets), 1),
	};
	struct ygr_metric *const *all = (struct ygr_metric *const *)&reconcile->metrics;
	for (size_t i = 0; i < sizeof(reconcile->metrics) / sizeof(*all); i++)
		if (!all[i])
			return -ENOMEM;
	return 0;
}

static void set(struct ygr_metric *metric, const char *label, unsigned value)
{
	ygr_metric_set(metric, value, (const char *[]){label, NULL});
}

void ygr_reconcile_metrics_gauges(struct ygr_reconcile *reconcile)
{
	unsigned phases[YGR_VM_STOPPED + 1] = {0}, states[YGR_WORK_STATES] = {0},
					 links[YGR_LINK_REFUSED + 1] = {0};
	unsigned monitors = 0;

	for (size_t i = 0; i < reconcile->guest_count; i++) {
		const struct ygr_observed *guest = reconcile->guests[i];
		phases[guest->vm->phase]++;
		links[guest->link ? ygr_link_state(guest->link) : YGR_LINK_NONE]++;
	}
	for (size_t i = 0; i < reconcile->work_count; i++)
		states[reconcile->works[i]->state]++;
	for (size_t i = 0; i < reconcile->monitor_count; i++)
		monitors += reconcile->monitors[i]->monitor != NULL;
	for (int i = 0; i <= YGR_VM_STOPPED; i++)
		set(reconcile->metrics.vms, ygr_vm_phase_word((enum ygr_vm_phase)i), phases[i]);
	for (int i = 0; i < YGR_WORK_STATES; i++)
		set(reconcile->metrics.applications, ygr_work_state_word((enum ygr_work_state)i), states[i]);
	for (int i = 0; i <= YGR_LINK_REFUSED; i++)
		set(reconcile->metrics.channels, ygr_link_state_word((enum ygr_link_state)i), links[i]);
	ygr_policies_gauges(reconcile->policies);
	set(reconcile->metrics.monitors, NULL, monitors);
	set(reconcile->metrics.manifest_errors, NULL, (unsigned)reconcile->problem_count);
}

void ygr_reconcile_metrics_work(struct ygr_work *work)
{
	const struct ygr_application_counters *now = ygr_application_counters(work->application);
	const struct ygr_application_counters *old = &work->counted;
	const struct ygr_reconcile_metrics *m = &work->guest->reconcile->metrics;
	const char *const labels[] = {work->wanted->namespace_, work->guest->vm->name, work->wanted->name,
				      work->app};
	const struct {
		struct ygr_metric *metric;
		uint64_t now, old;
	} all[] = {
	    {m->events, now->lines, old->lines},
	    {m->dropped, now->lines_dropped, old->lines_dropped},
	    {m->cut, now->lines_cut, old->lines_cut},
	    {m->calls, now->calls, old->calls},
	    {m->refused, now->refused, old->refused},
	    {m->records, now->ring_records, old->ring_records},
	    {m->bytes, now->ring_bytes, old->ring_bytes},
	    {m->lost, now->ring_dropped, old->ring_dropped},
	    {m->invalid, now->ring_invalid, old->ring_invalid},
	};
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (all[i].now >= all[i].old)
			ygr_metric_add(all[i].metric, (double)(all[i].now - all[i].old), labels);
	work->counted = *now;
}
