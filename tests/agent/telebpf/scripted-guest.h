/*
 * A guest at the end of a UNIX socket that plays a script: one act for each connection, the last one for all
 * that follow. For tests of the agent's half; it listens in a thread, one connection after the other.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "lib/wire/message.h"

enum guest_act {
	GUEST_SERVE,        /* answers PING and RELEASE, or OPEN */
	GUEST_MUTE,         /* answers nothing after WELCOME */
	GUEST_CLOSE,        /* closes after WELCOME */
	GUEST_GARBAGE,      /* no frames after WELCOME */
	GUEST_OVERSIZED,    /* a frame beyond the bound of a control connection */
	GUEST_CHATTER,      /* frames that nobody asked for, and then serves */
	GUEST_OTHER_ROOT,   /* does not know the node */
	GUEST_OTHER_VM,     /* is another VM */
	GUEST_WELCOME,      /* says guest.welcome and closes; no check of the node */
	GUEST_BIG_WELCOME,  /* ten MiB */
	GUEST_BAD_TEXT,     /* REFUSED with bytes that are no text */
	GUEST_NO_CHALLENGE, /* REFUSED with no text at all, in place of CHALLENGE */
};

struct guest {
	char address[96]; /* "unix:..." */
	uint8_t root[32], vm[16];
	const enum guest_act *acts; /* COUNT of them */
	unsigned count;
	const char *welcome;
	int listener;
	pthread_t thread;
	_Atomic int connection; /* under way, -1 */
	atomic_bool stopping;
	atomic_uint accepted, pings, released; /* seen */
	_Atomic uint16_t first;                /* type of the first message after the handshake */
};

/* Listens at PATH. */
void guest_start(struct guest *guest, const char *path, const uint8_t root[32], const uint8_t vm[16],
		 const enum guest_act *acts, unsigned count);
void guest_stop(struct guest *guest);
