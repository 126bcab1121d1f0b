/* See config.h: what a pod has, and reading of secrets from files. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/kube/config-entry.h"

int ygr_kube_read_secret(const char *path, char **ret)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t size = 4096, len = 0;

	if (fd < 0)
		return -errno;
	_cleanup_free_ char *text = malloc(size + 1);
	for (;;) {
		if (!text)
			return -ENOMEM;
		ssize_t n = read(fd, text + len, size - len);
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
		if (len < size)
			continue;
		if (size >= YGR_KUBE_SECRET_MAX)
			return -E2BIG;
		size *= 2;
		char *grown = realloc(text, size + 1);
		if (!grown)
			return -ENOMEM;
		text = grown;
	}
	while (len && strchr(" \t\r\n", text[len - 1]))
		len--;
	text[len] = '\0';
	if (strlen(text) != len)
		return -EINVAL;
	*ret = ygr_steal_ptr(&text);
	return 0;
}

static int fill(struct ygr_kube_config *config, const char *directory, const char *host, const char *port)
{
	_cleanup_free_ char *namespace_ = NULL;
	bool v6 = strchr(host, ':') != NULL;

	if (asprintf(&config->server, "https://%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port) < 0 ||
	    asprintf(&config->ca_file, "%s/ca.crt", directory) < 0 ||
	    asprintf(&config->token_file, "%s/token", directory) < 0 ||
	    asprintf(&namespace_, "%s/namespace", directory) < 0)
		return -ENOMEM;
	int r = ygr_kube_read_secret(namespace_, &config->namespace_);
	if (r == -ENOENT)
		config->namespace_ = strdup("default");
	else if (r < 0)
		return r;
	return config->namespace_ ? 0 : -ENOMEM;
}

int ygr_kube_config_pod(const char *directory, struct ygr_kube_config **ret, struct ygr_error *error)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");

	if (!host || !*host || !port || !*port)
		return ygr_error_set(error, ENOENT, "this is no pod: KUBERNETES_SERVICE_HOST is not set");
	struct ygr_kube_config *config = calloc(1, sizeof(*config));
	if (!config)
		return ygr_error_set(error, ENOMEM, "out of memory");
	int r = fill(config, directory, host, port);
	if (r == 0 && !ygr_kube_server_settle(config->server))
		r = ygr_error_set(error, EINVAL, "KUBERNETES_SERVICE_HOST is no host");
	else if (r == 0 && access(config->token_file, R_OK) < 0)
		r = ygr_error_set(error, errno, "%.200s: %s", config->token_file, strerror(errno));
	else if (r < 0)
		ygr_error_set(error, -r, "%.200s: %s", directory, strerror(-r));
	if (r < 0)
		ygr_kube_config_free(config);
	else
		*ret = config;
	return r;
}
