/* What anybody who reaches the TCP port may read: metrics and health. Nothing here names what runs in a
 * guest. */
#include "agent/http/internal.h"

#include <stdio.h>
#include <string.h>

#define METRICS_BYTES_MAX (16u << 20)
#define DEAD_AFTER_S      10

static enum MHD_Result metrics(struct ygr_http *http, struct MHD_Connection *connection)
{
	const char *accept = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Accept");
	bool openmetrics = accept && strstr(accept, "application/openmetrics-text");
	if (http->backend.metrics_refresh)
		http->backend.metrics_refresh(http->backend.user);

	struct ygr_buf out = YGR_BUF_INIT(METRICS_BYTES_MAX);
	enum MHD_Result r;
	if (ygr_metrics_write(http->metrics, openmetrics, &out) < 0)
		r = ygr_http_reply_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
	else
		r = ygr_http_reply(connection, MHD_HTTP_OK,
				   openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
					       : "text/plain; version=0.0.4; charset=utf-8",
				   out.data, out.len);
	ygr_buf_deinit(&out);
	return r;
}

static enum MHD_Result livez(struct ygr_http *http, struct MHD_Connection *connection)
{
	int64_t age = ygr_http_heartbeat_age(http);
	if (age <= DEAD_AFTER_S)
		return ygr_http_reply_text(connection, MHD_HTTP_OK, "ok\n");
	char text[96];
	snprintf(text, sizeof(text), "the event loop has not turned for %lld s\n", (long long)age);
	return ygr_http_reply_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, text);
}

static enum MHD_Result readyz(struct ygr_http *http, struct MHD_Connection *connection)
{
	char text[CHECKS_MAX * 320] = "";
	size_t at = 0;
	bool ok = true;

	pthread_mutex_lock(&http->lock);
	for (unsigned i = 0; i < http->check_count; i++) {
		const struct check *check = &http->checks[i];
		ok &= check->ok;
		at += (size_t)snprintf(text + at, sizeof(text) - at, "[%c]%s%s%s\n", check->ok ? '+' : '-',
				       check->name, check->ok ? " ok" : " failed: ", check->reason);
	}
	ok &= http->check_count > 0; /* nobody has reported yet */
	pthread_mutex_unlock(&http->lock);
	if (at == 0)
		snprintf(text, sizeof(text), "starting\n");
	return ygr_http_reply_text(connection, ok ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, text);
}

enum MHD_Result ygr_http_route_public(struct ygr_http *http, struct MHD_Connection *connection,
				      const char *method, const char *path, const uint8_t *body, size_t len)
{
	(void)body;
	(void)len;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return ygr_http_reply_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET\n");
	if (strcmp(path, "/metrics") == 0)
		return metrics(http, connection);
	if (strcmp(path, "/livez") == 0 || strcmp(path, "/healthz") == 0)
		return livez(http, connection);
	if (strcmp(path, "/readyz") == 0)
		return readyz(http, connection);
	return ygr_http_reply_text(
	    connection, MHD_HTTP_NOT_FOUND,
	    "here are /metrics, /livez, /readyz and /healthz; /v1 is on the local socket\n");
}
