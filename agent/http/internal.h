/* What server.c and the routes share. */
#pragma once

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "agent/http/server.h"
#include "agent/http/stream.h"

#define CHECKS_MAX 16

enum snapshot { SNAPSHOT_VMS, SNAPSHOT_MONITORS, SNAPSHOT_POLICIES, SNAPSHOT_COUNT };

struct check {
	char name[32];
	char reason[256];
	bool ok;
};

struct server {
	struct ygr_http *http;
	struct MHD_Daemon *daemon;
	enum MHD_Result (*route)(struct ygr_http *http, struct MHD_Connection *connection,
				 const char *method, const char *path, const uint8_t *body, size_t len);
};

struct ygr_http {
	struct server tcp, local;
	char *socket_path;
	struct ygr_bus *bus;
	struct ygr_metrics *metrics;
	struct ygr_http_backend backend;
	struct ygr_streams *streams;
	pthread_t ticker;
	bool has_ticker;
	atomic_llong heartbeat;

	pthread_mutex_t lock; /* everything below */
	pthread_cond_t stop;
	bool stopping;
	json_t *snapshots[SNAPSHOT_COUNT];
	struct check checks[CHECKS_MAX];
	unsigned check_count;
};

enum MHD_Result ygr_http_reply(struct MHD_Connection *connection, unsigned status, const char *type,
			       const void *data, size_t len);
enum MHD_Result ygr_http_reply_text(struct MHD_Connection *connection, unsigned status, const char *text);

/* The current document, with a reference of the caller's. */
json_t *ygr_http_snapshot(struct ygr_http *http, enum snapshot which);
int64_t ygr_http_heartbeat_age(const struct ygr_http *http);

/* /metrics and the health endpoints, on TCP and on the socket. */
enum MHD_Result ygr_http_route_public(struct ygr_http *http, struct MHD_Connection *connection,
				      const char *method, const char *path, const uint8_t *body, size_t len);
/* /v1/..., on the socket only. */
enum MHD_Result ygr_http_route_local(struct ygr_http *http, struct MHD_Connection *connection,
				     const char *method, const char *path, const uint8_t *body, size_t len);
