/* One connection, in a process of its own from its first byte on: handshake, then what its purpose is. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "guest-image/guest/config.h"
#include "guest-image/guest/welcome.h"

#define YGR_HANDSHAKE_MS 5000

struct ygr_guest_setup {
	const struct ygr_guest_config *config;
	const struct ygr_guest_facts *facts;
	uint8_t root[32];
	uint8_t boot_id[16];
	uint8_t vm[16];
	const char *state; /* where policies are kept */
	bool has_vm;       /* the firmware tells the VM's UUID */
};

/*
 * Serves FD until it ends, asking SERVER_FD (ask.h): the exit status of the process. QUIET: strangers who
 * are turned away are not worth a line any more.
 */
int ygr_guest_connection_run(int fd, int server_fd, const struct ygr_guest_setup *setup, bool quiet);
