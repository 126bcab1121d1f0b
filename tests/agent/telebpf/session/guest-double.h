/*
 * A guest whose RAM is a memory file of ours. It stands between a session and a real yagura-guest, forwards
 * everything, and keeps only the rings to itself: their pages are scattered over the file, and their records
 * are made here, so that a test decides what they say.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/wire/message.h"

#define DOUBLE_RINGS 16
#define DOUBLE_GPA   0x100000u
#define DOUBLE_RAM   (4u << 20)

struct double_ring {
	uint32_t handle;
	enum ygr_ring_kind kind;
	uint64_t size, producer, consumer;
	uint64_t next; /* number of the next record, which is its content */
	uint8_t *view; /* producer or control page, data */
	bool stream;
};

struct guest_double {
	pthread_t thread;
	int session, guest; /* sockets */
	int ram;
	bool lie; /* the length of a record is rewritten after it was published */
	struct double_ring rings[DOUBLE_RINGS];
	unsigned count;
	uint32_t next_page;
	atomic_uint opened, streams, closed, wrong;
	atomic_bool ended; /* the session's end of the channel is closed */
};

/* Takes GUEST, a channel; what a session shall have as its channel comes back in *ret_channel. */
void double_start(struct guest_double *double_, int guest, bool lie, int *ret_channel);
/* A descriptor for the session: of the file, for reading only. SEALED: as QEMU makes it. */
int double_ram(struct guest_double *double_, bool sealed);
/* The guest is gone from one moment to the next. */
void double_cut(struct guest_double *double_);
void double_stop(struct guest_double *double_);
