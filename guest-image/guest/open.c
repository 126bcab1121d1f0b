/*
 * OPEN: who signed the grant, for which VM, until when, and whether the owner takes such programs. Nothing
 * of the grant is parsed before its signature was found good.
 */
#include "guest-image/guest/session.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <time.h>

#include "guest-image/guest/ask.h"
#include "guest-image/guest/crypto.h"
#include "lib/base/log.h"
#include "lib/wire/signed.h"

#define HEAP_BASE (8u << 20) /* what a session's process needs beside limits.memory */

static int check_grant(const struct ygr_guest_session *session, const struct ygr_grant *grant, int64_t now,
		       struct ygr_error *error)
{
	const char *program = ygr_grant_program(grant), *vm = ygr_grant_vm(grant);

	if (ygr_grant_not_after(grant) < now)
		return ygr_error_set(error, EKEYEXPIRED, "%s: the grant has expired", program);
	if (session->vm[0] && strcasecmp(session->vm, vm) != 0)
		return ygr_error_set(error, EACCES, "%s: the grant is for VM %s, this is %s", program, vm,
				     session->vm);
	if (strncmp(program, "adhoc:", 6) == 0 && !session->config->adhoc)
		return ygr_error_set(error, EACCES,
				     "%s: not in the catalogue, and sessions.adhoc in guest.yaml is not set",
				     program);
	return 0;
}

static int read_grant(struct ygr_guest_session *session, const struct ygr_open *open, const char *json,
		      struct ygr_error *error)
{
	int64_t now = time(NULL);
	int r = ygr_grant_verify(&open->cert, open->signature, json, open->grant_length, session->root, now,
				 &ygr_crypto_sodium, error);
	if (r < 0)
		return r;

	json_error_t where;
	json_t *document = json_loadb(json, open->grant_length, JSON_REJECT_DUPLICATES, &where);
	if (!document)
		return ygr_error_set(error, EPROTO, "grant: not JSON: %s", where.text);
	struct ygr_grant *grant = ygr_grant_new_json(document, true, error);
	json_decref(document);
	if (!grant)
		return error && error->code ? -error->code : -ENOMEM;
	r = check_grant(session, grant, now, error);
	if (r < 0) {
		ygr_grant_free(grant);
		return r;
	}
	session->grant = grant;
	return 0;
}

static uint64_t least(uint64_t a, uint64_t b, uint64_t c)
{
	a = a < b ? a : b;
	return a < c ? a : c;
}

/* Where the kernel can hold this process to a bound by itself, it does. */
static void apply_limits(struct ygr_guest_session *session)
{
	const struct ygr_guest_config *config = session->config;
	session->memory =
	    least(config->memory, ygr_grant_max_memory(session->grant), ygr_grant_max_memory(config->allow));
	session->handles.max = (uint32_t)least(session->handles.max, ygr_grant_max_handles(session->grant),
					       ygr_grant_max_handles(config->allow));

	struct rlimit descriptors = {session->handles.max + 1024, session->handles.max + 1024};
	(void)setrlimit(RLIMIT_NOFILE, &descriptors); /* the handle table holds the same bound */
#ifndef __SANITIZE_ADDRESS__ /* whose shadow memory alone is beyond any such limit */
	struct rlimit data = {session->memory + HEAP_BASE, session->memory + HEAP_BASE};
	if (setrlimit(RLIMIT_DATA, &data) < 0)
		ygr_log(YGR_LOG_WARNING, "session", "memory cannot be bounded: %s", strerror(errno));
#endif
}

static int try_open(struct ygr_guest_session *session, const struct ygr_frame *frame,
		    struct ygr_error *error)
{
	struct ygr_open open;
	if (session->open)
		return ygr_error_set(error, EPROTO, "OPEN on a session that is open");
	if (frame->length < sizeof(open))
		return ygr_error_set(error, EPROTO, "OPEN of %u bytes", frame->length);
	memcpy(&open, frame->payload, sizeof(open));
	if (open.grant_length != frame->length - sizeof(open))
		return ygr_error_set(error, EPROTO, "OPEN of %u bytes with a grant of %u", frame->length,
				     open.grant_length);
	if (session->config->broken.code)
		return ygr_error_set(error, EACCES, "no session is let in: %s",
				     session->config->broken.message);

	int r = read_grant(session, &open, (const char *)frame->payload + sizeof(open), error);
	if (r < 0)
		return r;
	struct ygr_ask ask = {.what = YGR_ASK_SESSION};
	memcpy(ask.id, open.session_id, sizeof(ask.id));
	r = ygr_ask(session->server_fd, &ask, -1);
	if (r == -EMFILE)
		return ygr_error_set(error, EMFILE,
				     "%u sessions are running, as many as sessions.max allows",
				     session->config->max_sessions);
	if (r < 0)
		return ygr_error_set(error, -r, "the session cannot begin: %s", strerror(-r));
	memcpy(session->id, open.session_id, sizeof(session->id));
	return 0;
}

int ygr_guest_open(struct ygr_guest_session *session, const struct ygr_frame *frame, struct ygr_error *error)
{
	int r = try_open(session, frame, error);
	if (r < 0)
		return r;
	apply_limits(session);
	session->open = true;
	ygr_log(YGR_LOG_INFO, "session", "%s begins", ygr_grant_program(session->grant));
	return ygr_guest_link_send(&session->link, YGR_MSG_OPENED, frame->id, NULL, 0);
}
