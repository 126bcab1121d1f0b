/*
 * Until when each connection of a libmicrohttpd daemon must have got somewhere. Its own limit is one of silence, which a
 * byte now and then keeps off. Thread-safe.
 */
#pragma once

#include <microhttpd.h>
#include <pthread.h>
#include <stdint.h>

struct ygr_deadline;

struct ygr_deadlines {
	pthread_mutex_t lock;
	struct ygr_deadline *list;
	int first_seconds;
};

/* FIRST_SECONDS: what a new connection has. */
void ygr_deadlines_init(struct ygr_deadlines *deadlines, int first_seconds);
/* After the daemons are stopped. */
void ygr_deadlines_deinit(struct ygr_deadlines *deadlines);

/* For MHD_OPTION_NOTIFY_CONNECTION, with the deadlines as USER. */
void ygr_deadlines_notify(void *user, struct MHD_Connection *mhd, void **state,
			  enum MHD_ConnectionNotificationCode what);
/* MHD's connection has SECONDS from now. */
void ygr_deadlines_allow(struct ygr_deadlines *deadlines, struct MHD_Connection *mhd, int seconds);
/* Shuts down what is late; its daemon then sees the end and closes it. Returns how many. */
unsigned ygr_deadlines_cut(struct ygr_deadlines *deadlines);
