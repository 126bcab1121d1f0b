/* The conversation with the agent: HTTP over its UNIX socket, with libcurl. One thread. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "lib/base/error.h"

#define YGR_CLIENT_SOCKET "/run/yagura/agent.sock"

struct ygr_client;

/* SOCKET: its path, NULL for $YAGURA_SOCKET or the default. */
struct ygr_client *ygr_client_new(const char *socket);
struct ygr_client *ygr_client_free(struct ygr_client *client);

/* NAME=VALUE for a query, percent-encoded behind what PATH has already; VALUE may be NULL (nothing is
 * added). */
void ygr_client_query(struct ygr_client *client, char *path, size_t size, const char *name,
		      const char *value);

/*
 * GETs a document. Errors name the socket and the remedy (agent not running, no permission), or are the
 * agent's own words: -ECONNREFUSED, -EACCES, -EREMOTEIO.
 */
int ygr_client_get(struct ygr_client *client, const char *path, json_t **ret_document,
		   struct ygr_error *error);
int ygr_client_post(struct ygr_client *client, const char *path, const json_t *body, json_t **ret_document,
		    struct ygr_error *error);

/*
 * Follows a stream of NDJSON (POST when BODY is given). LINE gets each object and its text and returns false
 * to stop. INTERRUPTED is called for every SIGINT and SIGTERM meanwhile and returns false to stop. 0 at the
 * end or when stopped.
 */
struct ygr_client_stream {
	bool (*line)(void *user, const json_t *object, const char *text);
	bool (*interrupted)(void *user, int signal_number);
	void *user;
};
int ygr_client_stream(struct ygr_client *client, const char *path, const json_t *body,
		      const struct ygr_client_stream *stream, struct ygr_error *error);
