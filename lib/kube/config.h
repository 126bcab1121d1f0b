/*
 * Where the API server is and how to speak to it: from kubeconfig files, or from what a pod finds in its
 * file system. Several kubeconfig files are looked through in their order, and the first that says something
 * is believed; relative paths in a file start at its directory. Secrets never get into error messages.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/error.h"

#define YGR_KUBE_CONFIG_FILES_MAX   32
#define YGR_KUBE_CONFIG_ENTRIES_MAX 1024         /* clusters, users or contexts of one file */
#define YGR_KUBE_SECRET_MAX         (256u << 10) /* bytes of a token, certificate or key */
#define YGR_KUBE_EXEC_ARGS_MAX      64
#define YGR_KUBE_POD_DIR            "/var/run/secrets/kubernetes.io/serviceaccount"

/* A credential plugin (client.authentication.k8s.io/v1). */
struct ygr_kube_exec {
	char *command; /* a path, or a name that is looked for in $PATH */
	char **args;
	size_t arg_count;
	char **env; /* "NAME=VALUE", beside the environment */
	size_t env_count;
	char *api_version;
	char *install_hint; /* or NULL */
	bool provide_cluster_info;
};

/* NULL where nothing was said. "_pem" are contents, the others paths. */
struct ygr_kube_config {
	char *context; /* NULL in a pod */
	char *server;  /* "https://HOST[:PORT][/PREFIX]", no slash at the end */
	char *namespace_;
	char *tls_server_name;
	char *proxy_url;
	bool insecure; /* the server's certificate is not checked */
	char *ca_file, *ca_pem;
	char *cert_file, *cert_pem;
	char *key_file, *key_pem;
	char *token, *token_file;
	char *username, *password;
	struct ygr_kube_exec *exec;
};

/*
 * KUBECONFIG: a list of files separated by ':', or NULL for what kubectl would take: $KUBECONFIG, else the pod
 * it runs in, else ~/.kube/config. Files of a list may be absent, but not all of them. CONTEXT: NULL for
 * current-context. Errors name file, line and field: -ENOENT when there is no configuration at all, -EINVAL,
 * -ENOMEM.
 */
int ygr_kube_config_load(const char *kubeconfig, const char *context, struct ygr_kube_config **ret,
			 struct ygr_error *error);

/* The same for the text of one kubeconfig, whose relative paths start at DIRECTORY. */
int ygr_kube_config_parse(const char *text, size_t len, const char *directory, const char *context,
			  struct ygr_kube_config **ret, struct ygr_error *error);

/* A pod's configuration from DIRECTORY (YGR_KUBE_POD_DIR) and KUBERNETES_SERVICE_HOST/_PORT; -ENOENT elsewhere. */
int ygr_kube_config_pod(const char *directory, struct ygr_kube_config **ret, struct ygr_error *error);

struct ygr_kube_config *ygr_kube_config_free(struct ygr_kube_config *config);

/* Reads the small file PATH as text, without white space at its end: malloc'ed. 0, -errno, -E2BIG. */
int ygr_kube_read_secret(const char *path, char **ret);
