/* The first line on a session's control connection (session.md), made by the agent. */
#pragma once

#include "agent/telebpf/room.h"

/* The parts of the line that a worker makes: hash, grant and its signature. */
struct ygr_session_grant {
	char sha256[65];
	char *text;            /* the signed JSON */
	char certificate[512]; /* base64 */
	char signature[128];
};

/*
 * Hashes the executable and signs a grant for VM. ENTRY is NULL for an ad-hoc run of PATH. For workers. 0,
 * or -errno with a sentence. deinit frees it.
 */
int ygr_session_grant_make(const struct ygr_identity *identity, const struct ygr_catalogue_entry *entry,
			   const char *path, const char *vm, struct ygr_session_grant *ret,
			   struct ygr_error *error);
void ygr_session_grant_deinit(struct ygr_session_grant *grant);

/* The whole line with its newline; NULL without memory. */
char *ygr_session_line(const struct ygr_telebpf *telebpf, const struct ygr_application_options *options,
		       const struct ygr_link_target *vm, const char *executable, const char *delivery,
		       uid_t uid, const char *cgroup, const uint8_t session_id[16],
		       const struct ygr_session_grant *grant, json_t *welcome);
