/*
 * A real yagura-guest that performs calls in this machine's own kernel, and sessions that are started as the
 * agent starts them. Failures are cmocka assertions.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/lib/wire/identity-fixture.h"

/* A guest that serves, and what its clients need. */
struct world {
	struct fixture keys;
	struct ygr_identity *identity;
	char socket[96];
	char vm[64];
	uint8_t uuid[16];
	pid_t guest;
};

/* A session that runs, and what it said. */
struct run {
	pid_t pid;
	int control, output;
	char lines[65536], text[16384];
	size_t lines_length, text_length;
	json_t *events;
	long rss_kib; /* the most that was seen of the session's memory */
};

/* OWNER: the text of guest.yaml. */
void session_world_init(struct world *world, const char *owner);
void session_stop_guest(struct world *world);
void session_world_deinit(struct world *world);
/* A channel with purpose session, handshake done. */
int session_dial(struct world *world, json_t **ret_welcome);

json_t *session_base64(const void *data, size_t length);
/* What the agent would send as the first line; the caller may change it before it is sent. Takes WELCOME. */
json_t *session_config(struct world *world, const char *executable, const char *helpers, json_t *welcome);
/* Starts a session with CHANNEL, RAM (or -1) and CONFIG, all of which it takes. */
void session_run(struct run *run, int channel, int ram, json_t *config);
json_t *session_event(const struct run *run, const char *event);
/* Reads what comes until there is EVENT (NULL: until the session's end). */
void session_wait(struct run *run, const char *event);
/* Waits for the end; what was said is there to be looked at. Returns the session's wait status. */
int session_finish(struct run *run);
void session_run_deinit(struct run *run);
int64_t session_number(const json_t *object, const char *key);
const char *session_word(const json_t *object, const char *key);
