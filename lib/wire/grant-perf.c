/* perf_event_open() and the ioctls on its descriptors: what is opened decides where a program can be
 * attached. */
#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>

#include "lib/wire/grant-question.h"

#define PERF(name) (sizeof(struct ygr_perf_args) + offsetof(struct perf_event_attr, name))

static int check_probe(const struct ygr_question *q, bool user)
{
	/* The kernel takes config1 for a pointer to a name: then it must have travelled as one. */
	if (!ygr_question_field32(q, offsetof(struct ygr_perf_args, probe)) &&
	    ygr_question_field(q, PERF(config1), 8))
		return ygr_error_set(q->error, EACCES, "the name of a probe is no pointer");
	const char *target;
	int r = ygr_question_string(q, PERF(config1), &target);
	if (r < 0)
		return r;
	return user ? ygr_check_uprobe(q, target) : ygr_check_attach(q, "kprobe:", target);
}

/* perf:NAME, which an entry for the whole CLASS covers too. */
static int check_event(const struct ygr_question *q, const char *class, const char *name)
{
	char thing[64];
	snprintf(thing, sizeof(thing), "perf:%s", class);
	return ygr_grant_list_has(&q->grant->attach, thing) ? 0 : ygr_check_attach(q, "perf:", name);
}

static int check_software(const struct ygr_question *q, uint64_t config)
{
	static const char *const names[] = {
	    "cpu_clock",        "task_clock",      "page_faults",     "context_switches",
	    "cpu_migrations",   "page_faults_min", "page_faults_maj", "alignment_faults",
	    "emulation_faults", "dummy",           "bpf_output",      "cgroup_switches"};
	return check_event(q, "software", config < sizeof(names) / sizeof(names[0]) ? names[config] : NULL);
}

static int check_pmu(const struct ygr_question *q, uint32_t type)
{
	const char *pmu = q->names->perf_pmu ? q->names->perf_pmu(q->names->user, type) : NULL;
	if (!q->names->perf_pmu) {
		/* A probe or a device: the other end knows which. At least one of them must be allowed. */
		bool may = ygr_question_has_kind(&q->grant->attach, "kprobe:") ||
			   ygr_question_has_kind(&q->grant->attach, "uprobe:") ||
			   ygr_question_has_kind(&q->grant->attach, "perf:");
		return may ? 0 : ygr_grant_deny(q->grant, q->who, q->error, "perf event of type #%u", type);
	}
	if (pmu && strcmp(pmu, "kprobe") == 0)
		return check_probe(q, false);
	if (pmu && strcmp(pmu, "uprobe") == 0)
		return check_probe(q, true);
	return ygr_check_attach(q, "perf:", pmu);
}

int ygr_check_perf(const struct ygr_question *q)
{
	uint32_t type = ygr_question_field32(q, PERF(type));
	uint64_t config = ygr_question_field(q, PERF(config), 8);
	switch (type) {
	case PERF_TYPE_TRACEPOINT:
		if (!q->names->tracepoint)
			return ygr_check_kind(q, "tracepoint:");
		return ygr_check_attach(q, "tracepoint:", q->names->tracepoint(q->names->user, config));
	case PERF_TYPE_SOFTWARE:
		return check_software(q, config);
	case PERF_TYPE_HARDWARE:
		return ygr_check_attach(q, "perf:", "hardware");
	case PERF_TYPE_HW_CACHE:
		return check_event(q, "hardware", "hw_cache");
	case PERF_TYPE_RAW:
		return ygr_check_attach(q, "perf:", "raw");
	case PERF_TYPE_BREAKPOINT:
		return ygr_check_attach(q, "perf:", "breakpoint");
	default:
		return check_pmu(q, type);
	}
}

/* What an ioctl does to an event of one's own; the event itself was checked when it was opened. */
int ygr_check_ioctl(const struct ygr_question *q)
{
	uint64_t request = ygr_question_field(q, offsetof(struct ygr_ioctl_args, request), 8);
	switch (request) {
	case PERF_EVENT_IOC_ENABLE:
	case PERF_EVENT_IOC_DISABLE:
	case PERF_EVENT_IOC_REFRESH:
	case PERF_EVENT_IOC_RESET:
	case PERF_EVENT_IOC_PERIOD:
	case PERF_EVENT_IOC_SET_OUTPUT:
	case PERF_EVENT_IOC_SET_FILTER:
	case PERF_EVENT_IOC_ID:
	case PERF_EVENT_IOC_SET_BPF:
	case PERF_EVENT_IOC_PAUSE_OUTPUT:
	case PERF_EVENT_IOC_QUERY_BPF:
		return 0;
	default:
		return ygr_grant_deny(q->grant, q->who, q->error, "ioctl 0x%llx",
				      (unsigned long long)request);
	}
}
