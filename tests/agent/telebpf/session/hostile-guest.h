/*
 * A guest that lies: everything goes through a thread between the session and a real guest, which hands on
 * what both say until its script wants something else. So an application gets as far as it must before the
 * lie comes.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/wire/frame.h"

struct liar;

/* What becomes of a frame: handed on as it is, or not (LIE has sent what it wanted, or nothing). */
enum liar_verdict { LIAR_PASS, LIAR_DROP };

/* A frame that the guest sends (or the session, when ASKED); its payload may be changed within its length. */
typedef enum liar_verdict (*liar_script)(struct liar *liar, struct ygr_frame *frame, uint8_t *payload,
					 bool asked);

struct liar {
	int guest, session; /* the real guest; our end towards the session */
	liar_script script;
	void *user;
	int variant;    /* which of the script's lies */
	unsigned seen;  /* for the script */
	uint16_t asked; /* type of the session's last question with an id */
	pthread_t thread;
};

/* Takes GUEST (handshake done). Returns the end for the session. */
int liar_start(struct liar *liar, int guest, liar_script script, void *user, int variant);
void liar_stop(struct liar *liar);

/* Sends to the session. */
void liar_say(struct liar *liar, uint16_t type, uint32_t id, const void *payload, uint32_t length);
/* Sends bytes that are perhaps no frame. */
void liar_raw(struct liar *liar, const void *bytes, uint32_t length);
