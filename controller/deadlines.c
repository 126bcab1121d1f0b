/* See deadlines.h. An entry lives from the daemon's STARTED to its CLOSED, which comes before the descriptor is closed. */
#include "controller/deadlines.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

struct ygr_deadline {
	struct ygr_deadline *next, **link;
	int fd;
	int64_t until; /* monotonic seconds */
};

static int64_t now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

void ygr_deadlines_init(struct ygr_deadlines *deadlines, int first_seconds)
{
	*deadlines = (struct ygr_deadlines){.first_seconds = first_seconds};
	pthread_mutex_init(&deadlines->lock, NULL);
}

void ygr_deadlines_deinit(struct ygr_deadlines *deadlines)
{
	pthread_mutex_destroy(&deadlines->lock);
}

static struct ygr_deadline *began(struct ygr_deadlines *deadlines, struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct ygr_deadline *deadline = calloc(1, sizeof(*deadline));

	if (!deadline)
		return NULL; /* this one has MHD's own limit only */
	deadline->fd = info ? info->connect_fd : -1;
	deadline->until = now() + deadlines->first_seconds;
	pthread_mutex_lock(&deadlines->lock);
	deadline->next = deadlines->list;
	deadline->link = &deadlines->list;
	if (deadline->next)
		deadline->next->link = &deadline->next;
	deadlines->list = deadline;
	pthread_mutex_unlock(&deadlines->lock);
	return deadline;
}

static void ended(struct ygr_deadlines *deadlines, struct ygr_deadline *deadline)
{
	pthread_mutex_lock(&deadlines->lock);
	*deadline->link = deadline->next;
	if (deadline->next)
		deadline->next->link = deadline->link;
	pthread_mutex_unlock(&deadlines->lock);
	free(deadline);
}

void ygr_deadlines_notify(void *user, struct MHD_Connection *mhd, void **state,
			  enum MHD_ConnectionNotificationCode what)
{
	if (what == MHD_CONNECTION_NOTIFY_STARTED)
		*state = began(user, mhd);
	else if (*state) {
		ended(user, *state);
		*state = NULL;
	}
}

void ygr_deadlines_allow(struct ygr_deadlines *deadlines, struct MHD_Connection *mhd, int seconds)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct ygr_deadline *deadline = info ? info->socket_context : NULL;

	if (!deadline)
		return;
	pthread_mutex_lock(&deadlines->lock);
	if (deadline->until != INT64_MAX) /* it is cut off already */
		deadline->until = now() + seconds;
	pthread_mutex_unlock(&deadlines->lock);
}

unsigned ygr_deadlines_cut(struct ygr_deadlines *deadlines)
{
	int64_t time = now();
	unsigned count = 0;

	pthread_mutex_lock(&deadlines->lock);
	for (struct ygr_deadline *deadline = deadlines->list; deadline; deadline = deadline->next)
		if (time > deadline->until) {
			(void)shutdown(deadline->fd, SHUT_RDWR);
			deadline->until = INT64_MAX;
			count++;
		}
	pthread_mutex_unlock(&deadlines->lock);
	return count;
}
