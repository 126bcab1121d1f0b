/* What was refused: counted each time, and said once for each sentence, as far as there is room to remember them. */
#include "agent/telebpf/session/session.h"

static bool remember(struct ygr_session *session, const char *message)
{
	uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */

	for (const char *c = message; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
	for (uint32_t i = 0; i < session->refusals; i++)
		if (session->refusal_hashes[i] == hash)
			return false;
	if (session->refusals == YGR_SESSION_REFUSALS)
		return false;
	session->refusal_hashes[session->refusals++] = hash;
	return true;
}

static void report(struct ygr_session *session, const char *reason, const char *message)
{
	session->counters.refused++;
	if (remember(session, message))
		ygr_report_error(&session->report, reason, "%s", message);
}

void ygr_refused_by_owner(struct ygr_session *session, const char *message)
{
	report(session, "ForbiddenByOwner", message);
}

void ygr_refused_by_catalogue(struct ygr_session *session, const char *message)
{
	report(session, "ForbiddenByCatalogue", message);
}
