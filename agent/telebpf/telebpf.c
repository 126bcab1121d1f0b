/* The room itself, the uids it gives out, and dialling on a worker; see telebpf.h and room.h. */
#include "agent/telebpf/room.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/telebpf/confine/cgroup.h"
#include "lib/base/uuid.h"
#include "lib/wire/transport.h"

#define DIAL_TIMEOUT_MS      5000
#define HANDSHAKE_TIMEOUT_MS 5000

static bool copy(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return !from || *to;
}

int ygr_telebpf_new(const struct ygr_telebpf_options *options, struct ygr_telebpf **ret)
{
	struct ygr_telebpf *telebpf = calloc(1, sizeof(*telebpf));
	if (!telebpf)
		return -ENOMEM;
	telebpf->references = 1;
	telebpf->loop = options->loop;
	telebpf->bus = options->bus;
	telebpf->identity = options->identity;
	telebpf->catalogue = options->catalogue;
	telebpf->uid_base = options->uid_base;
	telebpf->uid_count = options->uid_count;
	telebpf->allow_shared = options->allow_shared;
	telebpf->ping_ms = options->ping_ms ? options->ping_ms : YGR_PING_MS;
	if (!copy(&telebpf->node, options->node) || !copy(&telebpf->hvsock_root, options->hvsock_root) ||
	    !copy(&telebpf->session_program, options->session_program) ||
	    !copy(&telebpf->shim, options->shim)) {
		ygr_telebpf_free(telebpf);
		return -ENOMEM;
	}
	*ret = telebpf;
	return 0;
}

/*
 * Sessions remove the groups of their applications, but not the one above, which needs rights that they gave up.
 * A group below it that is made and removed takes it along when it is empty.
 */
static void remove_groups(void)
{
	ygr_cgroup_clear("yagura/agent");
}

struct ygr_telebpf *ygr_telebpf_ref(struct ygr_telebpf *telebpf)
{
	telebpf->references++;
	return telebpf;
}

void ygr_telebpf_unref(struct ygr_telebpf *telebpf)
{
	if (--telebpf->references)
		return;
	remove_groups();
	free(telebpf->node);
	free(telebpf->hvsock_root);
	free(telebpf->session_program);
	free(telebpf->shim);
	free(telebpf);
}

struct ygr_telebpf *ygr_telebpf_free(struct ygr_telebpf *telebpf)
{
	if (telebpf)
		ygr_telebpf_unref(telebpf);
	return NULL;
}

/* Uids: a list of those in use; first choice by hash, so that they rarely change over restarts. */

struct ygr_uid {
	struct ygr_uid *next;
	uid_t uid;
	unsigned holders;
	char key[];
};

static uint32_t hash(const char *text)
{
	uint32_t h = 2166136261u; /* FNV-1a */
	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * 16777619u;
	return h;
}

static bool in_use(const struct ygr_telebpf *telebpf, uid_t uid)
{
	for (const struct ygr_uid *u = telebpf->uids; u; u = u->next)
		if (u->uid == uid)
			return true;
	return false;
}

int ygr_uid_hold(struct ygr_telebpf *telebpf, const char *monitor, const char *vm, uid_t *ret_uid)
{
	char key[512];
	snprintf(key, sizeof(key), "%s %s", monitor, vm);
	for (struct ygr_uid *u = telebpf->uids; u; u = u->next)
		if (strcmp(u->key, key) == 0) {
			u->holders++;
			*ret_uid = u->uid;
			return 0;
		}

	uint32_t start = hash(key), tried = 0;
	uid_t uid;
	do {
		if (tried == telebpf->uid_count)
			return -ENOSPC;
		uid = telebpf->uid_base + (start + tried++) % telebpf->uid_count;
	} while (in_use(telebpf, uid));

	struct ygr_uid *u = malloc(sizeof(*u) + strlen(key) + 1);
	if (!u)
		return -ENOMEM;
	*u = (struct ygr_uid){.next = telebpf->uids, .uid = uid, .holders = 1};
	strcpy(u->key, key);
	telebpf->uids = u;
	*ret_uid = uid;
	return 0;
}

void ygr_uid_release(struct ygr_telebpf *telebpf, uid_t uid)
{
	for (struct ygr_uid **link = &telebpf->uids; *link; link = &(*link)->next) {
		struct ygr_uid *u = *link;
		if (u->uid != uid)
			continue;
		if (--u->holders == 0) {
			*link = u->next;
			free(u);
		}
		return;
	}
}

/* Dialling. */

static void dial_work(uv_work_t *work)
{
	struct ygr_dial *dial = work->data;
	char *text = NULL;
	int r = ygr_transport_dial(dial->address, dial->telebpf->hvsock_root, DIAL_TIMEOUT_MS, &dial->fd,
				   &dial->error);
	if (r == 0)
		r = ygr_handshake_node(dial->fd, dial->purpose, dial->vm, dial->telebpf->identity,
				       HANDSHAKE_TIMEOUT_MS, &text, &dial->error);
	if (r == 0) {
		json_error_t where;
		dial->welcome = json_loads(text, JSON_REJECT_DUPLICATES, &where);
		if (!json_is_object(dial->welcome))
			r = ygr_error_set(&dial->error, EPROTO,
					  "the guest's WELCOME is not a JSON object: %s", where.text);
	}
	free(text);
	if (r == 0 && dial->also)
		r = dial->also(dial);
	if (r < 0 && dial->fd >= 0) {
		close(dial->fd);
		dial->fd = -1;
	}
}

static void dial_done(uv_work_t *work, int status)
{
	struct ygr_dial *dial = work->data;
	(void)status; /* UV_ECANCELED leaves fd at -1 */
	dial->done(dial);
}

struct ygr_dial *ygr_dial_start(struct ygr_telebpf *telebpf, const struct ygr_link_target *target,
				enum ygr_purpose purpose, int (*also)(struct ygr_dial *dial),
				void (*done)(struct ygr_dial *dial), void *user)
{
	struct ygr_dial *dial = calloc(1, sizeof(*dial));
	if (!dial)
		return NULL;
	*dial = (struct ygr_dial){.telebpf = ygr_telebpf_ref(telebpf),
				  .purpose = purpose,
				  .fd = -1,
				  .also = also,
				  .done = done,
				  .user = user};
	dial->work.data = dial;
	dial->address = strdup(target->address);
	if (!dial->address || ygr_uuid_parse(target->uuid, dial->vm) < 0 ||
	    uv_queue_work(telebpf->loop, &dial->work, dial_work, dial_done) < 0)
		return ygr_dial_free(dial);
	return dial;
}

struct ygr_dial *ygr_dial_free(struct ygr_dial *dial)
{
	if (!dial)
		return NULL;
	if (dial->fd >= 0)
		close(dial->fd);
	json_decref(dial->welcome);
	ygr_telebpf_unref(dial->telebpf);
	free(dial->address);
	free(dial);
	return NULL;
}

const char *ygr_dial_reason(int code)
{
	switch (code) {
	case EKEYREJECTED:
	case EKEYEXPIRED:
		return "NodeNotTrusted";
	case ENOTUNIQ:
		return "WrongGuest";
	case EACCES:
	case EPERM:
		return "ForbiddenByOwner";
	case ECONNREFUSED:
		return "GuestProgramMissing";
	case EHOSTDOWN:
	case ECONNRESET:
	case EPIPE:
		return "ChannelLost";
	case ETIMEDOUT:
		return "GuestSilent";
	case EPROTO:
	case EPROTONOSUPPORT:
	case EMSGSIZE:
		return "ProtocolError";
	case EMFILE:
	case EBUSY:
		return "GuestBusy";
	default:
		return "ChannelFailed";
	}
}
