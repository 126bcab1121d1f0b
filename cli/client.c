/* The conversation with the agent; see client.h. */
#include "cli/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/cleanup.h"

#define DOCUMENT_MAX   (64u << 20)
#define LINE_MAX_BYTES (4u << 20)
#define ANSWER_SECONDS 30L

struct ygr_client {
	CURL *curl;
	char *socket;
};

/* Where an answer goes: the whole document, or line after line. */
struct answer {
	CURL *curl;
	struct ygr_buf data;
	const struct ygr_client_stream *stream; /* NULL: gather */
	bool stopped;
	bool too_large;
};

struct ygr_client *ygr_client_new(const char *socket)
{
	struct ygr_client *client = calloc(1, sizeof(*client));
	if (!client)
		return NULL;
	if (!socket)
		socket = getenv("YAGURA_SOCKET");
	client->socket = strdup(socket && *socket ? socket : YGR_CLIENT_SOCKET);
	client->curl = curl_easy_init();
	return client->socket && client->curl ? client : ygr_client_free(client);
}

struct ygr_client *ygr_client_free(struct ygr_client *client)
{
	if (!client)
		return NULL;
	if (client->curl)
		curl_easy_cleanup(client->curl);
	free(client->socket);
	free(client);
	return NULL;
}

void ygr_client_query(struct ygr_client *client, char *path, size_t size, const char *name,
		      const char *value)
{
	if (!value)
		return;
	char *escaped = curl_easy_escape(client->curl, value, 0);
	size_t used = strlen(path);
	if (escaped)
		snprintf(path + used, size - used, "%c%s=%s", strchr(path, '?') ? '&' : '?', name, escaped);
	curl_free(escaped);
}

static bool give_lines(struct answer *answer)
{
	for (;;) {
		uint8_t *newline = memchr(answer->data.data, '\n', answer->data.len);
		if (!newline)
			return true;
		*newline = '\0';
		const char *text = (const char *)answer->data.data;
		json_t *object = json_loads(text, 0, NULL);
		bool more = !object || answer->stream->line(answer->stream->user, object, text);
		json_decref(object);
		ygr_buf_consume(&answer->data, (size_t)(newline - answer->data.data) + 1);
		if (!more)
			return false;
	}
}

static size_t on_data(char *data, size_t size, size_t count, void *user)
{
	struct answer *answer = user;
	long status = 0;
	size_t len = size * count;

	if (ygr_buf_append(&answer->data, data, len) < 0) {
		answer->too_large = true;
		return 0;
	}
	curl_easy_getinfo(answer->curl, CURLINFO_RESPONSE_CODE, &status);
	if (answer->stream && status == 200 && !give_lines(answer)) {
		answer->stopped = true;
		return 0;
	}
	return len;
}

static int explain(const struct ygr_client *client, CURLcode code, struct ygr_error *error)
{
	long why = 0;
	curl_easy_getinfo(client->curl, CURLINFO_OS_ERRNO, &why);
	if (code != CURLE_COULDNT_CONNECT)
		return ygr_error_set(error, EREMOTEIO, "the agent at %s: %s", client->socket,
				     curl_easy_strerror(code));
	/* curl does not always keep errno for UNIX sockets. */
	if (why == 0)
		why = access(client->socket, F_OK) < 0   ? ENOENT
		      : access(client->socket, W_OK) < 0 ? EACCES
							 : 0;
	switch (why) {
	case EACCES:
		return ygr_error_set(
		    error, EACCES,
		    "no permission for %s: run as root or as a member of the agent's socket group",
		    client->socket);
	case ENOENT:
		return ygr_error_set(
		    error, ECONNREFUSED,
		    "no agent socket at %s: is yagura-agent running? (--socket names another)",
		    client->socket);
	default:
		return ygr_error_set(error, ECONNREFUSED,
				     "nobody answers at %s: start it with `systemctl start yagura-agent`",
				     client->socket);
	}
}

/* An answer that is not 200 carries {"error": sentence}. */
static int refused(long status, const struct answer *answer, struct ygr_error *error)
{
	json_t *document = json_loadb((const char *)answer->data.data, answer->data.len, 0, NULL);
	const char *message = json_string_value(json_object_get(document, "error"));
	int code = status == 403 ? EACCES : status == 404 ? ENOENT : EREMOTEIO;
	if (message)
		ygr_error_set(error, code, "%s", message);
	else
		ygr_error_set(error, code, "the agent answered with HTTP status %ld", status);
	json_decref(document);
	return -code;
}

/* Makes the request ready; *RET_BODY is freed by the caller after the transfer. */
static int prepare(struct ygr_client *client, const char *path, const json_t *body, struct answer *answer,
		   char **ret_body)
{
	char url[4096];
	snprintf(url, sizeof(url), "http://agent%s", path);
	answer->curl = client->curl;
	curl_easy_reset(client->curl);
	curl_easy_setopt(client->curl, CURLOPT_UNIX_SOCKET_PATH, client->socket);
	curl_easy_setopt(client->curl, CURLOPT_URL, url);
	curl_easy_setopt(client->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(client->curl, CURLOPT_PROXY, "");
	curl_easy_setopt(client->curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(client->curl, CURLOPT_WRITEDATA, answer);
	if (!answer->stream)
		curl_easy_setopt(client->curl, CURLOPT_TIMEOUT, ANSWER_SECONDS);
	if (!body)
		return 0;
	*ret_body = json_dumps(body, JSON_COMPACT);
	if (!*ret_body)
		return -ENOMEM;
	curl_easy_setopt(client->curl, CURLOPT_POSTFIELDS, *ret_body);
	return 0;
}

static int finish(struct ygr_client *client, CURLcode code, struct answer *answer, struct ygr_error *error)
{
	long status = 0;
	curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &status);
	if (answer->stopped)
		return 0;
	if (answer->too_large)
		return ygr_error_set(error, EMSGSIZE, "the agent's answer is too large");
	if (code != CURLE_OK)
		return explain(client, code, error);
	return status == 200 ? 0 : refused(status, answer, error);
}

int ygr_client_post(struct ygr_client *client, const char *path, const json_t *body, json_t **ret_document,
		    struct ygr_error *error)
{
	struct answer answer = {.data = YGR_BUF_INIT(DOCUMENT_MAX)};
	_cleanup_free_ char *text = NULL;
	int r = prepare(client, path, body, &answer, &text);
	if (r < 0)
		return ygr_error_set(error, -r, "out of memory");

	r = finish(client, curl_easy_perform(client->curl), &answer, error);
	if (r == 0) {
		json_error_t where;
		*ret_document = json_loadb((const char *)answer.data.data, answer.data.len, 0, &where);
		if (!*ret_document)
			r = ygr_error_set(error, EREMOTEIO, "the agent's answer is not JSON: %s",
					  where.text);
	}
	ygr_buf_deinit(&answer.data);
	return r;
}

int ygr_client_get(struct ygr_client *client, const char *path, json_t **ret_document,
		   struct ygr_error *error)
{
	return ygr_client_post(client, path, NULL, ret_document, error);
}

/* Reads what signals have come: false when the caller wants to stop. */
static bool take_signals(int signals, const struct ygr_client_stream *stream)
{
	struct signalfd_siginfo info;
	while (read(signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
		if (!stream->interrupted(stream->user, (int)info.ssi_signo))
			return false;
	return true;
}

static CURLcode transfer(CURL *curl, int signals, struct answer *answer)
{
	CURLM *multi = curl_multi_init();
	if (!multi)
		return CURLE_OUT_OF_MEMORY;
	curl_multi_add_handle(multi, curl);

	CURLcode code = CURLE_OK;
	int running = 1;
	while (running && !answer->stopped) {
		struct curl_waitfd extra = {.fd = signals, .events = CURL_WAIT_POLLIN};
		if (curl_multi_perform(multi, &running) != CURLM_OK ||
		    (running && curl_multi_poll(multi, &extra, 1, 1000, NULL) != CURLM_OK)) {
			code = CURLE_RECV_ERROR;
			break;
		}
		answer->stopped |= !take_signals(signals, answer->stream);
	}
	int left;
	for (CURLMsg *message; (message = curl_multi_info_read(multi, &left));)
		if (message->msg == CURLMSG_DONE)
			code = message->data.result;
	curl_multi_remove_handle(multi, curl);
	curl_multi_cleanup(multi);
	return code;
}

int ygr_client_stream(struct ygr_client *client, const char *path, const json_t *body,
		      const struct ygr_client_stream *stream, struct ygr_error *error)
{
	struct answer answer = {.data = YGR_BUF_INIT(LINE_MAX_BYTES), .stream = stream};
	_cleanup_free_ char *text = NULL;
	sigset_t mask, old;
	sigemptyset(&mask);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGTERM);
	sigprocmask(SIG_BLOCK, &mask, &old);
	_cleanup_close_ int signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);

	int r = signals < 0 ? -errno : prepare(client, path, body, &answer, &text);
	if (r < 0)
		ygr_error_set(error, -r, "cannot start the request: %s", strerror(-r));
	else
		r = finish(client, transfer(client->curl, signals, &answer), &answer, error);
	ygr_buf_deinit(&answer.data);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return r;
}
