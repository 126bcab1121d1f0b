/*
 * `yagura release`: an HTTP thread puts its question into a list and waits for the loop's answer, for a bounded time.
 * Who has the socket may ask; a release ends actions, and never begins any.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/reconcile/policy.h"
#include "lib/base/log.h"

#define WAIT_S      5
#define WAITING_MAX 16

struct question {
	const char *namespace_, *vm, *rule; /* of the thread that waits */
	uid_t who;
	int answer;
	bool done;
	struct question *next;
};

struct ygr_releases {
	struct ygr_reconcile *reconcile;
	uv_async_t async;
	pthread_mutex_t lock;
	pthread_cond_t answered;
	struct question *first;
	unsigned count;
};

static void answer(struct ygr_releases *releases, struct question *question)
{
	struct ygr_enforce *enforce = releases->reconcile->options.enforce;

	question->answer =
	    enforce ? ygr_enforce_release(enforce, question->namespace_, question->vm, question->rule)
		    : -ENOENT;
	if (question->answer > 0)
		ygr_log(YGR_LOG_INFO, "enforce", "uid %u released %d actions on %s/%s",
			(unsigned)question->who, question->answer, question->namespace_, question->vm);
	question->done = true;
}

static void on_async(uv_async_t *async)
{
	struct ygr_releases *releases = async->data;

	pthread_mutex_lock(&releases->lock);
	for (struct question *question = releases->first; question; question = question->next)
		if (!question->done)
			answer(releases, question);
	pthread_cond_broadcast(&releases->answered);
	pthread_mutex_unlock(&releases->lock);
}

/* With the lock held: puts QUESTION in, waits, takes it out. */
static int ask(struct ygr_releases *releases, struct question *question)
{
	struct timespec until;
	int r = 0;

	if (releases->count == WAITING_MAX)
		return -EBUSY;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	question->next = releases->first;
	releases->first = question;
	releases->count++;
	uv_async_send(&releases->async);
	while (!question->done && r == 0)
		r = pthread_cond_timedwait(&releases->answered, &releases->lock, &until);
	for (struct question **at = &releases->first; *at; at = &(*at)->next)
		if (*at == question) {
			*at = question->next;
			break;
		}
	releases->count--;
	return question->done ? question->answer : -EAGAIN;
}

int ygr_reconcile_release(void *user, const struct ygr_peer *peer, const json_t *request,
			  json_t **ret_answer, struct ygr_error *error)
{
	struct ygr_releases *releases = ((struct ygr_reconcile *)user)->releases;
	struct question question = {
	    .namespace_ = json_string_value(json_object_get(request, "namespace")) ?: YGR_NAMESPACE_DEFAULT,
	    .vm = json_string_value(json_object_get(request, "vm")),
	    .rule = json_string_value(json_object_get(request, "rule")),
	    .who = peer->uid,
	};

	if (!releases || !question.vm)
		return ygr_error_set(error, EINVAL, "vm: expected the name of a VM");
	pthread_mutex_lock(&releases->lock);
	int r = ask(releases, &question);
	pthread_mutex_unlock(&releases->lock);
	if (r == -ENOENT)
		return ygr_error_set(error, ENOENT, "there is no VM %s/%s on this node", question.namespace_,
				     question.vm);
	if (r < 0)
		return ygr_error_set(error, EAGAIN, "the agent is busy: %s", strerror(-r));
	*ret_answer = json_pack("{s:i}", "released", r);
	return 0;
}

int ygr_releases_new(struct ygr_reconcile *reconcile, struct ygr_releases **ret)
{
	struct ygr_releases *releases = calloc(1, sizeof(*releases));

	if (!releases)
		return -ENOMEM;
	releases->reconcile = reconcile;
	pthread_mutex_init(&releases->lock, NULL);
	pthread_cond_init(&releases->answered, NULL);
	if (uv_async_init(reconcile->options.loop, &releases->async, on_async) < 0) {
		free(releases);
		return -ENOMEM;
	}
	releases->async.data = releases;
	*ret = releases;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct ygr_releases *releases = handle->data;

	pthread_cond_destroy(&releases->answered);
	pthread_mutex_destroy(&releases->lock);
	free(releases);
}

/* HTTP has been stopped: nobody waits any more. */
struct ygr_releases *ygr_releases_free(struct ygr_releases *releases)
{
	if (releases)
		uv_close((uv_handle_t *)&releases->async, on_closed);
	return NULL;
}
