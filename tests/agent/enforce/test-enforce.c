/*
 * Reactions on a real tap with the node's real programs, in namespaces of the test's own. The provider is played,
 * since what it is asked for is what matters here. Disks need a kernel that takes LSM programs: e2e/test_enforce.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "world.h"

#define RULES        "guest { rule a: deny load-module rule b: deny bpf } "
#define POLICY(host) "policy p { " RULES "host { " host " } }"

static int setup(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	world_begin(world);
	*state = world;
	return 0;
}

static int teardown(void **state)
{
	world_end(*state);
	free(*state);
	return 0;
}

/* Gives the room the plans of up to two policies "n/x/p" and "n/y/p"; NULL: without it. */
static void plans(struct world *world, const char *x, const char *y)
{
	struct ygr_enforce_plan *list[2];
	size_t count = 0;

	if (x)
		list[count++] = world_plan("n/x/p", x);
	if (y)
		list[count++] = world_plan("n/y/p", y);
	assert_int_equal(ygr_enforce_plans(world->enforce, WORLD_UUID, list, count), 0);
	while (count)
		ygr_enforce_plan_unref(list[--count]);
}

static void violate(struct world *world, const char *policy, const char *rule)
{
	ygr_enforce_violation(world->enforce, WORLD_UUID, policy, rule);
}

static size_t active(struct world *world)
{
	struct ygr_enforce_active list[YGR_ENFORCE_ACTIVE_MAX];

	return ygr_enforce_list(world->enforce, WORLD_UUID, list);
}

static void test_block(void **state)
{
	struct world *world = *state;
	uint64_t writes, packets;

	world_plug(world, "ygr0");
	plans(world, POLICY("on a: block net to 192.0.2.0/30 port 53, block net from any port 7000-7009"),
	      NULL);
	assert_true(world_sends(world, "192.0.2.1", 53));
	violate(world, "n/x/p", "b"); /* nobody reacts to it */
	violate(world, "n/y/p", "a");
	assert_true(world_sends(world, "192.0.2.1", 53));
	violate(world, "n/x/p", "a");
	assert_false(world_sends(world, "192.0.2.1", 53));
	assert_true(world_sends(world, "192.0.2.1", 54));
	assert_true(world_gets(world, 53));
	assert_false(world_gets(world, 7000));
	assert_false(world_gets(world, 7009));
	assert_true(world_gets(world, 7010));
	ygr_enforce_counted(world->enforce, WORLD_UUID, &writes, &packets);
	assert_int_equal(packets, 3);
	assert_int_equal(active(world), 2);
	violate(world, "n/x/p", "a"); /* renews, and adds nothing */
	assert_int_equal(active(world), 2);
	assert_int_equal(ygr_enforce_release(world->enforce, "default", "web", "a"), 2);
	assert_true(world_sends(world, "192.0.2.1", 53));
	assert_true(world_gets(world, 7000));
	assert_int_equal(ygr_enforce_release(world->enforce, "default", "web", NULL), 0);
	assert_int_equal(ygr_enforce_release(world->enforce, "default", "db", NULL), -ENOENT);
}

static void test_lifetime(void **state)
{
	struct world *world = *state;

	world_plug(world, "ygr0");
	plans(world, POLICY("on a: block net for 1s"), NULL);
	violate(world, "n/x/p", "a");
	assert_false(world_sends(world, "192.0.2.1", 53));
	assert_false(world_gets(world, 53));
	world_turn(world, 1500);
	assert_int_equal(active(world), 0);
	assert_true(world_sends(world, "192.0.2.1", 53));
	assert_non_null(strstr(world->log, "Applied n/x/p/a: block net\n"));
	assert_non_null(strstr(world->log, "Undone n/x/p/a: block net\n"));
}

/* Two policies that ask for the same share it: it ends with the last of them. */
static void test_counted_by_reference(void **state)
{
	struct world *world = *state;

	world_plug(world, "ygr0");
	plans(world, POLICY("on a: block net to 192.0.2.1"), POLICY("on b: block net to 192.0.2.1"));
	violate(world, "n/x/p", "a");
	violate(world, "n/y/p", "b");
	assert_int_equal(active(world), 2);
	plans(world, NULL, POLICY("on b: block net to 192.0.2.1"));
	assert_int_equal(active(world), 1);
	assert_false(world_sends(world, "192.0.2.1", 53));
	plans(world, NULL, POLICY("on b: block net to 192.0.2.9")); /* it asks for something else now */
	assert_int_equal(active(world), 0);
	assert_true(world_sends(world, "192.0.2.1", 53));
}

static void test_count(void **state)
{
	struct world *world = *state;

	world_plug(world, "ygr0");
	plans(world, POLICY("on a 3 times within 1h per vm: block net"), NULL);
	violate(world, "n/x/p", "a");
	violate(world, "n/x/p", "a");
	assert_int_equal(active(world), 0);
	violate(world, "n/x/p", "a");
	assert_int_equal(active(world), 1);
	assert_false(world_sends(world, "192.0.2.1", 53));
}

/* The agent ends and starts: what is in force stays so all the time, and is known again. */
static void test_adopted(void **state)
{
	struct ygr_enforce_active list[YGR_ENFORCE_ACTIVE_MAX];
	struct world *world = *state;

	world_plug(world, "ygr0");
	plans(world, POLICY("on a: block net to 192.0.2.1"), NULL);
	violate(world, "n/x/p", "a");
	world_stop(world);
	assert_false(world_sends(world, "192.0.2.1", 53));
	world_start(world);
	assert_false(world_sends(world, "192.0.2.1", 53));
	ygr_enforce_vm_changed(world->enforce, world->vm);
	assert_false(world_sends(world, "192.0.2.1", 53));
	assert_int_equal(ygr_enforce_list(world->enforce, WORLD_UUID, list), 1);
	assert_string_equal(list[0].rule, "a");
	assert_string_equal(list[0].type, "NetworkBlock");
	assert_true(list[0].since > 0);
	plans(world, POLICY("on a: block net to 192.0.2.1"), NULL);
	assert_false(world_sends(world, "192.0.2.1", 53));
	world_stop(world);
	world_start(world); /* this time its policy went away meanwhile */
	ygr_enforce_vm_changed(world->enforce, world->vm);
	plans(world, NULL, NULL);
	assert_int_equal(active(world), 0);
	assert_true(world_sends(world, "192.0.2.1", 53));
}

/* The VM starts anew with another tap: it is guarded as soon as it is known. */
static void test_new_tap(void **state)
{
	struct world *world = *state;

	world_plug(world, "ygr0");
	plans(world, POLICY("on a: block net to 192.0.2.1, net limit 8mbit outgoing"), NULL);
	violate(world, "n/x/p", "a");
	world_plug(world, "ygr1");
	assert_false(world_sends(world, "192.0.2.1", 53));
	ygr_enforce_vm_gone(world->enforce, world->vm);
	assert_int_equal(active(world), 2);
	world_plug(world, "ygr2");
	assert_false(world_sends(world, "192.0.2.1", 53));
}

static void test_limit(void **state)
{
	struct world *world = *state;

	world_plug(world, "ygr0");
	plans(world, POLICY("on a: net limit 80kbit outgoing"), NULL); /* 10 kB/s, 4 KiB at once */
	assert_int_equal(world_burst(world, 40), 40);
	violate(world, "n/x/p", "a");
	unsigned passed = world_burst(world, 40);
	assert_in_range(passed, 1, 20);
	assert_true(world_gets(world, 53)); /* the other direction is free */
	ygr_enforce_release(world->enforce, "default", "web", "a");
	assert_int_equal(world_burst(world, 40), 40);
}

static void test_provider(void **state)
{
	struct world *world = *state;

	world_plug(world, "ygr0");
	plans(world, POLICY("on a: vm pause, interface net0 down on b: vm resume, vm destroy"), NULL);
	violate(world, "n/x/p", "a");
	assert_non_null(strstr(world->log, "ask pause \nask link down 52:54:00:00:00:01\n"));
	world->log[0] = '\0';
	violate(world, "n/x/p", "a");
	world_turn(world, 20);
	assert_null(strstr(world->log, "ask"));
	world->vm->phase = YGR_VM_RUNNING; /* somebody resumed it */
	world_turn(world, 1200);
	assert_non_null(strstr(world->log, "ask pause"));
	world->log[0] = '\0';
	violate(world, "n/x/p", "b");
	assert_non_null(strstr(world->log, "Undone n/x/p/a: vm pause"));
	assert_non_null(
	    strstr(world->log, "Refused n/x/p/b: vm destroy: VMDestroy is not among the actions"));
	assert_non_null(strstr(world->log, "ask resume"));
	ygr_enforce_release(world->enforce, "default", "web", "a");
	assert_non_null(strstr(world->log, "ask link up"));
}

/* A provider that is away is asked again, and the problem is told until then. */
static void test_provider_fails(void **state)
{
	struct ygr_enforce_active list[YGR_ENFORCE_ACTIVE_MAX];
	struct world *world = *state;

	world_plug(world, "ygr0");
	plans(world, POLICY("on a: vm pause"), NULL);
	world->refuse = true;
	violate(world, "n/x/p", "a");
	assert_int_equal(ygr_enforce_list(world->enforce, WORLD_UUID, list), 1);
	assert_string_equal(list[0].problem, "the provider is away");
	world->refuse = false;
	world_turn(world, 1300);
	assert_int_equal(ygr_enforce_list(world->enforce, WORLD_UUID, list), 1);
	assert_null(list[0].problem);
	assert_int_equal(world->vm->phase, YGR_VM_PAUSED);
}

static void test_snapshots(void **state)
{
	struct world *world = *state;
	char expected[128];

	world_stop(world);
	world->allowed |= YGR_ENFORCE_ALLOW_SNAPSHOT;
	world_start(world);
	world_plug(world, "ygr0");
	plans(world, POLICY("on a: vm pause, snapshot"), NULL);
	violate(world, "n/x/p", "a");
	snprintf(expected, sizeof(expected), "ask pause \nask snapshot %s/" WORLD_UUID ".0\n",
		 world->folder);
	assert_non_null(strstr(world->log, expected));
	for (unsigned i = 0; i < 2; i++) {
		char path[128];
		snprintf(path, sizeof(path), "%s/" WORLD_UUID ".%u", world->folder, i);
		FILE *file = fopen(path, "w");
		assert_non_null(file);
		fclose(file);
	}
	violate(world, "n/x/p", "a");
	assert_non_null(strstr(world->log, "Refused n/x/p/a: snapshot: there are as many snapshots"));
}

static void expect_unsupported(struct world *world, const char *host, const char *reason,
			       const char *message)
{
	struct ygr_enforce_plan *plan = world_plan("n/x/p", host);
	char said[256];
	const char *word =
	    ygr_enforce_unsupported(world->enforce, world->vm, &plan->reactions[0].actions[0], said);

	if (!word || strcmp(word, reason) != 0 || !strstr(said, message))
		fail_msg("%s: %s: %s", host, word ? word : "supported", said);
	ygr_enforce_plan_unref(plan);
}

static void test_unsupported(void **state)
{
	struct world *world = *state;

	world_plug(world, "ygr0");
	expect_unsupported(world, POLICY("on a: vm shutdown"), "NotAllowedByNode", "allowedHostActions");
	expect_unsupported(world, POLICY("on a: snapshot"), "NotAllowedByNode", "Snapshot is not among");
	expect_unsupported(world, POLICY("on a: interface net9 down"), "NoSuchInterface",
			   "no interface net9");
	world->vm->nics[0].kind = YGR_NIC_BYPASS;
	expect_unsupported(world, POLICY("on a: block net"), "UnsupportedBackend", "net0 pass no tap");
	char said[256];
	struct ygr_enforce_plan *plan =
	    world_plan("n/x/p", POLICY("on a: mark bad, event critical, vm pause"));
	for (size_t i = 0; i < 3; i++)
		assert_null(ygr_enforce_unsupported(world->enforce, world->vm,
						    &plan->reactions[0].actions[i], said));
	ygr_enforce_plan_unref(plan);
}

static void test_cleanup(void **state)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct world *world = *state;

	world_plug(world, "ygr0");
	plans(world, POLICY("on a: block net"), NULL);
	violate(world, "n/x/p", "a");
	world_stop(world);
	assert_false(world_sends(world, "192.0.2.1", 53));
	if (ygr_enforce_cleanup(world->pins, world->state, &error) < 0)
		fail_msg("%s", error.message);
	assert_true(world_sends(world, "192.0.2.1", 53));
	assert_int_not_equal(access(world->pins, F_OK), 0);
	assert_int_equal(ygr_enforce_cleanup(world->pins, world->state, &error), 0);
	world_start(world);
	assert_int_equal(active(world), 0);
}

/* A broken list is moved aside, and what was pinned for it is no longer in force. */
static void test_broken_state(void **state)
{
	struct world *world = *state;
	char path[160];

	world_plug(world, "ygr0");
	plans(world, POLICY("on a: block net"), NULL);
	violate(world, "n/x/p", "a");
	world_stop(world);
	snprintf(path, sizeof(path), "%s/actions.json", world->state);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs("{\"version\": 1, \"vms\": [{", file);
	fclose(file);
	world_start(world);
	ygr_enforce_vm_changed(world->enforce, world->vm);
	assert_int_equal(active(world), 0);
	assert_true(world_sends(world, "192.0.2.1", 53));
	strcat(path, ".broken");
	assert_int_equal(access(path, F_OK), 0);
}

/* How long a violation takes until the map says so; printed, not judged. */
static void test_latency(void **state)
{
	struct world *world = *state;
	struct timespec begin, end;
	double worst = 0, total = 0;

	world_plug(world, "ygr0");
	plans(world, POLICY("on a: block net to 192.0.2.1"), NULL);
	for (int i = 0; i < 50; i++) {
		clock_gettime(CLOCK_MONOTONIC, &begin);
		violate(world, "n/x/p", "a");
		clock_gettime(CLOCK_MONOTONIC, &end);
		double us =
		    (double)(end.tv_sec - begin.tv_sec) * 1e6 + (double)(end.tv_nsec - begin.tv_nsec) / 1e3;
		total += us;
		worst = us > worst ? us : worst;
		assert_int_equal(ygr_enforce_release(world->enforce, "default", "web", "a"), 1);
	}
	print_message("violation to map, with the list on disk: mean %.0f us, worst %.0f us of 50\n",
		      total / 50, worst);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_block),        TEST(test_lifetime),    TEST(test_counted_by_reference),
	    TEST(test_count),        TEST(test_adopted),     TEST(test_new_tap),
	    TEST(test_limit),        TEST(test_provider),    TEST(test_provider_fails),
	    TEST(test_snapshots),    TEST(test_unsupported), TEST(test_cleanup),
	    TEST(test_broken_state), TEST(test_latency),
	};
	if (geteuid() != 0 || !world_enter()) {
		puts("SKIPPED: no namespaces and no /dev/net/tun of its own here");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
