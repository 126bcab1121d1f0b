/* See config.h. Defaults first, then what the file says. */
#include "agent/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/paths.h"
#include "lib/api/meta.h"
#include "lib/api/quantity.h"
#include "lib/base/decode.h"

#define PATH_BYTES 4095

static int set(char **field, const char *value, struct ygr_error *error)
{
	*field = strdup(value);
	return *field ? 0 : ygr_error_set(error, ENOMEM, "out of memory");
}

static int set_defaults(struct ygr_config *config, struct ygr_error *error)
{
	char host[256] = "";
	int r = gethostname(host, sizeof(host) - 1) < 0
		    ? ygr_error_set(error, errno, "gethostname: %s", strerror(errno))
		    : 0;

	if (r == 0)
		r = set(&config->node, host, error);
	if (r == 0)
		r = set(&config->libvirt_uri, "qemu:///system", error);
	if (r == 0)
		r = set(&config->libvirt_run_dir, "/run/libvirt/qemu", error);
	if (r == 0)
		r = set(&config->manifests, "/etc/yagura/manifests", error);
	if (r == 0)
		r = set(&config->listen, "127.0.0.1:9720", error);
	if (r == 0)
		r = set(&config->socket_path, "/run/yagura/agent.sock", error);
	if (r == 0)
		r = set(&config->session_program, YGR_PATH_SESSION, error);
	if (r == 0)
		r = set(&config->shim, YGR_PATH_SHIM, error);
	if (r == 0)
		r = set(&config->key, "/etc/yagura/node.key", error);
	if (r == 0)
		r = set(&config->cert, "/etc/yagura/node.cert", error);
	if (r == 0)
		r = set(&config->state_directory, "/var/lib/yagura", error);
	if (r == 0)
		r = set(&config->pin_directory, "/sys/fs/bpf/yagura", error);
	if (r == 0)
		r = set(&config->snapshot_directory, "/var/lib/yagura/snapshots", error);
	config->host_actions = YGR_HOST_ACTION_DISK | YGR_HOST_ACTION_NET | YGR_HOST_ACTION_PAUSE;
	config->snapshots_per_vm = 2;
	config->uid_base = 900000;
	config->uid_count = 65536;
	config->events_file_bytes = 64 << 20;
	config->events_file_keep = 3;
	return r;
}

/* An absolute path at KEY, when it is there. */
static int decode_path(const struct ygr_field *object, const char *key, char **ret, struct ygr_error *error)
{
	struct ygr_field field;

	if (!ygr_field_member(object, key, &field))
		return 0;
	int r = ygr_field_dup(&field, 1, PATH_BYTES, ret, error);
	if (r == 0 && (*ret)[0] != '/')
		r = ygr_field_expected(&field, error, "an absolute path");
	return r;
}

static int decode_text(const struct ygr_field *object, const char *key, char **ret, struct ygr_error *error)
{
	struct ygr_field field;

	return ygr_field_member(object, key, &field) ? ygr_field_dup(&field, 1, 255, ret, error) : 0;
}

static int decode_number(const struct ygr_field *object, const char *key, int64_t min, int64_t max,
			 uint32_t *ret, struct ygr_error *error)
{
	struct ygr_field field;
	int64_t number;

	if (!ygr_field_member(object, key, &field))
		return 0;
	int r = ygr_field_int(&field, min, max, &number, error);
	if (r == 0)
		*ret = (uint32_t)number;
	return r;
}

static int decode_libvirt(const struct ygr_field *field, struct ygr_config *config, struct ygr_error *error)
{
	static const char *const known[] = {"uri", "runDir", "domains", NULL};
	struct ygr_field domains;
	int r = ygr_field_object(field, known, error);

	if (r == 0)
		r = decode_text(field, "uri", &config->libvirt_uri, error);
	if (r == 0)
		r = decode_path(field, "runDir", &config->libvirt_run_dir, error);
	if (r == 0 && ygr_field_member(field, "domains", &domains))
		r = ygr_field_strings(&domains, YGR_CONFIG_DOMAINS_MAX, PATH_BYTES, &config->libvirt_domains,
				      &config->libvirt_domain_count, error);
	return r;
}

static int decode_keys(const struct ygr_field *field, struct ygr_config *config, struct ygr_error *error)
{
	static const char *const known[] = {"key", "cert", NULL};
	int r = ygr_field_object(field, known, error);

	if (r == 0)
		r = decode_path(field, "key", &config->key, error);
	if (r == 0)
		r = decode_path(field, "cert", &config->cert, error);
	return r;
}

static int decode_socket(const struct ygr_field *field, struct ygr_config *config, struct ygr_error *error)
{
	static const char *const known[] = {"path", "group", NULL};
	int r = ygr_field_object(field, known, error);

	if (r == 0)
		r = decode_path(field, "path", &config->socket_path, error);
	if (r == 0)
		r = decode_text(field, "group", &config->socket_group, error);
	return r;
}

static int decode_events_file(const struct ygr_field *field, struct ygr_config *config,
			      struct ygr_error *error)
{
	static const char *const known[] = {"path", "maxBytes", "keep", NULL};
	struct ygr_field member;
	int r = ygr_field_object(field, known, error);

	if (r == 0)
		r = ygr_field_require(field, "path", &member, error);
	if (r == 0)
		r = decode_path(field, "path", &config->events_file, error);
	if (r == 0 && ygr_field_member(field, "maxBytes", &member))
		r = ygr_quantity_decode(&member, &config->events_file_bytes, error);
	if (r == 0)
		r = decode_number(field, "keep", 0, 100, &config->events_file_keep, error);
	return r;
}

static int decode_events(const struct ygr_field *field, struct ygr_config *config, struct ygr_error *error)
{
	static const char *const known[] = {"file", "log", NULL};
	struct ygr_field member;
	int r = ygr_field_object(field, known, error);

	if (r == 0 && ygr_field_member(field, "file", &member))
		r = decode_events_file(&member, config, error);
	if (r == 0 && ygr_field_member(field, "log", &member))
		r = ygr_field_bool(&member, &config->events_log, error);
	return r;
}

static int decode_kubernetes(const struct ygr_field *field, struct ygr_config *config,
			     struct ygr_error *error)
{
	static const char *const known[] = {"kubeconfig", "context", "namespace", NULL};
	struct ygr_field member;
	int r = ygr_field_object(field, known, error);

	config->kubernetes = true;
	if (r == 0)
		r = decode_path(field, "kubeconfig", &config->kubeconfig, error);
	if (r == 0)
		r = decode_text(field, "context", &config->kube_context, error);
	if (r == 0)
		r = decode_text(field, "namespace", &config->kube_namespace, error);
	if (r == 0 && config->kube_namespace && !ygr_name_is_label(config->kube_namespace) &&
	    ygr_field_member(field, "namespace", &member))
		r = ygr_field_expected(&member, error, "a namespace");
	return r;
}

static int decode_listen(const struct ygr_field *root, struct ygr_config *config, struct ygr_error *error)
{
	struct ygr_field field;

	if (!ygr_field_member(root, "listen", &field))
		return 0;
	int r = ygr_field_dup(&field, 1, 255, &config->listen, error);
	if (r < 0)
		return r;
	const char *colon = strrchr(config->listen, ':');
	if (!strcmp(config->listen, "Off")) {
		free(config->listen);
		config->listen = NULL;
	} else if (!colon || colon == config->listen || !colon[1] ||
		   strspn(colon + 1, "0123456789") != strlen(colon + 1)) {
		return ygr_field_expected(&field, error, "ADDRESS:PORT such as 127.0.0.1:9720, or Off");
	}
	return 0;
}

static int decode_catalogue(const struct ygr_field *root, struct ygr_config *config, struct ygr_error *error)
{
	struct ygr_field field;

	if (ygr_field_member(root, "catalogue", &field)) {
		int r = ygr_field_strings(&field, YGR_CONFIG_CATALOGUES_MAX, PATH_BYTES, &config->catalogues,
					  &config->catalogue_count, error);
		for (size_t i = 0; r == 0 && i < config->catalogue_count; i++) {
			struct ygr_field item = ygr_field_item(&field, i);
			if (config->catalogues[i][0] != '/')
				r = ygr_field_expected(&item, error, "an absolute path of a catalogue file");
		}
		return r;
	}
	config->catalogues = calloc(2, sizeof(*config->catalogues));
	if (!config->catalogues)
		return ygr_error_set(error, ENOMEM, "out of memory");
	config->catalogue_count = 1;
	return set(&config->catalogues[0], YGR_PATH_CATALOGUE, error);
}

static int decode_host_actions(const struct ygr_field *field, struct ygr_config *config,
			       struct ygr_error *error)
{
	static const char *const words[] = {"disk", "net", "pause", "stop", "snapshot", NULL};
	size_t count;
	int word, r = ygr_field_array(field, 0, 5, &count, error);

	if (r == 0)
		config->host_actions = 0;
	for (size_t i = 0; i < count && r == 0; i++) {
		struct ygr_field item = ygr_field_item(field, i);
		r = ygr_field_enum(&item, words, &word, error);
		if (r == 0)
			config->host_actions |= 1u << word;
	}
	return r;
}

static int decode_snapshots(const struct ygr_field *field, struct ygr_config *config,
			    struct ygr_error *error)
{
	static const char *const known[] = {"directory", "perVM", NULL};
	int r = ygr_field_object(field, known, error);

	if (r == 0)
		r = decode_path(field, "directory", &config->snapshot_directory, error);
	return r < 0 ? r : decode_number(field, "perVM", 0, 100, &config->snapshots_per_vm, error);
}

static int decode_enforce(const struct ygr_field *root, struct ygr_config *config, struct ygr_error *error)
{
	struct ygr_field field;
	int r = decode_path(root, "stateDir", &config->state_directory, error);

	if (r == 0)
		r = decode_path(root, "pinDir", &config->pin_directory, error);
	if (r == 0 && ygr_field_member(root, "allowedHostActions", &field))
		r = decode_host_actions(&field, config, error);
	if (r == 0 && ygr_field_member(root, "snapshots", &field))
		r = decode_snapshots(&field, config, error);
	return r;
}

static int decode_rest(const struct ygr_field *root, struct ygr_config *config, struct ygr_error *error)
{
	struct ygr_field field;
	int r = decode_listen(root, config, error);

	if (r == 0)
		r = decode_catalogue(root, config, error);
	if (r == 0)
		r = decode_path(root, "manifests", &config->manifests, error);
	if (r == 0)
		r = decode_path(root, "hvsockRoot", &config->hvsock_root, error);
	if (r == 0)
		r = decode_path(root, "sessionProgram", &config->session_program, error);
	if (r == 0)
		r = decode_path(root, "shim", &config->shim, error);
	if (r == 0)
		r = decode_number(root, "uidBase", 1000, UINT32_MAX - 65536, &config->uid_base, error);
	if (r == 0)
		r = decode_number(root, "uidCount", 16, 65536, &config->uid_count, error);
	if (r == 0 && ygr_field_member(root, "allowShared", &field))
		r = ygr_field_bool(&field, &config->allow_shared, error);
	return r < 0 ? r : decode_enforce(root, config, error);
}

static int decode(const struct ygr_field *root, struct ygr_config *config, struct ygr_error *error)
{
	static const char *const known[] = {"node",
					    "libvirt",
					    "manifests",
					    "hvsockRoot",
					    "keys",
					    "listen",
					    "socket",
					    "catalogue",
					    "uidBase",
					    "uidCount",
					    "sessionProgram",
					    "shim",
					    "events",
					    "allowShared",
					    "stateDir",
					    "pinDir",
					    "allowedHostActions",
					    "snapshots",
					    "kubernetes",
					    NULL};
	struct ygr_field field;
	int r = ygr_field_object(root, known, error);

	if (r == 0 && ygr_field_member(root, "node", &field)) {
		r = ygr_field_dup(&field, 1, YGR_API_NAME_MAX, &config->node, error);
		if (r == 0 && !ygr_name_is_subdomain(config->node))
			r = ygr_field_expected(&field, error,
					       "a name of lower case letters, digits, '-' and '.'");
	}
	if (r == 0 && ygr_field_member(root, "libvirt", &field))
		r = decode_libvirt(&field, config, error);
	if (r == 0 && ygr_field_member(root, "keys", &field))
		r = decode_keys(&field, config, error);
	if (r == 0 && ygr_field_member(root, "socket", &field))
		r = decode_socket(&field, config, error);
	if (r == 0 && ygr_field_member(root, "events", &field))
		r = decode_events(&field, config, error);
	if (r == 0 && ygr_field_member(root, "kubernetes", &field))
		r = decode_kubernetes(&field, config, error);
	return r < 0 ? r : decode_rest(root, config, error);
}

int ygr_config_read(const char *path, struct ygr_config *ret, struct ygr_error *error)
{
	struct ygr_config config = {0};
	struct ygr_doc **docs;
	size_t count;
	int r = ygr_yaml_read(path, NULL, &docs, &count, error);

	if (r < 0)
		return r;
	r = set_defaults(&config, error);
	if (r == 0 && count != 1)
		r = ygr_error_set(error, EINVAL, "%s: expected one document, found %zu", path, count);
	if (r == 0) {
		struct ygr_field root = ygr_field_root(docs[0]);
		r = decode(&root, &config, error);
	}
	ygr_docs_free(docs, count);
	if (r < 0) {
		ygr_config_deinit(&config);
		return r;
	}
	*ret = config;
	return 0;
}

void ygr_config_deinit(struct ygr_config *config)
{
	free(config->node);
	free(config->libvirt_uri);
	free(config->libvirt_run_dir);
	ygr_strings_free(config->libvirt_domains, config->libvirt_domain_count);
	free(config->manifests);
	free(config->hvsock_root);
	free(config->key);
	free(config->cert);
	free(config->listen);
	free(config->socket_path);
	free(config->socket_group);
	ygr_strings_free(config->catalogues, config->catalogue_count);
	free(config->session_program);
	free(config->shim);
	free(config->events_file);
	free(config->state_directory);
	free(config->pin_directory);
	free(config->snapshot_directory);
	free(config->kubeconfig);
	free(config->kube_context);
	free(config->kube_namespace);
	*config = (struct ygr_config){0};
}
