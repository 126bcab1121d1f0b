/* The inside of the agent's half of this room: what telebpf.c, link.c and application.c share. */
#pragma once

#include "agent/telebpf/catalogue.h"
#include "agent/telebpf/telebpf.h"

struct ygr_telebpf {
	uv_loop_t *loop;
	struct ygr_bus *bus;
	char *node;
	const struct ygr_identity *identity;
	const struct ygr_catalogue *catalogue;
	char *hvsock_root, *session_program, *shim;
	uid_t uid_base;
	uint32_t uid_count;
	struct ygr_uid *uids;
	bool allow_shared;
	uint32_t ping_ms;
	/* Those that have a control group, and those that wait for one of the same name: application-group.c. */
	struct ygr_application *groups, *waiting;
	unsigned references; /* owner, and everything whose closing may outlast ygr_telebpf_free() */
};

struct ygr_telebpf *ygr_telebpf_ref(struct ygr_telebpf *telebpf);
void ygr_telebpf_unref(struct ygr_telebpf *telebpf);

/* What a dial on a worker needs and gives. Used by links and by applications. */
struct ygr_dial {
	uv_work_t work;
	struct ygr_telebpf *telebpf;
	char *address;
	uint8_t vm[16];
	enum ygr_purpose purpose;
	int fd; /* result, -1 on failure */
	json_t *welcome;
	struct ygr_error error;
	/* More to do on the worker once connected, or NULL: 0 or -errno with dial->error. */
	int (*also)(struct ygr_dial *dial);
	void (*done)(
	    struct ygr_dial *dial); /* on the loop, also after a failure; frees it with ygr_dial_free() */
	void *user;
};

/* Dials a guest and authenticates for PURPOSE on a worker. ALSO may be NULL. NULL without memory. */
struct ygr_dial *ygr_dial_start(struct ygr_telebpf *telebpf, const struct ygr_link_target *target,
				enum ygr_purpose purpose, int (*also)(struct ygr_dial *dial),
				void (*done)(struct ygr_dial *dial), void *user);
struct ygr_dial *ygr_dial_free(struct ygr_dial *dial);

/* CamelCase reason for an error of dialling or of the guest's refusal. */
const char *ygr_dial_reason(int code);

/* The link's target; borrowed. */
const struct ygr_link_target *ygr_link_target(const struct ygr_link *link);

/*
 * The uid of applications of MONITOR ("namespace/name") on VM (UUID): the same for all of them while one is
 * held, and nobody else's. -ENOSPC when the range is used up.
 */
int ygr_uid_hold(struct ygr_telebpf *telebpf, const char *monitor, const char *vm, uid_t *ret_uid);
void ygr_uid_release(struct ygr_telebpf *telebpf, uid_t uid);
