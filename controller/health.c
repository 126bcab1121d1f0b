/* See health.h. */
#include "controller/health.h"

#include <errno.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/listen.h"

#define METRICS_BYTES_MAX (4u << 20)
#define CONNECTIONS       32
#define IDLE_SECONDS      30
#define TEXT              "text/plain; charset=utf-8"

struct check {
	char name[32], reason[160];
	bool ok;
};

struct ygr_health {
	struct MHD_Daemon *daemon;
	struct ygr_metrics *metrics;
	atomic_llong heartbeat;
	pthread_mutex_t lock; /* checks */
	struct check checks[YGR_HEALTH_CHECKS_MAX];
	unsigned check_count;
};

static int64_t now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static enum MHD_Result reply(struct MHD_Connection *mhd, unsigned status, const char *type, const void *data,
			     size_t len)
{
	struct MHD_Response *response =
	    MHD_create_response_from_buffer(len, (void *)data, MHD_RESPMEM_MUST_COPY);
	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, "Content-Type", type);
	enum MHD_Result r = MHD_queue_response(mhd, status, response);
	MHD_destroy_response(response);
	return r;
}

static enum MHD_Result metrics(struct ygr_health *health, struct MHD_Connection *mhd)
{
	const char *accept = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Accept");
	bool openmetrics = accept && strstr(accept, "application/openmetrics-text");
	struct ygr_buf out = YGR_BUF_INIT(METRICS_BYTES_MAX);
	enum MHD_Result r;

	if (ygr_metrics_write(health->metrics, openmetrics, &out) < 0)
		r = reply(mhd, MHD_HTTP_INTERNAL_SERVER_ERROR, TEXT, "out of memory\n", 14);
	else
		r = reply(mhd, MHD_HTTP_OK,
			  openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
				      : "text/plain; version=0.0.4; charset=utf-8",
			  out.data, out.len);
	ygr_buf_deinit(&out);
	return r;
}

static enum MHD_Result livez(struct ygr_health *health, struct MHD_Connection *mhd)
{
	char text[96] = "ok\n";
	int64_t age = now() - atomic_load(&health->heartbeat);
	bool alive = age <= YGR_HEALTH_DEAD_SECONDS;

	if (!alive)
		snprintf(text, sizeof(text), "the event loop has not turned for %lld s\n", (long long)age);
	return reply(mhd, alive ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, TEXT, text, strlen(text));
}

static enum MHD_Result readyz(struct ygr_health *health, struct MHD_Connection *mhd)
{
	char text[YGR_HEALTH_CHECKS_MAX * 224] = "starting\n";
	size_t at = 0;
	bool ok = true;

	pthread_mutex_lock(&health->lock);
	for (unsigned i = 0; i < health->check_count; i++) {
		const struct check *check = &health->checks[i];
		ok &= check->ok;
		at += (size_t)snprintf(text + at, sizeof(text) - at, "[%c]%s%s%s\n", check->ok ? '+' : '-',
				       check->name, check->ok ? " ok" : " failed: ", check->reason);
	}
	ok &= health->check_count > 0;
	pthread_mutex_unlock(&health->lock);
	return reply(mhd, ok ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, TEXT, text, strlen(text));
}

static enum MHD_Result on_call(void *user, struct MHD_Connection *mhd, const char *url, const char *method,
			       const char *version, const char *data, size_t *len, void **state)
{
	static const char said[] = "here are /metrics, /livez, /readyz and /healthz\n",
			  only[] = "only GET\n";
	static int seen;

	(void)version;
	(void)data;
	if (!*state) {
		*state = &seen;
		return MHD_YES;
	}
	if (*len) {
		*len = 0;
		return MHD_YES;
	}
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return reply(mhd, MHD_HTTP_METHOD_NOT_ALLOWED, TEXT, only, sizeof(only) - 1);
	if (!strcmp(url, "/metrics"))
		return metrics(user, mhd);
	if (!strcmp(url, "/livez") || !strcmp(url, "/healthz"))
		return livez(user, mhd);
	if (!strcmp(url, "/readyz"))
		return readyz(user, mhd);
	return reply(mhd, MHD_HTTP_NOT_FOUND, TEXT, said, sizeof(said) - 1);
}

int ygr_health_start(const char *address, struct ygr_metrics *registry, struct ygr_health **ret,
		     struct ygr_error *error)
{
	struct ygr_health *health = calloc(1, sizeof(*health));
	int fd;

	if (!health)
		return ygr_error_set(error, ENOMEM, "out of memory");
	pthread_mutex_init(&health->lock, NULL);
	health->metrics = registry;
	ygr_health_heartbeat(health);
	int r = ygr_listen_tcp(address, &fd, error);
	if (r == 0) {
		health->daemon = MHD_start_daemon(
		    MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC, 0, NULL, NULL, on_call, health,
		    MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS,
		    MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS, MHD_OPTION_END);
		if (!health->daemon) {
			close(fd);
			r = ygr_error_set(error, ENOMEM, "cannot start the HTTP server");
		}
	}
	if (r < 0) {
		ygr_health_stop(health);
		return r;
	}
	*ret = health;
	return 0;
}

struct ygr_health *ygr_health_stop(struct ygr_health *health)
{
	if (!health)
		return NULL;
	if (health->daemon)
		MHD_stop_daemon(health->daemon);
	pthread_mutex_destroy(&health->lock);
	free(health);
	return NULL;
}

void ygr_health_heartbeat(struct ygr_health *health)
{
	atomic_store(&health->heartbeat, now());
}

void ygr_health_ready(struct ygr_health *health, const char *name, bool ok, const char *reason)
{
	unsigned i = 0;

	pthread_mutex_lock(&health->lock);
	while (i < health->check_count && strcmp(health->checks[i].name, name) != 0)
		i++;
	if (i < YGR_HEALTH_CHECKS_MAX) {
		struct check *check = &health->checks[i];
		if (i == health->check_count)
			health->check_count++;
		snprintf(check->name, sizeof(check->name), "%s", name);
		snprintf(check->reason, sizeof(check->reason), "%s", ok || !reason ? "" : reason);
		check->ok = ok;
	}
	pthread_mutex_unlock(&health->lock);
}
