/*
 * What the session gives up for itself once its application runs: it still parses what an application and a
 * guest send, and a mistake there should not be worth much.
 */
#include <errno.h>
#include <sys/prctl.h>

#include "agent/telebpf/confine/child.h"

int ygr_confine_self(bool traced, struct ygr_error *error)
{
	/* What is traced already can be traced on without any right. */
	int r = ygr_confine_keep_capabilities(0, error);

	if (r < 0)
		return r;
	if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return ygr_error_set(error, errno, "cannot give up privileges: %m");
	return ygr_confine_filter_session(traced, error);
}
