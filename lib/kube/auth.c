/* See auth.h. */
#include "lib/kube/auth.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/cleanup.h"
#include "lib/kube/exec.h"

#define EXPIRY_MARGIN_S 10 /* a plugin is run again so long before what it gave expires */

struct ygr_kube_auth {
	uv_loop_t *loop;
	const struct ygr_kube_config *config;
	void (*wake)(void *user);
	void *user;
	char *token, *cert_pem, *key_pem; /* from a file or a plugin */
	bool fresh;
	uint64_t read_ms;  /* loop time of the last reading of the token's file */
	int64_t expires;   /* of what a plugin gave; 0: never */
	uint64_t retry_ms; /* the plugin is not run again before */
	struct ygr_kube_exec_run *run;
	struct ygr_error failure;
};

static void wipe(char **secret)
{
	if (*secret)
		explicit_bzero(*secret, strlen(*secret));
	free(*secret);
	*secret = NULL;
}

int ygr_kube_auth_new(uv_loop_t *loop, const struct ygr_kube_config *config, void (*wake)(void *user),
		      void *user, struct ygr_kube_auth **ret)
{
	struct ygr_kube_auth *auth = calloc(1, sizeof(*auth));

	if (!auth)
		return -ENOMEM;
	*auth = (struct ygr_kube_auth){.loop = loop, .config = config, .wake = wake, .user = user};
	*ret = auth;
	return 0;
}

struct ygr_kube_auth *ygr_kube_auth_close(struct ygr_kube_auth *auth)
{
	if (!auth)
		return NULL;
	ygr_kube_exec_cancel(auth->run);
	wipe(&auth->token);
	wipe(&auth->cert_pem);
	wipe(&auth->key_pem);
	free(auth);
	return NULL;
}

static int read_token(struct ygr_kube_auth *auth, struct ygr_error *error)
{
	const char *path = auth->config->token_file;
	char *token = NULL;

	if (auth->fresh && uv_now(auth->loop) < auth->read_ms + YGR_KUBE_TOKEN_REREAD_MS)
		return 1;
	auth->read_ms = uv_now(auth->loop);
	int r = ygr_kube_read_secret(path, &token);
	if (r == 0 && (!*token || strpbrk(token, "\r\n"))) {
		wipe(&token);
		r = -EINVAL;
	}
	if (r < 0 && !auth->token)
		return ygr_error_set(error, -r, "%.300s: %s", path, strerror(-r));
	auth->fresh = true; /* with the old token, if the file is just being replaced */
	if (r == 0) {
		wipe(&auth->token);
		auth->token = token;
	}
	return 1;
}

static void on_exec_done(void *user, struct ygr_kube_exec_result *result, const struct ygr_error *error)
{
	struct ygr_kube_auth *auth = user;

	auth->run = NULL;
	if (result) {
		wipe(&auth->token);
		wipe(&auth->cert_pem);
		wipe(&auth->key_pem);
		auth->token = ygr_steal_ptr(&result->token);
		auth->cert_pem = ygr_steal_ptr(&result->cert_pem);
		auth->key_pem = ygr_steal_ptr(&result->key_pem);
		auth->expires = result->expires;
		auth->fresh = true;
		auth->failure = YGR_ERROR_INIT;
	} else {
		auth->failure = *error;
	}
	auth->retry_ms = uv_now(auth->loop) + YGR_KUBE_EXEC_RETRY_MS;
	auth->wake(auth->user);
}

static int run_plugin(struct ygr_kube_auth *auth, struct ygr_error *error)
{
	bool expired = auth->expires && time(NULL) >= auth->expires - EXPIRY_MARGIN_S;
	bool soon = uv_now(auth->loop) < auth->retry_ms; /* what it gives may be expired already */

	if (auth->fresh && (!expired || soon))
		return 1;
	if (auth->run)
		return 0;
	if (auth->failure.code && soon) {
		*error = auth->failure;
		return -auth->failure.code;
	}
	auth->fresh = false;
	int r = ygr_kube_exec_start(auth->loop, auth->config, on_exec_done, auth, &auth->run, error);
	if (r < 0) {
		auth->failure = *error;
		auth->retry_ms = uv_now(auth->loop) + YGR_KUBE_EXEC_RETRY_MS;
	}
	return r;
}

int ygr_kube_auth_ready(struct ygr_kube_auth *auth, struct ygr_error *error)
{
	if (auth->config->exec)
		return run_plugin(auth, error);
	return auth->config->token_file ? read_token(auth, error) : 1;
}

bool ygr_kube_auth_reject(struct ygr_kube_auth *auth)
{
	bool just_ran = auth->config->exec && uv_now(auth->loop) < auth->retry_ms;

	if ((!auth->config->exec && !auth->config->token_file) || just_ran)
		return false;
	auth->fresh = false;
	return true;
}

const char *ygr_kube_auth_token(const struct ygr_kube_auth *auth)
{
	return auth->token ? auth->token : auth->config->token;
}

const char *ygr_kube_auth_cert(const struct ygr_kube_auth *auth)
{
	return auth->cert_pem;
}

const char *ygr_kube_auth_key(const struct ygr_kube_auth *auth)
{
	return auth->key_pem;
}
