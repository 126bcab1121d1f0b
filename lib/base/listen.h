/* A listening TCP socket. */
#pragma once

#include "lib/base/error.h"

/*
 * Listens on ADDRESS, "127.0.0.1:9720" or "[::1]:9720"; names are not looked up. The socket does not block and is not
 * inherited; the caller closes it. -EINVAL for what is no such address, or what the kernel says.
 */
int ygr_listen_tcp(const char *address, int *ret_fd, struct ygr_error *error);
