/* See client.h: clients and the life of calls; queue.c sends them. */
#include "lib/kube/client.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/kube/call.h"

static const struct ygr_kube_metrics no_metrics;

static void on_timer_closed(uv_handle_t *handle)
{
	struct ygr_kube *kube = handle->data;

	if (--kube->open_handles == 0)
		free(kube);
}

static void tear_down(struct ygr_kube *kube)
{
	kube->auth = ygr_kube_auth_close(kube->auth);
	curl_multi_cleanup(kube->multi);
	curl_slist_free_all(kube->connect_to);
	free(kube->base);
	free(kube->host_header);
	uv_close((uv_handle_t *)&kube->curl_timer, on_timer_closed);
	uv_close((uv_handle_t *)&kube->pump_timer, on_timer_closed);
}

void ygr_kube_enter(struct ygr_kube *kube)
{
	kube->busy++;
}

void ygr_kube_leave(struct ygr_kube *kube)
{
	if (--kube->busy == 0 && kube->closing)
		tear_down(kube);
}

static void on_credentials(void *user)
{
	ygr_kube_pump_soon(user, 0);
}

static void init_curl(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

int ygr_kube_new(const struct ygr_kube_options *options, struct ygr_kube **ret, struct ygr_error *error)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct ygr_kube *kube = calloc(1, sizeof(*kube));

	pthread_once(&once, init_curl);
	if (!kube)
		return ygr_error_set(error, ENOMEM, "out of memory");
	kube->options = *options;
	if (kube->options.qps <= 0)
		kube->options.qps = YGR_KUBE_QPS;
	if (!kube->options.burst)
		kube->options.burst = YGR_KUBE_BURST;
	kube->loop = options->loop;
	kube->tokens = kube->options.burst;
	kube->refilled_ms = uv_now(kube->loop);
	kube->reachable = -1;
	int r = ygr_kube_target(kube, error);
	if (r == 0 &&
	    (ygr_kube_auth_new(kube->loop, options->config, on_credentials, kube, &kube->auth) < 0 ||
	     ygr_kube_socket_init(kube) < 0))
		r = ygr_error_set(error, ENOMEM, "out of memory");
	if (r < 0) {
		ygr_kube_auth_close(kube->auth);
		curl_slist_free_all(kube->connect_to);
		free(kube->base);
		free(kube->host_header);
		free(kube);
		return r;
	}
	uv_timer_init(kube->loop, &kube->curl_timer);
	uv_timer_init(kube->loop, &kube->pump_timer);
	kube->curl_timer.data = kube->pump_timer.data = kube;
	kube->open_handles = 2;
	*ret = kube;
	return 0;
}

struct ygr_kube *ygr_kube_close(struct ygr_kube *kube)
{
	if (!kube || kube->closing)
		return NULL;
	ygr_kube_enter(kube);
	for (struct ygr_kube_call *call = kube->first, *next; call; call = next) {
		next = call->next;
		ygr_kube_cancel(call);
	}
	kube->closing = true;
	ygr_kube_leave(kube);
	return NULL;
}

uv_loop_t *ygr_kube_loop(const struct ygr_kube *kube)
{
	return kube->loop;
}

const char *ygr_kube_namespace(const struct ygr_kube *kube)
{
	return kube->options.config->namespace_;
}

const struct ygr_kube_metrics *ygr_kube_metrics(const struct ygr_kube *kube)
{
	return kube->options.metrics ? kube->options.metrics : &no_metrics;
}

static char *copy(const char *text, bool *failed)
{
	char *result = text ? strdup(text) : NULL;

	*failed |= text && !result;
	return result;
}

static void link_call(struct ygr_kube *kube, struct ygr_kube_call *call)
{
	call->prev = kube->last;
	*(kube->last ? &kube->last->next : &kube->first) = call;
	kube->last = call;
	kube->count++;
}

int ygr_kube_start(struct ygr_kube *kube, const struct ygr_kube_request *request,
		   struct ygr_kube_call **ret_call)
{
	bool failed = false;

	if (kube->closing || request->path[0] != '/' || strlen(request->path) > YGR_KUBE_PATH_MAX)
		return -EINVAL;
	if (kube->count >= YGR_KUBE_CALLS_MAX)
		return -ENOBUFS;
	struct ygr_kube_call *call = calloc(1, sizeof(*call));
	if (!call)
		return -ENOMEM;
	call->kube = kube;
	call->request = *request;
	call->accept = copy(request->accept, &failed);
	call->content_type = copy(request->content_type, &failed);
	if (request->body) {
		call->body = malloc(request->body_len + 1);
		failed |= !call->body;
		if (call->body)
			memcpy(call->body, request->body, request->body_len);
	}
	if (asprintf(&call->url, "%s%s", kube->base, request->path) < 0)
		failed = true, call->url = NULL;
	unsigned deadline = request->deadline_ms ? request->deadline_ms : YGR_KUBE_DEADLINE_MS;
	if (!request->answer_max)
		call->request.answer_max = YGR_KUBE_ANSWER_MAX;
	call->deadline_ms = uv_now(kube->loop) + deadline;
	link_call(kube, call);
	if (failed) {
		ygr_kube_call_free(call);
		return -ENOMEM;
	}
	ygr_kube_pump_soon(kube, 0);
	if (ret_call)
		*ret_call = call;
	return 0;
}

void ygr_kube_call_free(struct ygr_kube_call *call)
{
	struct ygr_kube *kube = call->kube;

	ygr_kube_transfer_stop(call);
	*(call->prev ? &call->prev->next : &kube->first) = call->next;
	*(call->next ? &call->next->prev : &kube->last) = call->prev;
	kube->count--;
	ygr_buf_deinit(&call->answer);
	free(call->url);
	free(call->accept);
	free(call->content_type);
	free(call->body);
	free(call);
}

struct ygr_kube_call *ygr_kube_cancel(struct ygr_kube_call *call)
{
	if (!call)
		return NULL;
	call->cancelled = true;
	if (!call->kube->in_curl && !call->finishing) {
		ygr_kube_pump_soon(call->kube, 0);
		ygr_kube_call_free(call);
	}
	return NULL;
}

static uint64_t revision_of(const char *text)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return 0;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	return *end || errno ? 0 : value;
}

void ygr_kube_saw_revision(struct ygr_kube *kube, const char *resource_version)
{
	uint64_t revision = revision_of(resource_version);

	if (revision > kube->newest)
		kube->newest = revision;
}

uint64_t ygr_kube_revision(const struct ygr_kube *kube)
{
	return kube->newest;
}

void ygr_kube_wrote_revision(struct ygr_kube *kube, uint64_t before, const char *resource_version)
{
	uint64_t revision = revision_of(resource_version);

	if (!revision || revision >= before) {
		ygr_kube_saw_revision(kube, resource_version);
		return;
	}
	kube->newest = revision;
	kube->epoch++;
}

uint64_t ygr_kube_epoch(const struct ygr_kube *kube)
{
	return kube->epoch;
}

uint64_t ygr_kube_recoveries(const struct ygr_kube *kube)
{
	return kube->recoveries;
}
