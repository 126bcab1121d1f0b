/*
 * The server process: listens, gives each connection a process of its own, counts and reaps them, and holds
 * what outlives a session (custody.h). It reads nothing that a peer sends.
 */
#pragma once

#include "guest-image/guest/connection.h"
#include "lib/base/error.h"

/* Connections whose peer has not proved who it is, at a time. */
#define YGR_STRANGERS_MAX 8
/* A stranger that is older makes room for a new one when there are too many. */
#define YGR_STRANGER_PATIENCE_MS 500
/* Control connections at a time, beside sessions. */
#define YGR_CONTROLS_MAX 16

/*
 * Listens at ADDRESS, "vsock:PORT" (only the host may connect) or "unix:PATH" (root only; PATH is replaced):
 * 0 with a descriptor in ret_fd.
 */
int ygr_guest_listen(const char *address, int *ret_fd, struct ygr_error *error);

/* Serves LISTEN_FD until SIGTERM or SIGINT: 0, or negative errno. */
int ygr_guest_serve(int listen_fd, const struct ygr_guest_setup *setup, struct ygr_error *error);
