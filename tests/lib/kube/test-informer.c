/* The informer against a server that does what real ones do rarely, or never on demand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/kube/informer.h"
#include "tests/lib/kube/scripted-server.h"

#define LIST(version, items) "{\"metadata\":{\"resourceVersion\":\"" version "\"},\"items\":[" items "]}"
#define ITEM(name, value)    "{\"metadata\":{\"name\":\"" name "\",\"namespace\":\"ns\"},\"v\":" value "}"
#define EVENT(type, name, version, value)                                                                   \
	"{\"type\":\"" type "\",\"object\":{\"metadata\":{\"name\":\"" name                                 \
	"\",\"namespace\":\"ns\",\"resourceVersion\":\"" version "\"},\"v\":" value "}}\n"
#define BOOKMARK(version, more)                                                                             \
	"{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"" version "\"" more "}}}\n"
#define LAST BOOKMARK("50", ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}")
#define GONE "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"message\":\"too old\"}}\n"

struct fixture {
	uv_loop_t loop;
	struct script *script;
	struct ygr_kube_config config;
	struct ygr_kube *kube;
	struct ygr_kube_informer *informer;
	char server[64];
	void (*list)(struct fixture *f, struct script_peer *peer, const char *path);
	void (*watch)(struct fixture *f, struct script_peer *peer, const char *path);
	unsigned lists, watches;
	char last_path[1024];
	char log[8192]; /* "+name=v", "~name=v", "-name", "!name", "synced", "up", "down" */
	const char *awaited;
	unsigned beats, live;
};

static void on_request(void *user, struct script_peer *peer, const struct script_request *request)
{
	struct fixture *f = user;

	snprintf(f->last_path, sizeof(f->last_path), "%s", request->path);
	if (strstr(request->path, "watch=true")) {
		f->watches++;
		f->watch(f, peer, request->path);
	} else {
		f->lists++;
		f->list(f, peer, request->path);
	}
}

static void note(struct fixture *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(struct fixture *f, const char *format, ...)
{
	size_t len = strlen(f->log);
	va_list args;

	va_start(args, format);
	vsnprintf(f->log + len, sizeof(f->log) - len, format, args);
	va_end(args);
	strncat(f->log, " ", sizeof(f->log) - strlen(f->log) - 1);
}

/* The value is "v", an integer; negative ones concern nobody, strings are wrong. */
static int decode(void *user, const json_t *object, void **ret_value, struct ygr_error *error)
{
	struct fixture *f = user;
	const json_t *v = json_object_get(object, "v");

	if (!json_is_integer(v))
		return ygr_error_set(error, EINVAL, "v is no number");
	if (json_integer_value(v) < 0)
		return -ENOENT;
	int *value = malloc(sizeof(*value));
	*value = (int)json_integer_value(v);
	f->live++;
	*ret_value = value;
	return 0;
}

static void free_value(void *user, void *value)
{
	((struct fixture *)user)->live--;
	free(value);
}

static void on_changed(void *user, const char *ns, const char *name, void *old, void *value)
{
	assert_string_equal(ns, "ns");
	note(user, "%c%s=%d", old ? '~' : '+', name, *(int *)value);
}

static void on_gone(void *user, const char *ns, const char *name, void *value)
{
	(void)ns;
	note(user, "%s%s", value ? "-" : "-!", name);
}

static void on_refused(void *user, const char *ns, const char *name, const char *message)
{
	(void)ns, (void)message;
	note(user, "!%s", name);
}

static void on_synced(void *user)
{
	note(user, "synced");
}

static void on_state(void *user, bool working, const char *reason)
{
	(void)reason;
	note(user, working ? "up" : "down");
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct ygr_error error;

	uv_loop_init(&f->loop);
	f->script = script_start(&f->loop, on_request, f);
	snprintf(f->server, sizeof(f->server), "http://127.0.0.1:%u", script_port(f->script));
	f->config.server = f->server;
	f->config.namespace_ = "default";
	const struct ygr_kube_options options = {
	    .loop = &f->loop, .config = &f->config, .user_agent = "test", .qps = 1000, .burst = 1000};
	*state = f;
	return ygr_kube_new(&options, &f->kube, &error);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	ygr_kube_informer_stop(f->informer);
	ygr_kube_close(f->kube);
	script_stop(f->script);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	int r = uv_loop_close(&f->loop) < 0 || f->live;
	free(f);
	return r ? -1 : 0;
}

static void start(struct fixture *f, bool no_watch_list, unsigned quiet_ms, size_t objects_max)
{
	const struct ygr_kube_informer_options options = {
	    .kube = f->kube,
	    .resource = {"x.dev", "v1", "things", "Thing", false},
	    .label_selector = "a=b,c",
	    .page = 2,
	    .objects_max = objects_max,
	    .quiet_ms = quiet_ms,
	    .no_watch_list = no_watch_list,
	    .decode = decode,
	    .free = free_value,
	    .changed = on_changed,
	    .gone = on_gone,
	    .refused = on_refused,
	    .synced = on_synced,
	    .state = on_state,
	    .user = f,
	};

	assert_int_equal(ygr_kube_informer_start(&options, &f->informer), 0);
}

static void on_beat(uv_timer_t *timer)
{
	((struct fixture *)timer->data)->beats++;
}

static void run_until(struct fixture *f, const char *awaited)
{
	uv_timer_t timer = {.data = f};

	f->beats = 0;
	uv_timer_init(&f->loop, &timer);
	uv_timer_start(&timer, on_beat, 20, 20);
	while (!strstr(f->log, awaited) && f->beats < 6000)
		uv_run(&f->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&f->loop, UV_RUN_NOWAIT);
	if (!strstr(f->log, awaited))
		fail_msg("\"%s\" never came: %s", awaited, f->log);
}

static void open_watch(struct fixture *f, struct script_peer *peer, const char *path)
{
	(void)f, (void)path;
	script_open(peer, 200);
}

static void refuse_watch_list(struct fixture *f, struct script_peer *peer, const char *path)
{
	if (strstr(path, "sendInitialEvents"))
		script_reply(peer, 422, "", "{\"kind\":\"Status\",\"code\":422,\"message\":\"forbidden\"}");
	else
		open_watch(f, peer, path);
}

static void two_pages(struct fixture *f, struct script_peer *peer, const char *path)
{
	assert_non_null(strstr(path, "labelSelector=a%3Db%2Cc"));
	if (f->lists == 1) {
		assert_non_null(strstr(path, "limit=2"));
		script_reply(
		    peer, 200, "",
		    "{\"metadata\":{\"resourceVersion\":\"7\",\"continue\":\"a/b=\"},\"items\":[" ITEM(
			"a", "1") "," ITEM("b", "-1") "]}");
		return;
	}
	assert_non_null(strstr(path, "continue=a%2Fb%3D"));
	script_reply(peer, 200, "", LIST("7", ITEM("c", "3") "," ITEM("d", "\"x\"")));
}

/* The watch that is open; that the lists are complete does not mean that it is. */
static struct script_peer *stream_of(struct fixture *f)
{
	struct script_peer *peer;

	while (!(peer = script_stream(f->script)))
		uv_run(&f->loop, UV_RUN_ONCE);
	return peer;
}

static void test_pages(void **state)
{
	struct fixture *f = *state;

	f->list = two_pages;
	f->watch = refuse_watch_list;
	start(f, false, 0, 0);
	run_until(f, "synced");
	assert_string_equal(f->log, "+a=1 +c=3 !d up synced ");
	assert_int_equal(ygr_kube_informer_count(f->informer), 3);
	assert_int_equal(*(int *)ygr_kube_informer_find(f->informer, "ns", "c"), 3);
	assert_null(ygr_kube_informer_find(f->informer, "ns", "d"));
	while (f->watches < 2)
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_non_null(strstr(f->last_path, "resourceVersion=7"));
	script_drip(stream_of(f),
		    EVENT("MODIFIED", "a", "8", "2") EVENT("ADDED", "e", "9", "5")
			EVENT("MODIFIED", "d", "10", "4") EVENT("DELETED", "c", "11", "3")
			    EVENT("MODIFIED", "e", "12", "-1") EVENT("MODIFIED", "a", "13", "null")
				EVENT("DELETED", "a", "14", "9") "  \n" BOOKMARK("20", ""));
	run_until(f, "-a");
	assert_non_null(strstr(f->log, "synced ~a=2 +e=5 +d=4 -c -e !a -a"));
	while (ygr_kube_revision(f->kube) < 20)
		uv_run(&f->loop, UV_RUN_ONCE);
	script_cut(f->script); /* it goes on from the bookmark */
	unsigned before = f->watches;
	while (f->watches == before)
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_non_null(strstr(f->last_path, "resourceVersion=20"));
	assert_int_equal(f->lists, 2);
}

static void stream_list(struct fixture *f, struct script_peer *peer, const char *path)
{
	script_open(peer, 200);
	if (!strstr(path, "sendInitialEvents=true"))
		return;
	assert_non_null(strstr(path, "resourceVersionMatch=NotOlderThan"));
	script_say(peer, EVENT("ADDED", "a", "1", "1") EVENT("ADDED", "b", "2", "2"));
	if (f->watches == 1)
		script_say(peer, EVENT("ADDED", "c", "3", "3"));
	script_say(peer, LAST EVENT("ADDED", "z", "51", "26"));
}

static void no_list(struct fixture *f, struct script_peer *peer, const char *path)
{
	(void)f, (void)path;
	script_reply(peer, 500, "", "");
}

static void test_watch_list(void **state)
{
	struct fixture *f = *state;

	f->list = no_list;
	f->watch = stream_list;
	start(f, false, 0, 0);
	run_until(f, "+z=26");
	assert_string_equal(f->log, "up +a=1 +b=2 +c=3 synced +z=26 ");
	script_say(stream_of(f), GONE); /* inside the stream: everything is listed again */
	run_until(f, "-z +z=26");
	assert_non_null(strstr(f->log, "synced +z=26 ~a=1 ~b=2 -c -z +z=26"));
	assert_int_equal(f->lists, 0);
}

static void gone_watch(struct fixture *f, struct script_peer *peer, const char *path)
{
	(void)path;
	if (f->watches == 1)
		script_reply(peer, 410, "", "{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\"}");
	else
		script_open(peer, 200);
}

static void one_then_other(struct fixture *f, struct script_peer *peer, const char *path)
{
	(void)path;
	script_reply(peer, 200, "", f->lists == 1 ? LIST("7", ITEM("a", "1")) : LIST("9", ITEM("b", "2")));
}

static void test_gone(void **state)
{
	struct fixture *f = *state;

	f->list = one_then_other;
	f->watch = gone_watch;
	start(f, true, 0, 0);
	run_until(f, "-a");
	assert_string_equal(f->log, "+a=1 up synced +b=2 -a ");
}

static void expired_page(struct fixture *f, struct script_peer *peer, const char *path)
{
	if (f->lists == 1)
		script_reply(peer, 200, "",
			     "{\"metadata\":{\"resourceVersion\":\"7\",\"continue\":\"x\"},\"items\":[]}");
	else if (strstr(path, "continue"))
		script_reply(peer, 410, "", "{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\"}");
	else if (strstr(path, "limit="))
		script_reply(peer, 500, "", "");
	else
		script_reply(peer, 200, "", LIST("9", ITEM("b", "2")));
}

static void test_expired_page(void **state)
{
	struct fixture *f = *state;

	f->list = expired_page;
	f->watch = open_watch;
	start(f, true, 0, 0);
	run_until(f, "synced");
	assert_int_equal(f->lists, 3);
}

static void bad_lists(struct fixture *f, struct script_peer *peer, const char *path)
{
	static const char *const bad[] = {"<html>", "{\"items\":[{]}]}", "{\"items\":[]}",
					  "{\"metadata\":{}", "{\"items\":[1]}"};

	(void)path;
	if (f->lists <= sizeof(bad) / sizeof(*bad))
		script_reply(peer, 200, "", bad[f->lists - 1]);
	else
		script_reply(peer, 200, "", LIST("9", ITEM("b", "2")));
}

static void test_wrong_json(void **state)
{
	struct fixture *f = *state;

	f->list = bad_lists;
	f->watch = open_watch;
	start(f, true, 0, 0);
	run_until(f, "synced");
	assert_string_equal(f->log, "down +b=2 up synced ");
	script_say(stream_of(f), EVENT("ADDED", "c", "10", "3") "{\"type\":7}\n");
	run_until(f, "-c"); /* what such an event meant is not known: everything is listed again */
	script_say(stream_of(f), EVENT("ADDED", "d", "10", "4") "]]]\n");
	run_until(f, "+d=4");
	unsigned before = f->watches;
	while (f->watches == before)
		uv_run(&f->loop, UV_RUN_ONCE);
}

static void one_list(struct fixture *f, struct script_peer *peer, const char *path)
{
	(void)f, (void)path;
	script_reply(peer, 200, "", LIST("9", ITEM("b", "2")));
}

static void test_silence(void **state)
{
	struct fixture *f = *state;

	f->list = one_list;
	f->watch = open_watch;
	start(f, true, 200, 0);
	run_until(
	    f, "~b=2"); /* the watch was given up, and it was listed anew, not watched from where it was */
	assert_int_equal(f->lists, 2);
	assert_non_null(strstr(f->log, "down"));
}

static void end_watch(struct fixture *f, struct script_peer *peer, const char *path)
{
	(void)f, (void)path;
	script_open(peer, 200);
	script_close(peer, false);
}

static void run_for(struct fixture *f, unsigned beats)
{
	uv_timer_t timer = {.data = f};

	f->beats = 0;
	uv_timer_init(&f->loop, &timer);
	uv_timer_start(&timer, on_beat, 20, 20);
	while (f->beats < beats)
		uv_run(&f->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&f->loop, UV_RUN_NOWAIT);
}

static void test_no_hot_loop(void **state)
{
	struct fixture *f = *state;

	f->list = one_list;
	f->watch = end_watch;
	start(f, true, 0, 0);
	run_for(f, 300); /* 6 s of loop time at least; the waits are 0.8 s and more */
	assert_in_range(f->watches, 2, 12);
	assert_int_equal(f->lists, 1);
}

static void test_away(void **state)
{
	struct fixture *f = *state;

	f->list = one_list;
	f->watch = open_watch;
	start(f, true, 0, 0);
	run_until(f, "synced");
	script_away(f->script, true);
	run_until(f, "down");
	assert_int_equal(*(int *)ygr_kube_informer_find(f->informer, "ns", "b"), 2);
	unsigned before = f->watches;
	script_away(f->script, false);
	while (f->watches == before)
		uv_run(&f->loop, UV_RUN_ONCE);
	script_say(stream_of(f), EVENT("MODIFIED", "b", "10", "3"));
	run_until(f, "up ~b=3");
	assert_int_equal(f->lists, 1);
}

static void test_restored(void **state)
{
	struct fixture *f = *state;

	f->list = one_then_other;
	f->watch = open_watch;
	start(f, true, 0, 0);
	run_until(f, "synced");
	ygr_kube_wrote_revision(f->kube, ygr_kube_revision(f->kube), "2");
	run_until(f, "-a");
	assert_int_equal(f->lists, 2);
}

static void test_bound(void **state)
{
	struct fixture *f = *state;

	f->list = one_list;
	f->watch = open_watch;
	start(f, true, 0, 2);
	run_until(f, "synced");
	while (!f->watches)
		uv_run(&f->loop, UV_RUN_ONCE);
	script_say(stream_of(f), EVENT("ADDED", "c", "10", "3") EVENT("ADDED", "d", "11", "4"));
	run_until(f, "!d");
	assert_int_equal(ygr_kube_informer_count(f->informer), 2);
}

static void visit(void *visitor, const char *ns, const char *name, void *value)
{
	(void)ns, (void)name;
	*(long *)visitor += *(int *)value;
}

static void many(struct fixture *f, struct script_peer *peer, const char *path)
{
	size_t size = 1 << 20, at = 0;
	char *body = malloc(size);
	unsigned page = f->lists - 1;

	(void)path;
	at += (size_t)snprintf(body, size,
			       "{\"metadata\":{\"resourceVersion\":\"9\",\"continue\":\"%s\"},\"items\":[",
			       page < 9 ? "more" : "");
	for (unsigned i = 0; i < 300; i++)
		at += (size_t)snprintf(body + at, size - at,
				       "%s{\"metadata\":{\"name\":\"n%u\",\"namespace\":\"ns\"},\"v\":%u}",
				       i ? "," : "", page * 300 + i, page * 300 + i);
	snprintf(body + at, size - at, "]}");
	script_reply(peer, 200, "", body);
	free(body);
}

static void test_many(void **state)
{
	struct fixture *f = *state;
	long sum = 0;

	f->list = many;
	f->watch = open_watch;
	start(f, true, 0, 0);
	while (!ygr_kube_informer_synced(f->informer))
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(ygr_kube_informer_count(f->informer), 3000);
	ygr_kube_informer_each(f->informer, visit, &sum);
	assert_int_equal(sum, 2999 * 3000 / 2);
}

/* A page of a megabyte, of objects that nobody keeps. */
static void large_page(struct fixture *f, struct script_peer *peer, const char *path)
{
	static char body[(1 << 20) + 65536];
	char filler[2048];
	size_t at;

	(void)path;
	memset(filler, 'x', sizeof(filler) - 1);
	filler[sizeof(filler) - 1] = '\0';
	at = (size_t)snprintf(body, sizeof(body),
			      "{\"metadata\":{\"resourceVersion\":\"9\",\"continue\":\"%s\"},\"items\":[",
			      f->lists < 64 ? "more" : "");
	for (unsigned i = 0; i < 480; i++)
		at += (size_t)snprintf(body + at, sizeof(body) - at,
				       "%s{\"metadata\":{\"name\":\"n%u-%u\",\"namespace\":\"ns\","
				       "\"annotations\":{\"a\":\"%s\"}},\"v\":-1}",
				       i ? "," : "", f->lists, i, filler);
	snprintf(body + at, sizeof(body) - at, "]}");
	script_reply(peer, 200, "", body);
}

static long anonymous_kib(void)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[256];
	long kib = 0;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "RssAnon: %ld", &kib) == 1)
			break;
	fclose(file);
	return kib;
}

/* Sixty megabytes of list take no more memory than the first of them. */
static void test_memory(void **state)
{
	struct fixture *f = *state;
	long first = 0, most = 0;

	f->list = large_page;
	f->watch = open_watch;
	start(f, true, 0, 0);
	while (!ygr_kube_informer_synced(f->informer)) {
		uv_run(&f->loop, UV_RUN_ONCE);
		long now = anonymous_kib();
		if (f->lists < 3)
			first = now;
		most = now > most ? now : most;
	}
	assert_int_equal(f->lists, 64);
	assert_int_equal(ygr_kube_informer_count(f->informer), 0);
	print_message("%ld KiB at first, %ld KiB at most\n", first, most);
#ifndef __SANITIZE_ADDRESS__ /* which keeps what was freed */
	assert_true(most - first < 8192);
#endif
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_pages),      TEST(test_watch_list), TEST(test_gone),        TEST(test_expired_page),
	    TEST(test_wrong_json), TEST(test_silence),    TEST(test_no_hot_loop), TEST(test_away),
	    TEST(test_restored),   TEST(test_bound),      TEST(test_many),        TEST(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
