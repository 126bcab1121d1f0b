/* The first line on the control socket: what this session is for (session.md), decoded and checked. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/telebpf/session/memory.h"
#include "agent/telebpf/session/ring.h"
#include "agent/telebpf/session/welcome.h"
#include "lib/base/error.h"
#include "lib/wire/message.h"

#define YGR_SESSION_START_SECONDS 30
#define YGR_SESSION_LINE_MAX      (1u << 20)
#define YGR_SESSION_ARGS_MAX      256

enum ygr_wake { YGR_WAKE_ADAPTIVE, YGR_WAKE_NOTIFY };

/* Strings belong to JSON. */
struct ygr_session_config {
	json_t *json;
	uint8_t session_id[16];
	const char *executable;
	bool has_sha256;
	uint8_t sha256[32];
	char *argv[YGR_SESSION_ARGS_MAX + 1];
	char *envp[YGR_SESSION_ARGS_MAX + 1]; /* NAME=VALUE, owned */
	const char *shim;                     /* NULL: none */
	uid_t uid;
	gid_t gid;
	enum ygr_delivery delivery;
	enum ygr_wake wake;
	uint32_t spin_us;
	uint32_t start_seconds; /* until the application runs */
	uint64_t memory;
	uint32_t cpu_milli, pids;
	const char *cgroup;
	const char *grant; /* the signed text */
	struct ygr_cert grant_cert;
	uint8_t grant_signature[64];
	struct ygr_welcome guest;
	unsigned region_count; /* 0: no RAM */
	struct ygr_ram_region regions[YGR_RAM_REGIONS_MAX];
	bool trace, explain;
};

/* Decodes LINE (LENGTH bytes). -EINVAL with the field's name, -ENOMEM. */
int ygr_session_config_init(struct ygr_session_config *config, const char *line, size_t length,
			    struct ygr_error *error);
void ygr_session_config_deinit(struct ygr_session_config *config);
