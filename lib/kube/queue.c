/*
 * The queue of calls. A pass over it (the pump) ends what is overdue and starts what may be started; it runs by a
 * timer only, so that nobody is called back before he has his call.
 */
#include <errno.h>
#include <stdio.h>

#include "lib/kube/call.h"

#define THROTTLED_MS      1000 /* after 429 without Retry-After */
#define RETRY_AFTER_MAX_S 300

static void set_reachable(struct ygr_kube *kube, bool reachable, const char *reason)
{
	if (kube->reachable == reachable)
		return;
	kube->recoveries += reachable && kube->reachable == 0;
	kube->reachable = reachable;
	ygr_kube_gauge(ygr_kube_metrics(kube)->reachable, reachable, NULL);
	if (kube->options.reachable)
		kube->options.reachable(kube->options.user, reachable, reason);
}

static const char *verb_of(const struct ygr_kube_call *call)
{
	static const char *const names[] = {"get", "create", "update", "patch", "delete"};

	return call->request.verb ? call->request.verb : names[call->request.method];
}

/* Tells the caller how CALL ended, and forgets it. */
static void finish(struct ygr_kube_call *call, struct ygr_kube_answer *answer)
{
	struct ygr_kube *kube = call->kube;
	const struct ygr_kube_metrics *metrics = ygr_kube_metrics(kube);
	uint64_t now = uv_now(kube->loop);
	char code[16];

	snprintf(code, sizeof(code), "%d", answer->status);
	ygr_kube_count(metrics->requests, verb_of(call), answer->status ? code : "error");
	if (metrics->duration && !call->request.idle_ms && call->started_ms)
		ygr_metric_observe(metrics->duration, (double)(now - call->started_ms) / 1000,
				   (const char *[]){verb_of(call)});
	call->finishing = true;
	if (answer->error == -ETIMEDOUT)
		kube->doubt = true;
	if (answer->status && answer->status < 500)
		set_reachable(kube, true, "");
	else
		set_reachable(kube, false, answer->message);
	if (!call->cancelled) { /* reachable() may have cancelled it */
		void (*done)(void *user, const struct ygr_kube_answer *answer) = call->request.done;
		call->request.done = NULL;
		if (done)
			done(call->request.user, answer);
	}
	ygr_kube_call_free(call);
	ygr_kube_pump_soon(kube, 0);
}

static void fail(struct ygr_kube_call *call, int error, const char *message)
{
	struct ygr_kube_problem room;
	struct ygr_kube_answer answer;
	long status = 0;

	if (call->easy)
		curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	ygr_kube_answer_failed(error, message, &room, &answer);
	answer.status = (int)status;
	finish(call, &answer);
}

/* Puts CALL back into the queue if its answer asks for that. */
static bool again(struct ygr_kube_call *call, int status)
{
	struct ygr_kube *kube = call->kube;
	curl_off_t seconds = 0;
	uint64_t delay = 0, now = uv_now(kube->loop);

	if (call->handed_over || call->retries >= YGR_KUBE_RETRIES_MAX)
		return false;
	curl_easy_getinfo(call->easy, CURLINFO_RETRY_AFTER, &seconds);
	if (status == 401) {
		if (call->token_refused || !ygr_kube_auth_reject(kube->auth))
			return false;
		call->token_refused = true;
	} else if (status == 429 || (status == 503 && seconds > 0)) {
		if (seconds < 0 || seconds > RETRY_AFTER_MAX_S)
			return false;
		delay = seconds ? (uint64_t)seconds * 1000 : THROTTLED_MS;
	} else {
		return false;
	}
	if (now + delay >= call->deadline_ms)
		return false;
	ygr_kube_count(ygr_kube_metrics(kube)->retries, status == 401 ? "unauthorized" : "throttled", NULL);
	call->retries++;
	call->not_before_ms = now + delay;
	ygr_kube_transfer_stop(call);
	ygr_kube_pump_soon(kube, delay);
	return true;
}

void ygr_kube_transfer_ended(struct ygr_kube_call *call, CURLcode result)
{
	struct ygr_kube_problem room;
	struct ygr_kube_answer answer;
	long status = 0;

	curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	if (result == CURLE_OK && again(call, (int)status))
		return;
	if (ygr_buf_reserve(&call->answer, 1) < 0) { /* for the NUL: the bound is reached to the byte */
		fail(call, -EMSGSIZE, NULL);
		return;
	}
	call->answer.data[call->answer.len] = '\0';
	ygr_kube_answer_make(call, result, (int)status, &room, &answer);
	json_t *object = NULL;
	if (call->request.json && answer.error == 0) {
		object = json_loadb(answer.body, answer.len, JSON_ALLOW_NUL, NULL);
		if (!json_is_object(object)) {
			ygr_kube_answer_failed(-EPROTO, "the answer is no JSON object", &room, &answer);
			answer.status = (int)status;
		} else
			answer.object = object;
	}
	finish(call, &answer);
	json_decref(object);
}

static void refill(struct ygr_kube *kube, uint64_t now)
{
	double burst = kube->options.burst;

	kube->tokens += (double)(now - kube->refilled_ms) / 1000 * kube->options.qps;
	if (kube->tokens > burst)
		kube->tokens = burst;
	kube->refilled_ms = now;
}

struct pass {
	uint64_t now, next;
	unsigned waiting;
	bool no_credentials; /* and they are under way */
};

static void look_again(struct pass *pass, uint64_t when)
{
	if (when < pass->next)
		pass->next = when;
}

/* An active call: true when it has ended. */
static bool watch_over(struct ygr_kube_call *call, struct pass *pass)
{
	uint64_t idle = call->request.idle_ms ? call->heard_ms + call->request.idle_ms : UINT64_MAX;

	if (pass->now >= call->deadline_ms || pass->now >= idle) {
		fail(call, -ETIMEDOUT,
		     pass->now >= call->deadline_ms ? "no answer before the deadline"
						    : "the server has fallen silent");
		return true;
	}
	look_again(pass, call->deadline_ms);
	look_again(pass, idle);
	return false;
}

/* A call that waits: true when it has ended. */
static bool try_start(struct ygr_kube_call *call, struct pass *pass)
{
	struct ygr_kube *kube = call->kube;
	struct ygr_error error = YGR_ERROR_INIT;

	if (pass->now >= call->deadline_ms) {
		fail(call, -ETIMEDOUT, "it could not be sent before its deadline");
		return true;
	}
	look_again(pass, call->deadline_ms);
	if (call->not_before_ms > pass->now) {
		look_again(pass, call->not_before_ms);
		return false;
	}
	pass->waiting++;
	if (pass->no_credentials || kube->running >= YGR_KUBE_RUNNING_MAX)
		return false;
	if (!call->request.urgent && kube->tokens < 1) {
		look_again(pass, pass->now + (uint64_t)((1 - kube->tokens) * 1000 / kube->options.qps) + 1);
		return false;
	}
	int r = ygr_kube_auth_ready(kube->auth, &error);
	if (r < 0) {
		fail(call, -EACCES, error.message);
		return true;
	}
	if (r == 0) {
		pass->no_credentials = true;
		return false;
	}
	r = ygr_kube_transfer_start(call);
	if (r < 0) {
		fail(call, r, "out of memory");
		return true;
	}
	if (!call->request.urgent)
		kube->tokens--;
	pass->waiting--;
	look_again(pass, call->deadline_ms);
	if (call->request.idle_ms)
		look_again(pass, pass->now + call->request.idle_ms);
	return false;
}

static void on_pump(uv_timer_t *timer)
{
	struct ygr_kube *kube = timer->data;
	struct pass pass = {.now = uv_now(kube->loop), .next = UINT64_MAX};
	struct ygr_kube_call *call;

	ygr_kube_enter(kube);
	refill(kube, pass.now);
	do { /* from the start after each end: what was called then may have changed the queue */
		pass = (struct pass){.now = pass.now, .next = UINT64_MAX};
		for (call = kube->first; call; call = call->next)
			if (call->easy ? watch_over(call, &pass) : try_start(call, &pass))
				break;
	} while (call && !kube->closing);
	if (!kube->closing) {
		ygr_kube_gauge(ygr_kube_metrics(kube)->waiting, pass.waiting, NULL);
		if (pass.next != UINT64_MAX)
			ygr_kube_pump_soon(kube, pass.next > pass.now ? pass.next - pass.now : 0);
	}
	ygr_kube_leave(kube);
}

void ygr_kube_pump_soon(struct ygr_kube *kube, uint64_t delay_ms)
{
	if (kube->closing)
		return;
	if (uv_is_active((uv_handle_t *)&kube->pump_timer) &&
	    uv_timer_get_due_in(&kube->pump_timer) <= delay_ms)
		return;
	uv_timer_start(&kube->pump_timer, on_pump, delay_ms, 0);
}
