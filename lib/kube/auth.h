/*
 * What a client proves itself with, kept fresh: tokens are read from their file again each minute, credential
 * plugins are run again shortly before what they gave expires, and both after the server said 401. Inside
 * lib/kube.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "lib/kube/config.h"

#define YGR_KUBE_TOKEN_REREAD_MS 60000
#define YGR_KUBE_EXEC_RETRY_MS   5000 /* between two runs of a plugin, however bad its answer */

struct ygr_kube_auth;

/* WAKE is called on the loop when a plugin that auth_ready() started has ended. CONFIG is borrowed. */
int ygr_kube_auth_new(uv_loop_t *loop, const struct ygr_kube_config *config, void (*wake)(void *user),
		      void *user, struct ygr_kube_auth **ret);
/* Its memory is released once the loop has turned. NULL is allowed. */
struct ygr_kube_auth *ygr_kube_auth_close(struct ygr_kube_auth *auth);

/*
 * Makes credentials fresh: 1 when they are, 0 when that takes a while, -errno with a sentence when there are
 * none.
 */
int ygr_kube_auth_ready(struct ygr_kube_auth *auth, struct ygr_error *error);

/* The server said 401: true when there is something that can be looked up again. */
bool ygr_kube_auth_reject(struct ygr_kube_auth *auth);

/* Borrowed until the next call; NULL: none. */
const char *ygr_kube_auth_token(const struct ygr_kube_auth *auth);
/* A certificate that a plugin gave, and its key, as PEM. */
const char *ygr_kube_auth_cert(const struct ygr_kube_auth *auth);
const char *ygr_kube_auth_key(const struct ygr_kube_auth *auth);
