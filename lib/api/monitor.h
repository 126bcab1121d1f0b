/* VMMonitor: which applications watch which VMs. The schema for an API server is crds/vmmonitors.yaml. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/api/meta.h"
#include "lib/api/selector.h"

#define YGR_MONITOR_KIND         "VMMonitor"
#define YGR_CLUSTER_MONITOR_KIND "ClusterVMMonitor"
#define YGR_MONITOR_APPS_MAX     32
#define YGR_MONITOR_JOBS_MAX     32
#define YGR_MONITOR_ARGS_MAX     32
#define YGR_MONITOR_ARG_BYTES    256
#define YGR_MONITOR_CODES_MAX    16

enum ygr_app_delivery {
	YGR_APP_DELIVERY_AUTO,
	YGR_APP_DELIVERY_SHARED,
	YGR_APP_DELIVERY_COPIED,
	YGR_APP_DELIVERY_STREAM
};
enum ygr_restart_policy { YGR_RESTART_ALWAYS, YGR_RESTART_ON_FAILURE, YGR_RESTART_NEVER };

/* The words of the enums, NULL-terminated, in their order. */
extern const char *const ygr_app_delivery_words[];
extern const char *const ygr_restart_policy_words[];

struct ygr_limits {
	uint64_t memory;            /* bytes; default 64 MiB */
	uint32_t cpu_milli;         /* thousandths of a CPU; default 200 */
	uint32_t events_per_second; /* 1..1000000; default 5000 */
};

struct ygr_app {
	char *name;    /* DNS label */
	char *program; /* a name in the node's catalogue */
	char **args;   /* NULL-terminated */
	size_t arg_count;
	enum ygr_app_delivery delivery;
	enum ygr_restart_policy restart_policy;
	struct ygr_limits limits;
};

enum ygr_enclave_runtime { YGR_ENCLAVE_AUTO, YGR_ENCLAVE_SGX, YGR_ENCLAVE_SANDBOX };

struct ygr_ids_job {
	char *name;
	char *program;
	char **args;
	size_t arg_count;
	char *schedule; /* five fields of cron */
	uint32_t timeout_seconds;
	enum ygr_enclave_runtime runtime;
	bool require_tee;
	uint8_t exit_codes[YGR_MONITOR_CODES_MAX];
	size_t exit_code_count;
	bool on_change;
};

struct ygr_monitor {
	struct ygr_meta meta;
	const json_t *spec; /* as it was written; a reference of its own */
	bool suspend;
	bool cluster;                   /* a ClusterVMMonitor */
	struct ygr_selector namespaces; /* of a ClusterVMMonitor: whose VMs it is about */
	struct ygr_selector selector;
	struct ygr_app *apps;
	size_t app_count;
	struct ygr_ids_job *jobs;
	size_t job_count;
};

/*
 * Decodes and validates a document. On error nothing is returned and ERROR names file, line, column, field
 * path and what was expected: -EINVAL, -ENOMEM.
 */
int ygr_monitor_decode(const struct ygr_doc *doc, struct ygr_monitor **ret, struct ygr_error *error);
/* The same for a ClusterVMMonitor, which has namespaces beside. */
int ygr_cluster_monitor_decode(const struct ygr_doc *doc, struct ygr_monitor **ret, struct ygr_error *error);
struct ygr_monitor *ygr_monitor_free(struct ygr_monitor *monitor);
