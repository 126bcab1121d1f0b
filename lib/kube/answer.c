/* What a call's end means: HTTP status, metav1.Status and libcurl's results as one error with a sentence. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/kube/call.h"

static int error_of_status(int status, const char *reason)
{
	switch (status) {
	case 400:
	case 422:
		return -EINVAL;
	case 401:
	case 403:
		return -EACCES;
	case 404:
		return -ENOENT;
	case 409:
		return !strcmp(reason, "AlreadyExists") ? -EEXIST : -EBUSY;
	case 410:
		return -ESTALE;
	case 413:
		return -EMSGSIZE;
	case 429:
		return -EAGAIN;
	default:
		return status >= 500 ? -EREMOTEIO : -EPROTO;
	}
}

static const char *word_of_status(int status)
{
	switch (status) {
	case 401:
		return "Unauthorized";
	case 403:
		return "Forbidden";
	case 404:
		return "NotFound";
	case 409:
		return "Conflict";
	case 410:
		return "Expired";
	case 429:
		return "TooManyRequests";
	default:
		return status >= 500 ? "ServerError" : "BadStatus";
	}
}

static void read_status(const struct ygr_kube_call *call, int status, struct ygr_kube_problem *room)
{
	json_t *root = json_loadb((const char *)call->answer.data, call->answer.len, 0, NULL);
	const char *reason = json_string_value(json_object_get(root, "reason"));
	const char *message = json_string_value(json_object_get(root, "message"));
	struct ygr_error text;

	snprintf(room->reason, sizeof(room->reason), "%s",
		 reason && *reason ? reason : word_of_status(status));
	ygr_error_set(&text, 1, "%s", message ? message : "the server gave no reason");
	snprintf(room->message, sizeof(room->message), "HTTP %d: %.480s", status, text.message);
	json_decref(root);
}

static int error_of_curl(const struct ygr_kube_call *call, CURLcode result)
{
	if (call->abort_error)
		return call->abort_error;
	switch (result) {
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	case CURLE_COULDNT_CONNECT:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		return -ECONNREFUSED;
	case CURLE_OUT_OF_MEMORY:
		return -ENOMEM;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
		return -EPROTO;
	default:
		return -ECONNRESET;
	}
}

static const char *word_of_error(int error)
{
	switch (error) {
	case -ETIMEDOUT:
		return "Timeout";
	case -ECONNREFUSED:
		return "Unreachable";
	case -EMSGSIZE:
		return "TooLarge";
	case -EPROTO:
		return "TLS";
	case -EACCES:
		return "Credentials";
	default:
		return "Connection";
	}
}

void ygr_kube_answer_failed(int error, const char *message, struct ygr_kube_problem *room,
			    struct ygr_kube_answer *answer)
{
	struct ygr_error text;

	ygr_error_set(&text, 1, "%s", message && *message ? message : strerror(-error));
	snprintf(room->reason, sizeof(room->reason), "%s", word_of_error(error));
	memcpy(room->message, text.message, sizeof(room->message));
	*answer = (struct ygr_kube_answer){
	    .error = error, .body = "", .reason = room->reason, .message = room->message};
}

void ygr_kube_answer_make(const struct ygr_kube_call *call, CURLcode result, int status,
			  struct ygr_kube_problem *room, struct ygr_kube_answer *answer)
{
	bool bad = status && (status < 200 || status > 299);

	if (bad) {
		read_status(call, status, room);
		*answer = (struct ygr_kube_answer){.error = error_of_status(status, room->reason),
						   .reason = room->reason,
						   .message = room->message};
	} else if (result != CURLE_OK || call->abort_error) {
		const char *message = call->curl_error[0] ? call->curl_error : curl_easy_strerror(result);
		int error = error_of_curl(call, result);
		ygr_kube_answer_failed(error, call->abort_error ? strerror(-error) : message, room, answer);
	} else {
		*answer = (struct ygr_kube_answer){.reason = "", .message = ""};
	}
	answer->status = status;
	answer->body = call->answer.data ? (const char *)call->answer.data : "";
	answer->len = call->answer.len;
}
