/*
 * The two HTTP servers; see server.h. Each is a libmicrohttpd daemon with one polling thread (epoll). What
 * they serve is read from a snapshot behind a lock that is held only while a reference is taken.
 */
#include "agent/http/server.h"

#include <errno.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "agent/http/internal.h"
#include "lib/base/cleanup.h"
#include "lib/base/listen.h"

#define CONNECTIONS_MAX   64
#define STREAMS_MAX       32
#define TCP_IDLE_SECONDS  30
#define REQUEST_BODY_MAX  (64u << 10)
#define CONNECTION_MEMORY (32u << 10)

static int64_t now_s(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

enum MHD_Result ygr_http_reply(struct MHD_Connection *connection, unsigned status, const char *type,
			       const void *data, size_t len)
{
	struct MHD_Response *response =
	    MHD_create_response_from_buffer(len, (void *)data, MHD_RESPMEM_MUST_COPY);
	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, "Content-Type", type);
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	enum MHD_Result r = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return r;
}

enum MHD_Result ygr_http_reply_text(struct MHD_Connection *connection, unsigned status, const char *text)
{
	return ygr_http_reply(connection, status, "text/plain; charset=utf-8", text, strlen(text));
}

/* Requests: the body is gathered up to its bound, then the handler is called once. */

struct request {
	struct ygr_buf body;
	bool too_large;
};

static enum MHD_Result gather(struct request *request, const char *data, size_t *len)
{
	if (!request->too_large && ygr_buf_append(&request->body, data, *len) < 0)
		request->too_large = true;
	*len = 0;
	return MHD_YES;
}

static void request_done(void *user, struct MHD_Connection *connection, void **state,
			 enum MHD_RequestTerminationCode why)
{
	(void)user;
	(void)connection;
	(void)why;
	struct request *request = *state;
	if (!request)
		return;
	ygr_buf_deinit(&request->body);
	free(request);
	*state = NULL;
}

static enum MHD_Result handle(struct server *server, struct MHD_Connection *connection, const char *url,
			      const char *method, const char *data, size_t *len, void **state)
{
	struct request *request = *state;
	if (!request) {
		request = calloc(1, sizeof(*request));
		if (!request)
			return MHD_NO;
		request->body = YGR_BUF_INIT(REQUEST_BODY_MAX);
		*state = request;
		return MHD_YES;
	}
	if (*len)
		return gather(request, data, len);
	if (request->too_large)
		return ygr_http_reply_text(connection, MHD_HTTP_CONTENT_TOO_LARGE,
					   "request body above 64 KiB\n");
	return server->route(server->http, connection, method, url, request->body.data, request->body.len);
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *data, size_t *len,
				  void **state)
{
	(void)version;
	return handle(user, connection, url, method, data, len, state);
}

/* Snapshots and checks. */

json_t *ygr_http_snapshot(struct ygr_http *http, enum snapshot which)
{
	pthread_mutex_lock(&http->lock);
	json_t *document = json_incref(http->snapshots[which]);
	pthread_mutex_unlock(&http->lock);
	return document;
}

static void put_snapshot(struct ygr_http *http, enum snapshot which, json_t *document)
{
	pthread_mutex_lock(&http->lock);
	json_t *old = http->snapshots[which];
	http->snapshots[which] = json_incref(document);
	pthread_mutex_unlock(&http->lock);
	json_decref(old);
}

void ygr_http_publish(struct ygr_http *http, json_t *vms, json_t *monitors, json_t *policies)
{
	put_snapshot(http, SNAPSHOT_VMS, vms);
	put_snapshot(http, SNAPSHOT_MONITORS, monitors);
	if (policies)
		put_snapshot(http, SNAPSHOT_POLICIES, policies);
}

void ygr_http_heartbeat(struct ygr_http *http)
{
	atomic_store(&http->heartbeat, now_s());
}

int64_t ygr_http_heartbeat_age(const struct ygr_http *http)
{
	return now_s() - atomic_load(&http->heartbeat);
}

void ygr_http_ready(struct ygr_http *http, const char *check, bool ok, const char *reason)
{
	pthread_mutex_lock(&http->lock);
	unsigned i = 0;
	while (i < http->check_count && strcmp(http->checks[i].name, check) != 0)
		i++;
	if (i < CHECKS_MAX) {
		if (i == http->check_count)
			http->check_count++;
		struct check *c = &http->checks[i];
		snprintf(c->name, sizeof(c->name), "%s", check);
		snprintf(c->reason, sizeof(c->reason), "%s", ok || !reason ? "" : reason);
		c->ok = ok;
	}
	pthread_mutex_unlock(&http->lock);
}

/* Listening. */

static int listen_unix(const char *path, gid_t group, int *ret_fd, struct ygr_error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address.sun_path))
		return ygr_error_set(error, ENAMETOOLONG, "socket path %s is longer than %zu bytes", path,
				     sizeof(address.sun_path) - 1);
	strcpy(address.sun_path, path);

	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return ygr_error_set(error, errno, "cannot make a socket: %s", strerror(errno));

	/* Only what nobody answers on any more is removed. */
	_cleanup_close_ int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (probe >= 0 && connect(probe, (struct sockaddr *)&address, sizeof(address)) == 0)
		return ygr_error_set(error, EADDRINUSE, "another agent answers on %s", path);
	struct stat st;
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		(void)unlink(path);

	mode_t old = umask(0177);
	int r = bind(fd, (struct sockaddr *)&address, sizeof(address));
	int saved = errno;
	umask(old);
	if (r < 0)
		return ygr_error_set(error, saved, "cannot bind %s: %s", path, strerror(saved));
	if (group != (gid_t)-1 && (chown(path, (uid_t)-1, group) < 0 || chmod(path, 0660) < 0))
		return ygr_error_set(error, errno, "cannot give %s to its group: %s", path, strerror(errno));
	if (listen(fd, 16) < 0)
		return ygr_error_set(error, errno, "cannot listen on %s: %s", path, strerror(errno));
	*ret_fd = ygr_steal_fd(&fd);
	return 0;
}

/* Takes ownership of FD. */
static int start_daemon(struct server *server, int fd, unsigned idle_seconds, struct ygr_error *error)
{
	server->daemon = MHD_start_daemon(
	    MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC, 0, NULL, NULL,
	    on_request, server, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
	    MHD_OPTION_CONNECTION_TIMEOUT, idle_seconds, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	    (size_t)CONNECTION_MEMORY, MHD_OPTION_NOTIFY_COMPLETED, request_done, NULL, MHD_OPTION_END);
	if (server->daemon)
		return 0;
	close(fd);
	return ygr_error_set(error, ENOMEM, "cannot start the HTTP server");
}

static void *tick(void *user)
{
	struct ygr_http *http = user;
	pthread_mutex_lock(&http->lock);
	while (!http->stopping) {
		struct timespec until;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		pthread_cond_timedwait(&http->stop, &http->lock, &until);
		pthread_mutex_unlock(&http->lock);
		ygr_streams_tick(http->streams);
		pthread_mutex_lock(&http->lock);
	}
	pthread_mutex_unlock(&http->lock);
	return NULL;
}

static int start_servers(struct ygr_http *http, const struct ygr_http_options *options,
			 struct ygr_error *error)
{
	int fd, r = 0;
	if (options->tcp_listen) {
		r = ygr_listen_tcp(options->tcp_listen, &fd, error);
		if (r == 0)
			r = start_daemon(&http->tcp, fd, TCP_IDLE_SECONDS, error);
	}
	if (r == 0 && options->socket_path) {
		r = listen_unix(options->socket_path, options->socket_group, &fd, error);
		if (r == 0)
			r = start_daemon(&http->local, fd, 0, error);
	}
	if (r == 0) {
		r = -pthread_create(&http->ticker, NULL, tick, http);
		http->has_ticker = r == 0;
	}
	return r;
}

int ygr_http_start(const struct ygr_http_options *options, struct ygr_http **ret_http,
		   struct ygr_error *error)
{
	struct ygr_http *http = calloc(1, sizeof(*http));
	if (!http)
		return ygr_error_set(error, ENOMEM, "out of memory");
	pthread_mutex_init(&http->lock, NULL);
	pthread_cond_init(&http->stop, NULL);
	http->bus = options->bus;
	http->metrics = options->metrics;
	http->backend = options->backend;
	http->tcp = (struct server){.http = http, .route = ygr_http_route_public};
	http->local = (struct server){.http = http, .route = ygr_http_route_local};
	http->streams = ygr_streams_new(STREAMS_MAX);
	for (unsigned i = 0; i < SNAPSHOT_COUNT; i++)
		http->snapshots[i] = json_array();
	ygr_http_heartbeat(http);

	int r =
	    http->streams && (!options->socket_path || (http->socket_path = strdup(options->socket_path)))
		? start_servers(http, options, error)
		: ygr_error_set(error, ENOMEM, "out of memory");
	if (r < 0) {
		ygr_http_stop(http);
		return r;
	}
	*ret_http = http;
	return 0;
}

struct ygr_http *ygr_http_stop(struct ygr_http *http)
{
	if (!http)
		return NULL;
	pthread_mutex_lock(&http->lock);
	http->stopping = true;
	pthread_cond_signal(&http->stop);
	pthread_mutex_unlock(&http->lock);
	if (http->has_ticker)
		pthread_join(http->ticker, NULL);
	if (http->streams)
		ygr_streams_stop(http->streams);
	if (http->tcp.daemon)
		MHD_stop_daemon(http->tcp.daemon);
	if (http->local.daemon) {
		MHD_stop_daemon(http->local.daemon);
		(void)unlink(http->socket_path);
	}
	ygr_streams_free(http->streams);
	for (unsigned i = 0; i < SNAPSHOT_COUNT; i++)
		json_decref(http->snapshots[i]);
	free(http->socket_path);
	pthread_cond_destroy(&http->stop);
	pthread_mutex_destroy(&http->lock);
	free(http);
	return NULL;
}
