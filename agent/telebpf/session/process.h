/*
 * One process of the application, as its socket: frames in, each perhaps with a descriptor, and frames out.
 * Nothing that comes is believed; what a process can make the session hold is bounded here.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/telebpf/local.h"
#include "lib/base/buf.h"
#include "lib/wire/frame.h"

#define YGR_PROCESS_PENDING 16          /* questions under way */
#define YGR_PROCESS_FDS     4           /* received and not yet claimed by a frame */
#define YGR_PROCESS_BACKLOG (64u << 20) /* answers not yet read */
#define YGR_PROCESS_PAUSE   (1u << 20)  /* no more questions are read above this */

struct ygr_outgoing;

struct ygr_process {
	int fd;
	unsigned index; /* bit of ygr_entry.holders */
	uint32_t pending;
	bool closed; /* at its end; freed when nothing is pending */
	bool held;   /* its next frame waits for the channel: nothing is read meanwhile */
	struct ygr_buf in;
	int fds[YGR_PROCESS_FDS];
	unsigned fd_count;
	struct ygr_outgoing *out, **out_tail;
	uint64_t out_bytes;
};

/* Takes ownership of FD. NULL: out of memory. */
struct ygr_process *ygr_process_new(int fd, unsigned index);
struct ygr_process *ygr_process_free(struct ygr_process *process);

/* Reads what is there (once): 0, -EAGAIN, -EPIPE at the end, -EPROTO (too many descriptors), -ENOMEM. */
int ygr_process_read(struct ygr_process *process);
/*
 * The next whole frame, valid until ygr_process_next_done(): its size, 0 when there is none yet, or an error
 * of ygr_frame_parse().
 */
int64_t ygr_process_next(struct ygr_process *process, struct ygr_frame *ret_frame);
void ygr_process_next_done(struct ygr_process *process, int64_t size);
/* The oldest descriptor that came, now the caller's; -1 when there is none. */
int ygr_process_take_fd(struct ygr_process *process);

/* Whether another question may be read now. */
bool ygr_process_may_ask(const struct ygr_process *process);

/*
 * Sends a frame, with FD unless it is negative (a duplicate is kept until it is sent). -EPIPE, -ENOMEM,
 * -EMSGSIZE beyond YGR_PROCESS_BACKLOG: the process does not read.
 */
int ygr_process_send(struct ygr_process *process, uint16_t type, uint32_t id, const void *payload,
		     uint32_t length, int fd);
bool ygr_process_waiting(const struct ygr_process *process);
/* Bytes held for it: questions not yet handled and answers not yet read. */
uint64_t ygr_process_memory(const struct ygr_process *process);
int ygr_process_flush(struct ygr_process *process);
