/*
 * One session connection, served by a process of its own with one epoll loop: requests of the node on one
 * side, rings of this kernel on the other. The process ends with the connection; what the node may still
 * have mapped is in the server's custody.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "guest-image/guest/config.h"
#include "guest-image/guest/handles.h"
#include "guest-image/guest/link.h"
#include "guest-image/guest/names.h"
#include "guest-image/guest/ring.h"
#include "lib/base/error.h"
#include "lib/wire/grant.h"

#define YGR_GUEST_RINGS_MAX   256 /* of one session */
#define YGR_GUEST_REGIONS_MAX 256

/* A piece of an mmapable array that the node keeps in step. */
struct ygr_guest_region {
	uint32_t handle; /* as it was called when it was opened */
	int fd;          /* duplicate */
	uint64_t offset; /* whole pages */
	uint64_t length;
	uint8_t *map; /* read-only: a writable mapping would forbid MAP_FREEZE */
};

struct ygr_guest_session {
	struct ygr_guest_link link;
	int epoll_fd, timer_fd;
	int server_fd; /* ask.h */
	const struct ygr_guest_config *config;
	const uint8_t *root;
	char vm[64]; /* this machine's uuid, "" when it has none */

	bool open; /* OPEN was accepted */
	uint8_t id[16];
	struct ygr_grant *grant;
	uint64_t memory; /* bound of handles.charged + ring_bytes */

	struct ygr_guest_handles handles;
	struct ygr_guest_names names;
	struct ygr_guest_ring rings[YGR_GUEST_RINGS_MAX];
	unsigned ring_count;
	uint64_t ring_bytes; /* perf rings: made by mapping them */
	struct ygr_guest_region regions[YGR_GUEST_REGIONS_MAX];
	unsigned region_count;
};

/*
 * Serves FD (authenticated, purpose session) until it ends. Returns 0 when the peer closed it, or why this
 * side ended it, with a sentence. The caller exits then: descriptors are left to the exit.
 */
int ygr_guest_session_run(int fd, int server_fd, const struct ygr_guest_config *config,
			  const uint8_t root[32], struct ygr_error *error);

/* The parts below are for the files that share this structure, and for the fuzz target. */

int ygr_guest_session_init(struct ygr_guest_session *session, int fd, int server_fd,
			   const struct ygr_guest_config *config, const uint8_t root[32]);
void ygr_guest_session_deinit(struct ygr_guest_session *session);

/* Handles one frame: 0, or the reason to end the connection. */
int ygr_guest_session_frame(struct ygr_guest_session *session, const struct ygr_frame *frame,
			    struct ygr_error *error);

/* Sends a REFUSED notice with ERROR's sentence. */
int ygr_guest_session_notice(struct ygr_guest_session *session, const struct ygr_error *error);
/* Answers with struct ygr_status VALUE and LEN bytes. */
int ygr_guest_session_status(struct ygr_guest_session *session, uint16_t type, uint32_t id, int64_t value,
			     const void *bytes, size_t len);

/* Message handlers: 0, or the reason to end the connection. */
int ygr_guest_open(struct ygr_guest_session *session, const struct ygr_frame *frame,
		   struct ygr_error *error);
int ygr_guest_call(struct ygr_guest_session *session, const struct ygr_frame *frame,
		   struct ygr_error *error);
int ygr_guest_rings(struct ygr_guest_session *session, const struct ygr_frame *frame,
		    struct ygr_error *error);
int ygr_guest_memory(struct ygr_guest_session *session, const struct ygr_frame *frame,
		     struct ygr_error *error);
int ygr_guest_files(struct ygr_guest_session *session, const struct ygr_frame *frame,
		    struct ygr_error *error);
int ygr_guest_route(struct ygr_guest_session *session, const struct ygr_frame *frame);

/* Sends what armed rings have owed, and records of those that stream, as far as there is room. */
int ygr_guest_rings_service(struct ygr_guest_session *session);
/* Is any ring waiting for records? Then the fallback timer runs. */
bool ygr_guest_rings_waiting(const struct ygr_guest_session *session);
/* RING_CLOSE names a ring or a region. */
void ygr_guest_regions_close(struct ygr_guest_session *session, uint32_t handle);
void ygr_guest_rings_deinit(struct ygr_guest_session *session);
void ygr_guest_regions_deinit(struct ygr_guest_session *session);
/* Puts LENGTH bytes of what is behind FD and called HANDLE into the server's custody, or takes it out again.
 */
int ygr_guest_session_keep(struct ygr_guest_session *session, uint32_t handle, int fd, uint64_t length);
void ygr_guest_session_forget(struct ygr_guest_session *session, uint32_t handle);
