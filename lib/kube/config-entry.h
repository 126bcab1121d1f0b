/* One entry of a kubeconfig into a configuration. Inside lib/kube. */
#pragma once

#include "lib/base/decode.h"
#include "lib/kube/config.h"

struct ygr_kube_kind {
	const char *list, *body; /* "clusters", "cluster" */
};

/* Where the entry stands; its fields point at each other, so it is not copied. */
struct ygr_kube_entry {
	struct ygr_field root, list, item, body;
	const char *directory; /* of its file */
};

/* Member KEY as text, copied; nothing when it is absent or empty. */
int ygr_kube_entry_text(const struct ygr_field *object, const char *key, char **ret,
			struct ygr_error *error);

int ygr_kube_entry_cluster(const struct ygr_kube_entry *entry, struct ygr_kube_config *config,
			   struct ygr_error *error);
int ygr_kube_entry_user(const struct ygr_kube_entry *entry, struct ygr_kube_config *config,
			struct ygr_error *error);

/* Is SERVER "http://..." or "https://..." with a host? Slashes at its end are taken away. */
bool ygr_kube_server_settle(char *server);
