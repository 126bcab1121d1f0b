/*
 * VMPolicies through the reconciler: compiled, signed, loaded into a guest that is played, told about, and what the
 * node does about violations with the real room for it (without its kernel part).
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

#include "agent/reconcile/reconcile.h"
#include "lib/policy/bundle.h"
#include "lib/wire/keys.h"
#include "lib/wire/signed.h"
#include "telebpf-double.h"

#define UUID "11111111-1111-1111-1111-000000000119"

struct fixture {
	char folder[64];
	uv_loop_t loop;
	struct ygr_metrics *metrics;
	struct ygr_bus *bus;
	struct ygr_sink *sink;
	struct ygr_identity *identity;
	struct ygr_enforce *enforce;
	struct ygr_reconcile *reconcile;
	json_t *vms, *policies;
	struct ygr_vm *vm;
	unsigned asked[YGR_VM_SNAPSHOT + 1];
	bool over;
};

static void on_publish(void *user, json_t *vms, json_t *monitors, json_t *policies)
{
	struct fixture *f = user;

	(void)monitors;
	json_decref(f->vms);
	json_decref(f->policies);
	f->vms = json_incref(vms);
	f->policies = json_incref(policies);
}

static int on_control(void *user, const struct ygr_vm_request *request,
		      void (*done)(void *user, const struct ygr_vm_request *request,
				   const struct ygr_error *error),
		      void *done_user)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct fixture *f = user;

	f->asked[request->operation]++;
	if (request->operation == YGR_VM_PAUSE)
		f->vm->phase = YGR_VM_PAUSED;
	if (request->operation == YGR_VM_RESUME)
		f->vm->phase = YGR_VM_RUNNING;
	done(done_user, request, &error);
	return 0;
}

static void on_event(void *user, const struct ygr_enforce_event *event)
{
	ygr_reconcile_enforce_event(((struct fixture *)user)->reconcile, event);
}

static void on_changed(void *user)
{
	ygr_reconcile_enforce_changed(((struct fixture *)user)->reconcile);
}

static void on_wake(void *user)
{
	(void)user;
}

static char *in(struct fixture *f, const char *name)
{
	static char paths[8][128];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", f->folder, name);
	return path;
}

static void make_identity(struct fixture *f, uint32_t usages)
{
	struct ygr_error error = YGR_ERROR_INIT;

	if (ygr_keys_generate(in(f, "root.key"), &error) < 0 ||
	    ygr_keys_generate(in(f, "node.key"), &error) < 0 ||
	    ygr_keys_certify(in(f, "root.key"), in(f, "node.pub"), "n1", usages, 1, in(f, "node.cert"),
			     &error) < 0 ||
	    ygr_identity_open(in(f, "node.key"), in(f, "node.cert"), &f->identity, &error) < 0)
		fail_msg("%s", error.message);
}

static void start(struct fixture *f)
{
	struct ygr_error error = YGR_ERROR_INIT;
	const struct ygr_reconcile_options options = {.loop = &f->loop,
						      .node = "n1",
						      .metrics = f->metrics,
						      .bus = f->bus,
						      .identity = f->identity,
						      .state_directory = f->folder,
						      .publish = on_publish,
						      .user = f};
	assert_int_equal(ygr_reconcile_new(&options, &f->reconcile), 0);
	const struct ygr_enforce_options enforce = {.loop = &f->loop,
						    .pin_directory = "/nonexistent/pins",
						    .state_directory = f->folder,
						    .snapshot_directory = f->folder,
						    .allowed = YGR_ENFORCE_ALLOW_DEFAULT,
						    .control = on_control,
						    .event = on_event,
						    .changed = on_changed,
						    .user = f};
	if (ygr_enforce_new(&enforce, &f->enforce, &error) < 0)
		fail_msg("%s", error.message);
	ygr_reconcile_enforce(f->reconcile, f->enforce);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	memset(double_links, 0, sizeof(double_links));
	memset(double_policy_links, 0, sizeof(double_policy_links));
	strcpy(f->folder, "/tmp/yagura-policies-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	uv_loop_init(&f->loop);
	f->metrics = ygr_metrics_new();
	f->bus = ygr_bus_new();
	assert_int_equal(
	    ygr_bus_subscribe(f->bus, &(struct ygr_event_filter){0}, 1 << 20, 0, on_wake, f, &f->sink), 0);
	make_identity(f, YGR_USAGE_NODE | YGR_USAGE_POLICY);
	start(f);
	f->vm = ygr_vm_new();
	strcpy(f->vm->uuid, UUID);
	f->vm->namespace_ = strdup("default");
	f->vm->name = strdup("web");
	f->vm->provider = "Libvirt";
	f->vm->provider_name = strdup("web");
	f->vm->channel = strdup("vsock:7:997");
	f->vm->phase = YGR_VM_RUNNING;
	ygr_labels_set(&f->vm->labels, "app", "web");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[128];

	ygr_reconcile_enforce(f->reconcile, NULL);
	ygr_enforce_free(f->enforce);
	ygr_reconcile_free(f->reconcile);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	ygr_sink_unsubscribe(f->sink);
	ygr_bus_free(f->bus);
	ygr_metrics_free(f->metrics);
	ygr_identity_free(f->identity);
	ygr_vm_free(f->vm);
	json_decref(f->vms);
	json_decref(f->policies);
	snprintf(command, sizeof(command), "rm -rf %s", f->folder);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

static void on_tick(uv_timer_t *timer)
{
	*(bool *)timer->data = true;
}

static void turn(struct fixture *f, unsigned ms)
{
	bool over = false;
	uv_timer_t timer;

	uv_update_time(&f->loop);
	uv_timer_init(&f->loop, &timer);
	timer.data = &over;
	uv_timer_start(&timer, on_tick, ms, 0);
	while (!over)
		uv_run(&f->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&f->loop, UV_RUN_NOWAIT);
}

static struct ygr_vm_policy *make_policy(const char *spec, int64_t generation)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_vm_policy *policy = NULL;
	struct ygr_doc **docs;
	char text[2048];
	size_t n;

	snprintf(
	    text, sizeof(text),
	    "{apiVersion: yagura.dev/v1alpha1, kind: VMPolicy, metadata: {name: p, generation: %d}, spec: "
	    "{vmSelector: {matchLabels: {app: web}}, %s}}",
	    (int)generation, spec);
	if (ygr_yaml_parse("p", text, strlen(text), &docs, &n, &error) < 0 ||
	    ygr_vm_policy_decode(docs[0], &policy, &error) < 0)
		fail_msg("%s", error.message);
	ygr_docs_free(docs, n);
	return policy;
}

static const char *at(const json_t *value, const char *path)
{
	char copy[128], *save = NULL;
	static char number[32];

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *part = strtok_r(copy, "/", &save); part; part = strtok_r(NULL, "/", &save))
		value = json_is_array(value) ? json_array_get(value, strtoul(part, NULL, 10))
					     : json_object_get(value, part);
	if (json_is_integer(value)) {
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
		return number;
	}
	return json_string_value(value) ?: "(none)";
}

/* Turns the loop until the text at PATH of *DOCUMENT is EXPECTED. */
static void expect(struct fixture *f, json_t **document, const char *path, const char *expected)
{
	for (int i = 0; i < 400 && strcmp(at(*document, path), expected) != 0; i++)
		turn(f, 25);
	if (strcmp(at(*document, path), expected) != 0) {
		char *text = json_dumps(*document, JSON_INDENT(1));
		fail_msg("%s is %s, not %s\n%s", path, at(*document, path), expected, text);
	}
}

#define STATUS(policies)                                                                                    \
	"{\"message\": \"\", \"enforceable\": true, \"lost\": 0, \"policies\": [" policies "]}"

/* Waits for load number LOADS, and returns what is in it. */
static struct ygr_bundle *loaded(struct fixture *f, unsigned loads)
{
	struct ygr_policy_link *link = double_policy_link("web");
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_bundle *bundle = NULL;
	uint8_t root[32];

	for (int i = 0; i < 400 && link->loads < loads; i++)
		turn(f, 25);
	assert_int_equal(link->loads, loads);
	assert_int_equal(ygr_keys_read_public(in(f, "root.pub"), root, &error), 0);
	assert_int_equal(ygr_bundle_verify(&link->cert, link->signature, link->bundle, link->len, root,
					   time(NULL), &ygr_crypto_openssl, &error),
			 0);
	if (ygr_bundle_read(link->bundle, link->len, &bundle, &error) < 0)
		fail_msg("%s", error.message);
	return bundle;
}

static void hex_uid(const uint8_t uid[16], char out[37])
{
	snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", uid[0],
		 uid[1], uid[2], uid[3], uid[4], uid[5], uid[6], uid[7], uid[8], uid[9], uid[10], uid[11],
		 uid[12], uid[13], uid[14], uid[15]);
}

/* The guest holds BUNDLE and says so; MORE goes into its entry. */
static void hold(struct ygr_policy_link *link, const struct ygr_bundle *bundle, const char *more)
{
	char status[2048], uid[37];

	hex_uid(bundle->about.policy, uid);
	snprintf(status, sizeof(status),
		 STATUS("{\"uid\": \"%s\", \"name\": \"p\", \"generation\": %llu, \"enforced\": true%s}"),
		 uid, (unsigned long long)bundle->about.generation, more);
	double_policy_status(link, 0, status);
}

static struct ygr_policy_link *connect_guest(struct fixture *f)
{
	ygr_reconcile_vm_changed(f->reconcile, f->vm);
	ygr_reconcile_synced(f->reconcile);
	turn(f, 20);
	double_link_state("web", YGR_LINK_CONNECTED);
	for (int i = 0; i < 400 && !double_policy_link("web"); i++)
		turn(f, 25);
	struct ygr_policy_link *link = double_policy_link("web");
	assert_non_null(link);
	double_policy_connected(link, true);
	return link;
}

static void leave(struct fixture *f, struct ygr_vm_policy *policy)
{
	ygr_reconcile_policy_gone(f->reconcile, "default", "p");
	ygr_reconcile_vm_gone(f->reconcile, f->vm);
	turn(f, 20);
	ygr_vm_policy_free(policy);
}

#define TEXT                                                                                                \
	"policy: 'policy web { guest { rule a: deny load-module rule b: audit bpf } host { on a: vm pause " \
	"} }'"

static void violate(struct ygr_policy_link *link, const struct ygr_bundle *bundle, uint32_t rule)
{
	static uint64_t position;
	struct ygr_violation violation = {.position = ++position,
					  .generation = bundle->about.generation,
					  .rule = rule,
					  .action = YGR_ACTION_DENY,
					  .answer = -EPERM,
					  .operation = YGR_OP_LOAD_MODULE,
					  .process = 77,
					  .exe = "kmod\033[31m",
					  .comm = "insmod"};

	memcpy(violation.policy, bundle->about.policy, 16);
	link->handlers.violation(link->handlers.user, &violation);
}

/* From the manifest to the guest, from the violation to the node, and back when the policy goes. */
static void test_whole_way(void **state)
{
	struct ygr_vm_policy *policy = make_policy("mode: Enforce, " TEXT, 1);
	struct fixture *f = *state;
	char events[16384];

	ygr_reconcile_policy_changed(f->reconcile, policy);
	struct ygr_policy_link *link = connect_guest(f);
	double_policy_status(link, 0, STATUS(""));
	struct ygr_bundle *bundle = loaded(f, 1);
	assert_string_equal(bundle->name, "web");
	assert_int_equal(bundle->rules[0].action, YGR_ACTION_DENY);
	expect(f, &f->vms, "0/status/policies/0/state", "Loading");
	hold(link, bundle, "");
	expect(f, &f->vms, "0/status/policies/0/state", "Enforcing");
	assert_string_equal(at(f->vms, "0/status/conditions/1/type"), "PolicyEnforceable");
	assert_string_equal(at(f->vms, "0/status/conditions/1/status"), "True");
	expect(f, &f->policies, "0/status/guests/summary", "1/1");
	assert_string_equal(at(f->policies, "0/status/rules/0/enforced"), "1");
	assert_string_equal(at(f->policies, "0/status/conditions/1/reason"), "AllHold");

	violate(link, bundle, 1);
	assert_int_equal(f->asked[YGR_VM_PAUSE], 1);
	expect(f, &f->vms, "0/status/hostActions/0/type", "VMPause");
	assert_string_equal(at(f->vms, "0/status/hostActions/0/rule"), "a");
	int64_t n = ygr_sink_take(f->sink, events, sizeof(events) - 1);
	assert_true(n > 0);
	events[n] = '\0';
	assert_non_null(strstr(events, "\"stream\":\"action\""));
	assert_non_null(strstr(events, "\"stream\":\"violation\""));
	assert_non_null(strstr(events, "\"rule\":\"a\""));
	assert_non_null(strstr(events, "deny load-module by kmod"));
	assert_null(strchr(events, '\033'));

	ygr_reconcile_policy_gone(f->reconcile, "default", "p");
	struct ygr_bundle *removed = loaded(f, 2);
	assert_true(removed->removed);
	assert_true(removed->about.generation > bundle->about.generation);
	assert_int_equal(f->asked[YGR_VM_RESUME], 1);
	double_policy_status(link, 0, STATUS(""));
	turn(f, 450);
	assert_int_equal(json_array_size(f->policies), 0);
	assert_string_equal(at(f->vms, "0/status/hostActions/0/type"), "(none)");
	ygr_bundle_free(bundle);
	ygr_bundle_free(removed);
	leave(f, policy);
}

/* Audit by default: the same rules record, and the node does nothing. A rule may have another mode. */
static void test_modes(void **state)
{
	struct ygr_vm_policy *policy = make_policy(TEXT, 1), *changed;
	struct fixture *f = *state;

	ygr_reconcile_policy_changed(f->reconcile, policy);
	struct ygr_policy_link *link = connect_guest(f);
	double_policy_status(link, 0, STATUS(""));
	struct ygr_bundle *bundle = loaded(f, 1);
	assert_int_equal(bundle->rules[0].action, YGR_ACTION_AUDIT);
	hold(link, bundle, "");
	expect(f, &f->vms, "0/status/policies/0/state", "Auditing");
	violate(link, bundle, 1);
	assert_int_equal(f->asked[YGR_VM_PAUSE], 0);
	changed = make_policy("ruleModes: [{rule: a, mode: Enforce}], " TEXT, 2);
	ygr_reconcile_policy_changed(f->reconcile, changed);
	ygr_vm_policy_free(policy);
	struct ygr_bundle *second = loaded(f, 2);
	assert_int_equal(second->rules[0].action, YGR_ACTION_DENY);
	assert_true(second->about.generation > bundle->about.generation);
	hold(link, second, "");
	expect(f, &f->vms, "0/status/policies/0/state", "Enforcing");
	ygr_bundle_free(bundle);
	ygr_bundle_free(second);
	leave(f, changed);
}

/* Errors are told with line and column; what was good stays in force. */
static void test_broken(void **state)
{
	struct ygr_vm_policy *policy = make_policy("mode: Enforce, " TEXT, 1), *broken;
	struct fixture *f = *state;

	ygr_reconcile_policy_changed(f->reconcile, policy);
	struct ygr_policy_link *link = connect_guest(f);
	double_policy_status(link, 0, STATUS(""));
	struct ygr_bundle *bundle = loaded(f, 1);
	hold(link, bundle, "");
	broken = make_policy("policy: 'policy web { guest { rule a: deny opne } }'", 2);
	ygr_reconcile_policy_changed(f->reconcile, broken);
	ygr_vm_policy_free(policy);
	expect(f, &f->policies, "0/status/diagnostics/0/column", "35");
	assert_string_equal(at(f->policies, "0/status/diagnostics/0/line"), "1");
	assert_non_null(strstr(at(f->policies, "0/status/diagnostics/0/message"), "open"));
	assert_string_equal(at(f->policies, "0/status/conditions/0/status"), "False");
	assert_string_equal(at(f->vms, "0/status/policies/0/state"), "Enforcing");
	assert_int_equal(link->loads, 1);
	ygr_bundle_free(bundle);
	leave(f, broken);
}

/* What a guest cannot hold is told with reason and remedy; Refuse takes the whole policy out. */
static void test_unsupported(void **state)
{
	static const char without[] =
	    ", \"unenforced\": [{\"rule\": \"a\", \"reason\": \"HookMissing\", \"message\": \"no hook\", "
	    "\"remedy\": \"boot a newer kernel\"}]";
	struct ygr_vm_policy *policy = make_policy("mode: Enforce, " TEXT, 1), *refuse;
	struct fixture *f = *state;

	ygr_reconcile_policy_changed(f->reconcile, policy);
	struct ygr_policy_link *link = connect_guest(f);
	double_policy_status(link, 0, STATUS(""));
	struct ygr_bundle *bundle = loaded(f, 1);
	hold(link, bundle, without);
	expect(f, &f->policies, "0/status/rules/0/unsupported", "1");
	assert_string_equal(at(f->policies, "0/status/failures/0/reason"), "HookMissing");
	assert_string_equal(at(f->vms, "0/status/policies/0/unsupported/0/remedy"), "boot a newer kernel");
	assert_string_equal(at(f->policies, "0/status/conditions/2/reason"), "RulesUnsupported");
	refuse = make_policy("mode: Enforce, onUnsupported: Refuse, " TEXT, 2);
	ygr_reconcile_policy_changed(f->reconcile, refuse);
	ygr_vm_policy_free(policy);
	struct ygr_bundle *removed = loaded(f, 2);
	assert_true(removed->removed);
	expect(f, &f->vms, "0/status/policies/0/state", "Refused");
	double_policy_status(link, 0, STATUS(""));
	turn(f, 100);
	assert_int_equal(link->loads, 2);
	assert_string_equal(at(f->policies, "0/status/failures/0/reason"), "Unsupported");
	ygr_bundle_free(bundle);
	ygr_bundle_free(removed);
	leave(f, refuse);
}

static void test_not_enforceable(void **state)
{
	struct ygr_vm_policy *policy = make_policy("mode: Enforce, " TEXT, 1);
	struct fixture *f = *state;

	ygr_reconcile_policy_changed(f->reconcile, policy);
	struct ygr_policy_link *link = connect_guest(f);
	double_policy_status(
	    link, 0,
	    "{\"enforceable\": false, \"reason\": \"LSMWithoutBPF\", \"remedy\": \"add bpf to "
	    "lsm=\", \"policies\": []}");
	ygr_bundle_free(loaded(f, 1));
	double_policy_status(
	    link, -EOPNOTSUPP,
	    "{\"message\": \"no bpf\", \"enforceable\": false, \"reason\": \"LSMWithoutBPF\", "
	    "\"remedy\": \"add bpf to lsm=\", \"policies\": []}");
	expect(f, &f->vms, "0/status/conditions/1/status", "False");
	assert_string_equal(at(f->vms, "0/status/conditions/1/reason"), "LSMWithoutBPF");
	assert_string_equal(at(f->vms, "0/status/conditions/1/message"), "add bpf to lsm=");
	expect(f, &f->vms, "0/status/policies/0/state", "Failed");
	assert_string_equal(at(f->vms, "0/status/policies/0/unsupported/0/reason"), "LSMWithoutBPF");
	leave(f, policy);
}

/* A guest that has it already is left alone after a restart of the agent; what it has of nobody is taken away. */
static void test_restart(void **state)
{
	struct ygr_vm_policy *policy = make_policy("mode: Enforce, " TEXT, 1);
	struct fixture *f = *state;

	ygr_reconcile_policy_changed(f->reconcile, policy);
	struct ygr_policy_link *link = connect_guest(f);
	double_policy_status(link, 0, STATUS(""));
	struct ygr_bundle *bundle = loaded(f, 1);
	hold(link, bundle, "");
	ygr_reconcile_vm_gone(f->reconcile, f->vm);
	ygr_reconcile_enforce(f->reconcile, NULL);
	ygr_enforce_free(f->enforce);
	ygr_reconcile_free(f->reconcile);
	turn(f, 20);
	ygr_metrics_free(f->metrics);
	f->metrics = ygr_metrics_new();
	start(f);
	ygr_reconcile_policy_changed(f->reconcile, policy);
	link = connect_guest(f);
	hold(link, bundle, "}, {\"uid\": \"22222222-2222-2222-2222-222222222222\", \"generation\": 5");
	struct ygr_bundle *removed = loaded(f, 1);
	assert_true(removed->removed);
	assert_int_equal(removed->about.policy[0], 0x22);
	hold(link, bundle, "");
	expect(f, &f->vms, "0/status/policies/0/state", "Enforcing");
	assert_int_equal(link->loads, 1);
	ygr_bundle_free(bundle);
	ygr_bundle_free(removed);
	leave(f, policy);
}

/* A flood of violations becomes a bounded number of events; all are counted and acted upon. */
static void test_flood(void **state)
{
	struct ygr_vm_policy *policy = make_policy("mode: Enforce, " TEXT, 1);
	struct fixture *f = *state;

	ygr_reconcile_policy_changed(f->reconcile, policy);
	struct ygr_policy_link *link = connect_guest(f);
	double_policy_status(link, 0, STATUS(""));
	struct ygr_bundle *bundle = loaded(f, 1);
	hold(link, bundle, "");
	uint64_t before = ygr_bus_published(f->bus);
	for (int i = 0; i < 20000; i++)
		violate(link, bundle, i % 3 ? 2 : 999);
	assert_in_range(ygr_bus_published(f->bus) - before, 1, 5000);
	ygr_bundle_free(bundle);
	leave(f, policy);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_whole_way),       TEST(test_modes),   TEST(test_broken), TEST(test_unsupported),
	    TEST(test_not_enforceable), TEST(test_restart), TEST(test_flood)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
