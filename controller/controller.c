/* See controller.h. */
#include "controller/controller.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "controller/health.h"
#include "controller/webhook.h"
#include "controller/world.h"
#include "lib/base/log.h"
#include "lib/kube/lease.h"

#define ROOM           "controller"
#define USER_AGENT     "yagura-controller"
#define FAREWELL_MS    5000 /* to give the Lease back */
#define CALLS_A_SECOND 50
#define CALLS_AT_ONCE  100

struct controller {
	const struct ygr_controller_options *options;
	uv_loop_t loop;
	uv_timer_t second, farewell;
	uv_signal_t term, interrupt;
	struct ygr_metrics *metrics;
	struct ygr_health *health;
	struct ygr_webhook *webhook;
	struct ygr_kube_config *config;
	struct ygr_kube_metrics kube_metrics;
	struct ygr_kube *kube;
	struct ygr_world *world;
	struct ygr_kube_election *election;
	bool stopping;
};

static void on_second(uv_timer_t *timer)
{
	struct controller *controller = timer->data;

	ygr_health_heartbeat(controller->health);
	if (controller->webhook)
		ygr_webhook_tick(controller->webhook);
	if (controller->world)
		ygr_world_tick(controller->world);
}

static void on_released(void *user)
{
	struct controller *controller = user;

	uv_stop(&controller->loop);
}

static void on_farewell(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct controller *controller = handle->data;

	(void)number;
	if (controller->stopping)
		return;
	controller->stopping = true;
	if (controller->world)
		ygr_world_lead(controller->world, false);
	uv_timer_start(&controller->farewell, on_farewell, FAREWELL_MS, 0);
	/* on_released() may be called from within: nothing of the election is touched behind it. */
	struct ygr_kube_election *election = controller->election;
	controller->election = NULL;
	if (election)
		ygr_kube_election_stop(election, on_released, controller);
	else
		uv_stop(&controller->loop);
}

static void on_leading(void *user, bool leading)
{
	struct controller *controller = user;

	ygr_log(YGR_LOG_INFO, ROOM, leading ? "%s leads" : "%s does not lead any more",
		controller->options->identity);
	ygr_world_lead(controller->world, leading && !controller->stopping);
}

static void on_leader(void *user, const char *identity)
{
	(void)user;
	ygr_log(YGR_LOG_INFO, ROOM, "the leader is %s", *identity ? identity : "nobody");
}

static void on_synced(void *user, bool synced)
{
	struct controller *controller = user;

	ygr_health_ready(controller->health, "synced", synced, "not everything is listed yet");
}

static void on_reachable(void *user, bool reachable, const char *reason)
{
	(void)user;
	if (reachable)
		ygr_log(YGR_LOG_INFO, ROOM, "the API server answers");
	else
		ygr_log(YGR_LOG_WARNING, ROOM, "the API server does not answer: %s", reason);
}

/* The API server may be away for now: that is no error. */
static int follow(struct controller *controller, struct ygr_error *error)
{
	const struct ygr_controller_options *options = controller->options;

	ygr_health_ready(controller->health, "synced", false, "not everything is listed yet");
	int r = ygr_kube_config_load(options->kubeconfig, NULL, &controller->config, error);
	if (r < 0)
		return r;
	if (ygr_kube_metrics_declare(controller->metrics, &controller->kube_metrics) < 0)
		return ygr_error_set(error, ENOMEM, "out of memory");
	const struct ygr_kube_options kube = {
	    .loop = &controller->loop,
	    .config = controller->config,
	    .user_agent = USER_AGENT,
	    .qps = CALLS_A_SECOND,
	    .burst = CALLS_AT_ONCE,
	    .metrics = &controller->kube_metrics,
	    .reachable = on_reachable,
	    .user = controller,
	};
	r = ygr_kube_new(&kube, &controller->kube, error);
	if (r < 0)
		return r;
	const struct ygr_world_options world = {
	    .kube = controller->kube,
	    .namespace_ = options->namespace_,
	    .grace_s = options->grace_s,
	    .metrics = controller->metrics,
	    .ready = on_synced,
	    .user = controller,
	};
	r = ygr_world_start(&world, &controller->world);
	const struct ygr_kube_election_options election = {
	    .kube = controller->kube,
	    .namespace_ = options->namespace_,
	    .name = YGR_CONTROLLER_LEASE,
	    .identity = options->identity,
	    .leading = on_leading,
	    .leader = on_leader,
	    .user = controller,
	};
	if (r == 0)
		r = ygr_kube_election_start(&election, &controller->election);
	return r < 0 ? ygr_error_set(error, -r, "cannot follow the API server: %s", strerror(-r)) : 0;
}

static int start_loop(struct controller *controller, struct ygr_error *error)
{
	int r = uv_loop_init(&controller->loop);

	if (r < 0)
		return ygr_error_set(error, -r, "no event loop: %s", uv_strerror(r));
	uv_timer_init(&controller->loop, &controller->second);
	uv_timer_init(&controller->loop, &controller->farewell);
	uv_signal_init(&controller->loop, &controller->term);
	uv_signal_init(&controller->loop, &controller->interrupt);
	controller->second.data = controller->term.data = controller->interrupt.data = controller;
	uv_timer_start(&controller->second, on_second, 0, 1000);
	uv_signal_start(&controller->term, on_signal, SIGTERM);
	uv_signal_start(&controller->interrupt, on_signal, SIGINT);
	return 0;
}

static void close_loop(struct controller *controller)
{
	ygr_kube_election_stop(controller->election, NULL, NULL);
	ygr_world_stop(controller->world);
	ygr_kube_close(controller->kube);
	uv_close((uv_handle_t *)&controller->second, NULL);
	uv_close((uv_handle_t *)&controller->farewell, NULL);
	uv_close((uv_handle_t *)&controller->term, NULL);
	uv_close((uv_handle_t *)&controller->interrupt, NULL);
	uv_run(&controller->loop, UV_RUN_DEFAULT);
	uv_loop_close(&controller->loop);
	ygr_kube_config_free(controller->config);
}

static int start(struct controller *controller, struct ygr_error *error)
{
	const struct ygr_controller_options *options = controller->options;
	int r = options->webhook ? ygr_webhook_start(options->webhook, options->cert, options->key,
						     controller->metrics, &controller->webhook, error)
				 : 0;

	if (r == 0)
		ygr_health_ready(controller->health, "webhook", true, NULL);
	return r == 0 && options->namespace_ ? follow(controller, error) : r;
}

int ygr_controller_run(const struct ygr_controller_options *options, struct ygr_error *error)
{
	struct controller controller = {.options = options, .metrics = ygr_metrics_new()};

	if (!controller.metrics)
		return ygr_error_set(error, ENOMEM, "out of memory");
	int r = ygr_health_start(options->listen, controller.metrics, &controller.health, error);
	if (r == 0) {
		r = start_loop(&controller, error);
		if (r == 0) {
			r = start(&controller, error);
			if (r == 0) {
				ygr_log(YGR_LOG_INFO, ROOM, "serving on %s%s%s", options->listen,
					options->webhook ? ", webhook on " : "",
					options->webhook ? options->webhook : "");
				uv_run(&controller.loop, UV_RUN_DEFAULT);
			}
			close_loop(&controller);
		}
	}
	ygr_webhook_stop(controller.webhook);
	ygr_health_stop(controller.health);
	ygr_metrics_free(controller.metrics);
	return r;
}
