/*
 * When an application that was started may be said to run: when a program of its is attached in the guest. One that
 * attaches nothing is taken to run when it has asked the guest for nothing for a while, with no answer outstanding, so
 * that a guest that has stopped answering in the middle of the start is not called a success.
 */
#include "agent/telebpf/session/session.h"

#define QUIET_NS 10000000000ull

void ygr_progress_asked(struct ygr_session *session)
{
	if (!session->working)
		session->quiet_at = ygr_session_now() + QUIET_NS;
}

static bool is_waiting(const struct ygr_session *session)
{
	for (unsigned i = 0; i < YGR_SESSION_PROCESSES; i++)
		if (session->locals[i] && session->locals[i]->process->pending)
			return true;
	return false;
}

void ygr_progress_tick(struct ygr_session *session, uint64_t now, bool owed)
{
	if (!session->started || session->working || (!session->attached && now < session->quiet_at))
		return;
	if (!session->attached && (owed || is_waiting(session))) {
		ygr_progress_asked(session);
		return;
	}
	session->working = true;
	session->quiet_at = 0;
	ygr_report_object(&session->report,
			  json_pack("{s:s, s:b}", "event", "running", "attached", session->attached));
}
