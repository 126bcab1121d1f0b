/* /v1 on the local socket: snapshots, the event stream, ad-hoc runs. Who asks is known by SO_PEERCRED. */
#include "agent/http/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/http/run-stream.h"

#define EVENT_QUEUE_BYTES (4u << 20)
#define RECENT_MAX        1024

static enum MHD_Result reply_json(struct MHD_Connection *connection, unsigned status, json_t *document)
{
	char *text = document ? json_dumps(document, JSON_INDENT(2)) : NULL;
	json_decref(document);
	if (!text)
		return ygr_http_reply_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
	enum MHD_Result r = ygr_http_reply(connection, status, "application/json", text, strlen(text));
	free(text);
	return r;
}

static enum MHD_Result reply_error(struct MHD_Connection *connection, unsigned status, const char *message)
{
	return reply_json(connection, status, json_pack("{s:s}", "error", message));
}

static unsigned status_of(int code)
{
	switch (code) {
	case EPERM:
	case EACCES:
		return MHD_HTTP_FORBIDDEN;
	case ENOENT:
		return MHD_HTTP_NOT_FOUND;
	case EBUSY:
	case EAGAIN:
		return MHD_HTTP_SERVICE_UNAVAILABLE;
	case EINVAL:
		return MHD_HTTP_BAD_REQUEST;
	default:
		return MHD_HTTP_INTERNAL_SERVER_ERROR;
	}
}

static bool peer_of(struct MHD_Connection *connection, struct ygr_peer *ret_peer)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct ucred cred;
	socklen_t len = sizeof(cred);
	if (!info || getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	*ret_peer = (struct ygr_peer){.uid = cred.uid, .gid = cred.gid, .pid = cred.pid};
	return true;
}

/* The event stream. */

struct events {
	struct ygr_streams *streams;
	struct ygr_sink *sink;
	bool follow;
};

static int64_t events_take(void *user, char *out, uint64_t size)
{
	struct events *events = user;
	int64_t n = ygr_sink_take(events->sink, out, size);
	return n == 0 && !events->follow ? -1 : n;
}

static void events_done(void *user)
{
	struct events *events = user;
	ygr_sink_unsubscribe(events->sink);
	free(events);
}

static void events_wake(void *user)
{
	struct events *events = user;
	ygr_streams_wake(events->streams, events);
}

static const char *argument(struct MHD_Connection *connection, const char *name)
{
	const char *value = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, name);
	return value && *value ? value : NULL;
}

static enum MHD_Result events(struct ygr_http *http, struct MHD_Connection *connection)
{
	const struct ygr_event_filter filter = {
	    .namespace_ = argument(connection, "namespace"),
	    .vm = argument(connection, "vm"),
	    .monitor = argument(connection, "monitor"),
	    .app = argument(connection, "app"),
	};
	const char *follow = argument(connection, "follow");
	const char *recent = argument(connection, "recent");
	char *end = NULL;
	unsigned long count = recent ? strtoul(recent, &end, 10) : follow ? 0 : RECENT_MAX;
	if ((end && *end) || count > RECENT_MAX)
		return reply_error(connection, MHD_HTTP_BAD_REQUEST, "recent is a number from 0 to 1024");

	struct events *source = calloc(1, sizeof(*source));
	if (!source)
		return MHD_NO;
	source->streams = http->streams;
	source->follow = follow && strcmp(follow, "0") != 0;
	if (ygr_bus_subscribe(http->bus, &filter, EVENT_QUEUE_BYTES, (uint32_t)count, events_wake, source,
			      &source->sink) < 0) {
		free(source);
		return MHD_NO;
	}
	return ygr_stream_respond(http->streams, connection,
				  &(struct ygr_stream_source){events_take, events_done, source});
}

/* Runs. */

static enum MHD_Result run(struct ygr_http *http, struct MHD_Connection *connection,
			   const struct ygr_peer *peer, const json_t *request)
{
	struct ygr_run_stream *stream = ygr_run_stream_new(http->streams);
	if (!stream)
		return MHD_NO;
	struct ygr_error error = YGR_ERROR_INIT;
	int r = http->backend.run_start(http->backend.user, peer, request, stream, &error);
	if (r < 0) {
		ygr_run_stream_abandon(stream);
		ygr_run_stream_done(stream);
		return reply_error(connection, status_of(-r), error.message);
	}
	return ygr_stream_respond(
	    http->streams, connection,
	    &(struct ygr_stream_source){ygr_run_stream_take, ygr_run_stream_done, stream});
}

static enum MHD_Result run_signal(struct ygr_http *http, struct MHD_Connection *connection,
				  const struct ygr_peer *peer, const char *id, const json_t *request)
{
	struct ygr_error error = YGR_ERROR_INIT;
	const json_t *number = json_object_get(request, "signal");
	if (!json_is_integer(number) || json_integer_value(number) < 1 || json_integer_value(number) > 64)
		return reply_error(connection, MHD_HTTP_BAD_REQUEST,
				   "signal: expected a number from 1 to 64");
	int r =
	    http->backend.run_signal(http->backend.user, peer, id, (int)json_integer_value(number), &error);
	if (r < 0)
		return reply_error(connection, status_of(-r), error.message);
	return reply_json(connection, MHD_HTTP_OK, json_object());
}

static enum MHD_Result release(struct ygr_http *http, struct MHD_Connection *connection,
			       const struct ygr_peer *peer, const json_t *request)
{
	struct ygr_error error = YGR_ERROR_INIT;
	json_t *answer = NULL;
	int r = http->backend.release(http->backend.user, peer, request, &answer, &error);

	return r < 0 ? reply_error(connection, status_of(-r), error.message)
		     : reply_json(connection, MHD_HTTP_OK, answer);
}

static enum MHD_Result post(struct ygr_http *http, struct MHD_Connection *connection, const char *path,
			    const uint8_t *body, size_t len)
{
	struct ygr_peer peer;
	if (!peer_of(connection, &peer))
		return reply_error(connection, MHD_HTTP_FORBIDDEN, "the peer's credentials are unknown");

	json_error_t where;
	json_t *request = json_loadb((const char *)body, len, JSON_REJECT_DUPLICATES, &where);
	if (!json_is_object(request)) {
		char text[256];
		snprintf(text, sizeof(text), "body: line %d column %d: %s", where.line, where.column,
			 request ? "expected an object" : where.text);
		json_decref(request);
		return reply_error(connection, MHD_HTTP_BAD_REQUEST, text);
	}

	char id[64];
	int consumed = 0;
	enum MHD_Result r;
	if (strcmp(path, "/v1/run") == 0 && http->backend.run_start)
		r = run(http, connection, &peer, request);
	else if (sscanf(path, "/v1/run/%63[0-9a-zA-Z-]/signal%n", id, &consumed) == 1 && consumed &&
		 path[consumed] == '\0' && http->backend.run_signal)
		r = run_signal(http, connection, &peer, id, request);
	else if (strcmp(path, "/v1/release") == 0 && http->backend.release)
		r = release(http, connection, &peer, request);
	else
		r = reply_error(connection, MHD_HTTP_NOT_FOUND, "no such resource");
	json_decref(request);
	return r;
}

enum MHD_Result ygr_http_route_local(struct ygr_http *http, struct MHD_Connection *connection,
				     const char *method, const char *path, const uint8_t *body, size_t len)
{
	if (strncmp(path, "/v1/", 4) != 0)
		return ygr_http_route_public(http, connection, method, path, body, len);
	if (strcmp(method, MHD_HTTP_METHOD_POST) == 0)
		return post(http, connection, path, body, len);
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0)
		return reply_error(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and POST");
	if (strcmp(path, "/v1/vms") == 0)
		return reply_json(connection, MHD_HTTP_OK, ygr_http_snapshot(http, SNAPSHOT_VMS));
	if (strcmp(path, "/v1/monitors") == 0)
		return reply_json(connection, MHD_HTTP_OK, ygr_http_snapshot(http, SNAPSHOT_MONITORS));
	if (strcmp(path, "/v1/policies") == 0)
		return reply_json(connection, MHD_HTTP_OK, ygr_http_snapshot(http, SNAPSHOT_POLICIES));
	if (strcmp(path, "/v1/events") == 0)
		return events(http, connection);
	return reply_error(
	    connection, MHD_HTTP_NOT_FOUND,
	    "no such resource; there are /v1/vms, /v1/monitors, /v1/policies, /v1/events, /v1/run and "
	    "/v1/release");
}
