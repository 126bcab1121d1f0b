/* See webhook.h. */
#include "controller/webhook.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "controller/certificate.h"
#include "controller/deadlines.h"
#include "controller/review.h"
#include "lib/base/buf.h"
#include "lib/base/listen.h"
#include "lib/base/log.h"

#define ROOM              "webhook"
#define PATH              "/validate"
#define CONNECTION_MEMORY (32u << 10)
#define THREADS           2
#define LINGER_SECONDS    20 /* an old daemon's last requests */
#define PRIORITIES        "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

struct request {
	struct ygr_buf body;
	unsigned refused; /* HTTP status, 0: none */
	bool begun;
};

struct ygr_webhook {
	int fd;
	char *cert_path, *key_path;
	struct ygr_certificate certificate;
	struct MHD_Daemon *daemon, *old;
	int64_t old_until;
	bool complained; /* about files that cannot be used, once */
	atomic_size_t bodies;

	struct ygr_deadlines deadlines;

	struct ygr_metric *reviews, *duration, *refused, *loads, *expiry;
};

static double now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Requests */

static enum MHD_Result reply(struct MHD_Connection *mhd, unsigned status, const char *type, const char *text)
{
	struct MHD_Response *response =
	    MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_MUST_COPY);
	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, "Content-Type", type);
	if (status == MHD_HTTP_SERVICE_UNAVAILABLE)
		MHD_add_response_header(response, "Retry-After", "1");
	enum MHD_Result r = MHD_queue_response(mhd, status, response);
	MHD_destroy_response(response);
	return r;
}

static enum MHD_Result refuse(struct ygr_webhook *webhook, struct MHD_Connection *mhd, unsigned status)
{
	static const struct {
		unsigned status;
		const char *reason, *text;
	} words[] = {
	    {MHD_HTTP_NOT_FOUND, "Path", "here is only " PATH "\n"},
	    {MHD_HTTP_METHOD_NOT_ALLOWED, "Method", "only POST\n"},
	    {MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "Type", "only application/json\n"},
	    {MHD_HTTP_CONTENT_TOO_LARGE, "Size", "a review has at most 8 MiB\n"},
	    {MHD_HTTP_SERVICE_UNAVAILABLE, "Busy", "too much at once\n"},
	    {MHD_HTTP_INTERNAL_SERVER_ERROR, "Memory", "out of memory\n"},
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (words[i].status == status) {
			ygr_metric_add(webhook->refused, 1, (const char *[]){words[i].reason});
			return reply(mhd, status, "text/plain; charset=utf-8", words[i].text);
		}
	return MHD_NO;
}

/* What can be said before there is a body; 0: go on. */
static unsigned first_look(struct MHD_Connection *mhd, const char *url, const char *method)
{
	const char *type = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Content-Type");
	const char *length = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Content-Length");

	if (strcmp(url, PATH) != 0)
		return MHD_HTTP_NOT_FOUND;
	if (strcmp(method, MHD_HTTP_METHOD_POST) != 0)
		return MHD_HTTP_METHOD_NOT_ALLOWED;
	if (!type || strncmp(type, "application/json", 16) != 0)
		return MHD_HTTP_UNSUPPORTED_MEDIA_TYPE;
	if (length && strtoull(length, NULL, 10) > YGR_WEBHOOK_BODY_MAX)
		return MHD_HTTP_CONTENT_TOO_LARGE;
	return 0;
}

static void drop_body(struct ygr_webhook *webhook, struct request *request)
{
	atomic_fetch_sub(&webhook->bodies, request->body.len);
	ygr_buf_deinit(&request->body);
}

static void gather(struct ygr_webhook *webhook, struct request *request, const char *data, size_t len)
{
	if (request->refused)
		return;
	int r = atomic_load(&webhook->bodies) + len > YGR_WEBHOOK_BODIES_MAX
		    ? -EBUSY
		    : ygr_buf_append(&request->body, data, len);
	if (r == 0) {
		atomic_fetch_add(&webhook->bodies, len);
		return;
	}
	request->refused = r == -EBUSY      ? MHD_HTTP_SERVICE_UNAVAILABLE
			   : r == -EMSGSIZE ? MHD_HTTP_CONTENT_TOO_LARGE
					    : MHD_HTTP_INTERNAL_SERVER_ERROR;
	drop_body(webhook, request);
}

static enum MHD_Result review(struct ygr_webhook *webhook, struct MHD_Connection *mhd,
			      const struct request *request)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_review result;
	double began = now();
	int r = ygr_review_answer((const char *)request->body.data, request->body.len, &result, &error);

	if (r == -ENOMEM)
		return refuse(webhook, mhd, MHD_HTTP_INTERNAL_SERVER_ERROR);
	if (r < 0) {
		ygr_metric_add(webhook->refused, 1, (const char *[]){"Garbage"});
		return reply(mhd, MHD_HTTP_BAD_REQUEST, "text/plain; charset=utf-8", error.message);
	}
	char *text = json_dumps(result.answer, JSON_COMPACT);
	json_decref(result.answer);
	if (!text)
		return refuse(webhook, mhd, MHD_HTTP_INTERNAL_SERVER_ERROR);
	ygr_metric_add(webhook->reviews, 1,
		       (const char *[]){result.kind, result.allowed ? "Allowed" : "Denied"});
	ygr_metric_observe(webhook->duration, now() - began, NULL);
	enum MHD_Result queued = reply(mhd, MHD_HTTP_OK, "application/json", text);
	free(text);
	return queued;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *mhd, const char *url,
				  const char *method, const char *version, const char *data, size_t *len,
				  void **state)
{
	struct ygr_webhook *webhook = user;
	struct request *request = *state;

	(void)version;
	if (!request->begun) { /* the head is there */
		request->begun = true;
		ygr_deadlines_allow(&webhook->deadlines, mhd, YGR_WEBHOOK_REQUEST_SECONDS);
		unsigned status = first_look(mhd, url, method);
		return status ? refuse(webhook, mhd, status) : MHD_YES;
	}
	if (*len) {
		gather(webhook, request, data, *len);
		*len = 0;
		return MHD_YES;
	}
	return request->refused ? refuse(webhook, mhd, request->refused) : review(webhook, mhd, request);
}

/* Before the head is parsed: here a request gets its state. */
static void *on_uri(void *user, const char *uri, struct MHD_Connection *mhd)
{
	struct request *request = calloc(1, sizeof(*request));

	(void)user;
	(void)uri;
	(void)mhd;
	if (request)
		request->body = YGR_BUF_INIT(YGR_WEBHOOK_BODY_MAX);
	return request;
}

static enum MHD_Result on_call(void *user, struct MHD_Connection *mhd, const char *url, const char *method,
			       const char *version, const char *data, size_t *len, void **state)
{
	return *state ? on_request(user, mhd, url, method, version, data, len, state) : MHD_NO;
}

static void on_done(void *user, struct MHD_Connection *mhd, void **state,
		    enum MHD_RequestTerminationCode why)
{
	struct ygr_webhook *webhook = user;
	struct request *request = *state;

	(void)why;
	ygr_deadlines_allow(&webhook->deadlines, mhd, YGR_WEBHOOK_IDLE_SECONDS);
	if (!request)
		return;
	drop_body(webhook, request);
	free(request);
	*state = NULL;
}

/* Daemons */

static struct MHD_Daemon *start_daemon(struct ygr_webhook *webhook,
				       const struct ygr_certificate *certificate)
{
	int fd = dup(webhook->fd);
	if (fd < 0)
		return NULL;
	struct MHD_Daemon *daemon = MHD_start_daemon(
	    MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_USE_TLS, 0, NULL, NULL, on_call, webhook,
	    MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_HTTPS_MEM_CERT, certificate->cert,
	    MHD_OPTION_HTTPS_MEM_KEY, certificate->key, MHD_OPTION_HTTPS_PRIORITIES, PRIORITIES,
	    MHD_OPTION_THREAD_POOL_SIZE, THREADS, MHD_OPTION_CONNECTION_LIMIT, YGR_WEBHOOK_CONNECTIONS,
	    MHD_OPTION_PER_IP_CONNECTION_LIMIT, YGR_WEBHOOK_PER_ADDRESS, MHD_OPTION_CONNECTION_TIMEOUT,
	    YGR_WEBHOOK_IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
	    MHD_OPTION_NOTIFY_CONNECTION, ygr_deadlines_notify, &webhook->deadlines,
	    MHD_OPTION_URI_LOG_CALLBACK, on_uri, webhook, MHD_OPTION_NOTIFY_COMPLETED, on_done, webhook,
	    MHD_OPTION_END);
	if (!daemon)
		close(fd);
	return daemon;
}

static void stop_old(struct ygr_webhook *webhook)
{
	if (webhook->old)
		MHD_stop_daemon(webhook->old);
	webhook->old = NULL;
}

/* Takes CERTIFICATE over when it works. */
static int serve(struct ygr_webhook *webhook, struct ygr_certificate *certificate, struct ygr_error *error)
{
	struct MHD_Daemon *daemon = start_daemon(webhook, certificate);

	if (!daemon)
		return ygr_error_set(error, EINVAL, "TLS cannot be served with %s and %s",
				     webhook->cert_path, webhook->key_path);
	stop_old(webhook);
	if (webhook->daemon) {
		int fd = MHD_quiesce_daemon(webhook->daemon);
		if (fd >= 0)
			close(fd);
		webhook->old = webhook->daemon;
		webhook->old_until = (int64_t)now() + LINGER_SECONDS;
	}
	webhook->daemon = daemon;
	ygr_certificate_deinit(&webhook->certificate);
	webhook->certificate = *certificate;
	*certificate = (struct ygr_certificate){0};
	ygr_metric_set(webhook->expiry, (double)webhook->certificate.not_after, NULL);
	return 0;
}

static int load(struct ygr_webhook *webhook, bool *ret_changed, struct ygr_error *error)
{
	struct ygr_certificate certificate;
	int r = ygr_certificate_read(webhook->cert_path, webhook->key_path, &certificate, error);

	*ret_changed = false;
	if (r < 0)
		return r;
	if (!ygr_certificate_equal(&certificate, &webhook->certificate)) {
		r = serve(webhook, &certificate, error);
		*ret_changed = r == 0;
	}
	ygr_certificate_deinit(&certificate);
	return r;
}

void ygr_webhook_tick(struct ygr_webhook *webhook)
{
	struct ygr_error error = YGR_ERROR_INIT;
	bool changed;
	int r = load(webhook, &changed, &error);

	if (r < 0 && !webhook->complained) {
		ygr_log(YGR_LOG_WARNING, ROOM, "%s; the certificate before goes on being served",
			error.message);
		ygr_metric_add(webhook->loads, 1, (const char *[]){"Failed"});
	} else if (changed) {
		ygr_log(YGR_LOG_INFO, ROOM, "serving a new certificate from %s", webhook->cert_path);
		ygr_metric_add(webhook->loads, 1, (const char *[]){"Loaded"});
	}
	webhook->complained = r < 0;
	unsigned late = ygr_deadlines_cut(&webhook->deadlines);
	if (late)
		ygr_metric_add(webhook->refused, late, (const char *[]){"Late"});
	if (webhook->old && now() > (double)webhook->old_until)
		stop_old(webhook);
}

static void declare_metrics(struct ygr_webhook *webhook, struct ygr_metrics *m)
{
	static const double buckets[] = {0.0001, 0.001, 0.01, 0.1, 1};
	static const char *const none[] = {NULL}, *const reviews[] = {"kind", "verdict", NULL},
				 *const reason[] = {"reason", NULL}, *const result[] = {"result", NULL};

	webhook->reviews = ygr_metric_declare(m, YGR_METRIC_COUNTER, "yagura_controller_reviews",
					      "Objects that were reviewed.", reviews, NULL, 0, 16);
	webhook->duration =
	    ygr_metric_declare(m, YGR_METRIC_HISTOGRAM, "yagura_controller_review_duration_seconds",
			       "Time of one review.", none, buckets, 5, 1);
	webhook->refused = ygr_metric_declare(m, YGR_METRIC_COUNTER, "yagura_controller_requests_refused",
					      "Requests to the webhook that are no reviews, or too much.",
					      reason, NULL, 0, 16);
	webhook->loads =
	    ygr_metric_declare(m, YGR_METRIC_COUNTER, "yagura_controller_certificate_loads",
			       "Times that the webhook's certificate changed.", result, NULL, 0, 4);
	webhook->expiry =
	    ygr_metric_declare(m, YGR_METRIC_GAUGE, "yagura_controller_certificate_expiry_timestamp_seconds",
			       "When the webhook's certificate ends.", none, NULL, 0, 1);
}

int ygr_webhook_start(const char *address, const char *cert_path, const char *key_path,
		      struct ygr_metrics *metrics, struct ygr_webhook **ret, struct ygr_error *error)
{
	struct ygr_webhook *webhook = calloc(1, sizeof(*webhook));
	bool changed;

	if (!webhook)
		return ygr_error_set(error, ENOMEM, "out of memory");
	ygr_deadlines_init(&webhook->deadlines, YGR_WEBHOOK_REQUEST_SECONDS);
	webhook->fd = -1;
	webhook->cert_path = strdup(cert_path);
	webhook->key_path = strdup(key_path);
	declare_metrics(webhook, metrics);
	int r = webhook->cert_path && webhook->key_path ? ygr_listen_tcp(address, &webhook->fd, error)
							: ygr_error_set(error, ENOMEM, "out of memory");
	if (r == 0)
		r = load(webhook, &changed, error);
	if (r < 0) {
		ygr_webhook_stop(webhook);
		return r;
	}
	*ret = webhook;
	return 0;
}

struct ygr_webhook *ygr_webhook_stop(struct ygr_webhook *webhook)
{
	if (!webhook)
		return NULL;
	stop_old(webhook);
	if (webhook->daemon)
		MHD_stop_daemon(webhook->daemon);
	if (webhook->fd >= 0)
		close(webhook->fd);
	ygr_certificate_deinit(&webhook->certificate);
	free(webhook->cert_path);
	free(webhook->key_path);
	ygr_deadlines_deinit(&webhook->deadlines);
	free(webhook);
	return NULL;
}
