/*
 * A session for tests of the shim: serves the local protocol for one program and its children, with this
 * machine's own kernel in the guest's place. What it forwards is up to a callback; maps and rings are mapped
 * from the real descriptors.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct loopback;

/* What came of one run. */
struct loopback_result {
	int status;    /* of wait(2) */
	char *output;  /* stdout, NUL-terminated; the caller frees */
	int hellos;    /* processes and images that said hello */
	int mechanism; /* of the first */
	int entrance;  /* the same */
	int calls;     /* forwarded */
	int closes;    /* HANDLE_CLOSE */
	int left;      /* handles that the first process had not closed at its end */
	int idles;
	int syncs;
};

/* Performs a CALL and appends the REPLY payload to *ret_reply (malloc): its length. NULL refuses all calls.
 */
struct loopback_handles;
typedef int64_t (*loopback_call_fn)(struct loopback_handles *handles, const uint8_t *payload,
				    uint32_t length, uint8_t **ret_reply);

/* Handles of the loopback "guest": descriptors of this process. */
int loopback_handle_fd(struct loopback_handles *handles, uint32_t handle);
uint32_t loopback_handle_new(struct loopback_handles *handles, int fd);

/* Serves the program at the other end of SOCKET (taken) from a thread; join waits until its processes are
 * gone. */
struct loopback *loopback_start(int socket, loopback_call_fn call, struct loopback_result *result);
void loopback_join(struct loopback *loopback);

/* Runs ARGV (argv[0] a path) under the shim: 0 or -errno. REWRITE false: by dispatch alone. */
int loopback_run(const char *shim, char *const argv[], bool rewrite, loopback_call_fn call,
		 struct loopback_result *ret);
