/*
 * The session's epoll loop: watches that call back, and nothing more. A watch may be removed at any time,
 * also from a callback of the same round.
 */
#pragma once

#include <stdint.h>

struct ygr_watch {
	int fd; /* -1: not watched */
	uint32_t events;
	void (*ready)(void *user, uint32_t events);
	void *user;
};

#define YGR_LOOP_BATCH 32

struct ygr_loop {
	int epoll;
	struct ygr_watch *batch[YGR_LOOP_BATCH]; /* of the round under way; removed ones become NULL */
	int count;
};

/* -errno of epoll_create1. */
int ygr_loop_init(struct ygr_loop *loop);
void ygr_loop_deinit(struct ygr_loop *loop);

/* WATCH must stay where it is until it is removed; its fd is borrowed. */
int ygr_loop_add(struct ygr_loop *loop, struct ygr_watch *watch, int fd, uint32_t events,
		 void (*ready)(void *user, uint32_t events), void *user);
/* Nothing happens when EVENTS are what is watched for already. */
int ygr_loop_modify(struct ygr_loop *loop, struct ygr_watch *watch, uint32_t events);
void ygr_loop_remove(struct ygr_loop *loop, struct ygr_watch *watch);

/* One round: waits up to TIMEOUT_NS (0: looks only, -1: for ever) and calls back. The number of events,
 * -errno. */
int ygr_loop_round(struct ygr_loop *loop, int64_t timeout_ns);
