/* One call as a transfer of libcurl. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/base/cleanup.h"
#include "lib/kube/call.h"

#define CONNECT_MS   10000L
#define DEAD_PEER_MS 30000u /* the kernel gives a connection up whose peer does not acknowledge */
#define BUFFER_BYTES 65536L
#define CA_CACHE_S   60L /* a certificate authority that was replaced is believed after so long */

static int copy_url_part(CURLU *url, CURLUPart part, unsigned flags, char **ret)
{
	char *text = NULL;

	if (curl_url_get(url, part, &text, flags) != CURLUE_OK)
		return -EINVAL;
	*ret = strdup(text);
	curl_free(text);
	return *ret ? 0 : -ENOMEM;
}

/*
 * libcurl takes the name that a certificate must have from the URL. So URLs name tls-server-name, the
 * connection is led to where the server really is, and the Host header says so too.
 */
static int rename_host(struct ygr_kube *kube, CURLU *url, const char *host, const char *port)
{
	const char *name = kube->options.config->tls_server_name;
	_cleanup_free_ char *rule = NULL;

	if (curl_url_set(url, CURLUPART_HOST, name, 0) != CURLUE_OK)
		return -EINVAL;
	if (asprintf(&rule, "%s:%s:%s:%s", name, port, host, port) < 0 ||
	    asprintf(&kube->host_header, "Host: %s:%s", host, port) < 0)
		return -ENOMEM;
	kube->connect_to = curl_slist_append(NULL, rule);
	return kube->connect_to ? 0 : -ENOMEM;
}

int ygr_kube_target(struct ygr_kube *kube, struct ygr_error *error)
{
	const struct ygr_kube_config *config = kube->options.config;
	_cleanup_free_ char *host = NULL, *port = NULL, *text = NULL;
	CURLU *url = curl_url();
	int r = url ? 0 : -ENOMEM;

	if (r == 0 && curl_url_set(url, CURLUPART_URL, config->server, 0) != CURLUE_OK)
		r = -EINVAL;
	if (r == 0)
		r = copy_url_part(url, CURLUPART_HOST, 0, &host);
	if (r == 0)
		r = copy_url_part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT, &port);
	if (r == 0 && config->tls_server_name)
		r = rename_host(kube, url, host, port);
	if (r == 0)
		r = copy_url_part(url, CURLUPART_URL, 0, &text);
	curl_url_cleanup(url);
	if (r < 0)
		return ygr_error_set(error, -r, "%.300s: %s", config->server,
				     r == -ENOMEM ? "out of memory" : "this is no address of a server");
	size_t len = strlen(text);
	while (len && text[len - 1] == '/')
		text[--len] = '\0';
	kube->base = ygr_steal_ptr(&text);
	kube->loopback = !strcmp(host, "localhost") || !strncmp(host, "127.", 4) || !strcmp(host, "[::1]");
	return 0;
}

static bool is_good(CURL *easy)
{
	long status = 0;

	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	return status >= 200 && status < 300;
}

static size_t on_data(char *bytes, size_t size, size_t count, void *user)
{
	struct ygr_kube_call *call = user;
	size_t len = size * count;

	if (call->cancelled)
		return 0;
	call->heard_ms = uv_now(call->kube->loop);
	if (call->kube->options.metrics && call->kube->options.metrics->received)
		ygr_metric_add(call->kube->options.metrics->received, (double)len, NULL);
	if (is_good(call->easy) && call->request.data) {
		call->handed_over = true;
		call->abort_error = call->request.data(call->request.user, bytes, len);
	} else {
		if (!is_good(call->easy))
			call->answer.max = YGR_KUBE_PROBLEM_MAX;
		call->abort_error = ygr_buf_append(&call->answer, bytes, len);
	}
	return call->abort_error || call->cancelled ? 0 : len;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *user)
{
	struct ygr_kube_call *call = user;

	(void)bytes;
	call->heard_ms = uv_now(call->kube->loop);
	call->kube->doubt = false;
	return size * count;
}

static int on_socket_made(void *user, curl_socket_t fd, curlsocktype purpose)
{
	unsigned timeout = DEAD_PEER_MS;

	(void)user, (void)purpose;
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
	return CURL_SOCKOPT_OK;
}

static int add_header(struct ygr_kube_call *call, const char *name, const char *value)
{
	_cleanup_free_ char *line = NULL;

	if (asprintf(&line, "%s%s", name, value) < 0) {
		line = NULL;
		return -ENOMEM;
	}
	struct curl_slist *longer = curl_slist_append(call->headers, line);
	if (!longer)
		return -ENOMEM;
	call->headers = longer;
	explicit_bzero(line, strlen(line));
	return 0;
}

static int set_headers(struct ygr_kube_call *call)
{
	struct ygr_kube *kube = call->kube;
	const char *token = ygr_kube_auth_token(kube->auth);
	int r = add_header(call, "Accept: ", call->accept ? call->accept : "application/json");

	if (r == 0)
		r = add_header(call, "Expect:", ""); /* no round trip of its own for large bodies */
	if (r == 0 && call->body)
		r = add_header(
		    call, "Content-Type: ", call->content_type ? call->content_type : "application/json");
	if (r == 0 && token)
		r = add_header(call, "Authorization: Bearer ", token);
	if (r == 0 && kube->host_header)
		r = add_header(call, kube->host_header, "");
	if (r == 0)
		curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->headers);
	return r;
}

static void set_blob(CURL *easy, CURLoption option, const char *pem)
{
	struct curl_blob blob = {(void *)pem, strlen(pem), CURL_BLOB_COPY};

	curl_easy_setopt(easy, option, &blob);
}

static void set_tls(CURL *easy, const struct ygr_kube *kube)
{
	const struct ygr_kube_config *config = kube->options.config;
	const char *cert = ygr_kube_auth_cert(kube->auth), *key = ygr_kube_auth_key(kube->auth);

	cert = cert ? cert : config->cert_pem;
	key = key ? key : config->key_pem;
	if (config->ca_pem)
		set_blob(easy, CURLOPT_CAINFO_BLOB, config->ca_pem);
	else if (config->ca_file)
		curl_easy_setopt(easy, CURLOPT_CAINFO, config->ca_file);
	if (config->ca_pem || config->ca_file)
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_S);
	if (config->insecure) {
		curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	if (cert)
		set_blob(easy, CURLOPT_SSLCERT_BLOB, cert);
	else if (config->cert_file)
		curl_easy_setopt(easy, CURLOPT_SSLCERT, config->cert_file);
	if (key)
		set_blob(easy, CURLOPT_SSLKEY_BLOB, key);
	else if (config->key_file)
		curl_easy_setopt(easy, CURLOPT_SSLKEY, config->key_file);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
}

static void set_connection(CURL *easy, const struct ygr_kube *kube)
{
	const struct ygr_kube_config *config = kube->options.config;

	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, BUFFER_BYTES);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 15L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 5L);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket_made);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, kube->options.user_agent);
	if (kube->doubt)
		curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
	if (kube->connect_to)
		curl_easy_setopt(easy, CURLOPT_CONNECT_TO, kube->connect_to);
	if (config->proxy_url)
		curl_easy_setopt(easy, CURLOPT_PROXY, config->proxy_url);
	else if (kube->loopback)
		curl_easy_setopt(easy, CURLOPT_PROXY, "");
	if (config->username && config->password) {
		curl_easy_setopt(easy, CURLOPT_USERNAME, config->username);
		curl_easy_setopt(easy, CURLOPT_PASSWORD, config->password);
	}
}

static void set_method(struct ygr_kube_call *call)
{
	static const char *const names[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};

	curl_easy_setopt(call->easy, CURLOPT_URL, call->url);
	if (call->body) {
		curl_easy_setopt(call->easy, CURLOPT_POSTFIELDSIZE_LARGE,
				 (curl_off_t)call->request.body_len);
		curl_easy_setopt(call->easy, CURLOPT_POSTFIELDS, call->body);
	}
	if (call->request.method != YGR_KUBE_GET || call->body)
		curl_easy_setopt(call->easy, CURLOPT_CUSTOMREQUEST, names[call->request.method]);
}

int ygr_kube_transfer_start(struct ygr_kube_call *call)
{
	struct ygr_kube *kube = call->kube;

	call->easy = curl_easy_init();
	if (!call->easy)
		return -ENOMEM;
	call->answer.len = 0;
	call->answer.max = call->request.answer_max;
	call->abort_error = 0;
	call->curl_error[0] = '\0';
	call->started_ms = call->heard_ms = uv_now(kube->loop);
	set_method(call);
	set_connection(call->easy, kube);
	set_tls(call->easy, kube);
	curl_easy_setopt(call->easy, CURLOPT_ERRORBUFFER, call->curl_error);
	curl_easy_setopt(call->easy, CURLOPT_PRIVATE, call);
	curl_easy_setopt(call->easy, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(call->easy, CURLOPT_WRITEDATA, call);
	curl_easy_setopt(call->easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(call->easy, CURLOPT_HEADERDATA, call);
	kube->running++;
	if (set_headers(call) < 0 || curl_multi_add_handle(kube->multi, call->easy) != CURLM_OK) {
		ygr_kube_transfer_stop(call);
		return -ENOMEM;
	}
	return 0;
}

void ygr_kube_transfer_stop(struct ygr_kube_call *call)
{
	if (!call->easy)
		return;
	curl_multi_remove_handle(call->kube->multi, call->easy);
	curl_easy_cleanup(call->easy);
	curl_slist_free_all(call->headers);
	call->easy = NULL;
	call->headers = NULL;
	call->kube->running--;
}
