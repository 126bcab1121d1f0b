/* See config.h: kubeconfig files. Entries are looked up where they are written; nothing is merged into one. */
#include "lib/kube/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/kube/config-entry.h"

struct file {
	struct ygr_doc *doc;
	char *directory;
};

struct files {
	struct file items[YGR_KUBE_CONFIG_FILES_MAX];
	size_t count;
};

static void files_deinit(struct files *files)
{
	for (size_t i = 0; i < files->count; i++) {
		ygr_doc_free(files->items[i].doc);
		free(files->items[i].directory);
	}
	files->count = 0;
}

/* Takes the only document of DOCS. */
static int add_docs(struct files *files, struct ygr_doc **docs, size_t count, const char *name,
		    const char *directory, size_t directory_len, struct ygr_error *error)
{
	int r = 0;

	if (count > 1)
		r = ygr_error_set(error, EINVAL, "%s: expected one document, found %zu", name, count);
	if (r == 0 && files->count == YGR_KUBE_CONFIG_FILES_MAX)
		r = ygr_error_set(error, EINVAL, "more than %d kubeconfig files", YGR_KUBE_CONFIG_FILES_MAX);
	if (r < 0 || count == 0) {
		ygr_docs_free(docs, count);
		return r;
	}
	struct file *file = &files->items[files->count++];
	*file = (struct file){docs[0], strndup(directory, directory_len)};
	free(docs);
	struct ygr_field root = ygr_field_root(file->doc);
	return file->directory ? ygr_field_object(&root, NULL, error)
			       : ygr_error_set(error, ENOMEM, "out of memory");
}

static int add_file(struct files *files, const char *path, struct ygr_error *error)
{
	struct ygr_doc **docs;
	const char *slash = strrchr(path, '/');
	size_t count;
	int r = ygr_yaml_read(path, NULL, &docs, &count, error);

	if (r < 0)
		return r;
	if (!slash)
		return add_docs(files, docs, count, path, ".", 1, error);
	return add_docs(files, docs, count, path, path, slash == path ? 1 : (size_t)(slash - path), error);
}

/* All files of LIST, which are separated by ':'. Absent ones are passed over as long as there is another. */
static int add_list(struct files *files, const char *list, struct ygr_error *error)
{
	size_t before = files->count;
	int r = -ENOENT;

	while (*list) {
		size_t len = strcspn(list, ":");
		_cleanup_free_ char *path = strndup(list, len);
		if (!path)
			return ygr_error_set(error, ENOMEM, "out of memory");
		list += len + (list[len] == ':');
		r = len ? add_file(files, path, error) : 0;
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return files->count == before && r == -ENOENT ? r : 0;
}

/* The entry NAME of a list, in the first file that has it. */
static int find(const struct files *files, const struct ygr_kube_kind *kind, const char *name,
		struct ygr_kube_entry *ret, struct ygr_error *error)
{
	for (size_t i = 0; i < files->count; i++) {
		size_t count;
		ret->root = ygr_field_root(files->items[i].doc);
		if (!ygr_field_member(&ret->root, kind->list, &ret->list))
			continue;
		int r = ygr_field_array(&ret->list, 0, YGR_KUBE_CONFIG_ENTRIES_MAX, &count, error);
		for (size_t j = 0; r == 0 && j < count; j++) {
			ret->item = ygr_field_item(&ret->list, j);
			const char *found = json_string_value(json_object_get(ret->item.value, "name"));
			if (!found || strcmp(found, name) != 0)
				continue;
			ret->directory = files->items[i].directory;
			r = ygr_field_require(&ret->item, kind->body, &ret->body, error);
			return r < 0 ? r : ygr_field_object(&ret->body, NULL, error);
		}
		if (r < 0)
			return r;
	}
	return ygr_error_set(error, ENOENT, "kubeconfig: there is no %s \"%.253s\"", kind->body, name);
}

static int current_context(const struct files *files, const char *wanted, char **ret,
			   struct ygr_error *error)
{
	if (wanted) {
		*ret = strdup(wanted);
		return *ret ? 0 : ygr_error_set(error, ENOMEM, "out of memory");
	}
	for (size_t i = 0; i < files->count && !*ret; i++) {
		struct ygr_field root = ygr_field_root(files->items[i].doc);
		int r = ygr_kube_entry_text(&root, "current-context", ret, error);
		if (r < 0)
			return r;
	}
	return *ret ? 0 : ygr_error_set(error, EINVAL, "kubeconfig: current-context is not set");
}

static int resolve(const struct files *files, const char *wanted, struct ygr_kube_config *config,
		   struct ygr_error *error)
{
	static const struct ygr_kube_kind clusters = {"clusters", "cluster"}, users = {"users", "user"},
					  contexts = {"contexts", "context"};
	_cleanup_free_ char *cluster = NULL, *user = NULL;
	struct ygr_kube_entry entry;
	int r = current_context(files, wanted, &config->context, error);

	if (r == 0)
		r = find(files, &contexts, config->context, &entry, error);
	if (r == 0)
		r = ygr_kube_entry_text(&entry.body, "cluster", &cluster, error);
	if (r == 0)
		r = ygr_kube_entry_text(&entry.body, "user", &user, error);
	if (r == 0)
		r = ygr_kube_entry_text(&entry.body, "namespace", &config->namespace_, error);
	if (r == 0 && !cluster)
		r = ygr_field_error(&entry.body, error, "\"cluster\" is required");
	if (r == 0)
		r = find(files, &clusters, cluster, &entry, error);
	if (r == 0)
		r = ygr_kube_entry_cluster(&entry, config, error);
	if (r == 0 && user) {
		r = find(files, &users, user, &entry, error);
		if (r == 0)
			r = ygr_kube_entry_user(&entry, config, error);
	}
	if (r == 0 && !config->namespace_ && !(config->namespace_ = strdup("default")))
		r = ygr_error_set(error, ENOMEM, "out of memory");
	return r;
}

static int load(struct files *files, const char *context, struct ygr_kube_config **ret,
		struct ygr_error *error)
{
	struct ygr_kube_config *config = calloc(1, sizeof(*config));
	int r =
	    config ? resolve(files, context, config, error) : ygr_error_set(error, ENOMEM, "out of memory");

	if (r < 0)
		ygr_kube_config_free(config);
	else
		*ret = config;
	return r == -ENOENT ? -EINVAL : r; /* there is a kubeconfig, and it is wrong */
}

int ygr_kube_config_load(const char *kubeconfig, const char *context, struct ygr_kube_config **ret,
			 struct ygr_error *error)
{
	struct files files = {.count = 0};
	_cleanup_free_ char *at_home = NULL;
	const char *home = getenv("HOME");

	if (!kubeconfig)
		kubeconfig = getenv("KUBECONFIG");
	if (!kubeconfig || !*kubeconfig) {
		int r = ygr_kube_config_pod(YGR_KUBE_POD_DIR, ret, error);
		if (r != -ENOENT)
			return r;
		if (asprintf(&at_home, "%s/.kube/config", home ? home : "/root") < 0)
			return ygr_error_set(error, ENOMEM, "out of memory");
		kubeconfig = at_home;
	}
	int r = add_list(&files, kubeconfig, error);
	if (r == 0)
		r = load(&files, context, ret, error);
	files_deinit(&files);
	return r;
}

int ygr_kube_config_parse(const char *text, size_t len, const char *directory, const char *context,
			  struct ygr_kube_config **ret, struct ygr_error *error)
{
	struct files files = {.count = 0};
	struct ygr_doc **docs;
	size_t count;
	int r = ygr_yaml_parse("kubeconfig", text, len, &docs, &count, error);

	if (r < 0)
		return r;
	r = add_docs(&files, docs, count, "kubeconfig", directory, strlen(directory), error);
	if (r == 0)
		r = load(&files, context, ret, error);
	files_deinit(&files);
	return r;
}

static struct ygr_kube_exec *exec_free(struct ygr_kube_exec *exec)
{
	if (!exec)
		return NULL;
	free(exec->command);
	ygr_strings_free(exec->args, exec->arg_count);
	ygr_strings_free(exec->env, exec->env_count);
	free(exec->api_version);
	free(exec->install_hint);
	free(exec);
	return NULL;
}

static void secret_free(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

struct ygr_kube_config *ygr_kube_config_free(struct ygr_kube_config *config)
{
	if (!config)
		return NULL;
	free(config->context);
	free(config->server);
	free(config->namespace_);
	free(config->tls_server_name);
	free(config->proxy_url);
	free(config->ca_file);
	free(config->ca_pem);
	free(config->cert_file);
	free(config->cert_pem);
	free(config->key_file);
	secret_free(config->key_pem);
	secret_free(config->token);
	free(config->token_file);
	free(config->username);
	secret_free(config->password);
	exec_free(config->exec);
	free(config);
	return NULL;
}
