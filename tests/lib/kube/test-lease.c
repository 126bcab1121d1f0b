/* Heartbeats and elections against a store of one lease, which several candidates share, and Events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/kube/lease.h"
#include "lib/kube/recorder.h"
#include "tests/lib/kube/scripted-server.h"

struct candidate {
	struct fixture *f;
	struct ygr_kube *kube;
	struct ygr_kube_election *election;
	char identity[8];
	bool leads;
	unsigned gained, lost;
};

struct fixture {
	uv_loop_t loop;
	struct script *script;
	struct ygr_kube_config config;
	char server[64];
	json_t *lease; /* the store */
	int version;
	unsigned conflicts, writes, posts, patches;
	bool broken;
	const char *cut_off; /* requests with this in their body get lost */
	struct candidate a, b;
	unsigned beats, renewed, released;
	char last[2048];
	struct ygr_kube_heartbeat *heartbeat;
	struct ygr_kube_recorder *recorder;
};

static void put_version(struct fixture *f, json_t *object)
{
	char version[16];

	snprintf(version, sizeof(version), "%d", ++f->version);
	json_object_set_new(json_object_get(object, "metadata"), "resourceVersion", json_string(version));
}

static void reply(struct script_peer *peer, int status, const json_t *object)
{
	char *text = json_dumps(object, 0);

	script_reply(peer, status, "", text);
	free(text);
}

static void on_write(struct fixture *f, struct script_peer *peer, const struct script_request *request)
{
	json_t *object = json_loads(request->body, 0, NULL);
	const char *old = ygr_kube_meta(f->lease, "resourceVersion"),
		   *sent = ygr_kube_meta(object, "resourceVersion");

	assert_non_null(object);
	if (!strcmp(request->method, "POST") ? f->lease != NULL : (sent && old && strcmp(sent, old) != 0)) {
		f->conflicts++;
		script_reply(peer, 409, "", "{\"kind\":\"Status\",\"reason\":\"Conflict\"}");
		json_decref(object);
		return;
	}
	f->writes++;
	put_version(f, object);
	json_decref(f->lease);
	f->lease = object;
	reply(peer, 200, f->lease);
}

static void on_request(void *user, struct script_peer *peer, const struct script_request *request)
{
	struct fixture *f = user;

	snprintf(f->last, sizeof(f->last), "%s %s %s", request->method, request->path, request->body);
	if (f->broken || (f->cut_off && strstr(request->body, f->cut_off)))
		script_reply(peer, 500, "", "");
	else if (strstr(request->path, "/events")) {
		*(!strcmp(request->method, "POST") ? &f->posts : &f->patches) += 1;
		script_reply(peer, 201, "", "{\"metadata\":{}}");
	} else if (strcmp(request->method, "GET") != 0)
		on_write(f, peer, request);
	else if (f->lease)
		reply(peer, 200, f->lease);
	else
		script_reply(peer, 404, "", "{\"kind\":\"Status\",\"reason\":\"NotFound\"}");
}

static struct ygr_kube *connect_client(struct fixture *f)
{
	const struct ygr_kube_options options = {
	    .loop = &f->loop, .config = &f->config, .user_agent = "test"};
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_kube *kube = NULL;

	assert_int_equal(ygr_kube_new(&options, &kube, &error), 0);
	return kube;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	uv_loop_init(&f->loop);
	f->script = script_start(&f->loop, on_request, f);
	snprintf(f->server, sizeof(f->server), "http://127.0.0.1:%u", script_port(f->script));
	f->config.server = f->server;
	f->config.namespace_ = "default";
	f->a = (struct candidate){.f = f, .kube = connect_client(f), .identity = "a"};
	f->b = (struct candidate){.f = f, .kube = connect_client(f), .identity = "b"};
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	ygr_kube_recorder_free(f->recorder);
	ygr_kube_heartbeat_stop(f->heartbeat);
	f->broken = true;
	ygr_kube_election_stop(f->a.election, NULL, NULL);
	ygr_kube_election_stop(f->b.election, NULL, NULL);
	for (int i = 0; i < 20; i++)
		uv_run(&f->loop, UV_RUN_NOWAIT);
	ygr_kube_close(f->a.kube);
	ygr_kube_close(f->b.kube);
	script_stop(f->script);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	int r = uv_loop_close(&f->loop);
	json_decref(f->lease);
	free(f);
	return r < 0 ? -1 : 0;
}

static void on_beat(uv_timer_t *timer)
{
	((struct fixture *)timer->data)->beats++;
}

#define WAIT(f, condition)                                                                                  \
	do {                                                                                                \
		uv_timer_t timer = {.data = (f)};                                                           \
		(f)->beats = 0;                                                                             \
		uv_timer_init(&(f)->loop, &timer);                                                          \
		uv_timer_start(&timer, on_beat, 20, 20);                                                    \
		while (!(condition) && (f)->beats < 6000)                                                   \
			uv_run(&(f)->loop, UV_RUN_ONCE);                                                    \
		uv_close((uv_handle_t *)&timer, NULL);                                                      \
		uv_run(&(f)->loop, UV_RUN_NOWAIT);                                                          \
		assert_true(condition);                                                                     \
	} while (0)

static void on_leading(void *user, bool leading)
{
	struct candidate *c = user, *other = c == &c->f->a ? &c->f->b : &c->f->a;

	c->leads = leading;
	c->gained += leading;
	c->lost += !leading;
	assert_false(leading && other->leads); /* never two */
}

static void stand(struct candidate *c)
{
	const struct ygr_kube_election_options options = {.kube = c->kube,
							  .namespace_ = "ns",
							  .name = "leader",
							  .identity = c->identity,
							  .lease_s = 4,
							  .renew_s = 3,
							  .retry_s = 1,
							  .leading = on_leading,
							  .user = c};

	assert_int_equal(ygr_kube_election_start(&options, &c->election), 0);
}

static void on_released(void *user)
{
	((struct fixture *)user)->released++;
}

static void test_hand_over(void **state)
{
	struct fixture *f = *state;

	stand(&f->a);
	WAIT(f, f->a.leads);
	stand(&f->b);
	WAIT(f, f->writes >= 4);
	assert_false(f->b.leads);
	uint64_t left = uv_now(&f->loop);
	f->a.leads = false;
	f->a.election = ygr_kube_election_stop(f->a.election, on_released, f);
	WAIT(f, f->b.leads);
	assert_int_equal(f->released, 1);
	assert_true(uv_now(&f->loop) - left < 4000); /* before the lease would have run out */
	assert_int_equal(
	    json_integer_value(json_object_get(json_object_get(f->lease, "spec"), "leaseTransitions")), 1);
}

static void test_death(void **state)
{
	struct fixture *f = *state;

	stand(&f->a);
	WAIT(f, f->a.leads);
	stand(&f->b);
	f->cut_off = "\"holderIdentity\":\"a\""; /* nothing that the leader sends arrives any more */
	uint64_t died = uv_now(&f->loop);
	WAIT(f, f->b.leads);
	assert_int_equal(f->a.lost, 1);
	assert_true(uv_now(&f->loop) - died >= 2000); /* not before the lease has run out on its own clock */
}

static void test_server_away(void **state)
{
	struct fixture *f = *state;

	stand(&f->a);
	WAIT(f, f->a.leads);
	f->broken = true;
	WAIT(f, !f->a.leads); /* by its own deadline */
	f->broken = false;
	WAIT(f, f->a.leads);
	assert_int_equal(f->a.lost, 1);
}

static void test_clock(void **state)
{
	struct fixture *f = *state;

	/* Its times are of another century, and it is still held: it changed when we first saw it. */
	f->lease = json_pack("{s:{s:s, s:s, s:s}, s:{s:s, s:i, s:s}}", "metadata", "name", "leader",
			     "namespace", "ns", "resourceVersion", "7", "spec", "holderIdentity", "z",
			     "leaseDurationSeconds", 4, "renewTime", "1999-01-01T00:00:00.000000Z");
	f->version = 7;
	uint64_t begun = uv_now(&f->loop);
	stand(&f->a);
	WAIT(f, f->a.leads);
	assert_true(uv_now(&f->loop) - begun >= 4000);
}

static void on_renewed(void *user, bool good, const char *message)
{
	(void)message;
	((struct fixture *)user)->renewed += good;
}

static void test_heartbeat(void **state)
{
	struct fixture *f = *state;
	json_t *labels = json_pack("{s:s}", "yagura.dev/node", "n1");
	const struct ygr_kube_heartbeat_options options = {.kube = f->a.kube,
							   .namespace_ = "ns",
							   .name = "node-n1",
							   .holder = "n1",
							   .manager = "agent",
							   .labels = labels,
							   .interval_s = 1,
							   .renewed = on_renewed,
							   .user = f};

	assert_int_equal(ygr_kube_heartbeat_start(&options, &f->heartbeat), 0);
	json_decref(labels);
	WAIT(f, f->renewed >= 2);
	assert_non_null(strstr(f->last, "PATCH /apis/coordination.k8s.io/v1/namespaces/ns/leases/node-n1"
					"?fieldManager=agent&force=true"));
	assert_non_null(strstr(f->last, "\"labels\":{\"yagura.dev/node\":\"n1\"}"));
	assert_int_equal(ygr_kube_epoch(f->a.kube), 0);
	f->version = 0; /* the store is put back in time */
	WAIT(f, ygr_kube_epoch(f->a.kube) == 1);
}

static void say(struct fixture *f, const char *name, const char *note)
{
	const struct ygr_kube_event event = {.api_version = "v1",
					     .kind = "Pod",
					     .namespace_ = "ns",
					     .name = name,
					     .uid = "u",
					     .warning = true,
					     .reason = "Failed",
					     .action = "Starting",
					     .note = note};

	ygr_kube_record(f->recorder, &event);
}

static void test_events(void **state)
{
	struct fixture *f = *state;
	char note[16];

	assert_int_equal(ygr_kube_recorder_new(f->a.kube, "yagura.dev/test", "n1", &f->recorder), 0);
	say(f, "p", "it fails");
	WAIT(f, f->posts == 1);
	assert_non_null(strstr(f->last, "POST /apis/events.k8s.io/v1/namespaces/ns/events?fieldManager="));
	assert_non_null(strstr(f->last, "\"note\":\"it fails\""));
	for (int i = 0; i < 1000; i++)
		say(f, "p", "it fails");
	WAIT(f, f->patches == 1); /* the first repetition; the others wait to be counted together */
	assert_non_null(strstr(f->last, "\"series\":{\"count\":"));
	for (int i = 0; i < 100; i++) {
		snprintf(note, sizeof(note), "reason %d", i);
		say(f, "p", note);
	}
	say(f, "q", "another object has a budget of its own");
	WAIT(f, f->posts == YGR_KUBE_EVENT_BURST + 1);
	for (int i = 0; i < 20; i++)
		uv_run(&f->loop, UV_RUN_NOWAIT);
	assert_int_equal(f->posts, YGR_KUBE_EVENT_BURST + 1);
	assert_int_equal(f->patches, 1);
	/* More objects than are remembered, while the server is away: bounded, and nothing hangs. */
	f->broken = true;
	for (int i = 0; i < 2 * YGR_KUBE_EVENTS_MAX; i++) {
		snprintf(note, sizeof(note), "o%d", i);
		say(f, note, "x");
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_hand_over), TEST(test_death),     TEST(test_server_away),
	    TEST(test_clock),     TEST(test_heartbeat), TEST(test_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
