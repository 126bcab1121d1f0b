/*
 * The webhook: HTTPS, POST /validate with an AdmissionReview. Whoever reaches the port may speak to it, so everything
 * is bounded: connections in all and of one address, the size of a body and of all bodies together, the time until a
 * request is whole. It keeps nothing and tells nothing but the answer.
 *
 * A new certificate is served by a new daemon on the same socket; the old one finishes what it has and is then
 * stopped, so that no connection is refused. Threads: the daemons have their own; these functions are called from one.
 */
#pragma once

#include <stdint.h>

#include "lib/base/error.h"
#include "lib/base/metrics.h"

#define YGR_WEBHOOK_BODY_MAX        (8u << 20)  /* bytes: an object and its old version, in JSON */
#define YGR_WEBHOOK_BODIES_MAX      (32u << 20) /* of all requests together */
#define YGR_WEBHOOK_CONNECTIONS     64
#define YGR_WEBHOOK_PER_ADDRESS     32
#define YGR_WEBHOOK_REQUEST_SECONDS 15  /* until a new connection's first request is whole */
#define YGR_WEBHOOK_IDLE_SECONDS    120 /* between requests, and until the next is whole */

struct ygr_webhook;

/* ADDRESS as for ygr_listen_tcp(). The files are read now and, by ygr_webhook_tick(), whenever they have changed. */
int ygr_webhook_start(const char *address, const char *cert_path, const char *key_path,
		      struct ygr_metrics *metrics, struct ygr_webhook **ret, struct ygr_error *error);
/* Once a second: looks for a new certificate and ends connections that take too long. */
void ygr_webhook_tick(struct ygr_webhook *webhook);
/* NULL is allowed. */
struct ygr_webhook *ygr_webhook_stop(struct ygr_webhook *webhook);
