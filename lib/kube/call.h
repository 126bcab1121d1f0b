/* The inside of the client: what client.c (the queue), transfer.c (one call and libcurl) and socket.c (libcurl
 * and the loop) share. */
#pragma once

#include <curl/curl.h>

#include "lib/base/buf.h"
#include "lib/kube/auth.h"
#include "lib/kube/client.h"

struct ygr_kube_call {
	struct ygr_kube *kube;
	struct ygr_kube_call *prev, *next;
	struct ygr_kube_request request; /* strings are own copies; the path is in url */
	char *url, *body, *accept, *content_type;
	CURL *easy; /* while it is under way */
	struct curl_slist *headers;
	char curl_error[CURL_ERROR_SIZE];
	struct ygr_buf answer;
	int abort_error;  /* why a callback ended it */
	bool cancelled;   /* goes when libcurl has returned */
	bool finishing;   /* its done() is being called */
	bool handed_over; /* data() was called: it cannot be sent again */
	bool token_refused;
	unsigned retries;
	uint64_t deadline_ms, not_before_ms, started_ms, heard_ms; /* loop time */
};

struct ygr_kube {
	struct ygr_kube_options options;
	uv_loop_t *loop;
	CURLM *multi;
	uv_timer_t curl_timer, pump_timer;
	unsigned open_handles;
	struct ygr_kube_call *first, *last;
	unsigned count, running;
	double tokens;
	uint64_t refilled_ms;
	struct ygr_kube_auth *auth;
	char *base, *host_header; /* of URLs; "Host: ..." where URLs name another one */
	struct curl_slist *connect_to;
	bool loopback;
	unsigned busy; /* calls of ours on the stack */
	bool in_curl, closing;
	bool doubt;    /* a connection may be dead: do not use it again */
	int reachable; /* -1: not known yet */
	uint64_t newest, epoch, recoveries;
};

/* client.c */
void ygr_kube_enter(struct ygr_kube *kube);
void ygr_kube_leave(struct ygr_kube *kube);
/* Looks at the queue in DELAY_MS, or earlier. */
void ygr_kube_pump_soon(struct ygr_kube *kube, uint64_t delay_ms);
/* libcurl is done with CALL. */
void ygr_kube_transfer_ended(struct ygr_kube_call *call, CURLcode result);
void ygr_kube_call_free(struct ygr_kube_call *call);

/* transfer.c */
/* Works out the URL that calls begin with: 0, -EINVAL, -ENOMEM. */
int ygr_kube_target(struct ygr_kube *kube, struct ygr_error *error);
int ygr_kube_transfer_start(struct ygr_kube_call *call);
void ygr_kube_transfer_stop(struct ygr_kube_call *call);

/* answer.c */
/* Makes ANSWER out of how CALL ended; strings point into CALL and ROOM. */
struct ygr_kube_problem {
	char reason[64], message[YGR_ERROR_MESSAGE_MAX];
};
void ygr_kube_answer_make(const struct ygr_kube_call *call, CURLcode result, int status,
			  struct ygr_kube_problem *room, struct ygr_kube_answer *answer);
void ygr_kube_answer_failed(int error, const char *message, struct ygr_kube_problem *room,
			    struct ygr_kube_answer *answer);

/* socket.c */
int ygr_kube_socket_init(struct ygr_kube *kube);
