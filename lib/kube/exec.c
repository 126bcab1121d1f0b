/* See exec.h. The plugin's standard output is taken in as long as it is short; standard error is the agent's. */
#include "lib/kube/exec.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/cleanup.h"

#define API_VERSION "client.authentication.k8s.io/v1"

extern char **environ;

struct ygr_kube_exec_run {
	uv_process_t process;
	uv_pipe_t output;
	uv_timer_t timer;
	int open_handles;
	bool exited, ended, timed_out; /* the process; its output */
	int64_t status;
	int term_signal;
	struct ygr_buf text;
	const struct ygr_kube_exec *exec;
	void (*done)(void *user, struct ygr_kube_exec_result *result, const struct ygr_error *error);
	void *user;
};

static int64_t parse_time(const char *text)
{
	struct tm tm = {0};
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

	if (!rest)
		return -1;
	if (*rest == '.')
		rest += 1 + strspn(rest + 1, "0123456789");
	time_t when = timegm(&tm);
	int hours, minutes;
	char sign;
	if (!strcmp(rest, "Z"))
		return when;
	if (sscanf(rest, "%c%2d:%2d", &sign, &hours, &minutes) != 3 || !strchr("+-", sign))
		return -1;
	int64_t offset = (int64_t)hours * 3600 + minutes * 60;
	return sign == '+' ? when - offset : when + offset;
}

static void take(const json_t *status, const char *key, char **ret)
{
	const char *text = json_string_value(json_object_get(status, key));

	if (text && *text)
		*ret = strdup(text);
}

int ygr_kube_exec_parse(const char *text, size_t len, struct ygr_kube_exec_result *ret,
			struct ygr_error *error)
{
	json_error_t at;
	json_t *root = json_loadb(text, len, 0, &at);
	const char *version = json_string_value(json_object_get(root, "apiVersion"));
	const json_t *status = json_object_get(root, "status");
	const char *expires = json_string_value(json_object_get(status, "expirationTimestamp"));
	struct ygr_kube_exec_result result = {0};
	int r = 0;

	take(status, "token", &result.token);
	take(status, "clientCertificateData", &result.cert_pem);
	take(status, "clientKeyData", &result.key_pem);
	if (expires)
		result.expires = parse_time(expires);
	if (!root)
		r = ygr_error_set(error, EINVAL, "it printed no JSON (line %d)", at.line);
	else if (!version || strcmp(version, API_VERSION) != 0)
		r = ygr_error_set(error, EINVAL, "it printed no ExecCredential of " API_VERSION);
	else if (result.expires < 0)
		r = ygr_error_set(error, EINVAL, "expirationTimestamp is no time");
	else if (!result.token && !(result.cert_pem && result.key_pem))
		r = ygr_error_set(error, EINVAL, "it gave neither a token nor a certificate with its key");
	else if (result.token &&
		 (strlen(result.token) > YGR_KUBE_SECRET_MAX || strpbrk(result.token, "\r\n")))
		r = ygr_error_set(error, EINVAL, "its token is not one line");
	json_decref(root);
	if (r < 0) {
		free(result.token);
		free(result.cert_pem);
		free(result.key_pem);
		return r;
	}
	*ret = result;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct ygr_kube_exec_run *run = handle->data;

	if (--run->open_handles)
		return;
	if (run->text.data)
		explicit_bzero(run->text.data, run->text.len);
	ygr_buf_deinit(&run->text);
	free(run);
}

static void close_all(struct ygr_kube_exec_run *run)
{
	uv_close((uv_handle_t *)&run->output, on_closed);
	uv_close((uv_handle_t *)&run->timer, on_closed);
	uv_close((uv_handle_t *)&run->process, on_closed);
}

static void report(struct ygr_kube_exec_run *run)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_kube_exec_result result = {0};
	int r = -EACCES;

	if (run->timed_out)
		ygr_error_set(&error, ETIMEDOUT, "it took longer than %d s", YGR_KUBE_EXEC_MS / 1000);
	else if (run->term_signal)
		ygr_error_set(&error, EACCES, "it was ended by signal %d", run->term_signal);
	else if (run->status)
		ygr_error_set(&error, EACCES, "it ended with status %d", (int)run->status);
	else
		r = ygr_kube_exec_parse((const char *)run->text.data, run->text.len, &result, &error);
	if (r < 0)
		ygr_error_prefix(&error, "credential plugin %.200s", run->exec->command);
	run->done(run->user, r < 0 ? NULL : &result, &error);
	free(result.token);
	free(result.cert_pem);
	free(result.key_pem);
	close_all(run);
}

static void on_exited(uv_process_t *process, int64_t status, int term_signal)
{
	struct ygr_kube_exec_run *run = process->data;

	run->exited = true;
	run->status = status;
	run->term_signal = term_signal;
	if (run->done && run->ended)
		report(run);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct ygr_kube_exec_run *run = handle->data;

	(void)suggested;
	*buf = uv_buf_init(NULL, 0);
	if (ygr_buf_reserve(&run->text, 4096) == 0)
		*buf = uv_buf_init((char *)run->text.data + run->text.len, 4096);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct ygr_kube_exec_run *run = stream->data;

	(void)buf;
	if (n >= 0) {
		run->text.len += (size_t)n;
		return;
	}
	uv_read_stop(stream);
	run->ended = true;
	if (n == UV_ENOBUFS)
		uv_process_kill(&run->process, SIGKILL);
	if (run->exited)
		report(run);
}

static void on_timer(uv_timer_t *timer)
{
	struct ygr_kube_exec_run *run = timer->data;

	run->timed_out = true;
	if (run->exited) { /* something it left behind keeps its output open */
		report(run);
		return;
	}
	run->ended = true;
	uv_read_stop((uv_stream_t *)&run->output);
	uv_process_kill(&run->process, SIGKILL);
}

/* KUBERNETES_EXEC_INFO: how the plugin is called, and for whom. */
static char *exec_info(const struct ygr_kube_config *config)
{
	json_t *info = json_pack("{s:s, s:s, s:{s:b}}", "apiVersion", API_VERSION, "kind", "ExecCredential",
				 "spec", "interactive", 0);
	char *text = NULL, *line = NULL;

	if (info && config->exec->provide_cluster_info)
		json_object_set_new(json_object_get(info, "spec"), "cluster",
				    json_pack("{s:s, s:s*, s:b, s:s*}", "server", config->server,
					      "tls-server-name", config->tls_server_name,
					      "insecure-skip-tls-verify", config->insecure, "proxy-url",
					      config->proxy_url));
	if (info)
		text = json_dumps(info, JSON_COMPACT);
	json_decref(info);
	if (text && asprintf(&line, "KUBERNETES_EXEC_INFO=%s", text) < 0)
		line = NULL;
	free(text);
	return line;
}

static bool same_name(const char *a, const char *b)
{
	size_t len = strcspn(a, "=");

	return len == strcspn(b, "=") && !strncmp(a, b, len);
}

/* The environment with what the kubeconfig adds; the strings are borrowed. */
static char **environment(const struct ygr_kube_exec *exec, char *info)
{
	size_t count = 0, at = 0;

	while (environ[count])
		count++;
	char **env = calloc(count + exec->env_count + 2, sizeof(*env));
	if (!env)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		bool replaced = same_name(environ[i], info);
		for (size_t j = 0; j < exec->env_count; j++)
			replaced |= same_name(environ[i], exec->env[j]);
		if (!replaced)
			env[at++] = environ[i];
	}
	for (size_t j = 0; j < exec->env_count; j++)
		env[at++] = exec->env[j];
	env[at] = info;
	return env;
}

static int spawn(uv_loop_t *loop, struct ygr_kube_exec_run *run, char *info)
{
	const struct ygr_kube_exec *exec = run->exec;
	_cleanup_free_ char **env = environment(exec, info),
			    **args = calloc(exec->arg_count + 2, sizeof(*args));
	uv_stdio_container_t stdio[3] = {
	    {.flags = UV_IGNORE},
	    {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&run->output},
	    {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
	};

	if (!env || !args)
		return -ENOMEM;
	args[0] = exec->command;
	for (size_t i = 0; i < exec->arg_count; i++)
		args[i + 1] = exec->args[i];
	const uv_process_options_t options = {.exit_cb = on_exited,
					      .file = exec->command,
					      .args = args,
					      .env = env,
					      .stdio = stdio,
					      .stdio_count = 3};
	return uv_spawn(loop, &run->process, &options);
}

int ygr_kube_exec_start(uv_loop_t *loop, const struct ygr_kube_config *config,
			void (*done)(void *user, struct ygr_kube_exec_result *result,
				     const struct ygr_error *error),
			void *user, struct ygr_kube_exec_run **ret, struct ygr_error *error)
{
	struct ygr_kube_exec_run *run = calloc(1, sizeof(*run));
	_cleanup_free_ char *info = exec_info(config);

	if (!run || !info) {
		free(run);
		return ygr_error_set(error, ENOMEM, "out of memory");
	}
	run->exec = config->exec;
	run->done = done;
	run->user = user;
	run->text = YGR_BUF_INIT(YGR_KUBE_EXEC_OUTPUT_MAX);
	run->process.data = run->output.data = run->timer.data = run;
	run->open_handles = 3;
	uv_pipe_init(loop, &run->output, 0);
	uv_timer_init(loop, &run->timer);
	int r = spawn(loop, run, info);
	if (r < 0) {
		const char *hint = config->exec->install_hint;
		ygr_error_set(error, -r, "credential plugin %.200s: %s%s%.150s", config->exec->command,
			      uv_strerror(r), hint ? ": " : "", hint ? hint : "");
		close_all(run);
		return r;
	}
	uv_timer_start(&run->timer, on_timer, YGR_KUBE_EXEC_MS, 0);
	uv_read_start((uv_stream_t *)&run->output, on_alloc, on_read);
	*ret = run;
	return 0;
}

struct ygr_kube_exec_run *ygr_kube_exec_cancel(struct ygr_kube_exec_run *run)
{
	if (!run)
		return NULL;
	run->done = NULL;
	if (!run->exited)
		uv_process_kill(&run->process, SIGKILL);
	close_all(run);
	return NULL;
}
