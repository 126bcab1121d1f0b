/* agent.yaml: what the administrator says. Decoded strictly; every error names file, line, column and field.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/error.h"

#define YGR_CONFIG_CATALOGUES_MAX 64
#define YGR_CONFIG_DOMAINS_MAX    256

struct ygr_config {
	char *node;             /* default: the host's name */
	char *libvirt_uri;      /* qemu:///system */
	char *libvirt_run_dir;  /* /run/libvirt/qemu */
	char **libvirt_domains; /* shell patterns of names; none: all domains */
	size_t libvirt_domain_count;
	char *manifests;   /* directory */
	char *hvsock_root; /* NULL: hybrid sockets are refused */
	char *key, *cert;  /* the node's identity */
	char *listen;      /* 127.0.0.1:9720; NULL when "Off" */
	char *socket_path;
	char *socket_group; /* NULL: root only */
	char **catalogues;  /* files */
	size_t catalogue_count;
	uint32_t uid_base, uid_count;
	char *session_program, *shim;
	bool allow_shared;
	char *events_file; /* NULL: none */
	uint64_t events_file_bytes;
	uint32_t events_file_keep;
	bool events_log;
	char *state_directory;               /* /var/lib/yagura */
	char *pin_directory;                 /* /sys/fs/bpf/yagura */
	unsigned host_actions;               /* YGR_HOST_ACTION_*: what policies may make the node do */
	char *snapshot_directory;            /* /var/lib/yagura/snapshots */
	uint32_t snapshots_per_vm;           /* 2 */
	bool kubernetes;                     /* desired state from the API server, and VMGuests to it */
	char *kubeconfig;                    /* NULL: as kubectl or a pod would find it */
	char *kube_context, *kube_namespace; /* NULL: the kubeconfig's or the pod's */
};

/* allowedHostActions: disk, net, pause, stop, snapshot. */
#define YGR_HOST_ACTION_DISK     1u
#define YGR_HOST_ACTION_NET      2u
#define YGR_HOST_ACTION_PAUSE    4u
#define YGR_HOST_ACTION_STOP     8u
#define YGR_HOST_ACTION_SNAPSHOT 16u

/* Reads PATH. On error *ret is untouched. */
int ygr_config_read(const char *path, struct ygr_config *ret, struct ygr_error *error);
void ygr_config_deinit(struct ygr_config *config);
