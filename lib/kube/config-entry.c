/* See config-entry.h. Members that are unknown are passed over, as kubectl does; what would weaken the
 * configuration if it were passed over (impersonation, auth-provider) is refused. */
#include "lib/kube/config-entry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/base64.h"
#include "lib/base/cleanup.h"

#define TEXT_MAX 4095

int ygr_kube_entry_text(const struct ygr_field *object, const char *key, char **ret, struct ygr_error *error)
{
	struct ygr_field field;

	if (!ygr_field_member(object, key, &field) ||
	    (json_is_string(field.value) && json_string_length(field.value) == 0))
		return 0;
	return ygr_field_dup(&field, 1, TEXT_MAX, ret, error);
}

static int flag(const struct ygr_field *object, const char *key, bool *ret, struct ygr_error *error)
{
	struct ygr_field field;

	return ygr_field_member(object, key, &field) ? ygr_field_bool(&field, ret, error) : 0;
}

/* A secret: its value is in no message. */
static int secret(const struct ygr_field *object, const char *key, char **ret, struct ygr_error *error)
{
	struct ygr_field field;

	if (!ygr_field_member(object, key, &field))
		return 0;
	const char *text = json_string_value(field.value);
	if (!text)
		return ygr_field_error(&field, error, "expected a string");
	if (strlen(text) > YGR_KUBE_SECRET_MAX)
		return ygr_field_error(&field, error, "more than %u bytes", YGR_KUBE_SECRET_MAX);
	if (strpbrk(text, "\r\n"))
		return ygr_field_error(&field, error, "expected one line");
	if (!*text)
		return 0;
	free(*ret);
	*ret = strdup(text);
	return *ret ? 0 : ygr_error_set(error, ENOMEM, "out of memory");
}

/* Base64 of PEM. */
static int data(const struct ygr_field *object, const char *key, char **ret, struct ygr_error *error)
{
	struct ygr_field field;
	uint8_t *bytes;
	size_t len;

	if (!ygr_field_member(object, key, &field))
		return 0;
	const char *text = json_string_value(field.value);
	if (!text)
		return ygr_field_error(&field, error, "expected a string");
	if (strlen(text) > YGR_KUBE_SECRET_MAX)
		return ygr_field_error(&field, error, "more than %u bytes", YGR_KUBE_SECRET_MAX);
	if (!*text)
		return 0;
	int r = ygr_base64_decode(text, strlen(text), &bytes, &len);
	if (r == -ENOMEM)
		return ygr_error_set(error, ENOMEM, "out of memory");
	if (r < 0 || strlen((char *)bytes) != len) {
		if (r == 0)
			free(bytes);
		return ygr_field_error(&field, error, "expected base64 of PEM text");
	}
	free(*ret);
	*ret = (char *)bytes;
	return 0;
}

/* A path, from the directory of its file. */
static int path(const struct ygr_kube_entry *entry, const struct ygr_field *object, const char *key,
		char **ret, struct ygr_error *error)
{
	_cleanup_free_ char *text = NULL;
	int r = ygr_kube_entry_text(object, key, &text, error);

	if (r < 0 || !text)
		return r;
	if (text[0] == '/')
		*ret = ygr_steal_ptr(&text);
	else if (asprintf(ret, "%s/%s", entry->directory, text) < 0)
		*ret = NULL;
	return *ret ? 0 : ygr_error_set(error, ENOMEM, "out of memory");
}

bool ygr_kube_server_settle(char *server)
{
	size_t len = strlen(server), scheme;

	if (!strncmp(server, "https://", 8))
		scheme = 8;
	else if (!strncmp(server, "http://", 7))
		scheme = 7;
	else
		return false;
	while (len > scheme && server[len - 1] == '/')
		server[--len] = '\0';
	if (len == scheme || strpbrk(server, " \t\"<>?#@\\"))
		return false;
	return server[scheme] != '/';
}

int ygr_kube_entry_cluster(const struct ygr_kube_entry *entry, struct ygr_kube_config *config,
			   struct ygr_error *error)
{
	const struct ygr_field *body = &entry->body;
	struct ygr_field server;
	int r = ygr_field_require(body, "server", &server, error);

	if (r == 0)
		r = ygr_field_dup(&server, 1, TEXT_MAX, &config->server, error);
	if (r == 0 && !ygr_kube_server_settle(config->server))
		r = ygr_field_expected(&server, error, "https://HOST:PORT");
	if (r == 0)
		r = path(entry, body, "certificate-authority", &config->ca_file, error);
	if (r == 0)
		r = data(body, "certificate-authority-data", &config->ca_pem, error);
	if (r == 0)
		r = flag(body, "insecure-skip-tls-verify", &config->insecure, error);
	if (r == 0)
		r = ygr_kube_entry_text(body, "tls-server-name", &config->tls_server_name, error);
	if (r == 0)
		r = ygr_kube_entry_text(body, "proxy-url", &config->proxy_url, error);
	if (r == 0 && config->insecure && (config->ca_file || config->ca_pem))
		r = ygr_field_error(
		    body, error, "a certificate authority and insecure-skip-tls-verify exclude each other");
	return r;
}

static int exec_env(const struct ygr_field *field, struct ygr_kube_exec *exec, struct ygr_error *error)
{
	size_t count;
	int r = ygr_field_array(field, 0, YGR_KUBE_EXEC_ARGS_MAX, &count, error);

	if (r < 0)
		return r;
	exec->env = calloc(count + 1, sizeof(*exec->env));
	if (!exec->env)
		return ygr_error_set(error, ENOMEM, "out of memory");
	for (size_t i = 0; r == 0 && i < count; i++) {
		struct ygr_field item = ygr_field_item(field, i);
		const char *name = json_string_value(json_object_get(item.value, "name"));
		const char *value = json_string_value(json_object_get(item.value, "value"));
		if (!name || !*name || strchr(name, '=') || !value)
			return ygr_field_error(&item, error, "expected {name, value}");
		if (asprintf(&exec->env[i], "%s=%s", name, value) < 0)
			return ygr_error_set(error, ENOMEM, "out of memory");
		exec->env_count++;
	}
	return r;
}

static int exec_command(const struct ygr_kube_entry *entry, const struct ygr_field *field,
			struct ygr_kube_exec *exec, struct ygr_error *error)
{
	struct ygr_field member;
	int r = ygr_field_require(field, "command", &member, error);

	if (r == 0)
		r = ygr_kube_entry_text(field, "command", &exec->command, error);
	if (r == 0 && !exec->command)
		r = ygr_field_expected(&member, error, "a command");
	if (r == 0 && strchr(exec->command, '/')) {
		free(ygr_steal_ptr(&exec->command));
		r = path(entry, field, "command", &exec->command, error);
	}
	return r;
}

static int exec_decode(const struct ygr_kube_entry *entry, const struct ygr_field *field,
		       struct ygr_kube_exec *exec, struct ygr_error *error)
{
	struct ygr_field member;
	int r = ygr_field_object(field, NULL, error);

	if (r == 0)
		r = exec_command(entry, field, exec, error);
	if (r == 0 && ygr_field_member(field, "args", &member))
		r = ygr_field_strings(&member, YGR_KUBE_EXEC_ARGS_MAX, TEXT_MAX, &exec->args,
				      &exec->arg_count, error);
	if (r == 0 && ygr_field_member(field, "env", &member))
		r = exec_env(&member, exec, error);
	if (r == 0)
		r = ygr_kube_entry_text(field, "apiVersion", &exec->api_version, error);
	if (r == 0)
		r = ygr_field_require(field, "apiVersion", &member, error);
	if (r == 0 &&
	    (!exec->api_version || strcmp(exec->api_version, "client.authentication.k8s.io/v1") != 0))
		r = ygr_field_expected(&member, error, "client.authentication.k8s.io/v1");
	if (r == 0)
		r = ygr_kube_entry_text(field, "installHint", &exec->install_hint, error);
	if (r == 0)
		r = flag(field, "provideClusterInfo", &exec->provide_cluster_info, error);
	return r;
}

static int refuse(const struct ygr_field *body, const char *key, const char *why, struct ygr_error *error)
{
	struct ygr_field field;

	return ygr_field_member(body, key, &field) ? ygr_field_error(&field, error, "%s", why) : 0;
}

static int certificates(const struct ygr_kube_entry *entry, struct ygr_kube_config *config,
			struct ygr_error *error)
{
	const struct ygr_field *body = &entry->body;
	int r = path(entry, body, "client-certificate", &config->cert_file, error);

	if (r == 0)
		r = data(body, "client-certificate-data", &config->cert_pem, error);
	if (r == 0)
		r = path(entry, body, "client-key", &config->key_file, error);
	if (r == 0)
		r = data(body, "client-key-data", &config->key_pem, error);
	bool cert = config->cert_file || config->cert_pem, key = config->key_file || config->key_pem;
	if (r == 0 && cert != key)
		r = ygr_field_error(body, error, "a client certificate and its key come together");
	return r;
}

int ygr_kube_entry_user(const struct ygr_kube_entry *entry, struct ygr_kube_config *config,
			struct ygr_error *error)
{
	const struct ygr_field *body = &entry->body;
	struct ygr_field field;
	int r = certificates(entry, config, error);

	if (r == 0)
		r = secret(body, "token", &config->token, error);
	if (r == 0)
		r = path(entry, body, "tokenFile", &config->token_file, error);
	if (r == 0)
		r = ygr_kube_entry_text(body, "username", &config->username, error);
	if (r == 0)
		r = secret(body, "password", &config->password, error);
	if (r == 0)
		r = refuse(body, "as", "impersonation is not supported", error);
	if (r == 0)
		r = refuse(body, "auth-provider", "not supported; use exec", error);
	if (r < 0 || !ygr_field_member(body, "exec", &field))
		return r;
	config->exec = calloc(1, sizeof(*config->exec));
	return config->exec ? exec_decode(entry, &field, config->exec, error)
			    : ygr_error_set(error, ENOMEM, "out of memory");
}
