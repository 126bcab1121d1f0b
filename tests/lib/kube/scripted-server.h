/*
 * An HTTP/1.1 server on the test's own loop that answers as a script says, also in ways that no API server would:
 * bytes one by one, connections cut in the middle, JSON that is none. It stands in only for what a real server
 * does not do on demand; e2e/kube has the real one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct script;
struct script_peer; /* a connection with a request that waits for its answer */

struct script_request {
	const char *method, *path, *head, *body;
};

/* Called for each request; answer with the functions below, now or later. */
typedef void script_answer(void *user, struct script_peer *peer, const struct script_request *request);

struct script *script_start(uv_loop_t *loop, script_answer *answer, void *user);
unsigned script_port(const struct script *script);
unsigned script_requests(const struct script *script);
/* Closes everything; memory goes when the loop has turned. */
void script_stop(struct script *script);
/* Cuts all connections. */
void script_cut(struct script *script);
/* Stops or starts taking connections: those that come are cut at once. */
void script_away(struct script *script, bool away);

/* A whole answer; HEADERS are lines that end with "\r\n", or "". */
void script_reply(struct script_peer *peer, int status, const char *headers, const char *body);
/* An answer without length, which ends with the connection; then pieces of it. */
void script_open(struct script_peer *peer, int status);
void script_say(struct script_peer *peer, const char *text);
/* TEXT one byte each 2 ms. */
void script_drip(struct script_peer *peer, const char *text);
/* Ends the connection: in order, or (HARD) with a reset. */
void script_close(struct script_peer *peer, bool hard);
/* The last peer that was opened and still is; or NULL. */
struct script_peer *script_stream(struct script *script);
