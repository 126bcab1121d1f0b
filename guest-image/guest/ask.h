/*
 * What a connection's process asks the server process, on a SOCK_SEQPACKET pair, one question and one answer
 * at a time. The server never waits for a child; a child waits at most YGR_ASK_TIMEOUT_MS.
 */
#pragma once

#include <stdint.h>

#include "lib/wire/message.h"

#define YGR_ASK_TIMEOUT_MS 5000

enum ygr_ask_what {
	YGR_ASK_AUTHENTICATED = 1, /* number: enum ygr_purpose. The connection is no stranger any more. */
	YGR_ASK_SESSION,           /* id: may it begin? -EMFILE: as many as allowed are running */
	YGR_ASK_KEEP,              /* id, handle, a descriptor, number: bytes; see ygr_custody_keep() */
	YGR_ASK_FORGET,            /* id, handle; see ygr_custody_forget() */
	YGR_ASK_RELEASE,           /* id; see ygr_custody_release() */
};

struct ygr_ask {
	uint32_t what;   /* enum ygr_ask_what */
	uint32_t handle; /* KEEP, FORGET */
	uint64_t number;
	uint8_t id[16];
};

struct ygr_answer {
	int32_t status; /* 0 or negative errno */
};

/* Asks, with PASS_FD (or -1) along: the answer's status, or -EPIPE when the server is gone. */
int ygr_ask(int fd, const struct ygr_ask *ask, int pass_fd);

/* Server: takes one question without waiting; 1, 0 (none), or -EPIPE. *ret_fd: what came along, or -1. */
int ygr_ask_receive(int fd, struct ygr_ask *ret_ask, int *ret_fd);
void ygr_ask_answer(int fd, int status);
