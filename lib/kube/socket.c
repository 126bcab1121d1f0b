/* libcurl's sockets and timer on the loop, as curl_multi_socket_action(3) wants it. */
#include <errno.h>
#include <stdlib.h>

#include "lib/kube/call.h"

struct watched {
	uv_poll_t poll;
	struct ygr_kube *kube;
	curl_socket_t fd;
};

/* What was cancelled while libcurl could not let go of it. */
static void reap(struct ygr_kube *kube)
{
	for (struct ygr_kube_call *call = kube->first, *next; call; call = next) {
		next = call->next;
		if (call->cancelled)
			ygr_kube_call_free(call);
	}
}

static void act(struct ygr_kube *kube, curl_socket_t fd, int events)
{
	int running, left;
	CURLMsg *message;

	if (kube->closing)
		return;
	ygr_kube_enter(kube);
	kube->in_curl = true;
	curl_multi_socket_action(kube->multi, fd, events, &running);
	kube->in_curl = false;
	reap(kube);
	while (!kube->closing && (message = curl_multi_info_read(kube->multi, &left))) {
		struct ygr_kube_call *call = NULL;
		CURLcode result = message->data.result;
		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call);
		ygr_kube_transfer_ended(call, result);
	}
	ygr_kube_leave(kube);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct watched *watched = poll->data;
	int flags = status < 0 ? CURL_CSELECT_ERR : 0;

	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	act(watched->kube, watched->fd, flags);
}

static void on_timeout(uv_timer_t *timer)
{
	act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static void on_poll_closed(uv_handle_t *handle)
{
	struct watched *watched = handle->data;
	struct ygr_kube *kube = watched->kube;

	free(watched);
	if (--kube->open_handles == 0)
		free(kube);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *assigned)
{
	struct ygr_kube *kube = user;
	struct watched *watched = assigned;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (watched) {
			uv_poll_stop(&watched->poll);
			uv_close((uv_handle_t *)&watched->poll, on_poll_closed);
			curl_multi_assign(kube->multi, fd, NULL);
		}
		return 0;
	}
	if (!watched) {
		watched = calloc(1, sizeof(*watched));
		if (!watched)
			return -1;
		if (uv_poll_init_socket(kube->loop, &watched->poll, fd) < 0) {
			free(watched);
			return -1;
		}
		watched->poll.data = watched;
		watched->kube = kube;
		watched->fd = fd;
		kube->open_handles++;
		curl_multi_assign(kube->multi, fd, watched);
	}
	uv_poll_start(&watched->poll,
		      (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0),
		      on_poll);
	return 0;
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *user)
{
	struct ygr_kube *kube = user;

	(void)multi;
	if (kube->closing || timeout_ms < 0)
		uv_timer_stop(&kube->curl_timer);
	else
		uv_timer_start(&kube->curl_timer, on_timeout, (uint64_t)timeout_ms, 0);
	return 0;
}

int ygr_kube_socket_init(struct ygr_kube *kube)
{
	kube->multi = curl_multi_init();
	if (!kube->multi)
		return -ENOMEM;
	curl_multi_setopt(kube->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(kube->multi, CURLMOPT_SOCKETDATA, kube);
	curl_multi_setopt(kube->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	curl_multi_setopt(kube->multi, CURLMOPT_TIMERDATA, kube);
	curl_multi_setopt(kube->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
	curl_multi_setopt(kube->multi, CURLMOPT_MAXCONNECTS, 8L);
	return 0;
}
