/*
 * TeleBPF as the agent sees it: links to guests (one authenticated control connection each, kept alive) and
 * applications that run against them (one yagura-session process each). All functions and callbacks are on
 * the loop thread; what blocks (dialling, handshakes, hashing) is done on libuv's workers.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "agent/events/bus.h"
#include "lib/base/error.h"
#include "lib/wire/keys.h"
#include "lib/wire/message.h"

struct ygr_telebpf;
struct ygr_catalogue;
struct ygr_link;
struct ygr_application;

#define YGR_PING_MS 5000

struct ygr_telebpf_options {
	uv_loop_t *loop;
	struct ygr_bus *bus;
	const char *node;                      /* name of this node, for events */
	const struct ygr_identity *identity;   /* borrowed, outlives the room */
	const struct ygr_catalogue *catalogue; /* borrowed, outlives the room */
	const char *hvsock_root;               /* hybrid sockets only beneath it, NULL: none */
	const char *session_program;           /* yagura-session */
	const char *shim;                      /* libyagura-shim.so */
	uid_t uid_base;                        /* applications get uids [uid_base, uid_base + uid_count) */
	uint32_t uid_count;
	bool allow_shared; /* the administrator's word for delivery Shared */
	uint32_t ping_ms;  /* between the PINGs of a link; 0: YGR_PING_MS */
};

/* Strings are copied. -ENOMEM. */
int ygr_telebpf_new(const struct ygr_telebpf_options *options, struct ygr_telebpf **ret);
/*
 * Everything must have been closed before; what closing left to the loop may still be under way, and the bus,
 * the catalogue and the identity stay until the loop has run out. NULL is allowed.
 */
struct ygr_telebpf *ygr_telebpf_free(struct ygr_telebpf *telebpf);

/* Links. */

enum ygr_link_state {
	YGR_LINK_NONE,
	YGR_LINK_CONNECTING,
	YGR_LINK_CONNECTED,
	YGR_LINK_LOST,
	YGR_LINK_REFUSED
};

/* "None", "Connecting", "Connected", "Lost", "Refused": channel.state of VMGuest. */
const char *ygr_link_state_word(enum ygr_link_state state);

/* A guest, as far as this room needs to know it. Strings are copied. */
struct ygr_link_target {
	const char *uuid, *namespace_, *name;
	const char *address; /* as for ygr_transport_dial() */
};

/*
 * Keeps a control connection to a guest: dials with backoff (0.5 s to 15 s), tells the guest to release what
 * earlier agents left, pings every 5 s (ping_ms). CHANGED is called after every change of state, never from within
 * open or close.
 */
int ygr_link_open(struct ygr_telebpf *telebpf, const struct ygr_link_target *target,
		  void (*changed)(void *user, struct ygr_link *link), void *user, struct ygr_link **ret);
/* No callback comes any more; applications on it must have been closed. NULL is allowed. */
struct ygr_link *ygr_link_close(struct ygr_link *link);
/* Something happened to the VM (reset, resumed): look now instead of after the backoff. */
void ygr_link_kick(struct ygr_link *link);

enum ygr_link_state ygr_link_state(const struct ygr_link *link);
/* Why it is not connected: CamelCase reason and sentence, or NULL. */
const char *ygr_link_reason(const struct ygr_link *link);
const char *ygr_link_message(const struct ygr_link *link);
/* The guest's WELCOME (docs/protocol.md) of the current connection, or NULL; borrowed. */
const json_t *ygr_link_welcome(const struct ygr_link *link);

/* Applications. */

/* As in ygr_ram_region of the inventory. */
/*
 * How a session learns that a ring has new records: "Adaptive" looks at the producer position, often while
 * records come and ever less when they do not; "Notify" sleeps until the guest says so, which costs one way
 * through the channel for each burst and next to no processor time. NULL-terminated; the first is the default.
 */
extern const char *const ygr_wake_words[];

struct ygr_application_ram {
	uint64_t gpa, size, offset;
};

struct ygr_application_options {
	struct ygr_link *link;  /* must be connected */
	const char *monitor;    /* "namespace/name", or "run/ID" for an ad-hoc run */
	const char *namespace_; /* of the monitor and the VM */
	const char *monitor_name;
	const char *app;     /* name of the application in its monitor */
	const char *program; /* name in the catalogue, or an absolute path when adhoc */
	bool adhoc;
	char *const *args;    /* without argv[0], NULL-terminated */
	const char *delivery; /* "Auto", "Copied", "Stream", "Shared" */
	const char
	    *wake;       /* of ygr_wake_words; NULL: the catalogue's, for an ad-hoc run the first. Static. */
	uint64_t memory; /* bytes */
	uint32_t cpu_milli;
	uint32_t events_per_second;
	bool trace, explain;
	int ram_fd; /* guest RAM, read-only; ownership is taken; -1: none */
	const struct ygr_application_ram *ram;
	uint32_t ram_count;
};

enum ygr_application_state {
	YGR_APPLICATION_STARTING,
	YGR_APPLICATION_RUNNING, /* a program of its is attached, or it wants none: session.md */
	YGR_APPLICATION_ENDED
};

struct ygr_application_handlers {
	/* State or counters changed. After ENDED (exactly once, last) close it. */
	void (*changed)(void *user, struct ygr_application *application);
	/*
	 * Raw output instead of events: for ad-hoc runs. NULL: lines become events. WHICH is "stdout",
	 * "stderr", "trace" or "explain". Returns false to stop reading until ygr_application_resume().
	 */
	bool (*output)(void *user, const char *which, const char *data, size_t len);
	void *user;
};

/*
 * Starts it. Errors at once: -ENOENT (not in the catalogue), -EPERM (arguments, delivery), with a sentence;
 * what fails later is told by ENDED with a reason. Nothing is called back from within.
 */
int ygr_application_start(struct ygr_telebpf *telebpf, const struct ygr_application_options *options,
			  const struct ygr_application_handlers *handlers, struct ygr_application **ret,
			  struct ygr_error *error);
/* SIGINT to the application, SIGKILL 2 s later; ENDED follows. */
void ygr_application_stop(struct ygr_application *application);
int ygr_application_signal(struct ygr_application *application, int signal_number);
void ygr_application_resume(struct ygr_application *application);
/* Frees it; kills what still runs, and calls nothing back any more. NULL is allowed. */
struct ygr_application *ygr_application_close(struct ygr_application *application);

struct ygr_application_counters {
	uint64_t lines;         /* published as events */
	uint64_t lines_dropped; /* above eventsPerSecond */
	uint64_t lines_cut;     /* longer than 8 KiB */
	uint64_t calls, refused, ring_records, ring_bytes, ring_dropped, ring_invalid;
};

enum ygr_application_state ygr_application_state(const struct ygr_application *application);
/* Of the failure, or NULL when it ended by itself or still runs. */
const char *ygr_application_reason(const struct ygr_application *application);
const char *ygr_application_message(const struct ygr_application *application);
/* After ENDED: exit code (0 to 255), or 128 + signal; -1 when it never ran. */
int ygr_application_exit_status(const struct ygr_application *application);
/* In effect: "Copied", "Stream", "Shared", or NULL before its executable does. */
const char *ygr_application_delivery(const struct ygr_application *application);
/* "Rewrite" or "Dispatch", or NULL. */
const char *ygr_application_mechanism(const struct ygr_application *application);
const struct ygr_application_counters *ygr_application_counters(const struct ygr_application *application);
/* Realtime of the last event, ns since the epoch, 0: none. */
int64_t ygr_application_last_event(const struct ygr_application *application);
