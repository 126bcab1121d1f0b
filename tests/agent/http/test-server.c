/* The HTTP servers, spoken to as a client does: over TCP on loopback and over the UNIX socket. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/http/server.h"

static char directory[] = "/tmp/yagura-test-XXXXXX";
static char socket_path[64];
static struct ygr_bus *bus;
static struct ygr_metrics *metrics;
static struct ygr_http *http;
static struct ygr_run_stream *running;
static struct ygr_peer run_peer;
static int last_signal;

static int run_start(void *user, const struct ygr_peer *peer, const json_t *request,
		     struct ygr_run_stream *stream, struct ygr_error *error)
{
	(void)user;
	const char *program = json_string_value(json_object_get(request, "program"));
	if (!program)
		return ygr_error_set(error, EINVAL, "program: expected a string");
	run_peer = *peer;
	running = stream;
	ygr_run_stream_begin(stream, "r1");
	ygr_run_stream_data(stream, "stdout", "one\ntwo\xff\n", 9);
	return 0;
}

static int run_signal(void *user, const struct ygr_peer *peer, const char *id, int number,
		      struct ygr_error *error)
{
	(void)user;
	(void)peer;
	if (strcmp(id, "r1") != 0)
		return ygr_error_set(error, ENOENT, "no run %s", id);
	last_signal = number;
	ygr_run_stream_end(running, json_pack("{s:i}", "signal", number));
	return 0;
}

static int setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(socket_path, sizeof(socket_path), "%s/agent.sock", directory);
	bus = ygr_bus_new();
	metrics = ygr_metrics_new();
	struct ygr_metric *up =
	    ygr_metric_declare(metrics, YGR_METRIC_GAUGE, "yagura_up", "Up.", NULL, NULL, 0, 1);
	ygr_metric_set(up, 1, NULL);
	struct ygr_error error = YGR_ERROR_INIT;
	const struct ygr_http_options options = {
	    .tcp_listen = "127.0.0.1:19720",
	    .socket_path = socket_path,
	    .socket_group = (gid_t)-1,
	    .bus = bus,
	    .metrics = metrics,
	    .backend = {.run_start = run_start, .run_signal = run_signal},
	};
	if (ygr_http_start(&options, &http, &error) < 0)
		fail_msg("%s", error.message);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	http = ygr_http_stop(http);
	ygr_metrics_free(metrics);
	ygr_bus_free(bus);
	assert_int_not_equal(access(socket_path, F_OK), 0);
	return rmdir(directory);
}

static int connect_to(bool tcp)
{
	struct timeval patience = {.tv_sec = 20};
	int fd;
	if (tcp) {
		struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(19720)};
		address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		fd = socket(AF_INET, SOCK_STREAM, 0);
		assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	} else {
		struct sockaddr_un address = {.sun_family = AF_UNIX};
		strcpy(address.sun_path, socket_path);
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Reads until UNTIL has come (or the end, when NULL). */
static const char *hear(int fd, const char *until)
{
	static char text[1 << 20];
	size_t len = 0;
	text[0] = '\0';
	while (!until || !strstr(text, until)) {
		ssize_t n = recv(fd, text + len, sizeof(text) - 1 - len, 0);
		if (n <= 0) {
			assert_true(!until && (n == 0 || errno == ECONNRESET));
			break;
		}
		len += (size_t)n;
		text[len] = '\0';
	}
	return text;
}

static const char *ask(bool tcp, const char *request)
{
	int fd = connect_to(tcp);
	say(fd, request);
	const char *answer = hear(fd, NULL);
	close(fd);
	return answer;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

static void tcp_serves_only_metrics_and_health(void **state)
{
	(void)state;
	assert_non_null(strstr(ask(true, GET("/metrics")), "\nyagura_up 1\n"));
	assert_non_null(strstr(ask(true, GET("/livez")), " 200 "));
	assert_non_null(strstr(ask(true, GET("/healthz")), " 200 "));
	assert_non_null(strstr(ask(true, GET("/v1/vms")), " 404 "));
	assert_non_null(strstr(ask(true, GET("/v1/events?follow=1")), " 404 "));
	assert_non_null(strstr(ask(true, "POST /v1/run HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
					 "Content-Length: 2\r\n\r\n{}"),
			       " 405 "));
}

static void readiness_has_reasons(void **state)
{
	(void)state;
	assert_non_null(strstr(ask(true, GET("/readyz")), " 503 "));
	ygr_http_ready(http, "libvirt", false, "connection refused");
	ygr_http_ready(http, "manifests", true, NULL);
	const char *answer = ask(true, GET("/readyz"));
	assert_non_null(strstr(answer, " 503 "));
	assert_non_null(strstr(answer, "[-]libvirt failed: connection refused\n[+]manifests ok\n"));
	ygr_http_ready(http, "libvirt", true, NULL);
	assert_non_null(strstr(ask(true, GET("/readyz")), " 200 "));
}

static void documents_are_snapshots(void **state)
{
	(void)state;
	json_t *vms = json_pack("[{s:s}]", "name", "web-3"), *monitors = json_array();
	ygr_http_publish(http, vms, monitors, monitors);
	json_decref(vms);
	json_decref(monitors);
	assert_non_null(strstr(ask(false, GET("/v1/vms")), "\"name\": \"web-3\""));
	assert_non_null(strstr(ask(false, GET("/v1/monitors")), "[]"));
	assert_non_null(strstr(ask(false, GET("/v1/policies")), "[]"));
}

static void publish(const char *vm, const char *line)
{
	ygr_bus_publish(bus, &(struct ygr_event){.vm = vm, .app = "exec", .stream = "stdout", .line = line});
}

static void events_follow(void **state)
{
	(void)state;
	publish("a", "before");
	int fd = connect_to(false);
	say(fd, "GET /v1/events?follow=1&recent=1&vm=a HTTP/1.1\r\nHost: x\r\n\r\n");
	hear(fd, "\"before\"");
	publish("b", "not mine");
	publish("a", "after");
	const char *more = hear(fd, "\"after\"");
	assert_null(strstr(more, "not mine"));
	close(fd);
	assert_non_null(strstr(ask(false, GET("/v1/events?vm=b")), "not mine"));
	assert_non_null(strstr(ask(false, GET("/v1/events?recent=many")), " 400 "));
}

static void clients_that_left_are_forgotten(void **state)
{
	(void)state;
	/* More followers than streams are allowed, one after the other: each leaves while nothing happens.
	 */
	for (int i = 0; i < 70; i++) {
		int fd = connect_to(false);
		say(fd, "GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n");
		const char *answer = hear(fd, "\r\n\r\n");
		for (int patience = 0; strstr(answer, " 503 ") && patience < 40; patience++) {
			close(fd);
			usleep(250000);
			fd = connect_to(false);
			say(fd, "GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n");
			answer = hear(fd, "\r\n\r\n");
		}
		assert_non_null(strstr(answer, " 200 "));
		close(fd);
	}
}

static void post(int fd, const char *path, const char *body)
{
	char request[512];
	snprintf(request, sizeof(request),
		 "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", path,
		 strlen(body), body);
	say(fd, request);
}

static const char *posted(const char *path, const char *body)
{
	int fd = connect_to(false);
	post(fd, path, body);
	const char *answer = hear(fd, NULL);
	close(fd);
	return answer;
}

static void a_run_streams_and_takes_signals(void **state)
{
	(void)state;
	int fd = connect_to(false);
	post(fd, "/v1/run", "{\"program\":\"execsnoop\"}");
	hear(fd, "{\"stream\":\"stdout\",\"data\":\"one\\ntwo\xef\xbf\xbd\\n\"}");
	assert_int_equal(run_peer.uid, getuid());
	assert_int_equal(run_peer.pid, getpid());
	assert_non_null(strstr(posted("/v1/run/r2/signal", "{\"signal\":2}"), " 404 "));
	assert_non_null(strstr(posted("/v1/run/r1/signal", "{\"signal\":99}"), " 400 "));
	assert_non_null(strstr(posted("/v1/run/r1/signal", "{\"signal\":2}"), " 200 "));
	hear(fd, "{\"signal\":2}");
	assert_int_equal(last_signal, 2);
	close(fd);
}

static void bad_requests_are_told_why(void **state)
{
	(void)state;
	assert_non_null(strstr(posted("/v1/run", "{"), " 400 "));
	assert_non_null(strstr(posted("/v1/run", "[]"), "expected an object"));
	assert_non_null(strstr(posted("/v1/run", "{}"), "program: expected a string"));
	assert_non_null(
	    strstr(ask(false, "DELETE /v1/vms HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), " 405 "));

	static char huge[200000];
	memset(huge, ' ', sizeof(huge) - 1);
	char head[128];
	int fd = connect_to(false);
	snprintf(head, sizeof(head),
		 "POST /v1/run HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
		 strlen(huge));
	say(fd, head);
	say(fd, huge);
	assert_non_null(strstr(hear(fd, NULL), " 413 "));
	close(fd);

	/* Not HTTP at all. */
	fd = connect_to(true);
	say(fd, "\x16\x03\x01\x02\x01\xfc\x03\x03 garbage\r\n\r\n");
	hear(fd, NULL);
	close(fd);
	assert_non_null(strstr(ask(true, GET("/livez")), " 200 "));
}

static void a_second_agent_is_refused(void **state)
{
	(void)state;
	struct ygr_http *second;
	struct ygr_error error = YGR_ERROR_INIT;
	const struct ygr_http_options options = {
	    .socket_path = socket_path, .socket_group = (gid_t)-1, .bus = bus, .metrics = metrics};
	assert_int_equal(ygr_http_start(&options, &second, &error), -EADDRINUSE);
	assert_non_null(strstr(error.message, socket_path));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(tcp_serves_only_metrics_and_health),
	    cmocka_unit_test(readiness_has_reasons),
	    cmocka_unit_test(documents_are_snapshots),
	    cmocka_unit_test(events_follow),
	    cmocka_unit_test(clients_that_left_are_forgotten),
	    cmocka_unit_test(a_run_streams_and_takes_signals),
	    cmocka_unit_test(bad_requests_are_told_why),
	    cmocka_unit_test(a_second_agent_is_refused),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
