/*
 * A real yagura-guest on a UNIX socket, in mount and network namespaces of its own, and a node's side to
 * drive it with: what the session and the shim do together, without an application.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>
#include <sys/types.h>

#include "lib/wire/call.h"
#include "lib/wire/transport.h"
#include "tests/lib/wire/identity-fixture.h"

#define WAIT_MS 5000

struct guest {
	struct fixture keys;
	char address[128]; /* "unix:PATH" */
	struct ygr_identity *node;
	pid_t pid;
};

/* Starts yagura-guest with this guest.yaml (NULL: none) and waits until it listens. */
void guest_start(struct guest *guest, const char *yaml);
/* Ends it with SIGTERM, expecting a clean exit, and forgets the keys. */
void guest_stop(struct guest *guest);

/* A connection before its handshake. */
int guest_connect(const struct guest *guest);
/* The handshake for PURPOSE as the node: a connection. */
const uint8_t *guest_vm(void);
int guest_dial(const struct guest *guest, enum ygr_purpose purpose);

/* One session as the node sees it. */
struct client {
	int fd;
	uint8_t id[16];
	uint32_t next_id;
	struct {
		uint32_t handle;
		struct ygr_object object;
	} objects[64];
	unsigned object_count;
	char notice[600]; /* the last REFUSED notice */
	uint8_t *last;    /* payload of the last answer */
	struct ygr_frame frame;
};

/* Grant fields (JSON members, without braces) beside program, vm and times. */
#define GRANT_RING                                                                                          \
	"\"programTypes\":[\"raw_tracepoint\",\"tracepoint\"],\"helpers\":[\"ringbuf_output\",\"perf_"      \
	"event_output\"],"                                                                                  \
	"\"attach\":[\"perf:bpf_output\"],\"files\":{\"read\":[\"/proc/version\",\"/sys/kernel/btf/"        \
	"*\"],\"write\":[]}"

/* Dials and opens: 0, or the negative code of the refusal with its sentence in notice. */
int client_open(struct client *client, const struct guest *guest, const char *program, const char *fields);
void client_close(struct client *client);

/* Sends a request and waits for its answer of type ANSWER, remembering notices on the way. */
void client_ask(struct client *client, uint16_t type, const void *payload, size_t len, uint16_t answer);
void client_post(struct client *client, uint16_t type, const void *payload, size_t len);
/* Waits for a frame of TYPE; false after TIMEOUT_MS or when the guest closed. */
bool client_wait(struct client *client, uint16_t type, int timeout_ms);

/* bpf() through the session: result; a new descriptor's handle as a positive number. */
int64_t client_bpf(struct client *client, int cmd, void *attr, uint32_t size);
/* perf_event_open() of a BPF output event on CPU 0, a record for each wake-up: its handle or the error. */
int64_t client_perf_output(struct client *client);
/* A raw tracepoint program that puts its first argument, four times, to the event of its CPU in MAP. */
int64_t client_load_perf_producer(struct client *client, uint32_t map);
/* client_run() on CPU 0. */
int64_t client_run_cpu0(struct client *client, uint32_t prog, uint64_t argument);
int64_t client_map(struct client *client, uint32_t type, uint32_t key, uint32_t value, uint32_t entries,
		   uint32_t flags);
/* A raw tracepoint program that puts its first argument, four times, into the ring buffer map; and a run of
 * it. */
int64_t client_load_producer(struct client *client, uint32_t map);
int64_t client_run(struct client *client, uint32_t prog, uint64_t argument);
/* The kernel's id of a map. */
uint32_t client_map_id(struct client *client, uint32_t map);
/* Is there a map with this id on this machine? */
bool map_exists(uint32_t id);
int map_open(uint32_t id);
