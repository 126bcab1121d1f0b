/*
 * Reaching a guest. Addresses: "vsock:CID:PORT" (AF_VSOCK through vhost_vsock) and "hvsock:PATH:PORT" (a
 * user-space vsock device: connect to the UNIX socket, say "CONNECT PORT\n", read "OK n\n"); for tests
 * "unix:PATH". A hybrid socket is opened only beneath a directory that the administrator named.
 */
#pragma once

#include <stdint.h>

#include "lib/base/error.h"
#include "lib/wire/frame.h"

/*
 * Connects, blocking up to TIMEOUT_MS. HVSOCK_ROOT: the directory beneath which a hybrid path must lie after
 * resolving (openat2 RESOLVE_BENEATH), NULL to refuse hybrid addresses. Returns a descriptor (CLOEXEC) through
 * ret_fd. Errors: -EINVAL (address), -EACCES (outside the root), -ECONNREFUSED (nobody listens in the guest),
 * -EHOSTDOWN (the user-space vsock device is gone: message says ChannelLost and the remedy), -ETIMEDOUT.
 */
int ygr_transport_dial(const char *address, const char *hvsock_root, int timeout_ms, int *ret_fd,
		       struct ygr_error *error);

/*
 * Whole-frame blocking I/O with a deadline, for handshakes and simple clients. TIMEOUT_MS is for the whole frame,
 * negative for none. Stream sockets only, blocking or not. Errors: -ETIMEDOUT, -ECONNRESET (the peer is gone,
 * also at the end between two frames), -EMSGSIZE, and what the system calls say.
 */
int ygr_frame_send(int fd, uint16_t type, uint32_t id, const void *payload, uint32_t length, int timeout_ms);

/*
 * Receives one frame of at most MAX payload bytes into *ret_payload (malloc, NUL-terminated, caller frees).
 * Further errors: as ygr_frame_parse(), -ENOMEM.
 */
int ygr_frame_receive(int fd, uint32_t max, int timeout_ms, struct ygr_frame *ret_frame,
		      uint8_t **ret_payload);
