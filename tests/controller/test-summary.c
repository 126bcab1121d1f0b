/* Statuses out of what agents say, nodes by their Leases, and how long it takes for many. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "controller/node.h"
#include "controller/seen.h"
#include "controller/subject.h"

static __attribute__((format(printf, 1, 2))) json_t *parse(const char *format, ...)
{
	char *text;
	va_list args;
	json_error_t error;

	va_start(args, format);
	assert_true(vasprintf(&text, format, args) > 0);
	va_end(args);
	json_t *value = json_loads(text, 0, &error);
	if (!value)
		fail_msg("%s: %s", error.text, text);
	free(text);
	return value;
}

static struct ygr_seen *seen(const char *name, const char *labels, const char *status)
{
	json_t *object =
	    parse("{\"metadata\": {\"namespace\": \"a\", \"name\": \"%s\", \"labels\": %s, "
		  "\"resourceVersion\": \"7\"}, \"spec\": {\"nodeName\": \"n1\"}, \"status\": %s}",
		  name, labels, status);
	struct ygr_seen *guest;

	assert_int_equal(ygr_seen_decode(object, &guest), 0);
	json_decref(object);
	return guest;
}

static struct ygr_subject *subject(enum ygr_subject_kind kind, const char *kind_name, const char *spec,
				   const char *status)
{
	json_t *object =
	    parse("{\"apiVersion\": \"yagura.dev/v1alpha1\", \"kind\": \"%s\", \"metadata\": {\"name\": "
		  "\"s\"%s, \"generation\": 2}, \"spec\": %s, \"status\": %s}",
		  kind_name, strncmp(kind_name, "Cluster", 7) ? ", \"namespace\": \"a\"" : "", spec, status);
	struct ygr_subject *subject;

	assert_int_equal(ygr_subject_decode(kind, object, &subject), 0);
	json_decref(object);
	return subject;
}

#define APPS "\"apps\": [{\"name\": \"exec\", \"program\": \"execsnoop\"}]"

static void test_hostile_guests(void **state)
{
	static const char *const statuses[] = {
	    "null",
	    "7",
	    "[]",
	    "{\"monitors\": 7, \"policies\": {}}",
	    "{\"monitors\": [7, null, [], {}, {\"name\": 7, \"apps\": [7, {}]}]}",
	    "{\"policies\": [7, {\"unsupported\": [1]}]}",
	    "{\"phase\": 7, \"monitors\": [{\"name\": \"a\", \"generation\": \"x\", \"apps\": {}}]}",
	};
	struct ygr_seen *guest;

	(void)state;
	for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++)
		ygr_seen_free(seen("g", "{}", statuses[i]));
	ygr_seen_free(seen("g", "{\"a\": 7, \"b c\": \"d\", \"e\": \"f\"}", "{}"));
	json_t *object = parse("{\"metadata\": {\"name\": \"a\", \"namespace\": \"b\"}}");
	assert_int_equal(ygr_seen_decode(object, &guest), -EINVAL); /* no node */
	json_decref(object);
	assert_int_equal(ygr_seen_decode(NULL, &guest), -EINVAL);
	/* More than anybody should say. */
	json_t *many = json_array();
	for (int i = 0; i < 1000; i++)
		json_array_append_new(many, json_pack("{s:s, s:[{s:s, s:s}, {s:s, s:s}]}", "name", "m",
						      "apps", "state", "Failed", "name", "x", "state",
						      "Failed", "name", "y"));
	object = json_pack("{s:{s:s, s:s}, s:{s:s}, s:{s:o}}", "metadata", "name", "g", "namespace", "a",
			   "spec", "nodeName", "n", "status", "monitors", many);
	assert_int_equal(ygr_seen_decode(object, &guest), 0);
	assert_int_equal(guest->monitor_count, YGR_SEEN_REPORTS_MAX);
	ygr_seen_free(guest);
	json_decref(object);
}

static void test_status(void **state)
{
	struct ygr_seen *good =
	    seen("g1", "{\"app\": \"web\"}",
		 "{\"monitors\": [{\"namespace\": \"a\", \"name\": \"s\", \"generation\": 2, "
		 "\"apps\": [{\"name\": \"exec\", \"state\": \"Running\"}]}]}");
	struct ygr_seen *stale =
	    seen("g2", "{\"app\": \"web\"}",
		 "{\"monitors\": [{\"namespace\": \"a\", \"name\": \"s\", \"generation\": 1, "
		 "\"apps\": [{\"name\": \"exec\", \"state\": \"Running\"}]}]}");
	struct ygr_subject *monitor =
	    subject(YGR_SUBJECT_MONITOR, "VMMonitor",
		    "{\"vmSelector\": {\"matchLabels\": {\"app\": \"web\"}}, " APPS "}",
		    "{\"lastEventTime\": \"2026-01-01T00:00:00Z\", \"conditions\": [{\"type\": "
		    "\"Accepted\", \"status\": "
		    "\"True\", \"lastTransitionTime\": \"2026-01-01T00:00:00Z\"}]}");
	int error;

	(void)state;
	assert_int_equal(ygr_subject_begin(monitor), 0);
	ygr_subject_count(monitor, good, NULL);
	ygr_subject_count(monitor, stale, NULL);
	json_t *status = ygr_subject_status(monitor, 1800000000, &error);
	assert_non_null(status);
	json_t *wanted =
	    parse("{\"observedGeneration\": 2, \"guests\": {\"matched\": 2, \"ready\": 1, \"failed\": 0, "
		  "\"summary\": \"1/2\"}, "
		  "\"failures\": [], \"conditions\": [{\"type\": \"Accepted\", \"status\": \"True\", "
		  "\"reason\": \"Valid\", "
		  "\"message\": \"the spec is valid\", \"observedGeneration\": 2, \"lastTransitionTime\": "
		  "\"2026-01-01T00:00:00Z\"}, {\"type\": \"Ready\", \"status\": \"False\", \"reason\": "
		  "\"NotAllRunning\", "
		  "\"message\": \"every application runs on 1 of 2 guests\", \"observedGeneration\": 2, "
		  "\"lastTransitionTime\": \"2027-01-15T08:00:00Z\"}, {\"type\": \"Degraded\", \"status\": "
		  "\"False\", "
		  "\"reason\": \"AsExpected\", \"message\": \"\", \"observedGeneration\": 2, "
		  "\"lastTransitionTime\": "
		  "\"2027-01-15T08:00:00Z\"}]}");
	char *said = json_dumps(status, JSON_SORT_KEYS), *should = json_dumps(wanted, JSON_SORT_KEYS);
	assert_string_equal(said, should);
	free(said);
	free(should);
	json_decref(wanted);
	/* Once the server has it, nothing is written, whatever the time; members of others stay out of it. */
	json_object_set_new(status, "lastEventTime", json_string("2027-01-01T00:00:00Z"));
	json_decref(monitor->status);
	monitor->status = status;
	assert_int_equal(ygr_subject_begin(monitor), 0);
	ygr_subject_count(monitor, good, NULL);
	ygr_subject_count(monitor, stale, NULL);
	assert_null(ygr_subject_status(monitor, 1900000000, &error));
	assert_int_equal(error, 0);
	ygr_subject_free(monitor);
	ygr_seen_free(good);
	ygr_seen_free(stale);
}

static void test_cluster_wide(void **state)
{
	struct ygr_seen *guest = seen("g", "{\"app\": \"web\"}", "{}");
	struct ygr_subject *all = subject(
	    YGR_SUBJECT_CLUSTER_MONITOR, "ClusterVMMonitor",
	    "{\"namespaceSelector\": {\"matchLabels\": {\"tenant\": \"x\"}}, \"vmSelector\": {}, " APPS "}",
	    "null");
	struct ygr_labels labels = {0};

	(void)state;
	assert_false(ygr_subject_selects(all, guest, NULL)); /* of a namespace that is not known */
	assert_false(ygr_subject_selects(all, guest, &labels));
	assert_int_equal(ygr_labels_set(&labels, "tenant", "x"), 0);
	assert_true(ygr_subject_selects(all, guest, &labels));
	ygr_labels_deinit(&labels);
	ygr_subject_free(all);
	ygr_seen_free(guest);
}

static json_t *lease(const char *name, const char *renewed, int seconds)
{
	return parse("{\"metadata\": {\"name\": \"%s\"}, \"spec\": {\"renewTime\": \"%s\", "
		     "\"leaseDurationSeconds\": %d}}",
		     name, renewed, seconds);
}

static void saw(struct ygr_nodes *nodes, const char *name, const char *renewed, int seconds, int64_t now)
{
	json_t *object = lease(name, renewed, seconds);

	assert_int_equal(ygr_nodes_saw(nodes, object, now), 0);
	json_decref(object);
}

static void test_nodes(void **state)
{
	struct ygr_nodes nodes = {0};

	(void)state;
	saw(&nodes, "yagura-node-b", "1", 40, 100);
	saw(&nodes, "yagura-node-a", "1", 40, 100);
	saw(&nodes, "yagura-controller", "1", 15, 100);
	saw(&nodes, "yagura-node-", "1", 15, 100);
	assert_int_equal(nodes.count, 2);
	struct ygr_node *a = ygr_nodes_get(&nodes, "a", 100), *b = ygr_nodes_get(&nodes, "b", 100);
	saw(&nodes, "yagura-node-a", "2", 40, 130);
	saw(&nodes, "yagura-node-b", "1", 40, 130); /* written again, not renewed */
	assert_int_equal(ygr_node_dead_for(a, 145), -25);
	assert_int_equal(ygr_node_dead_for(b, 145), 5);
	ygr_nodes_blind(&nodes, 200);
	assert_int_equal(ygr_node_dead_for(b, 210), -30);
	/* The clock of the node, in renewTime, is nothing to us; nor is a duration beyond reason. */
	saw(&nodes, "yagura-node-c", "1970-01-01T00:00:00Z", 1, 300);
	saw(&nodes, "yagura-node-d", "x", 2000000000, 300);
	assert_int_equal(ygr_node_dead_for(ygr_nodes_get(&nodes, "c", 0), 300), -YGR_NODE_SECONDS_MIN);
	assert_int_equal(ygr_node_dead_for(ygr_nodes_get(&nodes, "d", 0), 300), -YGR_NODE_SECONDS_MAX);
	/* Without a Lease: the same time from when it was first heard of. */
	assert_true(ygr_node_dead_for(ygr_nodes_get(&nodes, "ghost", 400), 400) < 0);
	ygr_nodes_lost(&nodes, "yagura-node-a", 410);
	assert_true(ygr_node_dead_for(a, 410) > 0);
	ygr_nodes_deinit(&nodes);
}

static double seconds(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts); /* others use this machine, too */
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

enum { GUESTS = 5000, SUBJECTS = 1000, GROUPS = 100 };

static void count_all(struct ygr_subject **subjects, size_t subject_count, struct ygr_seen **guests)
{
	int error;

	for (size_t i = 0; i < subject_count; i++)
		assert_int_equal(ygr_subject_begin(subjects[i]), 0);
	for (size_t i = 0; i < GUESTS; i++)
		for (size_t j = 0; j < subject_count; j++)
			ygr_subject_count(subjects[j], guests[i], NULL);
	for (size_t i = 0; i < subject_count; i++) {
		assert_int_equal(subjects[i]->matched, GUESTS / GROUPS);
		json_decref(ygr_subject_status(subjects[i], 1800000000, &error));
	}
}

/* All in one namespace, ten policies a guest. The figures are for people; time decides nothing here. */
static void test_many(void **state)
{
	struct ygr_seen *guests[GUESTS];
	struct ygr_subject *subjects[SUBJECTS];

	(void)state;
	double began = seconds();
	for (int i = 0; i < GUESTS; i++) {
		char labels[64], status[1600] = "{\"policies\": [", name[32];
		snprintf(labels, sizeof(labels), "{\"group\": \"g%d\"}", i % GROUPS);
		snprintf(name, sizeof(name), "g-%d", i);
		for (int j = 0; j < 10; j++)
			snprintf(status + strlen(status), sizeof(status) - strlen(status),
				 "%s{\"namespace\": \"a\", \"name\": \"p-%d\", \"state\": \"Enforcing\"}",
				 j ? "," : "", i % GROUPS + j * GROUPS);
		strcat(status, "]}");
		guests[i] = seen(name, labels, status);
	}
	for (int i = 0; i < SUBJECTS; i++) {
		char spec[160];
		snprintf(
		    spec, sizeof(spec),
		    "{\"vmSelector\": {\"matchLabels\": {\"group\": \"g%d\"}}, \"policy\": \"policy p {}\"}",
		    i % GROUPS);
		subjects[i] = subject(YGR_SUBJECT_POLICY, "VMPolicy", spec, "null");
	}
	double decoded = seconds();
	count_all(subjects, SUBJECTS, guests);
	double cold = seconds();
	struct ygr_subject *some[10]; /* those of one guest */
	for (int i = 0; i < 10; i++)
		some[i] = subjects[i * GROUPS];
	count_all(some, 10, guests);
	double one = seconds();
	printf("decoded in %.2f s, counted in %.2f s; one change in %.1f ms\n", decoded - began,
	       cold - decoded, (one - cold) * 1000);
	for (int i = 0; i < GUESTS; i++)
		ygr_seen_free(guests[i]);
	for (int i = 0; i < SUBJECTS; i++)
		ygr_subject_free(subjects[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_hostile_guests), cmocka_unit_test(test_status),
	    cmocka_unit_test(test_cluster_wide),   cmocka_unit_test(test_nodes),
	    cmocka_unit_test(test_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
