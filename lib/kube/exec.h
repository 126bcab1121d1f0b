/* One run of a credential plugin (client.authentication.k8s.io/v1), without a terminal. Inside lib/kube. */
#pragma once

#include <stdint.h>
#include <uv.h>

#include "lib/kube/config.h"

#define YGR_KUBE_EXEC_MS         60000        /* a plugin that takes longer is killed */
#define YGR_KUBE_EXEC_OUTPUT_MAX (512u << 10) /* bytes of what it prints */

struct ygr_kube_exec_run;

struct ygr_kube_exec_result {
	char *token, *cert_pem, *key_pem; /* NULL: not given; the callee's to free */
	int64_t expires;                  /* s since the epoch; 0: never */
};

/* DONE is called once, with RESULT (its members may be stolen) or NULL and ERROR; not when cancelled. */
int ygr_kube_exec_start(uv_loop_t *loop, const struct ygr_kube_config *config,
			void (*done)(void *user, struct ygr_kube_exec_result *result,
				     const struct ygr_error *error),
			void *user, struct ygr_kube_exec_run **ret, struct ygr_error *error);
struct ygr_kube_exec_run *ygr_kube_exec_cancel(struct ygr_kube_exec_run *run);

/* What a plugin printed: 0, -EINVAL with a sentence that has no secret in it, -ENOMEM. */
int ygr_kube_exec_parse(const char *text, size_t len, struct ygr_kube_exec_result *ret,
			struct ygr_error *error);
