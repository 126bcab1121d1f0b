/* Metrics: text format, escaping, bounds, forgetting; promtool has the last word where it is installed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/metrics.h"

#define VALUES(...) ((const char *const[]){__VA_ARGS__})
static const char *const labels[] = {"vm", "state", NULL};

static char *written(struct ygr_metrics *metrics, bool openmetrics)
{
	struct ygr_buf out = YGR_BUF_INIT(1 << 20);
	assert_int_equal(ygr_metrics_write(metrics, openmetrics, &out), 0);
	assert_int_equal(ygr_buf_append(&out, "", 1), 0);
	return (char *)out.data;
}

static void writes_each_type(void **state)
{
	(void)state;
	struct ygr_metrics *metrics = ygr_metrics_new();
	struct ygr_metric *counter = ygr_metric_declare(metrics, YGR_METRIC_COUNTER, "yagura_events",
							"Events \\ seen.\nTwo lines.", labels, NULL, 0, 8);
	struct ygr_metric *gauge =
	    ygr_metric_declare(metrics, YGR_METRIC_GAUGE, "yagura_vms", "VMs.", NULL, NULL, 0, 1);
	struct ygr_metric *histogram =
	    ygr_metric_declare(metrics, YGR_METRIC_HISTOGRAM, "yagura_dial_seconds", "Dialling.", NULL,
			       (const double[]){0.1, 1}, 2, 1);

	ygr_metric_add(counter, 2, VALUES("a\"b\\c\nd", "ok"));
	ygr_metric_add(counter, 1, VALUES("a\"b\\c\nd", "ok"));
	ygr_metric_set(gauge, 0.5, NULL);
	ygr_metric_observe(histogram, 0.1, NULL);
	ygr_metric_observe(histogram, 0.5, NULL);
	ygr_metric_observe(histogram, 7, NULL);

	char *text = written(metrics, false);
	assert_string_equal(text, "# HELP yagura_events_total Events \\\\ seen.\\nTwo lines.\n"
				  "# TYPE yagura_events_total counter\n"
				  "yagura_events_total{vm=\"a\\\"b\\\\c\\nd\",state=\"ok\"} 3\n"
				  "# HELP yagura_vms VMs.\n"
				  "# TYPE yagura_vms gauge\n"
				  "yagura_vms 0.5\n"
				  "# HELP yagura_dial_seconds Dialling.\n"
				  "# TYPE yagura_dial_seconds histogram\n"
				  "yagura_dial_seconds_bucket{le=\"0.1\"} 1\n"
				  "yagura_dial_seconds_bucket{le=\"1\"} 2\n"
				  "yagura_dial_seconds_bucket{le=\"+Inf\"} 3\n"
				  "yagura_dial_seconds_sum 7.5999999999999996\n"
				  "yagura_dial_seconds_count 3\n");
	if (access("/usr/bin/promtool", X_OK) == 0) {
		FILE *promtool = popen("/usr/bin/promtool check metrics", "w");
		assert_non_null(promtool);
		fputs(text, promtool);
		assert_int_equal(pclose(promtool), 0);
	}
	free(text);

	text = written(metrics, true);
	assert_non_null(strstr(text, "# TYPE yagura_events counter\nyagura_events_total{"));
	assert_string_equal(text + strlen(text) - 6, "# EOF\n");
	free(text);
	ygr_metrics_free(metrics);
}

static void bounds_samples(void **state)
{
	(void)state;
	struct ygr_metrics *metrics = ygr_metrics_new();
	struct ygr_metric *metric =
	    ygr_metric_declare(metrics, YGR_METRIC_COUNTER, "yagura_x", "X.", labels, NULL, 0, 2);
	for (int i = 0; i < 100; i++) {
		char vm[16];
		snprintf(vm, sizeof(vm), "vm%d", i);
		ygr_metric_add(metric, 1, VALUES(vm, "s"));
	}
	char *text = written(metrics, false);
	assert_non_null(strstr(text, "yagura_x_total{vm=\"vm0\",state=\"s\"} 1\n"));
	assert_non_null(strstr(text, "yagura_x_total{vm=\"vm1\",state=\"s\"} 1\n"));
	assert_non_null(strstr(text, "yagura_x_total{vm=\"other\",state=\"other\"} 98\n"));
	assert_null(strstr(text, "vm2"));
	free(text);

	ygr_metric_forget(metric, "vm", "vm0");
	ygr_metric_forget(metric, "vm", "other");
	ygr_metric_add(metric, 1, VALUES("vm7", "s"));
	text = written(metrics, false);
	assert_null(strstr(text, "vm0"));
	assert_null(strstr(text, "other"));
	assert_non_null(strstr(text, "yagura_x_total{vm=\"vm7\",state=\"s\"} 1\n"));
	free(text);
	ygr_metrics_free(metrics);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(writes_each_type),
					   cmocka_unit_test(bounds_samples)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
