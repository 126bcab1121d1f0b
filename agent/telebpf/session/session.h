/*
 * The parts of yagura-session that its files share; nothing outside the program includes this. One thread,
 * one epoll loop. The session ends when the application has ended, and the application ends when anything
 * that it depends on does: ygr_session_fail() says why, kills it, and the loop goes on until it is gone.
 *
 *   session.c    start, loop, end          local.c    what a process of the application asks
 *   forward.c    calls to the guest        mapping.c  LOCAL_MAP: rings and arrays come to be
 *   delivery.c   ring data                 sync.c     arrays in step
 *   sharing.c    guest pages in the application (Shared)
 *   route.c      netlink sockets
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/telebpf/session/array.h"
#include "agent/telebpf/channel.h"
#include "agent/telebpf/confine/confine.h"
#include "agent/telebpf/guestfs/guestfs.h"
#include "agent/telebpf/session/clock.h"
#include "agent/telebpf/session/loop.h"
#include "agent/telebpf/session/memory.h"
#include "agent/telebpf/session/object.h"
#include "agent/telebpf/session/process.h"
#include "agent/telebpf/session/report.h"
#include "agent/telebpf/session/ring.h"
#include "agent/telebpf/session/config.h"
#include "agent/telebpf/session/tracer.h"
#include "lib/base/buf.h"
#include "lib/wire/call.h"
#include "lib/wire/grant.h"

#define YGR_SESSION_PROCESSES 64           /* bits of ygr_entry.holders */
#define YGR_SESSION_REFUSALS  16           /* different sentences about refused calls that are reported */
#define YGR_SESSION_MEMORY    (512u << 20) /* private rings and arrays of one application */
#define YGR_SESSION_FRAMES    (160u << 20) /* frames of all processes of one application, in and out */

struct ygr_route;
struct ygr_session;
struct ygr_sharing;

struct ygr_local { /* a process and its watch */
	struct ygr_session *session;
	struct ygr_process *process;
	struct ygr_watch watch;
};

struct ygr_session {
	struct ygr_session_config config;
	struct ygr_loop loop;
	struct ygr_report report;
	struct ygr_grant *grant;
	struct ygr_channel *channel;
	struct ygr_guestfs *guestfs;
	struct ygr_confined *confined;
	struct ygr_clock_offset clock; /* of the guest */
	struct ygr_ram *ram;           /* NULL: Stream only */
	struct ygr_tracer *tracer;     /* Shared only */
	const char *not_shared;        /* why Shared was asked for and is not done; NULL */
	struct ygr_sharing *sharings;  /* mappings that wait until the application is held */
	struct ygr_route *routes;      /* netlink sockets of the application */
	unsigned route_count;
	struct ygr_buf control_in;
	struct ygr_watch control, channel_watch, fuse, status, pidfd, traced;

	struct ygr_local *locals[YGR_SESSION_PROCESSES];
	bool greeted;       /* a LOCAL_HELLO came */
	uint16_t mechanism; /* enum ygr_local_mechanism, 0: none */
	uint16_t entrance;  /* enum ygr_local_entrance */
	bool mounted;       /* the guest's files are (fuse is watched), or cannot be any more */
	bool running;       /* the confinement says that the application runs */
	bool started;       /* reported */
	bool attached;      /* a program of its has been attached in the guest */
	bool working;       /* "running" was reported */
	bool killed;
	bool done;  /* leave the loop */
	bool again; /* a process has frames that wait for their turn */
	bool idle;  /* a process is about to wait */
	int wait_status;

	struct ygr_objects objects;
	uint64_t memory; /* bytes of rings and arrays */
	uint8_t *arena;  /* YGR_SESSION_ARENA, for decoding one call */

	uint64_t nap_min; /* ns, see delivery.c */
	int64_t nap;      /* ns that the loop may sleep before rings are polled again; -1: they are not */

	/* Monotonic ns; 0: not set. */
	uint64_t progress_at;   /* when a record came from guest pages */
	uint64_t pressure_at;   /* look at full rings again */
	uint64_t pressure_wait; /* and how long after that */
	uint64_t arm_at;        /* the next ring that waits to be armed again */
	uint64_t counters_at;
	uint64_t kill_at;
	uint64_t hold_until;  /* the application is being held, at most till then */
	uint64_t hold_at;     /* it was let go for a moment: hold it again then */
	uint64_t greet_until; /* report the start without a shim's hello */
	uint64_t start_until; /* for the application to run */
	uint64_t quiet_at;    /* nothing asked of the guest until then: it has all it wants */

	struct ygr_counters counters, reported;
	uint32_t refusals;
	uint64_t refusal_hashes[YGR_SESSION_REFUSALS];
	uint64_t calls[64];                         /* bpf commands; explain */
	uint64_t perf_events, ioctls, reads, opens; /* the same, of other calls */
	uint64_t greetings;                         /* processes and programs that said hello */
	uint64_t deliveries[3];                     /* rings opened so */
};

/* As ygr_call_decoded_size() at most, and reserved only: pages come when they are touched. */
#define YGR_SESSION_ARENA (3ull * YGR_FRAME_MAX + (1u << 20))

uint64_t ygr_session_now(void);
/* Reports the error (the first time) and kills the application. */
void ygr_session_fail(struct ygr_session *session, const char *reason, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The channel's events may have changed. */
void ygr_session_channel_changed(struct ygr_session *session);

/* local.c */
int ygr_local_add(struct ygr_session *session, int fd, struct ygr_local **ret);
void ygr_local_free_all(struct ygr_session *session);
/* Closes those whose end was seen, once nothing of theirs is under way. */
void ygr_local_reap(struct ygr_session *session);
/* Goes on with processes that were held back, after the channel has taken something. */
void ygr_local_resume(struct ygr_session *session);
/* Answers; a process that cannot be answered ends the application. */
void ygr_local_answer(struct ygr_local *local, uint16_t type, uint32_t id, const void *payload,
		      uint32_t length, int fd);
void ygr_local_done(struct ygr_local *local, uint32_t id, int64_t value, int fd);

/* forward.c: 0; -EAGAIN: later, with the same frame; -EPROTO: the process broke the protocol. */
int ygr_forward_call(struct ygr_local *local, const struct ygr_frame *frame);
int ygr_forward_read(struct ygr_local *local, const struct ygr_frame *frame);
int ygr_forward_open(struct ygr_local *local, const struct ygr_frame *frame);

/* refusal.c: MESSAGE is a sentence of the guest, or of the grant here. */
void ygr_refused_by_owner(struct ygr_session *session, const char *message);
void ygr_refused_by_catalogue(struct ygr_session *session, const char *message);

/* progress.c */
/* The application has asked the guest for something. */
void ygr_progress_asked(struct ygr_session *session);
/* Tells the agent that it runs, if it does; OWED: the guest has yet to answer for a file. */
void ygr_progress_tick(struct ygr_session *session, uint64_t now, bool owed);

/* mapping.c */
int ygr_mapping_map(struct ygr_local *local, const struct ygr_frame *frame);
int ygr_mapping_unmap(struct ygr_local *local, const struct ygr_frame *frame);
int ygr_mapping_close(struct ygr_local *local, const struct ygr_frame *frame);
/* Process INDEX has ended: what only it held is closed. */
void ygr_mapping_forget_process(struct ygr_session *session, unsigned index);
/* CHILD gets what PARENT holds. */
void ygr_mapping_inherit(struct ygr_session *session, unsigned parent, unsigned child);
/* Closes and frees ENTRY if nobody holds or maps it. */
void ygr_mapping_release(struct ygr_session *session, struct ygr_entry *entry);
void ygr_mapping_free_all(struct ygr_session *session);
/* The application is gone, and with it its mappings: the guest may have all pages back. */
void ygr_mapping_close_rings(struct ygr_session *session);
/* Maps what is there, or answers why not. */
void ygr_mapping_now(struct ygr_local *local, uint32_t id, struct ygr_entry *entry,
		     const struct ygr_local_map *map);
/* Answers LOCAL_MAP: the pieces for the shim; or a negative errno. */
void ygr_mapping_mapped(struct ygr_local *local, uint32_t id, struct ygr_entry *entry,
			const struct ygr_local_mapped *mapped);
void ygr_mapping_refuse(struct ygr_local *local, uint32_t id, int status);

/* sharing.c */
/* Traces the application that was just confined; where that cannot be done, Copied it is. */
void ygr_sharing_prepare(struct ygr_session *session);
/* Why guest pages cannot be shared on this node with this RAM file, or NULL. */
const char *ygr_sharing_obstacle(const struct ygr_ram *ram);
/* Answers as ygr_mapping_now() when the application is held; -ENOMEM. */
int ygr_sharing_start(struct ygr_local *local, uint32_t id, struct ygr_entry *entry,
		      const struct ygr_local_map *map);
/* Goes on with what was started, if the application is held or its time is over. */
void ygr_sharing_check(struct ygr_session *session);
void ygr_sharing_free_all(struct ygr_session *session);

/* explain.c: "Rewrite", "Dispatch", "None"; "Preloaded", "Loaded", "None"; the report at the end */
const char *ygr_explain_mechanism(const struct ygr_session *session);
const char *ygr_explain_entrance(const struct ygr_session *session);
void ygr_explain(struct ygr_session *session);

/* delivery.c */
void ygr_delivery_message(struct ygr_session *session,
			  const struct ygr_frame *frame); /* RING_READY, RING_RECORDS */
void ygr_delivery_idle(struct ygr_session *session);      /* LOCAL_IDLE */
/*
 * Once in each round of the loop: looks at the rings when it is time, and arms those that are quiet. Returns
 * for how many ns the loop may sleep before it is called again, -1 for as long as nothing happens.
 */
int64_t ygr_delivery_poll(struct ygr_session *session);

/* sync.c */
int ygr_sync_start(struct ygr_local *local, const struct ygr_frame *frame);
/* Arrays with mapped pages, before ring data is published. */
void ygr_sync_pull_mapped(struct ygr_session *session);
/* Brings the whole ARRAY from the guest by MEM_READ, then calls DONE with 0 or negative errno. */
int ygr_sync_fill(struct ygr_session *session, struct ygr_array *array, void (*done)(void *user, int result),
		  void *user);

/* route.c: LOCAL_ROUTE, and the end of all such sockets; before the channel ends, which ends those that ask. */
int ygr_route_open(struct ygr_local *local, const struct ygr_frame *frame);
void ygr_route_free_all(struct ygr_session *session);
