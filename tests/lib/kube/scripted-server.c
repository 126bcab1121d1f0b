/* See scripted-server.h. */
#include "tests/lib/kube/scripted-server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUEST_MAX 65536

struct script_peer {
	uv_tcp_t tcp;
	uv_timer_t timer; /* for dripping */
	int open_handles;
	struct script *script;
	struct script_peer *next;
	char in[REQUEST_MAX];
	size_t in_len;
	char *drip;
	size_t drip_at;
	bool streaming, closing;
};

struct script {
	uv_tcp_t tcp;
	uv_loop_t *loop;
	script_answer *answer;
	void *user;
	struct script_peer *peers;
	unsigned port, requests;
	bool away;
};

static void on_peer_closed(uv_handle_t *handle)
{
	struct script_peer *peer = handle->data;

	if (--peer->open_handles)
		return;
	free(peer->drip);
	free(peer);
}

static void peer_unlink(struct script_peer *peer)
{
	struct script_peer **link = &peer->script->peers;

	while (*link != peer)
		link = &(*link)->next;
	*link = peer->next;
}

void script_close(struct script_peer *peer, bool hard)
{
	if (peer->closing)
		return;
	peer->closing = true;
	peer_unlink(peer);
	uv_close((uv_handle_t *)&peer->timer, on_peer_closed);
	if (!hard || uv_tcp_close_reset(&peer->tcp, on_peer_closed) < 0)
		uv_close((uv_handle_t *)&peer->tcp, on_peer_closed);
}

static void on_put(uv_write_t *write, int status)
{
	(void)status; /* whoever cuts connections does so on purpose */
	free(write);
}

/* What the socket does not take at once waits for the loop: the client is on it too. */
static void put(struct script_peer *peer, const char *text, size_t len)
{
	uv_buf_t buf = uv_buf_init((char *)text, (unsigned)len);
	int n = peer->closing ? (int)len : uv_try_write((uv_stream_t *)&peer->tcp, &buf, 1);

	if (n < 0 && n != UV_EAGAIN)
		script_close(peer, false);
	if (n >= (int)len || peer->closing)
		return;
	size_t left = len - (n > 0 ? (size_t)n : 0);
	uv_write_t *write = malloc(sizeof(*write) + left);
	assert_non_null(write);
	memcpy(write + 1, text + len - left, left);
	buf = uv_buf_init((char *)(write + 1), (unsigned)left);
	assert_int_equal(uv_write(write, (uv_stream_t *)&peer->tcp, &buf, 1, on_put), 0);
}

void script_say(struct script_peer *peer, const char *text)
{
	put(peer, text, strlen(text));
}

void script_reply(struct script_peer *peer, int status, const char *headers, const char *body)
{
	char head[1024];

	snprintf(head, sizeof(head),
		 "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n", status,
		 strlen(body), headers);
	put(peer, head, strlen(head));
	put(peer, body, strlen(body));
}

void script_open(struct script_peer *peer, int status)
{
	char head[128];

	snprintf(head, sizeof(head), "HTTP/1.1 %d X\r\nConnection: close\r\n\r\n", status);
	peer->streaming = true;
	put(peer, head, strlen(head));
}

static void on_drip(uv_timer_t *timer)
{
	struct script_peer *peer = timer->data;

	if (!peer->drip[peer->drip_at]) {
		uv_timer_stop(timer);
		return;
	}
	put(peer, peer->drip + peer->drip_at++, 1);
}

void script_drip(struct script_peer *peer, const char *text)
{
	free(peer->drip);
	peer->drip = strdup(text);
	peer->drip_at = 0;
	uv_timer_start(&peer->timer, on_drip, 2, 2);
}

struct script_peer *script_stream(struct script *script)
{
	struct script_peer *peer = script->peers;

	while (peer && !peer->streaming)
		peer = peer->next;
	return peer;
}

/* Answers the requests of which all bytes are there. */
static void read_requests(struct script_peer *peer)
{
	for (;;) {
		char method[16], path[8192];
		size_t length = 0;
		peer->in[peer->in_len] = '\0';
		char *end = strstr(peer->in, "\r\n\r\n"), *field = strstr(peer->in, "Content-Length: ");
		if (!end)
			return;
		if (field && field < end)
			length = strtoul(field + 16, NULL, 10);
		size_t head = (size_t)(end + 4 - peer->in);
		if (peer->in_len < head + length)
			return;
		end[2] = '\0'; /* the last header keeps its end */
		char *body = strndup(end + 4, length);
		assert_int_equal(sscanf(peer->in, "%15s %8191s", method, path), 2);
		peer->script->requests++;
		const struct script_request request = {method, path, peer->in, body};
		peer->script->answer(peer->script->user, peer, &request);
		free(body);
		if (peer->closing)
			return;
		peer->in_len -= head + length;
		memmove(peer->in, peer->in + head + length, peer->in_len);
	}
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct script_peer *peer = handle->data;

	(void)suggested;
	*buf = uv_buf_init(peer->in + peer->in_len, (unsigned)(sizeof(peer->in) - 1 - peer->in_len));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct script_peer *peer = stream->data;

	(void)buf;
	if (n < 0) {
		script_close(peer, false);
		return;
	}
	peer->in_len += (size_t)n;
	read_requests(peer);
}

static void on_connection(uv_stream_t *stream, int status)
{
	struct script *script = stream->data;
	struct script_peer *peer = calloc(1, sizeof(*peer));

	assert_int_equal(status, 0);
	assert_non_null(peer);
	peer->script = script;
	peer->tcp.data = peer->timer.data = peer;
	peer->open_handles = 2;
	uv_tcp_init(script->loop, &peer->tcp);
	uv_timer_init(script->loop, &peer->timer);
	assert_int_equal(uv_accept(stream, (uv_stream_t *)&peer->tcp), 0);
	peer->next = script->peers;
	script->peers = peer;
	if (script->away)
		script_close(peer, true);
	else
		uv_read_start((uv_stream_t *)&peer->tcp, on_alloc, on_read);
}

struct script *script_start(uv_loop_t *loop, script_answer *answer, void *user)
{
	struct script *script = calloc(1, sizeof(*script));
	struct sockaddr_in address;
	int len = sizeof(address);

	assert_non_null(script);
	signal(SIGPIPE, SIG_IGN); /* a client may be gone before its answer */
	script->loop = loop;
	script->answer = answer;
	script->user = user;
	script->tcp.data = script;
	uv_tcp_init(loop, &script->tcp);
	uv_ip4_addr("127.0.0.1", 0, &address);
	assert_int_equal(uv_tcp_bind(&script->tcp, (struct sockaddr *)&address, 0), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&script->tcp, 64, on_connection), 0);
	uv_tcp_getsockname(&script->tcp, (struct sockaddr *)&address, &len);
	script->port = ntohs(address.sin_port);
	return script;
}

unsigned script_port(const struct script *script)
{
	return script->port;
}

unsigned script_requests(const struct script *script)
{
	return script->requests;
}

void script_cut(struct script *script)
{
	while (script->peers)
		script_close(script->peers, true);
}

void script_away(struct script *script, bool away)
{
	script->away = away;
	if (away)
		script_cut(script);
}

static void on_server_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void script_stop(struct script *script)
{
	script_cut(script);
	uv_close((uv_handle_t *)&script->tcp, on_server_closed);
}
