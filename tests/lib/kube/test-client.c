/* The client against a server that misbehaves as scripted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/kube/object.h"
#include "tests/lib/kube/scripted-server.h"

static const struct ygr_kube_resource leases = {"coordination.k8s.io", "v1", "leases", "Lease", false};

struct fixture {
	uv_loop_t loop;
	struct script *script;
	struct ygr_kube_config config;
	struct ygr_kube *kube;
	char server[64], directory[64], file[96];
	/* what the server does */
	void (*answer)(struct fixture *f, struct script_peer *peer, const struct script_request *request);
	char log[4096]; /* "METHOD PATH [TOKEN]\n" */
	unsigned asked;
	/* what came back */
	int done, error, status;
	char reason[64], message[512], body[1024];
	size_t streamed;
	struct ygr_kube_call *call;
	int cancel_in_data, reachable;
	unsigned beats;
	bool overdue;
};

static void on_request(void *user, struct script_peer *peer, const struct script_request *request)
{
	struct fixture *f = user;
	const char *token = strstr(request->head, "Authorization: Bearer ");
	size_t len = strlen(f->log);

	f->asked++;
	snprintf(f->log + len, sizeof(f->log) - len, "%s %s %.*s\n", request->method, request->path,
		 token ? (int)strcspn(token + 22, "\r") : 0, token ? token + 22 : "");
	f->answer(f, peer, request);
}

static void on_reachable(void *user, bool reachable, const char *reason)
{
	struct fixture *f = user;

	(void)reason;
	f->reachable = reachable;
}

static void on_done(void *user, const struct ygr_kube_answer *answer)
{
	struct fixture *f = user;

	f->done++;
	f->error = answer->error;
	f->status = answer->status;
	f->call = NULL;
	snprintf(f->reason, sizeof(f->reason), "%s", answer->reason);
	snprintf(f->message, sizeof(f->message), "%s", answer->message);
	snprintf(f->body, sizeof(f->body), "%s", answer->body);
}

static void connect_client(struct fixture *f, double qps, unsigned burst)
{
	const struct ygr_kube_options options = {.loop = &f->loop,
						 .config = &f->config,
						 .user_agent = "test",
						 .qps = qps,
						 .burst = burst,
						 .reachable = on_reachable,
						 .user = f};
	struct ygr_error error = YGR_ERROR_INIT;

	if (ygr_kube_new(&options, &f->kube, &error) < 0)
		fail_msg("%s", error.message);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	uv_loop_init(&f->loop);
	f->script = script_start(&f->loop, on_request, f);
	snprintf(f->server, sizeof(f->server), "http://127.0.0.1:%u", script_port(f->script));
	f->config.server = f->server;
	f->config.namespace_ = "default";
	f->reachable = -1;
	strcpy(f->directory, "/tmp/test-kube-client-XXXXXX");
	if (!mkdtemp(f->directory))
		return -1;
	snprintf(f->file, sizeof(f->file), "%s/file", f->directory);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	ygr_kube_close(f->kube);
	script_stop(f->script);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	if (uv_loop_close(&f->loop) < 0)
		return -1; /* a handle is left */
	unlink(f->file);
	rmdir(f->directory);
	free(f);
	return 0;
}

static void on_beat(uv_timer_t *timer)
{
	struct fixture *f = timer->data;

	f->overdue = ++f->beats > 2400; /* two minutes; the beat also keeps uv_run() from waiting longer */
}

static void run_until_done(struct fixture *f, int count)
{
	uv_timer_t timer = {.data = f};

	uv_timer_init(&f->loop, &timer);
	f->beats = 0;
	uv_timer_start(&timer, on_beat, 50, 50);
	while (f->done < count && !f->overdue)
		uv_run(&f->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&f->loop, UV_RUN_NOWAIT);
	if (f->overdue)
		fail_msg("done %d of %d, asked %u: %s", f->done, count, f->asked, f->log);
}

static void get(struct fixture *f, unsigned deadline_ms)
{
	const struct ygr_kube_op op = {.verb = YGR_KUBE_VERB_GET,
				       .resource = &leases,
				       .namespace_ = "ns",
				       .name = "a",
				       .deadline_ms = deadline_ms,
				       .done = on_done,
				       .user = f};

	assert_int_equal(ygr_kube_do(f->kube, &op, &f->call), 0);
}

static void say_ok(struct fixture *f, struct script_peer *peer, const struct script_request *request)
{
	(void)f, (void)request;
	script_reply(peer, 200, "", "{\"metadata\":{\"name\":\"a\"}}");
}

static void echo(struct fixture *f, struct script_peer *peer, const struct script_request *request)
{
	char body[1024];
	const char *type = strstr(request->head, "Content-Type: ");

	(void)f;
	snprintf(body, sizeof(body), "{\"type\":\"%.*s\",\"sent\":%s}",
		 type ? (int)strcspn(type + 14, "\r") : 0, type ? type + 14 : "",
		 *request->body ? request->body : "null");
	script_reply(peer, 200, "", body);
}

static void test_verbs(void **state)
{
	struct fixture *f = *state;
	json_t *object = json_pack("{s:i}", "x", 1);

	f->answer = echo;
	connect_client(f, 0, 0);
	get(f, 0);
	run_until_done(f, 1);
	for (int verb = YGR_KUBE_VERB_CREATE; verb <= YGR_KUBE_VERB_DELETE; verb++) {
		const struct ygr_kube_op op = {.verb = (enum ygr_kube_verb)verb,
					       .resource = &leases,
					       .namespace_ = "ns",
					       .name = "a",
					       .subresource = verb == YGR_KUBE_VERB_APPLY ? "status" : NULL,
					       .object = verb == YGR_KUBE_VERB_DELETE ? NULL : object,
					       .manager = "me & you",
					       .force = true,
					       .done = on_done,
					       .user = f};
		assert_int_equal(ygr_kube_do(f->kube, &op, NULL), 0);
		run_until_done(f, f->done + 1);
		assert_int_equal(f->error, 0);
		if (verb == YGR_KUBE_VERB_APPLY)
			assert_string_equal(
			    f->body, "{\"type\":\"application/apply-patch+yaml\",\"sent\":{\"x\":1}}");
	}
	json_decref(object);
#define BASE "/apis/coordination.k8s.io/v1/namespaces/ns/leases"
	assert_string_equal(f->log, "GET " BASE "/a \n"
				    "POST " BASE "?fieldManager=me%20%26%20you \n"
				    "PUT " BASE "/a?fieldManager=me%20%26%20you \n"
				    "PATCH " BASE "/a/status?fieldManager=me%20%26%20you&force=true \n"
				    "PATCH " BASE "/a?fieldManager=me%20%26%20you \n"
				    "PATCH " BASE "/a?fieldManager=me%20%26%20you \n"
				    "DELETE " BASE "/a \n");
	assert_int_equal(f->reachable, 1);
	const struct ygr_kube_op wrong = {
	    .resource = &leases, .namespace_ = "ns", .name = "a/../b", .done = on_done};
	assert_int_equal(ygr_kube_do(f->kube, &wrong, NULL), -EINVAL);
}

static void throttle_twice(struct fixture *f, struct script_peer *peer, const struct script_request *request)
{
	if (f->asked == 1)
		script_reply(peer, 429, "Retry-After: 1\r\n",
			     "{\"kind\":\"Status\",\"message\":\"slow down\"}");
	else if (f->asked == 2)
		script_reply(peer, 503, "Retry-After: 1\r\n", "busy");
	else
		say_ok(f, peer, request);
}

static void throttle_always(struct fixture *f, struct script_peer *peer,
			    const struct script_request *request)
{
	(void)f, (void)request;
	script_reply(peer, 429, "",
		     "{\"kind\":\"Status\",\"reason\":\"TooManyRequests\",\"message\":\"slow down\"}");
}

static void test_throttling(void **state)
{
	struct fixture *f = *state;

	f->answer = throttle_twice;
	connect_client(f, 0, 0);
	get(f, 60000);
	run_until_done(f, 1);
	assert_int_equal(f->error, 0);
	assert_int_equal(f->asked, 3);

	f->answer = throttle_always; /* a storm: one request a second for each call, until its deadline */
	f->asked = 0;
	for (int i = 0; i < 5; i++)
		get(f, 2500);
	run_until_done(f, 6);
	assert_int_equal(f->error, -EAGAIN);
	assert_string_equal(f->message, "HTTP 429: slow down");
	assert_in_range(f->asked, 5, 15);
}

static void test_rate(void **state)
{
	struct fixture *f = *state;

	f->answer = say_ok;
	connect_client(f, 10, 2);
	uint64_t begun = uv_now(&f->loop);
	for (int i = 0; i < 12; i++)
		get(f, 0);
	run_until_done(f, 12);
	assert_in_range(uv_now(&f->loop) - begun, 900, 120000); /* 10 of them wait for a token */
}

static void write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void check_token(struct fixture *f, struct script_peer *peer, const struct script_request *request)
{
	if (strstr(request->head, "Bearer new\r"))
		say_ok(f, peer, request);
	else
		script_reply(peer, 401, "",
			     "{\"kind\":\"Status\",\"reason\":\"Unauthorized\",\"message\":\"no\"}");
}

static void rotate_token(struct fixture *f, struct script_peer *peer, const struct script_request *request)
{
	write_text(f->file, "new\n");
	check_token(f, peer, request);
}

static void test_token_file(void **state)
{
	struct fixture *f = *state;

	f->config.token_file = f->file;
	f->answer = rotate_token;
	write_text(f->file, "old\n");
	connect_client(f, 0, 0);
	get(f, 0);
	run_until_done(f, 1);
	assert_int_equal(f->error, 0);
	assert_non_null(strstr(f->log, " old\n"));
	assert_non_null(strstr(f->log, " new\n"));
	f->answer = check_token;
	write_text(f->file, "bad\n");
	get(f, 0); /* still the token of less than a minute ago */
	run_until_done(f, 2);
	assert_int_equal(f->error, 0);
}

static void test_token_wrong(void **state)
{
	struct fixture *f = *state;

	f->config.token_file = f->file;
	f->answer = check_token;
	connect_client(f, 0, 0);
	get(f, 0);
	run_until_done(f, 1);
	assert_int_equal(f->error, -EACCES); /* there is no file */
	assert_int_equal(f->asked, 0);
	write_text(f->file, "bad\n");
	get(f, 0);
	run_until_done(f, 2);
	assert_int_equal(f->error, -EACCES);
	assert_int_equal(f->status, 401);
	assert_int_equal(f->asked, 2); /* once more, and not again */
}

static void test_plugin(void **state)
{
	struct fixture *f = *state;
	char *args[] = {"-c",
			"echo run >>\"$LOG\"; echo '{\"apiVersion\":\"client.authentication.k8s.io/v1\","
			"\"status\":{\"token\":\"new\",\"expirationTimestamp\":\"2999-01-01T00:00:00Z\"}}'"};
	char log[120];
	char *env[] = {log};
	struct ygr_kube_exec exec = {
	    .command = "sh", .args = args, .arg_count = 2, .env = env, .env_count = 1};

	snprintf(log, sizeof(log), "LOG=%s", f->file);
	f->config.exec = &exec;
	f->answer = check_token;
	connect_client(f, 0, 0);
	get(f, 0);
	get(f, 0);
	run_until_done(f, 2);
	assert_int_equal(f->error, 0);
	struct stat runs;
	assert_int_equal(stat(f->file, &runs), 0);
	assert_int_equal(runs.st_size, 4); /* it ran once for both */
}

static void test_plugin_fails(void **state)
{
	static char *const scripts[] = {
	    "exit 3", "echo not json", "kill -9 $$",
	    "echo '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"status\":{}}'"};
	static const char *const said[] = {"status 3", "no JSON", "signal 9", "neither a token"};
	struct fixture *f = *state;

	f->answer = say_ok;
	for (size_t i = 0; i < 4; i++) {
		char *args[] = {"-c", scripts[i]};
		struct ygr_kube_exec exec = {.command = "sh", .args = args, .arg_count = 2};
		f->config.exec = &exec;
		connect_client(f, 0, 0);
		get(f, 0);
		run_until_done(f, f->done + 1);
		assert_int_equal(f->error, -EACCES);
		if (!strstr(f->message, said[i]))
			fail_msg("\"%s\"", f->message);
		f->kube = ygr_kube_close(f->kube);
		uv_run(&f->loop, UV_RUN_NOWAIT);
	}
	struct ygr_kube_exec exec = {.command = "/nowhere/login", .install_hint = "get it somewhere"};
	f->config.exec = &exec;
	connect_client(f, 0, 0);
	get(f, 0);
	run_until_done(f, f->done + 1);
	assert_non_null(strstr(f->message, "get it somewhere"));
	f->kube = ygr_kube_close(f->kube);
	assert_int_equal(f->asked, 0);
}

static void say_nothing(struct fixture *f, struct script_peer *peer, const struct script_request *request)
{
	(void)f, (void)peer, (void)request;
}

static void half_answer(struct fixture *f, struct script_peer *peer, const struct script_request *request)
{
	(void)f, (void)request;
	script_say(peer, "HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\n{\"half\":");
	script_close(peer, false);
}

static void no_http(struct fixture *f, struct script_peer *peer, const struct script_request *request)
{
	(void)f, (void)request;
	script_say(peer, "SSH-2.0-nonsense\r\n\r\n");
	script_close(peer, false);
}

static void html(struct fixture *f, struct script_peer *peer, const struct script_request *request)
{
	(void)f, (void)request;
	script_reply(peer, 200, "", "<html>a proxy speaks</html>");
}

static void huge(struct fixture *f, struct script_peer *peer, const struct script_request *request)
{
	char *body = malloc((5 << 20) + 1);

	(void)f, (void)request;
	memset(body, ' ', 5 << 20);
	body[5 << 20] = '\0';
	script_open(peer, 200);
	/* What is more than a socket takes would block this loop: the client has to read between. */
	script_drip(peer, "{");
	free(body);
}

static void endless_problem(struct fixture *f, struct script_peer *peer,
			    const struct script_request *request)
{
	char body[70000];

	(void)f, (void)request;
	memset(body, 'x', sizeof(body) - 1);
	body[sizeof(body) - 1] = '\0';
	script_reply(peer, 500, "", body);
}

static void test_bad_answers(void **state)
{
	static const struct {
		void (*answer)(struct fixture *f, struct script_peer *peer,
			       const struct script_request *request);
		int error, status;
	} cases[] = {{say_nothing, -ETIMEDOUT, 0}, {half_answer, -ECONNRESET, 200},
		     {no_http, -ECONNRESET, 0},    {html, -EPROTO, 200},
		     {huge, -ETIMEDOUT, 200},      {endless_problem, -EREMOTEIO, 500}};
	struct fixture *f = *state;

	connect_client(f, 0, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		f->answer = cases[i].answer;
		get(f, 1500);
		run_until_done(f, (int)i + 1);
		if (f->error != cases[i].error || f->status != cases[i].status)
			fail_msg("case %zu: %d, HTTP %d, %s", i, f->error, f->status, f->message);
		assert_true(*f->message && *f->reason);
	}
}

static void test_refused(void **state)
{
	struct fixture *f = *state;

	f->answer = say_ok;
	connect_client(f, 0, 0);
	script_away(f->script, true);
	get(f, 5000);
	run_until_done(f, 1);
	assert_true(f->error < 0);
	assert_int_equal(f->status, 0);
	assert_int_equal(f->reachable, 0);
	script_away(f->script, false);
	get(f, 5000);
	run_until_done(f, 2);
	assert_int_equal(f->error, 0);
	assert_int_equal(f->reachable, 1);
	assert_int_equal(ygr_kube_recoveries(f->kube), 1);
}

static void stream_on(struct fixture *f, struct script_peer *peer, const struct script_request *request)
{
	(void)f, (void)request;
	script_open(peer, 200);
	script_say(peer, "some bytes");
}

static int on_data(void *user, const char *bytes, size_t len)
{
	struct fixture *f = user;

	(void)bytes;
	f->streamed += len;
	if (f->cancel_in_data == 1) {
		f->call = ygr_kube_cancel(f->call);
		f->done++;
	} else if (f->cancel_in_data == 2) {
		f->kube = ygr_kube_close(f->kube);
		f->done++;
	} else if (f->cancel_in_data == 3) {
		return -EBADMSG;
	}
	return 0;
}

static void stream(struct fixture *f, unsigned idle_ms)
{
	const struct ygr_kube_request request = {.path = "/x?watch=1",
						 .verb = "watch",
						 .idle_ms = idle_ms,
						 .data = on_data,
						 .done = on_done,
						 .user = f};

	assert_int_equal(ygr_kube_start(f->kube, &request, &f->call), 0);
}

static void test_stream(void **state)
{
	struct fixture *f = *state;

	f->answer = stream_on;
	connect_client(f, 0, 0);
	stream(f, 300);
	run_until_done(f, 1);
	assert_int_equal(f->streamed, 10);
	assert_int_equal(f->error, -ETIMEDOUT); /* silence */
	f->answer = say_nothing;
	stream(f, 300);
	run_until_done(f, 2);
	assert_int_equal(f->error, -ETIMEDOUT); /* also before it began */
	f->answer = stream_on;
	f->cancel_in_data = 3;
	stream(f, 0);
	run_until_done(f, 3);
	assert_int_equal(f->error, -EBADMSG);
	f->cancel_in_data = 1;
	stream(f, 0);
	run_until_done(f, 4);
	f->cancel_in_data = 2;
	stream(f, 0);
	run_until_done(f, 5);
	assert_null(f->kube);
}

static void on_done_close(void *user, const struct ygr_kube_answer *answer)
{
	struct fixture *f = user;

	on_done(f, answer);
	f->kube = ygr_kube_close(f->kube);
}

static void test_close(void **state)
{
	struct fixture *f = *state;
	const struct ygr_kube_request request = {.path = "/x", .done = on_done_close, .user = f};

	f->answer = say_ok;
	connect_client(f, 0, 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(ygr_kube_start(f->kube, &request, NULL), 0);
	run_until_done(f, 1);
	assert_null(f->kube);
	assert_int_equal(f->done, 1);
	const struct ygr_kube_request no_path = {.path = "x"};
	connect_client(f, 0, 0);
	assert_int_equal(ygr_kube_start(f->kube, &no_path, NULL), -EINVAL);
}

static void test_too_many(void **state)
{
	struct fixture *f = *state;
	const struct ygr_kube_request request = {.path = "/x", .done = on_done, .user = f};
	int r = 0, count = 0;

	f->answer = say_ok;
	connect_client(f, 0, 0);
	while ((r = ygr_kube_start(f->kube, &request, NULL)) == 0)
		count++;
	assert_int_equal(r, -ENOBUFS);
	assert_int_equal(count, YGR_KUBE_CALLS_MAX);
}

static void test_revisions(void **state)
{
	struct fixture *f = *state;

	connect_client(f, 0, 0);
	ygr_kube_saw_revision(f->kube, "100");
	ygr_kube_saw_revision(f->kube, "90");
	assert_int_equal(ygr_kube_revision(f->kube), 100);
	ygr_kube_wrote_revision(f->kube, 95, "99"); /* others wrote meanwhile */
	ygr_kube_wrote_revision(f->kube, 100, "nonsense");
	assert_int_equal(ygr_kube_epoch(f->kube), 0);
	ygr_kube_wrote_revision(f->kube, 100, "42");
	assert_int_equal(ygr_kube_epoch(f->kube), 1);
	assert_int_equal(ygr_kube_revision(f->kube), 42);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_verbs),       TEST(test_throttling), TEST(test_rate),         TEST(test_token_file),
	    TEST(test_token_wrong), TEST(test_plugin),     TEST(test_plugin_fails), TEST(test_bad_answers),
	    TEST(test_refused),     TEST(test_stream),     TEST(test_close),        TEST(test_too_many),
	    TEST(test_revisions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
